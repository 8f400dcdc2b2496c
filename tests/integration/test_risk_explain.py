"""`edgefleet risk explain` on a real Redis: the verdict and its numbers are those the stage itself had in memory."""

from __future__ import annotations

import asyncio
import json

import pytest
from tests.integration.test_risk_present import Tape, bus, everything, run_risk, server
from tests.unit.risk.world import BTC, ETH, SECOND

from edgefleet.bus.redis_bus import RedisBus
from edgefleet.messages import Approved
from edgefleet.risk.decide import Yes
from edgefleet.risk.explain import explain
from edgefleet_services.cli.main import outcome
from edgefleet_services.present import risk_now

__all__ = ["bus", "server"]  # fixtures
pytestmark = pytest.mark.integration


def long_of_ethereum() -> Tape:
    """Hold ETH, and want BTC: its target stands and nothing of it is filled."""
    tape = Tape()
    tape.hold(20.0, ETH)
    tape.now += 60 * SECOND
    tape.beat()
    (target,) = tape.edge(15.0, BTC)
    assert isinstance(target, Approved)
    tape.beat()
    return tape


@pytest.mark.parametrize("killed", [True, False])
async def test_what_is_told_is_what_the_stage_had_in_memory_and_nothing_is_written(
    bus: RedisBus, capsys: pytest.CaptureFixture[str], killed: bool
) -> None:
    memory = await run_risk(bus, long_of_ethereum().told, killed=killed)
    before = await everything(bus)

    code = await asyncio.to_thread(outcome, ["risk", "explain", "btcusdt", "--redis-url", bus.url, "--json"])

    printed = capsys.readouterr()
    assert (code, printed.err) == (0, "")
    body = json.loads(printed.out)
    found = explain(memory, BTC, (await risk_now(bus.url)).config)
    assert isinstance(found.verdict, Yes)
    assert body["verdict"]["quantity"] == str(found.verdict.quantity)
    assert body["verdict"]["standing"] == found.verdict.standing
    assert body["head_room"] == found.head_room
    told = {one["title"]: {n["name"]: n["value"] for n in one["numbers"]} for one in body["groups"] + body["limits"]}
    for group in (*found.groups, *found.limits):
        for number in group.numbers:
            if isinstance(number.value, float | int):
                assert told[group.title][number.name] == number.value, (group.title, number.name)
    assert await everything(bus) == before


async def test_the_target_that_stands_is_told_with_what_it_uses(
    bus: RedisBus, capsys: pytest.CaptureFixture[str]
) -> None:
    tape = long_of_ethereum()
    await run_risk(bus, tape.told, killed=True)

    code = await asyncio.to_thread(outcome, ["risk", "explain", BTC, "--redis-url", bus.url])

    lines = capsys.readouterr().out.splitlines()
    standing = tape.state.desks[BTC].standing
    assert standing is not None
    assert code == 0
    assert lines[0].startswith(f"{BTC}, as of 20")
    assert lines[-1] == f"verdict: the target stands, {standing.quantity} BTC, binding standing, urgency low"


async def test_an_instrument_that_risk_has_not_seen_is_told_in_one_line(
    bus: RedisBus, capsys: pytest.CaptureFixture[str]
) -> None:
    await run_risk(bus, long_of_ethereum().told, killed=True)

    code = await asyncio.to_thread(outcome, ["risk", "explain", "SOL/USDT", "--redis-url", bus.url])

    printed = capsys.readouterr()
    assert (code, printed.out) == (2, "")
    assert f"risk has seen no SOL/USDT; it has seen {BTC}, {ETH}" in printed.err
