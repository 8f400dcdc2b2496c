"""The recorder: what a feed gives, or a fleet's stream holds, is kept once and in order."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.store.market_messages import numbered

from edgefleet.bus.interface import FIRST, Entry, id_key
from edgefleet.clock import SYSTEM
from edgefleet.errors import OutOfReach
from edgefleet.messages import encode, tag_of
from edgefleet.stage import Output
from edgefleet.store.archive import Archive
from edgefleet.store.history import History
from edgefleet.store.market.archive import MarketArchive
from edgefleet.store.market.maintenance import check_archive
from edgefleet.store.recorder import Recorder, StreamRecorder
from edgefleet.store.recorder_thread import RecorderThread
from edgefleet.testing import FakeClock
from edgefleet.testing.build import touch
from edgefleet.venues.tape import read_tape

GIVEN = numbered(0, 3_000)


class Live:
    """A stream of which the older part is trimmed."""

    def __init__(self, held: list[Entry]) -> None:
        self.held = held

    def span(self, stream: str, first: str, last: str, count: int) -> list[Entry]:
        excluded = first.startswith("(")
        low = (-1, -1) if first == "-" else id_key(first.lstrip("("))
        found = [e for e in self.held if (id_key(e.id) > low if excluded else id_key(e.id) >= low)]
        return found[:count]

    def last_id(self, stream: str) -> str:
        return self.held[-1].id if self.held else FIRST

    def streams(self) -> set[str]:
        return {"market"}

    def close(self) -> None:
        self.held = []


def entries(first: int, count: int) -> list[Entry]:
    return [Entry(f"{1_000 + n}-0", tag_of(GIVEN[n]), encode(GIVEN[n])) for n in range(first, first + count)]


def test_a_feeds_outputs_and_frames_are_kept(tmp_path: Path) -> None:
    archive = MarketArchive(tmp_path / "market")
    with Recorder(archive, "binance", SYSTEM, tape_dir=tmp_path / "tapes") as recorder:
        for n in range(0, 3_000, 50):
            recorder.take([Output("market", message) for message in GIVEN[n : n + 50]])
            recorder.take([Output("beats", touch())])
            recorder.take_frame(1_000 + n, b"{}")
            recorder.turn()

    assert list(archive.read()) == GIVEN
    assert len(list(read_tape(list((tmp_path / "tapes").glob("*.gz"))))) == 60
    assert (recorder.counts.messages, recorder.counts.passed, recorder.counts.frames) == (3_000, 60, 60)


def test_both_are_committed_when_they_are_due(tmp_path: Path) -> None:
    clock, archive = FakeClock(), MarketArchive(tmp_path / "market")
    recorder = Recorder(archive, "binance", clock, tape_dir=tmp_path / "tapes", commit_ms=1_000)
    recorder.take([Output("market", message) for message in GIVEN[:10]], "10")
    recorder.take_frame(1, b"{}")
    assert not recorder.turn()
    clock.advance(ms=1_000)
    assert recorder.turn()
    recorder.abandon()

    assert recorder.position == "10"
    assert len(list(archive.read())) == 10
    assert [path.name for path in (tmp_path / "tapes").iterdir()] == ["binance-19700101T000000.gz.open"]


def test_a_page_in_place_of_a_frame_is_counted_and_the_tape_goes_on(tmp_path: Path) -> None:
    with Recorder(MarketArchive(tmp_path / "market"), "v", SYSTEM, tape_dir=tmp_path / "tapes") as recorder:
        recorder.take_frame(1, b"{}")
        recorder.take_frame(2, b"<html>maintenance</html>")
        recorder.take_frame(3, b"[1]", stream="v")

    assert (recorder.counts.frames, recorder.counts.frames_refused) == (2, 1)
    assert "<html>" in recorder.counts.last_frame_refused
    assert len(list(read_tape(list((tmp_path / "tapes").glob("*.gz"))))) == 2


def test_a_recorder_in_a_thread_keeps_everything_and_the_order(tmp_path: Path) -> None:
    archive = MarketArchive(tmp_path / "market")
    with RecorderThread(lambda: Recorder(archive, "v", SYSTEM, tape_dir=tmp_path / "tapes", commit_rows=500)) as thread:
        for n in range(0, 3_000, 3):
            thread.take([Output("market", message) for message in GIVEN[n : n + 3]], str(n + 3))
            thread.take_frame(n, b"{}")

    assert list(archive.read()) == GIVEN
    assert (thread.recorder.position, thread.recorder.recorded) == ("3000", 3_000)
    assert len(list(read_tape(list((tmp_path / "tapes").glob("*.gz"))))) == 1_000


def test_what_a_recorder_in_a_thread_cannot_do_is_told_to_who_feeds_it(tmp_path: Path) -> None:
    archive = MarketArchive(tmp_path / "market")
    with archive.writer("v", SYSTEM), pytest.raises(OutOfReach, match="another process writes to"):
        RecorderThread(lambda: Recorder(archive, "v", SYSTEM))

    thread = RecorderThread(lambda: Recorder(archive, "v", SYSTEM))
    thread.take([Output("market", "no message")])  # type: ignore[arg-type]  # wrong on purpose
    thread.recorder.take = None  # type: ignore[method-assign, assignment]  # and so the next call fails
    thread.take([])
    with pytest.raises(TypeError):
        thread.close()


def test_a_disk_that_does_not_keep_up_is_told(tmp_path: Path) -> None:
    archive, held = MarketArchive(tmp_path / "market"), threading.Event()

    class Slow(Recorder):
        def take(self, outputs: Iterable[Output], position: str | None = None) -> None:
            held.wait()
            super().take(outputs, position)

    with RecorderThread(lambda: Slow(archive, "v", SYSTEM), most_waiting=10) as thread:
        while thread.waiting < 10:
            thread.take([Output("market", GIVEN[0])])
        with pytest.raises(OutOfReach, match="the disk does not keep up: 10 batches wait"):
            thread.take([Output("market", GIVEN[0])])
        held.set()

    assert list(archive.read()) == [GIVEN[0]] * thread.recorder.recorded
    assert thread.recorder.recorded in (10, 11)


def test_a_fleets_stream_is_followed_from_where_the_last_recorder_stopped(tmp_path: Path) -> None:
    archive, live = MarketArchive(tmp_path / "market"), Live(entries(0, 1_500))
    first = StreamRecorder(History(tmp_path, live), Recorder(archive, "fleet", SYSTEM))
    first.close()
    live.held += entries(1_500, 100)
    killed = Recorder(archive, "fleet", SYSTEM)
    StreamRecorder(History(tmp_path, live), killed).turn()
    killed.abandon()
    live.held += entries(1_600, 1_400)

    StreamRecorder(History(tmp_path, live), Recorder(archive, "fleet", SYSTEM)).close()

    assert list(archive.read()) == GIVEN
    assert check_archive(archive).whole


def test_what_redis_trimmed_is_taken_from_the_ledgers_archive(tmp_path: Path) -> None:
    archive = MarketArchive(tmp_path / "market")
    StreamRecorder(History(tmp_path, Live(entries(0, 500))), Recorder(archive, "fleet", SYSTEM)).close()
    Archive(tmp_path).write("market", entries(0, 2_000))

    StreamRecorder(History(tmp_path, Live(entries(1_800, 1_200))), Recorder(archive, "fleet", SYSTEM)).close()

    assert list(archive.read()) == GIVEN


def test_an_entry_that_is_no_message_is_counted_and_the_others_are_kept(tmp_path: Path) -> None:
    archive = MarketArchive(tmp_path / "market")
    spoilt = [*entries(0, 10), Entry("1009-5", "trade.v1", b"{"), Entry("1009-6", "odd.v9", b"{}"), *entries(10, 10)]
    recorder = StreamRecorder(History(tmp_path, Live(spoilt)), Recorder(archive, "fleet", SYSTEM))
    recorder.close()

    assert list(archive.read()) == GIVEN[:20]
    assert recorder.counts.refused == 2
    assert "market/1009-6" in recorder.counts.last_refused


@settings(max_examples=60)
@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 60), st.integers(1, 20))
def test_what_follows_is_what_the_whole_record_says(
    tmp_path_factory: pytest.TempPathFactory, archived: int, trimmed: int, after: int, count: int
) -> None:
    directory = tmp_path_factory.mktemp("history")
    whole = entries(0, 60)
    if archived:
        Archive(directory).write("market", whole[:archived])
    history = History(directory, Live(whole[min(trimmed, archived) :]))
    position = FIRST if after == 0 else whole[after - 1].id

    assert history.following("market", position, count) == whole[after : after + count]
