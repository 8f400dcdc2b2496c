"""Alpaca's stock stream through the feed, in both encodings: tops, prints that are last prices, halts, refusals."""

from __future__ import annotations

import json
import struct
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefleet.errors import Misuse, Poison
from edgefleet.messages import Quote, Touch, Trade, encode
from edgefleet.stage import Output
from edgefleet.venues.alpaca import wire
from edgefleet.venues.alpaca.feed import SHARES_SINCE_NS, AlpacaFeed
from edgefleet.venues.alpaca.prints import Sides, is_last
from edgefleet.venues.dialect import FeedOptions, dialect

OLD, NEW = "2021-02-22T15:51:45", "2026-02-23T15:51:45"
T0 = 1_771_861_905_000_000_000


def _quote(bid: float, ask: float, nanos: int = 1, day: str = NEW, **more: Any) -> dict[str, Any]:
    sizes = {"bs": 2, "as": 4, "bx": "U", "ax": "Q", "c": ["R"], "z": "C"}
    return {"T": "q", "S": "AMD", "bp": bid, "ap": ask, "t": f"{day}.{nanos:09d}Z"} | sizes | more


def _trade(number: int, price: float, nanos: int = 1, **more: Any) -> dict[str, Any]:
    usual = {"x": "D", "s": 100, "c": ["@"], "z": "C", "t": f"{NEW}.{nanos:09d}Z"}
    return {"T": "t", "S": "AMD", "i": number, "p": price} | usual | more


def _json(*messages: dict[str, Any]) -> bytes:
    return json.dumps(messages, separators=(",", ":")).encode()


def _pack(*messages: dict[str, Any]) -> bytes:
    def stamped(message: dict[str, Any]) -> dict[str, Any]:
        if "t" not in message:
            return message
        seconds, nanos = divmod(wire.text_ns(message["t"]), 10**9)
        return message | {"t": msgspec.msgpack.Ext(-1, struct.pack("!Q", nanos << 34 | seconds))}

    return msgspec.msgpack.encode([stamped(message) for message in messages])


class Wire:
    """A feed and the clock of its connection."""

    def __init__(self, *, key: str = "AK", secret: str = "top", **options: str) -> None:
        given = FeedOptions(touch_interval_ms=0, key=key, secret=secret, options=options)
        feed = dialect("alpaca").feed("alpaca", ["AMD/USD"], given)
        assert isinstance(feed, AlpacaFeed)
        self.feed, self.now = feed, T0
        self.feed.on_connect(self.now)

    def raw(self, *frames: bytes) -> list[Output]:
        """Return what follows from frames."""
        found = []
        for frame in frames:
            self.now += 1_000_000
            found += self.feed.on_frame(self.now, frame, self.now)
        return found

    def hear(self, *messages: dict[str, Any]) -> list[Any]:
        """Return the messages on `market` that follow from messages, one a frame."""
        return [out.message for out in self.raw(*map(_json, messages)) if out.stream == "market"]

    @property
    def top(self) -> Any:
        """Return the top that touches are made of."""
        return self.feed._followed["AMD"].top


# --- the connection


def test_we_say_who_we_are_and_ask_for_data_once_that_is_good() -> None:
    line = Wire()
    first = line.feed.take_requests()

    line.hear({"T": "success", "msg": "connected"}, {"T": "success", "msg": "authenticated"})

    assert [json.loads(text) for text in first] == [{"action": "auth", "key": "AK", "secret": "top"}]
    assert [json.loads(text) for text in line.feed.take_requests()] == [
        {"action": "subscribe", "trades": ["AMD"], "quotes": ["AMD"]},
        {"action": "subscribe", "bars": ["AMD"], "updatedBars": ["AMD"]},
        {"action": "subscribe", "statuses": ["AMD"], "lulds": ["AMD"]},
    ]


def test_a_connection_that_knew_us_by_its_headers_is_asked_for_data_too() -> None:
    line = Wire()
    line.feed.take_requests()

    line.hear({"T": "success", "msg": "authenticated"}, {"T": "error", "code": 403, "msg": "already authenticated"})

    assert len(line.feed.take_requests()) == 3
    assert line.feed.take_notices() == []


def test_keys_are_in_no_notice_and_no_repr() -> None:
    line = Wire(key="AKEY", secret="SECRET")

    line.hear({"T": "error", "code": 402, "msg": "auth failed"}, {"T": "zz"})
    line.raw(b"[{", b"\x93", b"nonsense")
    told = " ".join((*line.feed.take_notices(), repr(line.feed), str(line.feed)))

    assert "402 auth failed" in told
    assert "AKEY" not in told
    assert "SECRET" not in told


