"""The stored configuration: written by compare-and-set, read whole, with its history. Decides nothing.

Keys: hash `param:<component>` (version, sha256, body, author, ts, reason, effective, pending, file_sha256), hash
`config:current` (n, hash, versions, waiting, body), string `config:<hash>`, hash `features:flags`, stream
`params.history`, set `param:readers`, string `param:applied:<service>:<instance>`; channels `param.changed`,
`param.applied`. `config:current.n` numbers the writes and is what a write compares.
"""

from __future__ import annotations

from typing import Any

import msgspec
from redis.asyncio import Redis
from redis.exceptions import WatchError

from edgefleet.errors import Broken, Misuse, Transient
from edgefleet.ids import body_hash
from edgefleet.messages import Alert, Message, ParamRejected, ParamVersion, decode, encode, tag_of
from edgefleet.params.requests import ANSWERED, ReloadAnswer
from edgefleet.params.versions import (
    FLAGS,
    NAMES,
    Applied,
    ComponentState,
    Current,
    FleetState,
    Written,
    canonical,
    config_body,
    current,
)

CURRENT = "config:current"
HISTORY = "params.history"
ALERTS = "alerts"
READERS = "param:readers"
CHANGED = "param.changed"
APPLIED = "param.applied"
FEATURES = "features:flags"
FEATURE = "feature:"
MODE = "mode"


class ParamStore:
    """What Redis keeps of the configuration. The client must not decode responses."""

    def __init__(self, client: Redis, *, hint: str = CHANGED) -> None:
        # redis-py types a reply as every shape it might have; with `decode_responses=False` and RESP2 it has one.
        self._client: Any = client
        self._hint = hint

    async def read(self) -> FleetState:
        """Return what is stored; a state without components where nothing is.

        Raises
        ------
        Broken
            If a stored body does not fit its hash.
        """
        async with self._client.pipeline(transaction=True) as pipe:
            pipe.hget(CURRENT, "n")
            for name in NAMES:
                pipe.hgetall(f"param:{name}")
            n, *hashes = await pipe.execute()
        found = {name: _component(name, fields) for name, fields in zip(NAMES, hashes, strict=True) if fields}
        return FleetState(n=_number(n), components=found)

    async def write(self, written: Written, *, ts: int) -> Current:
        """Return what readers read now: write a state whose `n` follows the stored one, its history and the hint.

        Raises
        ------
        Transient
            If another write came first: read again and decide again.
        """
        state, history = written
        now = current(state)
        async with self._client.pipeline(transaction=True) as pipe:
            await pipe.watch(CURRENT)
            if _number(await pipe.hget(CURRENT, "n")) != state.n - 1:
                raise Transient("another change of the parameters came first")
            pipe.multi()
            for name, component in state.components.items():
                pipe.hset(f"param:{name}", mapping=_fields(component))
            _put_flags(pipe, state)
            pipe.set(f"config:{now.hash}", now.body)
            pipe.hset(CURRENT, mapping=_current_fields(now))
            for version in history:
                pipe.xadd(HISTORY, _entry(version))
            if history:
                pipe.xadd(HISTORY, _entry(config_body(now, ts)))
            pipe.publish(self._hint, now.hash)
            try:
                await pipe.execute()
            except WatchError as error:
                raise Transient("another change of the parameters came first") from error
        return now

    async def reject(self, rejected: ParamRejected, alert: Alert) -> None:
        """Add a refusal to the history and its alert; nothing else changes."""
        async with self._client.pipeline(transaction=True) as pipe:
            pipe.xadd(HISTORY, _entry(rejected))
            pipe.xadd(ALERTS, _entry(alert))
            await pipe.execute()

    async def history(self, component: str | None = None) -> list[ParamVersion | ParamRejected]:
        """Return every version and refusal that the history holds, oldest first, of `component` or of all."""
        entries = await self._client.xrange(HISTORY)
        messages = [decode(fields[b"type"].decode(), fields[b"data"]) for _, fields in entries]
        return [
            message
            for message in messages
            if isinstance(message, ParamVersion | ParamRejected) and component in (None, message.component)
        ]

    async def version(self, component: str, number: int) -> ParamVersion:
        """Return one version of a component.

        Raises
        ------
        Misuse
            If the history holds no such version.
        """
        known = [m for m in await self.history(component) if isinstance(m, ParamVersion)]
        for message in reversed(known):
            if message.version == number:
                return message
        has = f"it has {known[0].version} to {known[-1].version}" if known else "it has none"
        raise Misuse(f"{component} has no version {number} in its history; {has}")

    async def applied(self) -> list[Applied]:
        """Return what every instance with a live lease has applied; an instance whose lease ended is forgotten."""
        members = sorted(member.decode() for member in await self._client.smembers(READERS))
        if not members:
            return []
        values = await self._client.mget([f"param:applied:{member}" for member in members])
        gone = [member for member, value in zip(members, values, strict=True) if value is None]
        if gone:
            await self._client.srem(READERS, *gone)
        return [msgspec.json.decode(value, type=Applied) for value in values if value is not None]

    async def confirm(self, applied: Applied, *, lease_ms: int, is_news: bool = True) -> None:
        """Say for `lease_ms` what an instance has applied; params is woken where that is news."""
        member = f"{applied.service}:{applied.instance}"
        async with self._client.pipeline(transaction=True) as pipe:
            pipe.set(f"param:applied:{member}", msgspec.json.encode(applied), px=lease_ms)
            pipe.sadd(READERS, member)
            if is_news:
                pipe.publish(APPLIED, member)
            await pipe.execute()

    async def retire(self, service: str, instance: str) -> None:
        """Take back what an instance said, at its clean stop."""
        await self._client.delete(f"param:applied:{service}:{instance}")

    async def current(self) -> Current | None:
        """Return what readers read, None where nothing was written yet.

        Raises
        ------
        Broken
            If it is not what `write` writes.
        """
        fields = await self._client.hgetall(CURRENT)
        return _current(fields) if fields else None

    async def is_empty(self) -> bool:
        """Return whether no configuration is there: a new Redis, or one that was flushed."""
        return not await self._client.exists(CURRENT)

    async def waits(self) -> bool:
        """Return whether a loosening waits for confirmations."""
        return await self._client.hget(CURRENT, "waiting") not in (None, b"{}")

    async def features(self) -> dict[str, str]:
        """Return the text of every key `feature:<flag>`, by flag."""
        keys = sorted([key async for key in self._client.scan_iter(match=f"{FEATURE}*", count=1_000)])
        values = await self._client.mget(keys) if keys else []
        return {
            key.decode(errors="replace").removeprefix(FEATURE): value.decode(errors="replace")
            for key, value in zip(keys, values, strict=True)
            if value is not None
        }

    async def mode(self) -> str | None:
        """Return what `SET mode` says, None where it says nothing."""
        value = await self._client.get(MODE)
        return None if value is None else value.decode(errors="replace")

    async def answer(self, answer: ReloadAnswer) -> None:
        """Tell whoever asked for a reload what it came to."""
        await self._client.publish(ANSWERED, msgspec.json.encode(answer))

    async def body(self, config_hash: str) -> str | None:
        """Return the configuration behind a hash as JSON, None where it is not kept."""
        value = await self._client.get(f"config:{config_hash}")
        return None if value is None else value.decode()


