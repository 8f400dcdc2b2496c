"""The market archive: what was given comes back, the same bytes in the same order, whatever was merged or killed."""

from __future__ import annotations

import ctypes
import itertools
import random
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.conftest import ROOT
from tests.unit.store.market_messages import START, messages, numbered

from edgefleet.clock import SYSTEM
from edgefleet.errors import Broken, Misuse, OutOfReach
from edgefleet.messages import Beat, BookSnapshot, Trade, VenueStatus, decode, encode, tag_of
from edgefleet.store import compaction
from edgefleet.store.market.archive import MarketArchive
from edgefleet.store.market.columns import messages_of, table_of
from edgefleet.store.market.kinds import BY_TYPE, MarketMessage
from edgefleet.store.market.maintenance import archive_info, check_archive, compact_archive
from edgefleet.store.partitions import Part, Partitions
from edgefleet.testing import FakeClock


def written(directory: Path, given: list[MarketMessage], commits: int = 1, name: str = "rec") -> MarketArchive:
    archive = MarketArchive(directory)
    each = -(-len(given) // commits) or 1
    with archive.writer(name, SYSTEM) as writer:
        for at in range(0, len(given), each):
            writer.take(given[at : at + each], str(at + each))
            writer.commit()
    return archive


def data(directory: Path) -> list[Path]:
    return sorted(path for path in directory.rglob("*.parquet") if "_" not in path.relative_to(directory).parts[0])


@settings(max_examples=30)
@given(st.lists(messages, max_size=25))
def test_messages_come_back_byte_for_byte_and_in_order(
    tmp_path_factory: pytest.TempPathFactory, given: list[MarketMessage]
) -> None:
    archive = written(tmp_path_factory.mktemp("archive"), given, commits=3)

    back = list(archive.read())

    assert back == given
    assert [encode(message) for message in back] == [encode(message) for message in given]


@settings(max_examples=30)
@given(st.lists(messages, max_size=25), st.integers(0, 2**63), st.integers(0, 2**63))
def test_a_span_of_event_time_is_what_a_filter_and_a_stable_sort_would_give(
    tmp_path_factory: pytest.TempPathFactory, given: list[MarketMessage], start: int, end: int
) -> None:
    archive = written(tmp_path_factory.mktemp("archive"), given, commits=2)

    wanted = sorted((m for m in given if start <= m.ts_event < end), key=lambda m: m.ts_event)

    assert list(archive.read(start=start, end=end, order="event")) == wanted
    assert list(archive.read(start=start, end=end)) == [m for m in given if start <= m.ts_event < end]


def test_an_exponent_survives_where_the_number_alone_would_be_equal(tmp_path: Path) -> None:
    texts = ["1", "1.0", "1E+3", "0E-8", "1000.00", "99999999999999999999", "0.000000000000000001"]
    template = numbered(0, 1)[0]
    assert isinstance(template, Trade)
    given = [decode("trade.v1", encode(template).replace(b'"60000.00"', f'"{text}"'.encode())) for text in texts]

    back = list(written(tmp_path, given).read())  # type: ignore[arg-type]  # they are trades

    assert [str(trade.price) for trade in back if isinstance(trade, Trade)] == [str(Decimal(text)) for text in texts]


def test_messages_are_in_directories_by_date_kind_and_instrument(tmp_path: Path) -> None:
    written(tmp_path, numbered(0, 6_000))

    folders = {path.parent.relative_to(tmp_path).as_posix() for path in data(tmp_path)}

    assert folders == {
        f"date={date}/kind={kind}/instrument=BTC%2FUSDT%40binance"
        for date in ("2024-08-08", "2024-08-09")
        for kind in ("trade", "quote", "book_delta")
    }


def test_kinds_and_instruments_are_chosen_and_their_venues_own_messages_come_along(tmp_path: Path) -> None:
    beat = Beat(venue="binance", touches=(), ts_event=START, ts_init=START, trace_id="b")
    other = Beat(venue="okx", touches=(), ts_event=START, ts_init=START, trace_id="o")
    btc, eth = numbered(0, 6), numbered(6, 6, "ETH/USDT@binance")
    archive = written(tmp_path, [beat, *btc, other, *eth])

    assert list(archive.read(instruments=["ETH/USDT@binance"])) == [beat, *eth]
    assert list(archive.read(["trade"], ["BTC/USDT@binance"])) == [m for m in btc if isinstance(m, Trade)]
    with pytest.raises(Misuse, match="trades is no kind of market message; there are trade"):
        list(archive.read(["trades"]))


def test_two_writers_are_merged_by_receipt_and_each_keeps_its_own_order(tmp_path: Path) -> None:
    first, second = numbered(0, 300, step_ns=7), numbered(0, 300, "ETH/USDT@okx", step_ns=11)
    second[5], second[6] = second[6], second[5]
    written(tmp_path, first, 3, "one")
    archive = written(tmp_path, second, 2, "two")

    back = list(archive.read())

    assert [m for m in back if getattr(m, "instrument", "").startswith("BTC")] == first
    assert [m for m in back if getattr(m, "instrument", "").startswith("ETH")] == second
    assert list(archive.read(writers=["two"])) == second
    falls = sum(1 for a, b in itertools.pairwise(back) if b.ts_init < a.ts_init)
    assert falls == 1


def test_a_writer_goes_on_where_the_one_before_it_committed(tmp_path: Path) -> None:
    given = numbered(0, 900)
    archive = MarketArchive(tmp_path)
    writer = archive.writer("rec", SYSTEM)
    writer.take(given[:500], "500")
    writer.commit()
    writer.take(given[500:700], "700")
    writer.abandon()

    with archive.writer("rec", SYSTEM) as again:
        assert (again.mark.seq, again.position) == (500, "500")
        again.take(given[int(again.position) :], "900")

    assert list(archive.read()) == given
    assert check_archive(archive).whole


def test_a_writer_whose_source_failed_half_way_commits_no_more(tmp_path: Path) -> None:
    archive = MarketArchive(tmp_path)
    writer = archive.writer("rec", SYSTEM)
    writer.take(numbered(0, 10), "10")
    writer.commit()

    def failing() -> Iterator[MarketMessage]:
        yield from numbered(10, 5)
        raise RuntimeError("the feed ended")

    with pytest.raises(RuntimeError):
        writer.take(failing(), "20")
    with pytest.raises(OutOfReach, match="rec failed before or was closed; open it again"):
        writer.commit()
    writer.abandon()
    with pytest.raises(OutOfReach, match="rec failed before or was closed; open it again"):
        writer.commit()

    assert list(archive.read()) == numbered(0, 10)
    assert archive.partitions.mark("rec").position == "10"


def test_a_second_writer_of_the_same_name_is_refused_while_the_first_lives(tmp_path: Path) -> None:
    archive = MarketArchive(tmp_path)

    with archive.writer("rec", SYSTEM), pytest.raises(OutOfReach, match=r"another process writes to .* as rec"):
        archive.writer("rec", SYSTEM)
    archive.writer("rec", SYSTEM).close()


def test_a_commit_is_due_by_rows_or_by_time(tmp_path: Path) -> None:
    clock = FakeClock()
    writer = MarketArchive(tmp_path).writer("rec", clock, commit_rows=100, commit_ms=1_000)

    writer.take(numbered(0, 99))
    assert not writer.turn()
    writer.take(numbered(99, 1))
    assert writer.turn()
    writer.take(numbered(100, 1))
    clock.advance(ns=999_999_999)
    assert not writer.turn()
    clock.advance(ns=1)
    assert writer.turn()
    assert (writer.mark.seq, writer.waiting) == (101, 0)
    writer.close()


@pytest.mark.parametrize("stage", ["before the mark", "after the mark", "between two names"])
def test_a_commit_that_was_cut_off_is_there_whole_or_not_at_all(
    tmp_path: Path, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = numbered(0, 6_000)
    archive = written(tmp_path, given[:3_000])
    writer = archive.writer("rec", SYSTEM)
    writer.take(given[3_000:], "6000")
    _die(monkeypatch, stage)
    with pytest.raises(_Killed):
        writer.commit()
    monkeypatch.undo()
    writer._writer._lock.close()  # what the system does for a process that is gone

    seen = list(archive.read())
    with archive.writer("rec", SYSTEM) as again:
        committed = again.mark.seq

    assert committed == (3_000 if stage == "before the mark" else 6_000)
    assert set(map(encode, seen)) <= set(map(encode, given[:committed]))
    assert list(archive.read()) == given[:committed]
    assert check_archive(archive).whole
    assert not list((tmp_path / "_drafts").rglob("*.draft"))


class _Killed(BaseException):
    pass


def _die(monkeypatch: pytest.MonkeyPatch, stage: str) -> None:
    """Stop the process's work at a moment that a kill may choose."""
    rename, named = Path.rename, 0

    def dying(self: Path, target: Path) -> Path:
        nonlocal named
        if stage == "before the mark" and target.suffix == ".json":
            raise _Killed
        if self.suffix == ".draft":
            if stage == "after the mark" or named == 2:
                raise _Killed
            named += 1
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", dying)


@settings(max_examples=15)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=8), st.integers(1, 200))
def test_compacting_changes_the_files_and_no_row(
    tmp_path_factory: pytest.TempPathFactory, commits: list[int], most_rows: int
) -> None:
    directory = tmp_path_factory.mktemp("archive")
    archive, given = MarketArchive(directory), numbered(0, sum(commits), step_ns=100)
    with archive.writer("rec", SYSTEM) as writer:
        for count in commits:
            writer.take(given[writer.mark.seq : writer.mark.seq + count])
            writer.commit()
    before = len(data(directory))

    with compaction.compacting(archive.partitions):
        removed = sum(
            compaction.compact(archive.partitions, c.partition, c.kind.layout.written, most_rows=most_rows)
            for c in archive.chosen()
        )

    assert len(data(directory)) == before - removed
    assert list(archive.read()) == given
    assert check_archive(archive).whole


