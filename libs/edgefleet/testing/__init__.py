"""Fakes, builders and contract kits. Shipped, for users' models and adapters need them too."""

from edgefleet.bus.memory import MemoryBus
from edgefleet.testing import build
from edgefleet.testing.clock import FakeClock
from edgefleet.testing.configs import FixedConfigs
from edgefleet.testing.stages import CountingStage, CountingState

__all__ = ["CountingStage", "CountingState", "FakeClock", "FixedConfigs", "MemoryBus", "build"]
