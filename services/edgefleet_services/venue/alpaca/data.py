"""Alpaca's market data API of stocks: bars, trades, quotes, their latest, snapshots. Knows nothing of orders.

Only what this venue has shown since it started is here, whatever feed is asked for.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from edgefleet.matching.broker_orders import bad_request, unprocessable
from edgefleet.matching.hours import eastern
from edgefleet.matching.stock_history import DAY, MINUTE, StockHistory, time_frame

from . import views
from .gate import Gate, Handler, answer
from .market import AlpacaMarket
from .query import day_ns, limit, stamp_ns

PAGE, LARGEST_PAGE = 1_000, 10_000
CURRENCIES = (None, "", "USD")


class DataApi:
    """Handlers of the market data endpoints."""

    def __init__(self, market: AlpacaMarket, gate: Gate) -> None:
        self.market = market
        self._gate = gate

    def routes(self) -> list[BaseRoute]:
        """Return the routes."""
        table: list[tuple[str, Handler]] = [
            ("bars", self.bars),
            ("trades", self.trades),
            ("quotes", self.quotes),
            ("bars/latest", self.latest_bars),
            ("trades/latest", self.latest_trades),
            ("quotes/latest", self.latest_quotes),
            ("snapshots", self.snapshots),
        ]
        return [Route(f"/v2/stocks/{path}", self._gate(handler, unauthorized=403)) for path, handler in table]

    async def bars(self, request: Request) -> Response:
        frame = time_frame(request.query_params.get("timeframe", ""))
        if frame is None:
            raise bad_request(f"invalid timeframe: {request.query_params.get('timeframe', '')!r}")
        return self._page(request, "bars", lambda history: history.bars(frame), lambda bar: bar.start_ns, views.bar)

    async def trades(self, request: Request) -> Response:
        return self._page(request, "trades", lambda h: h.trades, lambda trade: trade.ts_ns, views.trade)

    async def quotes(self, request: Request) -> Response:
        return self._page(request, "quotes", lambda h: h.quotes, lambda quote: quote.ts_ns, views.quote)

    async def latest_bars(self, request: Request) -> Response:
        return self._latest(request, "bars", lambda h: h.bars(MINUTE)[-1:], views.bar)

    async def latest_trades(self, request: Request) -> Response:
        return self._latest(request, "trades", lambda h: list(h.trades)[-1:], views.trade)

    async def latest_quotes(self, request: Request) -> Response:
        return self._latest(request, "quotes", lambda h: list(h.quotes)[-1:], views.quote)

    async def snapshots(self, request: Request) -> Response:
        return answer({symbol: _snapshot(history) for symbol, history in self._asked(request.query_params)})

    def _asked(self, params: QueryParams) -> list[tuple[str, StockHistory]]:
        """Return the histories of the symbols a request names; one that does not trade here has none."""
        if params.get("currency") not in CURRENCIES:
            raise unprocessable(f"currency {params['currency']} is not quoted here; USD is")
        names = [name for name in (params.get("symbols") or "").split(",") if name]
        if not names:
            raise bad_request("symbols is required")
        return [(name, self.market.history[name]) for name in sorted(set(names)) if name in self.market.history]

    def _latest(
        self, request: Request, key: str, last: Callable[[StockHistory], Sequence[Any]], view: Callable[[Any], Any]
    ) -> Response:
        found = ((symbol, last(history)) for symbol, history in self._asked(request.query_params))
        return answer({key: {symbol: view(items[-1]) for symbol, items in found if items}})

    def _page(
        self,
        request: Request,
        key: str,
        items: Callable[[StockHistory], Iterable[Any]],
        stamp: Callable[[Any], int],
        view: Callable[[Any], Any],
    ) -> Response:
        """Answer with a page of what lies between `start` (else midnight in New York) and `end` (else now)."""
        params = request.query_params
        now_ns = self.market.broker.now_ns
        start = stamp_ns(params.get("start"), "start")
        if start is None:
            start = day_ns(f"{eastern(now_ns):%Y-%m-%d}", "start")
        end = stamp_ns(params.get("end"), "end")
        until = now_ns if end is None else end
        found: list[tuple[str, Any]] = []
        for symbol, history in self._asked(params):
            inside = [(symbol, item) for item in items(history) if start <= stamp(item) <= until]
            found += reversed(inside) if params.get("sort") == "desc" else inside
        skip = _skipped(params.get("page_token"))
        size = limit(params.get("limit"), PAGE, LARGEST_PAGE)
        shown: dict[str, list[Any]] = {}
        for symbol, item in found[skip : skip + size]:
            shown.setdefault(symbol, []).append(view(item))
        more = skip + size < len(found)
        return answer({key: shown, "next_page_token": _token(skip + size) if more else None})


def _snapshot(history: StockHistory) -> views.Json:
    days = history.bars(DAY)
    shown: dict[str, tuple[Sequence[Any], Callable[[Any], views.Json]]] = {
        "latestTrade": (list(history.trades)[-1:], views.trade),
        "latestQuote": (list(history.quotes)[-1:], views.quote),
        "minuteBar": (history.bars(MINUTE)[-1:], views.bar),
        "dailyBar": (days[-1:], views.bar),
        "prevDailyBar": (days[-2:-1], views.bar),
    }
    return {name: view(items[0]) if items else None for name, (items, view) in shown.items()}


def _token(skip: int) -> str:
    return urlsafe_b64encode(str(skip).encode()).decode()


def _skipped(token: str | None) -> int:
    if not token:
        return 0
    try:
        skip = int(urlsafe_b64decode(token))
    except ValueError:
        skip = -1
    if skip < 0:
        raise bad_request("invalid page_token")
    return skip
