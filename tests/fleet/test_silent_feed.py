"""A feed dies in silence, its connection open: the fleet notices, stands still, says so everywhere, and comes back."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.fleet.processes import until
from tests.fleet.test_demo import Demo, _begin, _end

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

DEADLINE_MS = 6_000


def _shorten(conf: Path) -> None:
    path = conf / "execution.yml"
    text, count = re.subn(r"feed_deadline_ms: \d+", f"feed_deadline_ms: {DEADLINE_MS}", path.read_text())
    assert count == 1
    path.write_text(text)


def _fault(demo: Demo, plan: dict[str, Any]) -> None:
    httpx.post(f"http://127.0.0.1:{demo.port + 1179}/sim/faults", json=plan, timeout=5).raise_for_status()


def _state(demo: Demo) -> tuple[str, str]:
    latch = demo.api("/api/v1/trading-state")
    return latch["state"], latch["by"]


def _newest_order(demo: Demo) -> str:
    with demo.redis() as client:
        last: str = client.xinfo_stream("orders")["last-generated-id"]
    return last


def test_a_frozen_feed_holds_the_fleet_until_it_speaks_again(tmp_path: Path) -> None:
    demo = _begin(tmp_path)
    try:
        _shorten(demo.conf)
        with demo.redis() as client:
            client.publish("param.reload", '{"component": "execution"}')
        until(demo.fills, within_s=60, what="a first fill")

        streams = [
            f"{pair}@{kind}" for pair in ("btcusdt", "ethusdt") for kind in ("trade", "bookTicker", "depth@100ms")
        ]
        _fault(demo, {"silence": dict.fromkeys(streams)})
        until(lambda: _state(demo) == ("REDUCING", "feeds"), within_s=30, what="the hold")
        before = _newest_order(demo)
        until(lambda: "\ntrading_state 1.0" in _metrics(demo, 0) or None, within_s=10, what="the metric")
        until(lambda: _alerts(demo) or None, within_s=10, what="the alert")

        until(lambda: _ages(demo) > 1.5 * DEADLINE_MS / 1_000, within_s=30, what="more silence")
        during = _newest_order(demo)
        _fault(demo, {"silence": {}})
        until(lambda: _state(demo) == ("ACTIVE", "feeds"), within_s=30, what="the end of the hold")
        until(lambda: _newest_order(demo) != during or None, within_s=90, what="an order after the silence")
    finally:
        _end(demo)

    assert during == before


def _metrics(demo: Demo, offset: int) -> str:
    return httpx.get(f"http://127.0.0.1:{demo.port + offset}/metrics", timeout=5).text


def _alerts(demo: Demo) -> list[dict[str, Any]]:
    return [one for one in demo.api("/api/v1/status")["alerts"] if "feed_silent" in one.values()]


def _ages(demo: Demo) -> float:
    found = re.findall(r"^edgefleet_data_age_seconds\{[^}]*\} (\S+)$", _metrics(demo, 1_100), re.MULTILINE)
    return max((float(value) for value in found), default=0.0)
