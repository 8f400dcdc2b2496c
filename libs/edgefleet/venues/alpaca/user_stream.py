"""Alpaca's stream of trade updates: what happens to the account, as it happens. Reconnects, and says when it did."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final, Protocol

import msgspec
import websockets
from websockets.asyncio.client import ClientConnection, connect

from edgefleet.clock import Clock
from edgefleet.errors import Misuse, Poison
from edgefleet.venues.alpaca import reports
from edgefleet.venues.interface import Connected, Disconnected, UserEvent

PING_EVERY_S: Final = 5.0
ANSWER_S: Final = 10.0  # within which the venue says that it knows us, and that it will tell
_BACK_OFF_S: Final = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


class Account(Protocol):
    """What of an account its stream needs."""

    @property
    def name(self) -> str: ...
    @property
    def names(self) -> reports.Names: ...
    @property
    def stream_url(self) -> str: ...
    @property
    def keys(self) -> tuple[str, str]: ...
    @property
    def clock(self) -> Clock: ...


async def user_events(account: Account) -> AsyncIterator[UserEvent]:
    """Yield the account's events; after each break `Disconnected`, and `Connected` once they flow again.

    Raises
    ------
    Misuse
        If the venue refuses our keys.
    """
    failures = 0
    while True:
        try:
            async with connect(
                f"{account.stream_url.rstrip('/')}/stream",
                ping_interval=PING_EVERY_S,
                ping_timeout=PING_EVERY_S,
                compression=None,
                max_size=2**22,
            ) as socket:
                early = await _listen(socket, account)
                failures = 0
                yield Connected()
                for event in early:
                    yield event
                async for frame in socket:
                    told = reports.stream_frame(_bytes(frame), account.names)
                    if told is not None and not isinstance(told, str):
                        yield told
            reason = "closed by the venue"
        except (OSError, TimeoutError, Poison, websockets.WebSocketException) as error:
            reason = str(error) or type(error).__name__
        yield Disconnected(reason=reason)
        pause = _BACK_OFF_S[min(failures, len(_BACK_OFF_S) - 1)]
        failures += 1
        # Many clients that lost the same venue must not come back in step: no two clocks stand at the same microsecond.
        await asyncio.sleep(pause * (0.75 + account.clock.monotonic_ns() // 1_000 % 1_000 / 2_000))


async def _listen(socket: ClientConnection, account: Account) -> list[UserEvent]:
    """Say who we are and what we want to hear; return what was told before the venue said that it would."""
    key, secret = account.keys
    early: list[UserEvent] = []
    async with asyncio.timeout(ANSWER_S):
        await _send(socket, "authenticate", key_id=key, secret_key=secret)
        while (told := reports.stream_frame(_bytes(await socket.recv()), account.names)) != "authorized":
            if told == "unauthorized":
                raise Misuse(
                    f"venue {account.name} refuses our key on its stream; "
                    "check EDGEFLEET_VENUE_KEY and EDGEFLEET_VENUE_SECRET"
                )
        await _send(socket, "listen", streams=["trade_updates"])
        while (told := reports.stream_frame(_bytes(await socket.recv()), account.names)) != "listening":
            if told is not None and not isinstance(told, str):
                early.append(told)
    return early


async def _send(socket: ClientConnection, action: str, **data: object) -> None:
    await socket.send(msgspec.json.encode({"action": action, "data": data}).decode())


def _bytes(frame: str | bytes) -> bytes:
    return frame if isinstance(frame, bytes) else frame.encode()
