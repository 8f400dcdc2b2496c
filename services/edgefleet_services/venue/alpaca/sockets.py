"""Alpaca's two streams: market data (`/v2/iex`, `/v2/sip`, `/v2/test`) and the account's updates (`/stream`)."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

import msgspec
from starlette.responses import Response
from starlette.routing import BaseRoute, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from ..sockets import TAPE_HEADER
from .codec import codec_of
from .gate import is_account, sent_keys
from .market import TRADE_UPDATES, AlpacaConsumer, AlpacaMarket

FEEDS = ("iex", "sip", "test")
AUTH_PATIENCE_S = 10.0
# What a subscription may name. Updated bars and statuses are accepted and never come: no print is late here, and no
# trading is halted.
CHANNELS = ("trades", "quotes", "bars", "updatedBars", "dailyBars", "statuses", "lulds")
WITH_TRADES = ("corrections", "cancelErrors")


class DataCommand(msgspec.Struct):
    """What a client of the market data stream may send."""

    action: str = ""
    method: str = ""  # TAKEN, of a consumer that lets a tape wait for it
    params: list[str] = []
    key: str = ""
    secret: str = ""
    trades: list[str] = []
    quotes: list[str] = []
    bars: list[str] = []
    updatedBars: list[str] = []
    dailyBars: list[str] = []
    statuses: list[str] = []
    lulds: list[str] = []


class AccountData(msgspec.Struct):
    """The `data` of what a client of the account's stream sends."""

    key_id: str = ""
    secret_key: str = ""
    streams: list[str] = []


class AccountCommand(msgspec.Struct):
    """What a client of the account's stream may send."""

    action: str
    data: AccountData = msgspec.field(default_factory=AccountData)
    key: str = ""
    secret: str = ""


class Session(Protocol):
    """What one client has said so far, and what it is answered."""

    authenticated: bool

    def answer(self, frame: str | bytes) -> None:
        """Take a frame of the client's."""
        ...

    def too_late(self) -> None:
        """Let go of a client that did not say who it is."""
        ...


class SocketApi:
    """Handlers of the WebSocket endpoints over one market."""

    def __init__(self, market: AlpacaMarket, key: str, secret: str, *, patience_s: float = AUTH_PATIENCE_S) -> None:
        self.market = market
        self._keys = (key, secret)
        self._patience_s = patience_s

    def routes(self) -> list[BaseRoute]:
        """Return the routes of the WebSocket side."""
        data = [WebSocketRoute(f"/v2/{feed}", self.data) for feed in FEEDS]
        return [*data, WebSocketRoute("/stream", self.account)]

    async def data(self, socket: WebSocket) -> None:
        """Serve market data to one client."""
        if await self._refused(socket):
            return
        asks_for_time = socket.headers.get(TAPE_HEADER) == "1"
        consumer = AlpacaConsumer(codec_of(socket), (lambda: self.market.broker.now_ns) if asks_for_time else None)
        session = DataSession(self.market, consumer, self._keys)
        await socket.accept()
        consumer.tell([{"T": "success", "msg": "connected"}])
        if any(sent_keys(socket.headers)):
            session.authenticate(*sent_keys(socket.headers))
        await self._serve(socket, consumer, session)

    async def account(self, socket: WebSocket) -> None:
        """Serve the account's updates to one client."""
        if await self._refused(socket):
            return
        consumer = AlpacaConsumer(codec_of(socket))
        await socket.accept()
        await self._serve(socket, consumer, AccountSession(self.market, consumer, self._keys))

    async def _refused(self, socket: WebSocket) -> bool:
        """Return whether a fault let this handshake fail."""
        if not self.market.faults.take_handshake():
            return False
        await socket.send_denial_response(Response("simulated outage", 503))
        return True

    async def _serve(self, socket: WebSocket, consumer: AlpacaConsumer, session: Session) -> None:
        reader = asyncio.create_task(_read(socket, consumer, session, self._patience_s))
        try:
            await consumer.pump(socket.send)
        except WebSocketDisconnect:
            pass  # the peer left while a frame was on its way: the same as leaving before it
        finally:
            self.market.hub.remove(consumer)
            reader.cancel()
            (ended,) = await asyncio.gather(reader, return_exceptions=True)
            if isinstance(ended, Exception):  # a reader that broke, not one that was cancelled
                raise ended


async def _read(socket: WebSocket, consumer: AlpacaConsumer, session: Session, patience_s: float) -> None:
    """Answer what a client sends until it leaves; one that does not say who it is must go."""
    here = True
    try:
        async with asyncio.timeout(patience_s):
            while here and not session.authenticated:
                here = await _next(socket, session)
    except TimeoutError:
        session.too_late()
        return
    try:
        while here:
            here = await _next(socket, session)
    finally:
        consumer.leave()


