"""Kraken spot by WebSocket v1 as a dialect: what was recorded before v2, in its own spelling. REST is the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from edgefleet.venues.dialect import FeedOptions
from edgefleet.venues.kraken import dialect, names, rest, wire_v1
from edgefleet.venues.kraken.feed_v1 import KrakenV1Feed


def make_feed(venue: str, symbols: Sequence[str], options: FeedOptions) -> KrakenV1Feed:
    """Return the feed of one connection. The option `depth` names another depth than ten."""
    depth = dialect.depth_in(options)
    return KrakenV1Feed(venue, symbols, touch_interval_ms=options.touch_interval_ms, depth=depth)


DIALECT = replace(
    dialect.DIALECT,
    name="kraken_v1",
    stream_url="wss://ws.kraken.com",
    feed=make_feed,
    spell=names.spell_v1,
    names=wire_v1.names,
    listing=rest.listed_v1,
)
