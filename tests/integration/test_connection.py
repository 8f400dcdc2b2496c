"""The combined connection: stamps, waiting, losing the race, the end of a tape."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from edgefleet.clock import SYSTEM
from edgefleet.errors import Transient
from edgefleet.venues.connection import QUEUE_FRAMES, Frame, Frames, open_frames, stream_base

pytestmark = pytest.mark.integration

PATIENCE_S = 10.0
Handler = Callable[[ServerConnection], Awaitable[None]]


@asynccontextmanager
async def venue(handler: Handler, *, stamped: bool = True, waits: bool = True) -> AsyncIterator[Frames]:
    """Give the frames of a server that does what `handler` says."""
    async with serve(handler, "127.0.0.1", 0, compression=None) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        async with open_frames(f"ws://127.0.0.1:{port}/stream", SYSTEM, stamped=stamped, waits=waits) as frames:
            yield frames


async def all_of(frames: Frames) -> list[Frame]:
    """Return the frames until the connection ends."""
    found: list[Frame] = []
    async with asyncio.timeout(PATIENCE_S):
        while True:
            taken = frames.take(100)
            if taken:
                found += taken
            elif frames.closed is not None:
                return found
            else:
                await frames.wait(0.1)


def sending(*lines: str, code: int = 1000, reason: str = "") -> Handler:
    async def handler(socket: ServerConnection) -> None:
        for line in lines:
            await socket.send(line)
        await socket.close(code, reason)

    return handler


async def test_stamp_before_a_frame_is_ingestions_clock() -> None:
    async with venue(sending('1723161253937085768 {"a":1}', '{"b":2}')) as frames:
        stamped, plain = await all_of(frames)

    assert (stamped.stamp_ns, stamped.body) == (1723161253937085768, b'{"a":1}')
    assert plain.body == b'{"b":2}'
    assert plain.stamp_ns == plain.ts_init


async def test_end_of_a_tape_is_told_from_a_lost_connection() -> None:
    async with venue(sending(code=1000, reason="tape ended")) as ended:
        await all_of(ended)
    async with venue(sending(code=1011, reason="broke")) as lost:
        await all_of(lost)

    assert ended.ended
    assert not lost.ended
    assert "broke" in (lost.closed or "")


async def test_stamps_are_asked_for_only_where_they_are_wanted() -> None:
    seen: list[tuple[str | None, str]] = []

    async def handler(socket: ServerConnection) -> None:
        assert socket.request is not None
        seen.append((socket.request.headers.get("X-Edgefleet-Tape"), socket.request.path))

    for stamped in (True, False):
        async with venue(handler, stamped=stamped) as frames:
            await all_of(frames)

    assert seen == [("1", "/stream"), (None, "/stream")]


async def test_tape_waits_for_a_slow_taker_and_loses_nothing() -> None:
    count = 2 * QUEUE_FRAMES

    async with venue(sending(*map(str, range(count)), reason="tape ended")) as frames:
        async with asyncio.timeout(PATIENCE_S):
            while len(frames) < QUEUE_FRAMES:  # noqa: ASYNC110 - the reader fills it in its own time
                await asyncio.sleep(0.01)
        found = await all_of(frames)

    assert len(found) == count


async def test_frames_that_are_held_come_once_reading_goes_on() -> None:
    begin = asyncio.Event()

    async def handler(socket: ServerConnection) -> None:
        await begin.wait()
        await sending(*map(str, range(50)), reason="tape ended")(socket)

    async with venue(handler) as frames:
        frames.hold()
        begin.set()
        await frames.wait(0.05)
        held = len(frames)
        frames.read_on()
        found = await all_of(frames)

    assert (held, len(found), frames.ended) == (0, 50, True)


async def test_connection_that_is_left_while_it_is_held_closes_at_once() -> None:
    async def handler(socket: ServerConnection) -> None:
        await socket.wait_closed()

    begun = asyncio.get_running_loop().time()
    async with venue(handler) as frames:
        frames.hold()

    assert asyncio.get_running_loop().time() - begun < 1.0


async def test_message_in_fragments_is_one_frame_in_its_place() -> None:
    async def handler(socket: ServerConnection) -> None:
        await socket.send('1 {"a":1}')
        await socket.send(iter(['2 {"b"', ":", "2}"]))
        await socket.send('3 {"c":3}')

    async with venue(handler) as frames:
        found = await all_of(frames)

    assert [(frame.stamp_ns, frame.body) for frame in found] == [(1, b'{"a":1}'), (2, b'{"b":2}'), (3, b'{"c":3}')]


async def test_live_market_that_outruns_us_is_given_up_with_a_reason() -> None:
    async def flood(socket: ServerConnection) -> None:
        try:
            while True:
                await socket.send("{}")
                await asyncio.sleep(0)  # the client lives in the same loop
        except ConnectionClosed:
            return

    async with venue(flood, waits=False) as frames, asyncio.timeout(PATIENCE_S):
        while frames.closed is None:  # noqa: ASYNC110 - the reader ends it in its own time
            await asyncio.sleep(0.01)

    assert frames.closed == f"{QUEUE_FRAMES} frames behind a live market"


async def test_venue_that_does_not_answer_is_transient() -> None:
    with pytest.raises(Transient, match="does not answer"):
        async with open_frames("ws://127.0.0.1:9/stream", SYSTEM):
            pass


@pytest.mark.parametrize(
    ("url", "base"), [("http://h:1", "ws://h:1"), ("https://h", "wss://h"), ("wss://h:9443", "wss://h:9443")]
)
def test_stream_stands_beside_the_http_address(url: str, base: str) -> None:
    assert stream_base(url) == base
