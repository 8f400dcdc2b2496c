"""Paper trading on another venue's live market; the other venue is a second simulated one."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.fleet.processes import PROJECT, edgefleet, start, until

from edgefleet_services.options import service_port
from edgefleet_services.supervisor import free_port_block

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]


@pytest.fixture
def exchange() -> Iterator[int]:
    """The port of a venue that knows nothing of the fleet."""
    port = service_port("venue", free_port_block(8301))
    process = start("service", "venue", "--port", str(port), "--symbols", "BTC/USDT")
    try:
        until(lambda: _answers(port), within_s=30, what="the other venue answers")
        yield port
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/api/v3/time", timeout=1).status_code == 200
    except httpx.HTTPError:
        return False


def _conf(folder: Path, port: int) -> Path:
    conf = Path(shutil.copytree(PROJECT / "conf", folder / "conf"))
    text = (conf / "venues" / "binance.yml").read_text()
    text = text.replace("https://api.binance.com", f"http://127.0.0.1:{port}")
    (conf / "venues" / "elsewhere.yml").write_text(
        text.replace("wss://stream.binance.com:9443", f"ws://127.0.0.1:{port}")
    )
    return conf


def _account(port: int) -> object:
    return httpx.get(f"http://127.0.0.1:{port}/sim/account", timeout=5).json()


def test_paper_fleet_trades_on_another_venues_market_and_sends_it_nothing(tmp_path: Path, exchange: int) -> None:
    conf, data_dir = _conf(tmp_path, exchange), tmp_path / "data"
    before = _account(exchange)
    fleet = start("up", "--mode", "paper", "--venue", "elsewhere", "--conf", conf, "--data-dir", data_dir)
    try:
        word = until(lambda: _word(data_dir), within_s=60, what="fleet.json")
        url = f"http://127.0.0.1:{word['port']}/api/v1/fills"
        fills = until(lambda: _fills(url), within_s=120, what="a first fill")
    finally:
        fleet.send_signal(signal.SIGINT)
        _, errors = fleet.communicate(timeout=120)

    assert fills[0]["instrument"] == "BTC/USDT@elsewhere"
    assert _account(exchange) == before
    report = json.loads((data_dir / "session.json").read_text())
    assert (report["mode"], report["venue"]) == ("paper", "elsewhere")
    assert set(report["identity"].values()) == {"0", 0}, errors


def _word(data_dir: Path) -> dict[str, int] | None:
    path = data_dir / "fleet.json"
    return json.loads(path.read_text()) if path.exists() else None


def _fills(url: str) -> list[dict[str, str]]:
    try:
        return list(httpx.get(url, timeout=5).json())
    except httpx.HTTPError:
        return []


def test_env_file_fills_in_what_the_environment_does_not_say(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("EDGEFLEET_VENUE=nowhere\n")
    shutil.copytree(PROJECT / "conf", tmp_path / "conf")

    finished = edgefleet("up", "--data-dir", tmp_path / "data", cwd=tmp_path)

    assert finished.returncode == 2
    assert "--venue 'nowhere'" in finished.stderr


def test_wrong_value_in_the_environment_is_refused_by_its_name(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("EDGEFLEET__RISK_HARMONIZER__POSITION_SIZING__KELLY_FRACTION=7\n")
    shutil.copytree(PROJECT / "conf", tmp_path / "conf")

    finished = edgefleet("up", "--data-dir", tmp_path / "data", cwd=tmp_path)

    assert finished.returncode == 2
    assert "EDGEFLEET__RISK_HARMONIZER__POSITION_SIZING__KELLY_FRACTION" in finished.stderr


@pytest.mark.parametrize(
    ("script", "symbol", "told"),
    [
        ("run_crypto_session.py", "BTCUSDT", "demo, BTC/USDT on sim"),
        ("run_stocks_session.py", "AAPL", "demo, AAPL/USD on alpaca"),
    ],
)
def test_script_of_a_session_is_up_with_minutes(script: str, symbol: str, told: str, tmp_path: Path) -> None:
    command = [sys.executable, str(PROJECT / "scripts" / script), "--symbols", symbol, "--duration", "0.01"]
    command += ["--data-dir", str(tmp_path / "d")]

    finished = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=PROJECT, check=False)

    assert finished.returncode == 0, finished.stderr
    assert told in finished.stderr
