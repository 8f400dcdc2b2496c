"""A price-time priority order book that matches orders against each other. Knows nothing of accounts, fees or wires.

Better prices trade first; at one price the older order trades first; a trade happens at the price of the order that
was there already.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from edgefleet.units import ZERO


class Side(StrEnum):
    """Which way an order trades."""

    BUY = "BUY"
    SELL = "SELL"

    @property
    def opposite(self) -> Side:
        """Return the side this one trades against."""
        return Side.SELL if self is Side.BUY else Side.BUY


class TimeInForce(StrEnum):
    """What happens to the part of an order that does not trade at once."""

    GTC = "GTC"  # rests until cancelled
    IOC = "IOC"  # is cancelled
    FOK = "FOK"  # there is none: all of it trades at once or nothing does


@dataclass(frozen=True, slots=True)
class Match:
    """One trade between an order that arrived and one that rested."""

    taker_id: str
    maker_id: str
    price: Decimal  # the resting order's
    quantity: Decimal
    maker_left: Decimal  # 0 when the resting order is complete


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an order that arrived: `matched + rested + unfilled` is its quantity."""

    matches: tuple[Match, ...]
    rested: Decimal
    unfilled: Decimal

    @property
    def matched(self) -> Decimal:
        """Return the quantity that traded at once."""
        return sum((match.quantity for match in self.matches), ZERO)


@dataclass(slots=True)
class _Resting:
    order_id: str
    side: Side
    price: Decimal
    left: Decimal


class UnknownOrder(KeyError):
    """No order with this id rests in the book."""


class WouldTake(ValueError):
    """A post-only order would have traded at once."""


def crosses(side: Side, limit: Decimal | None, price: Decimal) -> bool:
    """Return whether an order of `side` with `limit` (None: any price) may trade at `price`."""
    if limit is None:
        return True
    return price <= limit if side is Side.BUY else price >= limit


def sweep(
    side: Side, limit: Decimal | None, quantity: Decimal, levels: Iterable[tuple[Decimal, Decimal]]
) -> list[tuple[Decimal, Decimal]]:
    """Return the (price, quantity) pairs an order takes from `levels`, best first, up to `limit` and `quantity`."""
    taken: list[tuple[Decimal, Decimal]] = []
    left = quantity
    for price, available in levels:
        if left <= 0 or not crosses(side, limit, price):
            break
        part = min(left, available)
        if part > 0:
            taken.append((price, part))
            left -= part
    return taken


