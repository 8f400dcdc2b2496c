"""The WebSocket side of the simulated venue: combined and raw streams, SUBSCRIBE, user streams, the WebSocket API."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
from starlette.responses import Response
from starlette.routing import BaseRoute, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from .consumers import Consumer
from .market import VenueMarket, encode
from .wsapi import WebSocketApi

TAPE_HEADER = "x-edgefleet-tape"


class _Command(msgspec.Struct):
    method: str
    id: int | str | None = None
    params: list[str | bool] = []

    @property
    def streams(self) -> list[str]:
        """Return the parameters as names of streams."""
        return [param for param in self.params if isinstance(param, str)]


class SocketApi:
    """Handlers of the WebSocket endpoints over one market."""

    def __init__(self, market: VenueMarket, api: WebSocketApi) -> None:
        self.market = market
        self._api = api

    def routes(self) -> list[BaseRoute]:
        """Return the routes of the WebSocket side."""
        return [
            WebSocketRoute("/stream", self.combined),
            WebSocketRoute("/ws", self.raw),
            WebSocketRoute("/ws/{path:path}", self.raw),
            WebSocketRoute("/ws-api/v3", self.api),
        ]

    async def combined(self, socket: WebSocket) -> None:
        """Serve `/stream?streams=a/b`: every frame in an envelope that names its stream."""
        streams = [name for name in socket.query_params.get("streams", "").split("/") if name]
        await self._serve(socket, Consumer(combined=True, tape_lines=_wants_tape(socket)), streams)

    async def raw(self, socket: WebSocket) -> None:
        """Serve `/ws/<stream>`, `/ws/<listenKey>`, and `/ws` or `/ws/<number>` for those who will SUBSCRIBE."""
        path = str(socket.path_params.get("path", ""))
        streams = [name for name in path.split("/") if name and not name.isdigit()]
        await self._serve(socket, Consumer(combined=False, tape_lines=_wants_tape(socket)), streams)

    async def api(self, socket: WebSocket) -> None:
        """Serve the WebSocket API: requests with an id, their answers, and the account's events once asked for."""
        await self._serve(socket, Consumer(combined=False), [], self._api.answer)

    async def _serve(
        self,
        socket: WebSocket,
        consumer: Consumer,
        streams: list[str],
        answer: Callable[[Consumer, str], dict[str, Any] | None] | None = None,
    ) -> None:
        if self.market.faults.take_handshake():
            await socket.send_denial_response(Response("simulated outage", 503))
            return
        await socket.accept()
        consumer.cut = socket.scope["edgefleet.transport"].abort
        strange = [stream for stream in streams if not self.market.known_stream(stream)]
        if strange:
            await socket.close(1008, f"unknown stream {strange[0]}"[:120])
            return
        self._subscribe(consumer, streams)
        self._end_if_over(consumer)
        reader = asyncio.create_task(self._read(socket, consumer, answer or self._answer))
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

    def _subscribe(self, consumer: Consumer, streams: list[str]) -> None:
        new = [stream for stream in streams if stream not in consumer.subscriptions]
        self.market.joined(new)
        self.market.hub.subscribe(consumer, new)

    async def _read(
        self, socket: WebSocket, consumer: Consumer, respond: Callable[[Consumer, str], dict[str, Any] | None]
    ) -> None:
        """Answer what a consumer sends until it leaves."""
        try:
            while True:
                event = await socket.receive()
                if event["type"] == "websocket.disconnect":
                    return
                text = event.get("text") or (event.get("bytes") or b"").decode(errors="replace")
                answer = respond(consumer, text)
                if answer is not None:
                    consumer.offer(encode(answer).decode())
                self._end_if_over(consumer)
        finally:
            consumer.leave()

    def _answer(self, consumer: Consumer, text: str) -> dict[str, Any] | None:
        try:
            command = msgspec.json.decode(text, type=_Command)
        except msgspec.DecodeError as error:
            return {"error": {"code": 3, "msg": f"Invalid JSON: {error}"}}
        hub = self.market.hub
        result: object = None
        match command.method:
            case "SUBSCRIBE":
                strange = [stream for stream in command.streams if not self.market.known_stream(stream)]
                if strange:
                    return _refusal(f"unknown stream {strange[0]}", command.id)
                self._subscribe(consumer, command.streams)
            case "UNSUBSCRIBE":
                hub.unsubscribe(consumer, command.streams)
            case "TAKEN" if consumer.tape_lines and command.streams and command.streams[0].isdecimal():
                consumer.taken(int(command.streams[0]))
                return None
            case "LIST_SUBSCRIPTIONS":
                result = list(consumer.subscriptions)
            case "SET_PROPERTY" if len(command.params) == 2 and command.params[0] == "combined":
                consumer.combined = command.params[1] is True
            case "GET_PROPERTY" if command.params == ["combined"]:
                result = consumer.combined
            case _:
                return _refusal(f"unknown method {command.method}", command.id)
        return {"result": result, "id": command.id}

    def _end_if_over(self, consumer: Consumer) -> None:
        """A market that has ended has nothing for a late consumer."""
        if self.market.progress.finished and any("@" in stream for stream in consumer.subscriptions):
            consumer.close(1000, "tape ended")


def _wants_tape(socket: WebSocket) -> bool:
    return socket.headers.get(TAPE_HEADER) == "1"


def _refusal(reason: str, command_id: int | str | None) -> dict[str, Any]:
    return {"error": {"code": 2, "msg": f"Invalid request: {reason}"}, "id": command_id}
