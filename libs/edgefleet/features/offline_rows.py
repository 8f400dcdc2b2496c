"""What each moment that is asked for knows of the columns, worked out once for all features. Needs numpy."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from edgefleet.features.columns import Bools, Floats, Ints, MarketColumns
from edgefleet.features.offline_bars import BarColumns, bar_columns
from edgefleet.features.spec import GRID_NS, FeatureSpec
from edgefleet.stats.exact_columns import ExactSums

T = TypeVar("T", bound=np.generic)


@dataclass(frozen=True)
class Tops:
    """Usable tops in order, and what each row knows of them."""

    bid: Floats
    bid_size: Floats
    ask: Floats
    ask_size: Floats
    second: Ints
    first: Ints  # per top, the number of the first of its history
    last: Ints  # per row, the number of the newest; clipped to 0
    known: Bools  # per row, whether that one's history goes on
    is_now: Bools  # per row, whether it is the top of the moment

    @property
    def mid(self) -> Floats:
        return (self.bid + self.ask) / 2


@dataclass(frozen=True)
class Trades:
    """Trades in order, and what each row knows of them."""

    second: Ints
    first: Ints
    last: Ints
    known: Bools
    volume: ExactSums
    notional: ExactSums
    signed: ExactSums


class Rows:
    """The moments that are asked for, and what is worked out once for all features."""

    def __init__(self, columns: MarketColumns, spec: FeatureSpec, seen: Ints, at: Ints) -> None:
        self.columns, self.spec, self.at = columns, spec, at
        self.seen = np.maximum(seen, 0)  # place of the newest message
        self.second = seconds_of(at)
        self.heard = np.zeros(len(at), np.bool_)
        if len(columns.now):
            self.heard = (seen >= 0) & (at - columns.now[self.seen] <= spec.max_gap_ns)
        holes = np.zeros(len(columns.now), np.bool_)
        holes[1:] = np.diff(columns.now) > spec.max_gap_ns
        breaks, book_only = columns.places["breaks"], columns.tables["breaks"]["is_book_only"].astype(np.bool_)
        book_breaks = np.zeros(len(columns.now), np.int64)
        book_breaks[breaks] = 1
        all_breaks = holes.astype(np.int64)
        all_breaks[breaks[~book_only]] = 1
        # Which unbroken history each place is in, for each kind of word.
        self.book_history = np.cumsum(book_breaks)
        self.trade_history = np.cumsum(all_breaks)
        self.book_has_top = self._book_has_top()
        self.top_history = np.cumsum(all_breaks | (book_breaks & self.book_has_top))

    def _book_has_top(self) -> Bools:
        """Return, for each place, whether tops come from the book there."""
        count = len(self.columns.now)
        if self.spec.top_from != "auto":
            return np.full(count, self.spec.top_from == "book")
        quotes = self.columns.places["quotes"]
        first = np.full(count + 1, count)  # of each history, the place of its first quote
        np.minimum.at(first, self.trade_history[quotes], quotes)
        return np.arange(count) <= first[self.trade_history]

    def newest(self, places: Ints) -> Ints:
        """Return, per row, the number of the newest of some messages; -1 where none has come."""
        return np.searchsorted(places, self.seen, side="right") - 1

    @cached_property
    def tops(self) -> Tops:
        places, bid, bid_size, ask, ask_size = self._told_tops()
        usable = (bid > 0) & (bid < ask)
        good = places[usable]
        now = self.columns.now[good]
        begins = np.ones(len(good), np.bool_)
        history = self.top_history[good]
        begins[1:] = (history[1:] != history[:-1]) | (np.diff(now) > self.spec.max_gap_ns)
        newest, newest_usable = self.newest(places), self.newest(good)
        last = np.maximum(newest_usable, 0)
        known = newest_usable >= 0
        is_now = np.zeros(len(self.at), np.bool_)
        if len(good):
            goes_on = self.top_history[self.seen] == history[last]
            known &= goes_on & (self.at - now[last] <= self.spec.max_gap_ns)
            is_now = known & usable[np.maximum(newest, 0)]
        return Tops(
            bid=bid[usable],
            bid_size=bid_size[usable],
            ask=ask[usable],
            ask_size=ask_size[usable],
            second=seconds_of(now),
            first=_first(begins),
            last=last,
            known=known,
            is_now=is_now,
        )

    def _told_tops(self) -> tuple[Ints, Floats, Floats, Floats, Floats]:
        """Return the place, best bid, its size, best ask and its size of every word on the top, in order."""
        quotes, depth = self.columns.places["quotes"], self.columns.places["depth"]
        told = np.full(len(quotes), self.spec.top_from != "book"), self.book_has_top[depth]
        places = np.concatenate((quotes[told[0]], depth[told[1]]))
        by_place = np.argsort(places)
        of_quotes, of_depth = (best(self.columns, name) for name in ("quotes", "depth"))
        bid, bid_size, ask, ask_size = (
            np.concatenate((a[told[0]], b[told[1]]))[by_place] for a, b in zip(of_quotes, of_depth, strict=True)
        )
        return places[by_place], bid, bid_size, ask, ask_size

    @cached_property
    def trades(self) -> Trades:
        table, places = self.columns.tables["trades"], self.columns.places["trades"]
        history = self.trade_history[places]
        begins = np.ones(len(places), np.bool_)
        begins[1:] = history[1:] != history[:-1]
        newest = self.newest(places)
        last = np.maximum(newest, 0)
        known = newest >= 0
        if len(places):
            known &= self.trade_history[self.seen] == history[last]
        quantity = table["quantity"].astype(np.float64)
        return Trades(
            second=seconds_of(self.columns.now[places]),
            first=_first(begins),
            last=last,
            known=known,
            volume=ExactSums(quantity),
            notional=ExactSums(table["price"] * quantity),
            signed=ExactSums(np.where(table["is_buy"].astype(np.bool_), quantity, -quantity)),
        )

    @cached_property
    def flow(self) -> ExactSums:
        return ExactSums(_flow(self.tops))

    @cached_property
    def grid(self) -> Grid:
        return Grid(self.tops, self.spec.max_gap_s, int(self.second.max(initial=0)))

    @cached_property
    def bars(self) -> BarColumns:
        return bar_columns(self.columns, self.spec)


def seconds_of(stamps: Ints) -> Ints:
    """Return the number of the second that each stamp (ns) falls in, its end included."""
    return -(-stamps // GRID_NS)


def best(columns: MarketColumns, source: str) -> tuple[Floats, Floats, Floats, Floats]:
    """Return best bid, its size, best ask and its size of each row of `quotes` or of `depth`."""
    table = columns.tables[source]
    if source == "quotes":
        return table["bid"], table["bid_size"], table["ask"], table["ask_size"]
    bid, ask = table["bid_price"][:, 0], table["ask_price"][:, 0]
    return bid, table["bid_size"][:, 0], ask, table["ask_size"][:, 0]


def _first(begins: Bools) -> Ints:
    """Return, for each of some messages, the number of the first of its history."""
    return np.maximum.accumulate(np.where(begins, np.arange(len(begins)), 0))


def _flow(tops: Tops) -> Floats:
    """Return Cont, Kukanov and Stoikov's e of each usable top against the one before, 0 where a history begins."""
    e = np.zeros(len(tops.bid))
    bid, bid_size, ask, ask_size = tops.bid, tops.bid_size, tops.ask, tops.ask_size
    e[1:] += np.where(bid[1:] >= bid[:-1], bid_size[1:], 0.0)
    e[1:] -= np.where(bid[1:] <= bid[:-1], bid_size[:-1], 0.0)
    e[1:] -= np.where(ask[1:] <= ask[:-1], ask_size[1:], 0.0)
    e[1:] += np.where(ask[1:] >= ask[:-1], ask_size[:-1], 0.0)
    e[tops.first == np.arange(len(e))] = 0.0
    return e


