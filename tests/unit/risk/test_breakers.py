"""Circuit breakers, transition by transition, and what their parameters may not say."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from edgefleet.messages import BreakerAction, decode, encode
from edgefleet.params.directions import loosened
from edgefleet.params.schema.breakers import BreakerParams, RecoveryParams, SwitchParams
from edgefleet.risk.breakers import UNITS, Breaker, Move, breaker_of, observe, reset, scale
from edgefleet.testing.clock import START_NS

SECOND = 1_000_000_000
LIMIT = 0.04
RECOVERY = RecoveryParams(
    cool_down_ms=10_000, max_cool_down_ms=30_000, reset_fraction=0.5, probation_ms=20_000, half_open_share=0.25
)


class Watch:
    """One breaker and a time that goes on with each observation."""

    def __init__(self, action: BreakerAction = "reduce") -> None:
        self.breaker = Breaker(name="var")
        self.switch = SwitchParams(action=action)
        self.now = START_NS

    def see(self, value: float | None, after_s: int = 0, **more: Any) -> Move | None:
        self.now += after_s * SECOND
        return observe(self.breaker, value, LIMIT, self.now, self.switch, RECOVERY, **more)


def opened(action: BreakerAction = "reduce") -> Watch:
    watch = Watch(action)
    assert watch.see(0.05) is not None
    return watch


def on_probation() -> Watch:
    watch = opened()
    assert watch.see(0.01, after_s=10) is not None
    return watch


def test_breach_opens_and_tells_both_numbers() -> None:
    watch = Watch()

    assert watch.see(LIMIT) is None
    move = watch.see(0.05, after_s=1)

    assert move == Move(
        breaker="var",
        scope="",
        before="CLOSED",
        after="OPEN",
        limit=LIMIT,
        observed=0.05,
        unit="fraction of equity, 95 %, one day",
        action="reduce",
        cool_down_ms=10_000,
        reason="var 0.05 is above 0.04",
        ts_event=START_NS + SECOND,
    )


@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf])
def test_what_is_no_number_opens_and_is_named(value: float | None) -> None:
    move = Watch().see(value, source="equity")

    assert move is not None
    assert (move.after, move.observed, move.reason) == ("OPEN", None, f"equity is no finite number but {value!r}")


def test_what_is_no_number_heals_nothing() -> None:
    assert opened().see(math.nan, after_s=1_000) is None


def test_open_heals_after_the_cool_down_and_well_inside_the_limit_only() -> None:
    watch = opened()

    assert watch.see(0.01, after_s=9) is None
    assert watch.see(0.03, after_s=100) is None
    move = watch.see(0.02, after_s=1)

    assert move is not None
    assert (move.before, move.after, move.observed) == ("OPEN", "HALF_OPEN", 0.02)


def test_probation_without_a_breach_closes_though_not_well_inside() -> None:
    watch = on_probation()

    assert watch.see(0.035, after_s=19) is None
    move = watch.see(0.035, after_s=1)

    assert move is not None
    assert (move.before, move.after, move.action, move.cool_down_ms) == ("HALF_OPEN", "CLOSED", "none", 0)


def test_breach_on_probation_opens_at_once_and_doubles_the_cool_down_up_to_its_bound() -> None:
    watch = opened()
    cool_downs = []
    for _ in range(3):
        assert watch.see(0.0, after_s=1_000) is not None
        again = watch.see(0.05)
        assert again is not None
        cool_downs.append(again.cool_down_ms)

    assert cool_downs == [20_000, 30_000, 30_000]
    assert watch.see(0.0, after_s=29) is None


def test_cool_down_begins_small_again_after_it_closed() -> None:
    watch = on_probation()
    watch.see(0.05)
    watch.see(0.0, after_s=1_000)
    watch.see(0.0, after_s=1_000)

    move = watch.see(0.05)

    assert move is not None
    assert (move.before, move.cool_down_ms) == ("CLOSED", 10_000)


@pytest.mark.parametrize("action", ["halt", "flatten"])
def test_what_halts_stays_until_a_person_ends_it(action: BreakerAction) -> None:
    watch = opened(action)

    assert watch.see(0.0, after_s=1_000_000) is None
    watch.switch = SwitchParams(enabled=False, action="none")
    assert watch.see(0.0, after_s=1_000_000) is None
    assert (watch.breaker.state, watch.breaker.action) == ("OPEN", action)
    move = reset(watch.breaker, watch.now, by="ann", reason="looked at")

    assert move is not None
    assert (move.after, move.reason, move.limit) == ("HALF_OPEN", "reset by ann: looked at", LIMIT)
    assert reset(watch.breaker, watch.now, by="ann", reason="looked at") is None


def test_more_severe_action_is_taken_over_with_the_next_breach() -> None:
    watch = opened("reduce")
    watch.switch = SwitchParams(action="halt")

    assert watch.see(0.03, after_s=1) is None
    move = watch.see(0.05, after_s=1)

    assert move is not None
    assert (move.before, move.after, move.action, move.cool_down_ms) == ("OPEN", "OPEN", "halt", 10_000)
    assert watch.see(0.05, after_s=1) is None
    assert watch.see(0.0, after_s=1_000) is None


def test_too_little_to_judge_opens_nothing_and_lets_time_heal() -> None:
    assert Watch().see(1.0, enough=False) is None
    watch = opened()

    assert watch.see(None, after_s=9, enough=False) is None
    move = watch.see(None, after_s=1, enough=False)

    assert move is not None
    assert (move.after, move.observed, move.reason) == ("HALF_OPEN", None, "too little happens to judge by")


def test_breaker_that_is_off_never_opens_and_says_so() -> None:
    watch = Watch()
    watch.switch = SwitchParams(enabled=False)

    off = watch.see(math.nan)
    assert watch.see(0.9, after_s=1) is None
    watch.switch = SwitchParams()
    on = watch.see(0.9, after_s=1)

    assert off is not None
    assert on is not None
    assert (off.after, off.reason, on.before, on.after) == ("DISABLED", "switched off", "DISABLED", "OPEN")


def test_breaker_that_was_off_is_closed_where_nothing_is_in_breach() -> None:
    watch = on_probation()
    watch.switch = SwitchParams(enabled=False)
    assert watch.see(0.0) is not None
    watch.switch = SwitchParams()

    move = watch.see(0.0)

    assert move is not None
    assert (move.before, move.after, move.reason) == ("DISABLED", "CLOSED", "switched on")


def test_time_that_goes_back_heals_nothing() -> None:
    assert opened().see(0.0, after_s=-1_000) is None


@pytest.mark.parametrize("limit", [math.nan, math.inf, -0.1])
def test_limit_that_is_none_is_refused_with_both_numbers(limit: float) -> None:
    breaker = Breaker(name="var")

    with pytest.raises(ValueError, match=rf"was {limit!r} beside an observed 0\.05"):
        observe(breaker, 0.05, limit, START_NS, SwitchParams(), RECOVERY)

    assert breaker == Breaker(name="var")


def test_scale_is_of_the_worst() -> None:
    closed, half, reducing = Watch().breaker, on_probation().breaker, opened().breaker
    told_only = opened("none").breaker

    assert scale([closed, told_only], 0.25) == 1.0
    assert scale([closed, half], 0.25) == 0.25
    assert scale([half, reducing], 0.25) == 0.0
    assert scale([], 0.25) == 1.0


def test_transition_is_told_with_its_numbers() -> None:
    move = Watch("flatten").see(0.05)
    assert move is not None

    told = move.told(ts_init=1, trace_id="sim:beat", cause="beats/1-0", config="0" * 64)

    assert decode("breaker.v1", encode(told)) == told
    assert (told.before, told.after, told.observed, told.action) == ("CLOSED", "OPEN", 0.05, "flatten")


def test_breakers_of_two_scopes_are_two() -> None:
    breakers: dict[str, Breaker] = {}

    one, other = breaker_of(breakers, "staleness", "sim"), breaker_of(breakers, "staleness", "binance")

    assert one is not other
    assert breaker_of(breakers, "staleness", "sim") is one


def test_every_breaker_has_a_unit_and_parameters() -> None:
    assert set(BreakerParams.model_fields) == {"recovery", *UNITS}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"recovery": {"cool_down_ms": 60_000, "max_cool_down_ms": 1_000}}, "cool_down_ms 60000 is above .* 1000"),
        ({"reject_rate": {"orders": 5, "min_orders": 6}}, "min_orders 6 is above orders 5"),
        ({"venue_latency": {"orders": 2}}, "min_orders 5 is above orders 2"),
        ({"recovery": {"reset_fraction": 1.5}}, "less than or equal to 1"),
        ({"recovery": {"half_open_share": 0}}, "greater than 0"),
        ({"var": {"limit": math.nan}}, "finite number"),
        ({"daily_loss": {"action": "panic"}}, "'none', 'reduce', 'halt' or 'flatten'"),
        ({"volume": {}}, "Extra inputs"),
    ],
)
def test_what_contradicts_itself_is_refused(body: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        BreakerParams.model_validate(body)


def test_breaker_that_would_open_on_what_verdicts_allow_is_refused() -> None:
    BreakerParams().check_beside("risk_limits.var_hard_limit", 0.02, stale_after_ms=3_000)
    off = BreakerParams.model_validate({"var": {"enabled": False}, "staleness": {"enabled": False}})
    off.check_beside("risk_limits.var_hard_limit", 0.03, stale_after_ms=11_000)

    with pytest.raises(ValueError, match=r"breakers\.var\.limit 0\.025 is below risk_limits\.var_hard_limit 0\.03"):
        BreakerParams().check_beside("risk_limits.var_hard_limit", 0.03, stale_after_ms=3_000)
    with pytest.raises(ValueError, match=r"limit_s 10\.0 is below freshness\.stale_after_ms 11000"):
        BreakerParams().check_beside("risk_limits.var_hard_limit", 0.02, stale_after_ms=11_000)


def test_loosening_is_known_as_such() -> None:
    before = BreakerParams().model_dump(mode="json")
    looser: dict[str, dict[str, Any]] = {
        "recovery": {"cool_down_ms": 1, "max_cool_down_ms": 2, "reset_fraction": 1.0, "probation_ms": 1},
        "drawdown": {"enabled": False},
        "daily_loss": {"limit": 0.5},
        "venue_latency": {"limit_ms": 60_000, "min_orders": 6},
        "consecutive_losses": {"memory_ms": 1},
    }
    after = BreakerParams.model_validate(looser).model_dump(mode="json")

    found = {".".join(path) for path in loosened(BreakerParams, before, after)}

    assert found == {f"{block}.{key}" for block, keys in looser.items() for key in keys}
    assert loosened(BreakerParams, after, before) == ()


def test_the_page_writes_the_defaults() -> None:
    page = (Path(__file__).parents[3] / "docs" / "breakers.md").read_text()
    written = yaml.safe_load(page.partition("```yaml\n")[2].partition("```")[0])

    assert BreakerParams.model_validate(written["breakers"]) == BreakerParams()
    defaults = BreakerParams().model_dump(mode="json")
    assert {name: sorted(block) for name, block in written["breakers"].items()} == {
        name: sorted(block) for name, block in defaults.items()
    }
