"""What is told of a verdict is what the stage itself decides on, number by number."""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.risk.world import BTC, ETH, PRICES, World, config

from edgefleet.bus.rerun import encode_state
from edgefleet.messages import Approved, Beat, Ensemble, OrderState, Refusal, Refused, WeightedEdge
from edgefleet.params.schema import FleetConfig
from edgefleet.risk.decide import Yes
from edgefleet.risk.explain import Explanation, Number, explain
from edgefleet.risk.plan import RiskPlan
from edgefleet.risk.stage import RiskStage, RiskState
from edgefleet.risk.state import Desk, standing_quantity
from edgefleet.risk.verdict import No
from edgefleet.stage import Input, Output

SPACED: dict[str, Any] = {"volatility": {"correlation_interval_s": 1.0, "min_returns": 10}}
SHORT = {**SPACED, "position_sizing": {"regime_scale": {"calm": 0.5}, "min_dwell_ms": 2_000}}


class Explained(RiskStage):
    """A stage that is asked to explain, each time before it speaks; keeps what was said beside."""

    def __init__(self, settings: FleetConfig) -> None:
        super().__init__()
        self.settings = settings
        self.pairs: list[tuple[Explanation, Approved | Refused | None, Decimal | None, str]] = []

    def _tell(
        self, state: RiskState, desk: Desk, entry: Input, cause: Ensemble | Beat, plan: RiskPlan
    ) -> Sequence[Output]:
        before, told = encode_state(state), desk.told
        found = explain(state, desk.instrument, self.settings)
        assert encode_state(state) == before
        standing = standing_quantity(state, desk)
        outputs = super()._tell(state, desk, entry, cause, plan)
        message = outputs[0].message if outputs else None
        assert message is None or isinstance(message, Approved | Refused)
        self.pairs.append((found, message, standing, told))
        return outputs


def explained(settings: FleetConfig | None = None, **kwargs: Any) -> tuple[World, Explained]:
    chosen = settings or config(SHORT, shortable=True)
    world, stage = World(chosen, ready=False, **kwargs), Explained(chosen)
    world.stage = stage
    world.trading("ACTIVE")
    world.account({"USDT": "100000"})
    world.warm()
    return world, stage


def agrees(found: Explanation, message: Approved | Refused | None, standing: Decimal | None, told: str) -> None:
    verdict = found.verdict
    if message is None and isinstance(verdict, Yes):
        assert (verdict.standing, verdict.quantity, told) == (True, standing, "approved")
    elif message is None:
        assert isinstance(verdict, No)
        assert told.rstrip("+-") == verdict.reason
    elif isinstance(message, Refused):
        assert isinstance(verdict, No)
        said = message.reason, message.limit, message.observed, message.input, message.detail
        assert said == (verdict.reason, verdict.limit, verdict.observed, verdict.input, verdict.detail)
    else:
        assert isinstance(verdict, Yes)
        assert (message.quantity, message.binding, message.urgency) == (
            verdict.quantity,
            verdict.binding,
            verdict.urgency,
        )
        assert message.head_room == found.head_room
        variance, limits = found.group("variance"), {one.title: found.group(one.title) for one in found.limits}
        assert message.variance == variance["variance over the horizon"].value
        assert message.var_fraction == limits["var"]["used"].value
        assert {name: one["head-room"].value for name, one in limits.items()} == {
            name: room for name, room in message.head_room.items() if name != "drawdown"
        }
        if "kelly alone" in found.group("size"):
            assert abs(message.kelly_fraction) == found.group("size")["kelly alone"].value


edges = st.builds(
    WeightedEdge,
    model=st.sampled_from(["a", "b", "c"]),
    version=st.just("1"),
    edge_bps=st.one_of(st.floats(-80, 80), st.sampled_from([0.0, math.nan, math.inf, 40.0, -40.0])),
    confidence=st.floats(0, 1),
    horizon_ms=st.sampled_from([1_000, 10_000, 600_000]),
    weight=st.floats(0.01, 2),
    age_ms=st.integers(0, 20_000),
)
instruments = st.sampled_from([BTC, ETH])


def edge(model: str, bps: float, confidence: float) -> WeightedEdge:
    return WeightedEdge(
        model=model, version="1", edge_bps=bps, confidence=confidence, horizon_ms=10_000, weight=1.0, age_ms=0
    )


