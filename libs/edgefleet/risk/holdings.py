"""What risk's state holds, as portfolios: one per account and quote asset. Pure; decides nothing."""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec

from edgefleet.risk.plan import RiskPlan
from edgefleet.risk.state import (
    Desk,
    Rate,
    RiskState,
    believed,
    deviation_of,
    equity,
    fleet_equity,
    home_quotes,
    is_fleet,
    position,
    rate,
    rates,
)
from edgefleet.risk.stress import Portfolio, Position
from edgefleet.risk.verdict import No
from edgefleet.units import ZERO

ALL: Final = "all accounts"  # in the place of a venue


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
    accounts = sorted({(desk.venue, desk.quote) for desk in state.desks.values() if not desk.is_cash})
    return [_held(state, plan, venue, quote) for venue, quote in accounts]


def all_of(state: RiskState, plan: RiskPlan) -> Held | None:
    """Return what all accounts hold as one portfolio in `fleet_limits.quote`, None where there is one account alone."""
    quote = plan.params.fleet_limits.quote
    if not is_fleet(state):
        return None
    worth, homes = fleet_equity(state, quote), home_quotes(state, quote)
    if worth is None:
        return Held(ALL, quote, None, "an account of it cannot be valued")
    if not worth > 0:
        return Held(ALL, quote, None, f"equity is {worth!r}; shares of it are no numbers")
    found: list[Position] = []
    for venue, home in homes.items():
        span = None if home is None else rates(state, home, quote)
        if home is None or span is None:
            return Held(ALL, quote, None, f"the account at {venue} cannot be valued")
        found += [_turned(one, span) for one in _positions(state, plan, venue, home)]
    return Held(ALL, quote, Portfolio(equity=worth, positions=tuple(found), peak=state.peaks.get(f"|{quote}")))


def _positions(state: RiskState, plan: RiskPlan, venue: str, home: str) -> list[Position]:
    """Return what an account holds at prices in `home`, each asset once: by its own pair, or by one step more."""
    desks = [desk for desk in state.desks.values() if desk.venue == venue and not desk.is_cash]
    by_base = {desk.base: desk for desk in sorted(desks, key=lambda desk: (desk.quote == home, desk.instrument))}
    found = []
    for desk in by_base.values():
        if position(state, desk) != ZERO:
            one = _position(state, plan, desk)
            turn = rate(state, venue, desk.quote, home, high=position(state, desk) < ZERO)
            price = None if one.price is None or turn is None else float(one.price) * turn
            found.append(msgspec.structs.replace(one, price=price))
    return sorted(found, key=lambda one: one.instrument)


def _turned(position: Position, span: Rate) -> Position:
    """Return a position at a price in another asset: what is owned at the least, what is owed at the most."""
    if position.price is None:
        return position
    turn = span.least if position.quantity >= 0 else span.most
    return msgspec.structs.replace(position, price=float(position.price) * turn)


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
