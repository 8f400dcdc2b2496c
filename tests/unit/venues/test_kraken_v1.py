"""Kraken v1: arrays, checksums over the texts as sent, levels that are told again, prints without a number.

The worked example is of docs.kraken.com, "Book checksum (WebSocket v1)"; the frames of XBT/USD were sent by the venue
on 2019-05-05.
"""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any, TypeVar
from zlib import crc32

import pytest

from edgefleet.clock import NS_PER_S
from edgefleet.messages import BookDelta, BookSnapshot, Trade, VenueStatus
from edgefleet.stage import Output
from edgefleet.venues.kraken.feed_v1 import KrakenV1Feed
from edgefleet.venues.kraken.ladder import digits_of
from edgefleet.venues.kraken.names import canonical, spell_v1
from edgefleet.venues.kraken.v1 import DIALECT

BTC = "BTC/USD@kraken"
NOW = 1_557_070_787 * NS_PER_S
M = TypeVar("M")

ASKS = (
    "5711.80000 8.13439401 784.848047,5712.20000 2.00000000 757.056750,5712.80000 0.30000000 783.806432,"
    "5713.00000 3.29800000 774.281619,5713.10000 1.00000000 741.315583,5713.90000 1.00000000 698.840502,"
    "5714.70000 0.50000000 743.861074,5715.20000 1.00000000 697.871150,5716.60000 1.22700000 775.294557,"
    "5716.80000 0.35000000 749.823148"
)
BIDS = (
    "5711.70000 0.00749800 712.848376,5709.20000 3.30000000 766.260894,5708.30000 0.75483907 781.425374,"
    "5708.20000 5.00000000 780.762871,5707.80000 2.50000000 722.912548,5707.40000 4.33000000 732.546143,"
    "5707.00000 0.00200000 604.962840,5706.90000 1.17300000 715.529722,5706.40000 0.85600000 777.204262,"
    "5706.30000 1.00000000 753.118938"
)


def rows(text: str) -> list[list[str]]:
    """Return levels; their stamps are written here without the digits that all share."""
    return [[price, size, f"1557070{at}", *more] for price, size, at, *more in map(str.split, text.split(","))]


def array(*parts: Any, channel: str = "book-10", pair: str = "XBT/USD") -> bytes:
    return json.dumps([0, *parts, channel, pair]).encode()


SNAPSHOT = array({"as": rows(ASKS), "bs": rows(BIDS)})
UPDATES = (
    array(
        {
            "b": rows(
                "5709.20000 3.00000000 785.898642,5708.20000 0.00000000 786.010118,5705.90000 7.62400000 783.582385 r"
            ),
            "c": "2470128591",
        }
    ),
    array({"b": rows("5709.20000 8.00000000 786.250425,5709.40000 0.30000000 786.259115"), "c": "4148072505"}),
    array({"b": rows("5708.30000 0.00000000 786.389495,5705.90000 7.62400000 783.582385 r"), "c": "3093569863"}),
)


def feeding(*frames: bytes) -> tuple[KrakenV1Feed, list[Output]]:
    feed = KrakenV1Feed("kraken", ["BTC/USD"])
    return feed, [output for one in frames for output in feed.on_frame(NOW, one, NOW)]


def of(kind: type[M], outputs: list[Output]) -> list[M]:
    return [output.message for output in outputs if isinstance(output.message, kind)]


def test_frames_of_the_venue_have_their_checksums() -> None:
    feed, outputs = feeding(SNAPSHOT, *UPDATES)

    assert (feed.counts.checksums_ok, feed.counts.checksums_bad) == (3, 0)
    (snapshot,) = of(BookSnapshot, outputs)
    assert snapshot.ts_event == 1_557_070_784_848_047_000
    assert [delta.ts_event % NS_PER_S for delta in of(BookDelta, outputs)] == [10_118_000, 259_115_000, 389_495_000]


def test_a_book_is_cut_to_the_depth_that_its_channel_names() -> None:
    deeper = SNAPSHOT.replace(b"book-10", b"book-25")
    updates = [one.replace(b"book-10", b"book-25") for one in UPDATES]

    feed, _ = feeding(deeper, *updates)

    # After the second update an eleventh bid stays; the third removes one above it, and tells the level again.
    assert feed.counts.checksums_bad == 0
    assert feed._followed["XBT/USD"].book.bids.levels()[-1][0] == Decimal("5705.90000")


