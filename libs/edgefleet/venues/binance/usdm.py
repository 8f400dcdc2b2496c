"""Binance USD-M futures: the spot feed with another sequence rule, stamped tops, and contracts for names. No I/O.

Sources, of the derivatives documentation at developers.binance.com: "How to manage a local order book correctly"
(`pu` is the previous event's `u`; the first event has `U <= lastUpdateId <= u`), "Individual Symbol Book Ticker
Streams", "Exchange Information", "Kline/Candlestick Data" and "Important WebSocket Change Notice" (2026: book and trade
streams are under `/public`). The stream `trade` is not documented; its frames are as recorded in 2024.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from edgefleet.clock import NS_PER_MS
from edgefleet.errors import Misuse
from edgefleet.instruments import canonical_symbol
from edgefleet.messages.market import Bar
from edgefleet.stage import Output
from edgefleet.venues.binance import dialect as spot
from edgefleet.venues.binance import wire
from edgefleet.venues.binance.feed import BinanceFeed, Pair
from edgefleet.venues.binance.klines import INTERVALS, bars_from_klines
from edgefleet.venues.binance.listing import Symbol, decoded, steps
from edgefleet.venues.dialect import Dialect, FeedOptions, Listed
from edgefleet.venues.feed import FUTURE_NS

MARKET: Final = "MARKET"  # a trade of the order book; INSURANCE_FUND, ADL and NA are entries of the venue's own


class Trade(wire.Trade, frozen=True, gc=False):
    """A print, with what kind it is."""

    X: str = MARKET


class BookTicker(wire.BookTicker, frozen=True, gc=False):
    """The best bid and ask after book update `u`, with the venue's stamp, which old recordings lack."""

    E: int | None = None


class DepthDiff(wire.DepthDiff, frozen=True, gc=False):
    """The levels that changed in book updates `U` to `u`; `pu` is the `u` of the event before."""

    pu: int


_TRADE = msgspec.json.Decoder(wire.Envelope[Trade])
_TICKER = msgspec.json.Decoder(wire.Envelope[BookTicker])
_DEPTH = msgspec.json.Decoder(wire.Envelope[DepthDiff])


class UsdmFeed(BinanceFeed):
    """Frames of one combined connection of USD-M contracts. Sizes are base units, as the venue writes them."""

    def spell(self, symbol: str) -> str:
        """Return ``BTCUSDT`` for ``BTC/USDT:USDT``."""
        return wire_symbol(symbol)

    def _on_trade(self, stamp_ns: int, raw: bytes, ts_init: int, out: list[Output]) -> None:
        data = _TRADE.decode(raw).data
        followed = self.hear(data.s, stamp_ns)
        if followed is None:
            return
        if data.X == MARKET:
            self.take_print(followed, "trade", data, data.t, stamp_ns, raw, ts_init, out)
        elif followed.prints_from in ("", "trade") and data.t == followed.trade_id + 1:
            followed.trade_id = data.t  # no trade of the book, but a number of its sequence

    def _on_ticker(self, stamp_ns: int, raw: bytes, ts_init: int, out: list[Output]) -> None:
        data = _TICKER.decode(raw).data
        stamp = self._last_stamp if data.E is None else data.E * NS_PER_MS
        if stamp is not None and not 0 < stamp <= stamp_ns + FUTURE_NS:
            self.refuse(raw, f"stamp {data.E} cannot be")
            return
        self.take_ticker(data, stamp, stamp_ns, raw, ts_init, out)

    def depth(self, raw: bytes) -> wire.DepthDiff:
        """Return the change of a book that a frame is."""
        return _DEPTH.decode(raw).data

    def is_stale(self, followed: Pair, data: wire.DepthDiff) -> bool:
        """Return whether the book holds all of an event; one that ends at the snapshot is the first of the sequence."""
        if data.u > followed.update_id:
            return False
        if data.u == followed.update_id:
            followed.fresh = False
        return True

    def gap(self, followed: Pair, data: wire.DepthDiff) -> str | None:
        """Return what is wrong with an event's place in the sequence."""
        assert isinstance(data, DepthDiff)
        if followed.fresh:
            if followed.update_id >= data.U:
                return None
            return f"the first event after snapshot {followed.update_id} begins at {data.U}"
        if data.pu == followed.update_id:
            return None
        return f"expected an event after {followed.update_id}, got one after {data.pu}"

    def first_id(self, followed: Pair, data: wire.DepthDiff) -> int:
        """Return one past the event before: `U` counts over all symbols, so it leaves numbers out between events."""
        return data.U if followed.fresh else followed.update_id + 1


