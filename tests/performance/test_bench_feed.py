"""The suite `feed` stands beside its peers on recorded frames, and takes its market for growth."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from edgefleet_services.bench.feed import run_feed
from edgefleet_services.bench.growth import Growth

pytestmark = pytest.mark.performance


@pytest.mark.data
def test_every_figure_stands_beside_what_it_is_measured_against(recorded: Path) -> None:
    said: list[str] = []

    report = run_feed([recorded / "binance_spot" / "btcusdt_20240808.gz"], said.append, quick=True)

    assert {one.name for one in report.results} >= {
        "frame_read", "frame_judged", "published", "growth_in_an_hour",
    }  # fmt: skip
    assert all(math.isfinite(one.value) and math.isfinite(one.ratio) for one in report.results)
    assert report.machine["frames"] == "20000 recorded lines"


def test_slope_is_growth_per_market_hour_once_windows_are_full() -> None:
    growth = Growth(resident=(10.0, 50.0, 60.0, 61.0, 62.0), settled=2)

    assert growth.held_mb == 60.0
    assert growth.slope_mb == pytest.approx(60.0)
