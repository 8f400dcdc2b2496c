"""What both of Kraken's feeds do with books: cut to the depth, checked by the venue's checksum. Knows no frame."""

from __future__ import annotations

from collections.abc import Sequence

from edgefleet.messages.market import Level
from edgefleet.stage import Output
from edgefleet.venues.kraken.ladder import Ladder, Piece
from edgefleet.venues.stream_books import StreamBook, StreamBookFeed


class KrakenBook(StreamBook):
    """A pair, with its levels in order and what they are written in."""

    __slots__ = ("depth", "ladder", "precision", "told")

    def __init__(self, name: str, instrument: str, trace: str) -> None:
        super().__init__(name, instrument, trace)
        self.ladder: Ladder | None = None
        self.depth: int | None = None  # by the venue's answer to the subscription
        self.precision = (0, 0)  # decimals of prices and of sizes
        self.told = False  # the venue said the precision; else it is what was seen

    def lose_book(self) -> None:
        super().lose_book()
        self.ladder = None


class KrakenCore(StreamBookFeed[KrakenBook]):
    """Books of a depth."""

    def follow(self, name: str, instrument: str, trace: str) -> KrakenBook:
        """Return what is to be known of a pair."""
        return KrakenBook(name, instrument, trace)

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
        """Begin a book, if its checksum is right; v1 sends none with a snapshot."""
        ladder = Ladder(depth)
        past_bids, past_asks = ladder.apply(bids, asks)
        if not self._agrees(followed, ladder, checksum):
            self.give_up(followed, "the checksum of its snapshot is wrong", stamp_ns, ts_init, out)
            return
        followed.ladder = ladder
        whole = _without(_levels(bids), past_bids), _without(_levels(asks), past_asks)
        self.begin_book(followed, *whole, stamp, stamp_ns, ts_init, out)

    def take_changes(
        self,
        followed: KrakenBook,
        bids: Sequence[Piece],
        asks: Sequence[Piece],
        checksum: int | None,
        stamp: int,
        stamp_ns: int,
        ts_init: int,
        out: list[Output],
    ) -> None:
        """Apply what changed, with what falls out of the depth by it, if the checksum after it is right."""
        ladder = followed.ladder
        if not followed.synced or ladder is None:
            self.count_stale(followed)
            return
        fallen_bids, fallen_asks = ladder.apply(bids, asks)
        if not self._agrees(followed, ladder, checksum):
            reason = f"checksum {ladder.checksum()} is not the venue's, {checksum}"
            self.give_up(followed, reason, stamp_ns, ts_init, out)
            return
        changed = (*_levels(bids), *fallen_bids), (*_levels(asks), *fallen_asks)
        self.change_book(followed, *changed, max(stamp, followed.book_ts), stamp_ns, ts_init, out)

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
    return tuple([(price, size) for price, size, _ in pieces])
