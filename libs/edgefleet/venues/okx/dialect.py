"""OKX v5 as a dialect: addresses, spelling, listing, clock and candles.

Source: OKX API guide (www.okx.com/docs-v5/en): "Get instruments", "Get candlesticks", "Get system time", "Get order
book" and "WebSocket overview", by which a connection that hears nothing for 30 s is cut unless it says ``ping``.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Final
from urllib.parse import parse_qs, urlsplit

import msgspec

from edgefleet.clock import NS_PER_MS
from edgefleet.errors import Misuse, Poison
from edgefleet.messages.market import Bar
from edgefleet.venues.dialect import Dialect, FeedOptions, Listed
from edgefleet.venues.feed import UNREADABLE
from edgefleet.venues.okx import names as spelling
from edgefleet.venues.okx import wire
from edgefleet.venues.okx.feed import OkxFeed

BOOK_LEVELS: Final = 400
BARS: Final = {
    1_000: "1s",
    60_000: "1m",
    180_000: "3m",
    300_000: "5m",
    900_000: "15m",
    1_800_000: "30m",
    3_600_000: "1H",
    14_400_000: "4H",
    86_400_000: "1Dutc",  # `1D` begins at 16:00 UTC
}  # by width in ms, as the venue names them
MOST_BARS: Final = 300  # of one answer

_DATA_CHANNELS: Final = wire.BOOK_CHANNELS | wire.PARTIAL_CHANNELS | wire.TRADE_CHANNELS | {"bbo-tbt", "tickers"}


class _Instrument(msgspec.Struct):
    instType: str
    instId: str
    state: str = ""
    ctVal: str = ""
    ctMult: str = ""
    lotSz: str = ""
    minSz: str = ""
    tickSz: str = ""


class _Instruments(msgspec.Struct):
    code: str
    msg: str = ""
    data: list[_Instrument] = []


class _Time(msgspec.Struct):
    ts: int


class _Times(msgspec.Struct):
    data: tuple[_Time]


class _Candle(msgspec.Struct, array_like=True):
    """The venue's array. `volume` counts contracts of derivatives, `base_volume` then their base units."""

    start_ms: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    base_volume: Decimal
    quote_volume: Decimal
    confirm: str


class _Candles(msgspec.Struct):
    code: str
    msg: str = ""
    data: list[_Candle] = []


_INSTRUMENTS = msgspec.json.Decoder(_Instruments)
_TIMES = msgspec.json.Decoder(_Times, strict=False)
_CANDLES = msgspec.json.Decoder(_Candles, strict=False)


def make_feed(venue: str, symbols: Sequence[str], options: FeedOptions) -> OkxFeed:
    """Return the feed of a public connection."""
    return OkxFeed(venue, symbols, touch_interval_ms=options.touch_interval_ms, contract_sizes=options.contract_sizes)


def names(raw: bytes) -> Sequence[str]:
    """Return the instrument of a push."""
    try:
        head = wire.HEAD.decode(raw)
    except UNREADABLE:
        return ()
    known = head.event is None and head.arg.channel in _DATA_CHANNELS and head.arg.instId
    return (head.arg.instId,) if known else ()


def book_path(name: str) -> str:
    """Return the path of a whole book, which is asked for where the channel begins without one."""
    return f"/market/books?instId={name}&sz={BOOK_LEVELS}"


def book_of(url: str) -> str | None:
    """Return whose book a REST address answers, None where it answers something else."""
    parts = urlsplit(url)
    return parse_qs(parts.query).get("instId", [None])[0] if parts.path.endswith("/market/books") else None


def listing_path(spelled: Sequence[str]) -> str:
    """Return the path of what the venue lists of the kind that all of `spelled` are of.

    Raises
    ------
    Misuse
        If they are of several kinds: the venue lists one kind in one answer.
    """
    kinds = {spelling.kind(name) for name in spelled} or {"SPOT"}
    if len(kinds) > 1:
        raise Misuse(f"OKX lists {' and '.join(sorted(kinds))} apart; follow them as two venues, one kind each")
    kind = kinds.pop()
    family = "" if kind != "OPTION" else f"&instFamily={'-'.join(spelled[0].split('-')[:2])}"
    return f"/public/instruments?instType={kind}{family}"


