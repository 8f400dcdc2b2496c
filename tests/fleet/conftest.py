"""One fleet session over the recorded market, run once and looked at by many tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests.fleet.processes import edgefleet, report_of


class RecordedSession(NamedTuple):
    """A session that has ended."""

    data_dir: Path
    report: dict[str, Any]
    progress: str


@pytest.fixture(scope="session")
def tape(recorded: Path) -> tuple[Path, Path]:
    """The recorded Binance Spot market, both files in order."""
    folder = recorded / "binance_spot"
    return folder / "btcusdt_20240808.gz", folder / "btcusdt_20240809.gz"


@pytest.fixture(scope="session")
def session_at_max(tape: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> RecordedSession:
    """The fleet over the whole tape as fast as it can."""
    data_dir = tmp_path_factory.mktemp("fleet") / "max"
    command = ("up", "--mode", "demo", "--venue", "sim", "--symbols", "BTC/USDT", "--speed", "max", "--until-end")
    finished = edgefleet(*command, "--json", "--data-dir", data_dir, "--tape", *tape, timeout_s=400)
    assert finished.returncode == 0, finished.stderr[-3000:]
    return RecordedSession(data_dir, report_of(finished), finished.stderr)


@pytest.fixture(scope="session")
def replayed(tape: tuple[Path, Path]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Two replays of the whole tape."""
    runs = [edgefleet("replay", "--json", "--tape", *tape, timeout_s=300) for _ in range(2)]
    assert [run.returncode for run in runs] == [0, 0], runs[0].stderr[-3000:]
    return report_of(runs[0]), report_of(runs[1])
