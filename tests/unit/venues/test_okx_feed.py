"""OKX frames through the feed: what proves an update, what is given up, and what is asked for then."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefleet.book import Book
from edgefleet.errors import Misuse, Poison
from edgefleet.messages import BookDelta, BookSnapshot, Quote, Touch, Trade, VenueStatus
from edgefleet.stage import Output
from edgefleet.venues.dialect import FeedOptions, dialect
from edgefleet.venues.okx import wire
from edgefleet.venues.okx.contract import place
from edgefleet.venues.okx.feed import OkxFeed

from .okx_market import NAME, OkxMarket, Sides

SYMBOL, INSTRUMENT = "BTC/USDT", "BTC/USDT@okx"
T0 = 1_700_000_000_000_000_000


class Wire:
    """A feed and the clock of its connection."""

    def __init__(self, *symbols: str, **options: Any) -> None:
        self.feed = OkxFeed("okx", symbols or (SYMBOL,), touch_interval_ms=0, **options)
        self.now = T0
        self.feed.on_connect(self.now)
        self.asked = self.feed.take_requests()
        self.told: list[Output] = []

    def hear(self, *frames: bytes) -> list[Any]:
        """Return the messages on `market` that follow from frames, a tenth of a second apart."""
        found = []
        for frame in frames:
            self.now += 100_000_000
            found += self.feed.on_frame(self.now, frame, self.now)
        self.told += found
        return [out.message for out in found if out.stream == "market" and type(out.message).__name__ != "Beat"]

    @property
    def book(self) -> Sides | None:
        """Return the feed's book as written, None where it is not whole."""
        followed = self.feed._followed[NAME]
        if not followed.synced:
            return None
        return _written(followed.book)


def _written(book: Book) -> Sides:
    bids = {f"{price:f}": f"{size:f}" for price, size in book.bids.sizes.items()}
    return bids, {f"{price:f}": f"{size:f}" for price, size in book.asks.sizes.items()}


def _push(channel: str, *data: dict[str, object], name: str = NAME) -> bytes:
    return json.dumps({"arg": {"channel": channel, "instId": name}, "data": data}, separators=(",", ":")).encode()


def _print(trade_id: int, price: str = "100", **more: object) -> bytes:
    data = {"instId": NAME, "tradeId": str(trade_id), "px": price, "sz": "0.5", "side": "buy", "ts": "1700000000000"}
    return _push("trades", data | more)


def _best(number: int, bid: str = "99", ask: str = "101") -> bytes:
    rows = {"bids": [[bid, "1", "0", "1"]], "asks": [[ask, "1.0", "0", "1"]]}
    return _push("bbo-tbt", rows | {"ts": "1700000000050", "seqId": number})


# --- the rule


def test_the_guides_own_example_of_numbers() -> None:
    """Snapshot 10, update 15, nothing new at 15, reset to 3, update 5."""
    market, line = OkxMarket(), Wire()

    line.hear(market.snapshot(), market.update(("bids", "99", "4")), market.nothing())
    line.hear(market.update(("asks", "101", "0"), number=3), market.update(("asks", "101", "2"), number=5))

    assert line.book == (market.bids, market.asks)
    assert line.feed.counts.book_gaps == 0
    assert line.feed.counts.depth_applied == 3


def test_deltas_follow_one_another_without_a_hole_in_their_numbers() -> None:
    market, line = OkxMarket(), Wire()

    told = line.hear(market.snapshot(), market.update(("bids", "99", "4")), market.update(("bids", "97", "4")))

    deltas = [message for message in told if isinstance(message, BookDelta)]
    assert [(delta.first_update_id, delta.last_update_id) for delta in deltas] == [(11, 15), (16, 20)]


def test_a_missing_update_gives_the_book_up_and_asks_for_another() -> None:
    market, line = OkxMarket(summed=False), Wire()
    line.hear(market.snapshot())
    market.update(("bids", "99", "4"))

    told = line.hear(market.update(("bids", "98", "4")))

    assert line.book is None
    assert [type(message) for message in told] == [VenueStatus]
    assert line.feed.unconfirmed == (INSTRUMENT,)
    wanted = [{"channel": "books", "instId": NAME}]
    asked = [json.loads(text) for text in line.feed.take_requests()]
    assert asked == [{"op": "unsubscribe", "args": wanted}, {"op": "subscribe", "args": wanted}]


