"""Kraken WebSocket v1 frames to messages, for what was recorded and for whoever still speaks it. Opens no socket.

Prints carry no number here, so a lost one cannot be told; they are numbered by their stamps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal, InvalidOperation

import msgspec

from edgefleet.clock import NS_PER_S
from edgefleet.errors import Misuse
from edgefleet.stage import Output
from edgefleet.venues.feed import Aggressor, are_levels
from edgefleet.venues.figures import is_plausible
from edgefleet.venues.kraken import names
from edgefleet.venues.kraken import wire_v1 as wire
from edgefleet.venues.kraken.books import KrakenBook, KrakenCore
from edgefleet.venues.kraken.ladder import CHECKED_LEVELS, DEPTHS, UNDATED, Piece, digits_of
from edgefleet.venues.stamps import seconds_ns

_SNAPSHOT_PRINTS = 50  # of before a subscription
_SNAPSHOT_SPAN_NS = NS_PER_S  # prints of one live frame are of one moment
_LEVEL_PARTS = 3  # price, volume, stamp; a fourth says that the level is told again
_NS_PER_NUMBER = 1_000  # stamps are of microseconds: prints of one are told apart below it

_Handler = Callable[[KrakenBook, list[msgspec.Raw], str, int, bytes, int, list[Output]], None]


class KrakenV1Feed(KrakenCore):
    """Frames of one connection in, `market` and `beats` messages out."""

    def __init__(
        self, venue: str, symbols: Iterable[str], *, touch_interval_ms: int = 100, depth: int = CHECKED_LEVELS
    ) -> None:
        super().__init__(venue, symbols, touch_interval_ms=touch_interval_ms)
        if depth not in DEPTHS:
            raise Misuse(f"Kraken offers books of depth {', '.join(map(str, DEPTHS))}, not {depth}; correct the option")
        self._depth = depth
        self._handlers: dict[str, _Handler] = {
            "book": self._on_book,
            "trade": self._on_prints,
            "ticker": self._on_ticker,
            "spread": self._on_spread,
        }
        self._had_prints: set[str] = set()  # pairs whose first frame of prints this connection had
        self._last: dict[tuple[str, str], bytes] = {}  # frame of a pair and channel that carries no number
        self._last_prints: dict[str, tuple[int, set[bytes]]] = {}  # by pair: the newest stamp, the frames of it

    def spell(self, symbol: str) -> str:
        """Return ``XBT/USD`` for ``BTC/USD``."""
        return names.spell_v1(symbol)

    def subscriptions(self, names: Sequence[str]) -> list[str]:
        """Return the texts that ask for `names`, a channel each."""
        return [
            _request("subscribe", names, name="book", depth=self._depth),
            _request("subscribe", names, name="trade"),
            _request("subscribe", names, name="ticker"),
        ]

    def book_requests(self, names: Sequence[str]) -> list[str]:
        """Return the texts that begin the books of `names` anew."""
        return [_request(kind, names, name="book", depth=self._depth) for kind in ("unsubscribe", "subscribe")]

    def on_disconnect(self, reason: str, ts_init: int) -> list[Output]:
        """Return the status that tells of a lost connection; the next tells prints of before again."""
        self._had_prints = set()
        self._last = {}
        return super().on_disconnect(reason, ts_init)

    def handle(self, stamp_ns: int, raw: bytes, ts_init: int, out: list[Output]) -> None:
        """Read an array by its channel; anything else is an event."""
        if not raw.startswith(b"["):
            self._on_event(raw)
            return
        parts, channel, pair = wire.split(raw)
        handler = self._handlers.get(channel.partition("-")[0])
        if handler is None:
            self.counts.unknown_events += 1
            return
        followed = self.hear(pair, stamp_ns)
        if followed is not None:
            handler(followed, parts, channel, stamp_ns, raw, ts_init, out)

    def _on_book(
        self,
        followed: KrakenBook,
        parts: list[msgspec.Raw],
        channel: str,
        stamp_ns: int,
        raw: bytes,
        ts_init: int,
        out: list[Output],
    ) -> None:
        if self.is_repeated(followed, raw):
            return
        items = [wire.BOOK.decode(part) for part in parts]
        whole = any(item.all_asks is not None or item.all_bids is not None for item in items)
        bids = [entry for item in items for entry in ((item.all_bids or []) if whole else item.bids)]
        asks = [entry for item in items for entry in ((item.all_asks or []) if whole else item.asks)]
        bid_pieces, ask_pieces = _pieces(bids), _pieces(asks)
        if not all(are_levels([piece[:2] for piece in pieces]) for pieces in (bid_pieces, ask_pieces)):
            self.refuse_book(followed, raw, stamp_ns, ts_init, out)
            return
        stamp = max((piece[3] for piece in (*bid_pieces, *ask_pieces) if piece[3] != UNDATED), default=None)
        if stamp is not None and not self.hear_stamp_of(followed, stamp, stamp_ns, raw, ts_init, out):
            return
        if whole:
            depth = _depth_in(channel)
            self.take_snapshot(followed, bid_pieces, ask_pieces, depth, None, stamp, stamp_ns, ts_init, out)
            return
        checksum = next((_checksum(item.checksum) for item in items if item.checksum is not None), None)
        self.take_changes(followed, bid_pieces, ask_pieces, checksum, stamp, stamp_ns, ts_init, out)

    def _on_prints(
        self,
        followed: KrakenBook,
        parts: list[msgspec.Raw],
        channel: str,
        stamp_ns: int,
        raw: bytes,
        ts_init: int,
        out: list[Output],
    ) -> None:
        prints = [(seconds_ns(one.time), one) for part in parts for one in wire.PRINTS.decode(part)]
        newest = max((stamp for stamp, _ in prints), default=0)
        last, frames = self._last_prints.get(followed.name, (-1, set()))
        if raw in frames:
            self.counts.duplicates += len(prints)
            return
        if newest >= last:  # what comes late is told by its stamp, and must not make room for what was told since
            self._last_prints[followed.name] = newest, (frames if newest == last else set()) | {raw}
        first = followed.name not in self._had_prints
        self._had_prints.add(followed.name)
        if not prints:
            return
        if not self.hear_stamp_of(followed, newest, stamp_ns, raw, ts_init, out):
            return
        if first and followed.trade_id < 0 and _are_of_before([stamp for stamp, _ in prints]):
            followed.trade_id = newest + _NS_PER_NUMBER - 1
            followed.reconnected = False
            return
        told = followed.trade_id if first else -1
        for stamp, one in prints:
            if stamp <= told:
                continue  # told before; of its microsecond there may be another, which cannot be told from it
            self._take_print(followed, one, stamp, raw, ts_init, out)

    def _take_print(
        self, followed: KrakenBook, one: wire.Print, stamp: int, raw: bytes, ts_init: int, out: list[Output]
    ) -> None:
        price, size = _number(one.price), _number(one.volume)
        if not (is_plausible(price) and is_plausible(size)):
            self.refuse(raw, "a price or size that cannot be")
            return
        if self.keeps_out(followed, followed.prints, price):
            return
        last = followed.trade_id
        number = last + 1 if stamp <= last < stamp + _NS_PER_NUMBER - 1 else stamp
        if last >= number:  # stamps are of one clock, so what is older was told before, on this connection or the last
            self.counts.duplicates += 1
            return
        self.is_new_print(followed, number, consecutive=False)
        aggressor: Aggressor = "buy" if one.side == "b" else "sell"
        self.trade(followed, str(number), price, size, aggressor, stamp, ts_init, out)

    def _on_ticker(
        self,
        followed: KrakenBook,
        parts: list[msgspec.Raw],
        channel: str,
        stamp_ns: int,
        raw: bytes,
        ts_init: int,
        out: list[Output],
    ) -> None:
        ticker = wire.TICKER.decode(parts[0])
        if self._is_last(followed, channel, raw):
            self.counts.duplicates += 1
            return
        self._compare(followed, ticker.b[0], ticker.a[0])

    def _on_spread(
        self,
        followed: KrakenBook,
        parts: list[msgspec.Raw],
        channel: str,
        stamp_ns: int,
        raw: bytes,
        ts_init: int,
        out: list[Output],
    ) -> None:
        spread = wire.SPREAD.decode(parts[0])
        if self._is_last(followed, channel, raw):
            self.counts.duplicates += 1
            return
        self._compare(followed, spread.bid, spread.ask)

    def _is_last(self, followed: KrakenBook, channel: str, raw: bytes) -> bool:
        """Return whether a frame is, byte for byte, the last of its pair and channel once more."""
        key = followed.name, channel
        if self._last.get(key) == raw:
            return True
        self._last[key] = raw
        return False

    def _compare(self, followed: KrakenBook, bid: str, ask: str) -> None:
        ours, theirs = _number(bid), _number(ask)
        if is_plausible(ours) and is_plausible(theirs):
            self.compare_top(followed, ours, theirs)

    def _on_event(self, raw: bytes) -> None:
        event = wire.EVENT.decode(raw)
        if event.event == "systemStatus":
            if event.status != "online":
                self._notices.append(f"{self.venue} says that its engine is in {event.status}")
        elif event.event == "subscriptionStatus" or event.errorMessage:
            # What was never begun cannot be ended: no harm.
            if event.status == "error" and "not found" not in event.errorMessage.lower():
                of = "" if event.pair is None else f" for {event.pair}"
                self._notices.append(f"{self.venue} refused a request{of}: {event.errorMessage}")
        elif event.event not in ("heartbeat", "pong"):
            self.counts.unknown_events += 1


def _pieces(entries: Sequence[wire.Entry]) -> list[Piece]:
    """Return levels with their digits as they were written."""
    found = []
    for entry in entries:
        if len(entry) < _LEVEL_PARTS:
            raise msgspec.ValidationError(f"a level of {len(entry)} parts")
        price, size = entry[0], entry[1]
        # A level that is told again has the stamp of when it was set, which may be before that of its last removal.
        stamp = seconds_ns(entry[2]) if len(entry) == _LEVEL_PARTS else UNDATED
        found.append((_number(price), _number(size), digits_of(price) + digits_of(size), stamp))
    return found


def _depth_in(channel: str) -> int:
    """Return the depth in ``book-100``."""
    _, _, depth = channel.partition("-")
    if not (depth.isascii() and depth.isdigit() and int(depth) > 0):
        raise msgspec.ValidationError(f"channel {channel[:40]!r} names no depth")
    return int(depth)


def _checksum(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise msgspec.ValidationError(f"checksum {text[:40]!r} is no number")
    return int(text)


def _number(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        raise msgspec.ValidationError(f"{text[:40]!r} is no number") from None


def _are_of_before(stamps: Sequence[int]) -> bool:
    """Return whether the first prints of a connection are those of before it: they are many, or of a longer time."""
    return len(stamps) >= _SNAPSHOT_PRINTS or max(stamps) - min(stamps) > _SNAPSHOT_SPAN_NS


def _request(event: str, pairs: Sequence[str], **subscription: object) -> str:
    return msgspec.json.encode({"event": event, "pair": list(pairs), "subscription": subscription}).decode()