actions = st.one_of(
    st.tuples(
        st.just("ensemble"),
        instruments,
        st.lists(edges, max_size=7),
        st.sampled_from(["calm", "wild", None]),
        st.sampled_from(["all", "other"]),
    ),
    st.tuples(st.just("edge"), instruments, st.floats(-60, 60)),
    st.tuples(st.just("move"), instruments, st.floats(-0.04, 0.04)),
    st.tuples(st.just("beat"), st.integers(1, 15), st.booleans()),
    st.tuples(st.just("stale"), st.integers(3_001, 60_000)),
    st.tuples(st.just("fill"), instruments, st.floats(-0.4, 0.4)),
    st.tuples(st.just("order"), instruments, st.sampled_from(list(OrderState)), st.floats(-0.3, 0.3)),
    st.tuples(st.just("state"), st.sampled_from(["ACTIVE", "ACTIVE", "REDUCING", "HALTED"])),
    st.tuples(st.just("cash"), st.integers(-5_000, 500_000)),
)


def act(world: World, action: Sequence[Any]) -> None:
    match action:
        case "ensemble", name, chosen, regime, rule:
            world.ensemble(chosen, name, regime=regime, rule=rule)
        case "edge", name, bps:
            world.edge(bps, name)
        case "move", name, change:
            world.prices[name] *= math.exp(change)
            world.beat()
        case "beat", seconds, alive:
            world.beat(seconds, alpha_alive=alive)
        case "stale", age_ms:
            world.beat(age_ms=age_ms)
        case "fill", name, units:
            if round(units, 5):
                world.fill(Decimal(repr(round(units, 5))), name)
        case "order", name, state, units:
            if round(units, 5):
                world.order(Decimal(repr(round(units, 5))), state, name)
        case "state", state:
            world.trading(state)
        case "cash", units:
            world.account({"USDT": str(units)})


@given(st.lists(actions, max_size=12))
@settings(max_examples=200, deadline=None)
def test_in_every_world_the_explanation_is_the_verdict_of_the_stage(played: list[Sequence[Any]]) -> None:
    world, stage = explained()

    for action in played:
        act(world, action)

    for pair in stage.pairs:
        agrees(*pair)


def test_every_number_of_an_entry_follows_from_the_ones_before_it() -> None:
    """The definitions of docs/risk_harmoniser.md, taken from the numbers that are told and from nothing else."""
    world, stage = explained()
    world.hold(25.0, ETH)
    world.ensemble((edge("a", 40.0, 0.9), edge("b", 20.0, 0.5), edge("c", 90.0, 0.1)), regime="calm")

    found, _, _, _ = stage.pairs[-1]
    blend, cost, size = found.group("blend"), found.group("cost"), found.group("size")
    account, portfolio, variance = found.group("account"), found.group("portfolio"), found.group("variance")

    def number(group: dict[str, Number], name: str) -> float:
        value = group[name].value
        assert isinstance(value, float | int | Decimal)
        return float(value)

    weights = {one.title: found.group(one.title) for one in found.models}
    assert {name: one["is"].value for name, one in weights.items()} == {
        "a": "kept",
        "b": "kept",
        "c": "below min confidence",
    }
    parts = {name: number(weights[name], "weight") * number(weights[name], "confidence") for name in "ab"}
    raw = math.fsum(parts[name] * number(weights[name], "edge") for name in "ab") / math.fsum(parts.values())
    assert number(blend, "raw edge") == pytest.approx(raw)
    strength, evidence = number(blend, "shrinkage strength"), number(blend, "confidence")
    prior = strength / (1 - strength)
    assert number(blend, "effective models") == 1.0
    assert number(blend, "edge") == pytest.approx(raw * evidence / (prior + evidence))
    assert number(cost, "cost") == pytest.approx(
        math.fsum(number(cost, name) for name in ("fee", "half spread", "impact"))
    )
    assert number(cost, "net edge") == pytest.approx(number(blend, "edge") - number(cost, "cost"))
    over = number(variance, "variance of a second") * number(blend, "horizon") / 1_000
    assert number(variance, "variance over the horizon") == pytest.approx(over)
    assert number(account, "equity") == pytest.approx(number(account, "ETH worth") + number(account, "USDT worth"))
    assert number(size, "share") == pytest.approx(0.25 * number(account, "left of drawdown"))
    left = number(found.group("breakers"), "left of breakers")
    assert (number(size, "left of breakers"), number(size, "left of regime")) == (left, 0.5)
    assert number(size, "kelly alone") == pytest.approx(number(size, "share") * number(cost, "net edge") / 1e4 / over)
    rho = number(portfolio, f"correlation {ETH}")
    held = number(account, "ETH worth") / number(account, "equity")
    assert rho == pytest.approx(1.0)
    assert number(size, "others pull") == pytest.approx(rho * held, rel=1e-4)
    assert number(size, "deserved") == pytest.approx(number(size, "kelly alone") - number(size, "others pull"))
    assert number(size, "wanted") == left * 0.5 * min(number(size, "deserved"), number(size, "room"))
    assert number(size, "room") == min(number(found.group(one.title), "room") for one in found.limits)
    lots = number(size, "in steps") * number(account, "equity") / number(cost, "ask")
    assert number(size, "in lots") == pytest.approx(lots, abs=1e-5)
    assert isinstance(found.verdict, Yes)
    assert found.verdict.quantity == size["in lots"].value
    for one in found.limits:
        limit = found.group(one.title)
        room = (number(limit, "cap") - number(limit, "used")) / number(limit, "cap")
        assert number(limit, "head-room") == pytest.approx(room)
        assert found.head_room[one.title] == limit["head-room"].value


