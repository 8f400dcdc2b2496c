"""Kraken spot by WebSocket v2 as a dialect: addresses, spelling, listing, clock and candles."""

from __future__ import annotations

from collections.abc import Sequence

from edgefleet.errors import Misuse
from edgefleet.venues.dialect import Dialect, FeedOptions
from edgefleet.venues.kraken import names, rest, wire
from edgefleet.venues.kraken.feed import KrakenFeed
from edgefleet.venues.kraken.ladder import CHECKED_LEVELS

REST_URL = "https://api.kraken.com/0/public"


def make_feed(venue: str, symbols: Sequence[str], options: FeedOptions) -> KrakenFeed:
    """Return the feed of one connection. The option `depth` names another depth than ten."""
    return KrakenFeed(venue, symbols, touch_interval_ms=options.touch_interval_ms, depth=depth_in(options))


def depth_in(options: FeedOptions) -> int:
    """Return the depth to subscribe to.

    Raises
    ------
    Misuse
        If the option is no number.
    """
    text = options.options.get("depth", str(CHECKED_LEVELS))
    if not text.isdecimal():
        raise Misuse(f"option depth of a Kraken feed is a number of levels, was {text!r}")
    return int(text)


DIALECT = Dialect(
    name="kraken",
    rest_url=REST_URL,
    stream_url="wss://ws.kraken.com/v2",
    feed=make_feed,
    address=lambda base, symbols: base.rstrip("/"),
    spell=names.spell,
    canonical=names.canonical,
    names=wire.names,
    listing_path=lambda spelled: "/AssetPairs",
    listing=rest.listed,
    time_path="/Time",
    time_ns=rest.time_ns,
    bars_path=rest.bars_path,
    bars=rest.bars,
    silence_s=10.0,  # its heartbeats come each second
)
