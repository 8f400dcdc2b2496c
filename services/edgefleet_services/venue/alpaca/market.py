"""The stock venue as its handlers see it: account, history, listeners. Knows no HTTP and no source of events."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from edgefleet.clock import NS_PER_MS
from edgefleet.errors import Broken
from edgefleet.matching.broker_orders import TradeUpdate
from edgefleet.matching.brokerage import Brokerage
from edgefleet.matching.stock_history import DAY, KEPT, Bar, StockHistory
from edgefleet.matching.stocks import StockEvent
from edgefleet.telemetry.metrics import Metrics

from ..consumers import Consumer, Hub, Payload
from ..market import Progress
from . import views
from .codec import Codec
from .faults import Message, StockFaultPlan, Strikes

TRADE_UPDATES = "trade_updates"
EVERYTHING = "*"


class AlpacaConsumer(Consumer):
    """One WebSocket and the encoding it asked for."""

    def __init__(self, codec: Codec, now_ns: Callable[[], int] | None = None) -> None:
        super().__init__(combined=False, tape_lines=now_ns is not None)
        self.codec = codec
        self._now_ns = now_ns  # of who asks for the market's time before each text frame

    def tell(self, message: object, *, binary: bool = False) -> None:
        """Queue a message of the venue's own, without waiting."""
        self.offer(self.stamped(self.codec.encode(message, binary=binary)))

    def stamped(self, frame: Payload) -> Payload:
        """Return a frame as this consumer wants it: behind the market's time, or as it is."""
        return f"{self._now_ns()} {frame}" if self._now_ns is not None and isinstance(frame, str) else frame


class AlpacaMarket:
    """One account, its market's history (the last `keep` prints and quotes of each stock), and who listens to both."""

    def __init__(self, broker: Brokerage, progress: Progress, created_ns: int, *, keep: int = KEPT) -> None:
        self.broker = broker
        self.progress = progress
        self.created_ns = created_ns
        self.hub = Hub()
        self.history = {symbol: StockHistory(keep=keep) for symbol in broker.account.exchange.rules}
        self.faults = StockFaultPlan()
        self._strikes = Strikes()
        self.changed = False  # since the account was last saved
        self.metrics = Metrics()
        self._counted = {
            kind: self.metrics.messages.labels(service="venue", type=kind) for kind in ("trade", "quote", "depth")
        }
        self._break = asyncio.Event()
        self._broken: Broken | None = None

    async def serve(self, event: StockEvent, *, live: bool) -> None:
        """Let one event happen: to the account first, then to whoever listens, so none knows more than the account."""
        self.progress.lines_served += 1
        await self.pass_time(event.ts_ns, live=live)
        self.tell_account(self.broker.on_event(event))
        history = self.history.get(event.symbol)
        if event.trade is not None:
            self._counted["trade"].inc()
            if history is not None:
                history.add(event.trade)
            trade = event.trade
            await self._publish("trades", "t", event.symbol, lambda codec: views.trade(trade, codec.stamp), live=live)
        elif event.quote is not None:
            self._counted["quote"].inc()
            quote = event.quote
            if history is not None:
                history.quotes.append(quote)
            await self._publish("quotes", "q", event.symbol, lambda codec: views.quote(quote, codec.stamp), live=live)
        else:
            self._counted["depth"].inc()

    async def pass_time(self, ts_ns: int, *, live: bool) -> None:
        """Let time come to `ts_ns`: orders that end, bars that close."""
        self.tell_account(self.broker.on_time(ts_ns))
        for symbol, history in self.history.items():
            minute = history.closed(ts_ns)
            if minute is None:
                continue
            await self._publish_bar("bars", "b", symbol, minute, live=live)
            if self.listeners("dailyBars", symbol):
                await self._publish_bar("dailyBars", "d", symbol, history.bars(DAY)[-1], live=live)

    def listeners(self, channel: str, symbol: str) -> list[AlpacaConsumer]:
        """Return who takes a channel of `symbol`, by its name or by taking everything."""
        named = self.hub.of(f"{channel}@{symbol}")
        every = [other for other in self.hub.of(f"{channel}@{EVERYTHING}") if other not in named]
        return [consumer for consumer in (*named, *every) if isinstance(consumer, AlpacaConsumer)]

    async def _publish_bar(self, channel: str, kind: str, symbol: str, bar: Bar, *, live: bool) -> None:
        await self._publish(channel, kind, symbol, lambda codec: views.bar(bar, codec.stamp), live=live)

    async def _publish(
        self, channel: str, kind: str, symbol: str, view: Callable[[Codec], views.Json], *, live: bool
    ) -> None:
        listeners = self.listeners(channel, symbol)
        if not listeners:
            return
        now_ms = self.broker.now_ns // NS_PER_MS
        for message in self._strikes.strike(f"{channel}@{symbol}", Message(kind, symbol, view), now_ms):
            await _send(message, listeners, live=live)

    def tell_account(self, updates: list[TradeUpdate]) -> None:
        """Send what happened to the account's orders to who listens to it."""
        if not updates:
            return
        self.changed = True
        for consumer in self.hub.of(TRADE_UPDATES):
            if isinstance(consumer, AlpacaConsumer):
                for update in updates:
                    consumer.tell({"stream": TRADE_UPDATES, "data": views.trade_update(update)}, binary=True)

    def faults_left(self) -> StockFaultPlan:
        """Return what is left of the faults that are switched on."""
        silence = self._strikes.silence_left(self.broker.now_ns // NS_PER_MS)
        return msgspec.structs.replace(self.faults, silence=silence)

    def set_faults(self, plan: StockFaultPlan) -> None:
        """Switch faults on or off; who is to be cut off is cut off now."""
        self.faults = plan
        self._strikes.set(plan, self.broker.now_ns // NS_PER_MS)
        market, users = self.hub.market_consumers(), self.hub.of(TRADE_UPDATES)
        for consumer in {"": [], "one": market[:1], "market": market, "user": users}.get(
            plan.disconnect, [*market, *users]
        ):
            consumer.close(plan.disconnect_code, "a fault of the simulated venue")
        plan.disconnect = ""

    def break_down(self, error: Broken) -> None:
        """Stop the venue: an account whose arithmetic is false is served to nobody."""
        self._broken = error
        self._break.set()

    async def until_broken(self) -> None:
        """Raise the `Broken` that `break_down` is given; return never."""
        await self._break.wait()
        if self._broken is not None:
            raise self._broken

    def fail(self, reason: str) -> None:
        """Tell that the market broke off, in the status and to every market-data consumer."""
        self.progress.failure = reason
        for consumer in self.hub.market_consumers():
            consumer.close(1011, reason[:120])

    def end(self) -> None:
        """Close every market-data consumer once it has had all there was."""
        self.progress.finished = True
        for consumer in self.hub.market_consumers():
            consumer.close(1000, "tape ended")


async def _send(message: Message, listeners: list[AlpacaConsumer], *, live: bool) -> None:
    frames: dict[Codec, Payload] = {}
    for consumer in listeners:
        codec = consumer.codec
        if codec not in frames:
            frames[codec] = message.frame(codec)
        if live:
            consumer.offer(consumer.stamped(frames[codec]))
        else:
            await consumer.put(consumer.stamped(frames[codec]))
