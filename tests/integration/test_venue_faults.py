"""Every fault of the simulated venue, as an ordinary client meets it: on a socket, in REST, in its clock and limits."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from edgefleet.clock import NS_PER_MS, SYSTEM
from edgefleet.matching.recorded import RecordedBook
from edgefleet.matching.wire import DepthDiff, DepthSnapshot, decode
from edgefleet_services.venue.limits import Limits
from edgefleet_services.venue.service import VenueOptions

from .venue_server import PATIENCE_S, RunningVenue, eventually, running

pytestmark = pytest.mark.integration

DEPTH, TRADE = "btcusdt@depth@100ms", "btcusdt@trade"
COUNT = 20
MARKET_BUY = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.01"}
FAR_BUY = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.001"}


def tape(path: Path) -> Path:
    """Write a tape of `COUNT` steps of 100 ms: in each a depth diff, a book ticker and a print."""
    book = {"lastUpdateId": 10, "bids": [["99.00", "1.0"]], "asks": [["101.00", "1.0"]]}
    lines: list[dict[str, Any]] = [book]
    for n in range(1, COUNT + 1):
        at = 5_000 + 100 * n
        sides = {"b": [[f"{99 - n / 100:.2f}", f"{n}.0"]], "a": [["101.00", f"{n}.0"]]}
        depth = {"e": "depthUpdate", "E": at, "s": "BTCUSDT", "U": 10 + n, "u": 10 + n, **sides}
        top = {"u": 10 + n, "s": "BTCUSDT", "b": "99.00", "B": "1.0", "a": "101.00", "A": f"{n}.0"}
        print_ = {"e": "trade", "E": at, "s": "BTCUSDT", "t": n, "p": "100.00", "q": "1", "T": at, "m": True, "M": True}
        lines.append({"stream": DEPTH, "data": depth})
        lines.append({"stream": "btcusdt@bookTicker", "data": top})
        lines.append({"stream": TRADE, "data": print_})
    texts = [json.dumps(line, separators=(",", ":")) for line in lines]
    path.write_text("".join(f"{n} {text}\n" for n, text in enumerate(texts, start=1)))
    return path


@pytest.fixture
def recorded_venue(tmp_path: Path) -> Iterator[RunningVenue]:
    """A venue whose tape waits for its first consumer, so that faults can be set before its first frame."""
    with running(VenueOptions(market="tape", tape=(tape(tmp_path / "tape"),), speed="max", port=0)) as venue:
        yield venue


@pytest.fixture(scope="module")
def module_venue() -> Iterator[RunningVenue]:
    balances = {"USDT": Decimal(100_000)}
    with running(VenueOptions(market="synthetic", port=0, balances=balances, warm_up_s=10)) as venue:
        yield venue


@pytest.fixture
def venue(module_venue: RunningVenue) -> Iterator[RunningVenue]:
    """A synthetic market without faults and with its own limits."""
    yield module_venue
    httpx.delete(f"{module_venue.sim}/faults").raise_for_status()
    httpx.post(f"{module_venue.sim}/limits", json=limits_of(Limits())).raise_for_status()


def limits_of(limits: Limits) -> dict[str, int]:
    return {name: getattr(limits, name) for name in limits.__struct_fields__}


def fault(venue: RunningVenue, **plan: object) -> dict[str, Any]:
    """Switch faults on; return what is on."""
    answer = httpx.post(f"{venue.sim}/faults", json=plan)
    answer.raise_for_status()
    left: dict[str, Any] = answer.json()
    return left


def left(venue: RunningVenue) -> dict[str, Any]:
    """Return what is left of the faults."""
    answer: dict[str, Any] = httpx.get(f"{venue.sim}/faults").json()
    return answer


def limit(venue: RunningVenue, **limits: int) -> None:
    httpx.post(f"{venue.sim}/limits", json=limits).raise_for_status()


def counters(venue: RunningVenue) -> dict[str, Any]:
    """Return what this address has asked of the venue."""
    answer: dict[str, Any] = httpx.get(f"{venue.sim}/limits").json()["addresses"]["127.0.0.1"]
    return answer


async def texts(venue: RunningVenue, path: str) -> list[str]:
    """Return every frame of a tape."""
    frames: list[str] = []
    async with connect(f"{venue.ws}{path}", compression=None) as socket:
        with pytest.raises(ConnectionClosed):  # noqa: PT012 - frames come until the venue closes
            while True:
                frames.append(str(await socket.recv()))
    return frames


async def updates(venue: RunningVenue) -> list[int]:
    """Return the update ids of a tape's depth frames, as they come."""
    return [json.loads(text)["u"] for text in await texts(venue, f"/ws/{DEPTH}")]


