"""TAQ is cleaned as `highfrequency` cleans it: its own figures on its own sample, and plain definitions of each rule.

Goldens: the package's own tests (tests/testthat, as of 2021: there quotes lag by 2 s by default, odd lots of sweeps are
no ordinary trades, and hours are not looked at).
"""

from __future__ import annotations

import csv
import gzip
import statistics
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefleet.book import taq
from edgefleet.book.taq.rules import rolling_median
from edgefleet.clock import NS_PER_S

DAY = "2018-01-02"


@pytest.fixture(scope="module")
def quotes(recorded: Path) -> taq.Quotes:
    with gzip.open(recorded / "stocks_taq" / "quotes.csv.gz", "rt") as file:
        return taq.quotes(csv.DictReader(file))


@pytest.fixture(scope="module")
def trades(recorded: Path) -> taq.Trades:
    with gzip.open(recorded / "stocks_taq" / "trades.csv.gz", "rt") as file:
        return taq.trades(csv.DictReader(file))


def quote_rows(*rows: tuple[float, float, float, int, int], venue: str = "N") -> taq.Quotes:
    """Return quotes of (seconds after 14:30 UTC, bid, ask, bid size, ask size)."""
    start = np.datetime64(f"{DAY}T14:30:00", "ns")
    return taq.quotes(
        {
            "DT": str(start + np.timedelta64(round(at * 1e9), "ns")).replace("T", " "),
            "EX": venue,
            "BID": str(bid),
            "OFR": str(ask),
            "BIDSIZ": str(bid_size),
            "OFRSIZ": str(ask_size),
        }
        for at, bid, ask, bid_size, ask_size in rows
    )


def trade_rows(*rows: tuple[float, float, int, str, int]) -> taq.Trades:
    """Return trades of (seconds after 14:30 UTC, price, size, condition, correction)."""
    start = np.datetime64(f"{DAY}T14:30:00", "ns")
    return taq.trades(
        {
            "DT": str(start + np.timedelta64(round(at * 1e9), "ns")).replace("T", " "),
            "EX": "N",
            "PRICE": str(price),
            "SIZE": str(size),
            "COND": condition,
            "CORR": str(correction),
        }
        for at, price, size, condition, correction in rows
    )


@pytest.mark.data
def test_quotes_of_the_sample_come_to_the_packages_figures(quotes: taq.Quotes) -> None:
    new_york = taq.select_exchange(quotes, "N")

    assert len(quotes) == 131_401
    assert len(new_york) == 94_422
    assert len(taq.no_zero_quotes(new_york)) == 94_422
    assert len(taq.no_large_spreads(taq.no_zero_quotes(new_york))) == 94_422
    assert len(np.unique(new_york.ts)) == 46_566
    for selection in ("median", "max_volume", "weighted_average"):
        assert len(taq.merge_quotes(new_york, selection)) == 46_566
    assert len(taq.no_outlying_quotes(taq.merge_quotes(new_york))) == 46_566
    assert len(taq.no_outlying_quotes(new_york)) == len(taq.no_outlying_quotes(new_york, kind="advanced"))


@pytest.mark.data
def test_what_each_rule_takes_from_the_sample_is_told(quotes: taq.Quotes, trades: taq.Trades) -> None:
    cleaned, report = taq.clean_quotes(quotes, "N")
    traded, told = taq.clean_trades(trades, "N")

    assert report.left[0] == ("source", 131_401)
    assert report.removed == {
        "no_zero_quotes": 96,
        "exchange_hours_only": 776,
        "select_exchange": 36_109,
        "no_negative_spreads": 0,
        "no_large_spreads": 0,
        "merge_quotes": 47_856,  # 46,564: two stamps are after 16:00
        "no_outlying_quotes": 0,
    }
    assert len(cleaned) == 46_564
    assert report.left[-1] == ("no_outlying_quotes", 46_564)
    assert told.left[-1] == ("merge_trades", len(traded)) == ("merge_trades", 7_168)
    assert len(taq.no_trades_outside_quotes(traded, cleaned)) == 7_168


