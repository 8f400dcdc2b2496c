"""A tape is held while a stage is behind."""

from __future__ import annotations

import pytest

from edgefleet.errors import Transient
from edgefleet.testing import MemoryBus
from edgefleet_services.ingestion.pressure import Pressure


class Lagging(MemoryBus):
    lag = 0

    async def lags(self) -> dict[tuple[str, str], int]:
        if self.lag < 0:
            raise Transient("no answer")
        return {("alpha", "market"): self.lag, ("monitor", "market"): 10**6}


@pytest.mark.parametrize(("lag", "is_open"), [(0, True), (100, True), (101, False), (-1, False)])
async def test_tape_waits_while_a_stage_is_behind(lag: int, is_open: bool) -> None:
    bus = Lagging()
    bus.lag = lag
    pressure = Pressure(bus, 100)

    await pressure.look()

    assert pressure.is_open == is_open


async def test_tape_goes_on_when_the_stage_has_caught_up() -> None:
    bus = Lagging()
    bus.lag = 101
    pressure = Pressure(bus, 100)
    await pressure.look()

    bus.lag = 50
    await pressure.look()

    await pressure.until_open()
