"""Re-run a recorded session stage by stage and compare every byte. Knows the record's shape, not where it is kept.

Each commit of a stage is in its journal: which input, from where to where, under which configuration, and which
entries it wrote. Running the stage's step over the same inputs in the same order must give the same outputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import msgspec

from edgefleet.bus.interface import EncodedOutput, Entry, id_key
from edgefleet.bus.rerun import dead_letter, decode_state, encode_state, step_entry, was_set_aside
from edgefleet.errors import Broken
from edgefleet.messages import Journal
from edgefleet.params.schema import FleetConfig
from edgefleet.stage import Stage


class Record(Protocol):
    """A session as it was written down."""

    def entries(self, stream: str) -> Iterator[Entry]:
        """Return every entry of a stream, oldest first, each once."""
        ...

    def config(self, config_hash: str) -> FleetConfig:
        """Return the configuration behind a hash.

        Raises
        ------
        Broken
            If the record does not hold it.
        """
        ...


class Comparison(msgspec.Struct, kw_only=True):
    """How much of what a stage wrote came back the same."""

    compared: int = 0  # every entry the stage wrote
    equal: int = 0
    extra: int = 0  # entries that only the re-run wrote
    commits: int = 0
    first_difference: str | None = None
    failed: bool = False  # the step raised; what follows it cannot be compared and counts as unequal

    @property
    def parity(self) -> float:
        """Return the share that is equal; a stage that wrote nothing agrees with itself."""
        return self.equal / (self.compared + self.extra) if self.compared + self.extra else 1.0

    def differ(self, where: str) -> None:
        """Remember the first difference alone: what follows is its consequence."""
        if self.first_difference is None:
            self.first_difference = where


class Cursor:
    """Reads a stream once, forwards, and hands out spans of it."""

    def __init__(self, entries: Iterator[Entry]) -> None:
        self._entries = entries
        self._ahead: Entry | None = None

    def span(self, first: str, last: str) -> list[Entry]:
        """Return the entries from `first` to `last`; what stands before `first` is passed over."""
        low, high = id_key(first), id_key(last)
        found = []
        while (entry := self._ahead or next(self._entries, None)) is not None:
            self._ahead = None
            key = id_key(entry.id)
            if key > high:
                self._ahead = entry
                break
            if key >= low:
                found.append(entry)
        return found


def compare_stage(stage: Stage[Any], identity: str, record: Record) -> Comparison:
    """Return how what `identity` wrote compares with a re-run of `stage` over what it read.

    Raises
    ------
    Broken
        If the record has a hole: a journalled entry or configuration is not there.
    """
    result = Comparison()
    state = stage.initial()
    inputs = {stream: Cursor(record.entries(stream)) for stream in stage.inputs}
    outputs: dict[str, Cursor] = {}
    configs: dict[str, FleetConfig] = {}
    for commit in _commits(record, stage.service, identity):
        result.commits += 1
        if commit.config not in configs:
            configs[commit.config] = record.config(commit.config)
        batch = inputs[commit.input].span(commit.first, commit.last) if commit.count else []
        if len(batch) != commit.count:
            span = f"{commit.input} {commit.first}..{commit.last}: {commit.count} read, {len(batch)} on record"
            raise Broken(f"the record has a hole: {span}; a fleet that was killed has its last entries in Redis alone")
        try:
            made = [] if result.failed else _run(stage, state, commit, batch, configs[commit.config])
        except Exception as error:  # noqa: BLE001 - a step that fails now and did not then is a difference to report
            result.failed, made = True, []
            result.differ(f"{_place(commit)}: the re-run fails: {type(error).__name__}: {error}")
        written = [
            EncodedOutput(span.stream, entry.type, entry.data)
            for span in commit.outputs
            for entry in outputs.setdefault(span.stream, Cursor(record.entries(span.stream))).span(
                span.first, span.last
            )
        ]
        _compare(result, commit, _by_stream(made), written)
    return result


def _run(
    stage: Stage[Any], state: Any, commit: Journal, batch: Sequence[Entry], config: FleetConfig
) -> list[EncodedOutput]:
    if was_set_aside(commit, stage.service):
        return _fail_again(stage, state, commit, batch[0], config)
    return [output for entry in batch for output in step_entry(stage, state, commit.input, entry, config)]


def _fail_again(
    stage: Stage[Any], state: Any, commit: Journal, entry: Entry, config: FleetConfig
) -> list[EncodedOutput]:
    """Return what setting an entry aside led to; the state stays as it was, as it did then."""
    spare = decode_state(stage, encode_state(state))
    try:
        step_entry(stage, spare, commit.input, entry, config)
    except Exception as error:  # noqa: BLE001 - whatever the step raised then, it must raise again
        return list(dead_letter(stage.service, commit.input, entry, error))
    return []


def _commits(record: Record, service: str, identity: str) -> Iterator[Journal]:
    decoder = msgspec.json.Decoder(Journal)
    expected = 1
    for entry in record.entries(f"journal.{service}"):
        commit = decoder.decode(entry.data)
        if commit.identity != identity:
            continue
        if commit.n != expected:
            raise Broken(f"journal.{service} has a hole: {identity} commit {expected} is missing, {commit.n} follows")
        expected += 1
        yield commit


def _by_stream(outputs: Sequence[EncodedOutput]) -> list[EncodedOutput]:
    order: dict[str, list[EncodedOutput]] = {}
    for output in outputs:
        order.setdefault(output.stream, []).append(output)
    return [output for group in order.values() for output in group]


def _compare(result: Comparison, commit: Journal, made: list[EncodedOutput], written: list[EncodedOutput]) -> None:
    result.compared += len(written)
    where = _place(commit)
    for index, output in enumerate(written):
        again = made[index] if index < len(made) else None
        if again == output:
            result.equal += 1
        elif again is None:
            result.differ(f"{where}: wrote {output.type} to {output.stream}, the re-run wrote nothing")
        else:
            result.differ(f"{where}: {output.stream} {_difference(output, again)}")
    if len(made) > len(written):
        result.extra += len(made) - len(written)
        result.differ(f"{where}: the re-run also wrote {made[len(written)].type} to {made[len(written)].stream}")


def _place(commit: Journal) -> str:
    return f"commit {commit.n} ({commit.input} {commit.first}..{commit.last})"


def _difference(written: EncodedOutput, again: EncodedOutput) -> str:
    if (written.stream, written.type) != (again.stream, again.type):
        return f"wrote {written.type}, the re-run wrote {again.type} to {again.stream}"
    before, after = msgspec.json.decode(written.data), msgspec.json.decode(again.data)
    for key in before:
        if before[key] != after.get(key):
            return f"{written.type}.{key}: wrote {before[key]!r}, the re-run {after.get(key)!r}"
    return f"{written.type}: equal values, other bytes"
