"""Depth, sweeps and the statistics of a book equal their plain definitions, whatever was asked before."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefleet.book import Book, Side, imbalance, microprice, spread_bps
from edgefleet.messages import BookDelta, BookSnapshot
from edgefleet.venues.binance.feed import BinanceFeed
from edgefleet.venues.tape import read_tape

D = Decimal
Levels = list[tuple[Decimal, Decimal]]
levels = st.lists(st.tuples(st.integers(1, 300).map(Decimal), st.integers(0, 3).map(Decimal)), max_size=40)
asks = st.tuples(st.integers(1, 120), st.booleans())


def plain(batches: list[Levels], *, bids: bool) -> Levels:
    """The definition: the last size said of each price, zero meaning none; best first."""
    said = {price: size for batch in batches for price, size in batch}
    return sorted(((price, size) for price, size in said.items() if size), reverse=bids)


def plain_sweep(ladder: Levels, size: Decimal) -> tuple[Decimal, Decimal, Decimal | None]:
    """The definition: unit by unit from the best price."""
    units = [price for price, there in ladder for _ in range(int(there))][: int(size)]
    return D(len(units)), sum(units, D(0)), units[-1] if units else None


near = st.lists(st.tuples(st.integers(1, 12).map(Decimal), st.integers(0, 2).map(Decimal)), max_size=6)


@given(
    st.one_of(
        st.lists(st.tuples(levels, st.integers(0, 90)), max_size=12),
        st.lists(st.tuples(near, st.integers(0, 4)), min_size=10, max_size=40),  # at the edge of the window
    ),
    st.booleans(),
    st.integers(1, 8),
)
def test_the_best_levels_equal_the_head_of_all_of_them(steps: list[tuple[Levels, int]], bids: bool, width: int) -> None:
    side = Side(bids=bids)
    side._width = width  # a small window is emptied and cut often
    said: list[Levels] = []
    for batch, count in steps:
        side.apply(batch)
        said.append(batch)
        ladder = plain(said, bids=bids)

        assert list(side.levels(count)) == ladder[:count]
        assert side.depth(count) == sum(size for _, size in ladder[:count])
        assert list(side.levels()) == ladder
        assert side.best() == (ladder[0] if ladder else None)


@pytest.mark.parametrize("bids", [True, False])
def test_prices_that_leave_at_the_edge_of_what_is_kept_in_order_are_gone(bids: bool) -> None:
    side, worst_first = Side(bids=bids), list(range(1, 101)) if bids else list(range(100, 0, -1))
    side._width = 4
    side.apply([(D(price), D(1)) for price in worst_first])
    assert side.levels(1) == ((D(worst_first[-1]), D(1)),)

    side.apply([(D(worst_first[-4]), D(0))])
    side.apply([(D(price), D(0)) for price in worst_first[-3:]])

    assert side.levels(1) == ((D(worst_first[-5]), D(1)),)
    assert side.levels(2) == ((D(worst_first[-5]), D(1)), (D(worst_first[-6]), D(1)))


@given(st.lists(levels, min_size=1, max_size=6), st.booleans(), st.lists(st.integers(1, 200), min_size=1, max_size=4))
def test_a_sweep_takes_the_best_units_and_no_more_than_there_are(
    batches: list[Levels], bids: bool, sizes: list[int]
) -> None:
    side = Side(bids=bids)
    for batch in batches:
        side.apply(batch)
        for size in sizes:
            side.sweep(D(size))
    ladder = plain(batches, bids=bids)

    for size in sizes:
        assert side.sweep(D(size)) == plain_sweep(ladder, D(size))


@given(levels, st.lists(levels, max_size=4), st.booleans())
def test_a_book_loaded_anew_keeps_no_order_of_the_old_one(old: Levels, new: list[Levels], bids: bool) -> None:
    side = Side(bids=bids)
    side.apply(old)
    side.levels(1)

    side.load(dict(new[0]).items() if new else [])
    for batch in new[1:]:
        side.apply(batch)

    assert list(side.levels(5)) == plain(new, bids=bids)[:5]


def test_a_size_that_is_not_positive_is_refused() -> None:
    with pytest.raises(ValueError, match="must be positive, was 0"):
        Side(bids=True).sweep(D(0))


def test_a_book_too_thin_for_a_size_has_no_price_for_it() -> None:
    book = Book()
    book.load([(D(99), D(1))], [(D(101), D(2)), (D(102), D(2))])

    assert book.vwap_to("buy", D(3)) == D(304) / 3
    assert book.vwap_to("buy", D(4)) == D("101.5")
    assert book.vwap_to("buy", D("4.001")) is None
    assert book.asks.sweep(D(5)) == (D(4), D(406), D(102))
    assert book.vwap_to("sell", D(1)) == D(99)


def test_an_empty_book_has_no_statistics() -> None:
    book = Book()

    assert (book.mid, book.microprice, book.spread_bps, book.imbalance(5)) == (None, None, None, None)
    assert book.depth(5) == (D(0), D(0))
    assert book.bids.sweep(D(1)).average is None


def test_a_book_with_one_side_leans_wholly_to_it() -> None:
    book = Book()
    book.load([], [(D(101), D(2))])

    assert book.imbalance(3) == -1.0
    assert book.microprice is None


sizes = st.decimals(min_value=0, max_value=1_000, places=5)
prices = st.decimals(min_value=1, max_value=100_000, places=2)


@given(prices, sizes, prices, sizes)
def test_statistics_of_the_touch_stay_within_it(
    bid: Decimal, bid_size: Decimal, ask: Decimal, ask_size: Decimal
) -> None:
    lean, fair = imbalance(bid_size, ask_size), microprice(bid, bid_size, ask, ask_size)

    if not bid_size and not ask_size:
        assert lean is None
        assert fair is None
        return
    assert lean is not None
    assert fair is not None
    assert -1.0 <= lean <= 1.0
    assert float(min(bid, ask)) <= fair <= float(max(bid, ask))
    assert imbalance(ask_size, bid_size) == -lean
    spread = spread_bps(bid, ask)
    assert spread is not None
    assert (spread > 0) == (ask > bid)


@pytest.mark.data
def test_depth_over_the_recorded_tape_equals_the_sorted_book(recorded: Path) -> None:
    feed, book, seen = BinanceFeed("sim", ["BTC/USDT"]), Book(), 0
    names = ("btcusdt_20240808.gz", "btcusdt_20240809.gz")
    for line in read_tape([recorded / "binance_spot" / name for name in names]):
        for out in feed.on_line(line.stamp_ns, line.body, ts_init=line.stamp_ns):
            message = out.message
            if isinstance(message, BookSnapshot):
                book.load(message.bids, message.asks)
            elif isinstance(message, BookDelta):
                book.apply(message.bids, message.asks)
                seen += 1
                if seen % 50 == 0:
                    for side in (book.bids, book.asks):
                        everything = side.levels()
                        assert side.levels(10) == everything[:10]
                        assert side.sweep(D(3)) == _walked(everything, D(3))

    assert seen > 500


def _walked(ladder: tuple[tuple[Decimal, Decimal], ...], size: Decimal) -> tuple[Decimal, Decimal, Decimal | None]:
    filled, notional, worst = D(0), D(0), None
    for price, there in ladder:
        if filled < size:
            taken = min(there, size - filled)
            filled, notional, worst = filled + taken, notional + taken * price, price
    return filled, notional, worst
