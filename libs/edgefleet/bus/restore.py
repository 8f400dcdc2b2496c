"""From what is stored of a stage back to its state: its snapshot, then the journal since, run again. Writes nothing.

A restart and whoever only looks come to the same state here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Protocol

from edgefleet.bus.interface import FIRST, Depth, EncodedOutput, Entry, Record, outputs_crc
from edgefleet.bus.rerun import SnapshotUnusable, journal_of, step_entry, unpack_snapshot, was_set_aside
from edgefleet.errors import Broken
from edgefleet.messages import Journal
from edgefleet.params.schema import FleetConfig
from edgefleet.stage import Stage

JOURNAL_PAGE = 500


class Streams(Protocol):
    """The part of a bus that is read here."""

    async def span(self, stream: str, first: str, last: str, *, count: int | None = None) -> list[Entry]:
        """Return the entries from `first` to `last`, both included; "(" before an id excludes it."""
        ...

    async def depth(self, stream: str) -> Depth:
        """Return how much of a stream there is."""
        ...


async def state_of(
    record: Record,
    stage: Stage[Any],
    bus: Streams,
    by_hash: Callable[[str], Awaitable[FleetConfig]],
    rejected: Callable[[str], Awaitable[None]],
) -> tuple[Any, int]:
    """Return the state that the record stands for, and how many entries were run again for it.

    Outputs go nowhere; they must have the checksums that were committed. `by_hash` gives the configuration of a commit,
    `rejected` is told of a snapshot that is of no use: the whole journal is then run again, where it is still there.

    Raises
    ------
    Broken
        If the record cannot be run again: a hole, or other outputs than were committed.
    """
    again = _Again(record, stage, bus)
    state, positions, after = await again.from_snapshot(rejected)
    reran = 0
    async for commit in again.journal(after):
        entries = await bus.span(commit.input, commit.first, commit.last)
        if len(entries) != commit.count:
            span = f"{commit.count} entries of {commit.input} {commit.first}..{commit.last}"
            raise again.broken(f"commit {commit.n} read {span}, {len(entries)} are there")
        if not was_set_aside(commit, stage.service):
            again.repeat(state, commit, entries, await by_hash(commit.config))
        positions[commit.input] = commit.last
        reran += len(entries)
    wrong = {name: at for name, at in record.positions.items() if positions.get(name, FIRST) != at}
    if wrong:
        raise again.broken(f"its journal ends before its positions {wrong}")
    return state, reran


class _Again:
    """One record on its way back to a state."""

    def __init__(self, record: Record, stage: Stage[Any], bus: Streams) -> None:
        self._record, self._stage, self._bus = record, stage, bus

    async def from_snapshot(self, rejected: Callable[[str], Awaitable[None]]) -> tuple[Any, dict[str, str], str]:
        """Return state, positions and the place in the journal to go on from."""
        stage, record = self._stage, self._record
        if record.snapshot is not None:
            try:
                state, positions = unpack_snapshot(stage, record.snapshot)
                return state, {name: positions.get(name, FIRST) for name in stage.inputs}, record.journal
            except SnapshotUnusable as error:
                await rejected(str(error))
                depth = await self._bus.depth(f"journal.{stage.service}")
                if depth.added != depth.length:
                    raise self.broken(f"{error}, and its journal no longer begins at its first commit") from error
        return stage.initial(), dict.fromkeys(stage.inputs, FIRST), FIRST

    async def journal(self, after: str) -> AsyncIterator[Journal]:
        """Give this identity's commits after a place in its service's journal, up to its record, without a gap."""
        record = self._record
        expected = 1 if after == FIRST else None
        while True:
            page = await self._bus.span(f"journal.{self._stage.service}", f"({after}", "+", count=JOURNAL_PAGE)
            for entry in page:
                commit = journal_of(entry)
                if commit.identity != record.identity:
                    continue
                if commit.n > record.n:  # a commit whose reply we gave up on; the next commit will be told CONFLICT
                    return
                if expected is not None and commit.n != expected:
                    raise self.broken(f"commit {expected} is not in its journal")
                expected = commit.n + 1
                yield commit
            if len(page) < JOURNAL_PAGE:
                if expected is not None and expected != record.n + 1:
                    raise self.broken(f"its journal ends at {expected - 1}, not at {record.n}")
                return
            after = page[-1].id

    def repeat(self, state: Any, commit: Journal, entries: Sequence[Entry], config: FleetConfig) -> None:
        """Step committed entries again; what they lead to must be what was committed."""
        stream, outputs = commit.input, list[EncodedOutput]()
        for entry in entries:
            try:
                outputs += step_entry(self._stage, state, stream, entry, config)
            except Exception as error:  # what was committed must not fail now; told with its place
                raise self.broken(f"commit {commit.n}, {stream}/{entry.id} fails: {error}") from error
        if outputs_crc(outputs) != commit.crc:
            raise self.broken(f"commit {commit.n} of {stream} gives other outputs than were committed")

    def broken(self, why: str) -> Broken:
        return Broken(f"{self._record.identity} cannot be re-run: {why}")
