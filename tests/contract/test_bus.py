"""The bus contract on every bus: in memory, on Redis, on Valkey."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from edgefleet.bus.embedded import EmbeddedServer, ServerBinary, bundled_server, find_server
from edgefleet.bus.redis_bus import RedisBus
from edgefleet.testing import MemoryBus
from edgefleet.testing.bus_contract import BusContract, World


class MemoryWorld:
    def __init__(self) -> None:
        self.bus = MemoryBus()
        self._saved: object = None

    async def save(self) -> None:
        self._saved = self.bus.save_point()

    async def roll_back(self) -> None:
        self.bus.roll_back(self._saved)

    async def flush(self) -> None:
        self.bus.flush()

    async def forget(self) -> None:
        pass

    async def lose_oldest(self, stream: str, count: int) -> None:
        self.bus.lose_oldest(stream, count)

    async def set_key(self, key: str, value: str) -> None:
        self.bus.set_key(key, value)

    async def expire(self, key: str) -> None:
        self.bus.expire(key)

    async def damage_snapshot(self, identity: str) -> None:
        self.bus.damage_snapshot(identity)

    async def archived(self, stream: str, mark: str) -> None:
        await self.bus.archived({stream: mark})


class RedisWorld:
    def __init__(self, bus: RedisBus, host: ServerHost) -> None:
        self.bus = bus
        self._host = host

    async def save(self) -> None:
        self._host.save()

    async def roll_back(self) -> None:
        self._host.roll_back()

    async def flush(self) -> None:
        await self.bus.redis.flushall()

    async def forget(self) -> None:
        await self.bus.redis.function_flush()
        for group in await self.bus.redis.xinfo_groups("market"):
            await self.bus.redis.xgroup_destroy("market", group["name"])

    async def lose_oldest(self, stream: str, count: int) -> None:
        length = await self.bus.redis.xlen(stream)
        await self.bus.redis.xtrim(stream, maxlen=length - count, approximate=False)

    async def set_key(self, key: str, value: str) -> None:
        await self.bus.redis.set(key, value)

    async def expire(self, key: str) -> None:
        await self.bus.redis.pexpire(key, 0)

    async def damage_snapshot(self, identity: str) -> None:
        data = await self.bus.redis.get(f"snapshot:{identity}")
        assert isinstance(data, bytes)
        await self.bus.redis.set(f"snapshot:{identity}", data[:-1] + bytes([data[-1] ^ 1]))

    async def archived(self, stream: str, mark: str) -> None:
        await self.bus.archived({stream: mark})


class ServerHost:
    """A server on one port whose past can be brought back."""

    def __init__(self, folder: Path, binary: ServerBinary) -> None:
        self._folder = folder
        self._binary = binary
        self._server = EmbeddedServer.start(folder / "data", 0, server=binary)
        self.url = self._server.url

    def save(self) -> None:
        # Replies leave the server after the append-only file was written, so a copy holds all that was acknowledged.
        shutil.copytree(self._folder / "data", self._folder / "saved")

    def roll_back(self) -> None:
        self._server.kill()
        shutil.rmtree(self._folder / "data")
        (self._folder / "saved").rename(self._folder / "data")
        self._server = EmbeddedServer.start(self._folder / "data", self._server.port, server=self._binary)

    def stop(self) -> None:
        self._server.stop()


@pytest.fixture(scope="module", params=["redis", "valkey"])
def server_host(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerHost]:
    binary = bundled_server() if request.param == "valkey" else find_server()
    if binary is None or not binary.kind.startswith(request.param):
        pytest.skip(f"no {request.param} server is on this machine")
    host = ServerHost(tmp_path_factory.mktemp(request.param), binary)
    yield host
    host.stop()


class TestMemoryBus(BusContract):
    @pytest.fixture
    def world(self) -> World:
        return MemoryWorld()


@pytest.mark.integration
class TestRedisBus(BusContract):
    @pytest.fixture(params=[2, 3], ids=["resp2", "resp3"])
    async def world(self, server_host: ServerHost, request: pytest.FixtureRequest) -> AsyncIterator[World]:
        async with await RedisBus.connect(server_host.url, protocol=request.param) as bus:
            await bus.redis.flushall()
            yield RedisWorld(bus, server_host)