@pytest.mark.data
def test_trades_of_the_sample_come_to_the_packages_figures(quotes: taq.Quotes, trades: taq.Trades) -> None:
    new_york = taq.select_exchange(quotes, "N")
    merged = taq.merge_quotes(new_york)
    ordinary = taq.ordinary_conditions(
        taq.no_corrections(taq.select_exchange(trades, "N")), ("", "@", "E", "@E", "F", "@F", "I", "@I")
    )

    assert (taq.busiest_exchange(quotes), taq.busiest_exchange(trades)) == ("N", "D")
    assert len(taq.merge_trades(ordinary)) == 6_140
    assert len(taq.no_trades_outside_quotes(trades, merged, lag_s=2)) == 72_035


@pytest.mark.data
def test_every_pair_of_trade_and_quote_of_one_stamp_comes_to_the_packages_figure(
    quotes: taq.Quotes, trades: taq.Trades
) -> None:
    """Where a quote has the very stamp of a trade the package's join makes a row of each such pair: 5,502 rows."""
    around, arca = taq.select_exchange(quotes, "N"), taq.select_exchange(trades, "P")
    stamps = around.ts + 2 * NS_PER_S
    stamps[[0, int(np.searchsorted(around.ts, 1_514_937_600 * NS_PER_S))]] -= 2 * NS_PER_S  # the first of each day
    rows = 0
    for price, ts in zip(arca.price, arca.ts, strict=True):
        after = int(np.searchsorted(stamps, ts, side="right"))
        begin = int(np.searchsorted(stamps, ts, side="left"))
        for i in range(begin if begin < after else after - 1, after):
            spread = around.ask[i] - around.bid[i]
            rows += i >= 0 and around.bid[i] - spread <= price <= around.ask[i] + spread

    assert rows == 5_502
    assert len(taq.no_trades_outside_quotes(arca, around, lag_s=2)) == 5_391


cents = st.integers(1, 400).map(lambda n: n / 4)  # quarters: halves of sums are exact
sizes = st.integers(1, 9)
rows = st.lists(st.tuples(st.integers(0, 8).map(float), cents, cents, sizes, sizes), max_size=40)


@given(rows)
def test_one_quote_per_stamp_has_the_medians_of_its_prices_and_the_sum_of_its_sizes(
    table: list[tuple[float, float, float, int, int]],
) -> None:
    merged = taq.merge_quotes(quote_rows(*table))
    groups: dict[float, list[tuple[float, float, float, int, int]]] = {}
    for row in sorted(table, key=lambda row: row[0]):
        groups.setdefault(row[0], []).append(row)

    assert merged.bid.tolist() == [statistics.median(r[1] for r in group) for group in groups.values()]
    assert merged.ask.tolist() == [statistics.median(r[2] for r in group) for group in groups.values()]
    assert merged.bid_size.tolist() == [sum(r[3] for r in group) for group in groups.values()]
    assert merged.ask_size.tolist() == [sum(r[4] for r in group) for group in groups.values()]


@given(rows)
def test_one_quote_per_stamp_by_size_equals_its_definition(table: list[tuple[float, float, float, int, int]]) -> None:
    largest, weighted = (taq.merge_quotes(quote_rows(*table), how) for how in ("max_volume", "weighted_average"))
    groups: dict[float, list[tuple[float, float, float, int, int]]] = {}
    for row in sorted(table, key=lambda row: row[0]):
        groups.setdefault(row[0], []).append(row)

    for i, group in enumerate(groups.values()):
        most = max(r[3] for r in group)
        assert largest.bid[i] == max(r[1] for r in group if r[3] == most)
        assert weighted.ask[i] == pytest.approx(sum(r[2] * r[4] for r in group) / sum(r[4] for r in group))


