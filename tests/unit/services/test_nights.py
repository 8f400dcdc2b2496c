"""Nights of back-tests: when one begins, when one is due, and what is kept of it."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from pydantic import ValidationError

from edgefleet.clock import NS_PER_S
from edgefleet.errors import Misuse
from edgefleet.params.schema import BacktestParams, FeaturesParams, FleetConfig
from edgefleet.params.schema.backtest import TestedMethod
from edgefleet.risk.rolling import METHODS_REFITTED
from edgefleet.risk.shortfall import METHODS
from edgefleet.telemetry.metrics import Metrics
from edgefleet.testing.clock import FakeClock
from edgefleet_services.bootstrap import ServiceContext
from edgefleet_services.features.keepers import made_alike
from edgefleet_services.features.nightly import Nightly
from edgefleet_services.features.nights import FOLDER, Nights, SymbolNight, Tested, begin_of, night_of
from edgefleet_services.options import ServiceOptions

DAY_S = 86_400


def ns(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * NS_PER_S


def one(instrument: str = "BTC/USDT@sim", **changes: Any) -> SymbolNight:
    usual: dict[str, Any] = {
        "until": None, "interval": "1h", "level": 0.95, "window": 252, "returns": 600, "needed": 502, "gaps": 0,
    }  # fmt: skip
    return SymbolNight(instrument=instrument, **{**usual, **changes})


@pytest.mark.parametrize(
    ("told", "passing", "most"),
    [
        ({"ewma": 0.01, "garch": 0.03, "filtered": 0.02}, ("ewma", "filtered"), ("filtered", 0.02)),
        ({"ewma": 0.01, "garch": 0.03}, (), ("garch", 0.03)),
        ({"ewma": None, "garch": 0.03}, ("ewma",), ("garch", 0.03)),
        ({"ewma": None}, (), None),
        ({}, (), None),
    ],
)
def test_the_most_that_a_way_which_passes_tells_counts(told: Any, passing: Any, most: Any) -> None:
    methods = {method: Tested(var=var) for method, var in told.items()}

    assert one(methods=methods, passing=passing).most_cautious == most


# --- when a night begins


@pytest.mark.parametrize(
    ("now", "night"),
    [
        ("2026-03-01T00:09:59", "2026-02-28"),
        ("2026-03-01T00:10:00", "2026-03-01"),
        ("2026-03-01T23:59:59", "2026-03-01"),
        ("2028-03-01T00:00:00", "2028-02-29"),
    ],
)
def test_a_night_is_the_newest_day_whose_time_has_passed(now: str, night: str) -> None:
    assert str(night_of(ns(now), "00:10")) == night


@given(st.integers(0, 4_000_000_000), st.times())
def test_now_is_in_its_night_and_not_in_the_next(now_s: int, at: Any) -> None:
    text = at.strftime("%H:%M")

    begin = begin_of(night_of(now_s * NS_PER_S, text), text)

    assert begin <= now_s * NS_PER_S < begin + DAY_S * NS_PER_S


@pytest.mark.parametrize("at", ["24:00", "0:10", "00:60", "00:10:00", ""])
def test_a_time_that_is_none_is_refused(at: str) -> None:
    with pytest.raises(ValidationError, match="at"):
        BacktestParams(at=at)


def test_a_method_named_twice_is_refused() -> None:
    with pytest.raises(ValidationError, match="twice"):
        BacktestParams(methods=("ewma", "ewma"))


def test_the_settings_know_every_method_that_there_is() -> None:
    assert set(get_args(TestedMethod)) == {*METHODS, *METHODS_REFITTED}


def test_other_settings_of_the_back_test_make_the_same_bars() -> None:
    config = FleetConfig()
    features = config.features.model_copy(update={"backtest": BacktestParams(at="12:30")})

    assert made_alike(config, config.model_copy(update={"features": features}))
    other = features.model_copy(update={"ema_bars": (3,)})
    assert not made_alike(config, config.model_copy(update={"features": other}))


# --- files


def test_a_night_is_read_as_it_was_written(tmp_path: Path) -> None:
    nights, night = Nights(tmp_path / FOLDER), date(2026, 3, 1)
    found = [one(methods={"ewma": Tested(exceptions=3, p_pof=0.2, zone="green")}), one("ETH/USDT@sim", failed="no")]
    assert nights.newest is None

    nights.write(night, found, keep_days=9)

    assert nights.newest == night
    assert nights.read(night) == found
    assert [path.name for path in (tmp_path / FOLDER).iterdir()] == ["2026-03-01.jsonl"]
    assert len((tmp_path / FOLDER / "2026-03-01.jsonl").read_text().splitlines()) == 2


def test_old_nights_go_and_files_of_others_stay(tmp_path: Path) -> None:
    nights = Nights(tmp_path)
    for day in (1, 2, 5):
        nights.write(date(2026, 3, day), [one()], keep_days=99)
    (tmp_path / "0000-99-99.jsonl").write_text("somebody else's")
    (tmp_path / "notes.txt").write_text("and this")

    nights.write(date(2026, 3, 6), [one()], keep_days=4)

    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "0000-99-99.jsonl", "2026-03-02.jsonl", "2026-03-05.jsonl", "2026-03-06.jsonl", "notes.txt",
    ]  # fmt: skip


def test_a_night_of_another_release_is_told_with_its_path(tmp_path: Path) -> None:
    (tmp_path / "2026-03-01.jsonl").write_text('{"instrument": 7}\n')

    with pytest.raises(Misuse, match=r"2026-03-01\.jsonl cannot be read"):
        Nights(tmp_path).read(date(2026, 3, 1))


@pytest.mark.parametrize(
    ("tested", "rejected"),
    [
        (Tested(p_pof=0.0099, zone="green"), True),
        (Tested(p_pof=0.01, zone="yellow"), False),
        (Tested(p_pof=0.5, zone="red"), True),
        (Tested(), False),
    ],
)
def test_a_person_is_told_of_coverage_below_a_percent_and_of_a_red_zone(tested: Tested, rejected: bool) -> None:
    assert tested.is_rejected is rejected
    assert ("ewma" in one(methods={"ewma": tested}).rejected) is rejected


# --- when one is due


class Configs:
    def __init__(self, **settings: Any) -> None:
        self.current = FleetConfig(features=FeaturesParams(backtest=BacktestParams(**settings)))


class Log:
    def __init__(self) -> None:
        self.said: list[tuple[str, dict[str, Any]]] = []

    def info(self, event: str, **fields: Any) -> None:
        self.said.append((event, fields))

    warning = info


def context(clock: FakeClock, *, mode: Any = "paper", from_tape: bool = False, **settings: Any) -> ServiceContext:
    options = ServiceOptions(redis_url="", conf_dir=Path(), data_dir=Path(), port=0, mode=mode, from_tape=from_tape)
    surroundings: Any = (None, Configs(**settings), clock, Log(), Metrics(CollectorRegistry()), None, asyncio.Event())
    return ServiceContext("features", options, *surroundings)


EVENING, NEXT_MORNING = ns("2026-03-01T23:00:00"), ns("2026-03-02T00:10:00")


def test_a_night_is_due_when_its_time_has_passed_and_no_sooner(tmp_path: Path) -> None:
    clock = FakeClock(EVENING)
    Nights(tmp_path / FOLDER).write(date(2026, 3, 1), [one()], keep_days=9)
    nightly = Nightly(context(clock), tmp_path)

    assert nightly.due(0, caught_up=True) is None
    clock.advance(ns=NEXT_MORNING - EVENING - 1)
    assert nightly.due(0, caught_up=True) is None
    clock.advance(ns=1)
    assert nightly.due(0, caught_up=True) == date(2026, 3, 2)


def test_a_service_that_was_down_over_several_nights_judges_the_newest_at_its_start(tmp_path: Path) -> None:
    Nights(tmp_path / FOLDER).write(date(2026, 2, 20), [one()], keep_days=99)

    nightly = Nightly(context(FakeClock(NEXT_MORNING + 9 * 3_600 * NS_PER_S)), tmp_path)

    assert nightly.due(0, caught_up=True) == date(2026, 3, 2)


def test_a_night_that_was_judged_is_not_judged_again_by_the_next_start(tmp_path: Path) -> None:
    Nights(tmp_path / FOLDER).write(date(2026, 3, 2), [one()], keep_days=99)

    assert Nightly(context(FakeClock(NEXT_MORNING)), tmp_path).due(0, caught_up=True) is None


def test_a_clock_that_is_set_back_brings_no_night_back(tmp_path: Path) -> None:
    clock = FakeClock(NEXT_MORNING)
    Nights(tmp_path / FOLDER).write(date(2026, 3, 2), [one()], keep_days=99)
    nightly = Nightly(context(clock), tmp_path)

    clock.step(-3 * DAY_S * NS_PER_S)

    assert nightly.due(0, caught_up=True) is None


def test_a_real_market_is_kept_up_to_now_before_its_night_is_judged(tmp_path: Path) -> None:
    nightly = Nightly(context(FakeClock(NEXT_MORNING)), tmp_path)

    assert nightly.due(0, caught_up=False) is None
    assert nightly.due(0, caught_up=True) == date(2026, 3, 2)


@pytest.mark.parametrize("where", [{"mode": "demo"}, {"from_tape": True}, {"mode": "live", "run": "never"}])
def test_a_demo_and_a_tape_have_no_nights(tmp_path: Path, where: dict[str, Any]) -> None:
    nightly = Nightly(context(FakeClock(NEXT_MORNING), **where), tmp_path)

    assert nightly.due(NEXT_MORNING, caught_up=True) is None


@pytest.mark.parametrize("where", [{"mode": "demo"}, {"from_tape": True}])
def test_those_that_are_asked_for_pass_as_the_market_does(tmp_path: Path, where: dict[str, Any]) -> None:
    nightly = Nightly(context(FakeClock(ns("2030-01-01T12:00:00")), run="always", **where), tmp_path)

    assert nightly.due(0, caught_up=True) is None
    assert nightly.due(EVENING, caught_up=False) == date(2026, 3, 1)
    assert nightly.due(NEXT_MORNING, caught_up=False) == date(2026, 3, 2)


async def test_a_night_that_failed_or_runs_is_not_tried_twice(tmp_path: Path) -> None:
    nightly = Nightly(context(FakeClock(NEXT_MORNING)), tmp_path / "market", ["no-such-program"])

    nightly.start(date(2026, 3, 2))
    running = nightly.due(0, caught_up=True)
    await nightly.close()

    assert running is None
    assert nightly.due(0, caught_up=True) is None


def test_what_the_last_night_came_to_is_exported_again_by_the_next_start(tmp_path: Path) -> None:
    tested = Tested(exceptions=30, observations=250, p_pof=0.001, p_cci=None, zone="red", z2=-1.5)
    Nights(tmp_path / FOLDER).write(date(2026, 3, 2), [one(methods={"ewma": tested})], keep_days=99)
    surroundings = context(FakeClock(NEXT_MORNING))

    Nightly(surroundings, tmp_path)

    sample = surroundings.metrics.registry.get_sample_value
    labels = {"symbol": "BTC/USDT", "method": "ewma"}
    assert sample("risk_backtest_exceptions", labels) == 30
    assert sample("risk_backtest_observations", labels) == 250
    assert sample("risk_backtest_p_value", {**labels, "test": "coverage"}) == 0.001
    assert sample("risk_backtest_zone", labels) == 2
    assert sample("risk_backtest_shortfall_z2", labels) == -1.5
    assert sample("risk_backtest_failed", {"symbol": "BTC/USDT"}) == 0
    # What has no test has no p, which is no 0: nothing was rejected.
    assert sample("risk_backtest_p_value", {**labels, "test": "independence"}) is None


def test_a_night_is_exported_no_more_when_there_shall_be_none(tmp_path: Path) -> None:
    Nights(tmp_path / FOLDER).write(date(2026, 3, 2), [one(failed="no")], keep_days=99)
    surroundings = context(FakeClock(NEXT_MORNING))
    nightly = Nightly(surroundings, tmp_path)
    sample = surroundings.metrics.registry.get_sample_value
    assert sample("risk_backtest_failed", {"symbol": "BTC/USDT"}) == 1

    surroundings.configs.current = Configs(run="never").current  # type: ignore[misc]  # a test's, which may be set
    nightly.due(0, caught_up=True)

    assert sample("risk_backtest_failed", {"symbol": "BTC/USDT"}) is None


def test_an_unreadable_night_is_told_and_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / "2026-03-01.jsonl").write_text("{")
    surroundings = context(FakeClock(NEXT_MORNING))

    nightly = Nightly(surroundings, tmp_path)

    assert [event for event, _ in surroundings.log.said] == ["backtest_unreadable"]  # type: ignore[attr-defined]  # a test's
    assert nightly.due(0, caught_up=True) == date(2026, 3, 2)
