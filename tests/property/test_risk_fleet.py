"""Whatever comes at two venues, no verdict exceeds a limit of all accounts together. All is computed anew here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.risk.world import BTC, ETH, SECOND, Venues, venues_config

from edgefleet.messages import Approved, Message, OrderState, Refused, encode
from edgefleet.risk.stage import RiskStage, RiskState
from edgefleet.testing import build

Z, TAIL = 1.6448536269514722, 2.3378027922014
OTHER = "BTC/USDT@okx"
PRICES = {BTC: 60_000.0, ETH: 3_000.0, OTHER: 60_500.0}
# In each another limit binds.
RISK = {
    "gross": 0.4,
    "net": 0.4,
    "var_target": 0.0018,
    "var_hard_limit": 0.002,
    "expected_shortfall": {"target": 0.0026, "hard_limit": 0.003},
    "max_drawdown": 0.03,
}
GROSS = {"gross": 0.06, "net": 0.06, "max_drawdown": 0.04}
NET = {"gross": 0.4, "net": 0.06}
instruments = st.sampled_from([BTC, ETH, OTHER])
venues = st.sampled_from(["sim", "okx"])
orders = st.sampled_from([OrderState.ACCEPTED, OrderState.UNKNOWN, OrderState.CANCELLED])
edges_bps = st.one_of(st.floats(-60, 60), st.sampled_from([0.0, 60.0, 60.0, -60.0, -60.0]))
actions = st.one_of(
    st.tuples(st.just("edge"), instruments, edges_bps),
    st.tuples(st.just("edge"), instruments, edges_bps),
    st.tuples(st.just("fill"), instruments, st.floats(0.1, 1.0)),
    st.tuples(st.just("move"), instruments, st.floats(-0.06, 0.06)),
    st.tuples(st.just("touch"), instruments, st.floats(-0.06, 0.06)),
    st.tuples(st.just("beat"), st.integers(1, 20)),
    st.tuples(st.just("order"), instruments, orders, st.floats(-0.2, 0.2)),
    st.tuples(st.just("cash"), venues, st.integers(20_000, 300_000)),
    st.tuples(st.just("dead"), st.sampled_from([{"sim"}, {"okx"}, set(), set()])),
)


class Books:
    """The test's own accounts, orders and targets, kept beside the stage's."""

    def __init__(self, world: Venues) -> None:
        self.world = world
        self.cash = {"sim": Decimal(100_000), "okx": Decimal(100_000)}
        self.held = dict.fromkeys(PRICES, Decimal(0))
        self.orders: dict[str, Decimal] = {}
        self.targets: dict[str, tuple[Decimal, int]] = {}

    def equity(self) -> float:
        worth = sum(self.cash.values(), Decimal(0))
        for name, units in self.held.items():
            desk = self.world.state.desks[name]  # with the last touch that the stage was told
            worth += units * Decimal(repr(desk.bid if units > 0 else desk.ask))
        return float(worth)

    def ends(self, name: str) -> tuple[float, float]:
        """Return from where to where the exposure may come, in quote units at the ask."""
        held, rest = self.held[name], self.orders.get(name, Decimal(0))
        units, expires = self.targets.get(name, (Decimal(0), 0))
        ends = [held, held + rest] + ([units] if expires > self.world.state.time else [])
        ask = self.ask(name)
        return float(min(ends)) * ask, float(max(ends)) * ask

    def ask(self, name: str) -> float:
        found = self.world.state.desks[name].ask
        assert found is not None
        return found

    def deviation(self, name: str) -> float:
        variance = self.world.state.desks[name].returns.per_second
        assert variance is not None
        return math.sqrt(variance * 86_400)


def play(books: Books, action: Sequence[Any]) -> None:
    world = books.world
    match action:
        case "edge", name, bps:
            world.edge(bps, name)
        case "fill", name, share:
            units, _ = books.targets.get(name, (Decimal(0), 0))
            change = ((units - books.held[name]) * Decimal(repr(round(share, 3)))).quantize(Decimal("0.00001"))
            if change != 0:
                bid, ask = world.touch(name)
                books.held[name] += change
                books.cash[name.partition("@")[2]] -= change * (ask if change > 0 else bid)
                world.fill(change, name, order_id="not-open")
        case "move", name, change:
            world.prices[name] *= 1 + change
            world.beat()
        case "touch", name, change:
            world.prices[name] *= 1 + change
            bid, ask = world.touch(name)
            world.feed("beats", build.touch(instrument=name, bid=bid, ask=ask, ts_event=world.now))
        case "beat", seconds:
            world.beat(seconds)
        case "dead", venues_without_beats:
            world.dead = venues_without_beats
        case "order", name, state, size:
            units = Decimal(repr(round(size, 4)))
            if units != 0:
                world.order(units, state, name, order_id=f"order-{name}")
                books.orders[name] = units if state is not OrderState.CANCELLED else Decimal(0)
        case "cash", venue, amount:
            books.cash[venue] = Decimal(amount)
            books.held |= {name: Decimal(0) for name in books.held if name.endswith(f"@{venue}")}
            world.account({"USDT": str(amount)}, venue)
        case _:
            raise AssertionError(action)


def check(books: Books, said: Approved) -> None:
    """Hold one target against every limit of the fleet, from the books of this test alone."""
    name, equity, limits = said.instrument, books.equity(), books.world.config.risk_harmonizer.fleet_limits
    if said.quantity == 0:
        return
    own = float(said.quantity) * books.ask(name) / equity
    ends = {other: books.ends(other) for other in books.held if other != name}
    sizes = {other: max(abs(low), abs(high)) / equity for other, (low, high) in ends.items()}
    low, high = (math.fsum(end[at] for end in ends.values()) / equity for at in (0, 1))
    # Correlations are not known in so short a time, and those between venues never are.
    deviation = abs(own) * books.deviation(name) + math.fsum(sizes[other] * books.deviation(other) for other in sizes)
    assert abs(own) + math.fsum(sizes.values()) <= limits.gross * (1 + 1e-9)
    # What the others alone exceed is reduced at their next verdict; this one never adds to it.
    assert max(high + own, -(low + own)) <= max(limits.net, high, -low) * (1 + 1e-9)
    assert Z * deviation <= limits.var_hard_limit * (1 + 1e-6)
    assert TAIL * deviation <= limits.expected_shortfall.hard_limit * (1 + 1e-6)
    assert said.head_room["fleet_var"] == pytest.approx(1 - Z * deviation / limits.var_hard_limit, abs=1e-6)
    before, expires = books.targets.get(name, (Decimal(0), 0))
    standing = before if expires > books.world.state.time else books.held[name]
    if abs(said.quantity) > max(abs(standing), abs(books.held[name])):
        assert said.head_room["fleet_drawdown"] > 0
        beats, venue = books.world.state.beat, name.partition("@")[2]
        for other, end in ends.items():
            there = other.partition("@")[2]
            assert there == venue or end == (0.0, 0.0) or max(beats.values()) - beats[there] <= 10 * SECOND


class Checked(Venues):
    """Holds every target against the limits when it is told, before anything else comes."""

    books: Books | None = None

    def feed(self, stream: str, message: Message) -> list[Approved | Refused]:
        said = super().feed(stream, message)
        for one in said if self.books is not None else ():
            if self.books is not None and isinstance(one, Approved):
                check(self.books, one)
                self.books.targets[one.instrument] = (one.quantity, one.expires_at)
        return said


class Forgetful(Checked):
    """Gives every entry to a stage that was made for it and so has nothing worked out from before."""

    def feed(self, stream: str, message: Message) -> list[Approved | Refused]:
        self.stage = RiskStage()
        return super().feed(stream, message)


def run(
    plan: list[tuple[Any, ...]],
    limits: dict[str, Any],
    *,
    restarts: frozenset[int] = frozenset(),
    world: type[Checked] = Checked,
) -> Books:
    cash = {"sim": {"USDT": "100000"}, "okx": {"USDT": "100000"}}
    made = world(venues_config({"fleet_limits": limits, "position_sizing": {"min_dwell_ms": 2_000}}), PRICES, cash)
    made.warm(34)
    made.said.clear()
    books = made.books = Books(made)
    for number, action in enumerate(plan):
        if number in restarts:
            made.state = msgspec.msgpack.decode(msgspec.msgpack.encode(made.state), type=RiskState)
        play(books, action)
    return books


@pytest.mark.parametrize("limits", [RISK, GROSS, NET], ids=["risk", "gross", "net"])
@given(plan=st.lists(actions, max_size=40))
@settings(max_examples=60, deadline=None)
def test_no_sequence_at_two_venues_makes_a_verdict_exceed_a_limit_of_the_fleet(
    plan: list[tuple[Any, ...]], limits: dict[str, Any]
) -> None:
    run(plan, limits)


@given(
    st.lists(actions, max_size=30), st.frozensets(st.integers(0, 29), max_size=5), st.sampled_from([RISK, GROSS, NET])
)
@settings(max_examples=25, deadline=None)
def test_neither_a_restart_nor_what_is_kept_changes_a_verdict(
    plan: list[tuple[Any, ...]], restarts: frozenset[int], limits: dict[str, Any]
) -> None:
    whole = run(plan, limits)

    for other in (run(plan, limits, restarts=restarts), run(plan, limits, world=Forgetful)):
        assert [encode(one) for one in other.world.said] == [encode(one) for one in whole.world.said]
        assert msgspec.msgpack.encode(other.world.state) == msgspec.msgpack.encode(whole.world.state)


@pytest.mark.parametrize("limits", [RISK, GROSS, NET], ids=["risk", "gross", "net"])
def test_the_limits_of_the_fleet_are_what_binds_here(limits: dict[str, Any]) -> None:
    books = run([("edge", name, 60.0) for name in (BTC, OTHER, ETH)], limits)

    bound = {one.binding for one in books.world.said if isinstance(one, Approved)}
    assert any(binding.startswith("fleet_") for binding in bound), bound
