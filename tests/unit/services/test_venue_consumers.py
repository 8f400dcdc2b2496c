"""How far a tape may be ahead of its consumers."""

from __future__ import annotations

import asyncio
from typing import Any

from edgefleet_services.venue.consumers import MARKET_QUEUE, TAPE_WINDOW, Consumer


async def _swallow(event: dict[str, Any]) -> None:
    """Stand for a socket whose kernel buffers take everything."""


async def _served(consumer: Consumer, frames: int) -> asyncio.Task[None]:
    async def serve() -> None:
        for number in range(frames):
            await consumer.put(str(number))

    serving = asyncio.create_task(serve())
    for _ in range(20 * frames):  # turns of the loop, more than the tape and the pump need
        await asyncio.sleep(0)
    return serving


async def test_tape_stays_a_window_ahead_of_what_its_consumer_says_it_has_taken() -> None:
    consumer = Consumer(combined=True, tape_lines=True)
    consumer.taken(0)
    pumping = asyncio.create_task(consumer.pump(_swallow))

    serving = await _served(consumer, 2 * TAPE_WINDOW)
    before = consumer.sent
    consumer.taken(TAPE_WINDOW)
    await serving

    assert before == TAPE_WINDOW
    consumer.close(1000, "")
    await pumping
    assert consumer.sent == 2 * TAPE_WINDOW


async def test_consumer_that_says_nothing_is_held_by_its_queue_alone() -> None:
    consumer = Consumer(combined=True, tape_lines=True)
    pumping = asyncio.create_task(consumer.pump(_swallow))

    serving = await _served(consumer, 2 * TAPE_WINDOW + MARKET_QUEUE)

    assert serving.done()
    consumer.leave()
    await pumping


async def test_consumer_that_leaves_holds_nobody() -> None:
    consumer = Consumer(combined=True, tape_lines=True)
    consumer.taken(0)
    pumping = asyncio.create_task(consumer.pump(_swallow))
    serving = await _served(consumer, TAPE_WINDOW + 1)

    consumer.leave()
    await serving

    await pumping
