"""The blend against its definition."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import msgspec
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from edgefleet.messages import WeightedEdge
from edgefleet.params.schema.risk import EdgeBlendingParams, ShrinkageParams
from edgefleet.risk.agreement import INDEPENDENT, UNKNOWN, Likeness
from edgefleet.risk.blend import (
    Blender,
    blend,
    first_unsound,
    posterior_variance,
    shrink,
    trading_cost_bps,
)
from edgefleet.risk.unrolled import Blend, blending
from edgefleet_services.bench.blending import InNumpy, twelve_alike, twelve_edges

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


def blended(edges: Sequence[WeightedEdge], params: EdgeBlendingParams, likeness: Likeness = INDEPENDENT) -> Blend:
    found = blend(edges, params, likeness)
    assert found is not None
    return found


def alike(correlations: dict[tuple[str, str], float], moment: float = 100.0, models: int = 12) -> Likeness:
    """Return models m0, m1, ... that are independent but for the named pairs."""
    names = [f"m{place}" for place in range(models)]
    every = {(first, second): 0.0 for i, first in enumerate(names) for second in names[i + 1 :]}
    return Likeness({**every, **correlations}, dict.fromkeys(names, moment))


def copies(count: int) -> dict[tuple[str, str], float]:
    """Return the correlations of which m0 to m(count-1) are copies of one model."""
    return {(f"m{i}", f"m{j}"): 1.0 for j in range(count) for i in range(j)}


@st.composite
def likenesses(draw: st.DrawFn, known: float = 1.0) -> Likeness:
    """Draw correlations of a matrix that exists, some of them not known; `known` is the share of the moments."""
    rng = random.Random(draw(st.integers(0, 2**32)))
    vectors = [[rng.gauss(0, 1) for _ in range(3)] for _ in range(5)]
    found = {}
    for j in range(5):
        for i in range(j):
            if rng.random() < 0.8:
                found[f"m{i}", f"m{j}"] = float(np.corrcoef(vectors[i], vectors[j])[0, 1])
    return Likeness(found, {f"m{i}": rng.uniform(1, 400) for i in range(5) if rng.random() < known})


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


def plainly(chosen: Sequence[WeightedEdge], params: EdgeBlendingParams, likeness: Likeness) -> dict[str, float]:
    """The definition, read off the page, for edges that are all heard and all kept."""
    models = [one.model for one in chosen]
    known = [[likeness.correlation(a, b) for b in models] for a in models]
    look_alikes = np.array([[max(rho or 0.0, 0.0) for rho in row] for row in known])
    evidence = np.array([[1.0 if rho is None else max(rho, 0.0) for rho in row] for row in known])
    edges, confidences = np.array([[one.edge_bps, one.confidence] for one in chosen]).T
    weights = np.array([one.weight * math.exp(-one.age_ms / one.horizon_ms) for one in chosen])
    weights /= (look_alikes**2).sum(axis=1)  # of itself 1
    a = weights * confidences
    raw, confidence = float(a @ edges / a.sum()), float(a.sum() / weights.sum())
    effective = float(a.sum() ** 2 / (a @ evidence @ a))
    strength = params.shrinkage.shrinkage_strength
    prior = strength / (1 - strength)
    error = float(a @ np.array([likeness.among((model,)).moments for model in models]).ravel() / a.sum())
    precision = prior + confidence * effective
    return {
        "raw_bps": raw,
        "confidence": confidence,
        "effective_models": effective,
        "edge_bps": (prior * params.shrinkage.prior_edge_bps + confidence * effective * raw) / precision,
        "posterior_sd_bps": math.sqrt(error / precision),
    }


@given(edges(), likenesses(), st.floats(0, 0.9), st.floats(-5, 5))
def test_with_correlations_it_is_the_definition_in_matrices(
    chosen: list[WeightedEdge], likeness: Likeness, strength: float, prior: float
) -> None:
    params = EdgeBlendingParams(shrinkage=ShrinkageParams(shrinkage_strength=strength, prior_edge_bps=prior))

    found = blended(chosen, params, likeness)

    for name, expected in plainly(chosen, params, likeness).items():
        assert getattr(found, name) == pytest.approx(expected, rel=1e-9, abs=1e-9), name


@given(edges(), likenesses())
def test_mirrored_edges_of_models_that_are_alike_blend_mirrored_to_the_bit(
    chosen: list[WeightedEdge], likeness: Likeness
) -> None:
    params = EdgeBlendingParams(max_models_to_blend=3)
    mirrored = [msgspec.structs.replace(one, edge_bps=-one.edge_bps) for one in chosen]

    up, down = blended(chosen, params, likeness), blended(mirrored, params, likeness)

    assert msgspec.structs.replace(down, edge_bps=-down.edge_bps, raw_bps=-down.raw_bps) == up


@given(edges(), likenesses(), st.randoms(use_true_random=False), st.integers(1, 5))
def test_the_order_of_edges_does_not_matter_to_the_bit(
    chosen: list[WeightedEdge], likeness: Likeness, order: random.Random, most: int
) -> None:
    params = EdgeBlendingParams(max_models_to_blend=most)
    shuffled = order.sample(chosen, len(chosen))

    assert blended(shuffled, params, likeness) == blended(chosen, params, likeness)


@given(edges(), likenesses())
def test_what_is_alike_still_lies_between_the_prior_and_the_edges(
    chosen: list[WeightedEdge], likeness: Likeness
) -> None:
    found = blended(chosen, EdgeBlendingParams(), likeness)

    values = [0.0, *(one.edge_bps for one in chosen)]
    assert min(values) - 1e-9 <= found.edge_bps <= max(values) + 1e-9
    assert 1 - 1e-9 <= found.effective_models <= found.models + 1e-9


@pytest.mark.parametrize("count", [1, 2, 3, 10])
def test_copies_count_once(count: int) -> None:
    chosen = [edge(10.0, 0.8, model=f"m{place}") for place in range(count)]

    found = blended(chosen, EdgeBlendingParams(max_models_to_blend=10), alike(copies(count)))

    assert 1 <= found.effective_models <= 1 + 1e-9
    assert found.edge_bps == pytest.approx(blended(chosen[:1], EdgeBlendingParams()).edge_bps, rel=1e-9)


def test_ten_copies_and_one_other_weigh_as_two() -> None:
    chosen = [*(edge(10.0, model=f"m{place}") for place in range(10)), edge(-10.0, model="m10")]
    params = EdgeBlendingParams(max_models_to_blend=12)

    found = blended(chosen, params, alike(copies(10)))

    assert found.raw_bps == pytest.approx(0.0, abs=1e-12)
    assert found.effective_models == pytest.approx(2.0)
    assert blended(chosen, params).raw_bps == pytest.approx(90 / 11)


def test_near_copies_count_about_once() -> None:
    near = dict.fromkeys(copies(10), 0.98)
    chosen = [edge(10.0, model=f"m{place}") for place in range(10)]

    found = blended(chosen, EdgeBlendingParams(max_models_to_blend=10), alike(near))

    assert 1 <= found.effective_models <= 1.1


@given(edges(), likenesses(), st.integers(0, 4))
def test_a_copy_brings_no_evidence_that_another_weighting_of_the_models_would_not_have(
    chosen: list[WeightedEdge], likeness: Likeness, whose: int
) -> None:
    """The most that any weights make of correlations ``R`` is ``1' R^-1 1``, where those weights are not negative."""
    assume(whose < len(chosen))
    names = [one.model for one in chosen]
    rows = [[1.0 if a == b else max(likeness.correlation(a, b) or 0.0, 0.0) for b in names] for a in names]
    known = Likeness({(a, b): rows[i][j] for i, a in enumerate(names) for j, b in enumerate(names) if i < j}, {})
    assume(np.linalg.cond(np.array(rows)) < 1e6)
    best = np.linalg.solve(np.array(rows), np.ones(len(names)))
    assume((best >= 0).all() and (np.linalg.eigvalsh(np.array(rows)) > 0).all())

    found = blended([*chosen, chosen[whose]], EdgeBlendingParams(max_models_to_blend=6), known)

    assert found.effective_models <= best.sum() + 1e-6


