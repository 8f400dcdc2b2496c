"""Frames become messages by the venue's own rules, whatever arrives and whenever the snapshots do."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, TypeVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefleet.book.leap import FRAMES_TO_BELIEVE
from edgefleet.clock import NS_PER_MS, NS_PER_S
from edgefleet.errors import Poison
from edgefleet.messages import Beat, BookDelta, BookSnapshot, Quote, Touch, Trade, VenueStatus, encode
from edgefleet.stage import Output
from edgefleet.venues.binance import feed as feeds
from edgefleet.venues.binance.feed import MOST_PENDING, BinanceFeed, stream_names
from edgefleet.venues.feed import MAX_BEATS_AT_ONCE

BTC, ETH = "BTC/USDT@sim", "ETH/USDT@sim"
START_MS = 1_700_000_000_000
M = TypeVar("M")


def envelope(stream: str, **data: Any) -> bytes:
    return msgspec.json.encode({"stream": stream, "data": data})


def trade(number: int, *, at_ms: int = 0, price: str = "100.00", symbol: str = "BTCUSDT", **more: Any) -> bytes:
    stamp = START_MS + at_ms
    usual: dict[str, Any] = {"e": "trade", "E": stamp, "s": symbol, "t": number, "p": price, "q": "1.5", "T": stamp - 1}
    return envelope(f"{symbol.lower()}@trade", **{**usual, "m": False, **more})


def ticker(update: int, *, bid: str = "99.00", ask: str = "101.00", symbol: str = "BTCUSDT", **more: Any) -> bytes:
    usual = {"u": update, "s": symbol, "b": bid, "B": "1", "a": ask, "A": "2"}
    return envelope(f"{symbol.lower()}@bookTicker", **{**usual, **more})


def depth(first: int, last: int, *, at_ms: int = 0, bids: Any = (), asks: Any = (), symbol: str = "BTCUSDT") -> bytes:
    stamp = START_MS + at_ms
    data = {"e": "depthUpdate", "E": stamp, "s": symbol, "U": first, "u": last, "b": bids, "a": asks}
    return envelope(f"{symbol.lower()}@depth@100ms", **data)


def snapshot(update: int, bids: Any = (("99.00", "1"),), asks: Any = (("101.00", "1"),)) -> bytes:
    return msgspec.json.encode({"lastUpdateId": update, "bids": bids, "asks": asks})


def at(ms: int) -> int:
    return (START_MS + ms) * NS_PER_MS


def synced(**options: Any) -> BinanceFeed:
    """Return a feed of BTC whose book stands at update 10."""
    feed = BinanceFeed("sim", ["BTC/USDT"], **options)
    feed.on_snapshot(BTC, snapshot(10), ts_init=0)
    feed.on_frame(at(0), trade(1), ts_init=0)
    return feed


def of(kind: type[M], outputs: list[Output]) -> list[M]:
    return [output.message for output in outputs if isinstance(output.message, kind)]


def test_frames_are_held_until_the_first_snapshot_and_then_come_in_order() -> None:
    feed = BinanceFeed("sim", ["BTC/USDT"])
    held = [trade(1), ticker(12), depth(5, 9), depth(10, 12)]
    before = [output for frame in held for output in feed.on_frame(at(0), frame, ts_init=0)]

    outputs = feed.on_snapshot(BTC, snapshot(10), ts_init=0)

    assert before == []
    kinds = [type(output.message) for output in outputs if output.stream == "market"]
    assert kinds == [BookSnapshot, Trade, Quote, BookDelta]
    assert feed.counts.depth_stale == 1


@given(st.lists(st.integers(0, 12), min_size=2, max_size=2))
def test_output_does_not_depend_on_when_the_snapshots_came(moments: list[int]) -> None:
    frames = [ticker(4), ticker(11), trade(1), depth(9, 11), ticker(7, symbol="ETHUSDT"), trade(2, at_ms=1_500)]
    frames += [
        depth(3, 8, symbol="ETHUSDT", at_ms=1_600),
        ticker(13),
        depth(12, 13, at_ms=1_700),
        trade(3, at_ms=2_100),
    ]

    def run(btc_after: int, eth_after: int) -> list[bytes]:
        feed = BinanceFeed("sim", ["BTC/USDT", "ETH/USDT"], touch_interval_ms=0)
        outputs: list[Output] = []
        for number in range(13):
            if number == btc_after:
                outputs += feed.on_snapshot(BTC, snapshot(10), ts_init=7)
            if number == eth_after:
                outputs += feed.on_snapshot(ETH, snapshot(5), ts_init=7)
            if number < len(frames):
                outputs += feed.on_frame(at(300 * number), frames[number], ts_init=7)
        return [output.stream.encode() + encode(output.message) for output in outputs]

    assert run(*moments) == run(0, 0)
    assert len(run(0, 0)) > 12


def test_frame_without_a_stamp_takes_the_last_stamp_of_its_connection() -> None:
    feed = synced()

    feed.on_frame(at(40), trade(2, at_ms=40), ts_init=0)
    (quote,) = of(Quote, feed.on_frame(at(50), ticker(11), ts_init=3))

    assert quote.ts_event == at(40)
    assert quote.ts_init == 3
    assert quote.trace_id == "sim:BTCUSDT:11"


def test_gap_in_the_book_is_counted_and_asks_for_a_snapshot() -> None:
    feed = synced()
    feed.on_frame(at(1), depth(11, 12), ts_init=0)

    outputs = feed.on_frame(at(2), depth(14, 15), ts_init=0)

    assert of(BookDelta, outputs) == []
    assert of(VenueStatus, outputs)[0].status == "resync"
    assert feed.counts.book_gaps == 1
    assert feed.awaiting == (BTC,)
    assert "expected update 13, got 14" in feed.take_notices()[0]


def test_deltas_after_a_gap_wait_for_the_new_snapshot_and_the_rest_goes_on() -> None:
    feed = synced()
    feed.on_frame(at(2), depth(14, 15), ts_init=0)
    assert of(BookDelta, feed.on_frame(at(3), depth(16, 17), ts_init=0)) == []
    assert of(Trade, feed.on_frame(at(4), trade(2), ts_init=0))

    outputs = feed.on_snapshot(BTC, snapshot(15), ts_init=0)

    assert [type(output.message) for output in outputs if output.stream == "market"] == [BookSnapshot, BookDelta]
    assert of(BookDelta, outputs)[0].last_update_id == 17
    assert feed.awaiting == ()


def test_a_book_that_was_waited_for_is_not_stamped_later_than_the_changes_on_it() -> None:
    feed = synced()
    feed.on_frame(at(1), depth(20, 21, at_ms=1, bids=[("98", "1")]), at(1))  # a hole: the book is lost
    feed.on_frame(at(9), trade(1, at_ms=9), at(9))

    outputs = feed.on_snapshot(BTC, snapshot(19), at(10))

    (book,), (change,) = of(BookSnapshot, outputs), of(BookDelta, outputs)
    assert book.ts_event == change.ts_event


def test_snapshot_older_than_the_held_deltas_is_asked_for_again() -> None:
    feed = BinanceFeed("sim", ["BTC/USDT"])
    feed.on_frame(at(0), depth(20, 21), ts_init=0)

    feed.on_snapshot(BTC, snapshot(10), ts_init=0)

    assert feed.awaiting == (BTC,)
    again = feed.on_snapshot(BTC, snapshot(20), ts_init=0)
    assert of(BookDelta, again)[0].last_update_id == 21


def test_crossed_book_is_thrown_away() -> None:
    feed = synced()

    outputs = feed.on_frame(at(1), depth(11, 11, bids=[["101.00", "1"]]), ts_init=0)

    assert feed.counts.book_crossed == 1
    assert of(BookDelta, outputs) == []
    assert feed.awaiting == (BTC,)


def test_repeated_frames_are_counted_once() -> None:
    feed = synced()
    feed.on_frame(at(1), ticker(11), ts_init=0)

    again = feed.on_frame(at(2), ticker(11), ts_init=0) + feed.on_frame(at(3), trade(1), ts_init=0)

    assert again == []
    assert feed.counts.duplicates == 2


@pytest.mark.parametrize(
    "frame",
    [
        b"not json",
        b'{"stream":"btcusdt@trade","data":{"t":',
        b'{"stream":"btcusdt@trade","data":{"s":"BTCUSDT"}}',
        b"\xff\xfe@tradexxxx",
        trade(2, price="NaN"),
        trade(2, price="-1"),
        trade(2, price="Infinity"),
        ticker(11, bid="0"),
        ticker(11, B="-1"),
        depth(11, 12, bids=[["NaN", "1"]]),
        depth(11, 12, asks=[["100.5", "-2"]]),
    ],
)
def test_frame_that_cannot_be_is_counted_told_and_changes_nothing(frame: bytes) -> None:
    feed = synced()
    feed.take_notices()

    outputs = feed.on_frame(at(1), frame, ts_init=0)

    assert outputs == []
    assert feed.counts.undecodable == 1
    assert len(feed.take_notices()) == 1
    assert of(BookDelta, feed.on_frame(at(2), depth(11, 12), ts_init=0))


def test_strangers_are_counted_and_dropped() -> None:
    feed = synced()

    outputs = feed.on_frame(at(1), trade(5, symbol="XRPUSDT"), ts_init=0)
    outputs += feed.on_frame(at(2), envelope("btcusdt@markPrice", e="markPriceUpdate", s="BTCUSDT"), ts_init=0)
    outputs += feed.on_frame(at(3), b'{"result":null,"id":1}', ts_init=0)

    assert outputs == []
    assert (feed.counts.unfollowed, feed.counts.unknown_events, feed.counts.undecodable) == (1, 1, 0)


def test_order_of_keys_does_not_matter() -> None:
    feed = synced()
    body = msgspec.json.decode(trade(2), type=dict[str, Any])
    turned = msgspec.json.encode({"data": body["data"], "stream": body["stream"]})

    assert of(Trade, feed.on_frame(at(1), turned, ts_init=0))[0].trade_id == "2"


def test_missing_prints_are_told() -> None:
    feed = synced()

    feed.on_frame(at(1), trade(5), ts_init=0)

    assert feed.counts.trade_gaps == 1
    assert feed.take_notices() == [f"prints 2 to 4 of {BTC} are missing"]


def test_feed_that_resumes_tells_what_was_missed() -> None:
    feed = BinanceFeed("sim", ["BTC/USDT"])
    feed.resume(synced().marks)
    feed.on_frame(at(0), trade(3), ts_init=0)

    outputs = feed.on_snapshot(BTC, snapshot(10), ts_init=0)

    assert [one.trade_id for one in of(Trade, outputs)] == ["3"]
    assert feed.take_notices() == [f"prints 2 to 2 of {BTC} are missing"]


def test_venue_that_counts_anew_after_a_reconnect_is_heard() -> None:
    feed = BinanceFeed("sim", ["BTC/USDT"])
    feed.on_snapshot(BTC, snapshot(500), ts_init=0)
    feed.on_frame(at(0), trade(900), ts_init=0)
    feed.on_frame(at(1), ticker(700), ts_init=0)
    feed.on_disconnect("the venue was restarted", ts_init=0)
    feed.on_frame(at(2), trade(1), ts_init=0)
    feed.on_frame(at(2), ticker(12, bid="98.00"), ts_init=0)

    outputs = feed.on_snapshot(BTC, snapshot(10), ts_init=0)

    assert [one.trade_id for one in of(Trade, outputs)] == ["1"]
    assert [one.update_id for one in of(Quote, outputs)] == [12]
    assert feed.counts.duplicates == 0
    assert "are counted anew from 1" in feed.take_notices()[0]


def test_beat_comes_before_the_messages_of_the_frame_that_crossed_the_second() -> None:
    feed = synced()

    outputs = feed.on_frame(at(1_250), trade(2, at_ms=2_500), ts_init=9)

    assert [type(output.message) for output in outputs][:3] == [Beat, Beat, Trade]
    assert [output.stream for output in outputs][:2] == ["market", "beats"]
    beat = of(Beat, outputs)[0]
    assert beat.ts_event == at(1_000)
    assert beat.touches[0].age_ms == 1_000
    assert beat.touches[0].bid == Decimal("99.00")


def test_every_second_of_a_silence_has_its_beat_up_to_a_bound() -> None:
    feed = synced()

    few = of(Beat, feed.on_frame(at(3_100), trade(2), ts_init=0))
    many = of(Beat, feed.on_frame(at(3_600_000), trade(3), ts_init=0))

    assert [beat.ts_event for beat in few[::2]] == [at(1_000), at(2_000), at(3_000)]
    assert len(many) == 2 * MAX_BEATS_AT_ONCE
    assert many[-1].ts_event == at(3_600_000)


def test_silence_beats_with_a_growing_age() -> None:
    feed = synced()

    beats = of(Beat, feed.on_silence(at(2_000)))

    assert [beat.touches[0].age_ms for beat in beats[::2]] == [1_000, 2_000]
    assert feed.on_silence(at(2_000) + NS_PER_S // 2) == []


def test_touch_is_conflated_by_event_time_and_keeps_the_newest() -> None:
    feed = synced(touch_interval_ms=100)
    feed.on_frame(at(1), ticker(11, bid="99.10"), ts_init=0)
    feed.on_frame(at(1), ticker(12, bid="99.20"), ts_init=0)

    early = feed.on_frame(at(99), trade(2, at_ms=99), ts_init=0)
    due = feed.on_frame(at(150), trade(3, at_ms=150), ts_init=0)

    assert of(Touch, early) == []
    assert [touch.bid for touch in of(Touch, due)] == [Decimal("99.20")]


def test_older_book_does_not_replace_a_newer_quote_in_the_touch() -> None:
    feed = synced(touch_interval_ms=0)
    feed.on_frame(at(1), ticker(20, bid="99.50"), ts_init=0)

    outputs = feed.on_frame(at(2), depth(11, 12, bids=[["99.00", "5"]]), ts_init=0)

    assert of(Touch, outputs) == []


def test_end_of_a_tape_tells_the_touch_that_was_kept_back() -> None:
    feed = synced(touch_interval_ms=1_000)
    feed.on_frame(at(1), ticker(11, bid="99.10"), ts_init=0)

    outputs = feed.on_end(ts_init=0)

    assert [touch.bid for touch in of(Touch, outputs)] == [Decimal("99.10")]
    assert of(VenueStatus, outputs)[-1].status == "ended"


def test_lost_connection_holds_frames_again_and_tells_when_it_is_back() -> None:
    feed = synced()
    lost = of(VenueStatus, feed.on_disconnect("reset by peer", ts_init=0))
    held = feed.on_frame(at(10), trade(2, at_ms=10), ts_init=0)

    back = feed.on_snapshot(BTC, snapshot(30), ts_init=0)

    assert lost[0].status == "disconnected"
    assert held == []
    assert of(VenueStatus, back)[0].status == "connected"
    assert of(Trade, back)[0].trade_id == "2"


@pytest.mark.parametrize("body", [b"{}", b"<html>", snapshot(5, bids=[["NaN", "1"]]), snapshot(5, asks=[["1", "-1"]])])
def test_snapshot_that_cannot_be_is_refused_and_stays_awaited(body: bytes) -> None:
    feed = BinanceFeed("sim", ["BTC/USDT"])

    with pytest.raises(Poison):
        feed.on_snapshot(BTC, body, ts_init=0)

    assert feed.awaiting == (BTC,)


def test_recorded_snapshot_line_is_taken_where_one_symbol_is_followed() -> None:
    feed = BinanceFeed("sim", ["BTC/USDT"])
    feed.on_line(at(0), trade(1), ts_init=0)

    assert of(BookSnapshot, feed.on_line(at(1), snapshot(10), ts_init=0))


def test_streams_are_named_as_the_venue_names_them() -> None:
    assert stream_names(["BTC/USDT"]) == ("btcusdt@trade", "btcusdt@bookTicker", "btcusdt@depth@100ms")


@pytest.mark.parametrize(
    "frame",
    [trade(2, price="10000.00"), ticker(11, bid="9900", ask="10100"), ticker(11, ask="10100"), trade(2, price="1")],
)
def test_price_that_leapt_is_kept_out_and_told(frame: bytes) -> None:
    feed = synced()

    outputs = feed.on_frame(at(1), frame, ts_init=0)

    assert outputs == []
    assert feed.counts.quarantined == 1
    assert "kept out until it is confirmed" in feed.take_notices()[0]


def test_price_that_stays_where_it_leapt_is_believed() -> None:
    feed = synced()
    leapt = [feed.on_frame(at(1), trade(2 + n, price="200.00"), ts_init=0) for n in range(FRAMES_TO_BELIEVE + 1)]

    assert [bool(of(Trade, outputs)) for outputs in leapt] == [False] * FRAMES_TO_BELIEVE + [True]


def test_price_that_walks_far_is_never_kept_out() -> None:
    feed = synced()
    for number in range(200):
        feed.on_frame(at(1), trade(2 + number, price=str(100 + number)), ts_init=0)

    assert feed.counts.quarantined == 0


def test_a_feed_that_waits_for_books_holds_what_comes_after_a_lost_one() -> None:
    feed = synced(waits_for_books=True)

    lost = feed.on_frame(at(0), depth(15, 16), ts_init=0)
    held = feed.on_frame(at(0), trade(2), ts_init=0) + feed.on_frame(at(0), depth(17, 18), ts_init=0)
    assert ([m.status for m in of(VenueStatus, lost)], held, feed.lost) == (["resync"], [], {BTC: 16})
    outputs = feed.on_snapshot(BTC, snapshot(16), ts_init=0)

    kinds = [type(output.message) for output in outputs if output.stream == "market"]
    assert (kinds, feed.lost, feed.held) == ([BookSnapshot, Trade, BookDelta], {}, 0)


def test_a_book_lost_again_among_held_frames_holds_the_rest() -> None:
    feed = synced(waits_for_books=True)
    for frame in (depth(15, 16), depth(17, 18), depth(21, 22), trade(2)):
        feed.on_frame(at(0), frame, ts_init=0)

    outputs = feed.on_snapshot(BTC, snapshot(16), ts_init=0)

    assert [type(output.message) for output in outputs if output.stream == "market"] == [
        BookSnapshot,
        BookDelta,
        VenueStatus,
    ]
    assert (feed.lost, feed.held) == ({BTC: 22}, 1)


def test_a_lost_connection_ends_the_wait_for_a_lost_book() -> None:
    feed = synced(waits_for_books=True)
    feed.on_frame(at(0), depth(15, 16), ts_init=0)

    feed.on_disconnect("cut", ts_init=0)

    assert (feed.lost, feed.awaiting) == ({}, (BTC,))


def test_a_live_feed_does_not_hold_what_comes_after_a_lost_book() -> None:
    feed = synced()
    feed.on_frame(at(0), depth(15, 16), ts_init=0)

    assert of(Trade, feed.on_frame(at(0), trade(2), ts_init=0))
    assert (feed.lost, feed.held) == ({}, 0)


@given(st.lists(st.integers(0, 6), min_size=12, max_size=12))
def test_messages_of_a_feed_that_waits_do_not_depend_on_when_lost_books_came(delays: list[int]) -> None:
    updates = [(11, 11), (13, 14), (15, 15), (18, 19), (20, 20), (23, 23)]
    frames = [frame for i, span in enumerate(updates) for frame in (depth(*span, at_ms=i * 300), trade(2 + i))]

    def run(patience: list[int]) -> list[bytes]:
        feed, outputs, waited = synced(waits_for_books=True), list[Output](), 0
        for frame, delay in zip(frames, patience, strict=True):
            outputs += feed.on_frame(at(0), frame, ts_init=0)
            waited += 1
            while feed.lost and waited > delay:
                outputs += feed.on_snapshot(BTC, snapshot(feed.lost[BTC]), ts_init=0)
                waited = 0
        while feed.lost:
            outputs += feed.on_snapshot(BTC, snapshot(feed.lost[BTC]), ts_init=0)
        return [output.stream.encode() + encode(output.message) for output in outputs]

    assert run(delays) == run([0] * len(frames))


FAR_MS = 10 * 86_400_000  # ten days ahead


@pytest.mark.parametrize("frame", [trade(2, at_ms=FAR_MS), depth(11, 11, at_ms=FAR_MS)], ids=["print", "depth"])
def test_a_stamp_far_in_the_future_is_refused_and_stills_no_touch(frame: bytes) -> None:
    feed = synced(touch_interval_ms=100)

    outputs = feed.on_frame(at(1), frame, ts_init=0)
    later = [ticker(20 + i, bid=f"99.{i:02d}") for i in range(1, 9)]
    for i, one in enumerate(later, start=1):
        outputs += feed.on_frame(at(500 * i), trade(2 + i, at_ms=500 * i), ts_init=0)
        outputs += feed.on_frame(at(500 * i), one, ts_init=0)

    assert feed.counts.undecodable == 1
    assert len(of(Touch, outputs)) == len(later)
    assert all(touch.ts_event < at(5_000) for touch in of(Touch, outputs))


def test_a_change_that_is_refused_for_its_stamp_loses_the_book() -> None:
    feed = synced()

    outputs = feed.on_frame(at(1), depth(11, 12, at_ms=FAR_MS, bids=[("99.00", "2")]), ts_init=0)

    assert [status.status for status in of(VenueStatus, outputs)] == ["resync"]
    assert feed.lost == {}  # nothing waits live
    assert feed.awaiting == (BTC,)


def test_a_change_from_before_the_snapshot_that_is_refused_for_its_stamp_loses_nothing() -> None:
    feed = synced()

    feed.on_frame(at(1), depth(5, 10, at_ms=FAR_MS), ts_init=0)

    assert (feed.counts.undecodable, feed.awaiting) == (1, ())


@pytest.mark.parametrize("stamp", [1, -1, 10**23, START_MS + FAR_MS])
def test_a_print_whose_own_stamp_cannot_be_is_refused(stamp: int) -> None:
    feed = synced()

    outputs = feed.on_frame(at(1), trade(2, T=stamp), ts_init=0)

    assert of(Trade, outputs) == []
    assert feed.counts.undecodable == 1


def test_a_frame_far_in_the_future_is_not_what_the_first_books_are_stamped_with() -> None:
    feed = BinanceFeed("sim", ["BTC/USDT"])
    feed.on_frame(at(0), trade(1, at_ms=FAR_MS), ts_init=0)
    feed.on_frame(at(0), trade(2), ts_init=0)

    (book,) = of(BookSnapshot, feed.on_snapshot(BTC, snapshot(10), ts_init=0))

    assert book.ts_event == at(0)


def test_a_book_that_the_venue_refuses_holds_nobody_elses_frames() -> None:
    feed = BinanceFeed("sim", ["BTC/USDT", "ETH/USDT"])
    feed.on_snapshot(BTC, snapshot(10), ts_init=0)
    held = feed.on_frame(at(0), trade(1), ts_init=0) + feed.on_frame(at(1), depth(11, 11), ts_init=0)

    outputs = feed.give_up_book(ETH, "answered 400: Invalid symbol.", ts_init=0)

    assert held == []
    assert [type(output.message) for output in outputs if output.stream == "market"] == [BookSnapshot, Trade, BookDelta]
    assert (feed.awaiting, feed.held) == ((), 0)
    assert any("ETH/USDT@sim has no book" in notice for notice in feed.take_notices())


def test_a_book_that_was_refused_is_asked_for_again_on_the_next_connection() -> None:
    feed = BinanceFeed("sim", ["BTC/USDT", "ETH/USDT"], bookless=["BTC/USDT"])
    feed.give_up_book(ETH, "answered 400", ts_init=0)

    feed.on_disconnect("gone", ts_init=0)

    assert feed.awaiting == (ETH,)


def test_a_book_whose_prices_are_the_same_as_floats_is_exact() -> None:
    one, other = "98.000000000000001", "98.000000000000002"
    feed = synced()

    outputs = feed.on_frame(at(0), depth(11, 11, bids=[("99.00", "0"), (one, "1"), (other, "2")]), ts_init=0)
    outputs += feed.on_frame(at(0), depth(12, 12, bids=[(other, "0")]), ts_init=0)

    assert len(of(BookDelta, outputs)) == 2
    assert feed._followed["BTCUSDT"].book.bids.sizes == {Decimal(one): 1}


def test_frames_of_a_live_market_do_not_wait_without_end_for_a_book(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "MOST_HELD", 20)
    feed = BinanceFeed("sim", ["BTC/USDT", "ETH/USDT"])
    feed.on_snapshot(BTC, snapshot(10), ts_init=0)
    frames = [depth(11, 11), *(trade(number) for number in range(1, 19)), depth(20, 21, symbol="ETHUSDT"), trade(19)]

    outputs = [output for frame in frames for output in feed.on_frame(at(0), frame, ts_init=0)]

    assert [len(of(kind, outputs)) for kind in (BookSnapshot, BookDelta, Trade)] == [1, 1, 19]
    assert (feed.held, feed.awaiting) == (0, (ETH,))
    assert any("go on without" in notice for notice in feed.take_notices())
    later = feed.on_snapshot(ETH, snapshot(20), ts_init=0)
    assert [delta.last_update_id for delta in of(BookDelta, later)] == [21]
    assert feed.awaiting == ()


def test_what_waits_for_a_lost_book_is_bounded_and_a_later_book_goes_on() -> None:
    feed = synced()
    feed.on_frame(at(0), depth(13, 13), ts_init=0)  # 11 and 12 are missing: the book is lost

    for number in range(14, 14 + 2 * MOST_PENDING):
        feed.on_frame(at(0), depth(number, number, bids=[("98.00", "1")]), ts_init=0)
    last = 13 + 2 * MOST_PENDING
    outputs = feed.on_snapshot(BTC, snapshot(last - 2), ts_init=0)

    assert [delta.last_update_id for delta in of(BookDelta, outputs)] == [last - 1, last]
    assert feed.awaiting == ()
