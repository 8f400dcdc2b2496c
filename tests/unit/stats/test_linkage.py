"""Single linkage beside scipy's, ties included."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefleet.stats.linkage import single_linkage_leaves

hierarchy = pytest.importorskip("scipy.cluster.hierarchy")


def scipys(distance: np.ndarray) -> tuple[int, ...]:
    tree = hierarchy.linkage(distance[np.triu_indices(len(distance), 1)], method="single")
    return tuple(hierarchy.leaves_list(tree).tolist())


@given(st.integers(2, 14), st.integers(0, 10_000), st.sampled_from([2, 3, 5, 1_000]))
def test_leaves_are_scipys(size: int, seed: int, values: int) -> None:
    rng = np.random.default_rng(seed)
    half = np.triu(rng.integers(1, values + 1, (size, size)) / values, 1)  # few values: many ties
    distance = half + half.T

    assert single_linkage_leaves(distance) == scipys(distance)


def test_one_asset_is_its_own_leaf() -> None:
    assert single_linkage_leaves(np.zeros((1, 1))) == (0,)


def test_what_is_no_distance_is_refused() -> None:
    with pytest.raises(ValueError, match="square of finite numbers"):
        single_linkage_leaves(np.array([[0.0, np.nan], [np.nan, 0.0]]))
    with pytest.raises(ValueError, match="square of finite numbers"):
        single_linkage_leaves(np.zeros((2, 3)))
