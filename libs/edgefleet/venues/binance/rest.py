"""Binance Spot's private REST side behind the venue interface. Retries no order; knows no policy of ours."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Final

import msgspec

from edgefleet.clock import NS_PER_MS, SYSTEM, Clock
from edgefleet.errors import Misuse, OutOfReach, Poison, Transient
from edgefleet.units import decimal_text
from edgefleet.venues.binance import errors, reports
from edgefleet.venues.binance.signing import signed_query
from edgefleet.venues.binance.user_stream import user_events
from edgefleet.venues.budget import Budget, Purpose, published_limits
from edgefleet.venues.http import HttpAnswer, HttpClient, Unanswered, Unsent
from edgefleet.venues.interface import (
    AccountReport,
    Answered,
    CancelResult,
    Limited,
    NewOrder,
    NotFound,
    NotSent,
    OrderReport,
    PlaceResult,
    QueryResult,
    Rejected,
    TradeReport,
    Unknown,
    UserEvent,
)

_TYPES: Final = {"market": "MARKET", "limit": "LIMIT", "post_only": "LIMIT_MAKER"}
_KEY_CODES: Final = frozenset({-1022, -2014, -2015})
_OFFSET_SAMPLES: Final = 3
# Request weights as Binance publishes them; where one depends on the parameters, that of what is asked here.
_WEIGHTS: Final = {"time": 1, "account": 20, "openOrders": 80, "myTrades": 20, "userDataStream": 2, "exchangeInfo": 20}
_ORDER_WEIGHTS: Final = {"POST": 1, "DELETE": 1, "GET": 4}
_PURPOSES: Final[dict[str, Purpose]] = {"POST": "order", "DELETE": "cancel", "GET": "question"}


class BinanceVenue:
    """One Binance Spot account.

    Raises
    ------
    Misuse
        If an address is not a URL or the keys are empty.
    """

    def __init__(
        self,
        *,
        name: str,
        rest_url: str,
        stream_url: str,
        key: str,
        secret: str,
        symbols: tuple[str, ...],
        recv_window_ms: int,
        timeout_ms: int,
        clock: Clock = SYSTEM,
    ) -> None:
        if not key or not secret:
            raise Misuse(f"venue {name} has no API key; set EDGEFLEET_VENUE_KEY and EDGEFLEET_VENUE_SECRET")
        self.name = name
        self.names = reports.Names(name, symbols)
        self.stream_url = stream_url
        self._key = {"X-MBX-APIKEY": key}
        self._secret = secret.encode()
        self._recv_window_ms = recv_window_ms
        self._timeout_s = timeout_ms / 1_000
        self._clock = clock
        self._http = HttpClient(rest_url)
        self.budget = Budget(clock)

    async def place(self, order: NewOrder) -> PlaceResult:
        """Send one order, once. An answer that does not prove a rejection is `Unknown`."""
        params = {
            "symbol": self.names.symbol(order.instrument),
            "side": order.side.upper(),
            "type": _TYPES[order.kind],
            "quantity": decimal_text(order.quantity),
            "newClientOrderId": order.order_id,
            "newOrderRespType": "FULL",
        }
        if order.price is not None:
            params["price"] = decimal_text(order.price)
        if order.kind == "limit":
            params["timeInForce"] = "GTC"
        result = await self._order_request("POST", params)
        if not isinstance(result, HttpAnswer):
            return result
        error = errors.error_body(result.body)
        if errors.is_rejection(result.status, error) and error is not None:
            return Rejected(code=errors.short_code(error), reason=error.msg)
        return self._read_order(result)

    async def cancel(self, instrument: str, order_id: str) -> CancelResult:
        """Ask for a cancel, once; asking again does no harm."""
        return await self._named_order("DELETE", instrument, order_id)

    async def query(self, instrument: str, order_id: str) -> QueryResult:
        """Ask what an order is."""
        result = await self._named_order("GET", instrument, order_id)
        return Unknown(reason=result.reason) if isinstance(result, Rejected) else result

    async def open_orders(self) -> Sequence[OrderReport]:
        """Return every open order of the account."""
        return reports.order_list(await self._read("openOrders", {}), self.names)

    async def trades_since(self, instrument: str, trade_id: str | None) -> Sequence[TradeReport]:
        """Return the account's trades in the instrument after `trade_id`, page by page."""
        symbol = self.names.symbol(instrument)
        if trade_id is None:
            return reports.trade_list(await self._read("myTrades", {"symbol": symbol, "limit": "1000"}), self.names)
        found: list[TradeReport] = []
        after = int(trade_id) + 1
        while True:
            query = {"symbol": symbol, "limit": "1000", "fromId": str(after)}
            page = reports.trade_list(await self._read("myTrades", query), self.names)
            found += page
            if len(page) < 1_000:
                return found
            after = int(page[-1].trade_id) + 1

    async def account(self) -> AccountReport:
        """Return the account's balances."""
        return reports.account_answer(await self._read("account", {"omitZeroBalances": "true"}))

    async def server_time_offset_ns(self) -> int:
        """Return the venue's clock minus ours by the quickest of three questions, and sign by it from now on."""
        best: tuple[int, int] | None = None
        for _ in range(_OFFSET_SAMPLES):
            before = self._clock.wall_ns()
            answer = await self._ask("GET", "/api/v3/time")
            after = self._clock.wall_ns()
            server_ns = reports.server_time(answer.body) * NS_PER_MS
            # The stamp is cut to milliseconds: on average half of one is lost.
            sample = (after - before, server_ns + NS_PER_MS // 2 - (before + after) // 2)
            best = sample if best is None else min(best, sample)
        assert best is not None
        self.budget.offset_ns = best[1]
        return best[1]

    async def listen_key(self) -> str:
        """Return a new listen key of the user stream."""
        answer = await self._ask("POST", "/api/v3/userDataStream", self._key)
        return reports.listen_key(answer.body)

    async def keep_listen_key(self, key: str) -> None:
        """Keep a listen key for another hour."""
        await self._ask("PUT", f"/api/v3/userDataStream?listenKey={key}", self._key)

    def user_events(self) -> AsyncIterator[UserEvent]:
        """Yield what happens to the account, for ever."""
        return user_events(self)

    async def warm(self) -> None:
        """Have a connection ready for the first order, and learn what the venue lets us ask."""
        try:
            await self._http.warm(self._timeout_s)
        except Unsent as error:
            raise OutOfReach(f"venue {self.name}; {error}; start it or correct rest_url in conf/venues") from error
        # Without an answer Binance's own limits stand: a slow venue must not keep the executor from starting.
        with suppress(Transient, msgspec.MsgspecError):
            answer = await self._ask("GET", f"/api/v3/exchangeInfo?symbol={self.names.symbols[0]}")
            self.budget.limits = published_limits(answer.body)

    async def close(self) -> None:
        """Let go of every connection."""
        self._http.close()

    # --- one request

    def _signed(self, params: dict[str, str]) -> str:
        timestamp_ms = (self._clock.wall_ns() + self.budget.offset_ns) // NS_PER_MS
        return signed_query(params, self._secret, timestamp_ms=timestamp_ms, recv_window_ms=self._recv_window_ms)

    async def _order_request(self, method: str, params: dict[str, str]) -> HttpAnswer | NotSent | Unknown | Limited:
        """Return the answer of an order request, or the typed reason why there is none that proves anything."""
        purpose, weight = _PURPOSES[method], _ORDER_WEIGHTS[method]
        wait_s = self.budget.wait_s(purpose, weight)
        if wait_s > 0:
            return Limited(code="", reason=f"{self.name}'s rate limits leave no room for it", retry_after_s=wait_s)
        target = f"/api/v3/order?{self._signed(params)}"
        try:
            answer = await self._request(method, target, self._key, purpose, weight)
        except Unsent as error:
            return NotSent(reason=str(error))
        except Unanswered as error:
            return Unknown(reason=str(error))
        error_body = errors.error_body(answer.body)
        if errors.is_limited(answer.status, error_body):
            code = str(error_body.code) if error_body is not None else str(answer.status)
            reason = error_body.msg if error_body is not None else "too many requests"
            return Limited(code=code, reason=reason, retry_after_s=self._refused(answer, error_body))
        return answer

    async def _named_order(self, method: str, instrument: str, order_id: str) -> CancelResult:
        params = {"symbol": self.names.symbol(instrument), "origClientOrderId": order_id}
        result = await self._order_request(method, params)
        if not isinstance(result, HttpAnswer):
            return result
        error = errors.error_body(result.body)
        if error is not None and result.status < 500:
            if errors.is_not_known(error):
                return NotFound(code=str(error.code), reason=error.msg)
            return Rejected(code=str(error.code), reason=error.msg)
        return self._read_order(result)

    def _read_order(self, answer: HttpAnswer) -> Answered | Unknown:
        if answer.status != 200:
            return Unknown(reason=f"HTTP {answer.status}: {answer.body[:120].decode(errors='replace')}")
        try:
            report, trades = reports.order_answer(answer.body, self.names)
        except Poison as error:
            return Unknown(reason=str(error))
        return Answered(order=report, trades=trades)

    async def _read(self, path: str, params: dict[str, str]) -> bytes:
        return (await self._ask("GET", f"/api/v3/{path}?{self._signed(params)}", self._key)).body

    async def _ask(self, method: str, target: str, headers: dict[str, str] | None = None) -> HttpAnswer:
        """Return a good answer to a request that changes no order.

        Raises
        ------
        Transient
            If the venue does not answer, or not well.
        Misuse
            If it refuses our keys.
        """
        weight = _WEIGHTS[target.removeprefix("/api/v3/").partition("?")[0]]
        wait_s = self.budget.wait_s("question", weight)
        if wait_s > 0:
            raise Transient(f"venue {self.name}'s rate limits leave no room to ask for {wait_s:.1f} s")
        try:
            answer = await self._request(method, target, headers or {}, "question", weight)
        except (Unsent, Unanswered) as error:
            raise Transient(f"venue {self.name}: {error}") from error
        if answer.status == 200:
            return answer
        body = errors.error_body(answer.body)
        if errors.is_limited(answer.status, body):
            self._refused(answer, body)
        if body is not None and body.code in _KEY_CODES:
            raise Misuse(f"venue {self.name} refuses our key: {body.msg}; check EDGEFLEET_VENUE_KEY and _SECRET")
        raise Transient(f"venue {self.name} answers {answer.status} to {method} {target.partition('?')[0]}: {body}")

    async def _request(
        self, method: str, target: str, headers: dict[str, str], purpose: Purpose, weight: int
    ) -> HttpAnswer:
        """Return the answer to one request, the budget being told of both."""
        self.budget.leaves(purpose, weight)
        told: dict[str, str] = {}
        try:
            answer = await self._http.request(method, target, headers=headers, timeout_s=self._timeout_s)
            told = answer.headers
        finally:
            self.budget.returns(purpose, weight, told)
        return answer

    def _refused(self, answer: HttpAnswer, error: errors.ErrorBody | None) -> float:
        return self.budget.refused(answer.status, error.code if error is not None else None, answer.headers)
