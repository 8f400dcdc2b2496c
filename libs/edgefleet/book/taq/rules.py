"""Cleaning of NYSE TAQ quotes and trades by published rules, on columns. Loads numpy; opens no file, knows no stream.

The rules are P1-P3, Q1-Q4 and T1-T4 of Barndorff-Nielsen et al. [1]_ in the form, the order and with the constants of
the R package `highfrequency` [2]_, so that results can be compared row by row. Where the two differ we follow the
package and say so.

References
----------
.. [1] O. E. Barndorff-Nielsen, P. R. Hansen, A. Lunde, N. Shephard, "Realized kernels in practice: trades and quotes",
   Econometrics Journal 12 (2009), C1-C32, section 3.
.. [2] K. Boudt, O. Kleen, E. Sjoerup, "Analyzing intraday financial data in R: the highfrequency package", Journal of
   Statistical Software 104 (2022).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edgefleet.book.sessions import DAY_NS
from edgefleet.book.taq.columns import (
    Floats,
    Ints,
    Quotes,
    Rows,
    Trades,
    begins_of,
    by_day,
    lasts_of,
    take,
    wall_time,
    where,
)
from edgefleet.clock import NS_PER_S

Selection = Literal["median", "max_volume", "weighted_average"]

OPEN_S, CLOSE_S = 34_200, 57_600  # 09:30 and 16:00
LARGE_SPREAD = 50.0  # times the day's median
OUTLIER_DEVIATIONS = 10.0
OUTLIER_WINDOW = 50
# Sale conditions of an ordinary trade: none, regular, automatic execution, intermarket sweep, odd lot.
ORDINARY = ("", "@", "E", "@E", "F", "FI", "@F", "@FI", "I", "@I")
_SAME = 1e-6  # prices are of four decimals at most: what is nearer is equal
_NORMAL = 1.4826  # makes the median absolute deviation of a normal sample its standard deviation


@dataclass(frozen=True)
class Report:
    """How many rows were left after each rule, in order; the first is what came in."""

    left: tuple[tuple[str, int], ...]

    @property
    def removed(self) -> dict[str, int]:
        """Return what each rule took away."""
        return {rule: before - after for (_, before), (rule, after) in zip(self.left, self.left[1:], strict=False)}


# --- rules that take rows away


def exchange_hours_only(rows: Rows, open_s: int = OPEN_S, close_s: int = CLOSE_S) -> Rows:
    """Return rows stamped within the hours of New York's clocks, both ends included (P1)."""
    second = (wall_time(rows.ts) % DAY_NS) / NS_PER_S
    return where(rows, (second >= open_s) & (second <= close_s))


def no_zero_quotes(rows: Quotes) -> Quotes:
    """Return quotes with both prices (P2)."""
    return where(rows, (rows.bid != 0) & (rows.ask != 0))


def no_zero_prices(rows: Trades) -> Trades:
    """Return trades with a price (P2)."""
    return where(rows, rows.price != 0)


def select_exchange(rows: Rows, venues: Collection[str]) -> Rows:
    """Return rows of the named venues (P3)."""
    return where(rows, np.isin(rows.venue, list(venues)))


def busiest_exchange(rows: Quotes | Trades) -> str | None:
    """Return the venue with the most volume, of quotes the sum of both sizes; None of no rows."""
    sizes = rows.size if isinstance(rows, Trades) else rows.bid_size + rows.ask_size
    venues, inverse = np.unique(rows.venue, return_inverse=True)
    return str(venues[np.argmax(np.bincount(inverse, weights=sizes))]) if len(rows) else None


def no_negative_spreads(rows: Quotes) -> Quotes:
    """Return quotes whose ask is above their bid (Q2, and locked quotes as well)."""
    return where(rows, rows.ask > rows.bid)


def no_large_spreads(rows: Quotes, times: float = LARGE_SPREAD) -> Quotes:
    """Return quotes whose spread is below `times` the median spread of their day (Q3)."""
    spread = rows.ask - rows.bid
    return where(rows, spread < times * by_day(rows.ts, spread, np.median))


