"""What every bus promises. Knows nothing of Redis; the promises are tested by one contract kit on every bus."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from enum import IntEnum, StrEnum
from functools import cache
from typing import NamedTuple, Protocol

import msgspec

from edgefleet.messages import Message, encode, tag_of
from edgefleet.stage import Output

FIRST = "0-0"  # the position before any entry
MAX_BATCH_ENTRIES = 1024
MAX_BATCH_OUTPUTS = 1024
MAX_BATCH_BYTES = 512 * 1024
MAX_FIELD_BYTES = 4096


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One stream entry, not yet decoded."""

    id: str
    type: str
    data: bytes


class EncodedOutput(msgspec.Struct, frozen=True, gc=False):
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


class Clearance(IntEnum):
    """What may leave for the venue, as of a commit: by the latch, the mode and the account's lease."""

    NONE = 0
    REDUCING = 1  # orders that only reduce a position
    ALL = 2

    def covers(self, *, reducing: bool) -> bool:
        """Return whether an order may leave."""
        return self is Clearance.ALL or (self is Clearance.REDUCING and reducing)


class Permit(NamedTuple):
    """Who asks what may leave."""

    account: str
    lease: str  # the token of the account's lease


class CommitRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One batch of one input: where it began, where it ended, what it led to.

    A `count` of zero consumes nothing: `first` and `last` equal `expected`, there are no outputs, no journal entry is
    written and `n` stays; it is how a snapshot, small fields or the lag are saved when nothing is left to read.
    """

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
    skipped: int = 0  # entries before `first` that were lost to this stage: they count as read in the lag
    targets_cap: int = 0  # unread `targets` at which the answer is BUSY; 0: no cap
    after: int | None = None  # the number of the identity's last commit; CONFLICT where another came since
    turn: str = ""  # names the commit for the one behind it in `commit_in_turn`
    behind: str = ""  # CONFLICT where the last commit has not this name: it was refused
    permit: Permit | None = None  # asks, in the same step, whether the orders among the outputs may leave
    wants_ids: bool = True  # whether the result tells the ids that the outputs got
    shows_lag: bool = True  # whether tools that ask for consumer groups see the new position at once


class CommitResult(NamedTuple):
    """The answer, the commit's number and, on OK and where they are wanted, the ids its outputs got, in order."""

    answer: Answer
    n: int
    ids: tuple[str, ...] = ()
    clearance: Clearance | None = None  # None where no permit was asked for


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What is stored of a stage: who owns it, how far it is, and its last snapshot."""

    identity: str
    epoch: int
    n: int
    positions: dict[str, str]  # per input; FIRST where it never committed
    fields: dict[str, str]
    snapshot: bytes | None
    incarnation: str  # id of this life of the server's data: changes with a flush
    reads: dict[str, int] = {}  # per input: entries committed, the lost ones included
    journal: str = FIRST  # id of the last entry of the service's journal that the snapshot covers


class Depth(NamedTuple):
    """How much of a stream there is."""

    added: int  # entries ever added
    length: int  # entries still there
    last: str  # id of the newest entry ever added


class Latch(NamedTuple):
    """The trading state and who set it."""

    state: str
    reason: str
    by: str


NEVER_SET = Latch("HALTED", "the trading state was never set", "")  # only a person opens what nobody opened


class Bus(Protocol):
    """Streams, commits and the trading latch."""

    async def claim(self, service: str, identity: str, inputs: Sequence[str], *, snapshots: bool = True) -> Record:
        """Take the identity over (epoch + 1, compare-and-set) and return what is stored of it.

        `snapshots=False` says that the identity needs nothing before its position to start again (a source, a gateway).
        """
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

    async def commit_in_turn(self, requests: Sequence[CommitRequest]) -> list[CommitResult]:
        """Commit one after the other in one round trip, and return what each came to.

        A request that must not be committed without the one before it says so by `after` and `behind`: a number alone
        would also fit where a commit that was given up on came late and moved it.
        """
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

    async def depth(self, stream: str) -> Depth:
        """Return how much of a stream there is."""
        ...

    async def trim(self, stream: str, *, retain: int) -> int:
        """Remove some of what every reader's snapshot and the archive's mark have passed; return how many entries.

        The newest `retain` entries always stay. Call again until nothing is removed.
        """
        ...

    async def acquire(self, key: str, token: str, ttl_ms: int) -> bool:
        """Take or extend a lease; False where another token holds it."""
        ...

    async def extend(self, key: str, token: str, ttl_ms: int) -> bool:
        """Extend a lease that is still held; False where it lapsed or is another's."""
        ...

    async def release(self, key: str, token: str) -> bool:
        """Give a lease back; False where it was not held."""
        ...

    async def latch(self, state: str, *, reason: str, by: str, person: bool, ts: int) -> Latch:
        """Move the trading state; only a person loosens it. Return what is now so.

        One exception: REDUCING taken `by` FEEDS is let go by FEEDS, unless `mode` or somebody else asked for it since.
        """
        ...

    async def trading_state(self) -> Latch | None:
        """Return the latch, None where it was never set."""
        ...

    async def lags(self) -> dict[tuple[str, str], int]:
        """Return, per (service, stream), the entries added that the service has not committed."""
        ...


