"""Entries of one stream as columns, the shape in which they are archived. Knows neither Redis nor files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from edgefleet.bus.interface import Entry


@dataclass(slots=True)
class Columns:
    """Entries in the order of their stream; one object for thousands of them, because most are only copied."""

    ids: list[bytes] = field(default_factory=list)
    types: list[bytes] = field(default_factory=list)
    data: list[bytes] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def of(cls, entries: Sequence[Entry]) -> Columns:
        """Return entries as columns."""
        return cls(
            [entry.id.encode() for entry in entries],
            [entry.type.encode() for entry in entries],
            [entry.data for entry in entries],
        )

    def add(self, more: Columns) -> None:
        """Append what follows."""
        self.ids += more.ids
        self.types += more.types
        self.data += more.data

    def entries(self) -> list[Entry]:
        """Return each entry by itself."""
        return [
            Entry(entry_id.decode(), kind.decode(errors="replace"), data)
            for entry_id, kind, data in zip(self.ids, self.types, self.data, strict=True)
        ]

    def keys(self) -> tuple[list[int], list[int]]:
        """Return the two numbers of every id: milliseconds, sequences."""
        # Read as one list of numbers they are found in C: a tenth of the time of one `partition` for each id.
        numbers = _NUMBERS.decode(b"[%b]" % b",".join(self.ids).replace(b"-", b","))
        return numbers[::2], numbers[1::2]


_NUMBERS = msgspec.json.Decoder(list[int])
