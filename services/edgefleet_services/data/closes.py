"""The closes of an instrument's bars as a table of prices. Knows bars and the market's hours, no statistics."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

from edgefleet.book.grid import WIDTHS_MS, Span, grid_for
from edgefleet.book.sessions import calendar_for
from edgefleet.clock import iso
from edgefleet.errors import Misuse
from edgefleet.instruments import AssetClass, canonical_symbol
from edgefleet.store.market.archive import MarketArchive
from edgefleet.units import decimal_text


class Close(NamedTuple):
    """The last price of a bar."""

    end: int  # ns since the epoch: of the bar
    price: Decimal | None  # None: bars are missing from here on, and the next close is behind them


def closes_of(archive: MarketArchive, instrument: str, width: str, asset_class: AssetClass) -> list[Close]:
    """Return the closes of the instrument's bars of one width, oldest first, with one absent close for each gap.

    A gap is where the market was open and no bar is kept: nobody traded, or the fleet did not run. A night or a weekend
    of stocks is none. The absent close keeps a return over several widths from being taken for one of one width.

    Raises
    ------
    Misuse
        If the width is none of `WIDTHS_MS`, the hours of the class are not known, a bar has another end than the
        market's hours give it, or two writers kept bars of the same time with different closes.
    """
    if width not in WIDTHS_MS:
        raise Misuse(f"--interval {width!r} is unknown; take {', '.join(WIDTHS_MS)}")
    found = _kept(archive, instrument, WIDTHS_MS[width])
    closes: list[Close] = []
    for end in sorted(found):
        if closes:
            due = _after(closes[-1].end, WIDTHS_MS[width], asset_class)
            if end < due.end:
                last = iso(closes[-1].end)
                raise Misuse(
                    f"{instrument}: after the {width} bar until {last} the next ends at {iso(due.end)}, was {iso(end)}"
                )
            if end > due.end:
                closes.append(Close(due.end, None))
        closes.append(Close(end, found[end]))
    return closes


def write_closes(path: Path, instrument: str, closes: list[Close]) -> None:
    """Write a CSV of the time of each close and the price, an absent one as an empty cell: what `--prices` reads.

    Raises
    ------
    Misuse
        If the file cannot be written.
    """
    try:
        with path.open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file, lineterminator="\n")
            rows.writerow(("time", instrument))
            rows.writerows((iso(one.end), "" if one.price is None else decimal_text(one.price)) for one in closes)
    except OSError as error:
        raise Misuse(f"{path} cannot be written: {error.strerror}") from error


def instrument_of(archive: MarketArchive, named: str | None) -> str:
    """Return the instrument with bars that is meant: by its id, by its symbol, or the only one.

    Raises
    ------
    Misuse
        If none is meant or several are.
    """
    known = sorted({one.instrument for one in archive.chosen(["bar"])})
    if not known:
        raise Misuse(f"{archive.partitions.root} has no bars; the service features keeps them, see conf/features.yml")
    meant = known
    if named is not None:
        symbol = named if "@" in named else canonical_symbol(named)
        meant = [one for one in known if symbol in (one, one.rpartition("@")[0])]
    if len(meant) != 1:
        raise Misuse(f"--symbol names {len(meant)} instruments; name one of {', '.join(known)}")
    return meant[0]


def _kept(archive: MarketArchive, instrument: str, width_ms: int) -> Mapping[int, Decimal]:
    """Return the closes by their bar's end; a venue's history gives way to what the fleet saw."""
    own: dict[int, Decimal] = {}
    history: dict[int, Decimal] = {}
    for end, price, is_history in _rows(archive, instrument, width_ms):
        if is_history:
            history[end] = price
        elif own.setdefault(end, price) != price:
            raise Misuse(
                f"{instrument}: two bars of {width_ms} ms end at {iso(end)}, with closes {own[end]} and {price}; "
                "two writers kept this market"
            )
    return {**history, **own}


def _rows(archive: MarketArchive, instrument: str, width_ms: int) -> Iterator[tuple[int, Decimal, bool]]:
    import pyarrow as pa
    import pyarrow.compute as pc

    for each in archive.chosen(["bar"], [instrument]):
        for part in archive.partitions.parts(each.partition):
            # A batch at a time: a year's bars of all widths in one table weigh 170 MB, and one in sixty is an hour's.
            for batch in archive.batches(each, part):
                rows = batch.filter(pc.equal(batch["interval_ms"], width_ms))
                columns = (rows["bar_kind"], rows["ts_event"].cast(pa.int64()), rows["close"], rows["backfill"])
                for kind, end, price, is_history in zip(*(column.to_pylist() for column in columns), strict=True):
                    if kind == "time":
                        yield end, price, bool(is_history)


def _after(end: int, width_ms: int, asset_class: AssetClass) -> Span:
    """Return the bar that follows the one that ends at `end`."""
    span = grid_for(width_ms, asset_class).span(calendar_for(asset_class).next_open(end))
    if span is None:
        raise Misuse(f"no bar of {width_ms} ms of {asset_class} follows {iso(end)}")
    return span
