"""What the recorded Binance spot tape proves about itself, seen through our feed. Figures: the recorder's own table."""

from __future__ import annotations

import os
from decimal import Decimal
from pathlib import Path

import pytest

from edgefleet.book import Book
from edgefleet.messages import BookDelta, BookSnapshot, Quote, Trade, encode
from edgefleet.stage import Output
from edgefleet.venues.binance.feed import BinanceFeed
from edgefleet.venues.binance.wire import is_depth_body
from edgefleet.venues.tape import TapeLine, read_tape

pytestmark = pytest.mark.data

INSTRUMENT = "BTC/USDT@sim"
NAMES = ("btcusdt_20240808.gz", "btcusdt_20240809.gz")


@pytest.fixture(scope="module")
def lines() -> list[TapeLine]:
    root = Path(os.environ.get("EDGEFLEET_TEST_DATA") or Path(__file__).parents[4] / "shared" / "data") / "binance_spot"
    if not root.is_dir():
        pytest.skip(f"no recorded data in {root}; name its folder in EDGEFLEET_TEST_DATA")
    return list(read_tape([root / name for name in NAMES]))


@pytest.fixture(scope="module")
def run(lines: list[TapeLine]) -> tuple[BinanceFeed, list[Output]]:
    feed = BinanceFeed("sim", ["BTC/USDT"])
    outputs = [out for line in lines for out in feed.on_line(line.stamp_ns, line.body, ts_init=line.stamp_ns)]
    return feed, outputs + feed.on_end(0)


def test_every_frame_is_accounted_for(run: tuple[BinanceFeed, list[Output]]) -> None:
    counts = run[0].counts

    assert (counts.frames, counts.trades, counts.quotes) == (99_573, 19_904, 73_174)
    assert (counts.depth_applied, counts.depth_stale) == (6_493, 2)
    assert (counts.book_gaps, counts.book_crossed, counts.trade_gaps, counts.undecodable) == (0, 0, 0, 0)


def test_prints_sum_to_the_known_volume_and_price(run: tuple[BinanceFeed, list[Output]]) -> None:
    trades = [out.message for out in run[1] if isinstance(out.message, Trade)]

    volume = sum((trade.quantity for trade in trades), Decimal(0))
    vwap = sum((trade.quantity * trade.price for trade in trades), Decimal(0)) / volume

    assert volume == Decimal("437.91552")
    assert float(vwap) == pytest.approx(61671.551606654, abs=1e-9)
    assert sum(trade.aggressor == "buy" for trade in trades) == 9_093


def test_rebuilt_top_equals_every_ticker_of_the_same_update(run: tuple[BinanceFeed, list[Output]]) -> None:
    messages = [out.message for out in run[1] if out.stream == "market"]
    tops = {}
    book = Book()
    for message in messages:
        if isinstance(message, BookSnapshot):
            book.load(message.bids, message.asks)
            tops[message.update_id] = book.top()
        elif isinstance(message, BookDelta):
            book.apply(message.bids, message.asks)
            assert not book.is_crossed
            tops[message.last_update_id] = book.top()

    shared = [quote for quote in messages if isinstance(quote, Quote) and quote.update_id in tops]

    assert len(shared) == 1_072
    for quote in shared:
        assert tops[quote.update_id] == (quote.bid, quote.bid_size, quote.ask, quote.ask_size)


def test_last_top_is_the_known_one(run: tuple[BinanceFeed, list[Output]]) -> None:
    last = [out.message for out in run[1] if isinstance(out.message, Quote)][-1]

    assert (last.bid, last.bid_size) == (Decimal("61602.01"), Decimal("1.67177"))
    assert (last.ask, last.ask_size) == (Decimal("61602.02"), Decimal("2.66795"))


def test_a_late_snapshot_changes_no_byte(lines: list[TapeLine]) -> None:
    head = lines[:2_000]
    body = next(line.body for line in head if is_depth_body(line.body))

    def outputs(snapshot_after: int) -> list[bytes]:
        feed = BinanceFeed("sim", ["BTC/USDT"])
        found: list[Output] = []
        for number, line in enumerate(head):
            if number == snapshot_after:
                found += feed.on_snapshot(INSTRUMENT, body, ts_init=1)
            if not is_depth_body(line.body):
                found += feed.on_frame(line.stamp_ns, line.body, ts_init=1)
        return [out.stream.encode() + encode(out.message) for out in found]

    assert outputs(0) == outputs(7) == outputs(1_500)
