"""What every process of the fleet is told at its start. Reads no file; the command line fills it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Mode = Literal["demo", "paper", "live"]

SERVICES = ("params", "venue", "ledger", "executor", "risk", "router", "alpha", "monitor", "ingestion", "features")
# In Compose only: local processes have their supervisor.
IN_CONTAINERS = (*SERVICES, "keeper")

_DEFAULT_PORTS = {
    "monitor": 8001,
    "ingestion": 9101,
    "alpha": 9102,
    "router": 9103,
    "risk": 9104,
    "executor": 9105,
    "params": 9106,
    "ledger": 9107,
    "keeper": 9108,
    "features": 9109,
    "venue": 9180,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceOptions:
    """Where a service finds its Redis, its files and its venue, and where it may be asked how it is."""

    redis_url: str
    conf_dir: Path
    data_dir: Path
    port: int  # its own health, metrics or API port
    host: str = "127.0.0.1"
    mode: Mode = "demo"
    venue: str = "sim"
    venue_url: str | None = None  # replaces the configured address, as for a simulated venue on another port
    symbols: tuple[str, ...] = ("BTC/USDT",)
    session: str = ""
    instance: str = "0"
    log_level: str = "info"
    from_tape: bool = False  # the market is a recording: its time is not the machine's


def service_port(name: str, monitor_port: int = 8001) -> int:
    """Return the port of a service in a fleet whose monitor is at `monitor_port`: all move together."""
    return _DEFAULT_PORTS[name] + monitor_port - _DEFAULT_PORTS["monitor"]


# A public key pair, valid on the simulated venue alone.
DEMO_KEY, DEMO_SECRET = "edgefleet-demo", "edgefleet-demo-secret"


def venue_keys(*, simulated: bool) -> tuple[str, str]:
    """Return the venue's key and secret from the environment; the demo pair fills in on a simulated venue only."""
    key, secret = os.environ.get("EDGEFLEET_VENUE_KEY"), os.environ.get("EDGEFLEET_VENUE_SECRET")
    return key or (DEMO_KEY if simulated else ""), secret or (DEMO_SECRET if simulated else "")


def feed_keys(venue: str) -> tuple[str, str]:
    """Return the key and secret of a venue that asks for them before it gives market data; empty where none are set."""
    name = f"EDGEFLEET_FEED_{venue.upper().replace('-', '_')}"
    return os.environ.get(f"{name}_KEY") or "", os.environ.get(f"{name}_SECRET") or ""


def redis_url_from_environment() -> str | None:
    """Return the Redis that the environment names, None where it names none."""
    return os.environ.get("REDIS_URL") or os.environ.get("EDGEFLEET_REDIS_URL") or None
