"""Several models' edges become one. Knows edges and their weights; nothing of positions, prices or limits."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import msgspec

from edgefleet.messages.signals import WeightedEdge
from edgefleet.params.schema.risk import EdgeBlendingParams, ShrinkageParams
from edgefleet.units import BPS


class Blend(msgspec.Struct, frozen=True, gc=False):
    """One expectation out of several."""

    edge_bps: float  # over `horizon_ms`, after shrinkage
    raw_bps: float  # before shrinkage
    confidence: float  # 0..1, mean of the models' by weight
    horizon_ms: float  # mean of the models', weighted as the edges are
    models: int  # how many were blended


def first_unsound(edges: Iterable[WeightedEdge]) -> str | None:
    """Return the name (`model.field`) of the first number that is NaN, infinite or out of its domain, else None."""
    for edge in edges:
        # A sum is finite only where all its parts are; the names are looked for only then.
        if not math.isfinite(edge.edge_bps + edge.confidence + edge.weight):
            for field in ("edge_bps", "confidence", "weight"):
                if not math.isfinite(getattr(edge, field)):
                    return f"{edge.model}.{field}"
            return f"{edge.model}.sum"
        if not (edge.horizon_ms > 0 and edge.weight >= 0):
            return f"{edge.model}.{'weight' if edge.horizon_ms > 0 else 'horizon_ms'}"
    return None


def blend(edges: Sequence[WeightedEdge], params: EdgeBlendingParams) -> Blend | None:
    """Return the blend of `edges`, None where no model has the confidence to be heard.

    ``E = sum(w c e) / sum(w c)`` with ``w = weight * exp(-lambda_model) * exp(-age / tau)``; ``tau`` is `tau_ms`, or
    each model's own horizon. Models below `min_confidence_threshold` are left out, then the `max_models_to_blend`
    with the largest ``w c`` are kept (ties by name). The horizon is blended with the same weights, so that
    ``E / horizon`` is the drift which the models expect together. Shrinkage follows (`shrink`).

    Edges must be sound (`first_unsound`).
    """
    threshold, tau_ms, decays = params.min_confidence_threshold, params.tau_ms, params.decay_factors
    heard: list[tuple[float, float, WeightedEdge]] = []
    for edge in edges:
        if edge.confidence >= threshold:
            weight = edge.weight * math.exp(-(decays.get(edge.model, 0.0) + edge.age_ms / (tau_ms or edge.horizon_ms)))
            heard.append((weight * edge.confidence, weight, edge))
    if len(heard) > params.max_models_to_blend:
        heard.sort(key=_largest_first)
        del heard[params.max_models_to_blend :]
    weights = confident = squared = edge_sum = horizon_sum = confidence_sum = 0.0
    for both, weight, edge in heard:
        weights += weight
        confident += both
        squared += both * both
        edge_sum += both * edge.edge_bps
        horizon_sum += both * edge.horizon_ms
        confidence_sum += weight * edge.confidence
    if not confident > 0 or not squared > 0:
        return None
    raw = edge_sum / confident
    confidence = confidence_sum / weights
    evidence = confidence * confident * confident / squared
    return Blend(shrink(raw, evidence, params.shrinkage), raw, confidence, horizon_sum / confident, len(heard))


def _largest_first(heard: tuple[float, float, WeightedEdge]) -> tuple[float, str]:
    both, _, edge = heard
    return -both, edge.model


def shrink(edge_bps: float, evidence: float, params: ShrinkageParams) -> float:
    """Return `edge_bps` pulled toward the prior.

    Normal prior, normal models of equal error: the posterior mean weighs prior and blend by their precisions [1]_.
    Precisions are counted in models: the blend has that of `evidence` models of full confidence (the effective number
    ``(sum wc)^2 / sum (wc)^2`` times their mean confidence), the prior that of ``s / (1 - s)``, where ``s`` is
    `shrinkage_strength`. So one model of full confidence is pulled by exactly ``s``, more evidence is pulled less and
    less confidence more. `legacy` pulls by ``s`` whatever the evidence. Models that copy one another count
    several times here.

    Examples
    --------
    >>> shrink(10.0, 1.0, ShrinkageParams(shrinkage_strength=0.1)), shrink(10.0, 0.0, ShrinkageParams())
    (9.0, 0.0)

    References
    ----------
    .. [1] A. Gelman et al., "Bayesian Data Analysis", 3rd ed., 2013, section 2.5.
    """
    if not params.enabled or params.shrinkage_strength == 0:
        return edge_bps
    strength = params.shrinkage_strength
    if params.mode == "legacy":
        pull = strength
    else:
        prior = strength / (1 - strength)
        pull = prior / (prior + evidence)
    return edge_bps + pull * (params.prior_edge_bps - edge_bps)


def trading_cost_bps(bid: float, ask: float, fee: float, sides: int) -> float:
    """Return what `sides` trades at the touch cost: the fee and half the spread each, in bps of the mid."""
    mid = (bid + ask) / 2
    return sides * (fee + (ask - bid) / (2 * mid)) * BPS