def test_a_connection_without_keys_says_what_it_wants() -> None:
    line = Wire(key="", secret="")

    line.hear({"T": "success", "msg": "connected"})

    assert line.feed.take_requests() == []
    assert line.feed.take_notices() == ["alpaca wants keys before it says anything, and none were given"]


def test_what_was_asked_for_and_is_not_given_is_told() -> None:
    line = Wire()

    line.hear(
        {"T": "subscription", "trades": ["AMD"], "quotes": []}, {"T": "error", "code": 405, "msg": "symbol limit"}
    )

    assert line.feed.take_notices() == [
        "alpaca does not send quotes of AMD",
        "alpaca refuses a request: 405 symbol limit",
    ]


def test_only_data_confirms_an_instrument_and_nothing_is_asked_again_before_we_are_known() -> None:
    line = Wire()
    line.feed.take_requests()
    line.feed.ask_again()
    before = line.feed.take_requests()
    line.hear({"T": "success", "msg": "authenticated"}, {"T": "subscription", "trades": ["AMD"], "quotes": ["AMD"]})
    line.feed.take_requests()
    unconfirmed = line.feed.unconfirmed
    line.feed.ask_again()
    again = line.feed.take_requests()

    line.hear(_quote(1, 2))

    assert (before, unconfirmed, len(again)) == ([], ("AMD/USD@alpaca",), 3)
    assert line.feed.unconfirmed == ()


# --- tops


def test_a_quote_is_a_top_with_the_venues_stamp() -> None:
    line = Wire()

    (out, touch) = line.raw(_json(_quote(87.66, 87.68, 335689322)))[-2:]

    quote = out.message
    assert isinstance(quote, Quote)
    assert (quote.bid, quote.bid_size, quote.ask, quote.ask_size) == tuple(map(Decimal, ("87.66", "2", "87.68", "4")))
    assert quote.ts_event == wire.text_ns(f"{NEW}.335689322Z")
    assert isinstance(touch.message, Touch)


@pytest.mark.parametrize(
    ("day", "option", "size"),
    [(OLD, {}, 200), (NEW, {}, 2), (OLD, {"sizes_in": "shares"}, 2), (NEW, {"sizes_in": "round_lots"}, 200)],
)
def test_sizes_were_round_lots_until_november_2025(day: str, option: dict[str, str], size: int) -> None:
    line = Wire(**option)

    (quote,) = line.hear(_quote(1, 2, day=day))

    assert quote.bid_size == size


def test_the_day_of_the_change_is_midnight_in_new_york() -> None:
    assert wire.text_ns("2025-11-03T00:00:00-05:00") == SHARES_SINCE_NS


@pytest.mark.parametrize(("bid", "ask"), [(0, 88), (87, 0), (0, 0), (88, 87), (88, 88)])
def test_a_side_that_is_missing_or_a_crossed_quote_leaves_no_top(bid: float, ask: float) -> None:
    line = Wire()
    line.hear(_quote(87, 88))

    told = line.hear(_quote(bid, ask, 2))

    assert told == []
    assert line.top is None
    assert line.feed.counts.one_sided + line.feed.counts.book_crossed == 1


def test_the_top_comes_back_with_the_next_whole_quote() -> None:
    line = Wire()
    line.hear(_quote(87, 88), _quote(0, 88, 2))

    told = line.hear(_quote(87, 88, 3))

    assert len(told) == 1
    assert line.top is not None


def test_an_older_quote_and_the_same_one_twice_change_nothing() -> None:
    line = Wire()
    line.hear(_quote(87, 88, 5))

    told = line.hear(_quote(87, 88, 5), _quote(86, 88, 4))

    assert told == []
    assert line.feed.counts.duplicates == 2
    assert line.top[0] == 87


def test_an_absurd_quote_is_kept_out() -> None:
    line = Wire()
    line.hear(_quote(87, 88))

    told = line.hear(_quote(8700, 8800, 2), _quote(-1, 88, 3))

    assert told == []
    assert (line.feed.counts.quarantined, line.feed.counts.undecodable) == (1, 1)


