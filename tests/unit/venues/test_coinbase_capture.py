"""What the recorded Coinbase capture proves about itself, seen through our feed. Figures: the recorder's own table."""

from __future__ import annotations

import gzip
from decimal import Decimal
from pathlib import Path

import pytest

from edgefleet.book import Book
from edgefleet.messages import BookDelta, BookSnapshot, Trade
from edgefleet.stage import Output
from edgefleet.venues.coinbase.dialect import DIALECT
from edgefleet.venues.coinbase.rest import listed
from edgefleet.venues.dialect import FeedOptions
from edgefleet.venues.feed import Feed

pytestmark = pytest.mark.data


@pytest.fixture(scope="module")
def run(recorded: Path) -> tuple[Feed, list[Output]]:
    lines = []
    with gzip.open(recorded / "coinbase" / "COINBASE.ws.28.0.gz", "rb") as stream:
        for raw in stream:
            head, _, body = raw.rstrip().partition(b": ")
            if head.replace(b".", b"").isdigit():
                lines.append((int(Decimal(head.decode()) * 10**9), body))
    names = sorted({name for _, body in lines for name in DIALECT.names(body)})
    feed = DIALECT.feed("coinbase", [DIALECT.canonical(name) for name in names], FeedOptions())
    outputs = [out for stamp, body in lines for out in feed.on_frame(stamp, body, stamp)]
    return feed, outputs


def test_every_frame_is_accounted_for(run: tuple[Feed, list[Output]]) -> None:
    counts = run[0].counts

    assert (counts.depth_applied, counts.snapshots, counts.trades) == (9_719, 10, 97)
    assert (counts.depth_stale, counts.book_gaps, counts.book_crossed) == (0, 0, 0)
    assert (counts.trade_gaps, counts.undecodable, counts.unknown_events, counts.unfollowed) == (0, 0, 0, 0)
    assert run[0].take_notices() == []


def test_tickers_equal_the_book_but_for_those_that_race(run: tuple[Feed, list[Output]]) -> None:
    counts = run[0].book_counts().values()

    assert sum(one.tops_compared for one in counts) == 107
    assert sum(one.tops_equal for one in counts) == 100


def test_prints_are_the_ones_of_the_capture(run: tuple[Feed, list[Output]]) -> None:
    trades = [out.message for out in run[1] if isinstance(out.message, Trade)]

    assert len({(trade.instrument, trade.trade_id) for trade in trades}) == 97
    first = trades[0]
    # "side":"sell" is the order that rested: somebody bought.
    assert (first.instrument, first.trade_id, first.aggressor) == ("SKL/BTC@coinbase", "280232", "buy")
    assert (first.price, first.quantity, first.ts_event) == (
        Decimal("0.00001305"),
        Decimal(985),
        1_618_677_817_089_723_000,
    )


def test_a_reader_of_the_messages_has_the_feeds_books(run: tuple[Feed, list[Output]]) -> None:
    books: dict[str, Book] = {}
    newest: dict[str, int] = {}
    for output in run[1]:
        message = output.message
        if isinstance(message, BookSnapshot):
            books[message.instrument] = Book()
            books[message.instrument].load(message.bids, message.asks)
        elif isinstance(message, BookDelta):
            assert message.ts_event >= newest.get(message.instrument, 0)
            newest[message.instrument] = message.ts_event
            books[message.instrument].apply(message.bids, message.asks)
            assert not books[message.instrument].is_crossed

    assert len(books) == 10


def test_the_recorded_listing_reads(recorded: Path) -> None:
    with gzip.open(recorded / "coinbase" / "COINBASE.0.gz", "rb") as stream:
        body = next(line for line in stream if b"/products -> " in line).partition(b": ")[2]

    by_symbol = {one.symbol: one for one in listed(body)}

    one = by_symbol["BTC/GBP"]
    assert (one.name, one.trading, one.tick_size) == ("BTC-GBP", True, Decimal("0.01"))
    assert (one.lot_size, one.min_quantity, one.min_notional) == (Decimal("0.00000001"), Decimal("0.0001"), Decimal(10))
