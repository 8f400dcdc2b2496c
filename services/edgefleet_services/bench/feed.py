"""The suite `feed`: what one frame costs from its bytes to the fleet's messages, and whether a feed grows.

Beside it the same frames are only decoded, only read by `json.loads`, and taken by ccxt.pro's own parsers where ccxt is
installed. All take turns of blocks, so that what else the machine does meets all. Processor time.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from itertools import islice
from pathlib import Path

from edgefleet.errors import Misuse
from edgefleet.matching.wire import decode
from edgefleet.params.schema.quality import QualityParams
from edgefleet.venues.binance.feed import BinanceFeed
from edgefleet.venues.tape import TapeLine, read_tape
from edgefleet_services.bench.growth import grow
from edgefleet_services.bench.report import Figure, SuiteReport, figure, machine

Say = Callable[[str], None]
_Take = Callable[[int, bytes, int], object]
_BLOCK = 500
_QUICK_LINES = 20_000
_TIMES = 6.0  # of only decoding: book, checks, messages, beats and touches included
_LIMIT_US = 100.0
_OF_JSON = 4.0  # the aim is 1, and 0.1 of ccxt: neither is reached
_OF_CCXT = 0.5
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
    takers: dict[str, _Take] = {
        "floor": _decode, "json": _loads, "plain": plain.on_line, "judged": judged.on_line,
    }  # fmt: skip
    peer = _ccxt_parsers()
    if peer is None:
        say("feed       ccxt is not installed: no figure beside it (the extra `venues` brings it)")
    else:
        takers["ccxt"] = peer
    costs: dict[str, list[float]] = {name: [] for name in takers}
    for block in _blocks(lines):
        for name, take in takers.items():
            started = time.process_time_ns()
            for line in block:
                take(line.stamp_ns, line.body, line.stamp_ns)
            costs[name].append((time.process_time_ns() - started) / 1_000 / len(block))
    median = {name: sorted(found)[len(found) // 2] for name, found in costs.items()}
    ours, bare, floor = median["judged"], median["plain"], median["floor"]
    say(f"feed       {ours:.1f} us a frame, {bare:.1f} without the quality checks, {floor:.1f} only decoded")
    results: list[Figure] = [
        figure("frame_to_messages", ours, "us", "only decoding the same frames", floor, "at most", 2 * _TIMES),
        figure("frame_without_checks", bare, "us", "only decoding the same frames", floor, "at most", _TIMES),
        figure("frame_beside_json", bare, "us", "json.loads of the same frames", median["json"], "at most", _OF_JSON),
        figure("frame_limit", ours, "us", "limit", _LIMIT_US, "at most", 1.0),
    ]
    if peer is not None:
        name = "ccxt.pro's parsers, the same frames"
        results.append(figure("frame_beside_ccxt", bare, "us", name, median["ccxt"], "at most", _OF_CCXT))
    growth = grow(*((_QUICK_HOUR, _QUICK_SETTLED) if quick else (_HOUR, _SETTLED)), say)
    name = "held when every window was full, MB"
    results.append(figure("growth_in_an_hour", growth.slope_mb, "MB/h", name, growth.held_mb, "at most", _GROWTH))
    about = machine() | {"frames": f"{len(lines)} recorded lines"}
    return SuiteReport(suite="feed", machine=about, results=tuple(results), ok=all(one.ok for one in results))


def _feed() -> BinanceFeed:
    return BinanceFeed("sim", ["BTC/USDT"])


def _decode(stamp_ns: int, body: bytes, ts_init: int) -> Decimal | None:
    frame = decode(body)
    return getattr(frame, "p", None)


def _loads(stamp_ns: int, body: bytes, ts_init: int) -> object:
    return json.loads(body)


def _ccxt_parsers() -> _Take | None:
    """Return what ccxt.pro does with a frame once it is routed: parse a print or a ticker, lay a diff on its book."""
    try:
        import ccxt.pro
    except ModuleNotFoundError:
        return None
    exchange = ccxt.pro.binance()
    market = exchange.safe_market_structure({
        "id": "BTCUSDT", "symbol": "BTC/USDT", "base": "BTC", "quote": "USDT", "type": "spot", "spot": True,
    })  # fmt: skip
    exchange.set_markets([market])
    book = exchange.order_book({})

    def take(stamp_ns: int, body: bytes, ts_init: int) -> None:
        frame = json.loads(body)
        stream, data = frame.get("stream", ""), frame.get("data")
        if stream.endswith("@trade"):
            exchange.parse_ws_trade(data, market)
        elif stream.endswith("@bookTicker"):
            exchange.parse_ws_ticker(data, "spot")
        elif "@depth" in stream:
            exchange.handle_order_book_message(None, data, book)
            book.limit()
        elif "lastUpdateId" in frame:
            book.reset(exchange.parse_order_book(frame, "BTC/USDT"))

    return take


def _blocks(lines: list[TapeLine]) -> Iterator[list[TapeLine]]:
    for at in range(0, len(lines), _BLOCK):
        yield lines[at : at + _BLOCK]
