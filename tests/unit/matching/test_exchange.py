"""The simulated account: what it accepts, what it books, what it refuses and with which of Binance's codes."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from edgefleet.errors import Misuse
from edgefleet.matching.engine import Side, TimeInForce
from edgefleet.matching.exchange import (
    ExchangeState,
    Execution,
    ExecutionType,
    OrderRequest,
    OrderStatus,
    OrderType,
    SimExchange,
)
from edgefleet.matching.filters import VenueReject, rules_for

from .markets import SYMBOL, market, sold

D = Decimal


def limit(side: Side, quantity: str, price: str, tif: TimeInForce = TimeInForce.GTC, **more: Any) -> OrderRequest:
    return OrderRequest(
        symbol=SYMBOL, side=side, type=OrderType.LIMIT, quantity=D(quantity), price=D(price), time_in_force=tif, **more
    )


def at_market(side: Side, quantity: str) -> OrderRequest:
    return OrderRequest(symbol=SYMBOL, side=side, type=OrderType.MARKET, quantity=D(quantity))


def kinds(executions: list[Execution]) -> list[tuple[ExecutionType, OrderStatus]]:
    return [(execution.type, execution.order.status) for execution in executions]


def test_market_order_pays_what_it_walked_and_its_fee_in_what_it_received() -> None:
    exchange = market()

    order, executions = exchange.place(at_market(Side.BUY, "2"))

    assert (order.status, order.executed, order.cost) == (OrderStatus.FILLED, D(2), D(203))
    assert [e.trade.price for e in executions if e.trade] == [D(101), D(102)]
    account = exchange.account()
    assert account["USDT"].free == D(100_000) - 203
    assert account["BTC"].free == D(5) + 2 - D("0.002")


def test_seller_pays_the_fee_in_quote() -> None:
    exchange = market()

    exchange.place(at_market(Side.SELL, "1"))

    assert exchange.account()["USDT"].free == D(100_000) + 100 - D("0.1")


def test_market_order_larger_than_the_book_expires_with_the_rest() -> None:
    order, executions = market(btc="20").place(at_market(Side.SELL, "10"))

    assert (order.status, order.executed) == (OrderStatus.EXPIRED, D(8))
    assert kinds(executions)[-1] == (ExecutionType.EXPIRED, OrderStatus.EXPIRED)


def test_quote_quantity_buys_whole_lots_for_no_more_than_asked() -> None:
    request = OrderRequest(symbol=SYMBOL, side=Side.BUY, type=OrderType.MARKET, quote_quantity=D(150))

    order, _ = market().place(request)

    assert order.status is OrderStatus.FILLED
    assert order.executed == D("1.48039")
    assert D(150) - order.cost < 102 * D("0.00001")


def test_crossing_limit_takes_and_rests_with_what_is_left() -> None:
    exchange = market()

    order, executions = exchange.place(limit(Side.BUY, "1.5", "101"))

    assert kinds(executions) == [
        (ExecutionType.NEW, OrderStatus.NEW),
        (ExecutionType.TRADE, OrderStatus.PARTIALLY_FILLED),
    ]
    assert exchange.account()["USDT"].locked == D("50.5")
    assert exchange.open_orders() == [order]


def test_resting_order_is_filled_by_a_print_as_maker_at_market_time() -> None:
    exchange = market()
    order, _ = exchange.place(limit(Side.BUY, "1", "100"))

    (execution,) = exchange.on_frame(sold("99", "4", at=7_000))

    assert execution.trade is not None
    assert (execution.trade.is_maker, execution.trade.price, execution.time) == (True, D(100), 7_000)
    assert exchange.order(SYMBOL, order_id=order.order_id).status is OrderStatus.FILLED
    assert exchange.account()["USDT"].locked == 0


def test_fill_or_kill_without_enough_expires_untouched() -> None:
    exchange = market()

    order, executions = exchange.place(limit(Side.BUY, "2", "101", TimeInForce.FOK))

    assert kinds(executions) == [(ExecutionType.NEW, OrderStatus.NEW), (ExecutionType.EXPIRED, OrderStatus.EXPIRED)]
    assert order.executed == 0
    assert exchange.account()["USDT"].free == 100_000


def test_ioc_expires_with_what_it_did_not_get() -> None:
    order, _ = market().place(limit(Side.BUY, "2", "101", TimeInForce.IOC))

    assert (order.status, order.executed) == (OrderStatus.EXPIRED, D(1))


def test_cancel_gives_the_reserve_back() -> None:
    exchange = market()
    order, _ = exchange.place(limit(Side.SELL, "3", "110"))

    execution = exchange.cancel(SYMBOL, client_order_id=order.client_order_id, cancel_id="c1")

    assert (execution.type, execution.cancel_id) == (ExecutionType.CANCELED, "c1")
    assert exchange.account()["BTC"] == msgspec.structs.replace(exchange.account()["BTC"], free=D(5), locked=D(0))


def test_own_resting_order_expires_rather_than_trade_with_its_owner() -> None:
    exchange = market()
    mine, _ = exchange.place(limit(Side.SELL, "1", "101.5"))

    exchange.place(at_market(Side.BUY, "2"))

    assert exchange.order(SYMBOL, order_id=mine.order_id).status is OrderStatus.EXPIRED_IN_MATCH
    assert exchange.account()["BTC"].locked == 0


@pytest.mark.parametrize(
    ("request_", "code", "text"),
    [
        (limit(Side.BUY, "0.000001", "100"), -1013, "LOT_SIZE"),
        (limit(Side.BUY, "1", "100.001"), -1013, "PRICE_FILTER"),
        (limit(Side.BUY, "0.01", "100"), -1013, "NOTIONAL"),
        (limit(Side.BUY, "1", "10"), -1013, "PERCENT_PRICE_BY_SIDE"),
        (at_market(Side.BUY, "0.001"), -1013, "NOTIONAL"),
        (limit(Side.BUY, "2000", "100"), -2010, "insufficient balance"),
        (at_market(Side.SELL, "6"), -2010, "insufficient balance"),
        (limit(Side.BUY, "1", "100", client_order_id="taken"), -2010, "Duplicate order sent."),
        (
            OrderRequest(symbol=SYMBOL, side=Side.BUY, type=OrderType.LIMIT_MAKER, quantity=D(1), price=D(101)),
            -2010,
            "immediately match",
        ),
        (OrderRequest(symbol="NOPE", side=Side.BUY, type=OrderType.MARKET, quantity=D(1)), -1121, "Invalid symbol."),
        (OrderRequest(symbol=SYMBOL, side=Side.BUY, type=OrderType.MARKET), -1102, "quantity"),
        (OrderRequest(symbol=SYMBOL, side=Side.BUY, type=OrderType.LIMIT, quantity=D(1), price=D(9)), -1102, "timeInF"),
        (OrderRequest(symbol=SYMBOL, side=Side.BUY, type=OrderType.MARKET, quantity=D(1), price=D(9)), -1106, "price"),
    ],
)
def test_refusal_carries_binances_code_and_changes_nothing(request_: OrderRequest, code: int, text: str) -> None:
    exchange = market()
    exchange.place(limit(Side.BUY, "1", "90", client_order_id="taken"))
    before = exchange.dump()

    with pytest.raises(VenueReject, match=text) as refusal:
        exchange.place(request_)

    assert refusal.value.code == code
    assert exchange.dump() == before


def test_no_order_is_taken_before_the_market_has_a_time() -> None:
    exchange = SimExchange([rules_for("BTC/USDT")], {"USDT": D(1_000)})

    with pytest.raises(VenueReject, match="Market is closed"):
        exchange.place(limit(Side.BUY, "1", "90"))


def test_client_id_of_a_closed_order_may_be_used_again() -> None:
    exchange = market()
    exchange.place(limit(Side.BUY, "1", "90", client_order_id="again"))
    exchange.cancel(SYMBOL, client_order_id="again")

    order, _ = exchange.place(limit(Side.BUY, "1", "91", client_order_id="again"))

    assert exchange.order(SYMBOL, client_order_id="again") == order


def test_too_many_open_orders_are_refused() -> None:
    rules = msgspec.structs.replace(rules_for("BTC/USDT"), max_orders=2)
    exchange = SimExchange([rules], {"USDT": D(1_000)})
    exchange.on_frame(sold("100", "1"))
    for price in ("90", "91"):
        exchange.place(limit(Side.BUY, "1", price))

    with pytest.raises(VenueReject, match="MAX_NUM_ORDERS"):
        exchange.place(limit(Side.BUY, "1", "92"))


@pytest.mark.parametrize("finish", ["cancel", "fill"])
def test_order_that_is_not_open_cannot_be_cancelled(finish: str) -> None:
    exchange = market()
    order, _ = exchange.place(limit(Side.BUY, "1", "100" if finish == "cancel" else "101"))
    if finish == "cancel":
        exchange.cancel(SYMBOL, order_id=order.order_id)

    with pytest.raises(VenueReject) as refusal:
        exchange.cancel(SYMBOL, order_id=order.order_id)

    assert refusal.value.code == -2011


def test_order_nobody_sent_does_not_exist() -> None:
    with pytest.raises(VenueReject) as refusal:
        market().order(SYMBOL, client_order_id="nobody")

    assert refusal.value.code == -2013


def test_account_survives_a_restart_with_its_place_in_the_queue() -> None:
    first = market()
    first.place(at_market(Side.BUY, "1"))
    order, _ = first.place(limit(Side.BUY, "1", "100"))
    saved = msgspec.json.decode(msgspec.json.encode(first.dump()), type=ExchangeState)

    second = SimExchange([rules_for("BTC/USDT")], {})
    second.load(saved)

    assert second.dump() == first.dump()
    assert [e.order.order_id for e in second.on_frame(sold("100", "1.5"))] == [order.order_id]
    assert second.order(SYMBOL, order_id=order.order_id).executed == D("0.5")
    assert second.place(limit(Side.BUY, "1", "90"))[0].order_id == 3


def test_saved_orders_of_a_symbol_that_does_not_trade_here_are_named() -> None:
    first = market()
    first.place(limit(Side.BUY, "1", "100"))

    with pytest.raises(Misuse, match="BTCUSDT"):
        SimExchange([rules_for("ETH/USDT")], {}).load(first.dump())


def test_symbol_without_rules_is_refused_by_name() -> None:
    with pytest.raises(Misuse, match="FOO/USDT"):
        rules_for("FOO/USDT")
