"""Kraken v2: books are proven by the venue's checksum at each frame, or given up.

The worked example is of docs.kraken.com, "Book checksum (WebSocket v2)"; the frames of ETH/BTC were sent by the venue
on 2026-08-26.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import TypeVar
from zlib import crc32

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefleet.errors import Misuse
from edgefleet.messages import BookDelta, BookSnapshot, Trade, VenueStatus
from edgefleet.stage import Output
from edgefleet.venues.dialect import FeedOptions
from edgefleet.venues.kraken.dialect import DIALECT
from edgefleet.venues.kraken.feed import KrakenFeed
from edgefleet.venues.kraken.ladder import UNDATED, Ladder, Piece, decimals_of, digits_at, digits_of
from edgefleet.venues.stamps import rfc3339_ns
from edgefleet.venues.stream_books import SAME_MOMENT_NS

ETH = "ETH/BTC@kraken"
NOW = rfc3339_ns("2026-08-26T15:16:17Z")
M = TypeVar("M")

SNAPSHOT = (
    b'{"channel":"book","type":"snapshot","data":[{"symbol":"ETH/BTC","bids":[{"price":0.031348,"qty":0.03740000},'
    b'{"price":0.031347,"qty":2.87288049},{"price":0.031345,"qty":8.57986833},{"price":0.031344,"qty":14.40276069},'
    b'{"price":0.031340,"qty":12.96065840},{"price":0.031339,"qty":13.19606540},{"price":0.031338,"qty":20.41389313},'
    b'{"price":0.031336,"qty":0.03740000},{"price":0.031334,"qty":14.37158163},{"price":0.031332,"qty":14.40695990}],'
    b'"asks":[{"price":0.031357,"qty":0.03740000},{"price":0.031358,"qty":2.87194815},{"price":0.031361,"qty":'
    b'0.00767324},{"price":0.031362,"qty":4.27140781},{"price":0.031363,"qty":4.34586052},{"price":0.031364,"qty":'
    b'27.28097668},{"price":0.031365,"qty":12.92325840},{"price":0.031366,"qty":4.14290322},{"price":0.031368,"qty":'
    b'0.00738649},{"price":0.031370,"qty":0.03740000}],"checksum":3619791617,"timestamp":'
    b'"2026-08-26T15:16:16.637831Z"}]}'
)
UPDATE = (
    b'{"channel":"book","type":"update","data":[{"symbol":"ETH/BTC","bids":[{"price":0.031347,"qty":0.00000000},'
    b'{"price":0.031329,"qty":19.07893401}],"asks":[],"checksum":2505869009,"timestamp":'
    b'"2026-08-26T15:16:16.730423Z"}]}'
)
ACK = (
    b'{"method":"subscribe","result":{"channel":"book","depth":10,"snapshot":true,"symbol":"ETH/BTC"},"success":true,'
    b'"time_in":"2026-08-26T15:16:16.576099Z","time_out":"2026-08-26T15:16:16.576140Z"}'
)
DOCS_BIDS = (
    "45283.5 0.10000000,45283.4 1.54582015,45282.1 0.10000000,45281.0 0.10000000,45280.3 1.54592586,"
    "45279.0 0.07990000,45277.6 0.03310103,45277.5 0.30000000,45277.3 1.54602737,45276.6 0.15445238"
)
DOCS_ASKS = (
    "45285.2 0.00100000,45286.4 1.54571953,45286.6 1.54571109,45289.6 1.54560911,45290.2 0.15890660,"
    "45291.8 1.54553491,45294.7 0.04454749,45296.1 0.35380000,45297.5 0.09945542,45299.5 0.18772827"
)
DOCS_CHECKSUM = 3310070434


def feeding(*frames: bytes, **options: int) -> tuple[KrakenFeed, list[Output]]:
    feed = KrakenFeed("kraken", ["ETH/BTC", "BTC/USD"], **options)
    return feed, [output for one in frames for output in feed.on_frame(NOW, one, NOW)]


def of(kind: type[M], outputs: list[Output]) -> list[M]:
    return [output.message for output in outputs if isinstance(output.message, kind)]


def docs_frame(*, shorten: bool) -> bytes:
    """Return the documentation's snapshot, with trailing zeros as the venue writes them, or without."""

    def rows(text: str) -> str:
        pairs = [level.split() for level in text.split(",")]
        written = [[str(float(part)) for part in pair] if shorten else pair for pair in pairs]
        return ",".join(f'{{"price":{price},"qty":{qty}}}' for price, qty in written)

    return (
        f'{{"channel":"book","type":"snapshot","data":[{{"symbol":"BTC/USD","bids":[{rows(DOCS_BIDS)}],'
        f'"asks":[{rows(DOCS_ASKS)}],"checksum":{DOCS_CHECKSUM},"timestamp":"2023-10-06T17:35:55.440295Z"}}]}}'
    ).encode()


