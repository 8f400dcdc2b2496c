"""Twelve models that speak at once, and their blend the usual way: arrays and numpy. Knows no clock and no report."""

from __future__ import annotations

import random

import numpy as np
import numpy.typing as npt

from edgefleet.clock import NS_PER_S
from edgefleet.messages import WeightedEdge
from edgefleet.params.schema.risk import EdgeBlendingParams
from edgefleet.risk.agreement import Agreement, Likeness

MODELS = 12
_COMMON_BPS, _OWN_BPS = 5.0, 10.0  # standard deviations: what all see, and what each sees besides
_SAMPLES = 600  # seconds heard before the first blend


def twelve_edges(rng: random.Random) -> tuple[WeightedEdge, ...]:
    """Return what twelve models say of one moment: correlated by 0.2, of several ages, all confident enough."""
    common = rng.gauss(0, _COMMON_BPS)
    return tuple(
        WeightedEdge(
            model=f"model_{place:02d}",
            version="1",
            edge_bps=common + rng.gauss(0, _OWN_BPS),
            confidence=rng.uniform(0.4, 1.0),
            horizon_ms=10_000,
            weight=1.0,
            age_ms=rng.randrange(5_000),
        )
        for place in range(MODELS)
    )


def twelve_agree(rng: random.Random, params: EdgeBlendingParams) -> Agreement:
    """Return how alike the twelve spoke in ten minutes of them."""
    agreement = Agreement()
    for second in range(_SAMPLES):
        agreement.sample(twelve_edges(rng), second * NS_PER_S, params)
    return agreement


def twelve_alike(rng: random.Random, params: EdgeBlendingParams) -> Likeness:
    """Return what follows from that for their blends."""
    return twelve_agree(rng, params).likeness(params.agreement_min_samples)


class InNumpy:
    """The same blend with numpy, its correlations laid out as arrays beforehand; edges without `decay_factors`."""

    def __init__(self, models: tuple[str, ...], likeness: Likeness) -> None:
        known = [[likeness.correlation(first, second) for second in models] for first in models]
        self._squares = np.array([[max(rho or 0.0, 0.0) ** 2 for rho in row] for row in known])
        self._evidence = np.array([[1.0 if rho is None else max(rho, 0.0) for rho in row] for row in known])
        self._moments = np.array(likeness.among(models).moments)

    def blend(self, edges: tuple[WeightedEdge, ...], params: EdgeBlendingParams) -> tuple[float, float]:
        """Return the edge and its standard deviation in bps; `edges` are of the models it was made for, in order."""
        said = np.array([(one.edge_bps, one.confidence, one.horizon_ms, one.weight, one.age_ms) for one in edges])
        bps, confidences, horizons, weights, ages = said.T
        weights = weights * np.exp(-ages / (params.tau_ms or horizons))
        both = np.where(confidences >= params.min_confidence_threshold, weights * confidences, 0.0)
        kept = self._chosen(both, params.max_models_to_blend)
        shares = 1.0 / self._squares[np.ix_(kept, kept)].sum(axis=1)
        a = both[kept] * shares
        total = a.sum()
        evidence = total / (weights[kept] * shares).sum() * total**2 / (a @ self._evidence[np.ix_(kept, kept)] @ a)
        strength = params.shrinkage.shrinkage_strength
        prior = strength / (1 - strength)
        mean = (prior * params.shrinkage.prior_edge_bps + evidence * (a @ bps[kept]) / total) / (prior + evidence)
        return float(mean), float(np.sqrt((a @ self._moments[kept]) / total / (prior + evidence)))

    def _chosen(self, both: npt.NDArray[np.float64], most: int) -> npt.NDArray[np.intp]:
        ranked = [int(place) for place in np.argsort(-both, kind="stable") if both[place] > 0]
        kept: list[int] = []
        for place in ranked:
            if not (self._squares[place, kept] > 0.5).any():
                kept.append(place)
        return np.array([*kept, *[place for place in ranked if place not in kept]][:most])