def test_a_missed_reset_is_a_gap_although_the_numbers_are_small() -> None:
    market, line = OkxMarket(summed=False), Wire()
    line.hear(market.snapshot())
    market.update(("bids", "99", "4"), number=3)

    line.hear(market.update(("bids", "98", "4"), number=5))

    assert line.book is None


def test_an_update_without_a_new_number_must_change_nothing() -> None:
    market, line = OkxMarket(summed=False), Wire()
    line.hear(market.snapshot())

    line.hear(market.update(("bids", "98", "4"), number=market.number))

    assert line.book is None


def test_the_same_update_twice_does_no_harm() -> None:
    market, line = OkxMarket(), Wire()
    update = market.snapshot(), market.update(("bids", "99", "4"))

    line.hear(*update, update[1])

    assert line.book == (market.bids, market.asks)
    assert line.feed.counts.duplicates == 1


def test_a_wrong_checksum_gives_the_book_up_before_anything_of_it_is_sent() -> None:
    market, line = OkxMarket(numbered=False), Wire()
    line.hear(market.snapshot())
    wrong = market.update(("bids", "99", "4")).replace(b'"checksum":', b'"checksum":1')

    told = line.hear(wrong)

    assert line.book is None
    assert not any(isinstance(message, BookDelta) for message in told)
    assert (line.feed.counts.checksums_ok, line.feed.counts.checksums_bad) == (1, 1)


def test_a_snapshot_with_a_wrong_checksum_begins_no_book() -> None:
    market, line = OkxMarket(), Wire()

    told = line.hear(market.snapshot().replace(b'"checksum":', b'"checksum":1'))

    assert line.book is None
    assert not any(isinstance(message, BookSnapshot) for message in told)


def test_an_update_with_neither_number_nor_checksum_proves_nothing() -> None:
    market, line = OkxMarket(numbered=False, summed=False), Wire()

    line.hear(market.snapshot(), market.update(("bids", "99", "4")))

    assert line.book is None


def test_a_checksum_of_zero_is_none() -> None:
    market, line = OkxMarket(summed=False), Wire()

    line.hear(market.snapshot(), market.update(("bids", "99", "4")))

    assert line.book == (market.bids, market.asks)
    assert (line.feed.counts.checksums_ok, line.feed.counts.checksums_bad) == (0, 0)


def test_a_crossed_book_is_given_up() -> None:
    market, line = OkxMarket(summed=False), Wire()

    line.hear(market.snapshot(), market.update(("bids", "105", "4")))

    assert line.book is None
    assert line.feed.book_counts()[INSTRUMENT].crossed == 1


def test_a_book_that_is_lost_at_once_again_waits_before_it_is_asked_for() -> None:
    market, line = OkxMarket(summed=False), Wire()
    line.hear(market.snapshot(), market.update(("bids", "105", "4")))
    line.feed.take_requests()

    line.hear(market.snapshot())
    line.feed.ask_again()
    at_once = line.feed.take_requests()
    line.feed.on_silence(line.now + 1_000_000_000)

    assert line.book is None
    assert at_once == []
    assert len(line.feed.take_requests()) == 2


def test_what_was_just_asked_for_is_not_asked_for_again_before_it_can_have_come() -> None:
    market, line = OkxMarket(summed=False), Wire()
    line.hear(market.snapshot(), market.update(("bids", "105", "4")))
    line.feed.take_requests()

    line.feed.ask_again()
    at_once = line.feed.take_requests()
    line.feed.on_silence(line.now + 6_000_000_000)
    line.feed.ask_again()

    assert at_once == []
    assert len(line.feed.take_requests()) == 2


def test_our_numbers_go_on_where_the_venues_begin_anew() -> None:
    market, line = OkxMarket(), Wire()

    told = line.hear(
        market.snapshot(), market.update(("bids", "98", "9"), number=3), market.update(("bids", "98", "8"))
    )
    told += line.hear(_best(9), market.update(("bids", "98", "7"), number=9))

    deltas = [message for message in told if isinstance(message, BookDelta)]
    assert [(delta.first_update_id, delta.last_update_id) for delta in deltas] == [(11, 11), (12, 16), (17, 17)]
    assert [message.update_id for message in told if isinstance(message, Quote)][-1] == 17
    assert line.feed.book_counts()[INSTRUMENT].tops_compared == 1


