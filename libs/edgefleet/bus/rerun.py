"""From a batch of entries to the bytes a commit writes, and back from a snapshot. Pure: knows no bus and no clock.

The loop, a restart's re-run and the twin all turn entries into outputs here, so they cannot differ.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

import msgspec

from edgefleet.bus.interface import EncodedOutput, Entry, encode_outputs, id_key
from edgefleet.clock import NS_PER_MS
from edgefleet.errors import Broken, Fenced, Poison, Transient
from edgefleet.messages import Alert, DeadLetter, Journal, decode
from edgefleet.params.schema import FleetConfig
from edgefleet.stage import Input, Output, Stage

ORDER_PATH = frozenset({"targets", "orders", "fills", "venue.events", "control"})  # nothing here is ever set aside

DEAD_LETTER_BYTES = 64 * 1024  # JSON may write a byte as six

_JOURNAL = msgspec.json.Decoder(Journal)


class SnapshotUnusable(Exception):
    """A snapshot is damaged or of another schema. The stage is re-run from its journal instead."""


class _Snapshot(msgspec.Struct, frozen=True, array_like=True):
    schema: int
    positions: dict[str, str]
    state: msgspec.Raw


def step_entry(
    stage: Stage[Any], state: Any, stream: str, entry: Entry, config: FleetConfig
) -> tuple[EncodedOutput, ...]:
    """Return what one entry leads to, encoded; `state` moves.

    Raises
    ------
    Poison
        If the entry does not decode.
    Exception
        Whatever the step or the encoding of its outputs raises; `state` is then worth nothing.
    """
    made = stage.step(state, Input(stream, entry.id, decode(entry.type, entry.data)), config)
    return encode_outputs(made) if made else ()


def dead_letter(service: str, stream: str, entry: Entry, error: Exception) -> tuple[EncodedOutput, ...]:
    """Return what is written in place of an entry that no retry can process. Its time is that of its id."""
    ts = id_key(entry.id)[0] * NS_PER_MS
    text = str(error) if isinstance(error, Poison) else f"{type(error).__name__}: {error}"
    if len(entry.data) > DEAD_LETTER_BYTES:
        text += f" (the first {DEAD_LETTER_BYTES} of {len(entry.data)} bytes are kept here; a commit holds no more)"
    letter = DeadLetter(
        service=service,
        stream=stream,
        id=entry.id,
        entry_type=entry.type,
        data=entry.data[:DEAD_LETTER_BYTES].decode(errors="replace"),
        error=text,
        ts_event=ts,
        ts_init=ts,
    )
    told = f"{stream}/{entry.id} ({entry.type}) was set aside on dead.{service}: {text[:500]}"
    alert = Alert(name="dead_letter", severity="warning", service=service, text=told, ts_event=ts, ts_init=ts)
    return encode_outputs((Output(f"dead.{service}", letter), Output("alerts", alert)))


def is_fatal(error: Exception, stream: str) -> bool:
    """Return whether an entry's failure must stop the stage instead of setting the entry aside."""
    return stream in ORDER_PATH or isinstance(error, Broken | Fenced | Transient)


def was_set_aside(commit: Journal, service: str) -> bool:
    """Return whether the commit wrote its entry to the dead letters instead of stepping it."""
    return any(span.stream == f"dead.{service}" for span in commit.outputs)


def journal_of(entry: Entry) -> Journal:
    """Return a journal entry.

    Raises
    ------
    Broken
        If it does not decode.
    """
    try:
        return _JOURNAL.decode(entry.data)
    except msgspec.MsgspecError as error:
        raise Broken(f"journal entry {entry.id} does not decode: {error}") from error


def encode_state(state: Any) -> bytes:
    """Return a state as msgpack."""
    return msgspec.msgpack.encode(state)


def decode_state(stage: Stage[Any], data: bytes | msgspec.Raw) -> Any:
    """Return the state in `data`."""
    return msgspec.msgpack.decode(data, type=stage.state_type)


def pack_snapshot(stage: Stage[Any], state: Any, positions: Mapping[str, str]) -> bytes:
    """Return state and positions as they are saved: four bytes of crc32, then msgpack."""
    body = msgspec.msgpack.encode(_Snapshot(stage.schema, dict(positions), msgspec.Raw(encode_state(state))))
    return zlib.crc32(body).to_bytes(4, "big") + body


def unpack_snapshot(stage: Stage[Any], data: bytes) -> tuple[Any, dict[str, str]]:
    """Return the state and the positions it stands for.

    Raises
    ------
    SnapshotUnusable
        If the checksum or the schema is not the stage's.
    """
    if len(data) < 4 or zlib.crc32(data[4:]).to_bytes(4, "big") != data[:4]:
        raise SnapshotUnusable(f"snapshot of {stage.service} has a wrong checksum")
    try:
        snapshot = msgspec.msgpack.decode(data[4:], type=_Snapshot)
        if snapshot.schema != stage.schema:
            schemas = f"schema {snapshot.schema}, the stage has {stage.schema}"
            raise SnapshotUnusable(f"snapshot of {stage.service} has {schemas}")
        return decode_state(stage, snapshot.state), snapshot.positions
    except msgspec.MsgspecError as error:
        raise SnapshotUnusable(f"snapshot of {stage.service} does not decode: {error}") from error
