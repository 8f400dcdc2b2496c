"""Parts of the stock venue by themselves: who is let in, how often, and in which encoding stamps are told."""

from __future__ import annotations

import asyncio
import doctest
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from tests.unit.matching.stock_days import DAYS, at

from edgefleet.clock import NS_PER_S
from edgefleet.errors import Broken, Misuse
from edgefleet.matching.brokerage import Brokerage
from edgefleet.matching.hours import Hours, Phase
from edgefleet.matching.stock_history import MINUTE
from edgefleet.matching.stocks import StockQuote
from edgefleet_services.venue.alpaca import codec, query, views
from edgefleet_services.venue.alpaca.faults import Message, StockFaultPlan, Strikes
from edgefleet_services.venue.alpaca.gate import Gate
from edgefleet_services.venue.alpaca.market import AlpacaMarket
from edgefleet_services.venue.alpaca.sockets import SocketApi
from edgefleet_services.venue.alpaca.venue import AlpacaVenue
from edgefleet_services.venue.market import Progress
from edgefleet_services.venue.service import VenueOptions, venue_of

KEYS = ("key", "secret")
HEADERS = {"APCA-API-KEY-ID": "key", "APCA-API-SECRET-KEY": "secret"}


class HandClock:
    """A clock that a test turns."""

    def __init__(self, now_ns: int = 1_000_000 * 60 * NS_PER_S) -> None:
        self.now_ns = now_ns

    def wall_ns(self) -> int:
        return self.now_ns

    def monotonic_ns(self) -> int:
        return self.now_ns


def market() -> AlpacaMarket:
    broker = Brokerage(["XXX"], {"USD": Decimal(1_000)}, Hours(DAYS))
    return AlpacaMarket(broker, Progress(market="tape", speed="1"), 0)


def client(gate: Gate, handler: Callable[[Request], Awaitable[Response]], **more: Any) -> httpx.AsyncClient:
    app = Starlette(routes=[Route("/", gate(handler, **more))])
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://venue", headers=HEADERS)


async def well(request: Request) -> Response:
    return Response(b"{}", media_type="application/json")


@pytest.mark.parametrize("name", ["codec", "query"])
def test_examples_hold(name: str) -> None:
    module = {"codec": codec, "query": query}[name]

    assert doctest.testmod(module).failed == 0
    assert doctest.testmod(module).attempted > 0


async def test_requests_beyond_the_minute_s_are_refused_until_the_next() -> None:
    clock = HandClock()
    async with client(Gate(market(), clock, KEYS, limit=2), well) as venue:
        answers = [await venue.get("/") for _ in range(3)]
        clock.now_ns += 60 * NS_PER_S
        answers.append(await venue.get("/"))

    assert [answer.status_code for answer in answers] == [200, 200, 429, 200]
    assert [answer.headers["x-ratelimit-remaining"] for answer in answers] == ["1", "0", "0", "1"]
    assert {answer.headers["x-ratelimit-limit"] for answer in answers} == {"2"}
    assert answers[2].json() == {"code": 42910000, "message": "rate limit exceeded"}
    assert answers[2].headers["x-ratelimit-reset"] == str(1_000_001 * 60)


@pytest.mark.parametrize(("status", "code"), [(401, 40110000), (403, 40310000)])
async def test_stranger_is_told_as_trading_or_as_data(status: int, code: int) -> None:
    async with client(Gate(market(), HandClock(), ("key", "other")), well, unauthorized=status) as venue:
        answer = await venue.get("/")

    assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_account_whose_arithmetic_is_false_stops_the_venue() -> None:
    async def false(request: Request) -> Response:
        raise Broken("a balance fell below zero")

    served = market()
    async with client(Gate(served, HandClock(), KEYS), false) as venue:
        answer = await venue.get("/")

    assert answer.status_code == 500
    with pytest.raises(Broken, match="below zero"):
        await served.until_broken()


class Peer:
    """A WebSocket client of an ASGI application, without a server."""

    def __init__(self, api: SocketApi, path: str, headers: dict[str, str] | None = None) -> None:
        self._incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._outgoing: asyncio.Queue[Any] = asyncio.Queue()
        self._incoming.put_nowait({"type": "websocket.connect"})
        scope = {
            "type": "websocket",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": [(k.lower().encode(), v.encode()) for k, v in (headers or {}).items()],
            "subprotocols": [],
        }
        app = Starlette(routes=api.routes())
        self.task = asyncio.create_task(app(scope, self._incoming.get, self._outgoing.put))

    def say(self, frame: str | bytes) -> None:
        key = "text" if isinstance(frame, str) else "bytes"
        self._incoming.put_nowait({"type": "websocket.receive", key: frame})

    async def hear(self) -> dict[str, Any]:
        async with asyncio.timeout(10):
            event = await self._outgoing.get()
        return dict(event)

    async def leave(self) -> None:
        self._incoming.put_nowait({"type": "websocket.disconnect", "code": 1000})
        await self.task


