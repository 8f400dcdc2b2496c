"""Coinbase Exchange: its frames become messages by its own words, and a book that may be wrong is given up."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, TypeVar

import msgspec

from edgefleet.clock import NS_PER_S
from edgefleet.messages import Beat, BookDelta, BookSnapshot, Quote, Trade, VenueStatus
from edgefleet.stage import Output
from edgefleet.venues.coinbase.dialect import DIALECT
from edgefleet.venues.coinbase.feed import CoinbaseFeed
from edgefleet.venues.stamps import rfc3339_ns

BTC = "BTC/USD@coinbase"
START = rfc3339_ns("2024-05-01T12:00:00.000000Z")
M = TypeVar("M")


def at(ms: int) -> str:
    return f"2024-05-01T12:00:{ms // 1_000:02d}.{ms % 1_000:03d}000Z"


def frame(kind: str, **fields: Any) -> bytes:
    return msgspec.json.encode({"type": kind, "product_id": "BTC-USD", **fields})


def snapshot(**more: Any) -> bytes:
    return frame("snapshot", bids=[["99.00", "1"], ["98.00", "2"]], asks=[["101.00", "1"], ["102.00", "3"]], **more)


def update(ms: int, *changes: tuple[str, str, str]) -> bytes:
    return frame("l2update", changes=changes, time=at(ms))


def match(number: int, ms: int, *, side: str = "sell", kind: str = "match", price: str = "101.00") -> bytes:
    return frame(kind, trade_id=number, side=side, price=price, size="0.5", time=at(ms), sequence=number)


def ticker(ms: int, bid: str, ask: str) -> bytes:
    return frame("ticker", sequence=1, price="100", best_bid=bid, best_ask=ask, time=at(ms), trade_id=1)


def heartbeat(ms: int, last_trade_id: int) -> bytes:
    return frame("heartbeat", sequence=90, last_trade_id=last_trade_id, time=at(ms))


class Feeding:
    """A feed and the moment of its frames."""

    def __init__(self, *frames: bytes) -> None:
        self.feed = CoinbaseFeed("coinbase", ["BTC/USD"], touch_interval_ms=0)
        self.now = START
        self.outputs = self(*frames)

    def __call__(self, *frames: bytes) -> list[Output]:
        return [output for one in frames for output in self.feed.on_frame(self.now, one, self.now)]


def of(kind: type[M], outputs: list[Output]) -> list[M]:
    return [output.message for output in outputs if isinstance(output.message, kind)]


def test_a_book_begins_by_its_snapshot_and_follows_its_changes() -> None:
    feeding = Feeding(snapshot(time=at(0)), update(5, ("buy", "99.50", "4"), ("sell", "101.00", "0.00000000")))

    (whole,) = of(BookSnapshot, feeding.outputs)
    (delta,) = of(BookDelta, feeding.outputs)
    last = of(Quote, feeding.outputs)[-1]
    assert (whole.ts_event, delta.ts_event) == (START, START + 5_000_000)
    assert delta.last_update_id == whole.update_id + 1
    assert (last.bid, last.bid_size, last.ask) == (Decimal("99.50"), Decimal(4), Decimal("102.00"))


def test_a_snapshot_without_a_stamp_waits_for_one_of_its_product() -> None:
    feeding = Feeding(snapshot())

    assert not of(BookSnapshot, feeding.outputs)
    outputs = feeding(update(7, ("buy", "99.50", "4")))
    assert [type(output.message) for output in outputs[:2]] == [BookSnapshot, Quote]
    assert of(BookSnapshot, outputs)[0].ts_event == START + 7_000_000


def test_a_ticker_that_is_ahead_of_the_book_does_not_make_its_next_change_late() -> None:
    feeding = Feeding(snapshot(), ticker(60, "99.00", "101.00"))

    outputs = feeding(update(50, ("buy", "99.50", "4")), update(55, ("buy", "99.60", "4")))

    assert [delta.ts_event for delta in of(BookDelta, outputs)] == [START + 60_000_000] * 2
    assert not of(VenueStatus, outputs)


def test_the_aggressor_is_not_the_side_that_rested() -> None:
    feeding = Feeding(match(10, 1, side="sell"), match(11, 2, side="buy"))

    assert [trade.aggressor for trade in of(Trade, feeding.outputs)] == ["buy", "sell"]


def test_the_print_before_the_subscription_only_tells_where_prints_begin() -> None:
    feeding = Feeding(match(9, 0, kind="last_match"), match(10, 1))

    assert [trade.trade_id for trade in of(Trade, feeding.outputs)] == ["10"]


def test_a_print_that_was_missed_over_a_break_comes_with_the_subscription() -> None:
    feeding = Feeding(match(9, 0, kind="last_match"), match(10, 1))
    feeding.feed.on_disconnect("cut", START)

    outputs = feeding(match(13, 900, kind="last_match"), match(14, 950))

    assert [trade.trade_id for trade in of(Trade, outputs)] == ["13", "14"]
    assert feeding.feed.counts.trade_gaps == 1
    assert "prints 11 to 12 of BTC/USD@coinbase are missing" in feeding.feed.take_notices()


def test_the_last_print_is_not_told_twice_over_a_break() -> None:
    feeding = Feeding(match(10, 1))
    feeding.feed.on_disconnect("cut", START)

    outputs = feeding(match(10, 1, kind="last_match"), match(11, 950))

    assert [trade.trade_id for trade in of(Trade, outputs)] == ["11"]
    assert not feeding.feed.take_notices()


def test_a_heartbeat_tells_of_lost_prints_when_it_is_confirmed_by_the_next() -> None:
    feeding = Feeding(match(10, 1), heartbeat(1_000, 12))

    assert feeding.feed.counts.trade_gaps == 0
    feeding(heartbeat(2_000, 12))
    assert feeding.feed.counts.trade_gaps == 1
    assert "prints 11 to 12 of BTC/USD@coinbase are missing, by the venue's heartbeat" in feeding.feed.take_notices()


def test_a_heartbeat_that_overtook_a_print_is_no_loss() -> None:
    feeding = Feeding(match(10, 1), heartbeat(1_000, 11), match(11, 999), heartbeat(2_000, 11))

    assert feeding.feed.counts.trade_gaps == 0


def test_an_older_change_after_a_newer_one_loses_the_book_and_asks_for_it_alone() -> None:
    feeding = Feeding(snapshot(time=at(0)), update(9, ("buy", "99.50", "4")))

    outputs = feeding(update(7, ("buy", "99.50", "5")))

    assert [status.status for status in of(VenueStatus, outputs)] == ["resync"]
    assert feeding.feed.take_requests() == [
        '{"type":"unsubscribe","product_ids":["BTC-USD"],"channels":["level2_batch"]}',
        '{"type":"subscribe","product_ids":["BTC-USD"],"channels":["level2_batch"]}',
    ]
    assert feeding.feed.unconfirmed == (BTC,)
    assert not of(BookDelta, feeding(update(10, ("buy", "99.60", "1"))))


def test_stamps_within_a_millisecond_are_of_one_moment() -> None:
    feeding = Feeding(snapshot(time=at(0)), update(9, ("buy", "99.50", "4")), update(8, ("buy", "99.60", "5")))

    assert [delta.ts_event for delta in of(BookDelta, feeding.outputs)] == [START + 9_000_000] * 2


def test_a_book_is_confirmed_only_by_its_snapshot() -> None:
    feeding = Feeding()
    feeding.feed.on_connect(START)

    feeding(match(1, 1), ticker(1, "99.00", "101.00"))
    assert feeding.feed.unconfirmed == (BTC,)
    feeding.feed.take_requests()
    feeding.feed.ask_again()
    assert all("level2_batch" in text and "matches" not in text for text in feeding.feed.take_requests())
    feeding(snapshot(time=at(2)))
    assert not feeding.feed.unconfirmed


def test_a_change_that_was_lost_is_seen_by_the_ticker() -> None:
    feeding = Feeding(snapshot(time=at(0)), update(1, ("buy", "99.50", "4")))
    # The venue removed 99.50, and we never heard of it.
    assert not of(VenueStatus, feeding(ticker(1_000, "99.00", "101.00"), ticker(2_000, "99.00", "101.00")))

    outputs = feeding(ticker(3_100, "99.00", "101.00"))

    assert [status.status for status in of(VenueStatus, outputs)] == ["resync"]
    assert feeding.feed.book_counts()[BTC].tops_compared == 3
    assert feeding.feed.book_counts()[BTC].tops_equal == 0


def test_a_ticker_from_before_the_book_does_not_count_against_it() -> None:
    feeding = Feeding(snapshot(time=at(9_000)))

    outputs = feeding(*(ticker(ms, "90.00", "101.00") for ms in range(0, 9_000, 500)))

    assert not of(VenueStatus, outputs)
    assert feeding.feed.book_counts()[BTC].tops_compared == 18


def test_tickers_of_old_prints_do_not_count_against_a_book_that_has_no_stamp_of_its_own_yet() -> None:
    feeding = Feeding(snapshot())

    outputs = feeding(*(ticker(ms, "90.00", "101.00") for ms in range(0, 9_000, 500)))

    assert not of(VenueStatus, outputs)
    assert feeding.feed.book_counts()[BTC].tops_compared == 18


def test_a_crossed_book_is_not_sent() -> None:
    feeding = Feeding(snapshot(time=at(0)))

    outputs = feeding(update(1, ("buy", "150.00", "4")))

    assert not of(BookDelta, outputs)
    assert [status.status for status in of(VenueStatus, outputs)] == ["resync"]
    assert feeding.feed.counts.book_crossed == 1


def test_a_crossed_snapshot_begins_no_book() -> None:
    outputs = Feeding(frame("snapshot", bids=[["102", "1"]], asks=[["101", "1"]], time=at(0))).outputs

    assert not of(BookSnapshot, outputs)


def test_a_frame_that_cannot_be_read_loses_the_books_that_it_may_have_changed() -> None:
    feeding = Feeding(snapshot(time=at(0)))

    outputs = feeding(frame("match", trade_id="x"))
    assert not of(VenueStatus, outputs)
    outputs = feeding(b'{"type":"l2update","product_id":"BT')
    assert [status.status for status in of(VenueStatus, outputs)] == ["resync"]


def test_a_change_that_could_not_be_read_ends_a_snapshot_that_still_waits() -> None:
    feeding = Feeding(snapshot())

    outputs = feeding(b'{"type":"l2update","product_id":"BT', update(7, ("buy", "99.50", "4")))

    assert not of(BookSnapshot, outputs)
    assert len(feeding.feed.take_requests()) == 2


def test_a_book_that_is_lost_at_once_again_is_asked_for_later() -> None:
    feeding = Feeding()
    asked = []
    for turn in range(4):
        feeding(snapshot(time=at(turn)), update(turn, ("buy", "150.00", "4")))
        waited = 0
        while not (texts := feeding.feed.take_requests()):
            waited += 1
            feeding.now += NS_PER_S
            feeding.feed.on_silence(feeding.now)
        asked.append((waited, len(texts)))

    assert asked == [(0, 2), (1, 2), (3, 2), (7, 2)]


def test_a_stamp_of_the_far_future_is_refused() -> None:
    feeding = Feeding(snapshot(time=at(0)))

    feeding(frame("l2update", changes=[["buy", "99.50", "1"]], time="2999-01-01T00:00:00Z"))

    assert feeding.feed.counts.undecodable == 1


def test_a_refused_subscription_is_told_with_its_reason() -> None:
    feeding = Feeding(b'{"type":"error","message":"Failed to subscribe","reason":"XMR-USD is not a valid product"}')

    assert feeding.feed.take_notices() == [
        "coinbase refused a request: Failed to subscribe: XMR-USD is not a valid product"
    ]
    assert feeding.feed.counts.undecodable == 0


def test_types_that_are_not_ours_are_counted() -> None:
    feeding = Feeding(frame("received", order_id="1"), b'{"type":"subscriptions","channels":[]}')

    assert (feeding.feed.counts.unknown_events, feeding.feed.counts.undecodable) == (1, 0)


def test_a_lost_book_leaves_no_top_behind() -> None:
    feeding = Feeding(snapshot(time=at(0)), update(1, ("buy", "150.00", "4")))
    feeding.now += 2 * NS_PER_S

    beat = feeding(match(1, 2_000))[0].message

    assert [touch.bid for touch in beat.touches] == [None]  # type: ignore[union-attr]


def test_a_heartbeat_of_a_quiet_product_keeps_its_book_young() -> None:
    feeding = Feeding(snapshot(time=at(0)))
    feeding.now += 5 * NS_PER_S
    feeding(heartbeat(5_000, 1))
    feeding.now += NS_PER_S

    (beat, *_) = of(Beat, feeding(heartbeat(6_000, 1)))

    assert beat.touches[0].age_ms == 1_000


def test_one_text_asks_for_all_channels() -> None:
    feed = CoinbaseFeed("coinbase", ["BTC/USD", "ETH/EUR"])
    feed.on_connect(START)

    assert [msgspec.json.decode(text) for text in feed.take_requests()] == [
        {
            "type": "subscribe",
            "product_ids": ["BTC-USD", "ETH-EUR"],
            "channels": ["level2_batch", "matches", "ticker", "heartbeat"],
        }
    ]


def test_the_dialect_names_products_of_market_data_alone() -> None:
    assert DIALECT.names(match(1, 1)) == ("BTC-USD",)
    assert DIALECT.names(heartbeat(1, 1)) == ()
    assert DIALECT.canonical("SKL-BTC") == "SKL/BTC"


def test_frames_that_come_twice_count_once() -> None:
    frames = [snapshot(time=at(0)), update(5, ("buy", "99.50", "4")), ticker(6, "98.00", "101.00"), heartbeat(7, 9)]

    feeding = Feeding(*(one for frame in frames for one in (frame, frame)))

    counts = feeding.feed.book_counts()[BTC]
    assert (feeding.feed.counts.snapshots, counts.applied, counts.tops_compared) == (1, 1, 1)
    assert feeding.feed.counts.duplicates == 4
    assert len(of(BookDelta, feeding.outputs)) == 1


def test_a_heartbeat_that_comes_twice_does_not_confirm_its_own_claim() -> None:
    feeding = Feeding(match(5, 0), heartbeat(1, 6), heartbeat(1, 6))

    assert of(Trade, feeding(match(6, 2)))
    assert feeding.feed.counts.trade_gaps == 0


def test_a_lost_book_begins_again_by_the_same_snapshot() -> None:
    feeding = Feeding(snapshot(time=at(0)), update(5, ("buy", "101.50", "4")))

    assert of(BookSnapshot, feeding(snapshot(time=at(0))))
