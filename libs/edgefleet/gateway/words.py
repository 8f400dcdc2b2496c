"""What a venue said and what became of our commands, as messages, each told once. Asks nobody and decides nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from edgefleet.clock import Clock
from edgefleet.gateway.memory import Known, OrderMemory
from edgefleet.gateway.reconcile import Classes
from edgefleet.messages import (
    Account,
    Alert,
    GatewayOutcome,
    Message,
    OrderEvent,
    Reconciled,
    VenueOrder,
    VenueTrade,
)
from edgefleet.venues.interface import AccountReport, Answered, OrderReport, TradeReport

Source = Literal["stream", "answer", "query"]
Occasion = Literal["start", "reconnect", "periodic", "stop"]


class Words:
    """The gateway's voice: what is news to the memory goes to `tell`."""

    def __init__(
        self, account: str, venue: str, memory: OrderMemory, clock: Clock, tell: Callable[[Message], None]
    ) -> None:
        self.market_ns = 0  # the largest stamp the venue has told
        self._account = account
        self._venue = venue
        self._memory = memory
        self._clock = clock
        self._tell = tell

    def heard(self, ts: int) -> None:
        """Note a stamp of the venue's."""
        self.market_ns = max(self.market_ns, ts)

    def outcome(
        self,
        event: OrderEvent,
        command: Literal["new", "cancel"],
        outcome: Literal["SENT", "REJECTED", "DENIED", "UNKNOWN", "NOT_FOUND", "RESOLVED_ABSENT"],
        *,
        code: str = "",
        reason: str = "",
        sent_at: int | None = None,
    ) -> None:
        """Tell what became of a command."""
        told = GatewayOutcome(
            account=event.account,
            instrument=event.instrument,
            order_id=event.order_id,
            command=command,
            outcome=outcome,
            code=code,
            reason=reason,
            sent_at=sent_at,
            ts_event=event.ts_event,
            ts_init=self._clock.wall_ns(),
            trace_id=event.trace_id,
        )
        self._memory.take(told)
        self._tell(told)

    def answer(self, answer: Answered, source: Source) -> None:
        """Tell an order and the trades that came with it."""
        now = self._clock.wall_ns()
        for trade in answer.trades:
            self.trade(trade, now)
        self.order(answer.order, source, now)

    def order(self, order: OrderReport, source: Source, now: int) -> None:
        """Tell the venue's word of one of our orders, if it is news."""
        self.heard(order.ts_event)
        told = VenueOrder(
            account=self._account,
            instrument=order.instrument,
            order_id=order.order_id,
            venue_order_id=order.venue_order_id,
            status=order.status,
            side=order.side,
            kind=order.kind,
            quantity=order.quantity,
            price=order.price,
            filled=order.filled,
            source=source,
            ts_event=order.ts_event,
            ts_init=now,
            trace_id=f"{self._venue}:order:{order.venue_order_id}",
        )
        if self._memory.take(told):
            self._tell(told)

    def trade(self, trade: TradeReport, now: int) -> None:
        """Tell a trade of one of our orders, if it is news."""
        order_id = trade.order_id or self._memory.name_of(trade.instrument, trade.venue_order_id)
        if order_id is None:
            return
        self.heard(trade.ts_event)
        trace_id = f"{self._venue}:trade:{trade.trade_id}"
        told = venue_trade(trade, account=self._account, order_id=order_id, ts_init=now, trace_id=trace_id)
        if self._memory.take(told):
            self._tell(told)

    def account(self, account: AccountReport, occasion: Occasion, now: int) -> None:
        """Tell balances as they stand after everything told before."""
        self.heard(account.ts_event)
        told = Account(
            account=self._account,
            venue=self._venue,
            balances=account.balances,
            reason=occasion,
            ts_event=self.market_ns,
            ts_init=now,
            trace_id=f"{self._venue}:account:{account.ts_event}",
        )
        self._tell(told)

    def reconciled(self, classes: Classes, pending: Sequence[Known], shut: str) -> None:
        """Tell how the start gate stands; `shut` is why it is shut, empty where it is open."""
        self._tell(
            Reconciled(
                account=self._account,
                venue=self._venue,
                ready=not shut,
                ours=classes.ours,
                external=classes.external,
                orphans=classes.orphans,
                unresolved=tuple(known.order_id for known in pending),
                reason=shut,
                ts_event=self.market_ns,
                ts_init=self._clock.wall_ns(),
                trace_id=f"{self._venue}:reconciled",
            )
        )

    def again(self) -> None:
        """Tell once more the facts of every order that is not settled."""
        for known in self._memory.unsettled():
            if known.last_word is not None:
                self._tell(known.last_word)
                for trade in known.trades.values():
                    self._tell(trade)

    def alert(self, name: str, text: str) -> None:
        """Tell people."""
        now = self._clock.wall_ns()
        self._tell(
            Alert(name=name, severity="critical", service="executor", text=text, ts_event=self.market_ns, ts_init=now)
        )


def venue_trade(trade: TradeReport, *, account: str, order_id: str, ts_init: int, trace_id: str = "") -> VenueTrade:
    """Return a trade as a venue reported it as the message that tells it; `order_id` is ours, where it is known."""
    return VenueTrade(
        account=account,
        instrument=trade.instrument,
        order_id=order_id,
        venue_order_id=trade.venue_order_id,
        trade_id=trade.trade_id,
        side=trade.side,
        quantity=trade.quantity,
        price=trade.price,
        fee=trade.fee,
        fee_asset=trade.fee_asset,
        liquidity=trade.liquidity,
        ts_event=trade.ts_event,
        ts_init=ts_init,
        trace_id=trace_id,
    )
