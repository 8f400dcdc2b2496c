"""Coinbase Advanced Trade frames to messages: one sequence for a whole connection, books, prints. Opens no socket.

The sequence counts the frames of all channels, so a hole in it says that something of some product is lost, and not of
which: every book of the connection is begun anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

from edgefleet.stage import Output
from edgefleet.venues.coinbase import advanced_wire as wire
from edgefleet.venues.coinbase.prints import CoinbaseBook, CoinbaseCore
from edgefleet.venues.feed import FUTURE_NS, are_levels
from edgefleet.venues.stamps import rfc3339_ns

_BOOK_CHANNEL = "level2"
_OTHER_CHANNELS = ("market_trades", "ticker")


class CoinbaseAdvancedFeed(CoinbaseCore):
    """Frames of one connection in, `market` and `beats` messages out."""

    def __init__(self, venue: str, symbols: Iterable[str], *, touch_interval_ms: int = 100) -> None:
        super().__init__(venue, symbols, touch_interval_ms=touch_interval_ms)
        self._sequence: int | None = None  # of the newest frame of this connection
        self._handlers: dict[type, Callable[[Any, int, int, bytes, int, list[Output]], None]] = {
            wire.L2Data: self._on_books,
            wire.MarketTrades: self._on_prints,
            wire.Tickers: self._on_tickers,
            wire.Heartbeats: self._on_heartbeat,
        }

    def subscriptions(self, names: Sequence[str]) -> list[str]:
        """Return the texts that ask for `names`, a channel each, heartbeats among them."""
        texts = [_request("subscribe", channel, names) for channel in (_BOOK_CHANNEL, *_OTHER_CHANNELS)]
        return [*texts, '{"type":"subscribe","channel":"heartbeats"}']

    def book_requests(self, names: Sequence[str]) -> list[str]:
        """Return the texts that begin the books of `names` anew."""
        return [_request("unsubscribe", _BOOK_CHANNEL, names), _request("subscribe", _BOOK_CHANNEL, names)]

    def on_disconnect(self, reason: str, ts_init: int) -> list[Output]:
        """Return the status that tells of a lost connection; the next counts its frames from zero."""
        self._sequence = None
        return super().on_disconnect(reason, ts_init)

    def handle(self, stamp_ns: int, raw: bytes, ts_init: int, out: list[Output]) -> None:
        """Read a frame by its channel, once it is next in the connection's sequence."""
        try:
            frame = wire.FRAME.decode(raw)
        except msgspec.ValidationError:
            self._on_unusual(stamp_ns, raw, ts_init, out)
            return
        stamp = rfc3339_ns(frame.timestamp)
        if self._is_next(frame.sequence_num, stamp_ns, ts_init, out) and self.hear_stamp_of(
            None, stamp, stamp_ns, raw, ts_init, out
        ):
            handler = self._handlers.get(type(frame))
            if handler is not None:
                handler(frame, stamp, stamp_ns, raw, ts_init, out)

    def _is_next(self, number: int, stamp_ns: int, ts_init: int, out: list[Output]) -> bool:
        """Take a frame's number; return False for a frame that was there before, give every book up after a hole."""
        last = self._sequence
        if last is not None and number <= last:
            self.counts.duplicates += 1
            return False
        self._sequence = number
        if last is not None and number > last + 1:
            for followed in self._followed.values():
                if followed.synced:
                    self.count_gap(followed)
                    reason = f"frames {last + 1} to {number - 1} of the connection are missing"
                    self.give_up(followed, reason, stamp_ns, ts_init, out)
        return True

    def _on_books(
        self, frame: wire.L2Data, stamp: int, stamp_ns: int, raw: bytes, ts_init: int, out: list[Output]
    ) -> None:
        for event in frame.events:
            followed = self.hear(event.product_id, stamp_ns)
            if followed is None:
                continue
            bids = tuple([(one.price_level, one.new_quantity) for one in event.updates if one.side == "bid"])
            asks = tuple([(one.price_level, one.new_quantity) for one in event.updates if one.side != "bid"])
            if not (are_levels(bids) and are_levels(asks)):
                self.refuse(raw, "a price or size that cannot be")
                if followed.synced:
                    self.give_up(followed, "a change could not be read", stamp_ns, ts_init, out)
            elif event.type == "snapshot":
                self.begin_book(followed, bids, asks, stamp, stamp_ns, ts_init, out)
            elif followed.synced:
                self.change_book(followed, bids, asks, stamp, stamp_ns, ts_init, out)
            else:
                self.count_stale(followed)

    def _on_prints(
        self, frame: wire.MarketTrades, stamp: int, stamp_ns: int, raw: bytes, ts_init: int, out: list[Output]
    ) -> None:
        for event in frame.events:
            numbered = sorted(((_number(one.trade_id), one) for one in event.trades), key=lambda pair: pair[0])
            if event.type == "snapshot":
                numbered = self._missed(numbered, stamp_ns)
            for number, one in numbered:
                followed = self.hear(one.product_id, stamp_ns)
                if followed is not None:
                    side = one.side.lower()
                    when = rfc3339_ns(one.time)
                    if when > stamp_ns + FUTURE_NS:
                        self.refuse(raw, f"a print's stamp, {when}, is more than a day after it came")
                        continue
                    self.take_print(followed, number, side, one.price, one.size, when, raw, ts_init, out)

    def _missed(self, numbered: list[tuple[int, wire.Print]], stamp_ns: int) -> list[tuple[int, wire.Print]]:
        """Return what is new of the prints before a subscription; where all are, only where prints begin is kept."""
        newest: dict[str, int] = {one.product_id: number for number, one in numbered}
        news: list[tuple[int, wire.Print]] = []
        for name, number in newest.items():
            followed = self.hear(name, stamp_ns)
            if followed is not None and not self.is_before_us(followed, number):
                news += [pair for pair in numbered if pair[1].product_id == name and pair[0] > followed.trade_id]
        return news

    def _on_tickers(
        self, frame: wire.Tickers, stamp: int, stamp_ns: int, raw: bytes, ts_init: int, out: list[Output]
    ) -> None:
        for event in frame.events:
            for one in event.tickers:
                followed = self.hear(one.product_id, stamp_ns)
                if followed is not None:
                    bid, ask = _price(one.best_bid), _price(one.best_ask)
                    self.take_ticker(followed, bid, ask, stamp, stamp_ns, raw, ts_init, out)

    def _on_heartbeat(
        self, frame: wire.Heartbeats, stamp: int, stamp_ns: int, raw: bytes, ts_init: int, out: list[Output]
    ) -> None:
        """Take note that nothing of any book is missing by now, by the frame's number: quiet books are not old."""
        for followed in self._followed.values():
            if followed.synced:
                followed.heard_ns = stamp_ns

    def _on_unusual(self, stamp_ns: int, raw: bytes, ts_init: int, out: list[Output]) -> None:
        """Take a frame of another channel, an error, or one that cannot be read: its number is not taken then."""
        probe = wire.PROBE.decode(raw)
        if probe.type == "error":
            reason = ": ".join(part for part in (probe.message, probe.reason) if part)
            self._notices.append(f"{self.venue} refused a request: {reason}")
            return
        if probe.channel in wire.KNOWN or probe.channel is None:
            wire.FRAME.decode(raw)  # raises what is wrong with it
        if probe.sequence_num is not None:
            self._is_next(probe.sequence_num, stamp_ns, ts_init, out)
        self.counts.unknown_events += 1


def _request(kind: str, channel: str, names: Sequence[str]) -> str:
    return msgspec.json.encode({"type": kind, "product_ids": list(names), "channel": channel}).decode()


def _number(text: str) -> int:
    """Return a trade id as the number it is."""
    if not (text.isascii() and text.isdigit()):
        raise msgspec.ValidationError(f"trade id {text[:40]!r} is no number")
    return int(text)


def _price(text: str) -> Decimal | None:
    """Return a price, None for an empty text."""
    if not text:
        return None
    try:
        return Decimal(text)
    except InvalidOperation:
        raise msgspec.ValidationError(f"{text[:40]!r} is no price") from None


__all__ = ["CoinbaseAdvancedFeed", "CoinbaseBook"]
