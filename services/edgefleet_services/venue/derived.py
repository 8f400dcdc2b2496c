"""Streams that the venue makes of prints and books: aggregate trades, candles, tickers, partial books.

Knows names and when a frame is due, by market time; frames are made only of what somebody takes.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from edgefleet.matching.engine import Side
from edgefleet.matching.exchange import SimExchange
from edgefleet.matching.history import INTERVALS_MS, Candle, MarketHistory
from edgefleet.matching.wire import DepthDiff, Trade

from . import views
from .consumers import Hub

encode = msgspec.json.encode

PARTIAL_LEVELS = (5, 10, 20)
SLOW_MS = 1_000  # tickers, and partial books that do not ask for @100ms
_TICKERS = ("ticker", "miniTicker")
_KINDS = frozenset(
    {"aggTrade", *_TICKERS}
    | {f"kline_{interval}" for interval in INTERVALS_MS}
    | {f"depth{levels}{pace}" for levels in PARTIAL_LEVELS for pace in ("", "@100ms", "@1000ms")}
    | {f"!{ticker}@arr" for ticker in _TICKERS}
)


def is_derived(kind: str) -> bool:
    """Return whether the venue makes streams of this kind, or of this name where it is one of the whole market."""
    return kind in _KINDS


class Market(Protocol):
    """What of the market the streams are made of, and where they go."""

    hub: Hub
    exchange: SimExchange
    history: dict[str, MarketHistory]

    async def publish(self, stream: str, data: bytes, *, live: bool) -> None:
        """Send a frame to the consumers of `stream`."""
        ...


class _Wanted:
    """What is taken of one symbol."""

    def __init__(self) -> None:
        self.is_aggregated = False
        self.intervals: list[str] = []
        self.partial: list[tuple[str, int, bool]] = []  # stream, levels, once a second
        self.tickers: list[str] = []


class Derived:
    """Makes the frames that follow from a print or a depth diff."""

    def __init__(self, market: Market) -> None:
        self._market = market
        self._version = -1  # of the hub's subscriptions
        self._wanted: dict[str, _Wanted] = {}
        self._whole: list[str] = []  # tickers of every symbol
        self._open: dict[tuple[str, str], Candle] = {}
        self._told_at: dict[str, int] = {}  # by stream: the second of market time it last had a frame in
        self._told: dict[str, bytes] = {}  # by stream: that frame, without its stamp
        self._any = False

    def is_wanted(self) -> bool:
        """Return whether anybody takes a stream of these; what there is to pay where nobody does."""
        if self._version != self._market.hub.version:
            self._version = self._market.hub.version
            self._look()
        return self._any

    def _look(self) -> None:
        self._wanted, self._whole = {}, []
        self._told_at, self._told = {}, {}  # who has just come has been told nothing
        for stream in list(self._market.hub.streams):
            if stream.startswith("!"):
                self._whole.append(stream)
                continue
            name, _, kind = stream.partition("@")
            if not is_derived(kind):
                continue
            wanted = self._wanted.setdefault(name.upper(), _Wanted())
            if kind == "aggTrade":
                wanted.is_aggregated = True
            elif kind in _TICKERS:
                wanted.tickers.append(kind)
            elif kind.startswith("kline_"):
                wanted.intervals.append(kind.removeprefix("kline_"))
            else:
                levels, _, pace = kind.removeprefix("depth").partition("@")
                wanted.partial.append((stream, int(levels), pace != "100ms"))
        self._any = bool(self._wanted or self._whole)

    async def follow(self, frame: Trade | DepthDiff, *, live: bool) -> None:
        """Send what follows from a frame that the exchange has taken."""
        wanted = self._wanted.get(frame.s)
        if wanted is not None:
            if isinstance(frame, Trade):
                await self._prints(frame, wanted, live=live)
            else:
                for stream, levels, is_slow in wanted.partial:
                    await self._partial(stream, frame.s, levels, is_slow=is_slow, live=live)
            for ticker in wanted.tickers:
                await self._ticker(ticker, frame.s, live=live)
        for stream in self._whole:
            await self._all_tickers(stream, live=live)

    async def _prints(self, print_: Trade, wanted: _Wanted, *, live: bool) -> None:
        symbol, name = print_.s, print_.s.lower()
        if wanted.is_aggregated:
            event = {"e": "aggTrade", "E": print_.E, "s": symbol} | views.agg_trade(print_)
            await self._market.publish(f"{name}@aggTrade", encode(event), live=live)
        for interval in wanted.intervals:
            await self._candle(f"{name}@kline_{interval}", symbol, interval, live=live)

    async def _candle(self, stream: str, symbol: str, interval: str, *, live: bool) -> None:
        """Send the open candle as it stands, after the one before it where that has closed."""
        width, now = INTERVALS_MS[interval], self._market.exchange.market_time_ms
        candle = self._market.history[symbol].current(interval)
        before = self._open.get((symbol, interval))
        self._open[(symbol, interval)] = msgspec.structs.replace(candle)
        if before is not None and before.start < candle.start:
            closed = views.kline_event(symbol, interval, before, width, closed=True, now_ms=now)
            await self._market.publish(stream, encode(closed), live=live)
        event = views.kline_event(symbol, interval, candle, width, closed=False, now_ms=now)
        await self._market.publish(stream, encode(event), live=live)

    async def _partial(self, stream: str, symbol: str, levels: int, *, is_slow: bool, live: bool) -> None:
        book = self._market.exchange.markets[symbol].book
        if book.ready and (not is_slow or self._is_due(stream)):
            await self._market.publish(stream, encode(views.whole_book(book, levels)), live=live)

    async def _ticker(self, kind: str, symbol: str, *, live: bool) -> None:
        stream = f"{symbol.lower()}@{kind}"
        if not self._market.history[symbol].trades or not self._is_due(stream):
            return
        told = self._changed(kind, symbol, stream)
        if told is not None:
            await self._market.publish(stream, encode(told), live=live)

    async def _all_tickers(self, stream: str, *, live: bool) -> None:
        """Send the tickers that changed, of all symbols, in one frame."""
        history = self._market.history
        if not any(one.trades for one in history.values()) or not self._is_due(stream):
            return
        kind = stream.removeprefix("!").removesuffix("@arr")
        told = [self._changed(kind, symbol, f"{stream}{symbol}") for symbol in self._market.exchange.rules]
        changed = [ticker for ticker in told if ticker is not None]
        if changed:
            await self._market.publish(stream, encode(changed), live=live)

    def _changed(self, kind: str, symbol: str, memory: str) -> views.Json | None:
        """Return a symbol's ticker, None where nothing was printed yet or nothing changed."""
        now = self._market.exchange.market_time_ms
        day = self._market.history[symbol].day(now)
        if day is None:
            return None
        if kind == "ticker":
            market = self._market.exchange.markets[symbol]
            ticker = views.ticker_event(symbol, day, market.top(Side.BUY), market.top(Side.SELL), now)
        else:
            ticker = views.mini_ticker_event(symbol, day, now)
        said = encode({key: value for key, value in ticker.items() if key not in ("E", "O", "C")})
        if self._told.get(memory) == said:
            return None
        self._told[memory] = said
        return ticker

    def _is_due(self, stream: str) -> bool:
        second = self._market.exchange.market_time_ms // SLOW_MS
        if self._told_at.get(stream) == second:
            return False
        self._told_at[stream] = second
        return True