def instruments(price: int, size: int) -> bytes:
    pair = {"symbol": "BTC/USD", "price_precision": price, "qty_precision": size, "status": "online"}
    return msgspec.json.encode({"channel": "instrument", "type": "snapshot", "data": {"assets": [], "pairs": [pair]}})


def test_the_documentations_example_has_its_checksum() -> None:
    feed, outputs = feeding(docs_frame(shorten=False))

    assert (feed.counts.checksums_ok, feed.counts.checksums_bad) == (1, 0)
    assert len(of(BookSnapshot, outputs)) == 1


def test_with_the_venues_precisions_numbers_may_be_written_short() -> None:
    feed, _ = feeding(instruments(1, 8), docs_frame(shorten=True))

    assert (feed.counts.checksums_ok, feed.counts.checksums_bad) == (1, 0)


def test_precisions_that_come_after_the_book_are_taken_for_it() -> None:
    levels = '"bids":[{"price":45283,"qty":2}],"asks":[{"price":45285,"qty":3}]'
    first = crc32(b"452853" + b"452832")
    snapshot = f'{{"channel":"book","type":"snapshot","data":[{{"symbol":"BTC/USD",{levels},"checksum":{first}}}]}}'
    then = crc32(b"452850" + b"300000000" + b"452830" + b"200000000" + b"452820" + b"100000000")
    change = (
        f'{{"channel":"book","type":"update","data":[{{"symbol":"BTC/USD","bids":[{{"price":45282,"qty":1}}],"asks":[],'
        f'"checksum":{then},"timestamp":"2023-10-06T17:35:55.440295Z"}}]}}'
    )

    feed, outputs = feeding(snapshot.encode(), instruments(1, 8), change.encode())

    assert (feed.counts.checksums_ok, feed.counts.checksums_bad) == (2, 0)
    assert len(of(BookDelta, outputs)) == 1


def test_frames_of_the_venue_have_their_checksums() -> None:
    feed, outputs = feeding(ACK, SNAPSHOT, UPDATE)

    assert (feed.counts.checksums_ok, feed.counts.checksums_bad) == (2, 0)
    (delta,) = of(BookDelta, outputs)
    assert delta.ts_event == rfc3339_ns("2026-08-26T15:16:16.730423Z")


def test_a_level_that_falls_out_of_the_depth_is_told_to_who_reads_our_deltas() -> None:
    better = UPDATE.replace(b'{"price":0.031347,"qty":0.00000000},{"price":0.031329,"qty":19.07893401}', b"%b")
    asks = "0.031357 0.03740000,0.031358 2.87194815,0.031361 0.00767324,0.031362 4.27140781,0.031363 4.34586052,"
    asks += "0.031364 27.28097668,0.031365 12.92325840,0.031366 4.14290322,0.031368 0.00738649,0.031370 0.03740000"
    bids = "0.031349 1.00000000,0.031348 0.03740000,0.031347 2.87288049,0.031345 8.57986833,0.031344 14.40276069,"
    bids += "0.031340 12.96065840,0.031339 13.19606540,0.031338 20.41389313,0.031336 0.03740000,0.031334 14.37158163"
    text = "".join(digits_of(part) for side in (asks, bids) for level in side.split(",") for part in level.split())
    frame = (better % b'{"price":0.031349,"qty":1.00000000}').replace(b"2505869009", b"%d" % crc32(text.encode()))

    feed, outputs = feeding(SNAPSHOT, frame)

    assert feed.counts.checksums_ok == 2
    assert of(BookDelta, outputs)[0].bids == (
        (Decimal("0.031349"), Decimal("1.00000000")),
        (Decimal("0.031332"), Decimal(0)),
    )