WHOLE = [10 + n for n in range(1, COUNT + 1)]


# --- frames


async def test_dropped_frames_leave_a_gap_in_one_stream_and_none_in_another(recorded_venue: RunningVenue) -> None:
    fault(recorded_venue, drop={DEPTH: 3})

    frames = [json.loads(text) for text in await texts(recorded_venue, f"/stream?streams={DEPTH}/{TRADE}")]

    assert [frame["data"]["u"] for frame in frames if frame["stream"] == DEPTH] == WHOLE[3:]
    assert len([frame for frame in frames if frame["stream"] == TRADE]) == COUNT
    assert left(recorded_venue)["drop"] == {DEPTH: 0}


async def test_every_stream_can_be_meant(recorded_venue: RunningVenue) -> None:
    fault(recorded_venue, drop={"*": 4})

    frames = await texts(recorded_venue, f"/stream?streams={DEPTH}/{TRADE}")

    assert len(frames) == 2 * COUNT - 4


async def test_repeated_frames_come_twice(recorded_venue: RunningVenue) -> None:
    fault(recorded_venue, repeat={DEPTH: 2})

    assert await updates(recorded_venue) == [*WHOLE[:1] * 2, *WHOLE[1:2] * 2, *WHOLE[2:]]


async def test_swapped_frames_come_out_of_order_and_none_is_lost(recorded_venue: RunningVenue) -> None:
    fault(recorded_venue, swap={DEPTH: 2})

    assert await updates(recorded_venue) == [12, 11, 14, 13, *WHOLE[4:]]


async def test_corrupt_frames_have_right_numbers_and_make_a_false_book(recorded_venue: RunningVenue) -> None:
    fault(recorded_venue, corrupt={"*": 2})

    snapshot = decode(recorded_venue.depth("BTCUSDT").content)
    frames = await texts(recorded_venue, f"/stream?streams={DEPTH}/{TRADE}")

    assert isinstance(snapshot, DepthSnapshot)
    rebuilt = RecordedBook()
    rebuilt.snapshot(snapshot)
    for text in frames:
        frame = decode(text.encode())
        if isinstance(frame, DepthDiff):
            rebuilt.diff(frame)
    true = recorded_venue.get("depth", symbol="BTCUSDT", limit=1_000)
    assert (rebuilt.applied, rebuilt.gaps, rebuilt.last_update_id) == (COUNT, 0, true["lastUpdateId"])
    assert rebuilt.bids.size(Decimal("98.99")) == 0  # it was told to be gone
    assert ["98.99000000", "1.00000000"] in true["bids"]
    assert len(list(rebuilt.bids.levels())) == len(true["bids"]) - 2


async def test_absurd_prices_are_a_hundredfold(recorded_venue: RunningVenue) -> None:
    fault(recorded_venue, absurd={TRADE: 1, DEPTH: 1, "btcusdt@bookTicker": 1})

    frames = [
        json.loads(text) for text in await texts(recorded_venue, f"/stream?streams={DEPTH}/{TRADE}/btcusdt@bookTicker")
    ]

    first, second = (frames[:3], frames[3:6])
    assert [Decimal(level) for level, _ in (first[0]["data"]["b"][0], first[0]["data"]["a"][0])] == [9899, 10100]
    assert (first[1]["data"]["b"], first[1]["data"]["a"]) == ("9900", "10100")
    assert (first[2]["data"]["p"], second[2]["data"]["p"]) == ("10000", "100.00")
    assert second[1]["data"]["b"] == "99.00"
    assert recorded_venue.get("ticker/price", symbol="BTCUSDT")["price"] == "100.00000000"


async def test_truncated_frames_are_no_json(recorded_venue: RunningVenue) -> None:
    fault(recorded_venue, truncate={TRADE: 1})

    frames = await texts(recorded_venue, f"/stream?streams={TRADE}")

    with pytest.raises(json.JSONDecodeError):
        json.loads(frames[0])
    assert json.loads(frames[1])["data"]["t"] == 2


