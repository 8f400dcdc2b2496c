"""The suite `risk`: a blend, a verdict, a covariance update and HRP, beside plain numpy and beside libraries.

Ours and the other take turns in short blocks, so that what else the machine does meets both, and their answers are
compared before anything is timed. Linear algebra runs on one thread for both: a thread that waits for a core which
others use would spend its wait in the figure. What the clock takes, with the call of a function that does nothing, is
measured in the same run, told, and taken off both. It is the monotonic clock, which asks no kernel: processor time is a
system call, after which what is measured is slower by some microseconds.
"""

from __future__ import annotations

import gc
import importlib
import math
import os
import random
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from edgefleet.clock import NS_PER_MS, NS_PER_S, NS_PER_US, SYSTEM
from edgefleet.errors import Broken
from edgefleet.params.schema.risk import EdgeBlendingParams
from edgefleet.risk.allocation import Convention, hierarchical_risk_parity
from edgefleet.risk.blend import Blender
from edgefleet.risk.unrolled import Blend
from edgefleet.stage import Input
from edgefleet.stats.online_covariance import JointReturns
from edgefleet_services.bench.blending import MODELS, twelve_agree, twelve_edges
from edgefleet_services.bench.blending import InNumpy as BlendInNumpy
from edgefleet_services.bench.report import Figure, SuiteReport, figure, machine, percentile
from edgefleet_services.bench.rigs import resident_mb
from edgefleet_services.bench.verdicts import EDGES_BPS, INSTRUMENTS, Fifty, InNumpy

BLEND_P50_US, BLEND_P99_US, BLENDS_PER_S = 5.0, 20.0, 50_000.0
VERDICT_P50_US, VERDICT_P99_US, VERDICTS_PER_S = 25.0, 50.0, 20_000.0
COVARIANCE_US, HRP_MS, HRP_TIMES = 30.0, 5.0, 20.0
# A leak of one object in a thousand verdicts is a thousand blocks; what dictionaries and windows still fill is less.
GROWTH_BLOCKS, GROWTH_MB = 1_000.0, 2.0
_SEED = 7
_SAID = 1_000  # distinct sets of edges and of prices
_BLOCK = 1_000  # calls before the other takes its turn: the first few find their caches cold
_IDLE_CALLS = 2_001
_clock = SYSTEM.monotonic_ns
_PER_S = 1_000  # verdicts between two beats where memory is watched

Say = Callable[[str], None]
Floats = npt.NDArray[np.float64]


def _nothing(at: int) -> object:
    return None


class Sizes(NamedTuple):
    """How often each thing is done."""

    calls: int  # of blends, verdicts and updates
    allocations: int
    verdicts: int  # while memory is watched


WHOLE, QUICK = Sizes(20_000, 50, 1_000_000), Sizes(2_000, 10, 100_000)


def run_risk(say: Say, *, quick: bool = False) -> SuiteReport:
    """Return the suite's figures.

    Raises
    ------
    Broken
        If ours and what stands beside it do not give the same numbers.
    """
    sizes = QUICK if quick else WHOLE
    rows: list[Figure] = []
    threads, limited = _one_thread()
    with limited:
        for row in (blending, verdicts, covariance, allocation, growth):
            rows += row(sizes, say)
    peers = {name: _version(name) for name in ("skfolio", "pypfopt")}
    about = machine(
        numpy=np.__version__,
        instruments=str(INSTRUMENTS),
        blas_threads=threads,
        clock_ns=str(clock_ns(_nothing)),
        **peers,
    )
    return SuiteReport(suite="risk", machine=about, results=tuple(rows), ok=all(one.ok for one in rows))


def blending(sizes: Sizes, say: Say) -> list[Figure]:
    """Return what a blend of twelve models costs: all twelve kept, and as many as the parameters keep of themselves."""
    whole = EdgeBlendingParams(max_models_to_blend=MODELS)
    return [
        *_blending("blend_12", whole, sizes, say),
        *_blending("blend_best_of_12", EdgeBlendingParams(), sizes, say),
    ]