def test_a_wrong_checksum_loses_the_book_before_anybody_hears_of_the_change() -> None:
    feed, outputs = feeding(SNAPSHOT, UPDATE.replace(b"2505869009", b"2505869008"))

    assert not of(BookDelta, outputs)
    assert [status.status for status in of(VenueStatus, outputs)] == ["resync"]
    assert feed.counts.checksums_bad == 1
    assert [msgspec.json.decode(text) for text in feed.take_requests()] == [
        {"method": method, "params": {"channel": "book", "symbol": ["ETH/BTC"], "depth": 10}}
        for method in ("unsubscribe", "subscribe")
    ]


def test_a_snapshot_with_a_wrong_checksum_begins_no_book() -> None:
    feed, outputs = feeding(SNAPSHOT.replace(b"3619791617", b"1"))

    assert not of(BookSnapshot, outputs)
    assert feed.counts.checksums_bad == 1


def test_a_frame_that_comes_twice_changes_nothing() -> None:
    feed, outputs = feeding(SNAPSHOT, UPDATE, UPDATE)

    assert len(of(BookDelta, outputs)) == 1
    assert feed.counts.duplicates == 1


def test_a_removal_of_what_is_not_there_is_passed_over() -> None:
    extra = UPDATE.replace(b'"asks":[]', b'"asks":[{"price":0.040000,"qty":0.00000000}]')

    feed, _ = feeding(SNAPSHOT, extra)

    assert (feed.counts.checksums_ok, feed.counts.checksums_bad) == (2, 0)


def prints(kind: str, *ids: int) -> bytes:
    rows = [
        {"symbol": "ETH/BTC", "side": "buy", "price": 0.031, "qty": 1, "trade_id": one, "ord_type": "market"}
        | {"timestamp": "2026-08-26T15:16:16.000001Z"}
        for one in ids
    ]
    return msgspec.json.encode({"channel": "trade", "type": kind, "data": rows})


def test_the_side_of_a_print_is_the_takers() -> None:
    _, outputs = feeding(prints("update", 7))

    assert [(trade.trade_id, trade.aggressor) for trade in of(Trade, outputs)] == [("7", "buy")]


def test_prints_of_before_only_tell_where_prints_begin() -> None:
    feed, outputs = feeding(prints("snapshot", 1, 2, 3), prints("update", 4), prints("update", 6))

    assert [trade.trade_id for trade in of(Trade, outputs)] == ["4", "6"]
    assert feed.counts.trade_gaps == 1


def test_prints_that_were_missed_over_a_break_come_with_the_subscription() -> None:
    feed, _ = feeding(prints("update", 4))
    feed.on_disconnect("cut", NOW)

    outputs = feed.on_frame(NOW, prints("snapshot", 3, 4, 5, 6), NOW) + feed.on_frame(NOW, prints("update", 7), NOW)

    assert [trade.trade_id for trade in of(Trade, outputs)] == ["5", "6", "7"]
    assert (feed.counts.trade_gaps, feed.counts.duplicates) == (0, 0)


