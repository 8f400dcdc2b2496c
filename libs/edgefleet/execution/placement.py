"""One order for one wanted change of position: kind, price and size, or why there is none. Knows no order's life."""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import NamedTuple

from edgefleet.instruments import Instrument
from edgefleet.messages.orders import OrderKind, Side
from edgefleet.messages.verdicts import Refusal
from edgefleet.params.schema import ExecutionParams
from edgefleet.units import ZERO, round_to_step


class Top(NamedTuple):
    """The best prices of an instrument, in quote units per base unit."""

    bid: Decimal
    ask: Decimal


class Placement(NamedTuple):
    """One order to be sent."""

    side: Side
    kind: OrderKind
    quantity: Decimal  # base units, positive, a whole number of lots
    price: Decimal | None  # None for market orders
    reduce_only: bool


class NoOrder(NamedTuple):
    """Why nothing is sent. `reason` is None where the position is already what it shall be."""

    reason: Refusal | None
    limit: float | None = None
    observed: float | None = None
    detail: str = ""


def plan(
    target: Decimal,
    position: Decimal,
    kind: OrderKind,
    top: Top,
    instrument: Instrument,
    params: ExecutionParams,
    *,
    reducing: bool,
) -> Placement | NoOrder:
    """Return the order that moves `position` to `target`, or why there is none.

    The size is rounded toward zero to whole lots. A position that is within `close_enough_fraction` of its target is
    there: a fee taken in the base asset leaves every buy a little short, and buying that back would cost another.
    While `reducing`, only an order that shrinks the position is made, and never one that crosses zero.
    """
    delta = target - position
    shrinks = delta * position < 0
    if reducing and shrinks:
        delta = max(delta, -position) if delta < 0 else min(delta, -position)
    if abs(delta) <= params.close_enough_fraction * abs(target):
        return NoOrder(None)
    side: Side = "buy" if delta > 0 else "sell"
    quantity = abs(round_to_step(delta, instrument.lot_size))
    if quantity == 0:
        return NoOrder(None)
    if reducing and not shrinks:
        return NoOrder(Refusal.REDUCING, limit=float(abs(position)), observed=float(abs(target)))
    price = limit_price(side, kind, top, instrument.tick_size, params.limit_offset_ticks)
    notional = quantity * (price if price is not None else top.ask if side == "buy" else top.bid)
    if quantity < instrument.min_quantity:
        return NoOrder(Refusal.BELOW_MINIMUM, float(instrument.min_quantity), float(quantity), "min_quantity")
    if notional < instrument.min_notional:
        return NoOrder(Refusal.BELOW_MINIMUM, float(instrument.min_notional), float(notional), "min_notional")
    return Placement(side, kind, quantity, price, reduce_only=shrinks and quantity <= abs(position))


def limit_price(side: Side, kind: OrderKind, top: Top, tick: Decimal, offset_ticks: int) -> Decimal | None:
    """Return the price an order names: none for market, the near touch for post_only, past the far touch for limit.

    A price is rounded away from the market's other side for post_only and toward the cheaper side for limit, so
    that rounding never pays more than was meant.
    """
    rounding = ROUND_FLOOR if side == "buy" else ROUND_CEILING
    if kind == "market":
        return None
    if kind == "post_only":
        return round_to_step(top.bid if side == "buy" else top.ask, tick, rounding)
    if side == "buy":
        return round_to_step(top.ask + offset_ticks * tick, tick, rounding)
    return max(round_to_step(top.bid - offset_ticks * tick, tick, rounding), tick)


def left_behind(side: Side, price: Decimal, top: Top, tick: Decimal, ticks: int) -> bool:
    """Return whether the near touch has moved more than `ticks` away from a resting order's price."""
    distance = top.bid - price if side == "buy" else price - top.ask
    return distance > ticks * tick


def signed(side: Side, quantity: Decimal) -> Decimal:
    """Return `quantity` with the sign of `side`: buying adds."""
    return quantity if side == "buy" else ZERO - quantity
