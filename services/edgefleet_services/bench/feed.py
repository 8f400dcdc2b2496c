"""The suite `feed`: what one frame costs from its bytes to the fleet's messages, beside only decoding it.

Both take the same frames in turns of blocks, so that what else the machine does meets both. Processor time.
"""

from __future__ import annotations

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
from edgefleet_services.bench.report import Figure, SuiteReport, figure, machine

Say = Callable[[str], None]
_BLOCK = 500
_QUICK_LINES = 20_000
_TIMES = 6.0  # of only decoding: book, checks, messages, beats and touches included
_LIMIT_US = 100.0


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
    costs: dict[str, list[float]] = {"judged": [], "plain": [], "floor": []}
    for block in _blocks(lines):
        for name, take in (("floor", _decode), ("plain", plain.on_line), ("judged", judged.on_line)):
            started = time.process_time_ns()
            for line in block:
                take(line.stamp_ns, line.body, line.stamp_ns)
            costs[name].append((time.process_time_ns() - started) / 1_000 / len(block))
    ours, bare, floor = (sorted(costs[name])[len(costs[name]) // 2] for name in ("judged", "plain", "floor"))
    say(f"feed       {ours:.1f} us a frame, {bare:.1f} without the quality checks, {floor:.1f} only decoded")
    results: tuple[Figure, ...] = (
        figure("frame_to_messages", ours, "us", "only decoding the same frames", floor, "at most", 2 * _TIMES),
        figure("frame_without_checks", bare, "us", "only decoding the same frames", floor, "at most", _TIMES),
        figure("frame_limit", ours, "us", "limit", _LIMIT_US, "at most", 1.0),
    )
    about = machine() | {"frames": f"{len(lines)} recorded lines"}
    return SuiteReport(suite="feed", machine=about, results=results, ok=all(one.ok for one in results))


def _feed() -> BinanceFeed:
    return BinanceFeed("sim", ["BTC/USDT"])


def _decode(stamp_ns: int, body: bytes, ts_init: int) -> Decimal | None:
    frame = decode(body)
    return getattr(frame, "p", None)


def _blocks(lines: list[TapeLine]) -> Iterator[list[TapeLine]]:
    for at in range(0, len(lines), _BLOCK):
        yield lines[at : at + _BLOCK]
