"""What a beat says of prices: marks, variances and how instruments move together. Knows no position."""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal

from edgefleet.clock import NS_PER_S
from edgefleet.params.schema.risk import RiskParams
from edgefleet.risk.state import Desk, RiskState
from edgefleet.stats.online_covariance import JointReturns

_LONGEST = 5  # intervals between two joint samples that still make a return


def take_mark(
    desk: Desk, bid: Decimal | None, ask: Decimal | None, age_ms: int | None, ts: int, params: RiskParams
) -> None:
    """Take a beat's touch. A feed that has gone quiet says nothing of volatility, so its returns wait for the next."""
    desk.bid = None if bid is None else float(bid)
    desk.ask = None if ask is None else float(ask)
    desk.age_ms = age_ms
    mid, last = _fresh_mid(desk, params), desk.returns.ts
    if mid is None or not 0 < mid < math.inf:
        return
    half_life_s = params.volatility.half_life_s
    if desk.reference is None:
        desk.reference = mid
    elif ts > last:
        desk.reference += (1 - 0.5 ** ((ts - last) / NS_PER_S / half_life_s)) * (mid - desk.reference)
    desk.returns.sample(mid, ts, half_life_s)
    desk.usual.sample(mid, ts, params.volatility.usual_half_life_s)


def sample_together(state: RiskState, venue: str, desks: Sequence[Desk], ts: int, params: RiskParams) -> None:
    """Take the returns of a venue's instruments together, once per interval and when every feed is fresh."""
    volatility = params.volatility
    joint = state.joint.get(venue)
    if joint is None:
        if len(desks) < 2:
            return
        joint = state.joint[venue] = JointReturns()
    interval_s = volatility.correlation_interval_s
    if joint.prices and ts - joint.ts < interval_s * NS_PER_S:
        return
    mids = {desk.instrument: _fresh_mid(desk, params) for desk in desks}
    prices = {name: mid for name, mid in mids.items() if mid is not None}
    joint.sample(prices, ts, volatility.correlation_half_life_s, _LONGEST * interval_s)


def _fresh_mid(desk: Desk, params: RiskParams) -> float | None:
    """Return the middle of the touch, None where there is none or its feed has gone quiet."""
    if desk.bid is None or desk.ask is None or desk.age_ms is None:
        return None
    return (desk.bid + desk.ask) / 2 if desk.age_ms <= params.freshness.stale_after_ms else None
