"""Binance Spot's user data stream: what happens to the account, as it happens. Reconnects, and says when it did."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from functools import partial
from typing import Final, Protocol

import websockets
from websockets.asyncio.client import ClientConnection, connect

from edgefleet.errors import Poison, Transient
from edgefleet.venues.binance import reports
from edgefleet.venues.interface import Connected, Disconnected, UserEvent
from edgefleet.venues.websocket import MessageSocket

KEEP_EVERY_S: Final = 1_800.0  # a listen key lives an hour
PING_EVERY_S: Final = 5.0
_BACK_OFF_S: Final = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


class Account(Protocol):
    """What of an account's private REST side its stream needs."""

    @property
    def names(self) -> reports.Names: ...
    @property
    def stream_url(self) -> str: ...

    async def listen_key(self) -> str:
        """Return a new listen key."""
        ...

    async def keep_listen_key(self, key: str) -> None:
        """Keep a listen key for another hour."""
        ...


async def user_events(venue: Account) -> AsyncIterator[UserEvent]:
    """Yield the account's events; after each break `Disconnected`, and `Connected` once they flow again."""
    failures = 0
    while True:
        frames: asyncio.Queue[bytes | str] = asyncio.Queue()
        try:
            key = await venue.listen_key()
            url = f"{venue.stream_url.rstrip('/')}/ws/{key}"
            async with connect(
                url,
                ping_interval=PING_EVERY_S,
                ping_timeout=PING_EVERY_S,
                compression=None,
                max_size=2**22,
                create_connection=partial(MessageSocket, frames.put_nowait),  # type: ignore[arg-type]  # any callable
            ) as socket:
                failures = 0
                beside = (asyncio.create_task(_keep(venue, key)), asyncio.create_task(_tell_end(socket, frames)))
                try:
                    yield Connected()
                    while isinstance(frame := await frames.get(), bytes):
                        event = reports.user_event(frame, venue.names)
                        if event == "expired":
                            frame = "the listen key expired"
                            break
                        if event is not None:
                            yield event
                    reason = frame
                finally:
                    for task in beside:
                        task.cancel()
        except (OSError, TimeoutError, Transient, Poison, websockets.WebSocketException) as error:
            reason = str(error) or type(error).__name__
        yield Disconnected(reason=reason)
        pause = _BACK_OFF_S[min(failures, len(_BACK_OFF_S) - 1)]
        failures += 1
        # Many clients that lost the same venue must not come back in step.
        await asyncio.sleep(pause * (0.75 + random.random() / 2))


async def _tell_end(socket: ClientConnection, frames: asyncio.Queue[bytes | str]) -> None:
    """Put the reason why the connection ended behind its frames."""
    try:
        await socket.recv()  # returns nothing: frames go to the queue
    except websockets.ConnectionClosedOK:
        frames.put_nowait("closed by the venue")
    except websockets.ConnectionClosed as error:
        frames.put_nowait(str(error))


async def _keep(venue: Account, key: str) -> None:
    while True:
        await asyncio.sleep(KEEP_EVERY_S)
        try:
            await venue.keep_listen_key(key)
        except Transient:
            continue  # the key lives for as long again; the next turn asks anew