def checked_body(text: str, sha256: str) -> Any:
    """Return the JSON in `text`.

    Raises
    ------
    Broken
        If it is not JSON, or not what was hashed.
    """
    try:
        body = msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise Broken(f"a stored configuration is not JSON: {error}") from error
    if body_hash(body) != sha256:
        raise Broken(f"a stored configuration hashes to {body_hash(body)[:12]}, not to {sha256[:12]}")
    return body


def _number(n: bytes | None) -> int:
    if n is not None and not n.isdigit():
        raise Broken(f"{CURRENT} has the write number {n!r}; delete {CURRENT} to have the files read anew")
    return int(n or 0)


def _component(name: str, fields: dict[bytes, bytes]) -> ComponentState:
    text = {key.decode(): value.decode() for key, value in fields.items()}
    try:
        return ComponentState(
            version=int(text["version"]),
            sha256=text["sha256"],
            body=checked_body(text["body"], text["sha256"]),
            author=text["author"],
            reason=text["reason"],
            ts=int(text["ts"]),
            effective=text["effective"] == "1",
            pending=msgspec.json.decode(text["pending"]) if text["pending"] else None,
            file_sha256=text["file_sha256"],
        )
    except (KeyError, ValueError) as error:
        raise Broken(f"param:{name} is not what params wrote: {error!r}") from error


def _fields(component: ComponentState) -> dict[str, Any]:
    return {
        "version": component.version,
        "sha256": component.sha256,
        "body": canonical(component.body),
        "author": component.author,
        "reason": component.reason,
        "ts": component.ts,
        "effective": int(component.effective),
        "pending": "" if component.pending is None else canonical(component.pending),
        "file_sha256": component.file_sha256,
    }


def _current(fields: dict[bytes, bytes]) -> Current:
    try:
        text = {key.decode(): value.decode() for key, value in fields.items()}
        return Current(
            n=int(text["n"]),
            hash=text["hash"],
            versions=msgspec.json.decode(text["versions"], type=dict[str, int]),
            waiting=msgspec.json.decode(text["waiting"], type=dict[str, int]),
            body=text["body"],
        )
    except (KeyError, ValueError) as error:
        raise Broken(f"{CURRENT} is not what params wrote: {error!r}") from error


def _current_fields(now: Current) -> dict[str, Any]:
    return {
        "n": now.n,
        "hash": now.hash,
        "versions": canonical(now.versions),
        "waiting": canonical(now.waiting),
        "body": now.body,
    }


def _put_flags(pipe: Any, state: FleetState) -> None:
    flags = state.components.get(FLAGS)
    pipe.delete(FEATURES)
    if flags is not None and flags.body:
        pipe.hset(FEATURES, mapping={name: int(on) for name, on in flags.body.items()})


def _entry(message: Message) -> dict[Any, Any]:
    return {"type": tag_of(message), "data": encode(message)}
