"""Joint returns one sample at a time, beside the plain definition over all of them."""

from __future__ import annotations

import math
import subprocess
import sys

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefleet.clock import NS_PER_S
from edgefleet.stats.online_covariance import JointReturns

HALF_LIFE, LONGEST = 600.0, 300.0
moves = st.lists(
    st.tuples(st.integers(1, 200), st.lists(st.floats(-0.02, 0.02), min_size=3, max_size=3)), min_size=3, max_size=30
)


def plain(prices: list[list[float]], stamps: list[float]) -> np.ndarray:
    """Return the correlations as they are defined: a weighted sum of outer products of returns per root of a second."""
    table = np.zeros((3, 3))
    for n in range(1, len(prices)):
        seconds = stamps[n] - stamps[n - 1]
        returns = np.log(np.array(prices[n]) / np.array(prices[n - 1])) / math.sqrt(seconds)
        kept = 2.0 ** (-seconds / HALF_LIFE)
        table = kept * table + (1 - kept) * np.outer(returns, returns)
    deviations = np.sqrt(np.diag(table))
    found: np.ndarray = table / np.outer(deviations, deviations)
    return found


def fed(
    walk: list[tuple[int, list[float]]], *, again: bool = False
) -> tuple[JointReturns, list[list[float]], list[float]]:
    joint, prices, stamps = JointReturns(), [[100.0, 50.0, 7.0]], [0.0]
    for seconds, changes in walk:
        prices.append([price * math.exp(change) for price, change in zip(prices[-1], changes, strict=True)])
        stamps.append(stamps[-1] + seconds)
    for now, stamp in zip(prices, stamps, strict=True):
        if again:
            joint = msgspec.msgpack.decode(msgspec.msgpack.encode(joint), type=JointReturns)
        assert joint.sample(dict(zip("abc", now, strict=True)), int(stamp * NS_PER_S) + 1, HALF_LIFE, LONGEST)
    return joint, prices, stamps


@given(moves)
def test_it_is_the_plain_definition(walk: list[tuple[int, list[float]]]) -> None:
    joint, prices, stamps = fed(walk)

    found = joint.correlations(1)

    assert found is not None
    assert joint.count == len(walk)
    columns = [np.array([changes[at] for _, changes in walk]) for at in range(3)]
    if all(np.abs(column).max() > 1e-6 for column in columns):
        np.testing.assert_allclose(found, plain(prices, stamps), rtol=0, atol=1e-9)


@given(moves, st.lists(st.floats(-10, 10), min_size=3, max_size=3))
def test_no_portfolio_has_a_negative_variance(walk: list[tuple[int, list[float]]], held: list[float]) -> None:
    found = fed(walk)[0].correlations(1)

    assert found is not None
    known = np.nan_to_num(found, nan=0.0)
    weights = np.array(held)
    assert weights @ known @ weights >= -1e-9 * float(weights @ weights)


@given(moves)
def test_a_restart_between_any_two_samples_changes_nothing(walk: list[tuple[int, list[float]]]) -> None:
    assert fed(walk, again=True)[0] == fed(walk)[0]


def test_a_name_that_joins_begins_the_table_anew() -> None:
    joint = JointReturns()
    for n in range(1, 6):
        assert joint.sample({"a": 100.0 + n, "b": 50.0 + n % 2}, n * NS_PER_S, HALF_LIFE, LONGEST)
    assert joint.correlations(4) is not None

    assert joint.sample({"a": 100.0, "b": 50.0, "c": 1.0}, 6 * NS_PER_S, HALF_LIFE, LONGEST)

    assert joint.correlations(1) is None
    assert joint.names == ["a", "b", "c"]


@pytest.mark.parametrize("wrong", [math.nan, math.inf, 0.0, -1.0])
def test_what_is_no_price_is_no_sample(wrong: float) -> None:
    joint = fed([(1, [0.01, 0.02, 0.03])])[0]
    before = msgspec.msgpack.encode(joint)

    assert not joint.sample({"a": 101.0, "b": wrong, "c": 7.0}, 9 * NS_PER_S, HALF_LIFE, LONGEST)
    assert not joint.sample({"a": 101.0, "c": 7.0}, 9 * NS_PER_S, HALF_LIFE, LONGEST)  # one is silent
    assert not joint.sample({"a": 101.0, "b": 50.0, "c": 7.0}, NS_PER_S, HALF_LIFE, LONGEST)  # no time has passed
    assert msgspec.msgpack.encode(joint) == before


def test_a_long_gap_is_no_return() -> None:
    joint = fed([(1, [0.01, 0.02, 0.03])])[0]

    assert joint.sample({"a": 500.0, "b": 1.0, "c": 70.0}, 1_000 * NS_PER_S, HALF_LIFE, LONGEST)

    assert joint.count == 1
    assert joint.prices == [500.0, 1.0, 70.0]


def test_a_name_that_never_moves_correlates_with_nothing_known() -> None:
    found = fed([(1, [0.01, 0.0, 0.03]), (1, [0.01, 0.0, -0.02])])[0].correlations(2)

    assert found is not None
    assert np.isnan(found[1, 0])
    assert np.isnan(found[1, 2])
    assert found[1, 1] == 1.0


def test_one_name_alone_never_loads_numpy() -> None:
    body = (
        "import sys; from edgefleet.stats.online_covariance import JointReturns; joint = JointReturns();"
        "[joint.sample({'a': 100.0 + n}, n + 1, 600.0, 300.0) for n in range(5)];"
        "assert joint.correlations(1) is None; assert 'numpy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", body], check=True)
