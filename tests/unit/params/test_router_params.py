"""Routing rules are read as users write them, and a bad one is refused with its place."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from edgefleet.params.schema import ModelsParams, RouterParams
from edgefleet.params.schema.horizon import parse_horizon

USERS_FILE: dict[str, Any] = {
    "default_model": "ob_pressure",
    "cache_ttl_seconds": 300,
    "rules": [
        {
            "asset_class": "crypto",
            "horizon_ms": "<60000",
            "model": "ob_pressure",
            "priority": 100,
            "description": "fast",
        },
        {"asset_class": "crypto", "instrument": "BTC*", "horizon_ms": ">=60000&<=300000", "model": "ma_momentum"},
        {"asset_class": "*", "horizon_ms": 5000, "models": ["ob_pressure", "ma_momentum"]},
    ],
    "model_thresholds": {"ob_pressure": {"max_latency_ms": 50, "min_accuracy": 0.55}},
    "feature_flags": {"enable_shadow": False},
}


def test_users_file_is_read_as_it_is() -> None:
    params = RouterParams.model_validate(USERS_FILE)

    assert [rule.chosen for rule in params.rules] == [
        ("ob_pressure",),
        ("ma_momentum",),
        ("ob_pressure", "ma_momentum"),
    ]


def test_explicit_priorities_go_first_and_the_rest_keeps_file_order() -> None:
    rules = [{"name": "a", "model": "m"}, {"name": "b", "model": "m", "priority": 1}]
    rules += [{"name": "c", "model": "m"}, {"name": "d", "model": "m", "priority": 9}]

    ordered = RouterParams.model_validate({"rules": rules}).ordered

    assert [name for name, _ in ordered] == ["d", "b", "a", "c"]


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        ([{"model": "a", "priority": 5, "name": "x"}, {"model": "b", "priority": 5}], "rule 1 (x) and rule 2 have the"),
        ([{"model": "a", "name": "x"}, {"model": "b", "name": "x"}], "rules 1 and 2 have the same name 'x'"),
        ([{"horizon_ms": "5"}], "a rule needs model or models"),
        ([{"model": "a", "models": ["b"]}], "not both"),
        ([{"models": ["a", "a"]}], "names one twice"),
        ([{"model": "a", "horizon_ms": "~5"}], "'~5' is not readable"),
        ([{"model": "a", "horizon_ms": "<5&>9"}], "no horizon fits '<5&>9'"),
        ([{"model": "a", "horizn_ms": "5"}], "Extra inputs are not permitted"),
    ],
)
def test_bad_rules_are_refused_with_what_is_wrong(rules: list[dict[str, Any]], told: str) -> None:
    with pytest.raises(ValidationError, match="rule") as refused:
        RouterParams.model_validate({"rules": rules})

    assert told in str(refused.value)


@given(st.integers(0, 200), st.integers(0, 200), st.integers(0, 200))
def test_horizon_terms_hold_what_they_say(low: int, high: int, horizon: int) -> None:
    low, high = sorted((low, high))

    assert parse_horizon(f"{low}-{high}").holds(horizon) == (low <= horizon <= high)
    assert parse_horizon(f">={low}&<={high}").holds(horizon) == (low <= horizon <= high)
    assert parse_horizon(f">{low}").holds(horizon) == (horizon > low)
    assert parse_horizon(f"<{low + 1}").holds(horizon) == (horizon < low + 1)
    assert parse_horizon(f"={low}").holds(horizon) == parse_horizon(str(low)).holds(horizon) == (horizon == low)
    assert parse_horizon("*").holds(horizon)


@pytest.mark.parametrize("text", ["", "&", "5-", "-5", "<", "a", "5.5", "9-5", "<0"])
def test_horizon_that_says_nothing_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"horizon"):
        parse_horizon(text)


@pytest.mark.parametrize(
    ("models", "told"),
    [
        ({"nobody": {}}, "models.nobody: no such model; known are ma_momentum, ob_pressure"),
        ({"ob_pressure": {"parameters": {"scale_bps": -1}}}, "models.ob_pressure.parameters.scale_bps"),
        ({"ob_pressure": {"parameters": {"scale": 1}}}, "models.ob_pressure.parameters.scale"),
        ({"ma_momentum": {"parameters": {"fast_bars": 30}}}, "fast_bars must be below slow_bars"),
    ],
)
def test_bad_model_parameters_are_refused_with_their_key(models: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError) as refused:
        ModelsParams.model_validate({"models": models})

    assert told in str(refused.value)