def test_a_stamp_of_another_day_is_refused_and_moves_nothing() -> None:
    line = Wire()

    told = line.hear(_print(1, ts="1900000000000"), _print(2, ts="0"), _print(3))

    assert [trade.trade_id for trade in told] == ["3"]
    assert line.feed.counts.undecodable == 2


def test_a_new_snapshot_makes_the_book_whole_and_the_instrument_confirmed() -> None:
    market, line = OkxMarket(), Wire()
    line.hear(market.snapshot())
    market.update(("bids", "99", "4"))
    line.hear(market.update(("bids", "98", "4")))

    line.hear(market.snapshot())

    assert line.book == (market.bids, market.asks)
    assert line.feed.unconfirmed == ()


def test_prints_do_not_confirm_a_book() -> None:
    line = Wire()

    line.hear(_print(1))

    assert line.feed.unconfirmed == (INSTRUMENT,)


# --- where the channel begins without a snapshot


def _acknowledged() -> bytes:
    return json.dumps({"event": "subscribe", "arg": {"channel": "books", "instId": NAME}, "connId": "a4"}).encode()


def _rest(market: OkxMarket) -> bytes:
    rows = [[[price, size, "0", "1"] for price, size in side.items()] for side in (market.bids, market.asks)]
    book = {"bids": rows[0], "asks": rows[1], "ts": "1700000000000", "seqId": market.number}
    return json.dumps({"code": "0", "msg": "", "data": [book]}).encode()


def test_a_channel_that_begins_with_an_update_awaits_a_rest_book_and_applies_what_waited() -> None:
    market, line = OkxMarket(summed=False), Wire()
    early = market.update(("bids", "99", "4"))
    answer = _rest(market)
    late = market.update(("bids", "98", "4")), market.update(("asks", "101", "4"))

    line.hear(_acknowledged(), early, *late)
    awaited = line.feed.awaiting
    line.feed.on_snapshot(INSTRUMENT, answer, line.now)

    assert awaited == (INSTRUMENT,)
    assert line.feed.awaiting == ()
    assert line.book == (market.bids, market.asks)
    assert line.feed.counts.depth_stale == 1


def test_a_rest_book_from_before_the_first_update_is_not_enough() -> None:
    market, line = OkxMarket(summed=False), Wire()
    answer = _rest(market)
    market.update(("bids", "99", "4"))
    line.hear(_acknowledged(), market.update(("bids", "98", "4")))

    with pytest.raises(Poison, match="before update 15"):
        line.feed.on_snapshot(INSTRUMENT, answer, line.now)

    assert line.feed.awaiting == (INSTRUMENT,)


@pytest.mark.parametrize("body", [b"<html>", b'{"code":"51001","msg":"no","data":[]}', b'{"code":"0","data":[]}'])
def test_an_answer_that_is_no_book_is_poison(body: bytes) -> None:
    market, line = OkxMarket(summed=False), Wire()
    line.hear(_acknowledged(), market.update(("bids", "98", "4")))

    with pytest.raises(Poison):
        line.feed.on_snapshot(INSTRUMENT, body, line.now)


# --- prints, best prices, words


def test_prints_are_sent_with_the_takers_side_and_holes_are_told() -> None:
    line = Wire()

    told = line.hear(_print(7), _print(8, side="sell"), _print(11, count="2"), _print(13))

    assert [(trade.trade_id, trade.aggressor) for trade in told][:2] == [("7", "buy"), ("8", "sell")]
    assert len(told) == 4
    assert line.feed.counts.trade_gaps == 2
    assert [notice for notice in line.feed.take_notices() if "missing" in notice] == [
        f"prints 9 to 9 of {INSTRUMENT} are missing",
        f"prints 12 to 12 of {INSTRUMENT} are missing",
    ]


def test_the_last_print_before_a_reconnect_is_not_sent_again() -> None:
    line = Wire()
    line.hear(_print(7))
    line.feed.on_disconnect("cut", line.now)

    told = line.hear(_print(7), _print(8))

    assert [trade.trade_id for trade in told if isinstance(trade, Trade)] == ["8"]


def test_the_same_prints_on_a_second_channel_are_not_counted_twice() -> None:
    line = Wire()

    told = line.hear(_print(7), _print(7).replace(b'"trades"', b'"trades-all"'), _print(8))

    assert [trade.trade_id for trade in told] == ["7", "8"]


