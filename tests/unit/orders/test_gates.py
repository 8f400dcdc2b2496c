"""The start gate of each account: what one venue's gateway has not looked at yet keeps no other from trading."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from edgefleet.clock import NS_PER_S
from edgefleet.messages import (
    Account,
    Approved,
    Balance,
    Command,
    GatewayOutcome,
    OrderEvent,
    Reconciled,
    Refused,
    Session,
    TouchAge,
)
from edgefleet.orders.stage import OrderStage
from edgefleet.testing import build
from edgefleet.testing.clock import START_NS

from .desk import Desk, refusals, states

SIM, OKX = "BTC/USDT@sim", "BTC/USDT@okx"


def at(venue: str) -> str:
    return f"BTC/USDT@{venue}"


def target(venue: str, **changes: Any) -> Approved:
    return build.approved(instrument=at(venue), **changes)


def opened(venue: str) -> Reconciled:
    return build.reconciled(venue=venue)


def shut(venue: str, reason: str = "Redis was lost") -> Reconciled:
    return build.reconciled(venue=venue, ready=False, reason=reason)


def holding(venue: str, **held: str) -> Account:
    balances = {asset: Balance(free=Decimal(amount), locked=Decimal(0)) for asset, amount in held.items()}
    return build.account(venue=venue, balances=balances)


def two_venues() -> Desk:
    """Return a desk with prices and balances at two venues, at neither of which the gate is open yet."""
    desk = Desk()
    desk.feed(build.trading_state(), build.account(), build.account(venue="okx"))
    desk.feed(build.touch(), build.touch(instrument=OKX))
    return desk


def orders(desk: Desk) -> list[tuple[str, str]]:
    return [(event.instrument, event.target_id) for event in desk.orders]


@pytest.mark.parametrize(("open_one", "shut_one"), [("sim", "okx"), ("okx", "sim")])
def test_a_gate_that_is_shut_stops_the_lanes_of_its_own_venue_alone(open_one: str, shut_one: str) -> None:
    desk = two_venues()
    desk.feed(opened(open_one), shut(shut_one))

    said = desk.feed(target(shut_one))
    done = desk.feed(target(open_one))

    assert refusals(said) == ["NOT_READY"]
    assert said[0].message.detail == "Redis was lost"  # type: ignore[union-attr]
    assert states(done) == ["PENDING_NEW"]
    assert orders(desk) == [(at(open_one), "t1")]


def test_a_venue_of_which_nothing_was_heard_is_shut() -> None:
    desk = two_venues()
    desk.feed(opened("sim"))

    (told,) = [out.message for out in desk.feed(target("okx")) if isinstance(out.message, Refused)]

    assert (told.reason, told.detail) == ("NOT_READY", "the gateway has not reconciled yet")


def test_a_gate_that_opens_lets_what_waited_at_its_own_venue_go() -> None:
    desk = two_venues()
    desk.feed(target("sim"), target("okx"))

    first = desk.feed(opened("okx"))
    then = desk.feed(opened("sim"))

    assert [out.message.instrument for out in first if isinstance(out.message, OrderEvent)] == [OKX]
    assert [out.message.instrument for out in then if isinstance(out.message, OrderEvent)] == [SIM]


def test_a_gate_that_falls_shut_at_one_venue_leaves_the_other_s_targets_alone() -> None:
    desk = two_venues()
    desk.feed(opened("sim"), opened("okx"), shut("okx"))

    done = desk.feed(target("sim"))
    waits = desk.feed(target("okx"))

    assert (states(done), refusals(waits)) == (["PENDING_NEW"], ["NOT_READY"])


def test_the_gate_of_another_account_at_the_venue_is_another_gate() -> None:
    desk = two_venues()
    desk.feed(opened("sim"), build.reconciled(account="second", ready=False, reason="another's"))

    assert states(desk.feed(target("sim"))) == ["PENDING_NEW"]
    assert refusals(desk.feed(target("sim", account="second"))) == ["NOT_READY"]


def test_a_gate_that_is_shut_without_a_reason_is_shut() -> None:
    desk = two_venues()
    desk.feed(opened("sim"), shut("sim", reason=""))

    (told,) = [out.message for out in desk.feed(target("sim")) if isinstance(out.message, Refused)]

    assert (told.reason, told.detail) == ("NOT_READY", "no reason was told")


def denied(order_id: str, venue: str) -> GatewayOutcome:
    return build.gateway_outcome(
        order_id=order_id, instrument=at(venue), outcome="DENIED", reason="the start gate is shut: reconciling"
    )


def test_order_that_met_the_shut_gate_of_its_venue_is_made_anew_when_that_one_opens() -> None:
    desk = two_venues()
    desk.feed(opened("sim"), opened("okx"), target("okx"), shut("okx"))
    desk.feed(denied(desk.orders[0].order_id, "okx"))

    before = [out for out in desk.feed(opened("sim")) if isinstance(out.message, OrderEvent)]
    after = desk.feed(opened("okx"))

    assert before == []
    assert states(after) == ["PENDING_NEW"]
    assert orders(desk) == [(OKX, "t1"), (OKX, "t1")]


def test_order_that_was_denied_while_another_venue_s_gate_is_shut_is_not_made_anew() -> None:
    desk = two_venues()
    desk.feed(opened("sim"), shut("okx"), target("sim"))

    desk.feed(denied(desk.orders[0].order_id, "sim"), opened("okx"), build.touch())

    assert orders(desk) == [(SIM, "t1")]


def test_flatten_closes_what_it_may_and_waits_at_the_venue_whose_gate_is_shut() -> None:
    desk = two_venues()
    desk.feed(holding("sim", BTC="1"), holding("okx", BTC="2"), opened("sim"), shut("okx"))

    desk.feed(Command(verb="flatten", reason="test", by="person", ts_event=START_NS, ts_init=START_NS))
    at_once = [(event.instrument, event.side, event.quantity) for event in desk.orders]
    desk.feed(opened("okx"))

    assert at_once == [(SIM, "sell", Decimal(1))]
    assert [(event.instrument, event.quantity) for event in desk.orders[1:]] == [(OKX, Decimal(2))]


def test_a_new_stage_has_every_gate_shut() -> None:
    state = OrderStage().initial()

    assert state.gates == {}
    assert state.shut(state.lane("main", SIM)) != ""


def test_a_touch_grows_old_while_its_venue_does_not_beat_and_another_does() -> None:
    desk = two_venues()
    desk.feed(opened("sim"), opened("okx"))
    desk.feed(build.beat(venue="okx", touches=(TouchAge(instrument=OKX, bid=Decimal(1), ask=Decimal(2), age_ms=7),)))

    desk.feed(build.beat(ts_event=START_NS + 6 * NS_PER_S))
    said = desk.feed(target("okx", expires_at=START_NS + 60 * NS_PER_S))

    assert refusals(said) == ["STALE_DATA"]
    assert desk.state.age_ms(OKX) == 6_007


def test_a_venue_that_is_only_followed_makes_no_touch_look_old() -> None:
    desk = two_venues()
    desk.feed(opened("sim"), opened("okx"))
    desk.feed(build.beat(touches=(TouchAge(instrument=SIM, bid=Decimal(1), ask=Decimal(2), age_ms=7),)))

    desk.feed(build.beat(venue="kraken", touches=(), ts_event=START_NS + 3_600 * NS_PER_S))

    assert desk.state.age_ms(SIM) == 7


def test_a_session_at_another_time_begins_with_no_beat_of_the_last_one() -> None:
    desk = two_venues()
    desk.feed(opened("sim"), opened("okx"), build.beat(ts_event=START_NS + 3_600 * NS_PER_S))

    desk.feed(
        Session(
            session="next",
            mode="demo",
            venue="sim,okx",
            account="main",
            symbols=("BTC/USDT",),
            instruments=(SIM, OKX),
            first_ids={},
            machine={},
            ts_event=START_NS,
            ts_init=START_NS,
        ),
        build.beat(venue="okx", touches=(TouchAge(instrument=OKX, bid=Decimal(1), ask=Decimal(2), age_ms=7),)),
    )

    assert desk.state.age_ms(OKX) == 7
