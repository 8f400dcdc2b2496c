"""What the machinery says about itself: parameters, journals, losses."""

from __future__ import annotations

from typing import Literal

import msgspec


class ParamVersion(msgspec.Struct, frozen=True, kw_only=True, gc=False, tag="param_version.v1"):
    """A component has a new body. Sent by params on `params.history`."""

    component: str
    version: int
    sha256: str
    body: str  # canonical JSON
    author: str
    reason: str
    effective: bool  # False: a loosening that waits for risk and executor to confirm
    config: str  # hash of the whole configuration that this version makes
    ts_event: int
    ts_init: int


class ConfigBody(msgspec.Struct, frozen=True, kw_only=True, gc=False, tag="config_body.v1"):
    """The whole configuration behind a hash. Sent by params on `params.history` beside each version."""

    hash: str
    versions: dict[str, int]
    body: str  # canonical JSON of every component and the flags
    ts_event: int
    ts_init: int


class ParamRejected(msgspec.Struct, frozen=True, kw_only=True, gc=False, tag="param_rejected.v1"):
    """A change was refused and changed nothing. Sent by params on `params.history`."""

    component: str
    source: str  # file, or who asked
    errors: tuple[str, ...]  # each: file, line, key, reason
    body: str
    author: str
    ts_event: int
    ts_init: int


class OutputSpan(msgspec.Struct, frozen=True, kw_only=True, gc=False, array_like=True):
    """The entries of one stream that one commit wrote: they stand side by side."""

    stream: str
    first: str
    last: str
    count: int


class Journal(msgspec.Struct, frozen=True, kw_only=True, gc=False, tag="journal.v1"):
    """One commit of one stage. Written by the commit Function on `journal.<service>`; `n` is the recorded order."""

    n: int
    identity: str
    input: str
    first: str  # id of the first entry of the batch
    last: str
    count: int
    config: str
    epoch: int
    crc: int  # crc32 over every output's stream, type and data, in order
    outputs: tuple[OutputSpan, ...]


class Alert(msgspec.Struct, frozen=True, kw_only=True, gc=False, tag="alert.v1"):
    """A person should know. Sent by any service on `alerts`."""

    name: str
    severity: Literal["info", "warning", "critical"]
    service: str
    text: str
    ts_event: int
    ts_init: int


class InputLost(msgspec.Struct, frozen=True, kw_only=True, gc=False, tag="input_lost.v1"):
    """Entries that a stage needed are gone. Sent by the stage on `alerts`."""

    service: str
    stream: str
    after: str  # the last id the stage has
    before: str  # the oldest id that is still there
    ts_event: int
    ts_init: int


class Rollback(msgspec.Struct, frozen=True, kw_only=True, gc=False, tag="rollback.v1"):
    """Redis came back with an older position than the stage had committed. Sent on `alerts`."""

    service: str
    input: str
    had: str
    found: str
    ts_event: int
    ts_init: int


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True, gc=False, tag="dead_letter.v1"):
    """An entry that no retry can process, kept whole. Sent on `dead.<service>`."""

    service: str
    stream: str
    id: str
    entry_type: str
    data: str
    error: str
    ts_event: int
    ts_init: int
