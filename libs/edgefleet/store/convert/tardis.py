"""Tardis' downloadable CSV files: trades, quotes, book snapshots of 5 and 25 levels, incremental L2.

Columns as https://docs.tardis.dev/downloadable-csv-files/data-types has them: stamps are microseconds UTC, `timestamp`
is the exchange's, `local_timestamp` the receipt's; a trade's side is the liquidity taker's, or ``unknown``; an amount
of zero removes a level; rows of one `local_timestamp` were one message of the exchange; a row with `is_snapshot` after
one without begins the book anew. The files keep no update ids: ours count the updates of each file from one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from itertools import groupby
from pathlib import Path
from typing import Any

from edgefleet.clock import NS_PER_US
from edgefleet.errors import Misuse
from edgefleet.ids import trace_id
from edgefleet.instruments import instrument_id
from edgefleet.messages import BookDelta, BookSnapshot, Level, Quote, Trade
from edgefleet.store.convert.rows import LeftOut, Row, first_line, rows

_COMMON = ("exchange", "symbol", "timestamp", "local_timestamp")
_TRADES = (*_COMMON, "id", "side", "price", "amount")
_QUOTES = (*_COMMON, "ask_amount", "ask_price", "bid_price", "bid_amount")
_L2 = (*_COMMON, "is_snapshot", "side", "price", "amount")
_Message = Trade | Quote | BookSnapshot | BookDelta


def read_tardis(
    files: Sequence[Path], left_out: LeftOut, *, venue: str | None = None, symbol: str | None = None
) -> Iterator[_Message]:
    """Yield the messages in the files, one file after the other. What a file holds is told by its header.

    Parameters
    ----------
    venue, symbol
        The venue and the canonical pair; None: as the rows name them.

    Raises
    ------
    Misuse
        If a file has another header or a row cannot be read.
    """
    for path in files:
        names = _Names(venue, symbol)
        header = first_line(path)
        if header[:4] != list(_COMMON):
            raise Misuse(f"{path}: no file of Tardis: its columns begin {', '.join(header[:4]) or 'nowhere'}")
        if "asks[0].price" in header:
            yield from _snapshots(path, header, names)
        elif "is_snapshot" in header:
            yield from _book(path, names, left_out)
        elif "side" in header and "id" in header:
            yield from _trades(path, names, left_out)
        elif "bid_price" in header and "ask_price" in header:
            yield from _quotes(path, names, left_out)
        else:
            raise Misuse(f"{path}: columns {', '.join(header[4:])} are none of trades, quotes, book snapshots, book L2")


class _Names:
    """What messages of a file have in common, and the count of its updates by symbol."""

    def __init__(self, venue: str | None, symbol: str | None) -> None:
        self._venue, self._symbol = venue, symbol
        self._counts: dict[str, int] = {}

    def of(self, row: Row) -> tuple[dict[str, Any], int]:
        """Return the fields that every message has, and this update's number."""
        venue, written = self._venue or row.text("exchange"), row.text("symbol")
        count = self._counts[written] = self._counts.get(written, 0) + 1
        try:
            instrument = instrument_id(self._symbol or written, venue)
        except Misuse as error:
            raise row.wrong(f"{error}; or name the pair for the whole file") from error
        fields = {
            "instrument": instrument,
            "ts_event": _stamp(row, "timestamp"),
            "ts_init": _stamp(row, "local_timestamp"),
            "trace_id": trace_id(venue, written, f"{row.text('local_timestamp')}:{count}"),
        }
        return fields, count


def _trades(path: Path, names: _Names, left_out: LeftOut) -> Iterator[Trade]:
    for row in rows(path, _TRADES, header=True):
        side = row.text("side")
        if side not in ("buy", "sell"):
            left_out["trade without a side"] += 1
            continue
        fields, _ = names.of(row)
        yield Trade(
            trade_id=row.text("id"),
            price=row.decimal("price"),
            quantity=row.decimal("amount"),
            aggressor="buy" if side == "buy" else "sell",
            **fields,
        )


def _quotes(path: Path, names: _Names, left_out: LeftOut) -> Iterator[Quote]:
    for row in rows(path, _QUOTES, header=True):
        if not all(row.has(name) for name in _QUOTES[4:]):
            left_out["quote with one side"] += 1
            continue
        fields, count = names.of(row)
        yield Quote(
            bid=row.decimal("bid_price"),
            bid_size=row.decimal("bid_amount"),
            ask=row.decimal("ask_price"),
            ask_size=row.decimal("ask_amount"),
            update_id=count,
            **fields,
        )


def _snapshots(path: Path, header: list[str], names: _Names) -> Iterator[BookSnapshot]:
    depth = sum(1 for name in header if name.startswith("asks[") and name.endswith("].price"))
    columns = (*_COMMON, *(f"{side}[{i}].{what}" for side in ("asks", "bids") for i in range(depth) for what in _PAIR))
    for row in rows(path, columns, header=True):
        fields, count = names.of(row)
        yield BookSnapshot(update_id=count, bids=_side(row, "bids", depth), asks=_side(row, "asks", depth), **fields)


_PAIR = ("price", "amount")


def _side(row: Row, side: str, depth: int) -> tuple[Level, ...]:
    """Return a side's levels; a book thinner than the file leaves fields empty."""
    return tuple(
        (row.decimal(f"{side}[{i}].price"), row.decimal(f"{side}[{i}].amount"))
        for i in range(depth)
        if row.has(f"{side}[{i}].price")
    )


def _book(path: Path, names: _Names, left_out: LeftOut) -> Iterator[BookSnapshot | BookDelta]:
    begun: set[str] = set()
    lines = rows(path, _L2, header=True)
    for (symbol, _, snapshot), group in groupby(lines, key=_update):
        changes = list(group)
        if not snapshot and symbol not in begun:
            left_out["book rows before a snapshot"] += len(changes)
            continue
        begun.add(symbol)
        bids, asks = ([_level(row) for row in changes if row.text("side") == side] for side in ("bid", "ask"))
        if len(bids) + len(asks) < len(changes):
            odd = next(row for row in changes if row.text("side") not in ("bid", "ask"))
            raise odd.wrong(f"side must be bid or ask, was {odd.text('side')!r}")
        fields, count = names.of(changes[-1])
        if snapshot:
            whole = [sorted((level for level in side if level[1]), reverse=side is bids) for side in (bids, asks)]
            yield BookSnapshot(update_id=count, bids=tuple(whole[0]), asks=tuple(whole[1]), **fields)
        else:
            yield BookDelta(first_update_id=count, last_update_id=count, bids=tuple(bids), asks=tuple(asks), **fields)


def _update(row: Row) -> tuple[str, str, bool]:
    return row.text("symbol"), row.text("local_timestamp"), row.flag("is_snapshot")


def _level(row: Row) -> tuple[Decimal, Decimal]:
    return row.decimal("price"), row.decimal("amount")


def _stamp(row: Row, name: str) -> int:
    return row.whole(name) * NS_PER_US
