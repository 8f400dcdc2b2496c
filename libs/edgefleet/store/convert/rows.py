"""Rows of CSV files, plain, in gzip or in a zip, each with its place. Knows no format of any vendor."""

from __future__ import annotations

import csv
import gzip
import io
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import IO, Any, TypeVar

from edgefleet.errors import Misuse

T = TypeVar("T")
# The last: a zip that is packed in a way, or locked by a password, that the library does not know.
_DAMAGED = (EOFError, gzip.BadGzipFile, zlib.error, zipfile.BadZipFile, RuntimeError)
LeftOut = Counter[str]  # rows that became no message, by reason


class Row:
    """One line's fields, by the names of the columns."""

    __slots__ = ("_at", "fields", "line", "path")

    def __init__(self, path: Path, line: int, fields: list[str], at: dict[str, int]) -> None:
        self.path, self.line, self.fields, self._at = path, line, fields, at

    def text(self, name: str) -> str:
        """Return a field as it stands."""
        return self.fields[self._at[name]]

    def has(self, name: str) -> bool:
        """Return whether a column is there and the field is not empty."""
        at = self._at.get(name)
        return at is not None and self.fields[at] != ""

    def whole(self, name: str) -> int:
        """Return a field as an integer."""
        return self._read(name, int, "a whole number")

    def decimal(self, name: str) -> Decimal:
        """Return a field as a number, digit for digit."""
        return self._read(name, _finite, "a number")

    def flag(self, name: str) -> bool:
        """Return a field that says true or false."""
        return self._read(name, _flag, "true or false")

    def wrong(self, what: str) -> Misuse:
        """Return the error that names this row."""
        return Misuse(f"{self.path}, line {self.line}: {what}")

    def _read(self, name: str, kind: Callable[[str], T], what: str) -> T:
        text = self.text(name)
        try:
            return kind(text)
        except (ValueError, InvalidOperation):
            raise self.wrong(f"{name} must be {what}, was {text!r}") from None


def rows(path: Path, columns: tuple[str, ...], *, optional: int = 0, header: bool | None = None) -> Generator[Row]:
    """Yield the rows of a file.

    Parameters
    ----------
    columns
        The columns that are read; in a file without a header these are its first ones, in order.
    optional
        How many of the last `columns` may be missing.
    header
        Whether the first line names the columns; None: it does where it begins with the name of the first.

    Raises
    ------
    Misuse
        If the file cannot be read, a column is missing, or a line has another number of fields than the first.
    """
    number = 0
    try:
        with _opened(path) as file:
            reader = csv.reader(file)
            at: dict[str, int] | None = None
            width = 0
            for fields in reader:
                number = reader.line_num
                if not fields:
                    continue
                if at is None:
                    width = len(fields)
                    named = header if header is not None else _key(fields[0]) == _key(columns[0])
                    at = _places(path, fields if named else columns[:width], columns, optional)
                    if named:
                        continue
                if len(fields) != width:
                    raise Misuse(f"{path}, line {number}: {len(fields)} fields, expected {width}")
                yield Row(path, number, fields, at)
    except _DAMAGED as error:
        raise Misuse(f"{path}, after line {number}: truncated or damaged: {error}") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise Misuse(f"{path}, after line {number}: no CSV: {error}") from error
    except OSError as error:
        raise Misuse(f"{path}: cannot be read: {error.strerror or error}") from error


def first_line(path: Path) -> list[str]:
    """Return the fields of the first line, none where there is none.

    Raises
    ------
    Misuse
        If the file cannot be read.
    """
    with closing(rows(path, (), header=False)) as lines:
        first = next(lines, None)
    return [] if first is None else first.fields


def _places(path: Path, found: Sequence[str], columns: tuple[str, ...], optional: int) -> dict[str, int]:
    places = {_key(name): i for i, name in enumerate(found)}
    if missing := [name for name in columns[: len(columns) - optional] if _key(name) not in places]:
        raise Misuse(f"{path}: no column {', '.join(missing)}; it has {', '.join(found[:12]) or 'none'}")
    return {name: places[_key(name)] for name in columns if _key(name) in places}


def _key(name: str) -> str:
    """Return a column's name without what spellings differ in: ``isBuyerMaker`` is ``is_buyer_maker``."""
    return name.strip().lower().replace("_", "").replace(" ", "")


@contextmanager
def _opened(path: Path) -> Iterator[IO[str]]:
    with ExitStack() as files:
        raw: Any = files.enter_context(path.open("rb"))
        magic = raw.read(4)
        raw.seek(0)
        if magic[:2] == b"\x1f\x8b":
            raw = files.enter_context(gzip.open(raw, "rb"))
        elif magic == b"PK\x03\x04":
            members = files.enter_context(zipfile.ZipFile(raw))
            names = [name for name in members.namelist() if not name.endswith("/")]
            if len(names) != 1:
                raise Misuse(f"{path}: a zip of one file is expected, it holds {len(names)}")
            raw = files.enter_context(members.open(names[0]))
        yield files.enter_context(io.TextIOWrapper(raw, "utf-8", newline=""))


def _finite(text: str) -> Decimal:
    value = Decimal(text)
    if not value.is_finite():
        raise ValueError(text)
    return value


def _flag(text: str) -> bool:
    lowered = text.lower()
    if lowered not in ("true", "false", "1", "0"):
        raise ValueError(text)
    return lowered in ("true", "1")
