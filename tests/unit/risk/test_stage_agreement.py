"""The stage learns how alike its models are, and remembers it over a restart."""

from __future__ import annotations

import math

import msgspec
import pytest
from tests.unit.risk.world import BTC, World, config

from edgefleet.messages import Refusal, Refused, WeightedEdge
from edgefleet.risk.stage import RiskStage
from edgefleet.risk.state import Opinion, RiskState


def says(model: str, bps: float) -> WeightedEdge:
    return WeightedEdge(model=model, version="1", edge_bps=bps, confidence=1.0, horizon_ms=10_000, weight=1.0, age_ms=0)


def hear(world: World, seconds: int, start: int = 0) -> Opinion:
    """Let `a` and its copy say one thing and `other` something that has nothing to do with it, once a second."""
    for second in range(start, start + seconds):
        world.beat()
        bps, another = 10.0 if second % 2 else -10.0, 10.0 if second % 4 < 2 else -10.0
        world.ensemble([says("a", bps), says("copy", bps), says("other", another)])
    found = world.state.desks[BTC].opinion
    assert found is not None
    return found


def test_until_enough_was_heard_all_models_are_one_evidence_and_then_copies_are() -> None:
    world = World()

    before, after = hear(world, 29), hear(world, 11, start=29)

    assert before.effective_models == pytest.approx(1.0)
    assert before.posterior_sd_bps is None
    assert after.effective_models == pytest.approx(2.0, rel=0.02)
    assert after.posterior_sd_bps == pytest.approx(10 / math.sqrt(2 + 1 / 9), rel=0.02)


def test_an_opinion_that_is_repeated_is_formed_anew_when_more_is_known_of_the_models() -> None:
    world = World()
    same = [says("a", 10.0), says("b", 10.0)]
    formed = []
    for _ in range(35):
        world.beat()
        world.ensemble(same)
        formed.append(world.state.desks[BTC].opinion)

    assert [one.posterior_sd_bps is None for one in formed if one is not None] == [True] * 29 + [False] * 6


def test_a_burst_is_sampled_once() -> None:
    world = World()
    for _ in range(500):
        world.ensemble([says("a", 10.0), says("b", 9.0)])

    assert world.state.desks[BTC].agreement.alone["a"].count == 1


def test_a_restart_in_the_middle_changes_no_opinion() -> None:
    whole, broken = World(), World()
    hear(whole, 45)
    hear(broken, 40)

    broken.stage = RiskStage()
    broken.state = msgspec.msgpack.decode(msgspec.msgpack.encode(broken.state), type=RiskState)
    hear(broken, 5, start=40)

    assert broken.state.desks[BTC].agreement == whole.state.desks[BTC].agreement
    assert broken.state.desks[BTC].opinion == whole.state.desks[BTC].opinion


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e200])
def test_what_is_no_number_is_refused_by_name_and_never_remembered(value: float) -> None:
    world = World()
    hear(world, 40)
    before = msgspec.msgpack.encode(world.state.desks[BTC].agreement)
    world.beat()

    (said,) = world.ensemble([says("a", 10.0), says("copy", value)])

    assert isinstance(said, Refused)
    assert (said.reason, said.input) == (Refusal.NOT_FINITE, "copy.edge_bps")
    assert msgspec.msgpack.encode(world.state.desks[BTC].agreement) == before


def test_legacy_pulls_by_its_strength_and_tells_no_deviation() -> None:
    world = World(config({"edge_blending": {"shrinkage": {"mode": "legacy"}}}))

    found = hear(world, 40)

    assert found.posterior_sd_bps is None
    assert found.effective_models == pytest.approx(2.0, rel=0.02)
