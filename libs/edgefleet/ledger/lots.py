"""First in, first out: lots, long and short, and what closing them earns. Knows nothing of accounts or fees."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import NamedTuple

import msgspec

from edgefleet.ledger.exact import add, multiply, shown_ratio, subtract, total
from edgefleet.units import ZERO


class Lot(msgspec.Struct, frozen=True):
    """A quantity that came in at one price and has not gone out again."""

    quantity: Decimal  # base units, signed: negative was sold short
    price: Decimal | None  # quote per base unit; None: held before the books opened and no price was seen since
    opened: int  # ns since the epoch, market time
    origin: str  # "order id/trade id", or "opening"


class Moved(NamedTuple):
    """The lots after a change of position, and what the closed part earned."""

    lots: tuple[Lot, ...]
    realised: Decimal  # quote units, before fees


def move(lots: Sequence[Lot], change: Decimal, price: Decimal, *, at: int, origin: str) -> Moved:
    """Return the lots after `change` base units at `price`: the oldest opposite lots close first, the rest opens a lot.

    The realised profit of a closed part is ``closed * (price - lot price)`` with the lot's sign: a long lot earns when
    it goes out dearer, a short lot when it comes back cheaper. Nothing is rounded.

    Examples
    --------
    >>> held = move((), Decimal(2), Decimal(100), at=1, origin="a").lots
    >>> move(held, Decimal(-3), Decimal(110), at=2, origin="b").realised
    Decimal('20')
    """
    left, realised, remaining = change, ZERO, list(lots)
    while left and remaining and (remaining[0].quantity > 0) != (left > 0):
        oldest = remaining[0]
        closed = oldest.quantity if abs(oldest.quantity) <= abs(left) else -left
        cost = price if oldest.price is None else oldest.price
        realised = add(realised, multiply(closed, subtract(price, cost)))
        left = add(left, closed)
        rest = subtract(oldest.quantity, closed)
        remaining[:1] = [Lot(rest, oldest.price, oldest.opened, oldest.origin)] if rest else []
    if left:
        remaining.append(Lot(left, price, at, origin))
    return Moved(tuple(remaining), realised)


def quantity(lots: Iterable[Lot]) -> Decimal:
    """Return the position that the lots make, signed, in base units."""
    return total(lot.quantity for lot in lots)


def unrealised(lots: Iterable[Lot], price: Decimal) -> Decimal:
    """Return what the lots would earn if they closed at `price`, before fees; a lot of unknown cost counts as 0."""
    return total(multiply(lot.quantity, subtract(price, lot.price)) for lot in lots if lot.price is not None)


def average_price(lots: Sequence[Lot]) -> Decimal | None:
    """Return the mean price of the lots, rounded to 28 digits; None when flat or a cost is unknown."""
    held = quantity(lots)
    costs = [multiply(lot.quantity, lot.price) for lot in lots if lot.price is not None]
    if not held or len(costs) < len(lots):
        return None
    return shown_ratio(total(costs), held)


def priced(lots: Iterable[Lot], price: Decimal) -> tuple[Lot, ...]:
    """Return the lots with `price` as the cost of those whose cost is unknown: profit counts from then on."""
    return tuple(Lot(lot.quantity, price, lot.opened, lot.origin) if lot.price is None else lot for lot in lots)
