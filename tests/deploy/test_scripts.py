"""The shell and Python scripts that users run beside the fleet, each against a server that this file brings."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.conventions.source import ROOT


class Grafana:
    """As much of Grafana's HTTP API as an import needs, holding what was written."""

    def __init__(self) -> None:
        self.datasources: dict[str, Any] = {}
        self.dashboards: dict[str, Any] = {}
        self.writes = 0

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        match method, path.split("/")[1:]:
            case "GET", ["api", "health"]:
                return 200, {"database": "ok"}
            case "GET", ["api", "datasources", "uid", uid]:
                return (200, self.datasources[uid]) if uid in self.datasources else (404, {})
            case "POST", ["api", "datasources"]:
                self.writes += 1
                self.datasources[body["uid"]] = body
                return 200, {}
            case "GET", ["api", "dashboards", "uid", uid]:
                known = uid in self.dashboards
                return (200, {"meta": {}, "dashboard": self.dashboards[uid]}) if known else (404, {})
            case "POST", ["api", "dashboards", "db"]:
                self.writes += 1
                self.dashboards[body["dashboard"]["uid"]] = body["dashboard"]
                return 200, {"status": "success"}
        return 404, {"message": f"{method} {path}"}


@pytest.fixture
def grafana() -> Iterator[tuple[Grafana, str]]:
    state = Grafana()

    class Handler(BaseHTTPRequestHandler):
        def _handle(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            allowed = self.path == "/api/health" or self.headers.get("Authorization") == "Bearer right"
            status, answer = (
                state.answer(self.command, self.path, json.loads(body or b"null")) if allowed else (401, {})
            )
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(answer, separators=(",", ":")).encode())

        do_GET = do_POST = _handle

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield state, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def grafana_import(url: str, token: str = "right") -> subprocess.CompletedProcess[str]:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed here")
    environment = {**os.environ, "GRAFANA_URL": url, "GRAFANA_TOKEN": token}
    return subprocess.run(["scripts/grafana_import.sh"], cwd=ROOT, env=environment, capture_output=True, text=True)


def test_importing_dashboards_twice_changes_nothing_the_second_time(grafana: tuple[Grafana, str]) -> None:
    state, url = grafana

    first = grafana_import(url)
    written = state.writes
    second = grafana_import(url)

    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert written == 1 + len(list((ROOT / "grafana/dashboards").glob("*.json")))
    assert state.writes == written
    assert "imported  edge-risk" in first.stdout
    assert "unchanged edge-risk" in second.stdout
    original = json.loads((ROOT / "grafana/dashboards/edge-risk.json").read_text())
    assert state.dashboards["edge-risk"]["panels"] == original["panels"]


def test_a_dashboard_that_somebody_changed_is_written_again(grafana: tuple[Grafana, str]) -> None:
    state, url = grafana
    grafana_import(url)
    state.dashboards["edge-risk"] = {**state.dashboards["edge-risk"], "tags": ["edgefleet"], "panels": []}

    again = grafana_import(url)

    assert "imported  edge-risk" in again.stdout
    assert state.dashboards["edge-risk"]["panels"]


@pytest.mark.parametrize(("reachable", "token", "code"), [(True, "wrong", 2), (False, "right", 3)])
def test_an_import_that_cannot_work_says_so_in_one_line(
    grafana: tuple[Grafana, str], reachable: bool, token: str, code: int
) -> None:
    _, url = grafana

    answer = grafana_import(url if reachable else "http://127.0.0.1:9", token)

    assert answer.returncode == code
    assert [line for line in answer.stderr.splitlines() if line.startswith("grafana_import: ")]


async def test_the_relay_carries_bytes_both_ways_and_stops_on_sigterm() -> None:
    """127.0.0.2 stands in for Docker's bridge address."""
    if not sys.platform.startswith("linux"):
        pytest.skip("only Linux has all of 127.0.0.0/8 on its loopback")

    async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(line.upper())
        writer.close()

    service = await asyncio.start_server(shout, "127.0.0.1", 0)
    port = service.sockets[0].getsockname()[1]
    relay = await asyncio.create_subprocess_exec(
        sys.executable, "scripts/scrape_relay.py", "127.0.0.2", str(port), cwd=ROOT
    )
    try:
        reader, writer = await _connected("127.0.0.2", port)
        writer.write(b"metrics\n")
        assert await reader.readline() == b"METRICS\n"
    finally:
        relay.send_signal(signal.SIGTERM)
        code = await asyncio.wait_for(relay.wait(), 10)  # although the connection is still open
        service.close()
    writer.close()
    await writer.wait_closed()
    assert code == 0


async def _connected(address: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    async with asyncio.timeout(10):
        while True:
            try:
                return await asyncio.open_connection(address, port)
            except ConnectionRefusedError:
                await asyncio.sleep(0.02)


@pytest.mark.parametrize("asked", [["run"], ["dev"]])
def test_a_python_that_is_not_supported_is_named_in_one_line(tmp_path: Path, asked: list[str]) -> None:
    environment = {**os.environ, "PYTHON": "/bin/false", "VENV": str(tmp_path / "venv")}

    answer = subprocess.run(["scripts/bootstrap.sh", *asked], cwd=ROOT, env=environment, capture_output=True, text=True)

    assert answer.returncode == 2
    assert answer.stderr == "bootstrap: PYTHON=/bin/false is not a Python 3.11, 3.12 or 3.13\n"
    assert not (tmp_path / "venv").exists()


def test_an_unknown_set_of_packages_is_refused() -> None:
    answer = subprocess.run(["scripts/bootstrap.sh", "everything"], cwd=ROOT, capture_output=True, text=True)

    assert answer.returncode == 2
    assert "run or dev" in answer.stderr
