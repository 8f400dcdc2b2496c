"""Every feature by its definition, read off the cards: from all messages, anew for each moment, slow and plain."""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from typing import Any, NamedTuple

from edgefleet.features.spec import FeatureSpec
from edgefleet.messages import Bar, BookDelta, BookSnapshot, Message, Quote, Trade, VenueStatus

SECOND = 1_000_000_000


class Top(NamedTuple):
    """A usable best bid and ask, and when it was so."""

    now: int
    bid: float
    bid_size: float
    ask: float
    ask_size: float

    @property
    def mid(self) -> float:
        return (self.bid + self.ask) / 2


class Print(NamedTuple):
    """A trade, and when it counted."""

    now: int
    price: float
    quantity: float
    sign: int


class Story:
    """What messages up to a moment tell, and when each counted."""

    def __init__(self, messages: Sequence[Any], spec: FeatureSpec, at: int) -> None:
        self.spec, self.at = spec, at
        self.gap = spec.max_gap_s * SECOND
        self.tops: list[Top] = []  # of the unbroken history
        self.is_quoted = False  # a quote has come in it
        self.has_top = False  # the last word on it was usable
        self.prints: list[Print] = []  # of the unbroken history
        self.book: tuple[dict[Decimal, Decimal], dict[Decimal, Decimal]] | None = None
        self.book_at = 0
        self.bars: list[tuple[float, float, float]] = []  # high, low, close
        self._bars_end = 0
        self._open: tuple[int, list[float]] | None = None
        self.now = 0
        self.heard: int | None = None
        for message in messages:
            self._hear(message)

    def _hear(self, message: Any) -> None:
        self.now = max(self.now, message.ts_event)
        if self.heard is not None and self.now - self.heard > self.gap:
            self._lose_top()
            self.prints, self.is_quoted = [], False
        self.heard = self.now
        if isinstance(message, Quote) and self.spec.top_from != "book":
            self.is_quoted = True
            self._top(*map(float, (message.bid, message.bid_size, message.ask, message.ask_size)))
        elif isinstance(message, Trade):
            sign = 1 if message.aggressor == "buy" else -1
            self.prints.append(Print(self.now, float(message.price), float(message.quantity), sign))
            self._print(message)
        elif isinstance(message, BookSnapshot | BookDelta):
            self._book(message)
        elif isinstance(message, Bar) and message.interval_ms == self.spec.bar_ms:
            self._bar(message.ts_event, float(message.high), float(message.low), float(message.close))
        elif isinstance(message, VenueStatus):
            self.book = None
            if message.status == "disconnected" or self._book_has_top():
                self._lose_top()
            if message.status == "disconnected":
                self.prints, self.is_quoted = [], False

    def _book_has_top(self) -> bool:
        return {"book": True, "quotes": False, "auto": not self.is_quoted}[self.spec.top_from]

    def _lose_top(self) -> None:
        self.tops, self.has_top = [], False

    def _top(self, bid: float, bid_size: float, ask: float, ask_size: float) -> None:
        self.has_top = 0 < bid < ask
        if self.has_top:
            if self.tops and self.now - self.tops[-1].now > self.gap:
                self.tops = []
            self.tops.append(Top(self.now, bid, bid_size, ask, ask_size))

    def _book(self, message: BookSnapshot | BookDelta) -> None:
        if isinstance(message, BookSnapshot):
            self.book = {}, {}
        if self.book is None:
            return
        for side, levels in zip(self.book, (message.bids, message.asks), strict=True):
            for price, size in levels:
                side[price] = size
                if not size:
                    del side[price]
        self.book_at = self.now
        if self._book_has_top():
            bids, asks = self.book
            if bids and asks:
                bid, ask = max(bids), min(asks)
                self._top(float(bid), float(bids[bid]), float(ask), float(asks[ask]))
            else:
                self.has_top = False

    def _print(self, trade: Trade) -> None:
        width = self.spec.bar_ms * 1_000_000
        start = trade.ts_event // width * width
        if self._open is None:
            self._open = start, []
        elif start > self._open[0]:
            begun, prices = self._open
            self._bar(begun + width, max(prices), min(prices), prices[-1])
            self._open = start, []
        self._open[1].append(float(trade.price))

    def _bar(self, end: int, high: float, low: float, close: float) -> None:
        if end > self._bars_end:
            self._bars_end = end
            self.bars.append((high, low, close))

    def is_silent(self) -> bool:
        return self.heard is None or self.at - self.heard > self.gap


