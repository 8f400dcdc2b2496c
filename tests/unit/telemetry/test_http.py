"""Health and metrics over HTTP, without a service."""

from __future__ import annotations

import json
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from edgefleet.errors import Misuse, OutOfReach
from edgefleet.telemetry.health import Health
from edgefleet.telemetry.http import serve_telemetry
from edgefleet.telemetry.metrics import Metrics
from edgefleet.testing.clock import FakeClock


def test_health_answers_200_when_every_check_is_ok_and_503_when_one_is_not() -> None:
    health, metrics = Health("risk"), Metrics()
    health.report("redis", True, "PONG in 1 ms")

    with serve_telemetry(health, metrics.registry, host="127.0.0.1", port=0) as server:
        url = f"http://127.0.0.1:{server.port}/health"
        with urlopen(url) as answer:
            well = json.load(answer)
        health.report("redis", False, "no answer for 4 s")
        with pytest.raises(HTTPError) as ill:
            urlopen(url)
        told = json.load(ill.value)
        ill.value.close()

    assert well == {"service": "risk", "ok": True, "checks": [{"name": "redis", "ok": True, "detail": "PONG in 1 ms"}]}
    assert ill.value.code == 503
    assert told["checks"][0]["detail"] == "no answer for 4 s"


def test_metrics_are_served_in_the_text_format() -> None:
    metrics = Metrics()
    metrics.refusals.labels(reason="VAR_LIMIT").inc()

    with (
        serve_telemetry(Health("risk"), metrics.registry, host="127.0.0.1", port=0) as server,
        urlopen(f"http://127.0.0.1:{server.port}/metrics") as answer,
    ):
        page = answer.read().decode()

    assert 'edgefleet_refusals_total{reason="VAR_LIMIT"} 1.0' in page


def test_a_port_in_use_is_one_line_with_the_mend() -> None:
    with (
        serve_telemetry(Health("risk"), Metrics().registry, host="127.0.0.1", port=0) as server,
        pytest.raises(Misuse, match=rf"port {server.port} on 127.0.0.1 is in use; .*--port"),
    ):
        serve_telemetry(Health("alpha"), Metrics().registry, host="127.0.0.1", port=server.port)


def test_a_host_that_is_not_this_machine_is_out_of_reach() -> None:
    with pytest.raises(OutOfReach, match=r"cannot listen on 192\.0\.2\.1:0"):
        serve_telemetry(Health("risk"), Metrics().registry, host="192.0.2.1", port=0)


def test_a_loop_that_stops_beating_is_unwell() -> None:
    clock = FakeClock()
    health = Health("risk", clock)
    health.beat("loop", within_ms=2_000)

    at_once = health.now()
    clock.advance(ms=2_001)
    later = health.now()

    assert at_once.ok
    assert not later.ok
    assert later.checks[0].detail == "last seen 2001 ms ago, allowed 2000 ms"


def test_a_service_without_a_check_is_not_called_well() -> None:
    assert not Health("risk").now().ok
