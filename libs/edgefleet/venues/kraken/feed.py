"""Kraken WebSocket v2 frames to messages: checked books, prints, tickers, precisions. Opens no socket.

The checksum is over ten levels a side, so at a depth of ten, the default, the whole book is proven by each frame. At a
greater depth what lies below is proven only when it rises.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from edgefleet.errors import Misuse
from edgefleet.messages.market import Level
from edgefleet.stage import Output
from edgefleet.venues.feed import are_levels
from edgefleet.venues.figures import is_plausible
from edgefleet.venues.kraken import names, wire
from edgefleet.venues.kraken.books import KrakenBook, KrakenCore
from edgefleet.venues.kraken.ladder import (
    CHECKED_LEVELS,
    DEPTHS,
    UNDATED,
    Piece,
    Precision,
    decimals_of,
    depth_for,
    digits_of_level,
)
from edgefleet.venues.stamps import rfc3339_ns

_MAX_DECIMALS = 18  # more no pair has; a frame that says so is not believed


class KrakenFeed(KrakenCore):
    """Frames of one connection in, `market` and `beats` messages out.

    Parameters
    ----------
    venue, symbols, touch_interval_ms
        As of every feed.
    depth
        Levels a side to subscribe to: 10, 25, 100, 500 or 1,000.

    Raises
    ------
    Misuse
        If the venue offers no such depth.
    """

    def __init__(
        self, venue: str, symbols: Iterable[str], *, touch_interval_ms: int = 100, depth: int = CHECKED_LEVELS
    ) -> None:
        super().__init__(venue, symbols, touch_interval_ms=touch_interval_ms)
        if depth not in DEPTHS:
            raise Misuse(f"Kraken offers books of depth {', '.join(map(str, DEPTHS))}, not {depth}; correct the option")
        self._depth = depth
        self._asked = False  # our own depth is what the connection has
        self._handlers: dict[type, Callable[[Any, int, bytes, int, list[Output]], None]] = {
            wire.Book: self._on_book,
            wire.Prints: self._on_prints,
            wire.Tickers: self._on_tickers,
            wire.Instruments: self._on_instruments,
            wire.Status: self._on_status,
        }

    def spell(self, symbol: str) -> str:
        """Return ``BTC/USD``."""
        return names.spell(symbol)

    def subscriptions(self, names: Sequence[str]) -> list[str]:
        """Return the texts that ask for `names`, a channel each. Fifty prints of before come with a subscription."""
        return [
            _request("subscribe", channel="book", symbol=list(names), depth=self._depth),
            _request("subscribe", channel="trade", symbol=list(names), snapshot=True),
            _request("subscribe", channel="ticker", symbol=list(names)),
        ]

    def book_requests(self, names: Sequence[str]) -> list[str]:
        """Return the texts that begin the books of `names` anew."""
        asked = {"channel": "book", "symbol": list(names), "depth": self._depth}
        return [_request("unsubscribe", **asked), _request("subscribe", **asked)]

    def on_connect(self, stamp_ns: int) -> None:
        """Take note that a connection is up. Precisions are asked for first, once: they are of all pairs."""
        super().on_connect(stamp_ns)
        self._asked = True
        self._requests.insert(0, _request("subscribe", channel="instrument"))

    def handle(self, stamp_ns: int, raw: bytes, ts_init: int, out: list[Output]) -> None:
        """Read a frame by its channel."""
        try:
            frame = wire.FRAME.decode(raw)
        except msgspec.ValidationError:
            self._on_unusual(stamp_ns, raw, ts_init, out)
            return
        handler = self._handlers.get(type(frame))
        if handler is not None:
            handler(frame, stamp_ns, raw, ts_init, out)

    def _on_book(self, frame: wire.Book, stamp_ns: int, raw: bytes, ts_init: int, out: list[Output]) -> None:
        for place, item in enumerate(frame.data):
            followed = self.hear(item.symbol, stamp_ns)
            if followed is None or self.is_repeated(followed, raw, place):
                continue
            bid_levels = [(level.price, level.qty) for level in item.bids]
            ask_levels = [(level.price, level.qty) for level in item.asks]
            if not (are_levels(bid_levels) and are_levels(ask_levels)):
                self.refuse_book(followed, raw, stamp_ns, ts_init, out)
                continue
            stamp = None if item.timestamp is None else rfc3339_ns(item.timestamp)
            if stamp is not None and not self.hear_stamp_of(followed, stamp, stamp_ns, raw, ts_init, out):
                continue
            if not followed.told:
                _learn(followed, (*bid_levels, *ask_levels))
            is_whole = frame.type == "snapshot"
            # A snapshot's stamp is that of its making, which says nothing of when its levels were set.
            at = UNDATED if is_whole or stamp is None else stamp
            bids, asks = _pieces(bid_levels, followed.precision, at), _pieces(ask_levels, followed.precision, at)
            if is_whole:
                depth = self._depth_of(followed, max(len(bids), len(asks)))
                self.take_snapshot(followed, bids, asks, depth, item.checksum, stamp, stamp_ns, ts_init, out)
            else:
                self.take_changes(followed, bids, asks, item.checksum, stamp, stamp_ns, ts_init, out)

    def _depth_of(self, followed: KrakenBook, levels: int) -> int:
        """Return how deep a book is kept: as the venue said, as we asked, or as its snapshot is."""
        if followed.depth is not None:
            return followed.depth
        return self._depth if self._asked else depth_for(levels)

    def _on_prints(self, frame: wire.Prints, stamp_ns: int, raw: bytes, ts_init: int, out: list[Output]) -> None:
        begins: dict[str, int] = {}
        for item in frame.data:
            followed = self.hear(item.symbol, stamp_ns)
            if followed is None:
                continue
            stamp = rfc3339_ns(item.timestamp)
            if not self.hear_stamp_of(followed, stamp, stamp_ns, raw, ts_init, out):
                continue
            if frame.type == "snapshot" and (followed.trade_id < 0 or item.symbol in begins):
                # What was printed before we ever listened only tells where the prints begin.
                begins[item.symbol] = followed.trade_id = max(followed.trade_id, item.trade_id)
            elif frame.type == "snapshot" and item.trade_id <= followed.trade_id:
                followed.reconnected = followed.reconnected and item.trade_id != followed.trade_id
            else:
                self._take_print(followed, item, stamp, raw, ts_init, out)

    def _take_print(
        self, followed: KrakenBook, item: wire.PrintItem, stamp: int, raw: bytes, ts_init: int, out: list[Output]
    ) -> None:
        if not (is_plausible(item.price) and is_plausible(item.qty)):
            self.refuse(raw, "a price or size that cannot be")
            return
        if self.keeps_out(followed, followed.prints, item.price) or not self.is_new_print(followed, item.trade_id):
            return
        self.trade(followed, str(item.trade_id), item.price, item.qty, item.side, stamp, ts_init, out)

    def _on_tickers(self, frame: wire.Tickers, stamp_ns: int, raw: bytes, ts_init: int, out: list[Output]) -> None:
        for item in frame.data:
            followed = self.hear(item.symbol, stamp_ns)
            if followed is None:
                continue
            if item.timestamp is not None:
                stamp = rfc3339_ns(item.timestamp)
                if not self.hear_stamp_of(followed, stamp, stamp_ns, raw, ts_init, out):
                    continue
            if item.bid and item.ask:
                self.compare_top(followed, item.bid, item.ask)

    def _on_instruments(
        self, frame: wire.Instruments, stamp_ns: int, raw: bytes, ts_init: int, out: list[Output]
    ) -> None:
        for pair in frame.data.pairs:
            followed = self._followed.get(pair.symbol)
            precision = (pair.price_precision, pair.qty_precision)
            if followed is not None and all(0 <= decimals <= _MAX_DECIMALS for decimals in precision):
                followed.told = True
                _set_precision(followed, precision)

    def _on_status(self, frame: wire.Status, stamp_ns: int, raw: bytes, ts_init: int, out: list[Output]) -> None:
        for item in frame.data:
            if item.system not in ("", "online"):
                self._notices.append(f"{self.venue} says that its engine is in {item.system}")

    def _on_unusual(self, stamp_ns: int, raw: bytes, ts_init: int, out: list[Output]) -> None:
        """Take the answer to a request, a frame of another channel, or one that cannot be read."""
        probe = wire.PROBE.decode(raw)
        if probe.channel in wire.KNOWN:
            wire.FRAME.decode(raw)  # raises what is wrong with it
        if probe.channel is not None or (probe.method is None and not probe.error):
            self.counts.unknown_events += 1
        elif probe.success is not False and not probe.error:
            self._on_answer(probe, stamp_ns, raw, ts_init, out)
        elif probe.method != "unsubscribe":  # what was never begun cannot be ended: no harm
            of = "" if probe.symbol is None else f" for {probe.symbol}"
            self._notices.append(f"{self.venue} refused a request{of}: {probe.error}")

    def _on_answer(self, probe: wire.Probe, stamp_ns: int, raw: bytes, ts_init: int, out: list[Output]) -> None:
        result = probe.result
        followed = None if result is None or result.symbol is None else self._followed.get(result.symbol)
        if result is not None and followed is not None and result.depth in DEPTHS and probe.method == "subscribe":
            followed.depth = result.depth
            if followed.ladder is not None:
                followed.ladder.depth = result.depth
        if probe.time_out is not None:
            self.hear_stamp_of(followed, rfc3339_ns(probe.time_out), stamp_ns, raw, ts_init, out)


def _learn(followed: KrakenBook, levels: Sequence[Level]) -> None:
    """Take the decimals that a frame is written with, until the venue says them: it writes all of them."""
    prices, sizes = followed.precision
    for price, size in levels:
        prices, sizes = max(prices, decimals_of(price)), max(sizes, decimals_of(size))
    if max(prices, sizes) <= _MAX_DECIMALS:
        _set_precision(followed, (prices, sizes))


def _set_precision(followed: KrakenBook, precision: Precision) -> None:
    """Take other decimals, and write what is on the ladder with them."""
    if precision != followed.precision:
        followed.precision = precision
        if followed.ladder is not None:
            followed.ladder.rewrite(precision)


def _pieces(levels: Sequence[Level], precision: Precision, stamp: int) -> list[Piece]:
    return [(price, size, digits_of_level(price, size, precision), stamp) for price, size in levels]


def _request(method: str, **params: object) -> str:
    return msgspec.json.encode({"method": method, "params": params}).decode()
