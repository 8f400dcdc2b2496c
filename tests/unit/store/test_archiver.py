"""The archiver: what a kill leaves, what it holds in memory, how far it is behind."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from edgefleet.bus.interface import FIRST, Entry, id_key
from edgefleet.clock import NS_PER_MS
from edgefleet.store.archive import MERGE_FILES, ROWS_PER_GROUP, Archive
from edgefleet.store.archiver import INDEX, INDEX_EVERY_NS, PAGE_BYTES, PAGE_COUNT, READ_COUNT, ROUND_EVERY_NS, Archiver
from edgefleet.store.columns import Columns
from edgefleet.store.db import LedgerDatabase, database_url
from edgefleet.testing.clock import FakeClock

SIZE = 300


def entries(first: int, count: int) -> list[Entry]:
    return [Entry(f"{1_700_000_000_000 + n}-0", "trade.v1", b"%0*d" % (SIZE, n)) for n in range(first, first + count)]


class Streams:
    """What is in the streams, and the marks that were saved."""

    def __init__(self, held: dict[str, list[Entry]]) -> None:
        self.held = held
        self.marks: dict[str, str] = {}
        self.asked: dict[str, Columns] | None = None

    def streams(self) -> set[str]:
        return set(self.held)

    def ask(self, positions: Mapping[str, str], count: int) -> None:
        assert len(positions) * count <= PAGE_COUNT
        self.asked = {}
        for stream, position in positions.items():
            new = [entry for entry in self.held[stream] if id_key(entry.id) > id_key(position)][:count]
            if new:
                self.asked[stream] = Columns.of(new)

    def answer(self) -> dict[str, Columns]:
        found, self.asked = self.asked, None
        assert found is not None
        return found

    def save_mark(self, stream: str, entry_id: str) -> None:
        self.marks[stream] = entry_id

    def snapshots(self) -> dict[str, tuple[dict[str, str], bytes]]:
        return {}


def archiver(source: Streams, directory: Path, clock: FakeClock, **limits: int) -> Archiver:
    return Archiver(source, Archive(directory), None, clock, **limits)


def test_every_entry_is_in_one_closed_file_after_a_clean_end(tmp_path: Path) -> None:
    source = Streams({"market": entries(0, 1_000), "orders": entries(0, 3)})
    one = archiver(source, tmp_path, FakeClock(), flush_entries=300)

    while one.turn():
        pass
    one.close()

    assert {name: list(Archive(tmp_path).read(name, FIRST)) for name in source.held} == source.held
    assert source.marks == {name: held[-1].id for name, held in source.held.items()}
    assert one.written == 1_003


def test_what_a_killed_archiver_had_not_closed_is_read_again(tmp_path: Path) -> None:
    source = Streams({"market": entries(0, ROWS_PER_GROUP + 500)})
    killed = archiver(source, tmp_path, FakeClock())
    while killed.turn():
        pass
    assert [path.suffix for path in (tmp_path / "archive" / "market").iterdir()] == [".tmp"]
    assert source.marks == {}

    successor = archiver(source, tmp_path, FakeClock())
    successor.close()

    assert list(Archive(tmp_path).read("market", FIRST)) == source.held["market"]
    assert len(list((tmp_path / "archive" / "market").iterdir())) == 1


def test_an_abandoned_archiver_leaves_no_unfinished_file(tmp_path: Path) -> None:
    one = archiver(Streams({"market": entries(0, ROWS_PER_GROUP + 500)}), tmp_path, FakeClock())
    while one.turn():
        pass

    one.abandon()
    del one

    assert list((tmp_path / "archive" / "market").iterdir()) == []


def test_a_quiet_stream_is_closed_when_its_time_is_up(tmp_path: Path) -> None:
    clock, source = FakeClock(), Streams({"orders": entries(0, 2)})
    one = archiver(source, tmp_path, clock, flush_ms=1_000)
    one.turn()
    assert source.marks == {}

    clock.advance(s=1)
    one.turn()

    assert source.marks == {"orders": source.held["orders"][-1].id}


def test_many_small_files_become_one(tmp_path: Path) -> None:
    source = Streams({"orders": []})
    one = archiver(source, tmp_path, FakeClock(), flush_entries=1)

    for number in range(MERGE_FILES * 2):
        source.held["orders"] += entries(number, 1)
        one.turn()

    assert len(Archive(tmp_path).files("orders")) <= MERGE_FILES
    assert list(Archive(tmp_path).read("orders", FIRST)) == source.held["orders"]


def test_what_is_held_in_memory_is_bounded_whatever_is_waiting(tmp_path: Path) -> None:
    source = Streams({name: entries(0, 900) for name in ("market", "signals", "ensembles", "targets")})
    one = archiver(source, tmp_path, FakeClock(), buffered_bytes=100_000)

    held = []
    while one.turn():
        held.append(one.held_bytes)

    assert 0 < max(held) < 100_000
    one.close()
    assert all(list(Archive(tmp_path).read(name, FIRST)) == wanted for name, wanted in source.held.items())


def test_how_far_it_is_behind_is_told_until_all_is_read(tmp_path: Path) -> None:
    source = Streams({"market": entries(0, READ_COUNT + 1), "orders": entries(0, 1)})
    newest_read_ms = id_key(source.held["market"][READ_COUNT - 1].id)[0]
    one = archiver(source, tmp_path, FakeClock((newest_read_ms + 7_000) * NS_PER_MS))

    one.turn()
    assert one.behind_s == pytest.approx(7.0)

    one.turn()
    assert one.behind_s == 0.0


def test_streams_that_have_little_are_read_while_another_has_more_than_can_be_read(tmp_path: Path) -> None:
    source = Streams({"market": entries(0, 20 * PAGE_COUNT), "orders": []})
    clock = FakeClock()
    one = archiver(source, tmp_path, clock, flush_entries=1)
    assert one.turn()
    assert one.turn()

    source.held["orders"] += entries(0, 1)
    source.held["fills"] = entries(0, 1)
    clock.advance(ns=4 * ROUND_EVERY_NS)
    for _ in range(3):
        assert one.turn()

    assert source.marks["orders"] == source.held["orders"][-1].id
    assert source.marks["fills"] == source.held["fills"][-1].id
    assert id_key(source.marks["market"]) < id_key(source.held["market"][-1].id)


def test_what_comes_while_a_round_is_read_is_archived_by_a_clean_end(tmp_path: Path) -> None:
    source = Streams({"market": entries(0, 3 * PAGE_COUNT), "orders": entries(0, 1)})
    one = archiver(source, tmp_path, FakeClock())
    assert one.turn()
    assert one.turn()

    source.held["orders"] += entries(1, READ_COUNT)
    one.close()

    assert {name: list(Archive(tmp_path).read(name, FIRST)) for name in source.held} == source.held


def test_what_comes_behind_an_ask_that_is_under_way_is_archived_by_a_clean_end(tmp_path: Path) -> None:
    names = [f"dead.{n}" for n in range(12)]
    source = Streams({name: entries(0, 5) for name in names})
    one = archiver(source, tmp_path, FakeClock())
    assert one.turn()  # the second page of streams is asked for

    for name in names:
        source.held[name] += entries(5, 3)
    one.close()

    assert {name: list(Archive(tmp_path).read(name, FIRST)) for name in source.held} == source.held


def test_of_large_entries_a_page_holds_fewer(tmp_path: Path) -> None:
    large = [Entry(f"{1_700_000_000_000 + n}-0", "trade.v1", bytes(100_000)) for n in range(200)]
    source = Streams({"market": large})
    counts: list[int] = []
    ask = source.ask

    def counted(positions: Mapping[str, str], count: int) -> None:
        counts.append(count)
        ask(positions, count)

    source.ask = counted  # type: ignore[method-assign]  # to see what it is asked
    one = archiver(source, tmp_path, FakeClock())
    while one.turn():
        pass

    assert max(counts[1:]) * 100_000 <= PAGE_BYTES
    one.close()
    assert list(Archive(tmp_path).read("market", FIRST)) == large


def test_what_is_told_to_be_held_is_what_no_file_has(tmp_path: Path) -> None:
    source = Streams({"market": entries(0, ROWS_PER_GROUP), "orders": entries(0, 3)})
    one = archiver(source, tmp_path, FakeClock())

    while one.turn():
        pass

    assert one.held_bytes == 3 * SIZE
    one.close()
    assert one.held_bytes == 0


def test_a_burst_is_indexed_when_it_is_read_or_takes_too_long(tmp_path: Path) -> None:
    source = Streams({"orders": entries(0, READ_COUNT + 2 * PAGE_COUNT + 1), "market": entries(0, 1)})
    ids = [entry.id for entry in source.held["orders"]]
    database = LedgerDatabase(database_url(tmp_path)).open()
    clock = FakeClock()
    one = Archiver(source, Archive(tmp_path), database, clock)
    indexed = []

    for pause_ns in (0, 0, INDEX_EVERY_NS, 0, 0):
        clock.advance(ns=pause_ns)
        one.turn()
        with database.reading() as transaction:
            indexed.append(transaction.positions(INDEX).get("orders"))

    first, late = ids[READ_COUNT - 1], ids[READ_COUNT + 2 * PAGE_COUNT - 1]
    assert indexed == [first, first, late, late, ids[-1]]
    database.close()


def test_what_a_killed_archiver_had_read_and_not_indexed_is_indexed_by_the_next(tmp_path: Path) -> None:
    flushed = READ_COUNT + PAGE_COUNT
    source = Streams({"orders": entries(0, flushed + 1)})
    database = LedgerDatabase(database_url(tmp_path)).open()
    killed = Archiver(source, Archive(tmp_path), database, FakeClock(), flush_entries=flushed)
    assert killed.turn()
    assert killed.turn()
    assert source.marks == {"orders": source.held["orders"][flushed - 1].id}

    successor = Archiver(source, Archive(tmp_path), database, FakeClock())
    successor.close()

    with database.reading() as transaction:
        assert transaction.positions(INDEX) == {"orders": source.held["orders"][-1].id}
    database.close()
