"""Coinbase Exchange frames to messages: book by snapshot and changes, prints, heartbeats. Opens no socket.

The book carries no sequence and no checksum: a change that the venue did not send is seen when the best prices of its
ticker are not ours for too long, when the book crosses, or when an older change follows a newer one - and not before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from edgefleet.stage import Output
from edgefleet.venues.coinbase import wire
from edgefleet.venues.coinbase.prints import CoinbaseBook, CoinbaseCore
from edgefleet.venues.feed import UNREADABLE, are_levels
from edgefleet.venues.stamps import rfc3339_ns
from edgefleet.venues.stream_books import SAME_MOMENT_NS

# `level2` is the same data unbatched; since 2023 it is for connections that signed in.
BOOK_CHANNEL = "level2_batch"
_OTHER_CHANNELS = ("matches", "ticker", "heartbeat")


class CoinbaseFeed(CoinbaseCore):
    """Frames of one connection in, `market` and `beats` messages out.

    Parameters
    ----------
    venue, symbols, touch_interval_ms
        As of every feed.
    book_channel
        `level2_batch`, or `level2` where the connection is let have it.
    """

    def __init__(
        self, venue: str, symbols: Iterable[str], *, touch_interval_ms: int = 100, book_channel: str = BOOK_CHANNEL
    ) -> None:
        super().__init__(venue, symbols, touch_interval_ms=touch_interval_ms)
        self._book_channel = book_channel
        self._last: dict[tuple[str, str], bytes] = {}  # frame of a product and channel
        self._handlers: dict[type, Callable[[Any, int, bytes, int, list[Output]], None]] = {
            wire.L2Update: self._on_update,
            wire.Match: self._on_match,
            wire.Ticker: self._on_ticker,
            wire.Heartbeat: self._on_heartbeat,
            wire.Snapshot: self._on_snapshot,
            wire.LastMatch: self._on_last_match,
            wire.Error: self._on_error,
        }

    def subscriptions(self, names: Sequence[str]) -> list[str]:
        """Return the one text that asks for all channels of `names`."""
        return [_request("subscribe", names, (self._book_channel, *_OTHER_CHANNELS))]

    def book_requests(self, names: Sequence[str]) -> list[str]:
        """Return the texts that begin the books of `names` anew."""
        channels = (self._book_channel,)
        return [_request("unsubscribe", names, channels), _request("subscribe", names, channels)]

    def handle(self, stamp_ns: int, raw: bytes, ts_init: int, out: list[Output]) -> None:
        """Read a frame by its type. One of a type that is not ours is counted: the venue adds types at any time."""
        try:
            frame = wire.FRAME.decode(raw)
        except msgspec.ValidationError:
            if wire.NAMED.decode(raw).type in wire.KNOWN:
                raise
            self.counts.unknown_events += 1
            return
        handler = self._handlers.get(type(frame))
        if handler is not None:
            handler(frame, stamp_ns, raw, ts_init, out)

    def doubted(self, raw: bytes) -> Iterable[CoinbaseBook]:
        """Return the books that a frame which could not be read may have changed: nothing later would tell."""
        try:
            named = wire.NAMED.decode(raw)
        except UNREADABLE:
            return tuple(self._followed.values())
        followed = None if named.product_id is None else self._followed.get(named.product_id)
        return () if followed is None or named.type not in wire.BOOKS else (followed,)

    def on_disconnect(self, reason: str, ts_init: int) -> list[Output]:
        """Return the status that tells of a lost connection; the next may say what this one ended with."""
        self._last = {}
        return super().on_disconnect(reason, ts_init)

    def _is_last(self, followed: CoinbaseBook, channel: str, raw: bytes) -> bool:
        """Return whether a frame is the last of its product and channel, byte for byte, and count it then."""
        key = followed.name, channel
        if self._last.get(key) == raw:
            self.counts.duplicates += 1
            return True
        self._last[key] = raw
        return False

    def _on_snapshot(self, frame: wire.Snapshot, stamp_ns: int, raw: bytes, ts_init: int, out: list[Output]) -> None:
        followed = self.hear(frame.product_id, stamp_ns)
        if followed is None:
            return
        if not (are_levels(frame.bids) and are_levels(frame.asks)):
            self.refuse(raw, "a price or size that cannot be")
            return
        # One that was asked for may be the one of before, where nothing happened meanwhile.
        is_whole = followed.synced or followed.name in self._unstamped
        if is_whole and self._is_last(followed, "book", raw):
            return
        self._last[followed.name, "book"] = raw
        stamp = None if frame.time is None else rfc3339_ns(frame.time)
        if stamp is None or self.hear_stamp_of(followed, stamp, stamp_ns, raw, ts_init, out):
            self.begin_book(followed, frame.bids, frame.asks, stamp, stamp_ns, ts_init, out)

    def _on_update(self, frame: wire.L2Update, stamp_ns: int, raw: bytes, ts_init: int, out: list[Output]) -> None:
        followed = self.hear(frame.product_id, stamp_ns)
        if followed is None or self._is_last(followed, "book", raw):
            return
        stamp = rfc3339_ns(frame.time)
        if not self.hear_stamp_of(followed, stamp, stamp_ns, raw, ts_init, out):
            return
        bids = tuple([(price, size) for side, price, size in frame.changes if side == "buy"])
        asks = tuple([(price, size) for side, price, size in frame.changes if side == "sell"])
        if not (are_levels(bids) and are_levels(asks)):
            self.refuse(raw, "a price or size that cannot be")
        elif not followed.synced:
            self.count_stale(followed)
        elif stamp < followed.book_ts - SAME_MOMENT_NS:
            self.count_gap(followed)
            reason = f"a change of {frame.time} came after a newer one"
            self.give_up(followed, reason, stamp_ns, ts_init, out)
        else:
            self.change_book(followed, bids, asks, stamp, stamp_ns, ts_init, out)

    def _on_match(self, frame: wire.Match, stamp_ns: int, raw: bytes, ts_init: int, out: list[Output]) -> None:
        followed = self.hear(frame.product_id, stamp_ns)
        if followed is None:
            return
        stamp = rfc3339_ns(frame.time)
        if self.hear_stamp_of(followed, stamp, stamp_ns, raw, ts_init, out):
            self.take_print(followed, frame.trade_id, frame.side, frame.price, frame.size, stamp, raw, ts_init, out)

    def _on_last_match(self, frame: wire.LastMatch, stamp_ns: int, raw: bytes, ts_init: int, out: list[Output]) -> None:
        """Take the print before the subscription: new only where we were there before and missed it."""
        followed = self.hear(frame.product_id, stamp_ns)
        if followed is None or self.is_before_us(followed, frame.trade_id):
            return
        stamp = rfc3339_ns(frame.time)
        if self.hear_stamp_of(followed, stamp, stamp_ns, raw, ts_init, out):
            self.take_print(followed, frame.trade_id, frame.side, frame.price, frame.size, stamp, raw, ts_init, out)

    def _on_ticker(self, frame: wire.Ticker, stamp_ns: int, raw: bytes, ts_init: int, out: list[Output]) -> None:
        followed = self.hear(frame.product_id, stamp_ns)
        if followed is None or frame.time is None or self._is_last(followed, "ticker", raw):
            return
        stamp = rfc3339_ns(frame.time)
        if not self.hear_stamp_of(followed, stamp, stamp_ns, raw, ts_init, out):
            return
        self.take_ticker(followed, frame.best_bid, frame.best_ask, stamp, stamp_ns, raw, ts_init, out)

    def _on_heartbeat(self, frame: wire.Heartbeat, stamp_ns: int, raw: bytes, ts_init: int, out: list[Output]) -> None:
        followed = self.hear(frame.product_id, stamp_ns)
        if followed is None or self._is_last(followed, "heartbeat", raw):
            return
        stamp = rfc3339_ns(frame.time)
        if self.hear_stamp_of(followed, stamp, stamp_ns, raw, ts_init, out) and frame.last_trade_id is not None:
            self.claim_prints(followed, frame.last_trade_id)

    def _on_error(self, frame: wire.Error, stamp_ns: int, raw: bytes, ts_init: int, out: list[Output]) -> None:
        reason = ": ".join(part for part in (frame.message, frame.reason) if part)
        self._notices.append(f"{self.venue} refused a request: {reason}")


def _request(kind: str, names: Sequence[str], channels: Sequence[str]) -> str:
    return msgspec.json.encode({"type": kind, "product_ids": list(names), "channels": list(channels)}).decode()
