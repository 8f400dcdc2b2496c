"""A tape that the recorder kept of any venue checks out with the counts of the feed that was recorded beside it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.contract.feed_cases import CASES, RECORDED, recorded_lines
from tests.contract.toy_venue import toy

from edgefleet.clock import NS_PER_S, SYSTEM
from edgefleet.params.schema.venues import DIALECTS
from edgefleet.replay.capture import Playback, contents
from edgefleet.store.market.archive import MarketArchive
from edgefleet.store.recorder import Recorder
from edgefleet.testing.feed_harness import Connection, FeedCase
from edgefleet.venues.dialect import Dialect, dialect
from edgefleet_services.data.check import check_capture

IDS = [pytest.param(name, marks=pytest.mark.data) if name in RECORDED else name for name in CASES]


def address_of_book(known: Dialect, name: str) -> str:
    """Return where ingestion asks for a book."""
    assert known.book_path is not None
    return f"{known.rest_root(known.rest_url)}{known.book_path(name)}"


@pytest.mark.parametrize("name", IDS)
def test_a_recorded_tape_checks_out_with_the_counts_of_the_live_feed(
    name: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    make: Callable[[Path], FeedCase] = CASES[name]
    case = make(request.getfixturevalue("recorded") if name in RECORDED else Path())
    live = case.feed()
    address = case.dialect.address(case.dialect.stream_url, case.symbols)

    with Recorder(MarketArchive(tmp_path), "record", SYSTEM, tape_dir=tmp_path / "tapes") as recorder:
        live.on_connect(case.lines[0].stamp_ns)
        recorder.take_frame(case.lines[0].stamp_ns, b"", url=address)
        for line in case.lines:
            if line.book_of is None:
                live.on_frame(line.stamp_ns, line.body, line.stamp_ns)
                recorder.take_frame(line.stamp_ns, line.body)
            else:
                live.on_snapshot(case.instrument(line.book_of), line.body, line.stamp_ns)
                recorder.take_frame(line.stamp_ns, line.body, url=address_of_book(case.dialect, line.book_of))
    answer = check_capture(list((tmp_path / "tapes").glob("*.gz")), name, case.symbols)

    assert recorder.counts.frames_refused == 0
    assert answer.body["lines"] == len(case.lines) + 1
    total, books = answer.body["total"], live.book_counts().values()
    assert (total["snapshots"], total["trades"]) == (live.counts.snapshots, live.counts.trades)
    assert total["depth_applied"] == sum(one.applied for one in books)
    if not case.dialect.tops_by_id:  # there the check itself compares, by the numbers
        assert total["tops_compared"] == sum(one.tops_compared for one in books)
    assert answer.body["undecodable"] == 0
    assert answer.body["without_book"] == ([] if total["snapshots"] else sorted(case.symbols))


def test_rest_books_of_several_instruments_are_read_back_each_to_its_own(tmp_path: Path) -> None:
    case = toy()
    live = Connection(case)
    live.run(case.lines)
    with Recorder(MarketArchive(tmp_path), "record", SYSTEM, tape_dir=tmp_path / "tapes") as recorder:
        for line in case.lines:
            url = "" if line.book_of is None else address_of_book(case.dialect, line.book_of)
            recorder.take_frame(line.stamp_ns, line.body, url=url)
    tapes = list((tmp_path / "tapes").glob("*.gz"))

    held = contents(tapes, case.dialect)
    playback = Playback(case.dialect, "toy", held.wanted(case.symbols, case.dialect), held)
    for _ in playback.play(tapes):
        pass

    assert held.books == {case.dialect.spell(symbol): 1 for symbol in case.symbols}
    (feed,) = playback.feeds
    assert (playback.refused, playback.notices) == ([], [])
    assert feed.counts.snapshots == live.feed.counts.snapshots == len(case.symbols)
    assert feed.counts.trades == live.feed.counts.trades
    assert list(recorded_lines(tapes[0], case.dialect)) == list(case.lines)


def test_a_break_of_the_connection_is_on_the_tape_and_is_no_hole(tmp_path: Path) -> None:
    case = CASES["coinbase_advanced"](Path())
    with Recorder(MarketArchive(tmp_path), "record", SYSTEM, tape_dir=tmp_path / "tapes") as recorder:
        for turn in range(2):
            recorder.take_frame(case.lines[0].stamp_ns + turn * 60 * NS_PER_S, b"", url="wss://v")
            for line in case.lines:
                recorder.take_frame(line.stamp_ns + turn * 60 * NS_PER_S, line.body)

    answer = check_capture(list((tmp_path / "tapes").glob("*.gz")), "coinbase_advanced", case.symbols)

    assert (answer.body["total"]["gaps"], answer.body["total"]["snapshots"]) == (0, 4)


@pytest.mark.parametrize("name", [name for name in DIALECTS if dialect(name).book_path is not None])
def test_the_address_of_a_book_says_whose_it_is(name: str) -> None:
    known = dialect(name)

    assert known.book_of(address_of_book(known, "BTCUSDT")) == "BTCUSDT"
