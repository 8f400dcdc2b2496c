"""Several models' edges become one. Knows edges and their weights; nothing of positions, prices or limits."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter

from edgefleet.messages.signals import WeightedEdge
from edgefleet.params.schema.risk import EdgeBlendingParams, ShrinkageParams
from edgefleet.risk.agreement import UNKNOWN, Among, Likeness
from edgefleet.risk.unrolled import MOST, Blend, Blending, Terms, blending
from edgefleet.units import BPS

# Squares of edges and of weights, and sums of them over days, stay finite below this.
_ABSURD = 1e100

# Minus the weight times confidence, model (in this order sorting gives the largest first, ties by name), edge in bps,
# weight, horizon in ms, confidence.
Weighed = tuple[float, str, float, float, float, float]
# Of all models, each with its share: how many, what they weigh, that times confidence, of the evidence (a' R a), of
# what they say, of their horizons, of their second moments.
Sums = tuple[int, float, float, float, float, float, float]
_name = itemgetter(1)


def first_unsound(edges: Iterable[WeightedEdge]) -> str | None:
    """Return the name (`model.field`) of the first number that is NaN, infinite or out of its domain, else None."""
    for edge in edges:
        if not (-_ABSURD < edge.edge_bps < _ABSURD and 0 <= edge.weight < _ABSURD and math.isfinite(edge.confidence)):
            for field in ("edge_bps", "confidence", "weight"):
                if not math.isfinite(getattr(edge, field)):
                    return f"{edge.model}.{field}"
            return f"{edge.model}.{'edge_bps' if not abs(edge.edge_bps) < _ABSURD else 'weight'}"
        if not (edge.horizon_ms > 0 and edge.age_ms >= 0):
            return f"{edge.model}.{'age_ms' if edge.horizon_ms > 0 else 'horizon_ms'}"
    return None


def blend(edges: Iterable[WeightedEdge], params: EdgeBlendingParams, likeness: Likeness = UNKNOWN) -> Blend | None:
    """Return the blend of `edges`, None where no model has the confidence to be heard.

    ``E = sum(a e) / sum(a)`` with ``a = w c / L``, ``w = weight * exp(-lambda_model) * exp(-age / tau)`` and the
    number of look-alikes ``L_j = 1 + sum_{k != j} max(rho_jk, 0)^2``, which counts a model's copies and gives each
    its share [1]_; ``tau`` is `tau_ms`, or each model's own horizon. Models below `min_confidence_threshold` are left
    out, then the `max_models_to_blend` with the largest ``w c`` are kept (ties by name). One that repeats another
    which is kept (``rho^2 > 1/2``) waits until all others have a place, so that copies do not fill them. The horizon
    is blended with the same weights: ``E / horizon`` is the drift which the models expect together.

    The evidence for it is ``C (sum a)^2 / (a' R a)`` models of full confidence, where ``C = sum(a) / sum(w / L)`` and
    ``R`` holds the positive correlations. Ten exact copies are ``C``, ten that err independently ``10 C``.
    `shrink` and `posterior_variance` follow from it. Without correlations (`INDEPENDENT`) every ``L`` is 1.

    Edges must be sound (`first_unsound`). The order of `edges` does not matter, and mirrored edges blend mirrored.

    Raises
    ------
    ValueError
        If a number is NaN or infinite; its name is told.

    References
    ----------
    .. [1] R. Knutti et al., "A climate model projection weighting scheme accounting for performance and
       interdependence", Geophysical Research Letters 44, 2017, equation 1: its similarity ``exp(-(d/sigma)^2)`` of
       two models is here the square of their correlation.
    """
    chosen = tuple(edges)
    hear(chosen, params)  # refuses what is no number, also of one that is not kept
    return Blender(params)(chosen, likeness)


class Blender:
    """What the parameters say of blending, ready to be asked thousands of times; what it gives is told at `blend`.

    An edge that is not kept is not looked at: whether all are sound is asked before, with `first_unsound`.
    """

    __slots__ = ("_blendings", "_most", "_terms", "params")

    def __init__(self, params: EdgeBlendingParams) -> None:
        shrinkage = params.shrinkage
        strength = shrinkage.shrinkage_strength if shrinkage.enabled else 0.0
        self.params = params
        self._most = 0 if shrinkage.enabled and shrinkage.mode == "legacy" else params.max_models_to_blend
        self._terms = Terms(
            least=params.min_confidence_threshold,
            tau_ms=params.tau_ms,
            decays=params.decay_factors,
            prior=strength / (1 - strength),
            prior_bps=shrinkage.prior_edge_bps,
        )
        self._blendings: dict[int, Blending] = {}  # by number of models

    def __call__(self, edges: Iterable[WeightedEdge], likeness: Likeness = UNKNOWN) -> Blend | None:
        """Return the blend of `edges`, None where no model has the confidence to be heard."""
        chosen = tuple(edges)
        count, ready = len(chosen), likeness.last
        blended = self._blendings.get(count)
        if (
            blended is not None
            and ready is not None
            and len(ready.names) == count
            and ready.ordered
            and (count <= self._most or (ready.rows and not likeness.repeats))
            and (found := blended(chosen, ready, self._terms)) is not None
        ):
            return found
        return self._of_the_heard(chosen, likeness) or self.plainly(chosen, likeness)

    def _of_the_heard(self, chosen: tuple[WeightedEdge, ...], likeness: Likeness) -> Blend | None:
        """Make those who are heard ready, and blend them in one pass where that can be done."""
        terms = self._terms
        heard = tuple([edge for edge in chosen if not edge.confidence < terms.least])
        count = len(heard)
        if not (0 < count <= MOST and self._most > 0) or (count > self._most and likeness.repeats):
            return None
        ready = likeness.ready(tuple([edge.model for edge in heard]), whole=count <= self._most)
        if not ready.ordered:
            return None
        blended = self._blendings.get(count)
        if blended is None:
            kept = min(count, self._most)
            blended = self._blendings[count] = blending(count, kept, terms.tau_ms is None, bool(terms.decays))
        return blended(heard, ready, terms)

    def plainly(self, chosen: Sequence[WeightedEdge], likeness: Likeness) -> Blend | None:
        """Return the same, by the definition; what is unusual is told or refused here."""
        shrinkage = self.params.shrinkage
        models, weights, confident, squared, edge_sum, horizon_sum, moment_sum = sums_of(
            *weigh(chosen, self.params, likeness)
        )
        if not confident > 0 or not squared > 0:
            return None
        raw = edge_sum / confident
        confidence = confident / weights
        effective = max(confident * confident / squared, 1.0)  # below by rounding only: no correlation is above 1
        evidence = confidence * effective
        variance = None
        if moment_sum > 0 and evidence > 0:  # products of numbers too small for floats vanish
            variance = posterior_variance(moment_sum / confident, evidence, shrinkage)
        return Blend(
            shrink(raw, evidence, shrinkage),
            raw,
            confidence,
            horizon_sum / confident,
            models,
            effective,
            None if variance is None else math.sqrt(variance),
        )


def sums_of(heard: list[Weighed], among: Among) -> Sums:
    """Return the sums over what `weigh` returns."""
    weights = confident = squared = edge_sum = horizon_sum = moment_sum = 0.0
    parts: list[float] = []
    pairs = iter(among.pairs)
    for (_, _, edge_bps, weight, horizon_ms, confidence), share, moment in zip(
        heard, among.shares, among.moments, strict=True
    ):
        shared = weight * share
        part = shared * confidence
        weights += shared
        confident += part
        evidence = part
        for other in parts:
            evidence += next(pairs) * other
        squared += part * evidence
        edge_sum += part * edge_bps
        horizon_sum += part * horizon_ms
        moment_sum += part * moment
        parts.append(part)
    if len({one[4] for one in heard}) == 1:
        horizon_sum = confident * heard[0][4]
    return len(parts), weights, confident, squared, edge_sum, horizon_sum, moment_sum


def weigh(edges: Iterable[WeightedEdge], params: EdgeBlendingParams, likeness: Likeness) -> tuple[list[Weighed], Among]:
    """Return what is blended of `edges`, by name, and how alike these models are, in the same order."""
    heard, compare = hear(edges, params), likeness.among
    if len(heard) > params.max_models_to_blend:
        heard, compare = _keep(heard, params.max_models_to_blend, likeness.repeats), likeness.compare
    heard.sort(key=_name)  # so no sum depends on the order of `edges`
    return heard, compare(tuple([one[1] for one in heard]))


def hear(edges: Iterable[WeightedEdge], params: EdgeBlendingParams) -> list[Weighed]:
    """Return those with the confidence to be heard, and what they weigh."""
    threshold, tau_ms, decays, exp = params.min_confidence_threshold, params.tau_ms, params.decay_factors, math.exp
    heard: list[Weighed] = []
    for edge in edges:
        confidence = edge.confidence
        if confidence < threshold:
            continue
        model, horizon_ms = edge.model, edge.horizon_ms
        faded = edge.age_ms / (tau_ms or horizon_ms)
        if decays:
            faded += decays.get(model, 0.0)
        weight = edge.weight * exp(-faded)
        both = weight * confidence
        edge_bps = edge.edge_bps
        pull = both * edge_bps
        if pull - pull != 0.0:  # so of NaN and of infinity
            raise ValueError(f"{first_unsound([edge]) or model} must be finite: {confidence=}, {weight=}, {pull=}")
        heard.append((-both, model, edge_bps, weight, horizon_ms, confidence))
    return heard


def _keep(heard: list[Weighed], most: int, repeats: Mapping[str, frozenset[str]]) -> list[Weighed]:
    """Return the `most` with the largest weight; who repeats one of them waits until all others have a place."""
    kept: list[Weighed] = []
    waiting: list[Weighed] = []
    said: set[str] = set()
    for one in sorted(heard):
        model = one[1]
        if model in said:
            waiting.append(one)
            continue
        kept.append(one)
        if len(kept) == most:
            return kept
        said.add(model)
        said.update(repeats.get(model, ()))
    return kept + waiting[: most - len(kept)]


def shrink(edge_bps: float, evidence: float, params: ShrinkageParams) -> float:
    """Return `edge_bps` pulled toward the prior.

    Normal prior, normal models of equal error: the posterior mean weighs prior and blend by their precisions [1]_.
    Precisions are counted in models: the blend has that of `evidence` independent models of full confidence (`blend`
    tells how they are counted), the prior that of ``s / (1 - s)``, where ``s`` is `shrinkage_strength`. So one model
    of full confidence is pulled by exactly ``s``, more evidence is pulled less and less confidence more. `legacy`
    pulls by ``s`` whatever the evidence.

    Examples
    --------
    >>> shrink(10.0, 1.0, ShrinkageParams(shrinkage_strength=0.1)), shrink(10.0, 0.0, ShrinkageParams())
    (9.0, 0.0)

    Raises
    ------
    ValueError
        If `edge_bps` is not finite or `evidence` is not zero or more.

    References
    ----------
    .. [1] A. Gelman et al., "Bayesian Data Analysis", 3rd ed., 2013, section 2.5.
    """
    if not (-math.inf < edge_bps < math.inf and evidence >= 0):
        raise ValueError(f"an edge must be finite and evidence 0 or more, were {edge_bps!r} and {evidence!r}")
    strength = params.shrinkage_strength
    if not params.enabled or strength == 0:
        return edge_bps
    if params.mode == "legacy":
        pull = strength
    else:
        prior = strength / (1 - strength)
        pull = prior / (prior + evidence)
    return edge_bps + pull * (params.prior_edge_bps - edge_bps)


def posterior_variance(error_variance: float, evidence: float, params: ShrinkageParams) -> float | None:
    """Return the variance of what `shrink` returns, in the square of the unit of the edges; None in `legacy`.

    ``error_variance / (prior + evidence)``: the precisions of `shrink`, which are counted in models of full confidence,
    times that of one such model. Without shrinkage the prior counts nothing. Where `error_variance` is the mean square
    of the models' edges no outcome is needed: a model that says what is to be expected plus an error of its own has
    edges with at least the square of that error. It is too small for models that say too little of what they
    know: the mean square of a model that hardly speaks is small whatever it errs by.

    Raises
    ------
    ValueError
        If `error_variance` is not positive and finite, or prior and evidence are not positive together.

    Examples
    --------
    >>> round(posterior_variance(100.0, 1.0, ShrinkageParams(shrinkage_strength=0.2)), 9)
    80.0
    """
    if params.enabled and params.mode == "legacy":
        return None
    strength = params.shrinkage_strength if params.enabled else 0.0
    precision = strength / (1 - strength) + evidence
    if not (0 < error_variance < math.inf and 0 < precision < math.inf):
        raise ValueError(
            f"error variance and evidence must be positive and finite, were {error_variance!r} and {evidence!r}"
        )
    return error_variance / precision


def trading_cost_bps(bid: float, ask: float, fee: float, sides: int) -> float:
    """Return what `sides` trades at the touch cost: the fee and half the spread each, in bps of the mid."""
    mid = (bid + ask) / 2
    return sides * (fee + (ask - bid) / (2 * mid)) * BPS