def listing(raw: bytes) -> Sequence[Listed]:
    """Return what an `instruments` answer says. Steps of linear contracts are base units, of inverse ones contracts.

    Raises
    ------
    Poison
        If `raw` is no `instruments` answer.
    """
    try:
        answer = _INSTRUMENTS.decode(raw)
    except UNREADABLE as error:
        raise Poison(f"instruments do not decode: {error}") from error
    if answer.code != "0":
        raise Poison(f"instruments were refused: {answer.code} {answer.msg}")
    return [listed for one in answer.data if (listed := _listed(one)) is not None]


def time_ns(raw: bytes) -> int:
    """Return the venue's clock in the answer of `public/time`.

    Raises
    ------
    Poison
        If it is none.
    """
    try:
        return _TIMES.decode(raw).data[0].ts * NS_PER_MS
    except UNREADABLE as error:
        raise Poison(f"the venue's clock does not decode: {error}") from error


def bars_path(name: str, width_ms: int, count: int) -> str | None:
    """Return the path of the newest candles, None where the venue has none of this width."""
    bar = BARS.get(width_ms)
    return None if bar is None else f"/market/candles?instId={name}&bar={bar}&limit={min(count, MOST_BARS)}"


def bars(raw: bytes, instrument: str, width_ms: int, until_ms: int, ts_init: int) -> Sequence[Bar]:
    """Return the closed bars in a `candles` answer, oldest first. How many trades they hold the venue does not say: 0.

    Raises
    ------
    Poison
        If the answer is no list of candles.
    """
    try:
        answer = _CANDLES.decode(raw)
    except UNREADABLE as error:
        raise Poison(f"candles of {instrument} do not decode: {error}") from error
    if answer.code != "0":
        raise Poison(f"candles of {instrument} were refused: {answer.code} {answer.msg}")
    symbol, _, venue = instrument.rpartition("@")
    name = spelling.wire_symbol(symbol)
    found = [
        Bar(
            instrument=instrument,
            interval_ms=width_ms,
            open=one.open,
            high=one.high,
            low=one.low,
            close=one.close,
            volume=one.base_volume if spelling.is_linear(name) else one.volume,
            trades=0,
            backfill=True,
            ts_event=(one.start_ms + width_ms) * NS_PER_MS,
            ts_init=ts_init,
            trace_id=f"{venue}:{name}:candle:{one.start_ms}",
        )
        for one in answer.data
        if one.confirm == "1" and one.volume > 0 and one.start_ms + width_ms <= until_ms
    ]
    return sorted(found, key=lambda bar: bar.ts_event)


def _listed(one: _Instrument) -> Listed | None:
    try:
        symbol = spelling.canonical(one.instId)
    except Misuse:  # a name in letters that we do not write
        return None
    linear = spelling.is_linear(one.instId)
    size = _number(one.ctVal) if linear else None
    if size is not None:
        size *= _number(one.ctMult) or 1
    unit = size or Decimal(1)
    lot, least = _number(one.lotSz), _number(one.minSz)
    return Listed(
        symbol=symbol,
        name=one.instId,
        trading=one.state == "live",
        tick_size=_number(one.tickSz),
        lot_size=None if lot is None else lot * unit,
        min_quantity=None if least is None else least * unit,
        contract_size=size,
    )


def _number(text: str) -> Decimal | None:
    """Return the number in a field that is empty where it does not apply."""
    return Decimal(text) if text else None


DIALECT = Dialect(
    name="okx",
    rest_url="https://www.okx.com/api/v5",
    stream_url="wss://ws.okx.com:8443",
    feed=make_feed,
    address=lambda base, symbols: f"{base.rstrip('/')}/ws/v5/public",
    spell=spelling.wire_symbol,
    canonical=spelling.canonical,
    names=names,
    book_path=book_path,
    book_of=book_of,
    listing_path=listing_path,
    listing=listing,
    time_path="/public/time",
    time_ns=time_ns,
    bars_path=bars_path,
    bars=bars,
    ping="ping",
    ping_every_s=20.0,
)
