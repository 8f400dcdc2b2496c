"""The part of Binance's WebSocket API that a user data stream needs. Knows requests and answers, nothing of orders.

An answer repeats the request's id: ``{"id": .., "status": 200, "result": ..}``, or ``error`` with code and text. Events
of the account come as ``{"subscriptionId": 0, "event": {..}}``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from edgefleet.matching.filters import VenueReject

from .consumers import Consumer, Hub
from .security import Keys, check_payload, check_window

USER_STREAM = "userDataStream"  # the hub's name for the account's events on this API
SUBSCRIPTION = 0  # one account, so one subscription of a connection


class _Request(msgspec.Struct):
    method: str
    id: int | str | None = None
    params: dict[str, Any] = {}


class WebSocketApi:
    """Answers the requests of the WebSocket API's connections."""

    def __init__(self, hub: Hub, keys: Keys, now_ms: Callable[[], int]) -> None:
        self._hub = hub
        self._keys = keys
        self._now_ms = now_ms

    def answer(self, consumer: Consumer, text: str) -> dict[str, Any]:
        """Return the answer to one message of `consumer`."""
        try:
            request = msgspec.json.decode(text, type=_Request)
        except msgspec.DecodeError as error:
            return _error(None, VenueReject(-1135, f"Error while processing: {error}"))
        try:
            return {"id": request.id, "status": 200, "result": self._result(consumer, request), "rateLimits": []}
        except VenueReject as reject:
            return _error(request.id, reject)

    def _result(self, consumer: Consumer, request: _Request) -> dict[str, Any]:
        match request.method:
            case "ping":
                return {}
            case "time":
                return {"serverTime": self._now_ms()}
            case "userDataStream.subscribe.signature":
                self._check(request.params)
                if USER_STREAM in consumer.subscriptions:
                    raise VenueReject(-2035, "User Data Stream subscription already active.")
                self._hub.subscribe(consumer, [USER_STREAM])
                return {"subscriptionId": SUBSCRIPTION}
            case "userDataStream.unsubscribe":
                self._hub.unsubscribe(consumer, [USER_STREAM])
                return {}
            case "session.subscriptions":
                held = [{"subscriptionId": SUBSCRIPTION}] if USER_STREAM in consumer.subscriptions else []
                return {"subscriptions": held}
            case _:
                raise VenueReject(-1000, f"Method '{request.method}' is not known here.")

    def _check(self, params: dict[str, Any]) -> None:
        self._keys.check(str(params.get("apiKey") or ""))
        check_window(params, self._now_ms())
        check_payload(params, self._keys.secret)


def _error(request_id: int | str | None, reject: VenueReject) -> dict[str, Any]:
    body = {"code": reject.code, "msg": reject.message}
    return {"id": request_id, "status": reject.http_status, "error": body, "rateLimits": []}