async def test_silence_lasts_so_much_market_time(recorded_venue: RunningVenue) -> None:
    fault(recorded_venue, silence={TRADE: 600})  # of market time, which stands at 5,100: the first event of the tape

    prints = [json.loads(text)["T"] for text in await texts(recorded_venue, f"/ws/{TRADE}")]

    assert prints == list(range(5_700, 5_100 + 100 * COUNT, 100))
    assert left(recorded_venue)["silence"] == {}


async def test_silent_venue_keeps_the_connection_open_until_it_is_told_to_speak(venue: RunningVenue) -> None:
    async with connect(f"{venue.ws}/stream?streams={DEPTH}/{TRADE}/btcusdt@bookTicker", compression=None) as socket:
        await socket.recv()
        assert fault(venue, silence={"*": None})["silence"] == {"*": None}
        await (await socket.ping())  # what was on its way has come by now
        while True:
            try:
                await asyncio.wait_for(socket.recv(), 0.02)
            except TimeoutError:
                break
        served = venue.status()["lines_served"]
        await asyncio.to_thread(eventually, lambda: venue.status()["lines_served"] > served + 30, "more of the market")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(socket.recv(), 0.2)
        await (await socket.ping())

        fault(venue, silence={})
        assert json.loads(str(await socket.recv()))["stream"]


async def test_gap_is_closed_by_the_book_that_rest_gives_afterwards(venue: RunningVenue) -> None:
    book, fresh = RecordedBook(), RecordedBook()
    async with asyncio.timeout(PATIENCE_S), connect(f"{venue.ws}/ws/{DEPTH}", compression=None) as socket:
        book.snapshot(await snapshot_of(venue))
        while not book.applied:
            book.diff(await diff_of(socket))
        fault(venue, drop={DEPTH: 2})
        while not book.gaps:
            after = await diff_of(socket)
            book.diff(after)
        fresh.diff(after)  # held until the snapshot is there, as what came since
        fresh.snapshot(await snapshot_of(venue))
        while fresh.applied < 5:
            fresh.diff(await diff_of(socket))
        true = await asyncio.to_thread(book_as_of, venue, fresh.last_update_id)

    assert fresh.gaps == 0
    assert true["lastUpdateId"] == fresh.last_update_id
    assert [[Decimal(p), Decimal(s)] for p, s in true["bids"]] == [list(level) for level in fresh.bids.levels()]
    assert [[Decimal(p), Decimal(s)] for p, s in true["asks"]] == [list(level) for level in fresh.asks.levels()]


def book_as_of(venue: RunningVenue, update_id: int) -> Any:
    """Return the venue's whole book as it was after `update_id`."""
    headers = {"X-Edgefleet-As-Of": str(update_id)}
    return httpx.get(f"{venue.rest}/depth", params={"symbol": "BTCUSDT", "limit": "5000"}, headers=headers).json()


async def snapshot_of(venue: RunningVenue) -> DepthSnapshot:
    frame = decode((await asyncio.to_thread(venue.depth, "BTCUSDT")).content)
    assert isinstance(frame, DepthSnapshot)
    return frame


async def diff_of(socket: Any) -> DepthDiff:
    frame = decode(b'{"stream":"%b","data":%b}' % (DEPTH.encode(), str(await socket.recv()).encode()))
    assert isinstance(frame, DepthDiff)
    return frame


# --- sockets


@pytest.mark.parametrize("code", [1001, 1012, 1006])
async def test_everybody_is_cut_off_with_the_code_that_was_asked_for(venue: RunningVenue, code: int) -> None:
    key = venue.listen_key()
    urls = [f"{venue.ws}/ws/{name}" for name in (TRADE, DEPTH, key)]
    sockets = [await connect(url, compression=None) for url in urls]

    fault(venue, disconnect="all", disconnect_code=code)

    for socket in sockets:
        with pytest.raises(ConnectionClosed) as closed:  # noqa: PT012 - frames come until the venue closes
            while True:
                await asyncio.wait_for(socket.recv(), 5)
        told = closed.value.rcvd
        assert (1006 if told is None else told.code) == code
    async with connect(urls[0], compression=None) as again:
        assert await again.recv()


