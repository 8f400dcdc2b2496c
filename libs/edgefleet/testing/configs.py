"""Configurations in a test's hand. Knows nothing of a params service."""

from __future__ import annotations

import asyncio

from edgefleet.errors import Broken
from edgefleet.params.schema import FleetConfig


class FixedConfigs:
    """What a stage loop asks of configuration, without a service behind it; `offer` is a reload."""

    def __init__(self, current: FleetConfig | None = None) -> None:
        self.current = current or FleetConfig()
        self.changed = asyncio.Event()
        self.pending: FleetConfig | None = None
        self._known = {self.current.hash: self.current}

    def offer(self, config: FleetConfig) -> None:
        """Let a newer configuration wait for the next swap."""
        self._known[config.hash] = config
        self.pending = config
        self.changed.set()

    def swap(self) -> FleetConfig:
        self.changed.clear()
        if self.pending is not None:
            self.current, self.pending = self.pending, None
        return self.current

    async def by_hash(self, config_hash: str) -> FleetConfig:
        if config_hash not in self._known:
            raise Broken(f"no configuration has the hash {config_hash}")
        return self._known[config_hash]
