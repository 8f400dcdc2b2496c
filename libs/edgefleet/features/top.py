"""What models see of one instrument right now. Knows nothing of models or of how venues send it."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from edgefleet.messages.market import Quote, Trade


class Features(msgspec.Struct):
    """One instrument's streaming features. Changed in place, saved with the stage's state.

    Money stays Decimal until a model asks: most events change the top without anybody reading it.
    """

    bid: Decimal | None = None
    bid_size: Decimal | None = None
    ask: Decimal | None = None
    ask_size: Decimal | None = None
    update_id: int = 0
    last_price: Decimal | None = None

    def on_quote(self, quote: Quote) -> None:
        """Take the newest top of book."""
        self.bid, self.bid_size = quote.bid, quote.bid_size
        self.ask, self.ask_size = quote.ask, quote.ask_size
        self.update_id = quote.update_id

    def on_trade(self, trade: Trade) -> None:
        """Take the newest print."""
        self.last_price = trade.price

    def lose_top(self) -> None:
        """Forget the top: what a lost connection last said is no longer known to be so."""
        self.bid = self.bid_size = self.ask = self.ask_size = None

    def top(self) -> Top | None:
        """Return the top as floats, None where it is unknown, locked or crossed."""
        bid, ask = self.bid, self.ask
        if bid is None or ask is None or self.bid_size is None or self.ask_size is None or not bid < ask:
            return None
        return Top(float(bid), float(self.bid_size), float(ask), float(self.ask_size))


class Top(msgspec.Struct, frozen=True, gc=False):
    """The best bid and ask, for arithmetic."""

    bid: float
    bid_size: float  # base units
    ask: float
    ask_size: float  # base units

    @property
    def mid(self) -> float:
        """Return the price half-way, in quote per base unit."""
        return (self.bid + self.ask) / 2


class TopReader:
    """Reads the tops of one instrument, and makes none again that stands as it stood.

    What it remembers changes no answer, so it is no part of a stage's state.
    """

    __slots__ = ("_seen", "_top")

    def __init__(self) -> None:
        self._seen: tuple[Decimal | None, ...] = ()
        self._top: Top | None = None

    def read(self, features: Features) -> Top | None:
        """Return `features.top()`."""
        seen = (features.bid, features.bid_size, features.ask, features.ask_size)
        if seen != self._seen or not all(seen):  # zero equals minus zero, and a digest tells them apart
            self._seen, self._top = seen, features.top()
        return self._top
