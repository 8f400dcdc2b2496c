"""What ccxt's unified structures are as frames of ours: one JSON object each, so they are recorded and replayed as any.

Knows ccxt's shapes (docs.ccxt.com: "Order Book Structure", "Trade Structure", "Ticker Structure", "Market Structure"),
not ccxt itself. ccxt's numbers are doubles; their shortest text is the venue's own up to fifteen digits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, Literal

import msgspec

from edgefleet.messages.market import Level
from edgefleet.venues.dialect import Listed

DECIMAL_PLACES: Final = 2  # ccxt's precision modes: a number of digits, or else a step
_SIDES: Final[dict[str, Literal["buy", "sell"]]] = {"buy": "buy", "sell": "sell"}


class Market(msgspec.Struct, frozen=True, tag_field="kind", tag="market"):
    """What the venue lists of a symbol; first of all, once a connection."""

    symbol: str
    listed: Listed


class Book(msgspec.Struct, frozen=True, tag_field="kind", tag="book"):
    """The best levels of a whole book, best first."""

    symbol: str
    nonce: int | None  # the venue's number of it, where ccxt gives one
    ts: int | None  # ms, the venue's clock, where it gives one
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]


class Print(msgspec.Struct, frozen=True):
    """A trade. Its side is the taker's; None where the venue does not say."""

    id: str | None
    ts: int | None
    price: Decimal
    amount: Decimal
    side: Literal["buy", "sell"] | None


class Trades(msgspec.Struct, frozen=True, tag_field="kind", tag="trades"):
    """The trades since the last such frame."""

    symbol: str
    trades: tuple[Print, ...]


class Ticker(msgspec.Struct, frozen=True, tag_field="kind", tag="ticker"):
    """The venue's own best prices, where it gives any."""

    symbol: str
    ts: int | None
    bid: Decimal | None
    bid_size: Decimal | None
    ask: Decimal | None
    ask_size: Decimal | None


class Refused(msgspec.Struct, frozen=True, tag_field="kind", tag="refused"):
    """A symbol cannot be watched in some way, and why."""

    symbol: str
    what: str
    reason: str


Frame = Market | Book | Trades | Ticker | Refused

FRAME: Final = msgspec.json.Decoder(Frame)
_ENCODER: Final = msgspec.json.Encoder(decimal_format="string")


def encode(frame: Frame) -> bytes:
    """Return the frame's JSON."""
    return _ENCODER.encode(frame)


def number(value: float | str | None) -> Decimal | None:
    """Return a number of ccxt's as a plain decimal, None for none.

    >>> number(61800.2), number("0.10"), number(1e-08), number(None)
    (Decimal('61800.2'), Decimal('0.10'), Decimal('0.00000001'), None)
    """
    if value is None:
        return None
    return Decimal(f"{Decimal(str(value)):f}")


def book_frame(symbol: str, book: Mapping[str, Any], depth: int) -> Book:
    """Return the best `depth` levels of an order book structure."""
    return Book(
        symbol=symbol,
        nonce=book.get("nonce"),
        ts=book.get("timestamp"),
        bids=_levels(book["bids"][:depth]),
        asks=_levels(book["asks"][:depth]),
    )


def trades_frame(symbol: str, trades: Sequence[Mapping[str, Any]]) -> Trades:
    """Return the trade structures in the order they came."""
    return Trades(symbol=symbol, trades=tuple(_print(trade) for trade in trades))


def ticker_frame(symbol: str, ticker: Mapping[str, Any]) -> Ticker:
    """Return the best prices of a ticker structure."""
    return Ticker(
        symbol=symbol,
        ts=ticker.get("timestamp"),
        bid=number(ticker.get("bid")),
        bid_size=number(ticker.get("bidVolume")),
        ask=number(ticker.get("ask")),
        ask_size=number(ticker.get("askVolume")),
    )


def market_frame(symbol: str, market: Mapping[str, Any], precision_mode: int) -> Market:
    """Return what a market structure says; steps of a linear contract are base units, of an inverse one contracts."""
    size = number(market.get("contractSize")) if market.get("contract") and market.get("linear") else None
    unit = Decimal(1) if size is None else size
    precision, limits = market.get("precision") or {}, market.get("limits") or {}
    lot = _step(precision.get("amount"), precision_mode)
    least = number((limits.get("amount") or {}).get("min"))
    listed = Listed(
        symbol=symbol,
        name=str(market.get("id") or symbol),
        trading=market.get("active") is not False,
        tick_size=_step(precision.get("price"), precision_mode),
        lot_size=None if lot is None else lot * unit,
        min_quantity=None if least is None else least * unit,
        min_notional=number((limits.get("cost") or {}).get("min")),
        contract_size=size,
    )
    return Market(symbol=symbol, listed=listed)


def _levels(rows: Sequence[Sequence[Any]]) -> tuple[Level, ...]:
    return tuple((_known(row[0]), _known(row[1])) for row in rows)


def _known(value: float | str) -> Decimal:
    return Decimal(f"{Decimal(str(value)):f}")


def _print(trade: Mapping[str, Any]) -> Print:
    identity = trade.get("id")
    return Print(
        id=None if identity is None else str(identity),
        ts=trade.get("timestamp"),
        price=_known(trade["price"]),
        amount=_known(trade["amount"]),
        side=_SIDES.get(trade.get("side") or ""),
    )


def _step(precision: float | str | None, mode: int) -> Decimal | None:
    if precision is None:
        return None
    return Decimal(1).scaleb(-int(precision)) if mode == DECIMAL_PLACES else number(precision)
