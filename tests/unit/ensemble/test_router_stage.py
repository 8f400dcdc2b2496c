"""Who is listened to, who is not and why, and when that changes."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefleet.clock import NS_PER_MS
from edgefleet.ensemble.routes import Routes
from edgefleet.ensemble.stage import RouterStage, RouterState, dispersion
from edgefleet.messages import Ensemble, ModelEdge, ModelSwitched, Signals, Watermark
from edgefleet.params.schema import FleetConfig
from edgefleet.stage import Input, Output
from edgefleet.testing import build
from edgefleet.testing.clock import START_NS

FAST = {"model": "ob_pressure", "version": "1", "edge_bps": 8.0, "confidence": 0.7, "horizon_ms": 10_000}
SLOW = {"model": "ma_momentum", "version": "1", "edge_bps": -2.0, "confidence": 0.5, "horizon_ms": 60_000}
BTC = {
    "tick_size": "0.01", "lot_size": "0.00001", "min_quantity": "0.00001", "min_notional": "5", "asset_class": "crypto",
}  # fmt: skip


def config(**router: Any) -> FleetConfig:
    return FleetConfig.model_validate({"model_router": router, "instruments": {"symbols": {"BTC/USDT": BTC}}})


class Session:
    """A router and its state, told one thing after the other."""

    def __init__(self, config: FleetConfig) -> None:
        self.stage, self.config = RouterStage(), config
        self.state: RouterState = self.stage.initial()
        self.told = 0

    def hear(self, ms: int, *edges: dict[str, Any]) -> list[Output]:
        stamp = START_NS + ms * NS_PER_MS
        said = tuple(ModelEdge(**edge) for edge in edges)
        return self.take(build.signals(edges=said, ts_event=stamp, watermark=stamp))

    def take(self, message: Signals | Watermark) -> list[Output]:
        self.told += 1
        return list(self.stage.step(self.state, Input("signals", f"{self.told}-0", message), self.config))


def ensembles(outputs: list[Output]) -> list[Ensemble]:
    return [output.message for output in outputs if isinstance(output.message, Ensemble)]


def chosen(outputs: list[Output]) -> list[str]:
    (ensemble,) = ensembles(outputs)
    return [edge.model for edge in ensemble.chosen]


def reasons(outputs: list[Output]) -> dict[str, str]:
    (ensemble,) = ensembles(outputs)
    return {abstention.model: abstention.reason for abstention in ensemble.abstained}


def test_default_rule_listens_to_both_models_with_equal_weight() -> None:
    (ensemble,) = ensembles(Session(config()).hear(0, FAST, SLOW))

    assert [(edge.model, edge.weight, edge.age_ms) for edge in ensemble.chosen] == [
        ("ob_pressure", 0.5, 0),
        ("ma_momentum", 0.5, 0),
    ]
    assert ensemble.uncertainty_bps == 5.0
    assert ensemble.cause == "signals/1-0"


def test_rules_by_horizon_make_one_ensemble_each() -> None:
    rules = [{"name": "fast", "horizon_ms": "<60000", "model": "ob_pressure"}]
    rules += [{"name": "slow", "horizon_ms": ">=60000", "model": "ma_momentum"}]

    found = ensembles(Session(config(rules=rules)).hear(0, FAST, SLOW))

    assert [(one.rule, [edge.model for edge in one.chosen]) for one in found] == [
        ("fast", ["ob_pressure"]),
        ("slow", ["ma_momentum"]),
    ]


def test_model_that_its_rule_does_not_name_abstains_with_the_reason() -> None:
    outputs = Session(config(rules=[{"model": "ob_pressure"}])).hear(0, FAST, SLOW)

    assert chosen(outputs) == ["ob_pressure"]
    assert reasons(outputs) == {"ma_momentum": "NOT_IN_RULE"}


def test_nobody_is_listened_to_where_no_rule_fits_and_there_is_no_default() -> None:
    rules = [{"horizon_ms": "<60000", "model": "ob_pressure"}]

    outputs = Session(config(rules=rules)).hear(0, FAST, SLOW)

    assert reasons(outputs) == {"ma_momentum": "NO_RULE"}


def test_default_model_is_listened_to_where_no_rule_fits() -> None:
    rules = [{"instrument": "ETH*", "model": "ob_pressure"}]

    outputs = Session(config(rules=rules, default_model="ma_momentum")).hear(0, FAST, SLOW)

    assert ensembles(outputs)[0].rule == "default"
    assert chosen(outputs) == ["ma_momentum"]


@pytest.mark.parametrize("glob", ["BTC/USDT@sim", "BTC/USDT", "BTC-USDT", "BTCUSDT", "BTC*", "*USDT*", "*"])
def test_instrument_globs_know_every_spelling(glob: str) -> None:
    assert Routes(config(rules=[{"instrument": glob, "model": "m"}])).route("BTC/USDT@sim", 1) is not None


def test_asset_class_and_regime_must_fit() -> None:
    rules = [{"name": "a", "asset_class": "us_*", "model": "m"}, {"name": "b", "regime": "trending", "model": "m"}]
    routes = Routes(config(rules=rules))

    trending = routes.route("BTC/USDT@sim", 1, "trending")

    assert trending is not None
    assert trending.rule == "b"
    assert routes.route("BTC/USDT@sim", 1) is None


def test_edge_older_than_its_horizon_is_stale_and_dropped_at_once() -> None:
    session = Session(config())
    session.hear(0, FAST, SLOW)

    assert chosen(session.hear(10_000, SLOW)) == ["ob_pressure", "ma_momentum"]
    stale = session.hear(10_001, SLOW)

    assert chosen(stale) == ["ma_momentum"]
    assert reasons(stale) == {"ob_pressure": "STALE"}
    switched = stale[0].message
    assert isinstance(switched, ModelSwitched)
    assert switched.reason == "ob_pressure left: STALE"


def test_switch_goes_to_the_stream_and_to_the_log() -> None:
    outputs = Session(config()).hear(0, FAST)

    assert [output.stream for output in outputs] == ["ensembles", "model.switch.log", "ensembles"]
    assert outputs[0].message == outputs[1].message


def test_model_that_comes_back_waits_until_the_selection_has_stood() -> None:
    session = Session(config(dwell_ms=2_000))
    session.hear(0, FAST, SLOW)
    session.hear(10_001, SLOW)

    early = session.hear(10_500, FAST, SLOW)
    late = session.hear(12_001, FAST, SLOW)

    assert reasons(early) == {"ob_pressure": "DWELL"}
    assert chosen(late) == ["ob_pressure", "ma_momentum"]


def test_threshold_on_confidence_is_enforced() -> None:
    outputs = Session(config(model_thresholds={"ma_momentum": {"min_confidence": 0.6}})).hear(0, FAST, SLOW)

    assert reasons(outputs) == {"ma_momentum": "LOW_CONFIDENCE"}


def test_watermark_passes_in_order_with_its_stamp() -> None:
    mark = Watermark(venue="sim", ts_event=5, ts_init=6, trace_id="t", cause="market/9-0")

    (output,) = Session(config()).take(mark)

    assert output == Output("ensembles", msgspec.structs.replace(mark, cause="signals/1-0"))


def test_changed_rules_let_go_of_the_old_ones_models() -> None:
    session = Session(config(rules=[{"name": "old", "model": "ob_pressure"}]))
    session.hear(0, FAST)
    session.config = config(rules=[{"name": "new", "model": "ob_pressure"}])

    found = ensembles(session.hear(1, FAST))

    assert [(one.rule, len(one.chosen)) for one in found] == [("new", 1), ("old", 0)]
    assert [one.rule for one in ensembles(session.hear(2, FAST))] == ["new"]


def test_state_survives_a_restart_unchanged() -> None:
    whole, cut = Session(config()), Session(config())
    script = [(0, (FAST,)), (500, (FAST, SLOW)), (9_000, (SLOW,)), (12_000, (SLOW,)), (13_000, (FAST, SLOW))]
    expected = [whole.hear(ms, *edges) for ms, edges in script]

    found = []
    for ms, edges in script:
        cut.state = msgspec.msgpack.decode(msgspec.msgpack.encode(cut.state), type=RouterState)
        cut.stage = RouterStage()
        found.append(cut.hear(ms, *edges))

    assert found == expected


@given(st.lists(st.floats(-1e4, 1e4), min_size=2, max_size=8))
def test_dispersion_equals_its_definition(edges: list[float]) -> None:
    mean = math.fsum(edges) / len(edges)

    expected = math.sqrt(sum((edge - mean) ** 2 for edge in edges) / len(edges))

    assert dispersion(edges) == pytest.approx(expected, rel=1e-9, abs=1e-9)
