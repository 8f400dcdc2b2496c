"""The simulated venue serving a tape over real sockets: every frame, in order, and books that agree with it."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from edgefleet.errors import Broken
from edgefleet.matching.engine import Side, TimeInForce
from edgefleet.matching.exchange import Balance, OrderRequest, OrderType, SimExchange
from edgefleet.matching.filters import rules_for
from edgefleet.matching.recorded import RecordedBook
from edgefleet.matching.wire import BookTicker, DepthDiff, DepthSnapshot, Trade, decode
from edgefleet_services.venue.service import VenueOptions, serve

from .venue_server import RunningVenue, eventually, running

pytestmark = pytest.mark.integration

STREAMS = "btcusdt@trade/btcusdt@bookTicker/btcusdt@depth@100ms"


async def read_all(socket: ClientConnection) -> tuple[list[str], int, str]:
    """Return every frame, and how the venue closed."""
    frames: list[str] = []
    with pytest.raises(ConnectionClosed) as closed:  # noqa: PT012 - frames come until the venue closes
        while True:
            frames.append(str(await socket.recv()))
    assert closed.value.rcvd is not None
    return frames, closed.value.rcvd.code, closed.value.rcvd.reason


def stream_of(venue: RunningVenue, path: str, *, tape: bool = False) -> connect:
    headers = {"X-Edgefleet-Tape": "1"} if tape else {}
    return connect(f"{venue.ws}{path}", compression=None, additional_headers=headers)


@pytest.mark.data
class TestRecordedMarket:
    """The two recorded files of BTCUSDT at full speed."""

    @pytest.fixture
    def files(self, recorded: Path) -> tuple[Path, ...]:
        return tuple(recorded / "binance_spot" / f"btcusdt_2024080{day}.gz" for day in (8, 9))

    @pytest.fixture
    def lines(self, files: tuple[Path, ...]) -> list[str]:
        return [line.rstrip(b"\n").decode() for path in files for line in gzip.open(path)]

    @pytest.fixture
    def venue(self, files: tuple[Path, ...]) -> Iterator[RunningVenue]:
        with running(VenueOptions(market="tape", tape=files, speed="max", port=0)) as venue:
            yield venue

    async def test_every_frame_comes_in_order_and_unmodified(self, venue: RunningVenue, lines: list[str]) -> None:
        recorded = [body for line in lines if not (body := line.partition(" ")[2]).startswith('{"lastUpdateId"')]

        async with stream_of(venue, f"/stream?streams={STREAMS}") as socket:
            frames, code, reason = await read_all(socket)

        assert len(frames) == 99_573  # the 99,574th line is the REST snapshot
        assert frames == recorded
        assert (code, reason) == (1000, "tape ended")
        status = venue.status()
        assert status["lines_served"] == status["lines_total"] == 99_574
        assert status["finished"] is True
        assert status["market_time_ms"] == 1723161905809

    async def test_first_book_is_the_recorded_one_and_rebuilds_the_market(self, venue: RunningVenue) -> None:
        async with stream_of(venue, f"/stream?streams={STREAMS}", tape=True) as socket:
            lines, _, _ = await read_all(socket)
        first = venue.depth("BTCUSDT")
        second = venue.get("depth", symbol="BTCUSDT", limit=1_000)

        book = RecordedBook()
        snapshot = decode(first.content)
        assert isinstance(snapshot, DepthSnapshot)
        assert snapshot.lastUpdateId == 50093239218
        assert first.headers["x-edgefleet-tape-stamp"] == "1723161254206652067"
        book.snapshot(snapshot)
        trades, volume = 0, Decimal(0)
        tops: dict[int, object] = {}  # of the rebuilt book, by update id
        tickers: list[BookTicker] = []
        for line in lines:
            stamp, _, body = line.partition(" ")
            assert stamp.isdigit()
            frame = decode(body.encode())
            match frame:
                case DepthDiff():
                    book.diff(frame)
                    bid, ask = book.bids.best(), book.asks.best()
                    assert bid is not None
                    assert ask is not None
                    assert bid[0] < ask[0]
                    tops[book.last_update_id] = (bid, ask)
                case BookTicker():
                    tickers.append(frame)
                case Trade():
                    trades += 1
                    volume += frame.q
        assert (book.applied, book.stale, book.gaps) == (6_493, 2, 0)
        assert (trades, volume) == (19_904, Decimal("437.91552"))
        shared = [ticker for ticker in tickers if ticker.u in tops]
        assert len(shared) == 1_072
        assert all(tops[ticker.u] == ((ticker.b, ticker.B), (ticker.a, ticker.A)) for ticker in shared)
        assert second["lastUpdateId"] == book.last_update_id
        assert second["bids"][0] == ["61602.01000000", "1.67177000"]
        assert second["asks"][0] == ["61602.02000000", "2.66795000"]

    async def test_two_consumers_each_get_every_frame(self, venue: RunningVenue) -> None:
        async with (
            stream_of(venue, "/stream?streams=btcusdt@trade") as one,
            stream_of(venue, "/ws/btcusdt@trade") as other,
        ):
            both = await asyncio.gather(read_all(one), read_all(other))

        (enveloped, _, _), (raw, _, _) = both
        assert len(enveloped) == 19_904
        # The second came a moment after the first, which started the tape.
        assert [json.loads(frame)["data"] for frame in enveloped[-len(raw) :]] == [json.loads(frame) for frame in raw]


# --- small tapes of our own


def depth(first: int, last: int, at: int) -> dict[str, Any]:
    data = {"e": "depthUpdate", "E": at, "s": "BTCUSDT", "U": first, "u": last, "b": [["100.00", "1.5"]], "a": []}
    return {"stream": "btcusdt@depth@100ms", "data": data}


def trade(number: int, price: str, at: int, *, sold: bool = True) -> dict[str, Any]:
    data = {"e": "trade", "E": at, "s": "BTCUSDT", "t": number, "p": price, "q": "1.0", "T": at, "m": sold, "M": True}
    return {"stream": "btcusdt@trade", "data": data}


BOOK = {"lastUpdateId": 10, "bids": [["100.00", "1.0"], ["99.00", "2.0"]], "asks": [["101.00", "1.0"]]}
SMALL = [depth(9, 10, 5_000), BOOK, depth(11, 11, 5_100), trade(1, "100.50", 5_200), trade(2, "99.50", 65_300)]


def write_tape(path: Path, entries: list[dict[str, Any]], gap_ns: int = 1_000_000) -> Path:
    text = "".join(f"{number * gap_ns} {json.dumps(entry)}\n" for number, entry in enumerate(entries, start=1))
    path.write_text(text)
    return path


@pytest.fixture
def small(tmp_path: Path) -> Iterator[RunningVenue]:
    balances = {"USDT": Decimal(10_000), "BTC": Decimal(1)}
    tape = (write_tape(tmp_path / "tape", SMALL),)
    with running(VenueOptions(market="tape", tape=tape, speed="max", port=0, balances=balances)) as venue:
        yield venue


def test_tape_waits_for_its_first_consumer(small: RunningVenue) -> None:
    status = small.status()

    assert (status["lines_served"], status["finished"], status["consumers"]) == (0, False, 0)
    assert status["market_time_ms"] == 5_000
    assert small.get("depth", symbol="BTCUSDT")["lastUpdateId"] == 10


async def test_resting_order_is_filled_by_the_tape_and_told_to_the_user_stream(small: RunningVenue) -> None:
    key = small.listen_key()
    async with stream_of(small, f"/ws/{key}") as user:
        resting = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC"}
        answer = small.signed("POST", "order", **resting, quantity="0.5", price="100.00", newClientOrderId="mine")
        assert answer.json()["status"] == "NEW"
        async with stream_of(small, f"/stream?streams={STREAMS}") as market:
            await read_all(market)
        events = [json.loads(await user.recv()) for _ in range(4)]

    assert [event["e"] for event in events] == ["executionReport", "outboundAccountPosition"] * 2
    new, fill = events[0], events[2]
    assert (new["x"], new["X"], new["c"], new["T"]) == ("NEW", "NEW", "mine", 5_000)
    assert (fill["x"], fill["X"], fill["l"], fill["L"]) == ("TRADE", "FILLED", "0.50000000", "100.00000000")
    assert (fill["T"], fill["n"], fill["N"], fill["m"]) == (65_300, "0.00050000", "BTC", True)
    (booked,) = small.signed("GET", "myTrades", symbol="BTCUSDT").json()
    assert (booked["id"], booked["time"], booked["qty"]) == (fill["t"], 65_300, "0.50000000")


async def test_raw_socket_subscribes_lists_and_unsubscribes(small: RunningVenue) -> None:
    async with stream_of(small, "/ws/0") as socket:
        answers = []
        for number, (method, params) in enumerate(
            [
                ("SUBSCRIBE", ["btcusdt@nothing"]),
                ("NONSENSE", []),
                ("SUBSCRIBE", ["btcusdt@aggTrade", "btcusdt@kline_1m"]),
            ],
            start=1,
        ):
            await socket.send(json.dumps({"method": method, "params": params, "id": number}))
            answers.append(json.loads(await socket.recv()))
        frames, code, _ = await read_all(socket)

    assert answers[0]["error"]["code"] == answers[1]["error"]["code"] == 2
    assert answers[2] == {"result": None, "id": 3}
    events = [json.loads(frame) for frame in frames]
    assert [(e["e"], e.get("a", e.get("k", {}).get("x"))) for e in events] == [
        ("aggTrade", 1),
        ("kline", False),
        ("aggTrade", 2),
        ("kline", True),
        ("kline", False),
    ]
    assert code == 1000


async def test_listed_subscriptions_are_those_that_are_left(tmp_path: Path) -> None:
    with running(VenueOptions(market="synthetic", port=0, warm_up_s=1)) as venue:
        async with stream_of(venue, "/ws") as socket:
            for message in (
                {"method": "SUBSCRIBE", "params": ["btcusdt@kline_1d", "btcusdt@kline_12h"], "id": 1},
                {"method": "UNSUBSCRIBE", "params": ["btcusdt@kline_1d"], "id": 2},
                {"method": "LIST_SUBSCRIPTIONS", "id": 3},
            ):
                await socket.send(json.dumps(message))
            answer = {"id": None}
            while answer.get("id") != 3:
                answer = json.loads(await socket.recv())

    assert answer == {"result": ["btcusdt@kline_12h"], "id": 3}


async def test_unknown_stream_is_refused_by_name(small: RunningVenue) -> None:
    async with stream_of(small, "/stream?streams=dogeusdt@trade") as socket:
        _, code, reason = await read_all(socket)

    assert (code, reason) == (1008, "unknown stream dogeusdt@trade")


async def test_late_consumer_is_told_that_the_tape_ended(small: RunningVenue) -> None:
    for _ in range(2):
        async with stream_of(small, "/ws/btcusdt@trade") as socket:
            frames, code, reason = await read_all(socket)

    assert (frames, code, reason) == ([], 1000, "tape ended")
    assert small.get("ticker/price", symbol="BTCUSDT")["price"] == "99.50000000"


async def test_tape_keeps_its_pace(tmp_path: Path) -> None:
    tape = write_tape(tmp_path / "tape", [BOOK, *(trade(n, "100.00", 5_000 + n) for n in range(1, 11))], 200_000_000)
    with running(VenueOptions(market="tape", tape=(tape,), speed="10", port=0)) as venue:
        loop = asyncio.get_running_loop()
        async with stream_of(venue, "/stream?streams=btcusdt@trade") as socket:
            started = loop.time()
            frames, _, _ = await read_all(socket)

    assert len(frames) == 10
    assert 0.18 <= loop.time() - started < 2  # ten gaps of 200 ms at ten times the pace


async def test_slow_consumer_holds_the_tape_back_and_loses_nothing(tmp_path: Path) -> None:
    count = 30_000
    tape = write_tape(tmp_path / "tape", [BOOK, *(trade(n, "100.00", 5_000) for n in range(1, count + 1))])
    with running(VenueOptions(market="tape", tape=(tape,), speed="max", port=0)) as venue:
        async with connect(f"{venue.ws}/ws/btcusdt@trade", compression=None, max_queue=1) as socket:
            first = json.loads(await socket.recv())["t"]
            served = await asyncio.to_thread(stalled, venue)
            assert served < count
            frames, _, _ = await read_all(socket)

    assert [first, *(json.loads(frame)["t"] for frame in frames)] == list(range(1, count + 1))


async def test_book_that_a_late_consumer_asks_for_fits_the_diffs_it_gets(tmp_path: Path) -> None:
    count = 20_000
    diffs = [depth(10 + n, 10 + n, 5_000 + n) for n in range(1, count + 1)]
    tape = write_tape(tmp_path / "tape", [BOOK, *diffs])
    with running(VenueOptions(market="tape", tape=(tape,), speed="max", port=0)) as venue:
        async with connect(f"{venue.ws}/ws/btcusdt@depth@100ms", compression=None, max_queue=1) as first:
            await first.recv()  # it never asks for the book that it is owed
            await asyncio.to_thread(stalled, venue)
            async with connect(f"{venue.ws}/stream?streams=btcusdt@depth@100ms", compression=None) as late:
                snapshot = decode((await asyncio.to_thread(venue.depth, "BTCUSDT")).content)
                await asyncio.gather(read_all(first), reading := asyncio.create_task(read_all(late)))

    assert isinstance(snapshot, DepthSnapshot)
    book = RecordedBook()
    book.snapshot(snapshot)
    for text in reading.result()[0]:
        frame = decode(text.encode())
        assert isinstance(frame, DepthDiff)
        book.diff(frame)
    assert (book.gaps, book.last_update_id) == (0, 10 + count)
    assert 0 < book.applied < count


async def test_slow_consumer_that_pings_gets_the_end_of_the_tape_too(tmp_path: Path) -> None:
    count = 1_200  # all of it fits into buffers, so the venue is done at once
    tape = write_tape(tmp_path / "tape", [BOOK, *(trade(n, "100.00", 5_000) for n in range(1, count + 1))])
    with running(VenueOptions(market="tape", tape=(tape,), speed="max", port=0)) as venue:
        async with connect(f"{venue.ws}/ws/btcusdt@trade", compression=None, max_queue=1) as socket:
            await socket.recv()
            await asyncio.sleep(11)  # longer than the server's own patience with a close that is not answered
            await socket.ping()
            await asyncio.sleep(0.5)
            frames, code, _ = await read_all(socket)

    assert [json.loads(frame)["t"] for frame in frames] == list(range(2, count + 1))
    assert code == 1000


async def test_consumer_that_leaves_does_not_hold_up_the_one_that_stays(tmp_path: Path) -> None:
    count = 20_000
    tape = write_tape(tmp_path / "tape", [BOOK, *(trade(n, "100.00", 5_000) for n in range(1, count + 1))])
    with running(VenueOptions(market="tape", tape=(tape,), speed="max", port=0)) as venue:
        async with connect(f"{venue.ws}/ws/btcusdt@trade", compression=None) as stays:
            leaves = await connect(f"{venue.ws}/ws/btcusdt@trade", compression=None, max_queue=1)
            await leaves.recv()
            leaves.transport.abort()
            frames, code, _ = await read_all(stays)

    assert [json.loads(frame)["t"] for frame in frames] == list(range(1, count + 1))
    assert code == 1000


async def test_tape_stands_still_while_nobody_listens(tmp_path: Path) -> None:
    count = 30_000
    tape = write_tape(tmp_path / "tape", [BOOK, *(trade(n, "100.00", 5_000) for n in range(1, count + 1))])
    with running(VenueOptions(market="tape", tape=(tape,), speed="max", port=0)) as venue:
        first = await connect(f"{venue.ws}/ws/btcusdt@trade", compression=None, max_queue=1)
        await asyncio.to_thread(stalled, venue)
        first.transport.abort()
        await asyncio.to_thread(eventually, lambda: venue.status()["consumers"] == 0, "the consumer's end")
        left_at = await asyncio.to_thread(stalled, venue)
        async with connect(f"{venue.ws}/ws/btcusdt@trade", compression=None) as socket:
            frames, code, _ = await read_all(socket)

    assert left_at < count
    numbers = [json.loads(frame)["t"] for frame in frames]
    assert numbers == list(range(left_at, count + 1))  # the book is line 1, so trade n is line n + 1
    assert code == 1000


def stalled(venue: RunningVenue) -> int:
    """Return the line at which the tape stands still."""
    seen: list[int] = []

    def still() -> bool:
        seen.append(venue.status()["lines_served"])
        return len(seen) > 20 and len(set(seen[-20:])) == 1

    eventually(still, "a stop of the tape")
    return seen[-1]


async def test_tape_without_a_book_has_none_to_give(tmp_path: Path) -> None:
    tape = write_tape(tmp_path / "tape", [trade(1, "100.00", 5_000)])
    with running(VenueOptions(market="tape", tape=(tape,), speed="max", port=0)) as venue:
        async with stream_of(venue, "/ws/btcusdt@trade") as socket:
            await read_all(socket)

        assert venue.get("depth", symbol="BTCUSDT")["code"] == -1001


async def test_frames_the_matching_has_no_use_for_are_served_all_the_same(tmp_path: Path) -> None:
    kline = {"stream": "btcusdt@kline_1m", "data": {"e": "kline", "E": 5_000, "s": "BTCUSDT", "k": {}}}
    tape = write_tape(tmp_path / "tape", [kline, trade(1, "100.00", 5_000)])
    with running(VenueOptions(market="tape", tape=(tape,), speed="max", port=0)) as venue:
        async with stream_of(venue, "/stream?streams=btcusdt@kline_1m/btcusdt@trade") as socket:
            frames, code, _ = await read_all(socket)

    assert json.loads(frames[0]) == kline
    assert code == 1000


async def test_venue_whose_account_is_false_stops(tmp_path: Path) -> None:
    exchange = SimExchange([rules_for("BTC/USDT")], {"USDT": Decimal(1_000)})
    exchange.market_time_ms = 1
    exchange.place(
        OrderRequest(
            symbol="BTCUSDT",
            side=Side.BUY,
            type=OrderType.LIMIT,
            quantity=Decimal(1),
            price=Decimal(100),
            time_in_force=TimeInForce.GTC,
        )
    )
    saved = exchange.dump()
    saved.balances["USDT"] = Balance(free=Decimal(1_000), locked=Decimal(0))  # nothing is reserved for the order
    state = tmp_path / "venue.json"
    state.write_bytes(msgspec.json.encode(saved))
    tape = write_tape(tmp_path / "tape", [BOOK, trade(1, "99.00", 5_000)])
    port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    options = VenueOptions(market="tape", tape=(tape,), speed="max", port=0, state_file=state)

    serving = asyncio.create_task(serve(options, stop=asyncio.Event(), ready=port.set_result))
    async with connect(f"ws://127.0.0.1:{await port}/ws/btcusdt@trade", compression=None) as socket:
        with pytest.raises(ConnectionClosed):
            await socket.recv()

    with pytest.raises(Broken, match="USDT balance fell to -100"):
        await serving
