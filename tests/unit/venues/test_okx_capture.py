"""What a recorded connection to OKX proves about itself: every checksum of three books is that of ours."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from edgefleet.messages import BookDelta, Trade
from edgefleet.stage import Output
from edgefleet.venues.dialect import Listed
from edgefleet.venues.okx.dialect import DIALECT
from edgefleet.venues.okx.feed import OkxFeed

from .recorded_lines import answers, frames

pytestmark = pytest.mark.data

SYMBOLS = ("BTC/USDT", "UNI/USD:UNI", "BTC/USD:BTC-220527")


@pytest.fixture(scope="module")
def lines(recorded: Path) -> list[tuple[int, bytes]]:
    return list(frames(recorded / "okx" / "OKX.ws.1.0.gz"))


@pytest.fixture(scope="module")
def run(lines: list[tuple[int, bytes]]) -> tuple[OkxFeed, list[Output]]:
    feed = OkxFeed("okx", SYMBOLS)
    feed.on_connect(lines[0][0])
    return feed, [out for stamp, raw in lines for out in feed.on_frame(stamp, raw, stamp)]


def test_every_checksum_is_right(run: tuple[OkxFeed, list[Output]]) -> None:
    feed = run[0]
    counts = feed.counts

    assert (counts.snapshots, counts.depth_applied) == (3, 287)
    assert (counts.checksums_ok, counts.checksums_bad, counts.book_crossed) == (290, 0, 0)
    assert [one.checksums_ok for one in feed.book_counts().values()] == [98, 93, 99]
    assert (feed.unconfirmed, feed.take_notices()) == ((), [])


def test_every_frame_is_accounted_for(lines: list[tuple[int, bytes]], run: tuple[OkxFeed, list[Output]]) -> None:
    counts = run[0].counts
    prints = [raw for _, raw in lines if b'"tradeId"' in raw]

    assert counts.frames == len(lines)
    assert counts.trades == sum(raw.count(b'"tradeId"') for raw in prints)
    assert (counts.unknown_events, counts.undecodable, counts.unfollowed, counts.duplicates) == (0, 0, 0, 0)
    assert counts.trade_gaps == 0


def test_prints_sum_to_what_is_written(lines: list[tuple[int, bytes]], run: tuple[OkxFeed, list[Output]]) -> None:
    mine = [out.message for out in run[1] if isinstance(out.message, Trade)]

    first = mine[2]
    assert (first.instrument, first.trade_id, first.price) == ("BTC/USDT@okx", "338476307", Decimal(30236))
    assert first.aggressor == "buy"
    assert first.ts_event == 1_652_459_224_818_000_000


def test_deltas_of_an_unnumbered_book_are_counted_by_us(run: tuple[OkxFeed, list[Output]]) -> None:
    deltas = [out.message for out in run[1] if isinstance(out.message, BookDelta)]
    btc = [delta for delta in deltas if delta.instrument == "BTC/USDT@okx"]

    first = btc[0].first_update_id
    assert [delta.first_update_id for delta in btc] == list(range(first, first + 97))
    assert all(delta.first_update_id == delta.last_update_id for delta in btc)


def test_one_missing_update_is_found_by_its_checksum(lines: list[tuple[int, bytes]]) -> None:
    updates = [i for i, (_, raw) in enumerate(lines) if b'"update"' in raw and b'"BTC-USDT"' in raw]
    feed = OkxFeed("okx", SYMBOLS)

    for i, (stamp, raw) in enumerate(lines):
        if i != updates[10]:
            feed.on_frame(stamp, raw, stamp)

    assert feed.counts.checksums_bad == 1
    assert feed.unconfirmed == ("BTC/USDT@okx",)
    assert [one.checksums_ok for one in feed.book_counts().values()] == [11, 93, 99]


def test_the_capture_names_its_instruments(lines: list[tuple[int, bytes]]) -> None:
    named = {name for _, raw in lines for name in DIALECT.names(raw)}

    assert {DIALECT.canonical(name) for name in named} == set(SYMBOLS)


def test_recorded_listings_are_read_whole(recorded: Path) -> None:
    assert DIALECT.listing is not None
    listed: dict[str, Listed] = {}
    for _, _, body in answers(recorded / "okx" / "OKX.0.gz"):
        found = DIALECT.listing(body)
        assert len(found) == body.count(b'"instId"')
        listed |= {one.name: one for one in found}

    assert len(listed) > 1_000
    for symbol in SYMBOLS:
        assert listed[DIALECT.spell(symbol)].symbol == symbol
    assert all(DIALECT.spell(one.symbol) == one.name for one in listed.values())
