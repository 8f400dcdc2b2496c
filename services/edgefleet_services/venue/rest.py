"""The REST side of the simulated venue: Binance Spot's `/api/v3`, and the simulation's own `/sim`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from decimal import Decimal, InvalidOperation
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from edgefleet.clock import NS_PER_MS, Clock
from edgefleet.errors import Broken
from edgefleet.matching.engine import Side, TimeInForce
from edgefleet.matching.exchange import OrderRequest, OrderType
from edgefleet.matching.filters import VenueReject
from edgefleet.matching.history import INTERVALS_MS
from edgefleet.matching.wire import DepthSnapshot
from edgefleet.venues.binance.dialect import AS_OF_HEADER

from . import views
from .faults import FaultPlan
from .limits import Limits, TooMany, Usage
from .market import VenueMarket, encode
from .security import Keys, check_signature, check_window

Params = dict[str, str]
Answer = Callable[["RestApi", Params], Any]
Weight = int | Callable[[Request], int]

DEPTH_WEIGHTS = ((100, 5), (500, 25), (1_000, 50), (5_000, 250))
BOOK_PATIENCE_S = 5.0  # a relay fetches its books when the first consumer comes: a depth request waits for them
UNSUPPORTED = ("stopPrice", "icebergQty", "trailingDelta", "strategyId", "pegPriceType")
TAPE_STAMP_HEADER = "x-edgefleet-tape-stamp"  # the recorder's stamp of a recorded snapshot, ns


def _json(content: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(encode(content), status, headers, "application/json")


def _missing(name: str) -> VenueReject:
    return VenueReject(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")


def _required(params: Params, name: str) -> str:
    value = params.get(name)
    if not value:
        raise _missing(name)
    return value


def _integer(params: Params, name: str) -> int | None:
    text = params.get(name)
    if not text:
        return None
    try:
        return int(text)
    except ValueError:
        raise VenueReject(-1100, f"Illegal characters found in parameter '{name}'.") from None


def _decimal(params: Params, name: str) -> Decimal | None:
    text = params.get(name)
    if not text:
        return None
    try:
        value = Decimal(text)
    except InvalidOperation:
        value = Decimal("NaN")
    if not value.is_finite():
        raise VenueReject(-1100, f"Illegal characters found in parameter '{name}'.")
    return value


def _limit(params: Params, default: int, largest: int) -> int:
    limit = _integer(params, "limit")
    if limit is None:
        return default
    if limit < 1:
        raise VenueReject(-1130, "Data sent for parameter 'limit' is not valid.")
    return min(limit, largest)


class RestApi:
    """Handlers of the REST endpoints over one market."""

    def __init__(self, market: VenueMarket, clock: Clock, keys: Keys, limits: Limits) -> None:
        self.market = market
        self.exchange = market.exchange
        self.clock = clock
        self.keys = keys
        self.usage = Usage(self.now_ms, limits)
        market.on_rested_order_traded = self.usage.order_traded

    def now_ms(self) -> int:
        """Return the API clock: wall time, whatever the market's time is, unless a fault sets it wrong."""
        return self.clock.wall_ns() // NS_PER_MS + self.market.faults.clock_skew_ms

    def routes(self) -> list[BaseRoute]:
        """Return the routes of the REST side."""
        public: list[tuple[str, int, Answer]] = [
            ("ping", 1, lambda api, params: {}),
            ("time", 1, lambda api, params: {"serverTime": api.now_ms()}),
            ("exchangeInfo", 20, RestApi.exchange_info),
            ("trades", 25, RestApi.trades),
            ("aggTrades", 4, RestApi.agg_trades),
            ("klines", 2, RestApi.klines),
            ("ticker/24hr", 2, RestApi.day_ticker),
            ("ticker/price", 2, RestApi.price),
            ("ticker/bookTicker", 2, RestApi.book_ticker),
            ("avgPrice", 2, RestApi.average_price),
        ]
        signed: list[tuple[str, str, Weight, Answer]] = [
            ("GET", "account", 20, RestApi.account),
            ("GET", "order", 4, RestApi.get_order),
            ("GET", "allOrders", 20, RestApi.all_orders),
            ("DELETE", "order", 1, RestApi.cancel_order),
            ("GET", "openOrders", _open_orders_weight, RestApi.open_orders),
            ("DELETE", "openOrders", 1, RestApi.cancel_open_orders),
            ("GET", "myTrades", 20, RestApi.my_trades),
            ("GET", "rateLimit/order", 40, lambda api, params: api.usage.order_counts()),
        ]
        keyed: list[tuple[str, Answer]] = [
            ("POST", lambda api, params: {"listenKey": api.market.new_listen_key()}),
            ("PUT", RestApi.keep_listen_key),
            ("DELETE", RestApi.drop_listen_key),
        ]
        routes: list[BaseRoute] = [Route("/api/v3/depth", self._guard("depth", _depth_weight, self.depth))]
        routes += [self._public(path, weight, answer) for path, weight, answer in public]
        routes.append(Route("/api/v3/order", self._guard("order", 1, self.place_order), methods=["POST"]))
        routes.append(Route("/api/v3/order/test", self._guard("order/test", 1, self.test_order), methods=["POST"]))
        routes += [self._signed(method, path, weight, answer) for method, path, weight, answer in signed]
        routes += [self._keyed(method, answer) for method, answer in keyed]
        routes += [
            Route("/sim/status", self.status),
            Route("/sim/account", self.sim_account),
            Route("/sim/faults", self.set_faults, methods=["GET", "POST", "DELETE"]),
            Route("/sim/limits", self.set_limits, methods=["GET", "POST"]),
            Route("/health", self.health),
            Route("/metrics", self.metrics),
        ]
        return routes

    # --- plumbing

    def _guard(
        self, path: str, weight: Weight, handler: Callable[[Request], Awaitable[Response]]
    ) -> Callable[[Request], Awaitable[Response]]:
        """Return `handler` behind the limits and the faults of `/api/v3/<path>`.

        What is refused is said as Binance says it, and every answer tells the address its weight.
        """

        async def guarded(request: Request) -> Response:
            address = request.client.host if request.client is not None else ""
            try:
                self.usage.admit(address, weight if isinstance(weight, int) else weight(request))
                self._strike(address, path)
                answer = await handler(request)
            except TooMany as refusal:
                answer = _refused(refusal)
                answer.headers.update(refusal.headers)
            except VenueReject as reject:
                answer = _refused(reject)
            except Broken as error:
                self.market.break_down(error)
                return _json({"code": -1000, "msg": str(error)}, 500)
            answer.headers.update(self.usage.headers(address))
            return answer

        return guarded

    def _strike(self, address: str, path: str) -> None:
        """Raise what a fault answers in place of a request of `path`."""
        faults = self.market.faults
        if faults.take_limited(path):
            one, now = self.usage.of(address), self.now_ms()
            if faults.rest_limited_status == 418:
                one.ban(faults.retry_after_s, now)
            else:
                one.silence(faults.retry_after_s, now)
            one.refuse(self.usage.limits, now)
        if faults.take_rest_error(path):
            raise VenueReject(-1000, "An unknown error occurred (simulated).", http_status=faults.rest_http_status)

    def _public(self, path: str, weight: int, answer: Answer) -> Route:
        async def handler(request: Request) -> Response:
            return _json(answer(self, _params(request.url.query, "")))

        return Route(f"/api/v3/{path}", self._guard(path, weight, handler))

    def _signed(self, method: str, path: str, weight: Weight, answer: Answer) -> Route:
        async def handler(request: Request) -> Response:
            return _json(answer(self, await self._authentic(request)))

        return Route(f"/api/v3/{path}", self._guard(path, weight, handler), methods=[method])

    def _keyed(self, method: str, answer: Answer) -> Route:
        async def handler(request: Request) -> Response:
            self.keys.check(request.headers.get("x-mbx-apikey"))
            return _json(answer(self, _params(request.url.query, (await request.body()).decode())))

        return Route("/api/v3/userDataStream", self._guard("userDataStream", 2, handler), methods=[method])

    async def _authentic(self, request: Request) -> Params:
        """Return the parameters of a signed request, or raise `VenueReject`."""
        self.keys.check(request.headers.get("x-mbx-apikey"))
        query, body = request.url.query, (await request.body()).decode()
        params = _params(query, body)
        check_window(params, self.now_ms())
        check_signature(query, body, self.keys.secret)
        return params

    def _symbol(self, params: Params) -> str:
        symbol = _required(params, "symbol")
        if symbol not in self.exchange.rules:
            raise VenueReject(-1121, "Invalid symbol.")
        return symbol

    def _symbols(self, params: Params) -> list[str]:
        """Return the symbols a request names by `symbol` or `symbols`, or all."""
        if params.get("symbol"):
            return [self._symbol(params)]
        if params.get("symbols"):
            try:
                names = msgspec.json.decode(params["symbols"], type=list[str])
            except msgspec.DecodeError:
                raise VenueReject(-1100, "Illegal characters found in parameter 'symbols'.") from None
            return [self._symbol({"symbol": name}) for name in names]
        return list(self.exchange.rules)

    def _each(self, params: Params, view: Callable[[str], Any]) -> Any:
        """Return one view where `symbol` is named, else a list of them."""
        views_ = [view(symbol) for symbol in self._symbols(params)]
        return views_[0] if params.get("symbol") else views_

    # --- market data

    def exchange_info(self, params: Params) -> Any:
        return {
            "timezone": "UTC",
            "serverTime": self.now_ms(),
            "rateLimits": self.usage.limits.published(),
            "exchangeFilters": [],
            "symbols": [views.symbol_info(self.exchange.rules[symbol]) for symbol in self._symbols(params)],
        }

    async def depth(self, request: Request) -> Response:
        params = _params(request.url.query, "")
        symbol = self._symbol(params)
        limit = _limit(params, 100, 5_000)
        as_of = request.headers.get(AS_OF_HEADER, "")
        recorded = None if as_of.isdecimal() else self.market.snapshot_for(symbol, limit)
        if recorded is None:
            relayed = self.market.progress.market == "relay"
            book = await self.market.book_of(symbol, BOOK_PATIENCE_S if relayed else 0.0)
            if book is None:
                text = "Internal error; no book of this symbol is known yet. Please try again."
                raise VenueReject(-1001, text, http_status=503)
            if as_of.isdecimal():
                book = book.as_of(int(as_of))
            return _json(views.whole_book(book, limit))
        headers = {TAPE_STAMP_HEADER: str(recorded.stamp_ns)}
        if limit >= 1_000:
            return Response(recorded.body, 200, headers, "application/json")
        whole = msgspec.json.decode(recorded.body, type=DepthSnapshot)
        return _json(views.depth(whole.lastUpdateId, whole.bids[:limit], whole.asks[:limit]), headers=headers)

    def trades(self, params: Params) -> Any:
        history = self.market.history[self._symbol(params)]
        return [views.trade(print_) for print_ in list(history.trades)[-_limit(params, 500, 1_000) :]]

    def agg_trades(self, params: Params) -> Any:
        history = self.market.history[self._symbol(params)]
        first, start, end = (_integer(params, name) for name in ("fromId", "startTime", "endTime"))
        limit = _limit(params, 500, 1_000)
        found = [
            print_
            for print_ in history.trades
            if (first is None or print_.t >= first)
            and (start is None or start <= print_.T)
            and (end is None or end >= print_.T)
        ]
        oldest_first = first is not None or start is not None
        return [views.agg_trade(print_) for print_ in (found[:limit] if oldest_first else found[-limit:])]

    def klines(self, params: Params) -> Any:
        history = self.market.history[self._symbol(params)]
        interval = _required(params, "interval")
        if interval not in INTERVALS_MS:
            raise VenueReject(-1120, "Invalid interval.")
        start, end = _integer(params, "startTime"), _integer(params, "endTime")
        limit = _limit(params, 500, 1_000)
        found = [
            candle
            for candle in history.candles(interval)
            if (start is None or candle.start >= start) and (end is None or candle.start <= end)
        ]
        chosen = found[:limit] if start is not None else found[-limit:]
        return [views.kline(candle, INTERVALS_MS[interval]) for candle in chosen]

    def day_ticker(self, params: Params) -> Any:
        now = self.exchange.market_time_ms

        def view(symbol: str) -> Any:
            market = self.exchange.markets[symbol]
            day = self.market.history[symbol].day(now)
            return views.day_ticker(symbol, day, market.top(Side.BUY), market.top(Side.SELL), now)

        return self._each(params, view)

    def price(self, params: Params) -> Any:
        return self._each(params, lambda symbol: {"symbol": symbol, "price": self._last_price(symbol)})

    def average_price(self, params: Params) -> Any:
        symbol = self._symbol(params)
        candle = next(iter(self.market.history[symbol].candles("5m")[-1:]), None)
        if candle is None:
            return {"mins": 5, "price": views.amount(Decimal(0)), "closeTime": self.exchange.market_time_ms}
        price = format(candle.quote_volume / candle.volume, ".8f")
        return {"mins": 5, "price": price, "closeTime": self.exchange.market_time_ms}

    def _last_price(self, symbol: str) -> str:
        last = self.exchange.markets[symbol].last_trade
        return views.amount(last.p if last is not None else Decimal(0))

    def book_ticker(self, params: Params) -> Any:
        def view(symbol: str) -> Any:
            market = self.exchange.markets[symbol]
            return views.book_ticker(symbol, market.top(Side.BUY), market.top(Side.SELL))

        return self._each(params, view)

    # --- account

    def account(self, params: Params) -> Any:
        balances = self.exchange.account()
        if params.get("omitZeroBalances") == "true":
            balances = {asset: held for asset, held in balances.items() if held.total}
        return views.account(balances, self.exchange.fees, self.exchange.market_time_ms)

    async def place_order(self, request: Request) -> Response:
        params = await self._authentic(request)
        faults = self.market.faults
        if faults.take_error("before"):
            return _unavailable()
        request_, kind = _order_request(params), params.get("newOrderRespType")
        if kind not in (None, "", "ACK", "RESULT", "FULL"):
            raise VenueReject(-1138, "Invalid newOrderRespType.")
        self.usage.admit_order()
        order, executions = self.market.place(request_)
        headers = self.usage.count_order()
        if order.executed:
            self.usage.order_traded()
        if faults.hold_order_response_ms > 0:
            await asyncio.sleep(faults.hold_order_response_ms / 1_000)
        if self.market.faults.take_drop():
            request.scope["edgefleet.transport"].abort()
        if self.market.faults.take_error("after"):
            return _unavailable()
        match kind or ("ACK" if order.type is OrderType.LIMIT_MAKER else "FULL"):
            case "ACK":
                return _json(views.order_ack(order), headers=headers)
            case "RESULT":
                return _json(views.order_result(order), headers=headers)
            case _:
                return _json(views.order_full(order, executions), headers=headers)

    async def test_order(self, request: Request) -> Response:
        _order_request(await self._authentic(request))
        return _json({})

    def get_order(self, params: Params) -> Any:
        order_id, client_id = _order_names(params)
        return views.order(self.exchange.order(self._symbol(params), order_id=order_id, client_order_id=client_id))

    def all_orders(self, params: Params) -> Any:
        symbol, first = self._symbol(params), _integer(params, "orderId")
        found = [order for order in self.exchange.orders(symbol) if first is None or order.order_id >= first]
        limit = _limit(params, 500, 1_000)
        return [views.order(order) for order in (found[-limit:] if first is None else found[:limit])]

    def cancel_order(self, params: Params) -> Any:
        order_id, client_id = _order_names(params)
        execution = self.exchange.cancel(
            self._symbol(params),
            order_id=order_id,
            client_order_id=client_id,
            cancel_id=params.get("newClientOrderId") or f"cancel-{params.get('timestamp', '')}",
        )
        self.market.tell_account([execution])
        return views.cancelled(execution)

    def open_orders(self, params: Params) -> Any:
        return [views.order(order) for order in self.exchange.open_orders(params.get("symbol") or None)]

    def cancel_open_orders(self, params: Params) -> Any:
        executions = self.exchange.cancel_all(self._symbol(params))
        self.market.tell_account(executions)
        return [views.cancelled(execution) for execution in executions]

    def my_trades(self, params: Params) -> Any:
        symbol = self._symbol(params)
        start, end = _integer(params, "startTime"), _integer(params, "endTime")
        limit = _limit(params, 500, 1_000)
        from_id = _integer(params, "fromId")
        if start is not None or end is not None:
            every = self.exchange.trades(symbol, from_id=0, order_id=_integer(params, "orderId"), limit=2**62)
            found = [t for t in every if (start is None or t.time >= start) and (end is None or t.time <= end)]
            return [views.my_trade(trade) for trade in found[:limit]]
        found = self.exchange.trades(symbol, from_id=from_id, order_id=_integer(params, "orderId"), limit=limit)
        return [views.my_trade(trade) for trade in found]

    def keep_listen_key(self, params: Params) -> Any:
        if _required(params, "listenKey") not in self.market.listen_keys:
            raise VenueReject(-1125, "This listenKey does not exist.")
        return {}

    def drop_listen_key(self, params: Params) -> Any:
        self.keep_listen_key(params)
        self.market.drop_listen_key(params["listenKey"])
        return {}

    # --- the simulation's own

    async def status(self, request: Request) -> Response:
        progress = self.market.progress
        total = progress.lines_total
        return _json(
            msgspec.structs.asdict(progress)
            | {
                "progress": None if total is None else progress.lines_served / total,
                "market_time_ms": self.exchange.market_time_ms,
                "consumers": len(self.market.hub.market_consumers()),
                "symbols": list(self.exchange.rules),
                "open_orders": len(self.exchange.open_orders()),
            }
        )

    async def sim_account(self, request: Request) -> Response:
        return _json(
            {
                "initial": {asset: views.amount(value) for asset, value in self.exchange.initial.items()},
                "balances": [views.balance(asset, held) for asset, held in self.exchange.account().items()],
            }
        )

    async def set_faults(self, request: Request) -> Response:
        if request.method == "DELETE":
            self.market.set_faults(FaultPlan())
            self.usage.pardon()
        if request.method == "POST":
            current = msgspec.structs.asdict(self.market.faults_left())
            try:
                changes = msgspec.json.decode(await request.body(), type=dict[str, Any])
                plan = msgspec.convert(current | changes, FaultPlan)
            except msgspec.MsgspecError as error:
                return _json({"code": -1100, "msg": str(error)}, 400)
            new = plan.streams - self.market.faults.streams
            strange = sorted(name for name in new if not self.market.known_stream(name))
            if strange:
                return _json({"code": -1100, "msg": f"unknown stream {strange[0]!r}; name btcusdt@trade, or *"}, 400)
            self.market.set_faults(plan)
        return _json(self.market.faults_left())

    async def set_limits(self, request: Request) -> Response:
        if request.method == "POST":
            current = msgspec.structs.asdict(self.usage.limits)
            try:
                changes = msgspec.json.decode(await request.body(), type=dict[str, Any])
                self.usage.limits = msgspec.convert(current | changes, Limits)
            except msgspec.MsgspecError as error:
                return _json({"code": -1100, "msg": str(error)}, 400)
        return _json(self.usage.shown())

    async def health(self, request: Request) -> Response:
        failure = self.market.progress.failure
        status = "ok" if failure is None else "failed"
        return _json({"status": status, "failure": failure}, 200 if failure is None else 503)

    async def metrics(self, request: Request) -> Response:
        return Response(generate_latest(self.market.metrics.registry), media_type=CONTENT_TYPE_LATEST)


