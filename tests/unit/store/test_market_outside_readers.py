"""The archive read by pandas, polars and duckdb, without our code: every row, every exact number, every moment."""

from __future__ import annotations

import os
import subprocess
import sys
from decimal import Decimal
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import duckdb
import polars as pl
import pytest
from tests.unit.store.market_messages import numbered
from tests.unit.store.test_market_archive import written

from edgefleet.messages import BookDelta, Trade
from edgefleet.store.market.archive import MarketArchive
from edgefleet.store.market.kinds import MarketMessage
from edgefleet.store.market.maintenance import compact_archive
from edgefleet.testing import build

pd: Any = import_module("pandas")  # it brings no types
GIVEN = numbered(0, 6_000)
TRADES = [message for message in GIVEN if isinstance(message, Trade)]
DELTAS = [message for message in GIVEN if isinstance(message, BookDelta)]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("archive")
    compact_archive(written(directory, list[MarketMessage](GIVEN), commits=4), before="2024-08-09")
    return directory


def test_pandas_reads_the_archive(directory: Path) -> None:
    files = list(directory.glob("date=*/kind=trade/instrument=*/*.parquet"))
    frame = pd.read_parquet(files).sort_values("seq")

    assert list(frame["price"]) == [trade.price for trade in TRADES]
    assert list(frame["ts_event"].astype("int64")) == [trade.ts_event for trade in TRADES]
    assert str(frame["ts_event"].dtype) == "datetime64[ns, UTC]"
    assert set(frame["instrument"]) == {"BTC/USDT@binance"}
    assert set(frame["date"].astype(str)) == {"2024-08-08", "2024-08-09"}


def test_pandas_reads_one_file_and_its_levels(directory: Path) -> None:
    frame = pd.concat(map(pd.read_parquet, directory.glob("date=*/kind=book_delta/instrument=*/*.parquet")))
    frame = frame.sort_values("seq")

    bids = [tuple((level["price"], level["size"]) for level in levels) for levels in frame["bids"]]
    assert bids == [delta.bids for delta in DELTAS]


def test_polars_reads_the_archive(directory: Path) -> None:
    frame = pl.scan_parquet(directory / "date=*/kind=trade/**/*.parquet", hive_partitioning=True).sort("seq").collect()

    assert frame["price"].to_list() == [trade.price for trade in TRADES]
    assert frame["quantity"].sum() == sum(trade.quantity for trade in TRADES)
    assert frame["ts_event"].dtype == pl.Datetime("ns", "UTC")
    assert frame["ts_event"].to_physical().to_list() == [trade.ts_event for trade in TRADES]
    assert frame["instrument"].unique().to_list() == ["BTC/USDT@binance"]
    deltas = pl.read_parquet(directory / "date=*/kind=book_delta/**/*.parquet").sort("seq")
    levels = [tuple((level["price"], level["size"]) for level in levels) for levels in deltas["bids"].to_list()]
    assert levels == [delta.bids for delta in DELTAS]


def test_pandas_polars_and_duckdb_tell_the_kinds_of_bars_apart(tmp_path: Path) -> None:
    """The path's `kind=bar` hid a column of that name, and pandas read neither."""
    kinds: list[tuple[Literal["time", "volume", "dollar"], int]] = [("time", 60_000), ("volume", 0), ("dollar", 0)]
    bars = [build.bar(kind=kind, interval_ms=width) for kind, width in kinds]
    written(tmp_path, list[MarketMessage](bars))
    files, pattern = sorted(tmp_path.glob("date=*/kind=bar/*/*.parquet")), f"{tmp_path}/date=*/kind=bar/*/*.parquet"

    with_pandas = pd.read_parquet(files).sort_values("seq")
    with_polars = pl.scan_parquet(pattern, hive_partitioning=True).sort("seq").collect()
    source = f"read_parquet('{pattern}', hive_partitioning = true)"
    with_duckdb = duckdb.execute(f"select bar_kind, interval_ms from {source} order by seq").fetchall()

    assert list(zip(with_pandas["bar_kind"], with_pandas["interval_ms"], strict=True)) == kinds
    assert with_polars.select("bar_kind", "interval_ms").rows() == kinds
    assert with_duckdb == kinds
    assert list(MarketArchive(tmp_path).read()) == bars