def encode_outputs(outputs: Iterable[Output]) -> tuple[EncodedOutput, ...]:
    """Return outputs as bytes, in order."""
    return tuple([EncodedOutput(one.stream, tag_of(one.message), encode(one.message)) for one in outputs])


def outputs_crc(outputs: Sequence[EncodedOutput]) -> int:
    """Return the crc32 over every output's stream, type and data, in order: what a re-run must reproduce."""
    parts: list[bytes] = []
    for output in outputs:
        parts += (_heading(output.stream, output.type), output.data)
    return zlib.crc32(b"".join(parts))


@cache
def _heading(stream: str, kind: str) -> bytes:
    """Return what an output's crc begins with; the fleet has a few dozen pairs of stream and type."""
    return f"{stream}\0{kind}\0".encode()


def id_key(entry_id: str) -> tuple[int, int]:
    """Return an entry id as numbers, the only way ids are compared."""
    milliseconds, _, sequence = entry_id.partition("-")
    return int(milliseconds), int(sequence or 0)


def check_request(request: CommitRequest) -> None:
    """Refuse a commit that no bus would take.

    Raises
    ------
    ValueError
        If the batch, its outputs or its fields are larger than a commit may be, or its ids are out of order.
    """
    if not 0 <= request.count <= MAX_BATCH_ENTRIES:
        raise ValueError(f"a batch has at most {MAX_BATCH_ENTRIES} entries, was {request.count}")
    if len(request.outputs) > MAX_BATCH_OUTPUTS:
        raise ValueError(f"a commit has at most {MAX_BATCH_OUTPUTS} outputs, was {len(request.outputs)}")
    size = sum([len(output.data) for output in request.outputs])
    if size > MAX_BATCH_BYTES:
        raise ValueError(f"a commit's outputs have at most {MAX_BATCH_BYTES} bytes, was {size}")
    size = sum(len(name.encode()) + len(value.encode()) for name, value in request.fields.items())
    if size > MAX_FIELD_BYTES:
        raise ValueError(f"small fields have at most {MAX_FIELD_BYTES} bytes, was {size}")
    if request.count == 0:
        if request.outputs or not request.first == request.last == request.expected:
            raise ValueError("a commit that consumes nothing has no outputs and stays at its position")
    elif id_key(request.last) <= id_key(request.expected):
        raise ValueError(f"a batch ends after it begins, was {request.expected} to {request.last}")


def service_of(identity: str) -> str:
    """Return the service of an identity `service[.worker][.shard]`."""
    return identity.partition(".")[0]


def record_from_state(
    identity: str, inputs: Sequence[str], state: Mapping[str, str], snapshot: bytes | None, incarnation: str
) -> Record:
    """Return the stored hash of a stage as a record."""
    return Record(
        identity=identity,
        epoch=int(state.get("epoch", 0)),
        n=int(state.get("n", 0)),
        positions={name: state.get(f"pos:{name}", FIRST) for name in inputs},
        fields={key[2:]: value for key, value in state.items() if key.startswith("f:")},
        snapshot=snapshot,
        incarnation=incarnation,
        reads={name: int(state.get(f"read:{name}", 0)) for name in inputs},
        journal=state.get(f"snappos:journal.{service_of(identity)}", FIRST),
    )
