"""What one event costs in feed, alpha and router: decode, step, encode. Targets: 30 us an event, 1 us a route."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgefleet.alpha.stage import AlphaStage
from edgefleet.ensemble.routes import Routes
from edgefleet.ensemble.stage import RouterStage
from edgefleet.messages import decode, encode, tag_of
from edgefleet.params.schema import FleetConfig
from edgefleet.stage import Input, Stage
from edgefleet.venues.binance.feed import BinanceFeed
from edgefleet.venues.tape import read_tape

pytestmark = [pytest.mark.performance, pytest.mark.data]

EVENTS = 20_000
TARGET_US = 30.0
CONFIG = FleetConfig.model_validate({"features": {"min_interval_ms": 0}})
Encoded = list[tuple[str, bytes]]


@pytest.fixture(scope="module")
def market(recorded: Path) -> Encoded:
    feed = BinanceFeed("sim", ["BTC/USDT"])
    lines = list(read_tape([recorded / "binance_spot" / "btcusdt_20240808.gz"]))[:EVENTS]
    for line in lines[:8]:
        feed.on_line(line.stamp_ns, line.body, ts_init=1)
    encoded: Encoded = []

    def run() -> None:
        for line in lines[8:]:
            for output in feed.on_line(line.stamp_ns, line.body, ts_init=1):
                if output.stream == "market":
                    encoded.append((tag_of(output.message), encode(output.message)))

    assert _us_per("feed", len(lines) - 8, run) < TARGET_US
    return encoded


def test_each_stage_keeps_its_budget(market: Encoded) -> None:
    signals, alpha_us = _through(AlphaStage(), "market", market)
    _, router_us = _through(RouterStage(), "signals", signals)

    assert alpha_us < TARGET_US
    assert router_us < TARGET_US


def test_route_is_found_within_a_microsecond() -> None:
    routes = Routes(CONFIG)
    routes.route("BTC/USDT@sim", 10_000)

    def run() -> None:
        for _ in range(100_000):
            routes.route("BTC/USDT@sim", 10_000)

    assert _us_per("route", 100_000, run) < 1.0


def _through(stage: Stage[Any], stream: str, events: Encoded) -> tuple[Encoded, float]:
    state = stage.initial()
    out: Encoded = []

    def run() -> None:
        for number, (tag, data) in enumerate(events):
            for output in stage.step(state, Input(stream, f"{number}-0", decode(tag, data)), CONFIG):
                out.append((tag_of(output.message), encode(output.message)))

    return out, _us_per(stage.service, len(events), run)


def _us_per(name: str, count: int, run: Callable[[], None]) -> float:
    """Return the microseconds of processor time per item, and leave them for `pytest -rP`."""
    begun = time.process_time_ns()
    run()
    spent = (time.process_time_ns() - begun) / 1_000 / count
    os.write(1, f"{name}: {spent:.2f} us\n".encode())
    return spent
