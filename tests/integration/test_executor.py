"""The executor as a process: from a target to the venue and back."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from tests.integration.executor_world import World, world_of
from tests.integration.venue_server import eventually

from edgefleet.messages import Account, Fill, GatewayOutcome, Refused
from edgefleet.testing import build

pytestmark = pytest.mark.integration


@pytest.fixture
def world(redis_url: str, tmp_path: Path) -> Iterator[World]:
    with world_of(redis_url, tmp_path) as made:
        yield made


def test_target_is_filled_at_the_venue_and_the_books_are_the_venues(world: World) -> None:
    process = world.started()

    world.approve("0.02")
    eventually(lambda: world.all(Fill, "fills"), "a fill")
    world.approve("0.05")
    eventually(lambda: world.venue_position() > Decimal("0.045"), "the second fill")

    assert world.stop(process) == 0
    last = world.all(Account, "fills")[-1]
    assert last.reason == "stop"
    assert last.balances["BTC"].free == world.venue_position()
    assert {trade.trade_id for trade in world.all(Fill, "fills")} == {
        str(trade["id"]) for trade in world.venue.signed("GET", "myTrades", symbol="BTCUSDT").json()
    }
    sent = [o for o in world.all(GatewayOutcome, "venue.events") if o.outcome == "SENT"]
    assert all(o.sent_at is not None for o in sent)


def test_ordered_stop_cancels_our_open_orders_and_leaves_others_alone(world: World) -> None:
    touch = world.venue.get("ticker/bookTicker", symbol="BTCUSDT")
    low = str((Decimal(touch["bidPrice"]) * Decimal("0.9")).quantize(Decimal("0.01")))
    theirs = world.venue.signed(
        "POST", "order", symbol="BTCUSDT", side="BUY", type="LIMIT", timeInForce="GTC", quantity="0.01", price=low,
        newClientOrderId="web_1",
    ).json()  # fmt: skip
    process = world.started()
    world.tell_prices_at(Decimal("0.9"))
    world.approve("0.02", algorithm="post_only")
    eventually(lambda: len(world.venue.signed("GET", "openOrders", symbol="BTCUSDT").json()) == 2, "a resting order")

    assert world.stop(process) == 0

    left = world.venue.signed("GET", "openOrders", symbol="BTCUSDT").json()
    assert [order["orderId"] for order in left] == [theirs["orderId"]]
    assert [states[-1] for states in world.states().values()] == ["CANCELLED"]


def test_order_that_violates_a_filter_is_rejected_with_the_venues_code(world: World) -> None:
    process = world.started()

    world.approve("9001")
    outcome = eventually(
        lambda: [o for o in world.all(GatewayOutcome, "venue.events") if o.outcome == "REJECTED"], "a rejection"
    )[0]

    assert outcome.code == "-1013"
    eventually(lambda: list(world.states().values()) == [["PENDING_NEW", "REJECTED"]], "the order's end")
    assert world.stop(process) == 0


def test_nothing_is_sent_when_no_beat_came_for_three_seconds(world: World) -> None:
    process = world.started()
    world.approve("0.01")
    eventually(lambda: world.all(Fill, "fills"), "a fill")
    world.beats(on=False)
    clock = world.client.time()[0]
    eventually(lambda: world.client.time()[0] > clock + 4, "four seconds of silence")

    world.approve("0.02")
    denied = eventually(
        lambda: [o for o in world.all(GatewayOutcome, "venue.events") if o.outcome == "DENIED"], "a denial"
    )[0]

    assert "beat" in denied.reason
    assert len(world.venue_orders()) == 1
    assert world.stop(process) == 0


@pytest.mark.parametrize("way", ["file", "mode", "signal", "latch", "command"])
def test_each_way_of_the_kill_switch_stops_new_orders_and_survives_a_restart(world: World, way: str) -> None:
    import signal

    process = world.started()
    world.tell_prices_at(Decimal("0.9"))
    world.approve("0.02", algorithm="post_only")
    eventually(lambda: world.venue.signed("GET", "openOrders", symbol="BTCUSDT").json(), "a resting order")
    match way:
        case "file":
            (world.data_dir / "HALT").write_text("")
        case "signal":
            process.send_signal(signal.SIGUSR1)
        case "mode":
            world.client.set("mode", "halt")
        case "latch":
            world.halt("a person")
        case "command":
            world.command("halt")
    if way != "mode":  # the params service turns `mode` into a latch; alone it forbids intents
        eventually(lambda: not world.venue.signed("GET", "openOrders", symbol="BTCUSDT").json(), "the cancel")
    orders = len(world.venue_orders())

    world.approve("0.5")
    eventually(lambda: world.refused_or_denied(), "the refusal")
    world.kill(process)
    again = world.started()
    world.approve("0.7")
    eventually(lambda: world.refused_or_denied() >= 2, "the second refusal")

    assert len(world.venue_orders()) == orders
    assert world.stop(again) == 0
    assert world.all(Refused, "refusals") or way == "mode"


def test_halt_survives_a_flushed_redis_and_a_new_session(world: World) -> None:
    process = world.started()
    (world.data_dir / "HALT").write_text("")
    eventually(lambda: world.client.hget("trading:state", "state") == b"HALTED", "the latch")
    (world.data_dir / "HALT").unlink()
    world.kill(process)
    world.client.flushall()
    world.configure()

    world.executor()
    eventually(lambda: world.client.hget("trading:state", "state") == b"HALTED", "the latch again")
    world.resume("a person")
    eventually(lambda: "resumed" in world.log(), "the person's word")
    world.wait_for_gate()
    world.approve("0.02")

    eventually(lambda: world.all(Fill, "fills"), "a fill")


def test_halt_that_a_breaker_asked_for_outlives_a_restart_and_a_flush_and_ends_with_a_person(world: World) -> None:
    process = world.started()
    world.kill(process)
    world.command("halt")  # nobody is there to hear it
    again = world.executor()
    eventually(lambda: world.client.hget("trading:state", "state") == b"HALTED", "the latch")
    world.kill(again)
    world.client.flushall()
    world.configure()

    third = world.executor()
    eventually(lambda: world.client.hget("trading:state", "state") == b"HALTED", "the latch again")
    world.resume("a person")
    eventually(lambda: "resumed" in world.log(), "the person's word")
    world.wait_for_gate()
    world.kill(third)
    world.started()  # reads the command once more, and the word after it
    world.approve("0.02")

    eventually(lambda: world.all(Fill, "fills"), "a fill")
    assert world.client.hget("trading:state", "state") == b"ACTIVE"


def test_a_halt_beside_a_milder_wish_is_a_halt_and_a_sessions_start_is_no_answer(world: World) -> None:
    process = world.started()
    world.kill(process)
    world.command("halt")
    world.command("reduce")
    world.resume("edgefleet up")

    world.executor()

    eventually(lambda: world.client.hget("trading:state", "state") == b"HALTED", "the latch")


def test_a_halt_of_long_ago_is_not_obeyed_again_however_much_was_said_since(world: World) -> None:
    process = world.started()
    world.halt("a person")
    eventually(lambda: "halted" in world.log(), "the halt")
    for _ in range(300):  # more than one page of history
        world.add("control", build.breaker_moved())
    world.resume("a person")
    eventually(lambda: "resumed" in world.log(), "the resume")
    world.kill(process)

    world.started()
    world.approve("0.02")

    eventually(lambda: world.all(Fill, "fills"), "a fill")
    assert world.client.hget("trading:state", "state") == b"ACTIVE"


def test_reduce_that_a_breaker_asked_for_moves_the_latch(world: World) -> None:
    world.started()

    world.command("reduce")

    eventually(lambda: world.client.hget("trading:state", "state") == b"REDUCING", "the latch")
    assert world.client.hget("trading:state", "by") == b"risk"


def test_venue_that_is_not_there_ends_in_one_line_and_exit_3(world: World) -> None:
    process = world.executor(venue_port=1)

    assert process.wait(20) == 3
    assert "127.0.0.1:1 cannot be reached" in world.log()
