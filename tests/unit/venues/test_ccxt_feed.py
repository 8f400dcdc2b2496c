"""Frames of ccxt's structures through the feed: whole books as changes, prints once, tickers beside them."""

from __future__ import annotations

import asyncio
from collections import deque
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefleet.book import Book
from edgefleet.errors import Misuse
from edgefleet.messages import BookDelta, BookSnapshot, Quote, Trade, VenueStatus
from edgefleet.stage import Output
from edgefleet.testing.clock import FakeClock
from edgefleet.venues.ccxt import wire
from edgefleet.venues.ccxt.feed import TO_BELIEVE, CcxtFeed
from edgefleet.venues.ccxt.source import open_frames
from edgefleet.venues.dialect import FeedOptions, dialect

SYMBOL, INSTRUMENT = "BTC/USDT", "BTC/USDT@any"
T0 = 1_700_000_000_000_000_000
Rows = list[list[float]]


def _book(bids: Rows, asks: Rows, nonce: int | None = None, ts: int | None = None) -> bytes:
    book = {"symbol": SYMBOL, "nonce": nonce, "timestamp": ts, "bids": bids, "asks": asks}
    return wire.encode(wire.book_frame(SYMBOL, book, 100))


def _trade(identity: str | None, price: float = 100.0, **more: Any) -> dict[str, Any]:
    return {"id": identity, "timestamp": 1_700_000_000_000, "price": price, "amount": 0.5, "side": "buy"} | more


def _trades(*trades: dict[str, Any]) -> bytes:
    return wire.encode(wire.trades_frame(SYMBOL, trades))


def _ticker(bid: float | None, ask: float | None, ts: int | None = None) -> bytes:
    return wire.encode(wire.ticker_frame(SYMBOL, {"bid": bid, "ask": ask, "bidVolume": 1.0, "timestamp": ts}))


class Wire:
    """A feed and its clock."""

    def __init__(self, symbol: str = SYMBOL) -> None:
        feed = dialect("ccxt:bybit").feed("any", [symbol], FeedOptions(touch_interval_ms=0))
        assert isinstance(feed, CcxtFeed)
        self.feed, self.now = feed, T0
        feed.on_connect(self.now)

    def raw(self, *frames: bytes) -> list[Output]:
        """Return what follows from frames."""
        found = []
        for frame in frames:
            self.now += 1_000_000
            found += self.feed.on_frame(self.now, frame, self.now)
        return found

    def hear(self, *frames: bytes) -> list[Any]:
        """Return the messages on `market` that follow from frames."""
        return [out.message for out in self.raw(*frames) if out.stream == "market"]


# --- books


def test_the_first_book_is_a_snapshot_and_the_next_is_what_changed() -> None:
    line = Wire()

    told = line.hear(
        _book([[99.0, 1.0], [98.0, 2.0]], [[101.0, 1.0]], nonce=7),
        _book([[99.0, 3.0], [97.0, 2.0]], [[101.0, 1.0]], nonce=12),
    )

    snapshot = next(message for message in told if isinstance(message, BookSnapshot))
    delta = next(message for message in told if isinstance(message, BookDelta))
    assert (snapshot.update_id, delta.first_update_id, delta.last_update_id) == (7, 8, 12)
    assert set(delta.bids) == {(Decimal(98), Decimal(0)), (Decimal(99), Decimal(3)), (Decimal(97), Decimal(2))}
    assert delta.asks == ()
    assert [(int(quote.bid), int(quote.bid_size)) for quote in told if isinstance(quote, Quote)] == [(99, 1), (99, 3)]


def test_the_same_book_again_says_nothing() -> None:
    line = Wire()
    book = _book([[99.0, 1.0]], [[101.0, 1.0]], nonce=7)

    assert line.hear(book, book, book)[2:] == []


def test_an_older_book_is_left_out_until_the_venue_surely_counts_anew() -> None:
    line = Wire()
    line.hear(_book([[99.0, 1.0]], [[101.0, 1.0]], nonce=1_000))
    older = [_book([[90.0 + n / 100, 1.0]], [[101.0, 1.0]], nonce=n) for n in range(TO_BELIEVE)]

    before = line.hear(*older[:-1])
    after = line.hear(older[-1])

    assert before == []
    assert line.feed.counts.depth_stale == TO_BELIEVE
    assert [type(message) for message in after] == [VenueStatus, BookSnapshot, Quote]


def test_an_older_book_is_known_by_its_stamp_where_there_is_no_number() -> None:
    line = Wire()

    told = line.hear(
        _book([[99.0, 1.0]], [[101.0, 1.0]], ts=1_700_000_000_100),
        _book([[98.0, 1.0]], [[101.0, 1.0]], ts=1_700_000_000_000),
    )

    assert [type(message) for message in told] == [BookSnapshot, Quote]


