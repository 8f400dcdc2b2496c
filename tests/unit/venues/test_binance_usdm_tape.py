"""What the recorded USD-M tape proves about itself, seen through our feed. Figures: the recorder's own table."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from edgefleet.book import Book
from edgefleet.messages import BookDelta, BookSnapshot, Quote, Trade
from edgefleet.stage import Output
from edgefleet.venues.binance.usdm import DIALECT, UsdmFeed
from edgefleet.venues.binance.wire import is_depth_body
from edgefleet.venues.tape import TapeLine, read_tape

pytestmark = pytest.mark.data

SYMBOL = "BTC/USDT:USDT"


@pytest.fixture(scope="module")
def lines(recorded: Path) -> list[TapeLine]:
    return list(read_tape([recorded / "binance_usdm" / "btcusdt_20240808.gz"]))


@pytest.fixture(scope="module")
def run(lines: list[TapeLine]) -> tuple[UsdmFeed, list[Output]]:
    feed = UsdmFeed("usdm", [SYMBOL])
    outputs = [out for line in lines for out in feed.on_line(line.stamp_ns, line.body, ts_init=line.stamp_ns)]
    return feed, outputs + feed.on_end(0)


def test_every_frame_is_accounted_for(run: tuple[UsdmFeed, list[Output]]) -> None:
    counts = run[0].counts

    assert (counts.frames, counts.trades, counts.snapshots) == (93_953, 21_313, 1)
    assert (counts.depth_applied, counts.depth_stale) == (6_547, 4)
    assert (counts.book_gaps, counts.book_crossed, counts.trade_gaps, counts.undecodable) == (0, 0, 0, 0)
    assert (counts.unknown_events, counts.unfollowed, counts.quarantined) == (0, 0, 0)
    assert run[0].take_notices() == []


def test_prints_sum_to_the_known_volume_and_price(run: tuple[UsdmFeed, list[Output]]) -> None:
    trades = [out.message for out in run[1] if isinstance(out.message, Trade)]

    volume = sum((trade.quantity for trade in trades), Decimal(0))
    vwap = sum((trade.quantity * trade.price for trade in trades), Decimal(0)) / volume

    assert volume == Decimal("2429.366")
    # The table's 61680.982153288 was summed in floats: the exact sum ends in 286.
    assert float(vwap) == pytest.approx(61680.982153288, abs=1e-8)
    assert trades[-1].price == Decimal("61659.8")


def test_rebuilt_top_equals_every_ticker_of_the_same_update(run: tuple[UsdmFeed, list[Output]]) -> None:
    messages = [out.message for out in run[1] if out.stream == "market"]
    tops = {}
    book = Book()
    last = None
    for message in messages:
        if isinstance(message, BookSnapshot):
            book.load(message.bids, message.asks)
            tops[message.update_id] = book.top()
        elif isinstance(message, BookDelta):
            assert last is None or message.first_update_id == last + 1
            last = message.last_update_id
            book.apply(message.bids, message.asks)
            assert not book.is_crossed
            tops[last] = book.top()

    shared = [quote for quote in messages if isinstance(quote, Quote) and quote.update_id in tops]

    assert len(shared) == 629
    for quote in shared:
        assert tops[quote.update_id] == (quote.bid, quote.bid_size, quote.ask, quote.ask_size)


def test_last_top_is_the_known_one(run: tuple[UsdmFeed, list[Output]]) -> None:
    last = [out.message for out in run[1] if isinstance(out.message, Quote)][-1]

    assert (last.bid, last.bid_size) == (Decimal("61659.7"), Decimal("1.486"))
    assert (last.ask, last.ask_size) == (Decimal("61659.8"), Decimal("0.981"))


def test_tops_carry_the_stamp_of_their_own_frame(run: tuple[UsdmFeed, list[Output]]) -> None:
    first = next(out.message for out in run[1] if isinstance(out.message, Quote))

    assert (first.update_id, first.ts_event) == (5123107839020, 1723161256313_000_000)


def test_the_tape_names_its_symbol(lines: list[TapeLine]) -> None:
    frames = [line.body for line in lines[:100] if not is_depth_body(line.body)]

    assert {name for frame in frames for name in DIALECT.names(frame)} == {"BTCUSDT"}
    assert DIALECT.canonical("BTCUSDT") == SYMBOL
