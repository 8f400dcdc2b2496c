"""The supervisor's parts that need no service: ports, the merged log, the data directory's lock."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from edgefleet.errors import Misuse, OutOfReach
from edgefleet_services.fleet import data_directory
from edgefleet_services.markets import FleetVenue
from edgefleet_services.opening import new_session_id
from edgefleet_services.options import MAX_VENUES, SERVICES, TradedVenue, service_port, traded_venues
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


@pytest.fixture
def second_venue_s_port_taken() -> Iterator[int]:
    """A monitor port of whose block all is free but the port of a second simulated venue."""
    port = free_port_block(22_001, venues=2)
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", service_port("venue", port, 1)))
        listener.listen()
        yield port


def fleet(folder: Path, *venues: FleetVenue, port: int = 8001) -> FleetOptions:
    return FleetOptions(
        mode="paper", venues=venues, conf_dir=folder, data_dir=folder, redis_url="redis://x", port=port, session="s",
        account="main",
    )  # fmt: skip


def simulated(name: str, number: int, *symbols: str, arguments: tuple[str, ...] = ("--market", "relay")) -> FleetVenue:
    url = f"http://127.0.0.1:{service_port('venue', 8001, number)}"
    return FleetVenue(name=name, symbols=symbols, url=url, arguments=arguments)


def two_venues(folder: Path) -> FleetOptions:
    return fleet(
        folder,
        simulated("sim", 0, "BTC/USDT", "ETH/USDT", arguments=("--market", "synthetic", "--seed", "7")),
        simulated("sim2", 1, "BTC/USDT"),
    )


def command(options: FleetOptions, name: str, folder: Path) -> list[str]:
    log = MergedLog(folder / "log", console_level="error", console=lambda text: None)
    try:
        return Supervisor(options, log).command(name)
    finally:
        log.close()


def value(command: list[str], option: str) -> str:
    return command[command.index(option) + 1]


def traded_by(command: list[str]) -> tuple[TradedVenue, ...]:
    """Return what a service that is started so reads from its options, as the command line does."""
    urls = value(command, "--venue-url") if "--venue-url" in command else None
    return traded_venues(value(command, "--venue"), value(command, "--symbols"), urls)


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
        mode="paper", venues=(FleetVenue(name="sim", symbols=("BTC/USDT",), arguments=arguments),), conf_dir=tmp_path,
        data_dir=tmp_path, redis_url="redis://x", port=8001, session="s", account="main",
    )  # fmt: skip
    log = MergedLog(tmp_path / "log", console_level="error", console=lambda text: None)

    command = Supervisor(options, log).command("features")

    log.close()
    assert ("--market" in command) is told
    assert ("tape" in command) is told


@pytest.mark.parametrize("service", [name for name in SERVICES if name != "venue"])
def test_every_service_is_told_of_all_venues_and_their_addresses(tmp_path: Path, service: str) -> None:
    told = command(two_venues(tmp_path), service, tmp_path)

    assert traded_by(told) == (
        TradedVenue(name="sim", symbols=("BTC/USDT", "ETH/USDT"), url="http://127.0.0.1:9180"),
        TradedVenue(name="sim2", symbols=("BTC/USDT",), url="http://127.0.0.1:9181"),
    )
    assert told[told.index("service") + 1] == service
    assert "--seed" not in told


def test_a_simulated_venue_is_told_of_itself_alone_and_what_it_plays(tmp_path: Path) -> None:
    options = two_venues(tmp_path)

    first, second = (command(options, name, tmp_path) for name in ("venue.sim", "venue.sim2"))

    assert traded_by(first) == (TradedVenue(name="sim", symbols=("BTC/USDT", "ETH/USDT"), url="http://127.0.0.1:9180"),)
    assert traded_by(second) == (TradedVenue(name="sim2", symbols=("BTC/USDT",), url="http://127.0.0.1:9181"),)
    assert [value(one, "--port") for one in (first, second)] == ["9180", "9181"]
    assert [value(one, "--market") for one in (first, second)] == ["synthetic", "relay"]
    assert [one[one.index("service") + 1] for one in (first, second)] == ["venue", "venue"]


def test_live_venues_keep_their_own_addresses(tmp_path: Path) -> None:
    options = fleet(
        tmp_path,
        FleetVenue(name="binance", symbols=("BTC/USDT",)),
        FleetVenue(name="alpaca", symbols=("XXX/USD",), dialect="alpaca"),
    )

    told = command(options, "executor", tmp_path)

    assert "--venue-url" not in told
    assert [one.url for one in traded_by(told)] == [None, None]
    assert options.simulations == {}
    assert not options.plays_tape


def test_a_venue_without_an_address_leaves_its_place_empty(tmp_path: Path) -> None:
    options = fleet(tmp_path, FleetVenue(name="binance", symbols=("BTC/USDT",)), simulated("sim", 0, "BTC/USDT"))

    told = command(options, "executor", tmp_path)

    assert [(one.name, one.url) for one in traded_by(told)] == [("binance", None), ("sim", "http://127.0.0.1:9180")]


def test_of_several_simulated_venues_each_process_has_its_venue_s_name(tmp_path: Path) -> None:
    options = two_venues(tmp_path)

    assert {name: venue.name for name, venue in options.simulations.items()} == {
        "venue.sim": "sim",
        "venue.sim2": "sim2",
    }
    assert [*fleet(tmp_path, simulated("binance", 0, "BTC/USDT")).simulations] == ["venue"]


def test_venues_that_are_no_processes_are_no_simulations(tmp_path: Path) -> None:
    outside = FleetVenue(name="okx", symbols=("BTC/USDT",), url="http://127.0.0.1:9999")  # a process of somebody's

    options = fleet(tmp_path, outside, simulated("sim", 0, "BTC/USDT"))

    assert {name: venue.name for name, venue in options.simulations.items()} == {"venue": "sim"}


def test_simulated_venues_answer_where_others_are_told_to_ask(tmp_path: Path) -> None:
    options = two_venues(tmp_path)

    assert {f"http://127.0.0.1:{options.port_of(name)}": venue for name, venue in options.simulations.items()} == {
        venue.url: venue for venue in options.venues
    }


def test_every_process_of_a_fleet_has_a_port_of_its_own(tmp_path: Path) -> None:
    options = fleet(tmp_path, *(simulated(f"v{n}", n, "BTC/USDT") for n in range(MAX_VENUES)), port=8101)
    names = [name for name in SERVICES if name != "venue"] + [*options.simulations]

    ports = {options.port_of(name) for name in names}

    assert len(ports) == len(SERVICES) - 1 + MAX_VENUES
    assert {options.port_of(name) for name in options.simulations} == set(range(9280, 9280 + MAX_VENUES))


def test_fleet_trades_what_its_venues_trade(tmp_path: Path) -> None:
    assert two_venues(tmp_path).instruments == ("BTC/USDT@sim", "ETH/USDT@sim", "BTC/USDT@sim2")


@pytest.mark.parametrize("place", [0, 1])
def test_one_tape_among_the_venues_makes_the_market_a_recording(tmp_path: Path, place: int) -> None:
    venues = [simulated("sim", 0, "BTC/USDT"), simulated("sim2", 1, "BTC/USDT")]
    venues[place] = simulated(f"sim{place}", place, "BTC/USDT", arguments=("--market", "tape", "--tape", "a.gz"))

    options = fleet(tmp_path, *venues)

    assert options.plays_tape
    assert command(options, "features", tmp_path)[-2:] == ["--market", "tape"]


def test_port_of_the_second_venue_is_wanted_where_there_are_two(second_venue_s_port_taken: int) -> None:
    port = second_venue_s_port_taken

    require_ports(port, venues=1)
    with pytest.raises(Misuse, match=rf"port {service_port('venue', port, 1)} \(venue\) is in use"):
        require_ports(port, venues=2)


def test_block_that_has_room_for_one_venue_alone_is_passed_over_for_two(second_venue_s_port_taken: int) -> None:
    port = second_venue_s_port_taken

    assert free_port_block(port, step=1, venues=1) == port
    with pytest.raises(OutOfReach, match=rf"no free block of ports from {port} on"):
        free_port_block(port, tries=1, venues=2)


def test_the_last_venue_s_port_is_not_above_the_highest_there_is() -> None:
    highest = 65_535 - service_port("venue", 0)  # the monitor's, where one venue has the highest port

    with pytest.raises(Misuse, match=rf"--port {highest} leaves no room"):
        require_ports(highest, ("venue",), venues=2)
    assert service_port("venue", highest) == 65_535


def test_services_that_are_no_venues_have_one_port_however_many_venues_there_are() -> None:
    port = free_port_block(23_001)
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port + 1))
        listener.listen()

        require_ports(port, ("monitor",), venues=MAX_VENUES)
