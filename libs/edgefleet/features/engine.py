"""Features of one instrument, event by event. Knows messages and event time; knows no clock, stream or model.

Nothing is recomputed: a message costs what it changes, and a reading what is read. `edgefleet.features.cards` says what
each number is, `edgefleet.features.offline` computes the same numbers over columns.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from hashlib import blake2b
from typing import Literal

from edgefleet.errors import Poison
from edgefleet.features.amounts import amount, levels, price
from edgefleet.features.cards import Feature, features
from edgefleet.features.grid import second_of
from edgefleet.features.ladder import Ladder
from edgefleet.features.read import READERS, Values
from edgefleet.features.spec import FeatureSpec
from edgefleet.features.state import FeatureState, FloatTop, initial, no_top, no_trades
from edgefleet.instruments import split_id
from edgefleet.messages import Message
from edgefleet.messages.market import Bar, BookDelta, BookSnapshot, Quote, Trade, VenueStatus

Lost = Literal["all", "book"]

_MARKET = (Quote, Trade, BookDelta, BookSnapshot, Bar)


class FeatureEngine:
    """The features of one instrument: messages in, numbers out on demand.

    `state` is all it remembers; an engine made with a state goes on where that one was. A state of another `spec` means
    other numbers and is not used: the engine begins anew.
    """

    def __init__(self, instrument: str, spec: FeatureSpec, state: FeatureState | None = None) -> None:
        self.instrument = instrument
        self.spec = spec
        self.state = initial(spec) if state is None or state.spec != spec else state
        self._venue = split_id(instrument)[1]
        self._max_gap = spec.max_gap_ns
        self._has_flow = "ofi" in spec.families
        self._has_trades = not {"volume", "vwap", "trade_imbalance"}.isdisjoint(spec.families)
        self._has_bars = not {"ema", "rsi", "macd", "atr", "bollinger_z"}.isdisjoint(spec.families)
        self._has_book = "depth_imbalance" in spec.families or spec.top_from != "quotes"
        self.features = features(spec)
        self._readers = _readers(self.features)

    # --- messages in

    def concerns(self, message: Message) -> bool:
        """Return whether a message is of this instrument, or says that its venue's word is lost."""
        if isinstance(message, _MARKET):
            return message.instrument == self.instrument
        return self.loses(message) is not None

    def loses(self, message: Message) -> Lost | None:
        """Return what a message says is not known any more: `all` of the instrument, its `book`, or None."""
        if not isinstance(message, VenueStatus) or message.venue != self._venue:
            return None
        if message.status == "disconnected":
            return "all"
        named = message.status == "resync" and message.detail.startswith(f"{self.instrument}:")
        return "book" if named else None

    def on_message(self, message: Message) -> None:
        """Take what a stream brings; what does not concern the instrument is passed over.

        Raises
        ------
        Poison
            If a number in it is not finite, or cannot be: a negative size, a trade for nothing. Nothing has changed.
        """
        try:
            self._take(message)
        except ValueError as error:
            kind = type(message).__struct_config__.tag
            raise Poison(f"{kind} {getattr(message, 'trace_id', '')}: {error}") from error

    def _take(self, message: Message) -> None:
        if type(message) is Quote:
            if message.instrument == self.instrument:
                self._on_quote(message)
        elif type(message) is Trade:
            if message.instrument == self.instrument:
                self._on_trade(message)
        elif type(message) is BookDelta or type(message) is BookSnapshot:
            if message.instrument == self.instrument:
                self._on_book(message)
        elif type(message) is Bar:
            if message.instrument == self.instrument:
                self._on_bar(message)
        elif type(message) is VenueStatus:
            lost = self.loses(message)
            if lost is not None:
                self._hear(message.ts_event)
                self._lose(lost)

    def _on_quote(self, quote: Quote) -> None:
        if self.spec.top_from == "book":
            self._hear(quote.ts_event)
            return
        top = amount(quote.bid), amount(quote.bid_size), amount(quote.ask), amount(quote.ask_size)
        now = self._hear(quote.ts_event)
        self.state.is_quoted = True
        self._on_top(top if 0.0 < top[0] < top[2] else None, now)

    def _on_book(self, message: BookDelta | BookSnapshot) -> None:
        if not self._has_book:
            self._hear(message.ts_event)
            return
        bids, asks = levels(message.bids, 1.0), levels(message.asks, -1.0)
        now = self._hear(message.ts_event)
        ladder = self.state.ladder
        if type(message) is BookSnapshot:
            ladder = self.state.ladder = Ladder()
            ladder.bids.load(bids)
            ladder.asks.load(asks)
        elif ladder is None:
            return  # changes of a book that nobody told
        else:
            ladder.bids.apply(bids)
            ladder.asks.apply(asks)
        self.state.book_ts = now
        if self._book_has_top:
            self._on_top(ladder.top(), now)

    def _on_top(self, top: FloatTop | None, now: int) -> None:
        tops = self.state.top
        if top is None:
            tops.now = None
            return
        if tops.last is not None and now - tops.grid.ts > self._max_gap:
            tops = self.state.top = no_top(self.spec)
        second = second_of(now)
        if tops.last is None:
            tops.first = second
        elif self._has_flow:
            tops.flow.add(second, flow(tops.last, top))
        tops.now = tops.last = top
        tops.grid.take((top[0] + top[2]) / 2, now, second)

    def _on_trade(self, trade: Trade) -> None:
        paid, quantity = price(trade.price), price(trade.quantity)
        now = self._hear(trade.ts_event)
        if self._has_trades:
            second, trades = second_of(now), self.state.trades
            if trades.first is None:
                trades.first = second
            trades.volume.add(second, quantity)
            trades.notional.add(second, paid * quantity)
            trades.signed.add(second, quantity if trade.aggressor == "buy" else -quantity)
        if self._has_bars:
            bar = self.state.bars.add(trade)
            if bar is not None:
                self.state.indicators.update(float(bar.high), float(bar.low), float(bar.close), bar.ts_event)

    def _on_bar(self, bar: Bar) -> None:
        high, low, close = price(bar.high), price(bar.low), price(bar.close)
        self._hear(bar.ts_event)
        if bar.interval_ms == self.spec.bar_ms and self._has_bars:
            self.state.indicators.update(high, low, close, bar.ts_event)

    def _hear(self, ts: int) -> int:
        """Let time reach `ts` and return it: the largest stamp so far. After a silence everything begins anew."""
        state = self.state
        now = ts if ts > state.time else state.time
        if state.heard is not None and now - state.heard > self._max_gap:
            state.top, state.trades, state.is_quoted = no_top(self.spec), no_trades(self.spec), False
        state.time = state.heard = now
        return now

    def _lose(self, what: Lost) -> None:
        self.state.ladder = None
        if what == "all" or self._book_has_top:
            self.state.top = no_top(self.spec)
        if what == "all":
            self.state.trades, self.state.is_quoted = no_trades(self.spec), False

    @property
    def _book_has_top(self) -> bool:
        """Return whether tops come from the book now."""
        return self.spec.top_from == "book" or (self.spec.top_from == "auto" and not self.state.is_quoted)

    # --- numbers out

    def values(self, at: int | None = None) -> Values:
        """Return the features that are known as of `at` (ns), by default as of the newest message, by name.

        What is not warm, or not known any more, is absent. Every number is finite. Time goes on to `at`: later messages
        count as of no earlier than that.

        Raises
        ------
        ValueError
            If `at` is before the newest message: what is known now was not known then.
        """
        state = self.state
        if at is not None:
            if at < state.time:
                raise ValueError(f"features as of {at} cannot be read after {state.time}")
            state.time = at
        now = state.time
        found: Values = {}
        if state.heard is None or now - state.heard > self._max_gap:
            return found
        tops = state.top
        if tops.last is not None and now - tops.grid.ts > self._max_gap:
            state.top = no_top(self.spec)
        for reader, wanted in self._readers:
            reader(state, wanted, now, found)
        return found

    def sample(self, messages: Iterable[Message], times: Iterable[int]) -> Iterator[tuple[int, Values]]:
        """Yield each of `times` (ns, ascending) with the features as of then: all messages up to it, none after it."""
        due = iter(times)
        at = next(due, None)
        for message in messages:
            if self.concerns(message):
                now = max(self.state.time, message.ts_event)  # type: ignore[union-attr]  # what concerns us has one
                while at is not None and at < now:
                    yield at, self.values(at)
                    at = next(due, None)
            self.on_message(message)
        while at is not None:
            yield at, self.values(at)
            at = next(due, None)