def test_a_reader_that_listed_before_a_compaction_reads_every_row_once(tmp_path: Path) -> None:
    given = numbered(0, 6_000)
    for order in ("stream", "event"):
        directory = tmp_path / order
        archive = written(directory, given, commits=10)
        reading = archive.read(order=order)
        seen = [next(reading) for _ in range(10)]

        assert compact_archive(archive) > 0

        assert seen + list(reading) == given


class MergedAsSoonAsListed(Partitions):
    """Partitions whose files are merged right after somebody listed them for the first time."""

    def parts(self, partition: str) -> list[Part]:
        listed = super().parts(partition)
        quiet = Partitions(self.root)
        if len(listed) > 1:
            compact_archive(MarketArchive(self.root))
            assert len(quiet.parts(partition)) == 1
        return listed


@pytest.mark.parametrize("order", ["stream", "event", "check"])
def test_files_merged_between_the_look_and_the_reading_give_every_row_once(tmp_path: Path, order: str) -> None:
    given = numbered(0, 3_000)
    archive = written(tmp_path, given, commits=10)
    archive.partitions = MergedAsSoonAsListed(tmp_path)

    if order == "check":
        numbers = [
            seq
            for chosen in archive.chosen(["trade"])
            for part in archive.partitions.parts(chosen.partition)
            for batch in archive.batches(chosen, part)
            for seq in batch.column("seq").to_pylist()
        ]
        assert numbers == list(range(1, 3_001, 3))
    else:
        assert list(archive.read(order=order)) == given  # type: ignore[arg-type]  # the two orders there are


