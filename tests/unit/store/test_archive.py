"""Closed files: nothing twice, nothing missing, whatever a kill left behind."""

from __future__ import annotations

import shutil
import time
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefleet.bus.interface import FIRST, Entry, id_key
from edgefleet.store.archive import MERGE_FILES, ROWS_PER_GROUP, Archive, is_archived
from edgefleet.store.arrow import pq
from edgefleet.store.columns import Columns
from edgefleet.store.history import History


def entries(first: int, count: int) -> list[Entry]:
    return [
        Entry(f"{1_700_000_000_000 + n // 3}-{n % 3}", "trade.v1", b'{"n":%d}' % n) for n in range(first, first + count)
    ]


class StillLive:
    """A stream whose older part was trimmed."""

    def __init__(self, held: list[Entry]) -> None:
        self.held = held

    def span(self, stream: str, first: str, last: str, count: int) -> list[Entry]:
        excluded = first.startswith("(")
        low = id_key(first.lstrip("("))
        found = [e for e in self.held if (id_key(e.id) > low if excluded else id_key(e.id) >= low)]
        return [e for e in found if last == "+" or id_key(e.id) <= id_key(last)][:count]

    def last_id(self, stream: str) -> str:
        return self.held[-1].id if self.held else FIRST

    def streams(self) -> set[str]:
        return {"market"}

    def close(self) -> None:
        self.held = []


def test_what_was_written_is_read_back_byte_for_byte(tmp_path: Path) -> None:
    archive, odd = Archive(tmp_path), Entry("5-0", "", b"\xff\x00 no json")

    archive.write("market", [odd, *entries(0, 2_500)])

    assert list(archive.read("market", FIRST)) == [odd, *entries(0, 2_500)]
    assert archive.mark("market") == entries(2_499, 1)[0].id


@given(st.lists(st.tuples(st.sampled_from(["trade.v1", "beat.v1", ""]), st.binary(max_size=40)), min_size=1), st.data())
def test_entries_in_whatever_pages_are_read_back_as_they_were(
    tmp_path_factory: pytest.TempPathFactory, odd: list[tuple[str, bytes]], draw: st.DataObject
) -> None:
    whole = [Entry(f"{n // 2}-{n % 2 + 1}", kind, data) for n, (kind, data) in enumerate(odd)]
    cuts = draw.draw(st.sets(st.integers(1, len(whole))))
    ends = sorted({0, len(whole), *cuts})
    archive = Archive(tmp_path_factory.mktemp("pages"))
    file = archive.begin("market", FIRST)

    for low, high in pairwise(ends):
        file.add(Columns.of(whole[low:high]))
        if draw.draw(st.booleans()):
            file.spill()
    mark = file.close()

    assert list(archive.read("market", FIRST)) == whole
    assert mark == archive.mark("market") == whole[-1].id
    with pq.ParquetFile(archive.files("market")[0].path) as written:
        numbers = written.read(columns=["ms", "seq"]).to_pydict()
    assert list(zip(numbers["ms"], numbers["seq"], strict=True)) == [id_key(entry.id) for entry in whole]


def test_entries_are_written_in_groups_of_about_one_size(tmp_path: Path) -> None:
    archive = Archive(tmp_path)

    archive.write("market", entries(0, 3 * ROWS_PER_GROUP + 2))

    with pq.ParquetFile(archive.files("market")[0].path) as file:
        sizes = [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)]
    assert sizes == [ROWS_PER_GROUP + 1, ROWS_PER_GROUP + 1, ROWS_PER_GROUP]


@given(st.lists(st.tuples(st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1)), max_size=20))
def test_ids_as_two_columns_are_what_each_says_by_itself(numbers: list[tuple[int, int]]) -> None:
    ids = [f"{milliseconds}-{sequence}" for milliseconds, sequence in numbers]

    keys = Columns([entry_id.encode() for entry_id in ids]).keys()

    assert list(zip(*keys, strict=True)) == [id_key(entry_id) for entry_id in ids]


