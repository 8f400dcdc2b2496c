"""Coinbase Advanced Trade as a dialect: addresses, spelling, listing and clock.

Its candles are asked for by start and end, which a path that knows no clock cannot name: there is no warm-up by them.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgefleet.instruments import canonical_symbol
from edgefleet.venues.coinbase import advanced_wire, rest
from edgefleet.venues.coinbase.advanced_feed import CoinbaseAdvancedFeed
from edgefleet.venues.coinbase.prints import product_id
from edgefleet.venues.dialect import Dialect, FeedOptions


def make_feed(venue: str, symbols: Sequence[str], options: FeedOptions) -> CoinbaseAdvancedFeed:
    """Return the feed of one connection."""
    return CoinbaseAdvancedFeed(venue, symbols, touch_interval_ms=options.touch_interval_ms)


DIALECT = Dialect(
    name="coinbase_advanced",
    rest_url="https://api.coinbase.com/api/v3/brokerage",
    stream_url="wss://advanced-trade-ws.coinbase.com",
    feed=make_feed,
    address=lambda base, symbols: base.rstrip("/"),
    spell=product_id,
    canonical=canonical_symbol,
    names=advanced_wire.names,
    listing_path=lambda spelled: "/market/products",
    listing=rest.advanced_listed,
    time_path="/time",
    time_ns=rest.time_ns,
    silence_s=10.0,  # its heartbeats come each second
)