@settings(max_examples=150)
@given(st.lists(messages, min_size=1, max_size=20), st.integers(0, 19), st.integers(0, 19))
def test_any_slice_of_a_batch_gives_its_messages(given: list[MarketMessage], low: int, high: int) -> None:
    kind = BY_TYPE[type(given[0])]
    alike = [message for message in given if type(message) is kind.type]
    table = table_of(kind, range(len(alike)), alike)
    batch = pa.RecordBatch.from_arrays([column.combine_chunks() for column in table.columns], schema=table.schema)

    back = list(messages_of(kind, "?", batch.slice(low, high)))

    assert [seq for seq, _ in back] == list(range(len(alike)))[low : low + high]
    named = [m if kind.by_venue else msgspec.structs.replace(m, instrument="?") for m in alike]
    assert [encode(m) for _, m in back] == [encode(m) for m in named][low : low + high]


def test_a_writer_and_a_compaction_do_not_disturb_each_other(tmp_path: Path) -> None:
    given = numbered(0, 9_000)
    archive = written(tmp_path, given[:6_000], commits=4)
    with archive.writer("rec", SYSTEM) as writer:
        writer.take(given[6_000:])
        compact_archive(archive)
        writer.commit()
    compact_archive(archive, before="2024-08-09")

    assert list(archive.read()) == given
    assert [info.files for info in archive_info(archive).holdings] == [3, 3, 3]


