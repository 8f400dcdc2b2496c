"""What risk works out between two entries and keeps: it follows from the state, so it is never part of it."""

from __future__ import annotations

from edgefleet.book.sessions import ALWAYS_OPEN
from edgefleet.risk.exposures import Correlations, Exposures, correlations_of, joint_now
from edgefleet.risk.fleet import Fleet
from edgefleet.risk.ground import Ground, NoEquity, Own, ground_of, own_of
from edgefleet.risk.plan import RiskPlan
from edgefleet.risk.state import Desk, RiskState, home_quotes, is_fleet
from edgefleet.risk.verdict import No


class Kept:
    """Exposures of every account, and the grounds that decisions rest on; what changes is let go of, or followed."""

    __slots__ = ("_correlations", "_exposures", "_grounds", "_homes", "_own")

    def __init__(self) -> None:
        self._grounds: dict[str, Ground | NoEquity | No] = {}  # by instrument
        self._homes: dict[str, str | None] = {}  # by venue: the quote asset that its account is valued in
        self._own: dict[str, Own | No] = {}  # by instrument: what of a ground no touch moves
        self._exposures: dict[tuple[str, str], Exposures] = {}  # by venue and quote asset
        self._correlations: dict[str, tuple[tuple[int, int], Correlations | None]] = {}  # by venue, and of which sample

    def forget_all(self) -> None:
        """Let go of everything: the state or the configuration is another."""
        self.forget()
        self._correlations.clear()

    def forget(self) -> None:
        """Let go of exposures and grounds: positions, orders or all touches have changed."""
        self._grounds.clear()
        self._own.clear()
        self._homes = {}
        self._exposures.clear()

    def follow(self, desk: Desk) -> None:
        """Follow a change of one desk: its line, and every ground, for a ground rests on all lines."""
        self._grounds.clear()
        if not all(one.take(desk) for one in self._exposures.values() if one.venue == desk.venue):
            self._exposures.clear()

    def follow_touch(self, desk: Desk) -> None:
        """Do what `follow` does where nothing but the touch has changed."""
        self._grounds.clear()
        if not all(one.remark(desk) for one in self._exposures.values() if one.venue == desk.venue):
            self._exposures.clear()

    def ground(self, state: RiskState, desk: Desk, plan: RiskPlan) -> Ground | NoEquity | No:
        """Return what decisions on the desk rest on, or why there can be none."""
        is_one_of_several = is_fleet(state)
        if is_one_of_several and any(not state.time < one.next_expiry for one in self._exposures.values()):
            self.forget()  # a target of one account has stopped to count for all of them
        exposures, name = self._account(state, desk.venue, desk.quote, plan), desk.instrument
        ground = self._grounds.get(name)
        if ground is not None:
            return ground
        own = self._own.get(name)
        if own is None:
            own = own_of(state, desk, plan)
            if plan.calendar(name) is ALWAYS_OPEN:  # else it may open or close before anything is heard
                self._own[name] = own
        ground = ground_of(state, desk, plan, exposures, own, self.fleet(state, plan) if is_one_of_several else None)
        if name in self._own:
            self._grounds[name] = ground
        return ground

    def exposures(self, state: RiskState, desk: Desk, plan: RiskPlan) -> Exposures:
        """Return what the desk's account is exposed to."""
        return self._account(state, desk.venue, desk.quote, plan)

    def fleet(self, state: RiskState, plan: RiskPlan) -> Fleet:
        """Return what all accounts have come to."""
        quote = plan.params.fleet_limits.quote
        homes = self._homes
        if not homes:
            homes = self._homes = home_quotes(state, quote)
        accounts = {
            venue: None if home is None else self._account(state, venue, home, plan) for venue, home in homes.items()
        }
        return Fleet(state, plan, accounts)

    def _account(self, state: RiskState, venue: str, quote: str, plan: RiskPlan) -> Exposures:
        key = venue, quote
        found = self._exposures.get(key)
        if found is not None and not state.time < found.next_expiry:
            self.forget()  # a target has stopped to count
            found = None
        if found is None:
            known = self.correlations(state, venue, plan)
            found = self._exposures[key] = Exposures(state, plan, venue, quote, known)
        return found

    def correlations(self, state: RiskState, venue: str, plan: RiskPlan) -> Correlations | None:
        """Return how a venue's instruments move together, None where that is not known."""
        joint = joint_now(state, venue)
        if joint is None:
            return None
        found = self._correlations.get(venue)
        sample = joint.count, joint.ts
        if found is None or found[0] != sample:
            known = correlations_of(joint, plan.params.volatility.min_returns)
            found = self._correlations[venue] = sample, known
        return found[1]
