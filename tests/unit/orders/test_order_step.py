"""What the order step does about a target, and what it refuses to do."""

from __future__ import annotations

from decimal import Decimal

import pytest

from edgefleet.ids import client_order_id
from edgefleet.messages import (
    FEEDS,
    Account,
    Alert,
    Balance,
    Beat,
    Command,
    GatewayOutcome,
    OrderEvent,
    OrderState,
    TouchAge,
)
from edgefleet.orders.facts import WOULD_TAKE
from edgefleet.params.schema import FleetConfig, InstrumentsParams
from edgefleet.testing import build
from edgefleet.testing.clock import START_NS
from edgefleet.units import ZERO

from .desk import BTC, Desk, config, fills, refusals, states

S = 1_000_000_000


def beat(age_ms: int | None = 0, *, at_s: float = 0) -> Beat:
    touch = TouchAge(instrument=build.INSTRUMENT, bid=Decimal("59999.99"), ask=Decimal("60000.01"), age_ms=age_ms)
    return build.beat(touches=(touch,), ts_event=START_NS + int(at_s * S))


def test_target_becomes_one_order_whose_name_follows_from_the_target() -> None:
    desk = Desk().open()

    outputs = desk.feed(build.approved())

    assert states(outputs) == ["PENDING_NEW"]
    order = desk.orders[0]
    assert (order.side, order.kind, order.quantity, order.price) == ("buy", "market", Decimal("0.1"), None)
    assert order.order_id == client_order_id("main", "sim", "t1", 0, 0)
    assert order.ts_init == build.approved().ts_init


def test_nothing_is_sent_before_a_person_opened_trading() -> None:
    desk = Desk()
    desk.feed(build.account(), build.reconciled(), build.touch())

    assert refusals(desk.feed(build.approved())) == ["HALTED"]
    assert desk.orders == []


def test_nothing_is_sent_before_the_gateway_reconciled_and_then_it_is() -> None:
    desk = Desk()
    desk.feed(build.trading_state(), build.account(), build.touch())

    assert refusals(desk.feed(build.approved())) == ["NOT_READY"]
    assert states(desk.feed(build.reconciled())) == ["PENDING_NEW"]


def test_nothing_is_sent_on_a_stale_feed_until_it_speaks_again() -> None:
    desk = Desk().open()
    desk.feed(beat(5_001))

    assert refusals(desk.feed(build.approved())) == ["STALE_DATA"]
    assert states(desk.feed(beat(10))) == ["PENDING_NEW"]


def test_a_feed_that_never_spoke_is_refused() -> None:
    desk = Desk()
    desk.feed(build.trading_state(), build.account(), build.reconciled())

    assert refusals(desk.feed(build.approved())) == ["NO_TOUCH"]


def test_second_target_waits_for_the_first_order_and_then_adds_the_difference() -> None:
    desk = Desk().open()
    desk.feed(build.approved())

    assert desk.feed(build.approved(target_id="t2", quantity=Decimal("0.3"))) == []
    desk.execute(desk.orders[0])

    assert [order.quantity for order in desk.orders] == [Decimal("0.1"), Decimal("0.2")]
    assert desk.orders[1].target_id == "t2"


def test_target_that_was_never_acted_on_ends_as_superseded() -> None:
    desk = Desk().open()
    desk.feed(build.approved(), build.approved(target_id="t2", quantity=Decimal("0.3")))

    outputs = desk.feed(build.approved(target_id="t3", quantity=Decimal("0.4")))

    assert refusals(outputs) == ["SUPERSEDED"]
    assert outputs[0].message.target_id == "t2"  # type: ignore[union-attr]


def test_target_expires_by_market_time_and_its_resting_order_is_cancelled() -> None:
    desk = Desk().open()
    desk.feed(build.approved(algorithm="post_only"))
    order = desk.orders[0]
    desk.feed(build.venue_order(order_id=order.order_id, kind="post_only", price=order.price))

    assert states(desk.feed(beat(at_s=5))) == ["PENDING_CANCEL"]


def test_target_that_waited_too_long_ends_as_expired() -> None:
    desk = Desk().open()
    desk.feed(beat(6_000))
    desk.feed(build.approved())

    assert refusals(desk.feed(beat(at_s=5))) == ["EXPIRED"]