async def _next(socket: WebSocket, session: Session) -> bool:
    """Answer the next frame; return whether there was one."""
    event = await socket.receive()
    if event["type"] == "websocket.disconnect":
        return False
    text = event.get("text")
    session.answer(text if text is not None else event.get("bytes") or b"")
    return True


class DataSession:
    """One client of the market data stream."""

    def __init__(self, market: AlpacaMarket, consumer: AlpacaConsumer, keys: tuple[str, str]) -> None:
        self._market = market
        self._consumer = consumer
        self._keys = keys
        self.authenticated = False

    def authenticate(self, key: str | None, secret: str | None) -> None:
        """Answer a client that says who it is."""
        if self.authenticated:
            self._refuse(403, "already authenticated")
        elif is_account(key, secret, self._keys):
            self.authenticated = True
            self._consumer.tell([{"T": "success", "msg": "authenticated"}])
        else:
            self._refuse(402, "auth failed")

    def answer(self, frame: str | bytes) -> None:
        try:
            command: DataCommand = self._consumer.codec.decode(frame, DataCommand)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            self._refuse(400, "invalid syntax")
            return
        if command.method == "TAKEN" and self._consumer.tape_lines and command.params:
            self._consumer.taken(int(command.params[0]))
        elif command.action == "auth":
            self.authenticate(command.key, command.secret)
        elif not self.authenticated:
            self._refuse(401, "not authenticated")
        elif command.action in ("subscribe", "unsubscribe"):
            self._subscribe(command)
        else:
            self._refuse(400, "invalid syntax")

    def too_late(self) -> None:
        self._refuse(404, "auth timeout")
        self._consumer.close(1008, "auth timeout")

    def _subscribe(self, command: DataCommand) -> None:
        streams = [f"{channel}@{symbol}" for channel in CHANNELS for symbol in getattr(command, channel)]
        hub = self._market.hub
        if command.action == "subscribe":
            hub.subscribe(self._consumer, streams)
        else:
            hub.unsubscribe(self._consumer, streams)
        self._consumer.tell([{"T": "subscription"} | self._subscribed()])
        if self._market.progress.finished and self._consumer.subscriptions:
            self._consumer.close(1000, "tape ended")

    def _subscribed(self) -> dict[str, list[str]]:
        """Return all that the client takes now."""
        taken: dict[str, list[str]] = {channel: [] for channel in CHANNELS}
        for stream in self._consumer.subscriptions:
            channel, _, symbol = stream.partition("@")
            taken[channel].append(symbol)
        return taken | dict.fromkeys(WITH_TRADES, taken["trades"])

    def _refuse(self, code: int, message: str) -> None:
        self._consumer.tell([{"T": "error", "code": code, "msg": message}])


class AccountSession:
    """One client of the stream of the account's updates. Its frames are binary in either encoding."""

    def __init__(self, market: AlpacaMarket, consumer: AlpacaConsumer, keys: tuple[str, str]) -> None:
        self._market = market
        self._consumer = consumer
        self._keys = keys
        self.authenticated = False

    def answer(self, frame: str | bytes) -> None:
        try:
            command: AccountCommand = self._consumer.codec.decode(frame, AccountCommand)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            self._tell("error", error="invalid syntax")
            return
        if command.action in ("authenticate", "auth"):
            self._authenticate(command)
        elif command.action == "listen" and self.authenticated:
            self._listen(command.data.streams)
        else:
            self._tell("authorization", status="unauthorized", action=command.action)

    def too_late(self) -> None:
        self._consumer.close(1008, "auth timeout")

    def _authenticate(self, command: AccountCommand) -> None:
        key, secret = command.data.key_id or command.key, command.data.secret_key or command.secret
        if is_account(key, secret, self._keys):
            self.authenticated = True
        status = "authorized" if self.authenticated else "unauthorized"
        self._tell("authorization", status=status, action=command.action)

    def _listen(self, streams: list[str]) -> None:
        """Take the streams named as all that are wanted from here on."""
        known = [stream for stream in streams if stream == TRADE_UPDATES]
        self._market.hub.unsubscribe(self._consumer, list(self._consumer.subscriptions))
        self._market.hub.subscribe(self._consumer, known)
        self._tell("listening", streams=known)

    def _tell(self, stream: str, **data: Any) -> None:
        self._consumer.tell({"stream": stream, "data": data}, binary=True)