def test_the_documentations_example_has_its_checksum() -> None:
    def example(first: int, skip: int) -> list[list[str]]:
        prices = [price for price in range(first, first + 60, 5) if price != skip][:10]
        return [[f"0.0{price}", "0.00000500", "1582905487.684110"] for price in prices]

    asks = example(5005, 0)
    bids = example(4950, 4985)[::-1]
    assert [bids[0][0], bids[-1][0]] == ["0.05000", "0.04950"]
    again = {"a": [asks[0]], "c": "974947235"}

    feed = KrakenV1Feed("kraken", ["BTC/USD"])
    for part in ({"as": asks, "bs": bids}, again):
        feed.on_frame(1_582_905_488 * NS_PER_S, array(part, channel="book-1000"), 0)

    assert (feed.counts.checksums_ok, feed.counts.checksums_bad) == (1, 0)


def test_both_sides_may_come_in_two_objects_with_the_checksum_in_the_last() -> None:
    (bids,) = [json.loads(UPDATES[0])[1]]
    split = array({"a": rows("5716.80000 0.35000000 749.823148")}, bids)

    feed, outputs = feeding(SNAPSHOT, split)

    assert feed.counts.checksums_ok == 1
    assert len(of(BookDelta, outputs)[0].asks) == 1


def test_a_wrong_checksum_loses_the_book() -> None:
    feed, outputs = feeding(SNAPSHOT, UPDATES[0].replace(b"2470128591", b"2470128590"))

    assert not of(BookDelta, outputs)
    assert [status.status for status in of(VenueStatus, outputs)] == ["resync"]
    assert [json.loads(text) for text in feed.take_requests()] == [
        {"event": event, "pair": ["XBT/USD"], "subscription": {"name": "book", "depth": 10}}
        for event in ("unsubscribe", "subscribe")
    ]


def test_a_lost_book_begins_again_by_the_same_snapshot_where_nothing_happened_meanwhile() -> None:
    _, outputs = feeding(SNAPSHOT, UPDATES[0].replace(b"2470128591", b"1"), SNAPSHOT, UPDATES[0])

    assert [type(message) for message in of(object, outputs) if isinstance(message, BookSnapshot | BookDelta)] == [
        BookSnapshot,
        BookSnapshot,
        BookDelta,
    ]


def test_an_update_that_was_lost_is_seen_by_the_next() -> None:
    feed, outputs = feeding(SNAPSHOT, UPDATES[1])

    assert not of(BookDelta, outputs)
    assert feed.counts.checksums_bad == 1


def checksum(asks: str, bids: str) -> str:
    return str(crc32("".join(digits_of(part) for part in f"{asks} {bids}".split()).encode()))


def test_a_frame_that_comes_again_does_not_bring_an_old_level_back_though_its_checksum_is_right() -> None:
    bids = "10.0 1.0"
    snapshot = array({"as": rows("11.0 1.0 700.000001"), "bs": rows(f"{bids} 700.000001")})
    first = {"a": rows("11.0 0.0 701.000001,12.0 3.0 699.000001 r"), "c": checksum("12.0 3.0", bids)}
    then = {"a": rows("12.0 4.0 702.000001"), "c": checksum("12.0 4.0", bids)}

    feed, outputs = feeding(snapshot, array(first), array(then), array(first))

    assert (feed.counts.checksums_ok, feed.counts.duplicates) == (2, 1)
    assert of(BookDelta, outputs)[-1].asks == ((Decimal("12.0"), Decimal("4.0")),)


def test_a_change_that_comes_after_a_newer_one_loses_the_book_though_its_checksum_is_right() -> None:
    bids = "10.0 1.0"
    snapshot = array({"as": rows("11.0 1.0 700.000001"), "bs": rows(f"{bids} 700.000001")})
    first = {"a": rows("11.0 2.0 701.000001"), "c": checksum("11.0 2.0", bids)}
    then = {"a": rows("11.0 3.0 702.000001"), "c": checksum("11.0 3.0", bids)}

    feed, outputs = feeding(snapshot, array(then), array(first))

    assert feed.counts.checksums_ok == 1
    assert [status.status for status in of(VenueStatus, outputs)] == ["resync"]


def prints(*times: str, side: str = "b") -> bytes:
    entries = [["5711.70000", "0.10000000", f"1557070{at}", side, "l", ""] for at in times]
    return array(entries, channel="trade")


def test_prints_are_numbered_by_their_stamps_and_told_apart_within_one() -> None:
    _, outputs = feeding(prints("700.000001"), prints("701.000002", "701.000002", side="s"))

    trades = of(Trade, outputs)
    assert [trade.trade_id for trade in trades] == [
        "1557070700000001000",
        "1557070701000002000",
        "1557070701000002001",
    ]
    assert [trade.aggressor for trade in trades] == ["buy", "sell", "sell"]


def test_prints_of_before_the_subscription_are_not_sent() -> None:
    old = [f"{600 + at}.000000" for at in range(50)]

    _, outputs = feeding(prints(*old), prints("650.000000"))

    assert [trade.ts_event for trade in of(Trade, outputs)] == [1_557_070_650 * NS_PER_S]


