"""The registry knows each model once, and a model from outside is as good as a shipped one."""

from __future__ import annotations

from typing import Any, cast

import msgspec
import pytest
from pydantic import Field

from edgefleet.alpha.model import AlphaModel, Card, Edge
from edgefleet.alpha.registry import register
from edgefleet.features import Top
from edgefleet.params.schema import Params
from edgefleet.testing.alpha_contract import CHECKS, Check


class SpreadState(msgspec.Struct, tag="test_spread"):
    calls: int = 0


class SpreadParams(Params):
    scale: float = Field(1.0, gt=0, description="times the distance from mid")


class Spread(AlphaModel[SpreadState, SpreadParams]):
    id = "test_spread"
    version = "1"
    card = Card(
        summary="Leans to the heavier side by the spread",
        formula="scale * sign(b - a)",
        inputs=("top",),
        warm_up="none",
        warm_up_bars=0,
        cannot="anything",
        mirrors=True,
    )
    state_type = SpreadState
    parameters_type = SpreadParams

    def initial(self) -> SpreadState:
        return SpreadState()

    def edge(self, state: SpreadState, top: Top, parameters: SpreadParams) -> Edge | None:
        state.calls += 1
        return Edge(parameters.scale * ((top.bid_size > top.ask_size) - (top.bid_size < top.ask_size)), 0.5)

    def horizon_ms(self, parameters: SpreadParams) -> int:
        return 1_000


@pytest.fixture(scope="module")
def spread() -> AlphaModel[Any, Any]:
    register(Spread)
    return cast(AlphaModel[Any, Any], Spread())


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_model_from_outside_keeps_the_contract(spread: AlphaModel[Any, Any], check: Check) -> None:
    check(spread)


def test_two_models_of_one_id_are_refused_with_both_names(spread: AlphaModel[Any, Any]) -> None:
    class Impostor(Spread):
        pass

    with pytest.raises(ValueError, match=r"'test_spread' is taken by Spread"):
        register(Impostor)


def test_contract_catches_a_model_that_keeps_something_outside_its_state(spread: AlphaModel[Any, Any]) -> None:
    class Forgetful(Spread):
        def edge(self, state: SpreadState, top: Top, parameters: SpreadParams) -> Edge | None:
            self.__dict__["seen"] = self.__dict__.get("seen", 0) + 1
            return Edge(float(self.__dict__["seen"]), 0.5)

    failed = []
    for check in CHECKS:
        try:
            check(cast(AlphaModel[Any, Any], Forgetful()))
        except AssertionError:
            failed.append(check.__name__)

    assert "same_tape_same_edges" in failed
    assert "restart_in_the_middle_changes_nothing" in failed
