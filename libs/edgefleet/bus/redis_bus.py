"""The bus on Redis Streams. Knows the keys, the commands and the shapes of replies; nothing of steps."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self

import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError

from edgefleet.bus import functions
from edgefleet.bus.interface import (
    FIRST,
    NEVER_SET,
    Answer,
    Clearance,
    CommitRequest,
    CommitResult,
    Depth,
    EncodedOutput,
    Entry,
    Latch,
    Permit,
    Record,
    check_request,
    outputs_crc,
    record_from_state,
    service_of,
)
from edgefleet.bus.link import MAX_BLOCK_MS, Argument, FunctionMissing, Links, pool_of, reach
from edgefleet.errors import Broken, OutOfReach, Transient
from edgefleet.messages import Message, encode, tag_of

TRADING_STATE = "trading:state"
FLEET_OWNER = "fleet:owner"
INCARNATION = "fleet:incarnation"
ARCHIVE_MARK = "archive:mark"
READERS = "readers"
TRIM_CHUNK = 256

_COMMIT = msgspec.msgpack.Encoder()
_TYPES: dict[bytes, str] = {}  # tags as they come from the wire, so that each is decoded once


class RedisBus:
    """Streams, commits and the trading latch on one Redis."""

    def __init__(self, url: str, *, protocol: int = 2) -> None:
        self.url = url
        self._links = Links(url, protocol=protocol)
        self._client: Redis | None = None
        self._protocol = protocol
        self.incarnation = ""

    @classmethod
    async def connect(cls, url: str, *, protocol: int = 2) -> RedisBus:
        """Return a bus on a server that answered, has the Functions and knows its incarnation.

        Raises
        ------
        OutOfReach
            If the server does not answer.
        Misuse
            If it asks for a password, is older than 7.0, or the URL cannot be read.
        """
        bus = cls(url, protocol=protocol)
        try:
            await reach(bus._links)
            await bus._load_functions()
            bus.incarnation = await bus._incarnation()
        except Transient as error:
            await bus.close()
            raise OutOfReach(f"{error}; start it or name another with --redis-url") from error
        except BaseException:
            await bus.close()
            raise
        return bus

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every connection."""
        await self._links.close()
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    @property
    def redis(self) -> Redis:
        """Return a plain client on the same server, without retries, for what is not a stream or a commit."""
        if self._client is None:
            pool = pool_of(self.url, protocol=2)
            self._client = Redis.from_pool(pool)
        return self._client

    # --- stages

    async def claim(self, service: str, identity: str, inputs: Sequence[str], *, snapshots: bool = True) -> Record:
        keys = [f"state:{identity}", READERS, f"readers:journal.{service}", *(f"readers:{name}" for name in inputs)]
        while True:
            found = int(await self._links.call("HGET", keys[0], "epoch") or 0)
            if await self._fcall(functions.CLAIM, keys, [identity, found, "1" if snapshots else "0", *inputs]):
                return await self.load(identity, inputs)

    async def load(self, identity: str, inputs: Sequence[str]) -> Record:
        replies = await self._links.call_many(
            [
                # One look: a commit that we gave up on may still arrive, and its snapshot belongs to its positions.
                ("MULTI",),
                ("HGETALL", f"state:{identity}"),
                ("GET", f"snapshot:{identity}"),
                ("SET", INCARNATION, secrets.token_hex(8), "NX"),
                ("GET", INCARNATION),
                ("EXEC",),
            ]
        )
        state_reply, snapshot, _, incarnation = replies[-1]
        state = _hash(state_reply)
        self.incarnation = incarnation.decode()
        return record_from_state(identity, inputs, state, snapshot, self.incarnation)

    async def read(self, positions: Mapping[str, str], *, count: int, block_ms: int) -> dict[str, list[Entry]]:
        command: list[Argument] = ["XREAD", "COUNT", count]
        block_ms = min(block_ms, MAX_BLOCK_MS)
        if block_ms > 0:
            command += ["BLOCK", block_ms]
        reply = await self._links.call(*command, "STREAMS", *positions, *positions.values(), wait_s=block_ms / 1000)
        return {name.decode(): _entries(raw) for name, raw in _streams(reply)}

    async def commit(self, request: CommitRequest) -> CommitResult:
        return (await self._commit(functions.COMMIT, [request]))[0]

    async def commit_in_turn(self, requests: Sequence[CommitRequest]) -> list[CommitResult]:
        return await self._commit(functions.COMMIT, requests)

    async def intend(self, request: CommitRequest, *, account: str, lease: str, reducing: bool) -> CommitResult:
        permit = Permit(account, lease)
        return (await self._commit(functions.INTENT, [msgspec.structs.replace(request, permit=permit)], reducing))[0]

    async def _commit(
        self, function: str, requests: Sequence[CommitRequest], reducing: bool = False
    ) -> list[CommitResult]:
        replies = await self._fcalls([_commit_command(function, request, reducing) for request in requests])
        return [_result(reply) for reply in replies]

    # --- streams

    async def span(self, stream: str, first: str, last: str, *, count: int | None = None) -> list[Entry]:
        limit = () if count is None else ("COUNT", count)
        return _entries(await self._links.call("XRANGE", stream, first, last, *limit))

    async def newest(self, stream: str, count: int) -> list[Entry]:
        """Return the newest entries of a stream, newest first."""
        return _entries(await self._links.call("XREVRANGE", stream, "+", "-", "COUNT", count))

    async def append(self, stream: str, message: Message) -> str:
        reply = await self._links.call("XADD", stream, "*", "type", tag_of(message), "data", encode(message))
        return str(reply.decode())

    async def last_id(self, stream: str) -> str:
        return (await self.depth(stream)).last

    async def depth(self, stream: str) -> Depth:
        try:
            return _depth(await self._links.call("XINFO", "STREAM", stream))
        except Broken as error:
            if "no such key" in str(error):
                return Depth(0, 0, FIRST)
            raise

    async def has_type(self, stream: str, tag: str, *, newest: int = 100) -> bool:
        """Return whether one of the newest entries of a stream has the tag."""
        return any(entry.type == tag for entry in await self.newest(stream, newest))

    async def trim(self, stream: str, *, retain: int) -> int:
        keys = [stream, f"readers:{stream}", ARCHIVE_MARK]
        return int(await self._fcall(functions.TRIM, keys, [retain, TRIM_CHUNK]))

    async def archived(self, marks: Mapping[str, str]) -> None:
        """Save how far the archive has each stream on disk: nothing behind these marks is needed from Redis."""
        await self._links.call("HSET", ARCHIVE_MARK, *(part for pair in marks.items() for part in pair))

    async def archive_marks(self) -> dict[str, str]:
        """Return how far the archive has each stream."""
        return _hash(await self._links.call("HGETALL", ARCHIVE_MARK))

    async def lags(self) -> dict[tuple[str, str], int]:
        identities = sorted(raw.decode() for raw in await self._links.call("SMEMBERS", READERS))
        if not identities:
            return {}
        replies = await self._links.call_many([("HGETALL", f"state:{name}") for name in identities])
        states = [_hash(reply) for reply in replies]
        reads = {
            (identity, field.removeprefix("read:")): int(value)
            for identity, state in zip(identities, states, strict=True)
            for field, value in state.items()
            if field.startswith("read:") and not field.startswith("read:source:")
        }
        added = {stream: (await self.depth(stream)).added for stream in {stream for _, stream in reads}}
        lags: dict[tuple[str, str], int] = {}
        for (identity, stream), read in reads.items():
            key = (service_of(identity), stream)
            lags[key] = max(lags.get(key, 0), added[stream] - read)
        return lags

    # --- trading state, leases, parameters

    async def latch(self, state: str, *, reason: str, by: str, person: bool, ts: int) -> Latch:
        args: list[Argument] = [state, reason, by, ts, "1" if person else "0"]
        reply = await self._fcall(functions.LATCH, [TRADING_STATE, "control", "mode"], args)
        now = Latch(*(part.decode() for part in reply))
        return now if now.state else NEVER_SET

    async def trading_state(self) -> Latch | None:
        state, reason, by = await self._links.call("HMGET", TRADING_STATE, "state", "reason", "by")
        return None if state is None else Latch(state.decode(), (reason or b"").decode(), (by or b"").decode())

    async def acquire(self, key: str, token: str, ttl_ms: int) -> bool:
        return await self._lease(key, token, ttl_ms, held=False)

    async def extend(self, key: str, token: str, ttl_ms: int) -> bool:
        return await self._lease(key, token, ttl_ms, held=True)

    async def _lease(self, key: str, token: str, ttl_ms: int, *, held: bool) -> bool:
        return bool(await self._fcall(functions.LEASE, [key], [token, ttl_ms, "1" if held else "0"]) == token.encode())

    async def release(self, key: str, token: str) -> bool:
        return bool(await self._fcall(functions.RELEASE, [key], [token]))

    async def claim_fleet(self, token: str, ttl_ms: int = 10_000) -> None:
        """Make this Redis ours, or keep it so.

        Raises
        ------
        OutOfReach
            If another fleet owns it.
        """
        if not await self.acquire(FLEET_OWNER, token, ttl_ms):
            theirs = f"Redis at {self._links.place} belongs to another fleet ({await self.fleet_owner()})"
            raise OutOfReach(f"{theirs}; stop it or name another Redis with --redis-url")

    async def fleet_owner(self) -> str:
        """Return what the fleet that has this Redis calls itself, "?" where none has it."""
        return (await self._links.call("GET", FLEET_OWNER) or b"?").decode()

    async def release_fleet(self, token: str) -> None:
        """Give this Redis back."""
        await self.release(FLEET_OWNER, token)

    async def params_set(
        self,
        component: str,
        *,
        expected: int,
        version: int,
        sha256: str,
        body: str,
        author: str,
        ts: int,
        reason: str,
        config_hash: str,
        config_body: str,
        versions: str,
        history: Sequence[Message],
        identity: str = "params",
        epoch: int = 0,
    ) -> Answer:
        """Write one component and the whole configuration it makes, or nothing.

        CONFLICT where the stored version is not `expected`, FENCED where a newer epoch owns `identity`. `history` goes
        to `params.history`; readers are woken on the channel `param.changed` with the hash.
        """
        keys = [f"param:{component}", "config:current", f"config:{config_hash}", "params.history", f"state:{identity}"]
        args: list[Argument] = [expected, epoch, version, sha256, body, author, ts, reason]
        args += [config_hash, config_body, versions, "param.changed"]
        for message in history:
            args += [tag_of(message), encode(message)]
        return Answer((await self._fcall(functions.PARAMS_SET, keys, args))[0].decode())

    async def publish(self, channel: str, payload: str | bytes) -> int:
        """Send to a channel; return how many listened."""
        return int(await self._links.call("PUBLISH", channel, payload))

    @asynccontextmanager
    async def subscribe(self, *channels: str) -> AsyncIterator[AsyncIterator[tuple[str, bytes]]]:
        """Give what is published on `channels` from now on; `Transient` where the connection is lost."""
        pubsub = self.redis.pubsub(ignore_subscribe_messages=True)
        try:
            try:
                await pubsub.subscribe(*channels)
            except RedisError as error:
                raise Transient(f"Redis at {self._links.place} did not answer SUBSCRIBE: {error}") from error
            yield _published(pubsub, self._links.place)
        finally:
            await pubsub.aclose()  # type: ignore[no-untyped-call]

    # --- plumbing

    async def _fcall(self, function: str, keys: Sequence[str], args: Sequence[Argument]) -> Any:
        return (await self._fcalls([("FCALL", function, len(keys), *keys, *args)]))[0]

    async def _fcalls(self, commands: Sequence[Sequence[Argument]]) -> list[Any]:
        try:
            return await self._links.call_many(commands)
        except FunctionMissing:
            # Nothing was executed, so this one repetition is safe.
            await self._load_functions()
            return await self._links.call_many(commands)

    async def _load_functions(self) -> None:
        try:
            await self._links.call("FUNCTION", "LOAD", functions.SOURCE)
        except Broken as error:
            if "already exists" not in str(error):
                raise

    async def _incarnation(self) -> str:
        await self._links.call("SET", INCARNATION, secrets.token_hex(8), "NX")
        return str((await self._links.call("GET", INCARNATION)).decode())


