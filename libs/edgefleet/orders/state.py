"""What the order step remembers, as plain values that survive msgpack. Decides nothing."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

import msgspec

from edgefleet.clock import NS_PER_MS
from edgefleet.execution.placement import Top
from edgefleet.instruments import split_id
from edgefleet.messages.orders import OrderKind
from edgefleet.messages.verdicts import Refusal
from edgefleet.orders.machine import Order
from edgefleet.units import ZERO

KEEP_SETTLED = 256  # settled orders whose trade ids are kept one by one


class Goal(msgspec.Struct, frozen=True, kw_only=True):
    """The position an instrument shall have: risk's newest target, or an operator's wish to be flat."""

    target_id: str
    quantity: Decimal  # base units, signed, absolute
    expires_at: int  # ns, stage time
    algorithm: OrderKind
    trace_id: str
    by_operator: bool = False  # a flatten: it is not superseded by risk before it is done


class Lane(msgspec.Struct, kw_only=True):
    """One account's business in one instrument."""

    account: str
    instrument: str
    goal: Goal | None = None
    acted: bool = False  # an order of the goal was made, or none was needed
    leg: int = 0
    attempt: int = 0
    rejects: int = 0  # orders rejected in a row
    refusal: Refusal | None = None  # the last one told, so that it is told once
    halted: str = ""  # why nothing new is sent here until a person resumes


class LastTouch(msgspec.Struct):
    """An instrument's best prices and how old its feed is, in milliseconds by the last beat."""

    bid: Decimal | None = None
    ask: Decimal | None = None
    age_ms: int | None = None
    quarantined: bool = False  # its data is not believed, as the last beat states it

    @property
    def top(self) -> Top | None:
        """Return the touch, None where a side of it is not known."""
        return None if self.bid is None or self.ask is None else Top(self.bid, self.ask)


class OrdersState(msgspec.Struct, kw_only=True):
    """Everything the order step knows. It starts shut: HALTED, and every gate shut until it is told otherwise."""

    time: int = 0  # ns: the largest stamp of venue, beat and target seen; operators' wall clocks are not market time
    trading: Literal["ACTIVE", "REDUCING", "HALTED"] = "HALTED"
    trading_reason: str = "no trading state was read yet"
    gates: dict[str, str] = {}  # account|venue -> why its start gate is shut, empty where it is open
    lanes: dict[str, Lane] = {}
    touches: dict[str, LastTouch] = {}
    beats: dict[str, int] = {}  # venue with an account -> ns, stamp of its newest beat in this session
    orders: dict[str, Order] = {}  # not settled, by client order id
    settled: dict[str, Order] = {}  # the last KEEP_SETTLED, oldest first
    retired_trades: dict[str, int] = {}  # per instrument: the highest trade id of orders no longer kept
    holdings: dict[str, Decimal] = {}  # account|venue|asset -> units, free and locked
    baseline: dict[str, bool] = {}  # account|venue whose balances a venue has told

    def lane(self, account: str, instrument: str) -> Lane:
        """Return the lane of an account in an instrument, made where there is none."""
        key = f"{account}|{instrument}"
        found = self.lanes.get(key)
        if found is None:
            found = self.lanes[key] = Lane(account=account, instrument=instrument)
        return found

    def shut(self, lane: Lane) -> str:
        """Return why the start gate of the lane's account is shut, empty where it is open."""
        return self.gates.get(f"{lane.account}|{split_id(lane.instrument)[1]}", "the gateway has not reconciled yet")

    def is_traded(self, venue: str) -> bool:
        """Return whether an account at a venue was told of."""
        return any(key.rpartition("|")[2] == venue for key in self.gates)

    def age_ms(self, instrument: str) -> int | None:
        """Return how old an instrument's feed is: its age at its venue's last beat, and the time to the last of any."""
        touch = self.touches.get(instrument)
        if touch is None or touch.age_ms is None:
            return None
        beat = self.beats.get(split_id(instrument)[1])
        return touch.age_ms + (0 if beat is None else (max(self.beats.values()) - beat) // NS_PER_MS)

    def lane_orders(self, lane: Lane) -> list[Order]:
        """Return the lane's orders that are not settled."""
        return [o for o in self.orders.values() if o.instrument == lane.instrument and o.account == lane.account]

    def position(self, account: str, instrument: str) -> Decimal:
        """Return the base units held: what the venue said at the last reconcile and every fill since."""
        symbol, venue = split_id(instrument)
        return self.holdings.get(f"{account}|{venue}|{symbol.partition('/')[0]}", ZERO)

    def add_holding(self, account: str, venue: str, asset: str, change: Decimal) -> None:
        """Add `change` units of `asset`."""
        key = f"{account}|{venue}|{asset}"
        self.holdings[key] = self.holdings.get(key, ZERO) + change

    def settle(self, order: Order) -> None:
        """Move a settled order out of the way; its trade ids are forgotten one by one only after many more orders."""
        self.orders.pop(order.order_id, None)
        self.settled[order.order_id] = order
        while len(self.settled) > KEEP_SETTLED:
            oldest = self.settled.pop(next(iter(self.settled)))
            numbers = [int(trade) for trade in oldest.trades if trade.isdecimal()]
            if numbers:
                self.retired_trades[oldest.instrument] = max(*numbers, self.retired_trades.get(oldest.instrument, 0))
