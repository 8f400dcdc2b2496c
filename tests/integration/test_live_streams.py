"""Streams as columns, from a real Redis: what was not written by us is carried all the same."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from edgefleet.bus.embedded import EmbeddedServer
from edgefleet.bus.interface import FIRST, Entry
from edgefleet.errors import OutOfReach
from edgefleet.store.live import LiveStreams

pytestmark = pytest.mark.integration


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedServer]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    with EmbeddedServer.start(tmp_path / "redis", port) as running:
        yield running


def test_entries_come_as_columns_and_foreign_ones_as_what_can_be_told_of_them(server: EmbeddedServer) -> None:
    with redis.Redis.from_url(server.url) as client:
        client.xadd("market", {"type": "trade.v1", "data": b"\xff{}"}, id="5-1")
        client.xadd("market", {"data": "late", "type": "t"}, id="5-2")
        client.xadd("market", {"other": "x"}, id="5-3")
        client.xadd("orders", {"type": "o", "data": "1"}, id="7-0")
    live = LiveStreams(server.url)

    found = live.read({"market": FIRST, "orders": FIRST, "fills": FIRST}, 10)
    rest = live.read({"market": "5-2"}, 10)
    live.close()

    assert {name: columns.entries() for name, columns in found.items()} == {
        "market": [Entry("5-1", "trade.v1", b"\xff{}"), Entry("5-2", "t", b"late"), Entry("5-3", "", b"")],
        "orders": [Entry("7-0", "o", b"1")],
    }
    assert found["market"].keys() == ([5, 5, 5], [1, 2, 3])
    assert rest["market"].ids == [b"5-3"]


def test_an_answer_that_nobody_came_for_is_not_taken_for_the_next(server: EmbeddedServer) -> None:
    with redis.Redis.from_url(server.url) as client:
        client.xadd("market", {"type": "trade.v1", "data": b"{}"}, id="5-1")
        client.xadd("orders", {"type": "o", "data": "1"}, id="7-0")
    live = LiveStreams(server.url)

    live.ask({"market": FIRST}, 10)
    found = live.read({"orders": FIRST}, 10)
    live.close()

    assert {name: columns.entries() for name, columns in found.items()} == {"orders": [Entry("7-0", "o", b"1")]}


def test_a_redis_that_went_away_is_told_and_found_again_when_it_is_back(tmp_path: Path) -> None:
    with EmbeddedServer.start(tmp_path / "redis", 0) as first:
        port = first.port
        live = LiveStreams(first.url)
        live.ask({"market": FIRST}, 10)
    with contextlib.suppress(OutOfReach):  # it may have answered before it went
        live.answer()
    with pytest.raises(OutOfReach):
        live.read({"market": FIRST}, 10)

    with EmbeddedServer.start(tmp_path / "redis", port) as again, redis.Redis.from_url(again.url) as client:
        client.xadd("market", {"type": "trade.v1", "data": b"{}"}, id="5-1")
        found = live.read({"market": FIRST}, 10)
    live.close()

    assert found["market"].ids == [b"5-1"]
