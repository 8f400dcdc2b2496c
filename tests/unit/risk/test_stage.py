"""What the risk stage says, and when it keeps silent."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from tests.unit.risk.world import BTC, ETH, SECOND, World, config

from edgefleet.errors import Broken
from edgefleet.messages import FEEDS, Abstention, Approved, Command, OrderState, Refusal, Refused, encode
from edgefleet.risk.stage import RiskState
from edgefleet.risk.told import target_id
from edgefleet.risk.var import ES_TAIL, Z_95
from edgefleet.testing import build


def refusal(said: list[Approved | Refused]) -> Refused:
    (one,) = said
    assert isinstance(one, Refused)
    return one


def target(said: list[Approved | Refused]) -> Approved:
    (one,) = said
    assert isinstance(one, Approved)
    return one


def opinion_bps(world: World) -> float:
    opinion = world.state.desks[BTC].opinion
    assert opinion is not None
    return opinion.edge_bps


class TestEntering:
    def test_an_edge_above_its_cost_is_sized_to_the_aimed_cap(self) -> None:
        world = World()

        said = target(world.edge(20.0))

        ask = float(world.touch(BTC)[1])
        assert float(said.quantity) * ask / 100_000 == pytest.approx(0.18, rel=1e-4)
        assert said.binding == "position"
        assert said.edge_bps == pytest.approx(18.0)
        assert said.expires_at == world.now + 30 * SECOND
        assert said.equity == Decimal("100000.00")
        assert said.target_id == target_id("main", BTC, said.cause)
        assert said.target_id.startswith("t")
        assert len(said.target_id) == 21

    def test_every_head_room_is_told(self) -> None:
        world = World()

        said = target(world.edge(20.0))

        held = float(said.quantity) * float(world.touch(BTC)[1]) / 100_000
        deviation = 1e-4 * math.sqrt(86_400)
        assert said.var_fraction == pytest.approx(Z_95 * held * deviation, rel=1e-3)  # prices are whole cents
        assert said.head_room == pytest.approx(
            {
                "position": 1 - held / 0.20,
                "single": 1 - held / 0.25,
                "order_size": 1 - held / 0.25,
                "leverage": 1 - held / 3,
                "class": 1 - held / 0.60,
                "cluster": 1 - held / 0.60,
                "venue": 1 - held / 4,
                "gross": 1 - held / 4,
                "net": 1 - held / 4,
                "var": 1 - said.var_fraction / 0.02,
                "var_week": 1 - said.var_fraction / 0.02,
                "var_month": 1 - said.var_fraction / 0.02,
                "es": 1 - said.var_fraction / Z_95 * ES_TAIL / 0.0285,
                "drawdown": 1.0,
            }
        )

    def test_kelly_is_on_the_variance_of_the_same_horizon(self) -> None:
        world = World()

        said = target(world.edge(20.0, horizon_ms=60_000))

        assert said.variance is not None
        assert said.variance == pytest.approx(60 * 1e-8, rel=1e-3)
        mid = sum(float(price) for price in world.touch(BTC)) / 2
        net = (18.0 - 10.0 - 0.01 / mid * 10_000) / 10_000
        assert said.kelly_fraction == pytest.approx(0.25 * net / said.variance, rel=1e-6)

    def test_kelly_binds_where_the_variance_is_large(self) -> None:
        settings = config(
            {
                "risk_limits": {
                    "var_targets": {"daily_95pct": 0.5, "weekly_95pct": 0.6, "monthly_95pct": 0.7},
                    "var_hard_limit": 0.9,
                    "expected_shortfall": {"target": 0.9, "hard_limit": 0.9},
                    "vol_multiplier_limit": 100,
                },
                "breakers": {"var": {"enabled": False}},
            }
        )
        world = World(settings)
        world.warm(400, bps=50.0)

        said = target(world.edge(13.0, horizon_ms=60_000))

        assert said.binding == "kelly"
        assert 0 < said.kelly_fraction < 0.18
        held = float(said.quantity) * float(world.touch(BTC)[1]) / 100_000
        assert said.kelly_fraction / 2 <= held * (1 + 1e-4) <= said.kelly_fraction * (1 + 1e-4)

    def test_a_constant_edge_gives_one_constant_target(self) -> None:
        world = World()
        first = world.hold()

        for n in range(100):
            world.prices[BTC] *= 1.0001 if n % 2 else 0.9999
            world.beat()
            world.edge(20.0)

        targets = [one for one in world.said if isinstance(one, Approved)]
        assert len(targets) == len(world.said)
        assert {one.quantity for one in targets} == {first.quantity}
        assert 1 + 100 // 20 >= len(targets) >= 100 // 30  # renewed while it is wanted, and no oftener

    def test_an_edge_below_its_cost_is_refused_once(self) -> None:
        world = World()

        said = refusal(world.edge(8.0))

        assert said.reason is Refusal.EDGE_BELOW_COST
        assert said.limit == pytest.approx(10.0, abs=0.01)
        assert said.observed == pytest.approx(7.2)
        assert world.edge(8.1) == []
        assert refusal(world.edge(-8.0)).reason is Refusal.EDGE_BELOW_COST  # the side changed

    def test_two_sides_cost_twice(self) -> None:
        world = World(config({"position_sizing": {"cost_sides": 2}}))

        assert refusal(world.edge(20.0)).limit == pytest.approx(20.0, abs=0.01)

    def test_what_is_not_shortable_stays_at_zero(self) -> None:
        said = refusal(World().edge(-25.0))

        assert (said.reason, said.limit) == (Refusal.NOT_SHORTABLE, 0.0)
        assert said.observed == pytest.approx(-22.5)

    def test_mirrored_edges_size_mirrored(self) -> None:
        settings = config(shortable=True)

        up, down = target(World(settings).edge(20.0)), target(World(settings).edge(-20.0))

        assert down.quantity == -up.quantity
        assert down.kelly_fraction == -up.kelly_fraction
        assert down.head_room == up.head_room

    def test_positions_scale_with_equity(self) -> None:
        small, large = target(World(cash="10000").edge(20.0)), target(World(cash="1000000").edge(20.0))

        assert float(large.quantity) == pytest.approx(100 * float(small.quantity), rel=1e-3)
        assert large.quantity <= small.quantity * 100 + Decimal("0.001")

    def test_an_account_too_small_for_an_order_is_told_so(self) -> None:
        said = refusal(World(cash="20").edge(20.0))

        assert (said.reason, said.limit) == (Refusal.BELOW_MINIMUM, 5.0)
        assert said.observed == pytest.approx(3.6)

    def test_nobody_chosen_is_told_with_the_abstentions(self) -> None:
        said = refusal(World().ensemble((), abstained=(Abstention(model="m", reason="STALE"),)))

        assert (said.reason, said.detail, said.edge_bps) == (Refusal.NO_MODELS, "m STALE", None)

    def test_low_confidence_is_told_with_both_numbers(self) -> None:
        said = refusal(World().edge(20.0, confidence=0.2))

        assert (said.reason, said.limit, said.observed) == (Refusal.LOW_CONFIDENCE, 0.3, 0.2)

    def test_rules_of_one_instrument_are_blended_together(self) -> None:
        world = World()

        world.edge(30.0, rule="fast", horizon_ms=1_000)
        world.said.clear()
        world.edge(-30.0, rule="slow", horizon_ms=60_000)

        assert opinion_bps(world) == pytest.approx(0.0)
        world.ensemble((), rule="slow")
        assert opinion_bps(world) == pytest.approx(27.0)

    def test_a_rule_that_is_gone_is_forgotten(self) -> None:
        world = World()
        world.edge(30.0, rule="gone")

        for _ in range(21):
            world.beat()
        world.edge(-30.0, rule="new")

        assert opinion_bps(world) == pytest.approx(-27.0)


class TestWhatMustBeKnown:
    def test_halted_until_the_latch_is_read(self) -> None:
        world = World(ready=False)

        assert refusal(world.edge(20.0)).reason is Refusal.HALTED

    def test_then_the_account_the_touch_the_signal_and_the_variance(self) -> None:
        world = World(ready=False)
        world.trading("ACTIVE")
        assert refusal(world.edge(20.0)).reason is Refusal.NO_ACCOUNT
        world.account({"USDT": "100000"})
        assert refusal(world.edge(20.0)).reason is Refusal.NO_TOUCH
        stale = [one for one in world.beat(alpha_alive=False) if one.instrument == BTC]
        assert refusal(stale).reason is Refusal.STALE_SIGNAL
        world.beat()
        said = refusal(world.edge(20.0))
        assert (said.reason, said.limit, said.observed) == (Refusal.NOT_WARM, 30.0, 1.0)
        world.warm()
        assert isinstance(world.said[-1], Approved)

    def test_a_price_that_never_moved_has_no_variance(self) -> None:
        world = World(ready=False)
        world.trading("ACTIVE")
        world.account({"USDT": "100000"})
        world.warm(bps=0.0)

        said = refusal(world.edge(20.0))

        assert (said.reason, said.limit, said.observed) == (Refusal.NOT_WARM, 0.0, 0.0)

    def test_an_instrument_without_rules_is_unknown(self) -> None:
        said = refusal(World().edge(20.0, "DOGE/USDT@sim"))

        assert said.reason is Refusal.UNKNOWN_INSTRUMENT

    def test_another_account_is_not_ours(self) -> None:
        settings = config()
        world = World(settings.model_copy(update={"fleet": settings.fleet.model_copy(update={"account": "other"})}))

        assert refusal(world.edge(20.0)).reason is Refusal.NO_ACCOUNT

    @pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
    @pytest.mark.parametrize(("field", "name"), [("bps", "m.edge_bps"), ("confidence", "m.confidence")])
    def test_a_model_that_says_nan_is_named(self, field: str, name: str, value: float) -> None:
        numbers: dict[str, Any] = {"bps": 20.0, "confidence": 1.0, field: value}

        said = refusal(World().edge(numbers.pop("bps"), **numbers))

        assert (said.reason, said.input, said.observed) == (Refusal.NOT_FINITE, name, None)
        encode(said)

    @pytest.mark.parametrize(("side", "price"), [("bid", "NaN"), ("ask", "NaN"), ("ask", "Infinity")])
    def test_a_touch_that_is_nan_is_named(self, side: str, price: str) -> None:
        world = World()
        world.edge(20.0)

        world.said.clear()
        world.beat(touch={side: Decimal(price)})

        said = refusal([one for one in world.said if one.instrument == BTC])
        assert (said.reason, said.input) == (Refusal.NOT_FINITE, side)

    def test_a_crossed_touch_is_no_touch(self) -> None:
        world = World()

        world.beat(touch={"bid": Decimal(60_100), "ask": Decimal(60_000)})

        assert refusal(world.said).reason is Refusal.NO_TOUCH

    def test_a_fact_that_is_nan_stops_the_stage(self) -> None:
        world = World()

        with pytest.raises(Broken, match="not finite"):
            world.fill("0.1", fee="NaN")
        with pytest.raises(Broken, match="balance of USDT"):
            world.account({"USDT": "NaN"})


class TestHolding:
    def test_a_flipped_edge_closes_at_once_whatever_it_costs(self) -> None:
        world = World()
        world.hold()

        said = target(world.edge(-1.0))

        assert (said.quantity, said.binding, said.urgency) == (Decimal(0), "edge", "high")

    def test_an_edge_that_only_fades_is_held(self) -> None:
        world = World()
        world.hold()

        assert world.edge(3.0) == []

    def test_models_that_fall_silent_close(self) -> None:
        world = World()
        world.hold()

        said = target(world.ensemble(()))

        assert (said.quantity, said.binding, said.edge_bps) == (Decimal(0), "no_models", 0.0)

    def test_after_a_change_an_enlargement_waits(self) -> None:
        world = World()
        held = world.hold()
        world.edge(-1.0)
        world.fill(-held.quantity)

        said = refusal(world.edge(20.0))

        assert (said.reason, said.limit, said.observed) == (Refusal.DWELL, 15_000.0, 0.0)
        world.beat(15)
        assert isinstance(world.said[-1], Approved)

    def test_a_close_that_did_not_happen_is_asked_for_again(self) -> None:
        world = World()
        world.hold()
        world.edge(-1.0)
        world.said.clear()

        for _ in range(6):
            world.beat(5)

        assert [one.quantity for one in world.said if isinstance(one, Approved) and one.instrument == BTC] == [0]

    def test_a_mark_beyond_a_cap_shrinks_the_target(self) -> None:
        world = World()
        held = world.hold()

        world.prices[BTC] *= 1.3
        said = target(world.beat())

        assert said.binding == "position"
        assert 0 < said.quantity < held.quantity
        assert said.head_room["position"] > 0

    def test_volatility_beyond_the_hard_limit_shrinks_the_target(self) -> None:
        world = World()
        held = world.hold()

        world.warm(200, bps=8.0)

        shrunk = [one for one in world.said if isinstance(one, Approved) and one.binding == "var_week"]
        assert shrunk
        week = 0.035 / math.sqrt(7)  # the weekly target is the tightest of them
        assert all(one.quantity < held.quantity and one.var_fraction <= week * 1.0001 for one in shrunk)

    def test_short_edges_turn_a_long_around(self) -> None:
        world = World(config({"position_sizing": {"min_dwell_ms": 0}}, shortable=True))
        held = world.hold()

        said = target(world.edge(-20.0))

        assert said.quantity == pytest.approx(-held.quantity, rel=Decimal("0.01"))

    def test_a_second_instrument_gets_what_the_first_leaves(self) -> None:
        settings = config(
            {"risk_limits": {"concentration_limits": {"single": 0.25, "class": 0.25, "sector": 0.4, "geography": 0.7}}}
        )
        world = World(settings)
        world.edge(20.0)

        said = target(world.edge(20.0, ETH))

        assert said.binding == "class"
        both = float(said.quantity) * float(world.touch(ETH)[1])
        both += float(world.state.desks[BTC].standing.quantity) * float(world.touch(BTC)[1])  # type: ignore[union-attr]
        assert both / 100_000 <= 0.25

    def test_open_and_unknown_orders_count_at_full_size(self) -> None:
        settings = config(
            {"risk_limits": {"concentration_limits": {"single": 0.25, "class": 0.25, "sector": 0.4, "geography": 0.7}}}
        )
        world = World(settings)
        world.order("0.45", OrderState.UNKNOWN)

        said = refusal(world.edge(20.0, ETH))

        assert (said.reason, said.detail) == (Refusal.POSITION_LIMIT, "class")
        world.order("0.45", OrderState.REJECTED)
        assert isinstance(target(world.edge(20.0, ETH)), Approved)

    def test_nothing_is_added_to_an_order_that_may_exist(self) -> None:
        world = World()
        world.order("0.1", OrderState.UNKNOWN)

        said = refusal(world.edge(20.0))

        assert (said.reason, said.observed) == (Refusal.UNRESOLVED_ORDER, 0.1)

    def test_a_fee_in_base_is_no_longer_held(self) -> None:
        world = World()

        world.fill("0.1", fee="0.0001", fee_asset="BTC")

        assert world.state.holdings["sim"]["BTC"] == Decimal("0.0999")


class TestTime:
    def test_a_quiet_feed_is_refused_and_the_target_lapses(self) -> None:
        world = World()
        world.hold()
        world.said.clear()

        for age in range(4_000, 40_000, 4_000):
            world.beat(4, age_ms=age)

        said = refusal([one for one in world.said if one.instrument == BTC])
        assert (said.reason, said.limit, said.observed) == (Refusal.STALE_DATA, 3_000.0, 4_000.0)

    def test_a_dead_alpha_is_refused_and_then_closed(self) -> None:
        world = World()
        world.hold()
        world.said.clear()

        for _ in range(70):
            world.beat(alpha_alive=False)

        mine = [one for one in world.said if one.instrument == BTC]
        reasons = [one.reason if isinstance(one, Refused) else one.binding for one in mine]
        assert reasons == ["standing", Refusal.STALE_SIGNAL, "stale_signal", Refusal.STALE_SIGNAL]

    def test_a_standing_target_is_renewed_before_it_expires(self) -> None:
        world = World()
        first = world.hold()
        world.said.clear()

        for _ in range(25):
            world.beat()

        again = target([one for one in world.said if one.instrument == BTC])
        assert (again.quantity, again.binding) == (first.quantity, "standing")
        assert first.expires_at > again.ts_event
        assert again.target_id != first.target_id

    def test_an_operators_clock_does_not_move_market_time(self) -> None:
        world = World()
        before = world.state.time

        world.now += 3_600 * SECOND
        world.trading("ACTIVE")

        assert world.state.time == before


class TestTradingState:
    def test_halted_is_said_once_per_change(self) -> None:
        world = World()
        world.hold()
        world.trading("HALTED")

        assert refusal(world.edge(20.0)).reason is Refusal.HALTED
        assert world.edge(20.0) == []
        assert world.beat() == [] or all(one.instrument != BTC for one in world.said[-1:])
        assert refusal(world.edge(-20.0)).reason is Refusal.HALTED

    def test_an_operators_flatten_is_not_undone_at_once(self) -> None:
        world = World()
        held = world.hold()
        said = Command(verb="flatten", reason="a test", by="person", ts_event=world.now, ts_init=world.now)
        world.feed("control", said)
        world.fill(-held.quantity)

        assert refusal(world.edge(20.0)).reason is Refusal.DWELL

    def test_a_resume_approves_again_what_is_held(self) -> None:
        world = World()
        held = world.hold()
        world.trading("HALTED")
        world.edge(20.0)
        world.trading("ACTIVE")

        said = target(world.edge(20.0))

        assert (said.quantity, said.binding) == (held.quantity, "standing")

    def test_reducing_lets_close_and_nothing_else(self) -> None:
        world = World()
        world.hold()
        world.trading("REDUCING")

        assert refusal(world.edge(20.0)).reason is Refusal.REDUCING
        assert refusal(world.edge(20.0, ETH)).reason is Refusal.REDUCING
        assert target(world.edge(-1.0)).quantity == 0

    def test_a_fall_from_the_peak_refuses_with_open_losses(self) -> None:
        settings = config(
            {"position_sizing": {"max_position_pct": {"crypto": 1.0}}, "risk_limits": {"max_drawdown": 0.03}}
        )
        world = World(settings)
        world.hold()

        world.prices[BTC] *= 0.85
        world.beat()
        said = [one for one in world.edge(20.0, ETH) if isinstance(one, Refused)]

        assert said[0].reason is Refusal.DRAWDOWN
        assert (said[0].observed or 0) >= 0.03
        world.trading("REDUCING", by=FEEDS)
        world.trading("ACTIVE", by=FEEDS)  # a feed spoke again: nothing is forgiven for it
        assert world.state.peaks["sim|USDT"] == pytest.approx(100_000)
        world.trading("REDUCING")
        world.trading("ACTIVE")  # a person resumed: drawdown is measured from here
        after = refusal([one for one in world.beat() if one.instrument == ETH])
        assert after.reason is Refusal.BREAKER  # a price that fell 15 % in a second is no calm one
        assert after.detail == "var"

    def test_money_that_came_or_went_is_no_gain_or_loss(self) -> None:
        world = World()
        world.beat()

        world.account({"USDT": "50000"})

        assert world.state.peaks["sim|USDT"] == pytest.approx(50_000)
        assert isinstance(target(world.edge(20.0)), Approved)


class TestState:
    def test_it_starts_shut(self) -> None:
        assert World(ready=False).state.trading == "HALTED"

    def test_it_survives_msgpack(self) -> None:
        world = World()
        world.hold()
        world.order("0.1", OrderState.ACCEPTED)

        again = msgspec.msgpack.decode(msgspec.msgpack.encode(world.state), type=RiskState)

        assert again == world.state

    def test_an_order_counts_for_what_is_left_of_it(self) -> None:
        world = World()
        world.order("0.1", OrderState.ACCEPTED)
        world.fill("0.04")

        assert world.state.orders["ef1"].remaining == pytest.approx(0.06)
        world.order("0.1", OrderState.FILLED)
        assert world.state.orders == {}


class TestWhatIsKeptBetweenEntries:
    """What a verdict rests on is worked out once and kept; what changes it lets it go."""

    def test_a_price_between_two_ensembles_is_seen_by_the_second(self) -> None:
        world = World()
        target(world.edge(20.0))
        world.feed("beats", build.touch(instrument=BTC, bid=Decimal(61_000), ask=Decimal(60_000), ts_event=world.now))

        assert refusal(world.edge(20.0)).detail == "crossed or not positive"

    def test_a_desk_that_an_ensemble_opens_counts_in_the_equity_of_the_others(self) -> None:
        world = World(ready=False)
        del world.prices[ETH]
        world.trading("ACTIVE")
        world.account({"USDT": "100000", "ETH": "1"})
        world.warm()
        assert world.edge(5.0, BTC)  # an asset without an instrument in the session counts nothing

        world.edge(5.0, ETH)

        assert refusal(world.edge(5.0, BTC)).detail == "an asset of the account has no price"

    def test_another_configuration_is_in_force_with_the_next_entry(self) -> None:
        world = World()
        assert refusal(world.edge(-20.0)).reason is Refusal.NOT_SHORTABLE

        world.config = config(shortable=True)

        assert target(world.edge(-20.0)).quantity < 0

    def test_a_stage_keeps_two_states_apart(self) -> None:
        settings = config()
        rich, poor = World(settings, cash="100000"), World(settings, cash="1000")
        poor.stage = rich.stage

        first = target(rich.edge(20.0))
        second = target(poor.edge(20.0))

        assert (first.equity, second.equity) == (Decimal(100_000), Decimal(1_000))
