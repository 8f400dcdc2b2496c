"""The simulation's own endpoints beside Alpaca's: status, account, faults, health, metrics."""

from __future__ import annotations

from typing import Any

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from edgefleet.clock import NS_PER_MS
from edgefleet.units import decimal_text

from .faults import StockFaultPlan
from .gate import answer
from .market import AlpacaMarket


class SimulationApi:
    """Handlers of `/sim`, `/health` and `/metrics` over one market."""

    def __init__(self, market: AlpacaMarket) -> None:
        self.market = market

    def routes(self) -> list[BaseRoute]:
        """Return the routes."""
        return [
            Route("/sim/status", self.status),
            Route("/sim/account", self.account),
            Route("/sim/faults", self.set_faults, methods=["GET", "POST", "DELETE"]),
            Route("/health", self.health),
            Route("/metrics", self.metrics),
        ]

    async def status(self, request: Request) -> Response:
        progress, broker = self.market.progress, self.market.broker
        total = progress.lines_total
        return answer(
            msgspec.structs.asdict(progress)
            | {
                "progress": None if total is None else progress.lines_served / total,
                "market_time_ms": broker.now_ns // NS_PER_MS,
                "phase": broker.moment().phase,
                "consumers": len(self.market.hub.market_consumers()),
                "symbols": list(broker.account.exchange.rules),
                "open_orders": sum(order.is_open for order in broker.account.orders()),
            }
        )

    async def account(self, request: Request) -> Response:
        exchange = self.market.broker.account.exchange
        return answer(
            {
                "initial": {asset: decimal_text(value) for asset, value in exchange.initial.items()},
                "balances": [
                    {"asset": asset, "free": decimal_text(held.free), "locked": decimal_text(held.locked)}
                    for asset, held in exchange.account().items()
                ],
            }
        )

    async def set_faults(self, request: Request) -> Response:
        """POST replaces the fields it names, DELETE ends all; each tells what is left."""
        if request.method == "DELETE":
            self.market.set_faults(StockFaultPlan())
        elif request.method == "POST":
            current = msgspec.structs.asdict(self.market.faults_left())
            try:
                changes = msgspec.json.decode(await request.body(), type=dict[str, Any])
                self.market.set_faults(msgspec.convert(current | changes, StockFaultPlan))
            except msgspec.MsgspecError as error:
                return answer({"code": 40010000, "message": str(error)}, 400)
        return answer(self.market.faults_left())

    async def health(self, request: Request) -> Response:
        failure = self.market.progress.failure
        status = "ok" if failure is None else "failed"
        return answer({"status": status, "failure": failure}, 200 if failure is None else 503)

    async def metrics(self, request: Request) -> Response:
        return Response(generate_latest(self.market.metrics.registry), media_type=CONTENT_TYPE_LATEST)
