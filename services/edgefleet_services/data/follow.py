"""`edgefleet data follow`: the service `features` as a command, for who leaves that out or wants another place.

It holds nothing up and decides nothing. Where the fleet's own service runs, what is in Redis is that one's to say.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from edgefleet.bus.redis_bus import RedisBus
from edgefleet.clock import NS_PER_S, SYSTEM
from edgefleet.errors import OutOfReach, Transient
from edgefleet.params.files import load_fleet
from edgefleet.params.schema import FleetConfig
from edgefleet.params.store import ParamStore
from edgefleet_services.features.follower import Follower, Places
from edgefleet_services.features.online import Online

_LINGER_S = 0.25
_TELL_S = 5.0
_SERVICE = "features"


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowOptions:
    """Whose market to keep, and where."""

    data_dir: Path  # the fleet's
    redis_url: str
    out: Path
    conf_dir: Path
    version: int | None = None  # of the feature set; None: the one with these definitions, else the next
    duration_s: float | None = None


class Followed(NamedTuple):
    """What was kept by one run."""

    messages: int
    rows: int  # of features
    bars: int


async def follow(options: FollowOptions, say: Callable[[str], None]) -> Followed:
    """Keep what the fleet's market says until the time is over or SIGINT or SIGTERM comes.

    Raises
    ------
    Misuse
        If the directory cannot be written, or the version of the set has other definitions.
    OutOfReach
        If Redis does not answer or the disk takes no more.
    """
    config = load_fleet(options.conf_dir)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    places = Places(options.data_dir, options.redis_url, options.out)
    bus = await RedisBus.connect(options.redis_url)
    try:
        with Follower(places, config, SYSTEM, version=options.version) as follower:
            online = None
            if await _is_served(bus):
                say("online     said by the fleet's own service; this command keeps files alone")
            else:
                online = Online(bus.redis, follower.features, follower.newest_bars)
            kept = await _until(stop, options.duration_s, follower, online, say)
    except Transient as error:
        raise OutOfReach(str(error)) from error
    finally:
        await bus.close()
    counted = f"{kept.messages} messages, {kept.rows} rows of {follower.features.label} and {kept.bars} bars"
    say(f"kept       {counted} in {options.out}")
    return kept


async def _is_served(bus: RedisBus) -> bool:
    """Return whether the fleet's own service says what is newest: it runs, and is not told to keep nothing."""
    store = ParamStore(bus.redis)
    if not any(applied.service == _SERVICE for applied in await store.applied()):
        return False
    current = await store.current()
    return current is None or FleetConfig.model_validate_json(current.body).fleet.keep_features


async def _until(
    stop: asyncio.Event,
    duration_s: float | None,
    follower: Follower,
    online: Online | None,
    say: Callable[[str], None],
) -> Followed:
    started = told = SYSTEM.monotonic_ns()
    kept = Followed(0, 0, 0)
    while not stop.is_set():
        news = await asyncio.to_thread(follower.turn)
        rows, bars = news.kept["feature_row"], news.kept["bar"]
        kept = Followed(kept.messages + news.tags.total(), kept.rows + rows, kept.bars + bars)
        if online is not None:
            online.add(news)
            await online.publish()
        now = SYSTEM.monotonic_ns()
        if now - told >= _TELL_S * NS_PER_S:
            told = now
            say(f"follow     {kept.messages} messages, {kept.rows} rows of features, {kept.bars} bars")
        if duration_s is not None and now - started >= duration_s * NS_PER_S:
            break
        if not news.more:
            await asyncio.sleep(_LINGER_S)
    return kept
