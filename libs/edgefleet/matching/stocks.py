"""Prints and quotes of US stocks, and what of them a simulated market is made of. Knows no wire and no file format.

A source of stock data, recorded or drawn, yields `StockEvent`s: `frame` is what the matching engine takes of it (None
where it takes nothing), `trade` and `quote` what a feed publishes. Stamps are ns since the epoch, sizes are shares.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

import msgspec

from edgefleet.clock import NS_PER_MS
from edgefleet.units import ZERO

from .engine import Side
from .filters import MarketRules
from .wire import BookTicker, Frame, Trade

SHARE_STEP = Decimal("1E-9")  # Alpaca keeps quantities to nine decimals
CENT = Decimal("0.01")
SUB_PENNY = Decimal("0.0001")  # the tick below one dollar (Rule 612 of Regulation NMS)
LARGEST = Decimal(1_000_000_000)  # shares, USD, USD a share: what is asked beyond it is a mistake
OFF_EXCHANGE = "D"  # FINRA's facilities: nobody who waited in a book of an exchange was in that trade

# Sale conditions by what they leave unchanged, after the "consolidated processing" tables of the CTS and UTP output
# specifications, which Alpaca's bars follow; B is CTS's average price trade.
NO_RANGE = frozenset("BCHIMNQRTUVW7")  # high and low
NO_LAST = NO_RANGE | frozenset("GPZ4")  # open and close
NO_VOLUME = frozenset("MQ9")
# What was agreed elsewhere or at another time, or was booked before as the auction's own print.
_NOT_IN_THE_BOOK = frozenset("BCGHMNPQRUVWZ479")


class StockTrade(msgspec.Struct, frozen=True, gc=False):
    """A print. `number` counts the prints of the symbol, `conditions` are the tape's sale conditions, a letter each."""

    symbol: str
    ts_ns: int
    number: int
    price: Decimal
    size: Decimal
    exchange: str
    conditions: tuple[str, ...] = ("@",)
    tape: str = "A"

    @property
    def sets_last(self) -> bool:
        """Return whether it opens and closes a bar, and is a last price."""
        return NO_LAST.isdisjoint(self.conditions)

    @property
    def sets_range(self) -> bool:
        """Return whether it is a bar's high or low."""
        return NO_RANGE.isdisjoint(self.conditions)

    @property
    def counts(self) -> bool:
        """Return whether its size is volume."""
        return NO_VOLUME.isdisjoint(self.conditions)

    @property
    def in_the_book(self) -> bool:
        """Return whether it met orders that rested in an exchange's book when it was printed."""
        return self.exchange != OFF_EXCHANGE and _NOT_IN_THE_BOOK.isdisjoint(self.conditions)


class StockQuote(msgspec.Struct, frozen=True, gc=False):
    """A best bid and ask and where they stand. A side that nobody quotes has price and size 0."""

    symbol: str
    ts_ns: int
    bid: Decimal
    bid_size: Decimal
    bid_exchange: str
    ask: Decimal
    ask_size: Decimal
    ask_exchange: str
    conditions: tuple[str, ...] = ("R",)
    tape: str = "A"


class StockEvent(msgspec.Struct, frozen=True, gc=False):
    """One thing that happened on a stock's market."""

    symbol: str
    ts_ns: int
    frame: Frame | None = None
    trade: StockTrade | None = None
    quote: StockQuote | None = None


def stock_rules(symbol: str) -> MarketRules:
    """Return how the engine trades a stock: quantities down to the ninth decimal, ticks down to a hundredth of a cent.

    What a broker asks beyond that (whole cents, whole shares, a least notional) is the broker's to refuse.
    """
    return MarketRules(
        symbol=symbol,
        base=symbol,
        quote="USD",
        tick_size=SUB_PENNY,
        step_size=SHARE_STEP,
        min_quantity=SHARE_STEP,
        max_quantity=LARGEST,
        min_price=SUB_PENNY,
        max_price=LARGEST,
        min_notional=ZERO,
        max_notional=LARGEST * LARGEST,
        multiplier_up=LARGEST * LARGEST,
        multiplier_down=ZERO,
        max_orders=1_000_000,
    )


def quote_frame(quote: StockQuote, number: int) -> BookTicker:
    """Return a quote as the engine's top of book; `number` counts the quotes of the symbol from 1."""
    return BookTicker(number, quote.symbol, quote.bid, quote.bid_size, quote.ask, quote.ask_size)


def trade_frame(trade: StockTrade, aggressor: Side) -> Trade:
    """Return a print as the engine's, with the side that is thought to have taken."""
    stamp_ms = trade.ts_ns // NS_PER_MS
    bought = aggressor is Side.BUY
    return Trade(trade.symbol, stamp_ms, stamp_ms, trade.number, trade.price, trade.size, not bought)


