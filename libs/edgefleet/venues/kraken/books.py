"""What both of Kraken's feeds do with books: cut to the depth, checked by the venue's checksum. Knows no frame."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from edgefleet.messages.market import Level
from edgefleet.stage import Output
from edgefleet.venues.kraken.ladder import Ladder, Piece, Precision
from edgefleet.venues.stream_books import StreamBook, StreamBookFeed

_REMEMBERED_FRAMES = 64


class KrakenBook(StreamBook):
    """A pair, with its levels in order and what they are written in."""

    __slots__ = ("depth", "ladder", "newest_ts", "precision", "recent", "settled_ts", "told")

    def __init__(self, name: str, instrument: str, trace: str) -> None:
        super().__init__(name, instrument, trace)
        self.ladder: Ladder | None = None
        self.depth: int | None = None  # by the venue's answer to the subscription
        self.precision: Precision = (0, 0)
        self.told = False  # the venue said the precision; else it is what was seen
        self.newest_ts = 0  # of all changes that came on this connection
        self.settled_ts = 0  # what is older was sent before the last snapshot
        self.recent: deque[int] = deque(maxlen=_REMEMBERED_FRAMES)  # hashes of the last frames of the book

    def begin_anew(self) -> None:
        super().begin_anew()
        self.newest_ts = self.settled_ts = 0
        self.recent.clear()

    def lose_book(self) -> None:
        super().lose_book()
        self.ladder = None


class KrakenCore(StreamBookFeed[KrakenBook]):
    """Books of a depth."""

    def follow(self, name: str, instrument: str, trace: str) -> KrakenBook:
        """Return what is to be known of a pair."""
        return KrakenBook(name, instrument, trace)

    def is_repeated(self, followed: KrakenBook, raw: bytes, place: int = 0) -> bool:
        """Return whether a frame of a whole book came before, and count it then. `place` is where in it the book is.

        Its checksum would not tell: where the changes since are undone by it, the book is as it was then. A snapshot
        that is asked for may well be the one of before, where nothing happened meanwhile.
        """
        mark = hash((raw, place))
        if followed.synced and mark in followed.recent:
            self.counts.duplicates += 1
            return True
        followed.recent.append(mark)
        return False

    def take_snapshot(
        self,
        followed: KrakenBook,
        bids: Sequence[Piece],
        asks: Sequence[Piece],
        depth: int,
        checksum: int | None,
        stamp: int | None,
        stamp_ns: int,
        ts_init: int,
        out: list[Output],
    ) -> None:
        """Begin a book, if its checksum is right; v1 sends none with a snapshot. An older one than ours is no news."""
        if followed.synced and stamp is not None and stamp < followed.book_ts:
            self.counts.duplicates += 1
            return
        ladder = Ladder(depth)
        past_bids, past_asks = ladder.apply(bids, asks)
        if not self._agrees(followed, ladder, checksum):
            self.give_up(followed, "the checksum of its snapshot is wrong", stamp_ns, ts_init, out)
            return
        followed.ladder = ladder
        followed.settled_ts = followed.newest_ts
        whole = _without(_levels(bids), past_bids), _without(_levels(asks), past_asks)
        self.begin_book(followed, *whole, stamp, stamp_ns, ts_init, out)

    def take_changes(
        self,
        followed: KrakenBook,
        bids: Sequence[Piece],
        asks: Sequence[Piece],
        checksum: int | None,
        stamp: int | None,
        stamp_ns: int,
        ts_init: int,
        out: list[Output],
    ) -> None:
        """Apply what changed, with what falls out of the depth by it, if the checksum after it is right.

        A frame that came late has a right checksum as well, of the book as it was: so its stamps are looked at. `stamp`
        is None where they say nothing of when it was sent.
        """
        ladder = followed.ladder
        is_late = stamp is not None and stamp < followed.settled_ts
        if stamp is not None:
            followed.newest_ts = max(followed.newest_ts, stamp)
        if not followed.synced or ladder is None:
            self.count_stale(followed)
            return
        if is_late or ladder.is_late(bids, asks):
            self.count_gap(followed)
            self.give_up(followed, "a change came after a newer one", stamp_ns, ts_init, out)
            return
        fallen_bids, fallen_asks = ladder.apply(bids, asks)
        if not self._agrees(followed, ladder, checksum):
            reason = f"checksum {ladder.checksum()} is not the venue's, {checksum}"
            self.give_up(followed, reason, stamp_ns, ts_init, out)
            return
        changed = (*_levels(bids), *fallen_bids), (*_levels(asks), *fallen_asks)
        at = followed.sent_ts if stamp is None else stamp
        self.change_book(followed, *changed, at, stamp_ns, ts_init, out)

    def refuse_book(self, followed: KrakenBook, raw: bytes, stamp_ns: int, ts_init: int, out: list[Output]) -> None:
        """Drop a frame that names what cannot be: with it a change is lost, so the book is as well."""
        self.refuse(raw, "a price or size that cannot be")
        if followed.synced:
            self.give_up(followed, "a change could not be read", stamp_ns, ts_init, out)

    def _agrees(self, followed: KrakenBook, ladder: Ladder, checksum: int | None) -> bool:
        """Count a checksum; where there is none, nothing is against the book."""
        if checksum is None:
            return True
        right = ladder.checksum() == checksum
        self.count_checksum(followed, right=right)
        return right


def _without(levels: tuple[Level, ...], past: Sequence[Level]) -> tuple[Level, ...]:
    """Return the levels that are not past the depth."""
    if not past:
        return levels
    prices = {price for price, _ in past}
    return tuple([level for level in levels if level[0] not in prices])


def _levels(pieces: Sequence[Piece]) -> tuple[Level, ...]:
    return tuple([(price, size) for price, size, _, _ in pieces])
