"""Single linkage as scipy does it, without scipy: a service that shares out equity spares its 40 MB. Pure."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def single_linkage_leaves(distance: Floats) -> tuple[int, ...]:
    """Return the leaves of the single-linkage tree of a square `distance`, from left to right as they were joined.

    The minimum spanning tree by Prim's algorithm from the first row; its edges, shortest first and of equal ones the
    earlier, join clusters, of which the one that was made first stands left [1]_. Ties included this is
    ``scipy.cluster.hierarchy.leaves_list(linkage(..., "single"))``, in O(n^2).

    Raises
    ------
    ValueError
        If `distance` is not square or has a value that is not finite.

    References
    ----------
    .. [1] D. Müllner, "Modern hierarchical, agglomerative clustering algorithms", arXiv 1109.2378, 2011, figure 6.
    """
    size = len(distance)
    if distance.shape != (size, size) or not np.isfinite(distance).all():
        raise ValueError(f"distances must be a square of finite numbers, were of shape {distance.shape}")
    edges = _spanning_tree(distance)
    edges.sort(key=lambda edge: edge[0])  # stable: of equal lengths the earlier stays first
    cluster = list(range(2 * size - 1))  # of a node, the node it was joined into last

    def root(node: int) -> int:
        while cluster[node] != node:
            cluster[node] = cluster[cluster[node]]
            node = cluster[node]
        return node

    leaves: dict[int, tuple[int, ...]] = {leaf: (leaf,) for leaf in range(size)}
    for made, (_, one, other) in enumerate(edges, size):
        left, right = sorted((root(one), root(other)))
        cluster[left] = cluster[right] = made
        leaves[made] = leaves.pop(left) + leaves.pop(right)
    return leaves[2 * size - 2]


def _spanning_tree(distance: Floats) -> list[tuple[float, int, int]]:
    """Return the edges in the order in which Prim's algorithm takes them: length, where it came from, where it goes."""
    size = len(distance)
    nearest = np.full(size, np.inf)  # of each node outside, to the tree
    outside = np.ones(size, dtype=bool)
    found: list[tuple[float, int, int]] = []
    at = 0
    for _ in range(size - 1):
        outside[at] = False
        np.minimum(nearest, distance[at], out=nearest)
        to = int(np.where(outside, nearest, np.inf).argmin())
        found.append((float(nearest[to]), at, to))
        at = to
    return found
