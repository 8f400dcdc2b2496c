"""What risk's state holds, as portfolios: one per account and quote asset. Pure; decides nothing."""

from __future__ import annotations

from typing import NamedTuple

from edgefleet.risk.plan import RiskPlan
from edgefleet.risk.state import Desk, RiskState, believed, deviation_of, equity, position
from edgefleet.risk.stress import Portfolio, Position
from edgefleet.risk.verdict import No
from edgefleet.units import ZERO


class Held(NamedTuple):
    """One account in one quote asset."""

    venue: str
    quote: str
    portfolio: Portfolio | None  # None where its worth cannot be told
    why: str = ""  # it cannot


def portfolios_of(state: RiskState, plan: RiskPlan) -> list[Held]:
    """Return what is held per venue and quote asset, by name: positions at the price that closes them, equity, peak.

    An asset without an instrument in the session is a position without a price: equity counts it nothing.
    """
    accounts = sorted({(desk.venue, desk.quote) for desk in state.desks.values()})
    return [_held(state, plan, venue, quote) for venue, quote in accounts]


def _held(state: RiskState, plan: RiskPlan, venue: str, quote: str) -> Held:
    balances = state.holdings.get(venue)
    if balances is None:
        return Held(venue, quote, None, f"no balances of {plan.account} at {venue} yet")
    worth = equity(state, venue, quote)
    if worth is None:
        return Held(venue, quote, None, "an asset of the account has no price")
    if not worth > 0:
        return Held(venue, quote, None, f"equity is {worth!r}; shares of it are no numbers")
    desks = [desk for desk in state.desks.values() if (desk.venue, desk.quote) == (venue, quote)]
    quotes = {desk.quote for desk in state.desks.values() if desk.venue == venue}
    known = [_position(state, plan, desk) for desk in desks if position(state, desk) != ZERO]
    bases = {desk.base for desk in desks}
    unknown = [
        Position(instrument=f"{asset}/{quote}@{venue}", quantity=units, price=None)
        for asset, units in balances.items()
        if units != ZERO and asset not in bases and asset not in quotes
    ]
    found = sorted([*known, *unknown], key=lambda one: one.instrument)
    return Held(venue, quote, Portfolio(equity=worth, positions=tuple(found), peak=state.peaks.get(f"{venue}|{quote}")))


def _position(state: RiskState, plan: RiskPlan, desk: Desk) -> Position:
    held = position(state, desk)
    terms = plan.terms(desk.instrument)
    asset_class, sector = (None, "none") if isinstance(terms, No) else (terms.rules.asset_class, terms.sector)
    variance = believed(desk, plan.params)
    return Position(
        instrument=desk.instrument,
        quantity=held,
        price=desk.bid if held > ZERO else desk.ask,
        asset_class=asset_class,
        sector=sector,
        day_deviation=None if variance is None else deviation_of(desk, variance),
    )
