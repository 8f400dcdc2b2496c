"""Binance Spot's private answers and user-stream events as reports. Opens no socket."""

from __future__ import annotations

from decimal import Decimal
from functools import lru_cache
from typing import Any, Final, Literal

import msgspec

from edgefleet.clock import NS_PER_MS
from edgefleet.errors import Poison
from edgefleet.messages.orders import Balance, OrderKind, Side
from edgefleet.units import ZERO, decimal_text
from edgefleet.venues.interface import (
    AccountReport,
    AccountUpdate,
    OrderReport,
    OrderUpdate,
    TradeReport,
    VenueStatus,
)

_KINDS: Final[dict[str, OrderKind]] = {"MARKET": "market", "LIMIT": "limit", "LIMIT_MAKER": "post_only"}
_STATUS: Final[dict[str, VenueStatus]] = {
    "NEW": "NEW",
    "PENDING_NEW": "NEW",
    "PARTIALLY_FILLED": "PARTIALLY_FILLED",
    "FILLED": "FILLED",
    "CANCELED": "CANCELED",
    "PENDING_CANCEL": "NEW",
    "REJECTED": "REJECTED",
    "EXPIRED": "EXPIRED",
    "EXPIRED_IN_MATCH": "EXPIRED",
}


class Names:
    """Binance's symbols and our instruments, both ways."""

    def __init__(self, venue: str, symbols: tuple[str, ...]) -> None:
        self.venue = venue
        self._instruments = {symbol.partition(":")[0].replace("/", ""): f"{symbol}@{venue}" for symbol in symbols}

    @property
    def instruments(self) -> tuple[str, ...]:
        """Return every instrument that is known."""
        return tuple(self._instruments.values())

    @property
    def symbols(self) -> tuple[str, ...]:
        """Return Binance's spelling of every instrument that is known."""
        return tuple(self._instruments)

    def instrument(self, symbol: str) -> str:
        """Return our name of a Binance symbol; one we do not trade keeps the venue's spelling."""
        return self._instruments.get(symbol, f"{symbol}@{self.venue}")

    def symbol(self, instrument: str) -> str:
        """Return Binance's spelling of an instrument."""
        return instrument.rpartition("@")[0].partition(":")[0].replace("/", "")


class _Fill(msgspec.Struct, frozen=True):
    price: Decimal
    qty: Decimal
    commission: Decimal
    commissionAsset: str
    tradeId: int


class _Order(msgspec.Struct, frozen=True):
    """An order in a POST (FULL), GET or DELETE answer; a cancel names the order as `origClientOrderId`."""

    symbol: str
    orderId: int
    clientOrderId: str
    origQty: Decimal
    executedQty: Decimal
    status: str
    type: str
    side: str
    price: Decimal = ZERO
    origClientOrderId: str = ""
    transactTime: int = 0
    updateTime: int = 0
    time: int = 0
    fills: list[_Fill] = []


class _Trade(msgspec.Struct, frozen=True):
    symbol: str
    id: int
    orderId: int
    price: Decimal
    qty: Decimal
    commission: Decimal
    commissionAsset: str
    time: int
    isBuyer: bool
    isMaker: bool


class _Asset(msgspec.Struct, frozen=True):
    asset: str
    free: Decimal
    locked: Decimal


class _Account(msgspec.Struct, frozen=True):
    balances: list[_Asset]
    updateTime: int = 0


class _Execution(msgspec.Struct, frozen=True):
    """`executionReport`. `C` names the order where the event is a cancel with an id of its own in `c`."""

    s: str
    c: str
    S: str
    o: str
    q: Decimal
    p: Decimal
    X: str
    i: int
    l: Decimal  # noqa: E741 - the venue's name of the quantity just executed
    z: Decimal
    L: Decimal
    T: int
    t: int
    m: bool
    n: Decimal | None = None
    N: str | None = None
    C: str = ""


class _PositionAsset(msgspec.Struct, frozen=True):
    a: str
    f: Decimal
    l: Decimal  # noqa: E741 - the venue's name of the locked amount


class _Position(msgspec.Struct, frozen=True):
    u: int
    B: list[_PositionAsset]


class _Kind(msgspec.Struct, frozen=True):
    e: str = ""
    event: Any = None  # the WebSocket API wraps an event; the listen-key stream does not


class _ExecutionEvent(_Execution, frozen=True, tag_field="e", tag="executionReport"):
    pass


class _PositionEvent(_Position, frozen=True, tag_field="e", tag="outboundAccountPosition"):
    pass


_EVENT: Final = msgspec.json.Decoder(_ExecutionEvent | _PositionEvent, strict=False)


def _decode(data: bytes, kind: type[Any]) -> Any:
    try:
        return msgspec.json.decode(data, type=kind, strict=False)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Poison(f"the venue's answer is not readable: {error}: {data[:120]!r}") from error


@lru_cache(maxsize=1_024)  # equal numbers have one answer, and an order's are told in the answer and on the stream
def _plain(value: Decimal) -> Decimal:
    """Return the same number without the venue's trailing zeros: 0.01, not 0.01000000."""
    return Decimal(decimal_text(value))


def _side(text: str) -> Side:
    return "buy" if text == "BUY" else "sell"


