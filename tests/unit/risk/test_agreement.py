"""What risk remembers of how alike the models speak, against sums over all that was said."""

from __future__ import annotations

import math
import random

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from edgefleet.messages import WeightedEdge
from edgefleet.params.schema.risk import EdgeBlendingParams
from edgefleet.risk.agreement import INDEPENDENT, UNKNOWN, Agreement, Likeness
from edgefleet.risk.blend import blend

SECOND = 1_000_000_000
PARAMS = EdgeBlendingParams(agreement_half_life_s=20.0, agreement_min_samples=2)


def says(model: str, bps: float, age_ms: int = 0) -> WeightedEdge:
    return WeightedEdge(
        model=model, version="1", edge_bps=bps, confidence=1.0, horizon_ms=1_000, weight=1.0, age_ms=age_ms
    )


def after(columns: dict[str, list[float]], params: EdgeBlendingParams = PARAMS) -> Agreement:
    """Return what is remembered of models that spoke together once a second."""
    agreement = Agreement()
    for second, row in enumerate(zip(*columns.values(), strict=True), 1):
        said = [says(model, bps) for model, bps in zip(columns, row, strict=True)]
        assert agreement.sample(said, second * SECOND, params)
    return agreement


def gaussian(rng: random.Random, length: int, mean: float = 0.0, sd: float = 1.0) -> list[float]:
    return [rng.gauss(mean, sd) for _ in range(length)]


TAPES = st.lists(
    st.tuples(
        st.integers(1, 40),  # seconds since the last
        st.dictionaries(st.sampled_from("abc"), st.floats(-100, 100).filter(lambda x: abs(x) > 1e-3 or x == 0)),
    ),
    min_size=1,
    max_size=30,
)


@given(TAPES)
def test_correlations_are_those_of_sums_weighted_by_age(tape: list[tuple[int, dict[str, float]]]) -> None:
    agreement, now, heard = Agreement(), 0, []
    for seconds, said in tape:
        now += seconds
        agreement.sample([says(model, bps) for model, bps in said.items()], now * SECOND, PARAMS)
        heard.append((now, said))
    likeness = agreement.likeness(2)

    for first, second in [("a", "b"), ("a", "c"), ("b", "c")]:
        both = [(at, said[first], said[second]) for at, said in heard if first in said and second in said]
        for place in range(len(both) - 1, 0, -1):  # what was silent for ten half-lives begins anew
            if both[place][0] - both[place - 1][0] > 200:
                both = both[place:]
                break
        if both and now - both[-1][0] > 200:
            both = []
        rho = likeness.correlation(first, second)
        if len(both) < 2 or not any(x for _, x, _ in both) or not any(y for _, _, y in both):
            assert rho is None
            continue
        weights, x, y = np.array([(0.5 ** ((now - at) / 20.0), x, y) for at, x, y in both]).T
        expected = (weights * x * y).sum() / math.sqrt((weights * x * x).sum() * (weights * y * y).sum())
        assert rho == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_two_models_that_always_say_about_the_same_are_copies_though_neither_varies() -> None:
    likeness = after({"a": [10.0] * 30, "b": [10.1] * 30}).likeness(30)

    assert likeness.correlation("a", "b") == pytest.approx(1.0)


def test_noise_on_a_common_constant_makes_no_two_opinions_of_it() -> None:
    """About their means these correlate by 0.0, and ten of them would count as ten."""
    rng = random.Random(3)
    columns = {model: gaussian(rng, 300, 10.0, 0.1) for model in "ab"}

    rho = after(columns, EdgeBlendingParams()).likeness(30).correlation("a", "b")

    assert rho == pytest.approx(1.0, abs=1e-3)
    assert abs(np.corrcoef(columns["a"], columns["b"])[0, 1]) < 0.15


@pytest.mark.parametrize(
    ("truth_sd", "own_mean", "own_sd", "samples", "least", "most"),
    [
        (0.0, 10.0, 0.1, 3_000, 1.0, 1.01),
        (0.0, 10.0, 5.0, 3_000, 1.1, 1.4),
        (0.0, 0.0, 1.0, 3_000, 8.5, 10.0),
        (0.0, 0.0, 1.0, 30, 4.5, 8.5),
        (3.0, 0.0, 0.15, 3_000, 1.0, 1.02),
        (3.0, 0.0, 4.0, 3_000, 2.0, 3.0),
    ],
)
def test_ten_models_count_as_the_page_on_risk_says(
    truth_sd: float, own_mean: float, own_sd: float, samples: int, least: float, most: float
) -> None:
    rng, params = random.Random(17), EdgeBlendingParams(max_models_to_blend=10)
    truth = gaussian(rng, samples, 0.0, truth_sd)
    columns = {f"m{n}": [seen + rng.gauss(own_mean, own_sd) for seen in truth] for n in range(10)}

    likeness = after(columns, params).likeness(params.agreement_min_samples)
    found = blend([says(model, 1.0) for model in columns], params, likeness)

    assert found is not None
    assert least <= found.effective_models <= most


