"""The features that are in force now, in Redis. Knows the hash and its fields; decides nothing.

``features:online:<instrument>`` holds a field for each feature, ``VALUE TS`` or ``- TS`` where it has no value, and
``set:<name>`` with ``VERSION DIGEST TS_EVENT AVAILABLE_AT``. A row is one HSET: who reads in one call sees one row.
"""

from __future__ import annotations

from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from edgefleet.errors import Poison, Transient
from edgefleet.store.features.sets import FeatureRow, FeatureSet, checked

PREFIX = "features:online:"
_ABSENT = b"-"


class OnlineFeatures:
    """Rows of feature sets in one Redis, the newest of each instrument.

    The client is the caller's and answers bytes; it must not repeat commands by itself (`RedisBus.redis` is one).
    """

    def __init__(self, redis: Redis) -> None:
        # redis-py types a reply as every shape it might have; with `decode_responses=False` and RESP2 it has one.
        self._redis: Any = redis

    async def write(self, features: FeatureSet, row: FeatureRow) -> None:
        """Put a row in force, all of it in one call.

        Raises
        ------
        ValueError
            If the row is none of the set's; see `checked`.
        Transient
            If Redis does not answer: the row may be there or not.
        """
        whole = checked(features, row)
        stamp = str(row.ts_event)
        fields = {
            name: f"{'-' if value is None else repr(float(value))} {stamp}" for name, value in whole.values.items()
        }
        fields[f"set:{features.name}"] = f"{features.version} {features.digest} {stamp} {row.available_at}"
        try:
            await self._redis.hset(PREFIX + row.instrument, mapping=fields)
        except RedisError as error:
            raise _unanswered(error) from error

    async def read(self, features: FeatureSet, instrument: str) -> FeatureRow | None:
        """Return the row in force, None where none of this set, version and digest is.

        Raises
        ------
        Poison
            If a field is missing or unreadable, or another set wrote over one of this set's features.
        Transient
            If Redis does not answer.
        """
        names = list(features.features)
        try:
            found = await self._redis.hmget(PREFIX + instrument, [f"set:{features.name}", *names])
        except RedisError as error:
            raise _unanswered(error) from error
        if found[0] is None:
            return None
        try:
            version, digest, ts_event, available_at = bytes(found[0]).split()
            if (int(version), digest.decode()) != (features.version, features.digest):
                return None
            values = {name: _value(text, int(ts_event)) for name, text in zip(names, found[1:], strict=True)}
            return FeatureRow(instrument, int(ts_event), int(available_at), values)
        except (ValueError, TypeError) as error:
            raise Poison(f"{PREFIX}{instrument} holds no row of {features.label}: {error}") from error

    async def values(self, instrument: str) -> dict[str, tuple[float | None, int]]:
        """Return every feature of an instrument, of all sets, with the market time that it describes.

        Raises
        ------
        Poison
            If a field is unreadable.
        Transient
            If Redis does not answer.
        """
        try:
            found = await self._redis.hgetall(PREFIX + instrument)
        except RedisError as error:
            raise _unanswered(error) from error
        known = {bytes(name).decode(): bytes(text) for name, text in found.items()}
        try:
            return {name: _parsed(text) for name, text in known.items() if not name.startswith("set:")}
        except ValueError as error:
            raise Poison(f"{PREFIX}{instrument} cannot be read: {error}") from error


def _value(text: bytes | None, ts_event: int) -> float | None:
    if text is None:
        raise ValueError("a feature is missing")
    value, stamp = _parsed(bytes(text))
    if stamp != ts_event:
        raise ValueError(f"a feature is of {stamp}, its set of {ts_event}")
    return value


def _parsed(text: bytes) -> tuple[float | None, int]:
    value, stamp = text.split()
    return (None if value == _ABSENT else float(value)), int(stamp)


def _unanswered(error: RedisError) -> Transient:
    return Transient(f"Redis does not answer: {error}")
