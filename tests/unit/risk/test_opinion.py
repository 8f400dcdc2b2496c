"""What risk remembers of the last opinion is what it would form anew."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgefleet.messages import WeightedEdge
from edgefleet.params.schema import FleetConfig
from edgefleet.params.schema.risk import EdgeBlendingParams
from edgefleet.risk.blend import Blender
from edgefleet.risk.opinions import form_opinion
from edgefleet.risk.stage import RiskStage
from edgefleet.stage import Input
from edgefleet.testing import build

EDGES = st.builds(
    WeightedEdge,
    model=st.sampled_from(["ob_pressure", "ma_momentum"]),
    version=st.just("1"),
    edge_bps=st.sampled_from([-5.0, -0.0, 0.0, 5.0]),
    confidence=st.sampled_from([-0.0, 0.0, 0.2, 0.6]),
    horizon_ms=st.just(1_000),
    weight=st.sampled_from([-0.0, 0.0, 0.5, 1.0]),
    age_ms=st.sampled_from([0, 100]),
)


@given(st.lists(st.lists(EDGES, max_size=2).map(tuple), max_size=12), st.sampled_from([0.0, 0.3]))
def test_opinions_are_those_of_a_stage_that_forgets_to_the_sign_of_zero(
    heard: list[tuple[WeightedEdge, ...]], threshold: float
) -> None:
    params = EdgeBlendingParams(min_confidence_threshold=threshold)
    usual = FleetConfig()
    config = usual.model_copy(
        update={"risk_harmonizer": usual.risk_harmonizer.model_copy(update={"edge_blending": params})}
    )
    stage = RiskStage()
    state = stage.initial()

    for i, edges in enumerate(heard):
        message = build.ensemble(chosen=edges)
        stage.step(state, Input("ensembles", f"{i + 1}-0", message), config)

        assert repr(state.desks[message.instrument].opinion) == repr(form_opinion(edges, Blender(params)))