def test_best_prices_are_quotes_and_are_compared_with_the_book_of_the_same_number() -> None:
    market, line = OkxMarket(), Wire()
    line.hear(market.snapshot(), _best(15))

    told = line.hear(market.update(("bids", "98", "9")))

    assert not any(isinstance(message, Quote) for message in told)
    counts = line.feed.book_counts()[INSTRUMENT]
    assert (counts.tops_compared, counts.tops_equal) == (1, 1)


def test_best_prices_go_on_after_the_numbers_were_reset() -> None:
    market, line = OkxMarket(), Wire()
    line.hear(market.snapshot(), _best(15), market.update(("bids", "98", "9")))
    line.hear(market.update(("bids", "98", "8"), number=3))

    told = line.hear(_best(4, bid="100"))

    assert [quote.bid for quote in told] == [Decimal(100)]


def test_best_prices_of_a_call_auction_are_no_top() -> None:
    line = Wire()
    line.hear(_best(1))

    told = line.hear(_best(2, bid="103"))

    assert told == []
    assert line.feed._followed[NAME].top is None


def test_without_best_prices_the_books_own_top_is_quoted() -> None:
    market, line = OkxMarket(), Wire()

    told = line.hear(market.snapshot(), market.update(("bids", "100", "2")), market.update(("bids", "90", "2")))

    quotes = [message for message in told if isinstance(message, Quote)]
    assert [(int(quote.bid), int(quote.ask)) for quote in quotes] == [(99, 101), (100, 101)]
    assert sum(isinstance(out.message, Touch) for out in line.told) == 2


def test_an_absurd_print_is_kept_out() -> None:
    line = Wire()
    line.hear(_print(1), _print(2))

    told = line.hear(_print(3, price="10000"))

    assert told == []
    assert line.feed.counts.quarantined == 1


def test_refusals_and_notices_are_told_with_their_reason() -> None:
    line = Wire()

    line.hear(
        b'{"event":"error","code":"60018","msg":"channel:books,instId:NO-USDT doesn\'t exist","connId":"a"}',
        b'{"event":"notice","code":"64008","msg":"The connection will soon be closed","connId":"a"}',
        b"pong",
        b'{"event":"channel-conn-count","channel":"orders","connCount":"2","connId":"a"}',
    )

    assert line.feed.take_notices() == [
        "okx refuses a request: 60018 channel:books,instId:NO-USDT doesn't exist",
        "okx says: 64008 The connection will soon be closed",
    ]
    assert line.feed.counts.undecodable == 0


def test_a_connection_is_asked_for_books_best_prices_and_prints() -> None:
    line = Wire(SYMBOL, "BTC/USDT:USDT", contract_sizes={"BTC/USDT:USDT": Decimal("0.01")})

    args = [arg for text in line.asked for arg in json.loads(text)["args"]]

    assert args == [
        {"channel": channel, "instId": name}
        for name in ("BTC-USDT", "BTC-USDT-SWAP")
        for channel in ("books", "bbo-tbt", "trades")
    ]
    assert line.feed.unconfirmed == (INSTRUMENT, "BTC/USDT:USDT@okx")


# --- contracts


def test_sizes_of_a_linear_contract_are_base_units_and_its_checksum_still_holds() -> None:
    market = OkxMarket()
    line = Wire("BTC/USDT:USDT", contract_sizes={"BTC/USDT:USDT": Decimal("0.01")})
    swap = [
        frame.replace(b'"BTC-USDT"', b'"BTC-USDT-SWAP"')
        for frame in (market.snapshot(), market.update(("bids", "99", "4")), _print(5))
    ]

    told = line.hear(*swap)

    assert line.feed.counts.checksums_ok == 2
    sizes = [message.quantity for message in told if isinstance(message, Trade)]
    assert sizes == [Decimal("0.005")]
    delta = next(message for message in told if isinstance(message, BookDelta))
    assert delta.bids == ((Decimal(99), Decimal("0.04")),)


def test_a_linear_contract_of_unknown_size_is_told() -> None:
    line = Wire("BTC/USDT:USDT", "BTC/USD:BTC")

    assert line.feed.take_notices() == [
        "what a contract of BTC/USDT:USDT@okx holds is not known: its sizes are contracts"
    ]


# --- properties


@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 50), st.none() | st.integers(0, 50))
def test_only_the_update_that_names_ours_is_next(seen: int, number: int, previous: int, before: int | None) -> None:
    where = place(seen, before, number, previous)

    assert (where in ("next", "same")) == (previous == seen)
    assert (where == "same") == (number == previous == seen)
    assert where != "again" or (number, previous) == (seen, before)