async def _published(pubsub: Any, place: str) -> AsyncIterator[tuple[str, bytes]]:
    while True:
        try:
            message = await pubsub.get_message(timeout=1.0)
        except (RedisError, OSError) as error:
            raise Transient(f"Redis at {place} closed the subscription: {error}") from error
        if message is not None:
            yield message["channel"].decode(), message["data"]


def _streams(reply: Any) -> Iterable[tuple[bytes, Any]]:
    """Return (name, entries) pairs: a dict with protocol 3, a list with 2, None for nothing."""
    if not reply:
        return ()
    pairs: Iterable[tuple[bytes, Any]] = reply.items() if isinstance(reply, dict) else reply
    return pairs


def _entries(raw: Any) -> list[Entry]:
    entries = []
    for entry_id, fields in raw:
        if fields and len(fields) == 4 and fields[0] == b"type" and fields[2] == b"data":
            tag, data = fields[1], fields[3]
        else:  # not written by us: decoding will say so
            found = dict(zip(fields[::2], fields[1::2], strict=False)) if fields else {}
            tag, data = found.get(b"type", b""), found.get(b"data", b"")
        entries.append(Entry(entry_id.decode(), _TYPES.get(tag) or _type_of(tag), data))
    return entries


def _type_of(tag: bytes) -> str:
    """Return a tag as text, and keep it."""
    name = tag.decode(errors="replace")
    if len(_TYPES) < 1_000:
        _TYPES[tag] = name
    return name