def test_operators_wall_clock_expires_nothing() -> None:
    desk = Desk().open()

    desk.feed(build.trading_state(ts_event=START_NS + 10**18))

    assert states(desk.feed(build.approved())) == ["PENDING_NEW"]


@pytest.mark.parametrize(("algorithm", "price"), [("post_only", "59999.99"), ("limit", "60000.03"), ("market", None)])
def test_prices_come_from_the_touch(algorithm: str, price: str | None) -> None:
    desk = Desk().open()

    desk.feed(build.approved(algorithm=algorithm))

    assert desk.orders[0].price == (None if price is None else Decimal(price))


def test_resting_order_in_the_way_is_cancelled_before_the_new_one_is_sent() -> None:
    desk = Desk().open()
    desk.feed(build.approved(algorithm="post_only"))
    order = desk.orders[0]
    desk.feed(build.venue_order(order_id=order.order_id, kind="post_only", price=order.price))

    assert states(desk.feed(build.approved(target_id="t2", quantity=Decimal("0.05")))) == ["PENDING_CANCEL"]
    outputs = desk.feed(build.venue_order(order_id=order.order_id, kind="post_only", status="CANCELED"))

    assert states(outputs) == ["CANCELLED", "PENDING_NEW"]
    assert desk.orders[1].quantity == Decimal("0.05")


def test_resting_order_that_already_serves_the_target_stays() -> None:
    desk = Desk().open()
    desk.feed(build.approved(algorithm="post_only"))
    order = desk.orders[0]
    desk.feed(build.venue_order(order_id=order.order_id, kind="post_only", price=order.price))

    assert desk.feed(build.approved(target_id="t2", algorithm="post_only")) == []


def test_resting_order_left_behind_by_the_market_is_replaced() -> None:
    desk = Desk().open()
    desk.feed(build.approved(algorithm="post_only"))
    order = desk.orders[0]
    desk.feed(build.venue_order(order_id=order.order_id, kind="post_only", price=order.price))

    outputs = desk.feed(build.touch(bid=Decimal("60001.00"), ask=Decimal("60001.01")))
    assert states(outputs) == ["PENDING_CANCEL"]
    desk.feed(build.venue_order(order_id=order.order_id, kind="post_only", status="CANCELED"))

    assert desk.orders[1].price == Decimal("60001.00")
    assert (desk.orders[1].leg, desk.orders[1].target_id) == (1, "t1")


def test_post_only_order_that_would_take_is_priced_anew_a_few_times() -> None:
    desk = Desk(config(max_attempts=3)).open()
    desk.feed(build.approved(algorithm="post_only"))

    for _ in range(5):
        last = desk.orders[-1].order_id
        desk.feed(build.gateway_outcome(order_id=last, outcome="REJECTED", code=WOULD_TAKE))

    assert [(order.leg, order.attempt) for order in desk.orders] == [(0, 0), (0, 1), (0, 2)]
    assert len({order.order_id for order in desk.orders}) == 3


def test_rejected_order_is_not_tried_again_for_the_same_target() -> None:
    desk = Desk().open()
    desk.feed(build.approved())

    desk.feed(build.gateway_outcome(order_id=desk.orders[0].order_id, outcome="REJECTED", code="-2010"), build.touch())

    assert len(desk.orders) == 1


def denied(order_id: str) -> GatewayOutcome:
    return build.gateway_outcome(order_id=order_id, outcome="DENIED", reason="the start gate is shut: reconciling")


def test_order_that_met_the_shut_gate_is_made_anew_when_it_opens() -> None:
    desk = Desk().open()
    desk.feed(build.approved())

    desk.feed(build.reconciled(ready=False, reason="Redis was lost"))
    assert refusals(desk.feed(denied(desk.orders[0].order_id))) == ["NOT_READY"]
    assert desk.feed(build.touch()) == []
    desk.feed(build.reconciled())

    first, second = desk.orders
    assert (first.target_id, first.quantity) == (second.target_id, second.quantity)
    assert first.order_id != second.order_id