def test_a_halt_leaves_no_top_until_trading_resumes() -> None:
    line = Wire()
    line.hear(_quote(87, 88))
    halt = {"T": "s", "S": "AMD", "sc": "H", "sm": "Trading Halt", "rc": "T12", "rm": "Trading Halted", "z": "C"}

    during = line.hear(halt, _quote(87, 88, 2))
    top = line.top
    after = line.hear(halt | {"sc": "T", "sm": "Trading Resumption"}, _quote(87, 88, 3))

    assert (during, top) == ([], None)
    assert len(after) == 1
    assert line.feed.take_notices() == [
        "AMD/USD@alpaca: Trading Halt, T12 Trading Halted",
        "AMD/USD@alpaca: Trading Resumption, T12 Trading Halted",
    ]


# --- prints


def test_a_print_is_a_trade_whose_side_is_told_by_the_quote() -> None:
    line = Wire()
    line.hear(_quote(87, 88))

    told = line.hear(_trade(1, 88), _trade(2, 87), _trade(3, 87.5), _trade(4, 87.5))

    assert [(trade.trade_id, trade.aggressor) for trade in told] == [
        ("D1", "buy"),
        ("D2", "sell"),
        ("D3", "buy"),
        ("D4", "buy"),
    ]


def test_a_print_that_nothing_tells_the_side_of_is_kept_out() -> None:
    line = Wire()

    told = line.hear(_trade(1, 88), _trade(2, 89))

    assert [trade.trade_id for trade in told] == ["D2"]
    assert line.feed.counts.kept_out == 1


def test_the_same_number_at_another_exchange_or_on_another_day_is_another_print() -> None:
    line = Wire()
    line.hear(_quote(87, 88))

    told = line.hear(_trade(1, 88), _trade(1, 88), _trade(1, 88, x="K"), _trade(1, 88, t="2026-02-24T15:00:00Z"))

    assert [trade.trade_id for trade in told] == ["D1", "K1", "D1"]
    assert line.feed.counts.duplicates == 1


def test_prints_that_are_no_last_price_are_kept_out() -> None:
    line = Wire()
    line.hear(_quote(87, 88))

    told = line.hear(_trade(1, 88, c=["@", "I"]), _trade(2, 88, c=["@", "T"]), _trade(3, 88, c=None))

    assert [trade.trade_id for trade in told] == ["D3"]
    assert line.feed.counts.kept_out == 2


def test_extended_hours_can_be_let_in() -> None:
    line = Wire(extended_hours="yes")
    line.hear(_quote(87, 88))

    told = line.hear(_trade(1, 88, c=["@", "T"]), _trade(2, 88, c=["@", "T", "I"]))

    assert [trade.trade_id for trade in told] == ["D1"]


def test_prints_that_are_taken_back_are_told_if_they_were_sent() -> None:
    line = Wire()
    line.hear(_quote(87, 88), _trade(1, 88), _trade(2, 88, c=["I"]))
    cancel = {"T": "x", "S": "AMD", "x": "D", "p": 88, "s": 100, "a": "C", "z": "C", "t": f"{NEW}Z"}
    correction = {"oi": 1, "op": 88, "os": 100, "oc": ["@"], "ci": 7, "cp": 87.5, "cs": 90, "cc": ["@"]}

    told = line.hear(cancel | {"i": 1}, cancel | {"i": 2}, cancel | {"T": "c"} | correction)

    assert told == []
    assert line.feed.counts.withdrawn == 3
    assert line.feed.take_notices() == [
        "print D1 of AMD/USD@alpaca was cancelled: 100 at 88",
        "print D1 of AMD/USD@alpaca was corrected: 100 at 88 was 90 at 87.5",
    ]


# The "update last" column of the consolidated tapes' guidelines, by sale condition; None: there is no such code.
GUIDELINES: dict[str, tuple[bool | None, bool | None]] = {  # CTS, UTP
    "@": (True, True),
    " ": (True, True),
    "A": (None, True),
    "B": (False, True),
    "C": (False, False),
    "D": (None, True),
    "E": (True, False),
    "F": (True, True),
    "G": (None, False),
    "H": (False, False),
    "I": (False, False),
    "K": (True, True),
    "L": (True, True),
    "M": (False, False),
    "N": (False, False),
    "O": (True, True),
    "P": (False, False),
    "Q": (False, False),
    "R": (False, False),
    "S": (None, True),
    "T": (False, False),
    "U": (False, False),
    "V": (False, False),
    "W": (None, False),
    "X": (True, True),
    "Y": (None, True),
    "Z": (False, False),
    "1": (None, True),
    "4": (False, False),
    "5": (True, True),
    "6": (True, True),
    "7": (False, False),
}