@pytest.mark.parametrize(("whom", "market_lives", "user_lives"), [("market", False, True), ("user", True, False)])
async def test_market_or_account_alone_can_be_cut_off(
    venue: RunningVenue, whom: str, market_lives: bool, user_lives: bool
) -> None:
    async with (
        connect(f"{venue.ws}/ws/{TRADE}", compression=None) as market,
        connect(f"{venue.ws}/ws/{venue.listen_key()}", compression=None) as user,
    ):
        fault(venue, disconnect=whom)
        await asyncio.wait_for((user if market_lives else market).wait_closed(), 5)

        for socket, lives in ((market, market_lives), (user, user_lives)):
            if lives:
                await (await socket.ping())


async def test_one_of_several_is_cut_off(venue: RunningVenue) -> None:
    async with (
        connect(f"{venue.ws}/ws/{TRADE}", compression=None) as one,
        connect(f"{venue.ws}/ws/{TRADE}", compression=None) as other,
    ):
        fault(venue, disconnect="one")
        done, _ = await asyncio.wait(
            [asyncio.create_task(socket.wait_closed()) for socket in (one, other)],
            return_when=asyncio.FIRST_COMPLETED,
            timeout=5,
        )
        assert len(done) == 1
        assert left(venue)["disconnect"] == ""


async def test_handshake_is_refused_so_many_times(venue: RunningVenue) -> None:
    fault(venue, refuse_sockets=2)

    for _ in range(2):
        with pytest.raises(InvalidStatus) as refused:
            await connect(f"{venue.ws}/ws/{TRADE}", compression=None)
        assert refused.value.response.status_code == 503
    async with connect(f"{venue.ws}/ws/{TRADE}", compression=None) as socket:
        assert await socket.recv()


# --- requests


def test_server_errors_strike_the_path_that_was_named_so_many_times(venue: RunningVenue) -> None:
    fault(venue, rest_http_error=2, rest_http_status=502, rest_path="depth")

    assert [venue.depth("BTCUSDT").status_code for _ in range(3)] == [502, 502, 200]
    assert httpx.get(f"{venue.rest}/time").status_code == 200


def test_server_error_of_an_order_request_leaves_no_order(venue: RunningVenue) -> None:
    fault(venue, rest_http_error=1, rest_path="order")

    assert venue.signed("POST", "order", **MARKET_BUY, newClientOrderId="struck").status_code == 503
    assert venue.signed("GET", "order", symbol="BTCUSDT", origClientOrderId="struck").json()["code"] == -2013


@pytest.mark.parametrize("status", [429, 418])
def test_refusal_for_load_tells_how_long_to_wait_and_counts_who_does_not(venue: RunningVenue, status: int) -> None:
    venue.get("time")
    before = counters(venue)["early"]
    fault(venue, rest_limited=1, rest_limited_status=status, retry_after_s=2)

    first = httpx.get(f"{venue.rest}/time")
    early = httpx.get(f"{venue.rest}/time")

    assert (first.status_code, first.json()["code"], first.headers["retry-after"]) == (status, -1003, "2")
    assert early.status_code == status
    assert 1 <= int(early.headers["retry-after"]) <= 2
    assert counters(venue)["early"] == before + 1
    assert httpx.get(f"{venue.sim}/status").status_code == 200  # the simulation's own side is no part of the venue
    httpx.delete(f"{venue.sim}/faults")
    assert httpx.get(f"{venue.rest}/time").status_code == 200


def test_api_clock_can_be_wrong(venue: RunningVenue) -> None:
    fault(venue, clock_skew_ms=-7_000)

    told = venue.get("time")["serverTime"]
    refused = venue.signed("GET", "account")
    by_its_clock = venue.signed("GET", "account", timestamp=told)

    assert -7_500 < told - SYSTEM.wall_ns() // NS_PER_MS < -6_500
    assert refused.json()["code"] == -1021
    assert by_its_clock.status_code == 200


@pytest.mark.parametrize(
    "wrong",
    [
        {"explode": 1},
        {"drop": {DEPTH: -1}},
        {"rest_http_status": 404},
        {"rest_limited_status": 500},
        {"disconnect": "them"},
        {"disconnect_code": 4_000},
        {"silence": {"*": -1}},
        {"retry_after_s": 0},
        {"drop": {"nosuchstream": 1}},
        {"silence": {"BTCUSDT@trade": None}},
        {"clock_skew_ms": 10**19},
        {"clock_skew_ms": -(10**19)},
        {"hold_order_response_ms": 10**12},
    ],
)
def test_fault_that_cannot_be_is_refused_and_changes_nothing(venue: RunningVenue, wrong: dict[str, object]) -> None:
    before = left(venue)

    assert httpx.post(f"{venue.sim}/faults", json=wrong).status_code == 400
    assert left(venue) == before