def test_denied_order_is_not_tried_again_for_the_same_target_while_the_gate_is_open() -> None:
    desk = Desk().open()
    desk.feed(build.approved())

    desk.feed(denied(desk.orders[0].order_id), build.touch())

    assert len(desk.orders) == 1


@pytest.mark.parametrize("outcome", ["DENIED", "REJECTED"])
def test_flatten_whose_order_did_not_come_to_be_says_so(outcome: str) -> None:
    desk = Desk().open()
    desk.feed(build.account(balances={"BTC": Balance(free=Decimal("0.5"), locked=Decimal(0))}))
    desk.feed(flatten())

    desk.feed(build.gateway_outcome(order_id=desk.orders[0].order_id, outcome=outcome, reason="the disk is full"))

    (told,) = [alert for alert in desk.all(Alert) if alert.name == "flatten_failed"]
    assert "the disk is full" in told.text
    assert "BTC/USDT@sim is not flat" in told.text


def test_flatten_that_met_the_shut_gate_goes_on_when_it_opens() -> None:
    desk = Desk().open()
    desk.feed(build.account(balances={"BTC": Balance(free=Decimal("0.5"), locked=Decimal(0))}))
    desk.feed(flatten(), build.reconciled(ready=False, reason="Redis was lost"))

    desk.feed(denied(desk.orders[0].order_id), build.reconciled())

    assert [order.quantity for order in desk.orders] == [Decimal("0.5")] * 2
    assert "flatten_failed" not in {alert.name for alert in desk.all(Alert)}


def test_instrument_halts_when_every_order_is_rejected() -> None:
    desk = Desk(config(max_rejects=3)).open()

    for n in range(3):
        desk.feed(build.approved(target_id=f"t{n}"))
        desk.feed(build.gateway_outcome(order_id=desk.orders[-1].order_id, outcome="REJECTED", code="-2010"))

    assert refusals(desk.feed(build.approved(target_id="t9"))) == ["HALTED"]
    desk.feed(build.trading_state("REDUCING", by=FEEDS), build.trading_state(by=FEEDS))
    assert refusals(desk.feed(build.approved(target_id="t9b"))) == ["HALTED"]  # a feed that speaks forgives nothing
    desk.feed(build.trading_state())
    assert states(desk.feed(build.approved(target_id="t10"))) == ["PENDING_NEW"]


def test_unknown_order_blocks_its_instrument_until_it_is_resolved() -> None:
    desk = Desk().open()
    desk.feed(build.approved())
    order = desk.orders[0]
    desk.feed(build.gateway_outcome(order_id=order.order_id, outcome="UNKNOWN"))

    assert refusals(desk.feed(build.approved(target_id="t2", quantity=Decimal("0.3")))) == ["UNRESOLVED_ORDER"]
    assert desk.feed(build.touch()) == []  # told once
    desk.execute(order)

    assert desk.orders[-1].quantity == Decimal("0.2")


def test_unknown_that_comes_after_the_venues_own_word_changes_nothing() -> None:
    desk = Desk().open()
    desk.feed(build.approved(algorithm="post_only"))
    order = desk.orders[0]
    desk.feed(build.venue_order(order_id=order.order_id, kind="post_only", price=order.price))

    assert desk.feed(build.gateway_outcome(order_id=order.order_id, outcome="UNKNOWN")) == []


def test_order_given_up_as_absent_that_comes_back_filled_is_booked_once() -> None:
    desk = Desk().open()
    desk.feed(build.approved())
    order = desk.orders[0]
    desk.feed(build.gateway_outcome(order_id=order.order_id, outcome="UNKNOWN"))
    desk.feed(build.gateway_outcome(order_id=order.order_id, outcome="RESOLVED_ABSENT"))

    told = build.venue_order(order_id=order.order_id, status="FILLED", filled=order.quantity, source="query")
    desk.feed(told, told)
    desk.execute(order)
    desk.execute(order)

    assert desk.position == Decimal("0.1")
    assert len(fills(desk.said)) == 1
    assert [alert.name for alert in desk.all(Alert)] == ["order_came_back"]


