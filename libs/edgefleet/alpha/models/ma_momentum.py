"""Moving-average momentum: a fast mean above a slow one goes on rising. Knows only the closes of one instrument."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

import msgspec

from edgefleet.alpha.model import AlphaModel, Card, Edge
from edgefleet.alpha.registry import register
from edgefleet.features import Top
from edgefleet.messages.market import Bar
from edgefleet.params.schema.models import MaMomentumParams

LEGACY_SCALE = 40.0  # times the raw gap: the formula as it was published, a 1 % gap being 0.4
CALIBRATED_SCALE = 4_000.0  # times the gap: a 1 % gap is 40 bps, what the formula's words say


class MaMomentumState(msgspec.Struct, tag="ma_momentum"):
    """The last `slow_bars` closes, oldest first, and the edge they make."""

    closes: list[float] = []
    end: int = 0  # ns since the epoch, end of the newest bar
    edge_bps: float | None = None
    confidence: float = 0.0


@register
class MaMomentum(AlphaModel[MaMomentumState, MaMomentumParams]):
    """``edge = scale (ma_fast - ma_slow) / ma_slow``, capped; silent before `slow_bars` closed bars."""

    id = "ma_momentum"
    version = "1"
    card = Card(
        summary="Gap between a fast and a slow mean of closes",
        formula="g = (ma5 - ma30)/ma30; edge = 4000 g (legacy: 40 g), capped at 40 bps; confidence = erf(|z|/sqrt 2)",
        inputs=("closes of bars of features.bar_ms",),
        warm_up="slow_bars closed bars",
        warm_up_bars=30,
        cannot="see a turn before the fast mean does, or tell a trend from one jump inside the slow window",
        mirrors=False,
    )
    state_type = MaMomentumState
    parameters_type = MaMomentumParams

    def initial(self) -> MaMomentumState:
        return MaMomentumState()

    def on_bar(self, state: MaMomentumState, bar: Bar, parameters: MaMomentumParams) -> None:
        if bar.ts_event <= state.end:
            return  # a backfilled bar that was seen already
        state.end = bar.ts_event
        state.closes.append(float(bar.close))
        del state.closes[: -parameters.slow_bars]
        found = momentum(state.closes, parameters)
        state.edge_bps, state.confidence = (None, 0.0) if found is None else (found.edge_bps, found.confidence)

    def edge(self, state: MaMomentumState, top: Top, parameters: MaMomentumParams) -> Edge | None:
        return None if state.edge_bps is None else Edge(state.edge_bps, state.confidence)

    def horizon_ms(self, parameters: MaMomentumParams) -> int:
        return parameters.horizon_ms


def momentum(closes: Sequence[float], parameters: MaMomentumParams) -> Edge | None:
    """Return the edge of the newest `slow_bars` closes (oldest first), None with fewer.

    The gap of two means is a weighted sum of past one-bar changes [1]_, so under a random walk without drift its
    variance is the variance of one change times the sum of the squared weights. Confidence is the probability that
    such a walk shows a smaller gap: ``erf(|z| / sqrt 2)`` with ``z`` the gap in its own standard deviations, the
    change's variance taken around zero over the slow window. Closes that never moved have confidence 0.

    References
    ----------
    .. [1] A. Levine and L. H. Pedersen, "Which Trend Is Your Friend?", Financial Analysts Journal 72(3), 2016.
    """
    slow = parameters.slow_bars
    if len(closes) < slow:
        return None
    window = closes[-slow:]
    mean_slow = math.fsum(window) / slow
    if not mean_slow > 0:
        return None
    gap = math.fsum(window[-parameters.fast_bars :]) / parameters.fast_bars - mean_slow
    scale = LEGACY_SCALE if parameters.scale == "legacy" else CALIBRATED_SCALE
    edge = max(-parameters.cap_bps, min(parameters.cap_bps, scale * gap / mean_slow))
    change_variance = math.fsum((b - a) ** 2 for a, b in pairwise(window)) / (slow - 1)
    deviation = math.sqrt(change_variance * squared_weights(parameters.fast_bars, slow))
    confidence = math.erf(abs(gap) / deviation / math.sqrt(2)) if deviation > 0 else 0.0
    return Edge(edge, confidence)


@lru_cache(maxsize=64)
def squared_weights(fast: int, slow: int) -> float:
    """Return the sum of squared weights of past changes in the gap of two means.

    A mean of n closes is the last close minus ``sum over j of (1 - j/n)`` of the j-th newest change, for j < n; the
    weights of the gap are the difference of two such.

    Examples
    --------
    >>> squared_weights(1, 2)
    0.25
    """
    weights = (max(0.0, 1 - j / slow) - max(0.0, 1 - j / fast) for j in range(1, slow))
    return math.fsum(weight * weight for weight in weights)
