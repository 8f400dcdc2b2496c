"""Every metric is declared once, under the name that INTERFACE promises."""

from __future__ import annotations

import pytest
from prometheus_client import generate_latest

from edgefleet.telemetry.metrics import Metrics, declared, declared_names

PROMISED = {
    "edge_blended_bps": ("symbol",),
    "position_size_usd": ("symbol",),
    "var_pct": ("symbol",),
    "model_confidence": ("symbol", "model"),
    "model_switch_total": ("symbol",),
    "equity_usd": (),
    "drawdown_pct": (),
    "pnl_realized_usd": (),
    "pnl_unrealized_usd": (),
    "trading_state": (),
    "edgefleet_step_duration_seconds": ("service",),
    "edgefleet_messages_total": ("service", "type"),
    "edgefleet_stream_lag": ("service", "stream"),
    "edgefleet_data_age_seconds": ("venue", "symbol"),
    "edgefleet_tick_to_order_seconds": (),
    "edgefleet_orders_total": ("venue", "state"),
    "edgefleet_refusals_total": ("reason",),
    "edgefleet_param_version": ("component", "service"),
    "edgefleet_param_rejects_total": ("component",),
    "edgefleet_dead_letters_total": ("service",),
}


def test_every_promised_metric_is_declared() -> None:
    assert set(PROMISED) <= set(declared_names())


@pytest.mark.parametrize("attribute", declared())
def test_a_metric_has_the_promised_labels(attribute: str) -> None:
    metric = getattr(Metrics(), attribute)

    (family,) = metric.describe()
    name = family.name + ("_total" if family.type == "counter" else "")

    assert metric._labelnames == PROMISED.get(name, metric._labelnames)
    assert family.documentation.endswith(".")


def test_a_process_exports_only_what_it_touched() -> None:
    metrics = Metrics()

    metrics.step_duration.labels(service="risk").observe(0.000_2)
    page = generate_latest(metrics.registry).decode()

    assert 'edgefleet_step_duration_seconds_count{service="risk"} 1.0' in page
    assert "equity_usd" not in page
    assert "_created" not in page
