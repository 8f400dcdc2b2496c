"""How orders of ours meet a market that somebody recorded, which cannot react to us. Knows nothing of accounts or fees.

Two rules. An order that crosses takes the real sizes of the recorded levels, and what it took stays taken until the
level next changes. An order that rests is filled by prints that trade through its price, by prints at its price after
the queue that was ahead of it, and by opposite quotes that arrive at or beyond its price; never by more than was
printed or quoted. A queue shrinks by prints, and by cancels where the level shows less than the queue would be.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

from edgefleet.units import ZERO

from .engine import Side, crosses, sweep
from .wire import BookTicker, DepthDiff, DepthSnapshot, Level, Trade

# A quarter of an hour of diffs; a snapshot that comes later is newer than what falls out here.
_HELD = 9_000
UNSEEN = Decimal("Infinity")  # the queue ahead of an order at a price that no recorded quote has shown yet
# Diffs that a book can be taken back by: many more than a consumer of a tape may be behind its venue.
REMEMBERED = 2_048


class Ladder:
    """One side of a book: quantity by price, prices in order."""

    def __init__(self, side: Side) -> None:
        self.side = side
        self._sizes: dict[Decimal, Decimal] = {}
        self._prices: list[Decimal] = []  # ascending

    def __len__(self) -> int:
        return len(self._prices)

    def set(self, price: Decimal, size: Decimal) -> None:
        """Make `size` the quantity at `price`; 0 removes the level."""
        sizes = self._sizes
        if size:
            if price not in sizes:
                insort(self._prices, price)
            sizes[price] = size
        elif sizes.pop(price, None) is not None:
            del self._prices[bisect_left(self._prices, price)]

    def replace(self, levels: Sequence[Level]) -> None:
        """Make `levels` all there is."""
        self._sizes = {price: size for price, size in levels if size}
        self._prices = sorted(self._sizes)

    def size(self, price: Decimal) -> Decimal:
        """Return the quantity at `price`, 0 where the level is absent."""
        return self._sizes.get(price, ZERO)

    def best(self) -> Level | None:
        """Return the best (price, quantity), or None where the side is empty."""
        if not self._prices:
            return None
        price = self._prices[-1] if self.side is Side.BUY else self._prices[0]
        return price, self._sizes[price]

    def before(self, levels: Sequence[Level]) -> list[Level]:
        """Return the levels of these prices as they are now, which `set` brings back."""
        sizes = self._sizes
        return [(price, sizes.get(price, ZERO)) for price, _ in levels]

    def copy(self) -> Ladder:
        """Return a ladder that changes for itself."""
        other = Ladder(self.side)
        other._sizes, other._prices = dict(self._sizes), list(self._prices)
        return other

    def levels(self) -> Iterator[Level]:
        """Yield (price, quantity), best first."""
        sizes = self._sizes
        for price in reversed(self._prices) if self.side is Side.BUY else self._prices:
            yield price, sizes[price]


class RecordedBook:
    """A book rebuilt from a snapshot and diffs by Binance's sequence rule.

    Diffs before the first snapshot are held. A diff whose `U` leaves a hole counts as a gap and is applied all the
    same, for what it says of its levels is true.

    Parameters
    ----------
    remember
        How many diffs can be taken back: the reach of `as_of`.
    """

    def __init__(self, remember: int = 0) -> None:
        self._undone: deque[tuple[int, list[Level], list[Level]]] = deque(maxlen=remember)
        self.bids = Ladder(Side.BUY)
        self.asks = Ladder(Side.SELL)
        self.last_update_id = 0
        self.gaps = 0
        self.applied = 0
        self.stale = 0
        self._ready = False
        self._held: deque[DepthDiff] = deque(maxlen=_HELD)

    @property
    def ready(self) -> bool:
        """Return whether a snapshot has come."""
        return self._ready

    def ladder(self, side: Side) -> Ladder:
        """Return the resting side `side`."""
        return self.bids if side is Side.BUY else self.asks

    def snapshot(self, snapshot: DepthSnapshot) -> None:
        """Start again from `snapshot`, then apply the held diffs that are newer. One older than the book is ignored."""
        if self._ready and snapshot.lastUpdateId <= self.last_update_id:
            return
        self.bids.replace(snapshot.bids)
        self.asks.replace(snapshot.asks)
        self.last_update_id = snapshot.lastUpdateId
        self._undone.clear()
        self._ready = True
        held, self._held = self._held, deque(maxlen=_HELD)
        for diff in held:
            self.diff(diff)

    def diff(self, diff: DepthDiff) -> bool:
        """Return whether `diff` changed the book: a held or a stale one does not."""
        if not self._ready:
            self._held.append(diff)
            return False
        if diff.u <= self.last_update_id:
            self.stale += 1
            return False
        if self.last_update_id + 1 < diff.U:
            self.gaps += 1
        if self._undone.maxlen:
            self._undone.append((self.last_update_id, self.bids.before(diff.b), self.asks.before(diff.a)))
        for price, size in diff.b:
            self.bids.set(price, size)
        for price, size in diff.a:
            self.asks.set(price, size)
        self.last_update_id = diff.u
        self.applied += 1
        return True

    def as_of(self, update_id: int) -> RecordedBook:
        """Return the book as it was after `update_id`: as far back as it remembers, and not beyond a snapshot."""
        past = RecordedBook()
        past.bids, past.asks = self.bids.copy(), self.asks.copy()
        past.last_update_id, past._ready = self.last_update_id, self._ready
        for before, bids, asks in reversed(self._undone):
            if past.last_update_id <= update_id:
                break
            for price, size in reversed(bids):  # a diff that names a price twice is taken back in its own order
                past.bids.set(price, size)
            for price, size in reversed(asks):
                past.asks.set(price, size)
            past.last_update_id = before
        return past


@dataclass(slots=True)
class Resting:
    """An order of ours that waits in the recorded market."""

    order_id: int
    side: Side
    price: Decimal
    left: Decimal
    ahead: Decimal  # quantity that must trade or go before this order does, base units


@dataclass(frozen=True, slots=True)
class Passive:
    """A resting order was filled, at its own price."""

    order_id: int
    quantity: Decimal


@dataclass(slots=True)
class _Taken:
    shown: Decimal
    quantity: Decimal


class RecordedMarket:
    """One symbol's recorded market, with what we took from it and what of ours rests in it.

    Parameters
    ----------
    top_only
        Whether only tops of book are recorded. What stands behind the top is unknown then: an order that comes there
        takes its place when its price becomes the best, behind all that is shown at it.
    """

    def __init__(self, *, top_only: bool = False) -> None:
        self._top_only = top_only
        self.book = RecordedBook(REMEMBERED)
        self.ticker: BookTicker | None = None
        self.last_trade: Trade | None = None
        self._taken: dict[Side, dict[Decimal, _Taken]] = {Side.BUY: {}, Side.SELL: {}}
        self._resting: dict[int, Resting] = {}

    def resting(self) -> list[Resting]:
        """Return our resting orders in the order in which they came."""
        return list(self._resting.values())

    def top(self, side: Side) -> Level | None:
        """Return the best (price, quantity) shown on `side`, from whichever of ticker and book is newer."""
        ticker = self.ticker
        if ticker is not None and ticker.u > self.book.last_update_id:
            level = (ticker.b, ticker.B) if side is Side.BUY else (ticker.a, ticker.A)
            return level if level[1] else None
        return self.book.ladder(side).best()

    def shown(self, side: Side) -> Iterator[Level]:
        """Yield (price, quantity) as recorded, best first: the book, corrected at its top by a newer ticker."""
        top = self.top(side)
        if top is None:
            return
        yield top
        for price, size in self.book.ladder(side).levels():
            if price < top[0] if side is Side.BUY else price > top[0]:
                yield price, size

    def available(self, side: Side) -> Iterator[Level]:
        """Yield (price, quantity) of `side`, best first, less what we took of it."""
        taken = self._taken[side]
        for price, size in self.shown(side):
            mark = taken.get(price)
            if mark is not None and mark.shown == size:
                size = max(size - mark.quantity, ZERO)
            if size:
                yield price, size

    def plan(self, side: Side, limit: Decimal | None, quantity: Decimal) -> list[Level]:
        """Return the (price, quantity) pairs an order of `side` would take now. Nothing changes."""
        return sweep(side, limit, quantity, self.available(side.opposite))

    def take(self, side: Side, levels: Sequence[Level]) -> None:
        """Remember that an order of `side` took `levels` from the other side."""
        taken = self._taken[side.opposite]
        for price, quantity in levels:
            shown = self._size_shown(side.opposite, price)
            mark = taken.get(price)
            if mark is None or mark.shown != shown:
                taken[price] = _Taken(shown, quantity)
            else:
                mark.quantity += quantity

    def rest(self, order_id: int, side: Side, price: Decimal, quantity: Decimal, ahead: Decimal | None = None) -> None:
        """Let an order wait, behind all that is shown at its price (or behind `ahead`, where that is known)."""
        if ahead is None:
            ahead = UNSEEN if self._is_unseen(side, price) else self._size_shown(side, price)
        self._resting[order_id] = Resting(order_id, side, price, quantity, ahead)

    def remove(self, order_id: int) -> None:
        """Take an order out of the queue."""
        del self._resting[order_id]

    def forget_book(self) -> None:
        """Drop the book and what was taken of it, as after a lost connection; orders of ours go on resting."""
        self.book = RecordedBook(REMEMBERED)
        self.ticker = None
        for taken in self._taken.values():
            taken.clear()

    def on_snapshot(self, snapshot: DepthSnapshot) -> list[Passive]:
        """Return the fills that a REST snapshot brings to resting orders."""
        self.book.snapshot(snapshot)
        return self._after_quotes()

    def on_diff(self, diff: DepthDiff) -> list[Passive]:
        """Return the fills that a depth diff brings to resting orders."""
        if not self.book.diff(diff):
            return []
        if self._taken[Side.BUY] or self._taken[Side.SELL]:
            self._forget(Side.BUY, diff.b)
            self._forget(Side.SELL, diff.a)
        return self._after_quotes()

    def on_ticker(self, ticker: BookTicker) -> list[Passive]:
        """Return the fills that a new top of book brings to resting orders."""
        self.ticker = ticker
        if self._taken[Side.BUY] or self._taken[Side.SELL]:
            self._forget(Side.BUY, [(ticker.b, ticker.B)])
            self._forget(Side.SELL, [(ticker.a, ticker.A)])
            if self._top_only:
                self._forget_gone()
        return self._after_quotes()

    def on_trade(self, trade: Trade) -> list[Passive]:
        """Return the fills that a print brings to resting orders: no more in sum than was printed."""
        self.last_trade = trade
        if not self._resting:
            return []
        resting_side = Side.BUY if trade.m else Side.SELL
        fills: list[Passive] = []
        left = trade.q
        # What is printed is shared out once: to better prices first, then through the queue at the print's own price.
        for order in self._priority(resting_side):
            if not crosses(resting_side.opposite, trade.p, order.price):
                break
            if order.price == trade.p:
                spent = min(order.ahead, left)
                order.ahead -= spent
                reach = left - spent
            else:
                order.ahead = ZERO
                reach = left
            part = min(reach, order.left)
            if part > 0:
                left -= part
                self._fill(order, part, fills)
        return fills

    def _priority(self, side: Side) -> list[Resting]:
        sign = -1 if side is Side.BUY else 1
        # The sort is stable and the dict is in order of arrival: price first, then time.
        return sorted((o for o in self._resting.values() if o.side is side), key=lambda order: sign * order.price)

    def _fill(self, order: Resting, quantity: Decimal, fills: list[Passive]) -> None:
        order.left -= quantity
        fills.append(Passive(order.order_id, quantity))
        if not order.left:
            del self._resting[order.order_id]

    def _after_quotes(self) -> list[Passive]:
        if not self._resting:
            return []
        for order in self._resting.values():
            if order.ahead and not (order.ahead == UNSEEN and self._is_unseen(order.side, order.price)):
                order.ahead = min(order.ahead, self._size_shown(order.side, order.price))
        fills: list[Passive] = []
        for side in (Side.BUY, Side.SELL):
            for order in self._priority(side):
                levels = self.plan(side, order.price, order.left)
                if not levels:
                    break
                self.take(side, levels)
                self._fill(order, sum((size for _, size in levels), ZERO), fills)
        return fills

    def _forget_gone(self) -> None:
        """Forget what was taken of levels that would be better than the best: they are gone, and new if they return."""
        for side, taken in self._taken.items():
            top = self.top(side)
            for price in [p for p in taken if top is None or (p != top[0] and crosses(side.opposite, top[0], p))]:
                del taken[price]

    def _is_unseen(self, side: Side, price: Decimal) -> bool:
        """Return whether nothing is known of the queue at `price`: it is behind the top, and only tops are recorded."""
        top = self.top(side)
        return self._top_only and top is not None and not crosses(side.opposite, top[0], price)

    def _size_shown(self, side: Side, price: Decimal) -> Decimal:
        top = self.top(side)
        if top is None:
            return ZERO
        if price == top[0]:
            return top[1]
        better = crosses(side.opposite, top[0], price)
        return ZERO if better else self.book.ladder(side).size(price)

    def _forget(self, side: Side, levels: Sequence[Level]) -> None:
        taken = self._taken[side]
        for price, size in levels:
            mark = taken.get(price)
            if mark is not None and mark.shown != size:
                del taken[price]
