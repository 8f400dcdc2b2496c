"""Alpaca's private answers and trade updates as reports. Opens no socket.

Alpaca takes no commission on stocks and tells none, nor whether an execution took or made: fees are 0 USD, liquidity is
told as taker. An execution is named by its id alone, the same on the stream and, behind the `::`, among the activities.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, Literal

import msgspec

from edgefleet.clock import NS_PER_S
from edgefleet.errors import Poison
from edgefleet.instruments import canonical_symbol
from edgefleet.messages.orders import Balance, OrderKind, Side
from edgefleet.units import ZERO, decimal_text
from edgefleet.venues.interface import OrderReport, OrderUpdate, TradeReport, VenueStatus

CASH: Final = "USD"
_KINDS: Final[Mapping[str, OrderKind]] = {"market": "market", "limit": "limit"}
_ENDED: Final[Mapping[str, VenueStatus]] = {
    "filled": "FILLED",
    "canceled": "CANCELED",
    "replaced": "CANCELED",
    "expired": "EXPIRED",
    "done_for_day": "EXPIRED",
    "rejected": "REJECTED",
}
_STAMP: Final = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)")


class Names:
    """Alpaca's symbols and our instruments, both ways."""

    def __init__(self, venue: str, symbols: tuple[str, ...]) -> None:
        self.venue = venue
        self._instruments = {symbol.partition("/")[0]: f"{symbol}@{venue}" for symbol in map(canonical_symbol, symbols)}

    def instrument(self, symbol: str) -> str:
        """Return our name of an Alpaca symbol; one we do not trade is a stock's as well."""
        return self._instruments.get(symbol, f"{symbol}/{CASH}@{self.venue}")

    def symbol(self, instrument: str) -> str:
        """Return Alpaca's spelling of an instrument."""
        return instrument.rpartition("@")[0].partition("/")[0]


class _Order(msgspec.Struct, frozen=True):
    id: str
    client_order_id: str
    symbol: str
    side: str
    type: str
    status: str
    filled_qty: Decimal
    updated_at: str
    qty: Decimal | None = None
    limit_price: Decimal | None = None
    submitted_at: str = ""


class _Activity(msgspec.Struct, frozen=True):
    id: str
    symbol: str
    side: str
    qty: Decimal
    price: Decimal
    order_id: str
    transaction_time: str


class _Account(msgspec.Struct, frozen=True):
    cash: Decimal
    non_marginable_buying_power: Decimal | None = None


class _Position(msgspec.Struct, frozen=True):
    symbol: str
    qty: Decimal
    qty_available: Decimal | None = None


class _Clock(msgspec.Struct, frozen=True):
    timestamp: str


class _Update(msgspec.Struct, frozen=True):
    event: str
    order: _Order
    timestamp: str
    execution_id: str | None = None
    price: Decimal | None = None
    qty: Decimal | None = None


class _StreamData(msgspec.Struct, frozen=True):
    status: str = ""
    streams: list[str] = []


class _Frame(msgspec.Struct, frozen=True):
    stream: str
    data: msgspec.Raw = msgspec.Raw(b"{}")


def _decode(data: bytes | msgspec.Raw, kind: type[Any]) -> Any:
    try:
        return msgspec.json.decode(data, type=kind, strict=False)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Poison(f"the venue's answer is not readable: {error}: {bytes(data)[:120]!r}") from error


def _plain(value: Decimal) -> Decimal:
    """Return the same number without the venue's trailing zeros."""
    return Decimal(decimal_text(value))


def stamp_ns(text: str) -> int:
    """Return an RFC 3339 stamp, of any number of decimals, in ns since the epoch. Raises `Poison` where it is none.

    Examples
    --------
    >>> stamp_ns("2021-03-16T18:38:01.942282123Z"), stamp_ns("2021-03-16T14:38:01-04:00")
    (1615919881942282123, 1615919881000000000)
    """
    found = _STAMP.fullmatch(text)
    try:
        if found is None:
            raise ValueError("not RFC 3339")
        whole = datetime.fromisoformat(found[1] + found[3].replace("Z", "+00:00"))
    except ValueError as error:
        raise Poison(f"the venue's stamp {text!r} is not readable: {error}") from error
    return int(whole.timestamp()) * NS_PER_S + int((found[2] or "").ljust(9, "0")[:9])