def _blending(name: str, params: EdgeBlendingParams, sizes: Sizes, say: Say) -> list[Figure]:
    rng = random.Random(_SEED)
    agreement = twelve_agree(rng, params)
    likeness = agreement.likeness(params.agreement_min_samples)
    said = [twelve_edges(rng) for _ in range(_SAID)]
    blend = Blender(params)
    plain = BlendInNumpy(tuple(edge.model for edge in said[0]), likeness)

    def ours(at: int) -> Blend | None:
        return blend(said[at % _SAID], likeness)

    def numpys(at: int) -> tuple[float, float]:
        return plain.blend(said[at % _SAID], params)

    for at in range(_SAID):
        found = ours(at)
        _agree(name, math.nan if found is None else found.edge_bps, numpys(at)[0])
    us, beside = _in_turns(sizes.calls, ours, numpys, idle=lambda at: said[at % _SAID])
    anew = likeness

    def sample(at: int) -> None:
        nonlocal anew
        anew = agreement.likeness(params.agreement_min_samples)

    def first(at: int) -> Blend | None:
        return blend(said[at % _SAID], anew)

    firsts, plainly = _in_turns(sizes.calls // 10, first, numpys, before=(sample, _nothing), block=100)
    median = percentile(firsts, 0.5)
    others = percentile(beside, 0.5)
    say(f"{name:<16} p50 {percentile(us, 0.5):.1f} us, the first {median:.1f} us, numpy {others:.1f} us")
    return [
        *_speeds(name, us, beside, BLEND_P50_US, BLEND_P99_US, BLENDS_PER_S, "blends/s"),
        figure(f"{name}_first_p50", median, "us", "numpy, the same", percentile(plainly, 0.5), "at most", 1.0),
    ]


def verdicts(sizes: Sizes, say: Say) -> list[Figure]:
    """Return what a verdict costs after a touch of another of the fifty instruments, and after nothing."""
    fifty = Fifty(_SEED)
    plain = InNumpy(fifty)
    total = fifty.exposures()
    for place in range(INSTRUMENTS):
        ground, sign = fifty.ground(place), 1 if place % 2 else -1
        theirs = plain.verdict(place, sign * EDGES_BPS[0])
        _agree("equity", ground.equity, theirs.equity)
        _agree("value at risk", total.var(ground.equity), theirs.var)
        _agree(f"room of {fifty.names[place]}", ground.limits.tightest(sign)[1], theirs.room)
        if not theirs.holds:
            raise Broken(f"numpy finds {fifty.names[place]} outside its limits, ours inside")
    entries = [
        [Input("ensembles", "9-0", fifty.ensemble(place, bps)) for bps in EDGES_BPS] for place in range(INSTRUMENTS)
    ]
    touches = [[fifty.touch(place, ticks) for ticks in (0, 1)] for place in range(INSTRUMENTS)]
    step, state, config = fifty.stage.step, fifty.state, fifty.config
    touched: list[float] = []

    def touch(at: int) -> None:
        message = touches[(at * 7 + 1) % INSTRUMENTS][at // INSTRUMENTS % 2]
        begun = _clock()
        step(state, Input("beats", "9-0", message), config)
        touched.append((_clock() - begun) / NS_PER_US)

    def mark(at: int) -> None:
        place = (at * 7 + 1) % INSTRUMENTS
        message = touches[place][at // INSTRUMENTS % 2]
        plain.bids[place], plain.asks[place] = message.bid, message.ask

    def ours(at: int) -> object:
        return step(state, entries[at % INSTRUMENTS][at // INSTRUMENTS % 2], config)

    def numpys(at: int) -> object:
        place = at % INSTRUMENTS
        return plain.verdict(place, EDGES_BPS[at // INSTRUMENTS % 2] * (1 if place % 2 else -1))

    us, beside = _in_turns(sizes.calls, ours, numpys, before=(touch, mark))
    quiet, _ = _in_turns(sizes.calls, ours, numpys)
    say(
        f"verdict          p50 {percentile(us, 0.5):.1f} us, numpy {percentile(beside, 0.5):.1f} us; "
        f"the touch before it {percentile(touched, 0.5):.1f} us"
    )
    return [
        *_speeds("verdict", us, beside, VERDICT_P50_US, VERDICT_P99_US, VERDICTS_PER_S, "verdicts/s"),
        figure("verdict_quiet_p50", percentile(quiet, 0.5), "us", "limit", VERDICT_P50_US, "at most", 1.0),
    ]


def covariance(sizes: Sizes, say: Say) -> list[Figure]:
    """Return what one sample of fifty prices costs, beside numpy's sum of products of returns that are there already.

    Returns, their soundness and their spacing are ours alone, so a ratio above one is no loss.
    """
    rng = random.Random(_SEED)
    names, spacing_s, half_life_s = [f"A{place}" for place in range(INSTRUMENTS)], 60, 3_600.0
    prices = [{name: math.exp(rng.gauss(0, 0.01)) for name in names} for _ in range(_SAID)]
    joint, ts = JointReturns(), 0
    joint.sample(prices[-1], ts, half_life_s, math.inf)
    decay = 0.5 ** (spacing_s / half_life_s)
    logs = np.log([[row[name] for name in names] for row in prices])
    returns = (logs - np.roll(logs, 1, axis=0)) / math.sqrt(spacing_s)
    table = np.zeros((INSTRUMENTS, INSTRUMENTS))

    def ours(at: int) -> object:
        return joint.sample(prices[at % _SAID], (at + 1) * spacing_s * NS_PER_S, half_life_s, math.inf)

    def numpys(at: int) -> object:
        nonlocal table
        r = returns[at % _SAID]
        table = decay * table + (1 - decay) * np.outer(r, r)
        return table

    us, beside = _in_turns(sizes.calls, ours, numpys)
    held = np.frombuffer(joint.cells).reshape(INSTRUMENTS, INSTRUMENTS)
    _agree("the covariance", float(np.abs(held - table).max() + table[0, 0]), float(table[0, 0]))
    p50, other = percentile(us, 0.5), percentile(beside, 0.5)
    say(f"covariance       p50 {p50:.1f} us, numpy {other:.1f} us")
    return [
        figure("covariance_update_p50", p50, "us", "limit", COVARIANCE_US, "at most", 1.0),
        figure("covariance_beside_numpy", p50, "us", "decay*C + (1-decay)*outer(r, r)", other, "at most", 5.0),
    ]


def allocation(sizes: Sizes, say: Say) -> list[Figure]:
    """Return what HRP of 100 assets on 1,000 days costs, beside the libraries that are installed.

    PyPortfolioOpt's is our convention B, skfolio's with single linkage our C.
    """
    rng = np.random.default_rng(_SEED)
    returns: Floats = rng.normal(size=(1_000, 100)) @ rng.normal(size=(100, 100)) * 1e-3
    return [
        *_hrp(returns, "B", "PyPortfolioOpt", _pyportfolioopt(returns), sizes, say),
        *_hrp(returns, "C", "skfolio", _skfolio(returns), sizes, say),
    ]


def _hrp(
    returns: Floats, convention: Convention, peer: str, theirs: Callable[[], Floats] | None, sizes: Sizes, say: Say
) -> list[Figure]:
    def ours(at: int) -> Floats:
        return hierarchical_risk_parity(returns, convention=convention).weights

    def others(at: int) -> object:
        return None if theirs is None else theirs()

    try:
        ours(0)
    except ModuleNotFoundError as error:
        say(f"hrp {convention}            {error.name} is not installed (pip install 'edgefleet[research]'): no figure")
        return []
    if theirs is None:
        say(f"hrp              {peer} is not installed: no figure beside it")
    else:
        _agree(f"the weights of {peer}", 1.0 + float(np.abs(ours(0) - theirs()).max()), 1.0)
    us, beside = _in_turns(sizes.allocations, ours, others, block=1)
    ms, other = (percentile(values, 0.5) * NS_PER_US / NS_PER_MS for values in (us, beside))
    say(f"hrp {convention}            p50 {ms:.2f} ms" + ("" if theirs is None else f", {peer} {other:.1f} ms"))
    found = [figure(f"hrp_{convention}_p50", ms, "ms", "limit", HRP_MS, "at most", 1.0)]
    if theirs is not None:
        found.append(figure(f"hrp_beside_{peer.lower()}", ms, "ms", peer, other, "at most", 1 / HRP_TIMES))
    return found


def growth(sizes: Sizes, say: Say) -> list[Figure]:
    """Return by how much a process grows over verdicts with a touch before each and a beat after every thousand.

    Blocks are Python's own count of what it has allocated, exact to one; resident memory sees numpy's arrays as well.
    The first tenth is not counted: caches and windows fill then.
    """
    fifty = Fifty(_SEED)
    warm_up, spacing_ns = sizes.verdicts // 10, NS_PER_S // _PER_S
    begin = blocks = 0
    resident = 0.0
    for at in range(sizes.verdicts + warm_up):
        if at == warm_up:
            gc.collect()
            begin, resident = sys.getallocatedblocks(), resident_mb(os.getpid())
        place = at % INSTRUMENTS
        later = fifty.now + at % _PER_S * spacing_ns
        fifty.step("beats", msgspec.structs.replace(fifty.touch((at * 7 + 1) % INSTRUMENTS, at % 2), ts_event=later))
        edge_bps = EDGES_BPS[at // INSTRUMENTS % 2]
        fifty.step("ensembles", msgspec.structs.replace(fifty.ensemble(place, edge_bps), ts_event=later))
        if at % _PER_S == _PER_S - 1:
            fifty.beat(1)
    gc.collect()
    blocks, grown = sys.getallocatedblocks() - begin, resident_mb(os.getpid()) - resident
    say(f"growth           {blocks} blocks and {grown:.2f} MB over {sizes.verdicts} verdicts")
    return [
        figure("growth_blocks", float(blocks), "blocks", "limit", GROWTH_BLOCKS, "at most", 1.0),
        figure("growth_resident", grown, "MB", "limit", GROWTH_MB, "at most", 1.0),
    ]


def _speeds(
    name: str, us: Sequence[float], beside: Sequence[float], p50: float, p99: float, per_s: float, unit: str
) -> list[Figure]:
    median, tail = percentile(us, 0.5), percentile(us, 0.99)
    return [
        figure(f"{name}_p50", median, "us", "limit", p50, "at most", 1.0),
        figure(f"{name}_p99", tail, "us", "limit", p99, "at most", 1.0),
        figure(f"{name}_rate", 1e6 * len(us) / math.fsum(us), unit, "limit", per_s, "at least", 1.0),
        figure(f"{name}_beside_numpy", median, "us", "numpy, the same", percentile(beside, 0.5), "at most", 1.0),
        figure(f"{name}_p99_beside_numpy", tail, "us", "numpy, the same", percentile(beside, 0.99), "at most", 1.25),
    ]


def _in_turns(
    calls: int,
    ours: Callable[[int], object],
    other: Callable[[int], object],
    *,
    before: tuple[Callable[[int], object], Callable[[int], object]] | None = None,
    block: int = _BLOCK,
    idle: Callable[[int], object] = _nothing,
) -> tuple[list[float], list[float]]:
    """Return the time of each call of ours and of the other, us; what is done `before` a call is not in it.

    Nor is what `idle` takes: the call, and what finds its arguments.

    What is alive by now is not looked at for garbage, as in a service's process.
    """
    clock = _clock
    taken: tuple[list[float], list[float]] = [], []
    idle_ns = clock_ns(idle)
    gc.collect()
    gc.freeze()
    for begin in range(0, calls, block):
        for which, run in enumerate((ours, other)):
            times, prepare = taken[which], None if before is None else before[which]
            for at in range(begin, begin + block):
                if prepare is not None:
                    prepare(at)
                started = clock()
                run(at)
                times.append((clock() - started - idle_ns) / NS_PER_US)
    gc.unfreeze()
    return taken


def clock_ns(idle: Callable[[int], object]) -> int:
    """Return what is read of the clock around a call of `idle`, ns: the median of many."""
    read = []
    for at in range(_IDLE_CALLS):
        started = _clock()
        idle(at)
        read.append(_clock() - started)
    return sorted(read)[_IDLE_CALLS // 2]


def _agree(what: str, ours: float, theirs: float) -> None:
    if not abs(ours - theirs) <= 1e-9 * max(abs(theirs), 1e-6):
        raise Broken(f"{what}: ours is {ours!r}, what stands beside it gives {theirs!r}")


def _one_thread() -> tuple[str, AbstractContextManager[object]]:
    """Return what is told of the threads of linear algebra, and what holds them to one where that can be done."""
    try:
        limits = importlib.import_module("threadpoolctl").threadpool_limits
    except ImportError:
        return "as many as the library takes", nullcontext()
    return "1", limits(limits=1)


def _version(name: str) -> str:
    try:
        return str(importlib.import_module(name).__version__)
    except ImportError:
        return "not installed"


# Peers are looked up by name: they come with no extra of ours, and who has them gets a row more.
def _skfolio(returns: Floats) -> Callable[[], Floats] | None:
    """Return skfolio's HRP in our convention C, None where it is not installed."""
    try:
        cluster, distance, optimization, seriation = (
            importlib.import_module(f"skfolio.{part}") for part in ("cluster", "distance", "optimization", "seriation")
        )
    except ImportError:
        return None
    tree = cluster.HierarchicalClustering(linkage_method=cluster.LinkageMethod.SINGLE)
    model = optimization.HierarchicalRiskParity(
        distance_estimator=distance.PearsonDistance(),
        seriation_estimator=seriation.HierarchicalSeriation(hierarchical_clustering_estimator=tree),
    )

    def run() -> Floats:
        found: Floats = model.fit(returns).weights_
        return found

    return run


def _pyportfolioopt(returns: Floats) -> Callable[[], Floats] | None:
    """Return PyPortfolioOpt's HRP, our convention B, None where it is not installed."""
    try:
        kind: Any = importlib.import_module("pypfopt.hierarchical_portfolio").HRPOpt
        frame = importlib.import_module("pandas").DataFrame(returns)
    except ImportError:
        return None

    def run() -> Floats:
        weights = kind(frame).optimize()
        return np.array([weights[place] for place in range(returns.shape[1])])

    return run