def test_copies_are_told_with_what_they_count_together() -> None:
    world, stage = explained(config({**SPACED, "edge_blending": {"agreement_interval_ms": 1_000}}))
    for bps in [20.0, -15.0] * 40:
        world.beat()
        world.ensemble((edge("a", bps, 1.0), edge("b", bps, 1.0)))

    found, _, _, _ = stage.pairs[-1]

    assert [found.group(name)["look-alikes"].value for name in "ab"] == [2.0, 2.0]
    assert found.group("blend")["effective models"].value == pytest.approx(1.0)
    assert found.group("blend")["posterior sd"].value is not None


def test_one_of_too_many_models_is_told_as_outweighed() -> None:
    world, stage = explained(config({**SPACED, "edge_blending": {"max_models_to_blend": 1}}))

    world.ensemble((edge("a", 20.0, 0.4), edge("b", 20.0, 0.9)))

    found, _, _, _ = stage.pairs[-1]
    assert [(one.title, found.group(one.title)["is"].value) for one in found.models] == [
        ("a", "outweighed"),
        ("b", "kept"),
    ]


def test_an_edge_that_two_rules_chose_is_told_once_for_each_place() -> None:
    world, stage = explained(config({**SPACED, "edge_blending": {"max_models_to_blend": 1}}))

    world.ensemble((edge("a", 20.0, 0.9),), rule="one")
    world.ensemble((edge("a", 20.0, 0.9),), rule="two")

    found, _, _, _ = stage.pairs[-1]
    told = [{number.name: number.value for number in one.numbers} for one in found.models]
    assert [(one["rule"], one["is"]) for one in told] == [("one", "kept"), ("two", "outweighed")]


def test_a_halted_stage_still_tells_its_account_and_its_edges() -> None:
    world, _ = explained()
    world.edge(20.0)
    world.trading("HALTED")

    found = explain(world.state, BTC, world.config)

    assert isinstance(found.verdict, No)
    assert found.verdict.reason is Refusal.HALTED
    assert found.limits == ()
    assert found.group("account")["equity"].value == pytest.approx(100_000)
    assert found.group("blend")["edge"].value != 0
    assert found.group("gates")["trading"].formula == "a test"


def test_an_open_breaker_is_told_with_both_numbers() -> None:
    world, _ = explained()
    world.prices[BTC] = PRICES[BTC]
    world.hold(40.0)
    for _ in range(40):
        world.prices[BTC] *= 0.99
        world.beat()

    found = explain(world.state, BTC, world.config)

    opened = [one for one in next(g for g in found.groups if g.title == "breakers").numbers if "OPEN" in one.formula]
    assert any("limit" in one.formula and one.value is not None for one in opened)


def test_a_changed_configuration_is_not_told_as_if_it_had_blended() -> None:
    world, _ = explained()
    world.edge(20.0)

    found = explain(world.state, BTC, config({**SHORT, "edge_blending": {"shrinkage": {"shrinkage_strength": 0.5}}}))

    assert "raw edge" not in found.group("blend")
    assert found.group("blend")["note"].value == "formed under another configuration"
    assert found.group("blend")["edge"].value == pytest.approx(18.0)


def test_an_instrument_that_was_never_seen_is_refused_by_name() -> None:
    world, _ = explained()

    with pytest.raises(ValueError, match=r"no SOL/USDT@sim, but BTC/USDT@sim, ETH/USDT@sim"):
        explain(world.state, "SOL/USDT@sim", world.config)