@pytest.mark.parametrize("path", ["/v2/iex", "/stream"])
async def test_client_that_does_not_say_who_it_is_must_go(path: str) -> None:
    peer = Peer(SocketApi(market(), *KEYS, patience_s=0.02), path)

    heard = [await peer.hear()]
    while heard[-1]["type"] != "websocket.close":
        heard.append(await peer.hear())

    assert (heard[-1]["code"], heard[-1]["reason"]) == (1008, "auth timeout")
    if path == "/v2/iex":
        assert msgspec.json.decode(heard[-2]["text"]) == [{"T": "error", "code": 404, "msg": "auth timeout"}]
    await peer.leave()


@pytest.mark.parametrize("path", ["/v2/iex", "/stream"])
@pytest.mark.parametrize("kind", ["application/json", "application/msgpack"])
@given(frames=st.lists(st.binary(max_size=40) | st.text(max_size=40), max_size=8))
async def test_no_frame_breaks_a_stream(path: str, kind: str, frames: list[str | bytes]) -> None:
    peer = Peer(SocketApi(market(), *KEYS), path, {"Content-Type": kind})
    assert (await peer.hear())["type"] == "websocket.accept"

    for frame in frames:
        peer.say(frame)
    await peer.leave()

    assert peer.task.exception() is None


async def test_subscriptions_are_told_and_taken_back() -> None:
    served = market()
    peer = Peer(SocketApi(served, *KEYS), "/v2/sip", HEADERS)
    assert [(await peer.hear())["type"] for _ in range(3)] == ["websocket.accept", "websocket.send", "websocket.send"]

    peer.say('{"action":"subscribe","trades":["XXX"],"quotes":["*"]}')
    (first,) = msgspec.json.decode((await peer.hear())["text"])
    peer.say('{"action":"unsubscribe","quotes":["*"]}')
    (second,) = msgspec.json.decode((await peer.hear())["text"])
    peer.say('{"action":"auth","key":"key","secret":"secret"}')
    (third,) = msgspec.json.decode((await peer.hear())["text"])

    assert (first["trades"], first["quotes"]) == (["XXX"], ["*"])
    assert (second["trades"], second["quotes"]) == (["XXX"], [])
    assert third == {"T": "error", "code": 403, "msg": "already authenticated"}
    await peer.leave()
    assert served.hub.market_consumers() == []


