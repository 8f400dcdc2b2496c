"""One instrument's market as columns, the shape of Parquet, and the one order of all of them. Needs numpy.

Every table has `order`, the row's place among all messages of the instrument (an entry's place in its stream, a running
number): what came first is not for stamps to say. Stamps are ns since the epoch, prices and sizes are doubles.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from edgefleet.features.amounts import LEAST, MOST, amount, levels, price
from edgefleet.features.engine import FeatureEngine
from edgefleet.features.ladder import Ladder
from edgefleet.features.spec import FeatureSpec
from edgefleet.messages import Message
from edgefleet.messages.market import Bar, BookDelta, BookSnapshot, Quote, Trade

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Table = Mapping[str, npt.NDArray[Any]]

# The columns of each table beside `order` and `ts_event`. Those of `depth` have a column per level, best first, 0 where
# a side has fewer.
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "quotes": ("bid", "bid_size", "ask", "ask_size"),
    "trades": ("price", "quantity", "is_buy"),
    "depth": ("bid_price", "bid_size", "ask_price", "ask_size"),
    "bars": ("high", "low", "close"),  # closed, all of one length
    "heard": (),  # messages that only say that the instrument is heard of
    "breaks": ("is_book_only",),  # the venue's word was lost, or only its book
}
_MAY_BE_ZERO = {"quotes", "depth"}


@dataclass(frozen=True, slots=True, eq=False)
class MarketColumns:
    """Tables by name, as in `COLUMNS`; one that is left out is empty.

    Raises
    ------
    ValueError
        If a column is missing or of another length, a place is taken twice, or a number is not finite or cannot be;
        the table, the column and the row are named.
    """

    tables: Mapping[str, Table]
    now: Ints = field(init=False)  # ns, time at each place: the largest stamp so far
    places: Mapping[str, Ints] = field(init=False)  # of each table's rows among all, in order

    def __post_init__(self) -> None:
        full = {name: _table(name, self.tables.get(name), columns) for name, columns in COLUMNS.items()}
        unknown = sorted(set(self.tables) - set(COLUMNS))
        if unknown:
            raise ValueError(f"there is no table {unknown[0]!r}; there are {', '.join(COLUMNS)}")
        order = np.concatenate([table["order"] for table in full.values()])
        by_order = np.argsort(order, kind="stable")
        ordered = order[by_order]
        if (ordered[1:] == ordered[:-1]).any():
            raise ValueError(f"two rows have the place {ordered[1:][ordered[1:] == ordered[:-1]][0]} in `order`")
        place = np.empty(len(order), np.int64)
        place[by_order] = np.arange(len(order))
        ends = np.cumsum([len(table["order"]) for table in full.values()])
        stamps = np.concatenate([table["ts_event"] for table in full.values()])
        object.__setattr__(self, "tables", full)
        object.__setattr__(self, "places", dict(zip(full, np.split(place, ends[:-1]), strict=True)))
        object.__setattr__(self, "now", np.maximum.accumulate(stamps[by_order]))


def _table(name: str, given: Table | None, columns: tuple[str, ...]) -> Table:
    """Return a table with every column it must have, its rows in order."""
    if given is None:
        shape = (0, 1) if name == "depth" else (0,)
        empty: dict[str, npt.NDArray[Any]] = {column: np.empty(shape) for column in columns}
        return empty | {column: np.empty(0, np.int64) for column in ("order", "ts_event")}
    for column in ("order", "ts_event", *columns):
        if column not in given:
            raise ValueError(f"{name} has no column {column!r}")
        if len(given[column]) != len(given["order"]):
            raise ValueError(f"{name}.{column} has {len(given[column])} rows, not {len(given['order'])}")
        if not column.startswith("is_"):
            _refuse(name, column, np.asarray(given[column]))
    by_order = np.argsort(given["order"], kind="stable")
    return {column: np.asarray(given[column])[by_order] for column in ("order", "ts_event", *columns)}


def _refuse(name: str, column: str, values: npt.NDArray[Any]) -> None:
    """Refuse numbers that a message would be refused for."""
    if column in {"order", "ts_event"}:
        if values.dtype.kind not in "iu":
            raise ValueError(f"{name}.{column} must be whole numbers, was {values.dtype}")
        return
    good = (values >= LEAST) & (values <= MOST)
    if name in _MAY_BE_ZERO:
        good |= values == 0
    if not good.all():
        row = np.argwhere(~good)[0]
        least = "0 or " if name in _MAY_BE_ZERO else ""
        raise ValueError(
            f"{name}.{column} is {least}from {LEAST:g} to {MOST:g}, was {values[tuple(row)]} in row {row[0]}"
        )


def ordered_by_time(tables: Mapping[str, Table]) -> dict[str, Table]:
    """Return tables with an `order` by stamp, for data that has kept no other.

    Of one stamp, breaks come first, then quotes, depth, bars and trades (a trade is seen against the quote it met), and
    each table keeps its own order. What came in another order than its stamps is not told by them: that is lost.
    """
    names = [name for name in ("breaks", "quotes", "depth", "bars", "trades", "heard") if name in tables]
    stamps = np.concatenate([tables[name]["ts_event"] for name in names])
    order = np.empty(len(stamps), np.int64)
    order[np.argsort(stamps, kind="stable")] = np.arange(len(stamps))
    ends = np.cumsum([len(tables[name]["ts_event"]) for name in names])
    parts = np.split(order, ends[:-1])
    return {name: {**tables[name], "order": part} for name, part in zip(names, parts, strict=True)}


def market_columns(messages: Iterable[Message], instrument: str, spec: FeatureSpec) -> MarketColumns:
    """Return what messages say of an instrument as columns, as deep as `spec` asks; a message's place is its number."""
    depth = max((*spec.depth_levels, 1))
    rows: dict[str, list[tuple[Any, ...]]] = {name: [] for name in COLUMNS}
    engine = FeatureEngine(instrument, spec)
    ladder: Ladder | None = None
    for number, message in enumerate(messages):
        if not engine.concerns(message):
            continue
        at = (number, message.ts_event)  # type: ignore[union-attr]  # what concerns an instrument has one
        if isinstance(message, Quote):
            top = (amount(message.bid), amount(message.bid_size), amount(message.ask), amount(message.ask_size))
            rows["quotes"].append((*at, *top))
        elif isinstance(message, Trade):
            rows["trades"].append((*at, price(message.price), price(message.quantity), message.aggressor == "buy"))
        elif isinstance(message, BookSnapshot | BookDelta):
            ladder = _applied(ladder, message)
            rows["heard" if ladder is None else "depth"].append(at if ladder is None else (*at, *_best(ladder, depth)))
        elif isinstance(message, Bar):
            kept = message.interval_ms == spec.bar_ms
            bar = (price(message.high), price(message.low), price(message.close))
            rows["bars" if kept else "heard"].append((*at, *bar) if kept else at)
        else:
            ladder = None
            rows["breaks"].append((*at, engine.loses(message) == "book"))
    return MarketColumns({name: _columns(name, found) for name, found in rows.items() if found})


