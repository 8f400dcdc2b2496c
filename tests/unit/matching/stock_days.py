"""A stock market small enough to be written down: two days, the second a half-day, and quotes and prints by hand."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from edgefleet.clock import NS_PER_S
from edgefleet.matching.broker_orders import BrokerRequest, OrderKind, Tif, TradeUpdate
from edgefleet.matching.brokerage import Brokerage
from edgefleet.matching.engine import Side
from edgefleet.matching.hours import Hours, from_eastern
from edgefleet.matching.stocks import StockMarketState, StockQuote, StockTrade

D = Decimal
STOCK = "XXX"


def at(clock: str, day: int = 29, month: int = 11) -> int:
    """Return the stamp of a New York wall time of 2024: November 29 is a half-day, the 28th a holiday."""
    return from_eastern(datetime.fromisoformat(f"2024-{month:02d}-{day:02d} {clock}"))


@dataclass(frozen=True)
class Day:
    date: date
    open: int
    close: int


class Days:
    """Sessions by a list."""

    def __init__(self, *days: Day) -> None:
        self.days = days

    def session_of(self, ts: int, /) -> Day | None:
        return next((day for day in self.days if day.open <= ts < day.close), None)

    def session_before(self, ts: int, /) -> Day | None:
        return next((day for day in reversed(self.days) if day.close <= ts), None)

    def next_open(self, ts: int, /) -> int:
        return ts if self.session_of(ts) else next(day.open for day in self.days if day.open >= ts)


DAYS = Days(
    Day(date(2024, 11, 27), at("09:30", 27), at("16:00", 27)),
    Day(date(2024, 11, 29), at("09:30"), at("13:00")),
    Day(date(2024, 12, 2), at("09:30", month=12, day=2), at("16:00", month=12, day=2)),
)


class Stock:
    """A broker's account on one stock, driven by hand."""

    def __init__(self, start: int, usd: str = "10000", shares: str = "0", **more: Any) -> None:
        self.broker = Brokerage([STOCK], {"USD": D(usd), STOCK: D(shares)}, Hours(DAYS), top_only=True, **more)
        self.broker.start(start)
        self._state = StockMarketState(STOCK)
        self._prints = 0

    def quote(self, ts_ns: int, bid: str, ask: str, bid_size: str = "100", ask_size: str = "100") -> list[TradeUpdate]:
        quote = StockQuote(STOCK, ts_ns, D(bid), D(bid_size), "N", D(ask), D(ask_size), "N")
        return self.broker.on_event(self._state.on_quote(quote))

    def trade(
        self, ts_ns: int, price: str, size: str, conditions: tuple[str, ...] = ("@",), exchange: str = "N"
    ) -> list[TradeUpdate]:
        self._prints += 1
        trade = StockTrade(STOCK, ts_ns, self._prints, D(price), D(size), exchange, conditions)
        return self.broker.on_event(self._state.on_trade(trade))


def later(ts_ns: int, seconds: float) -> int:
    return ts_ns + int(seconds * NS_PER_S)


def buy(quantity: str | None = None, limit: str | None = None, tif: str = "day", **more: Any) -> BrokerRequest:
    return request(Side.BUY, quantity, limit, tif, **more)


def sell(quantity: str | None = None, limit: str | None = None, tif: str = "day", **more: Any) -> BrokerRequest:
    return request(Side.SELL, quantity, limit, tif, **more)


def request(side: Side, quantity: str | None, limit: str | None, tif: str, **more: Any) -> BrokerRequest:
    return BrokerRequest(
        symbol=STOCK,
        side=side,
        kind=OrderKind.MARKET if limit is None else OrderKind.LIMIT,
        tif=Tif(tif),
        quantity=None if quantity is None else D(quantity),
        limit_price=None if limit is None else D(limit),
        **more,
    )


def events(updates: list[TradeUpdate]) -> list[str]:
    return [update.event for update in updates]
