"""The states of one order and which may follow which. Knows nothing of targets, positions or venues."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

import msgspec

from edgefleet.messages.orders import OrderKind, OrderState, Side
from edgefleet.units import ZERO

S = OrderState

TERMINAL: Final = frozenset({S.FILLED, S.CANCELLED, S.EXPIRED, S.REJECTED, S.DENIED})
UNSENT: Final = frozenset({S.REJECTED, S.DENIED})  # the venue is believed to hold nothing
_VENUE_SAYS: Final = frozenset({S.ACCEPTED, S.PARTIALLY_FILLED, S.FILLED, S.CANCELLED, S.EXPIRED})

# What may follow what. A venue's word about an order that was believed not to exist brings it back to life: the venue
# is right, and the fleet was wrong (Binance can lose sight of an order for half an hour).
ALLOWED: Final[dict[OrderState, frozenset[OrderState]]] = {
    S.PENDING_NEW: _VENUE_SAYS | {S.REJECTED, S.DENIED, S.UNKNOWN},
    S.UNKNOWN: _VENUE_SAYS | {S.REJECTED, S.DENIED},
    S.ACCEPTED: frozenset({S.PARTIALLY_FILLED, S.FILLED, S.PENDING_CANCEL, S.CANCELLED, S.EXPIRED, S.UNKNOWN}),
    S.PARTIALLY_FILLED: frozenset({S.PARTIALLY_FILLED, S.FILLED, S.PENDING_CANCEL, S.CANCELLED, S.EXPIRED, S.UNKNOWN}),
    S.PENDING_CANCEL: _VENUE_SAYS | {S.PENDING_CANCEL, S.UNKNOWN},
    S.CANCELLED: frozenset({S.CANCELLED, S.FILLED}),
    S.EXPIRED: frozenset({S.EXPIRED, S.FILLED}),
    S.FILLED: frozenset({S.FILLED}),
    S.REJECTED: _VENUE_SAYS,
    S.DENIED: _VENUE_SAYS,
}

_VENUE_STATUS: Final[dict[str, OrderState]] = {
    "NEW": S.ACCEPTED,
    "PARTIALLY_FILLED": S.PARTIALLY_FILLED,
    "FILLED": S.FILLED,
    "CANCELED": S.CANCELLED,
    "REJECTED": S.REJECTED,
    "EXPIRED": S.EXPIRED,
}


class Order(msgspec.Struct, kw_only=True):
    """One order of ours, from the decision on."""

    order_id: str  # client order id
    account: str
    instrument: str
    target_id: str
    leg: int
    attempt: int
    side: Side
    kind: OrderKind
    quantity: Decimal  # base units, positive
    price: Decimal | None
    reduce_only: bool
    state: OrderState
    venue_order_id: str | None = None
    filled: Decimal = ZERO  # base units that the venue says are executed, or that its trades add up to
    booked: Decimal = ZERO  # base units of the trades that have become fills
    trades: dict[str, Decimal] = {}  # trade id -> fee, of what is booked
    cancel_wanted: bool = False  # to be cancelled as soon as the venue is known to have it
    since: int = 0  # ns, stage time of the decision
    ts_init: int = 0
    trace_id: str = ""

    @property
    def is_open(self) -> bool:
        """Return whether the venue may still execute some of it."""
        return self.state not in TERMINAL

    @property
    def is_settled(self) -> bool:
        """Return whether nothing more is expected: it has ended and every executed unit is booked."""
        return self.state in TERMINAL and self.booked == self.filled

    @property
    def remaining(self) -> Decimal:
        """Return the base units that may still be executed."""
        return max(self.quantity - self.filled, ZERO) if self.is_open else ZERO


def may_follow(before: OrderState, after: OrderState) -> bool:
    """Return whether an order may go from `before` to `after`."""
    return after in ALLOWED[before]


def after_venue_word(order: Order, status: str, filled: Decimal) -> OrderState:
    """Return the state that a venue's word about `order` leads to.

    Words arrive late, twice and out of order, so an older word never undoes a newer fact: what is executed only
    grows, an ended order stays ended, and a cancel that is under way is not forgotten because of a fill.
    """
    said = _VENUE_STATUS[status]
    known = max(order.filled, filled)
    if known >= order.quantity and said is not S.REJECTED:
        return S.FILLED
    if said is S.FILLED:
        return S.FILLED
    if said is S.ACCEPTED and known > 0:
        said = S.PARTIALLY_FILLED
    if order.state in (S.CANCELLED, S.EXPIRED, S.FILLED):
        return order.state
    if order.state is S.PENDING_CANCEL and said in (S.ACCEPTED, S.PARTIALLY_FILLED):
        return S.PENDING_CANCEL
    return said if may_follow(order.state, said) else order.state
