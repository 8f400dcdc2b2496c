"""Binance klines to bars that warm models up. Knows the answer of REST `klines`, nothing of HTTP."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from edgefleet.clock import NS_PER_MS
from edgefleet.errors import Poison
from edgefleet.messages.market import Bar
from edgefleet.venues.feed import UNREADABLE

INTERVALS = {
    1_000: "1s",
    60_000: "1m",
    180_000: "3m",
    300_000: "5m",
    900_000: "15m",
    1_800_000: "30m",
    3_600_000: "1h",
    14_400_000: "4h",
    86_400_000: "1d",
}  # by width in ms, as the venue names them


class _Kline(msgspec.Struct, array_like=True):
    """The venue's array, as far as it is used here."""

    open_ms: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    close_ms: int
    quote_volume: Decimal
    trades: int


_KLINES = msgspec.json.Decoder(list[_Kline])


def bars_from_klines(
    raw: bytes, instrument: str, interval_ms: int, *, until_ms: int, trace: str, ts_init: int
) -> list[Bar]:
    """Return the closed bars in a `klines` answer, oldest first. Intervals without a trade make no bar.

    `until_ms` is the venue's time: a candle that ends after it is still open.

    Raises
    ------
    Poison
        If the answer is no list of klines.
    """
    try:
        klines = _KLINES.decode(raw)
        return [
            _bar(kline, instrument, interval_ms, trace, ts_init)
            for kline in klines
            if kline.trades > 0 and kline.open_ms + interval_ms <= until_ms
        ]
    except UNREADABLE as error:
        raise Poison(f"klines of {instrument} do not decode: {error}") from error


def _bar(kline: _Kline, instrument: str, interval_ms: int, trace: str, ts_init: int) -> Bar:
    return Bar(
        instrument=instrument,
        interval_ms=interval_ms,
        open=kline.open,
        high=kline.high,
        low=kline.low,
        close=kline.close,
        volume=kline.volume,
        trades=kline.trades,
        backfill=True,
        ts_event=(kline.open_ms + interval_ms) * NS_PER_MS,
        ts_init=ts_init,
        trace_id=f"{trace}kline:{kline.open_ms}",
    )
