"""An order's life under every order of news: nothing is booked twice, lost, or sent into the dark."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
)
from tests.unit.orders.desk import Desk

from edgefleet.messages import Alert, Fill, Message, OrderEvent, OrderState, VenueOrder, VenueTrade
from edgefleet.orders.machine import ALLOWED, TERMINAL
from edgefleet.testing import build
from edgefleet.testing.clock import START_NS

LOT = Decimal("0.001")
OPEN = {
    OrderState.PENDING_NEW,
    OrderState.UNKNOWN,
    OrderState.PENDING_CANCEL,
    OrderState.ACCEPTED,
    OrderState.PARTIALLY_FILLED,
}


class VenueSide:
    """What a venue truly did with one order."""

    def __init__(self, order: OrderEvent) -> None:
        self.order = order
        self.filled = Decimal(0)
        self.ended = ""


class OrderLife(RuleBasedStateMachine):
    """A venue that executes, cancels and expires; news of it that comes late, twice and out of order."""

    news: Bundle[Message] = Bundle("news")

    def __init__(self) -> None:
        super().__init__()
        self.desk = Desk()
        self.venue: dict[str, VenueSide] = {}
        self.trades: dict[str, VenueTrade] = {}
        self.targets = 0
        self.time = START_NS

    @initialize()
    def open_market(self) -> None:
        self.desk.open()

    @rule(lots=st.integers(-5, 5), algorithm=st.sampled_from(["market", "limit", "post_only"]))
    def risk_approves(self, lots: int, algorithm: str) -> None:
        self.targets += 1
        self.desk.feed(
            build.approved(
                target_id=f"t{self.targets}",
                quantity=lots * LOT,
                algorithm=algorithm,
                ts_event=self.time,
                expires_at=self.time + 5_000_000_000,
            )
        )
        self._arrive()

    @rule(state=st.sampled_from(["ACTIVE", "REDUCING", "HALTED"]))
    def operator_says(self, state: str) -> None:
        self.desk.feed(build.trading_state(state))
        self._arrive()

    @rule(ms=st.integers(0, 4_000))
    def time_passes(self, ms: int) -> None:
        self.time += ms * 1_000_000
        self.desk.feed(build.touch(ts_event=self.time))
        self._arrive()

    @rule(target=news, data=st.data())
    def venue_executes(self, data: st.DataObject) -> MultipleResults[Message]:
        open_ = [side for side in self.venue.values() if not side.ended]
        if not open_:
            return multiple()
        side = data.draw(st.sampled_from(open_))
        left = int((side.order.quantity - side.filled) / LOT)
        part = LOT * data.draw(st.integers(1, left))
        side.filled += part
        if side.filled == side.order.quantity:
            side.ended = "FILLED"
        number = str(len(self.trades) + 1)
        trade = build.venue_trade(
            order_id=side.order.order_id, side=side.order.side, quantity=part, trade_id=number, ts_event=self.time
        )
        self.trades[number] = trade
        return multiple(trade, self._word(side, side.ended or "PARTIALLY_FILLED"))

    @rule(target=news, data=st.data(), status=st.sampled_from(["CANCELED", "EXPIRED"]))
    def venue_ends_an_order(self, data: st.DataObject, status: str) -> MultipleResults[Message]:
        open_ = [side for side in self.venue.values() if not side.ended]
        if not open_:
            return multiple()
        side = data.draw(st.sampled_from(open_))
        side.ended = status
        return multiple(self._word(side, status))

    @rule(target=news, data=st.data())
    def venue_acknowledges(self, data: st.DataObject) -> MultipleResults[Message]:
        if not self.venue:
            return multiple()
        side = data.draw(st.sampled_from(list(self.venue.values())))
        return multiple(build.venue_order(**self._order(side), status="NEW", filled=Decimal(0), ts_event=self.time))

    @rule(message=consumes(news))
    def news_arrives(self, message: Message) -> None:
        self.desk.feed(message)
        self._arrive()

    @rule(message=news)
    def news_arrives_and_will_come_again(self, message: Message) -> None:
        self.desk.feed(message)
        self._arrive()

    @rule(data=st.data(), outcome=st.sampled_from(["UNKNOWN", "SENT", "RESOLVED_ABSENT"]))
    def gateway_reports(self, data: st.DataObject, outcome: str) -> None:
        if not self.venue:
            return
        side = data.draw(st.sampled_from(list(self.venue.values())))
        self.desk.feed(build.gateway_outcome(order_id=side.order.order_id, outcome=outcome))
        self._arrive()

    @invariant()
    def fills_are_the_venues_trades_each_at_most_once(self) -> None:
        booked = [fill.trade_id for fill in self.desk.all(Fill)]
        assert len(booked) == len(set(booked))
        assert set(booked) <= set(self.trades)

    @invariant()
    def no_order_is_filled_beyond_its_quantity(self) -> None:
        for event in self.desk.all(OrderEvent):
            assert event.filled <= event.quantity
        assert not [alert for alert in self.desk.all(Alert) if alert.name == "overfill"]

    @invariant()
    def position_is_the_sum_of_the_fills(self) -> None:
        booked = sum((f.quantity if f.side == "buy" else -f.quantity for f in self.desk.all(Fill)), Decimal(0))
        assert self.desk.position == booked

    @invariant()
    def every_transition_is_in_the_table(self) -> None:
        last: dict[str, OrderState] = {}
        for event in self.desk.all(OrderEvent):
            before = last.get(event.order_id)
            assert before is None or event.state in ALLOWED[before]
            last[event.order_id] = event.state

    @invariant()
    def no_order_was_sent_while_another_was_open_or_in_doubt(self) -> None:
        last: dict[str, OrderState] = {}
        for event in self.desk.all(OrderEvent):
            if event.order_id not in last:
                assert not [name for name, state in last.items() if state in OPEN]
            last[event.order_id] = event.state

    def teardown(self) -> None:
        """When all news has come at last, the books are the venue's."""
        for side in self.venue.values():
            side.ended = side.ended or "CANCELED"
            self.desk.feed(self._word(side, side.ended))
        for trade in self.trades.values():
            self.desk.feed(trade)
        booked = {fill.trade_id for fill in self.desk.all(Fill)}
        assert booked == set(self.trades)
        state = self.desk.state
        for name, side in self.venue.items():
            order = state.settled.get(name) or state.orders[name]
            assert order.filled == side.filled
            assert order.state in TERMINAL

    def _arrive(self) -> None:
        """Let the venue have what was sent."""
        for order in self.desk.orders:
            self.venue.setdefault(order.order_id, VenueSide(order))

    def _order(self, side: VenueSide) -> dict[str, object]:
        order = side.order
        return {
            "order_id": order.order_id,
            "side": order.side,
            "kind": order.kind,
            "quantity": order.quantity,
            "price": order.price,
        }

    def _word(self, side: VenueSide, status: str) -> VenueOrder:
        return build.venue_order(**self._order(side), status=status, filled=side.filled, ts_event=self.time)


OrderLife.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestOrderLife = OrderLife.TestCase
