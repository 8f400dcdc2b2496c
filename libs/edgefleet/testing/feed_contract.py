"""What every venue's feed promises, as checks to run over recorded or simulated frames of the venue.

    @pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
    @pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
    def test_every_feed(case, check):
        check(case)

A case brings a connection's frames as the venue sent them, and readers of its books and prints that share no code with
the feed. They are the oracle: where the feed's messages claim a book, it is the oracle's at that frame, or there is
none; and the prints it sends are the oracle's. A check raises `AssertionError` with what was expected and what was
seen. Needs hypothesis.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from edgefleet.clock import NS_PER_MS, NS_PER_S
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
from edgefleet.testing.feed_harness import Connection, FeedCase, Kind, Line, Print

Check = Callable[[FeedCase], None]

# --- the checks


def every_check_has_something_to_look_at(case: FeedCase) -> None:
    """Raise where the case leaves something empty, so that a check would pass without having looked."""
    frames = [line.body for line in _frames(case.lines)]
    assert any(_prints_of(case, body) for body in frames), "read_prints reads no print"
    assert any(_is_changed(body, case.poison(body, "-1")) for body in frames), "poison changes no frame"
    spoilt = [one for body in frames for one in case.poison_print(body, "-1") if _is_changed(body, one)]
    assert spoilt, "poison_print changes no frame"
    told = {change.name for line in case.lines for change in case.changes(line.body, line.book_of)}
    if not case.books:
        assert not told, f"the case has no books, and books of {sorted(told)} are in it"
        return
    assert not set(case.names) - told, f"read reads no book of {sorted(set(case.names) - told)}"
    assert case.snapshot is not None, "without snapshot no book that was lost comes back"
    assert set(case.kinds) - set(case.blind), "every kind of fault is in blind: then nothing is held"
    for kind in set(case.kinds) & {"absurd", "checksum"}:
        changes = "absurd_price" if kind == "absurd" else "wrong_checksum"
        assert _lines_of(case, kind), f"{changes} changes no frame of a book"


def untouched_frames_give_the_venues_book_at_each(case: FeedCase) -> None:
    """A whole connection: at each frame the book is the oracle's; nothing is lost, refused or crossed."""
    connection = Connection(case)
    connection.run(case.lines)
    counts = connection.feed.counts
    assert connection.compared or not case.books, "no book was ever claimed"
    assert (counts.book_gaps, counts.book_crossed, counts.checksums_bad, counts.undecodable) == (0, 0, 0, 0), counts
    assert not [message for message in _statuses(connection) if message.status == "resync"]


