"""Alpaca's private side: what an error proves, what a frame says, what an account holds."""

from __future__ import annotations

import doctest
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from edgefleet.errors import Poison
from edgefleet.messages.orders import Balance
from edgefleet.venues.alpaca import errors, reports
from edgefleet.venues.alpaca.errors import ErrorBody
from edgefleet.venues.interface import OrderUpdate

D = Decimal
NAMES = reports.Names("alpaca", ("AAPL/USD", "MSFT"))
# The example of "Websocket Streaming" in Alpaca's documentation, the order shortened to what is read of it.
ORDER = {
    "id": "edada91a-8b55-4916-a153-8c7a9817e708",
    "client_order_id": "ef1",
    "symbol": "AAPL",
    "side": "buy",
    "type": "limit",
    "order_type": "limit",
    "qty": "4",
    "filled_qty": "3",
    "filled_avg_price": "133.12",
    "limit_price": "134.00",
    "status": "partially_filled",
    "submitted_at": "2021-03-16T18:38:01.932426Z",
    "updated_at": "2021-03-16T18:38:01.942282Z",
}
FILL = {
    "event": "partial_fill",
    "execution_id": "7922ab44-5b33-4049-ab9a-0cfd805ba989",
    "price": "133.12",
    "qty": "3",
    "position_qty": "3",
    "timestamp": "2021-03-16T18:38:01.942282Z",
    "order": ORDER,
}


def frame(data: Any, stream: str = "trade_updates") -> Any:
    return reports.stream_frame(msgspec.json.encode({"stream": stream, "data": data}), NAMES)


def test_examples_of_the_documentation_hold() -> None:
    assert doctest.testmod(reports).failed == 0
    assert doctest.testmod(reports).attempted > 0


@pytest.mark.parametrize(
    ("status", "code", "text", "proves"),
    [
        (403, 40310000, "insufficient buying power", True),
        (422, 42210000, "fractional orders must be DAY orders", True),
        (401, 40110000, "request is not authorized", True),
        (400, 40010000, "request body format is invalid", True),
        (422, 40010001, "client_order_id must be unique", False),
        (404, 40410000, "order not found", False),
        (500, 50010000, "internal server error occurred", False),
        (503, 0, "service unavailable", False),
        (408, 0, "timeout", False),
    ],
)
def test_only_some_errors_prove_that_an_order_does_not_exist(status: int, code: int, text: str, proves: bool) -> None:
    assert errors.is_rejection(status, ErrorBody(text, code)) is proves


@pytest.mark.parametrize("body", [b"<html>", b"", b"[]", b'{"code": 1}', b"\xff"])
def test_body_that_is_no_error_proves_nothing(body: bytes) -> None:
    assert errors.error_body(body) is None
    assert not errors.is_rejection(403, errors.error_body(body))


def test_fill_is_an_order_and_its_execution() -> None:
    update = frame(FILL)

    assert isinstance(update, OrderUpdate)
    assert (update.order.instrument, update.order.order_id) == ("AAPL/USD@alpaca", "ef1")
    assert (update.order.status, update.order.filled, update.order.price) == ("PARTIALLY_FILLED", D(3), D(134))
    assert update.trade is not None
    assert (update.trade.trade_id, update.trade.quantity, update.trade.price) == (
        "7922ab44-5b33-4049-ab9a-0cfd805ba989",
        D(3),
        D("133.12"),
    )
    assert (update.trade.fee, update.trade.fee_asset) == (D(0), "USD")
    assert update.trade.ts_event == 1_615_919_881_942_282_000


def test_fill_without_its_execution_says_that_trades_are_to_be_asked_for() -> None:
    update = frame({**FILL, "execution_id": None})

    assert isinstance(update, OrderUpdate)
    assert (update.trade, update.trade_incomplete) == (None, True)


@pytest.mark.parametrize(
    ("status", "filled", "expected"),
    [
        ("pending_new", "0", "NEW"),
        ("accepted", "0", "NEW"),
        ("new", "0", "NEW"),
        ("pending_cancel", "0", "NEW"),
        ("pending_cancel", "1", "PARTIALLY_FILLED"),
        ("held", "0", "NEW"),
        ("a word of next year", "0", "NEW"),
        ("filled", "4", "FILLED"),
        ("canceled", "1", "CANCELED"),
        ("replaced", "1", "CANCELED"),
        ("expired", "0", "EXPIRED"),
        ("done_for_day", "1", "EXPIRED"),
        ("rejected", "0", "REJECTED"),
    ],
)
def test_every_status_is_one_of_ours(status: str, filled: str, expected: str) -> None:
    report = reports.order_answer(msgspec.json.encode({**ORDER, "status": status, "filled_qty": filled}), NAMES)

    assert report.status == expected


def test_activities_name_the_execution_behind_their_own_id() -> None:
    (found,) = reports.trade_list(
        msgspec.json.encode(
            [
                {
                    "id": "20220202135509981::2d7be4ff-d1f3-43e9-856a-0f5cf5c5088e",
                    "activity_type": "FILL",
                    "transaction_time": "2022-02-02T18:55:09.981482Z",
                    "type": "fill",
                    "price": "174.78",
                    "qty": "2",
                    "side": "sell",
                    "symbol": "AAPL",
                    "leaves_qty": "0",
                    "order_id": "b5abe576-6a8a-49f3-a353-46b72c1ccae9",
                }
            ]
        ),
        NAMES,
    )

    trade, activity = found
    assert activity.startswith("20220202135509981::")
    assert (trade.trade_id, trade.side) == ("2d7be4ff-d1f3-43e9-856a-0f5cf5c5088e", "sell")


def test_holdings_are_split_into_free_and_locked() -> None:
    account = {"cash": "1000.50", "non_marginable_buying_power": "900.25", "buying_power": "4000"}
    positions = [{"symbol": "AAPL", "qty": "5", "qty_available": "2"}, {"symbol": "MSFT", "qty": "-3"}]

    held = reports.balances(msgspec.json.encode(account), msgspec.json.encode(positions))

    assert held == {
        "USD": Balance(free=D("900.25"), locked=D("100.25")),
        "AAPL": Balance(free=D(2), locked=D(3)),
        "MSFT": Balance(free=D(-3), locked=D(0)),
    }


@pytest.mark.parametrize(
    ("data", "stream", "told"),
    [
        ({"status": "authorized", "action": "authenticate"}, "authorization", "authorized"),
        ({"status": "unauthorized", "action": "authenticate"}, "authorization", "unauthorized"),
        ({"streams": ["trade_updates"]}, "listening", "listening"),
        ({"streams": []}, "listening", None),
        ({}, "account_updates", None),
    ],
)
def test_control_frames_are_told_apart(data: Any, stream: str, told: str | None) -> None:
    assert frame(data, stream) == told


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[1]",
        b"\xff",
        b'{"stream":"trade_updates","data":{"event":"fill"}}',
        msgspec.json.encode({"stream": "trade_updates", "data": {**FILL, "timestamp": "yesterday"}}),
        msgspec.json.encode({"stream": "trade_updates", "data": {**FILL, "qty": "three"}}),
    ],
)
def test_frame_that_does_not_read_is_refused(raw: bytes) -> None:
    with pytest.raises(Poison):
        reports.stream_frame(raw, NAMES)


def test_stock_we_do_not_trade_keeps_a_name() -> None:
    assert NAMES.instrument("TSLA") == "TSLA/USD@alpaca"
    assert NAMES.symbol("AAPL/USD@alpaca") == "AAPL"