def test_faults_of_frames_outlive_a_change_of_others_and_end_together(venue: RunningVenue) -> None:
    fault(venue, drop={DEPTH: 5}, silence={TRADE: 60_000})
    fault(venue, clock_skew_ms=10)

    kept = left(venue)
    assert (kept["drop"], kept["clock_skew_ms"]) == ({DEPTH: 5}, 10)
    assert 0 < kept["silence"][TRADE] <= 60_000
    none = httpx.delete(f"{venue.sim}/faults").json()
    assert (none["drop"], none["silence"], none["clock_skew_ms"]) == ({}, {}, 0)


# --- limits


def test_weight_beyond_the_published_limit_is_refused_until_the_minute_is_over(venue: RunningVenue) -> None:
    httpx.get(f"{venue.rest}/time")
    limit(venue, weight_1m=counters(venue)["weight_1m"] + 60)

    answers = [venue.depth("BTCUSDT") for _ in range(2)]
    info = httpx.get(f"{venue.sim}/limits").json()["limits"]

    assert [answer.status_code for answer in answers] == [200, 429]
    refused = answers[1]
    assert refused.json()["code"] == -1003
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert int(refused.headers["x-mbx-used-weight-1m"]) <= info["weight_1m"]
    httpx.delete(f"{venue.sim}/faults")


def test_exchange_info_publishes_what_is_enforced(venue: RunningVenue) -> None:
    limit(venue, weight_1m=5_000, orders_10s=7, orders_1d=70)

    published = {
        (one["rateLimitType"], one["interval"], one["intervalNum"]): one["limit"]
        for one in venue.get("exchangeInfo")["rateLimits"]
    }

    assert published == {("REQUEST_WEIGHT", "MINUTE", 1): 5_000, ("ORDERS", "SECOND", 10): 7, ("ORDERS", "DAY", 1): 70}


def test_address_that_goes_on_asking_is_banned(venue: RunningVenue) -> None:
    limit(venue, ban_after=2, ban_s=60)
    fault(venue, rest_limited=1, retry_after_s=30)

    answers = [httpx.get(f"{venue.rest}/time") for _ in range(5)]

    assert [answer.status_code for answer in answers] == [429, 429, 429, 418, 418]
    assert answers[-1].headers["retry-after"] == "60"
    assert "banned until" in answers[-1].json()["msg"]


def test_unfilled_orders_are_limited_and_filled_ones_are_not(venue: RunningVenue) -> None:
    price = str((Decimal(venue.get("ticker/bookTicker", symbol="BTCUSDT")["bidPrice"]) / 2).quantize(Decimal("0.01")))
    in_force = httpx.get(f"{venue.sim}/limits").json()["orders"]["1d"]
    limit(venue, orders_1d=in_force + 2)

    rest = [venue.signed("POST", "order", **FAR_BUY, price=price) for _ in range(2)]
    counted = venue.signed("GET", "rateLimit/order").json()
    refused = venue.signed("POST", "order", **FAR_BUY, price=price)
    limit(venue, orders_1d=in_force + 3)
    filled = [venue.signed("POST", "order", **MARKET_BUY) for _ in range(3)]

    assert [answer.status_code for answer in rest] == [200, 200]
    assert rest[-1].headers["x-mbx-order-count-1d"] == str(in_force + 2)
    assert [(one["intervalNum"], one["count"]) for one in counted] == [(10, counted[0]["count"]), (1, in_force + 2)]
    assert (refused.status_code, refused.json()["code"]) == (429, -1015)
    assert "retry-after" not in refused.headers
    assert [answer.json()["status"] for answer in filled] == ["FILLED"] * 3
    venue.signed("DELETE", "openOrders", symbol="BTCUSDT")


@pytest.mark.parametrize("wrong", [{"weight_1m": 0}, {"ban_after": -1}, {"speed": 1}])
def test_limit_that_cannot_be_is_refused(venue: RunningVenue, wrong: dict[str, int]) -> None:
    assert httpx.post(f"{venue.sim}/limits", json=wrong).status_code == 400