_SIZES = st.integers(0, 10**8).map(lambda units: f"{Decimal(units).scaleb(-4):f}")
_LEVELS = st.dictionaries(st.integers(1, 10**6), _SIZES, max_size=40)


@given(_LEVELS, _LEVELS)
def test_checksum_is_that_of_the_definition(bids: dict[int, str], asks: dict[int, str]) -> None:
    written = OkxMarket(bids={str(p): s for p, s in bids.items()}, asks={str(p): s for p, s in asks.items()})
    book = Book()
    book.load(
        [(Decimal(p), Decimal(s)) for p, s in bids.items() if Decimal(s)],
        [(Decimal(p), Decimal(s)) for p, s in asks.items() if Decimal(s)],
    )
    for side in (written.bids, written.asks):
        for price in [price for price, size in side.items() if not Decimal(size)]:
            del side[price]

    assert wire.checksum(book.bids.levels(25), book.asks.levels(25)) == written.checksum()


_CHANGE = st.tuples(
    st.sampled_from(["bids", "asks"]), st.integers(1, 12), st.sampled_from(["0", "1", "2.50", "0.003"])
).map(lambda it: (it[0], str(100 - it[1] if it[0] == "bids" else 100 + it[1]), it[2]))
_MUTATION = st.sampled_from(
    ["none", "none", "none", "drop", "twice", "again", "late", "snapshot", "cut", "sum", "absurd", "reset"]
)


