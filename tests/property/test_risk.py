"""Whatever edges, fills, marks and restarts come, no verdict exceeds a limit. The limits are computed anew here."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.risk.world import BTC, ETH, SECOND, World, config

from edgefleet.messages import Approved, Command, Message, OrderState, Refusal, Refused, Watermark, encode
from edgefleet.risk.stage import RiskStage, RiskState
from edgefleet.testing import build

Z = 1.6448536269514722
TIGHT: dict[str, dict[str, Any]] = {
    "risk_limits": {"concentration_limits": {"single": 0.25, "class": 0.30, "sector": 0.4, "geography": 0.7}},
    "position_sizing": {"min_dwell_ms": 2_000},
}
instruments = st.sampled_from([BTC, ETH])
edges_bps = st.one_of(st.floats(-60, 60), st.sampled_from([0.0, 9.0, 12.0, 20.0, -20.0]))
# The same with correlations that are known, and with the limits tight that hold the two together.
TOGETHER = {
    "risk_limits": {
        **TIGHT["risk_limits"],
        "exposure_limits": {"gross": 0.28, "net": 0.22, "venue": 0.28},
        "max_correlation_exposure": 0.25,
        "order_limits": {"price_collar_pct": 0.9},
        "vol_multiplier_limit": 1_000.0,
    },
    "position_sizing": {"min_dwell_ms": 0},
    "volatility": {"correlation_interval_s": 1.0, "min_returns": 20},
}
actions = st.one_of(
    st.tuples(st.just("edge"), instruments, edges_bps, st.floats(0.0, 1.0), st.sampled_from([1_000, 10_000, 600_000])),
    st.tuples(st.just("nobody"), instruments),
    st.tuples(st.just("move"), instruments, st.floats(-0.06, 0.06)),
    st.tuples(st.just("beat"), st.integers(1, 20), st.booleans()),
    st.tuples(st.just("stale"), st.integers(3_001, 60_000)),
    st.tuples(st.just("fill"), instruments, st.floats(0.1, 1.0)),
    st.tuples(st.just("order"), instruments, st.sampled_from(list(OrderState)), st.floats(-0.5, 0.5)),
    st.tuples(st.just("state"), st.sampled_from(["ACTIVE", "ACTIVE", "REDUCING", "HALTED"])),
    st.tuples(st.just("cash"), st.integers(1_000, 500_000)),
)
# What comes without a beat behind it, so that the next ensemble is the first to meet it.
quiet_actions = st.one_of(
    st.tuples(st.just("touch"), instruments, st.floats(-0.06, 0.06)),
    st.tuples(st.just("watermark"), st.integers(0, 40)),
    st.tuples(st.just("flatten")),
)


class Books:
    """The test's own account, orders and targets, kept beside the stage's."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.cash = Decimal(100_000)
        self.held = {BTC: Decimal(0), ETH: Decimal(0)}
        self.orders: dict[str, tuple[str, Decimal, bool]] = {}
        self.targets: dict[str, tuple[Decimal, int]] = {}

    def equity(self) -> float:
        worth = self.cash
        for name, units in self.held.items():
            bid, ask = self.world.touch(name)
            worth += units * (bid if units > 0 else ask)
        return float(worth)

    def worst(self, name: str) -> float:
        buys = sum((u for where, u, _ in self.orders.values() if where == name and u > 0), Decimal(0))
        sells = sum((u for where, u, _ in self.orders.values() if where == name and u < 0), Decimal(0))
        units, expires = self.targets.get(name, (Decimal(0), 0))
        standing = units if expires > self.world.state.time else Decimal(0)
        held = self.held[name]
        most = max(abs(held), abs(held + buys), abs(held + sells), abs(standing))
        return float(most * self.world.touch(name)[1])

    def span(self, name: str) -> tuple[float, float]:
        """Return from where to where the exposure may come, in quote units at the ask."""
        buys = sum((u for where, u, _ in self.orders.values() if where == name and u > 0), Decimal(0))
        sells = sum((u for where, u, _ in self.orders.values() if where == name and u < 0), Decimal(0))
        units, expires = self.targets.get(name, (Decimal(0), 0))
        ends = [self.held[name] + buys, self.held[name] + sells]
        ends += [units] if expires > self.world.state.time else []
        price = float(self.world.touch(name)[1])
        return float(min(ends)) * price, float(max(ends)) * price

    def least_var(self, name: str, own: float, equity: float) -> float:
        """Return the value at risk of the worst corner of the others with `own` held, by what is known of both."""
        names = list(self.held)
        deviations = [self.deviation(one) for one in names]
        rho = 1.0 if self.rho is None else self.rho
        corners = itertools.product(*[(own, own) if one == name else self.span(one) for one in names])
        found = 0.0
        for corner in corners:
            one, other = (at / equity * risk for at, risk in zip(corner, deviations, strict=True))
            square = one * one + other * other
            # Where the correlation is not known it is the one that hurts.
            square += 2 * abs(one * other) if self.rho is None else 2 * rho * one * other
            found = max(found, Z * math.sqrt(max(square, 0.0)))
        return found

    @property
    def rho(self) -> float | None:
        """Return the correlation as far as the stage may know it."""
        joint = self.world.state.joint.get("sim")
        table = None if joint is None else joint.correlations(self.world.config.risk_harmonizer.volatility.min_returns)
        if joint is None or table is None or math.isnan(table[0, 1]):
            return None
        return float(table[0, 1])

    def deviation(self, name: str) -> float:
        variance = self.world.state.desks[name].returns.per_second
        assert variance is not None
        return math.sqrt(variance * 86_400)


