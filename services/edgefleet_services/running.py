"""Where a fleet on this machine is: written by `up`, read by every command that talks to it."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from edgefleet.errors import Misuse, OutOfReach
from edgefleet_services.options import redis_url_from_environment

FILE = "fleet.json"


class RunningVenue(msgspec.Struct, frozen=True, array_like=True):
    """A venue that a fleet trades at."""

    name: str
    url: str | None  # of its simulation; None: it is a real one
    dialect: str


class RunningFleet(msgspec.Struct, frozen=True, kw_only=True):
    """A fleet's addresses and its supervisor's process."""

    session: str
    redis_url: str
    port: int  # the monitor's
    pid: int
    data_dir: str
    venues: tuple[RunningVenue, ...] = ()
    keeps_features: bool = True

    @property
    def is_alive(self) -> bool:
        """Return whether the supervisor's process is there."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True


def write_running(fleet: RunningFleet) -> None:
    """Leave word in the fleet's data directory."""
    path = Path(fleet.data_dir) / FILE
    whole = path.with_suffix(".new")
    whole.write_bytes(msgspec.json.encode(fleet))
    whole.replace(path)


def read_running(data_dir: Path) -> RunningFleet | None:
    """Return the word left in a data directory, None where there is none that can be read."""
    try:
        return msgspec.json.decode((data_dir / FILE).read_bytes(), type=RunningFleet)
    except (FileNotFoundError, NotADirectoryError, msgspec.DecodeError):
        return None


def find_running(data_dir: Path | None, sessions: Path = Path("data")) -> RunningFleet | None:
    """Return the fleet of `data_dir`, or else the newest one that runs from this directory."""
    if data_dir is not None:
        fleet = read_running(data_dir)
        return fleet if fleet is not None and fleet.is_alive else None
    files = sorted(sessions.glob(f"*/{FILE}"), key=lambda path: path.stat().st_mtime, reverse=True)
    fleets = (read_running(path.parent) for path in files)
    return next((fleet for fleet in fleets if fleet is not None and fleet.is_alive), None)


def redis_url_for(redis_url: str | None, data_dir: Path | None) -> str:
    """Return the Redis to talk to: the one named, the environment's, the running fleet's.

    Raises
    ------
    OutOfReach
        If none is known.
    """
    if redis_url:
        return redis_url
    fleet = find_running(data_dir)
    if fleet is not None:
        return fleet.redis_url
    url = redis_url_from_environment()
    if url is None:
        where = "from this directory" if data_dir is None else f"on {data_dir}"
        if data_dir is not None and not data_dir.is_dir():
            raise OutOfReach(f"{data_dir} is not there; name the directory of a session with --data-dir")
        raise OutOfReach(
            f"no fleet runs {where}; start one with edgefleet up, or name its Redis with --redis-url or, of one that "
            "has stopped, its directory with --data-dir"
        )
    return url


def monitor_port_for(port: int | None, data_dir: Path | None) -> int:
    """Return the monitor's port: the one named, the running fleet's, else the usual one.

    Raises
    ------
    OutOfReach
        If a data directory is named and no fleet runs on it: another's answer would mislead.
    """
    if port is not None:
        if not 0 < port < 65_536:
            raise Misuse(f"--port {port} is no port")
        return port
    fleet = find_running(data_dir)
    if fleet is None and data_dir is not None:
        raise OutOfReach(f"no fleet runs on {data_dir}; start one with edgefleet up, or name a monitor with --port")
    return fleet.port if fleet is not None else 8001
