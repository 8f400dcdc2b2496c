"""Tables that researchers bring: what is read, and what is refused with its place."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest

from edgefleet.errors import Misuse
from edgefleet_services.data.tables import read_table


def written(folder: Path, content: str | bytes, name: str = "table.csv") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    "content",
    [
        "date,a,b\n2020-01-01,1,2\n2020-01-02,,4\n",
        "\ufeffdate,a,b\r\n2020-01-01,1,2\r\n2020-01-02,NA,4\r\n\r\n",
        ",a,b\n0,1,2\n1,,4\n",
        "when,a,b\nmonday,1.0,2e0\ntuesday, , 4\n",
        "20200101,a,b\nx,1,2\ny,,4",
    ],
)
def test_first_column_of_dates_is_an_index_and_an_empty_cell_is_missing(tmp_path: Path, content: str) -> None:
    found = read_table(written(tmp_path, content))

    assert found.names == ("a", "b")
    assert found.values == pytest.approx(np.array([[1, 2], [np.nan, 4]]), nan_ok=True)
    assert found.labels is not None
    assert len(found.labels) == 2


def test_without_dates_every_column_is_one_of_numbers(tmp_path: Path) -> None:
    found = read_table(written(tmp_path, "1,2\n0.5,2.5\n"))

    assert (found.names, found.values.tolist(), found.labels) == (("1", "2"), [[0.5, 2.5]], None)


def test_compressed_and_plain_are_alike(tmp_path: Path) -> None:
    content = "a,b\n0.1,0.2\n0.3,0.4\n"
    plain, packed = written(tmp_path, content), written(tmp_path, gzip.compress(content.encode()), "table.csv.gz")

    assert read_table(packed).values.tolist() == read_table(plain).values.tolist()


@pytest.mark.parametrize("writer", ["pandas", "pandas index", "polars"])
def test_parquet_is_read_as_its_csv_would_be(tmp_path: Path, writer: str) -> None:
    days = pd.date_range("2020-01-01", periods=2)
    frame = pd.DataFrame({"date": days, "a": [0.1, None], "b": [3, 4]})
    path = tmp_path / "table.parquet"
    if writer == "polars":
        pl.DataFrame({"date": days.strftime("%Y-%m-%d").tolist(), "a": [0.1, None], "b": [3, 4]}).write_parquet(path)
    elif writer == "pandas":
        frame.to_parquet(path)
    else:
        frame.set_index("date").to_parquet(path)

    found = read_table(path)

    assert found.names == ("a", "b")
    assert found.values == pytest.approx(np.array([[0.1, 3], [np.nan, 4]]), nan_ok=True)


def test_numbers_survive_to_the_last_bit(tmp_path: Path) -> None:
    numbers = np.random.default_rng(1).normal(size=20)
    path, parquet = tmp_path / "t.csv", tmp_path / "t.parquet"
    pd.DataFrame({"a": numbers}).to_csv(path, index=False)
    pd.DataFrame({"a": numbers}).to_parquet(parquet)

    assert read_table(path).values[:, 0].tolist() == read_table(parquet).values[:, 0].tolist() == numbers.tolist()


def test_a_matrix_needs_no_names(tmp_path: Path) -> None:
    found = read_table(written(tmp_path, "0.1,0.2\n0.2,0.4\n"), header_optional=True)

    assert (found.names, found.values.tolist()) == (("1", "2"), [[0.1, 0.2], [0.2, 0.4]])


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "is empty; the first line names the columns"),
        (" \n\n", "is empty"),
        ("a,b\n", "has names of columns and no rows"),
        ("a,b\n1,2\n3\n", "line 3 has 1 cells, the header 2"),
        ("a,b\n1,2\n3,x\n", "line 3, column 'b': 'x' is no number; leave a missing value empty"),
        ("a,b\n1,nan\n", "line 2, column 'b': nan is not finite"),
        ("a,b\n1,2\n-inf,2\n", "line 3, column 'a': -inf is not finite"),
        ("0.1,0.2\n0.3,0.4\n", "line 1 has numbers and no names"),
        ("a,a\n1,2\n", "has two columns 'a'"),
        ("a,,b\n1,2,3\n", "column 2 has no name"),
        ("date\n2020-01-01\n", "has no column of numbers beside its index"),
        ("date,a\n2020-01-02,1\n2020-01-01,2\n", "line 3: 2020-01-01 comes after a later date; sort the rows"),
        (b"\xff\xfe\x00a", "is neither Parquet nor text in UTF-8"),
        (b"PAR1 and nothing", "is no whole Parquet file"),
        (b"\x1f\x8b and nothing", "gzip"),
        ('a,b\n"1,2\n', "is no CSV"),
    ],
)
def test_what_is_no_table_is_refused_with_its_place(tmp_path: Path, content: str | bytes, told: str) -> None:
    path = written(tmp_path, content)

    with pytest.raises(Misuse) as refused:
        read_table(path)

    assert str(refused.value).startswith(f"{path}: ")
    assert told in str(refused.value)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Misuse, match="there is no such file"):
        read_table(tmp_path / "nowhere.csv")
    with pytest.raises(Misuse, match="is a directory"):
        read_table(tmp_path)


def test_a_column_is_chosen_by_its_name(tmp_path: Path) -> None:
    path = written(tmp_path, "a,b\n1,2\n")
    table = read_table(path)

    assert table.column(path, "b")[1].tolist() == [2.0]
    with pytest.raises(Misuse, match=r"has 2 columns of numbers \(a, b\); choose one by --column"):
        table.column(path, None)
    with pytest.raises(Misuse, match="has no column 'c'; --column is one of a, b"):
        table.column(path, "c")
