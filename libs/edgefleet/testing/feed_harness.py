"""A venue, a line that may spoil what it carries, a feed, and a reader of its messages: what the feed contract runs on.

The venue's books are rebuilt from its unspoiled frames by a reader that shares no code with the feed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal

from edgefleet.errors import Poison
from edgefleet.instruments import instrument_id
from edgefleet.messages import Beat, BookDelta, BookSnapshot, Message, Quote, Touch, Trade, VenueStatus
from edgefleet.messages.market import Level
from edgefleet.stage import Output
from edgefleet.venues.dialect import Dialect, FeedOptions
from edgefleet.venues.feed import Feed

Kind = Literal["drop", "duplicate", "reorder", "truncate", "absurd", "checksum"]
KINDS: tuple[Kind, ...] = ("drop", "duplicate", "reorder", "truncate", "absurd", "checksum")
Sides = dict[Decimal, Decimal]  # size by price

_LATE_FRAMES = 7  # a frame that is reordered comes so many later at most


@dataclass(frozen=True, slots=True)
class Line:
    """One frame of a connection, or a REST book that was recorded among them."""

    stamp_ns: int
    body: bytes
    book_of: str | None = None  # the venue's name of the instrument, where it is a REST answer


@dataclass(frozen=True, slots=True)
class Change:
    """What one frame did to one book, read without the feed."""

    name: str
    whole: bool
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]
    update_id: int | None = None  # where the venue numbers them: a change that a whole book holds already is none


@dataclass(frozen=True, slots=True)
class Print:
    """One print that a frame tells of, read without the feed."""

    name: str
    trade_id: str | None  # None: the venue gives none, and the feed makes one
    price: Decimal
    quantity: Decimal
    aggressor: Literal["buy", "sell"] | None  # None: the venue does not say, and the feed infers it
    ts_event: int  # ns of UTC

    def is_told_by(self, message: Trade) -> bool:
        """Return whether a message says this print, as far as the venue tells of it."""
        return (
            self.trade_id in (None, message.trade_id)
            and self.aggressor in (None, message.aggressor)
            and (self.price, self.quantity, self.ts_event) == (message.price, message.quantity, message.ts_event)
        )


@dataclass(slots=True)
class OracleBook:
    """A book by the venue's plain rule."""

    bids: Sides = field(default_factory=dict)
    asks: Sides = field(default_factory=dict)
    update_id: int = -1
    depth: int | None = None  # levels of each side that the venue tells of: what falls out of it is not told

    def take(self, change: Change) -> None:
        """Apply a change."""
        if change.whole:
            self.bids, self.asks = {}, {}
        elif change.update_id is not None and change.update_id <= self.update_id:
            return
        if change.update_id is not None:
            self.update_id = change.update_id
        for side, levels in ((self.bids, change.bids), (self.asks, change.asks)):
            for price, size in levels:
                if size:
                    side[price] = size
                else:
                    side.pop(price, None)
        if self.depth is not None:
            for price in sorted(self.bids)[: -self.depth] + sorted(self.asks)[self.depth :]:
                self.bids.pop(price, None)
                self.asks.pop(price, None)

    def best(self) -> tuple[Level, Level] | None:
        """Return the best level of each side, None where one is empty."""
        if not (self.bids and self.asks):
            return None
        bid, ask = max(self.bids), min(self.asks)
        return (bid, self.bids[bid]), (ask, self.asks[ask])

    def top(self, levels: int | None) -> tuple[list[Level], list[Level]]:
        """Return the best levels of each side, best first."""
        return sorted(self.bids.items(), reverse=True)[:levels], sorted(self.asks.items())[:levels]


def asks_for_book(text: str, name: str) -> bool:
    """Return whether a request has the name in double quotes, a usual word for a book, and ends no subscription."""
    return f'"{name}"' in text and "unsubscribe" not in text and any(word in text for word in ("book", "level2", "l2"))


