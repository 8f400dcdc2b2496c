"""The newest finished bars and the best over venues, in Redis. Knows the hashes and their fields; decides nothing.

``bars:online:<instrument>`` has a field for each kind of bar, the bar as JSON as a stream would carry it.
``best:online:<symbol>`` has `bid` `bid_size` `bid_venues` `ask` `ask_size` `ask_venues` (``-`` where no venue has the
side), `venues` as JSON (each one's `age_ms`, and why it is `out`, or null) and `ts`. Each is one HSET: who reads in one
call sees what was true at one moment.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError

from edgefleet.book.consolidated import Best
from edgefleet.book.tops import ConsolidatedBest, VenueAge
from edgefleet.errors import Poison, Transient
from edgefleet.messages import encode
from edgefleet.messages.market import Bar
from edgefleet.units import decimal_text

BARS, BEST = "bars:online:", "best:online:"
_ABSENT = "-"


class OnlineBars:
    """Bars in one Redis, the newest finished one of each kind. The client as `OnlineFeatures` has it."""

    def __init__(self, redis: Redis) -> None:
        self._redis: Any = redis  # redis-py types a reply as every shape it might have

    async def write(self, instrument: str, bars: Mapping[str, Bar]) -> None:
        """Put an instrument's bars, by kind, in force.

        Raises
        ------
        Transient
            If Redis does not answer: they may be there or not.
        """
        await _hset(self._redis, BARS + instrument, {kind: encode(bar) for kind, bar in bars.items()})

    async def read(self, instrument: str) -> dict[str, Bar]:
        """Return an instrument's newest bars by kind.

        Raises
        ------
        Poison
            If one cannot be read.
        Transient
            If Redis does not answer.
        """
        found = await _hgetall(self._redis, BARS + instrument)
        try:
            return {kind: msgspec.json.decode(body, type=Bar) for kind, body in found.items()}
        except msgspec.MsgspecError as error:
            raise Poison(f"{BARS}{instrument} cannot be read: {error}") from error


class OnlineBest:
    """The best over venues in one Redis. The client as `OnlineFeatures` has it."""

    def __init__(self, redis: Redis) -> None:
        self._redis: Any = redis  # as above

    async def write(self, best: ConsolidatedBest) -> None:
        """Put a symbol's best in force, all of it in one call.

        Raises
        ------
        Transient
            If Redis does not answer: it may be there or not.
        """
        fields = {**_side("bid", best.bid), **_side("ask", best.ask)}
        fields |= {"venues": msgspec.json.encode(best.venues).decode(), "ts": str(best.ts)}
        await _hset(self._redis, BEST + best.symbol, fields)

    async def read(self, symbol: str) -> ConsolidatedBest | None:
        """Return a symbol's best, None where there is none.

        Raises
        ------
        Poison
            If it cannot be read.
        Transient
            If Redis does not answer.
        """
        found = await _hgetall(self._redis, BEST + symbol)
        if not found:
            return None
        try:
            venues = msgspec.json.decode(found["venues"], type=dict[str, VenueAge])
            return ConsolidatedBest(symbol, _best(found, "bid"), _best(found, "ask"), venues, int(found["ts"]))
        except (KeyError, ValueError, InvalidOperation) as error:
            raise Poison(f"{BEST}{symbol} cannot be read: {error}") from error


def _side(name: str, best: Best | None) -> dict[str, str]:
    if best is None:
        return {name: _ABSENT, f"{name}_size": _ABSENT, f"{name}_venues": _ABSENT}
    return {
        name: decimal_text(best.price),
        f"{name}_size": decimal_text(best.size),
        f"{name}_venues": ",".join(best.venues),
    }


def _best(found: dict[str, bytes], name: str) -> Best | None:
    price, size, venues = (found[field].decode() for field in (name, f"{name}_size", f"{name}_venues"))
    return None if price == _ABSENT else Best(Decimal(price), Decimal(size), tuple(venues.split(",")))


async def _hset(redis: Any, key: str, fields: Mapping[str, str | bytes]) -> None:
    try:
        await redis.hset(key, mapping=fields)
    except RedisError as error:
        raise Transient(f"Redis does not answer: {error}") from error


async def _hgetall(redis: Any, key: str) -> dict[str, bytes]:
    try:
        found = await redis.hgetall(key)
    except RedisError as error:
        raise Transient(f"Redis does not answer: {error}") from error
    return {bytes(name).decode(): bytes(value) for name, value in found.items()}
