"""Whether the fleet keeps up with a tape. Knows lags, nothing of markets."""

from __future__ import annotations

import asyncio

from edgefleet.bus.interface import Bus
from edgefleet.errors import Transient

CHECK_S = 0.02
_IGNORED = frozenset({"monitor"})  # it looks at the newest and may miss the rest
_BEHIND = {"ledger": 10}  # no order waits for it: it may be so many times further behind than the others


class Pressure:
    """Open while no stage is more than `limit` entries behind. A Redis that does not answer closes it."""

    def __init__(self, bus: Bus, limit: int) -> None:
        self._bus = bus
        self.limit = limit
        self._open = asyncio.Event()
        self._open.set()

    @property
    def is_open(self) -> bool:
        """Whether more may be read now."""
        return self._open.is_set()

    async def watch(self) -> None:
        """Look at the lags until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(CHECK_S)

    async def look(self) -> None:
        """Open or close by the lags of now."""
        try:
            lags = await self._bus.lags()
        except Transient:
            self._open.clear()
            return
        lag = max(
            (lag // _BEHIND.get(service, 1) for (service, _), lag in lags.items() if service not in _IGNORED), default=0
        )
        if lag > self.limit:
            self._open.clear()
        else:
            self._open.set()

    async def until_open(self) -> None:
        """Return when more may be read."""
        await self._open.wait()