def test_halt_cancels_what_is_open_and_ends_what_waits() -> None:
    desk = Desk().open()
    desk.feed(build.approved(algorithm="post_only"))
    order = desk.orders[0]
    desk.feed(build.venue_order(order_id=order.order_id, kind="post_only", price=order.price))

    assert states(desk.feed(build.trading_state("HALTED"))) == ["PENDING_CANCEL"]
    assert refusals(desk.feed(build.approved(target_id="t2"))) == ["HALTED"]


def test_order_on_its_way_when_trading_halts_is_cancelled_as_soon_as_the_venue_has_it() -> None:
    desk = Desk().open()
    desk.feed(build.approved(algorithm="post_only"))
    order = desk.orders[0]
    assert desk.feed(build.trading_state("HALTED")) == []

    outputs = desk.feed(build.venue_order(order_id=order.order_id, kind="post_only", price=order.price))

    assert states(outputs) == ["ACCEPTED", "PENDING_CANCEL"]


def test_reducing_lets_only_orders_out_that_shrink_the_position() -> None:
    desk = Desk().open()
    desk.feed(build.approved())
    desk.execute(desk.orders[0])
    desk.feed(build.trading_state("REDUCING"))

    assert refusals(desk.feed(build.approved(target_id="t2", quantity=Decimal("0.3")))) == ["REDUCING"]
    desk.feed(build.approved(target_id="t3", quantity=Decimal("-0.5")))

    assert (desk.orders[-1].side, desk.orders[-1].quantity, desk.orders[-1].reduce_only) == (
        "sell",
        Decimal("0.1"),
        True,
    )


def test_reducing_cancels_a_resting_order_that_would_enlarge_the_position() -> None:
    desk = Desk().open()
    desk.feed(build.approved(algorithm="post_only"))
    order = desk.orders[0]
    desk.feed(build.venue_order(order_id=order.order_id, kind="post_only", price=order.price))

    assert states(desk.feed(build.trading_state("REDUCING"))) == ["PENDING_CANCEL"]


def flatten() -> Command:
    return Command(verb="flatten", reason="test", by="person", ts_event=START_NS, ts_init=START_NS)


def test_flatten_sells_everything_and_is_not_superseded_by_risk() -> None:
    desk = Desk().open()
    desk.feed(build.account(balances={"BTC": Balance(free=Decimal("0.4"), locked=Decimal("0.1"))}))

    desk.feed(flatten())
    assert (desk.orders[-1].side, desk.orders[-1].quantity, desk.orders[-1].kind) == ("sell", Decimal("0.5"), "market")
    assert refusals(desk.feed(build.approved(target_id="t2"))) == ["REDUCING"]
    desk.execute(desk.orders[-1])

    assert desk.position == 0
    assert states(desk.feed(build.approved(target_id="t3"))) == ["PENDING_NEW"]


def test_flatten_sells_no_cash_of_the_account() -> None:
    rules = {"BTC/USDT": BTC, "USDT/USD": BTC}
    desk = Desk(FleetConfig(instruments=InstrumentsParams(symbols=rules))).open()
    held = {"BTC": Balance(free=Decimal("0.5"), locked=ZERO), "USDT": Balance(free=Decimal(70_000), locked=ZERO)}
    desk.feed(build.touch(instrument="USDT/USD@sim", bid=Decimal("0.99"), ask=Decimal(1)), build.account(balances=held))

    desk.feed(flatten())

    assert [(event.instrument, event.side) for event in desk.orders] == [("BTC/USDT@sim", "sell")]


def test_fee_in_the_base_asset_makes_the_position_smaller() -> None:
    desk = Desk().open()
    desk.feed(build.approved())

    desk.execute(desk.orders[0], fee=Decimal("0.0001"), fee_asset="BTC")

    assert desk.position == Decimal("0.0999")


def test_account_replaces_what_fills_add_up_to_and_the_difference_is_told() -> None:
    desk = Desk().open()
    desk.feed(build.approved())
    desk.execute(desk.orders[0])

    outputs = desk.feed(
        build.account(balances={"BTC": Balance(free=Decimal(3), locked=Decimal(0))}, reason="reconnect")
    )

    assert desk.position == 3
    assert [alert.name for alert in desk.all(Alert)] == ["account_drift", "account_drift"]
    assert any(isinstance(output.message, Account) and output.stream == "fills" for output in outputs)


