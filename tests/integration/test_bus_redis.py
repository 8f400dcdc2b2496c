"""How the bus meets a Redis: what it refuses, what it finds, what other tools can read."""

from __future__ import annotations

import socket
from pathlib import Path

import msgspec
import pytest
import redis

from edgefleet.bus import functions
from edgefleet.bus.embedded import EmbeddedServer
from edgefleet.bus.interface import FIRST, Answer
from edgefleet.bus.redis_bus import RedisBus
from edgefleet.errors import Broken, Misuse, OutOfReach, Transient
from edgefleet.messages import ConfigBody, ParamVersion
from edgefleet.stage import Output
from edgefleet.testing.bus_contract import commit_of, publish, source_commit, trades

pytestmark = pytest.mark.integration


def _one_line(error: BaseException) -> bool:
    return "\n" not in str(error) and ";" in str(error)


async def test_a_redis_that_is_not_there_is_out_of_reach_in_one_line() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    with pytest.raises(OutOfReach, match=f"127.0.0.1:{port}") as raised:
        await RedisBus.connect(f"redis://127.0.0.1:{port}")

    assert _one_line(raised.value)


async def test_a_redis_that_asks_for_a_password_is_misuse_and_the_password_is_never_shown(tmp_path: Path) -> None:
    with EmbeddedServer.start(tmp_path, 0) as server:
        with redis.Redis.from_url(server.url) as client:
            client.config_set("requirepass", "correct")

        for protocol in (2, 3):
            with pytest.raises(Misuse, match="refuses this user") as nameless:
                await RedisBus.connect(server.url, protocol=protocol)
            with pytest.raises(Misuse, match="refuses this user") as wrong:
                await RedisBus.connect(f"redis://:guess@127.0.0.1:{server.port}/0", protocol=protocol)
            assert _one_line(nameless.value)
            assert _one_line(wrong.value)
            assert "guess" not in str(wrong.value)
        async with await RedisBus.connect(f"redis://:correct@127.0.0.1:{server.port}/0") as bus:
            assert await bus.trading_state() is None


async def test_an_address_that_cannot_be_read_is_misuse() -> None:
    with pytest.raises(Misuse, match="redis://host:port/0"):
        await RedisBus.connect("localhost:6379")


async def test_a_second_fleet_is_refused_and_the_first_may_renew(redis_url: str) -> None:
    async with await RedisBus.connect(redis_url) as bus:
        await bus.claim_fleet("first")
        await bus.claim_fleet("first")

        with pytest.raises(OutOfReach, match="belongs to another fleet"):
            await bus.claim_fleet("second")
        await bus.release_fleet("second")
        with pytest.raises(OutOfReach):
            await bus.claim_fleet("second")

        await bus.release_fleet("first")
        await bus.claim_fleet("second")


async def test_a_fleet_of_another_version_keeps_its_functions(redis_url: str) -> None:
    older = functions.SOURCE.replace(functions.SUFFIX, "0_0_9_abc")
    with redis.Redis.from_url(redis_url, protocol=2) as client:
        client.execute_command("FUNCTION", "FLUSH")
        client.execute_command("FUNCTION", "LOAD", older)
        async with await RedisBus.connect(redis_url):
            pass
        loaded = {library[1].decode() for library in client.execute_command("FUNCTION", "LIST")}
        client.execute_command("FUNCTION", "DELETE", "fleet_0_0_9_abc")

    assert loaded == {"fleet_0_0_9_abc", functions.LIBRARY}


async def test_redis_cli_can_read_the_entries_and_the_lag(redis_url: str) -> None:
    async with await RedisBus.connect(redis_url) as bus:
        await publish(bus, trades(5))
        await bus.claim("alpha", "alpha", ["market"])
        entries = (await bus.read({"market": FIRST}, count=3, block_ms=0))["market"]
        await bus.commit(commit_of(entries, FIRST))

    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        (newest,) = client.xrevrange("signals", "+", "-", 1)
        (group,) = client.xinfo_groups("market")
    assert newest[1]["type"] == "trade.v1"
    assert msgspec.json.decode(newest[1]["data"])["quantity"] == "0.5"
    assert (group["name"], group["entries-read"], group["lag"]) == ("alpha", 3, 2)


