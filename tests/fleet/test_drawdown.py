"""A fleet that loses on the recorded market: the drawdown breaker closes everything, halts, and stays halted."""

from __future__ import annotations

import json
import re
import shutil
import signal
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.parquet as parquet
import pytest
import redis
from tests.fleet.processes import PROJECT, edgefleet, report_of, start, until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]

LIMIT = 0.001  # the shipped models lose this to fees within minutes
YEAR_2025_NS = 1_735_689_600_000_000_000
UP = ("up", "--mode", "demo", "--venue", "sim", "--symbols", "BTC/USDT", "--speed", "max", "--until-end", "--json")


def _conf(root: Path, action: str) -> Path:
    conf = Path(shutil.copytree(PROJECT / "conf", root / "conf"))
    path = conf / "risk_params.yml"
    text = path.read_text()
    for key, value in (
        (r"max_drawdown: [\d.]+(?= +# fraction: fall from)", f"max_drawdown: {LIMIT}"),
        (r"drawdown_warning: [\d.]+", f"drawdown_warning: {LIMIT / 2}"),
        (r"drawdown: \{enabled: true, action: reduce\}", f"drawdown: {{enabled: true, action: {action}}}"),
    ):
        text, count = re.subn(key, value, text)
        assert count == 1, key
    path.write_text(text)
    return conf


def _up(data_dir: Path, conf: Path, tape: tuple[Path, ...]) -> dict[str, Any]:
    finished = edgefleet(*UP, "--data-dir", data_dir, "--conf", conf, "--tape", *tape, timeout_s=300)
    assert finished.returncode == 0, finished.stderr[-3000:]
    return report_of(finished)


def _archived(data_dir: Path, stream: str, kind: str) -> list[dict[str, Any]]:
    """Return the archive's messages of one stream and type, of the newest session, in order."""
    found = []
    for path in sorted(data_dir.rglob(f"**/{stream}/*.parquet")):
        rows = parquet.read_table(path, columns=["id", "type", "data"]).to_pylist()
        found += [
            (tuple(map(int, row["id"].split("-"))), json.loads(row["data"])) for row in rows if row["type"] == kind
        ]
    return [message for _, message in sorted(found, key=lambda one: one[0])]


def test_a_losing_fleet_is_flattened_halted_and_stays_so_over_a_restart_and_a_flushed_redis(
    tmp_path: Path, tape: tuple[Path, Path]
) -> None:
    data_dir, conf = tmp_path / "d", _conf(tmp_path, "flatten")

    first = _up(data_dir, conf, tape[:1])

    moves = [one for one in _archived(data_dir, "control", "breaker.v1") if one["breaker"] == "drawdown"]
    assert [one["after"] for one in moves] == ["OPEN"]
    # A second's move of a fifth of equity, and the fee of the order that was in flight.
    assert LIMIT < moves[0]["observed"] < LIMIT + 0.0004
    verbs = [one["verb"] for one in _archived(data_dir, "control", "command.v1")]
    assert verbs == ["reduce", "flatten", "halt"]
    states = [one["state"] for one in _archived(data_dir, "control", "trading_state.v1")]
    assert states[-2:] == ["REDUCING", "HALTED"]
    assert first["fills"] > 0
    assert abs(Decimal(first["positions"].get("BTC/USDT", "0"))) < Decimal("0.0001")
    assert first["identity"]["ledger_minus_venue"] == "0"

    _stands_still(data_dir, conf)
    for folder in data_dir.glob("redis*"):
        shutil.rmtree(folder)
    _stands_still(data_dir, conf)


def _stands_still(data_dir: Path, conf: Path) -> None:
    """Start the fleet again, on its synthetic market: it is HALTED, and edges come to nothing."""
    fleet = start("up", "--symbols", "BTC/USDT", "--data-dir", data_dir, "--conf", conf, "--json")
    try:
        word = until(lambda: _word(data_dir, fleet.pid), within_s=60, what="fleet.json")
        with redis.Redis.from_url(word["redis_url"], decode_responses=True) as client:
            until(lambda: client.hget("trading:state", "state") == "HALTED", within_s=60, what="the latch")
            before = _newest(client, "ensembles")
            begun = until(lambda: _later(client, "ensembles", before), within_s=90, what="an ensemble")
            until(lambda: _newest(client, "ensembles") > begun + 5_000, within_s=90, what="five seconds of ensembles")
            assert client.hget("trading:state", "state") == "HALTED"
            said = [json.loads((fields or {})["data"]) for _, fields in client.xrange("orders") or ()]
            # Those of the tape are of 2024, also where the executor tells them again to a Redis that forgot.
            assert [one for one in said if one["ts_event"] > YEAR_2025_NS] == []
    finally:
        fleet.send_signal(signal.SIGINT)
        fleet.communicate(timeout=120)


def _word(data_dir: Path, pid: int) -> dict[str, Any] | None:
    path = data_dir / "fleet.json"
    word: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return word if word.get("pid") == pid else None


def _newest(client: redis.Redis, stream: str) -> int:
    """Return when the newest entry came, ms; 0 where there is none."""
    found = client.xrevrange(stream, count=1) or ()
    return max((int(str(entry).partition("-")[0]) for entry, _ in found), default=0)


def _later(client: redis.Redis, stream: str, before: int) -> int:
    found = _newest(client, stream)
    return found if found > before else 0
