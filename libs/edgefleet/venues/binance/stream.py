"""One combined WebSocket connection to a Binance-dialect venue, and the REST answers a feed needs. No sequence rules.

Frames wait in a queue that the reader fills and the caller empties, so that a slow commit makes the next batch larger
and nothing waits for a batch to fill.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI

from edgefleet.clock import NS_PER_S, Clock
from edgefleet.errors import OutOfReach, Transient

TAPE_HEADER = "X-Edgefleet-Tape"
TAPE_ENDED = "tape ended"
QUEUE_FRAMES = 4_096  # a reader that is this far ahead of the caller waits (tape) or has lost the race (live)
ACK_EVERY_FRAMES = 16  # a simulated venue lets a tape run only so far ahead of what it was told is taken
_BURST = 256
_PING_S = 20.0
_MAX_FRAME_BYTES = 4 * 1024 * 1024


class Frame(NamedTuple):
    """One frame and when it was received."""

    stamp_ns: int  # ingestion's clock: the line's own stamp where it has one, else the wall clock
    body: bytes
    ts_init: int  # wall clock


class Frames:
    """The frames of one connection that were not taken yet, in order."""

    def __init__(self, socket: ClientConnection, clock: Clock, *, waits: bool) -> None:
        self._socket = socket
        self._clock = clock
        self._waits = waits
        self._taken = 0
        self._told = 0
        self._queue: deque[Frame] = deque()
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self.closed: str | None = None  # why the connection ended
        self.heard_ns = clock.monotonic_ns()

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def ended(self) -> bool:
        """Whether the venue said that its tape is over."""
        return self.closed == TAPE_ENDED

    def take(self) -> Frame | None:
        """Return the oldest frame, None where none is waiting."""
        if not self._queue:
            return None
        if len(self._queue) <= QUEUE_FRAMES // 2:
            self._room.set()
        self._taken += 1
        return self._queue.popleft()

    async def acknowledge(self) -> None:
        """Tell a venue that waits for us how many frames were taken: what is on its way makes our orders late."""
        if not self._waits or self._taken - self._told < ACK_EVERY_FRAMES:
            return
        self._told = self._taken
        with suppress(ConnectionClosed):
            await self._socket.send(f'{{"method":"TAKEN","params":["{self._taken}"]}}')

    def wake(self) -> None:
        """Let `wait` return although no frame came."""
        self._wake.set()

    async def wait(self, timeout_s: float) -> None:
        """Return when a frame is waiting, the connection has ended, `wake` was called, or the time is over."""
        if self._queue or self.closed is not None:
            return
        self._wake.clear()
        handle = asyncio.get_running_loop().call_later(timeout_s, self._wake.set)
        try:
            await self._wake.wait()
        finally:
            handle.cancel()

    async def fill(self) -> None:
        """Read until the connection ends; `closed` then tells why."""
        receive, queue, clock = self._socket.recv, self._queue, self._clock
        try:
            while True:
                raw = await receive(decode=False)
                now = clock.wall_ns()
                self.heard_ns = clock.monotonic_ns()
                queue.append(_frame(raw, now))
                if not self._wake.is_set():
                    self._wake.set()
                if len(queue) % _BURST == 0:  # frames that are buffered are received without a turn for anybody else
                    await asyncio.sleep(0)
                if len(queue) >= QUEUE_FRAMES:
                    if not self._waits:
                        self.closed = f"{len(queue)} frames behind a live market"
                        return
                    self._room.clear()
                    await self._room.wait()
        except ConnectionClosed as error:
            close = error.rcvd
            if close is not None and close.code == 1000 and close.reason == TAPE_ENDED:
                self.closed = TAPE_ENDED
            else:
                self.closed = str(error)
        finally:
            if self.closed is None:
                self.closed = "reading was stopped"
            self._wake.set()

    def silent_for_s(self) -> float:
        """Return the seconds since the last frame."""
        return (self._clock.monotonic_ns() - self.heard_ns) / NS_PER_S


@asynccontextmanager
async def open_frames(
    base_url: str, streams: Sequence[str], clock: Clock, *, stamped: bool, waits: bool
) -> AsyncIterator[Frames]:
    """Give the frames of one combined connection; it is closed at the end of the block.

    `stamped` asks a simulated venue for its receive stamps. `waits` lets the venue wait for us (a tape).

    Raises
    ------
    Transient
        If the connection cannot be made.
    """
    url = f"{base_url.rstrip('/')}/stream?streams={'/'.join(streams)}"
    # A paused reader does not see the pong behind the frames it has not read, so where the venue waits for us no
    # keep-alive is asked for: it would end a connection that is only slow.
    ping = None if waits else _PING_S
    headers = {TAPE_HEADER: "1"} if stamped else {}
    try:
        socket = await connect(
            url,
            additional_headers=headers,
            compression=None,
            max_size=_MAX_FRAME_BYTES,
            max_queue=1_024,
            ping_interval=ping,
            ping_timeout=ping,
            open_timeout=10,
            close_timeout=2,
        )
    except (OSError, InvalidHandshake, InvalidURI, TimeoutError, ConnectionClosed) as error:
        raise Transient(f"stream {base_url} does not answer: {error}") from error
    frames = Frames(socket, clock, waits=waits)
    reader = asyncio.create_task(frames.fill())
    try:
        yield frames
    finally:
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)
        await socket.close()


class MarketRest:
    """The public REST answers that a feed needs, as the venue wrote them."""

    def __init__(self, base_url: str) -> None:
        base = base_url.rstrip("/")
        self._root = base.removesuffix("/api/v3")
        self._client = httpx.AsyncClient(base_url=f"{self._root}/api/v3", timeout=10.0)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def depth(self, symbol: str) -> bytes:
        """Return the whole book: 1,000 levels a side."""
        return await self._get("/depth", symbol=symbol, limit="1000")

    async def exchange_info(self) -> bytes:
        """Return what the venue lists."""
        return await self._get("/exchangeInfo")

    async def klines(self, symbol: str, interval: str, *, count: int) -> bytes:
        """Return the newest `count` candles."""
        return await self._get("/klines", symbol=symbol, interval=interval, limit=str(count))

    async def sim_status(self) -> bytes:
        """Return what a simulated venue says of its market."""
        return await self._get(f"{self._root}/sim/status")

    async def _get(self, path: str, **params: str) -> bytes:
        try:
            answer = await self._client.get(path, params=params)
        except httpx.HTTPError as error:
            raise Transient(f"venue {self._root}: GET {path}: {type(error).__name__} {error}".rstrip()) from error
        if answer.status_code == 200:
            return answer.content
        if answer.status_code in (418, 429) or answer.status_code >= 500:
            raise Transient(f"venue {self._root}: GET {path} answered {answer.status_code}")
        raise OutOfReach(f"venue {self._root}: GET {path} answered {answer.status_code}: {answer.text[:200]}")


def stream_base(url: str) -> str:
    """Return the WebSocket address beside an HTTP one: ``http://host:9180`` is ``ws://host:9180``."""
    for http, ws in (("https://", "wss://"), ("http://", "ws://")):
        if url.startswith(http):
            return ws + url.removeprefix(http)
    return url


def _frame(raw: bytes, now: int) -> Frame:
    """Return the frame in `raw`, which a simulated venue precedes with its stamp."""
    if raw[:1].isdigit():
        stamp, _, body = raw.partition(b" ")
        if stamp.isdigit():
            return Frame(int(stamp), body, now)
    return Frame(now, raw, now)
