"""`conf/risk_params.yml` as users have it, and what it may not say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from edgefleet.params.schema import RiskParams

USERS = """
edge_blending:
  decay_factors: {ob_pressure: 0.1, ma_momentum: 0.05}
  default_confidence: 0.5
  min_confidence_threshold: 0.3
  max_models_to_blend: 5
  shrinkage: {enabled: true, prior_edge_bps: 0.0, shrinkage_strength: 0.1}
position_sizing:
  kelly_fraction: 0.25
  max_leverage: {crypto: 3, us_stocks: 4, a_shares: 2, forex: 10, commodities: 5}
  max_position_pct: {crypto: 0.20, us_stocks: 0.25, a_shares: 0.15, forex: 0.30, commodities: 0.20}
risk_limits:
  var_targets: {daily_95pct: 0.015, weekly_95pct: 0.035, monthly_95pct: 0.08}
  max_drawdown: 0.05
  vol_multiplier_limit: 4.0
  max_correlation_exposure: 0.60
  concentration_limits: {single: 0.25, class: 0.60, sector: 0.40, geography: 0.70}
monitoring:
  alerts: {var_breach_threshold: 1.1, drawdown_warning: 0.03, model_confidence_low: 0.2, blend_latency_high_us: 50}
"""


def test_the_shape_that_users_have_is_the_default() -> None:
    params = RiskParams.model_validate(yaml.safe_load(USERS))

    assert params.model_copy(update={"edge_blending": RiskParams().edge_blending}) == RiskParams()
    assert params.edge_blending.decay_factors == {"ob_pressure": 0.1, "ma_momentum": 0.05}


def test_a_body_survives_its_own_dump() -> None:
    body = RiskParams().model_dump(mode="json")

    assert "class" in body["risk_limits"]["concentration_limits"]
    assert RiskParams.model_validate(body) == RiskParams()


def test_the_file_that_is_shipped_says_what_the_defaults_are() -> None:
    shipped = Path(__file__).parents[3] / "conf" / "risk_params.yml"

    (body,) = yaml.safe_load(shipped.read_text()).values()

    assert RiskParams.model_validate(body) == RiskParams()


@pytest.mark.parametrize(
    ("block", "key", "value", "reason"),
    [
        ("position_sizing", "kelly_fraction", 0, "greater than 0"),
        ("position_sizing", "kelly_fraction", 1.1, "less than or equal to 1"),
        ("position_sizing", "kelly_fraction", float("nan"), "finite"),
        ("position_sizing", "max_position_pct", {"crypto": 0.0}, "must be in"),
        ("position_sizing", "max_leverage", {"crypto": -3}, "must be in"),
        ("position_sizing", "max_leverage", {"tulips": 3}, "crypto"),
        ("position_sizing", "kelly_share", 0.25, "Extra inputs"),
        ("risk_limits", "var_hard_limit", 0.01, "above var_hard_limit"),
        ("risk_limits", "max_drawdown", 0.02, "drawdown_warning"),
        ("risk_limits", "concentration_limits", {"single": 0.7}, "above class"),
        ("risk_limits", "concentration_limits", {"single": 0.5}, "above sector"),
        ("risk_limits", "var_targets", {"weekly_95pct": 0.01}, "must not fall"),
        ("edge_blending", "decay_factors", {"m": -0.1}, "must be in"),
        ("freshness", "flatten_after_ms", 1_000, "above flatten_after_ms"),
    ],
)
def test_what_contradicts_itself_is_refused(block: str, key: str, value: Any, reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        RiskParams.model_validate({block: {key: value}})