@pytest.mark.parametrize("condition", GUIDELINES)
def test_conditions_by_the_guidelines(condition: str) -> None:
    cts, utp = GUIDELINES[condition]

    assert cts is None or is_last([condition], "A") is is_last([condition], "B") is cts
    assert utp is None or is_last([condition], "C") is utp


@given(st.lists(st.sampled_from(sorted(GUIDELINES)), max_size=4), st.sampled_from("ABC"))
def test_one_condition_that_keeps_out_is_enough(conditions: list[str], tape: str) -> None:
    assert is_last(conditions, tape) == all(is_last([one], tape) for one in conditions)


@given(st.lists(st.tuples(st.integers(90, 110), st.integers(90, 105), st.integers(0, 5)), max_size=30))
def test_sides_by_their_definition(steps: list[tuple[int, int, int]]) -> None:
    """Above the midpoint a buy, below it a sell; at it, as the last price that differed."""
    sides = Sides()
    prices: list[int] = []

    for price, bid, width in steps:
        prices.append(price)
        ask = bid + width
        earlier = next((one for one in reversed(prices) if one != price), None)
        at_mid = None if earlier is None else "buy" if price > earlier else "sell"
        expected = at_mid if 2 * price == bid + ask else "buy" if 2 * price > bid + ask else "sell"
        assert sides.of(Decimal(price), Decimal(bid), Decimal(ask)) == expected


# --- encodings and what is not readable


def test_an_unknown_message_or_a_wrong_one_does_not_take_the_others_with_it() -> None:
    line = Wire()

    told = line.raw(_json({"T": "zz"}, _quote(87, 88), {"T": "q"}, _quote(87, 88, t="never"), _quote(86, 88, 2)))

    assert [type(out.message) for out in told if out.stream == "market"] == [Quote, Quote]
    assert (line.feed.counts.unknown_events, line.feed.counts.undecodable) == (1, 2)


_PRICES = st.integers(8_000, 9_000).map(lambda cents: cents / 100)
_MESSAGES = st.lists(
    st.one_of(
        st.builds(_quote, _PRICES, _PRICES, st.integers(0, 10**9 - 1)),
        st.builds(_trade, st.integers(1, 99), _PRICES, st.integers(0, 10**9 - 1)),
    ),
    max_size=20,
)


@given(_MESSAGES)
def test_both_encodings_say_the_same_byte_for_byte(messages: list[dict[str, Any]]) -> None:
    def told(frames: list[bytes]) -> list[bytes]:
        return [out.stream.encode() + encode(out.message) for out in Wire().raw(*frames)]

    assert told([_pack(one) for one in messages]) == told([_json(one) for one in messages])
    assert told([_pack(*messages)]) == told([_json(*messages)])


@given(
    _MESSAGES, st.lists(st.tuples(st.integers(0, 19), st.sampled_from(["drop", "twice", "cut", "swap"])), max_size=9)
)
def test_no_top_is_ever_crossed_older_or_invented(
    messages: list[dict[str, Any]], mutations: list[tuple[int, str]]
) -> None:
    frames = [_json(one) for one in messages]
    for at, what in mutations:
        if at >= len(frames):
            continue
        if what == "drop":
            del frames[at]
        elif what == "twice":
            frames.insert(at, frames[at])
        elif what == "cut":
            frames[at] = frames[at][:-9]
        elif at:
            frames[at - 1], frames[at] = frames[at], frames[at - 1]
    said = {(one["bp"], one["ap"], wire.text_ns(one["t"])) for one in messages if one["T"] == "q"}
    line, newest = Wire(), 0

    for out in line.raw(*frames):
        if isinstance(out.message, Quote):
            assert out.message.bid < out.message.ask
            assert (float(out.message.bid), float(out.message.ask), out.message.ts_event) in said
            assert out.message.ts_event >= newest
            newest = out.message.ts_event


@given(st.integers(0, 2**33), st.integers(0, 10**9 - 1))
def test_stamps_of_every_width_are_exact(seconds: int, nanos: int) -> None:
    expected = seconds * 10**9 + nanos
    wide = struct.pack("!Q", nanos << 34 | seconds)
    widest = struct.pack("!Iq", nanos, seconds)

    assert wire.stamp_ns(_ext(wide)) == wire.stamp_ns(_ext(widest)) == expected
    assert seconds >= 2**32 or wire.stamp_ns(_ext(struct.pack("!I", seconds))) == seconds * 10**9


