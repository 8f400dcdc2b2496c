"""Tapes that a kill leaves readable up to the last flush, and files that are whole where they have their name."""

from __future__ import annotations

import gzip
import itertools
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgefleet.errors import Misuse, OutOfReach
from edgefleet.store.tape import TapeWriter, recover_tapes
from edgefleet.testing import FakeClock
from edgefleet.venues.capture import CaptureLine, read_capture
from edgefleet.venues.tape import read_tape

START = 1_723_161_253_000_000_000


def line(n: int) -> tuple[int, bytes]:
    return START + n, b'{"stream":"btcusdt@trade","data":{"t":%d}}' % n


def lines(directory: Path) -> list[tuple[int, bytes]]:
    return [(each.stamp_ns, each.body) for each in read_tape(sorted(directory.glob("*.gz")))]


def test_what_was_added_is_read_back_and_files_are_named_by_their_first_line(tmp_path: Path) -> None:
    writer = TapeWriter(tmp_path, "binance", FakeClock())
    for n in range(100):
        writer.add(*line(n))
    writer.close()

    assert [path.name for path in tmp_path.iterdir()] == ["binance-20240808T235413.gz"]
    assert lines(tmp_path) == [line(n) for n in range(100)]


@settings(max_examples=40)
@given(flushed=st.lists(st.integers(1, 20), min_size=1, max_size=5), held=st.integers(0, 9), torn=st.integers(0, 500))
def test_a_kill_at_any_byte_leaves_what_was_flushed(
    tmp_path_factory: pytest.TempPathFactory, flushed: list[int], held: int, torn: int
) -> None:
    directory = tmp_path_factory.mktemp("tape")
    writer, numbers = TapeWriter(directory, "v", FakeClock()), itertools.count()
    for count in flushed:
        for _ in range(count):
            writer.add(*line(next(numbers)))
        writer.flush()
    for _ in range(held):
        writer.add(*line(next(numbers)))
    writer.abandon()
    open_file = next(directory.glob("*.gz.open"))
    member = gzip.compress(b"".join(b"%d %b\n" % line(n) for n in range(9_000, 9_050)))
    open_file.write_bytes(open_file.read_bytes() + member[: min(torn, len(member) - 1)])

    assert recover_tapes(directory) == [open_file.with_suffix("")]

    assert lines(directory) == [line(n) for n in range(sum(flushed))]
    assert recover_tapes(directory) == []


def test_a_tape_that_somebody_writes_is_left_alone(tmp_path: Path) -> None:
    writer = TapeWriter(tmp_path, "v", FakeClock())
    writer.add(*line(0))
    writer.flush()

    assert recover_tapes(tmp_path) == []

    writer.add(*line(1))
    writer.close()
    assert lines(tmp_path) == [line(0), line(1)]


def test_an_open_file_without_a_whole_member_is_removed(tmp_path: Path) -> None:
    (tmp_path / "v-20240808T235413.gz.open").write_bytes(gzip.compress(b"x")[:7])

    assert recover_tapes(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_a_second_process_of_the_name_gets_another_file_and_the_first_one_is_closed(tmp_path: Path) -> None:
    first = TapeWriter(tmp_path, "v", FakeClock())
    first.add(*line(0))
    first.flush()
    first.abandon()

    second = TapeWriter(tmp_path, "v", FakeClock())
    second.add(*line(1))
    second.close()

    assert sorted(path.name for path in tmp_path.iterdir()) == ["v-20240808T235413-1.gz", "v-20240808T235413.gz"]


def test_a_flush_is_due_by_time_or_size_and_a_file_is_changed_by_age(tmp_path: Path) -> None:
    clock = FakeClock()
    writer = TapeWriter(tmp_path, "v", clock, flush_bytes=200, flush_ms=1_000, rotate_ms=10_000)
    writer.add(*line(0))
    writer.turn()
    assert (writer.lines, writer.held) == (0, 1)
    clock.advance(ms=1_000)
    writer.turn()
    assert (writer.lines, writer.held) == (1, 0)
    for n in range(1, 6):
        writer.add(*line(n))
    writer.turn()
    assert writer.lines == 6
    clock.advance(ms=10_000)
    writer.turn()
    assert [path.suffix for path in tmp_path.iterdir()] == [".gz"]
    writer.close()


def test_a_frame_of_several_lines_is_one_line_and_a_list_gets_its_channel(tmp_path: Path) -> None:
    writer = TapeWriter(tmp_path, "v", FakeClock())
    writer.add(START, b'{\n "lastUpdateId": 1,\r\n "bids": []\n}\n')
    writer.add(START, b'[1, 2, "trade"]', stream="kraken")
    writer.close()

    assert [body for _, body in lines(tmp_path)] == [
        b'{  "lastUpdateId": 1,   "bids": [] }',
        b'{"stream":"kraken","data":[1, 2, "trade"]}',
    ]


def test_an_array_a_rest_answer_and_a_connection_are_read_back(tmp_path: Path) -> None:
    writer = TapeWriter(tmp_path, "v", FakeClock())
    writer.add(START, b"", url="wss://v/ws")
    writer.add(START + 1, b'[0,{"b":[]},"book-10","XBT/USD"]\n')
    writer.add(START + 2, b'{"bids":[]}', url="https://v/book?of=btcusd")
    writer.close()

    assert list(read_capture(list(tmp_path.glob("*.gz")))) == [
        CaptureLine(START, "connect", b"", "wss://v/ws"),
        CaptureLine(START + 1, "frame", b'[0,{"b":[]},"book-10","XBT/USD"]', ""),
        CaptureLine(START + 2, "rest", b'{"bids":[]}', "https://v/book?of=btcusd"),
    ]


def test_an_address_with_a_space_in_it_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Misuse, match="has no space in it"):
        TapeWriter(tmp_path, "v", FakeClock()).add(START, b"{}", url="https://v/a b")


@pytest.mark.parametrize(("stamp", "body"), [(START, b"<html>"), (START, b"[1}"), (-1, b"{}"), (START, b"")])
def test_what_is_no_frame_is_refused(tmp_path: Path, stamp: int, body: bytes) -> None:
    writer = TapeWriter(tmp_path, "v", FakeClock())

    with pytest.raises(Misuse, match="a tape's line is a stamp and a JSON object or array"):
        writer.add(stamp, body)


def test_a_directory_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")

    with pytest.raises(OutOfReach, match="the tape cannot be written"):
        TapeWriter(tmp_path / "file" / "tapes", "v", FakeClock())
