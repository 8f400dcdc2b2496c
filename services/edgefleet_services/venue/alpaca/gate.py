"""What every REST request passes: keys, rate limit, errors as Alpaca writes them. Knows nothing of what is asked."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response

from edgefleet.clock import NS_PER_S, Clock
from edgefleet.errors import Broken
from edgefleet.matching.broker_orders import BrokerReject

from .market import AlpacaMarket

Handler = Callable[[Request], Awaitable[Response]]

KEY_HEADER, SECRET_HEADER = "apca-api-key-id", "apca-api-secret-key"
# Alpaca lets an account ask 200 times a minute, and those that ask for more 1,000.
LIMIT_PER_MINUTE = 1_000
_MINUTE_S = 60
_ENCODER = msgspec.json.Encoder(decimal_format="number")


def answer(content: object, status: int = 200) -> Response:
    """Return a JSON answer."""
    return Response(_ENCODER.encode(content), status, media_type="application/json")


def refusal(code: int, message: str, status: int, details: Mapping[str, str] | None = None) -> Response:
    """Return an error as Alpaca writes one."""
    return answer({"code": code, "message": message} | dict(details or {}), status)


def is_account(key: str | None, secret: str | None, expected: tuple[str, str]) -> bool:
    """Return whether a key and secret are the account's."""
    sent = f"{key or ''}\0{secret or ''}".encode()
    return hmac.compare_digest(sent, "\0".join(expected).encode())


def sent_keys(headers: Headers) -> tuple[str | None, str | None]:
    """Return the key and secret a request carries in its headers."""
    return headers.get(KEY_HEADER), headers.get(SECRET_HEADER)


class Gate:
    """Lets requests of the account through, so many a minute.

    Parameters
    ----------
    keys
        The account's key and secret.
    limit
        Requests a minute, over all endpoints.
    """

    def __init__(
        self, market: AlpacaMarket, clock: Clock, keys: tuple[str, str], *, limit: int = LIMIT_PER_MINUTE
    ) -> None:
        self._market = market
        self._clock = clock
        self._keys = keys
        self.limit = limit
        self._minute = 0
        self._used = 0

    def __call__(self, handler: Handler, *, unauthorized: int = 401) -> Handler:
        """Return `handler` behind the gate. Strangers get `unauthorized`: 401 when they trade, 403 for market data."""

        async def guarded(request: Request) -> Response:
            headers = self._count()
            path, faults = request.url.path.removeprefix("/v2/"), self._market.faults
            if faults.take_limited(path):
                headers |= {"X-RateLimit-Remaining": "0", "Retry-After": str(faults.retry_after_s)}
                response = refusal(42910000, "rate limit exceeded", 429)
            elif faults.take_rest_error(path):
                response = refusal(50010000, "internal server error occurred", faults.rest_http_status)
            elif int(headers["X-RateLimit-Remaining"]) < 0:
                headers["X-RateLimit-Remaining"] = "0"
                response = refusal(42910000, "rate limit exceeded", 429)
            elif not is_account(*sent_keys(request.headers), self._keys):
                response = _stranger(unauthorized)
            else:
                response = await self._handled(handler, request)
            response.headers.update(headers)
            return response

        return guarded

    def _count(self) -> dict[str, str]:
        now_s = self._clock.wall_ns() // NS_PER_S
        if now_s // _MINUTE_S != self._minute:
            self._minute, self._used = now_s // _MINUTE_S, 0
        self._used += 1
        return {
            "X-RateLimit-Limit": str(self.limit),
            "X-RateLimit-Remaining": str(self.limit - self._used),
            "X-RateLimit-Reset": str((self._minute + 1) * _MINUTE_S),
        }

    async def _handled(self, handler: Handler, request: Request) -> Response:
        try:
            return await handler(request)
        except BrokerReject as reject:
            return refusal(reject.code, reject.message, reject.http_status, reject.details)
        except Broken as error:
            self._market.break_down(error)
            return refusal(50010000, str(error), 500)


def _stranger(status: int) -> Response:
    if status == 401:
        return refusal(40110000, "request is not authorized", 401)
    return refusal(40310000, "forbidden.", 403)


async def body_of(request: Request, kind: Any) -> Any:
    """Return a request's JSON body as `kind`, or raise `BrokerReject`."""
    try:
        return msgspec.json.decode(await request.body(), type=kind)
    except msgspec.DecodeError as error:
        raise BrokerReject(40010000, f"request body format is invalid: {error}", 400) from error