def _side(text: str) -> Side:
    return "buy" if text == "buy" else "sell"


def _status(found: _Order) -> VenueStatus:
    ended = _ENDED.get(found.status)
    if ended is not None:
        return ended
    return "PARTIALLY_FILLED" if found.filled_qty else "NEW"


def _report(found: _Order, names: Names) -> OrderReport:
    return OrderReport(
        instrument=names.instrument(found.symbol),
        order_id=found.client_order_id,
        venue_order_id=found.id,
        status=_status(found),
        side=_side(found.side),
        kind=_KINDS.get(found.type, "limit"),
        # An order by dollars, which is none of ours, names no quantity: what it has filled is what is known of it.
        quantity=_plain(found.filled_qty if found.qty is None else found.qty),
        price=None if found.limit_price is None else _plain(found.limit_price),
        filled=_plain(found.filled_qty),
        ts_event=stamp_ns(found.updated_at),
    )


def order_answer(data: bytes, names: Names) -> OrderReport:
    """Return the order in an answer."""
    return _report(_decode(data, _Order), names)


def order_list(data: bytes, names: Names) -> list[tuple[OrderReport, str]]:
    """Return the orders of a list, each with the stamp it was submitted at, as the venue writes it."""
    return [(_report(found, names), found.submitted_at) for found in _decode(data, list[_Order])]


def trade_list(data: bytes, names: Names) -> list[tuple[TradeReport, str]]:
    """Return the executions of an `activities` answer, each with its id among the activities."""
    return [
        (
            TradeReport(
                instrument=names.instrument(fill.symbol),
                order_id="",
                venue_order_id=fill.order_id,
                trade_id=fill.id.rpartition("::")[2],
                side=_side(fill.side),
                quantity=_plain(fill.qty),
                price=_plain(fill.price),
                fee=ZERO,
                fee_asset=CASH,
                liquidity="taker",
                ts_event=stamp_ns(fill.transaction_time),
            ),
            fill.id,
        )
        for fill in _decode(data, list[_Activity])
    ]


def balances(account: bytes, positions: bytes) -> dict[str, Balance]:
    """Return what the account holds: cash by what open purchases leave of it, shares by what open sales do."""
    cash: _Account = _decode(account, _Account)
    free = cash.cash if cash.non_marginable_buying_power is None else min(cash.cash, cash.non_marginable_buying_power)
    held = {CASH: Balance(free=_plain(free), locked=_plain(cash.cash - free))}
    for position in _decode(positions, list[_Position]):
        available = position.qty if position.qty_available is None else position.qty_available
        held[position.symbol] = Balance(free=_plain(available), locked=_plain(position.qty - available))
    return held


def clock_ns(data: bytes) -> int:
    """Return the stamp of a `clock` answer."""
    found: _Clock = _decode(data, _Clock)
    return stamp_ns(found.timestamp)


def stream_frame(data: bytes, names: Names) -> OrderUpdate | Literal["authorized", "unauthorized", "listening"] | None:
    """Return what a frame of the account's stream says, None where it says nothing to us."""
    frame: _Frame = _decode(data, _Frame)
    match frame.stream:
        case "trade_updates":
            return _update(_decode(frame.data, _Update), names)
        case "authorization":
            told: _StreamData = _decode(frame.data, _StreamData)
            return "authorized" if told.status == "authorized" else "unauthorized"
        case "listening":
            heard: _StreamData = _decode(frame.data, _StreamData)
            return "listening" if "trade_updates" in heard.streams else None
        case _:
            return None


def _update(update: _Update, names: Names) -> OrderUpdate:
    order = _report(update.order, names)
    executed = update.event in ("fill", "partial_fill")
    if not executed or update.execution_id is None or update.qty is None or update.price is None:
        return OrderUpdate(order=order, trade=None, trade_incomplete=executed)
    return OrderUpdate(
        order=order,
        trade=TradeReport(
            instrument=order.instrument,
            order_id=order.order_id,
            venue_order_id=order.venue_order_id,
            trade_id=update.execution_id,
            side=order.side,
            quantity=_plain(update.qty),
            price=_plain(update.price),
            fee=ZERO,
            fee_asset=CASH,
            liquidity="taker",
            ts_event=stamp_ns(update.timestamp),
        ),
    )
