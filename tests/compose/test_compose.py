"""The whole stack in containers: healthy, scraped, trading, healing, gone. Takes minutes and the ports of Compose."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import pytest
import yaml
from tests.conventions.source import ROOT

from edgefleet.clock import NS_PER_S, SYSTEM

Seen = TypeVar("Seen")

pytestmark = [pytest.mark.docker, pytest.mark.timeout(900)]

FLEET = ("params", "venue", "ingestion", "alpha", "router", "risk", "executor", "ledger", "monitor", "features")
STACK = ("redis", *FLEET, "keeper", "prometheus", "alertmanager", "grafana")
# Run inside a container: its init is process 1 and the service is init's child, so killing that child is a crash.
CRASH = """
import os, pathlib, signal
stats = {p.parent.name: p.read_text().rpartition(")")[2].split() for p in pathlib.Path("/proc").glob("[0-9]*/stat")}
os.kill(next(int(pid) for pid, stat in stats.items() if stat[1] == "1" and int(pid) != os.getpid()), signal.SIGKILL)
"""
RELOAD = '{"component": "risk_harmoniser", "config_path": "conf/risk_params.yml"}'


def _run(*command: str, check: bool = True, timeout: float = 600, stderr: int = subprocess.PIPE) -> str:
    answer = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=stderr, text=True, timeout=timeout)
    if check and answer.returncode != 0:
        raise AssertionError(f"{' '.join(command)} ended with {answer.returncode}:\n{answer.stdout}\n{answer.stderr}")
    return answer.stdout


def _succeeds(*command: str) -> bool:
    return subprocess.run(command, cwd=ROOT, capture_output=True).returncode == 0


def _compose(*arguments: str, check: bool = True) -> str:
    program = ("docker", "compose") if _succeeds("docker", "compose", "version") else ("docker-compose",)
    return _run(*program, "-p", "edgefleet-test", *arguments, check=check)


def _get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return json.load(answer)


def _until(look: Callable[[], Seen | None], seconds: float, what: Callable[[], str]) -> Seen:
    """Return what `look` sees as soon as it sees something; fail with `what` after `seconds`."""
    deadline = SYSTEM.monotonic_ns() + int(seconds * NS_PER_S)
    while True:
        try:
            seen = look()
        except (OSError, urllib.error.URLError, ValueError):
            seen = None
        if seen is not None:
            return seen
        if SYSTEM.monotonic_ns() > deadline:
            pytest.fail(what())
        _run("sleep", "0.5")


def _health(service: str) -> str:
    container = _compose("ps", "-q", service).strip()
    if not container:
        return "no container"
    return _run("docker", "inspect", "-f", "{{.State.Status}} {{.State.Health.Status}}", container, check=False).strip()


def _wait_healthy(services: tuple[str, ...], seconds: float = 180) -> None:
    def all_healthy() -> bool | None:
        return True if all(_health(s) == "running healthy" for s in services) else None

    def tell() -> str:
        sick = {s: _health(s) for s in services if _health(s) != "running healthy"}
        return f"not healthy: {sick}\n" + _compose("logs", "--no-color", "--tail", "30", *sick, check=False)

    _until(all_healthy, seconds, tell)


@pytest.fixture(scope="module")
def stack() -> Iterator[tuple[str, ...]]:
    """Yield the names of the services that run; Grafana is left out by name where its image cannot be had."""
    if shutil.which("docker") is None or not _succeeds("docker", "info"):
        pytest.skip("no Docker engine answers here")
    image = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["grafana"]["image"]
    services: tuple[str, ...] = STACK
    if not _succeeds("docker", "image", "inspect", image) and not _succeeds("docker", "pull", "-q", image):
        services = tuple(s for s in STACK if s != "grafana")
    _compose("down", "-v", "--remove-orphans", check=False)
    try:
        _compose("up", "-d", "--build", *(s for s in services if s != "keeper"))  # which comes with the others
        _wait_healthy(services)
        yield services
    finally:
        _compose("down", "-v", "--remove-orphans", check=False)


def test_every_container_is_healthy(stack: tuple[str, ...]) -> None:
    assert {service: _health(service) for service in stack} == dict.fromkeys(stack, "running healthy")


def test_grafana_serves_the_dashboard(stack: tuple[str, ...]) -> None:
    if "grafana" not in stack:
        pytest.skip("Grafana's image cannot be had here: the rest of the stack was started by name")

    dashboard = _get("http://127.0.0.1:3000/api/dashboards/uid/edge-risk")

    assert dashboard["meta"]["provisioned"]


def test_prometheus_has_every_target_up(stack: tuple[str, ...]) -> None:
    def targets() -> dict[str, str]:
        active = _get("http://127.0.0.1:9090/api/v1/targets?state=active")["data"]["activeTargets"]
        return {target["labels"]["service"]: target["health"] for target in active}

    def all_up() -> bool | None:
        return True if targets() == dict.fromkeys({*FLEET, "prometheus"}, "up") else None

    _until(all_up, 60, lambda: f"targets: {targets()}")


def _newest_fill() -> Any:
    fills = _get("http://127.0.0.1:8001/api/v1/fills")
    return fills[0] if fills else None


def test_an_order_is_filled(stack: tuple[str, ...]) -> None:
    _until(_newest_fill, 120, lambda: "no fill\n" + _compose("logs", "--no-color", "--tail", "20", *FLEET, check=False))


def test_a_reload_typed_on_the_host_needs_no_password(stack: tuple[str, ...]) -> None:
    if shutil.which("redis-cli") is None:
        pytest.skip("redis-cli is not installed here")

    heard_by = _run("redis-cli", "-p", "6379", "PUBLISH", "param.reload", RELOAD)

    assert int(heard_by) >= 1


def test_a_service_that_crashes_is_started_again(stack: tuple[str, ...]) -> None:
    container = _compose("ps", "-q", "risk").strip()
    before = _run("docker", "inspect", "-f", "{{.RestartCount}}", container).strip()

    _compose("exec", "-T", "risk", "python", "-c", CRASH, check=False)

    def restarted() -> bool | None:
        return True if _run("docker", "inspect", "-f", "{{.RestartCount}}", container).strip() != before else None

    _until(restarted, 60, lambda: "risk was not started again")
    _wait_healthy(("risk",), 60)


def _state(service: str) -> str:
    """Return when the service's container was started and what it is: another start is another text."""
    container = _compose("ps", "-a", "-q", service).strip()
    return _run("docker", "inspect", "-f", "{{.State.StartedAt}} {{.State.Status}}", container).strip()