@given(st.lists(cents, min_size=1, max_size=40), st.sampled_from([2, 4, 10]))
def test_a_median_of_neighbours_equals_its_definition(mids: list[float], window: int) -> None:
    half = window // 2
    values = np.array(mids)

    for before, after in ((half, half), (window, 0), (0, window)):
        rolled = rolling_median(values, before, after)
        for i in range(len(mids)):
            others = mids[max(0, i - before) : i] + mids[i + 1 : i + 1 + after]
            assert (rolled[i] == statistics.median(others)) if others else np.isnan(rolled[i])


def test_an_outlying_quote_is_taken_away_and_a_jump_of_the_price_is_not_by_the_advanced_rule() -> None:
    outlier = [(float(i), 100 + i % 3 / 100, 100.02 + i % 3 / 100, 1, 1) for i in range(40)]
    outlier[20] = (20.0, 150.0, 150.02, 1, 1)
    jump = [
        (float(i), (100 if i < 20 else 150) + i % 3 / 100, (100.02 if i < 20 else 150.02) + i % 3 / 100, 1, 1)
        for i in range(40)
    ]

    for kind in ("standard", "advanced"):
        left = taq.no_outlying_quotes(quote_rows(*outlier), window=10, kind=kind)
        assert 20 not in left.row
        assert len(left) == 39
    assert len(taq.no_outlying_quotes(quote_rows(*jump), window=10, kind="advanced", deviations=1)) == 40


def test_a_day_of_one_price_stays_whole() -> None:
    assert len(taq.no_outlying_quotes(quote_rows(*[(float(i), 100, 101, 1, 1) for i in range(9)]))) == 9
    assert len(taq.no_outlying_quotes(quote_rows((0, 100, 101, 1, 1)))) == 0


def test_a_spread_of_fifty_medians_of_its_own_day_is_taken_away() -> None:
    rows = quote_rows(
        *[(float(i), 100, 100.25, 1, 1) for i in range(9)], (9.0, 100, 112.5, 1, 1), (10.0, 100, 112.25, 1, 1)
    )

    assert taq.no_large_spreads(rows).row.tolist() == [*range(9), 10]


def test_zero_crossed_and_locked_quotes_are_taken_away() -> None:
    rows = quote_rows((0, 0, 10, 1, 1), (1, 10, 0, 1, 1), (2, 11, 10, 1, 1), (3, 10, 10, 1, 1), (4, 10, 11, 1, 1))

    assert taq.no_zero_quotes(rows).row.tolist() == [2, 3, 4]
    assert taq.no_negative_spreads(rows).row.tolist() == [0, 4]


def test_corrected_special_and_unpriced_trades_are_taken_away() -> None:
    rows = trade_rows((0, 10, 1, " F I", 0), (1, 10, 1, "4 B", 0), (2, 10, 1, "", 8), (3, 0, 1, "", 0))

    assert taq.ordinary_conditions(rows).row.tolist() == [0, 2, 3]
    assert taq.no_corrections(rows).row.tolist() == [0, 1, 3]
    assert taq.no_zero_prices(rows).row.tolist() == [0, 1, 2]


def test_one_trade_per_stamp_keeps_the_sum_or_the_largest_size() -> None:
    rows = trade_rows((0, 10, 1, "", 0), (0, 11, 3, "", 0), (0, 20, 2, "", 0), (1, 9, 5, "", 0))

    median, largest = taq.merge_trades(rows), taq.merge_trades(rows, "max_volume")

    assert (median.price.tolist(), median.size.tolist(), median.row.tolist()) == ([11, 9], [6, 5], [2, 3])
    assert (largest.price.tolist(), largest.size.tolist()) == ([11, 9], [3, 5])


def test_a_trade_may_be_a_spread_outside_the_quote_that_stood_and_no_more() -> None:
    around = quote_rows((1, 100, 101, 1, 1), (3, 200, 201, 1, 1))
    rows = trade_rows(
        (0, 100, 1, "", 0), (1, 102, 1, "", 0), (2, 99, 1, "", 0), (2.5, 98.99, 1, "", 0), (3, 100, 1, "", 0)
    )

    assert taq.no_trades_outside_quotes(rows, around).row.tolist() == [1, 2]
    assert taq.no_trades_outside_quotes(rows, around, lag_s=2).row.tolist() == [1, 2, 4]


