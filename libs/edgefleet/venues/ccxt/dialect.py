"""Any exchange of ccxt's as a dialect: there is no address of ours, ccxt opens the connection. Imports no ccxt."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager

from edgefleet.clock import Clock
from edgefleet.errors import Misuse
from edgefleet.instruments import canonical_symbol
from edgefleet.venues.ccxt import wire
from edgefleet.venues.ccxt.feed import CcxtFeed
from edgefleet.venues.connection import Frames
from edgefleet.venues.dialect import CCXT, Dialect, FeedOptions
from edgefleet.venues.feed import UNREADABLE


def of(exchange_id: str) -> Dialect:
    """Return the dialect of an exchange by ccxt's id of it, which is looked up when it is opened.

    Raises
    ------
    Misuse
        If it can be no id.
    """
    if not exchange_id.isalnum() or not exchange_id.isascii():
        raise Misuse(f"{CCXT}{exchange_id} names no exchange; write it as ccxt:bybit")

    def open_source(
        symbols: Sequence[str], options: FeedOptions, clock: Clock, /
    ) -> AbstractAsyncContextManager[Frames]:
        from edgefleet.venues.ccxt.source import open_frames

        return open_frames(exchange_id, symbols, clock)

    return Dialect(
        name=f"{CCXT}{exchange_id}",
        rest_url="",
        stream_url="",
        feed=make_feed,
        address=lambda base, symbols: "",
        spell=canonical_symbol,
        canonical=canonical_symbol,
        names=names,
        open_source=open_source,
        silence_s=60.0,
        confirm_s=60.0,
    )


def make_feed(venue: str, symbols: Sequence[str], options: FeedOptions) -> CcxtFeed:
    """Return the feed of an exchange."""
    return CcxtFeed(venue, symbols, touch_interval_ms=options.touch_interval_ms)


def names(raw: bytes) -> Sequence[str]:
    """Return the symbol of a frame of data."""
    try:
        frame = wire.FRAME.decode(raw)
    except UNREADABLE:
        return ()
    return () if isinstance(frame, wire.Refused) else (frame.symbol,)
