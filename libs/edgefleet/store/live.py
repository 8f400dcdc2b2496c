"""Streams read plainly and in step from Redis, for what archives and looks up. Knows no stage and commits nothing.

Synchronous on purpose: the archiver lives in a thread of its own and the commands that look things up have no loop.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from edgefleet.bus.interface import FIRST, Entry
from edgefleet.bus.redis_bus import ARCHIVE_MARK
from edgefleet.errors import OutOfReach
from edgefleet.store.columns import Columns


class Tail(Protocol):
    """What is still in the streams."""

    def span(self, stream: str, first: str, last: str, count: int) -> list[Entry]:
        """Return at most `count` entries from `first` ("(" before an id excludes it) to `last`."""
        ...

    def last_id(self, stream: str) -> str:
        """Return the id of the newest entry ever added, FIRST where there is none."""
        ...

    def streams(self) -> set[str]:
        """Return the names of all streams."""
        ...

    def close(self) -> None:
        """Give the connection back."""
        ...


_READ_BYTES = 256 * 1024  # what a page is, so that it comes in two or three pieces


class LiveStreams:
    """The streams of one Redis.

    Raises
    ------
    OutOfReach
        From every method, when Redis does not answer.
    """

    def __init__(self, url: str) -> None:
        # A read that failed is asked again by the caller, who knows whether it still wants it.
        self._redis = redis.Redis.from_url(
            url, retry=Retry(NoBackoff(), 0), socket_timeout=5, protocol=2, socket_read_size=_READ_BYTES
        )
        # A connection of the client's, whose methods have no types: an archive wants the reply as the server shaped it,
        # and what the client does around a command costs as much as 60 entries.
        self._reading: Any = None
        self._is_asked = False

    def close(self) -> None:
        """Give the connections back."""
        self._hang_up()
        self._redis.close()

    def span(self, stream: str, first: str, last: str, count: int) -> list[Entry]:
        """Return at most `count` entries from `first` ("(" before an id excludes it) to `last`."""
        return [_entry(*pair) for pair in self._ask("XRANGE", stream, first, last, "COUNT", count)]

    def read(self, positions: Mapping[str, str], count: int) -> dict[str, Columns]:
        """Return at most `count` entries after each position, without waiting; only streams that have some."""
        self.ask(positions, count)
        return self.answer()

    def ask(self, positions: Mapping[str, str], count: int) -> None:
        """Send for what `read` returns, which `answer` then brings: Redis gathers it while the asker works."""
        if self._is_asked:
            self._hang_up()  # nobody came for the last answer, and the next must not be that one
        try:
            if self._reading is None:
                self._reading = self._redis.connection_pool.get_connection()
            self._reading.send_command("XREAD", "COUNT", count, "STREAMS", *positions, *positions.values())
        except redis.RedisError as error:
            self._hang_up()
            raise _unreachable(error) from error
        self._is_asked = True

    def answer(self) -> dict[str, Columns]:
        """Return what was last asked for."""
        try:
            answer = self._reading.read_response()
        except redis.RedisError as error:
            self._hang_up()
            raise _unreachable(error) from error
        self._is_asked = False
        return {name.decode(): _columns(pairs) for name, pairs in answer or ()}

    def last_id(self, stream: str) -> str:
        """Return the id of the newest entry ever added, FIRST where there is none."""
        try:
            info = self._redis.xinfo_stream(stream)
        except redis.ResponseError:
            return FIRST
        except redis.RedisError as error:
            raise _unreachable(error) from error
        return str(info["last-generated-id"].decode())

    def streams(self) -> set[str]:
        """Return the names of all streams."""
        try:
            return {name.decode() for name in self._redis.scan_iter(count=1_000, _type="stream")}
        except redis.RedisError as error:
            raise _unreachable(error) from error

    def save_mark(self, stream: str, entry_id: str) -> None:
        """Say that everything up to `entry_id` is safe on disk."""
        self._ask("HSET", ARCHIVE_MARK, stream, entry_id)

    def snapshots(self) -> dict[str, tuple[dict[str, str], bytes]]:
        """Return, per stage identity, its state hash and its snapshot, taken at one moment each."""
        try:
            found = {}
            for key in self._redis.scan_iter(match="snapshot:*", count=1_000):
                identity = key.decode().partition(":")[2]
                with self._redis.pipeline(transaction=True) as both:
                    both.hgetall(f"state:{identity}")
                    both.get(key)
                    state, snapshot = both.execute()
                if snapshot is not None:
                    found[identity] = ({k.decode(): v.decode() for k, v in state.items()}, bytes(snapshot))
            return found
        except redis.RedisError as error:
            raise _unreachable(error) from error

    def _ask(self, *command: Any) -> Any:
        try:
            return self._redis.execute_command(*command)  # type: ignore[no-untyped-call]  # redis-py leaves it without types
        except redis.RedisError as error:
            raise _unreachable(error) from error

    def _hang_up(self) -> None:
        self._is_asked = False
        if self._reading is not None:
            self._reading.disconnect()
            self._redis.connection_pool.release(self._reading)
            self._reading = None


def _unreachable(error: redis.RedisError) -> OutOfReach:
    return OutOfReach(f"Redis does not answer: {error}; see that it runs and that REDIS_URL names it")


def _columns(pairs: list[Any]) -> Columns:
    ids, types, data = [], [], []
    try:
        for entry_id, (first, kind, second, value) in pairs:
            if first != b"type" or second != b"data":
                raise ValueError(f"fields {first!r} and {second!r}")
            ids.append(entry_id)
            types.append(kind)
            data.append(value)
    except (TypeError, ValueError):  # something there was not written by us: decoding will say so
        return Columns.of([_entry(*pair) for pair in pairs])
    return Columns(ids, types, data)


def _entry(entry_id: bytes, fields: Any) -> Entry:
    pairs = dict(zip(fields[::2], fields[1::2], strict=True)) if isinstance(fields, list) else (fields or {})
    return Entry(entry_id.decode(), pairs.get(b"type", b"").decode(errors="replace"), pairs.get(b"data", b""))
