"""The suite `pipeline`: tick-to-order, sustained rate and memory of the whole fleet, beside its floor in the same run.

Fleet and floor are both up all the time and take turns in short blocks, so that what else the machine does meets both.
While one is measured the other only idles.
"""

from __future__ import annotations

import asyncio
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from edgefleet.clock import NS_PER_S, SYSTEM
from edgefleet_services.bench.conf import write_conf
from edgefleet_services.bench.frames import FLIP_EVERY
from edgefleet_services.bench.memory import demo_resident_mb
from edgefleet_services.bench.report import Figure, SuiteReport, figure, machine, percentile
from edgefleet_services.bench.rigs import Rig, block, fleet_rig, floor_rig, warm

P50_TIMES, P99_TIMES, SUSTAINED_TIMES = 1.5, 2.0, 0.5
LEAN_MB, LEDGER_MB, FLEET_MB = 80.0, 160.0, 900.0
FULL_ORDERS = 1_000
_SLOW_ORDERS = 200  # by default at 100 events a second, where a thousand take 17 minutes for each of the two
_BLOCK_S = 10.0
_RAMP_FROM, _RAMP_TIMES, _RAMP_S = 1_000.0, 1.3, 2.5
_FLAT_S, _QUICK_FLAT_S = 20.0, 5.0
_LAG_EVERY_S = 0.25
_MAX_TRIALS = 8
_STEP_DOWN, _STEP_UP = 0.88, 1.1
_NEAR_ENOUGH = 1.05  # between the highest rate that was held and the lowest that was not
_IS_LATE_S = 0.25  # a lag of more than so many seconds' events is no keeping up
_MAY_GROW_S = 0.05  # the mean lag of the last quarter against the first, in seconds' events

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineOptions:
    """What the suite is asked for."""

    conf_dir: Path
    tape: tuple[Path, ...] = ()  # none: a synthetic market
    orders: int | None = None  # per rate; None: 1,000, and 200 at 100 events a second
    quick: bool = False
    rates: tuple[int, ...] = (100, 1_000)
    sustained: bool = True
    memory: bool = True


async def run_pipeline(options: PipelineOptions, say: Say) -> SuiteReport:
    """Return the suite's figures.

    Raises
    ------
    Misuse
        If the configuration or the tape cannot be read.
    FleetError
        If the fleet or the floor does not come up, or sends no order.
    """
    results: list[Figure] = []
    about = machine()
    with TemporaryDirectory(prefix="edgefleet-bench-") as name:
        folder = Path(name)
        write_conf(options.conf_dir, folder / "conf")
        if options.memory:
            results.append(await _whole_fleet(options, folder / "demo", say))
        say("bench      starting the fleet and the floor")
        async with (
            floor_rig(folder / "floor", options.tape) as floor,
            fleet_rig(folder / "fleet", folder / "conf", options.tape) as fleet,
        ):
            await warm(floor)
            await warm(fleet)
            feed = await fleet.outside.status()
            about |= {"redis": fleet.server.kind, "frames": feed.source, "mix": feed.mix}
            for rate in options.rates:
                results += await _latency(fleet, floor, rate, _orders(options, rate), say)
            if options.sustained:
                results.append(await _sustained(fleet, floor, _QUICK_FLAT_S if options.quick else _FLAT_S, say))
            if options.memory:
                results += _resident(fleet.resident_mb())
    return SuiteReport(suite="pipeline", machine=about, results=tuple(results), ok=all(one.ok for one in results))


def _orders(options: PipelineOptions, rate: int) -> int:
    if options.orders is not None:
        return options.orders
    if options.quick:
        return 10 if rate < 1_000 else 100
    return FULL_ORDERS if rate >= 1_000 else _SLOW_ORDERS


async def _latency(fleet: Rig, floor: Rig, rate: int, orders: int, say: Say) -> list[Figure]:
    """Return tick-to-order at one rate: blocks of the fleet and of the floor in turn until there are enough orders."""
    per_block = max(1, min(orders, int(rate * _BLOCK_S / FLIP_EVERY)))
    ours: list[float] = []
    bare: list[float] = []
    flips = 0
    while len(ours) < orders or len(bare) < orders:
        bare += (await block(floor, per_block * FLIP_EVERY, rate)).latencies_ms
        done = await block(fleet, per_block * FLIP_EVERY, rate)
        ours += done.latencies_ms
        flips += done.flips
        told = "; ".join(
            f"{name} p50 {percentile(values, 0.5):.2f} ms, p99 {percentile(values, 0.99):.2f} ms"
            for name, values in (("fleet", ours), ("floor", bare))
        )
        say(f"tick-to-order at {rate} events/s, n {len(ours)} of {orders}: {told}")
        if flips > 3 * orders + 10 * per_block:
            break  # what is missing is told by the row of orders
    bare_is = f"bare redis-py hops, n {len(bare)}"
    at = f"{rate}_events_per_s"
    p50s, p99s = ((percentile(ours, share), percentile(bare, share)) for share in (0.5, 0.99))
    turns = "turns of the pressure in the frames"
    return [
        figure(f"tick_to_order_p50.{at}", p50s[0], "ms", bare_is, p50s[1], "at most", P50_TIMES),
        figure(f"tick_to_order_p99.{at}", p99s[0], "ms", bare_is, p99s[1], "at most", P99_TIMES),
        figure(f"tick_to_order_n.{at}", len(ours), "orders", turns, flips, "at least", 0.98),
    ]


