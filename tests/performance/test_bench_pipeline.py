"""`edgefleet bench pipeline` in short: every figure stands beside its floor. How fast is for a quiet machine."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

from edgefleet.matching.wire import BookTicker, DepthDiff, decode
from edgefleet.venues.binance.feed import BinanceFeed
from edgefleet_services.bench.frames import FLIP_EVERY, TAPE_MIX, FrameMaker, from_synthetic
from edgefleet_services.bench.pipeline import PipelineOptions, run_pipeline
from edgefleet_services.bench.report import figure
from edgefleet_services.cli.main import EXIT_MISUSE, outcome

CONF = Path(__file__).resolve().parents[2] / "conf"


@pytest.mark.performance
@pytest.mark.integration
async def test_every_figure_stands_beside_its_floor() -> None:
    said: list[str] = []
    options = PipelineOptions(conf_dir=CONF, orders=5, rates=(200,), sustained=False)

    report = await run_pipeline(replace(options, memory=False), said.append)

    rows = {row["name"]: row for row in msgspec.to_builtins(report)["results"]}
    assert set(rows) == {f"tick_to_order_{of}.200_events_per_s" for of in ("p50", "p99", "n")}
    for row in rows.values():
        assert set(row) == {"name", "value", "unit", "reference", "reference_value", "ratio", "target", "ok"}
        assert row["value"] > 0
        assert row["reference_value"] > 0
    assert report.suite == "pipeline"
    assert report.machine["cpus"]
    assert said


def test_frames_follow_each_other_round_after_round() -> None:
    source = from_synthetic()
    feed, maker = BinanceFeed("sim", ["BTC/USDT"]), FrameMaker(source)
    feed.on_snapshot("BTC/USDT@sim", source.snapshot, 1)

    for number, frame in enumerate(maker.take(2 * len(source.events) + 500, start_ns=10**18, rate=1_000.0)):
        feed.on_frame(10**18 + number, frame, 1)

    assert feed.counts.frames == maker.made
    assert feed.counts.book_gaps == feed.counts.book_crossed == feed.counts.duplicates == feed.counts.trade_gaps == 0
    assert feed.take_notices() == []


def test_pressure_turns_once_in_a_hundred_events() -> None:
    maker = FrameMaker(from_synthetic())

    frames = [decode(body) for body in maker.take(20 * FLIP_EVERY, start_ns=10**18, rate=1_000.0)]

    buys = [frame.B > frame.A for frame in frames if isinstance(frame, BookTicker)]
    assert sum(one is not other for one, other in pairwise(buys)) == maker.flips == 19
    assert any(isinstance(frame, DepthDiff) for frame in frames)


def test_synthetic_frames_have_the_mix_of_a_recorded_day() -> None:
    mix = from_synthetic().mix

    assert all(math.isclose(mix[kind], share, abs_tol=0.01) for kind, share in TAPE_MIX.items())


def test_figure_that_is_no_number_is_never_ok() -> None:
    assert not figure("x", math.nan, "ms", "floor", 1.0, "at most", 1.5).ok
    assert not figure("x", 1.0, "ms", "floor", 0.0, "at least", 0.5).ok


@pytest.mark.parametrize(("suite", "told"), [("warp", "is unknown")])
def test_suite_that_is_not_there_is_one_clear_line(suite: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert outcome(["bench", suite]) == EXIT_MISUSE

    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert told in lines[0]
