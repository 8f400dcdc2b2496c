"""The suite `feed`: what a frame costs from its bytes to the fleet's messages and into Redis, and whether a feed grows.

Reading is compared with reading, and the whole way with the whole way: `json.loads` and ccxt's parsers stand beside
decoding to what the feed goes on with, Decimals of tops and prints and, of a book's levels, texts beside judged floats;
ccxt.pro's own handling of the frame, book and caches included, beside the feed. Beside `json.loads` the kind of a frame
is found out, as the feed must; beside ccxt's parsers both are told it.
All take turns of blocks, so that what else the machine does meets all. Processor time.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from edgefleet.errors import Misuse
from edgefleet.params.schema.quality import QualityParams
from edgefleet.venues.binance import wire
from edgefleet.venues.binance.feed import BinanceFeed
from edgefleet.venues.figures import Reader
from edgefleet.venues.tape import TapeLine, read_tape
from edgefleet_services.bench.growth import grow
from edgefleet_services.bench.published import publish
from edgefleet_services.bench.report import Figure, SuiteReport, figure, machine

Say = Callable[[str], None]
_Take = Callable[[int, bytes, int], object]
_Read = Callable[[bytes], object]
_Readers = dict[bytes, _Read]  # by the kind of frame; of every other kind, a REST snapshot, is `_SNAPSHOT`
_SNAPSHOT = b""
_BLOCK = 2_000
_QUICK_LINES = 20_000
_LIMIT_US = 100.0
_OF_JSON = 1.0
_OF_PARSERS = 0.1
_OF_HANDLING = 0.4
_EVENTS_PER_S = 20_000.0
_GROWTH = 0.05  # of what is held, in a market hour
_HOUR, _SETTLED = 60, 20  # market minutes: of the market, and until indicators over bars are warm
_QUICK_HOUR, _QUICK_SETTLED = 6, 2


def run_feed(tape: Sequence[Path], say: Say, *, quick: bool = False) -> SuiteReport:
    """Return the suite's figures over recorded frames of BTC/USDT.

    Raises
    ------
    Misuse
        If there is no tape: a feed is measured on what a venue really sent.
    """
    if not tape:
        raise Misuse("bench feed needs recorded frames: --tape FILE...")
    say("feed       reading the tape")
    lines = list(islice(read_tape(tape), _QUICK_LINES if quick else None))
    judged, plain = _feed(), _feed()
    judged.set_quality(QualityParams())
    readers: dict[str, _Readers] = {
        "read": {_SNAPSHOT: _finding_out(_reader())}, "parsed": _reader(), "json": {_SNAPSHOT: json.loads},
    }  # fmt: skip
    takers: dict[str, _Take] = {"plain": plain.on_line, "judged": judged.on_line}
    peers = _ccxt()
    if peers is None:
        say("feed       ccxt is not installed: no figure beside it (the extra `venues` brings it)")
    else:
        readers["parsers"], takers["handling"] = peers
    costs: dict[str, list[float]] = {name: [] for name in (*readers, *takers)}
    for block in _blocks(lines):
        for name, kinds in readers.items():
            told = [(kinds.get(_kind(line.body), kinds[_SNAPSHOT]), line.body) for line in block]
            started = time.process_time_ns()
            for read, body in told:
                read(body)
            costs[name].append((time.process_time_ns() - started) / 1_000 / len(block))
        for name, take in takers.items():
            started = time.process_time_ns()
            for line in block:
                take(line.stamp_ns, line.body, line.stamp_ns)
            costs[name].append((time.process_time_ns() - started) / 1_000 / len(block))
    median = {name: sorted(found)[len(found) // 2] for name, found in costs.items()}
    reading, whole, ours = median["read"], median["plain"], median["judged"]
    say(f"feed       {reading:.1f} us a frame to read, {whole:.1f} to the fleet's messages, {ours:.1f} with the checks")
    name = "json.loads of the same frames"
    results: list[Figure] = [figure("frame_read", reading, "us", name, median["json"], "at most", _OF_JSON)]
    if peers is not None:
        name = "ccxt's parsers, the same frames"
        results.append(
            figure("frame_parsed_beside_ccxt", median["parsed"], "us", name, median["parsers"], "at most", _OF_PARSERS)
        )
        name = "ccxt.pro's handling, the same frames"
        results.append(figure("frame_to_messages", whole, "us", name, median["handling"], "at most", _OF_HANDLING))
    results.append(figure("frame_judged", ours, "us", "limit", _LIMIT_US, "at most", 1.0))
    published = asyncio.run(publish(lines))
    rate = published.per_core_s
    say(f"feed       {rate:,.0f} events a second of one core into Redis")
    results.append(figure("published", rate, "events/s", "limit", _EVENTS_PER_S, "at least", 1.0))
    growth = grow(*((_QUICK_HOUR, _QUICK_SETTLED) if quick else (_HOUR, _SETTLED)), say)
    name = "held when every window was full, MB"
    results.append(figure("growth_in_an_hour", growth.slope_mb, "MB/h", name, growth.held_mb, "at most", _GROWTH))
    about = machine() | {"frames": f"{len(lines)} recorded lines"}
    return SuiteReport(suite="feed", machine=about, results=tuple(results), ok=all(one.ok for one in results))


def _feed() -> BinanceFeed:
    return BinanceFeed("sim", ["BTC/USDT"])


def _reader() -> _Readers:
    """Return what the feed does to a frame first: decode it to figures that can be, exact ones or their exact texts."""
    figures = Reader()

    def ticker(body: bytes) -> None:
        data = wire.TICKER.decode(body).data
        figures.top(data.b, data.B, data.a, data.A)

    def trade(body: bytes) -> None:
        data = wire.TRADE.decode(body).data
        figures.print(data.p, data.q)

    def depth(body: bytes) -> None:
        wire.levels_of(body, wire.DEPTH.decode(body).data)

    return {b"book": ticker, b"trad": trade, b"dept": depth, _SNAPSHOT: wire.SNAPSHOT.decode}


def _finding_out(kinds: _Readers) -> _Read:
    """Return what reads a frame of any kind."""
    other = kinds[_SNAPSHOT]

    def read(body: bytes) -> None:
        kinds.get(_kind(body), other)(body)

    return read


def _kind(body: bytes) -> bytes:
    """Return the first letters of the stream a frame is of, none for a REST snapshot."""
    at = body.find(b"@", 0, 64)
    return body[at + 1 : at + 5] if at > 0 else b""


class _NoClient:
    """What ccxt.pro's handlers want of a connection: its address, and somebody who waits for nothing."""

    url = "wss://stream.binance.com:9443/stream"

    def __init__(self) -> None:
        self.subscriptions: dict[str, object] = {}

    def resolve(self, result: object, message_hash: str) -> object:
        return result

    def reject(self, error: BaseException, message_hash: str = "") -> None:
        raise error


