"""A venue that is not what was configured: symbols it does not list, pages for answers, refused handshakes."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from structlog.testing import CapturingLogger

from edgefleet.clock import SYSTEM, Clock
from edgefleet.errors import Misuse, OutOfReach, Transient
from edgefleet.instruments import Instrument
from edgefleet.params.schema import FleetConfig
from edgefleet.stage import Output
from edgefleet.telemetry.health import Health
from edgefleet.venues.connection import Frames, open_frames
from edgefleet.venues.dialect import dialect
from edgefleet.venues.rest import PublicRest
from edgefleet_services.ingestion.follower import FeedPlan, Follower

pytestmark = pytest.mark.integration

PATIENCE_S = 10.0
PAGE = b"<html><head><title>Down for maintenance</title></head></html>"
STEPS = [
    {"filterType": "PRICE_FILTER", "tickSize": "0.01"},
    {"filterType": "LOT_SIZE", "stepSize": "0.00001", "minQty": "0.00001"},
]
BTC = {"symbol": "BTCUSDT", "status": "TRADING", "baseAsset": "BTC", "quoteAsset": "USDT", "filters": STEPS}
LISTING = json.dumps({"symbols": [BTC]}).encode()
Answers = Mapping[str, tuple[str, bytes]]  # by what a request's path holds: status line and body


@asynccontextmanager
async def answering(answers: Answers) -> AsyncIterator[str]:
    """Give the address of a server that answers so, and 404 to everything else."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answering = asyncio.current_task()
        assert answering is not None
        at_work.add(answering)
        try:
            path = (await reader.readuntil(b"\r\n\r\n")).split(b" ")[1].decode()
            status, body = next((one for part, one in answers.items() if part in path), ("404 Not Found", b"{}"))
            head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
            writer.write(head.encode() + body)
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # who asked has left
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    at_work: set[asyncio.Task[None]] = set()
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        await asyncio.gather(*at_work)


class _Host:
    """What a follower needs, with what it said."""

    def __init__(self) -> None:
        self.clock: Clock = SYSTEM
        self.log: Any = CapturingLogger()
        self.health = Health("test")
        self.stop = asyncio.Event()
        self.config = FleetConfig()
        self.pressed = None

    def config_waits(self) -> bool:
        return False

    async def config_change(self) -> None:
        await asyncio.Event().wait()

    async def say(self, follower: Follower, outputs: list[Output], *, ended: bool = False) -> None:
        follower.feed.take_notices()

    async def learn(self, venue: str, listed: list[Instrument]) -> None: ...

    def clock_offset(self, venue: str, offset_ns: int) -> None: ...


@asynccontextmanager
async def following(url: str, *symbols: str) -> AsyncIterator[tuple[Follower, _Host]]:
    """Give a follower of Binance at `url`."""
    plan = FeedPlan(
        venue="binance",
        dialect=dialect("binance"),
        symbols=symbols,
        rest_url=url,
        stream_url=url.replace("http", "ws"),
        traded=False,
    )
    host = _Host()
    follower = Follower(plan, host)
    try:
        yield follower, host
    finally:
        host.stop.set()
        await follower.close()


async def test_a_symbol_that_is_not_listed_is_left_out_with_a_line_and_the_others_are_followed() -> None:
    async with (
        answering({"exchangeInfo": ("200 OK", LISTING)}) as url,
        following(url, "BTC/USDT", "FOO/USDT") as (follower, host),
    ):
        await follower.prepare()

    assert follower.plan.symbols == ("BTC/USDT",)
    assert follower.feed.instruments == ("BTC/USDT@binance",)
    (call,) = [call for call in host.log.calls if call.method_name == "error"]
    assert call.kwargs["reason"] == (
        f"FOO/USDT is not listed at binance and is left out; what it lists: {url}/api/v3/exchangeInfo"
    )


async def test_where_no_symbol_is_listed_it_is_misuse() -> None:
    async with (
        answering({"exchangeInfo": ("200 OK", LISTING)}) as url,
        following(url, "FOO/USDT", "BAR/USDT") as (follower, _),
    ):
        with pytest.raises(Misuse, match="FOO/USDT, BAR/USDT is not listed at binance; what it lists: http"):
            await follower.prepare()


async def test_a_page_in_place_of_an_answer_is_told_by_its_title() -> None:
    async with answering({"time": ("200 OK", PAGE)}) as url:
        rest = PublicRest(url, venue="binance")
        with pytest.raises(Transient, match=r"^binance: GET http.*/time answered HTML, not JSON: Down for"):
            await rest.get("/time")
        await rest.close()


async def test_a_handshake_that_is_refused_for_where_we_are_is_out_of_reach() -> None:
    async with answering({"/stream": ("451 Unavailable For Legal Reasons", b"<html>restricted</html>")}) as url:
        with pytest.raises(OutOfReach, match="answered 451, a geo-block"):
            async with open_frames(f"{url.replace('http', 'ws')}/stream", SYSTEM):
                pass


async def test_a_handshake_that_a_page_answers_is_transient_and_told() -> None:
    async with answering({"/stream": ("503 Service Unavailable", PAGE)}) as url:
        with pytest.raises(Transient, match="HTTP 503 in place of a WebSocket, HTML, not JSON: Down for maintenance"):
            async with open_frames(f"{url.replace('http', 'ws')}/stream", SYSTEM):
                pass


@pytest.mark.parametrize("url", ["localhost", "http://127.0.0.1:1", "ws://", "ws://[x"])
async def test_a_stream_address_that_is_none_is_misuse(url: str) -> None:
    with pytest.raises(Misuse, match="this is no address"):
        async with open_frames(url, SYSTEM):
            pass


async def test_a_venue_that_was_never_heard_and_is_out_of_reach_ends_the_following() -> None:
    blocked = ("451 Unavailable For Legal Reasons", b"")
    async with (
        answering({"stream": blocked, "time": ("200 OK", b'{"serverTime":1}')}) as url,
        following(url, "BTC/USDT") as (follower, _),
        asyncio.timeout(PATIENCE_S),
    ):
        with pytest.raises(OutOfReach, match="geo-block"):
            await follower.follow()


async def test_a_venue_that_was_heard_before_is_tried_again() -> None:
    async with (
        answering({"stream": ("451 Unavailable For Legal Reasons", b"")}) as url,
        following(url, "BTC/USDT") as (follower, host),
    ):
        follower._has_answered = True
        work = asyncio.create_task(follower.follow())
        async with asyncio.timeout(PATIENCE_S):
            while not [call for call in host.log.calls if call.args == ("feed_unreachable",)]:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        host.stop.set()
        await work


async def test_a_book_that_is_refused_for_good_is_given_up_after_three_refusals() -> None:
    book = b'{"lastUpdateId":10,"bids":[["99","1"]],"asks":[["101","1"]]}'
    refused = ("400 Bad Request", b'{"code":-1121,"msg":"Invalid symbol."}')
    async with (
        answering({"symbol=BTCUSDT": ("200 OK", book), "symbol=FOOUSDT": refused}) as url,
        following(url, "BTC/USDT", "FOO/USDT") as (follower, host),
        asyncio.timeout(PATIENCE_S),
    ):
        frames = Frames(SYSTEM, waits=False)
        while follower.feed.awaiting:
            follower._ask_for_snapshots(frames)
            await asyncio.wait(follower._snapshots.values(), return_when=asyncio.FIRST_COMPLETED)
            follower._answered_snapshots()

    assert len([call for call in host.log.calls if call.args == ("snapshot_failed",)]) == 3
    assert [text for text in follower.feed.take_notices() if "FOO/USDT@binance has no book" in text]