def test_an_entry_that_is_archived_already_is_refused(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    archive.write("market", entries(0, 10))

    with pytest.raises(ValueError, match="must follow"):
        archive.write("market", entries(9, 3))


def test_an_unfinished_file_is_no_part_of_the_archive(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    archive.write("market", entries(0, 10))
    half = tmp_path / "archive" / "market" / "1-0_2-0.tmp"
    half.write_bytes(b"PAR1 half")

    assert len(list(archive.read("market", FIRST))) == 10
    archive.sweep("market")
    assert not half.exists()


def test_small_neighbours_become_one_file(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    for part in range(MERGE_FILES):
        archive.write("market", entries(part * 4, 4))

    merged = archive.merge("market")

    assert merged == MERGE_FILES
    assert len(archive.files("market")) == 1
    assert list(archive.read("market", FIRST)) == entries(0, MERGE_FILES * 4)


def test_parts_that_a_kill_left_beside_their_merged_file_are_not_read_twice(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    for part in range(MERGE_FILES):
        archive.write("market", entries(part * 4, 4))
    parts = tmp_path / "parts"
    shutil.copytree(tmp_path / "archive" / "market", parts)
    archive.merge("market")
    for path in parts.iterdir():
        shutil.copy(path, tmp_path / "archive" / "market" / path.name)

    assert list(archive.read("market", FIRST)) == entries(0, MERGE_FILES * 4)
    archive.sweep("market")
    assert len(list((tmp_path / "archive" / "market").iterdir())) == 1


@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=6), st.integers(0, 150), st.integers(0, 60), st.integers(0, 200),
    st.integers(0, 200),
)  # fmt: skip
def test_archive_and_tail_make_one_stream(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], more: int, overlap: int, low: int, high: int
) -> None:
    directory = tmp_path_factory.mktemp("history")
    archive, at = Archive(directory), 0
    for size in sizes:
        archive.write("market", entries(at, size))
        at += size
    whole = entries(0, at + more)

    history = History(directory, StillLive(whole[max(0, at - overlap) :]))

    assert list(history.entries("market")) == whole
    if low < len(whole):
        first, last = whole[low], whole[min(high, len(whole) - 1)]
        wanted = [e for e in whole if id_key(first.id) <= id_key(e.id) <= id_key(last.id)]
        assert list(history.entries("market", first.id, last.id)) == wanted
        assert history.get("market", first.id) == first


def test_what_is_archived_and_trimmed_while_it_is_read_is_not_missed(tmp_path: Path) -> None:
    archive, whole = Archive(tmp_path), entries(0, 30)
    archive.write("market", whole[:10])

    class TrimmedMeanwhile(StillLive):
        def span(self, stream: str, first: str, last: str, count: int) -> list[Entry]:
            if len(self.held) == 20:
                archive.write("market", whole[10:20])
                self.held = whole[20:]
            return super().span(stream, first, last, count)

    assert list(History(tmp_path, TrimmedMeanwhile(whole[10:])).entries("market")) == whole


def test_one_entry_of_many_is_found_fast(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    for part in range(5):
        archive.write("market", entries(part * 10_000, 10_000))
    wanted = entries(43_210, 1)[0]

    begun = time.perf_counter()
    found = archive.get("market", wanted.id)

    assert found == wanted
    assert time.perf_counter() - begun < 0.05


def test_an_id_between_two_entries_is_nothing(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    archive.write("market", [Entry("5-0", "t", b""), Entry("9-0", "t", b"")])

    assert archive.get("market", "7-0") is None
    assert archive.get("market", "10-0") is None
    assert archive.get("orders", "7-0") is None


@pytest.mark.parametrize("name", ["market", "dead.risk", "journal.alpha", "model.switch.log", "venue.events"])
def test_the_fleets_streams_are_archived(name: str) -> None:
    assert is_archived(name)


@pytest.mark.parametrize("name", ["ts:equity_usd:main@sim", "../x", "dead./x", "snapshots", "mine"])
def test_other_streams_are_not(name: str) -> None:
    assert not is_archived(name)