def mutated_frames_give_the_venues_book_or_none(case: FeedCase) -> None:
    """Whatever is dropped, doubled, reordered, cut or changed on the way: a book that is claimed is the venue's."""
    kinds = [kind for kind in case.kinds if kind not in case.blind]
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
    for kind in case.kinds:
        lines = _lines_of(case, kind)
        if kind in case.blind or not lines:
            continue
        for part in (3, 5, 8):
            struck = lines[len(lines) * part // 10]
            connection = Connection(case, plan={struck: (kind, part)})
            connection.run(case.lines)
            for name in case.names:
                if _changes_after(case, name, struck) > 20:
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
            outputs = connection.deliver(case.lines[at], junk)
            invented = [out.message for out in outputs if isinstance(out.message, Trade | Quote | BookDelta | Touch)]
            assert not invented, f"{junk[:60]!r} gave {invented[:2]}"
        counts = connection.feed.counts
        if not connection.feed.held:
            assert counts.undecodable + counts.unknown_events > len(JUNK) // 2, counts
        _is_sound(connection)


POISON_NUMBERS = ("NaN", "-NaN", "sNaN", "Infinity", "-Infinity", "-1", "0", "1e999", "1e-999", "", "abc", "9" * 400)


def numbers_that_cannot_be_never_leave(case: FeedCase) -> None:
    """A frame whose number is replaced by what none can be: no message carries it, and no wrong book is claimed."""

    def poisoned(body: bytes, text: str) -> list[bytes]:
        found = case.poison(body, text)
        return [] if found is None else [found]

    for poison in (poisoned, case.poison_print):
        frames = [at for at, line in enumerate(case.lines) if line.book_of is None and poison(line.body, "-1")]
        for at in frames[:: max(1, len(frames) // 3)]:
            for text in POISON_NUMBERS:
                for body in poison(case.lines[at].body, text):
                    connection = Connection(case)
                    connection.exact = False
                    connection.run(case.lines[:at])
                    for output in connection.deliver(case.lines[at], body):
                        _is_plausible(output.message)
                    _is_sound(connection)


def prints_are_the_venues(case: FeedCase) -> None:
    """A whole connection: each print of the oracle is sent once, in order, with its values and the venue's stamp."""
    connection = Connection(case)
    connection.run(case.lines)
    _prints_are(case, connection, {})


def mutated_frames_give_the_venues_prints(case: FeedCase) -> None:
    """Frames of prints are dropped, doubled, or come late: a print is the venue's, comes once, and is missed aloud."""
    lines = [at for at, line in enumerate(case.lines) if line.book_of is None and _prints_of(case, line.body)]
    kinds: tuple[Kind, ...] = ("drop", "duplicate", "reorder")

    @settings(max_examples=25)
    @given(
        plan=st.dictionaries(
            st.sampled_from(lines), st.tuples(st.sampled_from(kinds), st.integers(0, 1_000)), min_size=1, max_size=12
        )
    )
    def holds(plan: dict[int, tuple[Kind, int]]) -> None:
        connection = Connection(case, plan=plan)
        connection.exact = False
        connection.run(case.lines)
        _prints_are(case, connection, plan)

    holds()
    if case.numbered_prints:
        between = _lines_between_prints(case)
        connection = Connection(case, plan={between[len(between) // 2]: ("drop", 0)})
        connection.exact = False
        connection.run(case.lines)
        assert connection.feed.counts.trade_gaps, "a print is missing, and nobody is told"


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
        if any(change.whole for change in case.changes(line.body, line.book_of)):
            continue
        for output in feed.on_frame(line.stamp_ns, line.body, line.stamp_ns):
            assert not isinstance(output.message, BookSnapshot | BookDelta), output


def a_new_connection_begins_every_book_anew(case: FeedCase) -> None:
    """A break in the middle: books end with it, and begin by new snapshots as the venue's; no print is doubled."""
    half = len(case.lines) // 2
    for answer_after in (0, 9):
        connection = Connection(case)
        connection.connect()
        assert set(connection.feed.unconfirmed) == set(connection.feed.instruments)
        connection.run(case.lines[:half])
        connection.disconnect()
        connection.connect(answer_after=answer_after)
        connection.run(case.lines[half:], first=half)
        _is_sound(connection)
        for instrument, ids in connection.consumer.trades.items():
            assert len(ids) == len(set(ids)), f"prints of {instrument} came twice"
        statuses = [message.status for message in _statuses(connection)]
        assert statuses[:2] == ["disconnected", "connected"], statuses
        for name in case.names:
            if case.books and case.snapshot is not None and _changes_after(case, name, half + answer_after) > 2:
                assert case.instrument(name) in connection.consumer.books
                assert case.instrument(name) not in connection.feed.unconfirmed


def a_rest_book_is_of_the_frames_that_came_after_it(case: FeedCase) -> None:
    """A REST book that was asked for before the venue took the subscription, or that comes late, leaves no hole."""
    half = len(case.lines) // 2
    for missed, rest_takes in ((0, 5), (1, 0), (8, 0), (8, 20)):
        connection = Connection(case, rest_takes=rest_takes)
        connection.run(case.lines[:half])
        connection.disconnect()
        connection.connect()
        if connection.feed.awaiting:  # one that awaits none before a frame came is told of every change
            connection.miss(case.lines[half : half + missed], first=half)
            connection.run(case.lines[half + missed :], first=half + missed)
        else:
            connection.run(case.lines[half:], first=half)
        _is_sound(connection)


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
    second.restart()
    second.feed.resume(first.feed.marks)
    second.end("started again")
    second.connect()
    second.run(case.lines[half:], first=half)
    for instrument, ids in whole.consumer.trades.items():
        both = first.consumer.trades.get(instrument, []) + second.consumer.trades.get(instrument, [])
        assert both == ids, f"prints of {instrument}: {len(both)} over a restart, {len(ids)} without"
    if case.numbered_prints:
        _missing_prints_are_told(case, first.feed.marks, half)


def _missing_prints_are_told(case: FeedCase, marks: str, half: int) -> None:
    """Raise where a feed that resumes after a hole with prints in it says nothing of them."""
    later = Connection(case)
    later.run(case.lines[:half])
    prints, missed = sum(map(len, later.consumer.trades.values())), half
    while missed < len(case.lines) and sum(map(len, later.consumer.trades.values())) < prints + 5:
        later.run(case.lines[missed : missed + 1], first=missed)
        missed += 1
    later.restart()
    later.feed.resume(marks)
    later.end("started again")
    later.connect()
    later.run(case.lines[missed:], first=missed)
    assert later.feed.counts.trade_gaps or not later.consumer.trades, "prints are missing, and nobody is told"


def the_same_frames_give_the_same_bytes(case: FeedCase) -> None:
    """Nothing but the frames decides."""

    def run() -> list[bytes]:
        connection = Connection(case)
        connection.run(case.lines)
        outputs = connection.consumer.messages + connection.feed.on_end(connection.stamp)
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
        assert {change.name for change in case.changes(line.body, line.book_of)} <= set(case.dialect.names(line.body))
    for junk in JUNK:
        case.dialect.names(junk)


CHECKS: tuple[Check, ...] = (
    every_check_has_something_to_look_at,
    untouched_frames_give_the_venues_book_at_each,
    mutated_frames_give_the_venues_book_or_none,
    each_kind_of_fault_is_seen_and_mended,
    blind_faults_leave_the_feed_sound,
    junk_is_counted_and_changes_no_market,
    numbers_that_cannot_be_never_leave,
    prints_are_the_venues,
    mutated_frames_give_the_venues_prints,
    strangers_are_counted_and_dropped,
    changes_before_a_snapshot_make_no_book,
    a_new_connection_begins_every_book_anew,
    a_rest_book_is_of_the_frames_that_came_after_it,
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
        and any(not one.whole and one.name in names for one in case.changes(line.body, line.book_of))
    ]


def _lines_of(case: FeedCase, kind: Kind) -> list[int]:
    """Return the lines that change a book and that a kind of fault does something to."""
    books = _book_lines(case)
    if kind not in ("absurd", "checksum"):
        return books
    return [at for at in books if _is_changed(case.lines[at].body, case.spoilt(case.lines[at].body, kind))]


def _is_changed(body: bytes, changed: bytes | None) -> bool:
    return changed is not None and changed != body


def _prints_of(case: FeedCase, body: bytes) -> list[Print]:
    return [one for one in case.read_prints(body) if one.name in case.names]


def _lines_between_prints(case: FeedCase) -> list[int]:
    """Return the lines with a print whose instrument has one before it and one after it, by which it is missed."""
    by_name: dict[str, list[int]] = {}
    for at, line in enumerate(case.lines):
        for name in {one.name for one in _prints_of(case, line.body)} if line.book_of is None else ():
            by_name.setdefault(name, []).append(at)
    found = sorted(at for lines in by_name.values() for at in lines[1:-1])
    assert found, "no instrument has three prints, so that a lost one could be missed"
    return found


def _prints_are(case: FeedCase, connection: Connection, plan: Mapping[int, tuple[Kind, int]]) -> None:
    """Raise where prints sent are not the oracle's: all of frames that came in their turn, some of those that did not.

    A print of a frame that was dropped is not sent; one of a frame that came late is, or is not, where numbers or
    stamps tell that newer ones came before it.
    """
    for name in case.names:
        told = [
            (one, plan.get(at, ("", 0))[0])
            for at, line in enumerate(case.lines)
            if line.book_of is None
            for one in _prints_of(case, line.body)
            if one.name == name
        ]
        sent = list(connection.consumer.prints.get(case.instrument(name), []))
        if case.late_prints:
            sent.sort(key=lambda message: _turn_of(message, told))
        assert len({message.trade_id for message in sent}) == len(sent), f"prints of {name} came twice"
        for one, fault in told:
            if sent and fault != "drop" and one.is_told_by(sent[0]):
                sent.pop(0)
            else:
                assert fault in ("drop", "reorder"), f"{one} was not sent in its turn: {sent[:1]}"
        assert not sent, f"the venue told of no such print: {sent[0]}"


def _turn_of(message: Trade, told: list[tuple[Print, str]]) -> int:
    return next((at for at, (one, _) in enumerate(told) if one.is_told_by(message)), len(told))


def _changes_after(case: FeedCase, name: str, index: int) -> int:
    lines = case.lines[index + 1 :]
    return sum(any(one.name == name for one in case.changes(line.body)) for line in _frames(lines))


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
