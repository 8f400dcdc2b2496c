"""The users that `deploy/redis/acl.sh` makes, on a real Redis: what each may do and what it may not."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError
from redis.retry import Retry
from tests.conventions.source import ROOT

PASSWORD = "correct horse"
LIBRARY = (
    "#!lua name=l\nredis.register_function('put', function(k, a) return redis.call('XADD', k[1], '*', 'type', 'x') end)"
)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def connected(port: int, user: str | None = None, password: str | None = None) -> Any:
    """Return a client; `Any` because redis-py leaves `execute_command` and `pubsub` without types."""
    return redis.Redis(
        port=port, username=user, password=password, decode_responses=True, retry=Retry(NoBackoff(), 0), protocol=2
    )


@contextmanager
def server(folder: Path, **environment: str) -> Iterator[int]:
    """Yield the port of a Redis that runs with the users of `acl.sh`."""
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed here")
    users = subprocess.run(
        ["sh", "deploy/redis/acl.sh"],
        cwd=ROOT,
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", "EDGEFLEET_REDIS_PASSWORD": PASSWORD, **environment},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    (folder / "users.acl").write_text(users)
    port = _free_port()
    command = ["redis-server", str(ROOT / "deploy/redis/redis.conf"), "--port", str(port), "--dir", str(folder)]
    process = subprocess.Popen(
        [*command, "--bind", "127.0.0.1", "--aclfile", str(folder / "users.acl")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if "Ready to accept connections" in line:
                break
        else:
            pytest.fail("redis-server ended before it was ready")
        yield port
    finally:
        process.terminate()
        process.communicate(timeout=10)


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with server(tmp_path_factory.mktemp("redis")) as running:
        risk = connected(running, "risk", PASSWORD)
        risk.xadd("fills", {"type": "fill.v1", "data": "{}"})
        risk.set("edge_blended_bps:BTC/USDT", "1.5")
        yield running


READS = (
    "PING",
    "XREVRANGE fills + - COUNT 1",
    "XREAD COUNT 1 STREAMS fills 0",
    "XINFO STREAM fills",
    "GET edge_blended_bps:BTC/USDT",
    "HGETALL features:flags",
    "SCAN 0",
    "INFO server",
    "TTL mode",
)
RIGHTS = (
    'PUBLISH param.reload {"component":"risk_harmoniser"}',
    "SET feature:fast_alpha 1",
    "SET feature:fast_alpha 0 EX 60",
    "SET mode halt",
)
FORBIDDEN = (
    "SET edge_blended_bps:BTC/USDT 9",
    "XADD targets * type x",
    "XADD control * type x",
    "DEL fills",
    "DEL mode",
    "XTRIM fills MAXLEN 0",
    "XGROUP CREATE fills g 0",
    "HSET features:flags a 1",
    "PUBLISH param.changed x",
    "SPUBLISH param.reload x",
    "MSET mode auto other 1",
    "APPEND mode x",
    "RENAME mode feature:x",
    "FCALL put 1 mode",
    "EVAL return(1) 0",
    "FLUSHALL",
    "CONFIG GET *",
    "ACL LIST",
    "SHUTDOWN NOSAVE",
    "CLIENT LIST",
)


@pytest.mark.parametrize("command", [*READS, *RIGHTS])
def test_anybody_on_this_machine_may(port: int, command: str) -> None:
    connected(port).execute_command(*command.split(" "))


@pytest.mark.parametrize("command", FORBIDDEN)
def test_without_a_password_nobody_may(port: int, command: str) -> None:
    with pytest.raises(NoPermissionError):
        connected(port).execute_command(*command.split(" "))


def test_anybody_may_listen_to_the_channels_for_other_programs(port: int) -> None:
    heard = connected(port).pubsub()
    heard.subscribe("risk.edge_blended.BTC/USDT")
    heard.psubscribe("alpha.*")

    assert heard.get_message(timeout=5) is not None
    assert heard.get_message(timeout=5) is not None
    heard.close()


@pytest.mark.parametrize("user", ["risk", "executor", "fleet"])
def test_a_service_loads_and_calls_its_function(port: int, user: str) -> None:
    service = connected(port, user, PASSWORD)

    service.function_load(LIBRARY, replace=True)

    assert service.fcall("put", 1, "targets")


@pytest.mark.parametrize(
    "command", ["FLUSHALL", "SHUTDOWN NOSAVE", "CONFIG SET maxmemory 1", "FUNCTION FLUSH", "ACL LIST"]
)
def test_a_service_may_not_empty_stop_or_reconfigure_the_server(port: int, command: str) -> None:
    with pytest.raises(NoPermissionError):
        connected(port, "risk", PASSWORD).execute_command(*command.split(" "))


def test_a_wrong_password_is_refused(port: int) -> None:
    with pytest.raises(AuthenticationError):
        connected(port, "risk", "guess").ping()


def test_the_closed_default_user_may_do_nothing(tmp_path: Path) -> None:
    with server(tmp_path, EDGEFLEET_REDIS_DEFAULT_USER="closed") as closed:
        with pytest.raises((AuthenticationError, NoPermissionError)):
            connected(closed).ping()

        assert connected(closed, "fleet", PASSWORD).publish("param.reload", "{}") == 0


def test_a_service_can_have_a_password_of_its_own(tmp_path: Path) -> None:
    with server(tmp_path, EDGEFLEET_REDIS_PASSWORD_EXECUTOR="another") as running:
        assert connected(running, "executor", "another").ping()
        with pytest.raises(AuthenticationError):
            connected(running, "executor", PASSWORD).ping()


@pytest.mark.parametrize("problem", [{"EDGEFLEET_REDIS_PASSWORD": ""}, {"EDGEFLEET_REDIS_DEFAULT_USER": "ajar"}])
def test_users_are_not_made_from_a_bad_setting(problem: dict[str, str]) -> None:
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "EDGEFLEET_REDIS_PASSWORD": PASSWORD, **problem}

    answer = subprocess.run(["sh", "deploy/redis/acl.sh"], cwd=ROOT, env=environment, capture_output=True, text=True)

    assert answer.returncode == 2
    assert answer.stderr.count("\n") == 1
