"""A state of risk made of numbers that someone wrote down, so that the stage's own functions answer what would be so.

Every number that an answer rests on must be there: what is missing is refused by its name, nothing is assumed. Pure.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Annotated, TypeVar

import msgspec

from edgefleet.clock import NS_PER_S
from edgefleet.instruments import canonical_symbol
from edgefleet.messages import WeightedEdge
from edgefleet.params.schema import FleetConfig
from edgefleet.risk.blend import Blender
from edgefleet.risk.budgets import refresh_budgets
from edgefleet.risk.exposures import correlations_of
from edgefleet.risk.horizons import CALENDARS
from edgefleet.risk.kelly import cholesky
from edgefleet.risk.opinions import form_opinion
from edgefleet.risk.plan import RiskPlan, Terms
from edgefleet.risk.state import Desk, Heard, RiskState, desk_of
from edgefleet.risk.var import SECONDS_PER_DAY, calendar_of
from edgefleet.risk.verdict import No
from edgefleet.stats.online_covariance import JointReturns
from edgefleet.stats.returns import ReturnVariance
from edgefleet.units import ZERO

T = TypeVar("T")
_RULE = "asked"
_LEAST, _MOST = 1e-30, 1e30  # of a size: squares and ratios of such numbers stay finite


class AskedEdge(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What one model says of one instrument, and what the router weighs it with."""

    instrument: str  # SYMBOL@venue
    model: str
    edge_bps: float
    confidence: float  # 0..1
    horizon_ms: int
    age_ms: int
    weight: float


