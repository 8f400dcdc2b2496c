"""What venues say together: each one's spread, imbalance and VWAP, the best over them, arbitrage net of fees.

Read plainly and from tops of book, as the beats and touches of `beats` tell them. A monitor decides nothing by this.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from edgefleet.book.aggregator import Arbitrage
from edgefleet.book.consolidated import Best, Out, VenueEvent
from edgefleet.book.markets import MarketEvent, Markets
from edgefleet.clock import NS_PER_MS, iso
from edgefleet.instruments import split_id
from edgefleet.messages import Beat, BookSnapshot, Message, Touch
from edgefleet.telemetry.logs import Logger
from edgefleet.telemetry.metrics import Metrics
from edgefleet.units import decimal_text

STALE_AFTER_MS = 5_000
_VWAP_MS = 60_000  # of `Markets`; the prints' own average comes with the beats


class MarketWatch:
    """Every instrument's figures, every symbol's best and its open opportunities."""

    def __init__(self, metrics: Metrics, log: Logger, fees: Mapping[str, Decimal]) -> None:
        self._metrics, self._log = metrics, log
        self._markets = Markets(fees, stale_after_ms=STALE_AFTER_MS, window_ms=_VWAP_MS)
        self._tops: dict[str, Touch] = {}
        self._vwaps: dict[str, Decimal | None] = {}

    def take(self, message: Message) -> None:
        """Take a top of book or a beat that the watcher has read from `beats`."""
        if isinstance(message, Touch):
            self._tops[message.instrument] = message
            top = BookSnapshot(
                instrument=message.instrument,
                update_id=0,
                bids=((message.bid, message.bid_size),),
                asks=((message.ask, message.ask_size),),
                ts_event=message.ts_event,
                ts_init=message.ts_init,
                trace_id=message.trace_id,
            )
            self._tell(self._markets.take(top))
        elif isinstance(message, Beat):
            for touch in message.touches:
                self._vwaps[touch.instrument] = touch.vwap_1m
            self._tell(self._markets.advance(message.ts_event))

    def lines(self) -> list[dict[str, Any]]:
        """Return one object a symbol: the best over venues, each venue's figures, what is open between them."""
        symbols: dict[str, list[str]] = {}
        for instrument in sorted(self._tops):
            symbols.setdefault(split_id(instrument)[0], []).append(instrument)
        return [self._symbol(symbol, instruments) for symbol, instruments in symbols.items()]

    def _symbol(self, symbol: str, instruments: list[str]) -> dict[str, Any]:
        best, arbitrage = self._markets.best(symbol), self._markets.arbitrage(symbol)
        return {
            "symbol": symbol,
            "best_bid": None if best is None else _side(best.bid),
            "best_ask": None if best is None else _side(best.ask),
            "spread_bps": None if best is None else best.spread_bps,
            "venues": [self._venue(instrument, {} if best is None else best.out) for instrument in instruments],
            "arbitrage": [
                {
                    "buy_at": buy_at,
                    "sell_at": sell_at,
                    "net_bps": one.now.net_bps,
                    "gross_bps": one.now.gross_bps,
                    "size": decimal_text(one.now.size),
                    "profit": decimal_text(one.now.profit),
                    "since": iso(one.since),
                }
                for (buy_at, sell_at), one in (arbitrage.open.items() if arbitrage is not None else ())
            ],
        }

    def _venue(self, instrument: str, out: Mapping[str, Out]) -> dict[str, Any]:
        top, view = self._tops[instrument], self._markets.view(instrument)
        venue, vwap = split_id(instrument)[1], self._vwaps.get(instrument)
        return {
            "venue": venue,
            "bid": decimal_text(top.bid),
            "bid_size": decimal_text(top.bid_size),
            "ask": decimal_text(top.ask),
            "ask_size": decimal_text(top.ask_size),
            "spread_pct": view.spread_percent,
            "imbalance": view.imbalance,
            "vwap_1m": None if vwap is None else decimal_text(vwap),
            "out": out[venue].value if venue in out else None,
            "time": iso(top.ts_event),
        }

    def _tell(self, events: list[MarketEvent]) -> None:
        for event in events:
            if isinstance(event, VenueEvent):
                told = {"symbol": event.symbol, "venue": event.venue, "reason": event.reason.value}
                self._log.info(f"venue_{event.state}", **told)
            else:
                self._tell_arbitrage(event)

    def _tell_arbitrage(self, event: Arbitrage) -> None:
        gauge = self._metrics.arbitrage.labels(event.symbol, event.buy_at, event.sell_at)
        gauge.set(0.0 if event.now is None else event.now.net_bps)
        if event.state != "updated":
            self._log.info(
                f"arbitrage_{event.state}",
                symbol=event.symbol,
                buy_at=event.buy_at,
                sell_at=event.sell_at,
                size=decimal_text(event.best.size),
                net_bps=round(event.best.net_bps, 3),
                lasted_ms=event.lasted_ns // NS_PER_MS,
            )


def _side(side: Best | None) -> dict[str, Any] | None:
    if side is None:
        return None
    return {"price": decimal_text(side.price), "size": decimal_text(side.size), "venues": side.venues}
