"""The monitor's HTTP surface: what it knows as JSON, events and a page, and the one thing it may change, the latch."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec
from fastapi import Body, FastAPI, HTTPException, Query, Request, Response
from fastapi.responses import FileResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel, ConfigDict, Field

from edgefleet import __version__
from edgefleet.bus.interface import Latch
from edgefleet.bus.redis_bus import RedisBus
from edgefleet.clock import Clock
from edgefleet.messages import Command
from edgefleet.telemetry.health import Health
from edgefleet.telemetry.metrics import Metrics
from edgefleet_services.monitor.markets import MarketWatch
from edgefleet_services.monitor.outward import ALL
from edgefleet_services.monitor.stress import StressWatch
from edgefleet_services.monitor.watch import Watcher

PAGE = Path(__file__).parent / "page"
EVENT_EVERY_S = 0.5
STATES = {"halt": "HALTED", "reduce": "REDUCING", "resume": "ACTIVE"}
Limit = Annotated[int, Query(ge=1, le=200)]


class TradingOrder(BaseModel):
    """A person's or a program's wish for the latch."""

    model_config = ConfigDict(extra="forbid")

    action: Literal["halt", "reduce", "resume"]
    reason: str = Field(min_length=1, max_length=500)
    by: str | None = Field(
        None, min_length=1, max_length=100, description="the person; without one only tightening works"
    )


class TradingAnswer(BaseModel):
    """The latch after the wish."""

    state: Literal["ACTIVE", "REDUCING", "HALTED"]
    reason: str
    by: str


def create_app(
    watcher: Watcher,
    markets: MarketWatch,
    stress: StressWatch,
    bus: RedisBus,
    *,
    health: Health,
    metrics: Metrics,
    clock: Clock,
    stop: asyncio.Event,
) -> FastAPI:
    """Return the application around a watcher; event streams end when `stop` is set."""
    app = FastAPI(title="edgefleet monitor", version=__version__, docs_url=None, redoc_url=None)

    @app.get("/health", summary="Whether the monitor is well")
    def healthy() -> Response:
        report = health.now()
        return _json(report, 200 if report.ok else 503)

    @app.get("/metrics", summary="Prometheus metrics", response_class=Response)
    def exported() -> Response:
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    @app.get("/api/v1/status", summary="The whole fleet in one object", response_model=dict[str, Any])
    def status() -> Response:
        return _json(watcher.status())

    @app.get("/api/v1/positions", summary="Each account's books at the touch", response_model=list[dict[str, Any]])
    def positions() -> Response:
        return _json(watcher.status()["accounts"])

    @app.get("/api/v1/orders", summary="Orders, newest first", response_model=list[dict[str, Any]])
    def orders(limit: Limit = 50) -> Response:
        return _json(watcher.view.order_lines(limit))

    @app.get("/api/v1/fills", summary="Fills, newest first", response_model=list[dict[str, Any]])
    def fills(limit: Limit = 50) -> Response:
        return _json(watcher.view.fill_lines(limit))

    @app.get("/api/v1/refusals", summary="Refusals, newest first", response_model=list[dict[str, Any]])
    def refusals(limit: Limit = 50) -> Response:
        return _json(watcher.view.refusal_lines(min(limit, 100)))

    @app.get(
        "/api/v1/breakers",
        summary="The last move of each circuit breaker, the open ones first; empty: none has moved",
        response_model=list[dict[str, Any]],
    )
    def breakers() -> Response:
        return _json(watcher.view.breaker_lines())

    @app.get(
        "/api/v1/markets",
        summary="Each symbol over its venues: best, spread, imbalance, VWAP, arbitrage net of fees",
        response_model=list[dict[str, Any]],
    )
    def market_lines() -> Response:
        return _json(markets.lines())

    @app.get(
        "/api/v1/stress",
        summary="Each account in each scenario: loss, equity after, limits broken, what is not covered",
        response_model=list[dict[str, Any]],
    )
    def stress_lines() -> Response:
        return _json(stress.lines)

    @app.get(
        "/api/v1/equity",
        summary="Equity by market time: of each account, and of `all` where there are several",
        response_model=dict[str, list[tuple[int, str]]],
    )
    async def equity() -> Response:
        names = [*watcher.statements, *([ALL] if len(watcher.statements) > 1 else [])]
        return _json({name: await watcher.equity_points(name) for name in names})

    @app.get("/api/v1/trading-state", summary="The latch; null where it was never set")
    async def trading_state() -> TradingAnswer | None:
        latch = await bus.trading_state()
        return None if latch is None else _answer(latch)

    @app.post("/api/v1/trading-state", summary="Halt, reduce or resume")
    async def set_trading_state(request: Request, order: Annotated[TradingOrder, Body()]) -> TradingAnswer:
        _refuse_foreign_pages(request)
        if order.action == "resume" and order.by is None:
            raise HTTPException(403, "only a person resumes: say who with `by`")
        by, now = order.by or "api", clock.wall_ns()
        latch = await bus.latch(STATES[order.action], reason=order.reason, by=by, person=order.by is not None, ts=now)
        if order.action == "resume" and latch.state == "ACTIVE":
            command = Command(verb="resume", reason=order.reason, by=by, ts_event=now, ts_init=now)
            await bus.append("control", command)
        return _answer(latch)

    @app.get(
        "/api/v1/stream",
        summary="The status, orders, fills and refusals as they change",
        response_class=EventSourceResponse,
    )
    async def stream() -> AsyncIterator[ServerSentEvent]:
        while not stop.is_set():
            state = msgspec.json.encode(_page_state(watcher, markets, stress)).decode()
            yield ServerSentEvent(raw_data=state, event="fleet")
            try:
                await asyncio.wait_for(stop.wait(), EVENT_EVERY_S)
            except TimeoutError:
                continue

    @app.get("/", include_in_schema=False)
    def page() -> FileResponse:
        return _file("index.html")

    @app.get("/page/{name}", include_in_schema=False)
    def page_file(name: Literal["app.css", "app.js", "icon.svg"]) -> FileResponse:
        return _file(name)

    return app


def _page_state(watcher: Watcher, markets: MarketWatch, stress: StressWatch) -> dict[str, Any]:
    return {
        **watcher.status(),
        "markets": markets.lines(),
        "stress": stress.brief,
        "orders": watcher.view.order_lines(12),
        "fills": watcher.view.fill_lines(12),
        "refusals": watcher.view.refusal_lines(12),
    }


def _refuse_foreign_pages(request: Request) -> None:
    """Refuse a page of another site that posts through the user's browser."""
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        raise HTTPException(403, "this address may be used from its own page only")


def _answer(latch: Latch) -> TradingAnswer:
    return TradingAnswer.model_validate({"state": latch.state, "reason": latch.reason, "by": latch.by})


def _json(body: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(body), status, media_type="application/json")


def _file(name: str) -> FileResponse:
    headers = {"Cache-Control": "no-cache", "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'"}
    return FileResponse(PAGE / name, headers=headers)
