"""Alpaca's stocks as a dialect: addresses, keys, spelling, assets, clock and bars.

Source: docs.alpaca.markets: "WebSocket Stream", "Historical Stock Data", "Get Assets", "Get Market Clock". The stream's
address names the feed: `/v2/iex` (free: the quotes of one exchange) or `/v2/sip` (all exchanges: the best of them all).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Final

import msgspec

from edgefleet.clock import NS_PER_MS
from edgefleet.errors import Misuse, Poison
from edgefleet.messages.market import Bar
from edgefleet.venues.alpaca import names as spelling
from edgefleet.venues.alpaca import wire
from edgefleet.venues.alpaca.feed import AlpacaFeed
from edgefleet.venues.dialect import Dialect, FeedOptions, Listed
from edgefleet.venues.feed import UNREADABLE

FREE_FEED: Final = "/v2/iex"
WIDTHS: Final = {
    60_000: "1Min",
    300_000: "5Min",
    900_000: "15Min",
    1_800_000: "30Min",
    3_600_000: "1Hour",
    14_400_000: "4Hour",
    86_400_000: "1Day",
}  # of bars, by ms, as the venue names them
FRACTION: Final = Decimal("0.000000001")  # the smallest part of a share, where parts can be traded
MIN_NOTIONAL: Final = Decimal(1)  # dollars, of an order in parts of a share

_SIZES: Final = (None, "shares", "round_lots")


class _Asset(msgspec.Struct):
    symbol: str
    status: str = ""
    tradable: bool = False
    fractionable: bool = False


class _Clock(msgspec.Struct):
    timestamp: str


class _Bar(msgspec.Struct):
    t: str
    o: Decimal
    h: Decimal
    l: Decimal  # noqa: E741 - the venue's own name
    c: Decimal
    v: Decimal
    n: int


class _Bars(msgspec.Struct):
    bars: dict[str, list[_Bar]]


_ASSETS = msgspec.json.Decoder(list[_Asset])
_CLOCK = msgspec.json.Decoder(_Clock)
_BARS = msgspec.json.Decoder(_Bars)


def make_feed(venue: str, symbols: Sequence[str], options: FeedOptions) -> AlpacaFeed:
    """Return the feed of a connection. Options: `extended_hours` (`yes`), `sizes_in` (`shares` or `round_lots`).

    Raises
    ------
    Misuse
        If an option is none of these.
    """
    given = dict(options.options)
    extended, sizes = given.pop("extended_hours", "no"), given.pop("sizes_in", None)
    if given or extended not in ("yes", "no") or sizes not in _SIZES:
        raise Misuse(
            f"options of alpaca are extended_hours: yes|no, sizes_in: shares|round_lots; were {options.options}"
        )
    return AlpacaFeed(
        venue,
        symbols,
        touch_interval_ms=options.touch_interval_ms,
        key=options.key,
        secret=options.secret,
        extended_hours=extended == "yes",
        sizes_in=sizes,
    )


def address(base: str, symbols: Sequence[str]) -> str:
    """Return the address of a stream: the free feed's, unless the base names one."""
    base = base.rstrip("/")
    return base if base.count("/") > 2 else base + FREE_FEED


def headers(options: FeedOptions) -> Mapping[str, str]:
    """Return the keys as REST wants them."""
    if not options.key:
        return {}
    return {"APCA-API-KEY-ID": options.key, "APCA-API-SECRET-KEY": options.secret}


def names(raw: bytes) -> Sequence[str]:
    """Return the tickers that a frame of data is about."""
    try:
        found, *_ = wire.messages(raw)
    except UNREADABLE:
        return ()
    control = wire.Success | wire.Refusal | wire.Subscription
    return tuple(dict.fromkeys(message.S for message in found if not isinstance(message, control)))


def listing(raw: bytes) -> Sequence[Listed]:
    """Return what an `assets` answer says. A tick it does not name: it is a cent from one dollar on (SEC rule 612).

    Raises
    ------
    Poison
        If `raw` is no `assets` answer.
    """
    try:
        assets = _ASSETS.decode(raw)
    except UNREADABLE as error:
        raise Poison(f"assets do not decode: {error}") from error
    return [listed for asset in assets if (listed := _listed(asset)) is not None]


def time_ns(raw: bytes) -> int:
    """Return the venue's clock in the answer of `clock`.

    Raises
    ------
    Poison
        If it is none.
    """
    try:
        return wire.text_ns(_CLOCK.decode(raw).timestamp)
    except (*UNREADABLE, ValueError) as error:
        raise Poison(f"the venue's clock does not decode: {error}") from error


def bars_path(name: str, width_ms: int, count: int) -> str | None:
    """Return the path of the newest bars, None where the venue has none of this width.

    Without a start only the present day would be looked through: the start is before all data there is.
    """
    width = WIDTHS.get(width_ms)
    if width is None:
        return None
    return f"/stocks/bars?symbols={name}&timeframe={width}&start=2016-01-01T00:00:00Z&sort=desc&limit={count}"


def bars(raw: bytes, instrument: str, width_ms: int, until_ms: int, ts_init: int) -> Sequence[Bar]:
    """Return the closed bars in a `bars` answer, oldest first.

    Raises
    ------
    Poison
        If the answer is no list of bars.
    """
    symbol, _, venue = instrument.rpartition("@")
    name = spelling.wire_symbol(symbol)
    trace = f"{venue}:{name}:bar:"
    try:
        found = [_bar(one, instrument, width_ms, trace, ts_init) for one in _BARS.decode(raw).bars.get(name, ())]
    except (*UNREADABLE, ValueError) as error:
        raise Poison(f"bars of {instrument} do not decode: {error}") from error
    return sorted((bar for bar in found if bar.ts_event <= until_ms * NS_PER_MS), key=lambda bar: bar.ts_event)


def _bar(one: _Bar, instrument: str, width_ms: int, trace: str, ts_init: int) -> Bar:
    start = wire.text_ns(one.t)
    return Bar(
        instrument=instrument,
        interval_ms=width_ms,
        open=one.o,
        high=one.h,
        low=one.l,
        close=one.c,
        volume=one.v,
        trades=one.n,
        backfill=True,
        ts_event=start + width_ms * NS_PER_MS,
        ts_init=ts_init,
        trace_id=f"{trace}{start // NS_PER_MS}",
    )


def _listed(asset: _Asset) -> Listed | None:
    try:
        symbol = spelling.canonical(asset.symbol)
    except Misuse:  # a ticker in letters that we do not write
        return None
    step = FRACTION if asset.fractionable else Decimal(1)
    return Listed(
        symbol=symbol,
        name=asset.symbol,
        trading=asset.status == "active" and asset.tradable,
        lot_size=step,
        min_quantity=step,
        min_notional=MIN_NOTIONAL if asset.fractionable else None,
    )


DIALECT = Dialect(
    name="alpaca",
    rest_url="https://data.alpaca.markets/v2",
    rest_root=lambda base: base if base.endswith("/v2") else f"{base.rstrip('/')}/v2",
    stream_url="wss://stream.data.alpaca.markets/v2/iex",
    feed=make_feed,
    address=address,
    spell=spelling.wire_symbol,
    canonical=spelling.canonical,
    names=names,
    reference_url="https://paper-api.alpaca.markets/v2",
    listing_path=lambda spelled: "/assets?status=active&asset_class=us_equity",
    listing=listing,
    time_path="/clock",
    time_ns=time_ns,
    bars_path=bars_path,
    bars=bars,
    headers=headers,
    silence_s=120.0,  # outside of trading hours nothing is said
    confirm_s=60.0,
)