def flow(before: FloatTop, after: FloatTop) -> float:
    """Return Cont, Kukanov and Stoikov's e of two successive tops, in base units: what came to the bid less to the ask.

    Examples
    --------
    >>> flow((99.0, 5.0, 101.0, 4.0), (99.0, 7.0, 101.0, 4.0))
    2.0
    >>> flow((99.0, 5.0, 101.0, 4.0), (99.0, 5.0, 100.0, 3.0))
    -3.0
    """
    bid, bid_size, ask, ask_size = after
    old_bid, old_bid_size, old_ask, old_ask_size = before
    e = 0.0
    if bid >= old_bid:
        e += bid_size
    if bid <= old_bid:
        e -= old_bid_size
    if ask <= old_ask:
        e -= ask_size
    if ask >= old_ask:
        e += old_ask_size
    return e


def digest(values: Values) -> str:
    """Return the name of exactly these features: 16 hex digits over their names and their doubles' bits."""
    numbers = _doubles(len(values))(*values.values())
    return blake2b(" ".join(values).encode() + numbers, digest_size=8).hexdigest()


@cache
def _doubles(count: int) -> Callable[..., bytes]:
    return struct.Struct(f"<{count}d").pack


def _readers(wanted: Iterable[Feature]) -> list[tuple[Callable[..., None], tuple[Feature, ...]]]:
    grouped: dict[str, list[Feature]] = {}
    for feature in wanted:
        grouped.setdefault(feature.family, []).append(feature)
    return [(READERS[family], tuple(group)) for family, group in grouped.items()]