@dataclass(frozen=True, kw_only=True)
class FeedCase:
    """One venue's frames, and what can be known by them."""

    id: str
    dialect: Dialect
    symbols: tuple[str, ...]  # canonical, in the frames
    stranger: str  # canonical, in none of them
    lines: tuple[Line, ...]
    # What a frame does to books, or a REST answer to the book of the name beside it, which is None for a frame.
    read: Callable[[bytes, str | None], Sequence[Change]]
    # The prints that a frame tells of, in order; none for those that a subscription begins with, of before it.
    read_prints: Callable[[bytes], Sequence[Print]]
    books: bool = True  # the venue tells of books, and not of best prices alone
    options: FeedOptions = field(default_factory=FeedOptions)
    # The frame, or the REST answer, that a whole book comes in, for the venue to send when it is asked again.
    snapshot: Callable[[str, OracleBook, bytes], bytes] | None = None
    number: Callable[[bytes, int], bytes] = field(default=lambda body, count: body)  # where a connection is numbered
    # Whether a text that the feed sends asks for the book of a name.
    asks_for_book: Callable[[str, str], bool] = field(default=asks_for_book)
    wrong_checksum: Callable[[bytes], bytes | None] | None = None  # None: the venue has none
    absurd_price: Callable[[bytes], bytes | None] = field(default=lambda body: None)  # a level through the other side
    poison: Callable[[bytes, str], bytes | None]  # a number of a book, or of best prices, that is the given text
    poison_print: Callable[[bytes, str], Sequence[bytes]]  # the frame once for each number of a print that is the text
    depth: int | None = None  # levels of each side that the venue tells of; None: all
    proven_levels: int | None = None  # of each side, that the venue lets be proven; None: all
    numbered_prints: bool = True  # by consecutive numbers, so that a lost one can be told
    late_prints: bool = False  # one that comes late is sent all the same: nothing tells their order
    tops_of_books: bool = True  # quotes, touches and beats say the top of the book, and of no stream beside it
    # What the venue gives no means to see at once, and why.
    blind: Mapping[Kind, str] = field(default_factory=dict)
    _read: dict[tuple[bytes, str | None], Sequence[Change]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def changes(self, body: bytes, book_of: str | None = None) -> Sequence[Change]:
        """Return what a frame, or the REST answer of a book, does to books, read once."""
        found = self._read.get((body, book_of))
        if found is None:
            found = self._read[body, book_of] = self.read(body, book_of)
        return found

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """Return the kinds of fault that can befall a frame of the venue."""
        return tuple(kind for kind in KINDS if kind != "checksum" or self.wrong_checksum is not None)

    def spoilt(self, body: bytes, kind: Kind) -> bytes | None:
        """Return a frame whose contents are changed, None where nothing in it can be."""
        if kind == "absurd":
            return self.absurd_price(body)
        return None if self.wrong_checksum is None else self.wrong_checksum(body)

    def feed(self, symbols: Sequence[str] | None = None) -> Feed:
        """Return a new feed."""
        return self.dialect.feed(self.dialect.name, self.symbols if symbols is None else symbols, self.options)

    def instrument(self, name: str) -> str:
        """Return the instrument of a venue's name."""
        return instrument_id(self.dialect.canonical(name), self.dialect.name)

    @property
    def names(self) -> tuple[str, ...]:
        """Return the venue's names of what is followed."""
        return tuple(self.dialect.spell(symbol) for symbol in self.symbols)


class Consumer:
    """What somebody knows who reads the feed's messages alone. Raises where a top is not that of the book claimed."""

    def __init__(self, *, tops_of_books: bool) -> None:
        self._tops_of_books = tops_of_books
        self.books: dict[str, OracleBook] = {}
        self.prints: dict[str, list[Trade]] = {}
        self.messages: list[Output] = []

    def take(self, outputs: Iterable[Output]) -> set[str]:
        """Take messages; return the instruments whose books they touched."""
        touched = set()
        for output in outputs:
            self.messages.append(output)
            message = output.message
            if isinstance(message, BookSnapshot):
                book = self.books[message.instrument] = OracleBook()
                book.take(Change(message.instrument, True, message.bids, message.asks))
                touched.add(message.instrument)
            elif isinstance(message, BookDelta):
                assert message.instrument in self.books, f"a delta of {message.instrument}, whose book is lost"
                self.books[message.instrument].take(Change(message.instrument, False, message.bids, message.asks))
                touched.add(message.instrument)
            elif isinstance(message, Trade):
                self.prints.setdefault(message.instrument, []).append(message)
            elif isinstance(message, VenueStatus):
                self._lose(message)
            elif self._tops_of_books:
                self._compare_tops(message)
        return touched

    @property
    def trades(self) -> dict[str, list[str]]:
        """Return the ids of each instrument's prints."""
        return {instrument: [one.trade_id for one in prints] for instrument, prints in self.prints.items()}

    def _compare_tops(self, message: Message) -> None:
        if isinstance(message, Quote | Touch):
            said = (message.bid, message.bid_size), (message.ask, message.ask_size)
            book = self.books.get(message.instrument)
            assert book is not None, f"a top of {message.instrument}, whose book is lost"
            assert said == book.best(), f"{message.instrument}: the top is {said}, the book's {book.best()}"
        elif isinstance(message, Beat):
            for touch in message.touches:
                claimed = self.books.get(touch.instrument)
                best = None if claimed is None else claimed.best()
                ours = None if best is None else (best[0][0], best[1][0])
                said_at_beat = None if touch.bid is None else (touch.bid, touch.ask)
                assert said_at_beat == ours, f"{touch.instrument}: the beat says {said_at_beat}, the book {ours}"

    def _lose(self, message: VenueStatus) -> None:
        if message.status == "disconnected":
            self.books = {}
        elif message.status == "resync":
            self.books.pop(message.detail.partition(": ")[0], None)


class Connection:
    """A venue, the line, a feed and a consumer: the venue answers what the feed asks for with its true book."""

    def __init__(
        self, case: FeedCase, *, plan: Mapping[int, tuple[Kind, int]] | None = None, rest_takes: int = 0
    ) -> None:
        self.case = case
        self._rest_takes = rest_takes  # lines between the moment a REST book is of and its answer
        self._asked: dict[str, tuple[int, bytes]] = {}  # by name: the line at which the answer is there, and it
        self.feed = case.feed()
        self.consumer = Consumer(tops_of_books=case.tops_of_books)
        self.plan = plan or {}
        self.exact = True  # compare what is claimed
        self.compared = 0
        self._truth = {name: OracleBook(depth=case.depth) for name in case.names}
        self._begun: set[str] = set()  # books that the venue has told whole
        self._early: dict[str, list[Change]] = {name: [] for name in case.names}
        self._changes: dict[str, list[tuple[int, Change]]] = {name: [] for name in case.names}
        self._known = {
            name: (OracleBook(depth=case.depth), 0) for name in case.names
        }  # by the newest frame that came, with a cursor
        self._sent = 0
        self._answer_after = 0  # lines
        self.stamp = 0
        self._last_frame: dict[str, bytes] = {}
        self._late: list[tuple[int, int, bytes]] = []  # due line, its own, body

    def run(self, lines: Sequence[Line], *, first: int = 0) -> None:
        """Let the venue send `lines`, which begin with the case's line number `first`."""
        for index, line in enumerate(lines, start=first):
            self.stamp = line.stamp_ns
            self._note(index, line)
            if line.book_of is not None:
                if self.feed.awaiting:
                    self._deliver_rest(index, line.book_of, line.body)
                continue
            body = self._numbered(line.body)
            self._transit(index, body)
            while self._late and self._late[0][0] <= index:
                _, own, late = self._late.pop(0)
                self._deliver(own, late, is_whole=True)
            self._answer(index)

    def miss(self, lines: Sequence[Line], *, first: int) -> None:
        """Let the venue send `lines` to others: it has not taken our subscription yet. Asked for a book, it answers."""
        for index, line in enumerate(lines, start=first):
            self.stamp = line.stamp_ns
            self._answer(index - 1)
            self._note(index, line)

    def connect(self, *, answer_after: int = 0) -> None:
        """Begin a connection, and let the venue answer what is asked for on it with books, so many lines later."""
        self._sent = 0
        self._answer_after = answer_after
        self.feed.on_connect(self.stamp)

    def restart(self) -> None:
        """Begin anew with a feed that knows nothing; the venue goes on."""
        self.feed = self.case.feed()
        self.consumer = Consumer(tops_of_books=self.case.tops_of_books)

    def end(self, reason: str) -> None:
        """Let the feed say that the connection is lost."""
        self._late = []
        self._asked = {}
        self._take(self.feed.on_disconnect(reason, self.stamp))

    def deliver(self, line: Line, body: bytes) -> list[Output]:
        """Give the feed a frame that the venue never sent, in the place of `line`; return what it says."""
        outputs = self.feed.on_frame(line.stamp_ns, self.case.number(body, self._sent), line.stamp_ns)
        self.consumer.take(outputs)
        return outputs

    def disconnect(self) -> None:
        """End the connection."""
        self.end("the test ended it")
        assert not self.consumer.books

    # --- the venue

    def _numbered(self, body: bytes) -> bytes:
        numbered = self.case.number(body, self._sent)
        self._sent += 1
        return numbered

    def _note(self, index: int, line: Line) -> None:
        for change in self.case.changes(line.body, line.book_of):
            name = change.name
            if name not in self._truth:
                continue
            if not change.whole and name not in self._begun:
                if name in self._early:
                    self._early[name].append(change)
                continue
            self._begun.add(name)
            # What came before a numbered whole book may be later than it all the same: its number tells.
            for one in (change, *self._early.pop(name, [])) if change.update_id is not None else (change,):
                self._truth[name].take(one)
                self._changes[name].append((index, one))
            self._last_frame[name] = line.body

    def _answer(self, index: int) -> None:
        """Send books that were asked for, over REST or on the connection."""
        if self._answer_after:
            self._answer_after -= 1
            return
        for instrument in self.feed.awaiting:
            name = next(name for name in self.case.names if self.case.instrument(name) == instrument)
            if self.case.snapshot is not None and name in self._begun and name not in self._asked:
                body = self.case.snapshot(name, self._truth[name], self._last_frame[name])
                self._asked[name] = (index + self._rest_takes, body)
        for name, (due, body) in list(self._asked.items()):
            if due <= index:
                del self._asked[name]
                self._deliver_rest(index, name, body)
        for text in self.feed.take_requests():
            for name in self.case.names:
                if self.case.snapshot is not None and name in self._begun and self.case.asks_for_book(text, name):
                    body = self.case.snapshot(name, self._truth[name], self._last_frame[name])
                    self._deliver(index, self._numbered(body), is_whole=True, whole_of=name)

    # --- the line

    def _transit(self, index: int, body: bytes) -> None:
        kind, amount = self.plan.get(index, (None, 0))
        if kind == "drop":
            return
        if kind == "duplicate":
            self._deliver(index, body, is_whole=True)
            self._keep_back(index + amount % _LATE_FRAMES, index, body)
        elif kind == "reorder":
            self._keep_back(index + 1 + amount % _LATE_FRAMES, index, body)
        elif kind == "truncate":
            self._deliver(index, body[: len(body) * (amount % 97 + 1) // 100], is_whole=False)
        else:
            changed = None if kind is None else self.case.spoilt(body, kind)
            self._deliver(index, body if changed is None else changed, is_whole=changed is None)

    def _keep_back(self, due: int, index: int, body: bytes) -> None:
        self._late.append((due, index, body))
        self._late.sort(key=lambda late: late[0])

    def _deliver_rest(self, index: int, name: str, body: bytes) -> None:
        try:
            outputs = self.feed.on_snapshot(self.case.instrument(name), body, self.stamp)
        except Poison:  # ingestion tells of it and asks again, as this venue is asked at the next line
            return
        self._know(name, index)
        self._compare(self._take(outputs))

    def _deliver(self, index: int, body: bytes, *, is_whole: bool, whole_of: str | None = None) -> None:
        if whole_of is not None:
            self._know(whole_of, index)
        elif is_whole:
            for change in self.case.changes(body):
                if change.name in self._known:
                    self._know(change.name, index)
        self._compare(self._take(self.feed.on_frame(self.stamp, body, self.stamp)))

    def _know(self, name: str, index: int) -> None:
        book, cursor = self._known[name]
        changes = self._changes[name]
        while cursor < len(changes) and changes[cursor][0] <= index:
            book.take(changes[cursor][1])
            cursor += 1
        self._known[name] = (book, cursor)

    # --- the feed and its consumer

    def _take(self, outputs: list[Output]) -> set[str]:
        return self.consumer.take(outputs)

    def _compare(self, touched: set[str]) -> None:
        if not self.exact:
            return
        for name in self.case.names:
            instrument = self.case.instrument(name)
            claimed = self.consumer.books.get(instrument)
            if claimed is None or instrument not in touched:
                continue
            self.compared += 1
            levels, known = self.case.proven_levels, self._known[name][0]
            if levels is None and (claimed.bids, claimed.asks) == (known.bids, known.asks):
                continue
            ours, theirs = claimed.top(levels), known.top(levels)
            assert ours == theirs, f"{instrument} is wrong: {_difference(ours, theirs)}"


def _difference(ours: tuple[list[Level], list[Level]], theirs: tuple[list[Level], list[Level]]) -> str:
    for side, (one, other) in zip(("bids", "asks"), zip(ours, theirs, strict=True), strict=True):
        for at, (left, right) in enumerate(zip(one, other, strict=False)):
            if left != right:
                return f"{side}, level {at}: ours {left}, the venue's {right}"
        if len(one) != len(other):
            return f"{side}: ours are {len(one)} levels, the venue's {len(other)}"
    return "nothing"