@given(edges(), st.integers(1, 9))
def test_a_copy_of_a_model_that_stands_alone_changes_nothing(chosen: list[WeightedEdge], more: int) -> None:
    params = EdgeBlendingParams(max_models_to_blend=20)

    without, found = blended(chosen, params), blended([*chosen, *[chosen[0]] * more], params)

    for name in ("edge_bps", "raw_bps", "confidence", "effective_models", "horizon_ms"):
        assert getattr(found, name) == pytest.approx(getattr(without, name), rel=1e-9, abs=1e-9)


def test_copies_do_not_fill_the_places() -> None:
    params = EdgeBlendingParams(max_models_to_blend=3, shrinkage=PLAIN)
    chosen = [*(edge(10.0, 0.9, model=f"m{place}") for place in range(10)), edge(-4.0, 0.5, model="m10")]
    chosen.append(edge(-6.0, 0.46, model="m11"))

    found = blended(chosen, params, alike(copies(10)))

    assert found.raw_bps == pytest.approx((0.9 * 10 - 0.5 * 4 - 0.46 * 6) / 1.86)
    assert found.effective_models == pytest.approx(1.86**2 / (0.9**2 + 0.5**2 + 0.46**2))


def test_the_best_of_copies_keeps_its_place_beside_weaker_models() -> None:
    """Choosing by what is left after the discount would leave each copy 0.09, and none of them a place."""
    params = EdgeBlendingParams(max_models_to_blend=1, shrinkage=PLAIN)
    chosen = [*(edge(10.0, 0.9, model=f"m{place}") for place in range(10)), edge(-4.0, 0.5, model="m10")]

    assert blended(chosen, params, alike(copies(10))).edge_bps == 10.0


