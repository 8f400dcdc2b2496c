"""One executor per account: a lease in Redis, and how old our hold on it is. Knows nothing of orders."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from edgefleet.bus.interface import Bus
from edgefleet.clock import NS_PER_MS, Clock
from edgefleet.errors import Fenced, OutOfReach, Transient

RENEWALS_PER_LEASE: Final = 6
_ASK_EVERY_S: Final = 0.1


class AccountLease:
    """The right to trade an account, for `ttl_ms` at a time."""

    def __init__(self, bus: Bus, account: str, token: str, *, ttl_ms: int, clock: Clock) -> None:
        self.account = account  # account@venue
        self.key = f"lease:account:{account}"
        self.token = token
        self.ttl_ms = ttl_ms
        self._bus = bus
        self._clock = clock
        self.on_lapse: Callable[[], None] = lambda: None  # it was lost for a while: others may have traded
        self._renewed = asyncio.Event()
        self._since: int | None = None  # monotonic ns: when the last renewal that succeeded was asked for

    async def take(self) -> None:
        """Wait for at most one lease's length until it is ours.

        Raises
        ------
        OutOfReach
            If another executor keeps it.
        """
        deadline = self._clock.monotonic_ns() + (self.ttl_ms + self.ttl_ms // 2) * NS_PER_MS
        while not await self._renew(held=False):
            if self._clock.monotonic_ns() >= deadline:
                raise OutOfReach(f"account {self.account} is traded by another executor; stop that one first")
            await asyncio.sleep(_ASK_EVERY_S)

    async def keep(self) -> None:
        """Renew for ever.

        Raises
        ------
        Fenced
            If another executor has it now.
        """
        while True:
            await asyncio.sleep(self.ttl_ms / 1_000 / RENEWALS_PER_LEASE)
            lapsed = not self._is_younger_than(self.ttl_ms)
            try:
                if not await self._renew(held=False):
                    self._since = None
                    raise Fenced(f"{self.key} has another holder; this executor stops")
            except Transient:
                continue  # it grows old, and `is_fresh` says so
            if lapsed:
                self.on_lapse()

    def is_fresh(self) -> bool:
        """Return whether less than half of it has passed: a request with a shorter window cannot outlive it."""
        return self._is_younger_than(self.ttl_ms // 2)

    async def until_fresh(self) -> None:
        """Wait until it is fresh."""
        while not self.is_fresh():
            self._renewed.clear()
            await self._renewed.wait()

    async def give_back(self) -> None:
        """Let another executor have it at once."""
        self._since = None
        await self._bus.release(self.key, self.token)

    def _is_younger_than(self, limit_ms: int) -> bool:
        return self._since is not None and self._clock.monotonic_ns() - self._since < limit_ms * NS_PER_MS

    async def _renew(self, *, held: bool) -> bool:
        asked = self._clock.monotonic_ns()
        ask = self._bus.extend if held else self._bus.acquire
        if not await ask(self.key, self.token, self.ttl_ms):
            return False
        self._since = asked
        self._renewed.set()
        return True
