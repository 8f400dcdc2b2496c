"""What must be right before a fleet runs, checked one by one, each with its mend. Changes nothing."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TypedDict

import httpx

from edgefleet.bus.embedded import find_server
from edgefleet.bus.interface import Entry
from edgefleet.bus.redis_bus import RedisBus
from edgefleet.clock import NS_PER_MS, SYSTEM
from edgefleet.errors import FleetError, Misuse, OutOfReach, Poison
from edgefleet.messages import decode
from edgefleet.params.files import load_fleet
from edgefleet.params.schema import FleetConfig
from edgefleet_services.monitor.view import FleetView
from edgefleet_services.options import redis_url_from_environment
from edgefleet_services.running import RunningFleet, find_running

_KEY_NAME = re.compile(r"EDGEFLEET_VENUE(_\w+)?_(KEY|SECRET)")
MIN_FREE_GB = 1.0
CLOCK_LIMIT_MS = 250.0


class Finding(TypedDict):
    """One check: whether it is well, what was seen, and how to mend it."""

    name: str
    ok: bool
    detail: str
    mend: str


async def examine(conf_dir: Path, data_dir: Path | None, redis_url: str | None) -> list[Finding]:
    """Return every check's finding, in the order in which a start needs them."""
    fleet = find_running(data_dir)
    config, configured = _configuration(conf_dir)
    findings = [_python(), _disk(data_dir or Path("data")), configured, *await _redis(redis_url, fleet)]
    if fleet is not None:
        findings.append(await _monitor(fleet))
    if config is not None:
        findings += [await _venue_clock(name, url) for name, url in _venues(fleet)]
    return [*findings, _keys()]


def _finding(name: str, ok: bool, detail: str, mend: str = "") -> Finding:
    return Finding(name=name, ok=ok, detail=detail, mend=mend)


def _python() -> Finding:
    version = platform.python_version()
    return _finding("python", (3, 11) <= sys.version_info[:2] <= (3, 13), version, "use Python 3.11, 3.12 or 3.13")


def _disk(directory: Path) -> Finding:
    existing = directory if directory.exists() else Path()
    free = shutil.disk_usage(existing).free / 1e9
    writable = os.access(existing, os.W_OK)
    detail = f"{existing.resolve()}: {free:.1f} GB free, {'writable' if writable else 'NOT writable'}"
    return _finding("data", writable and free >= MIN_FREE_GB, detail, "free space, or name another --data-dir")


def _configuration(conf_dir: Path) -> tuple[FleetConfig | None, Finding]:
    try:
        config = load_fleet(conf_dir)
    except FleetError as error:
        return None, _finding(
            "configuration", False, " ".join(str(error).split()), "correct the file, or edgefleet init"
        )
    return config, _finding("configuration", True, f"{conf_dir} is valid, hash {config.hash[:12]}")


async def _redis(redis_url: str | None, fleet: RunningFleet | None) -> list[Finding]:
    url = redis_url or (fleet.redis_url if fleet is not None else redis_url_from_environment())
    if url is None:
        try:
            server = find_server()
        except FleetError as error:
            return [_finding("redis", False, str(error), "install redis-server >= 7.0, or set REDIS_URL")]
        return [_finding("redis", True, f"none named; up brings its own: {server.kind}")]
    try:
        bus = await RedisBus.connect(url)
    except (OutOfReach, Misuse) as error:
        return [_finding("redis", False, str(error), "start it, or correct REDIS_URL")]
    started = SYSTEM.monotonic_ns()
    await bus.trading_state()
    elapsed = (SYSTEM.monotonic_ns() - started) / NS_PER_MS
    control = await bus.span("control", "-", "+")
    await bus.close()
    return [_finding("redis", True, f"answers in {elapsed:.2f} ms"), breakers(control)]


def breakers(control: Iterable[Entry]) -> Finding:
    """Return whether no circuit breaker is open, by the entries of `control`."""
    view = FleetView()
    try:
        for entry in control:
            view.take(decode(entry.type, entry.data))
    except Poison as error:
        return _finding("breakers", False, f"not known: {error}", "see the stream control")
    found = [one for one in view.breaker_lines() if one["state"] == "OPEN"]
    told = [
        f"{one['breaker']}{' of ' if one['scope'] else ''}{one['scope']} is OPEN since {one['since']}: {one['reason']}"
        for one in found
    ]
    return _finding(
        "breakers", not found, "; ".join(told) or "none is open", "docs/runbook: A breaker is open; edgefleet status"
    )


async def _monitor(fleet: RunningFleet) -> Finding:
    url = f"http://127.0.0.1:{fleet.port}/health"
    try:
        async with httpx.AsyncClient(timeout=3.0) as client:
            answer = await client.get(url)
    except httpx.HTTPError as error:
        return _finding("monitor", False, f"{url}: {error}", "see the session's logs/fleet.jsonl")
    return _finding("monitor", answer.status_code == 200, f"{url} answers {answer.status_code}", "see logs/fleet.jsonl")


def _venues(fleet: RunningFleet | None) -> list[tuple[str, str]]:
    """Return the venues that can be asked now: a running fleet's simulated ones. Those of stocks tell market time."""
    venues = () if fleet is None else fleet.venues
    return [(one.name, one.url) for one in venues if one.url is not None and one.dialect == "binance"]


async def _venue_clock(name: str, url: str) -> Finding:
    before = SYSTEM.wall_ns()
    try:
        async with httpx.AsyncClient(timeout=3.0) as client:
            answer = await client.get(f"{url}/api/v3/time")
        server_ms = int(answer.json()["serverTime"])
    except (httpx.HTTPError, ValueError, KeyError) as error:
        return _finding(f"clock {name}", False, f"{url}: {error}", "see that the venue is reachable")
    offset = server_ms - (before + SYSTEM.wall_ns()) / 2 / NS_PER_MS
    return _finding(
        f"clock {name}", abs(offset) < CLOCK_LIMIT_MS, f"offset {offset:+.0f} ms", "synchronise the clock (NTP)"
    )


def _keys() -> Finding:
    named = [name for name in os.environ if _KEY_NAME.fullmatch(name) and os.environ[name]]
    owners = [name.rpartition("_")[0] for name in named]
    half = next((name for name, owner in zip(named, owners, strict=True) if owners.count(owner) == 1), None)
    if half is not None:
        owner = half.rpartition("_")[0]
        return _finding("keys", False, f"only {half} is set", f"set both {owner}_KEY and {owner}_SECRET")
    told = f"set: {', '.join(sorted({*owners}))}" if named else "none: demo and paper need none"
    return _finding("keys", True, told)
