"""What a capture proves about the feed that reads it, and about itself: counts, exactness, clock. Does no I/O."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from edgefleet.book import Book
from edgefleet.book.quality import QualityMonitor
from edgefleet.book.sessions import ALWAYS_OPEN, Calendar
from edgefleet.clock import NS_PER_MS
from edgefleet.instruments import split_id
from edgefleet.messages import BookDelta, BookSnapshot, Message, Quote, Trade, VenueStatus
from edgefleet.params.schema.quality import QualityParams
from edgefleet.stage import Output
from edgefleet.venues.feed import BookCounts

_QUOTES_KEPT = 4_096  # a top-of-book frame is compared with a book that reaches its update id within so many

Picture = list[tuple[int, float, float]]  # stamp, bid, ask


class InstrumentCheck:
    """One instrument of a capture, from the messages that its feed made.

    The book is rebuilt here from `BookSnapshot` and `BookDelta` alone, as any reader of `market` would, and compared
    with the venue's own top where both carry the same update id.
    """

    def __init__(self, *, compares_ids: bool) -> None:
        self.frames = 0
        self.trades = 0
        self.volume = Decimal(0)
        self.turnover = Decimal(0)
        self.quotes = 0
        self.deltas = 0
        self.snapshots = 0
        self.crossed = 0
        self.tops_compared = 0
        self.tops_equal = 0
        self.last: Decimal | None = None
        self.lags_ms: list[float] = []  # receipt minus the venue's stamp
        self.tops: Picture = []  # thinned to one a second
        self.prints: list[tuple[int, float]] = []
        self._book: Book | None = None
        self._update_id = 0
        self._compares_ids = compares_ids
        self._quotes: OrderedDict[int, Quote] = OrderedDict()

    def take(self, message: object) -> None:
        """Take one message of `market`."""
        if isinstance(message, Trade):
            self._on_trade(message)
        elif isinstance(message, Quote):
            self._on_quote(message)
        elif isinstance(message, BookDelta):
            self._on_delta(message)
        elif isinstance(message, BookSnapshot):
            self._on_snapshot(message)

    def lose_book(self) -> None:
        """Know nothing of the book until its next snapshot."""
        self._book = None
        self._quotes.clear()

    @property
    def vwap(self) -> Decimal | None:
        """Return turnover by volume, None where nothing was traded."""
        return self.turnover / self.volume if self.volume else None

    @property
    def has_book(self) -> bool:
        """Return whether a book stands."""
        return self._book is not None

    @property
    def top(self) -> Sequence[Decimal] | None:
        """Return the best bid, its size, the best ask, its size of the book as it stands."""
        return None if self._book is None else self._book.top()

    def _on_trade(self, trade: Trade) -> None:
        self.trades += 1
        self.volume += trade.quantity
        self.turnover += trade.quantity * trade.price
        self.last = trade.price
        self._lag(trade.ts_init, trade.ts_event)
        if not self.prints or trade.ts_event - self.prints[-1][0] >= 1_000 * NS_PER_MS:
            self.prints.append((trade.ts_event, float(trade.price)))

    def _on_quote(self, quote: Quote) -> None:
        self.quotes += 1
        if self._compares_ids:
            if self._book is not None and quote.update_id == self._update_id:
                self._compare(quote)
            elif quote.update_id > self._update_id:
                self._quotes[quote.update_id] = quote
                if len(self._quotes) > _QUOTES_KEPT:
                    self._quotes.popitem(last=False)
        if not self.tops or quote.ts_event - self.tops[-1][0] >= 1_000 * NS_PER_MS:
            self.tops.append((quote.ts_event, float(quote.bid), float(quote.ask)))

    def _on_snapshot(self, snapshot: BookSnapshot) -> None:
        self.snapshots += 1
        self._book = Book()
        self._book.load(snapshot.bids, snapshot.asks)
        self._reached(snapshot.update_id)

    def _on_delta(self, delta: BookDelta) -> None:
        self.deltas += 1
        self._lag(delta.ts_init, delta.ts_event)
        if self._book is not None:
            self._book.apply(delta.bids, delta.asks)
            self.crossed += self._book.is_crossed
            self._reached(delta.last_update_id)

    def _reached(self, update_id: int) -> None:
        self._update_id = update_id
        if self._quotes:
            quote = self._quotes.get(update_id)
            if quote is not None:
                self._compare(quote)
            while self._quotes and next(iter(self._quotes)) <= update_id:
                self._quotes.popitem(last=False)

    def _compare(self, quote: Quote) -> None:
        self.tops_compared += 1
        self.tops_equal += self.top == (quote.bid, quote.bid_size, quote.ask, quote.ask_size)

    def _lag(self, received: int, stamped: int) -> None:
        self.lags_ms.append((received - stamped) / NS_PER_MS)


class MarketCheck:
    """A whole capture: one `InstrumentCheck` each, and the sum.

    Parameters
    ----------
    instruments
        `SYMBOL@venue` of each.
    compares_ids
        Whether the venue's top-of-book frames carry the id of the book update they belong to (Binance). Where they do
        not, the feed itself compares at the instant such a frame comes.
    calendar
        The market's hours.
    """

    def __init__(self, instruments: Iterable[str], *, compares_ids: bool, calendar: Calendar = ALWAYS_OPEN) -> None:
        self.instruments = {name: InstrumentCheck(compares_ids=compares_ids) for name in instruments}
        self.resyncs = 0
        self.disconnects = 0
        self._quality = QualityMonitor(QualityParams(), calendar)
        self._compares_ids = compares_ids

    def take(self, outputs: Iterable[Output], instruments: Sequence[str]) -> None:
        """Take what a feed of `instruments` made of one line."""
        for output in outputs:
            if output.stream != "market":
                continue
            message = output.message
            if isinstance(message, VenueStatus):
                self._status(message, instruments)
                continue
            one = self.instruments.get(getattr(message, "instrument", ""))
            if one is not None:
                one.take(message)
                self._judge(message)

    @property
    def faults(self) -> dict[str, int]:
        """Return how often each fault of data quality was found, with the thresholds that a fleet begins with."""
        found: Counter[str] = Counter()
        for name in self.instruments:
            found.update({fault.value: count for fault, count in self._quality.counts(name).items()})
        return dict(sorted(found.items()))

    def _judge(self, message: Message) -> None:
        if isinstance(message, Trade):
            self._quality.on_trade(message)
        elif isinstance(message, Quote):
            self._quality.on_quote(message)

    def _status(self, status: VenueStatus, instruments: Sequence[str]) -> None:
        if status.status == "resync":
            self.resyncs += 1
            one = self.instruments.get(status.detail.partition(": ")[0])
            if one is not None:
                one.lose_book()
        elif status.status == "disconnected":
            self.disconnects += 1
            for name in instruments:
                self.instruments[name].lose_book()

    def report(self, counts: Mapping[str, BookCounts], frames: Mapping[str, int]) -> dict[str, Any]:
        """Return the answer of `data check --json`: `instruments` by symbol, and `total`.

        `counts` is the feed's own word on each book, `frames` how many frames named each symbol.
        """
        rows = {}
        for name, one in self.instruments.items():
            symbol = split_id(name)[0]
            rows[symbol] = self._row([one], [counts[name]], frames.get(symbol, 0))
        every = self._row(list(self.instruments.values()), list(counts.values()), sum(frames.values()))
        return {"instruments": rows, "total": every}

    def _row(self, ones: Sequence[InstrumentCheck], counts: Sequence[BookCounts], frames: int) -> dict[str, Any]:
        traded = [one for one in ones if one.trades]
        alone = traded[0] if len(traded) == 1 else None  # base units of different instruments do not add
        compared, equal = (
            (sum(one.tops_compared for one in ones), sum(one.tops_equal for one in ones))
            if self._compares_ids
            else (sum(one.tops_compared for one in counts), sum(one.tops_equal for one in counts))
        )
        return {
            "frames": frames,
            "trades": sum(one.trades for one in ones),
            "volume": _plain(alone.volume) if alone else None,
            "vwap": _plain(alone.vwap and round(alone.vwap, 12)) if alone else None,
            "last": _plain(alone.last) if alone else None,
            "quotes": sum(one.quotes for one in ones),
            "snapshots": sum(one.snapshots for one in ones),
            "depth_applied": sum(one.applied for one in counts),
            "depth_stale": sum(one.stale for one in counts),
            "tops_compared": compared,
            "tops_equal": equal,
            "checksums_ok": sum(one.checksums_ok for one in counts),
            "checksums_bad": sum(one.checksums_bad for one in counts),
            "crossed": sum(one.crossed for one in ones) + sum(one.crossed for one in counts),
            "gaps": sum(one.gaps for one in counts),
            "clock_lag_ms": _spread([lag for one in ones for lag in one.lags_ms]),
            "top": [_plain(value) for value in ones[0].top or ()] or None if len(ones) == 1 else None,
        }


def _spread(lags: list[float]) -> dict[str, float] | None:
    if not lags:
        return None
    ordered = sorted(lags)
    at = {name: ordered[min(len(ordered) - 1, int(share * len(ordered)))] for name, share in _SHARES}
    return {name: round(value, 3) for name, value in at.items()}


_SHARES = (("p1", 0.01), ("p50", 0.50), ("p99", 0.99))


def _plain(value: Decimal | None) -> str | None:
    return None if value is None else f"{value.normalize():f}"
