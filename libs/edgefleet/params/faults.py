"""What is wrong with a configuration, and where. Knows nothing of files or Redis."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from edgefleet.errors import Misuse


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is wrong: `file:line: key: reason`."""

    source: str  # a file, an environment variable, or who asked
    line: int | None = None
    key: str = ""  # dotted
    reason: str

    def __str__(self) -> str:
        place = self.source if self.line is None else f"{self.source}:{self.line}"
        return ": ".join(part for part in (place, self.key, self.reason) if part)


class InvalidConfig(Misuse):
    """A configuration is refused as a whole; the one in force stays. `faults` say where it is wrong."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("; ".join(str(fault) for fault in self.faults))