class AskedPrice(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A touch, in the quote asset."""

    bid: Decimal
    ask: Decimal


class Asked(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Edges, and for a size the account and the market that they meet. By instrument, where a field has several."""

    edges: tuple[AskedEdge, ...]
    equity: Decimal | None = None  # quote units, the positions included
    peak: Decimal | None = None  # highest equity seen
    prices: dict[str, AskedPrice] | None = None
    positions: dict[str, Decimal] | None = None  # base units, signed
    day_deviations: dict[str, float] | None = None  # of a day's return of 86,400 s, as a fraction
    annual_volatilities: dict[str, float] | None = None  # the same of the calendar's year, in place of it
    correlations: dict[str, dict[str, float]] | None = None  # of returns, each pair once
    regime: str | None = None  # needed where the configuration scales by it
    time: Annotated[datetime, msgspec.Meta(tz=True)] | None = None  # needed for a market that closes


def heard_from(asked: Asked, config: FleetConfig) -> RiskState:
    """Return a state that knows the edges and nothing else: enough for what they blend to.

    Raises
    ------
    ValueError
        If there is no edge, or a number of one is outside its range; with its name and the number.
    """
    if not asked.edges:
        raise ValueError("edges is empty; name one at least")
    state = RiskState(time=_time(asked))
    for place, edge in enumerate(asked.edges):
        _check_edge(f"edges[{place}]", edge)
        desk = desk_of(state, _instrument(edge.instrument))
        before = desk.heard[_RULE].edges if desk.heard else ()
        desk.heard[_RULE] = Heard(state.time, (*before, _weighted(edge)))
    blend = Blender(config.risk_harmonizer.edge_blending)
    for desk in state.desks.values():
        edges, likeness = desk.heard[_RULE].edges, desk.agreement.likeness(blend.params.agreement_min_samples)
        desk.opinion = form_opinion(edges, blend, likeness=likeness, regime=asked.regime or "")
    return state


def state_from(asked: Asked, config: FleetConfig) -> RiskState:
    """Return the state of a stage that has seen exactly what was asked: trading ACTIVE, every feed and signal fresh.

    The account's cash is what `equity` leaves beside the positions, longs at the bid and shorts at the ask. Breakers,
    open orders, the usual volatility and the price of the last minutes are not in it, so nothing is barred by them.
    Budgets are those of a first look at these correlations.

    Raises
    ------
    ValueError
        If a number is missing, too many or outside its range, two contradict each other, or the correlations are those
        of no returns; with the names and the numbers.
    Misuse
        If a symbol cannot be read.
    """
    state, plan = heard_from(asked, config), RiskPlan(config)
    regimes = plan.params.position_sizing.regime_scale
    if regimes and asked.regime is None:
        raise ValueError(f"regime is missing, and regime_scale has factors for {', '.join(regimes)}; write any word")
    prices = _named("prices", _given("prices", asked.prices), None)
    names = tuple(prices)
    positions = _named("positions", _given("positions", asked.positions), names)
    for name in state.desks:
        if name not in prices:
            raise ValueError(f"prices has no number for {name}, which has an edge")
    terms = {name: _terms(plan, name) for name in names}
    if asked.time is None and any(calendar_of(one.rules.asset_class) != "24/7" for one in terms.values()):
        raise ValueError("time is missing, and one of the instruments trades by hours")
    deviations = _deviations(asked, terms)
    desks = [desk_of(state, name) for name in names]
    venue, quote = _one_account(desks)
    equity, peak = _given("equity", asked.equity), _given("peak", asked.peak)
    _check_size("equity", equity)
    _check_size("peak", peak)
    if peak < equity:
        raise ValueError(f"peak {peak} is below equity {equity}; the peak is the highest equity seen")
    cash, held = equity, dict[str, Decimal]()
    least = plan.params.volatility.min_returns
    for desk in desks:
        name, price, units = desk.instrument, prices[desk.instrument], positions[desk.instrument]
        for side, amount in (("bid", price.bid), ("ask", price.ask)):
            _check_size(f"prices {name} {side}", amount)
        if not price.bid <= price.ask:
            raise ValueError(f"prices {name}: bid {price.bid} is above ask {price.ask}")
        _check_finite(f"positions {name}", units)
        if units != ZERO:
            _check_size(f"positions {name}, by size,", abs(units))
        desk.bid, desk.ask, desk.age_ms = float(price.bid), float(price.ask), 0
        cash -= units * (price.bid if units > ZERO else price.ask)
        held[desk.base] = units
        variance = deviations[name] * deviations[name] / SECONDS_PER_DAY
        desk.returns = ReturnVariance(weighted=variance, weight=1.0, count=least, price=_mid(desk), ts=state.time)
    state.holdings[venue] = {asset: units for asset, units in {quote: cash, **held}.items() if units != ZERO}
    state.peaks[f"{venue}|{quote}"] = float(peak)
    state.beat[venue] = state.watermark[venue] = state.time
    state.trading, state.trading_reason = "ACTIVE", "asked"
    if len(names) > 1:
        joint = state.joint[venue] = _together(names, _given("correlations", asked.correlations), least, state)
        refresh_budgets(state, venue, correlations_of(joint, least), state.time, plan.params)
    return state


def _together(
    names: tuple[str, ...], given: Mapping[str, Mapping[str, float]], least: int, state: RiskState
) -> JointReturns:
    """Return joint returns of variance one whose correlations are the ones given."""
    known: dict[tuple[str, str], float] = {}
    for first, row in _named("correlations", given, None).items():
        for second, rho in _named(f"correlations of {first}", row, None).items():
            for name in (first, second):
                if name not in names:
                    raise ValueError(f"correlations names {name}, and prices has no number for it")
            if first == second:
                raise ValueError(f"correlations of {first} with itself is {rho!r}; leave it out, it is 1")
            if not -1 <= rho <= 1:
                raise ValueError(f"correlations of {first} and {second} must be in [-1, 1], was {rho!r}")
            if known.setdefault((second, first), rho) != rho:
                raise ValueError(f"correlations of {first} and {second} is both {known[second, first]!r} and {rho!r}")
            known[first, second] = rho
    rows = [[1.0 if one == other else _pair(known, one, other) for other in names] for one in names]
    try:
        cholesky(rows)
    except ValueError as error:
        raise ValueError(f"correlations: {error}") from error
    cells = bytearray(struct.pack(f"<{len(names) ** 2}d", *(rho for row in rows for rho in row)))
    mids = [_mid(state.desks[name]) for name in names]
    return JointReturns(names=list(names), prices=mids, cells=cells, count=least, ts=state.time)


def _pair(known: Mapping[tuple[str, str], float], first: str, second: str) -> float:
    rho = known.get((first, second))
    if rho is None:
        raise ValueError(f"correlations has no number for {first} and {second}")
    return rho


def _mid(desk: Desk) -> float:
    assert desk.bid is not None  # set from the prices before
    assert desk.ask is not None
    return (desk.bid + desk.ask) / 2


def _deviations(asked: Asked, terms: Mapping[str, Terms]) -> dict[str, float]:
    """Return each instrument's deviation of a day's return."""
    daily, annual = asked.day_deviations, asked.annual_volatilities
    if (daily is None) == (annual is None):
        both = "missing" if daily is None else "both there"
        raise ValueError(f"day_deviations and annual_volatilities are {both}; give one of them")
    field = "annual_volatilities" if daily is None else "day_deviations"
    found = _named(field, daily or annual or {}, tuple(terms))
    for name, deviation in found.items():
        _check_size(f"{field} {name}", deviation)
    if daily is not None:
        return found
    years = {name: CALENDARS[calendar_of(one.rules.asset_class)].per_year for name, one in terms.items()}
    return {name: volatility / math.sqrt(years[name]) for name, volatility in found.items()}


def _time(asked: Asked) -> int:
    """Return the asked time, ns since the epoch; what never closes is the same at any, so a second after it does."""
    return NS_PER_S if asked.time is None else int(asked.time.timestamp()) * NS_PER_S


def _check_edge(where: str, edge: AskedEdge) -> None:
    if edge.edge_bps != 0:
        _check_size(f"{where}.edge_bps, by size,", abs(edge.edge_bps))
    if not 0 <= edge.confidence <= 1:
        raise ValueError(f"{where}.confidence must be in [0, 1], was {edge.confidence!r}")
    _check_size(f"{where}.horizon_ms", edge.horizon_ms)
    if not edge.age_ms >= 0:
        raise ValueError(f"{where}.age_ms must be 0 or more, was {edge.age_ms!r}")
    _check_size(f"{where}.weight", edge.weight)


def _weighted(edge: AskedEdge) -> WeightedEdge:
    return WeightedEdge(
        model=edge.model,
        version="",
        edge_bps=edge.edge_bps,
        confidence=edge.confidence,
        horizon_ms=edge.horizon_ms,
        weight=edge.weight,
        age_ms=edge.age_ms,
    )


def _instrument(text: str) -> str:
    symbol, at, venue = text.rpartition("@")
    if not (at and venue):
        raise ValueError(f"{text} names no venue; write SYMBOL@VENUE, such as BTC/USDT@sim")
    return f"{canonical_symbol(symbol)}@{venue}"


def _terms(plan: RiskPlan, name: str) -> Terms:
    found = plan.terms(name)
    if isinstance(found, No):
        raise ValueError(f"{name} is not configured: unknown {found.detail}")
    return found


def _one_account(desks: Iterable[Desk]) -> tuple[str, str]:
    """Return the venue and the quote asset that all have in common: equity is of one account in one asset."""
    first, *others = desks
    bases = {first.base: first.instrument}
    for desk in others:
        if (desk.venue, desk.quote) != (first.venue, first.quote):
            raise ValueError(f"{first.instrument} and {desk.instrument} are not of one account in one quote asset")
        if desk.base in bases:
            raise ValueError(f"{bases[desk.base]} and {desk.instrument} are both of {desk.base}; an account holds one")
        bases[desk.base] = desk.instrument
    return first.venue, first.quote


def _given(name: str, value: T | None) -> T:
    if value is None:
        raise ValueError(f"{name} is missing")
    return value


def _named(field: str, given: Mapping[str, T], names: tuple[str, ...] | None) -> dict[str, T]:
    """Return what is given by instrument; one that is missing, unknown or there twice is refused by its name."""
    found: dict[str, T] = {}
    for text, value in given.items():
        name = _instrument(text)
        if name in found:
            raise ValueError(f"{field} has two numbers for {name}, {found[name]} and {value}")
        found[name] = value
    if names is None:
        return found
    for name in names:
        if name not in found:
            raise ValueError(f"{field} has no number for {name}")
    for name in found:
        if name not in names:
            raise ValueError(f"{field} names {name}, and prices has no number for it")
    return found


def _check_finite(name: str, size: Decimal | float) -> None:
    # `Decimal` raises where a NaN is compared, and `float` where a signalling one is read.
    if not (size.is_finite() if isinstance(size, Decimal) else math.isfinite(size)):
        raise ValueError(f"{name} must be finite, was {size}")


def _check_size(name: str, size: Decimal | float) -> None:
    _check_finite(name, size)
    if not _LEAST <= size <= _MOST:
        raise ValueError(f"{name} must be positive, from {_LEAST:g} to {_MOST:g}, was {size}")
