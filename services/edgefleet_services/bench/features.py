"""The suite `features`: what all features of one instrument cost per event, beside decoding and beside recomputing.

Engine, floor and peer take turns in short blocks over the same events, so that what else the machine does meets all
three; a figure is the median of its blocks' means, in processor time. Every feature is warm before it is measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from time import process_time_ns
from typing import Any

import msgspec

from edgefleet.clock import NS_PER_S, NS_PER_US
from edgefleet.errors import Misuse
from edgefleet.features import FeatureEngine, FeatureSpec
from edgefleet.messages import decode, encode, tag_of
from edgefleet.messages.market import BookDelta, BookSnapshot, Quote, Trade
from edgefleet.venues.binance.feed import BinanceFeed
from edgefleet.venues.tape import read_tape
from edgefleet_services.bench.frames import FrameMaker, from_synthetic
from edgefleet_services.bench.recompute import Recomputing
from edgefleet_services.bench.report import Figure, SuiteReport, figure, machine, percentile

SYMBOL, VENUE = "BTC/USDT", "sim"
LIMIT_US = 50.0
DECODING_TIMES, RECOMPUTING_TIMES = 20.0, 0.5
# The limit is for the mean of all events. A change of the book is one in fifteen, and holds tens of levels.
_KINDS = {"quote": 1.0, "trade": 1.0, "book": 2.0}
_BLOCK, _LOOKS = 500, 10  # events of a block, and for how many of them the peer recomputes
_SYNTHETIC_S, _SYNTHETIC_RATE = 660, 150.0  # as the recorded day is long and busy

Say = Callable[[str], None]
Event = Quote | Trade | BookDelta | BookSnapshot


def run_features(tape: Sequence[Path], say: Say, *, quick: bool = False) -> SuiteReport:
    """Return the suite's figures over a recorded tape of BTC/USDT, or over a synthetic market where none is named.

    Raises
    ------
    Misuse
        If the tape holds too little of BTC/USDT for every feature to be given.
    """
    spec = FeatureSpec()
    engine, peer = FeatureEngine(f"{SYMBOL}@{VENUE}", spec), Recomputing(spec)
    day = _tape_events(tape) if tape else _synthetic_events()
    if not day:
        raise Misuse(f"{tape[0]} holds no market of {SYMBOL}; name a recorded one with --tape")
    span = day[-1].ts_event - day[0].ts_event + NS_PER_S
    rounds = math.ceil(_warm_up_ns(engine) / span)
    say(f"features   warming up by {rounds} rounds of {len(day)} events")
    for number in range(rounds):
        for event in _later(day, number * span):
            engine.on_message(event)
            peer.follow(event)
    missing = [feature.name for feature in engine.features if feature.name not in engine.values()]
    if missing:
        raise Misuse(f"this market never gives {', '.join(missing)}; take a longer one, with trades, quotes and a book")
    results = _measure(engine, peer, list(_later(day[:20_000] if quick else day, rounds * span)), say)
    told = ", ".join(path.name for path in tape) if tape else "a synthetic market"
    about = machine(frames=told, features=str(len(engine.features)))
    return SuiteReport(suite="features", machine=about, results=results, ok=all(one.ok for one in results))


def _tape_events(tape: Sequence[Path]) -> list[Event]:
    feed = BinanceFeed(VENUE, [SYMBOL])
    return _events(feed, ((line.stamp_ns, line.body) for line in read_tape(tape)))


def _synthetic_events() -> list[Event]:
    source = from_synthetic(SYMBOL)
    feed = BinanceFeed(VENUE, [SYMBOL])
    start_ns = 1_700_000_000 * NS_PER_S
    frames = FrameMaker(source).take(int(_SYNTHETIC_S * _SYNTHETIC_RATE), start_ns=start_ns, rate=_SYNTHETIC_RATE)
    return _events(feed, ((start_ns, body) for body in (source.snapshot, *frames)))


def _events(feed: BinanceFeed, lines: Iterable[tuple[int, bytes]]) -> list[Event]:
    outputs = (output for stamp, body in lines for output in feed.on_line(stamp, body, stamp))
    return [output.message for output in outputs if isinstance(output.message, Event)]


def _warm_up_ns(engine: FeatureEngine) -> int:
    """Return how long the slowest feature takes to be given, with a bar to spare."""
    bar_s = engine.spec.bar_ms / 1_000
    waits = [feature.warm_up * (bar_s if feature.begin == "bars" else 1) for feature in engine.features]
    return int((max(waits) + 2 * bar_s) * NS_PER_S)


def _later(events: Iterable[Event], shift_ns: int) -> Iterable[Event]:
    """Yield events as they would come so much later."""
    return (msgspec.structs.replace(event, ts_event=event.ts_event + shift_ns) for event in events)


def _measure(engine: FeatureEngine, peer: Recomputing, events: Sequence[Event], say: Say) -> tuple[Figure, ...]:
    ours: list[float] = []
    bare: list[float] = []
    recomputed: list[float] = []
    kinds: dict[str, list[float]] = {kind: [] for kind in _KINDS}
    for begin in range(0, len(events) - _BLOCK + 1, _BLOCK):
        block = events[begin : begin + _BLOCK]
        encoded = [(tag_of(event), encode(event)) for event in block]
        bare.append(_us(_touch, encoded) / _BLOCK)
        if begin // _BLOCK % 4 == 3:  # a block whose events are timed one by one, and not in the mean
            for event in block:
                kinds[_kind(event)].append(_us(_take, engine, (event,)))
        else:
            ours.append(_us(_take, engine, block) / _BLOCK)
        for event in block:
            peer.follow(event)
        peer.hold()
        recomputed += [_us(peer.recompute) for _ in range(_LOOKS)]
    cost, decoding, other = (percentile(values, 0.5) for values in (ours, bare, recomputed))
    say(f"features   {cost:.1f} us an event; decoding alone {decoding:.1f} us, recomputing {other:.1f} us")
    singles = (
        figure(f"all_features_p50.{kind}", percentile(kinds[kind], 0.5), "us", "limit", LIMIT_US, "at most", times)
        for kind, times in _KINDS.items()
    )
    return (
        figure("all_features", cost, "us", "limit", LIMIT_US, "at most", 1.0),
        *singles,
        figure("beside_decoding", cost, "us", "decode and touch", decoding, "at most", DECODING_TIMES),
        figure("beside_recomputing", cost, "us", "numpy over each window", other, "at most", RECOMPUTING_TIMES),
    )


def _kind(event: Event) -> str:
    return "quote" if isinstance(event, Quote) else "trade" if isinstance(event, Trade) else "book"


def _take(engine: FeatureEngine, events: Iterable[Event]) -> None:
    for event in events:
        engine.on_message(event)
        engine.values()


def _touch(encoded: Iterable[tuple[str, bytes]]) -> int:
    """Decode each event and look at its stamp: the least that whatever follows a stream does."""
    newest = 0
    for tag, data in encoded:
        message: Any = decode(tag, data)
        newest = max(newest, message.ts_event)
    return newest


def _us(run: Callable[..., object], *arguments: object) -> float:
    """Return the processor time of a call: what else the machine does is none of its cost."""
    begun = process_time_ns()
    run(*arguments)
    return (process_time_ns() - begun) / NS_PER_US