def play(books: Books, action: Sequence[Any]) -> list[Approved | Refused]:
    world = books.world
    match action:
        case "edge", name, bps, confidence, horizon:
            return world.edge(bps, name, confidence=confidence, horizon_ms=horizon)
        case "nobody", name:
            return world.ensemble((), name)
        case "move", name, change:
            world.prices[name] = min(max(world.prices[name] * (1 + change), 10.0), 1e6)
            return world.beat()
        case "apart", n, rho:
            one, two = 1 if n % 2 == 0 else -1, 1 if (n // 2) % 2 == 0 else -1
            world.prices[BTC] *= math.exp(3e-4 * one)
            world.prices[ETH] *= math.exp(3e-4 * (rho * one + math.sqrt(1 - rho * rho) * two))
            return world.beat()
        case "beat", seconds, alive:
            return world.beat(seconds, alpha_alive=alive)
        case "stale", age:
            return world.beat(age_ms=age)
        case "fill", name, share:
            fill(books, name, share)
        case "order", name, state, size:
            order(books, name, state, size)
        case "state", state:
            world.trading(state)
            if state == "HALTED":
                books.targets.clear()
        case "cash", amount:
            books.cash = Decimal(amount)
            books.held = {BTC: Decimal(0), ETH: Decimal(0)}
            world.account({"USDT": str(amount)})
        case "touch", name, change:
            world.prices[name] = min(max(world.prices[name] * (1 + change), 10.0), 1e6)
            bid, ask = world.touch(name)
            world.feed("beats", build.touch(instrument=name, bid=bid, ask=ask, ts_event=world.now))
        case "watermark", seconds:
            world.now += seconds * SECOND
            stamps = {"ts_event": world.now, "ts_init": world.now, "trace_id": "sim:beat"}
            world.feed("ensembles", Watermark(venue="sim", cause="signals/1-0", **stamps))  # type: ignore[arg-type]
        case ("flatten",):
            flatten = Command(verb="flatten", reason="a test", by="person", ts_event=world.now, ts_init=world.now)
            world.feed("control", flatten)
            books.targets = {name: (Decimal(0), world.state.time + 30 * SECOND) for name in books.targets}
        case _:
            raise AssertionError(action)
    return []


def fill(books: Books, name: str, share: float) -> None:
    """Trade a part of the way from the position to the last target."""
    units, _ = books.targets.get(name, (Decimal(0), 0))
    change = ((units - books.held[name]) * Decimal(repr(round(share, 3)))).quantize(Decimal("0.00001"))
    if change != 0:
        bid, ask = books.world.touch(name)
        books.held[name] += change
        books.cash -= change * (ask if change > 0 else bid) + Decimal("0.5")
        books.world.fill(change, name, fee="0.5", order_id="not-open")


def order(books: Books, name: str, state: OrderState, size: float) -> None:
    units = Decimal(repr(round(size, 4)))
    if units == 0:
        return
    books.world.order(units, state, name, order_id=f"order-{name}")
    if state in {OrderState.FILLED, OrderState.CANCELLED, OrderState.EXPIRED, OrderState.REJECTED, OrderState.DENIED}:
        books.orders.pop(f"order-{name}", None)
    else:
        books.orders[f"order-{name}"] = (name, units, state is OrderState.UNKNOWN)


def check(books: Books, said: Approved, shortable: bool) -> None:
    """Hold one target against every limit, from the books of this test alone."""
    world, name, size = books.world, said.instrument, abs(float(said.quantity))
    limits, equity = world.config.risk_harmonizer.risk_limits, books.equity()
    before = books.targets.get(name, (Decimal(0), 0))
    held = [books.held[name]] + ([before[0]] if before[1] > world.state.time else [])
    assert world.state.trading != "HALTED"
    assert float(said.equity) == pytest.approx(equity, abs=0.02)
    assert shortable or said.quantity >= 0
    if said.quantity != 0:
        own = size * float(world.touch(name)[1]) / equity
        others = math.fsum(books.worst(other) / equity for other in books.held if other != name)
        var = books.least_var(name, math.copysign(own, said.quantity) * equity, equity)
        (other,) = (one for one in books.held if one != name)
        low, high = (end / equity for end in books.span(other))
        signed = math.copysign(own, said.quantity)
        assert own <= 0.20 * (1 + 1e-9)
        assert own + others <= min(3.0, limits.concentration_limits.class_) * (1 + 1e-9)
        assert max(high + signed, -(low + signed)) <= limits.exposure_limits.net * (1 + 1e-9)
        assert own + others <= limits.exposure_limits.gross * (1 + 1e-9)
        if name in world.state.budgets:
            assert own <= world.state.budgets[name] * (1 + 1e-9)
        if books.rho is None or books.rho >= limits.correlated_from:
            assert own + others <= limits.max_correlation_exposure * (1 + 1e-9)
        assert var <= limits.var_hard_limit * (1 + 1e-6)
        assert said.var_fraction >= var * (1 - 1e-6)
        assert said.var_fraction <= limits.var_hard_limit * (1 + 1e-9)
        if books.rho is None:
            assert said.var_fraction == pytest.approx(var, rel=1e-6)
        assert min(left for limit, left in said.head_room.items() if limit != "drawdown") >= -1e-9
    if size > max(abs(float(units)) for units in held) + 1e-12:
        assert world.state.trading == "ACTIVE"
        assert said.head_room["drawdown"] > 0
        assert not any(unknown and where == name for where, _, unknown in books.orders.values())
    assert encode(said)


class Forgetful(World):
    """Gives every entry to a stage that was made for it and so has nothing worked out from before."""

    def feed(self, stream: str, message: Message) -> list[Approved | Refused]:
        self.stage = RiskStage()
        return super().feed(stream, message)


def run(
    plan: list[tuple[Any, ...]],
    *,
    shortable: bool = False,
    limits: dict[str, Any] | None = None,
    restarts: frozenset[int] = frozenset(),
    world: type[World] = World,
) -> Books:
    books = Books(world(config(limits or TIGHT, shortable=shortable)))
    for number, action in enumerate(plan):
        if number in restarts:
            books.world.state = msgspec.msgpack.decode(msgspec.msgpack.encode(books.world.state), type=RiskState)
        for said in play(books, action):
            if isinstance(said, Approved):
                check(books, said, shortable)
                books.targets[said.instrument] = (said.quantity, said.expires_at)
    return books


@given(st.lists(actions, max_size=40), st.booleans())
@settings(max_examples=150, deadline=None)
def test_no_sequence_makes_a_verdict_exceed_a_limit(plan: list[tuple[Any, ...]], shortable: bool) -> None:
    run(plan, shortable=shortable)


@given(st.lists(actions, max_size=40), st.floats(-0.95, 0.95))
@settings(max_examples=100, deadline=None)
def test_no_sequence_makes_a_verdict_exceed_a_limit_where_correlations_are_known(
    plan: list[tuple[Any, ...]], rho: float
) -> None:
    apart = [("apart", n, rho) for n in range(25)]

    books = run([*apart, *plan], shortable=True, limits=TOGETHER)

    assert books.world.state.joint["sim"].count > 20


@given(st.lists(actions, max_size=30), st.frozensets(st.integers(0, 29), max_size=5))
@settings(max_examples=50, deadline=None)
def test_a_restart_in_the_middle_changes_nothing(plan: list[tuple[Any, ...]], restarts: frozenset[int]) -> None:
    whole, restarted = run(plan), run(plan, restarts=restarts)

    assert [encode(one) for one in restarted.world.said] == [encode(one) for one in whole.world.said]
    assert restarted.world.state == whole.world.state


@given(st.lists(st.one_of(actions, quiet_actions), max_size=40), st.booleans())
@settings(max_examples=100, deadline=None)
def test_what_is_kept_between_entries_decides_nothing(plan: list[tuple[Any, ...]], shortable: bool) -> None:
    kept, fresh = run(plan, shortable=shortable), run(plan, shortable=shortable, world=Forgetful)

    assert [encode(one) for one in kept.world.said] == [encode(one) for one in fresh.world.said]
    assert msgspec.msgpack.encode(kept.world.state) == msgspec.msgpack.encode(fresh.world.state)


@given(st.floats(10.6, 60.0), st.sampled_from([1_000, 10_000, 600_000]), st.floats(0.5, 8.0))
@settings(max_examples=30, deadline=None)
def test_a_constant_edge_sizes_to_a_constant_position(bps: float, horizon: int, volatility: float) -> None:
    world = World(ready=False)
    world.trading("ACTIVE")
    world.account({"USDT": "100000"})
    world.warm(60, bps=volatility)

    world.edge(bps / 0.9, horizon_ms=horizon)
    first = world.said[-1]
    assert isinstance(first, Approved)
    assert first.quantity > 0
    world.fill(first.quantity)
    world.said.clear()
    for n in range(60):
        world.prices[BTC] *= math.exp((1 if n % 2 == 0 else -1) * volatility / 10_000)
        world.beat()
        world.edge(bps / 0.9, horizon_ms=horizon)

    mine = [one for one in world.said if one.instrument == BTC]
    assert all(isinstance(one, Approved) and one.quantity == first.quantity for one in mine)


@given(edges_bps, st.floats(0.3, 1.0), st.sampled_from([1_000, 10_000, 600_000]))
@settings(max_examples=50, deadline=None)
def test_mirrored_edges_get_mirrored_verdicts(bps: float, confidence: float, horizon: int) -> None:
    up, down = World(config(shortable=True)), World(config(shortable=True))

    (one,) = up.edge(bps, confidence=confidence, horizon_ms=horizon)
    (other,) = down.edge(-bps, confidence=confidence, horizon_ms=horizon)

    if isinstance(one, Approved):
        assert isinstance(other, Approved)
        assert (other.quantity, other.binding, other.head_room) == (-one.quantity, one.binding, one.head_room)
    else:
        assert isinstance(other, Refused)
        assert (other.reason, other.limit, other.observed) == (one.reason, one.limit, one.observed)


@given(st.integers(1_000, 1_000_000), st.integers(2, 50))
@settings(max_examples=50, deadline=None)
def test_positions_scale_with_equity(cash: int, times: int) -> None:
    (small,) = World(cash=str(cash)).edge(20.0)
    (large,) = World(cash=str(cash * times)).edge(20.0)

    assert isinstance(small, Approved)
    assert isinstance(large, Approved)
    lot = 0.00001
    assert abs(float(large.quantity) - times * float(small.quantity)) <= lot * (times + 1)


TIGHTER = st.sampled_from(
    [
        {"position_sizing": {"max_position_pct": {"crypto": 0.07}}},
        {"position_sizing": {"kelly_fraction": 0.01}},
        {"risk_limits": {"exposure_limits": {"gross": 0.05, "net": 0.05}}},
        {"risk_limits": {"exposure_limits": {"net": 0.06}}},
        {"risk_limits": {"max_correlation_exposure": 0.04}},
        {"risk_limits": {"order_limits": {"max_order_pct": 0.03}}},
        {"risk_limits": {"var_targets": {"daily_95pct": 0.001, "weekly_95pct": 0.0015, "monthly_95pct": 0.002}}},
        {"risk_limits": {"expected_shortfall": {"target": 0.001, "hard_limit": 0.002}}},
        {"position_sizing": {"impact_coefficient": 5.0}},
    ]
)


@given(st.floats(11.0, 60.0), st.sampled_from([1_000, 10_000, 600_000]), TIGHTER)
@settings(max_examples=60, deadline=None)
def test_a_tighter_limit_never_enlarges_a_position(bps: float, horizon: int, tighter: dict[str, Any]) -> None:
    (wide,) = World(config()).edge(bps, horizon_ms=horizon)
    (tight,) = World(config(tighter)).edge(bps, horizon_ms=horizon)

    if isinstance(tight, Approved):
        assert isinstance(wide, Approved)
        assert abs(tight.quantity) <= abs(wide.quantity)


@given(
    st.lists(actions, max_size=15),
    st.sampled_from(["edge", "confidence"]),
    st.sampled_from([math.nan, math.inf, -math.inf]),
)
@settings(max_examples=50, deadline=None)
def test_nan_is_never_approved(plan: list[tuple[Any, ...]], field: str, value: float) -> None:
    books = run(plan)
    world = books.world
    world.trading("ACTIVE")
    world.account({"USDT": "100000"})
    world.beat()

    world.said.clear()
    said = world.edge(value if field == "edge" else 20.0, confidence=value if field == "confidence" else 1.0)

    assert all(isinstance(one, Refused) and one.reason is Refusal.NOT_FINITE for one in said)
    assert world.state.desks[BTC].told.startswith("NOT_FINITE")
    assert all(isinstance(one, Refused) for one in world.beat() if one.instrument == BTC)
