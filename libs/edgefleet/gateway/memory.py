"""What the gateway knows of each order of ours, and which news is news. Does no I/O."""

from __future__ import annotations

from decimal import Decimal
from typing import Final, Literal

import msgspec

from edgefleet.messages import GatewayOutcome, OrderEvent, VenueOrder, VenueTrade
from edgefleet.units import ZERO

KEEP_DONE = 2_000
OUR_PREFIX: Final = "ef"

Standing = Literal["intended", "unknown", "live", "done", "absent"]

_RANK = {"": 0, "NEW": 1, "PARTIALLY_FILLED": 2, "EXPIRED": 3, "CANCELED": 3, "REJECTED": 3, "FILLED": 4}


class Known(msgspec.Struct, kw_only=True):
    """One order of ours: intended at least."""

    intent: OrderEvent
    standing: Standing = "intended"
    status: str = ""  # the venue's last word
    venue_order_id: str = ""
    filled: Decimal = ZERO  # base units, by the venue's word
    booked: Decimal = ZERO  # base units, of trades told
    trades: dict[str, VenueTrade] = {}
    last_word: VenueOrder | None = None

    @property
    def order_id(self) -> str:
        """Return the client order id."""
        return self.intent.order_id

    @property
    def is_settled(self) -> bool:
        """Return whether the venue has nothing more to say about it."""
        return self.standing == "absent" or (self.standing == "done" and self.booked >= self.filled)


class OrderMemory:
    """Every order of ours that may still matter, by both its names."""

    def __init__(self) -> None:
        self.orders: dict[str, Known] = {}
        self.last_trade_id: dict[str, int] = {}  # per instrument
        self._by_venue_id: dict[tuple[str, str], str] = {}

    def intend(self, event: OrderEvent) -> Known:
        """Remember that an order may be sent from now on."""
        known = self.orders[event.order_id] = Known(intent=event, trades={})
        self._forget_oldest()
        return known

    def name_of(self, instrument: str, venue_order_id: str) -> str | None:
        """Return the client order id behind a venue's, None where it is not ours."""
        return self._by_venue_id.get((instrument, venue_order_id))

    def unsettled(self) -> list[Known]:
        """Return the orders of which something is still to come."""
        return [known for known in self.orders.values() if not known.is_settled]

    def take(self, message: VenueOrder | VenueTrade | GatewayOutcome) -> bool:
        """Take a fact in; return whether it says something new. Facts about others' orders are never news here."""
        known = self.orders.get(message.order_id)
        if known is None:
            return False
        match message:
            case VenueOrder():
                return self._take_order(known, message)
            case VenueTrade():
                return self._take_trade(known, message)
            case GatewayOutcome():
                return _take_outcome(known, message)

    def _take_order(self, known: Known, said: VenueOrder) -> bool:
        known.venue_order_id = said.venue_order_id
        self._by_venue_id[(said.instrument, said.venue_order_id)] = said.order_id
        newer = _RANK[said.status] > _RANK[known.status] or said.filled > known.filled
        if not newer and known.standing not in ("unknown", "absent"):
            return False
        if _RANK[said.status] >= _RANK[known.status]:
            known.status = said.status
        known.filled = max(known.filled, said.filled)
        known.standing = "done" if _RANK[known.status] >= 3 else "live"
        known.last_word = said
        return True

    def _take_trade(self, known: Known, trade: VenueTrade) -> bool:
        if trade.trade_id in known.trades:
            return False
        known.trades[trade.trade_id] = trade
        known.booked += trade.quantity
        if trade.trade_id.isdecimal():
            last = self.last_trade_id.get(trade.instrument, -1)
            self.last_trade_id[trade.instrument] = max(last, int(trade.trade_id))
        if known.standing in ("intended", "unknown", "absent"):
            known.standing = "live"
        return True

    def _forget_oldest(self) -> None:
        if len(self.orders) <= KEEP_DONE:
            return
        for order_id, known in self.orders.items():
            if known.is_settled:
                del self.orders[order_id]
                self._by_venue_id.pop((known.intent.instrument, known.venue_order_id), None)
                return


def _take_outcome(known: Known, outcome: GatewayOutcome) -> bool:
    if outcome.command == "cancel":
        return True
    match outcome.outcome:
        case "DENIED" | "REJECTED":
            if known.standing in ("intended", "unknown"):
                known.standing = "done"
        case "UNKNOWN":
            if known.standing == "intended":
                known.standing = "unknown"
        case "RESOLVED_ABSENT":
            if known.standing == "unknown":
                known.standing = "absent"
        case _:
            pass
    return True