def exact(terms: Sequence[float]) -> float:
    """Return the sum, rounded once."""
    return float(sum(map(Fraction, terms), Fraction(0)))


def whole_second(ts: int) -> int:
    """Return the first whole second that is not before `ts`."""
    return math.ceil(Fraction(ts, SECOND))


def define(messages: Sequence[Message], spec: FeatureSpec, at: int) -> dict[str, float]:
    """Return what is known at `at` of all messages of one instrument up to then."""
    story = Story(messages, spec, at)
    if story.is_silent():
        return {}
    if story.tops and at - story.tops[-1].now > story.gap:
        story.tops, story.has_top = [], False
    found: dict[str, float | None] = {}
    found |= _of_top(story)
    found |= _of_history(story)
    found |= _of_trades(story)
    found |= _of_bars(story)
    return {name: value for name, value in found.items() if value is not None}


def _of_top(story: Story) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    if story.has_top:
        top = story.tops[-1]
        found["mid"] = top.mid
        found["spread_bps"] = (top.ask - top.bid) / top.mid * 10_000
        both = top.bid_size + top.ask_size
        if both:
            found["microprice"] = (top.bid * top.ask_size + top.ask * top.bid_size) / both
            found["top_imbalance"] = (top.bid_size - top.ask_size) / both
    if story.book is not None and story.at - story.book_at <= story.gap:
        bids, asks = sorted(story.book[0].items(), reverse=True), sorted(story.book[1].items())
        if bids and asks and bids[0][0] < asks[0][0]:
            for k in story.spec.depth_levels:
                bid = ask = 0.0
                for _, size in bids[:k]:
                    bid += float(size)
                for _, size in asks[:k]:
                    ask += float(size)
                found[f"depth_imbalance_{k}"] = (bid - ask) / (bid + ask)
    return found


def _mid_at(story: Story, second: int) -> float | None:
    """Return the last mid at or before a whole second; None unless a usable top was in that second or before."""
    before = [top.mid for top in story.tops if top.now <= second * SECOND]
    return before[-1] if before else None


