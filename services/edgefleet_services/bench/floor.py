"""The floor: the fleet's way from frame to order with nothing in it but redis-py, one fsync and one POST.

Five processes as the fleet has them - source, three that forward, and one that sends orders - each with the smallest
loop that reads, commits atomically (one Function: XADD of every output and HSET of the position) and reads on. The
source reads the same frames from the same kind of venue; every event passes three hops, and one event in a hundred goes
on to become an order: a hop, a line on disk with an fsync, a commit of the intent, a POST over loopback. Nothing is
decoded, checked, journaled or kept.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import os
import signal
import sys
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import uvloop
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from websockets.asyncio.client import connect

from edgefleet.clock import SYSTEM
from edgefleet.venues.http import HttpClient

ROLES = ("order", "risk", "router", "alpha", "source")  # in the order to start them
STREAMS = {
    "source": "f.market",
    "alpha": "f.signals",
    "router": "f.ensembles",
    "risk": "f.targets",
    "order": "f.orders",
}
READS = {"alpha": "f.market", "router": "f.signals", "risk": "f.ensembles", "order": "f.targets"}
SENT = "f.sent"
STATE = "f.state:{}"
BATCH = 256
MESSAGE = b"x" * 600  # about what a `Signals` or an `Ensemble` weighs
_STREAMS = "btcusdt@trade/btcusdt@bookTicker/btcusdt@depth@100ms"
_BIG_BID = b'"B":"9.'
LIBRARY = """#!lua name=edgefleet_floor
redis.register_function('floor_commit', function(keys, args)
  for i = 3, #args, 3 do
    redis.call('XADD', keys[2], '*', 'd', args[i], 't', args[i + 1], 'o', args[i + 2])
  end
  return redis.call('HSET', keys[1], 'pos', args[1], 'n', args[2])
end)
"""


class Commits:
    """One process's place in the chain."""

    def __init__(self, client: Redis, role: str) -> None:
        self._client = client
        self._state, self._out = STATE.format(role), STREAMS[role]
        self.count = 0

    async def commit(self, position: str | bytes, taken: int, outputs: list[bytes]) -> None:
        """Write outputs (message, stamp, order mark; flat) and the position, atomically."""
        self.count += taken
        await self._client.execute_command(  # type: ignore[no-untyped-call]
            "FCALL", "floor_commit", 2, self._state, self._out, position, self.count, *outputs
        )


async def source(client: Redis, venue: str) -> None:
    """Forward every frame, marked where the pressure has turned."""
    commits = Commits(client, "source")
    waiting: deque[tuple[bytes, int]] = deque()
    wake = asyncio.Event()

    async def read() -> None:
        async with connect(f"{venue.replace('http', 'ws', 1)}/stream?streams={_STREAMS}", compression=None) as socket:
            while True:
                waiting.append((await socket.recv(decode=False), SYSTEM.wall_ns()))
                wake.set()

    reading = asyncio.create_task(read())
    buys: bool | None = None
    while not reading.done():
        if not waiting:
            wake.clear()
            await wake.wait()
        outputs: list[bytes] = []
        taken = min(len(waiting), BATCH)
        for _ in range(taken):
            frame, stamp = waiting.popleft()
            mark = b""
            if b"bookTicker" in frame[:64]:
                now_buys = _BIG_BID in frame
                mark = b"1" if buys is not None and now_buys is not buys else b""
                buys = now_buys
            outputs += (frame, b"%d" % stamp, mark)
        await commits.commit(str(commits.count), taken, outputs)
    reading.result()


async def hop(client: Redis, role: str) -> None:
    """Forward every entry; behind risk only those that become orders."""
    commits = Commits(client, role)
    position: bytes | str = "0-0"
    while True:
        found: Any = await client.xread({READS[role]: position}, count=BATCH, block=1_000)
        if not found:
            continue
        entries = found[0][1]
        position = entries[-1][0]
        outputs: list[bytes] = []
        for _, fields in entries:
            if role != "risk" or fields[b"o"]:
                outputs += (MESSAGE, fields[b"t"], fields[b"o"])
        await commits.commit(position, len(entries), outputs)


async def order(client: Redis, venue: str, journal: Path) -> None:
    """Send an order for every entry, and tell when its frame came and when it left."""
    commits = Commits(client, "order")
    intents = Commits(client, "order")
    http = HttpClient(venue)
    thread = ThreadPoolExecutor(1)
    loop = asyncio.get_running_loop()
    file = os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    position: bytes | str = "0-0"

    def persist() -> None:
        os.write(file, MESSAGE + b"\n")
        os.fdatasync(file)

    while True:
        found: Any = await client.xread({READS["order"]: position}, count=BATCH, block=1_000)
        for position, fields in found[0][1] if found else ():
            await commits.commit(position, 1, [MESSAGE, fields[b"t"], b""])
            await loop.run_in_executor(thread, persist)
            await intents.commit(position, 1, [])
            sent_at = SYSTEM.wall_ns()
            await http.request("POST", "/bench/order", headers={}, timeout_s=5.0)
            await client.xadd(SENT, {"t": fields[b"t"], "sent": sent_at})


async def _run(role: str, redis_url: str, venue: str, journal: Path) -> None:
    client = Redis.from_url(redis_url, retry=Retry(NoBackoff(), 0), protocol=2)
    await client.execute_command("FUNCTION", "LOAD", "REPLACE", LIBRARY)  # type: ignore[no-untyped-call]
    match role:
        case "source":
            await source(client, venue)
        case "order":
            await order(client, venue, journal)
        case _:
            await hop(client, role)


def main() -> None:
    """Run one role until killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=ROLES)
    parser.add_argument("--redis-url", required=True)
    parser.add_argument("--venue", required=True)
    parser.add_argument("--journal", type=Path, required=True)
    given = parser.parse_args()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(given.role, given.redis_url, given.venue, given.journal))


if __name__ == "__main__":
    main()
