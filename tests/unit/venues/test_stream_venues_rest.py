"""Coinbase's and Kraken's public REST answers: listings, clocks and candles, and what is no such answer."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest

from edgefleet.clock import NS_PER_MS, NS_PER_S
from edgefleet.errors import Poison
from edgefleet.params.schema.venues import DIALECTS
from edgefleet.venues.coinbase import rest as coinbase
from edgefleet.venues.coinbase.advanced import DIALECT as ADVANCED
from edgefleet.venues.coinbase.dialect import DIALECT as COINBASE
from edgefleet.venues.dialect import Dialect, dialect
from edgefleet.venues.kraken import rest as kraken
from edgefleet.venues.kraken.dialect import DIALECT as KRAKEN
from edgefleet.venues.kraken.v1 import DIALECT as KRAKEN_V1

MINUTE_MS = 60_000
KRAKEN_CANDLES = (
    b'{"error":[],"result":{"XXBTZUSD":['
    b'[1591475580,"9650.1","9655.0","9650.0","9651.2","9652.0","1.50000000",4],'
    b'[1591475640,"9651.2","9651.2","9651.2","9651.2","0.0","0.00000000",0],'
    b'[1591475700,"9651.2","9652.0","9650.0","9650.5","9651.0","0.25000000",2]],"last":1591475640}}'
)
COINBASE_CANDLES = (
    b"[[1591514160,0.02505,0.02509,0.02506,0.02507,0.02816506],"
    b"[1591514100,0.02507,0.02507,0.02507,0.02507,1.63830323],"
    b"[1591514040,0.02505,0.02507,0.02505,0.02507,0]]"
)


def test_krakens_candles_become_closed_bars_oldest_first() -> None:
    bars = kraken.bars(KRAKEN_CANDLES, "BTC/USD@kraken", MINUTE_MS, 1_591_475_760_000, 7)

    assert [(bar.ts_event, bar.trades) for bar in bars] == [
        (1_591_475_640 * NS_PER_S, 4),
        (1_591_475_760 * NS_PER_S, 2),
    ]
    first = bars[0]
    assert (first.open, first.high, first.low, first.close) == tuple(
        map(Decimal, ("9650.1", "9655.0", "9650.0", "9651.2"))
    )
    assert (first.volume, first.backfill, first.ts_init) == (Decimal("1.50000000"), True, 7)


def test_coinbases_candles_become_closed_bars_oldest_first() -> None:
    bars = coinbase.bars(COINBASE_CANDLES, "ETH/BTC@coinbase", MINUTE_MS, 1_591_514_200_000, 7)

    assert [bar.ts_event for bar in bars] == [1_591_514_160 * NS_PER_S]  # one was empty, one is open
    assert (bars[0].low, bars[0].high, bars[0].volume) == (
        Decimal("0.02507"),
        Decimal("0.02507"),
        Decimal("1.63830323"),
    )


def test_paths_name_what_the_venue_offers_and_nothing_else() -> None:
    assert KRAKEN.bars_path is not None
    assert COINBASE.bars_path is not None
    assert KRAKEN.bars_path("BTC/USD", MINUTE_MS, 120) == "/OHLC?pair=XBTUSD&interval=1"
    assert KRAKEN.bars_path("BTC/USD", 1_000, 120) is None
    assert COINBASE.bars_path("BTC-USD", MINUTE_MS, 120) == "/products/BTC-USD/candles?granularity=60"
    assert COINBASE.bars_path("BTC-USD", 1_800_000, 120) is None


def test_krakens_pairs_are_listed_in_both_spellings() -> None:
    pair = {
        "altname": "XBTUSD",
        "wsname": "XBT/USD",
        "pair_decimals": 1,
        "lot_decimals": 8,
        "ordermin": "0.0001",
        "costmin": "0.5",
        "tick_size": "0.1",
        "status": "online",
    }
    others = {"XDGUSD": {**pair, "wsname": "XDG/USD", "tick_size": None, "status": "cancel_only"}, "XBTUSD.d": {**pair}}
    del others["XBTUSD.d"]["wsname"]
    body = msgspec.json.encode({"error": [], "result": {"XXBTZUSD": pair, **others}})

    assert [(one.symbol, one.name, one.trading) for one in kraken.listed(body)] == [
        ("BTC/USD", "BTC/USD", True),
        ("DOGE/USD", "DOGE/USD", False),
    ]
    first, second = kraken.listed_v1(body)
    assert (first.name, second.name) == ("XBT/USD", "XDG/USD")
    assert (first.tick_size, first.lot_size) == (Decimal("0.1"), Decimal("0.00000001"))
    assert (first.min_quantity, first.min_notional) == (Decimal("0.0001"), Decimal("0.5"))
    assert second.tick_size == Decimal("0.1")


def test_advanced_trade_lists_spot_products_that_can_be_named() -> None:
    product = {
        "product_id": "BTC-USD",
        "base_increment": "0.00000001",
        "price_increment": "0.01",
        "base_min_size": "0.00000001",
        "quote_min_size": "1",
        "status": "online",
        "product_type": "SPOT",
        "trading_disabled": False,
    }
    others = [{**product, "product_id": "BIT-31MAY24-CDE", "product_type": "FUTURE"}]
    others.append({**product, "product_id": "ETH-EUR", "trading_disabled": True})
    body = msgspec.json.encode({"products": [product, *others]})

    listed = coinbase.advanced_listed(body)

    assert [(one.symbol, one.trading) for one in listed] == [("BTC/USD", True), ("ETH/EUR", False)]
    assert (listed[0].tick_size, listed[0].min_notional) == (Decimal("0.01"), Decimal(1))


def test_the_venues_clocks_read() -> None:
    assert kraken.time_ns(b'{"error":[],"result":{"unixtime":1616336594,"rfc1123":"x"}}') == 1_616_336_594 * NS_PER_S
    assert (
        coinbase.time_ns(b'{"iso":"2015-01-07T23:47:25.201Z","epoch":1420674445.201}') == 1_420_674_445_201 * NS_PER_MS
    )
    assert coinbase.time_ns(b'{"iso":"2024-02-27T03:37:14Z","epochMillis":"1709005034333"}') == 1_709_005_034 * NS_PER_S


NO_ANSWERS = (
    b"",
    b"<html>maintenance</html>",
    b"[]",
    b"{}",
    b'{"message":"NotFound"}',
    b'{"error":["EQuery:Unknown asset pair"]}',
    b'[[1,"NaN",1,1,1,1]]',
    b"[" * 5_000,
)


@pytest.mark.parametrize("body", NO_ANSWERS, ids=range(len(NO_ANSWERS)))
@pytest.mark.parametrize("venue", [COINBASE, ADVANCED, KRAKEN, KRAKEN_V1], ids=lambda venue: venue.name)
def test_what_is_no_answer_is_told_as_one_that_will_never_be(venue: Dialect, body: bytes) -> None:
    assert venue.time_ns is not None
    assert venue.listing is not None
    with pytest.raises(Poison):
        venue.time_ns(body)
    if body != b"[]" or venue is not COINBASE:
        with pytest.raises(Poison):
            venue.listing(body)
    if venue.bars is not None and body != b"[]":
        with pytest.raises(Poison):
            venue.bars(body, "BTC/USD@venue", MINUTE_MS, 10**15, 0)


def test_a_refusal_of_krakens_is_told_in_its_words() -> None:
    with pytest.raises(Poison, match="EQuery:Unknown asset pair"):
        kraken.bars(b'{"error":["EQuery:Unknown asset pair"]}', "X/Y@kraken", MINUTE_MS, 0, 0)


@pytest.mark.parametrize("name", ["coinbase", "coinbase_advanced", "kraken", "kraken_v1"])
def test_a_dialect_is_found_by_its_name(name: str) -> None:
    assert name in DIALECTS
    assert dialect(name).name == name
