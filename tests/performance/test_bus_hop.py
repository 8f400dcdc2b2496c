"""A stage's hop beside a bare redis-py hop on the same server, in the same run."""

from __future__ import annotations

import pytest

from edgefleet.bus.bench import bare_hop, bus_hop

pytestmark = [pytest.mark.performance, pytest.mark.integration]


async def test_a_hop_carries_at_least_half_of_what_bare_redis_py_carries(redis_url: str) -> None:
    floor = max([await bare_hop(redis_url, entries=5_000, rate=0) for _ in range(2)], key=lambda cost: cost.per_second)
    ours = max([await bus_hop(redis_url, entries=5_000, rate=0) for _ in range(2)], key=lambda cost: cost.per_second)

    assert ours.per_second >= 0.5 * floor.per_second, (ours, floor)
