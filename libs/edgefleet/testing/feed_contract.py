"""What every venue's feed promises, as checks to run over recorded or simulated frames of the venue.

    @pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
    @pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
    def test_every_feed(case, check):
        check(case)

A case brings a connection's frames as the venue sent them, and a reader of its book frames that shares no code with the
feed. The reader's books are the oracle: where the feed's messages claim a book, it is the oracle's at that frame, or
there is none. A check raises `AssertionError` with what was expected and what was seen. Needs hypothesis.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal

from hypothesis import given, settings
from hypothesis import strategies as st

from edgefleet.clock import NS_PER_MS, NS_PER_S
from edgefleet.instruments import instrument_id
from edgefleet.messages import (
    Beat,
    BookDelta,
    BookSnapshot,
    Message,
    Quote,
    Touch,
    Trade,
    VenueStatus,
    decode,
    encode,
    tag_of,
)
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

    def top(self, levels: int | None) -> tuple[list[Level], list[Level]]:
        """Return the best levels of each side, best first."""
        return sorted(self.bids.items(), reverse=True)[:levels], sorted(self.asks.items())[:levels]


@dataclass(frozen=True, kw_only=True)
class FeedCase:
    """One venue's frames, and what can be known by them."""

    id: str
    dialect: Dialect
    symbols: tuple[str, ...]  # canonical, in the frames
    stranger: str  # canonical, in none of them
    lines: tuple[Line, ...]
    read: Callable[[bytes], Sequence[Change]]  # what a frame, or a REST answer, does to books
    options: FeedOptions = field(default_factory=FeedOptions)
    # The frame, or the REST answer, that a whole book comes in, for the venue to send when it is asked again.
    snapshot: Callable[[str, OracleBook, bytes], bytes] | None = None
    number: Callable[[bytes, int], bytes] = field(default=lambda body, count: body)  # where a connection is numbered
    wrong_checksum: Callable[[bytes], bytes | None] = field(default=lambda body: None)
    absurd_price: Callable[[bytes], bytes | None] = field(default=lambda body: None)  # a level through the other side
    poison: Callable[[bytes, str], bytes | None] = field(default=lambda body, text: None)  # a number that is none
    depth: int | None = None  # levels of each side that the venue tells of; None: all
    proven_levels: int | None = None  # of each side, that the venue lets be proven; None: all
    # What the venue gives no means to see at once, and why.
    blind: Mapping[Kind, str] = field(default_factory=dict)
    _read: dict[bytes, Sequence[Change]] = field(default_factory=dict, repr=False, compare=False)

    def changes(self, body: bytes) -> Sequence[Change]:
        """Return what a frame does to books, read once."""
        found = self._read.get(body)
        if found is None:
            found = self._read[body] = self.read(body)
        return found

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


Check = Callable[[FeedCase], None]


class Consumer:
    """What somebody knows who reads the feed's messages alone."""

    def __init__(self) -> None:
        self.books: dict[str, OracleBook] = {}
        self.trades: dict[str, list[str]] = {}
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
                self.trades.setdefault(message.instrument, []).append(message.trade_id)
            elif isinstance(message, VenueStatus):
                self._lose(message)
        return touched

    def _lose(self, message: VenueStatus) -> None:
        if message.status == "disconnected":
            self.books = {}
        elif message.status == "resync":
            self.books.pop(message.detail.partition(": ")[0], None)


