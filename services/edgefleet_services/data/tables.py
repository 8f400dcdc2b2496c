"""Tables of numbers that researchers bring: CSV or Parquet, plain or gzip. Knows no statistics and no markets.

A CSV begins with a line of names. A first column of dates or labels is an index and no column of numbers. An empty
cell, or `NA`, is a missing value; a cell that says `nan` is not: it is refused like anything else that is no number.
"""

from __future__ import annotations

import csv
import datetime as dt
import gzip
import io
import itertools
import math
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from edgefleet.errors import Misuse

Floats = npt.NDArray[np.float64]

_MISSING = {"", "NA"}
_INDEX_NAMES = {"", "date", "datetime", "day", "index", "time", "timestamp", "__index_level_0__"}


class Table(NamedTuple):
    """Named columns of numbers; NaN is a missing value and nothing else."""

    names: tuple[str, ...]
    values: Floats  # rows by columns
    labels: tuple[str, ...] | None  # of the rows, where there is an index

    def column(self, path: Path, name: str | None) -> tuple[str, Floats]:
        """Return one column by its name, the only one where none is given.

        Raises
        ------
        Misuse
            If there is no such column, or several to choose from.
        """
        known = _some(self.names)
        if name is None and len(self.names) > 1:
            raise Misuse(f"{path}: has {len(self.names)} columns of numbers ({known}); choose one by --column")
        if name is not None and name not in self.names:
            raise Misuse(f"{path}: has no column {name!r}; --column is one of {known}")
        chosen = name or self.names[0]
        return chosen, self.values[:, self.names.index(chosen)]


class _Raw(NamedTuple):
    """What a file says, as text."""

    path: Path
    names: list[str]
    columns: list[list[str]]
    first_row: int
    place: str  # what a row is called: a line of a CSV, which the header shares, or a row


def read_table(path: Path, *, header_optional: bool = False) -> Table:
    """Return the table in a file; with `header_optional` a first line of numbers only is data, not names.

    Raises
    ------
    Misuse
        If the file cannot be read or is empty, is neither CSV nor Parquet, a cell is no finite number, a row is longer
        or shorter than the header, a name is missing or there twice, or dates go backwards.
    """
    content = _content(path)
    is_parquet = content[:4] == b"PAR1"
    table = _typed(_parquet(path, content) if is_parquet else _csv(path, content, header_optional=header_optional))
    if not len(table.values):
        raise Misuse(f"{path}: has names of columns and no rows; give it data")
    return table


def _content(path: Path) -> bytes:
    try:
        content = path.read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
    except FileNotFoundError as error:
        raise Misuse(f"{path}: there is no such file; name a CSV or Parquet file") from error
    except IsADirectoryError as error:
        raise Misuse(f"{path}: is a directory; name a CSV or Parquet file") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise Misuse(f"{path}: is cut off or broken gzip ({error}); make it again") from error
    except OSError as error:
        raise Misuse(f"{path}: cannot be read ({error.strerror}); name a readable CSV or Parquet file") from error
    if not content.strip():
        raise Misuse(f"{path}: is empty; the first line names the columns, data follow")
    return content


def _csv(path: Path, content: bytes, *, header_optional: bool) -> _Raw:
    try:
        text = content.decode("utf-8-sig")
        rows = [
            [cell.strip() for cell in row] or [""] for row in csv.reader(io.StringIO(text, newline=""), strict=True)
        ]
    except UnicodeDecodeError as error:
        raise Misuse(f"{path}: is neither Parquet nor text in UTF-8 (byte {error.start}); convert it") from error
    except csv.Error as error:
        raise Misuse(f"{path}: is no CSV ({error}); separate cells by commas, one row a line") from error
    while rows and rows[-1] == [""]:
        rows.pop()
    names = rows[0]
    # Whole numbers may be names of assets.
    nameless = all(map(_is_number, names)) and not all(name.isdigit() for name in names)
    if nameless and header_optional:
        names, first_row = [str(place + 1) for place in range(len(names))], 1
    elif nameless:
        raise Misuse(f"{path}: line 1 has numbers and no names; begin with a line that names the columns")
    else:
        rows, first_row = rows[1:], 2
    for line, row in enumerate(rows, first_row):
        if len(row) != len(names):
            raise Misuse(
                f"{path}: line {line} has {len(row)} cells, the header {len(names)}; give each row one for every column"
            )
    columns = [list(column) for column in zip(*rows, strict=True)] or [[] for _ in names]
    return _Raw(path, names, columns, first_row, "line")


def _parquet(path: Path, content: bytes) -> _Raw:
    """Return names and cells as text: what a CSV of the same table would say."""
    import pyarrow as pa
    from pyarrow import parquet

    try:
        table = parquet.read_table(pa.BufferReader(content))
    except (pa.ArrowException, OSError) as error:
        raise Misuse(f"{path}: is no whole Parquet file ({str(error).splitlines()[0]}); make it again") from error
    # pandas puts its index behind the columns.
    names = sorted(table.column_names, key=lambda name: not _is_label(name, table.schema.field(name).type))
    columns = [["" if v is None else _cell(v) for v in table.column(name).to_pylist()] for name in names]
    return _Raw(path, names, columns, 1, "row")


def _is_label(name: str, kind: Any) -> bool:
    from pyarrow import types

    text = types.is_string(kind) or types.is_large_string(kind) or types.is_dictionary(kind)
    return name.startswith("__index_level_") or types.is_temporal(kind) or text


def _cell(value: object) -> str:
    return value.isoformat() if isinstance(value, dt.date) else str(value)


def _typed(raw: _Raw) -> Table:
    path, names, columns = raw.path, raw.names, raw.columns
    is_index = names[0].casefold() in _INDEX_NAMES or not any(
        _is_number(cell) for cell in columns[0] if cell not in _MISSING
    )
    labels = tuple(columns[0]) if is_index and columns[0] else None
    if labels is not None:
        _check_dates(raw, labels)
        names, columns = names[1:], columns[1:]
    if not names:
        raise Misuse(f"{path}: has no column of numbers beside its index; add one")
    if "" in names:
        raise Misuse(f"{path}: column {raw.names.index('') + 1} has no name; name every column")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise Misuse(f"{path}: has two columns {twice!r}; give each a name of its own")
    numbers = [
        [_number(raw, name, row, cell) for row, cell in enumerate(column, raw.first_row)]
        for name, column in zip(names, columns, strict=True)
    ]
    return Table(tuple(names), np.array(numbers, dtype=np.float64).T, labels)


def _number(raw: _Raw, name: str, row: int, cell: str) -> float:
    if cell in _MISSING:
        return math.nan
    where = f"{raw.path}: {raw.place} {row}, column {name!r}"
    if not _is_number(cell):
        raise Misuse(f"{where}: {cell!r} is no number; leave a missing value empty")
    number = float(cell)
    if not math.isfinite(number):
        raise Misuse(f"{where}: {cell} is not finite; leave a missing value empty")
    return number


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _check_dates(raw: _Raw, labels: Sequence[str]) -> None:
    """Refuse dates that go backwards, which would turn gains into losses. Labels that are no dates may be any."""
    try:
        stamps = [dt.datetime.fromisoformat(label) for label in labels]
        for row, (before, after) in enumerate(itertools.pairwise(stamps), raw.first_row + 1):
            if after < before:
                raise Misuse(
                    f"{raw.path}: {raw.place} {row}: {labels[row - raw.first_row]} comes after a later date; "
                    "sort the rows by time"
                )
    except (ValueError, TypeError):  # no dates, or some with a time zone and some without
        return


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:6]) + (" ..." if len(names) > 6 else "")
