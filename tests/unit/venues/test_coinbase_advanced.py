"""Coinbase Advanced Trade: one sequence for a connection, batched prints, tops that may be empty."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from edgefleet.clock import NS_PER_S
from edgefleet.messages import Beat, BookDelta, BookSnapshot, Trade, VenueStatus
from edgefleet.stage import Output
from edgefleet.venues.coinbase.advanced import DIALECT
from edgefleet.venues.coinbase.advanced_feed import CoinbaseAdvancedFeed
from edgefleet.venues.stamps import rfc3339_ns

BTC, ETH = "BTC/USD@coinbase_advanced", "ETH/USD@coinbase_advanced"
TIME = "2024-05-01T12:00:00.123456789Z"
NOW = rfc3339_ns(TIME)
M = TypeVar("M")


def frame(number: int, channel: str, *events: Any) -> bytes:
    fields = {"channel": channel, "client_id": "", "timestamp": TIME, "sequence_num": number, "events": events}
    return msgspec.json.encode(fields)


def book(number: int, kind: str, *levels: tuple[str, str, str], product: str = "BTC-USD") -> bytes:
    old = "1970-01-01T00:00:00Z"
    updates = [{"side": side, "event_time": old, "price_level": p, "new_quantity": q} for side, p, q in levels]
    return frame(number, "l2_data", {"type": kind, "product_id": product, "updates": updates})


def whole(number: int, product: str = "BTC-USD") -> bytes:
    # As it comes: unsorted, and with the asks called offers.
    return book(
        number,
        "snapshot",
        ("offer", "102", "1"),
        ("offer", "101", "2"),
        ("bid", "98", "1"),
        ("bid", "99", "2"),
        product=product,
    )


def prints(number: int, kind: str, *ids: int, side: str = "SELL") -> bytes:
    trades = [
        {"trade_id": str(one), "product_id": "BTC-USD", "price": "101", "size": "0.1", "side": side, "time": TIME}
        for one in ids
    ]
    return frame(number, "market_trades", {"type": kind, "trades": trades})


def feeding(*frames: bytes) -> tuple[CoinbaseAdvancedFeed, list[Output]]:
    feed = CoinbaseAdvancedFeed("coinbase_advanced", ["BTC/USD", "ETH/USD"])
    return feed, [output for one in frames for output in feed.on_frame(NOW, one, NOW)]


def of(kind: type[M], outputs: list[Output]) -> list[M]:
    return [output.message for output in outputs if isinstance(output.message, kind)]


def test_a_snapshot_is_sent_best_first_with_the_stamp_of_its_frame() -> None:
    _, outputs = feeding(whole(0))

    (message,) = of(BookSnapshot, outputs)
    assert [str(price) for price, _ in message.bids] == ["99", "98"]
    assert [str(price) for price, _ in message.asks] == ["101", "102"]
    assert message.ts_event == NOW


def test_a_hole_in_the_sequence_loses_every_book_of_the_connection() -> None:
    feed, outputs = feeding(whole(0), whole(1, "ETH-USD"), frame(3, "heartbeats"))

    assert [status.status for status in of(VenueStatus, outputs)] == ["resync", "resync"]
    assert feed.unconfirmed == (BTC, ETH)
    texts = feed.take_requests()
    assert [("unsubscribe" in text, "BTC-USD" in text) for text in texts] == [
        (True, True),
        (False, True),
        (True, False),
        (False, False),
    ]


def test_frames_of_channels_that_are_not_ours_count_in_the_sequence() -> None:
    feed, outputs = feeding(whole(0), frame(1, "candles"), book(2, "update", ("bid", "99.5", "1")))

    assert len(of(BookDelta, outputs)) == 1
    assert (feed.counts.unknown_events, feed.counts.book_gaps) == (1, 0)


def test_a_frame_that_was_there_before_changes_nothing() -> None:
    late = book(1, "update", ("bid", "99.5", "1"))
    feed, outputs = feeding(whole(0), late, book(2, "update", ("bid", "99.5", "0")), late)

    assert len(of(BookDelta, outputs)) == 2
    assert feed.counts.duplicates == 1


def test_a_frame_that_cannot_be_read_is_a_hole() -> None:
    feed, outputs = feeding(whole(0), b'{"channel":"l2_data","sequence_num":1,"eve', frame(2, "heartbeats"))

    assert [status.status for status in of(VenueStatus, outputs)] == ["resync"]
    assert feed.counts.undecodable == 1


def test_a_heartbeat_whose_number_is_next_keeps_every_book_young() -> None:
    feed, _ = feeding(whole(0), whole(1, "ETH-USD"))
    later = NOW + 5 * NS_PER_S
    feed.on_frame(later, frame(2, "heartbeats"), later)

    beats = of(Beat, feed.on_silence(later + NS_PER_S))

    assert [touch.age_ms < 1_000 for touch in beats[-1].touches if touch.age_ms is not None] == [True, True]


def test_the_next_connection_counts_from_zero() -> None:
    feed, _ = feeding(whole(0), frame(1, "heartbeats"))
    feed.on_disconnect("cut", NOW)

    outputs = feed.on_frame(NOW, whole(0), NOW)

    assert of(BookSnapshot, outputs)
    assert feed.counts.duplicates == 0


def test_prints_of_a_batch_come_oldest_first_with_the_taker_as_aggressor() -> None:
    _, outputs = feeding(prints(0, "snapshot", 12, 11, 10), prints(1, "update", 14, 13, side="BUY"))

    assert [(trade.trade_id, trade.aggressor) for trade in of(Trade, outputs)] == [("13", "sell"), ("14", "sell")]


def test_prints_that_were_missed_over_a_break_come_with_the_subscription() -> None:
    feed, _ = feeding(prints(0, "update", 10))
    feed.on_disconnect("cut", NOW)

    outputs = feed.on_frame(NOW, prints(0, "snapshot", 12, 11, 10, 9), NOW)

    assert [trade.trade_id for trade in of(Trade, outputs)] == ["11", "12"]
    assert feed.counts.trade_gaps == 0


def test_a_ticker_is_compared_and_an_empty_side_is_not() -> None:
    tops = [{"product_id": "BTC-USD", "best_bid": "99", "best_ask": "101"}, {"product_id": "ETH-USD", "best_bid": ""}]
    feed, _ = feeding(whole(0), frame(1, "ticker", {"type": "update", "tickers": tops}))

    assert (feed.book_counts()[BTC].tops_compared, feed.book_counts()[BTC].tops_equal) == (1, 1)
    assert feed.book_counts()[ETH].tops_compared == 0


def test_a_refused_request_is_told() -> None:
    feed, _ = feeding(b'{"type":"error","message":"authentication failure"}')

    assert feed.take_notices() == ["coinbase_advanced refused a request: authentication failure"]


def test_a_connection_asks_for_each_channel_and_for_heartbeats() -> None:
    feed, _ = feeding()
    feed.on_connect(NOW)

    asked = [msgspec.json.decode(text) for text in feed.take_requests()]
    assert [one["channel"] for one in asked] == ["level2", "market_trades", "ticker", "heartbeats"]
    assert "product_ids" not in asked[-1]


def test_the_dialect_names_products_of_market_data_alone() -> None:
    assert DIALECT.names(whole(0)) == ("BTC-USD",)
    assert DIALECT.names(prints(0, "update", 1)) == ("BTC-USD",)
    assert DIALECT.names(frame(0, "heartbeats", {"heartbeat_counter": 1})) == ()


def test_a_print_more_than_a_day_ahead_is_refused() -> None:
    late = prints(2, "update", 5).replace(b'"time":"2024', b'"time":"2034')

    feed, outputs = feeding(prints(0, "snapshot", 3), prints(1, "update", 4), late)

    assert [trade.trade_id for trade in of(Trade, outputs)] == ["4"]
    assert feed.counts.undecodable == 1