# --- the highest rate


async def _sustained(fleet: Rig, floor: Rig, flat_s: float, say: Say) -> Figure:
    bare = await highest_rate(floor, flat_s, lambda text: say(f"floor: {text}"))
    ours = await highest_rate(fleet, flat_s, lambda text: say(f"fleet: {text}"))
    told = f"bare redis-py hops, lag flat for {flat_s:g} s"
    return figure("sustained", ours, "events/s", told, bare, "at least", SUSTAINED_TIMES)


async def highest_rate(rig: Rig, flat_s: float, say: Say) -> float:
    """Return the highest rate (events/s) found at which the lag stays flat for `flat_s`, 0 where none was.

    A ramp of short steps finds where to look; trials of the whole length then go up or down from there, and between
    what was held and what was not.
    """
    rate = _RAMP_FROM
    while await keeps_up(rig, rate, _RAMP_S, flat=False):
        rate *= _RAMP_TIMES
    say(f"ramp ended at {rate:.0f} events/s")
    rate /= _RAMP_TIMES
    best, failed = 0.0, math.inf
    for _ in range(_MAX_TRIALS):
        held = await keeps_up(rig, rate, flat_s, flat=True)
        say(f"{rate:.0f} events/s for {flat_s:g} s: lag {'flat' if held else 'grows'}")
        if held:
            best = rate
        else:
            failed = rate
        if best and failed < math.inf:
            if failed <= _NEAR_ENOUGH * best:
                break
            rate = math.sqrt(best * failed)
        else:
            rate *= _STEP_UP if held else _STEP_DOWN
    return best


async def keeps_up(rig: Rig, rate: float, seconds: float, *, flat: bool) -> bool:
    """Return whether the rig follows `rate` for so long: never late, and, if `flat`, not later at the end."""
    await rig.latencies()
    await rig.outside.run(int(rate * seconds), rate)
    lags: list[int] = []
    status = await rig.outside.status()
    while status.busy:
        await asyncio.sleep(_LAG_EVERY_S)
        status = await rig.outside.status()
        if status.busy and status.due:
            lags.append(await rig.lag())
            if lags[-1] > 4 * _IS_LATE_S * rate:
                break
    await _drained(rig)
    return is_flat(lags, rate) if flat else bool(lags) and lags[-1] <= _IS_LATE_S * rate


def is_flat(lags: Sequence[int], rate: float) -> bool:
    """Return whether lags, taken at even intervals at `rate` events a second, tell of keeping up.

    Examples
    --------
    >>> is_flat([10, 40, 12, 30, 15, 35, 20, 30], 1_000.0), is_flat([0, 100, 200, 300, 400, 500, 600, 700], 1_000.0)
    (True, False)
    """
    quarter = len(lags) // 4
    if quarter == 0:
        return False
    first, last = sum(lags[:quarter]) / quarter, sum(lags[-quarter:]) / quarter
    return last - first <= _MAY_GROW_S * rate and last <= _IS_LATE_S * rate


async def _drained(rig: Rig) -> None:
    await rig.outside.until_idle()
    deadline = SYSTEM.monotonic_ns() + 30 * NS_PER_S
    while await rig.lag() > 50 and SYSTEM.monotonic_ns() < deadline:  # noqa: ASYNC110 - other processes work it off
        await asyncio.sleep(_LAG_EVERY_S)


# --- memory


async def _whole_fleet(options: PipelineOptions, folder: Path, say: Say) -> Figure:
    say("memory of a whole demo fleet, on its synthetic market")
    total = await demo_resident_mb(options.conf_dir, folder, seconds=10.0 if options.quick else 25.0)
    return figure("resident.demo_fleet", total, "MB", "limit", FLEET_MB, "at most", 1.0)


def _resident(services: dict[str, float]) -> list[Figure]:
    limits = {name: LEDGER_MB if name == "ledger" else LEAN_MB for name in services}
    return [
        figure(f"resident.{name}", size, "MB", "limit", limits[name], "at most", 1.0) for name, size in services.items()
    ]


def tell(text: str) -> None:
    """Show progress on stderr."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
