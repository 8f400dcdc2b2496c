"""A simulated venue on a free port, served from a thread of the test process."""

from __future__ import annotations

import asyncio
import hmac
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import Any
from urllib.parse import urlencode

import httpx
import uvloop

from edgefleet.clock import NS_PER_MS, SYSTEM, Clock
from edgefleet_services.options import DEMO_KEY, DEMO_SECRET
from edgefleet_services.venue.service import ServedVenue, VenueOptions, serve, venue_of

PATIENCE_S = 20.0


@dataclass(frozen=True)
class RunningVenue:
    """Where a venue answers, and how its account is asked; `source` is the address to ask from."""

    port: int
    source: str | None = None

    @property
    def rest(self) -> str:
        return f"http://127.0.0.1:{self.port}/api/v3"

    @property
    def sim(self) -> str:
        return f"http://127.0.0.1:{self.port}/sim"

    @property
    def ws(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    def get(self, path: str, **params: object) -> Any:
        with self._client() as client:
            answer = client.get(f"{self.rest}/{path}", params={key: str(value) for key, value in params.items()})
            return answer.json()

    def _client(self) -> httpx.Client:
        return httpx.Client(transport=httpx.HTTPTransport(local_address=self.source))

    def depth(self, symbol: str) -> httpx.Response:
        """Return the answer to a request of the whole book."""
        return httpx.get(f"{self.rest}/depth", params={"symbol": symbol, "limit": "1000"})

    def listen_key(self) -> str:
        """Return a new user stream's name."""
        answer = httpx.post(f"{self.rest}/userDataStream", headers={"X-MBX-APIKEY": DEMO_KEY})
        return str(answer.json()["listenKey"])

    def status(self) -> dict[str, Any]:
        answer: dict[str, Any] = httpx.get(f"{self.sim}/status").json()
        return answer

    def signed(self, method: str, path: str, **params: object) -> httpx.Response:
        """Return the answer to a request signed with the demo key."""
        query = signed_query(**params)
        with self._client() as client:
            return client.request(method, f"{self.rest}/{path}?{query}", headers={"X-MBX-APIKEY": DEMO_KEY})


def signed_query(**params: object) -> str:
    """Return `params` with a timestamp and the demo key's signature."""
    query = urlencode({"timestamp": SYSTEM.wall_ns() // NS_PER_MS} | params)
    return f"{query}&signature={hmac.new(DEMO_SECRET.encode(), query.encode(), sha256).hexdigest()}"


@contextmanager
def running(
    options: VenueOptions, make: Callable[[VenueOptions, Clock], ServedVenue] = venue_of
) -> Iterator[RunningVenue]:
    """Serve a venue with `options`, built by `make`, on a free port until the block ends."""
    ports: list[int] = []
    ready = threading.Event()
    failures: list[BaseException] = []
    handles: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    def say(port: int) -> None:
        ports.append(port)
        ready.set()

    async def main() -> None:
        stop = asyncio.Event()
        handles.append((asyncio.get_running_loop(), stop))
        await serve(options, stop=stop, ready=say, make=make)

    def run() -> None:
        try:
            uvloop.run(main())
        except BaseException as error:  # noqa: BLE001 - handed to the test's own thread
            failures.append(error)
        finally:
            ready.set()

    thread = threading.Thread(target=run, name="venue", daemon=True)
    thread.start()
    assert ready.wait(PATIENCE_S), "the venue did not start"
    if failures:
        thread.join()
        raise failures[0]
    try:
        yield RunningVenue(ports[0])
    finally:
        loop, stop = handles[0]
        loop.call_soon_threadsafe(stop.set)
        thread.join(PATIENCE_S)
        assert not thread.is_alive(), "the venue did not stop"


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def eventually(condition: Any, what: str, patience_s: float = PATIENCE_S) -> Any:
    """Return the first true value of `condition()`, or fail after `patience_s`."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        threading.Event().wait(0.01)
    raise AssertionError(f"{what} did not come within {patience_s} s")