class Connection:
    """A venue, the line, a feed and a consumer: the venue answers what the feed asks for with its true book."""

    def __init__(self, case: FeedCase, *, plan: Mapping[int, tuple[Kind, int]] | None = None) -> None:
        self.case = case
        self.feed = case.feed()
        self.consumer = Consumer()
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
        self._stamp = 0
        self._last_frame: dict[str, bytes] = {}
        self._late: list[tuple[int, int, bytes]] = []  # due line, its own, body

    def run(self, lines: Sequence[Line], *, first: int = 0) -> None:
        """Let the venue send `lines`, which begin with the case's line number `first`."""
        for index, line in enumerate(lines, start=first):
            self._stamp = line.stamp_ns
            self._note(index, line.body)
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

    def connect(self) -> None:
        """Begin a connection, and let the venue answer what is asked for on it with books, once it has some."""
        self._sent = 0
        self.feed.on_connect(self._stamp)

    def disconnect(self) -> None:
        """End the connection."""
        self._late = []
        self._take(self.feed.on_disconnect("the test ended it", self._stamp))
        assert not self.consumer.books

    # --- the venue

    def _numbered(self, body: bytes) -> bytes:
        numbered = self.case.number(body, self._sent)
        self._sent += 1
        return numbered

    def _note(self, index: int, body: bytes) -> None:
        for change in self.case.changes(body):
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
            self._last_frame[name] = body

    def _answer(self, index: int) -> None:
        """Send books that were asked for, over REST or on the connection."""
        for instrument in self.feed.awaiting:
            name = next(name for name in self.case.names if self.case.instrument(name) == instrument)
            if self.case.snapshot is not None and name in self._begun:
                body = self.case.snapshot(name, self._truth[name], self._last_frame[name])
                self._deliver_rest(index, name, body)
        for text in self.feed.take_requests():
            if "unsubscribe" in text or self.case.snapshot is None:
                continue
            for name in self.case.names:
                if f'"{name}"' in text and self._asks_for_book(text) and name in self._begun:
                    body = self.case.snapshot(name, self._truth[name], self._last_frame[name])
                    self._deliver(index, self._numbered(body), is_whole=True, whole_of=name)

    def _asks_for_book(self, text: str) -> bool:
        return any(word in text for word in ("book", "level2", "l2"))

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
        elif kind == "absurd":
            self._deliver_changed(index, body, self.case.absurd_price(body))
        elif kind == "checksum":
            self._deliver_changed(index, body, self.case.wrong_checksum(body))
        else:
            self._deliver(index, body, is_whole=True)

    def _keep_back(self, due: int, index: int, body: bytes) -> None:
        self._late.append((due, index, body))
        self._late.sort(key=lambda late: late[0])

    def _deliver_changed(self, index: int, body: bytes, changed: bytes | None) -> None:
        self._deliver(index, body if changed is None else changed, is_whole=changed is None)

    def _deliver_rest(self, index: int, name: str, body: bytes) -> None:
        self._know(name, index)
        self._compare(self._take(self.feed.on_snapshot(self.case.instrument(name), body, self._stamp)))

    def _deliver(self, index: int, body: bytes, *, is_whole: bool, whole_of: str | None = None) -> None:
        if whole_of is not None:
            self._know(whole_of, index)
        elif is_whole:
            for change in self.case.changes(body):
                if change.name in self._known:
                    self._know(change.name, index)
        self._compare(self._take(self.feed.on_frame(self._stamp, body, self._stamp)))

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


# --- the checks


def untouched_frames_give_the_venues_book_at_each(case: FeedCase) -> None:
    """A whole connection: at each frame the book is the oracle's; nothing is lost, refused or crossed."""
    connection = Connection(case)
    connection.run(case.lines)
    counts = connection.feed.counts
    assert connection.compared or not _has_books(case), "no book was ever claimed"
    assert (counts.book_gaps, counts.book_crossed, counts.checksums_bad, counts.undecodable) == (0, 0, 0, 0), counts
    assert not [message for message in _statuses(connection) if message.status == "resync"]


def mutated_frames_give_the_venues_book_or_none(case: FeedCase) -> None:
    """Whatever is dropped, doubled, reordered, cut or changed on the way: a book that is claimed is the venue's."""
    kinds = [kind for kind in KINDS if kind not in case.blind]
    books = _book_lines(case)
    if not books or not kinds:
        return
    plans = st.dictionaries(
        st.one_of(st.sampled_from(books), st.integers(books[0], len(case.lines) - 1)),
        st.tuples(st.sampled_from(kinds), st.integers(0, 1_000)),
        min_size=1,
        max_size=12,
    )

    @settings(max_examples=25)
    @given(plan=plans)
    def holds(plan: dict[int, tuple[Kind, int]]) -> None:
        connection = Connection(case, plan=plan)
        connection.run(case.lines)
        _is_sound(connection)

    holds()


