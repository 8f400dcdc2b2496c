"""What the models expect of each instrument, from what the router lets through. Knows no position and no price."""

from __future__ import annotations

from collections.abc import Sequence

from edgefleet.messages import Ensemble, Refusal, WeightedEdge
from edgefleet.params.schema.risk import EdgeBlendingParams
from edgefleet.risk.agreement import UNKNOWN, Likeness
from edgefleet.risk.blend import Blender, first_unsound
from edgefleet.risk.state import Desk, Heard, Opinion, edges_of


class Opinions:
    """Forms opinions, and keeps between entries what follows from the state: models mostly repeat themselves."""

    __slots__ = ("_formed", "_likenesses")

    def __init__(self) -> None:
        self._likenesses: dict[str, Likeness] = {}  # by instrument: what follows from its desk's agreement
        self._formed: dict[str, tuple[tuple[WeightedEdge, ...], Likeness, Opinion]] = {}  # by instrument

    def forget(self) -> None:
        """Let go of all that was kept."""
        self._likenesses.clear()
        self._formed.clear()

    def form(self, desk: Desk, message: Ensemble, ts: int, keep_ns: int, blend: Blender) -> Opinion:
        """Take what a rule listens to, and return what all rules' edges come to."""
        edges = _hear(desk, message, keep_ns)
        likeness = self._listen(desk, edges, ts, blend.params)
        regime = message.regime or ""
        known = self._formed.get(desk.instrument)
        if known is not None and known[1] is likeness and known[0] == edges and known[2].regime == regime:
            return known[2]
        silent = "" if edges else "; ".join([f"{one.model} {one.reason}" for one in message.abstained])
        opinion = form_opinion(edges, blend, silent, likeness, regime)
        if opinion.reason is None:  # the others quote an edge's numbers, where the sign of a zero would show
            self._formed[desk.instrument] = edges, likeness, opinion
        return opinion

    def _listen(self, desk: Desk, edges: tuple[WeightedEdge, ...], ts: int, params: EdgeBlendingParams) -> Likeness:
        """Return how alike the instrument's models are, with what they say now where a sample of it is due."""
        known = self._likenesses.get(desk.instrument)
        if desk.agreement.is_due(ts, params) and first_unsound(edges) is None:
            desk.agreement.sample(edges, ts, params)
            known = None
        if known is None:
            known = self._likenesses[desk.instrument] = desk.agreement.likeness(params.agreement_min_samples)
        return known


def form_opinion(
    edges: Sequence[WeightedEdge],
    blend: Blender,
    silent: str = "",
    likeness: Likeness = UNKNOWN,
    regime: str = "",
) -> Opinion:
    """Return the blend of `edges` as an opinion, or the reason why there is none."""
    if not edges:
        return Opinion(reason=Refusal.NO_MODELS, detail=silent)
    unsound = first_unsound(edges)
    if unsound is not None:
        return Opinion(reason=Refusal.NOT_FINITE, input=unsound)
    blended = blend(edges, likeness)
    if blended is None:
        return Opinion(
            reason=Refusal.LOW_CONFIDENCE,
            limit=blend.params.min_confidence_threshold,
            observed=max(edge.confidence for edge in edges),
        )
    return Opinion(
        edge_bps=blended.edge_bps,
        confidence=blended.confidence,
        horizon_ms=blended.horizon_ms,
        effective_models=blended.effective_models,
        posterior_sd_bps=blended.posterior_sd_bps,
        regime=regime,
    )


def _hear(desk: Desk, message: Ensemble, keep_ns: int) -> tuple[WeightedEdge, ...]:
    """Take what a rule listens to; return that of all rules which were heard lately: a rule may be gone for good."""
    desk.heard[message.rule] = Heard(message.ts_event, message.chosen)
    if len(desk.heard) == 1:
        return message.chosen
    since = message.ts_event - keep_ns
    desk.heard = {rule: heard for rule, heard in desk.heard.items() if heard.ts >= since}
    return edges_of(desk)