def test_ended_order_whose_trades_are_outstanding_blocks_the_next() -> None:
    desk = Desk().open()
    desk.feed(build.approved())
    order = desk.orders[0]
    desk.feed(build.venue_order(order_id=order.order_id, status="FILLED", filled=order.quantity))

    assert refusals(desk.feed(build.approved(target_id="t2", quantity=Decimal("0.3")))) == ["UNRESOLVED_ORDER"]
    assert len(desk.orders) == 1
    desk.execute(order)

    assert desk.orders[-1].quantity == Decimal("0.2")


def test_overfill_is_booked_and_halts_the_instrument() -> None:
    desk = Desk().open()
    desk.feed(build.approved())
    order = desk.orders[0]

    desk.execute(order, Decimal("0.1"), trade_id="1")
    desk.execute(order, Decimal("0.05"), trade_id="2")

    assert desk.position == Decimal("0.15")
    assert [alert.name for alert in desk.all(Alert)] == ["overfill"]
    assert refusals(desk.feed(build.approved(target_id="t2"))) == ["HALTED"]


def test_trade_told_twice_with_another_fee_is_booked_once_and_told() -> None:
    desk = Desk().open()
    desk.feed(build.approved())

    desk.execute(desk.orders[0])
    desk.execute(desk.orders[0], fee=Decimal(7))

    assert len(fills(desk.said)) == 1
    assert [alert.name for alert in desk.all(Alert)] == ["trade_told_differently"]


def test_order_of_a_hand_that_is_not_ours_is_left_alone() -> None:
    desk = Desk().open()

    assert desk.feed(build.venue_order(order_id="web_123")) == []
    assert desk.feed(build.venue_trade(order_id="web_123")) == []
    assert desk.position == 0


def test_order_with_our_name_that_the_state_lost_is_adopted_and_its_fills_booked() -> None:
    desk = Desk().open()

    desk.feed(build.venue_order(order_id="eflost", status="PARTIALLY_FILLED", filled=Decimal("0.04"), kind="limit"))
    desk.feed(build.venue_trade(order_id="eflost", quantity=Decimal("0.04")))

    assert desk.position == Decimal("0.04")
    assert [alert.name for alert in desk.all(Alert)] == ["order_adopted"]


def test_intended_order_of_a_crashed_gateway_is_unknown() -> None:
    desk = Desk().open()
    desk.feed(build.approved())
    order_id = desk.orders[0].order_id

    assert states(desk.feed(build.reconciled(unresolved=(order_id,)))) == ["UNKNOWN"]


def test_duplicate_of_a_trade_is_known_long_after_its_order_was_forgotten() -> None:
    desk = Desk().open()
    for n in range(300):
        desk.feed(build.approved(target_id=f"t{n}", quantity=Decimal("0.1") * (n % 2 + 1)))
        desk.execute(desk.orders[-1], trade_id=str(n + 1))

    before = desk.position
    desk.execute(desk.orders[0], trade_id="1")

    assert desk.position == before
    assert len(desk.state.settled) == 256


def test_cancel_that_the_venue_refuses_leaves_the_order_open() -> None:
    desk = Desk().open()
    desk.feed(build.approved(algorithm="post_only"))
    order = desk.orders[0]
    desk.feed(build.venue_order(order_id=order.order_id, kind="post_only", price=order.price))
    desk.feed(build.trading_state("HALTED"))

    outputs = desk.feed(build.gateway_outcome(order_id=order.order_id, command="cancel", outcome="REJECTED"))

    assert states(outputs) == ["ACCEPTED"]


def test_below_the_venues_minimum_nothing_is_sent_and_it_is_told_once() -> None:
    desk = Desk().open()

    outputs = desk.feed(build.approved(quantity=Decimal("0.00005")))
    later = desk.feed(build.approved(target_id="t2", quantity=Decimal("0.00006")))

    assert refusals(outputs) == ["BELOW_MINIMUM"]
    assert later == []
    assert desk.all(OrderEvent) == []
    assert OrderState.PENDING_NEW == "PENDING_NEW"
