"""Coinbase Exchange as a dialect: addresses, spelling, listing, clock and candles."""

from __future__ import annotations

from collections.abc import Sequence

from edgefleet.instruments import canonical_symbol
from edgefleet.venues.coinbase import rest, wire
from edgefleet.venues.coinbase.feed import BOOK_CHANNEL, CoinbaseFeed
from edgefleet.venues.coinbase.prints import product_id
from edgefleet.venues.dialect import Dialect, FeedOptions
from edgefleet.venues.feed import UNREADABLE


def make_feed(venue: str, symbols: Sequence[str], options: FeedOptions) -> CoinbaseFeed:
    """Return the feed of one connection. The option `book_channel` names another channel than `level2_batch`."""
    channel = options.options.get("book_channel", BOOK_CHANNEL)
    return CoinbaseFeed(venue, symbols, touch_interval_ms=options.touch_interval_ms, book_channel=channel)


def names(raw: bytes) -> Sequence[str]:
    """Return the product of a frame of market data."""
    try:
        named = wire.NAMED.decode(raw)
    except UNREADABLE:
        return ()
    return () if named.product_id is None or named.type not in wire.MARKET_DATA else (named.product_id,)


DIALECT = Dialect(
    name="coinbase",
    rest_url="https://api.exchange.coinbase.com",
    stream_url="wss://ws-feed.exchange.coinbase.com",
    feed=make_feed,
    address=lambda base, symbols: base.rstrip("/"),
    spell=product_id,
    canonical=canonical_symbol,
    names=names,
    listing_path=lambda spelled: "/products",
    listing=rest.listed,
    time_path="/time",
    time_ns=rest.time_ns,
    bars_path=rest.bars_path,
    bars=rest.bars,
    silence_s=10.0,  # its heartbeats come each second
)
