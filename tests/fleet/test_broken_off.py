"""A fleet whose ground is pulled away: its Redis, its supervisor, its terminal. It heals or ends, and says so."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from tests.fleet.processes import edgefleet, report_of, start, until

pytestmark = [pytest.mark.faults, pytest.mark.timeout(240)]


_started: list[subprocess.Popen[str]] = []


def _start(*arguments: str | Path) -> subprocess.Popen[str]:
    _started.append(start(*arguments))
    return _started[-1]


@pytest.fixture(autouse=True)
def nothing_goes_on() -> Iterator[None]:
    """No fleet outlives its test, whatever became of it."""
    yield
    while _started:
        process = _started.pop()
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=90)


def _word(data_dir: Path, process: subprocess.Popen[str]) -> dict[str, Any] | None:
    assert process.poll() is None, process.communicate()[1]
    path = data_dir / "fleet.json"
    word = json.loads(path.read_text()) if path.exists() else None
    return word if word is not None and word["pid"] == process.pid else None


def _begin(data_dir: Path, *arguments: str | Path) -> tuple[subprocess.Popen[str], redis.Redis]:
    process = _start("up", "--data-dir", data_dir, "--log-level", "critical", "--json", *arguments)
    word = until(lambda: _word(data_dir, process), within_s=60, what="the fleet writes fleet.json")
    return process, redis.Redis.from_url(word["redis_url"], decode_responses=True)


def _entries(client: redis.Redis, stream: str) -> int:
    try:
        return int(client.xlen(stream))
    except redis.RedisError:
        return 0


def _newest(client: redis.Redis, stream: str) -> str:
    return str(client.xinfo_stream(stream)["last-generated-id"])


def _trades(client: redis.Redis) -> bool:
    return _entries(client, "fills") > 1


def _stopped(process: subprocess.Popen[str]) -> tuple[dict[str, Any], str]:
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=90)
    assert process.returncode == 0, errors[-2000:]
    return json.loads(output), errors


def _processes_of(data_dir: Path) -> list[str]:
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            words = entry.read_bytes().split(b"\0")
            if b"service" in words and str(data_dir).encode() in words:
                found.append(words[words.index(b"service") + 1].decode())
    return found


def test_killed_redis_is_started_again_and_nothing_is_lost(tmp_path: Path) -> None:
    fleet, client = _begin(tmp_path / "d")
    until(lambda: _trades(client), within_s=90, what="the fleet trades")
    before = _entries(client, "market")

    os.kill(int(client.info("server")["process_id"]), signal.SIGKILL)

    until(lambda: _entries(client, "market") > before + 50, within_s=60, what="the market goes on")
    report, told = _stopped(fleet)
    assert "Redis      answers again" in told
    assert set(report["identity"].values()) == {"0", 0}, report["identity"]
    assert report_of(edgefleet("twin", "--data-dir", tmp_path / "d", "--json"))["parity"] == 1.0


def test_killed_supervisor_leaves_no_process_and_its_data_directory_goes_on_at_once(tmp_path: Path) -> None:
    fleet, client = _begin(tmp_path / "d")
    until(lambda: _trades(client), within_s=90, what="the fleet trades")

    fleet.kill()
    fleet.communicate()

    until(lambda: not _processes_of(tmp_path / "d"), within_s=20, what="its services are gone")
    again, client = _begin(tmp_path / "d")
    at = _newest(client, "market")
    until(lambda: again.poll() is not None or _newest(client, "market") > at, within_s=90, what="the market goes on")
    report, _ = _stopped(again)
    assert set(report["identity"].values()) == {"0", 0}, report["identity"]
    assert report_of(edgefleet("twin", "--data-dir", tmp_path / "d", "--json"))["parity"] == 1.0


def test_terminal_that_hangs_up_stops_the_fleet_in_order(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup it is ignored, and a fleet keeps to that
    try:
        fleet, client = _begin(tmp_path / "d")
    finally:
        signal.signal(signal.SIGHUP, before)
    until(lambda: _entries(client, "market"), within_s=60, what="the fleet runs")

    fleet.send_signal(signal.SIGHUP)
    output, errors = fleet.communicate(timeout=90)

    assert fleet.returncode == 0, errors[-2000:]
    assert json.loads(output)["lag"] is not None
    assert _processes_of(tmp_path / "d") == []


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_signal_before_the_first_service_is_told_in_the_last_line(tmp_path: Path, signum: int) -> None:
    fleet = _start("up", "--data-dir", tmp_path / "d")
    assert fleet.stderr is not None
    while "stop  " not in fleet.stderr.readline():
        assert fleet.poll() is None

    fleet.send_signal(signum)
    _, errors = fleet.communicate(timeout=60)

    assert fleet.returncode == 130
    assert errors.strip().splitlines()[-1] == "edgefleet: interrupted"
    assert _processes_of(tmp_path / "d") == []


def test_entry_that_nobody_can_read_stands_in_the_report_as_a_dead_letter(tmp_path: Path) -> None:
    fleet, client = _begin(tmp_path / "d")
    until(lambda: _entries(client, "signals"), within_s=60, what="the fleet thinks")

    client.xadd("market", {"type": "trade.v1", "data": '{"price": NaN'})

    until(lambda: _entries(client, "dead.alpha"), within_s=30, what="alpha sets it aside")
    report, _ = _stopped(fleet)
    assert report["dead_letters"] == 1
    assert report_of(edgefleet("twin", "--data-dir", tmp_path / "d", "--json"))["parity"] == 1.0


def test_second_session_on_one_redis_reports_itself_alone(tmp_path: Path, redis_url: str) -> None:
    reports = []
    for name in ("first", "second"):
        fleet, client = _begin(tmp_path / name, "--redis-url", redis_url)
        begun = _newest(client, "control")
        until(lambda: client.xrange("fills", f"({begun}", "+"), within_s=90, what="the account is opened")  # noqa: B023
        reports.append(_stopped(fleet)[0])

    assert [set(report["identity"].values()) for report in reports] == [{"0", 0}, {"0", 0}]
    assert reports[0]["session"] != reports[1]["session"]


def test_tape_on_a_redis_that_holds_a_session_is_refused(tmp_path: Path, redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.xadd("market", {"type": "trade.v1", "data": "{}"})
    tape = tmp_path / "tape"
    tape.write_text(
        '1723161253937085768 {"stream":"btcusdt@trade","data":{"e":"trade","E":1723161255343,"s":"BTCUSDT","t":1,'
        '"p":"61837.63","q":"0.02","T":1723161255342,"m":true}}\n'
        '1723161254206652067 {"lastUpdateId":1,"bids":[["61837.63","1"]],"asks":[["61837.64","1"]]}\n'
    )

    finished = edgefleet("up", "--data-dir", tmp_path / "d", "--redis-url", redis_url, "--tape", tape, "--until-end")

    assert finished.returncode == 2
    assert "holds a session already" in finished.stderr.splitlines()[-1]
