"""REST answers of a Binance-dialect venue: candles as history, and the listing beside our configuration."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from edgefleet.errors import Poison
from edgefleet.instruments import Instrument
from edgefleet.venues.binance.klines import bars_from_klines
from edgefleet.venues.binance.listing import listed
from edgefleet.venues.listing import differences

BTC = Instrument(
    symbol="BTC/USDT",
    venue="sim",
    base="BTC",
    quote="USDT",
    tick_size=Decimal("0.01"),
    lot_size=Decimal("0.00001"),
    min_quantity=Decimal("0.00001"),
    min_notional=Decimal(5),
)


def kline(open_ms: int, *, trades: int = 3, close: str = "101.5") -> list[Any]:
    return [open_ms, "100", "102", "99", close, "7.5", open_ms + 999, "750.0", trades, "1", "100", "0"]


def bars(klines: object, until_ms: int = 10_000) -> Any:
    raw = msgspec.json.encode(klines)
    return bars_from_klines(raw, "BTC/USDT@sim", 1_000, until_ms=until_ms, trace="sim:BTCUSDT:", ts_init=4)


def test_closed_candles_become_backfilled_bars_that_end_where_they_end() -> None:
    (bar,) = bars([kline(5_000)])

    assert (bar.open, bar.high, bar.low, bar.close) == tuple(map(Decimal, ("100", "102", "99", "101.5")))
    assert (bar.volume, bar.trades, bar.interval_ms, bar.backfill) == (Decimal("7.5"), 3, 1_000, True)
    assert bar.ts_event == 6_000 * 1_000_000


def test_open_candles_and_empty_ones_make_no_bar() -> None:
    assert bars([kline(8_000, trades=0), kline(9_001)]) == []
    assert len(bars([kline(9_000)])) == 1


@pytest.mark.parametrize("raw", [{"code": -1121, "msg": "Invalid symbol."}, [[1, 2]], [kline(0)[:4]]])
def test_answer_that_is_no_candles_is_refused(raw: object) -> None:
    with pytest.raises(Poison):
        bars(raw)


def listing(status: str = "TRADING", **filters: str) -> bytes:
    rules = [
        {"filterType": "PRICE_FILTER", "tickSize": filters.get("tick", "0.01000000")},
        {"filterType": "LOT_SIZE", "stepSize": filters.get("lot", "0.00001000")},
        {"filterType": "NOTIONAL", "minNotional": filters.get("notional", "5.00000000")},
    ]
    pair = {"symbol": "BTCUSDT", "baseAsset": "BTC", "quoteAsset": "USDT", "status": status, "filters": rules}
    return msgspec.json.encode({"symbols": [pair]})


def test_same_rules_are_no_difference() -> None:
    assert differences(listed(listing()), [BTC]) == []


def test_stricter_configuration_is_no_difference() -> None:
    assert differences(listed(listing(tick="0.00500000", lot="0.00000100", notional="1")), [BTC]) == []


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (listing(tick="0.10"), "BTC/USDT: tick_size is 0.01 in the configuration, 0.1 at the venue"),
        (listing(lot="0.001"), "BTC/USDT: lot_size is 0.00001 in the configuration, 0.001 at the venue"),
        (listing(notional="10"), "BTC/USDT: min_notional is 5 in the configuration, 10 at the venue"),
        (listing(status="BREAK"), "BTC/USDT is not trading at sim"),
        (b'{"symbols":[]}', "BTC/USDT is not listed at sim"),
    ],
)
def test_each_difference_is_told_with_both_numbers(raw: bytes, told: str) -> None:
    assert differences(listed(raw), [BTC]) == [told]


def test_answer_that_is_no_listing_is_refused() -> None:
    with pytest.raises(Poison):
        differences(listed(b"<html>"), [BTC])
