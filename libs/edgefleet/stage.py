"""What a layer is: a pure step and what it needs to be run, stopped and run again. Knows nothing of buses or loops."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

import msgspec

from edgefleet.messages import Message
from edgefleet.params.schema import FleetConfig

S = TypeVar("S", bound=msgspec.Struct)


class Input(msgspec.Struct, frozen=True, gc=False):
    """One stream entry as a step sees it."""

    stream: str
    id: str
    message: Message

    @property
    def cause(self) -> str:
        """Return how outputs cite this entry: `stream/id`."""
        return f"{self.stream}/{self.id}"


class Output(msgspec.Struct, frozen=True, gc=False):
    """One message and the stream it goes to."""

    stream: str
    message: Message


class Stage(Protocol, Generic[S]):
    """A layer: `step` is a function of state, entry and configuration alone.

    The same stage object runs in the fleet, in a replay and in a re-run of yesterday. `step` may change `state` in
    place; it keeps nothing anywhere else, reads no clock, does no I/O, and gives the same outputs, byte for byte, for
    the same arguments. The state is a `msgspec.Struct` that survives msgpack unchanged (that is how it is saved).
    """

    @property
    def service(self) -> str:
        """Return the name of its journal, its dead letters and its gauge groups."""
        ...

    @property
    def inputs(self) -> tuple[str, ...]:
        """Return the streams it reads, highest priority first."""
        ...

    @property
    def state_type(self) -> type[S]:
        """Return what its state is."""
        ...

    @property
    def schema(self) -> int:
        """Return the number that is raised when `state_type` changes shape; an older snapshot is then not used."""
        ...

    def initial(self) -> S:
        """Return the state before any input."""
        ...

    def step(self, state: S, entry: Input, config: FleetConfig) -> Sequence[Output]:
        """Take one entry and return what follows from it, in order."""
        ...
