"""What a demo fleet weighs: it is started as a user starts it, and its processes are asked."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from edgefleet.clock import NS_PER_S, SYSTEM
from edgefleet.errors import Broken
from edgefleet_services.bench.rigs import resident_mb

_LOOK_S = 1.0


async def demo_resident_mb(conf_dir: Path, folder: Path, *, seconds: float) -> float:
    """Return the most that `edgefleet up` and all its processes were resident together, in MB.

    They are looked at from the moment that all services are healthy, for `seconds`. Pages that processes share count
    once for each of them.

    Raises
    ------
    Broken
        If the fleet does not come up.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "edgefleet_services.cli.main",
        *("up", "--mode", "demo", "--venue", "sim", "--json"),
        *("--conf", str(conf_dir), "--data-dir", str(folder)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stderr is not None
    most = 0.0
    try:
        await _until_healthy(process.stderr)
        until = SYSTEM.monotonic_ns() + int(seconds * NS_PER_S)
        while process.returncode is None and SYSTEM.monotonic_ns() < until:
            await asyncio.sleep(_LOOK_S)
            most = max(most, sum(resident_mb(pid) for pid in family_of(process.pid)))
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await process.communicate()
    return most


async def _until_healthy(told: asyncio.StreamReader) -> None:
    last = b""
    async for line in told:
        if b"services are healthy" in line:
            return
        last = line
    raise Broken(f"the demo fleet did not come up: {last.decode(errors='replace').strip()}")


def family_of(pid: int) -> list[int]:
    """Return a process and all that descend from it. Linux; elsewhere nothing is known and the list is empty."""
    parents: dict[int, int] = {}
    proc = Path("/proc")
    for name in os.listdir(proc) if proc.is_dir() else ():
        if name.isdigit():
            try:
                parents[int(name)] = int((proc / name / "stat").read_text().rpartition(")")[2].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
    family = [pid] if pid in parents else []
    for known in family:
        family += [child for child, parent in parents.items() if parent == known]
    return family
