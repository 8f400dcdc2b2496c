"""The synthetic market as a stock's: whole shares, ticks of a cent, in regular hours alone. Knows no clock."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal

import msgspec

from .hours import Hours, Phase
from .stocks import CENT, StockEvent, StockQuote, StockTrade, stock_rules
from .synthetic import SyntheticMarket
from .wire import SNAPSHOT, BookTicker, DepthDiff, DepthSnapshot, Frame, Trade, decode

EXCHANGE = "V"  # where all of it is said to happen: IEX


class SyntheticStocks:
    """Several stocks' order flow, open when their market is.

    Parameters
    ----------
    symbols
        The stocks, as Alpaca writes them.
    hours
        When their market is open.
    seed
        What the flow is drawn from.
    start_ns
        Where it begins, ns since the epoch.
    """

    def __init__(self, symbols: Sequence[str], hours: Hours, *, seed: int, start_ns: int) -> None:
        whole = [
            msgspec.structs.replace(stock_rules(s), tick_size=CENT, step_size=Decimal(1), min_quantity=Decimal(1))
            for s in symbols
        ]
        self._market = SyntheticMarket(whole, seed=seed, start_ns=start_ns)
        self._hours = hours
        self._now_ns = start_ns
        self._shown = False

    def advance(self, until_ns: int) -> Iterator[StockEvent]:
        """Yield what happens up to `until_ns`: nothing at all while the market is closed."""
        while self._now_ns < until_ns:
            moment = self._hours.at(self._now_ns)
            end = min(until_ns, moment.until_ns)
            if moment.phase is Phase.REGULAR:
                if not self._shown:
                    yield from self._books(self._now_ns)
                for stamp_ns, body in self._market.advance(end):
                    frame = decode(body)
                    if frame is not None:
                        yield event_of(stamp_ns, frame)
            if end == moment.until_ns:
                self._market.skip(end)
            self._now_ns = end

    def _books(self, ts_ns: int) -> Iterator[StockEvent]:
        self._shown = True
        for symbol, body in self._market.snapshots().items():
            yield StockEvent(symbol, ts_ns, SNAPSHOT.decode(body))


def event_of(ts_ns: int, frame: Frame) -> StockEvent:
    """Return a frame of the order-flow market as a stock's event: depth is matched against and never published."""
    match frame:
        case Trade():
            trade = StockTrade(frame.s, ts_ns, frame.t, frame.p, frame.q, EXCHANGE)
            return StockEvent(frame.s, ts_ns, frame, trade, None)
        case BookTicker():
            quote = StockQuote(frame.s, ts_ns, frame.b, frame.B, EXCHANGE, frame.a, frame.A, EXCHANGE)
            return StockEvent(frame.s, ts_ns, frame, None, quote)
        case DepthDiff():
            return StockEvent(frame.s, ts_ns, frame)
        case DepthSnapshot():
            raise ValueError("a depth snapshot names no symbol")
