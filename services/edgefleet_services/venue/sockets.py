"""The WebSocket side of the simulated venue: combined and raw streams, SUBSCRIBE, user streams."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from starlette.routing import BaseRoute, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from .consumers import Consumer
from .market import VenueMarket, encode

TAPE_HEADER = "x-edgefleet-tape"


class _Command(msgspec.Struct):
    method: str
    id: int | str | None = None
    params: list[str] = []


class SocketApi:
    """Handlers of the WebSocket endpoints over one market."""

    def __init__(self, market: VenueMarket) -> None:
        self.market = market

    def routes(self) -> list[BaseRoute]:
        """Return the routes of the WebSocket side."""
        return [
            WebSocketRoute("/stream", self.combined),
            WebSocketRoute("/ws", self.raw),
            WebSocketRoute("/ws/{path:path}", self.raw),
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

    async def _serve(self, socket: WebSocket, consumer: Consumer, streams: list[str]) -> None:
        await socket.accept()
        strange = [stream for stream in streams if not self.market.known_stream(stream)]
        if strange:
            await socket.close(1008, f"unknown stream {strange[0]}"[:120])
            return
        self.market.hub.subscribe(consumer, streams)
        self._end_if_over(consumer)
        reader = asyncio.create_task(self._read(socket, consumer))
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

    async def _read(self, socket: WebSocket, consumer: Consumer) -> None:
        """Answer what a consumer sends until it leaves."""
        try:
            while True:
                event = await socket.receive()
                if event["type"] == "websocket.disconnect":
                    return
                text = event.get("text") or (event.get("bytes") or b"").decode(errors="replace")
                answer = self._answer(consumer, text)
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
                strange = [stream for stream in command.params if not self.market.known_stream(stream)]
                if strange:
                    return _refusal(f"unknown stream {strange[0]}", command.id)
                hub.subscribe(consumer, command.params)
            case "UNSUBSCRIBE":
                hub.unsubscribe(consumer, command.params)
            case "TAKEN" if consumer.tape_lines and command.params and command.params[0].isdecimal():
                consumer.taken(int(command.params[0]))
                return None
            case "LIST_SUBSCRIPTIONS":
                result = list(consumer.subscriptions)
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