def test_prints_that_were_missed_over_a_break_are_sent_and_no_other() -> None:
    feed, _ = feeding(prints("601.000000"))
    feed.on_disconnect("cut", NOW)

    outputs = feed.on_frame(NOW, prints("600.000000", "601.000000", "603.000000"), NOW)

    assert [trade.ts_event for trade in of(Trade, outputs)] == [1_557_070_603 * NS_PER_S]


def test_a_frame_of_prints_that_comes_twice_is_sent_once() -> None:
    feed, outputs = feeding(prints("601.000000"), prints("601.000000"))

    assert len(of(Trade, outputs)) == 1
    assert feed.counts.duplicates == 1


def test_a_frame_of_prints_that_comes_again_after_an_older_one_is_sent_once() -> None:
    older, newer = prints("700.1"), prints("701.1")

    feed, outputs = feeding(older, newer, older, newer)

    assert len(of(Trade, outputs)) == 2
    assert feed.counts.duplicates == 2


def test_ticker_and_spread_are_compared() -> None:
    ticker = array({"a": ["5711.80000", 1, "1.0"], "b": ["5711.70000", 1, "1.0"]}, channel="ticker")
    spread = array(["5711.60000", "5711.80000", "1557070786.1", "1", "1"], channel="spread")

    feed, _ = feeding(SNAPSHOT, ticker, spread)

    assert (feed.book_counts()[BTC].tops_compared, feed.book_counts()[BTC].tops_equal) == (2, 1)


@pytest.mark.parametrize(
    ("frame", "notice"),
    [
        (
            b'{"errorMessage":"Currency pair not supported","event":"subscriptionStatus","pair":"X/Y",'
            b'"status":"error"}',
            ["kraken refused a request for X/Y: Currency pair not supported"],
        ),
        (b'{"errorMessage":"Subscription Not Found","event":"subscriptionStatus","status":"error"}', []),
        (b'{"event":"systemStatus","status":"cancel_only"}', ["kraken says that its engine is in cancel_only"]),
        (b'{"event":"systemStatus","status":"online"}', []),
        (b'{"channelID":1,"event":"subscriptionStatus","pair":"XBT/USD","status":"subscribed"}', []),
        (b'{"event":"heartbeat"}', []),
    ],
)
def test_refusals_and_the_engines_state_are_told(frame: bytes, notice: list[str]) -> None:
    feed, _ = feeding(frame)

    assert feed.take_notices() == notice
    assert (feed.counts.undecodable, feed.counts.unknown_events) == (0, 0)


def test_channels_that_are_not_ours_are_counted() -> None:
    feed, _ = feeding(array(["1", "2"], channel="ohlc-5"))

    assert feed.counts.unknown_events == 1


def test_kraken_has_its_own_names_of_two_assets() -> None:
    assert (spell_v1("BTC/USD"), spell_v1("DOGE/BTC"), spell_v1("ETH/EUR")) == ("XBT/USD", "XDG/XBT", "ETH/EUR")
    assert (canonical("XBT/USD"), canonical("XDG/XBT"), canonical("ETH/EUR")) == ("BTC/USD", "DOGE/BTC", "ETH/EUR")
    assert DIALECT.names(SNAPSHOT) == ("XBT/USD",)


def test_prints_of_one_stamp_in_the_first_frame_are_all_sent() -> None:
    _, outputs = feeding(prints("700.000001", "700.000001"))

    assert [trade.trade_id for trade in of(Trade, outputs)] == ["1557070700000001000", "1557070700000001001"]


def test_after_a_break_prints_of_one_stamp_are_all_sent_and_those_told_before_are_not() -> None:
    feed, _ = feeding(prints("700.000001"))
    feed.on_disconnect("gone", NOW)

    outputs = feed.on_frame(NOW, prints("700.000001", "701.000002", "701.000002"), NOW)

    assert [trade.ts_event // 1_000 for trade in of(Trade, outputs)] == [1_557_070_701_000_002] * 2


@pytest.mark.parametrize("channel", ["spread", "ticker"])
def test_a_top_that_comes_twice_is_compared_once(channel: str) -> None:
    spread = array(["5711.70000", "5711.80000", "1557070785.000001", "1", "1"], channel="spread")
    ticker = array({"b": ["5711.70000", 0, "1"], "a": ["5711.80000", 8, "1"]}, channel="ticker")
    frame = spread if channel == "spread" else ticker

    feed, _ = feeding(SNAPSHOT, frame, frame)

    assert feed.book_counts()[BTC].tops_compared == 1
    assert feed.counts.duplicates == 1