@given(st.integers(0, 2**32 * NS_PER_S))
def test_stamps_of_both_encodings_are_read_back_by_msgspec_s_own(ts_ns: int) -> None:
    expected = datetime.fromtimestamp(ts_ns // NS_PER_S, UTC).replace(microsecond=ts_ns % NS_PER_S // 1_000)

    packed = msgspec.msgpack.decode(msgspec.msgpack.encode(codec.timestamp(ts_ns)), type=datetime)
    text = codec.rfc3339(ts_ns)

    assert abs(packed - expected) <= timedelta(microseconds=1), "msgspec rounds to its datetime"
    assert query.stamp_ns(text, "start") == ts_ns
    assert len(text) == 20 or not text.endswith("0Z")


@pytest.mark.parametrize(("day", "size"), [("2025-11-02 12:00", 1), ("2025-11-03 00:00", 100)])
def test_sizes_of_quotes_are_round_lots_until_november_2025(day: str, size: int) -> None:
    stamp = int(datetime.fromisoformat(day + "-05:00").timestamp()) * NS_PER_S
    quote = StockQuote("XXX", stamp, Decimal(10), Decimal(100), "N", Decimal(11), Decimal(250), "N")

    assert (views.quote(quote)["bs"], views.quote(quote)["as"]) == (size, size * 2.5)


def test_clock_has_the_offset_of_the_season() -> None:
    assert codec.rfc3339_eastern(at("09:30")) == "2024-11-29T09:30:00-05:00"
    assert codec.rfc3339_eastern(at("09:30", month=7, day=1)) == "2024-07-01T09:30:00-04:00"


@pytest.mark.parametrize(
    ("wall", "market"),
    [
        (at("11:00"), at("11:00")),  # open by the wall clock
        (at("20:00"), at("09:33")),  # at night: after the last open
        (at("04:30"), at("09:33", 27)),  # before the open: the day before
        (at("15:00", month=12, day=1), at("09:33")),  # a Sunday
    ],
)
async def test_synthetic_market_is_open_at_any_hour(wall: int, market: int) -> None:
    options = VenueOptions(dialect="alpaca", symbols=("XXX",), key="key", secret="secret")
    venue = AlpacaVenue(options, HandClock(wall), DAYS)

    await venue.open()

    assert venue.market.broker.now_ns == market
    assert venue.market.broker.moment().phase is Phase.REGULAR
    assert len(venue.market.history["XXX"].bars(MINUTE)) >= 2, "and has a past"


def test_venue_refuses_what_is_no_stock_market() -> None:
    clock = HandClock(at("11:00"))
    for options, words in (
        (VenueOptions(dialect="alpaca", symbols=("BTC/USDT",)), "no US stock"),
        (VenueOptions(dialect="alpaca", symbols=("XXX",), market="relay"), "relays no other"),
        (VenueOptions(dialect="alpaca", symbols=("XXX",), market="tape"), "needs its CSV files"),
        (VenueOptions(dialect="alpaca", symbols=("XXX",), speed="fast"), "a speed is"),
        (VenueOptions(dialect="alpaca", symbols=("XXX",), balances={"USDT": Decimal(1)}), "holds USD and XXX"),
        (VenueOptions(dialect="binance", symbols=("BTC/USDT",), start_ns=1), "is said of a tape, or of stocks"),
    ):
        with pytest.raises(Misuse, match=words):
            AlpacaVenue(options, clock, DAYS) if options.dialect == "alpaca" else venue_of(options, clock)


def test_tape_whose_clock_is_another_is_refused(tmp_path: Path) -> None:
    trades = tmp_path / "trades.csv"
    for clock in ("14:30:00.1", "09:30:00.1"):  # UTC, and New York's own
        trades.write_text(f"DT,EX,SYMBOL,COND,SIZE,PRICE,CORR\n2024-11-29 {clock},N,XXX,O,100,10,0\n")
        options = VenueOptions(dialect="alpaca", symbols=("XXX",), market="tape", tape=(trades,))
        if clock.startswith("14"):
            assert AlpacaVenue(options, HandClock(), DAYS).market.progress.lines_total == 1
            continue
        with pytest.raises(Misuse, match="opening print stands at 2024-11-29 04:30 in New York"):
            AlpacaVenue(options, HandClock(), DAYS)


# --- faults


def message(price: float, kind: str = "t") -> Message:
    return Message(kind, "XXX", lambda codec: {"p": price, "bp": price, "ap": price})


def sent(plan: dict[str, Any], stamps: list[int] | None = None) -> list[Any]:
    """Return what is heard of five messages on `trades@XXX`, told at `stamps` (ms), under a plan set at 0."""
    strikes = Strikes()
    strikes.set(msgspec.convert(plan, StockFaultPlan), 0)
    heard: list[Any] = []
    for number, now in enumerate(stamps or [0] * 5):
        for struck in strikes.strike("trades@XXX", message(number), now):
            frame = struck.frame(codec.Codec.JSON)
            try:
                heard.append(msgspec.json.decode(frame)[0]["p"])
            except msgspec.DecodeError:
                heard.append("cut")
    return heard


@pytest.mark.parametrize(
    ("plan", "heard"),
    [
        ({}, [0, 1, 2, 3, 4]),
        ({"drop": {"trades@XXX": 2}}, [2, 3, 4]),
        ({"drop": {"quotes@XXX": 2}}, [0, 1, 2, 3, 4]),
        ({"repeat": {"*": 1}}, [0, 0, 1, 2, 3, 4]),
        ({"swap": {"trades@XXX": 1}}, [1, 0, 2, 3, 4]),
        ({"swap": {"trades@XXX": 2}}, [1, 0, 3, 2, 4]),
        ({"absurd": {"*": 2}}, [0, 100, 2, 3, 4]),
        ({"truncate": {"*": 1}}, ["cut", 1, 2, 3, 4]),
        ({"silence": {"trades@XXX": None}}, []),
    ],
)
def test_faults_strike_so_many_messages(plan: dict[str, Any], heard: list[Any]) -> None:
    assert sent(plan) == heard


def test_silence_is_over_by_the_market_s_time() -> None:
    assert sent({"silence": {"*": 100}}, [0, 50, 99, 100, 150]) == [3, 4]


@pytest.mark.parametrize(
    "plan",
    [
        {"drop": {"*": -1}},
        {"rest_http_status": 404},
        {"disconnect_code": 1006},
        {"silence": {"*": -5}},
        {"unheard_of": 1},
        {"disconnect": "nobody"},
    ],
)
def test_plan_that_cannot_be_is_refused(plan: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(plan, StockFaultPlan)


async def test_requests_are_struck_by_their_path() -> None:
    served = market()
    served.set_faults(StockFaultPlan(rest_path="stocks", rest_limited=1, rest_http_error=1, retry_after_s=9))
    gate = Gate(served, HandClock(), KEYS)
    app = Starlette(routes=[Route("/v2/clock", gate(well)), Route("/v2/stocks/bars", gate(well))])
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://venue/v2", headers=HEADERS) as venue:
        answers = [await venue.get(path) for path in ("/clock", "/stocks/bars", "/stocks/bars", "/stocks/bars")]

    assert [answer.status_code for answer in answers] == [200, 429, 503, 200]
    assert answers[1].headers["retry-after"] == "9"
    assert answers[1].headers["x-ratelimit-remaining"] == "0"
