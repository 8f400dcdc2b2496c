"""A blend written out for a number of models: a loop in Python costs more than what is in it.

The source is made of this module's own names and compiled once for each number of models, as `dataclasses` does it.
`Blender.plainly` says the same in loops, and a test holds this to it, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from math import exp, inf, sqrt
from typing import Any

import msgspec

from edgefleet.messages.signals import WeightedEdge
from edgefleet.risk.agreement import Ready

MOST = 24  # models: the pairs of more fill a page of source each


class Blend(msgspec.Struct, frozen=True, gc=False):
    """One expectation out of several."""

    edge_bps: float  # over `horizon_ms`, after shrinkage: the posterior mean
    raw_bps: float  # before shrinkage
    confidence: float  # 0..1, mean of the models' by weight
    horizon_ms: float  # mean of the models', weighted as the edges are
    models: int  # how many were blended
    effective_models: float  # 1..models: how many independent ones are worth as much
    posterior_sd_bps: float | None = None  # of `edge_bps`; None in `legacy`, and before every model's size is known


class Terms(msgspec.Struct, frozen=True, gc=False):
    """What the parameters say of a blend."""

    least: float  # confidence with which a model is heard
    tau_ms: float | None
    decays: Mapping[str, float]  # by model
    prior: float  # models of full confidence which the prior is worth
    prior_bps: float


# Edges of models in the order in which they were made ready.
Blending = Callable[[tuple[WeightedEdge, ...], Ready, Terms], Blend | None]


@cache
def blending(models: int, kept: int, own_tau: bool, decays: bool) -> Blending:
    """Return the function that blends the best of so many models.

    It gives None where one has not the confidence to be heard, others were made ready, two weigh the same and one alone
    has a place, or a number is unusual. Where one repeats another it must not be asked for the best.

    Parameters
    ----------
    models
        1 to `MOST`.
    kept
        1 to `models`.
    own_tau
        Whether an edge ages by its model's own horizon, which is where `tau_ms` is None.
    decays
        Whether any model has a decay of its own.
    """
    if not 1 <= kept <= models <= MOST:
        raise ValueError(f"a blend is written out for 1 to {MOST} models, was {kept} of {models}")
    names: dict[str, Any] = {"exp": exp, "inf": inf, "sqrt": sqrt, "Blend": Blend}
    head = "def blended(edges, ready, terms):"
    if kept == models:
        lines = [head, *_heard(models, own_tau, decays), *_all(models), *_come_to(models)]
    else:
        _compile(["def part(edges, weights, places, ready, terms):", *_part(kept), *_come_to(kept)], names)
        lines = [head, *_heard(models, own_tau, decays), *_best(models, kept)]
    _compile(lines, names)
    made: Blending = names["blended"]
    return made


def _compile(lines: list[str], names: dict[str, Any]) -> None:
    exec(compile("\n ".join(lines), f"<{lines[0]}>", "exec"), names)


def _heard(models: int, own_tau: bool, decays: bool) -> list[str]:
    """Return what weighs each model, or finds that one is not heard or another than was made ready."""
    tau = "h{i}" if own_tau else "tau_ms"
    own = " + decays.get(e{i}.model, 0.0)" if decays else ""
    return [
        f"{_listed(models, 'e{i}')}, = edges",
        f"{_listed(models, 'n{i}')}, = ready.names",
        f"if {_listed(models, 'e{i}.model != n{i}', ' or ')}: return None",
        "least, tau_ms, decays = terms.least, terms.tau_ms, terms.decays",
        *_asked(models),
        f"if {_listed(models, 'c{i} < least', ' or ')}: return None",
        *_lines(models, f"w{{i}} = e{{i}}.weight * exp(-(e{{i}}.age_ms / {tau}{own}))"),
    ]


def _asked(models: int) -> list[str]:
    return [*_lines(models, "c{i} = e{i}.confidence"), *_lines(models, "h{i} = e{i}.horizon_ms")]


def _best(models: int, kept: int) -> list[str]:
    """Return what picks those with the largest weight times confidence, and hands them on with their weights."""
    return [
        *_lines(models, "b{i} = w{i} * c{i}"),
        f"whole = {_listed(models, 'b{i}', ' + ')}",
        "if whole - whole != 0.0: return None",  # NaN and infinite are told apart
        f"each = {_listed(models, 'b{i}')}",
        f"bound = sorted(each)[{models - kept}]",
        "places = []",
        *_lines(models, "if b{i} >= bound: places.append({i})"),
        f"if len(places) != {kept}: return None",
        f"return part(edges, ({_listed(models, 'w{i}')}), places, ready, terms)",
    ]


def _part(models: int) -> list[str]:
    """Return what takes the best out of all, and how alike these are."""
    each = range(models)
    alike = [" + ".join(["1.0", *(f"x{max(i, j)}_{min(i, j)}" for j in each if j != i)]) for i in each]
    return [
        f"{_listed(models, 'i{i}')}, = places",
        "rows, moments = ready.rows, ready.moments",
        *_lines(models, "e{i} = edges[i{i}]"),
        *_lines(models, "w{i} = weights[i{i}]"),
        *_lines(models, "m{i} = moments[i{i}]"),
        f"if not ({_listed(models, 'm{i}', ' and ')}): {_listed(models, 'm{i}', ' = ')} = 0.0",
        *[f"r{i} = rows[i{i}]" for i in each if i],
        *[f"x{i}_{j}, t{i}_{j} = r{i}[i{j}]" for i in each for j in range(i)],
        *[f"s{i} = 1.0 / ({alike[i]})" for i in each],
        *_asked(models),
    ]


def _all(models: int) -> list[str]:
    """Return how alike all are."""
    pairs = [f"t{i}_{j}" for i in range(models) for j in range(i)]
    return [
        "among = ready.among",
        "if among is None: return None",
        f"{_listed(models, 's{i}')}, = among.shares",
        f"{_listed(models, 'm{i}')}, = among.moments",
        *([f"{', '.join(pairs)}, = among.pairs"] if pairs else []),
    ]


def _come_to(models: int) -> list[str]:
    """Return what all together come to, once each is weighed."""
    each = range(models)
    evidence = [" + ".join([f"p{i}", *(f"t{i}_{j} * p{j}" for j in range(i))]) for i in each]
    same_horizon = " == ".join(f"h{i}" for i in each) if models > 1 else "True"
    return [
        *_lines(models, "q{i} = w{i} * s{i}"),
        *_lines(models, "p{i} = q{i} * c{i}"),
        f"confident = {_listed(models, 'p{i}', ' + ')}",
        f"squared = {' + '.join(f'p{i} * ({evidence[i]})' for i in each)}",
        f"edge = 0.0 + {_listed(models, 'p{i} * e{i}.edge_bps', ' + ')}",  # a loop's sum is never minus zero
        "if not (confident > 0 and squared > 0 and edge - edge == 0.0): return None",
        f"horizon = confident * h0 if {same_horizon} else {_listed(models, 'p{i} * h{i}', ' + ')}",
        f"moment = {_listed(models, 'p{i} * m{i}', ' + ')}",
        f"confidence = confident / ({_listed(models, 'q{i}', ' + ')})",
        "effective = confident * confident / squared",
        "if effective < 1.0: effective = 1.0",
        "evidence = confidence * effective",
        "prior = terms.prior",
        "known = prior + evidence",
        "if not (evidence > 0 and known < inf and moment < inf): return None",
        "raw = edge / confident",
        "return Blend(",
        " raw + prior / known * (terms.prior_bps - raw) if prior else raw, raw, confidence, horizon / confident,",
        f" {models}, effective, sqrt(moment / confident / known) if moment > 0 else None,",
        ")",
    ]


def _listed(models: int, text: str, joint: str = ", ") -> str:
    return joint.join(_lines(models, text))


def _lines(models: int, text: str) -> list[str]:
    return [text.format(i=i) for i in range(models)]