def _keeper_said(event: str) -> list[dict[str, Any]]:
    lines = _run("docker", "logs", _compose("ps", "-q", "keeper").strip(), stderr=subprocess.STDOUT).splitlines()
    return [line for line in map(json.loads, lines) if line["event"] == event]


def test_a_service_that_was_killed_by_compose_is_started_again(stack: tuple[str, ...]) -> None:
    """Docker takes `kill` for a person's stop and restarts nothing; the keeper does (docs/adr/0022)."""
    healed, before = len(_keeper_said("killed_container_started")), _state("risk")

    _compose("kill", "-s", "KILL", "risk")

    def started_again() -> bool | None:
        return True if (now := _state("risk")) != before and now.endswith("running") else None

    _until(started_again, 60, lambda: "risk stayed down\n" + _compose("logs", "--no-color", "keeper", check=False))
    _wait_healthy(stack, 90)
    assert len(_keeper_said("killed_container_started")) == healed + 1
    newest = _newest_fill()
    _until(lambda: True if _newest_fill() != newest else None, 120, lambda: "no fill after risk came back")


def test_a_service_that_was_stopped_stays_stopped_until_it_is_started(stack: tuple[str, ...]) -> None:
    _compose("stop", "risk")
    stopped = _state("risk")
    healed = len(_keeper_said("killed_container_started"))

    # A kill is healed after this stop and takes its turn behind it: by then the keeper had its chance.
    _compose("kill", "-s", "KILL", "alpha")
    _wait_healthy(("alpha",), 90)

    assert len(_keeper_said("killed_container_started")) == healed + 1
    assert _state("risk") == stopped
    assert stopped.endswith("exited")
    _compose("start", "risk")
    _wait_healthy(stack, 90)


def test_a_service_that_is_replaced_is_not_fought(stack: tuple[str, ...]) -> None:
    _compose("kill", "-s", "KILL", "router")

    _compose("up", "-d", "--no-build", "--no-deps", "--force-recreate", "router")

    _wait_healthy(("router",), 90)
    assert len(_compose("ps", "-a", "-q", "router").split()) == 1


def test_a_keeper_that_is_started_again_finds_what_was_killed_meanwhile(stack: tuple[str, ...]) -> None:
    _compose("stop", "keeper")
    _compose("kill", "-s", "KILL", "alpha")

    _compose("start", "keeper")

    _wait_healthy(stack, 120)


def test_a_crash_after_a_signal_that_docker_took_for_a_stop_is_healed(stack: tuple[str, ...]) -> None:
    """Docker restarts no container it ever sent a signal to, as `kill -s USR1 executor`, which halts trading."""
    _compose("kill", "-s", "WINCH", "router")
    before = _state("router")

    _compose("exec", "-T", "router", "python", "-c", CRASH, check=False)

    def started_again() -> bool | None:
        return True if (now := _state("router")) != before and now.endswith("running") else None

    _until(started_again, 60, lambda: f"router stayed {_state('router')}")
    _wait_healthy(("router",), 90)


def test_the_keeper_can_be_left_out(stack: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as left_out:
        left_out.setenv("EDGEFLEET_DOCKER_SOCKET", "/dev/null")
        _compose("up", "-d", "--no-build", "--no-deps", "keeper")
        _wait_healthy(("keeper",), 60)

    assert len(_keeper_said("killed_containers_stay_down")) == 1
    keeper = _compose("ps", "-q", "keeper").strip()
    assert not _succeeds("docker", "exec", keeper, "test", "-S", "/var/run/docker.sock")
    _compose("up", "-d", "--no-build", "--no-deps", "keeper")
    _wait_healthy(("keeper",), 60)


def test_down_leaves_nothing(stack: tuple[str, ...]) -> None:
    _compose("down", "-v", "--remove-orphans")

    assert _compose("ps", "-q").strip() == ""
    for kind in ("container", "network", "volume"):
        listing = ("ls", "-q", *(("-a",) if kind == "container" else ()))
        assert (
            _run("docker", kind, *listing, "--filter", "label=com.docker.compose.project=edgefleet-test").strip() == ""
        )
