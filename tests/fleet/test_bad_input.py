"""What a user can get wrong before a fleet starts: one clear line, the right exit code, nothing half-started."""

from __future__ import annotations

import gzip
import json
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from tests.fleet.processes import PROJECT, edgefleet, start, until

from edgefleet_services.options import service_port
from edgefleet_services.supervisor import free_port_block

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

LINE = (
    b'1723161253937085768 {"stream":"btcusdt@trade","data":{"e":"trade","E":1723161255343,"s":"BTCUSDT","t":1,'
    b'"p":"61837.63","q":"0.02","T":1723161255342,"m":true}}\n'
)


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    """A configuration of the test's own."""
    return Path(shutil.copytree(PROJECT / "conf", tmp_path / "conf"))


def _refused(finished: subprocess.CompletedProcess[str], code: int, *parts: str) -> None:
    assert finished.returncode == code, (finished.returncode, finished.stderr)
    assert finished.stdout == ""
    lines = finished.stderr.strip().splitlines()
    assert lines, "nothing was said"
    assert lines[-1].startswith("edgefleet: "), finished.stderr
    assert "Traceback" not in finished.stderr
    for part in parts:
        assert part in lines[-1]


def _up(tmp_path: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return edgefleet("up", "--data-dir", tmp_path / "data", *arguments)


def _tape(tmp_path: Path, body: bytes, name: str = "tape") -> Path:
    path = tmp_path / name
    path.write_bytes(body)
    return path


def test_line_that_is_no_json_is_named_with_its_file_and_number(tmp_path: Path) -> None:
    tape = _tape(tmp_path, LINE + b"1723161253937085768 {not json}\n")

    _refused(_up(tmp_path, "--tape", tape, "--until-end"), 2, str(tape), "line 2")


def test_truncated_gzip_is_named(tmp_path: Path) -> None:
    tape = _tape(tmp_path, gzip.compress(LINE * 500)[:-20], "tape.gz")

    _refused(_up(tmp_path, "--tape", tape, "--until-end"), 2, str(tape), "truncated")


def test_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    _refused(_up(tmp_path, "--tape", tmp_path / "absent.gz", "--until-end"), 2, "absent.gz")


def test_symbol_that_is_not_configured_is_named(tmp_path: Path) -> None:
    _refused(_up(tmp_path, "--symbols", "DOGE/USDT"), 2, "DOGE/USDT", "instruments.yml")


def test_symbol_that_is_not_on_the_tape_is_named(tmp_path: Path) -> None:
    _refused(_up(tmp_path, "--symbols", "ETH/USDT", "--tape", _tape(tmp_path, LINE)), 2, "ETH/USDT", "BTCUSDT")


def test_tape_without_a_depth_snapshot_is_refused(tmp_path: Path) -> None:
    tape = _tape(tmp_path, LINE)

    _refused(_up(tmp_path, "--tape", tape, "--until-end"), 2, "no depth snapshot")
    _refused(edgefleet("replay", "--tape", tape), 2, "no depth snapshot")


def test_end_of_a_market_that_has_none_is_refused(tmp_path: Path) -> None:
    _refused(_up(tmp_path, "--until-end"), 2, "--tape", "--duration")


@pytest.mark.parametrize("arguments", [("--mode", "real"), ("--speed", "7"), ("--venue", "mtgox"), ("--symbols", ",")])
def test_wrong_word_is_told_with_the_right_ones(tmp_path: Path, arguments: tuple[str, str]) -> None:
    with_tape = ("--tape", _tape(tmp_path, LINE)) if arguments[0] == "--speed" else ()

    _refused(_up(tmp_path, *arguments, *with_tape), 2)


def test_live_trading_needs_more_than_a_word(tmp_path: Path) -> None:
    _refused(_up(tmp_path, "--mode", "live", "--venue", "binance"), 2, "--i-accept-live-trading")
    _refused(_up(tmp_path, "--mode", "live", "--venue", "binance", "--i-accept-live-trading"), 2, "EDGEFLEET_VENUE_KEY")


def test_directory_without_configuration_is_told(tmp_path: Path) -> None:
    _refused(_up(tmp_path, "--conf", tmp_path / "nowhere"), 2, "nowhere", "edgefleet init")


@pytest.mark.parametrize(
    ("file", "before", "after", "parts"),
    [
        ("fleet.yml", "account:", "acount:", ("fleet.yml", "acount")),
        ("fleet.yml", "touch_interval_ms: 100", "touch_interval_ms: soon", ("fleet.yml", "touch_interval_ms")),
        ("risk_params.yml", "kelly_fraction: 0.25", "kelly_fraction: 2.5", ("risk_params.yml", "kelly_fraction")),
    ],
)
def test_wrong_parameter_is_told_with_file_line_and_key(
    tmp_path: Path, conf: Path, file: str, before: str, after: str, parts: tuple[str, ...]
) -> None:
    path = conf / file
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))
    line = text[: text.index(before)].count("\n") + 1

    _refused(_up(tmp_path, "--conf", conf), 2, *parts, f":{line}")


