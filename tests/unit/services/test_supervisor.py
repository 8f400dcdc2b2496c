"""The supervisor's parts that need no service: ports, the merged log, the data directory's lock."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from edgefleet.errors import Misuse
from edgefleet_services.fleet import data_directory
from edgefleet_services.opening import new_session_id
from edgefleet_services.options import SERVICES, service_port
from edgefleet_services.supervisor import (
    FleetOptions,
    MergedLog,
    Supervisor,
    free_port_block,
    port_is_free,
    require_ports,
)


@pytest.fixture
def taken_port() -> Iterator[int]:
    """A monitor port of whose block the executor's port is in use."""
    port = free_port_block(21_001)  # below the ports that the system hands out: no other test takes a second one
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", service_port("executor", port)))
        listener.listen()
        yield port


def test_all_ports_move_with_the_monitor() -> None:
    moved = {name: service_port(name, 8101) - service_port(name) for name in SERVICES}

    assert set(moved.values()) == {100}


def test_default_ports_are_those_of_the_interface() -> None:
    assert {name: service_port(name) for name in SERVICES} == {
        "monitor": 8001,
        "ingestion": 9101,
        "alpha": 9102,
        "router": 9103,
        "risk": 9104,
        "executor": 9105,
        "params": 9106,
        "ledger": 9107,
        "features": 9109,
        "venue": 9180,
    }


def test_port_in_use_is_told_with_its_service(taken_port: int) -> None:
    with pytest.raises(Misuse, match=rf"port {service_port('executor', taken_port)} \(executor\) is in use; .*--port"):
        require_ports(taken_port)


def test_block_with_a_taken_port_is_passed_over(taken_port: int) -> None:
    assert free_port_block(taken_port, step=1) > taken_port


def test_free_port_is_free() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    assert port_is_free(port)


def test_every_line_of_a_service_ends_up_as_one_event(tmp_path: Path) -> None:
    shown: list[str] = []
    log = MergedLog(tmp_path / "fleet.jsonl", console_level="warning", console=shown.append)

    log.take("risk", b'{"ts":"2024-08-09T00:00:01.5Z","level":"info","event":"stage_restored","n":3}')
    log.take("risk", b'{"ts":"2024-08-09T00:00:02.5Z","level":"warning","event":"order_refused","reason":"VAR_LIMIT"}')
    log.take("alpha", b"Traceback (most recent call last):")
    log.close()

    events = [msgspec.json.decode(line) for line in log.path.read_bytes().splitlines()]
    assert [(event["service"], event["level"], event["event"]) for event in events] == [
        ("risk", "info", "stage_restored"),
        ("risk", "warning", "order_refused"),
        ("alpha", "error", "stderr"),
    ]
    assert [line.split()[1:4] for line in shown] == [
        ["warning", "risk", "order_refused"],
        ["error", "alpha", "stderr"],
    ]


def test_second_fleet_on_a_data_directory_is_refused(tmp_path: Path) -> None:
    with (
        data_directory(tmp_path / "d"),
        pytest.raises(Misuse, match=r"is in use by edgefleet up, pid \d+"),
        data_directory(tmp_path / "d"),
    ):
        pass


def test_data_directory_is_free_again_afterwards(tmp_path: Path) -> None:
    with data_directory(tmp_path / "d"):
        pass

    with data_directory(tmp_path / "d") as again:
        assert again.is_dir()


def test_file_in_place_of_the_data_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(Misuse, match=r"cannot be written \(.*--data-dir"), data_directory(tmp_path / "file" / "d"):
        pass


def test_session_ids_sort_by_their_start() -> None:
    earlier, later = new_session_id(1_723_161_255_000_000_000, "ff"), new_session_id(1_723_161_256_000_000_000, "00")

    assert earlier < later
    assert earlier.startswith("20240808T235415-")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--market", "tape", "--speed", "max", "--tape", "a.gz"), True),
        (("--market", "synthetic", "--seed", "7"), False),
        (None, False),
    ],
)
def test_the_service_that_back_tests_is_told_of_a_tape(
    tmp_path: Path, arguments: tuple[str, ...] | None, told: bool
) -> None:
    options = FleetOptions(
        mode="paper", venue="sim", symbols=("BTC/USDT",), conf_dir=tmp_path, data_dir=tmp_path, redis_url="redis://x",
        port=8001, session="s", account="main", venue_arguments=arguments,
    )  # fmt: skip
    log = MergedLog(tmp_path / "log", console_level="error", console=lambda text: None)

    command = Supervisor(options, log).command("features")

    log.close()
    assert ("--market" in command) is told
    assert ("tape" in command) is told