async def test_an_output_on_a_key_that_is_no_stream_writes_nothing_at_all(redis_url: str) -> None:
    async with await RedisBus.connect(redis_url) as bus:
        await bus.claim("ingestion", "ingestion", ["source:feed"])
        await bus.redis.set("signals", "a string")
        outputs = [Output("market", trades(1)[0]), Output("signals", trades(1)[0])]

        with pytest.raises(Broken, match="signals is not a stream"):
            await bus.commit(source_commit(1, outputs))

        assert (await bus.depth("market")).added == 0
        assert (await bus.load("ingestion", ["source:feed"])).positions["source:feed"] == FIRST


async def test_a_full_server_is_transient_and_nothing_is_half_written(tmp_path: Path) -> None:
    with EmbeddedServer.start(tmp_path, 0) as server:
        async with await RedisBus.connect(server.url) as bus:
            await bus.claim("ingestion", "ingestion", ["source:feed"])
            await bus.redis.config_set("maxmemory", "1mb")

            with pytest.raises(Transient, match="maxmemory"):
                await bus.commit(source_commit(1, [Output("market", trades(1)[0])]))

            assert (await bus.depth("market")).added == 0
            await bus.redis.config_set("maxmemory", "0")
            assert (await bus.commit(source_commit(1, [Output("market", trades(1)[0])]))).answer is Answer.OK


async def test_a_parameter_is_written_with_the_whole_configuration_or_not_at_all(redis_url: str) -> None:
    async def write(bus: RedisBus, expected: int, epoch: int = 0) -> Answer:
        version = ParamVersion(
            component="fleet",
            version=expected + 1,
            sha256="s",
            body="{}",
            author="a person",
            reason="why",
            effective=True,
            config="h1",
            ts_event=1,
            ts_init=1,
        )
        body = ConfigBody(hash="h1", versions={"fleet": expected + 1}, body="{}", ts_event=1, ts_init=1)
        return await bus.params_set(
            "fleet",
            expected=expected,
            version=expected + 1,
            sha256="s",
            body="{}",
            author="a person",
            ts=1,
            reason="why",
            config_hash="h1",
            config_body="{}",
            versions='{"fleet": 1}',
            history=[version, body],
            epoch=epoch,
        )

    async with await RedisBus.connect(redis_url) as bus, bus.subscribe("param.changed") as hints:
        assert await write(bus, 0) is Answer.OK
        assert await write(bus, 0) is Answer.CONFLICT
        assert await anext(hints) == ("param.changed", b"h1")
        await bus.claim("params", "params", [])
        await bus.claim("params", "params", [])
        assert await write(bus, 1, epoch=1) is Answer.FENCED
        assert await write(bus, 1, epoch=2) is Answer.OK

        assert await bus.redis.hget("param:fleet", "version") == b"2"
        assert await bus.redis.hgetall("config:current") == {
            b"hash": b"h1",
            b"body": b"{}",
            b"versions": b'{"fleet": 1}',
        }
        assert await bus.redis.get("config:h1") == b"{}"
        assert (await bus.depth("params.history")).added == 4


async def test_the_incarnation_lives_as_long_as_the_data(redis_url: str) -> None:
    async with await RedisBus.connect(redis_url) as first, await RedisBus.connect(redis_url) as second:
        assert first.incarnation == second.incarnation

        await first.redis.flushall()

        assert (await second.load("alpha", [])).incarnation != first.incarnation


async def test_the_bus_works_on_valkey(valkey_url: str) -> None:
    async with await RedisBus.connect(valkey_url) as bus:
        await bus.claim("ingestion", "ingestion", ["source:feed"])

        assert (await bus.commit(source_commit(1, [Output("market", trades(1)[0])]))).answer is Answer.OK