def test_a_commit_whose_files_were_merged_is_not_missed_when_its_writer_comes_again(tmp_path: Path) -> None:
    archive = written(tmp_path, numbered(0, 600), commits=4)
    compact_archive(archive)

    with archive.writer("rec", SYSTEM) as writer:
        assert writer.mark.seq == 600


def test_where_directories_cannot_be_exchanged_nothing_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = written(tmp_path, numbered(0, 600), commits=4)
    files = data(tmp_path)
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: object())

    with pytest.raises(OutOfReach, match="cannot exchange two directories"):
        compact_archive(archive)

    assert data(tmp_path) == files


def test_info_tells_what_is_there_and_check_finds_what_is_not(tmp_path: Path) -> None:
    given = numbered(0, 3_000)
    archive = written(tmp_path, given, commits=3)

    info = check_archive(archive)

    assert (info.rows, info.whole, info.sources[0].missing) == (3_000, True, 0)
    trades = next(holding for holding in info.holdings if holding.kind == "trade")
    assert (trades.rows, trades.first_ns, trades.last_ns) == (1_000, START, START + 2_997)
    assert trades.bytes == sum(p.stat().st_size for p in data(tmp_path) if "kind=trade" in str(p))

    lost = next(path for path in data(tmp_path) if "kind=trade" in str(path))
    doubled = next(path for path in data(tmp_path) if "kind=quote" in str(path))
    rows, again = pq.read_metadata(lost).num_rows, pq.read_metadata(doubled).num_rows
    lost.unlink()
    shutil.copy(doubled, doubled.with_name("part-rec-000000000000001-000000000009999.parquet"))
    source = check_archive(archive).sources[0]

    assert (source.missing, source.twice) == (rows, again)
    assert not check_archive(archive).whole


def test_an_archive_that_is_written_and_merged_while_one_looks_is_whole(tmp_path: Path) -> None:
    given, archive, stop = numbered(0, 30_000), MarketArchive(tmp_path), threading.Event()

    def work() -> None:
        with archive.writer("rec", SYSTEM) as writer:
            for at in range(0, 30_000, 300):
                writer.take(given[at : at + 300])
                writer.commit()
                if at % 1_500 == 0:
                    compact_archive(archive)
        stop.set()

    worker = threading.Thread(target=work)
    worker.start()
    looks = []
    while not stop.is_set():
        looks.append(archive_info(archive))
        looks.append(check_archive(archive))
    worker.join()

    assert all(info.whole for info in looks)
    assert all(source.missing == 0 for info in looks for source in info.sources)
    assert check_archive(archive).rows == 30_000


@pytest.mark.parametrize("name", ["names", "compaction", "publish"])
def test_no_name_of_a_writer_stands_in_the_way(tmp_path: Path, name: str) -> None:
    archive = written(tmp_path, numbered(0, 30), commits=3, name=name)
    compact_archive(archive)

    assert list(archive.read()) == numbered(0, 30)


