"""The sums of a blend, written out for a number of models: a loop in Python costs more than what is in it.

The source is made of this module's own names and compiled once for each number of models, as `dataclasses` does it.
`blend.sums_of` says the same in loops, and a test holds this to it, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from math import exp
from typing import Any

from edgefleet.messages.signals import WeightedEdge

MOST = 24  # models: the pairs of more fill a page of source each
# Of all models, each with its share: how many, what they weigh, that times confidence, of the evidence (a' R a), of
# what they say, of their horizons, of their second moments.
Sums = tuple[int, float, float, float, float, float, float]
# Edges, shares, moments, correlations (`Among`), least confidence, tau in ms, decays by model.
Summing = Callable[
    [
        tuple[WeightedEdge, ...],
        tuple[float, ...],
        tuple[float, ...],
        tuple[float, ...],
        float,
        float | None,
        Mapping[str, float],
    ],
    Sums | None,
]


@cache
def summing(models: int, decays: bool) -> Summing:
    """Return the function that adds up so many models; it gives None where one has not the confidence to be heard.

    Parameters
    ----------
    models
        1 to `MOST`.
    decays
        Whether any model has a decay of its own.
    """
    if not 1 <= models <= MOST:
        raise ValueError(f"sums are written out for 1 to {MOST} models, was {models}")
    names: dict[str, Any] = {"exp": exp}
    exec(compile(_source(models, decays), f"<sums of {models} models>", "exec"), names)
    made: Summing = names["sums"]
    return made


def _source(models: int, decays: bool) -> str:
    each = range(models)
    pairs = [f"t{i}_{j}" for i in each for j in range(i)]
    own = " + decays.get(e{i}.model, 0.0)" if decays else ""

    def listed(text: str, joint: str = ", ") -> str:
        return joint.join(text.format(i=i) for i in each)

    def line(text: str) -> list[str]:
        return [text.format(i=i) for i in each]

    evidence = [" + ".join([f"p{i}", *(f"t{i}_{j} * p{j}" for j in range(i))]) for i in each]
    lines = [
        f"{listed('e{i}')}, = edges",
        f"{listed('s{i}')}, = shares",
        f"{listed('m{i}')}, = moments",
        *([f"{', '.join(pairs)}, = pairs"] if pairs else []),
        *line("c{i} = e{i}.confidence"),
        f"if {listed('c{i} < least', ' or ')}: return None",
        *line("h{i} = e{i}.horizon_ms"),
        *line("w{i} = e{i}.weight * exp(-(e{i}.age_ms / (tau_ms or h{i})" + own + "))"),
        *line("b{i} = w{i} * c{i}"),
        *line("p{i} = b{i} * s{i}"),
        "return (",
        f" {models},",
        f" {listed('w{i} * s{i}', ' + ')},",
        f" {listed('p{i}', ' + ')},",
        f" {' + '.join(f'p{i} * ({evidence[i]})' for i in each)},",
        f" 0.0 + {listed('b{i} * e{i}.edge_bps * s{i}', ' + ')},",  # a loop's sum is never minus zero
        f" {listed('p{i} * h{i}', ' + ')},",
        f" {listed('p{i} * m{i}', ' + ')},",
        ")",
    ]
    return "\n ".join(["def sums(edges, shares, moments, pairs, least, tau_ms, decays):", *lines])
