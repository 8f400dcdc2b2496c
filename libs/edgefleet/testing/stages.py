"""A stage small enough to check by hand, whose every output depends on all it has read. For tests of loops."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import msgspec

from edgefleet.messages import Alert, Journal, Trade
from edgefleet.params.schema import FleetConfig
from edgefleet.stage import Input, Output

POISON = "poison"


class CountingState(msgspec.Struct):
    """How many entries were read, and a checksum over all of them in order."""

    seen: int = 0
    checksum: int = 0
    per_input: dict[str, int] = {}


class CountingStage:
    """Tells, for each entry (or every `talks_every`), how many it has read and a checksum over all before it.

    A doubled, lost or swapped entry changes everything after it. A trade with the id ``poison`` raises, after the state
    has moved: what a failing step leaves behind must not be kept.
    """

    state_type = CountingState

    def __init__(
        self,
        service: str = "alpha",
        inputs: tuple[str, ...] = ("market",),
        output: str = "signals",
        *,
        outputs_per_entry: int = 1,
        talks_every: int = 1,
        schema: int = 1,
    ) -> None:
        self.service = service
        self.inputs = inputs
        self.schema = schema
        self._output = output
        self._outputs_per_entry = outputs_per_entry
        self._talks_every = talks_every

    def initial(self) -> CountingState:
        return CountingState()

    def step(self, state: CountingState, entry: Input, config: FleetConfig) -> Sequence[Output]:
        state.seen += 1
        message = entry.message
        stamp = 0 if isinstance(message, Journal) else message.ts_event
        said = message.trade_id if isinstance(message, Trade) else type(message).__name__
        state.checksum = zlib.crc32(f"{entry.stream}|{said}|{config.fleet.account}".encode(), state.checksum)
        state.per_input[entry.stream] = state.per_input.get(entry.stream, 0) + 1
        if said == POISON:
            raise ValueError("a poisonous trade")
        text = f"{state.seen} {state.checksum}"
        return [
            Output(
                self._output,
                Alert(
                    name=f"count-{i}",
                    severity="info",
                    service=self.service,
                    text=text,
                    ts_event=stamp,
                    ts_init=stamp,
                ),
            )
            for i in range(self._outputs_per_entry if state.seen % self._talks_every == 0 else 0)
        ]
