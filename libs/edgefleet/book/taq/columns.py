"""Columns of TAQ quotes and trades: how rows become them, New York's wall time, days. Knows no rule."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from edgefleet.book.sessions import DAY_NS, date_of, new_york_offset_s
from edgefleet.clock import NS_PER_S

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
SourceClock = Literal["utc", "new_york"]


@dataclass(frozen=True, eq=False)
class Quotes:
    """Quotes of one stock in order of their stamps, one array per field."""

    ts: Ints  # ns since the epoch
    venue: NDArray[np.str_]  # TAQ's letter
    bid: Floats
    bid_size: Floats  # round lots
    ask: Floats
    ask_size: Floats
    row: Ints  # of the source, the last of those that were merged

    def __len__(self) -> int:
        return len(self.ts)


@dataclass(frozen=True, eq=False)
class Trades:
    """Trades of one stock in order of their stamps, one array per field."""

    ts: Ints
    venue: NDArray[np.str_]
    price: Floats
    size: Floats  # shares
    condition: NDArray[np.str_]  # without blanks
    correction: Ints
    row: Ints

    def __len__(self) -> int:
        return len(self.ts)


Rows = TypeVar("Rows", Quotes, Trades)


def quotes(rows: Iterable[Mapping[str, str]], clock: SourceClock = "utc") -> Quotes:
    """Return quotes from rows with the columns DT, EX, BID, BIDSIZ, OFR, OFRSIZ, such as `csv.DictReader` yields.

    Rows are put in the order of their stamps, equal stamps as they came.

    Parameters
    ----------
    clock
        What DT is: TAQ's own files are written in New York wall time, the package's samples were exported in UTC.

    Raises
    ------
    KeyError, ValueError
        If a column is missing or does not parse.
    """
    table = list(rows)
    return _in_order(
        Quotes(
            ts=_stamps(table, clock),
            venue=_texts(table, "EX"),
            bid=_numbers(table, "BID"),
            bid_size=_numbers(table, "BIDSIZ"),
            ask=_numbers(table, "OFR"),
            ask_size=_numbers(table, "OFRSIZ"),
            row=np.arange(len(table)),
        )
    )


def trades(rows: Iterable[Mapping[str, str]], clock: SourceClock = "utc") -> Trades:
    """Return trades from rows with the columns DT, EX, PRICE, SIZE, COND, CORR; see `quotes`."""
    table = list(rows)
    return _in_order(
        Trades(
            ts=_stamps(table, clock),
            venue=_texts(table, "EX"),
            price=_numbers(table, "PRICE"),
            size=_numbers(table, "SIZE"),
            condition=np.array(["".join(row["COND"].split()) for row in table], dtype=np.str_),
            correction=np.array([int(row["CORR"]) for row in table], dtype=np.int64),
            row=np.arange(len(table)),
        )
    )


def wall_time(ts: Ints) -> Ints:
    """Return what New York's clocks show at `ts`, as ns since 1970."""
    return ts + _offsets(ts, (ts - 5 * 3_600 * NS_PER_S) // DAY_NS)


def from_wall_time(wall: Ints) -> Ints:
    """Return ns since the epoch of what New York's clocks show."""
    return wall - _offsets(wall, wall // DAY_NS)


def _offsets(ts: Ints, days: Ints) -> Ints:
    """Return how far New York is ahead of UTC on each day, ns; exact but for the small hours in which clocks change."""
    known, inverse = np.unique(days, return_inverse=True)
    seconds = [new_york_offset_s(date_of(int(day) * DAY_NS)) for day in known]
    offsets: Ints = np.array(seconds, dtype=np.int64)[inverse] * NS_PER_S if len(ts) else ts
    return offsets


def _stamps(table: list[Mapping[str, str]], clock: SourceClock) -> Ints:
    written = np.array([row["DT"] for row in table], dtype="datetime64[ns]").astype(np.int64)
    return from_wall_time(written) if clock == "new_york" else written


def _numbers(table: list[Mapping[str, str]], column: str) -> Floats:
    return np.array([float(row[column]) for row in table], dtype=np.float64)


def _texts(table: list[Mapping[str, str]], column: str) -> NDArray[np.str_]:
    return np.array([row[column] for row in table], dtype=np.str_)


def _in_order(rows: Rows) -> Rows:
    return take(rows, np.argsort(rows.ts, kind="stable"))


def where(rows: Rows, mask: Bools) -> Rows:
    """Return rows where a mask is true."""
    return take(rows, np.flatnonzero(mask))


def take(rows: Rows, index: Ints) -> Rows:
    """Return rows by their index."""
    return replace(rows, **{field.name: getattr(rows, field.name)[index] for field in fields(rows)})


def begins_of(keys: Ints) -> Ints:
    """Return where each run of equal keys begins."""
    return np.flatnonzero(np.append(True, keys[1:] != keys[:-1])) if len(keys) else np.zeros(0, dtype=np.int64)


def lasts_of(begins: Ints, length: int) -> Ints:
    """Return where each run ends."""
    return np.append(begins[1:], length) - 1 if len(begins) else begins


def by_day(ts: Ints, values: Floats, f: Callable[[Floats], Any]) -> Floats:
    """Return `f` of each day's values, at each of them."""
    result = np.empty(len(values))
    begins = begins_of(wall_time(ts) // DAY_NS)
    for begin, last in zip(begins.tolist(), lasts_of(begins, len(ts)).tolist(), strict=True):
        result[begin : last + 1] = f(values[begin : last + 1])
    return result