def _of_history(story: Story) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    if not story.tops:
        return found
    for n in story.spec.return_seconds:
        then = _mid_at(story, story.at // SECOND - n)
        if story.has_top and then is not None:
            found[f"return_{span(n)}"] = story.tops[-1].mid / then - 1
    over = whole_second(story.at) - 1  # the newest whole second that is over
    for n in story.spec.volatility_seconds:
        mids = [_mid_at(story, second) for second in range(over - n, over + 1)]
        if None not in mids:
            returns = [math.log(b / a) for a, b in pairwise(mids)]  # type: ignore[operator]  # none is None
            total, squares = exact(returns), exact([r * r for r in returns])
            variance = (squares - total * total / n) / (n - 1)
            found[f"volatility_{span(n)}"] = math.sqrt(max(variance, 0.0)) * math.sqrt(story.spec.year_s)
    now, first = whole_second(story.at), whole_second(story.tops[0].now)
    for n in story.spec.ofi_seconds:
        if now - n >= first:
            flows = [_e(a, b) for a, b in pairwise(story.tops) if whole_second(b.now) > now - n]
            found[f"ofi_{span(n)}"] = exact(flows)
    return found


def _e(a: Top, b: Top) -> float:
    e = (b.bid >= a.bid) * b.bid_size - (b.bid <= a.bid) * a.bid_size
    return e - (b.ask <= a.ask) * b.ask_size + (b.ask >= a.ask) * a.ask_size


def _of_trades(story: Story) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    now = whole_second(story.at)
    for n in story.spec.trade_seconds:
        if not story.prints or now - n < whole_second(story.prints[0].now):
            continue
        window = [one for one in story.prints if whole_second(one.now) > now - n]
        volume = exact([one.quantity for one in window])
        found[f"volume_{span(n)}"] = volume
        if window:
            found[f"vwap_{span(n)}"] = exact([one.price * one.quantity for one in window]) / volume
            found[f"trade_imbalance_{span(n)}"] = exact([one.sign * one.quantity for one in window]) / volume
    return found


def _of_bars(story: Story) -> dict[str, float | None]:
    spec = story.spec
    closes = [close for _, _, close in story.bars]
    found: dict[str, float | None] = {f"ema_{n}": ema(closes, n, spec.ema_seed) for n in spec.ema_bars}
    found[f"rsi_{spec.rsi_bars}"] = rsi(closes, spec.rsi_bars)
    found[f"atr_{spec.atr_bars}"] = atr(story.bars, spec.atr_bars)
    name = "_".join(map(str, spec.macd_bars))
    line, signal = macd(closes, *spec.macd_bars, spec.ema_seed)
    found[f"macd_{name}"], found[f"macd_signal_{name}"] = line, signal
    found[f"macd_histogram_{name}"] = None if line is None or signal is None else line - signal
    n = spec.bollinger_bars
    if story.has_top and len(closes) >= n:
        mean = exact(closes[-n:]) / n
        deviation = math.sqrt(exact([(close - mean) * (close - mean) for close in closes[-n:]]) / n)
        if deviation:
            found[f"bollinger_z_{n}"] = (story.tops[-1].mid - mean) / deviation
    return found


def ema(closes: Sequence[float], n: int, seed: str) -> float | None:
    if len(closes) < (1 if seed == "first" else n):
        return None
    begin = 1 if seed == "first" else n
    value = _mean(closes[:begin])
    for close in closes[begin:]:
        value = value + (close - value) * (2 / (n + 1))
    return value


def wilder(terms: Sequence[float], n: int) -> float | None:
    if len(terms) < n:
        return None
    value = _mean(terms[:n])
    for term in terms[n:]:
        value = (value * (n - 1) + term) / n
    return value


def rsi(closes: Sequence[float], n: int) -> float | None:
    changes = [b - a for a, b in pairwise(closes)]
    gain = wilder([max(change, 0.0) for change in changes], n)
    loss = wilder([max(-change, 0.0) for change in changes], n)
    if gain is None or loss is None or gain + loss == 0:
        return None
    return 100 * (gain / (gain + loss))


def macd(closes: Sequence[float], fast: int, slow: int, signal: int, seed: str) -> tuple[float | None, float | None]:
    lines: list[float] = []
    for count in range(1, len(closes) + 1):
        begin = slow - fast if seed == "sma" else 0
        a, b = ema(closes[begin:count], fast, seed), ema(closes[:count], slow, seed)
        if a is not None and b is not None:
            lines.append(a - b)
    return (lines[-1], ema(lines, signal, seed)) if lines else (None, None)


def atr(bars: Sequence[tuple[float, float, float]], n: int) -> float | None:
    ranges = [max(high, before) - min(low, before) for (_, _, before), (high, low, _) in pairwise(bars)]
    return wilder(ranges, n)


def _mean(terms: Sequence[float]) -> float:
    """Return the mean, the terms added one after the other as the card says of what begins a mean."""
    total = 0.0
    for term in terms:
        total += term
    return total / len(terms)


def span(seconds: int) -> str:
    return f"{seconds // 60}m" if seconds % 60 == 0 else f"{seconds}s"
