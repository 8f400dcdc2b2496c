"""The configuration that a benchmark runs under: the trader's own, with what makes every flip of pressure an order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from edgefleet.params.files import FILES, load_components

# What differs from the trader's own. Limits, freshness and the latch stand as they are.
OVERRIDES: dict[str, dict[str, Any]] = {
    "features": {"min_interval_ms": 0},  # conflation off: every event reaches the models
    "risk_harmonizer": {
        "position_sizing": {"max_position_pct": {"crypto": 0.01}, "min_dwell_ms": 0},  # small, so that the cap binds
        "volatility": {"min_returns": 2},
        # Every flip is an order, many a minute, and each loses the spread: what stops a person's fleet stops no clock.
        "risk_limits": {"order_limits": {"max_changes_per_minute": 100_000}},
        "breakers": {name: {"enabled": False} for name in ("consecutive_losses", "daily_loss")},
    },
}
NO_FEES = {"maker_fee": "0", "taker_fee": "0"}


def write_conf(conf_dir: Path, target: Path, *, venue: str = "sim") -> None:
    """Write the configuration of `conf_dir` with the overrides into `target`. Raises as `load_fleet` does."""
    (target / "venues").mkdir(parents=True)
    for name, component in load_components(conf_dir).items():
        body = _merged(component.body, OVERRIDES.get(name, {}))
        if name == "venues":
            for one, params in body["venues"].items():
                text = msgspec.json.encode(params | (NO_FEES if one == venue else {}))
                (target / "venues" / f"{one}.yml").write_bytes(text)
        else:
            (target / FILES[name]).write_bytes(msgspec.json.encode(body))


def _merged(body: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(body)
    for key, value in over.items():
        merged[key] = (
            _merged(body[key], value) if isinstance(value, dict) and isinstance(body.get(key), dict) else value
        )
    return merged