def test_what_no_column_can_hold_is_told_and_the_rest_is_kept(tmp_path: Path) -> None:
    template = numbered(0, 1)[0]
    assert isinstance(template, Trade)
    odd = [
        decode("trade.v1", encode(template).replace(b'"60000.00"', price))
        for price in (b'"0.0000000000000000001"', b'"1E+30"', b'"NaN"', b'"Infinity"')
    ]
    early = decode("trade.v1", encode(template).replace(str(START).encode(), b"-1", 1))
    refused: list[str] = []
    archive = MarketArchive(tmp_path)
    with archive.writer("rec", SYSTEM, refuse=lambda _, reason: refused.append(reason)) as writer:
        writer.take([*numbered(0, 9), *odd, early, *numbered(9, 9)])  # type: ignore[list-item]  # they are trades

    assert list(archive.read()) == numbered(0, 18)
    assert len(refused) == 5
    assert check_archive(archive).sources[0].missing == 4  # the one without a day was never numbered
    strict = archive.writer("strict", SYSTEM)
    strict.take(odd[:1])  # type: ignore[arg-type]  # a trade
    with pytest.raises(Misuse, match=r"Trade of BTC/USDT@binance at .* cannot be archived"):
        strict.commit()
    strict.abandon()


def _no_parquet(path: Path) -> None:
    path.write_bytes(b"PAR1 half a file")


def _another_schema(path: Path) -> None:
    pq.write_table(pa.table({"seq": [1], "price": ["1"]}), path)


def _another_type(path: Path) -> None:
    table = pq.ParquetFile(path).read()
    at = table.schema.get_field_index("trade_id")
    pq.write_table(table.set_column(at, "trade_id", pa.array([7] * table.num_rows)), path)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (_no_parquet, "no readable part of a market archive"),
        (_another_schema, "it has no column ts_event"),
        (_another_type, "its column trade_id is int64, a trade has string"),
    ],
)
def test_a_file_that_is_none_of_ours_is_told_in_one_line(tmp_path: Path, spoil: object, told: str) -> None:
    archive = written(tmp_path, numbered(0, 300))
    path = next(path for path in data(tmp_path) if "kind=trade" in str(path))
    assert callable(spoil)
    spoil(path)

    with pytest.raises(Misuse, match=told) as raised:
        list(archive.read())

    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_file_with_bits_that_turned_is_told_and_never_read_as_other_numbers(tmp_path: Path) -> None:
    given, turned = numbered(0, 90), random.Random(11)
    archive = written(tmp_path, given)
    path = next(path for path in data(tmp_path) if "kind=quote" in str(path))
    whole, told = path.read_bytes(), 0

    for _ in range(150):
        damaged = bytearray(whole)
        for _ in range(turned.randint(1, 3)):
            damaged[turned.randrange(len(damaged))] ^= 1 << turned.randrange(8)
        path.write_bytes(damaged)
        try:
            read = list(archive.read())
        except Misuse:
            told += 1
        else:
            assert read == given, "what turned was a part of what is read"

    assert told > 100


def test_a_file_that_lacks_a_column_with_a_default_is_read_and_one_more_column_is_passed_by(tmp_path: Path) -> None:
    statuses: list[MarketMessage] = [
        VenueStatus(venue="okx", status="ended", ts_event=n, ts_init=n, trace_id="") for n in range(5)
    ]
    archive = written(tmp_path, statuses)
    (path,) = data(tmp_path)
    table = pq.ParquetFile(path).read()
    older = table.drop_columns(["detail"]).append_column("newer", pa.array([1] * 5))
    pq.write_table(older, path)

    assert list(archive.read()) == statuses


def test_a_disk_that_takes_no_more_is_told_and_what_was_committed_stays(tmp_path: Path) -> None:
    given = numbered(0, 60_000)
    program = f"""
import resource
from pathlib import Path
from tests.conftest import ROOT
from tests.unit.store.market_messages import numbered
from edgefleet.clock import SYSTEM
from edgefleet.errors import OutOfReach
from edgefleet.store.market.archive import MarketArchive
writer = MarketArchive(Path({str(tmp_path)!r})).writer("rec", SYSTEM, commit_rows=20_000)
resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))
given = numbered(0, 60_000)
said = []
for at in range(0, 60_000, 1_000):
    try:
        writer.take(given[at : at + 1_000], str(at + 1_000))
        writer.turn()
        if at == 0:
            writer.commit()
    except OutOfReach as error:
        said.append(str(error))
writer.abandon()
print(said[0])
print(said[1])
"""
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=False)

    said = answer.stdout.splitlines()
    assert len(said) == 2, answer.stderr
    assert "cannot be written: " in said[0]
    assert "File too large" in said[0]
    assert "failed before or was closed" in said[1]
    archive = MarketArchive(tmp_path)
    with archive.writer("rec", SYSTEM) as again:
        assert 1_000 <= again.mark.seq < 60_000
        assert list(archive.read()) == given[: again.mark.seq]