def _ext(data: bytes) -> msgspec.Raw:
    return msgspec.Raw(msgspec.msgpack.encode(msgspec.msgpack.Ext(-1, data)))


@pytest.mark.parametrize(
    "raw", [b'""', b'"2021-02-22"', b'"2021-02-22T15:51:45"', b'"2021-02-22T15:51:4x.1Z"', b"12", b"\xd7"]
)
def test_what_is_no_stamp_is_refused(raw: bytes) -> None:
    with pytest.raises(msgspec.ValidationError):
        wire.stamp_ns(msgspec.Raw(raw))


# --- the dialect


def test_names_are_spelled_both_ways() -> None:
    alpaca = dialect("alpaca")

    assert (alpaca.spell("AAPL/USD"), alpaca.spell("BRK.B/USD")) == ("AAPL", "BRK.B")
    assert (alpaca.canonical("GBTC"), alpaca.canonical("BRK.B")) == ("GBTC/USD", "BRK.B/USD")
    with pytest.raises(Misuse):
        alpaca.spell("BTC/USDT")


def test_frames_name_what_they_are_about() -> None:
    names = dialect("alpaca").names
    frame = _quote(1, 2), _trade(1, 2) | {"S": "AAPL"}, _quote(2, 3)

    assert list(names(_json(*frame))) == list(names(_pack(*frame))) == ["AMD", "AAPL"]
    assert not names(_json({"T": "success", "msg": "connected"}))
    assert not names(b"<html>")


def test_addresses_and_headers() -> None:
    alpaca = dialect("alpaca")

    assert alpaca.address(alpaca.stream_url, []) == "wss://stream.data.alpaca.markets/v2/iex"
    assert alpaca.address("wss://stream.data.alpaca.markets/v2/sip", []).endswith("/v2/sip")
    assert alpaca.address("ws://127.0.0.1:9180", []) == "ws://127.0.0.1:9180/v2/iex"
    assert dict(alpaca.headers(FeedOptions())) == {}
    assert set(alpaca.headers(FeedOptions(key="a", secret="b"))) == {"APCA-API-KEY-ID", "APCA-API-SECRET-KEY"}


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(Misuse, match="sizes_in"):
        dialect("alpaca").feed("alpaca", ["AAPL"], FeedOptions(options={"sizes_in": "lots"}))


def test_assets_clock_and_bars() -> None:
    alpaca = dialect("alpaca")
    assert alpaca.listing is not None
    assert alpaca.time_ns is not None
    assert alpaca.bars is not None
    asset = {"symbol": "AAPL", "status": "active", "tradable": True, "fractionable": True, "class": "us_equity"}
    rows = [
        {"t": f"2026-02-23T15:0{i}:00Z", "o": 1, "h": 2, "l": 1, "c": 1.5, "v": 70 + i, "n": 3, "vw": 1.4}
        for i in (1, 0)
    ]

    (listed, other) = alpaca.listing(_json(asset, asset | {"symbol": "X", "fractionable": False, "tradable": False}))
    bars = alpaca.bars(json.dumps({"bars": {"AAPL": rows}}).encode(), "AAPL/USD@alpaca", 60_000, 1_771_858_919_999, 1)

    assert (listed.symbol, listed.trading, listed.min_notional) == ("AAPL/USD", True, Decimal(1))
    assert (other.trading, other.lot_size, other.tick_size) == (False, Decimal(1), None)
    assert alpaca.time_ns(b'{"timestamp":"2026-02-23T10:51:45.5-05:00","is_open":true}') == T0 + 500_000_000
    assert [(bar.volume, bar.trades, bar.close) for bar in bars] == [(Decimal(70), 3, Decimal("1.5"))]
    with pytest.raises(Poison):
        alpaca.time_ns(b'{"timestamp":"soon"}')
    with pytest.raises(Poison):
        alpaca.bars(b"<html>", "AAPL/USD@alpaca", 60_000, 0, 1)


def test_trades_carry_what_was_printed() -> None:
    line = Wire()
    line.hear(_quote(87, 88))

    (trade,) = line.hear(_trade(96921, 87.9, 208_000_000, s=3))

    assert isinstance(trade, Trade)
    assert (trade.price, trade.quantity, trade.trace_id) == (Decimal("87.9"), Decimal(3), "alpaca:AMD:D96921")
    assert trade.ts_event == wire.text_ns(f"{NEW}.208Z")