def _hash(reply: Any) -> dict[str, str]:
    pairs = reply.items() if isinstance(reply, dict) else zip(reply[::2], reply[1::2], strict=True)
    return {key.decode(): value.decode() for key, value in pairs}


def _depth(reply: Any) -> Depth:
    info = reply if isinstance(reply, dict) else dict(zip(reply[::2], reply[1::2], strict=True))
    return Depth(int(info[b"entries-added"]), int(info[b"length"]), info[b"last-generated-id"].decode())


def _commit_command(function: str, request: CommitRequest, reducing: bool) -> tuple[Argument, ...]:
    """Return the FCALL of a commit; functions.lua tells what stands where."""
    check_request(request)
    service = service_of(request.identity)
    streams, outputs = _numbered(request.outputs)
    state, permit = f"state:{request.identity}", request.permit
    gates = (state, state, state) if permit is None else ("mode", TRADING_STATE, f"lease:account:{permit.account}")
    body = _COMMIT.encode(
        (
            service,
            request.identity,
            request.epoch,
            request.input,
            request.expected,
            request.first,
            request.last,
            request.count,
            request.skipped,
            _journal_head(request),
            request.targets_cap,
            request.shows_lag,
            request.wants_ids,
            [part for pair in request.fields.items() for part in pair],
            outputs,
            None if permit is None else permit.lease,
            reducing,
            request.after,
            request.turn,
            request.behind,
        )
    )
    return (
        "FCALL",
        function,
        8 + len(streams),
        state,
        f"snapshot:{request.identity}",
        f"journal.{service}",
        state if request.input.startswith("source:") else request.input,
        "state:executor",
        *gates,
        *streams,
        body,
        *(() if request.snapshot is None else (request.snapshot,)),
    )


