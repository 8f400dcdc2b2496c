"""Small recorded markets, written frame by frame."""

from __future__ import annotations

from decimal import Decimal

from edgefleet.matching.exchange import SimExchange
from edgefleet.matching.filters import rules_for
from edgefleet.matching.wire import BookTicker, DepthDiff, DepthSnapshot, Levels, Trade

SYMBOL = "BTCUSDT"
Rows = list[tuple[str, str]]


def _levels(rows: Rows) -> Levels:
    return tuple((Decimal(price), Decimal(size)) for price, size in rows)


def snapshot(update: int, bids: Rows, asks: Rows) -> DepthSnapshot:
    return DepthSnapshot(update, _levels(bids), _levels(asks))


def diff(first: int, last: int, bids: Rows = [], asks: Rows = [], at: int = 1_000) -> DepthDiff:  # noqa: B006
    return DepthDiff(SYMBOL, at, first, last, _levels(bids), _levels(asks))


def ticker(update: int, bid: str, bid_size: str, ask: str, ask_size: str) -> BookTicker:
    return BookTicker(update, SYMBOL, Decimal(bid), Decimal(bid_size), Decimal(ask), Decimal(ask_size))


def sold(price: str, quantity: str, at: int = 1_000) -> Trade:
    """A print in which the seller was the aggressor."""
    return Trade(SYMBOL, at, at, 1, Decimal(price), Decimal(quantity), True)


def bought(price: str, quantity: str, at: int = 1_000) -> Trade:
    """A print in which the buyer was the aggressor."""
    return Trade(SYMBOL, at, at, 1, Decimal(price), Decimal(quantity), False)


def market(usdt: str = "100000", btc: str = "5") -> SimExchange:
    """An exchange whose book is 100 x 1, 99 x 2, 98 x 5 bid and 101 x 1, 102 x 2, 103 x 5 offered."""
    exchange = SimExchange([rules_for("BTC/USDT")], {"USDT": Decimal(usdt), "BTC": Decimal(btc)})
    exchange.on_frame(
        snapshot(10, [("100", "1"), ("99", "2"), ("98", "5")], [("101", "1"), ("102", "2"), ("103", "5")])
    )
    exchange.market_time_ms = 500
    return exchange