def _ccxt() -> tuple[_Readers, _Take] | None:
    """Return ccxt's parsers of a frame, and all that ccxt.pro does with it: dispatch, parse, book and caches."""
    try:
        import ccxt.pro
    except ModuleNotFoundError:
        return None
    exchange = ccxt.pro.binance()
    symbol = "BTC/USDT"
    market = exchange.safe_market_structure({
        "id": "BTCUSDT", "symbol": symbol, "base": "BTC", "quote": "USDT", "type": "spot", "spot": True,
    })  # fmt: skip
    exchange.set_markets([market])
    exchange.orderbooks[symbol] = exchange.order_book({})
    client = _NoClient()

    def ticker(body: bytes) -> None:
        exchange.parse_ws_ticker(json.loads(body)["data"], "spot")

    def trade(body: bytes) -> None:
        exchange.parse_ws_trade(json.loads(body)["data"], market)

    def depth(body: bytes) -> None:
        data = json.loads(body)["data"]
        exchange.parse_order_book(data, symbol, data["E"], "b", "a")

    def snapshot(body: bytes) -> None:
        exchange.parse_order_book(json.loads(body), symbol)

    parsers: _Readers = {b"book": ticker, b"trad": trade, b"dept": depth, _SNAPSHOT: snapshot}

    def handle(stamp_ns: int, body: bytes, ts_init: int) -> None:
        frame = json.loads(body)
        if "lastUpdateId" not in frame:
            exchange.handle_message(client, frame)
            return
        book = exchange.orderbooks[symbol]
        waiting = list(book.cache)
        book.reset({**exchange.parse_order_book(frame, symbol), "nonce": frame["lastUpdateId"]})
        for diff in waiting:
            exchange.handle_order_book(client, diff)

    return parsers, handle


def _blocks(lines: list[TapeLine]) -> Iterator[list[TapeLine]]:
    for at in range(0, len(lines), _BLOCK):
        yield lines[at : at + _BLOCK]