def no_outlying_quotes(
    rows: Quotes,
    deviations: float = OUTLIER_DEVIATIONS,
    window: int = OUTLIER_WINDOW,
    kind: Literal["standard", "advanced"] = "standard",
) -> Quotes:
    """Return quotes whose mid is near the median of its neighbours (Q4).

    A mid that equals that median stays, also on a day whose deviation is zero (the package takes the whole day away); a
    day's only quote has no neighbours to vouch for it and goes.

    Parameters
    ----------
    deviations
        How many median absolute deviations of the whole day it may be away (the paper takes the mean absolute deviation
        of the window).
    window
        How many neighbours, an even number; fewer at the ends of a day.
    kind
        `standard` looks at as many before as after, without the quote itself; `advanced` at those, the ones before and
        the ones after, and takes the nearest median, so that a jump of the price is no outlier.

    Raises
    ------
    ValueError
        If the window is odd or not positive.
    """
    if window < 2 or window % 2:
        raise ValueError(f"a window of neighbours is a positive even number, was {window}")
    mid = (rows.bid + rows.ask) / 2
    away = by_day(rows.ts, mid, lambda mids: _from_neighbours(mids, window, kind))
    return where(rows, (away < deviations * by_day(rows.ts, mid, _deviation)) | (away == 0))


def no_corrections(rows: Trades) -> Trades:
    """Return trades that were not corrected, cancelled or changed (T1)."""
    return where(rows, rows.correction == 0)


def ordinary_conditions(rows: Trades, ordinary: Collection[str] = ORDINARY) -> Trades:
    """Return trades with an ordinary sale condition (T2)."""
    return where(rows, np.isin(rows.condition, list(ordinary)))


