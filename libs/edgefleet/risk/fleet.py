"""All accounts of a fleet as one portfolio, valued in one asset. Decides nothing.

How two venues' instruments move together is measured by nobody, so deviations of different accounts add up: the same
asset at two venues counts as correlated by one where that is more risk, and no position at one venue hedges another's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from edgefleet.messages import Refusal
from edgefleet.risk.exposures import Exposures
from edgefleet.risk.limits import Beside
from edgefleet.risk.observers import Feed, staleness
from edgefleet.risk.plan import RiskPlan
from edgefleet.risk.state import Desk, Rate, RiskState, age_ms, drawdown, rates, worth_in
from edgefleet.risk.var import Z_95
from edgefleet.risk.verdict import No
from edgefleet.units import to_decimal


class Account(NamedTuple):
    """One venue's account, valued in the fleet's asset."""

    venue: str
    exposures: Exposures  # in the account's own quote asset
    worth: float  # in the fleet's, at the worse rate
    least: float  # what a unit of the account's quote asset is worth in the fleet's
    most: float
    old: No | None  # that it is marked by a feed, or a rate, older than `breakers.staleness` lets one be


class Over(msgspec.Struct, frozen=True, gc=False):
    """What the limits of one instrument see of the whole fleet."""

    equity: float  # of all accounts
    drawdown: float  # of that
    weight: float  # equity of the instrument's account / equity of all
    beside: Beside  # all others of the fleet, as fractions of all equity
    old: No | None  # an account whose worth is as it was: nothing is enlarged, and the last that is known holds


class Fleet:
    """Every account as it is now: what they are worth together and what they are exposed to."""

    __slots__ = ("_plan", "_state", "accounts", "quote", "trouble")

    def __init__(self, state: RiskState, plan: RiskPlan, exposures: Mapping[str, Exposures | None]) -> None:
        self._state, self._plan, self.quote = state, plan, plan.params.fleet_limits.quote
        self.accounts: list[Account] = []
        self.trouble: No | None = None  # the first account that cannot be valued, and why
        for venue, one in exposures.items():
            found = self._valued(venue, one)
            if isinstance(found, No):
                self.trouble = self.trouble or found
            else:
                self.accounts.append(found)

    def equity(self) -> float | None:
        """Return what all accounts are worth, None where one of them cannot be valued."""
        return None if self.trouble is not None else math.fsum([one.worth for one in self.accounts])

    def var(self, equity: float) -> float:
        """Return the value at risk of all accounts, 95 %, one day, as a fraction of `equity`: the sum of theirs."""
        return Z_95 * math.fsum([one.most * one.exposures.deviation() for one in self.accounts]) / equity

    def is_known(self) -> bool:
        """Return whether the price and the variance of everything that is held are known."""
        return not any(one.exposures.unknown or one.exposures.troubles for one in self.accounts)

    def over(self, desk: Desk, equity: float) -> Over | No:
        """Return what limits of the whole fleet see beside `desk`, whose account is worth `equity` in its quote asset.

        Where an account cannot be valued nothing can be said of the whole, and the reason is returned.
        """
        total, span = self.equity(), rates(self._state, desk.quote, self.quote)
        if total is None or span is None:
            return self.trouble or _unvalued(desk.venue, f"{desk.quote} has no rate in {self.quote}")
        fall = drawdown(self._state, "", self.quote, total)
        if not 0 < total < math.inf:
            return No(Refusal.DRAWDOWN, observed=fall, detail=f"equity of all accounts {total!r} {self.quote}")
        for one in self.accounts:
            against = one.exposures.first_trouble(desk.instrument) or one.exposures.first_unknown(desk.instrument)
            if against is not None:
                return against
        # Of its own venue a touch is as old as the instrument's freshness and the breaker of staleness let it be.
        olds = [one.old for one in self.accounts if one.venue != desk.venue or span.age_ms > self._oldest_ms]
        old = next((one for one in olds if one is not None), None)
        return Over(total, fall, equity * span.most / total, self._beside(desk, total), old)

    def _beside(self, desk: Desk, total: float) -> Beside:
        own = Beside()
        gross, low, high, linear = [0.0], [0.0], [0.0], [0.0]
        for one in self.accounts:
            sums = one.exposures
            if one.venue == desk.venue:
                own = sums.beside(desk, total / one.most)
                low.append(_end(own.low * total / one.most, one, -1))
                high.append(_end(own.high * total / one.most, one, 1))
                continue
            around = sums.around()
            gross.append(around.gross * one.most)
            low.append(_end(around.low, one, -1))
            high.append(_end(around.high, one, 1))
            linear.append(sums.deviation() * one.most)
        return msgspec.structs.replace(
            own,
            gross=own.gross + math.fsum(gross) / total,
            low=math.fsum(low) / total,
            high=math.fsum(high) / total,
            linear=own.linear + math.fsum(linear) / total,
        )

    def _valued(self, venue: str, exposures: Exposures | None) -> Account | No:
        if exposures is None:
            return _unvalued(venue, "no touch of it has come yet")
        home = exposures.quote
        worth, span = exposures.equity(), rates(self._state, home, self.quote)
        if span is None:
            return _unvalued(venue, f"{home} has no rate in {self.quote}")
        if worth is None:
            return _unvalued(venue, "an asset of it has no price")
        old = self._old(venue, exposures, span)
        return Account(venue, exposures, worth_in(worth, span), span.least, span.most, old)

    @property
    def _oldest_ms(self) -> float:
        return self._plan.params.breakers.staleness.limit_s * 1_000

    def _old(self, venue: str, exposures: Exposures, span: Rate) -> No | None:
        """Return that what an account holds is marked by an old feed, or turned into the fleet's asset by one."""
        if span.age_ms > self._oldest_ms:
            why = f"the rate of {exposures.quote} in {self.quote} is old"
            return _stale(venue, why, self._oldest_ms, float(span.age_ms))
        state, plan = self._state, self._plan
        feeds = [
            Feed(
                age_ms(state, state.desks[name]),
                held=_counts(plan, state.desks[name], units),
                calendar=plan.calendar(name),
            )
            for name, units in exposures.held().items()
        ]
        age = staleness(feeds, max(state.beat.values(), default=state.time)).value
        if age is not None and age * 1_000 > self._oldest_ms:
            return _stale(venue, "what it holds is marked by an old touch", self._oldest_ms, age * 1_000)
        return None


def _counts(plan: RiskPlan, desk: Desk, units: float) -> bool:
    """Return whether so much is held that the venue would take an order for it: less is a rest that stays."""
    terms = plan.terms(desk.instrument)
    return isinstance(terms, No) or desk.bid is None or terms.takes(to_decimal(units, terms.lot), desk.bid)


def _end(amount: float, account: Account, sign: int) -> float:
    """Return an end of where a net exposure may be, in the fleet's asset, at the rate that is further out."""
    return amount * (account.most if amount * sign > 0 else account.least)


def _stale(venue: str, why: str, limit_ms: float, observed_ms: float) -> No:
    detail = f"ms; the account at {venue} is not valued as it is: {why}"
    return No(Refusal.STALE_DATA, limit=limit_ms, observed=observed_ms, detail=detail)


def _unvalued(venue: str, why: str) -> No:
    return No(Refusal.NO_TOUCH, detail=f"the account at {venue} cannot be valued: {why}")