def test_port_in_use_is_told_with_its_service(tmp_path: Path) -> None:
    port = free_port_block(8401)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", service_port("risk", port)))
        listener.listen()

        _refused(_up(tmp_path, "--port", str(port)), 2, str(service_port("risk", port)), "(risk)")


def test_data_directory_that_cannot_be_written_is_told() -> None:
    finished = edgefleet("up", "--data-dir", "/proc/edgefleet")

    _refused(finished, 2, "/proc/edgefleet", "cannot be written")


def test_redis_that_is_down_is_out_of_reach(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    _refused(_up(tmp_path, "--redis-url", f"redis://127.0.0.1:{port}/0"), 3, str(port))


def test_redis_that_asks_for_a_password_is_told(tmp_path: Path, redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.config_set("requirepass", "secret")
        try:
            finished = _up(tmp_path, "--redis-url", redis_url)
        finally:
            client.auth("secret")
            client.config_set("requirepass", "")

    _refused(finished, 2, "password")


@pytest.fixture
def fleet(tmp_path: Path, redis_url: str) -> Iterator[Path]:
    """A small fleet that runs on the test's Redis; its data directory."""
    data_dir = tmp_path / "first"
    process = start("up", "--data-dir", data_dir, "--redis-url", redis_url)
    try:
        until(lambda: (data_dir / "fleet.json").exists(), within_s=60, what="the fleet has begun")
        with redis.Redis.from_url(redis_url) as client:
            until(lambda: client.exists("fleet:owner"), within_s=30, what="the fleet owns its Redis")
        yield data_dir
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=90)


def test_second_fleet_is_refused_and_the_first_goes_on(tmp_path: Path, redis_url: str, fleet: Path) -> None:
    _refused(_up(tmp_path, "--redis-url", redis_url), 3, "belongs to another fleet")
    _refused(edgefleet("up", "--data-dir", fleet), 2, "is in use by edgefleet up")

    with redis.Redis.from_url(redis_url) as client:
        until(lambda: client.xlen("signals"), within_s=60, what="the first fleet thinks on")


def test_fleet_that_cannot_start_leaves_nothing_behind(tmp_path: Path, redis_url: str) -> None:
    with socket.socket() as listener:
        port = free_port_block(8451)
        listener.bind(("127.0.0.1", service_port("ledger", port)))
        listener.listen()

        _refused(_up(tmp_path, "--port", str(port), "--redis-url", redis_url), 2)

    with redis.Redis.from_url(redis_url) as client:
        assert client.keys() == []


def test_status_without_a_fleet_is_out_of_reach(tmp_path: Path) -> None:
    _refused(edgefleet("status", "--port", "8999", cwd=tmp_path), 3, "8999")


def test_why_about_nothing_known_is_told(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()

    _refused(edgefleet("why", "BTC/USDT", "--data-dir", tmp_path / "empty"), 2)


def test_json_goes_alone_to_stdout(tmp_path: Path) -> None:
    finished = edgefleet("doctor", "--json", cwd=PROJECT)

    assert set(json.loads(finished.stdout)) == {"checks", "ok"}
    assert tmp_path.is_dir()