def no_trades_outside_quotes(rows: Trades, around: Quotes, lag_s: float = 0.0) -> Trades:
    """Return trades no further outside the quote that stood at their stamp than its spread (T4).

    The quote is the last one stamped no later; trades before the first quote are taken away.

    Parameters
    ----------
    lag_s
        How much earlier quotes are stamped than trades: 2 s in data before 2010, when trades were reported by hand. A
        day's first quote keeps its stamp.
    """
    stamps = around.ts + int(lag_s * NS_PER_S)
    first = begins_of(wall_time(around.ts) // DAY_NS)
    stamps[first] = around.ts[first]
    if not len(around):
        return where(rows, np.zeros(len(rows), dtype=np.bool_))
    at = np.searchsorted(stamps, rows.ts, side="right") - 1
    bid, ask = around.bid[at], around.ask[at]
    return where(rows, (at >= 0) & (rows.price <= ask + (ask - bid)) & (rows.price >= bid - (ask - bid)))


# --- rules that merge rows


def merge_quotes(rows: Quotes, selection: Selection = "median") -> Quotes:
    """Return one quote per stamp (Q1): medians, the prices of the largest sizes, or weighted by size; sizes are summed.

    Of several largest sizes the highest price is taken, as the package does.
    """
    begins = begins_of(rows.ts)
    if not len(begins):
        return rows
    bid_size, ask_size = np.add.reduceat(rows.bid_size, begins), np.add.reduceat(rows.ask_size, begins)
    bid = _merged(rows.bid, rows.bid_size, begins, selection)
    ask = _merged(rows.ask, rows.ask_size, begins, selection)
    return replace(take(rows, lasts_of(begins, len(rows))), bid=bid, bid_size=bid_size, ask=ask, ask_size=ask_size)


def merge_trades(rows: Trades, selection: Selection = "median") -> Trades:
    """Return one trade per stamp (T3); sizes are summed, but `max_volume` keeps the largest, as the package does."""
    begins = begins_of(rows.ts)
    if not len(begins):
        return rows
    size = (np.maximum if selection == "max_volume" else np.add).reduceat(rows.size, begins)
    price = _merged(rows.price, rows.size, begins, selection)
    return replace(take(rows, lasts_of(begins, len(rows))), price=price, size=size)


# --- all of them


def clean_quotes(
    rows: Quotes,
    venues: Collection[str],
    *,
    selection: Selection = "median",
    kind: Literal["standard", "advanced"] = "standard",
) -> tuple[Quotes, Report]:
    """Return the quotes of a venue after P1-P3 and Q1-Q4, in the package's order, and what each rule left."""
    return _through(
        rows,
        {
            "no_zero_quotes": no_zero_quotes,
            "exchange_hours_only": exchange_hours_only,
            "select_exchange": lambda q: select_exchange(q, venues),
            "no_negative_spreads": no_negative_spreads,
            "no_large_spreads": no_large_spreads,
            "merge_quotes": lambda q: merge_quotes(q, selection),
            "no_outlying_quotes": lambda q: no_outlying_quotes(q, kind=kind),
        },
    )


def clean_trades(rows: Trades, venues: Collection[str], *, selection: Selection = "median") -> tuple[Trades, Report]:
    """Return the trades of a venue after P1-P3 and T1-T3, in the package's order, and what each rule left.

    T4 needs cleaned quotes: `no_trades_outside_quotes`.
    """
    return _through(
        rows,
        {
            "no_zero_prices": no_zero_prices,
            "exchange_hours_only": exchange_hours_only,
            "select_exchange": lambda t: select_exchange(t, venues),
            "no_corrections": no_corrections,
            "ordinary_conditions": ordinary_conditions,
            "merge_trades": lambda t: merge_trades(t, selection),
        },
    )


def _through(rows: Rows, rules: Mapping[str, Callable[[Rows], Rows]]) -> tuple[Rows, Report]:
    left = [("source", len(rows))]
    for name, rule in rules.items():
        rows = rule(rows)
        left.append((name, len(rows)))
    return rows, Report(tuple(left))


# --- what is not written there


def aggressors(rows: Trades, around: Quotes) -> NDArray[np.str_]:
    """Return `buy` or `sell` of each trade by Lee and Ready: TAQ does not say who took [3]_.

    Above the mid of the quote that stood a trade was a buy, below it a sell; at the mid, or before the first quote, it
    goes by the last price that was different: up is a buy. A trade with nothing to go by is a buy.

    References
    ----------
    .. [3] C. M. C. Lee, M. J. Ready, "Inferring trade direction from intraday data", Journal of Finance 46 (1991).
    """
    sides = np.zeros(len(rows), dtype=np.int64)
    if len(around):
        at = np.searchsorted(around.ts, rows.ts, side="right") - 1
        off = 2 * rows.price - (around.bid[at] + around.ask[at])
        sides = np.where((at >= 0) & (np.abs(off) > _SAME), np.sign(off), 0).astype(np.int64)
    tick = np.sign(np.diff(rows.price, prepend=rows.price[:1])).astype(np.int64)
    moved = np.maximum.accumulate(np.where(tick != 0, np.arange(len(rows)), -1)) if len(rows) else tick
    sides = np.where(sides == 0, np.where(moved >= 0, tick[moved], 1) if len(rows) else 1, sides)
    return np.where(sides < 0, "sell", "buy")


def _deviation(values: Floats) -> float:
    return float(_NORMAL * np.median(np.abs(values - np.median(values))))


def _merged(prices: Floats, sizes: Floats, begins: Ints, selection: Selection) -> Floats:
    if selection == "weighted_average":
        merged: Floats = np.add.reduceat(prices * sizes, begins) / np.add.reduceat(sizes, begins)
        return merged
    counts = lasts_of(begins, len(prices)) - begins + 1
    group = np.repeat(np.arange(len(begins)), counts)
    if selection == "max_volume":
        largest = sizes == np.maximum.reduceat(sizes, begins)[group]
        return np.maximum.reduceat(np.where(largest, prices, -np.inf), begins)
    ordered = prices[np.lexsort((prices, group))]
    return (ordered[begins + (counts - 1) // 2] + ordered[begins + counts // 2]) / 2


def _from_neighbours(mids: Floats, window: int, kind: Literal["standard", "advanced"]) -> Floats:
    """Return how far each mid is from the median of its neighbours, NaN where it has none."""
    half = window // 2
    away = np.abs(mids - rolling_median(mids, half, half))
    if kind == "advanced":
        for before, after in ((window, 0), (0, window)):
            away = np.fmin(away, np.abs(mids - rolling_median(mids, before, after)))
    return away


def rolling_median(values: Floats, before: int, after: int) -> Floats:
    """Return the median of so many values before and after each, itself left out; fewer at the ends."""
    padded = np.concatenate([np.full(before, np.nan), values, np.full(after, np.nan)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, before + after + 1)
    others = np.delete(windows, before, axis=1)
    count = np.count_nonzero(~np.isnan(others), axis=1)
    others.sort(axis=1)  # NaN comes last
    at = np.arange(len(values))
    low, high = np.maximum(count - 1, 0) // 2, count // 2
    medians: Floats = np.where(
        count > 0, (others[at, low] + others[at, np.minimum(high, others.shape[1] - 1)]) / 2, np.nan
    )
    return medians
