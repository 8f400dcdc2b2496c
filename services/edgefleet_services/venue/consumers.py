"""WebSocket consumers and who gets which frame. Knows queues and stream names, nothing of markets or HTTP.

Where the market is a tape, a consumer that reads slowly holds the market back and loses nothing. Where the market is
live it is cut off instead, as a real venue does.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

Payload = str | bytes  # a text or a binary frame
Send = Callable[[dict[str, Any]], Awaitable[None]]

MARKET_QUEUE = 64  # frames a consumer may be behind a tape before the tape waits
# Frames of a tape that may be on their way to a consumer that says what it has taken: less than half a second of the
# recorded day. Kernel buffers hold thousands, and an order meets the market where the tape is, not where its sender is.
TAPE_WINDOW = 64
LIVE_QUEUE = 20_000  # frames a consumer may be behind a live market before it is cut off


class Consumer:
    """One WebSocket: what it subscribed to and the frames that are on their way to it."""

    def __init__(self, *, combined: bool, tape_lines: bool = False) -> None:
        self.combined = combined
        self.tape_lines = tape_lines
        self.subscriptions: dict[str, None] = {}
        self.sent = 0
        self._given = 0  # frames of the market, ever
        self._taken: int | None = None  # of those, as the consumer says; None: it says nothing
        self._queue: deque[Payload] = deque()
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._closing: tuple[int, str] | None = None
        self.gone = False
        self.cut: Callable[[], None] = lambda: None  # ends the connection without a word

    @property
    def waiting(self) -> int:
        """Return how many frames are queued."""
        return len(self._queue)

    def offer(self, text: Payload) -> None:
        """Queue a frame without waiting; a consumer that is too far behind is cut off."""
        if self.gone or self._closing is not None:
            return
        if len(self._queue) >= LIVE_QUEUE:
            self._queue.clear()
            self.close(1008, "too slow a consumer")
            return
        self._queue.append(text)
        if not self._wake.is_set():
            self._wake.set()

    async def put(self, text: Payload) -> None:
        """Queue a frame, waiting until the consumer has read enough to take it."""
        while not self._has_room() and not self.gone:
            self._room.clear()
            self._wake.set()
            await self._room.wait()
        self._given += 1
        self.offer(text)

    def _has_room(self) -> bool:
        on_the_way = 0 if self._taken is None else self._given - self._taken
        return len(self._queue) < MARKET_QUEUE and on_the_way < TAPE_WINDOW

    def taken(self, count: int) -> None:
        """Note that the consumer has taken `count` frames since it came; from then on no more than a window is sent."""
        self._taken = count
        self._room.set()

    def close(self, code: int, reason: str) -> None:
        """Close the connection once all that is queued has been sent."""
        if self._closing is None:
            self._closing = (code, reason)
        self._wake.set()

    def break_off(self, code: int, reason: str) -> None:
        """End the connection now: what is queued is not sent. 1006 is no code that is ever sent: nothing is said."""
        self._queue.clear()
        self._room.set()
        if code == 1006:
            self.cut()
        else:
            self.close(code, reason)

    def leave(self) -> None:
        """The connection is gone: whoever waits for room waits no longer."""
        self.gone = True
        self._queue.clear()
        self._room.set()
        self._wake.set()

    async def pump(self, send: Send) -> None:
        """Send what is queued, in order, until the connection is closed from either side."""
        queue = self._queue
        while not self.gone:
            if queue:
                text = queue.popleft()
                if len(queue) < MARKET_QUEUE // 2:
                    self._room.set()
                await send({"type": "websocket.send", "text" if isinstance(text, str) else "bytes": text})
                self.sent += 1
            elif self._closing is not None:
                code, reason = self._closing
                await send({"type": "websocket.close", "code": code, "reason": reason})
                return
            else:
                self._wake.clear()
                await self._wake.wait()


class Hub:
    """Which consumers take which stream."""

    def __init__(self) -> None:
        self._by_stream: dict[str, list[Consumer]] = {}
        self._changed = asyncio.Event()
        self.version = 0  # grows with every change of who takes what

    @property
    def streams(self) -> Iterable[str]:
        """Return the streams that somebody takes."""
        return self._by_stream.keys()

    def of(self, stream: str) -> list[Consumer]:
        """Return the consumers of `stream`, in order of subscription."""
        return self._by_stream.get(stream, [])

    def subscribe(self, consumer: Consumer, streams: Iterable[str]) -> None:
        """Add `streams` to what a consumer gets from here on."""
        for stream in streams:
            if stream not in consumer.subscriptions:
                consumer.subscriptions[stream] = None
                # A new list, so that a loop over the old one that is waiting for room is not disturbed.
                self._by_stream[stream] = [*self.of(stream), consumer]
        self.version += 1
        self._changed.set()

    def unsubscribe(self, consumer: Consumer, streams: Iterable[str]) -> None:
        """Take `streams` away from a consumer."""
        for stream in streams:
            if stream in consumer.subscriptions:
                del consumer.subscriptions[stream]
                rest = [other for other in self.of(stream) if other is not consumer]
                if rest:
                    self._by_stream[stream] = rest
                else:
                    del self._by_stream[stream]
        self.version += 1
        self._changed.set()

    def remove(self, consumer: Consumer) -> None:
        """Forget a consumer whose connection is gone."""
        consumer.leave()
        self.unsubscribe(consumer, list(consumer.subscriptions))

    def market_consumers(self) -> list[Consumer]:
        """Return every consumer of at least one market-data stream."""
        found: dict[int, Consumer] = {}
        for stream, consumers in self._by_stream.items():
            if "@" in stream:
                found.update((id(consumer), consumer) for consumer in consumers)
        return list(found.values())

    async def wait_for_market_consumer(self) -> None:
        """Return once somebody takes market data."""
        while not self.market_consumers():
            self._changed.clear()
            await self._changed.wait()
