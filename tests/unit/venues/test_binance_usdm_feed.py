"""USD-M frames through the feed: the rule of `pu`, what is no trade, names and listing."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefleet.errors import Misuse
from edgefleet.messages import BookDelta, Quote, Trade
from edgefleet.venues.binance.usdm import UsdmFeed
from edgefleet.venues.dialect import FeedOptions, dialect

SYMBOL, INSTRUMENT = "BTC/USDT:USDT", "BTC/USDT:USDT@usdm"
T0 = 1_700_000_000_000_000_000
Sides = tuple[dict[str, str], dict[str, str]]


def _frame(stream: str, data: dict[str, object]) -> bytes:
    return json.dumps({"stream": f"btcusdt@{stream}", "data": data}, separators=(",", ":")).encode()


def _depth(first: int, last: int, previous: int, bids: Any = (), asks: Any = ()) -> bytes:
    data = {"e": "depthUpdate", "E": 1700000000001, "T": 1700000000000, "s": "BTCUSDT"}
    return _frame("depth@0ms", data | {"U": first, "u": last, "pu": previous, "b": list(bids), "a": list(asks)})


def _trade(number: int, kind: str | None = "MARKET", price: str = "100", quantity: str = "1") -> bytes:
    data = {"e": "trade", "E": 1700000000001, "T": 1700000000000, "s": "BTCUSDT", "t": number, "p": price}
    return _frame("trade", data | {"q": quantity, "m": False} | ({} if kind is None else {"X": kind}))


def _snapshot(number: int, bids: Any = (("99", "1"),), asks: Any = (("101", "1"),)) -> bytes:
    body = {"lastUpdateId": number, "E": 1700000000001, "T": 1700000000000, "bids": list(bids), "asks": list(asks)}
    return json.dumps(body).encode()


class Wire:
    """A feed, its clock, and its book as written."""

    def __init__(self) -> None:
        self.feed = UsdmFeed("usdm", [SYMBOL], touch_interval_ms=0)
        self.now = T0

    def hear(self, *frames: bytes) -> list[Any]:
        """Return the messages on `market` that follow from frames or REST bodies."""
        found = []
        for frame in frames:
            self.now += 1_000_000
            found += self.feed.on_line(self.now, frame, self.now)
        return [out.message for out in found if out.stream == "market"]

    @property
    def book(self) -> Sides | None:
        """Return the book, None where it is not whole."""
        one = self.feed._followed["BTCUSDT"]
        if not one.synced:
            return None
        bids = {f"{price:f}": f"{size:f}" for price, size in one.book.bids.sizes.items()}
        return bids, {f"{price:f}": f"{size:f}" for price, size in one.book.asks.sizes.items()}


def test_the_first_event_after_a_snapshot_spans_it() -> None:
    line = Wire()

    line.hear(_snapshot(100), _depth(80, 90, 70), _depth(95, 105, 90, [("99", "5")]), _depth(111, 120, 105))

    assert line.book == ({"99": "5"}, {"101": "1"})
    assert (line.feed.counts.depth_stale, line.feed.counts.depth_applied) == (1, 2)


def test_an_event_that_ends_at_the_snapshot_is_the_first_of_the_sequence_and_brings_nothing() -> None:
    """The rule drops `u < lastUpdateId` only; what the event brings is in the snapshot."""
    line = Wire()

    told = line.hear(_snapshot(100), _depth(90, 100, 89, [("99", "1")]), _depth(150, 160, 100, [("98", "2")]))

    assert [message.first_update_id for message in told if isinstance(message, BookDelta)] == [101]
    assert line.book == ({"99": "1", "98": "2"}, {"101": "1"})


@pytest.mark.parametrize("first", [101, 150])
def test_a_first_event_past_the_snapshot_is_a_gap(first: int) -> None:
    line = Wire()

    line.hear(_snapshot(100), _depth(first, 160, 99))

    assert line.book is None
    assert line.feed.counts.book_gaps == 1
    assert line.feed.awaiting == (INSTRUMENT,)


def test_an_event_that_names_another_before_it_is_a_gap_and_waits_for_the_next_snapshot() -> None:
    line = Wire()
    line.hear(_snapshot(100), _depth(95, 105, 90), _depth(111, 120, 107, [("98", "2")]))
    lost = line.book

    line.hear(_snapshot(115))

    assert lost is None
    assert line.book == ({"99": "1", "98": "2"}, {"101": "1"})


def test_numbers_of_deltas_leave_no_hole_although_the_venues_do() -> None:
    line = Wire()

    told = line.hear(_snapshot(100), _depth(95, 105, 90), _depth(300, 320, 105), _depth(400, 401, 320))

    deltas = [message for message in told if isinstance(message, BookDelta)]
    assert [(delta.first_update_id, delta.last_update_id) for delta in deltas] == [(95, 105), (106, 320), (321, 401)]


def test_entries_that_are_no_trades_of_the_book_are_left_out_without_a_hole() -> None:
    line = Wire()

    told = line.hear(
        _snapshot(100),
        _trade(5),
        _trade(6, "INSURANCE_FUND"),
        _trade(7, "NA", price="0", quantity="0"),
        _trade(8, "ADL"),
        _trade(9, None),
    )

    assert [message.trade_id for message in told if isinstance(message, Trade)] == ["5", "9"]
    assert (line.feed.counts.trade_gaps, line.feed.counts.undecodable) == (0, 0)


def test_a_missing_print_is_told_even_behind_an_entry_that_is_none() -> None:
    line = Wire()

    line.hear(_snapshot(100), _trade(5), _trade(7, "ADL"), _trade(8))

    assert line.feed.counts.trade_gaps == 1


@pytest.mark.parametrize(("own", "stamp"), [({"E": 1700000000777, "T": 1}, 1700000000777), ({}, 1700000000001)])
def test_a_top_carries_its_own_stamp_or_the_last(own: dict[str, int], stamp: int) -> None:
    line = Wire()
    data = {"e": "bookTicker", "u": 9, "s": "BTCUSDT", "b": "99", "B": "1", "a": "101", "A": "2"}

    told = line.hear(_snapshot(100), _trade(5), _frame("bookTicker", data | own))

    assert [message.ts_event for message in told if isinstance(message, Quote)] == [stamp * 1_000_000]


def test_aggregates_are_prints_where_there_are_no_others() -> None:
    data = {"e": "aggTrade", "E": 1700000000001, "s": "BTCUSDT", "a": 7, "p": "100", "q": "2", "f": 1, "l": 3}
    line = Wire()

    told = line.hear(_snapshot(100), _frame("aggTrade", data | {"T": 1700000000000, "m": True}), _trade(3))

    trades = [message for message in told if isinstance(message, Trade)]
    assert [(trade.trade_id, str(trade.quantity), trade.aggressor) for trade in trades] == [("7", "2", "sell")]
    assert line.feed.counts.duplicates == 1


@pytest.mark.parametrize("stream", ["depth20@100ms", "depth5"])
def test_the_best_levels_alone_are_no_changes_of_a_book(stream: str) -> None:
    """They come in the same event, with `U`, `u` and `pu`."""
    line = Wire()
    line.hear(_snapshot(100), _depth(95, 105, 90))
    frame = _depth(106, 110, 105, [("98", "7")])

    line.hear(frame.replace(b"depth@0ms", stream.encode()))
    other_order = json.loads(frame.replace(b"depth@0ms", stream.encode()))
    line.hear(json.dumps({key: other_order[key] for key in ("data", "stream")}).encode())

    assert line.book == ({"99": "1"}, {"101": "1"})
    assert line.feed.counts.unknown_events == 2


_CHANGE = st.tuples(st.sampled_from(["b", "a"]), st.integers(1, 9), st.sampled_from(["0", "1", "2.50"]))
_MUTATION = st.sampled_from(["none", "none", "drop", "twice", "late", "cut", "absurd"])


@given(st.lists(st.tuples(st.lists(_CHANGE, min_size=1, max_size=3), st.integers(1, 5), _MUTATION), max_size=25))
def test_a_book_is_the_venues_or_is_given_up(steps: list[tuple[list[tuple[str, int, str]], int, str]]) -> None:
    sides: dict[str, dict[str, str]] = {"b": {"99": "1"}, "a": {"101": "1"}}
    states = {100: (dict(sides["b"]), dict(sides["a"]))}
    frames: list[bytes] = []
    last, held = 100, None
    for changes, step, mutation in steps:
        rows: dict[str, list[tuple[str, str]]] = {"b": [], "a": []}
        for side, distance, size in changes:
            price = str(100 - distance if side == "b" else 100 + distance)
            rows[side].append((price, size))
            if size == "0":
                sides[side].pop(price, None)
            else:
                sides[side][price] = size
        frame = _depth(last + step, last + step + 2, last, rows["b"], rows["a"])
        if last == 100:  # the first spans the snapshot
            frame = _depth(100, last + step + 2, 90, rows["b"], rows["a"])
        last += step + 2
        states[last] = (dict(sides["b"]), dict(sides["a"]))
        if mutation == "drop":
            continue
        if mutation == "late":
            held = frame
            continue
        if mutation == "cut":
            frame = frame[: len(frame) // 2]
        elif mutation == "absurd":
            frame = frame.replace(b'"b":[["', b'"b":[["-')
        frames += [frame, frame] if mutation == "twice" else [frame]
        if held is not None:
            frames.append(held)
            held = None

    line = Wire()
    line.hear(_snapshot(100), _trade(1))
    for frame in frames:
        line.hear(frame)
        if line.book is not None:
            assert line.book == states[line.feed._followed["BTCUSDT"].update_id]


@pytest.mark.parametrize(
    ("symbol", "name"),
    [("BTC/USDT:USDT", "BTCUSDT"), ("ETH/USDC:USDC", "ETHUSDC"), ("BTC/USDT:USDT-240927", "BTCUSDT_240927")],
)
def test_names_are_spelled_both_ways(symbol: str, name: str) -> None:
    usdm = dialect("binance_usdm")

    assert usdm.spell(symbol) == name
    assert usdm.canonical(name) == symbol


def test_a_spot_pair_is_refused() -> None:
    with pytest.raises(Misuse, match="BTC/USDT:USDT"):
        dialect("binance_usdm").spell("BTC/USDT")


def test_the_address_is_on_the_public_path() -> None:
    usdm = dialect("binance_usdm")

    assert usdm.address(usdm.stream_url, [SYMBOL]) == (
        "wss://fstream.binance.com/public/stream?streams=btcusdt@trade/btcusdt@bookTicker/btcusdt@depth@100ms"
    )
    assert usdm.book_path is not None
    assert usdm.book_path("BTCUSDT") == "/depth?symbol=BTCUSDT&limit=1000"
    assert usdm.bars_path is not None
    assert usdm.bars_path("BTCUSDT", 1_000, 5) is None


def test_what_is_listed() -> None:
    filters = [
        {"filterType": "PRICE_FILTER", "tickSize": "0.10", "minPrice": "1", "maxPrice": "2"},
        {"filterType": "LOT_SIZE", "stepSize": "0.001", "minQty": "0.001", "maxQty": "9"},
        {"filterType": "MIN_NOTIONAL", "notional": "100"},
        {"filterType": "PERCENT_PRICE", "multiplierUp": "1.05"},
    ]
    common = {"baseAsset": "BTC", "quoteAsset": "USDT", "marginAsset": "USDT", "status": "TRADING", "filters": filters}
    listing = dialect("binance_usdm").listing
    assert listing is not None

    perpetual, dated = listing(
        json.dumps({"symbols": [{"symbol": "BTCUSDT"} | common, {"symbol": "BTCUSDT_240927"} | common]}).encode()
    )

    assert (perpetual.symbol, perpetual.trading, perpetual.contract_size) == ("BTC/USDT:USDT", True, None)
    assert (perpetual.tick_size, perpetual.lot_size) == (Decimal("0.10"), Decimal("0.001"))
    assert perpetual.min_notional == 100
    assert dated.symbol == "BTC/USDT:USDT-240927"


def test_frames_far_in_the_future_are_refused_and_a_change_among_them_loses_the_book() -> None:
    line, far = Wire(), 1_700_864_000_000
    top = {"e": "bookTicker", "u": 9, "s": "BTCUSDT", "b": "99", "B": "1", "a": "101", "A": "2", "E": far}
    line.hear(_snapshot(100), _trade(5))

    told = line.hear(_frame("bookTicker", top), _trade(6).replace(b"1700000000001", b"%d" % far))
    whole = line.book
    line.hear(_depth(95, 105, 90, [("99", "5")]).replace(b"1700000000001", b"%d" % far))

    assert not [message for message in told if isinstance(message, Quote | Trade)]
    assert whole is not None
    assert line.book is None
    assert line.feed.counts.undecodable == 3


def test_a_contract_whose_book_will_never_come_waits_for_none() -> None:
    feed = dialect("binance_usdm").feed("usdm", [SYMBOL], FeedOptions(bookless=(SYMBOL,)))

    told = feed.on_frame(T0, _trade(5), T0)

    assert [out for out in told if isinstance(out.message, Trade)]
