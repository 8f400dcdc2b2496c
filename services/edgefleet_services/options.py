"""What every process of the fleet is told at its start. Reads no file; the command line fills it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgefleet.errors import Misuse
from edgefleet.instruments import canonical_symbol

Mode = Literal["demo", "paper", "live"]

SERVICES = ("params", "venue", "ledger", "executor", "risk", "router", "alpha", "monitor", "ingestion", "features")
# In Compose only: local processes have their supervisor.
IN_CONTAINERS = (*SERVICES, "keeper")

DEFAULT_SYMBOL = "BTC/USDT"
MAX_VENUES = 10  # simulated ones follow each other, and fleets' blocks of ports are ten apart

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
class TradedVenue:
    """A venue that the fleet has an account at, and what it trades there."""

    name: str
    symbols: tuple[str, ...]
    url: str | None = None  # replaces the configured address, as for a simulated venue on another port

    @property
    def instruments(self) -> tuple[str, ...]:
        """Return what is traded there, as SYMBOL@venue."""
        return tuple(f"{symbol}@{self.name}" for symbol in self.symbols)


def traded_venues(names: str, symbols: str, urls: str | None = None) -> tuple[TradedVenue, ...]:
    """Return the venues that `--venue`, `--symbols` and `--venue-url` name, each a list with commas.

    One venue trades every symbol; of several, each symbol names its own: `BTC/USDT@binance,AAPL/USD@alpaca`.

    Raises
    ------
    Misuse
        If a symbol cannot be told to be of one of the venues, or a venue is left with none.
    """
    venues = tuple(dict.fromkeys(part.strip() for part in names.split(",") if part.strip()))
    if not venues:
        raise Misuse("--venue is empty; write for example --venue sim")
    if len(venues) > MAX_VENUES:
        raise Misuse(f"--venue names {len(venues)} venues; a fleet has ports for {MAX_VENUES}")
    names_of = [key_name(name) for name in venues]
    alike = next((name for name, own in zip(venues, names_of, strict=True) if names_of.count(own) > 1), None)
    if alike is not None:
        raise Misuse(f"--venue {alike}: two venues would have their keys in {key_name(alike)}_KEY; rename one of them")
    given = [part.strip() for part in (urls or "").split(",")] if urls else []
    if given and len(given) != len(venues):
        raise Misuse(f"--venue-url has {len(given)} addresses and --venue {len(venues)} venues; give one for each")
    traded: dict[str, dict[str, None]] = {name: {} for name in venues}
    for part in symbols.split(","):
        if part.strip():
            symbol, venue = _named(part.strip(), venues)
            traded[venue][symbol] = None
    for name, found in traded.items():
        if not found:
            where = "" if len(venues) == 1 else f"@{name}"
            raise Misuse(f"--symbols names nothing to trade at {name}; write for example --symbols BTC/USDT{where}")
    return tuple(
        TradedVenue(name=name, symbols=tuple(found), url=given[number] or None if given else None)
        for number, (name, found) in enumerate(traded.items())
    )


def _named(text: str, venues: tuple[str, ...]) -> tuple[str, str]:
    symbol, at, venue = (part.strip() for part in text.partition("@"))
    if not at and len(venues) > 1:
        default = " (it is what --symbols says by itself)" if text == DEFAULT_SYMBOL else ""
        raise Misuse(f"--symbols {text}{default}: at which of {', '.join(venues)}? Write it as {text}@{venues[0]}")
    if at and venue not in venues:
        raise Misuse(f"--symbols {text}: {venue!r} is not among the venues {', '.join(venues)}; add it to --venue")
    return canonical_symbol(symbol), venue or venues[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceOptions:
    """Where a service finds its Redis, its files and its venue, and where it may be asked how it is."""

    redis_url: str
    conf_dir: Path
    data_dir: Path
    port: int  # its own health, metrics or API port
    host: str = "127.0.0.1"
    mode: Mode = "demo"
    traded: tuple[TradedVenue, ...] = (TradedVenue(name="sim", symbols=("BTC/USDT",)),)
    session: str = ""
    instance: str = "0"
    log_level: str = "info"
    from_tape: bool = False  # the market is a recording: its time is not the machine's

    @property
    def instruments(self) -> tuple[str, ...]:
        """Return everything that is traded, as SYMBOL@venue."""
        return tuple(instrument for venue in self.traded for instrument in venue.instruments)


def service_port(name: str, monitor_port: int = 8001, number: int = 0) -> int:
    """Return the port of a service in a fleet whose monitor is at `monitor_port`: all move together.

    `number` counts the simulated venues, which follow each other.
    """
    return _DEFAULT_PORTS[name] + number + monitor_port - _DEFAULT_PORTS["monitor"]


# A public key pair, valid on the simulated venue alone.
DEMO_KEY, DEMO_SECRET = "edgefleet-demo", "edgefleet-demo-secret"


def simulated_keys() -> tuple[str, str]:
    """Return the key and secret that a simulated venue takes: the environment's, else the demo pair."""
    key, secret = os.environ.get("EDGEFLEET_VENUE_KEY"), os.environ.get("EDGEFLEET_VENUE_SECRET")
    return key or DEMO_KEY, secret or DEMO_SECRET


def venue_keys(venue: str, *, alone: bool) -> tuple[str, str]:
    """Return the key and secret of a real venue from the environment; empty where none are set.

    `EDGEFLEET_VENUE_<NAME>_KEY` is the venue's own. `EDGEFLEET_VENUE_KEY`, which names none, is for a fleet that trades
    at one alone: no venue is sent the key of another.
    """
    own = key_name(venue)
    name = own if not alone or any(os.environ.get(f"{own}_{part}") for part in ("KEY", "SECRET")) else "EDGEFLEET_VENUE"
    return os.environ.get(f"{name}_KEY") or "", os.environ.get(f"{name}_SECRET") or ""


def key_name(venue: str) -> str:
    """Return what the variables of a venue's own keys begin with."""
    return f"EDGEFLEET_VENUE_{venue.upper().replace('-', '_')}"


def feed_keys(venue: str) -> tuple[str, str]:
    """Return the key and secret of a venue that asks for them before it gives market data; empty where none are set."""
    name = f"EDGEFLEET_FEED_{venue.upper().replace('-', '_')}"
    return os.environ.get(f"{name}_KEY") or "", os.environ.get(f"{name}_SECRET") or ""


def redis_url_from_environment() -> str | None:
    """Return the Redis that the environment names, None where it names none."""
    return os.environ.get("REDIS_URL") or os.environ.get("EDGEFLEET_REDIS_URL") or None
