"""A planted bug in one stage is found by twin, in that stage and in no other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from tests.fleet.conftest import RecordedSession

from edgefleet.alpha.stage import AlphaStage
from edgefleet.ensemble.stage import RouterStage
from edgefleet.messages import Approved, Ensemble, OrderEvent, Signals
from edgefleet.orders.stage import OrderStage
from edgefleet.params.schema import FleetConfig
from edgefleet.replay.twin import Comparison, compare_stage
from edgefleet.risk.stage import RiskStage
from edgefleet.stage import Input, Output, Stage
from edgefleet.store.history import History

pytestmark = [pytest.mark.integration, pytest.mark.data, pytest.mark.timeout(900)]

STAGES: dict[str, tuple[type[Any], type[Any], str]] = {
    "alpha": (AlphaStage, Signals, "mid"),
    "router": (RouterStage, Ensemble, "mid"),
    "risk": (RiskStage, Approved, "edge_bps"),
    "executor": (OrderStage, OrderEvent, "reason"),
}


class _Planted:
    """A stage that gets one field of one kind of output wrong."""

    def __init__(self, honest: Stage[Any], kind: type[Any], field: str) -> None:
        self._honest = honest
        self._kind = kind
        self._field = field
        self.service, self.inputs = honest.service, honest.inputs
        self.state_type, self.schema = honest.state_type, honest.schema

    def initial(self) -> Any:
        return self._honest.initial()

    def step(self, state: Any, entry: Input, config: FleetConfig) -> Sequence[Output]:
        return [self._spoil(output) for output in self._honest.step(state, entry, config)]

    def _spoil(self, output: Output) -> Output:
        if not isinstance(output.message, self._kind):
            return output
        value = getattr(output.message, self._field)
        wrong = value + "?" if isinstance(value, str) else value * (1 + 1e-12)
        return Output(output.stream, msgspec.structs.replace(output.message, **{self._field: wrong}))


def _compare(session: RecordedSession, stage: Stage[Any]) -> Comparison:
    with History.open(session.data_dir) as history:
        return compare_stage(stage, stage.service, history)


@pytest.mark.parametrize("guilty", STAGES)
def test_planted_bug_is_blamed_on_its_stage(session_at_max: RecordedSession, guilty: str) -> None:
    make, kind, field = STAGES[guilty]

    found = _compare(session_at_max, _Planted(make(), kind, field))

    assert found.parity < 1.0
    assert found.first_difference is not None
    assert field in found.first_difference


def test_stage_that_raises_is_blamed(session_at_max: RecordedSession) -> None:
    class Raising(RiskStage):
        def step(self, state: Any, entry: Input, config: FleetConfig) -> Sequence[Output]:
            if entry.stream == "ensembles":
                raise ZeroDivisionError("planted")
            return super().step(state, entry, config)

    found = _compare(session_at_max, Raising())

    assert found.parity < 1.0
    assert found.first_difference is not None
    assert "ZeroDivisionError: planted" in found.first_difference


def test_stage_that_falls_silent_is_blamed(session_at_max: RecordedSession) -> None:
    class Silent(RouterStage):
        def step(self, state: Any, entry: Input, config: FleetConfig) -> Sequence[Output]:
            super().step(state, entry, config)
            return ()

    found = _compare(session_at_max, Silent())

    assert found.equal == 0
    assert "the re-run wrote nothing" in str(found.first_difference)