def test_a_model_that_always_says_nothing_is_like_nobody_known() -> None:
    likeness = after({"a": [0.0] * 5, "b": [1.0] * 5, "c": [-0.0] * 5}).likeness(2)

    assert likeness.correlation("a", "b") is None
    assert likeness.correlation("a", "c") is None
    assert likeness.among(("a",)).moments == (0.0,)


def test_independent_models_come_out_independent_within_sampling_error() -> None:
    """Half-life of 600 s: about 600 / ln 2 * 2 effective terms, a standard error near 0.024."""
    rng = random.Random(5)
    columns = {f"m{n}": gaussian(rng, 4_000) for n in range(4)}

    likeness = after(columns, EdgeBlendingParams()).likeness(30)

    found = [likeness.correlation(f"m{i}", f"m{j}") for j in range(4) for i in range(j)]
    assert all(rho is not None and abs(rho) < 0.1 for rho in found)


def test_it_is_sampled_once_an_interval() -> None:
    agreement = Agreement()

    taken = [agreement.sample([says("a", 1.0)], at * SECOND // 4, PARAMS) for at in range(1, 10)]

    assert [at for at, one in enumerate(taken, 1) if one] == [1, 5, 9]
    assert agreement.alone["a"].count == 3


def test_a_model_that_comes_later_has_counts_of_its_own() -> None:
    agreement = after({"a": [1.0, 2.0, 3.0], "b": [1.0, 2.0, 3.0]})
    for second in (4, 5):
        agreement.sample([says("a", 1.0), says("b", 1.0), says("c", 1.0)], second * SECOND, PARAMS)

    likeness = agreement.likeness(3)

    assert likeness.correlation("b", "a") == pytest.approx(1.0)
    assert likeness.correlation("a", "c") is None
    assert agreement.likeness(2).correlation("c", "a") == pytest.approx(1.0)
    assert likeness.among(("a", "c")).moments == (0.0, 0.0)


def test_of_a_model_that_two_rules_chose_the_freshest_edge_counts_once() -> None:
    agreement = Agreement()

    agreement.sample([says("a", 5.0, age_ms=900), says("a", 7.0, age_ms=10)], SECOND, PARAMS)

    assert agreement.alone["a"].squared == 49.0
    assert agreement.together == {}
    assert INDEPENDENT.correlation("a", "a") == 1.0


def test_what_is_silent_for_long_is_forgotten_and_memory_does_not_grow_with_time() -> None:
    agreement, sizes = Agreement(), []
    for second in range(1, 2_000):
        named = [says("always", 1.0), says(f"build{second // 50}", 2.0)]
        agreement.sample(named, second * SECOND, PARAMS)
        sizes.append(len(msgspec.msgpack.encode(agreement)))

    assert set(agreement.alone) == {"always", *(f"build{n}" for n in range(35, 40))}
    assert max(sizes[1_000:]) <= max(sizes[:1_000]) + 16  # larger numbers, no more of them


def test_sets_that_were_asked_for_do_not_pile_up() -> None:
    likeness = Likeness({}, {})
    for n in range(1_000):
        likeness.among((f"m{n}",))

    assert len(likeness._among) <= 64


def test_it_survives_a_restart_in_the_middle() -> None:
    rng = random.Random(11)
    columns = {model: gaussian(rng, 40) for model in "abc"}
    whole = after(columns)

    half = after({model: column[:20] for model, column in columns.items()})
    half = msgspec.msgpack.decode(msgspec.msgpack.encode(half), type=Agreement)
    for second in range(21, 41):
        half.sample([says(model, columns[model][second - 1]) for model in "abc"], second * SECOND, PARAMS)

    assert half == whole


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e200])
def test_an_edge_without_a_finite_square_is_refused_and_nothing_is_taken(value: float) -> None:
    agreement = after({"a": [1.0], "b": [2.0]})
    before = msgspec.msgpack.encode(agreement)

    with pytest.raises(ValueError, match=r"b\.edge_bps must have a finite square, was"):
        agreement.sample([says("a", 1.0), says("b", value)], 9 * SECOND, PARAMS)

    assert msgspec.msgpack.encode(agreement) == before


def test_a_correlation_or_a_moment_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match=r"of a and b must be in \[-1, 1\], was nan"):
        Likeness({("a", "b"): math.nan}, {})
    with pytest.raises(ValueError, match="moment of a must be positive and finite, was nan"):
        Likeness({}, {"a": math.nan})
    with pytest.raises(ValueError, match=r"unknown must be in \[0, 1\], was nan"):
        Likeness({}, {}, unknown=math.nan)


def test_the_unknown_keep_their_weight_and_share_their_evidence() -> None:
    unknown, independent = UNKNOWN.among(("a", "b")), INDEPENDENT.among(("a", "b"))

    assert unknown.shares == independent.shares == (1.0, 1.0)
    assert unknown.pairs == (2.0,)
    assert independent.pairs == (0.0,)


def test_a_half_life_below_the_interval_is_refused() -> None:
    with pytest.raises(ValidationError, match="agreement_interval_ms is 2000, above agreement_half_life_s of 1 s"):
        EdgeBlendingParams(agreement_interval_ms=2_000, agreement_half_life_s=1.0)
