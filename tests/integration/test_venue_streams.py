"""The streams that the venue makes itself, frame by frame on a small tape, and the WebSocket API of the account."""

from __future__ import annotations

import asyncio
import hmac
import json
from collections.abc import Iterator
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect

from edgefleet.clock import NS_PER_MS, SYSTEM
from edgefleet_services.options import DEMO_KEY, DEMO_SECRET
from edgefleet_services.venue.service import VenueOptions

from .test_venue_tape import read_all, stream_of, write_tape
from .venue_server import RunningVenue, running

pytestmark = pytest.mark.integration

BOOK = {
    "lastUpdateId": 10,
    "bids": [[f"{100 - n}.00", "1.0"] for n in range(30)],
    "asks": [[f"{101 + n}.00", "2.0"] for n in range(30)],
}


def depth(number: int, at: int, size: str) -> dict[str, Any]:
    data = {"e": "depthUpdate", "E": at, "s": "BTCUSDT", "U": number, "u": number, "b": [["100.00", size]], "a": []}
    return {"stream": "btcusdt@depth@100ms", "data": data}


def trade(number: int, price: str, at: int) -> dict[str, Any]:
    data = {"e": "trade", "E": at, "s": "BTCUSDT", "t": number, "p": price, "q": "2.0", "T": at, "m": True, "M": True}
    return {"stream": "btcusdt@trade", "data": data}


@pytest.fixture
def recorded_venue(tmp_path: Path) -> Iterator[RunningVenue]:
    lines = [
        BOOK,
        depth(11, 5_100, "1.5"),
        trade(1, "100.00", 5_200),
        depth(12, 5_300, "1.6"),
        trade(2, "103.00", 5_900),
        depth(13, 6_100, "1.7"),
        depth(14, 7_100, "1.7"),
        trade(3, "101.00", 7_200),
    ]
    options = VenueOptions(market="tape", tape=(write_tape(tmp_path / "tape", lines),), speed="max", port=0)
    with running(options) as venue:
        yield venue


async def frames(venue: RunningVenue, stream: str) -> list[Any]:
    async with stream_of(venue, f"/ws/{stream}") as socket:
        texts, _, _ = await read_all(socket)
    return [json.loads(text) for text in texts]


@pytest.mark.parametrize("levels", [5, 10, 20])
async def test_partial_book_comes_with_each_diff_or_each_second(recorded_venue: RunningVenue, levels: int) -> None:
    streams = f"btcusdt@depth{levels}@100ms/btcusdt@depth{levels}"
    async with stream_of(recorded_venue, f"/stream?streams={streams}") as socket:
        texts, _, _ = await read_all(socket)

    told = [json.loads(text) for text in texts]
    fast, slow = (
        [one["data"] for one in told if one["stream"].endswith("@100ms") is is_fast] for is_fast in (True, False)
    )
    assert [one["lastUpdateId"] for one in fast] == [11, 12, 13, 14]
    assert [one["lastUpdateId"] for one in slow] == [11, 13, 14]
    assert all(len(one["bids"]) == len(one["asks"]) == levels for one in fast)
    assert fast[0]["bids"][:2] == [["100.00000000", "1.50000000"], ["99.00000000", "1.00000000"]]


async def test_ticker_comes_once_a_second_where_it_changed(recorded_venue: RunningVenue) -> None:
    told = await frames(recorded_venue, "btcusdt@ticker")

    # In the third second nothing had changed when it was looked at; what its print changed is the next one's to tell.
    assert [(one["E"], one["c"], one["n"]) for one in told] == [(5_200, "100.00000000", 1), (6_100, "103.00000000", 2)]
    last = told[-1]
    assert (last["e"], last["s"], last["P"], last["v"]) == ("24hrTicker", "BTCUSDT", "3.000", "4.00000000")
    assert (last["b"], last["B"], last["a"], last["A"]) == (
        "100.00000000", "1.70000000", "101.00000000", "2.00000000",
    )  # fmt: skip


async def test_mini_tickers_of_the_market_come_as_a_list(recorded_venue: RunningVenue) -> None:
    told = await frames(recorded_venue, "!miniTicker@arr")

    assert [[one["s"] for one in each] for each in told] == [["BTCUSDT"], ["BTCUSDT"]]
    assert told[-1][0] == {
        "e": "24hrMiniTicker", "E": 6_100, "s": "BTCUSDT", "c": "103.00000000", "o": "100.00000000",
        "h": "103.00000000", "l": "100.00000000", "v": "4.00000000", "q": "406.00000000",
    }  # fmt: skip