def test_a_crossed_book_is_given_up_and_the_next_whole_one_begins_anew() -> None:
    line = Wire()
    line.hear(_book([[99.0, 1.0]], [[101.0, 1.0]], nonce=1))

    crossed = line.hear(_book([[102.0, 1.0]], [[101.0, 1.0]], nonce=2))
    whole = line.hear(_book([[99.0, 1.0]], [[101.0, 1.0]], nonce=3))

    assert [type(message) for message in crossed] == [VenueStatus]
    assert [type(message) for message in whole] == [BookSnapshot, Quote]


def test_a_side_that_is_empty_leaves_no_top() -> None:
    line = Wire()
    line.hear(_book([[99.0, 1.0]], [[101.0, 1.0]], nonce=1))

    line.hear(_book([], [[101.0, 1.0]], nonce=2))

    assert line.feed._followed[SYMBOL].top is None


_SIDE = st.dictionaries(st.integers(1, 20), st.integers(1, 5), max_size=8)


@given(st.lists(st.tuples(_SIDE, _SIDE, st.sampled_from(["none", "drop", "twice", "cut", "swap"])), max_size=12))
def test_messages_rebuild_the_book_that_was_shown(steps: list[tuple[dict[int, int], dict[int, int], str]]) -> None:
    frames, shown = [], {}
    for nonce, (bids, asks, mutation) in enumerate(steps, start=1):
        below = sorted(((100.0 - price, float(size)) for price, size in bids.items()), reverse=True)
        above = sorted((100.0 + price, float(size)) for price, size in asks.items())
        frame = _book([list(level) for level in below], [list(level) for level in above], nonce=nonce)
        shown[nonce] = ({Decimal(p): Decimal(s) for p, s in below}, {Decimal(p): Decimal(s) for p, s in above})
        if mutation == "drop":
            continue
        frames += [frame, frame] if mutation == "twice" else [frame[:-9] if mutation == "cut" else frame]
        if mutation == "swap" and len(frames) > 1:
            frames[-2:] = frames[:-3:-1]

    line, book = Wire(), Book()
    for frame in frames:
        for message in line.hear(frame):
            if isinstance(message, BookSnapshot):
                book.load(message.bids, message.asks)
            elif isinstance(message, BookDelta):
                book.apply(message.bids, message.asks)
        followed = line.feed._followed[SYMBOL]
        if followed.synced:
            assert (book.bids.sizes, book.asks.sizes) == shown[followed.update_id]


# --- prints and tickers


def test_prints_are_sent_once_and_only_with_a_side() -> None:
    line = Wire()

    told = line.hear(
        _trades(_trade("7"), _trade("a-8", side="sell")),
        _trades(_trade("7"), _trade("9", side=None)),
        _trades(_trade(None)),
    )

    assert [(trade.trade_id, trade.aggressor) for trade in told][:2] == [("7", "buy"), ("a-8", "sell")]
    assert len(told) == 3
    assert (line.feed.counts.duplicates, line.feed.counts.kept_out) == (1, 1)


def test_an_absurd_print_is_kept_out() -> None:
    line = Wire()

    told = line.hear(_trades(_trade("1"), _trade("2", price=10_000.0), _trade("3", price=-1.0)))

    assert [trade.trade_id for trade in told] == ["1"]
    assert (line.feed.counts.quarantined, line.feed.counts.undecodable) == (1, 1)


def test_a_ticker_is_compared_with_the_book_of_its_instant() -> None:
    line = Wire()
    line.hear(_book([[99.0, 1.0]], [[101.0, 1.0]], nonce=1, ts=1_700_000_000_000))

    told = line.hear(_ticker(99.0, 101.0, 1_700_000_000_000), _ticker(98.0, 101.0, 1_700_000_000_001))

    counts = line.feed.book_counts()[INSTRUMENT]
    assert told == []
    assert (counts.tops_compared, counts.tops_equal) == (1, 1)


def test_where_there_is_no_book_the_ticker_is_the_top() -> None:
    line = Wire()
    refused = wire.encode(wire.Refused(symbol=SYMBOL, what="watch_order_book", reason="NotSupported"))

    told = line.hear(refused, _ticker(99.0, 101.0), _ticker(99.0, 101.0), _ticker(99.0, 98.0), _ticker(None, 101.0))

    assert [type(message) for message in told] == [Quote]
    assert line.feed._followed[SYMBOL].top is None
    assert line.feed.take_notices() == [f"watch_order_book of {INSTRUMENT} is refused: NotSupported"]


def test_a_frame_without_a_stamp_takes_the_last_and_the_very_first_ours() -> None:
    line = Wire()

    first = line.hear(_book([[99.0, 1.0]], [[101.0, 1.0]]))[0]
    second = line.hear(_trades(_trade("1", timestamp=1_700_000_009_000)), _trades(_trade("2", timestamp=None)))[1]

    assert first.ts_event == T0 + 1_000_000
    assert second.ts_event == 1_700_000_009_000_000_000


