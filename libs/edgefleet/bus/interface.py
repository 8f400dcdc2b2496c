"""What every bus promises. Knows nothing of Redis; the promises are tested by one contract kit on every bus."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple, Protocol

import msgspec

from edgefleet.messages import Message, encode, tag_of

FIRST = "0-0"  # the position before any entry
MAX_BATCH_ENTRIES = 256
MAX_BATCH_BYTES = 512 * 1024


class Entry(NamedTuple):
    """One stream entry, not yet decoded."""

    id: str
    type: str
    data: bytes


class EncodedOutput(NamedTuple):
    """One output, as it will stand in its stream."""

    stream: str
    type: str
    data: bytes


class Answer(StrEnum):
    """What a commit came to. On any but OK the caller discards its memory and loads again."""

    OK = "OK"
    DUP = "DUP"  # the stored position is at or past `last`: it was committed before
    CONFLICT = "CONFLICT"  # the stored position is not `expected`
    FENCED = "FENCED"  # a newer epoch owns the identity
    BUSY = "BUSY"  # `targets` is at its cap: the executor has not read them yet
    HALTED = "HALTED"  # an intent was refused by the latch, the mode or the account's lease


class CommitRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One batch of one input: where it began, where it ended, what it led to."""

    identity: str  # service[.worker][.shard]
    epoch: int
    input: str  # a stream, or `source:<name>` whose ids are the source's own counter "<n>-0"
    expected: str  # the position that the batch was computed from
    first: str
    last: str
    count: int
    config: str
    outputs: tuple[EncodedOutput, ...] = ()
    fields: dict[str, str] = {}  # small state, < 4 KB in sum
    snapshot: bytes | None = None


class CommitResult(NamedTuple):
    """The answer, the commit's number and, on OK, the ids its outputs got (first id per output, in order)."""

    answer: Answer
    n: int
    ids: tuple[str, ...] = ()


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What is stored of a stage: who owns it, how far it is, and its last snapshot."""

    identity: str
    epoch: int
    n: int
    positions: dict[str, str]  # per input; FIRST where it never committed
    fields: dict[str, str]
    snapshot: bytes | None
    incarnation: str  # id of this life of the server's data: changes with a flush


class Latch(NamedTuple):
    """The trading state and who set it."""

    state: str
    reason: str
    by: str


class Bus(Protocol):
    """Streams, commits and the trading latch."""

    async def claim(self, service: str, identity: str, inputs: Sequence[str]) -> Record:
        """Take the identity over (epoch + 1, compare-and-set) and return what is stored of it."""
        ...

    async def load(self, identity: str, inputs: Sequence[str]) -> Record:
        """Return what is stored, without taking over."""
        ...

    async def read(self, positions: Mapping[str, str], *, count: int, block_ms: int) -> dict[str, list[Entry]]:
        """Return entries after each position, at most `count` per stream; empty when none came in `block_ms`."""
        ...

    async def commit(self, request: CommitRequest) -> CommitResult:
        """Write outputs, position, fields and journal in one step, or nothing."""
        ...

    async def intend(self, request: CommitRequest, *, account: str, lease: str, reducing: bool) -> CommitResult:
        """Commit an order intent; HALTED where the latch, `mode` or the account's lease forbids it."""
        ...

    async def span(self, stream: str, first: str, last: str, *, count: int | None = None) -> list[Entry]:
        """Return the entries from `first` to `last`, both included ("-" and "+" for the ends)."""
        ...

    async def append(self, stream: str, message: Message) -> str:
        """Add one entry outside any stage (an operator's command) and return its id."""
        ...

    async def last_id(self, stream: str) -> str:
        """Return the id of the newest entry ever added, FIRST where there is none."""
        ...

    async def latch(self, state: str, *, reason: str, by: str, person: bool, ts: int) -> Latch:
        """Move the trading state; only a person loosens it. Return what is now so."""
        ...

    async def trading_state(self) -> Latch | None:
        """Return the latch, None where it was never set."""
        ...

    async def lags(self) -> dict[tuple[str, str], int]:
        """Return, per (service, stream), the entries added that the service has not committed."""
        ...


def encode_outputs(outputs: Sequence[tuple[str, Message]]) -> tuple[EncodedOutput, ...]:
    """Return outputs as bytes, in order."""
    return tuple(EncodedOutput(stream, tag_of(message), encode(message)) for stream, message in outputs)


def outputs_crc(outputs: Sequence[EncodedOutput]) -> int:
    """Return the crc32 over every output's stream, type and data, in order: what a re-run must reproduce."""
    crc = 0
    for stream, kind, data in outputs:
        crc = zlib.crc32(data, zlib.crc32(f"{stream}\0{kind}\0".encode(), crc))
    return crc


def id_key(entry_id: str) -> tuple[int, int]:
    """Return an entry id as numbers, the only way ids are compared."""
    milliseconds, _, sequence = entry_id.partition("-")
    return int(milliseconds), int(sequence or 0)