@pytest.mark.parametrize(
    ("frame", "notice"),
    [
        (
            b'{"error":"Currency pair not supported XX/YY","method":"subscribe","success":false,"symbol":"XX/YY"}',
            ["kraken refused a request for XX/YY: Currency pair not supported XX/YY"],
        ),
        (b'{"error":"Subscription Not Found","method":"unsubscribe","success":false}', []),
        (
            b'{"channel":"status","type":"update","data":[{"system":"maintenance","version":"2.0.10"}]}',
            ["kraken says that its engine is in maintenance"],
        ),
        (b'{"channel":"status","type":"update","data":[{"system":"online"}]}', []),
        (b'{"channel":"heartbeat"}', []),
        (b'{"method":"pong","time_in":"2026-08-26T15:16:16Z"}', []),
    ],
)
def test_refusals_and_the_engines_state_are_told(frame: bytes, notice: list[str]) -> None:
    feed, _ = feeding(frame)

    assert feed.take_notices() == notice
    assert feed.counts.undecodable == 0


def test_a_connection_asks_for_precisions_books_prints_and_tops() -> None:
    feed, _ = feeding(depth=25)
    feed.on_connect(NOW)

    asked = [msgspec.json.decode(text)["params"] for text in feed.take_requests()]
    assert [one["channel"] for one in asked] == ["instrument", "book", "trade", "ticker"]
    assert asked[1] == {"channel": "book", "symbol": ["ETH/BTC", "BTC/USD"], "depth": 25}


def test_a_depth_that_the_venue_has_not_is_refused() -> None:
    with pytest.raises(Misuse, match="10, 25, 100, 500, 1000, not 20"):
        feeding(depth=20)
    with pytest.raises(Misuse, match="was 'deep'"):
        DIALECT.feed("kraken", ["BTC/USD"], FeedOptions(options={"depth": "deep"}))


def test_the_dialect_names_pairs_of_market_data_alone() -> None:
    assert DIALECT.names(SNAPSHOT) == ("ETH/BTC",)
    assert DIALECT.names(instruments(1, 8)) == ()
    assert DIALECT.names(ACK) == ()


@given(st.decimals("0.00000001", "99999999", places=8, allow_nan=False))
def test_digits_at_a_precision_are_those_of_the_text(value: Decimal) -> None:
    assert digits_at(value, 8) == digits_of(f"{value:.8f}")
    assert decimals_of(Decimal(f"{value:.8f}")) == 8


Step = tuple[bool, int, int]


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 40), st.integers(0, 3)), max_size=120), st.integers(1, 12))
def test_a_ladder_is_the_sorted_book_cut_after_each_change(steps: Sequence[Step], depth: int) -> None:
    ladder, book = Ladder(depth), {True: dict[int, int](), False: dict[int, int]()}
    for is_bid, price, size in steps:
        piece = (Decimal(price), Decimal(size), f"<{price}:{size}>", 0)
        fallen_bids, fallen_asks = ladder.apply([piece] if is_bid else [], [] if is_bid else [piece])

        side = book[is_bid]
        if size:
            side[price] = size
        else:
            side.pop(price, None)
        past = sorted(side, reverse=is_bid)[depth:]
        for one in past:
            del side[one]
        assert [int(price) for price, _ in (fallen_bids if is_bid else fallen_asks)] == past

        text = "".join(f"<{p}:{book[False][p]}>" for p in sorted(book[False])[:10])
        text += "".join(f"<{p}:{book[True][p]}>" for p in sorted(book[True], reverse=True)[:10])
        assert ladder.checksum() == crc32(text.encode())


def test_a_change_from_before_a_newer_one_of_its_level_is_known() -> None:
    ladder = Ladder(10)
    moment = 20 * SAME_MOMENT_NS
    ladder.apply([(Decimal(5), Decimal(0), "", moment)], [])

    def late(stamp: int) -> Piece:
        return Decimal(5), Decimal(1), "51", stamp

    assert ladder.is_late([late(moment - SAME_MOMENT_NS - 1)], [])
    assert not ladder.is_late([late(moment - SAME_MOMENT_NS)], [])
    assert not ladder.is_late([late(UNDATED)], [])
    assert not ladder.is_late([], [late(0)])