def _report(found: _Order, names: Names) -> OrderReport:
    return OrderReport(
        instrument=names.instrument(found.symbol),
        order_id=found.origClientOrderId or found.clientOrderId,
        venue_order_id=str(found.orderId),
        status=_STATUS.get(found.status, "NEW"),
        side=_side(found.side),
        kind=_KINDS.get(found.type, "limit"),
        quantity=_plain(found.origQty),
        price=_plain(found.price) if found.price > 0 else None,
        filled=_plain(found.executedQty),
        ts_event=(found.transactTime or found.updateTime or found.time) * NS_PER_MS,
    )


def order_answer(data: bytes, names: Names) -> tuple[OrderReport, tuple[TradeReport, ...]]:
    """Return the order in an answer, and the trades of a FULL one: those of an arriving order are taker trades."""
    found: _Order = _decode(data, _Order)
    report = _report(found, names)
    trades = tuple(
        TradeReport(
            instrument=report.instrument,
            order_id=report.order_id,
            venue_order_id=report.venue_order_id,
            trade_id=str(fill.tradeId),
            side=report.side,
            quantity=_plain(fill.qty),
            price=_plain(fill.price),
            fee=_plain(fill.commission),
            fee_asset=fill.commissionAsset,
            liquidity="taker",
            ts_event=report.ts_event,
        )
        for fill in found.fills
    )
    return report, trades


def order_list(data: bytes, names: Names) -> list[OrderReport]:
    """Return the orders of a list."""
    return [_report(found, names) for found in _decode(data, list[_Order])]


def trade_list(data: bytes, names: Names) -> list[TradeReport]:
    """Return the account's trades of a `myTrades` answer; it names orders by the venue's id alone."""
    found: list[_Trade] = _decode(data, list[_Trade])
    return [
        TradeReport(
            instrument=names.instrument(trade.symbol),
            order_id="",
            venue_order_id=str(trade.orderId),
            trade_id=str(trade.id),
            side="buy" if trade.isBuyer else "sell",
            quantity=_plain(trade.qty),
            price=_plain(trade.price),
            fee=_plain(trade.commission),
            fee_asset=trade.commissionAsset,
            liquidity="maker" if trade.isMaker else "taker",
            ts_event=trade.time * NS_PER_MS,
        )
        for trade in found
    ]


def account_answer(data: bytes) -> AccountReport:
    """Return the balances of an `account` answer."""
    found: _Account = _decode(data, _Account)
    balances = {held.asset: Balance(free=_plain(held.free), locked=_plain(held.locked)) for held in found.balances}
    return AccountReport(balances=balances, ts_event=found.updateTime * NS_PER_MS)


def user_event(data: bytes, names: Names) -> OrderUpdate | AccountUpdate | Literal["expired"] | None:
    """Return what a user-stream frame says, "expired" where the stream itself ended, None for the rest."""
    try:
        event = _EVENT.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return _rare_event(data, names)
    return _execution(event, names) if isinstance(event, _Execution) else _position(event)


def _rare_event(data: bytes, names: Names) -> OrderUpdate | AccountUpdate | Literal["expired"] | None:
    """Return what a frame of any shape says."""
    kind: _Kind = _decode(data, _Kind)
    if kind.event is not None:
        data = msgspec.json.encode(kind.event)
        kind = _decode(data, _Kind)
    match kind.e:
        case "executionReport":
            return _execution(_decode(data, _Execution), names)
        case "outboundAccountPosition":
            return _position(_decode(data, _Position))
        case "listenKeyExpired" | "eventStreamTerminated":
            return "expired"
        case _:
            return None


def _position(event: _Position) -> AccountUpdate:
    held = {asset.a: Balance(free=_plain(asset.f), locked=_plain(asset.l)) for asset in event.B}
    return AccountUpdate(balances=held, ts_event=event.u * NS_PER_MS)


def _execution(event: _Execution, names: Names) -> OrderUpdate:
    order = OrderReport(
        instrument=names.instrument(event.s),
        order_id=event.C or event.c,
        venue_order_id=str(event.i),
        status=_STATUS.get(event.X, "NEW"),
        side=_side(event.S),
        kind=_KINDS.get(event.o, "limit"),
        quantity=_plain(event.q),
        price=_plain(event.p) if event.p > 0 else None,
        filled=_plain(event.z),
        ts_event=event.T * NS_PER_MS,
    )
    executed = event.t >= 0 and event.l > 0
    if not executed or event.n is None or event.N is None:
        return OrderUpdate(order=order, trade=None, trade_incomplete=executed)
    return OrderUpdate(
        order=order,
        trade=TradeReport(
            instrument=order.instrument,
            order_id=order.order_id,
            venue_order_id=order.venue_order_id,
            trade_id=str(event.t),
            side=order.side,
            quantity=_plain(event.l),
            price=_plain(event.L),
            fee=_plain(event.n),
            fee_asset=event.N,
            liquidity="maker" if event.m else "taker",
            ts_event=order.ts_event,
        ),
    )


class _Time(msgspec.Struct, frozen=True):
    serverTime: int


class _ListenKey(msgspec.Struct, frozen=True):
    listenKey: str


def server_time(data: bytes) -> int:
    """Return the milliseconds of a `time` answer."""
    found: _Time = _decode(data, _Time)
    return found.serverTime


def listen_key(data: bytes) -> str:
    """Return the key of a `userDataStream` answer."""
    found: _ListenKey = _decode(data, _ListenKey)
    return found.listenKey