def _result(reply: Any) -> CommitResult:
    cleared = int(reply[2]) if len(reply) > 2 else -1
    return CommitResult(
        Answer(reply[0].decode()),
        int(reply[1]),
        tuple(map(bytes.decode, reply[3:])),
        None if cleared < 0 else Clearance(cleared),
    )


class _JournalHead(msgspec.Struct, frozen=True, tag="journal.v1"):
    """What of a `Journal` the caller knows; the Function adds `n` and the outputs' ids."""

    identity: str
    input: str
    first: str
    last: str
    count: int
    config: str
    epoch: int
    crc: int


def _journal_head(request: CommitRequest) -> str:
    """Return the head as JSON that is still open."""
    crc = outputs_crc(request.outputs)
    head = _JournalHead(
        request.identity,
        request.input,
        request.first,
        request.last,
        request.count,
        request.config,
        request.epoch,
        crc,
    )
    return msgspec.json.encode(head)[:-1].decode()


def _numbered(outputs: Sequence[EncodedOutput]) -> tuple[list[str], list[str | int]]:
    """Return the distinct streams, and each output as (number of its stream from 1, type, data), flat."""
    numbers: dict[str, int] = {}
    flat: list[str | int] = []
    for output in outputs:
        # As text: the server's msgpack is of before there were bytes.
        flat += (numbers.setdefault(output.stream, len(numbers) + 1), output.type, output.data.decode())
    return list(numbers), flat
