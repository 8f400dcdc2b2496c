"""The blend against its definition."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefleet.messages import WeightedEdge
from edgefleet.params.schema.risk import EdgeBlendingParams, ShrinkageParams
from edgefleet.risk.blend import Blend, blend, first_unsound, shrink, trading_cost_bps

PLAIN = ShrinkageParams(enabled=False)


def edge(
    bps: float,
    confidence: float = 1.0,
    *,
    model: str = "m",
    weight: float = 1.0,
    age_ms: int = 0,
    horizon_ms: int = 10_000,
) -> WeightedEdge:
    return WeightedEdge(
        model=model,
        version="1",
        edge_bps=bps,
        confidence=confidence,
        horizon_ms=horizon_ms,
        weight=weight,
        age_ms=age_ms,
    )


def blended(edges: Sequence[WeightedEdge], params: EdgeBlendingParams) -> Blend:
    found = blend(edges, params)
    assert found is not None
    return found


@st.composite
def edges(draw: st.DrawFn) -> list[WeightedEdge]:
    return [
        edge(
            draw(st.floats(-100, 100)),
            draw(st.floats(0.3, 1.0)),
            model=f"m{place}",
            weight=draw(st.floats(0.01, 10)),
            age_ms=draw(st.integers(0, 20_000)),
            horizon_ms=draw(st.integers(1_000, 60_000)),
        )
        for place in range(draw(st.integers(1, 5)))
    ]


@given(edges(), st.dictionaries(st.sampled_from(["m0", "m1", "m2"]), st.floats(0, 3)))
def test_the_blend_is_its_definition(chosen: list[WeightedEdge], decay: dict[str, float]) -> None:
    params = EdgeBlendingParams(decay_factors=decay, shrinkage=PLAIN)

    found = blended(chosen, params)

    weights = [
        one.weight * math.exp(-decay.get(one.model, 0.0)) * math.exp(-one.age_ms / one.horizon_ms) for one in chosen
    ]
    over = math.fsum(w * one.confidence for w, one in zip(weights, chosen, strict=True))
    expected = math.fsum(w * one.confidence * one.edge_bps for w, one in zip(weights, chosen, strict=True)) / over
    horizon = math.fsum(w * one.confidence * one.horizon_ms for w, one in zip(weights, chosen, strict=True)) / over
    assert found.edge_bps == pytest.approx(expected, rel=1e-12, abs=1e-12)
    assert found.horizon_ms == pytest.approx(horizon, rel=1e-12)
    assert found.confidence == pytest.approx(over / math.fsum(weights), rel=1e-12)


@given(edges())
def test_mirrored_edges_blend_mirrored(chosen: list[WeightedEdge]) -> None:
    params = EdgeBlendingParams()
    mirrored = [edge(-one.edge_bps, one.confidence, model=one.model, weight=one.weight) for one in chosen]
    upright = [edge(one.edge_bps, one.confidence, model=one.model, weight=one.weight) for one in chosen]

    assert blended(mirrored, params).edge_bps == -blended(upright, params).edge_bps


@given(edges())
def test_the_blend_lies_between_the_prior_and_the_edges(chosen: list[WeightedEdge]) -> None:
    found = blended(chosen, EdgeBlendingParams())

    values = [0.0, *(one.edge_bps for one in chosen)]
    assert min(values) - 1e-9 <= found.edge_bps <= max(values) + 1e-9


def test_a_model_below_the_threshold_is_not_heard() -> None:
    params = EdgeBlendingParams(min_confidence_threshold=0.3, shrinkage=PLAIN)

    found = blended([edge(10.0, 0.9, model="sure"), edge(-90.0, 0.29, model="unsure")], params)

    assert (found.edge_bps, found.models) == (10.0, 1)
    assert blend([edge(-90.0, 0.29)], params) is None


def test_only_the_most_confident_are_kept() -> None:
    params = EdgeBlendingParams(max_models_to_blend=2, shrinkage=PLAIN)
    chosen = [edge(float(n), 0.5 + n / 10, model=f"m{n}") for n in range(4)]

    found = blended(chosen, params)

    assert found.models == 2
    assert found.raw_bps == pytest.approx((2 * 0.7 + 3 * 0.8) / 1.5)


def test_of_equals_the_first_by_name_is_kept() -> None:
    params = EdgeBlendingParams(max_models_to_blend=1, shrinkage=PLAIN)

    assert blended([edge(-5.0, model="b"), edge(5.0, model="a")], params).edge_bps == 5.0


def test_age_is_counted_in_tau() -> None:
    params = EdgeBlendingParams(tau_ms=1_000, shrinkage=PLAIN)

    found = blended([edge(10.0, model="new"), edge(-10.0, model="old", age_ms=1_000)], params)

    assert found.edge_bps == pytest.approx(10 * (1 - math.exp(-1)) / (1 + math.exp(-1)))


def test_one_sure_model_is_pulled_by_the_strength_and_two_by_less() -> None:
    params = EdgeBlendingParams(shrinkage=ShrinkageParams(shrinkage_strength=0.1))

    one = blended([edge(10.0, model="a")], params)
    two = blended([edge(10.0, model="a"), edge(10.0, model="b")], params)

    assert one.edge_bps == pytest.approx(9.0)
    assert two.edge_bps == pytest.approx(10 * 2 / (2 + 1 / 9))


def test_legacy_pulls_by_the_strength_whatever_the_evidence() -> None:
    params = ShrinkageParams(mode="legacy", shrinkage_strength=0.1, prior_edge_bps=2.0)

    assert shrink(10.0, 0.0, params) == shrink(10.0, 7.0, params) == pytest.approx(0.9 * 10 + 0.1 * 2)


@pytest.mark.parametrize("field", ["edge_bps", "confidence", "weight"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_named(field: str, value: float) -> None:
    numbers = {"edge_bps": 1.0, "confidence": 1.0, "weight": 1.0, field: value}
    bad = WeightedEdge(model="m", version="1", horizon_ms=1_000, age_ms=0, **numbers)

    assert first_unsound([edge(1.0), bad]) == f"m.{field}"


def test_a_horizon_of_nothing_is_unsound() -> None:
    assert first_unsound([edge(1.0, horizon_ms=0)]) == "m.horizon_ms"
    assert first_unsound([edge(1.0, weight=-1.0)]) == "m.weight"
    assert first_unsound([edge(1.0)]) is None


def test_cost_is_fee_and_half_spread_per_side() -> None:
    assert trading_cost_bps(99.0, 101.0, 0.001, 1) == pytest.approx(10 + 100)
    assert trading_cost_bps(99.0, 101.0, 0.001, 2) == pytest.approx(220)
