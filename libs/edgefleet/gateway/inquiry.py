"""Orders whose fate is not known, asked for until it is. Sends no order and cancels none."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, Protocol

from edgefleet.clock import NS_PER_MS, NS_PER_S, Clock
from edgefleet.errors import Transient
from edgefleet.gateway.memory import Known, OrderMemory
from edgefleet.gateway.words import Words
from edgefleet.params.schema import ExecutionParams
from edgefleet.venues.interface import Answered, NotFound, OrderReport, Venue

WATCH_S: Final = 15.0
_PAUSES_S: Final = (0.05, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
_ABSENT_WATCH_NS: Final = 3_600 * NS_PER_S


class Log(Protocol):
    """What the gateway needs of a structured logger."""

    def info(self, event: str, **fields: Any) -> Any: ...
    def warning(self, event: str, **fields: Any) -> Any: ...
    def error(self, event: str, **fields: Any) -> Any: ...


class Inquiry:
    """Finds out what became of orders: by client id, in the list of open orders, by their trades."""

    def __init__(
        self,
        venue: Venue,
        memory: OrderMemory,
        words: Words,
        *,
        params: Callable[[], ExecutionParams],
        clock: Clock,
        log: Log,
        pause: Callable[[float], Awaitable[None]],
        spawn: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self.stream_since: int | None = None  # monotonic ns: since when the user stream is up without a break
        self._venue = venue
        self._memory = memory
        self._words = words
        self._params = params
        self._clock = clock
        self._log = log
        self._pause = pause
        self._spawn = spawn
        self._resolving: set[str] = set()
        self._absent: dict[str, int] = {}  # order id: monotonic ns it was given up

    def resolve_later(self, known: Known) -> None:
        """Begin to ask about an order, unless it is being asked for already."""
        if known.order_id not in self._resolving and not known.is_settled:
            self._resolving.add(known.order_id)
            self._spawn(self._resolve(known))

    async def _resolve(self, known: Known) -> None:
        """Ask until the order is found, or until it is certain enough that it is not there. Nothing is sent again."""
        params, event = self._params(), known.intent
        began, misses, turn = self._clock.monotonic_ns(), 0, 0
        if known.standing == "intended":
            self._words.outcome(event, "new", "UNKNOWN", reason="intended before, outcome not known")
        try:
            while known.standing in ("intended", "unknown"):
                result = await self._venue.query(event.instrument, known.order_id)
                if isinstance(result, Answered):
                    await self.tell_with_trades(result.order)
                    self._log.info("order_resolved", order_id=known.order_id, status=result.order.status)
                    return
                if isinstance(result, NotFound) and await self._is_not_open(known):
                    misses += 1
                if misses >= params.absent_after_misses and self._silent_for(began, params.absent_after_ms):
                    self._absent[known.order_id] = self._clock.monotonic_ns()
                    reason = f"not found {misses} times"
                    self._words.outcome(event, "new", "RESOLVED_ABSENT", reason=reason)
                    self._log.warning("order_absent", order_id=known.order_id, misses=misses)
                    return
                await self._pause(_PAUSES_S[min(turn, len(_PAUSES_S) - 1)])
                turn += 1
        finally:
            self._resolving.discard(known.order_id)

    async def _is_not_open(self, known: Known) -> bool:
        """Return whether the order is in no list either; where it is, it is told."""
        try:
            listed = [order for order in await self._venue.open_orders() if order.order_id == known.order_id]
        except Transient:
            return False
        for order in listed:
            await self.tell_with_trades(order)
        return not listed

    def _silent_for(self, began: int, limit_ms: int) -> bool:
        """Return whether so much time passed since `began` with the user stream up and silent about it."""
        if self.stream_since is None:
            return False
        since = max(began, self.stream_since)
        return self._clock.monotonic_ns() - since >= limit_ms * NS_PER_MS

    async def tell_with_trades(self, order: OrderReport) -> None:
        """Tell an order that was asked for, with the trades that the user stream may have missed."""
        self._words.order(order, "query", self._clock.wall_ns())
        known = self._memory.orders.get(order.order_id)
        if known is not None and known.booked < order.filled:
            await self.fetch_trades(order.instrument)

    async def fetch_trades(self, instrument: str) -> None:
        """Tell the newest trades of an instrument."""
        last = self._memory.last_trade_id.get(instrument)
        # From well before the last known one: a trade that was told out of order has a smaller id.
        after = None if last is None else str(max(last - 500, -1))
        try:
            trades = await self._venue.trades_since(instrument, after)
        except Transient as error:
            self._log.warning("trades_not_told", instrument=instrument, reason=str(error))
            return
        now = self._clock.wall_ns()
        for trade in trades:
            self._words.trade(trade, now)

    async def watch(self) -> None:
        """Ask now and then about what should have ended, and about what was given up and may yet show up."""
        while True:
            await self._pause(WATCH_S)
            now = self._clock.monotonic_ns()
            self._absent = {name: at for name, at in self._absent.items() if now - at < _ABSENT_WATCH_NS}
            watched = [self._memory.orders[name] for name in self._absent if name in self._memory.orders]
            watched += [known for known in self._memory.unsettled() if known.standing in ("live", "done")]
            for known in watched:
                result = await self._venue.query(known.intent.instrument, known.order_id)
                if isinstance(result, Answered):
                    await self.tell_with_trades(result.order)
                    self._absent.pop(known.order_id, None)
