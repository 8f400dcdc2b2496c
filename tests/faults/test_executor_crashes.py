"""FAULTS.md rows 2, 3, 19-22, 25: whatever dies, the venue has each order at most once, and the books agree."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from tests.integration.executor_world import SYMBOLS, World, world_of
from tests.integration.venue_server import eventually

from edgefleet.messages import Fill, GatewayOutcome, Reconciled

pytestmark = [pytest.mark.faults, pytest.mark.integration]


@pytest.fixture
def world(redis_url: str, tmp_path: Path) -> Iterator[World]:
    with world_of(redis_url, tmp_path) as made:
        yield made


def outcomes(world: World) -> list[str]:
    return [outcome.outcome for outcome in world.all(GatewayOutcome, "venue.events")]


def test_killed_between_the_venues_accept_and_our_record_leaves_one_order_and_its_fill(world: World) -> None:
    process = world.started()
    world.faults(hold_order_response_ms=5_000)
    world.approve("0.02")
    eventually(lambda: world.venue_orders(), "the venue's accept")
    world.kill(process)
    world.faults(hold_order_response_ms=0)

    process = world.started()
    eventually(lambda: world.all(Fill, "fills"), "the fill")
    eventually(lambda: [states[-1] for states in world.states().values()] == ["FILLED"], "the order's end")

    assert len(world.venue_orders()) == 1
    assert world.stop(process) == 0
    assert sum(fill.quantity for fill in world.all(Fill, "fills")) == Decimal("0.02")


def test_killed_between_intent_and_wire_leaves_no_order_and_an_intent_in_doubt(world: World) -> None:
    dying = world.executor(script=Path(__file__).with_name("executor_dies_before_the_wire.py"))
    world.wait_for_gate()
    world.approve("0.02")
    assert dying.wait(20) == -signal.SIGKILL

    process = world.started()
    order_id = next(iter(world.states()))
    eventually(lambda: world.states()[order_id][-1] == "UNKNOWN", "the doubt")
    world.approve("0.03")
    eventually(lambda: [r for r in world.all(Reconciled, "venue.events") if order_id in r.unresolved], "the report")

    assert world.venue_orders() == []
    assert list(world.states()) == [order_id]
    assert world.stop(process) == 0


@pytest.mark.parametrize(
    "fault",
    [
        {"drop_order_response": 1},
        {"order_http_error": 1, "order_http_error_when": "after"},
        {"hold_order_response_ms": 4_000},
    ],
    ids=["cut", "503", "timeout"],
)
def test_order_whose_answer_is_lost_is_unknown_then_found_and_never_sent_again(
    world: World, fault: dict[str, object]
) -> None:
    process = world.started()
    world.faults(**fault)

    world.approve("0.02")
    eventually(lambda: world.all(Fill, "fills"), "the fill")
    eventually(lambda: "UNKNOWN" in outcomes(world), "the doubt")
    world.faults(hold_order_response_ms=0)
    eventually(lambda: [states[-1] for states in world.states().values()] == ["FILLED"], "the order's end")

    assert len(world.venue_orders()) == 1
    assert world.stop(process) == 0


def test_order_that_failed_before_the_venue_took_it_blocks_its_instrument_until_that_is_certain(world: World) -> None:
    process = world.started()
    world.faults(order_http_error=1, order_http_error_when="before")

    world.approve("0.02")
    eventually(lambda: "UNKNOWN" in outcomes(world), "the doubt")
    world.approve("0.03")
    eventually(lambda: world.client.xlen("refusals"), "the refusal")

    assert world.venue_orders() == []
    assert len(world.states()) == 1
    assert world.stop(process) == 0
    assert "orders_left" in world.log()


def test_second_executor_of_an_account_refuses_to_start(world: World) -> None:
    first = world.started()

    same_journal = world.executor()
    other_journal = world.executor(data_dir=world.data_dir.with_name("other"))

    assert same_journal.wait(20) == 3
    assert other_journal.wait(20) == 3
    assert "is traded by another executor" in world.log()
    world.approve("0.02")
    eventually(lambda: world.all(Fill, "fills"), "a fill of the first")
    assert world.stop(first) == 0


def test_executor_frozen_with_an_order_in_hand_sends_nothing_when_it_thaws(world: World) -> None:
    process = world.started()
    process.send_signal(signal.SIGSTOP)
    world.approve("0.02")
    eventually(lambda: not world.client.exists("lease:account:main@sim"), "the lease's end")
    second = world.started(data_dir=world.data_dir.with_name("other"))
    eventually(lambda: world.all(Fill, "fills"), "the second executor's fill")

    process.send_signal(signal.SIGCONT)
    assert process.wait(20) != 0

    assert len(world.venue_orders()) == 1
    assert world.stop(second) == 0


def test_order_with_our_name_that_the_journal_does_not_know_halts_trading(world: World) -> None:
    touch = world.venue.get("ticker/bookTicker", symbol="BTCUSDT")
    low = str((Decimal(touch["bidPrice"]) * Decimal("0.9")).quantize(Decimal("0.01")))
    order = {
        "symbol": "BTCUSDT",
        "side": "BUY",
        "type": "LIMIT",
        "timeInForce": "GTC",
        "quantity": "0.01",
        "price": low,
    }
    world.venue.signed("POST", "order", **order, newClientOrderId="eforphan")
    world.venue.signed("POST", "order", **order, newClientOrderId="web_1")

    process = world.executor()
    said = eventually(lambda: [r for r in world.all(Reconciled, "venue.events") if r.orphans], "the report")[0]

    assert (said.ready, said.orphans) == (False, ("eforphan",))
    assert len(said.external) == 1
    eventually(lambda: world.client.hget("trading:state", "state") == b"HALTED", "the halt")
    assert len(world.venue.signed("GET", "openOrders", symbol="BTCUSDT").json()) == 2
    assert world.client.xlen("alerts") >= 1
    assert world.stop(process) == 0


def test_killed_in_the_middle_of_one_order_after_the_other_the_books_are_the_venues(world: World) -> None:
    moments = iter(range(100))

    def waited(n: int) -> bool:
        return next(moments) >= n

    process = world.started()
    for n, symbol in enumerate(SYMBOLS):
        world.approve("2000" if symbol == "XRP/USDT" else "0.5", instrument=f"{symbol}@sim")
        # From before the wire to after the record: every restart finds the order somewhere else on its way.
        eventually(lambda n=n: len(world.states()) > n and waited(n), f"a moment of order {n}")
        world.kill(process)
        process = world.started()

    decided = {"FILLED", "DENIED", "UNKNOWN"}
    eventually(lambda: all(states[-1] in decided for states in world.states().values()), "what became of each order")
    assert world.stop(process) == 0

    venue_orders = [order for symbol in SYMBOLS for order in world.venue_orders(symbol)]
    names = [order["clientOrderId"] for order in venue_orders]
    assert len(names) == len(set(names))
    assert {name for name, states in world.states().items() if states[-1] == "FILLED"} == set(names)
    trades = [trade for symbol in SYMBOLS for trade in world.venue_trades(symbol)]
    assert sorted((f.instrument, f.trade_id) for f in world.all(Fill, "fills")) == sorted(trades)