class Aggressor:
    """Guesses who took: a US tape does not say.

    At or beyond a quote it is whoever trades there; between the quotes the nearer one; at the midpoint, and without
    quotes, the direction of the last different price (C. M. C. Lee and M. J. Ready, "Inferring Trade Direction from
    Intraday Data", Journal of Finance 46, 1991).
    """

    def __init__(self) -> None:
        self._price: Decimal | None = None
        self._tick = Side.BUY  # the direction of the last price that differed from the one before

    def of(self, price: Decimal, bid: Decimal, ask: Decimal) -> Side:
        """Return the side of a print at `price`, `bid` and `ask` being quoted before it (0: none is)."""
        middle = (bid + ask) / 2 if bid and ask else None
        if self._price is not None and price != self._price:
            self._tick = Side.BUY if price > self._price else Side.SELL
        self._price = price
        if middle is None or price == middle:
            return self._tick
        return Side.BUY if price > middle else Side.SELL


class Nbbo:
    """The best bid and offer over the exchanges that quote one symbol.

    An exchange's quote of price or size 0 takes its side away. The size is the sum over the exchanges at the best
    price, the exchange named is the first that came to it. Exchanges may not lock or cross each other (Rule 610 of
    Regulation NMS): where a newer quote does, the older one is held to be stale and stands no longer, until its
    exchange quotes again. A quote that is locked or crossed in itself is left out.
    """

    def __init__(self, symbol: str) -> None:
        self.symbol = symbol
        self._bids: dict[str, tuple[Decimal, Decimal]] = {}
        self._asks: dict[str, tuple[Decimal, Decimal]] = {}
        self._shown: tuple[object, ...] | None = None

    def update(self, quote: StockQuote) -> StockQuote | None:
        """Return the new best bid and offer after an exchange's own `quote`, None where it did not change them."""
        if quote.bid and quote.ask and quote.bid >= quote.ask:
            return None
        _set(self._bids, quote.bid_exchange, quote.bid, quote.bid_size)
        _set(self._asks, quote.ask_exchange, quote.ask, quote.ask_size)
        if quote.bid and quote.bid_size:
            self._asks = {name: level for name, level in self._asks.items() if level[0] > quote.bid}
        if quote.ask and quote.ask_size:
            self._bids = {name: level for name, level in self._bids.items() if level[0] < quote.ask}
        bid = _best(self._bids, max((price for price, _ in self._bids.values()), default=ZERO))
        ask = _best(self._asks, min((price for price, _ in self._asks.values()), default=ZERO))
        if (*bid, *ask) == self._shown:
            return None
        self._shown = (*bid, *ask)
        return StockQuote(self.symbol, quote.ts_ns, *bid, *ask, tape=quote.tape)


def _set(side: dict[str, tuple[Decimal, Decimal]], exchange: str, price: Decimal, size: Decimal) -> None:
    known = side.get(exchange)
    if not (price and size):
        side.pop(exchange, None)
    elif known is None or known[0] != price:
        side.pop(exchange, None)  # a new price is a new arrival, behind those already at it
        side[exchange] = (price, size)
    else:
        side[exchange] = (price, size)


def _best(side: dict[str, tuple[Decimal, Decimal]], price: Decimal) -> tuple[Decimal, Decimal, str]:
    at_best = [(exchange, size) for exchange, (level, size) in side.items() if level == price]
    return price, sum((size for _, size in at_best), ZERO), at_best[0][0] if at_best else ""


class StockMarketState:
    """What makes events of one symbol's prints and quotes: the last quote, their count, who is thought to take."""

    def __init__(self, symbol: str) -> None:
        self.symbol = symbol
        self._quotes = 0
        self._bid = self._ask = ZERO
        self._aggressor = Aggressor()

    def on_quote(self, quote: StockQuote) -> StockEvent:
        """Return a best bid and offer as an event."""
        self._quotes += 1
        self._bid, self._ask = quote.bid, quote.ask
        return StockEvent(self.symbol, quote.ts_ns, quote_frame(quote, self._quotes), None, quote)

    def on_trade(self, trade: StockTrade) -> StockEvent:
        """Return a print as an event; one that met nobody in a book is published and not matched against."""
        frame = None
        if trade.in_the_book:
            frame = trade_frame(trade, self._aggressor.of(trade.price, self._bid, self._ask))
        return StockEvent(self.symbol, trade.ts_ns, frame, trade, None)


def conditions_of(letters: str) -> tuple[str, ...]:
    """Return a tape's sale conditions one by one; a blank is the regular sale, `@`.

    Examples
    --------
    >>> conditions_of("FTI"), conditions_of(" "), conditions_of("R UB 1")
    (('F', 'T', 'I'), ('@',), ('R', 'U', 'B', '1'))
    """
    found: Iterable[str] = (letter for letter in letters if not letter.isspace())
    return tuple(found) or ("@",)
