"""Kraken spot by WebSocket v1 as a dialect: what was recorded before v2, in its own spelling."""

from __future__ import annotations

from collections.abc import Sequence

from edgefleet.venues.dialect import Dialect, FeedOptions
from edgefleet.venues.kraken import names, rest, wire_v1
from edgefleet.venues.kraken.dialect import REST_URL, depth_in
from edgefleet.venues.kraken.feed_v1 import KrakenV1Feed


def make_feed(venue: str, symbols: Sequence[str], options: FeedOptions) -> KrakenV1Feed:
    """Return the feed of one connection. The option `depth` names another depth than ten."""
    return KrakenV1Feed(venue, symbols, touch_interval_ms=options.touch_interval_ms, depth=depth_in(options))


DIALECT = Dialect(
    name="kraken_v1",
    rest_url=REST_URL,
    stream_url="wss://ws.kraken.com",
    feed=make_feed,
    address=lambda base, symbols: base.rstrip("/"),
    spell=names.spell_v1,
    canonical=names.canonical,
    names=wire_v1.names,
    listing_path=lambda spelled: "/AssetPairs",
    listing=rest.listed_v1,
    time_path="/Time",
    time_ns=rest.time_ns,
    bars_path=rest.bars_path,
    bars=rest.bars,
    silence_s=10.0,  # its heartbeats come each second
)
