"""`edgefleet` as its users start it: real processes, real exit codes. Knows no inside of the fleet."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "edgefleet_services.cli.main"]


def edgefleet(*arguments: str | Path, timeout_s: float = 120, cwd: Path = PROJECT) -> subprocess.CompletedProcess[str]:
    """Run one command to its end."""
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        cwd=cwd,
        env=environment(),
        check=False,
    )


def start(*arguments: str | Path, cwd: Path = PROJECT) -> subprocess.Popen[str]:
    """Start a command that runs until it is stopped."""
    return subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
        env=environment(),
    )


def environment() -> dict[str, str]:
    """Return this environment without what would point a fleet somewhere else."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("EDGEFLEET_", "REDIS_URL"))}


def until(condition: Callable[[], Any], *, within_s: float, what: str) -> Any:
    """Return the first true answer of `condition`."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"{what}: not within {within_s} s")


def service_pid(parent: int, name: str) -> int | None:
    """Return the process of one service under a supervisor, None while there is none."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            status = (entry / "stat").read_text().rpartition(")")[2].split()
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        is_ours = int(status[1]) == parent and status[0] != "Z" and b"service" in words
        if is_ours and words[words.index(b"service") + 1] == name.encode():
            return int(entry.name)
    return None


def kill_service(parent: int, name: str) -> None:
    """Send a service SIGKILL, as soon as it is there."""
    pid = until(lambda: service_pid(parent, name), within_s=30, what=f"{name} runs")
    os.kill(pid, signal.SIGKILL)


def ended(fleet: subprocess.Popen[str], *, meanwhile: Callable[[], None], timeout_s: float = 300) -> dict[str, Any]:
    """Do something while a fleet runs, wait for its end and return its report; it is stopped where that fails."""
    try:
        meanwhile()
        output, errors = fleet.communicate(timeout=timeout_s)
    finally:
        if fleet.poll() is None:
            fleet.send_signal(signal.SIGINT)
            fleet.communicate(timeout=60)
    assert fleet.returncode == 0, errors[-3000:]
    report = json.loads(output)
    assert isinstance(report, dict)
    return report


def report_of(finished: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """Return the one JSON object on a command's stdout."""
    lines = finished.stdout.strip().splitlines()
    assert len(lines) == 1, f"stdout must be one JSON object, was {finished.stdout[:500]!r}; {finished.stderr[-2000:]}"
    body = json.loads(lines[0])
    assert isinstance(body, dict)
    return body