def wire_symbol(symbol: str) -> str:
    """Return the venue's spelling: ``BTC/USDT:USDT`` is ``BTCUSDT``, ``BTC/USDT:USDT-240927`` is ``BTCUSDT_240927``.

    Raises
    ------
    Misuse
        If the symbol names no contract.
    """
    pair, _, settle = canonical_symbol(symbol).partition(":")
    if not settle:
        raise Misuse(f"symbol {symbol!r} is a spot pair; a USD-M contract names its settlement, such as BTC/USDT:USDT")
    day = settle.partition("-")[2]
    return pair.replace("/", "") + (f"_{day}" if day else "")


def canonical(name: str) -> str:
    """Return the symbol of a contract by the venue's spelling, in which margin and quote asset are the same.

    Raises
    ------
    Misuse
        If no pair is readable in it.
    """
    pair, _, day = name.partition("_")
    symbol = spot.canonical(pair)
    quote = symbol.partition("/")[2]
    return canonical_symbol(f"{symbol}:{quote}-{day}" if day else f"{symbol}:{quote}")


def make_feed(venue: str, symbols: Sequence[str], options: FeedOptions) -> UsdmFeed:
    """Return the feed of a combined connection."""
    return UsdmFeed(
        venue,
        symbols,
        touch_interval_ms=options.touch_interval_ms,
        waits_for_books=options.waits_for_books,
        bookless=options.bookless,
    )


def address(base: str, symbols: Sequence[str]) -> str:
    """Return the address of one combined connection."""
    kinds = ("trade", "bookTicker", "depth@100ms")
    streams = "/".join(f"{wire_symbol(symbol).lower()}@{kind}" for symbol in symbols for kind in kinds)
    return f"{base.rstrip('/')}/stream?streams={streams}"


def listing(raw: bytes) -> Sequence[Listed]:
    """Return what an `exchangeInfo` answer says of each contract; sizes and steps are base units.

    Raises
    ------
    Poison
        If `raw` is no `exchangeInfo` answer.
    """
    return [listed for one in decoded(raw) if (listed := _listed(one)) is not None]


def bars(raw: bytes, instrument: str, width_ms: int, until_ms: int, ts_init: int) -> Sequence[Bar]:
    """Return the closed bars in the answer of `bars_path`."""
    symbol, _, venue = instrument.rpartition("@")
    trace = f"{venue}:{wire_symbol(symbol)}:"
    return bars_from_klines(raw, instrument, width_ms, until_ms=until_ms, trace=trace, ts_init=ts_init)


def bars_path(name: str, width_ms: int, count: int) -> str | None:
    """Return the path of the newest candles, None where the venue has none of this width: it has none of a second."""
    interval = INTERVALS.get(width_ms)
    return None if interval in (None, "1s") else f"/klines?symbol={name}&interval={interval}&limit={count}"


def _listed(one: Symbol) -> Listed | None:
    settle = one.marginAsset or one.quoteAsset
    day = one.symbol.partition("_")[2]
    try:
        symbol = canonical_symbol(f"{one.baseAsset}/{one.quoteAsset}:{settle}" + (f"-{day}" if day else ""))
    except Misuse:  # a pair in letters that we do not write
        return None
    return steps(one, symbol)


DIALECT = Dialect(
    name="binance_usdm",
    rest_url="https://fapi.binance.com/fapi/v1",
    tops_by_id=True,
    stream_url="wss://fstream.binance.com/public",
    feed=make_feed,
    address=address,
    spell=wire_symbol,
    canonical=canonical,
    names=spot.usdm_names,
    book_path=spot.book_path,
    book_of=spot.book_of,
    listing_path=lambda spelled: "/exchangeInfo",
    listing=listing,
    time_path="/time",
    time_ns=spot.time_ns,
    bars_path=bars_path,
    bars=bars,
)