def test_hours_are_those_of_new_york_in_winter_and_in_summer() -> None:
    def at(*stamps: str) -> taq.Quotes:
        usual = {"EX": "N", "BID": "1", "OFR": "2", "BIDSIZ": "1", "OFRSIZ": "1"}
        return taq.quotes({"DT": stamp, **usual} for stamp in stamps)

    winter = at(
        "2018-01-02 14:29:59.999999999", "2018-01-02 14:30:00", "2018-01-02 21:00:00", "2018-01-02 21:00:00.000001"
    )
    summer = at("2018-07-02 13:29:59", "2018-07-02 13:30:00", "2018-07-02 20:00:00", "2018-07-02 20:30:00")

    assert taq.exchange_hours_only(winter).row.tolist() == [1, 2]
    assert taq.exchange_hours_only(summer).row.tolist() == [1, 2]


def test_taqs_own_files_are_in_wall_time() -> None:
    usual = {"EX": "N", "BID": "1", "OFR": "2", "BIDSIZ": "1", "OFRSIZ": "1"}
    rows = [{"DT": f"{day} 09:30:00.5", **usual} for day in ("2018-01-02", "2018-07-02")]

    read = taq.quotes(rows, "new_york")

    assert [str(np.datetime64(int(ts), "ns"))[:21] for ts in read.ts] == [
        "2018-01-02T14:30:00.5",
        "2018-07-02T13:30:00.5",
    ]
    assert (taq.wall_time(read.ts) == taq.quotes(rows).ts).all()


def test_no_rows_are_cleaned_to_no_rows() -> None:
    cleaned, report = taq.clean_quotes(quote_rows(), "N", kind="advanced")
    traded, _ = taq.clean_trades(trade_rows(), "N")

    assert (len(cleaned), len(traded), taq.busiest_exchange(cleaned)) == (0, 0, None)
    assert set(report.removed.values()) == {0}
    assert len(taq.no_trades_outside_quotes(trade_rows((0, 1, 1, "", 0)), quote_rows())) == 0


def test_rows_that_do_not_read_are_refused() -> None:
    with pytest.raises(KeyError, match="OFR"):
        taq.quotes([{"DT": f"{DAY} 10:00:00", "EX": "N", "BID": "1", "BIDSIZ": "1", "OFRSIZ": "1"}])
    with pytest.raises(ValueError, match="window of neighbours is a positive even number, was 3"):
        taq.no_outlying_quotes(quote_rows(), window=3)


quoted = st.lists(st.tuples(st.integers(0, 9).map(float), cents, st.integers(0, 4)), max_size=8)
traded = st.lists(st.tuples(st.integers(0, 9).map(float), st.integers(1, 40).map(lambda n: n / 4)), max_size=20)


@given(quoted, traded)
def test_who_took_is_said_by_the_mid_and_at_the_mid_by_the_last_other_price(
    quoted: list[tuple[float, float, int]], traded: list[tuple[float, float]]
) -> None:
    around = quote_rows(*[(at, bid, bid + spread, 1, 1) for at, bid, spread in quoted])
    rows = trade_rows(*[(at, price, 1, "", 0) for at, price in traded])

    said = taq.aggressors(rows, around)

    for i, (price, ts) in enumerate(zip(rows.price, rows.ts, strict=True)):
        stood = [(bid + ask) / 2 for bid, ask, at in zip(around.bid, around.ask, around.ts, strict=True) if at <= ts]
        others = [other for other in rows.price[:i] if other != price]
        beside = stood[-1] if stood and stood[-1] != price else (others[-1] if others else price)
        # The last change of the price decides: everything after the last other price was equal.
        assert said[i] == ("sell" if price < beside else "buy")