def test_models_of_which_nothing_is_known_keep_their_weights_and_are_one_evidence() -> None:
    chosen = [edge(10.0, 0.5, model="a"), edge(2.0, 0.5, model="b")]

    found = blended(chosen, EdgeBlendingParams(), UNKNOWN)

    assert found.raw_bps == pytest.approx(6.0)
    assert found.effective_models == pytest.approx(1.0)
    assert found.posterior_sd_bps is None


def test_models_that_contradict_each_other_are_not_discounted() -> None:
    found = blended([edge(1.0, model="m0"), edge(3.0, model="m1")], EdgeBlendingParams(), alike({("m0", "m1"): -0.9}))

    assert found.effective_models == pytest.approx(2.0)


@given(st.integers(1, 11), st.floats(0.3, 1.0))
def test_the_posterior_narrows_with_evidence(models: int, confidence: float) -> None:
    params = EdgeBlendingParams(max_models_to_blend=12)
    chosen = [edge(10.0, confidence, model=f"m{place}") for place in range(models + 1)]

    fewer, more = (blended(some, params, alike({})) for some in (chosen[:-1], chosen))

    assert fewer.posterior_sd_bps is not None
    assert more.posterior_sd_bps is not None
    assert more.posterior_sd_bps < fewer.posterior_sd_bps


def test_the_posterior_is_that_of_conjugate_normals() -> None:
    """Gelman et al., 2.5: precision 1/4 of the prior and 2/16 of two measurements add up, 3/8."""
    params = ShrinkageParams(shrinkage_strength=0.8, prior_edge_bps=1.0)  # the prior is worth 4 models

    assert shrink(7.0, 2.0, params) == pytest.approx((4 * 1.0 + 2 * 7.0) / 6)
    assert posterior_variance(16.0, 2.0, params) == pytest.approx(16 / 6)