def _unavailable() -> Response:
    return _json({"code": -1000, "msg": "Service unavailable from a restricted location."}, 503)


def _refused(reject: VenueReject) -> Response:
    return _json({"code": reject.code, "msg": reject.message}, reject.http_status)


def _open_orders_weight(request: Request) -> int:
    return 6 if request.query_params.get("symbol") else 80


def _depth_weight(request: Request) -> int:
    """Return what a depth request weighs by its limit; one that cannot be read weighs as the default."""
    asked = request.query_params.get("limit", "")
    limit = min(int(asked), 5_000) if asked.isdecimal() else 100
    return next(weight for largest, weight in DEPTH_WEIGHTS if limit <= largest)


def _params(query: str, body: str) -> Params:
    """Return query and body parameters as one mapping; the query wins, as at Binance."""
    return dict(parse_qsl(body, keep_blank_values=True)) | dict(parse_qsl(query, keep_blank_values=True))


def _order_names(params: Params) -> tuple[int | None, str | None]:
    return _integer(params, "orderId"), params.get("origClientOrderId") or None


def _order_request(params: Params) -> OrderRequest:
    """Return the order a request asks for, or raise `VenueReject` where its words are not known."""
    for name in UNSUPPORTED:
        if params.get(name):
            raise VenueReject(-1106, f"Parameter '{name}' sent when not required.")
    try:
        side = Side(_required(params, "side"))
    except ValueError:
        raise VenueReject(-1117, "Invalid side.") from None
    try:
        kind = OrderType(_required(params, "type"))
    except ValueError:
        raise VenueReject(-1116, "Invalid orderType.") from None
    try:
        tif = TimeInForce(params["timeInForce"]) if params.get("timeInForce") else None
    except ValueError:
        raise VenueReject(-1115, "Invalid timeInForce.") from None
    return OrderRequest(
        symbol=_required(params, "symbol"),
        side=side,
        type=kind,
        quantity=_decimal(params, "quantity"),
        quote_quantity=_decimal(params, "quoteOrderQty"),
        price=_decimal(params, "price"),
        time_in_force=tif,
        client_order_id=params.get("newClientOrderId") or None,
    )