def test_duckdb_reads_the_archive(directory: Path) -> None:
    source = f"read_parquet('{directory}/date=*/kind=trade/*/*.parquet', hive_partitioning = true)"
    rows = duckdb.execute(f"select price, epoch_ns(ts_event), instrument from {source} order by seq").fetchall()
    total = duckdb.execute(f"select sum(quantity), count(distinct date) from {source}").fetchall()[0]

    assert rows == [(trade.price, trade.ts_event, "BTC/USDT@binance") for trade in TRADES]
    assert total == (sum(trade.quantity for trade in TRADES), 2)
    deltas = f"read_parquet('{directory}/date=*/kind=book_delta/*/*.parquet')"
    levels = duckdb.execute(f"select bids from {deltas} order by seq").fetchall()
    assert [tuple((level["price"], level["size"]) for level in bids) for (bids,) in levels] == [
        delta.bids for delta in DELTAS
    ]


def test_a_notional_in_duckdb_needs_a_cast_and_says_so(directory: Path) -> None:
    """``price * quantity`` would have 36 digits after the point; the document tells to cast."""
    source = f"read_parquet('{directory}/date=*/kind=trade/*/*.parquet')"

    with pytest.raises(duckdb.OutOfRangeException, match="explicit cast"):
        duckdb.execute(f"select sum(price * quantity) from {source}").fetchall()
    found = duckdb.execute(f"select sum(price::double * quantity::double) from {source}").fetchall()[0]

    assert found[0] == pytest.approx(float(sum((t.price * t.quantity for t in TRADES), Decimal(0))), rel=1e-12)


def in_a_process(program: str) -> str:
    """Return what a fresh process printed: what pyarrow can do is settled when it is loaded."""
    answer = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, env=dict(os.environ)
    )
    return answer.stdout + answer.stderr


def test_our_own_table_is_by_event_and_becomes_a_frame(directory: Path) -> None:
    program = f"""
from pathlib import Path
from edgefleet.store.market.research import read_table
from edgefleet.store.market.archive import MarketArchive
archive = MarketArchive(Path({str(directory)!r}))
frame = read_table(archive, "trade", start={TRADES[10].ts_event}, end={TRADES[1_990].ts_event}).to_pandas()
rising = frame["ts_event"].is_monotonic_increasing
print(len(frame), frame["price"].iloc[0], frame["instrument"].unique().tolist(), rising)
print(read_table(archive, "bar").num_rows, read_table(archive, "trade", columns=["price"]).column_names)
"""

    answer = in_a_process(program).splitlines()

    assert answer[0] == f"1980 {TRADES[10].price}0000000000000000 ['BTC/USDT@binance'] True"
    assert answer[1] == "0 ['instrument', 'price']"


def test_a_table_is_refused_where_pyarrow_came_without_numpy_and_would_end_the_process(directory: Path) -> None:
    program = f"""
from pathlib import Path
from edgefleet.lean import sparing
with sparing("numpy"):
    from edgefleet.store.market.archive import MarketArchive
from edgefleet.store.market.research import read_table
read_table(MarketArchive(Path({str(directory)!r})), "trade")
"""

    assert "pyarrow was loaded without numpy in this process" in in_a_process(program)


def test_unknown_columns_are_told(directory: Path) -> None:
    program = f"""
from pathlib import Path
from edgefleet.store.market.research import read_table
from edgefleet.store.market.archive import MarketArchive
read_table(MarketArchive(Path({str(directory)!r})), "trade", columns=["prices"])
"""

    assert "prices is no column of trade; it has seq, ts_event" in in_a_process(program)
