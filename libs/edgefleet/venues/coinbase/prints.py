"""What both of Coinbase's feeds do with prints and tickers. Knows no frame."""

from __future__ import annotations

from decimal import Decimal

from edgefleet.stage import Output
from edgefleet.venues.feed import Aggressor
from edgefleet.venues.figures import is_plausible
from edgefleet.venues.stream_books import StreamBook, StreamBookFeed


class CoinbaseBook(StreamBook):
    """A product, with what the venue last claimed of its prints."""

    __slots__ = ("claimed_id",)

    def __init__(self, name: str, instrument: str, trace: str) -> None:
        super().__init__(name, instrument, trace)
        self.claimed_id = -1  # the last print of the last heartbeat

    def begin_anew(self) -> None:
        super().begin_anew()
        self.claimed_id = -1


class CoinbaseCore(StreamBookFeed[CoinbaseBook]):
    """Products, prints and tickers."""

    def spell(self, symbol: str) -> str:
        """Return ``BTC-USD`` for ``BTC/USD``."""
        return product_id(symbol)

    def follow(self, name: str, instrument: str, trace: str) -> CoinbaseBook:
        """Return what is to be known of a product."""
        return CoinbaseBook(name, instrument, trace)

    def is_before_us(self, followed: CoinbaseBook, trade_id: int) -> bool:
        """Return whether a print that a subscription begins with is no news: the first ever, or the last we had.

        The first ever only tells where the prints begin.
        """
        if followed.trade_id < 0:
            followed.trade_id = trade_id
            followed.reconnected = False
            return True
        if trade_id == followed.trade_id:
            followed.reconnected = False
            return True
        return trade_id < followed.trade_id and not followed.reconnected

    def take_print(
        self,
        followed: CoinbaseBook,
        trade_id: int,
        maker: str,
        price: Decimal,
        size: Decimal,
        stamp: int,
        raw: bytes,
        ts_init: int,
        out: list[Output],
    ) -> None:
        """Send a print that is new and plausible. `maker` is the side that rested, so the aggressor is the other."""
        if not (is_plausible(price) and is_plausible(size)):
            self.refuse(raw, "a price or size that cannot be")
            return
        if self.keeps_out(followed, followed.prints, price) or not self.is_new_print(followed, trade_id):
            return
        aggressor: Aggressor = "buy" if maker == "sell" else "sell"
        self.trade(followed, str(trade_id), price, size, aggressor, stamp, ts_init, out)

    def take_ticker(
        self,
        followed: CoinbaseBook,
        bid: Decimal | None,
        ask: Decimal | None,
        stamp: int,
        stamp_ns: int,
        raw: bytes,
        ts_init: int,
        out: list[Output],
    ) -> None:
        """Compare the venue's top with ours, where it says one: an empty side is told as none, or as zero."""
        if not bid or not ask:
            return
        if not (is_plausible(bid) and is_plausible(ask)):
            self.refuse(raw, "a price that cannot be")
            return
        self.weigh_top(followed, bid, ask, stamp, stamp_ns, ts_init, out)

    def claim_prints(self, followed: CoinbaseBook, last_trade_id: int) -> None:
        """Take the last print by the venue's heartbeat; tell of prints that were claimed one heartbeat ago already.

        A print and a heartbeat may overtake each other, so the newest claim is given until the next.
        """
        if 0 <= followed.trade_id < followed.claimed_id:
            self.counts.trade_gaps += 1
            missing = f"{followed.trade_id + 1} to {followed.claimed_id}"
            self._notices.append(f"prints {missing} of {followed.instrument} are missing, by the venue's heartbeat")
            followed.trade_id = followed.claimed_id
        followed.claimed_id = last_trade_id


def product_id(symbol: str) -> str:
    """Return the venue's spelling of a pair: ``BTC/USD`` is ``BTC-USD``."""
    return symbol.partition(":")[0].replace("/", "-").upper()
