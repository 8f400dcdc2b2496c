"""Alpaca's trading API behind the venue interface. Retries no order; knows no policy of ours.

Alpaca has no window after which a signed request is too old: an order that a frozen process sends late is carried out.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from typing import Final
from urllib.parse import urlencode

import msgspec

from edgefleet.clock import NS_PER_S, SYSTEM, Clock
from edgefleet.errors import Misuse, OutOfReach, Poison, Transient
from edgefleet.units import decimal_text
from edgefleet.venues.alpaca import errors, reports
from edgefleet.venues.alpaca.user_stream import user_events
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

WALL_HEADER: Final = "x-edgefleet-wall-ns"  # of the simulated venue, whose clock tells the market's time
ORDERS_PAGE: Final = 500
TRADES_PAGE: Final = 100
RECENT_TRADES: Final = 1_000
_REMEMBERED: Final = 4_096  # venue ids of our orders, so that a cancel need not ask for them
_OFFSET_SAMPLES: Final = 3
_RETRY_AFTER_S: Final = 3.0


class AlpacaVenue:
    """One Alpaca account that trades stocks.

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
        timeout_ms: int,
        clock: Clock = SYSTEM,
    ) -> None:
        if not key or not secret:
            raise Misuse(f"venue {name} has no API key; set EDGEFLEET_VENUE_KEY and EDGEFLEET_VENUE_SECRET")
        self.name = name
        self.names = reports.Names(name, symbols)
        self.stream_url = stream_url
        self.keys = (key, secret)
        self.clock = clock
        self._headers = {"APCA-API-KEY-ID": key, "APCA-API-SECRET-KEY": secret}
        self._timeout_s = timeout_ms / 1_000
        self._http = HttpClient(rest_url)
        self._ids: OrderedDict[str, str] = OrderedDict()  # the venue's id by our order's
        self._quiet_until = 0  # monotonic ns: a 429 asked for silence until then

    async def place(self, order: NewOrder) -> PlaceResult:
        """Send one order, once. An answer that does not prove a rejection is `Unknown`."""
        if order.kind == "post_only":
            return NotSent(reason="Alpaca has no post-only orders")
        body = {
            "symbol": self.names.symbol(order.instrument),
            "side": order.side,
            "type": order.kind,
            "time_in_force": "day",  # what fractions of a share need; whoever holds an order for longer sends it anew
            "qty": decimal_text(order.quantity),
            "client_order_id": order.order_id,
        }
        if order.price is not None:
            body["limit_price"] = decimal_text(order.price)
        result = await self._order_request("POST", "/v2/orders", msgspec.json.encode(body))
        if not isinstance(result, HttpAnswer):
            return result
        error = errors.error_body(result.body)
        if result.status != 200 and error is not None and errors.is_rejection(result.status, error):
            return Rejected(code=errors.text_of(result.status, error), reason=error.message)
        return self._read_order(result)

    async def cancel(self, instrument: str, order_id: str) -> CancelResult:
        """Ask for a cancel and then what became of the order; asking again does no harm."""
        venue_id = self._ids.get(order_id)
        if venue_id is None:
            found = await self._find(order_id)
            if not isinstance(found, Answered) or found.order.status not in ("NEW", "PARTIALLY_FILLED"):
                return found
            venue_id = found.order.venue_order_id
        result = await self._order_request("DELETE", f"/v2/orders/{venue_id}")
        if not isinstance(result, HttpAnswer):
            return result
        error = errors.error_body(result.body)
        if result.status == 404 and error is not None:
            return NotFound(code=errors.text_of(404, error), reason=error.message)
        # 204: taken. 422: it is no longer to be cancelled. What it is now says which of both mattered.
        if result.status in (204, 422):
            return await self._find(order_id)
        if error is not None and errors.is_rejection(result.status, error):
            return Rejected(code=errors.text_of(result.status, error), reason=error.message)
        return Unknown(reason=_shown(result))

    async def query(self, instrument: str, order_id: str) -> QueryResult:
        """Ask what an order is."""
        return await self._find(order_id)

    async def open_orders(self) -> Sequence[OrderReport]:
        """Return every open order of the account, page by page."""
        found: list[OrderReport] = []
        after: dict[str, str] = {}
        while True:
            query = {"status": "open", "direction": "asc", "limit": str(ORDERS_PAGE)} | after
            page = reports.order_list(await self._read("orders", query), self.names)
            found += [report for report, _ in page]
            if len(page) < ORDERS_PAGE:
                return found
            after = {"after": page[-1][1]}

    async def trades_since(self, instrument: str, trade_id: str | None) -> Sequence[TradeReport]:
        """Return the account's trades in the instrument after `trade_id`, oldest first; without an id the newest 1,000
        of all instruments, as far as they are of this one. Ids have no order: the newest are read back to that one, and
        where it is not found, all are.
        """
        found: list[TradeReport] = []
        seen = 0
        token: dict[str, str] = {}
        while True:
            query = {"direction": "desc", "page_size": str(TRADES_PAGE)} | token
            page = reports.trade_list(await self._read("account/activities/FILL", query), self.names)
            for trade, _ in page:
                if trade.trade_id == trade_id:
                    return found[::-1]
                if trade.instrument == instrument:
                    found.append(trade)
            seen += len(page)
            if len(page) < TRADES_PAGE or (trade_id is None and seen >= RECENT_TRADES):
                return found[::-1]
            token = {"page_token": page[-1][1]}

    async def account(self) -> AccountReport:
        """Return the account's balances: cash by what open purchases leave of it, each stock by its symbol."""
        stamp = self.clock.wall_ns()
        account = await self._read("account", {})
        positions = await self._read("positions", {})
        return AccountReport(balances=reports.balances(account, positions), ts_event=stamp)

    async def server_time_offset_ns(self) -> int:
        """Return the venue's clock minus ours by the quickest of three questions; nothing is signed by it."""
        best: tuple[int, int] | None = None
        for _ in range(_OFFSET_SAMPLES):
            before = self.clock.wall_ns()
            answer = await self._ask("GET", "/v2/clock")
            after = self.clock.wall_ns()
            told = answer.headers.get(WALL_HEADER, "")
            server_ns = int(told) if told.isdecimal() else reports.clock_ns(answer.body)
            sample = (after - before, server_ns - (before + after) // 2)
            best = sample if best is None else min(best, sample)
        assert best is not None
        return best[1]

    def user_events(self) -> AsyncIterator[UserEvent]:
        """Yield what happens to the account, for ever."""
        return user_events(self)

    async def warm(self) -> None:
        """Have a connection ready for the first order."""
        try:
            await self._http.warm(self._timeout_s)
        except Unsent as error:
            raise OutOfReach(f"venue {self.name}; {error}; start it or correct rest_url in conf/venues") from error

    async def close(self) -> None:
        """Let go of every connection."""
        self._http.close()

    # --- one request

    async def _order_request(
        self, method: str, target: str, body: bytes = b""
    ) -> HttpAnswer | NotSent | Unknown | Limited:
        """Return the answer of an order request, or the typed reason why there is none that proves anything."""
        wait_s = (self._quiet_until - self.clock.monotonic_ns()) / NS_PER_S
        if wait_s > 0:
            return Limited(code="", reason="the venue asked for silence", retry_after_s=wait_s)
        headers = self._headers | ({"Content-Type": "application/json"} if body else {})
        try:
            answer = await self._http.request(method, target, headers=headers, body=body, timeout_s=self._timeout_s)
        except Unsent as error:
            return NotSent(reason=str(error))
        except Unanswered as error:
            return Unknown(reason=str(error))
        if answer.status == 429:
            told = errors.error_body(answer.body)
            reason = told.message if told is not None else "too many requests"
            return Limited(code="429", reason=reason, retry_after_s=self._silence(answer))
        return answer

    async def _find(self, order_id: str) -> Answered | NotFound | NotSent | Unknown | Limited:
        query = urlencode({"client_order_id": order_id})
        result = await self._order_request("GET", f"/v2/orders:by_client_order_id?{query}")
        if not isinstance(result, HttpAnswer):
            return result
        error = errors.error_body(result.body)
        if result.status == 404 and error is not None:
            return NotFound(code=errors.text_of(404, error), reason=error.message)
        return self._read_order(result)

    def _read_order(self, answer: HttpAnswer) -> Answered | Unknown:
        if answer.status != 200:
            return Unknown(reason=_shown(answer))
        try:
            report = reports.order_answer(answer.body, self.names)
        except Poison as error:
            return Unknown(reason=str(error))
        self._ids[report.order_id] = report.venue_order_id
        if len(self._ids) > _REMEMBERED:
            self._ids.popitem(last=False)
        return Answered(order=report)

    async def _read(self, path: str, query: dict[str, str]) -> bytes:
        return (await self._ask("GET", f"/v2/{path}" + (f"?{urlencode(query)}" if query else ""))).body

    async def _ask(self, method: str, target: str) -> HttpAnswer:
        """Return a good answer to a request that changes no order.

        Raises
        ------
        Transient
            If the venue does not answer, or not well.
        Misuse
            If it refuses our keys.
        """
        try:
            answer = await self._http.request(method, target, headers=self._headers, timeout_s=self._timeout_s)
        except (Unsent, Unanswered) as error:
            raise Transient(f"venue {self.name}: {error}") from error
        if answer.status == 200:
            return answer
        if answer.status == 429:
            self._silence(answer)
        if answer.status in (401, 403):
            raise Misuse(f"venue {self.name} refuses our key: {_shown(answer)}; check EDGEFLEET_VENUE_KEY and _SECRET")
        raise Transient(f"venue {self.name} answers {method} {target.partition('?')[0]} with {_shown(answer)}")

    def _silence(self, answer: HttpAnswer) -> float:
        """Note how long the venue asks for silence, and return it in seconds."""
        told, reset = answer.headers.get("retry-after", ""), answer.headers.get("x-ratelimit-reset", "")
        seconds = float(told) if told.isdecimal() else _RETRY_AFTER_S
        if not told.isdecimal() and reset.isdecimal():
            seconds = max(int(reset) - self.clock.wall_ns() / NS_PER_S, 0.0)
        until = self.clock.monotonic_ns() + int(seconds * NS_PER_S)
        self._quiet_until = max(self._quiet_until, until)
        return seconds


def _shown(answer: HttpAnswer) -> str:
    return f"HTTP {answer.status}: {answer.body[:120].decode(errors='replace')}"
