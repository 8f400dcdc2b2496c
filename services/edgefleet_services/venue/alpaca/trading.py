"""Alpaca's trading API over one account: orders, positions, account, assets, clock, calendar, activities."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from edgefleet.clock import NS_PER_MS, NS_PER_S, Clock
from edgefleet.errors import Misuse
from edgefleet.matching.broker_orders import (
    BrokerOrder,
    BrokerReject,
    BrokerRequest,
    OrderKind,
    Tif,
    asset_uuid,
    bad_request,
    not_found,
    unprocessable,
)
from edgefleet.matching.engine import Side
from edgefleet.matching.hours import eastern
from edgefleet.matching.stocks import SHARE_STEP
from edgefleet.units import floor_to_step
from edgefleet.venues.alpaca.rest import WALL_HEADER

from . import views
from .gate import Gate, Handler, answer, body_of, refusal
from .market import AlpacaMarket
from .query import day_ns, decimal, limit, stamp_ns

DAY_NS = 86_400 * NS_PER_S
ACTIVITIES_PAGE = 100
# Known to Alpaca and not executed here; the message says which.
_OTHER_KINDS = ("stop", "stop_limit", "trailing_stop")
_OTHER_TIFS = ("opg", "cls")


class OrderBody(msgspec.Struct, kw_only=True):
    """The body of POST `orders`. What is unknown is ignored, as Alpaca does."""

    symbol: str = ""
    side: str = ""
    type: str = ""
    time_in_force: str = ""
    qty: Decimal | None = None
    notional: Decimal | None = None
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    extended_hours: bool | None = None
    client_order_id: str | None = None
    order_class: str | None = None


class ReplaceBody(msgspec.Struct, kw_only=True):
    """The body of PATCH `orders/{id}`."""

    qty: Decimal | None = None
    time_in_force: str | None = None
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    trail: Decimal | None = None
    client_order_id: str | None = None


class TradingApi:
    """Handlers of the trading endpoints."""

    def __init__(self, market: AlpacaMarket, clock: Clock, key: str, secret: str) -> None:
        self.market = market
        self.broker = market.broker
        self._clock = clock
        self.gate = Gate(market, clock, (key, secret))

    def routes(self) -> list[BaseRoute]:
        """Return the routes."""
        table: list[tuple[str, str, Handler]] = [
            ("POST", "orders", self.place),
            ("GET", "orders", self.orders),
            ("DELETE", "orders", self.cancel_all),
            ("GET", "orders:by_client_order_id", self.by_client_id),
            ("GET", "orders/{order_id}", self.order),
            ("PATCH", "orders/{order_id}", self.replace),
            ("DELETE", "orders/{order_id}", self.cancel),
            ("GET", "positions", self.positions),
            ("DELETE", "positions", self.close_all),
            ("GET", "positions/{symbol}", self.position),
            ("DELETE", "positions/{symbol}", self.close),
            ("GET", "account", self.account),
            ("GET", "account/configurations", self.configurations),
            ("GET", "account/activities", self.activities),
            ("GET", "account/activities/{kind}", self.activities),
            ("GET", "assets", self.assets),
            ("GET", "assets/{symbol}", self.asset),
            ("GET", "clock", self.clock),
            ("GET", "calendar", self.calendar),
        ]
        return [Route(f"/v2/{path}", self.gate(handler), methods=[method]) for method, path, handler in table]

    # --- orders

    async def place(self, request: Request) -> Response:
        faults = self.market.faults
        if faults.take_error("before"):
            return _unavailable()
        wanted = order_request(await body_of(request, OrderBody))
        order, updates = self.broker.place(wanted)
        self.market.tell_account(updates)
        if faults.hold_order_response_ms > 0:
            await asyncio.sleep(faults.hold_order_response_ms / 1_000)
        if faults.take_drop():
            request.scope["edgefleet.transport"].abort()
        if faults.take_error("after"):
            return _unavailable()
        return answer(views.order(order))

    async def orders(self, request: Request) -> Response:
        params = request.query_params
        status = params.get("status") or "open"
        if status not in ("open", "closed", "all"):
            raise unprocessable(f"invalid status {status}")
        after, until = (stamp_ns(params.get(name), name) for name in ("after", "until"))
        symbols = {name for name in (params.get("symbols") or "").split(",") if name}
        side = params.get("side")
        found = [
            order
            for order in self.broker.account.orders()
            if (status == "all" or order.is_open is (status == "open"))
            and (after is None or order.created_ns > after)
            and (until is None or order.created_ns <= until)
            and (not symbols or order.symbol in symbols)
            and (not side or order.side.value.lower() == side)
        ]
        if params.get("direction") != "asc":
            found.reverse()
        return answer([views.order(order) for order in found[: limit(params.get("limit"), 50, 500)]])

    async def order(self, request: Request) -> Response:
        return answer(views.order(self._order(request)))

    async def by_client_id(self, request: Request) -> Response:
        client_id = request.query_params.get("client_order_id", "")
        order = self.broker.account.by_client_id(client_id)
        if order is None:
            raise not_found(f"order not found for {client_id}")
        return answer(views.order(order))

    async def replace(self, request: Request) -> Response:
        old = self._order(request)
        body = await body_of(request, ReplaceBody)
        if body.stop_price is not None or body.trail is not None:
            raise unprocessable("only qty, limit_price, time_in_force and client_order_id can be replaced here")
        order, updates = self.broker.replace(
            old.number,
            quantity=body.qty,
            limit_price=body.limit_price,
            tif=None if body.time_in_force is None else _tif(body.time_in_force),
            client_order_id=body.client_order_id or None,
        )
        self.market.tell_account(updates)
        return answer(views.order(order))

    async def cancel(self, request: Request) -> Response:
        self.market.tell_account(self.broker.cancel(self._order(request).number))
        return Response(status_code=204)

    async def cancel_all(self, request: Request) -> Response:
        cancelled = [order for order in self.broker.account.orders() if order.is_open]
        for order in cancelled:
            self.market.tell_account(self.broker.cancel(order.number))
        return answer([{"id": order.id, "status": 200} for order in cancelled], 207)

    def _order(self, request: Request) -> BrokerOrder:
        order_id = request.path_params["order_id"]
        order = self.broker.account.by_id(order_id)
        if order is None:
            raise not_found(f"order not found for {order_id}")
        return order

    # --- positions

    async def positions(self, request: Request) -> Response:
        return answer([views.position(self.broker, symbol) for symbol in self._held()])

    async def position(self, request: Request) -> Response:
        return answer(views.position(self.broker, self._position(request)))

    async def close(self, request: Request) -> Response:
        params = request.query_params
        symbol = self._position(request)
        quantity = self.broker.account.available(symbol)
        if params.get("qty"):
            quantity = decimal(params["qty"], "qty")
        elif params.get("percentage"):
            share = decimal(params["percentage"], "percentage")
            if not 0 < share <= 100:
                raise unprocessable(f"percentage must be in (0, 100], was {params['percentage']}")
            quantity = floor_to_step(self.broker.account.position(symbol) * share / 100, SHARE_STEP)
        return answer(views.order(self._sell(symbol, quantity)))

    async def close_all(self, request: Request) -> Response:
        if request.query_params.get("cancel_orders", "").lower() == "true":
            for order in self.broker.account.orders():
                if order.is_open:
                    self.market.tell_account(self.broker.cancel(order.number))
        closed = []
        for symbol in self._held():
            try:
                body: dict[str, Any] = views.order(self._sell(symbol, self.broker.account.available(symbol)))
                status = 200
            except BrokerReject as reject:
                body, status = {"code": reject.code, "message": reject.message, **reject.details}, reject.http_status
            closed.append({"symbol": symbol, "status": status, "body": body})
        return answer(closed, 207)

    def _sell(self, symbol: str, quantity: Decimal) -> BrokerOrder:
        order, updates = self.broker.place(
            BrokerRequest(symbol=symbol, side=Side.SELL, kind=OrderKind.MARKET, tif=Tif.DAY, quantity=quantity)
        )
        self.market.tell_account(updates)
        return order

    def _held(self) -> list[str]:
        return [symbol for symbol in self.broker.account.exchange.rules if self.broker.account.position(symbol)]

    def _position(self, request: Request) -> str:
        symbol = self._symbol(request.path_params["symbol"])
        if symbol is None or not self.broker.account.position(symbol):
            raise not_found("position does not exist")
        return symbol

    def _symbol(self, name: str) -> str | None:
        """Return the stock of this symbol or asset id, None where none trades here."""
        return next((s for s in self.broker.account.exchange.rules if name in (s, asset_uuid(s))), None)

    # --- account

    async def account(self, request: Request) -> Response:
        return answer(views.account(self.broker, self.market.created_ns))

    async def configurations(self, request: Request) -> Response:
        return answer(views.CONFIGURATIONS)

    async def activities(self, request: Request) -> Response:
        """Fills are all the activity there is: no cash comes or goes here but by trading."""
        params = request.query_params
        kind = request.path_params.get("kind") or params.get("activity_types") or params.get("activity_type") or "FILL"
        if "FILL" not in kind.split(","):
            return answer([])
        after, until = (stamp_ns(params.get(name), name) for name in ("after", "until"))
        if params.get("date"):
            after = day_ns(params["date"], "date") - 1
            until = after + DAY_NS
        found = [
            fill
            for fill in self.broker.account.fills()
            if (after is None or fill.ts_ns > after) and (until is None or fill.ts_ns <= until)
        ]
        if params.get("direction") != "asc":
            found.reverse()
        token = params.get("page_token")
        if token:
            ids = [views.activity_id(fill) for fill in found]
            if token not in ids:
                raise unprocessable(f"invalid page_token {token}")
            found = found[ids.index(token) + 1 :]
        size = limit(params.get("page_size"), ACTIVITIES_PAGE, ACTIVITIES_PAGE)
        return answer([views.activity(fill) for fill in found[:size]])

    # --- what trades, and when

    async def assets(self, request: Request) -> Response:
        params = request.query_params
        if params.get("status", "active") != "active" or params.get("asset_class", views.EQUITY) != views.EQUITY:
            return answer([])
        return answer([views.asset(symbol) for symbol in self.broker.account.exchange.rules])

    async def asset(self, request: Request) -> Response:
        name = request.path_params["symbol"]
        symbol = self._symbol(name)
        if symbol is None:
            raise not_found(f"asset not found for {name}")
        return answer(views.asset(symbol))

    async def clock(self, request: Request) -> Response:
        response = answer(views.clock(self.broker.hours, self.broker.now_ns))
        response.headers[WALL_HEADER] = str(self._clock.wall_ns() + self.market.faults.clock_skew_ms * NS_PER_MS)
        return response

    async def calendar(self, request: Request) -> Response:
        """Without `start` and `end`: the running year and the next. Alpaca answers with all it knows, 1970 to 2029."""
        params = request.query_params
        year = eastern(self.broker.now_ns).year
        start = day_ns(params.get("start") or f"{year}-01-01", "start")
        end = day_ns(params.get("end") or f"{year + 1}-12-31", "end") + DAY_NS
        try:
            return answer([views.session(session) for session in self.broker.hours.between(start, end)])
        except Misuse as error:
            raise unprocessable(str(error)) from error


def order_request(body: OrderBody) -> BrokerRequest:
    """Return the order a body asks for, or raise `BrokerReject` where its words are not known."""
    for name in ("symbol", "side", "type", "time_in_force"):
        if not getattr(body, name):
            raise bad_request(f"{name} is required")
    if body.order_class not in (None, "", "simple"):
        raise unprocessable(f"{body.order_class} orders are not supported by the simulated venue")
    if body.type in _OTHER_KINDS or body.stop_price is not None:
        raise unprocessable(f"{body.type} orders are not supported by the simulated venue")
    try:
        side, kind = Side(body.side.upper()), OrderKind(body.type)
    except ValueError as error:
        raise bad_request(f"invalid order: {error}") from error
    return BrokerRequest(
        symbol=body.symbol.upper(),
        side=side,
        kind=kind,
        tif=_tif(body.time_in_force),
        quantity=body.qty,
        notional=body.notional,
        limit_price=body.limit_price,
        extended_hours=bool(body.extended_hours),
        client_order_id=body.client_order_id or None,
    )


def _tif(name: str) -> Tif:
    if name in _OTHER_TIFS:
        raise unprocessable(f"time_in_force {name} is not supported by the simulated venue")
    try:
        return Tif(name)
    except ValueError:
        raise bad_request(f"invalid time_in_force {name}") from None


def _unavailable() -> Response:
    return refusal(50310000, "service unavailable", 503)
