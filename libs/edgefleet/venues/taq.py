"""Trades and quotes of one stock in TAQ's columns, read from CSV files as one stream of events. Knows no sockets.

Columns `DT EX SYMBOL COND SIZE PRICE CORR` (trades) and `DT EX BID BIDSIZ OFR OFRSIZ SYMBOL` (quotes), plain or gzip,
each file in order of time. `DT` is UTC: the opening print of a New York stock stands at 14:30 in winter. Quote sizes
are round lots of 100 shares, an exchange's own quotes; what leaves here is the best bid and offer over all of them.
A trade that was cancelled or reported in error later (CORR 7 and above) is left out.
"""

from __future__ import annotations

import csv
import gzip
import heapq
import zlib
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from itertools import count
from pathlib import Path
from typing import TextIO

from edgefleet.clock import NS_PER_S
from edgefleet.errors import Misuse
from edgefleet.matching.stocks import Nbbo, StockEvent, StockMarketState, StockQuote, StockTrade, conditions_of

ROUND_LOT = Decimal(100)
FIRST_CANCELLED = 7  # of the correction codes: 7 to 12 are errors and cancels
_TRADES = ("DT", "EX", "SYMBOL", "COND", "SIZE", "PRICE", "CORR")
_QUOTES = ("DT", "EX", "BID", "BIDSIZ", "OFR", "OFRSIZ", "SYMBOL")


def read_taq(files: Sequence[Path]) -> Iterator[StockEvent]:
    """Yield the events of one stock's trades and quotes in order of time; of equal stamps the trade comes first.

    Raises
    ------
    Misuse
        Where a file is missing, damaged, of other columns or out of order, a row does not read, or symbols differ.
    """
    numbers = count(1)
    streams = [_rows(Path(path), numbers) for path in files]
    if not streams:
        raise Misuse("a stock's tape needs its CSV files: --tape trades.csv.gz quotes.csv.gz")
    states: dict[str, StockMarketState] = {}
    nbbo: dict[str, Nbbo] = {}
    for _, _, row in heapq.merge(*streams, key=lambda item: item[:2]):
        if states and row.symbol not in states:
            raise Misuse(f"a stock's tape holds one symbol, and this one {next(iter(states))} and {row.symbol}")
        state = states.setdefault(row.symbol, StockMarketState(row.symbol))
        if isinstance(row, StockTrade):
            yield state.on_trade(row)
            continue
        best = nbbo.setdefault(row.symbol, Nbbo(row.symbol)).update(row)
        if best is not None:
            yield state.on_quote(best)


def is_taq(path: Path) -> bool:
    """Return whether a file begins with TAQ's columns; one that cannot be read does not."""
    try:
        with _open(path) as stream:
            return tuple(stream.readline().strip().split(",")) in (_TRADES, _QUOTES)
    except (Misuse, OSError, EOFError, zlib.error, UnicodeDecodeError):
        return False


def stamp_ns(text: str, days: dict[str, int]) -> int:
    """Return `2018-01-02 14:30:00.115000010` in ns since the epoch; `days` remembers what dates came to.

    Examples
    --------
    >>> stamp_ns("1970-01-02 00:00:01.5", {})
    86401500000000
    """
    day, _, clock = text.partition(" ")
    if day not in days:
        at = date.fromisoformat(day)
        days[day] = int(datetime(at.year, at.month, at.day, tzinfo=UTC).timestamp())
    whole, _, fraction = clock.partition(".")
    hours, minutes, seconds = whole.split(":")
    second = days[day] + int(hours) * 3_600 + int(minutes) * 60 + int(seconds)
    return second * NS_PER_S + int(fraction[:9].ljust(9, "0"))


def _rows(path: Path, numbers: Iterator[int]) -> Iterator[tuple[int, int, StockTrade | StockQuote]]:
    number, last = 1, 0
    days: dict[str, int] = {}
    try:
        with _open(path) as stream:
            reader = csv.reader(stream)
            columns = tuple(next(reader, ()))
            if columns not in (_TRADES, _QUOTES):
                raise Misuse(f"{path}: these are not TAQ's columns: {','.join(columns)[:80]}")
            for number, cells in enumerate(reader, start=2):
                row = _trade(cells, numbers, days) if columns == _TRADES else _quote(cells, days)
                if row is None:
                    continue
                if row.ts_ns < last:
                    raise Misuse(f"{path}, line {number}: {cells[0]} comes after a later stamp")
                last = row.ts_ns
                yield row.ts_ns, 0 if isinstance(row, StockTrade) else 1, row
    except (ValueError, InvalidOperation, IndexError) as error:
        raise Misuse(f"{path}, line {number}: does not read as TAQ: {error}") from error
    except (EOFError, zlib.error, OSError) as error:
        raise Misuse(f"{path}, after line {number}: cannot be read: {error}") from error


def _trade(cells: list[str], numbers: Iterator[int], days: dict[str, int]) -> StockTrade | None:
    stamp, exchange, symbol, conditions, size, price, correction = cells
    if int(correction) >= FIRST_CANCELLED:
        return None
    return StockTrade(
        symbol,
        stamp_ns(stamp, days),
        next(numbers),
        _positive(price),
        _positive(size),
        exchange,
        conditions_of(conditions),
    )


def _quote(cells: list[str], days: dict[str, int]) -> StockQuote:
    stamp, exchange, bid, bid_size, ask, ask_size, symbol = cells
    return StockQuote(
        symbol,
        stamp_ns(stamp, days),
        _amount(bid),
        _amount(bid_size) * ROUND_LOT,
        exchange,
        _amount(ask),
        _amount(ask_size) * ROUND_LOT,
        exchange,
    )


def _positive(text: str) -> Decimal:
    value = _amount(text)
    if not value:
        raise ValueError(f"a trade's price and size are positive, was {text!r}")
    return value


def _amount(text: str) -> Decimal:
    value = Decimal(text)
    if not (value.is_finite() and value >= 0):
        raise ValueError(f"a price or size is not negative, was {text!r}")
    return value


def _open(path: Path) -> TextIO:
    try:
        with path.open("rb") as probe:
            compressed = probe.read(2) == b"\x1f\x8b"
        return gzip.open(path, "rt", newline="") if compressed else path.open(newline="")
    except OSError as error:
        raise Misuse(f"{path}: cannot be read: {error.strerror or error}") from error
