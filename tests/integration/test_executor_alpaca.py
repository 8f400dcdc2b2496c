"""The executor as a process, trading stocks at the simulated venue in Alpaca's dialect: from a target to the books."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tests.integration.alpaca_venue import Clients, alpaca, at
from tests.integration.executor_world import World
from tests.integration.venue_server import eventually, free_port

from edgefleet.clock import NS_PER_MS, NS_PER_S, SYSTEM
from edgefleet.messages import Account, Beat, Fill, GatewayOutcome, TouchAge
from edgefleet_services.venue.service import VenueOptions

from .alpaca_client import StockLatestQuoteRequest

pytestmark = pytest.mark.integration

AAPL = "AAPL/USD@alpaca"
INSTRUMENT = """
  AAPL/USD:
    asset_class: us_stocks
    tick_size: 0.01
    lot_size: 1
    min_quantity: 1
    min_notional: 1
"""


class StockWorld(World):
    """The world of an executor that trades a stock."""

    def __init__(self, redis_url: str, clients: Clients, root: Path) -> None:
        super().__init__(redis_url, clients.venue, root)
        self.clients = clients
        instruments = self.conf / "instruments.yml"
        if "AAPL/USD:" not in instruments.read_text():
            instruments.write_text(instruments.read_text() + INSTRUMENT)

    def market_ns(self) -> int:
        """Return the market's time, by which stages judge whether a stock trades: the wall's may be at night."""
        return int(self.venue.status()["market_time_ms"]) * NS_PER_MS

    def approve(self, quantity: str, **changes: Any) -> str:
        now = self.market_ns()
        stamps = {"ts_event": now, "expires_at": now + 60 * NS_PER_S}
        return super().approve(quantity, **{"instrument": AAPL, **stamps, **changes})

    def executor(self, **_: Any) -> subprocess.Popen[bytes]:
        options = {
            "--redis-url": self.redis_url,
            "--conf": str(self.conf),
            "--port": str(free_port()),
            "--venue": "alpaca",
            "--symbols": "AAPL/USD",
            "--data-dir": str(self.data_dir),
            "--venue-url": self.clients.url,
        }
        command = [sys.executable, "-m", "edgefleet_services.cli.main", "service", "executor"]
        log = self._root / f"executor{len(self.processes)}.log"
        with log.open("wb") as out:
            parts = [part for option in options.items() for part in option]
            process = subprocess.Popen([*command, *parts], stdout=out, stderr=out)
        self.processes.append(process)
        self.logs.append(log)
        return process

    def _beat(self) -> None:
        while not self._quit.wait(0.2):
            if not self._beating.is_set():
                continue
            quotes = self.clients.data.get_stock_latest_quote(StockLatestQuoteRequest(symbol_or_symbols="AAPL"))
            bid, ask = (Decimal(str(p)) * self._share for p in (quotes["AAPL"].bid_price, quotes["AAPL"].ask_price))
            now = self.market_ns()
            touch = TouchAge(instrument=AAPL, bid=bid, ask=ask, age_ms=1)
            self.add(
                "beats", Beat(venue="alpaca", touches=(touch,), ts_event=now, ts_init=SYSTEM.wall_ns(), trace_id="beat")
            )


@pytest.fixture
def world(redis_url: str, tmp_path: Path) -> Iterator[StockWorld]:
    options = VenueOptions(
        dialect="alpaca", symbols=("AAPL/USD",), port=0, start_ns=at("2024-11-27 10:00"), warm_up_s=10
    )
    with alpaca(options) as clients:
        made = StockWorld(redis_url, clients, tmp_path)
        try:
            made.prepare()
            yield made
        finally:
            made.close()


def test_target_is_filled_at_the_venue_and_the_books_are_the_venues(world: StockWorld) -> None:
    process = world.started()

    world.approve("2")
    eventually(lambda: world.all(Fill, "fills"), "a fill")
    world.approve("4")
    position = world.clients.trading.get_open_position
    eventually(lambda: Decimal(position("AAPL").qty) == 4, "the second fill")
    eventually(lambda: sum(fill.quantity for fill in world.all(Fill, "fills")) == 4, "every fill told")

    assert world.stop(process) == 0, world.log()
    last = world.all(Account, "fills")[-1]
    assert last.reason == "stop"
    assert last.balances["AAPL"].free == 4
    assert last.balances["USD"].free == Decimal(world.clients.trading.get_account().cash)
    told = {fill["id"].rpartition("::")[2] for fill in world.clients.trading.get("/account/activities/FILL")}
    assert {fill.trade_id for fill in world.all(Fill, "fills")} == told


def test_lost_answer_is_found_again_and_booked_once(world: StockWorld) -> None:
    process = world.started()
    world.faults(drop_order_response=1)

    world.approve("3")

    eventually(lambda: world.all(Fill, "fills"), "a fill")
    outcomes = [message.outcome for message in world.all(GatewayOutcome, "venue.events")]
    assert "UNKNOWN" in outcomes
    assert world.stop(process) == 0, world.log()
    assert sum(fill.quantity for fill in world.all(Fill, "fills")) == 3
    assert Decimal(world.clients.trading.get_open_position("AAPL").qty) == 3


def test_executor_that_was_killed_starts_again_with_what_the_venue_says(world: StockWorld) -> None:
    process = world.started()
    world.approve("2")
    eventually(lambda: world.all(Fill, "fills"), "a fill")
    world.kill(process)

    process = world.started()
    world.approve("5")
    eventually(lambda: sum(fill.quantity for fill in world.all(Fill, "fills")) == 5, "the rest")

    assert world.stop(process) == 0, world.log()
    assert Decimal(world.clients.trading.get_open_position("AAPL").qty) == 5