def test_an_instrument_that_is_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(Misuse, match="an instrument is SYMBOL@venue, was 'BTCUSDT'"):
        list(written(tmp_path, numbered(0, 3)).read(instruments=["BTCUSDT"]))


def test_a_directory_that_is_no_archive_holds_nothing(tmp_path: Path) -> None:
    assert list(MarketArchive(tmp_path / "absent").read()) == []
    assert archive_info(MarketArchive(tmp_path / "absent")).rows == 0
    (tmp_path / "file").write_text("x")
    with pytest.raises(Misuse, match="is a file; a market archive is a directory"):
        list(MarketArchive(tmp_path / "file").read())


def test_a_mark_that_cannot_be_read_stops_the_writer(tmp_path: Path) -> None:
    archive = written(tmp_path, numbered(0, 3))
    (tmp_path / "_marks" / "rec.json").write_text("{")

    with pytest.raises(Broken, match="is no mark of a writer"):
        archive.writer("rec", SYSTEM)


def test_a_book_of_many_levels_is_written_before_it_fills_the_memory(tmp_path: Path) -> None:
    side = tuple((Decimal(n), Decimal(1)) for n in range(1, 5_001))
    book = BookSnapshot(
        instrument="A/B@v", update_id=1, bids=side, asks=side, ts_event=START, ts_init=START, trace_id=""
    )
    archive = MarketArchive(tmp_path)
    with archive.writer("rec", SYSTEM) as writer:
        for _ in range(12):
            writer.take([book])
            assert writer._weight < 60_000

    assert list(archive.read()) == [book] * 12


def test_archives_are_written_and_read_without_the_libraries_that_weigh_most() -> None:
    program = """
import sys, tempfile
from pathlib import Path
from edgefleet.clock import SYSTEM
from edgefleet.lean import sparing
from edgefleet.messages import VenueStatus
with sparing("numpy"):
    from edgefleet.store.market.archive import MarketArchive
    from edgefleet.store.market.maintenance import check_archive, compact_archive
archive = MarketArchive(Path(tempfile.mkdtemp()))
status = VenueStatus(venue="v", status="connected", ts_event=1, ts_init=1, trace_id="")
with archive.writer("rec", SYSTEM) as writer:
    for _ in range(3):
        writer.take([status])
        writer.commit()
assert compact_archive(archive) == 2
assert list(archive.read(order="event")) == [status] * 3 and check_archive(archive).whole
print(" ".join(sys.modules))
"""
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()

    assert {"numpy", "pandas", "pyarrow.compute", "pyarrow.dataset", "pyarrow._s3fs"} & set(loaded) == set()


@pytest.fixture(scope="module")
def tape_messages(recorded: Path) -> list[MarketMessage]:
    from edgefleet.store.market.kinds import BY_TYPE
    from edgefleet.venues.binance.feed import BinanceFeed
    from edgefleet.venues.tape import read_tape

    feed = BinanceFeed("binance", ["BTC/USDT"], waits_for_books=True)
    made = []
    for line in read_tape(sorted((recorded / "binance_spot").glob("*.gz"))):
        made += [one.message for one in feed.on_line(line.stamp_ns, line.body, line.stamp_ns) if one.stream == "market"]
    return [message for message in made if type(message) in BY_TYPE]  # type: ignore[misc]  # the line says so


@pytest.mark.data
def test_the_recorded_market_comes_back_byte_for_byte(tmp_path: Path, tape_messages: list[MarketMessage]) -> None:
    archive = written(tmp_path, tape_messages, commits=5)
    compact_archive(archive)

    back = archive.read()

    digest = [(tag_of(message), encode(message)) for message in back]
    assert digest == [(tag_of(message), encode(message)) for message in tape_messages]
    assert archive_info(archive).rows == len(tape_messages) > 100_000
