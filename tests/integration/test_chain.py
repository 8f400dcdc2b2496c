"""The chain, service by service: each is started alone as its container would, and its stream fills."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
from tests.fleet.processes import PROJECT, start, until

from edgefleet_services.options import service_port
from edgefleet_services.supervisor import free_port_block

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]


class Bench:
    """Services that are started one by one on one Redis."""

    def __init__(self, url: str, data_dir: Path) -> None:
        self.url = url
        self.port = free_port_block(8501)
        self.data_dir = data_dir
        self.client = redis.Redis.from_url(url, decode_responses=True)
        self.running: list[subprocess.Popen[str]] = []

    def begin(self, name: str, *more: str) -> None:
        """Start a service and wait until it says that it is well."""
        port = service_port(name, self.port)
        command = ["service", name, "--redis-url", self.url, "--conf", str(PROJECT / "conf"), "--port", str(port)]
        command += [
            "--data-dir",
            str(self.data_dir),
            "--venue-url",
            f"http://127.0.0.1:{service_port('venue', self.port)}",
        ]
        process = start(*command, "--symbols", "BTC/USDT", "--log-level", "error", *more)
        self.running.append(process)
        until(lambda: self._is_well(process, port), within_s=40, what=f"{name} is well")

    def _is_well(self, process: subprocess.Popen[str], port: int) -> bool:
        assert process.poll() is None, process.communicate()[1]
        try:
            return httpx.get(f"http://127.0.0.1:{port}/health", timeout=1).status_code == 200
        except httpx.HTTPError:
            return False

    def types(self, stream: str) -> set[str]:
        return {str((fields or {})["type"]) for _, fields in self.client.xrange(stream) or ()}

    def newest_of(self, stream: str, tag: str) -> dict[str, Any]:
        for _, fields in self.client.xrevrange(stream) or ():
            if (fields or {})["type"] == tag:
                return dict(json.loads((fields or {})["data"]))
        raise AssertionError(f"{stream} has no {tag}")

    def end(self) -> None:
        for process in reversed(self.running):
            process.send_signal(signal.SIGTERM)
        for process in self.running:
            process.communicate(timeout=40)
        self.client.close()


@pytest.fixture
def bench(redis_url: str, tmp_path: Path) -> Iterator[Bench]:
    """A Redis and a place for services."""
    made = Bench(redis_url, tmp_path)
    yield made
    made.end()


def test_each_service_adds_its_stream_to_the_chain(bench: Bench) -> None:
    bench.begin("venue", "--market", "synthetic")
    bench.begin("params")
    until(lambda: {"param_version.v1", "config_body.v1"} <= bench.types("params.history"), within_s=10, what="versions")
    assert bench.types("control") == {"session.v1", "trading_state.v1"}

    bench.begin("ingestion")
    until(
        lambda: {"trade.v1", "quote.v1", "book_snapshot.v1", "book_delta.v1", "beat.v1"} <= bench.types("market"),
        within_s=20,
        what="every kind of market message",
    )
    until(lambda: {"beat.v1", "touch.v1", "bar.v1"} <= bench.types("beats"), within_s=10, what="beats and touches")
    assert bench.client.exists("signals") == 0

    bench.begin("alpha")
    until(lambda: {"signals.v1", "watermark.v1"} <= bench.types("signals"), within_s=20, what="signals")
    assert {edge["model"] for edge in bench.newest_of("signals", "signals.v1")["edges"]} <= {
        "ob_pressure",
        "ma_momentum",
    }

    bench.begin("router")
    until(lambda: {"ensemble.v1", "watermark.v1"} <= bench.types("ensembles"), within_s=20, what="ensembles")

    bench.begin("executor")
    until(lambda: {"account.v1", "reconciled.v1"} <= bench.types("venue.events"), within_s=20, what="the start gate")

    bench.begin("risk")
    until(lambda: bench.types("refusals") | bench.types("targets"), within_s=30, what="a verdict")
    until(lambda: "fill.v1" in bench.types("fills"), within_s=90, what="a fill")
    assert {"order_event.v1"} == bench.types("orders")

    bench.begin("ledger")
    until(lambda: bench.client.keys("ledger:books:*"), within_s=20, what="books")
    until(lambda: list((bench.data_dir / "archive").glob("market/*.parquet")), within_s=40, what="an archive")

    bench.begin("monitor")
    status = httpx.get(f"http://127.0.0.1:{service_port('monitor', bench.port)}/api/v1/status", timeout=5).json()
    assert status["trading_state"]["state"] == "ACTIVE"
    assert {line["service"] for line in status["services"]} >= {"alpha", "router", "risk", "executor", "ledger"}
