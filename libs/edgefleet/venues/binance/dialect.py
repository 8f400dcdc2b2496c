"""Binance Spot as a dialect: addresses, spelling, listing, clock and candles."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import parse_qs, urlsplit

import msgspec

from edgefleet.clock import NS_PER_MS
from edgefleet.errors import Poison
from edgefleet.instruments import pair_of
from edgefleet.messages.market import Bar
from edgefleet.venues.binance.feed import BinanceFeed, stream_names, wire_symbol
from edgefleet.venues.binance.klines import INTERVALS, bars_from_klines
from edgefleet.venues.binance.listing import listed
from edgefleet.venues.budget import published_limits
from edgefleet.venues.dialect import Dialect, FeedOptions
from edgefleet.venues.feed import UNREADABLE


class _Time(msgspec.Struct):
    serverTime: int


class _SymbolData(msgspec.Struct):
    """Whose frame it is, and what USD-M frames alone have: `pu` of a change, `X` of a print, `e` of a top."""

    s: str
    e: str = ""
    pu: int | None = None
    X: str | None = None


class _SymbolEnvelope(msgspec.Struct):
    data: _SymbolData


BOOK_LEVELS = 1_000  # of each side, in an answer that is asked for
AS_OF_HEADER = "X-Edgefleet-As-Of"  # asks a simulated venue that plays a tape for the book as it was after an update

_TIME = msgspec.json.Decoder(_Time)
_SYMBOL = msgspec.json.Decoder(_SymbolEnvelope)
_QUOTES = (
    *("FDUSD", "USDT", "USDC", "USDP", "USD1", "BUSD", "TUSD", "BIDR", "IDRT", "EURI", "DAI", "VAI", "PAX"),
    *("USD", "EUR", "GBP", "AUD", "BRL", "TRY", "JPY", "UAH", "RUB", "ZAR", "PLN", "RON", "ARS", "COP", "MXN", "CZK"),
    *("NGN", "BTC", "ETH", "BNB", "XRP", "TRX", "DOGE", "SOL", "DOT"),
)


def make_feed(venue: str, symbols: Sequence[str], options: FeedOptions) -> BinanceFeed:
    """Return the feed of a combined connection."""
    return BinanceFeed(
        venue,
        symbols,
        touch_interval_ms=options.touch_interval_ms,
        waits_for_books=options.waits_for_books,
        bookless=options.bookless,
    )


def address(base: str, symbols: Sequence[str]) -> str:
    """Return the address of one combined connection."""
    return f"{base.rstrip('/')}/stream?streams={'/'.join(stream_names(symbols))}"


def names(raw: bytes) -> Sequence[str]:
    """Return the symbol in a combined envelope of spot."""
    try:
        data = _SYMBOL.decode(raw).data
    except UNREADABLE:
        return ()
    return () if data.pu is not None or data.X is not None or data.e == "bookTicker" else (data.s,)


def usdm_names(raw: bytes) -> Sequence[str]:
    """Return the symbol in a combined envelope of USD-M futures."""
    try:
        data = _SYMBOL.decode(raw).data
    except UNREADABLE:
        return ()
    return () if data.pu is None and data.e == "depthUpdate" else (data.s,)


def canonical(name: str) -> str:
    """Return the pair of a symbol. Of the quotes that it may end in the longest is meant: ``BTCFDUSD`` is BTC/FDUSD.

    Raises
    ------
    Misuse
        If it ends in no quote asset of the venue.
    """
    return pair_of(name.upper(), _QUOTES)


def book_path(name: str) -> str:
    """Return the path of a whole book."""
    return f"/depth?symbol={name}&limit={BOOK_LEVELS}"


def book_of(url: str) -> str | None:
    """Return whose book a REST address answers, None where it answers something else."""
    parts = urlsplit(url)
    return parse_qs(parts.query).get("symbol", [None])[0] if parts.path.endswith("/depth") else None


def time_ns(raw: bytes) -> int:
    """Return the venue's clock in the answer of `/time`.

    Raises
    ------
    Poison
        If it is none.
    """
    try:
        return _TIME.decode(raw).serverTime * NS_PER_MS
    except UNREADABLE as error:
        raise Poison(f"the venue's clock does not decode: {error}") from error


def bars_path(name: str, width_ms: int, count: int) -> str | None:
    """Return the path of the newest candles, None where the venue has none of this width."""
    interval = INTERVALS.get(width_ms)
    return None if interval is None else f"/klines?symbol={name}&interval={interval}&limit={count}"


def bars(raw: bytes, instrument: str, width_ms: int, until_ms: int, ts_init: int) -> Sequence[Bar]:
    """Return the closed bars in the answer of `bars_path`."""
    symbol, _, venue = instrument.rpartition("@")
    trace = f"{venue}:{wire_symbol(symbol)}:"
    return bars_from_klines(raw, instrument, width_ms, until_ms=until_ms, trace=trace, ts_init=ts_init)


DIALECT = Dialect(
    name="binance",
    rest_url="https://api.binance.com",
    stream_url="wss://stream.binance.com:9443",
    feed=make_feed,
    address=address,
    spell=wire_symbol,
    canonical=canonical,
    names=names,
    rest_root=lambda base: f"{base.removesuffix('/api/v3')}/api/v3",
    book_path=book_path,
    book_of=book_of,
    tops_by_id=True,
    listing_path=lambda spelled: "/exchangeInfo",
    listing=listed,
    weights={"/depth": 50, "/exchangeInfo": 20, "/klines": 2, "/time": 1},
    limits=published_limits,
    time_path="/time",
    time_ns=time_ns,
    bars_path=bars_path,
    bars=bars,
)