@pytest.mark.parametrize(("numbered", "summed"), [(True, True), (True, False), (False, True)])
@given(steps=st.lists(st.tuples(st.lists(_CHANGE, min_size=1, max_size=4), _MUTATION), max_size=25))
def test_a_book_is_the_venues_or_is_given_up(
    numbered: bool, summed: bool, steps: list[tuple[list[tuple[str, str, str]], str]]
) -> None:
    """Whatever is dropped, doubled, late, cut or changed: what is whole is the book of the newest frame that came."""
    market, line = OkxMarket(numbered=numbered, summed=summed), Wire()
    frames: list[tuple[bytes, int]] = [(market.snapshot(), 0)]  # with the number of its state; -1: none, it is broken
    held: list[tuple[bytes, int]] = []
    for state, (changes, mutation) in enumerate(steps, start=1):
        anew = mutation == "reset" and numbered and not any(number == 3 for number, _ in market.states)
        frame = market.update(*changes, number=3 if anew else None)  # once: numbers that come again tell nothing
        if mutation == "drop":
            continue
        if mutation == "late":
            held.append((frame, state))
            continue
        came = state
        if mutation == "cut":
            frame, came = frame[: len(frame) // 2], -1
        elif mutation == "sum" and summed:
            frame, came = frame.replace(b'"checksum":', b'"checksum":1'), -1
        elif mutation == "absurd" and b'"bids":[["' in frame:
            frame, came = frame.replace(b'"bids":[["', b'"bids":[["-'), -1
        frames += [(frame, came), (frame, came)] if mutation == "twice" else [(frame, came)]
        frames += [*held, *frames[:1]] if mutation == "snapshot" else held
        held = [(frame, came)] if mutation == "again" else []

    newest = 0
    for frame, came in frames:
        newest = max(newest, came)
        line.hear(frame)
        if line.book is not None:
            assert line.book == market.states[newest][1]
    line.hear(market.snapshot())

    assert line.book == (market.bids, market.asks) or not market.bids or not market.asks


# --- the dialect


@pytest.mark.parametrize(
    ("symbol", "name"),
    [
        ("BTC/USDT", "BTC-USDT"),
        ("BTC/USDT:USDT", "BTC-USDT-SWAP"),
        ("UNI/USD:UNI", "UNI-USD-SWAP"),
        ("BTC/USD:BTC-220527", "BTC-USD-220527"),
        ("BTC/USDC:USDC-261225", "BTC-USDC-261225"),
        ("BTC/USD:BTC-220527-30000-C", "BTC-USD-220527-30000-C"),
    ],
)
def test_names_are_spelled_both_ways(symbol: str, name: str) -> None:
    okx = dialect("okx")

    assert okx.spell(symbol) == name
    assert okx.canonical(name) == symbol


def test_a_name_that_is_none_is_refused() -> None:
    with pytest.raises(Misuse):
        dialect("okx").canonical("BTCUSDT")


def test_paths_and_addresses() -> None:
    okx = dialect("okx")

    assert okx.address(okx.stream_url, [SYMBOL]) == "wss://ws.okx.com:8443/ws/v5/public"
    assert okx.listing_path is not None
    assert okx.listing_path(["BTC-USDT-SWAP"]) == "/public/instruments?instType=SWAP"
    assert okx.bars_path is not None
    assert okx.bars_path(NAME, 86_400_000, 500) == "/market/candles?instId=BTC-USDT&bar=1Dutc&limit=300"
    assert okx.bars_path(NAME, 7, 5) is None
    assert okx.book_of("https://www.okx.com/api/v5/market/books?instId=BTC-USDT&sz=400") == NAME
    assert okx.ping == "ping"


def test_instruments_of_two_kinds_are_two_listings() -> None:
    listing_path = dialect("okx").listing_path
    assert listing_path is not None

    with pytest.raises(Misuse, match="two venues"):
        listing_path(["BTC-USDT", "BTC-USDT-SWAP"])


def test_a_listed_linear_contract_has_its_steps_in_base_units() -> None:
    swap = {
        "instType": "SWAP",
        "instId": "BTC-USDT-SWAP",
        "state": "live",
        "ctVal": "0.01",
        "ctMult": "1",
        "lotSz": "0.1",
        "minSz": "0.1",
        "tickSz": "0.1",
    }
    listing = dialect("okx").listing
    assert listing is not None

    one, inverse = listing(
        json.dumps({"code": "0", "data": [swap, swap | {"instId": "BTC-USD-SWAP", "ctVal": "100"}]}).encode()
    )

    assert (one.symbol, one.contract_size, one.lot_size) == ("BTC/USDT:USDT", Decimal("0.01"), Decimal("0.001"))
    assert (inverse.symbol, inverse.contract_size, inverse.lot_size) == ("BTC/USD:BTC", None, Decimal("0.1"))


def test_candles_are_bars_once_they_are_confirmed() -> None:
    rows = [
        ["1700000120000", "1", "2", "1", "2", "7", "0.07", "9", "0"],
        ["1700000060000", "1", "2", "1", "2", "5", "0.05", "9", "1"],
        ["1700000000000", "1", "2", "1", "2", "3", "0.03", "9", "1"],
    ]
    bars = dialect("okx").bars
    assert bars is not None

    spot = bars(json.dumps({"code": "0", "data": rows}).encode(), INSTRUMENT, 60_000, 1_800_000_000_000, 1)
    swap = bars(json.dumps({"code": "0", "data": rows}).encode(), "BTC/USDT:USDT@okx", 60_000, 1_800_000_000_000, 1)

    assert [bar.volume for bar in spot] == [3, 5]
    assert [bar.volume for bar in swap] == [Decimal("0.03"), Decimal("0.05")]
    assert spot[0].ts_event == 1_700_000_060_000_000_000


def test_keys_are_not_shown() -> None:
    options = FeedOptions(key="AK", secret="top")

    assert "AK" not in repr(options)
    assert "top" not in repr(options)
    assert "top" not in f"{options}"
    assert "top" not in str(list(options.__rich_repr__()))


@pytest.mark.parametrize("numbered", [True, False])
def test_frames_of_a_book_that_come_twice_count_once(*, numbered: bool) -> None:
    market, line = OkxMarket(numbered=numbered), Wire()
    frames = [market.snapshot(), market.update(("bids", "99", "4")), market.update(("asks", "101", "2"))]

    told = line.hear(*(one for frame in frames for one in (frame, frame)), frames[1])

    assert [type(message) for message in told if isinstance(message, BookSnapshot | BookDelta)] == [
        BookSnapshot,
        BookDelta,
        BookDelta,
    ]
    assert line.feed.counts.duplicates == 4
    assert line.book == (market.bids, market.asks)


def test_a_channel_of_best_levels_is_known_and_said_once_to_be_not_read() -> None:
    frame, line = _push("books5", {"bids": [["99", "1", "0", "1"]], "asks": [], "ts": "1700000000000"}), Wire()

    line.hear(frame, frame)

    assert dialect("okx").names(frame) == (NAME,)
    assert line.feed.counts.unknown_events == 2
    assert [notice for notice in line.feed.take_notices() if "books5 of okx is not read" in notice]
    assert line.feed.take_notices() == []
