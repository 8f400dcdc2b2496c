"""How a session begins: who owns the Redis, what session it is, and the latch that lets it trade.

`up` opens a session before its services start. In containers nobody stands above the services, so params, which all
others wait for, opens the first one and holds the fleet's lease.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import re
import secrets
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from edgefleet.bus.redis_bus import RedisBus
from edgefleet.clock import SYSTEM, iso
from edgefleet.errors import OutOfReach, Transient
from edgefleet.instruments import split_id
from edgefleet.messages import Session
from edgefleet.messages.streams import STREAMS
from edgefleet_services.options import Mode, ServiceOptions

OWNER_TTL_MS = 10_000


def new_session_id(wall_ns: int, token: str) -> str:
    """Return a name for a session: its start, to the second, and what makes it differ from others of that second."""
    stamp = iso(wall_ns)[:19].replace("-", "").replace(":", "")
    return f"{stamp}-{token}"


def is_supervised() -> bool:
    """Return whether `edgefleet up` stands above this process."""
    return "EDGEFLEET_PARENT" in os.environ


@asynccontextmanager
async def owned(bus: RedisBus, who: str) -> AsyncIterator[None]:
    """Hold this Redis for one fleet.

    Raises
    ------
    OutOfReach
        If another fleet has it.
    """
    token = f"{who} pid {os.getpid()} on {platform.node()}"
    await _claim(bus, token)
    renewing = asyncio.create_task(_renew(bus, token))
    try:
        yield
    finally:
        renewing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await renewing
        with contextlib.suppress(Transient, OutOfReach):
            await bus.release_fleet(token)


async def _claim(bus: RedisBus, token: str) -> None:
    try:
        await bus.claim_fleet(token, ttl_ms=OWNER_TTL_MS)
    except OutOfReach:
        owner = await bus.fleet_owner()
        if not _is_dead(owner):
            raise
        await bus.release_fleet(owner)
        await bus.claim_fleet(token, ttl_ms=OWNER_TTL_MS)


def _is_dead(owner: str) -> bool:
    """Return whether an owner's process was on this machine and is gone: killed, it could not give its lease back."""
    told = re.fullmatch(r".* pid (\d+) on (.*)", owner)
    if told is None or told[2] != platform.node():
        return False
    try:
        os.kill(int(told[1]), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


async def _renew(bus: RedisBus, token: str) -> None:
    while True:
        await asyncio.sleep(OWNER_TTL_MS / 3_000)
        # A Redis that is away for a moment is not lost to us: the services say what they miss.
        with contextlib.suppress(Transient, OutOfReach):
            await bus.claim_fleet(token, ttl_ms=OWNER_TTL_MS)


async def open_session(
    bus: RedisBus, *, session: str, mode: Mode, account: str, instruments: Sequence[str], by: str, now: int
) -> None:
    """Write the session down; where the latch was never set, set it to ACTIVE. A latch that stands stays."""
    traded = [split_id(instrument) for instrument in instruments]
    message = Session(
        session=session,
        mode=mode,
        venue=",".join(dict.fromkeys(venue for _, venue in traded)),
        account=account,
        symbols=tuple(dict.fromkeys(symbol for symbol, _ in traded)),
        instruments=tuple(instruments),
        first_ids={card.name: await bus.last_id(card.name) for card in STREAMS if "<" not in card.name},
        machine={"python": platform.python_version(), "machine": platform.machine(), "platform": sys.platform},
        ts_event=now,
        ts_init=now,
    )
    await bus.append("control", message)
    if await bus.trading_state() is None:
        await bus.latch("ACTIVE", reason="session start", by=by, person=True, ts=now)


async def open_first_session(bus: RedisBus, options: ServiceOptions, *, account: str) -> None:
    """Open a session where this Redis never saw one. A container that comes back goes on in the one there is."""
    if await bus.has_type("control", "session.v1", newest=100_000):
        return
    now = SYSTEM.wall_ns()
    await open_session(
        bus,
        session=options.session or new_session_id(now, secrets.token_hex(2)),
        mode=options.mode,
        account=account,
        instruments=options.instruments,
        by="params",
        now=now,
    )