def each_kind_of_fault_is_seen_and_mended(case: FeedCase) -> None:
    """One fault in the middle that the venue lets be seen loses the book or changes nothing, and the book is back."""
    books = _book_lines(case)
    for kind in KINDS:
        if kind in case.blind or not books:
            continue
        for part in (3, 5, 8):
            connection = Connection(case, plan={books[len(books) * part // 10]: (kind, part)})
            connection.run(case.lines)
            for name in case.names:
                if _changes_after(case, name, books[len(books) * part // 10]) > 100:
                    assert case.instrument(name) in connection.consumer.books, f"{name} never came back after {kind}"


def blind_faults_leave_the_feed_sound(case: FeedCase) -> None:
    """Where a venue gives no means to see a fault, its messages are still in order, and no crossed book is claimed."""
    kinds = list(case.blind)
    books = _book_lines(case)
    if not kinds or not books:
        return

    @settings(max_examples=10)
    @given(
        plan=st.dictionaries(
            st.sampled_from(books), st.tuples(st.sampled_from(kinds), st.integers(0, 1_000)), min_size=1, max_size=12
        )
    )
    def holds(plan: dict[int, tuple[Kind, int]]) -> None:
        connection = Connection(case, plan=plan)
        connection.exact = False
        connection.run(case.lines)
        _is_sound(connection)

    holds()


JUNK: tuple[bytes, ...] = (
    b"",
    b" ",
    b"{",
    b"}",
    b"[",
    b"null",
    b"true",
    b"42",
    b"-1e999",
    b'"text"',
    b"\xff\xfe\x00",
    b"\x81\xa1T",
    b"<html><body>503 Service Unavailable</body></html>",
    b"[]",
    b"{}",
    b"[[]]",
    b"[{}]",
    b"[null,null,null,null]",
    b'[1,2,"book-10","XBT/USD"]',
    b'[0,{"a":[["1"]]},"book-10","XBT/USD"]',
    b'{"type":"l2update"}',
    b'{"type":"nonsense","product_id":"BTC-USD"}',
    b'{"type":7}',
    b'{"channel":"nonsense","data":[]}',
    b'{"channel":"book","type":"update","data":[{}]}',
    b'{"channel":"l2_data","events":[]}',
    b'{"stream":"btcusdt@nonsense","data":{}}',
    b'{"stream":"btcusdt@trade","data":{}}',
    b'{"arg":{"channel":"nonsense","instId":"BTC-USDT"},"data":[]}',
    b'[{"T":"nonsense"}]',
    b'[{"T":"q"}]',
    b'{"event":"nonsense"}',
    b"[" * 5_000,
    b'{"a":' * 5_000,
)


def junk_is_counted_and_changes_no_market(case: FeedCase) -> None:
    """What is no frame of the venue is told or counted; no trade, quote or book comes of it, and nothing is raised."""
    for at in (0, len(case.lines) // 2):
        connection = Connection(case)
        connection.run(case.lines[:at])
        for junk in JUNK:
            stamp = case.lines[at].stamp_ns
            outputs = connection.feed.on_frame(stamp, junk, stamp)
            invented = [out.message for out in outputs if isinstance(out.message, Trade | Quote | BookDelta | Touch)]
            assert not invented, f"{junk[:60]!r} gave {invented[:2]}"
            connection.consumer.take(outputs)
        counts = connection.feed.counts
        if not connection.feed.held:
            assert counts.undecodable + counts.unknown_events > len(JUNK) // 2, counts
        _is_sound(connection)


POISON_NUMBERS = ("NaN", "-NaN", "sNaN", "Infinity", "-Infinity", "-1", "0", "1e999", "1e-999", "", "abc", "9" * 400)


def numbers_that_cannot_be_never_leave(case: FeedCase) -> None:
    """A frame whose number is replaced by what none can be: no message carries it, and no wrong book is claimed."""
    frames = [at for at, line in enumerate(case.lines) if line.book_of is None and case.poison(line.body, "-1")]
    for at in frames[:: max(1, len(frames) // 6)]:
        for text in POISON_NUMBERS:
            connection = Connection(case)
            connection.exact = False
            connection.run(case.lines[:at])
            before = len(connection.consumer.messages)
            body = case.poison(case.lines[at].body, text)
            assert body is not None
            line = case.lines[at]
            body = case.number(body, connection._sent)
            connection.consumer.take(connection.feed.on_frame(line.stamp_ns, body, line.stamp_ns))
            for output in connection.consumer.messages[before:]:
                _is_plausible(output.message)
            _is_sound(connection)


def strangers_are_counted_and_dropped(case: FeedCase) -> None:
    """A feed that follows another instrument says nothing of those in the frames, and counts them."""
    feed = case.feed([case.stranger])
    outputs = [out for line in _frames(case.lines) for out in feed.on_frame(line.stamp_ns, line.body, line.stamp_ns)]
    assert not [out for out in outputs if not isinstance(out.message, Beat | VenueStatus)]
    assert feed.counts.unfollowed or feed.held


def changes_before_a_snapshot_make_no_book(case: FeedCase) -> None:
    """Frames of a connection whose snapshots never came: no book is claimed by them."""
    feed = case.feed()
    for line in _frames(case.lines):
        if any(change.whole for change in case.changes(line.body)):
            continue
        for output in feed.on_frame(line.stamp_ns, line.body, line.stamp_ns):
            assert not isinstance(output.message, BookSnapshot | BookDelta), output


def a_new_connection_begins_every_book_anew(case: FeedCase) -> None:
    """A break in the middle: books end with it, and begin by new snapshots as the venue's; no print is doubled."""
    half = len(case.lines) // 2
    connection = Connection(case)
    connection.connect()
    assert set(connection.feed.unconfirmed) == set(connection.feed.instruments)
    connection.run(case.lines[:half])
    connection.disconnect()
    connection.connect()
    connection.run(case.lines[half:], first=half)
    _is_sound(connection)
    for instrument, ids in connection.consumer.trades.items():
        assert len(ids) == len(set(ids)), f"prints of {instrument} came twice"
    statuses = [message.status for message in _statuses(connection)]
    assert statuses[:2] == ["disconnected", "connected"], statuses
    for name in case.names:
        if _has_books(case) and case.snapshot is not None and _changes_after(case, name, half) > 2:
            assert case.instrument(name) in connection.consumer.books
            assert case.instrument(name) not in connection.feed.unconfirmed


def marks_resume_the_prints(case: FeedCase) -> None:
    """A feed that resumes by another's marks tells each print once over both, as one that was never stopped."""
    half = len(case.lines) // 2
    whole = Connection(case)
    whole.run(case.lines)
    first = Connection(case)
    first.run(case.lines[:half])
    if first.feed.held:
        return
    second = Connection(case)
    second.run(case.lines[:half])  # what the venue's own books are by now
    second.feed, second.consumer = case.feed(), Consumer()
    second.feed.resume(first.feed.marks)
    second._take(second.feed.on_disconnect("started again", second._stamp))
    second.connect()
    second.run(case.lines[half:], first=half)
    for instrument, ids in whole.consumer.trades.items():
        both = first.consumer.trades.get(instrument, []) + second.consumer.trades.get(instrument, [])
        assert both == ids, f"prints of {instrument}: {len(both)} over a restart, {len(ids)} without"


def the_same_frames_give_the_same_bytes(case: FeedCase) -> None:
    """Nothing but the frames decides."""

    def run() -> list[bytes]:
        connection = Connection(case)
        connection.run(case.lines)
        outputs = connection.consumer.messages + connection.feed.on_end(connection._stamp)
        return [output.stream.encode() + encode(output.message) for output in outputs]

    assert run() == run()


def every_message_encodes_and_is_stamped_in_order(case: FeedCase) -> None:
    """Messages survive the wire; an instrument's book never goes back in time, and its numbers never repeat."""
    connection = Connection(case)
    connection.run(case.lines)
    _is_sound(connection)
    assert connection.consumer.messages


def beats_come_each_second_and_touches_are_conflated(case: FeedCase) -> None:
    """A beat for each whole second of the receive stamps, of all instruments; touches no closer than the interval."""
    connection = Connection(case)
    connection.run(case.lines)
    beats = [out.message for out in connection.consumer.messages if isinstance(out.message, Beat)]
    stamps = [beat.ts_event for beat in beats][::2]
    assert stamps == [beat.ts_event for beat in beats][1::2], "a beat goes to both streams"
    if not connection.feed.held:
        seconds = case.lines[-1].stamp_ns // NS_PER_S - case.lines[0].stamp_ns // NS_PER_S
        assert len(stamps) >= min(seconds, 1), "no beat came"
    assert all(later - earlier == NS_PER_S for earlier, later in itertools.pairwise(stamps))
    for beat in beats:
        assert [touch.instrument for touch in beat.touches] == list(connection.feed.instruments)
    last: dict[str, int] = {}
    for output in connection.consumer.messages:
        if isinstance(output.message, Touch):
            touch = output.message
            if touch.instrument in last:
                assert touch.ts_event - last[touch.instrument] >= case.options.touch_interval_ms * NS_PER_MS
            last[touch.instrument] = touch.ts_event


def names_and_spellings_agree(case: FeedCase) -> None:
    """What the dialect names in frames is what it spells, and it reads its own spelling back."""
    for symbol in (*case.symbols, case.stranger):
        assert case.dialect.canonical(case.dialect.spell(symbol)) == symbol
    found = {name for line in _frames(case.lines) for name in case.dialect.names(line.body)}
    assert set(case.names) <= found
    for line in _frames(case.lines):
        assert {change.name for change in case.changes(line.body)} <= set(case.dialect.names(line.body))
    for junk in JUNK:
        case.dialect.names(junk)


CHECKS: tuple[Check, ...] = (
    untouched_frames_give_the_venues_book_at_each,
    mutated_frames_give_the_venues_book_or_none,
    each_kind_of_fault_is_seen_and_mended,
    blind_faults_leave_the_feed_sound,
    junk_is_counted_and_changes_no_market,
    numbers_that_cannot_be_never_leave,
    strangers_are_counted_and_dropped,
    changes_before_a_snapshot_make_no_book,
    a_new_connection_begins_every_book_anew,
    marks_resume_the_prints,
    the_same_frames_give_the_same_bytes,
    every_message_encodes_and_is_stamped_in_order,
    beats_come_each_second_and_touches_are_conflated,
    names_and_spellings_agree,
)


# --- what checks share


def _frames(lines: Iterable[Line]) -> list[Line]:
    return [line for line in lines if line.book_of is None]


def _book_lines(case: FeedCase) -> list[int]:
    """Return the lines that change a book, after those that a recorded REST book is merged with."""
    names = set(case.names)
    first = max((at for at, line in enumerate(case.lines) if line.book_of is not None), default=-1) + 1
    return [
        at
        for at, line in enumerate(case.lines)
        if at >= first
        and line.book_of is None
        and any(not one.whole and one.name in names for one in case.changes(line.body))
    ]


def _has_books(case: FeedCase) -> bool:
    return any(case.changes(line.body) for line in case.lines)


def _changes_after(case: FeedCase, name: str, index: int) -> int:
    lines = case.lines[index + 1 :]
    return sum(any(one.name == name for one in case.changes(line.body)) for line in lines if line.book_of is None)


def _statuses(connection: Connection) -> list[VenueStatus]:
    return [out.message for out in connection.consumer.messages if isinstance(out.message, VenueStatus)]


def _is_plausible(message: Message) -> None:
    """Raise where a message carries a number that none can be."""
    numbers: list[Decimal | None] = []
    if isinstance(message, Trade):
        numbers = [message.price, message.quantity]
    elif isinstance(message, Quote | Touch):
        numbers = [message.bid, message.ask]
    elif isinstance(message, BookSnapshot | BookDelta):
        numbers = [price for price, _ in (*message.bids, *message.asks)]
        assert all(size.is_finite() and size >= 0 for _, size in (*message.bids, *message.asks)), message
    for number in numbers:
        assert number is not None, message
        assert number.is_finite(), message
        assert 0 < number < Decimal("1e15"), message


def _is_sound(connection: Connection) -> None:
    """Raise where messages do not survive the wire, go back, repeat a number, or claim a crossed book."""
    newest: dict[str, int] = {}
    numbers: dict[str, int] = {}
    for output in connection.consumer.messages:
        message = output.message
        assert output.stream in ("market", "beats")
        assert decode(tag_of(message), encode(message)) == message
        _is_plausible(message)
        if isinstance(message, BookSnapshot | BookDelta):
            number = message.update_id if isinstance(message, BookSnapshot) else message.last_update_id
            if isinstance(message, BookDelta):
                assert number > numbers.get(message.instrument, -1), message
                assert message.ts_event >= newest.get(message.instrument, 0), message
            numbers[message.instrument], newest[message.instrument] = number, message.ts_event
    for instrument, book in connection.consumer.books.items():
        if book.bids and book.asks:
            assert max(book.bids) < min(book.asks), f"the book of {instrument} is claimed crossed"