def test_the_posterior_deviation_bounds_the_error_of_models_that_err_by_themselves() -> None:
    """Edges are the truth plus an error; what the blend misses is no wider than it says, and not half as wide."""
    rng = random.Random(7)
    params = EdgeBlendingParams(shrinkage=PLAIN)
    likeness = alike({}, moment=3.0**2 + 4.0**2, models=4)
    missed = []
    for _ in range(4_000):
        truth = rng.gauss(0, 3)
        found = blended([edge(truth + rng.gauss(0, 4), model=f"m{place}") for place in range(4)], params, likeness)
        missed.append(found.edge_bps - truth)

    root = math.sqrt(math.fsum(miss * miss for miss in missed) / len(missed))

    assert found.posterior_sd_bps == pytest.approx(2.5)
    assert 1.25 < root < 2.5


def test_legacy_tells_no_deviation_and_without_shrinkage_the_prior_counts_nothing() -> None:
    assert posterior_variance(100.0, 2.0, ShrinkageParams(mode="legacy")) is None
    assert posterior_variance(100.0, 2.0, ShrinkageParams(enabled=False, mode="legacy")) == 50.0
    assert posterior_variance(100.0, 2.0, ShrinkageParams(shrinkage_strength=0)) == 50.0


@pytest.mark.parametrize("field", ["edge_bps", "confidence", "weight"])
@pytest.mark.parametrize("most", [1, 5])
def test_a_blend_refuses_nan_by_name(field: str, most: int) -> None:
    numbers = {"edge_bps": 1.0, "confidence": 0.4, "weight": 1.0, field: math.nan}
    bad = WeightedEdge(model="bad", version="1", horizon_ms=1_000, age_ms=0, **numbers)

    with pytest.raises(ValueError, match=rf"bad\.{field}.*nan"):
        blend([edge(1.0), bad], EdgeBlendingParams(max_models_to_blend=most))


def test_shrinking_refuses_nan() -> None:
    with pytest.raises(ValueError, match=r"were nan and 1\.0"):
        shrink(math.nan, 1.0, ShrinkageParams())
    with pytest.raises(ValueError, match=r"were 1\.0 and nan"):
        shrink(1.0, math.nan, ShrinkageParams())
    with pytest.raises(ValueError, match="were nan and 1"):
        posterior_variance(math.nan, 1.0, ShrinkageParams())


@pytest.mark.parametrize(("field", "value"), [("edge_bps", 1e100), ("weight", 1e100), ("age_ms", math.nan)])
def test_what_would_overflow_is_unsound(field: str, value: float) -> None:
    assert first_unsound([msgspec.structs.replace(edge(1.0), **{field: value})]) == f"m.{field}"


@pytest.mark.parametrize("most", [5, 12])
def test_the_twelve_of_the_bench_blend_as_they_do_in_numpy(most: int) -> None:
    rng, params = random.Random(1), EdgeBlendingParams(max_models_to_blend=most)
    likeness = twelve_alike(rng, params)

    for _ in range(50):
        said = twelve_edges(rng)
        found = blended(said, params, likeness)
        mean, deviation = InNumpy(tuple(one.model for one in said), likeness).blend(said, params)

        assert found.models == most
        assert found.edge_bps == pytest.approx(mean, rel=1e-9, abs=1e-9)
        assert found.posterior_sd_bps == pytest.approx(deviation, rel=1e-9)


