"""Paper mode: a venue that relays another one's market data and matches our orders against it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from decimal import Decimal

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from edgefleet_services.venue.service import VenueOptions

from .venue_server import RunningVenue, eventually, free_port, running

pytestmark = pytest.mark.integration


@pytest.fixture
def upstream() -> Iterator[RunningVenue]:
    with running(VenueOptions(market="synthetic", symbols=("BTC/USDT",), port=0, warm_up_s=5)) as venue:
        yield venue


def relay(ws: str, rest: str) -> VenueOptions:
    balances = {"USDT": Decimal(100_000)}
    return VenueOptions(market="relay", upstream_ws=ws, upstream_rest=rest, port=0, balances=balances)


async def test_orders_are_matched_against_the_upstreams_market(upstream: RunningVenue) -> None:
    with running(relay(upstream.ws, upstream.rest)) as venue:
        assert venue.status()["lines_served"] == 0  # nobody listens yet
        async with connect(f"{venue.ws}/stream?streams=btcusdt@bookTicker", compression=None) as socket:
            frame = json.loads(await socket.recv())
        eventually(lambda: venue.get("depth", symbol="BTCUSDT").get("asks"), "a book")
        order = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.01"}
        filled = venue.signed("POST", "order", **order).json()

    assert frame["stream"] == "btcusdt@bookTicker"
    assert filled["status"] == "FILLED"
    assert abs(Decimal(filled["fills"][0]["price"]) / Decimal(frame["data"]["a"]) - 1) < Decimal("0.01")


async def test_upstream_that_is_not_there_is_told_plainly_and_tried_again() -> None:
    port = free_port()
    with running(relay(f"ws://127.0.0.1:{port}", f"http://127.0.0.1:{port}/api/v3")) as venue:
        async with connect(f"{venue.ws}/ws/btcusdt@trade", compression=None) as socket:
            with pytest.raises(ConnectionClosed) as closed:
                await socket.recv()
        failure = venue.status()["failure"]

        with running(VenueOptions(market="synthetic", port=port, warm_up_s=1)):
            async with connect(f"{venue.ws}/ws/btcusdt@trade", compression=None) as socket:
                frame = json.loads(await socket.recv())
            recovered = venue.status()["failure"]

    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1011
    assert f"upstream venue ws://127.0.0.1:{port}" in failure
    assert frame["e"] == "trade"
    assert recovered is None


async def test_book_is_waited_for_where_the_upstream_is_asked_only_now(upstream: RunningVenue) -> None:
    with running(relay(upstream.ws, upstream.rest)) as venue:
        async with connect(f"{venue.ws}/ws/btcusdt@depth@100ms", compression=None):
            book = venue.get("depth", symbol="BTCUSDT", limit=1_000)

    assert book["lastUpdateId"] > 0
    assert len(book["bids"]) >= 10


async def test_upstream_that_refuses_for_load_is_not_asked_again_before_it_said_so(upstream: RunningVenue) -> None:
    def refuse() -> None:
        fault = {"rest_limited": 1, "rest_path": "depth", "retry_after_s": 3}
        httpx.post(f"{upstream.sim}/faults", json=fault).raise_for_status()

    def asked() -> dict[str, int]:
        counters: dict[str, int] = httpx.get(f"{upstream.sim}/limits").json()["addresses"]["127.0.0.1"]
        return counters

    await asyncio.to_thread(refuse)
    with running(relay(upstream.ws, upstream.rest)) as venue:
        async with connect(f"{venue.ws}/ws/btcusdt@depth@100ms", compression=None) as socket:
            with pytest.raises(ConnectionClosed):
                await socket.recv()
        async with connect(f"{venue.ws}/ws/btcusdt@depth@100ms", compression=None) as socket:
            await socket.recv()
        told = await asyncio.to_thread(asked)

    assert (told["refused"], told["early"]) == (1, 0)
