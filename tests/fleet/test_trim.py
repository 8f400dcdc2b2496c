"""Streams that are trimmed while the fleet trades: what is gone from Redis is still explained, from the archive."""

from __future__ import annotations

import json
import re
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import redis
from tests.fleet.processes import PROJECT, edgefleet, report_of, start, until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

RETAINED = 300


def test_fill_is_explained_after_its_market_entry_was_trimmed(tmp_path: Path) -> None:
    conf = Path(shutil.copytree(PROJECT / "conf", tmp_path / "conf"))
    path = conf / "fleet.yml"
    path.write_text(re.sub(r"retain_entries: \d+", f"retain_entries: {RETAINED}", path.read_text()))
    fleet = start("up", "--symbols", "BTC/USDT,ETH/USDT", "--conf", conf, "--data-dir", tmp_path / "d")
    try:
        word = until(lambda: _word(tmp_path / "d"), within_s=60, what="fleet.json")
        with redis.Redis.from_url(word["redis_url"], decode_responses=True) as client:
            fill = until(lambda: _first_fill(client), within_s=90, what="a first fill")
            opened = int(fill["ts_init"]) // 1_000_000
            until(lambda: _oldest_ms(client, "market") > opened, within_s=120, what="market is trimmed past the fill")

            answer = report_of(edgefleet("why", fill["order_id"], "--data-dir", tmp_path / "d", "--json"))

            cited = next(link["id"] for link in answer["chain"] if link["stream"] == "market")
            assert not client.xrange("market", cited, cited)
    finally:
        fleet.send_signal(signal.SIGINT)
        fleet.communicate(timeout=120)

    assert answer["missing"] == []
    streams = {link["stream"] for link in answer["chain"]}
    assert {"market", "signals", "ensembles", "targets", "orders", "fills"} <= streams
    twin = report_of(edgefleet("twin", "--data-dir", tmp_path / "d", "--json", timeout_s=120))
    assert twin["parity"] == 1.0, twin


def _word(data_dir: Path) -> dict[str, Any] | None:
    path = data_dir / "fleet.json"
    return json.loads(path.read_text()) if path.exists() else None


def _first_fill(client: redis.Redis) -> dict[str, Any] | None:
    for _, fields in client.xrange("fills") or ():
        if (fields or {})["type"] == "fill.v1":
            return dict(json.loads((fields or {})["data"]))
    return None


def _oldest_ms(client: redis.Redis, stream: str) -> int:
    found = client.xrange(stream, count=1) or ()
    return int(str(found[0][0]).partition("-")[0]) if found else 0