class PriceTimeBook:
    """Resting orders of one instrument, and the matching of those that arrive.

    Examples
    --------
    >>> book = PriceTimeBook()
    >>> _ = book.place("101", Side.SELL, Decimal(7), Decimal(1600))
    >>> [(str(m.quantity), str(m.price)) for m in book.place("1", Side.BUY, Decimal(2), Decimal(1700)).matches]
    [('2', '1600')]
    """

    def __init__(self) -> None:
        self._orders: dict[str, _Resting] = {}
        # A dict keeps insertion order, which is time priority, and removes from the middle in constant time.
        self._levels: dict[Side, dict[Decimal, dict[str, _Resting]]] = {Side.BUY: {}, Side.SELL: {}}
        self._prices: dict[Side, list[Decimal]] = {Side.BUY: [], Side.SELL: []}  # ascending

    def __contains__(self, order_id: str) -> bool:
        return order_id in self._orders

    def __len__(self) -> int:
        return len(self._orders)

    def left(self, order_id: str) -> Decimal:
        """Return what is left of a resting order, or raise `UnknownOrder`."""
        return self._resting(order_id).left

    def price(self, order_id: str) -> Decimal:
        """Return the price of a resting order, or raise `UnknownOrder`."""
        return self._resting(order_id).price

    def best(self, side: Side) -> Decimal | None:
        """Return the best price of `side`, or None where that side is empty."""
        prices = self._prices[side]
        if not prices:
            return None
        return prices[-1] if side is Side.BUY else prices[0]

    def level(self, side: Side, price: Decimal) -> Decimal:
        """Return the quantity that rests at `price`, 0 where none does."""
        return sum((order.left for order in self._levels[side].get(price, {}).values()), ZERO)

    def levels(self, side: Side) -> Iterator[tuple[Decimal, Decimal]]:
        """Yield (price, quantity) of `side`, best first."""
        prices = self._prices[side]
        for price in reversed(prices) if side is Side.BUY else prices:
            yield price, self.level(side, price)

    def orders(self, side: Side) -> Iterator[tuple[str, Decimal, Decimal]]:
        """Yield (order id, price, quantity left) of `side` in the order in which they will trade."""
        prices = self._prices[side]
        for price in reversed(prices) if side is Side.BUY else prices:
            for order in self._levels[side][price].values():
                yield order.order_id, price, order.left

    def place(
        self,
        order_id: str,
        side: Side,
        quantity: Decimal,
        price: Decimal | None = None,
        time_in_force: TimeInForce = TimeInForce.GTC,
        *,
        post_only: bool = False,
    ) -> Outcome:
        """Return what became of an arriving order. `price` None is a market order, which never rests.

        Raises
        ------
        ValueError
            If `quantity` or `price` is not positive, or an order of this id rests already.
        WouldTake
            If the order is post-only and would trade at once; the book is as it was.
        """
        if not quantity > 0:
            raise ValueError(f"a quantity must be positive, was {quantity}")
        if price is not None and not price > 0:
            raise ValueError(f"a price must be positive, was {price}")
        if order_id in self._orders:
            raise ValueError(f"order {order_id} rests already")
        best = self.best(side.opposite)
        if post_only and best is not None and crosses(side, price, best):
            raise WouldTake(f"order {order_id} would trade at {best}")
        if time_in_force is TimeInForce.FOK and self._available(side, price, quantity) < quantity:
            return Outcome((), ZERO, quantity)
        matches = tuple(self._match(order_id, side, price, quantity))
        left = quantity - sum((match.quantity for match in matches), ZERO)
        if price is None or time_in_force is not TimeInForce.GTC:
            return Outcome(matches, ZERO, left)
        if left > 0:
            self._rest(_Resting(order_id, side, price, left))
        return Outcome(matches, left, ZERO)

    def cancel(self, order_id: str) -> Decimal:
        """Return the quantity taken out of the book, or raise `UnknownOrder`."""
        order = self._resting(order_id)
        self._remove(order)
        return order.left

    def reduce(self, order_id: str, by: Decimal) -> Decimal:
        """Return what is left after taking `by` off a resting order, which keeps its place; at 0 it is gone."""
        order = self._resting(order_id)
        if not by > 0:
            raise ValueError(f"a reduction must be positive, was {by}")
        if by >= order.left:
            self._remove(order)
            return ZERO
        order.left -= by
        return order.left

    def move(self, order_id: str, price: Decimal) -> Outcome:
        """Return what became of a resting order sent anew at `price`: it loses its place and may trade."""
        order = self._resting(order_id)
        self._remove(order)
        return self.place(order_id, order.side, order.left, price)

    def _resting(self, order_id: str) -> _Resting:
        try:
            return self._orders[order_id]
        except KeyError:
            raise UnknownOrder(order_id) from None

    def _available(self, side: Side, limit: Decimal | None, quantity: Decimal) -> Decimal:
        return sum((part for _, part in sweep(side, limit, quantity, self.levels(side.opposite))), ZERO)

    def _match(self, taker_id: str, side: Side, limit: Decimal | None, quantity: Decimal) -> Iterator[Match]:
        left = quantity
        while left > 0:
            price = self.best(side.opposite)
            if price is None or not crosses(side, limit, price):
                return
            maker = next(iter(self._levels[side.opposite][price].values()))
            part = min(left, maker.left)
            maker.left -= part
            left -= part
            if not maker.left:
                self._remove(maker)
            yield Match(taker_id, maker.order_id, price, part, maker.left)

    def _rest(self, order: _Resting) -> None:
        level = self._levels[order.side].get(order.price)
        if level is None:
            level = self._levels[order.side][order.price] = {}
            insort(self._prices[order.side], order.price)
        level[order.order_id] = order
        self._orders[order.order_id] = order

    def _remove(self, order: _Resting) -> None:
        del self._orders[order.order_id]
        level = self._levels[order.side][order.price]
        del level[order.order_id]
        if not level:
            del self._levels[order.side][order.price]
            prices = self._prices[order.side]
            del prices[bisect_left(prices, order.price)]
