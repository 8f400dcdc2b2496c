"""What is known of one OKX instrument: where its sequences stand, and the rule they go on by. No frames, no socket."""

from __future__ import annotations

from collections import deque
from decimal import Decimal
from typing import Final, Literal

from edgefleet.book import Book
from edgefleet.venues.feed import Followed
from edgefleet.venues.okx import wire

PENDING: Final = 4_096  # updates that wait for a REST snapshot
_REMEMBERED_FRAMES: Final = 64

Place = Literal["next", "same", "again", "gap"]


class Contract(Followed):
    """An instrument, with where its sequences stand and its book as the venue writes it."""

    __slots__ = (
        "asked_ns",
        "begun_ns",
        "best",
        "book_ts",
        "books_from",
        "fresh",
        "is_heard",
        "losses",
        "must_fetch",
        "offset",
        "pending",
        "previous",
        "prints_from",
        "quote_id",
        "recent",
        "sequence",
        "size",
        "was_asked",
        "written",
    )

    sequence: int | None  # the number of the last update, the venue's
    previous: int | None  # the number before it
    written: Book | None  # with sizes as written, where there are checksums
    pending: deque[tuple[wire.Books, int]]  # updates that wait for a REST snapshot, with their ts_init
    must_fetch: bool  # the channel began without a snapshot
    fresh: bool  # no update was applied since a REST snapshot: the first may overlap it
    recent: deque[int]  # hashes of the last frames of its book
    best: tuple[int, Decimal, Decimal] | None  # the last best prices of `bbo-tbt`, with their number

    def __init__(self, name: str, instrument: str, trace: str, size: Decimal | None) -> None:
        super().__init__(name, instrument, trace)
        self.size = size  # base units of one contract; None: sizes are sent as written
        self.offset = 0  # of our numbers over the venue's, which may begin anew
        self.losses = 0  # of the book, in a row
        self._forget_connection()
        self._forget_book()

    def begin_anew(self) -> None:
        super().begin_anew()
        self._forget_connection()

    def lose_book(self) -> None:
        """Know nothing of the book any more, nor of a top that was the book's."""
        super().lose_book()
        self._forget_book()
        if self.best is None:
            self.top = None
            self.top_dirty = False

    def is_repeated(self, raw: bytes) -> bool:
        """Return whether a frame of a whole book came before: a snapshot that is asked for may be the one of before."""
        mark = hash(raw)
        if self.synced and mark in self.recent:
            return True
        self.recent.append(mark)
        return False

    def renumber(self, number: int) -> int:
        """Return our number of the venue's `number` in a book that begins, or begins to be counted, anew."""
        self.offset = 0 if number > self.update_id else self.update_id + 1 - number
        return number + self.offset

    def _forget_book(self) -> None:
        self.sequence = self.previous = None
        self.written = None
        self.pending = deque(maxlen=PENDING)
        self.must_fetch = self.fresh = False

    def _forget_connection(self) -> None:
        self.book_ts = 0  # ms, the newest stamp of its book's frames
        self.is_heard = False  # this connection said something of it
        self.was_asked = False  # the book channel was confirmed, and nothing of it came yet
        self.begun_ns: int | None = None  # receive stamp of the snapshot
        self.asked_ns: int | None = None  # when the book channel was last asked for again
        self.quote_id = -1
        self.best = None
        self.prints_from = ""  # the channel that prints come from; where there are two, they tell of the same trades
        self.books_from = ""
        self.recent = deque(maxlen=_REMEMBERED_FRAMES)


def place(seen: int | None, before: int | None, number: int, previous: int) -> Place:
    """Return where an update stands after the one numbered `seen`, which came after `before`.

    Its `previous` names the one it follows, whether its own number is larger or, after maintenance, smaller; an equal
    one says that nothing changed. The last one once more does no harm. Everything else is a gap.

    >>> [place(10, None, 15, 10), place(15, 10, 15, 15), place(15, 10, 3, 15), place(3, 15, 5, 3)]
    ['next', 'same', 'next', 'next']
    """
    if previous == seen:
        return "same" if number == previous else "next"
    if before is not None and (number, previous) == (seen, before):
        return "again"
    return "gap"
