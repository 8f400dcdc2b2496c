"""A recorded connection to Binance US plays through the spot feed: the same dialect, with aggregated prints."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgefleet.venues.binance.dialect import DIALECT
from edgefleet.venues.binance.feed import BinanceFeed

from .recorded_lines import answers, frames

pytestmark = pytest.mark.data

SYMBOLS = ("CRV/USDT", "COMP/USDT", "OMG/BUSD", "ZRX/USDT")


@pytest.fixture(scope="module")
def feed(recorded: Path) -> BinanceFeed:
    folder = recorded / "binance_us"
    books = [
        (stamp, DIALECT.book_of(address), body) for address, stamp, body in answers(folder / "BINANCE_US.http.0.0.gz")
    ]
    feed = BinanceFeed("us", SYMBOLS)
    for stamp, raw in frames(folder / "BINANCE_US.ws.1.0.gz"):
        while books and books[0][0] <= stamp:
            _, name, body = books.pop(0)
            assert name is not None
            feed.on_snapshot(f"{DIALECT.canonical(name)}@us", body, stamp)
        feed.on_frame(stamp, raw, stamp)
    return feed


def test_every_book_is_whole(feed: BinanceFeed) -> None:
    counts = feed.counts

    assert (feed.awaiting, feed.held) == ((), 0)
    assert (counts.snapshots, counts.book_gaps, counts.book_crossed, counts.undecodable) == (4, 0, 0, 0)
    assert counts.depth_applied > 0


def test_aggregated_prints_are_prints(recorded: Path, feed: BinanceFeed) -> None:
    raws = [raw for _, raw in frames(recorded / "binance_us" / "BINANCE_US.ws.1.0.gz")]

    assert feed.counts.trades == sum(b'"e":"aggTrade"' in raw for raw in raws)
    assert feed.counts.unknown_events == sum(b'"e":"kline"' in raw for raw in raws)


def test_frames_name_what_they_are_about(recorded: Path) -> None:
    named = {name for _, raw in frames(recorded / "binance_us" / "BINANCE_US.ws.1.0.gz") for name in DIALECT.names(raw)}

    assert {DIALECT.canonical(name) for name in named} <= set(SYMBOLS)