def test_sizes_of_a_linear_contract_are_base_units() -> None:
    symbol = "BTC/USDT:USDT"
    market = {"id": "BTCUSDT", "contract": True, "linear": True, "contractSize": 0.01, "active": True}
    more = {"precision": {"amount": 1.0, "price": 0.1}, "limits": {"amount": {"min": 1.0}, "cost": {"min": None}}}
    line = Wire(symbol)

    told = line.hear(
        wire.encode(wire.market_frame(symbol, market | more, 4)), wire.encode(wire.trades_frame(symbol, [_trade("1")]))
    )

    listed = line.feed.listed[symbol]
    assert [trade.quantity for trade in told if isinstance(trade, Trade)] == [Decimal("0.005")]
    assert (listed.contract_size, listed.lot_size, listed.tick_size) == tuple(map(Decimal, ("0.01", "0.01", "0.1")))


def test_precision_may_be_a_number_of_digits() -> None:
    market = {"id": "X", "precision": {"amount": 3, "price": 1}, "limits": {"cost": {"min": 5.0}}}

    listed = wire.market_frame(SYMBOL, market, wire.DECIMAL_PLACES).listed

    assert (listed.lot_size, listed.tick_size, listed.min_notional) == tuple(map(Decimal, ("0.001", "0.1", "5")))


def test_frames_are_one_json_object_each_with_numbers_as_text() -> None:
    assert _book([[61800.2, 1e-05]], [], nonce=1) == (
        b'{"kind":"book","symbol":"BTC/USDT","nonce":1,"ts":null,"bids":[["61800.2","0.00001"]],"asks":[]}'
    )
    assert dialect("ccxt:bybit").names(_trades(_trade("1"))) == (SYMBOL,)
    assert dialect("ccxt:bybit").names(b"<html>") == ()


@pytest.mark.parametrize("name", ["ccxt:", "ccxt:no/such", "ccxt:../x"])
def test_what_can_be_no_exchange_is_refused(name: str) -> None:
    with pytest.raises(Misuse):
        dialect(name)


# --- the source, over an exchange that is a script


class _Script:
    """A ccxt.pro exchange that gives what it was told to."""

    precisionMode = 4

    def __init__(self, markets: Any, **answers: list[Any]) -> None:
        self.markets = markets
        self.answers = {what: deque(told) for what, told in answers.items()}
        self.closed = False

    async def load_markets(self) -> Any:
        if isinstance(self.markets, Exception):
            raise self.markets
        return self.markets

    async def close(self) -> None:
        self.closed = True

    def __getattr__(self, what: str) -> Any:
        async def watch(symbol: str) -> Any:
            told = self.answers.get(what)
            if not told:
                return await asyncio.get_running_loop().create_future()
            answer = told.popleft()
            if isinstance(answer, Exception):
                raise answer
            return answer

        if not what.startswith("watch_"):
            raise AttributeError(what)
        return watch


_BOOK = {"nonce": 1, "timestamp": None, "bids": [[99.0, 1.0]], "asks": [[101.0, 1.0]]}


async def test_what_is_watched_comes_in_the_queue_and_what_is_refused_is_told() -> None:
    errors = pytest.importorskip("ccxt.base.errors")
    script = _Script(
        {SYMBOL: {"id": "BTCUSDT"}},
        watch_order_book=[_BOOK],
        watch_trades=[[_trade("1")]],
        watch_ticker=[errors.NotSupported("no tickers")],
    )

    bodies: list[bytes] = []
    async with asyncio.timeout(5), open_frames("any", [SYMBOL], FakeClock(), make=lambda: script) as frames:
        while len(bodies) < 4:
            await frames.wait(1.0)
            bodies += [frame.body for frame in frames.take(10)]
        closed = frames.closed

    kinds = sorted(type(wire.FRAME.decode(body)).__name__ for body in bodies)
    assert kinds == ["Book", "Market", "Refused", "Trades"]
    assert closed is None
    assert script.closed


async def test_a_failure_of_the_network_ends_the_connection_with_its_reason() -> None:
    errors = pytest.importorskip("ccxt.base.errors")
    script = _Script({SYMBOL: {"id": "BTCUSDT"}}, watch_order_book=[_BOOK, errors.NetworkError("cut")])

    async with asyncio.timeout(5), open_frames("any", [SYMBOL], FakeClock(), make=lambda: script) as frames:
        while frames.closed is None:
            await frames.wait(1.0)
            frames.take(10)
        reason = frames.closed

    assert reason == "watch_order_book BTC/USDT: NetworkError cut"


async def test_a_fault_that_is_no_answer_of_an_exchange_ends_the_connection_too() -> None:
    script = _Script({SYMBOL: {"id": "BTCUSDT"}}, watch_order_book=[{"nonce": 1}])

    async with asyncio.timeout(5), open_frames("any", [SYMBOL], FakeClock(), make=lambda: script) as frames:
        while frames.closed is None:
            await frames.wait(1.0)
            frames.take(10)
        reason = frames.closed

    assert reason is not None
    assert reason.startswith("KeyError")


async def test_a_symbol_that_is_not_listed_is_misuse() -> None:
    script = _Script({"ETH/USDT": {}})

    with pytest.raises(Misuse, match="does not list BTC/USDT"):
        async with open_frames("any", [SYMBOL], FakeClock(), make=lambda: script):
            pass

    assert script.closed
