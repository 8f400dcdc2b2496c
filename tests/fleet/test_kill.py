"""Services killed with SIGKILL while the recorded market plays, and parameters reloaded in between."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import redis
from tests.fleet.processes import edgefleet, ended, kill_service, report_of, start, until

from edgefleet.messages import decode
from edgefleet.store.history import History
from edgefleet.store.market.archive import MarketArchive
from edgefleet.store.market.maintenance import check_archive

pytestmark = [pytest.mark.faults, pytest.mark.data, pytest.mark.timeout(900)]

KILLED = ("alpha", "router", "risk", "executor", "ledger", "features")
KILLS_EACH = 5
SEED = 20_240_808


def _running(data_dir: Path) -> dict[str, Any] | None:
    path = data_dir / "fleet.json"
    return json.loads(path.read_text()) if path.exists() else None


def _entries(url: str, stream: str) -> int:
    with redis.Redis.from_url(url) as client:
        return int(client.xlen(stream))


def _wait_for(url: str, entries: int) -> None:
    until(lambda: _entries(url, "market") >= entries, within_s=180, what=f"market has {entries} entries")


def test_killed_fleet_does_what_an_undisturbed_one_does(
    tape: tuple[Path, Path], replayed: tuple[dict[str, Any], dict[str, Any]], tmp_path: Path
) -> None:
    rng = random.Random(SEED)
    kills = [name for name in KILLED for _ in range(KILLS_EACH)]
    rng.shuffle(kills)
    moments = sorted(rng.uniform(0.02, 0.92) for _ in kills)
    command = ("up", "--venue", "sim", "--symbols", "BTC/USDT", "--speed", "10", "--until-end", "--json")
    fleet = start(*command, "--data-dir", tmp_path / "d", "--log-level", "critical", "--tape", *tape)

    def kill_and_reload() -> None:
        url = until(lambda: _running(tmp_path / "d"), within_s=60, what="the fleet writes fleet.json")["redis_url"]
        for number, (moment, name) in enumerate(zip(moments, kills, strict=True)):
            _wait_for(url, int(moment * 100_000))
            kill_service(fleet.pid, name)
            if number % 5 == 2:
                share = "0.25" if number % 2 else "0.2"
                changed = edgefleet(
                    "params", "set", "risk_harmonizer", "position_sizing.kelly_fraction", share, "--redis-url", url
                )
                assert changed.returncode == 0, changed.stderr

    report = ended(fleet, meanwhile=kill_and_reload)

    assert {name: report["restarts"][name] for name in KILLED} == dict.fromkeys(KILLED, KILLS_EACH)
    assert set(report["identity"].values()) == {"0", 0}, report["identity"]
    assert report["dead_letters"] == 0
    assert {name: lag for name, lag in report["lag"].items() if lag} == {}
    for stream in ("market", "signals", "ensembles"):
        assert report["digests"][stream] == replayed[0]["digests"][stream], stream

    twin = report_of(edgefleet("twin", "--data-dir", tmp_path / "d", "--json", timeout_s=300))
    assert twin["parity"] == 1.0, twin

    kept = MarketArchive(tmp_path / "d" / "market")
    assert check_archive(kept).whole
    with History.open(tmp_path / "d") as history:
        assert list(kept.read(writers=["fleet"])) == [decode(e.type, e.data) for e in history.entries("market")]
