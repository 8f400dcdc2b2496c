"""What Kraken's public REST answers: pairs, clock and candles. Knows nothing of HTTP."""

from __future__ import annotations

from decimal import Decimal
from typing import Generic, TypeVar

import msgspec

from edgefleet.clock import NS_PER_S
from edgefleet.errors import Misuse, Poison
from edgefleet.messages.market import Bar
from edgefleet.venues.candles import Candle, closed_bars
from edgefleet.venues.dialect import Listed
from edgefleet.venues.feed import UNREADABLE
from edgefleet.venues.kraken.names import canonical, spell_v1

INTERVALS = {
    60_000: 1,
    300_000: 5,
    900_000: 15,
    1_800_000: 30,
    3_600_000: 60,
    14_400_000: 240,
    86_400_000: 1_440,
}  # by width in ms, as the venue names them: minutes

R = TypeVar("R")


class _Answer(msgspec.Struct, Generic[R]):
    error: list[str] = []
    result: R | None = None


class _Pair(msgspec.Struct):
    pair_decimals: int
    lot_decimals: int
    wsname: str | None = None  # pairs of the dark pool have none
    tick_size: Decimal | None = None
    ordermin: Decimal | None = None
    costmin: Decimal | None = None
    status: str = "online"


class _Time(msgspec.Struct):
    unixtime: int


class _Candle(msgspec.Struct, array_like=True):
    start_s: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    vwap: Decimal
    volume: Decimal
    count: int


_PAIRS = msgspec.json.Decoder(_Answer[dict[str, _Pair]])
_TIME = msgspec.json.Decoder(_Answer[_Time])
_OHLC = msgspec.json.Decoder(_Answer[dict[str, list[_Candle] | int]])


def listed(raw: bytes) -> list[Listed]:
    """Return what `/AssetPairs` says of each pair that has a readable WebSocket name, named as in v2.

    Raises
    ------
    Poison
        If `raw` is no such answer.
    """
    return [msgspec.structs.replace(one, name=one.symbol) for one in listed_v1(raw)]


def listed_v1(raw: bytes) -> list[Listed]:
    """Return what `/AssetPairs` says of each pair that has a readable WebSocket name, named as in v1.

    Raises
    ------
    Poison
        If `raw` is no such answer.
    """
    found = []
    for pair in _result(_PAIRS, raw, "asset pairs").values():
        if pair.wsname is None:
            continue
        try:
            symbol = canonical(pair.wsname)
        except Misuse:
            continue
        found.append(
            Listed(
                symbol=symbol,
                name=pair.wsname,
                trading=pair.status == "online",
                tick_size=pair.tick_size if pair.tick_size is not None else Decimal(1).scaleb(-pair.pair_decimals),
                lot_size=Decimal(1).scaleb(-pair.lot_decimals),
                min_quantity=pair.ordermin,
                min_notional=pair.costmin,
            )
        )
    return found


def time_ns(raw: bytes) -> int:
    """Return the venue's clock in the answer of `/Time`, whole seconds.

    Raises
    ------
    Poison
        If it is none.
    """
    return _result(_TIME, raw, "the venue's clock").unixtime * NS_PER_S


def bars_path(name: str, width_ms: int, count: int) -> str | None:
    """Return the path of the newest candles, None where there are none of this width. The venue sends 720."""
    minutes = INTERVALS.get(width_ms)
    pair = spell_v1(name).replace("/", "")
    return None if minutes is None else f"/OHLC?pair={pair}&interval={minutes}"


def bars(raw: bytes, instrument: str, width_ms: int, until_ms: int, ts_init: int) -> list[Bar]:
    """Return the closed bars in the answer of `bars_path`, oldest first. Intervals without a print make no bar.

    Raises
    ------
    Poison
        If the answer is an error or no list of candles, or holds a price that cannot be.
    """
    symbol, _, venue = instrument.rpartition("@")
    trace = f"{venue}:{symbol}:"
    answer = _result(_OHLC, raw, f"candles of {instrument}")
    candles = next((part for part in answer.values() if isinstance(part, list)), [])
    plain = (
        Candle(one.start_s * 1_000, one.open, one.high, one.low, one.close, one.volume, one.count, one.count > 0)
        for one in candles
    )
    return closed_bars(plain, instrument, width_ms, until_ms=until_ms, trace=trace, ts_init=ts_init)


def _result(decoder: msgspec.json.Decoder[_Answer[R]], raw: bytes, what: str) -> R:
    try:
        answer = decoder.decode(raw)
    except UNREADABLE as error:
        raise Poison(f"{what} do not decode: {error}") from error
    if answer.error or answer.result is None:
        raise Poison(f"{what} were refused: {'; '.join(answer.error) or 'the answer is empty'}")
    return answer.result