@given(
    edges(),
    st.one_of(likenesses(), likenesses(known=0.8)),
    st.dictionaries(st.sampled_from(["m0", "m1"]), st.floats(0, 3)),
    st.integers(1, 5),
    st.sampled_from([None, 3_000]),
    st.sampled_from([PLAIN, ShrinkageParams(prior_edge_bps=3), ShrinkageParams(mode="legacy")]),
)
def test_the_blend_that_is_written_out_is_the_plain_one_to_the_last_bit(
    chosen: list[WeightedEdge],
    likeness: Likeness,
    decay: dict[str, float],
    most: int,
    tau_ms: int | None,
    shrinkage: ShrinkageParams,
) -> None:
    params = EdgeBlendingParams(
        decay_factors=decay,
        max_models_to_blend=most,
        min_confidence_threshold=0.35,
        tau_ms=tau_ms,
        shrinkage=shrinkage,
    )
    blend_them = Blender(params)
    plain = blend_them.plainly(chosen, likeness)

    # Twice: the second time the models, and the best of them, are ready.
    assert [repr(blend_them(chosen, likeness)) for _ in range(2)] == [repr(plain)] * 2
    assert repr(blend_them(chosen[::-1], likeness)) == repr(plain)
    assert repr(blend_them(chosen, likeness)) == repr(plain)


@pytest.mark.parametrize("most", [3, 12])
def test_most_blends_are_not_made_plainly(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(2)
    params = EdgeBlendingParams(max_models_to_blend=most, min_confidence_threshold=0.45)
    likeness, said = twelve_alike(rng, params), [twelve_edges(rng) for _ in range(20)]
    expected = [Blender(params).plainly(one, likeness) for one in said]
    blend_them = Blender(params)
    monkeypatch.setattr(Blender, "plainly", lambda self, chosen, likeness: pytest.fail("made plainly"))

    assert [blend_them(one, likeness) for one in said] == expected


def test_of_two_that_weigh_the_same_the_first_by_name_has_the_place() -> None:
    said = (edge(1.0, 0.9, model="a"), edge(2.0, 0.5, model="b"), edge(4.0, 0.5, model="c"))
    blend_them = Blender(EdgeBlendingParams(max_models_to_blend=2, shrinkage=PLAIN))

    assert [blend_them(said, INDEPENDENT) for _ in range(2)] == [blend_them.plainly(said, INDEPENDENT)] * 2
    assert blended(said, blend_them.params).raw_bps == pytest.approx((0.9 + 1.0) / 1.4)


@pytest.mark.parametrize("most", [1, 5])
@pytest.mark.parametrize(("field", "value"), [("weight", math.inf), ("edge_bps", math.nan), ("confidence", math.nan)])
def test_a_number_that_is_none_is_named(field: str, value: float, most: int) -> None:
    broken = msgspec.structs.replace(edge(2.0, 0.8, model="b", weight=0.5), **{field: value})
    blend_them = Blender(EdgeBlendingParams(max_models_to_blend=most))
    blend_them((edge(1.0, 0.9, model="a"), edge(2.0, 0.8, model="b", weight=0.5)))  # they are ready now

    with pytest.raises(ValueError, match=rf"b\.{field} must be finite"):
        blend((edge(1.0, 0.9, model="a"), broken), blend_them.params)


@pytest.mark.parametrize(("models", "kept"), [(0, 0), (3, 4), (25, 5)])
def test_what_cannot_be_written_out_is_refused(models: int, kept: int) -> None:
    with pytest.raises(ValueError, match=f"was {kept} of {models}"):
        blending(models, kept, own_tau=True, decays=False)


def test_blenders_that_keep_more_or_fewer_share_a_likeness() -> None:
    said = [edge(1.0 + place, weight=4.0 - place, model=f"m{place}") for place in range(4)]
    likeness = alike({("m0", "m2"): 0.5}, models=4)

    for most in (3, 2, 4, 1, 3):
        blend_them = Blender(EdgeBlendingParams(max_models_to_blend=most))
        assert repr(blend_them(said, likeness)) == repr(blend_them.plainly(said, likeness))


def test_an_edge_of_minus_nothing_is_told_as_plainly() -> None:
    said = [edge(-5e-324, model="a"), edge(0.0, weight=9.0, model="b")]
    blend_them = Blender(EdgeBlendingParams(shrinkage=PLAIN))

    assert repr(blend_them(said, INDEPENDENT)) == repr(blend_them.plainly(said, INDEPENDENT))