class Grid:
    """Log returns of the mid from second to second, history after history."""

    def __init__(self, tops: Tops, max_gap_s: int, last: int) -> None:
        starts = np.flatnonzero(tops.first == np.arange(len(tops.first)))
        ends = np.append(starts[1:], len(tops.first))[: len(starts)]
        untils = np.append(tops.second[starts[1:]], last)[: len(starts)]  # nothing is asked of a history after it
        self.offset = np.zeros(len(tops.first), np.int64)  # per top, where the returns of its history begin
        changes: list[float] = []
        for start, end, until in zip(starts, ends, untils, strict=True):
            self.offset[start:end] = len(changes)
            seconds = np.arange(tops.second[start], min(tops.second[end - 1] + max_gap_s, until) + 1)
            mids = tops.mid[start:end][np.searchsorted(tops.second[start:end], seconds, side="right") - 1].tolist()
            # `math.log` and not numpy's: the two differ in the last bit.
            changes += [math.log(b / a) if a != b else 0.0 for a, b in pairwise(mids)]
        returns = np.array(changes, np.float64)
        self.sums, self.squares = ExactSums(returns), ExactSums(returns * returns)


def at(values: npt.NDArray[T], numbers: Ints) -> npt.NDArray[T]:
    """Return ``values[numbers]``; zeros where there are no values at all."""
    return values[numbers] if len(values) else np.zeros(len(numbers), values.dtype)