def _columns(name: str, rows: list[tuple[Any, ...]]) -> Table:
    order, stamps, *rest = zip(*rows, strict=True)
    whole = {"order": np.array(order, np.int64), "ts_event": np.array(stamps, np.int64)}
    return whole | {
        column: np.array(values, np.bool_ if column.startswith("is_") else np.float64)
        for column, values in zip(COLUMNS[name], rest, strict=True)
    }


def _applied(ladder: Ladder | None, message: BookSnapshot | BookDelta) -> Ladder | None:
    bids, asks = levels(message.bids, 1.0), levels(message.asks, -1.0)
    if isinstance(message, BookSnapshot):
        ladder = Ladder()
        ladder.bids.load(bids)
        ladder.asks.load(asks)
    elif ladder is not None:
        ladder.bids.apply(bids)
        ladder.asks.apply(asks)
    return ladder


def _best(ladder: Ladder, depth: int) -> tuple[list[float], ...]:
    """Return bid prices, bid sizes, ask prices and ask sizes of the best levels, each `depth` long."""
    found = []
    for side, sign in ((ladder.bids, 1.0), (ladder.asks, -1.0)):
        prices = [sign * key for key in side.keys[: -depth - 1 : -1]]
        missing = [0.0] * (depth - len(prices))
        found += [prices + missing, side.sizes[: -depth - 1 : -1] + missing]
    return tuple(found)
