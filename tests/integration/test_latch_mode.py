"""`SET mode` tightens; a person's resume is not undone by it."""

from __future__ import annotations

import pytest
import redis

from edgefleet.bus.redis_bus import RedisBus

pytestmark = pytest.mark.integration


@pytest.mark.parametrize(
    ("mode", "state", "left"),
    [
        ("halt", "ACTIVE", "auto"),
        ("reduce", "ACTIVE", "auto"),
        ("halt", "REDUCING", "reduce"),
        ("paper", "ACTIVE", "paper"),
    ],
)
async def test_resume_takes_the_mode_that_halted_with_it(redis_url: str, mode: str, state: str, left: str) -> None:
    async with await RedisBus.connect(redis_url) as bus:
        await bus.latch("HALTED", reason="SET mode halt", by="mode", person=False, ts=1)
        with redis.Redis.from_url(redis_url, decode_responses=True) as client:
            client.set("mode", mode)

            now = await bus.latch(state, reason="looked at it", by="a person", person=True, ts=2)

            assert now.state == state
            assert client.get("mode") == left


async def test_service_cannot_move_the_mode(redis_url: str) -> None:
    async with await RedisBus.connect(redis_url) as bus:
        await bus.latch("HALTED", reason="SET mode halt", by="mode", person=False, ts=1)
        with redis.Redis.from_url(redis_url, decode_responses=True) as client:
            client.set("mode", "halt")

            now = await bus.latch("ACTIVE", reason="a bug", by="alpha", person=False, ts=2)

            assert now.state == "HALTED"
            assert client.get("mode") == "halt"
