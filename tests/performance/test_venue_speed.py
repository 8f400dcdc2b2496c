"""What the simulated venue can carry, so that a slow venue is never mistaken for a slow fleet."""

from __future__ import annotations

import asyncio
import http.client
from decimal import Decimal
from pathlib import Path
from statistics import median

import pytest
from tests.integration.venue_server import running, signed_query
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosedOK

from edgefleet.clock import NS_PER_MS, NS_PER_S, SYSTEM
from edgefleet_services.options import DEMO_KEY
from edgefleet_services.venue.service import VenueOptions

pytestmark = [pytest.mark.performance, pytest.mark.integration]


@pytest.mark.data
def test_tape_is_served_at_fifteen_thousand_frames_a_second(recorded: Path) -> None:
    files = tuple(recorded / "binance_spot" / f"btcusdt_2024080{day}.gz" for day in (8, 9))

    async def read(url: str) -> float:
        async with connect(url, compression=None) as socket:
            started, count = SYSTEM.monotonic_ns(), 0
            with pytest.raises(ConnectionClosedOK):  # noqa: PT012 - frames come until the venue closes
                while True:
                    await socket.recv()
                    count += 1
        return count * NS_PER_S / (SYSTEM.monotonic_ns() - started)

    with running(VenueOptions(market="tape", tape=files, speed="max", port=0)) as venue:
        rate = asyncio.run(read(f"{venue.ws}/stream?streams=btcusdt@trade/btcusdt@bookTicker/btcusdt@depth@100ms"))

    assert rate > 15_000


def test_order_takes_less_than_a_millisecond() -> None:
    order = {"symbol": "BTCUSDT", "type": "MARKET", "quantity": "0.001"}
    options = VenueOptions(market="synthetic", port=0, warm_up_s=10, balances={"USDT": Decimal(100_000)})
    with running(options) as venue:
        wire = http.client.HTTPConnection("127.0.0.1", venue.port)
        taken = []
        for number in range(400):
            query = signed_query(**order, side="SELL" if number % 2 else "BUY")
            started = SYSTEM.monotonic_ns()
            wire.request("POST", f"/api/v3/order?{query}", headers={"X-MBX-APIKEY": DEMO_KEY})
            answer = wire.getresponse()
            answer.read()
            taken.append((SYSTEM.monotonic_ns() - started) / NS_PER_MS)
            assert answer.status == 200 or number % 2  # a sale of what a fee has nibbled at may be refused
        wire.close()

    assert median(taken) < 1.0
