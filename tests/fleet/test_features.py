"""The service `features` inside a fleet: left out where it is told so, and nobody's trouble where it fails."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
from tests.fleet.processes import PROJECT, edgefleet, kill_service, service_pid, start, until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]


@contextmanager
def _fleet(folder: Path, **fleet: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """Give a demo fleet that is up, and its word on where it is."""
    conf, data_dir = Path(shutil.copytree(PROJECT / "conf", folder / "conf")), folder / "data"
    text = (conf / "fleet.yml").read_text()
    for key, value in fleet.items():
        text = text.replace(f"{key}: true", f"{key}: {value}")
    (conf / "fleet.yml").write_text(text)
    process = start("up", "--data-dir", data_dir, "--conf", conf, "--log-level", "critical")
    try:
        path = data_dir / "fleet.json"
        until(path.exists, within_s=60, what="the fleet writes fleet.json")
        word = json.loads(path.read_text())
        until(lambda: service_pid(process.pid, "ingestion"), within_s=60, what="ingestion runs")
        yield process, word
    finally:
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors[-3000:]


def _hash(word: dict[str, Any], key: str) -> dict[str, str]:
    with redis.Redis.from_url(word["redis_url"], decode_responses=True) as client:
        return dict(client.hgetall(key))


def test_newest_features_are_in_redis_also_after_the_service_was_killed(tmp_path: Path) -> None:
    with _fleet(tmp_path) as (process, word):
        key = "features:online:BTC/USDT@sim"
        before = until(lambda: _hash(word, key).get("mid"), within_s=60, what="a newest row is in Redis")

        kill_service(process.pid, "features")

        until(lambda: _hash(word, key)["mid"].split()[1] > before.split()[1], within_s=60, what="a newer row is there")


def test_a_fleet_that_leaves_it_out_has_no_such_process_and_is_well(tmp_path: Path) -> None:
    with _fleet(tmp_path, keep_features="false") as (process, word):
        data_dir = word["data_dir"]
        answer = until(lambda: _status(data_dir), within_s=60, what="every service of the fleet is well")

        assert service_pid(process.pid, "features") is None
        assert "features" not in {service["service"] for service in answer["services"]}
        assert not (Path(data_dir) / "market").exists()


def _status(data_dir: str) -> dict[str, Any] | None:
    finished = edgefleet("status", "--json", "--data-dir", data_dir)
    found: dict[str, Any] = json.loads(finished.stdout) if finished.returncode == 0 else {}
    return found or None


def test_a_fleet_trades_on_where_it_can_keep_nothing(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "market").write_text("a file in the way")

    with _fleet(tmp_path) as (_, word):

        def fills() -> int:
            with redis.Redis.from_url(word["redis_url"]) as client:
                return int(client.xlen("fills"))

        log = tmp_path / "data" / "logs" / "fleet.jsonl"
        for event in ("features_wait", "service_late"):
            until(lambda event=event: f'"{event}"' in log.read_text(), within_s=30, what=f"{event} is said")  # type: ignore[misc]
        before = fills()
        until(lambda: fills() > before, within_s=90, what="the fleet trades")