async def test_connection_can_be_told_to_name_the_stream_of_each_frame(recorded_venue: RunningVenue) -> None:
    async with stream_of(recorded_venue, "/ws") as socket:
        answers = []
        for message in (
            {"method": "SET_PROPERTY", "params": ["combined", True], "id": 1},
            {"method": "GET_PROPERTY", "params": ["combined"], "id": 2},
            {"method": "SUBSCRIBE", "params": ["btcusdt@trade"], "id": 3},
        ):
            await socket.send(json.dumps(message))
            answers.append(json.loads(await socket.recv()))
        texts, _, _ = await read_all(socket)

    assert answers == [{"result": None, "id": 1}, {"result": True, "id": 2}, {"result": None, "id": 3}]
    assert {json.loads(text)["stream"] for text in texts} == {"btcusdt@trade"}


# --- the WebSocket API


@pytest.fixture(scope="module")
def venue() -> Iterator[RunningVenue]:
    with running(VenueOptions(port=0, warm_up_s=10, balances={"USDT": Decimal(100_000)})) as venue:
        yield venue


def signature(**params: object) -> dict[str, object]:
    """Return parameters signed as the WebSocket API wants them: by name, joined as a query."""
    named = {"apiKey": DEMO_KEY, "timestamp": SYSTEM.wall_ns() // NS_PER_MS, **params}
    text = "&".join(f"{name}={named[name]}" for name in sorted(named))
    return named | {"signature": hmac.new(DEMO_SECRET.encode(), text.encode(), sha256).hexdigest()}


async def ask(socket: ClientConnection, method: str, params: dict[str, object] | None = None) -> dict[str, Any]:
    await socket.send(json.dumps({"id": method, "method": method, "params": params or {}}))
    answer: dict[str, Any] = json.loads(await asyncio.wait_for(socket.recv(), 5))
    return answer


async def test_account_is_told_to_who_signed_for_it_until_he_unsubscribes(venue: RunningVenue) -> None:
    async with connect(f"{venue.ws}/ws-api/v3", compression=None) as socket:
        first = await ask(socket, "userDataStream.subscribe.signature", signature(recvWindow=5_000))
        twice = await ask(socket, "userDataStream.subscribe.signature", signature())
        held = await ask(socket, "session.subscriptions")
        buy = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.01"}
        order = (await asyncio.to_thread(lambda: venue.signed("POST", "order", **buy))).json()
        events = [json.loads(await asyncio.wait_for(socket.recv(), 5))]
        while events[-1]["event"]["e"] != "outboundAccountPosition":
            events.append(json.loads(await asyncio.wait_for(socket.recv(), 5)))
        left = await ask(socket, "userDataStream.unsubscribe")
        await asyncio.to_thread(lambda: venue.signed("POST", "order", **buy))
        after = await ask(socket, "time")

    assert (first["status"], first["result"]) == (200, {"subscriptionId": 0})
    assert (twice["status"], twice["error"]["code"]) == (400, -2035)
    assert held["result"] == {"subscriptions": [{"subscriptionId": 0}]}
    assert {event["subscriptionId"] for event in events} == {0}
    assert events[0]["event"]["e"] == "executionReport"
    assert {one["event"]["i"] for one in events[:-1]} == {order["orderId"]}
    assert left["status"] == 200
    assert after["id"] == "time"  # and not an event of the second order


@pytest.mark.parametrize(
    ("wrong", "after", "status", "code"),
    [
        ({"apiKey": ""}, {}, 401, -2014),
        ({"apiKey": "someone"}, {}, 401, -2015),
        ({"timestamp": 1}, {}, 400, -1021),
        ({"timestamp": "soon"}, {}, 400, -1100),
        ({}, {"signature": "0" * 64}, 400, -1022),
        ({}, {"signature": ""}, 400, -1102),
        ({}, {"recvWindow": 10_000}, 400, -1022),
    ],
)
async def test_unauthentic_subscription_is_refused(
    venue: RunningVenue, wrong: dict[str, object], after: dict[str, object], status: int, code: int
) -> None:
    async with connect(f"{venue.ws}/ws-api/v3", compression=None) as socket:
        answer = await ask(socket, "userDataStream.subscribe.signature", signature(**wrong) | after)

    assert (answer["status"], answer["error"]["code"]) == (status, code)


async def test_what_is_no_request_or_not_known_is_answered_and_the_connection_goes_on(venue: RunningVenue) -> None:
    async with connect(f"{venue.ws}/ws-api/v3", compression=None) as socket:
        await socket.send("{")
        unreadable = json.loads(await socket.recv())
        unknown = await ask(socket, "order.place")
        ping = await ask(socket, "ping")

    assert (unreadable["id"], unreadable["error"]["code"]) == (None, -1135)
    assert (unknown["id"], unknown["status"]) == ("order.place", 400)
    assert (ping["status"], ping["result"]) == (200, {})
