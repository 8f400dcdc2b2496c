"""The suite `book`: what an update, a top, ten levels and a price for a size cost, beside two plain books.

Every book takes the same depth events in the same order, in turns of some hundred events, so that what else the machine
does meets all of them; and what they answer is compared, so that nobody is fast by being wrong.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol

from sortedcontainers import SortedDict

from edgefleet.book import Book
from edgefleet.clock import NS_PER_MS, NS_PER_S, NS_PER_US, SYSTEM
from edgefleet.errors import Broken, Misuse
from edgefleet.matching.filters import rules_for
from edgefleet.matching.synthetic import SyntheticMarket
from edgefleet.matching.wire import DepthDiff, DepthSnapshot, decode
from edgefleet.messages.market import Level
from edgefleet.units import ZERO
from edgefleet.venues.tape import read_tape
from edgefleet_services.bench.report import Figure, SuiteReport, figure, machine, percentile

UPDATE_LIMIT_US = 3.0  # of one changed level, top included, at the median
_TURN = 200  # events that one book takes before the next takes the same
_DEEP = 10  # levels
_SIZE = Decimal(5)  # base units, about ten times the touch on the recorded day
_SYNTHETIC_S, _SEED, _START_MS = 300, 7, 1_723_161_253_000
_QUICK_EVENTS = 1_500

Say = Callable[[str], None]
Levels = Sequence[Level]


@dataclass(frozen=True, slots=True, kw_only=True)
class BookOptions:
    """What the suite is asked for."""

    tape: tuple[Path, ...] = ()  # none: a synthetic market
    quick: bool = False


class Contender(Protocol):
    """A book that is measured."""

    def load(self, bids: Levels, asks: Levels) -> None: ...

    def apply(self, bids: Levels, asks: Levels) -> None: ...

    def top(self) -> Any: ...

    def levels(self, count: int) -> Any: ...

    def cost(self, size: Decimal) -> Any: ...


class Ours:
    """The fleet's book."""

    name = "edgefleet"

    def __init__(self) -> None:
        self._book = Book()
        self.load, self.apply, self.top = self._book.load, self._book.apply, self._book.top

    def levels(self, count: int) -> tuple[Levels, Levels]:
        return self._book.bids.levels(count), self._book.asks.levels(count)

    def cost(self, size: Decimal) -> tuple[Decimal | None, Decimal | None]:
        return self._book.vwap_to("buy", size), self._book.vwap_to("sell", size)


class Sorted:
    """A book of two `sortedcontainers.SortedDict`."""

    name = "sortedcontainers.SortedDict"

    def load(self, bids: Levels, asks: Levels) -> None:
        self._bids, self._asks = SortedDict(bids), SortedDict(asks)

    def apply(self, bids: Levels, asks: Levels) -> None:
        for side, levels in ((self._bids, bids), (self._asks, asks)):
            for price, size in levels:
                if size:
                    side[price] = size
                else:
                    side.pop(price, None)

    def top(self) -> tuple[Decimal, ...]:
        return (*self._bids.peekitem(-1), *self._asks.peekitem(0))

    def levels(self, count: int) -> tuple[Levels, Levels]:
        bids, asks = self._bids, self._asks
        best_bids = tuple([(price, bids[price]) for price in reversed(bids.keys()[-count:])])
        return best_bids, tuple([(price, asks[price]) for price in asks.keys()[:count]])

    def cost(self, size: Decimal) -> tuple[Decimal | None, Decimal | None]:
        bids, asks = self._bids, self._asks
        return _average(asks.items(), size), _average(((price, bids[price]) for price in reversed(bids)), size)


class Plain:
    """A book of two plain dicts."""

    name = "dict and max()"

    def load(self, bids: Levels, asks: Levels) -> None:
        self._bids, self._asks = dict(bids), dict(asks)

    def apply(self, bids: Levels, asks: Levels) -> None:
        for side, levels in ((self._bids, bids), (self._asks, asks)):
            for price, size in levels:
                if size:
                    side[price] = size
                else:
                    side.pop(price, None)

    def top(self) -> tuple[Decimal, ...]:
        bid, ask = max(self._bids), min(self._asks)
        return bid, self._bids[bid], ask, self._asks[ask]

    def levels(self, count: int) -> tuple[Levels, Levels]:
        best_bids = heapq.nlargest(count, self._bids.items())
        return tuple(best_bids), tuple(heapq.nsmallest(count, self._asks.items()))

    def cost(self, size: Decimal) -> tuple[Decimal | None, Decimal | None]:
        asks, bids = sorted(self._asks.items()), sorted(self._bids.items(), reverse=True)
        return _average(asks, size), _average(bids, size)


CONTENDERS: tuple[type[Ours] | type[Sorted] | type[Plain], ...] = (Ours, Sorted, Plain)
# A plain dict is hard to beat in a book of forty levels and hopeless in one of a thousand; its tail says nothing.
_BOUNDS = ((Sorted.name, "p50", 0.5, 1.0), (Sorted.name, "p99", 0.99, 1.25), (Plain.name, "p50", 0.5, 1.5))
Question = Callable[[Contender], Any]
QUESTIONS: dict[str, Question] = {
    "update_and_top": lambda book: book.top(),
    f"update_and_top_{_DEEP}": lambda book: book.levels(_DEEP),
    f"update_and_price_for_{_SIZE}": lambda book: book.cost(_SIZE),
}


def run_book(options: BookOptions, say: Say) -> SuiteReport:
    """Return the suite's figures.

    Raises
    ------
    Misuse
        If the tape cannot be read, or holds no book.
    Broken
        If the books do not agree.
    """
    snapshot, diffs, told = _events(options.tape)
    if options.quick:
        diffs = diffs[:_QUICK_EVENTS]
    levels = sum(len(diff.b) + len(diff.a) for diff in diffs)
    say(f"book       {len(diffs)} depth events of {levels} levels, from {told}")
    results: list[Figure] = []
    for name, question in QUESTIONS.items():
        taken = _measure(snapshot, diffs, question)
        say(f"{name}: " + "; ".join(f"{who} p50 {percentile(us, 0.5):.2f} us" for who, us in taken.items()))
        for peer, label, share, times in _BOUNDS:
            ours, theirs = (percentile(taken[who], share) for who in (Ours.name, peer))
            results.append(figure(f"{name}_{label}", ours, "us/event", peer, theirs, "at most", times))
        if name == "update_and_top":
            sizes = [len(diff.b) + len(diff.a) for diff in diffs]
            each = [us / size for us, size in zip(taken[Ours.name], sizes, strict=True) if size]
            results.append(
                figure("update_p50", percentile(each, 0.5), "us/level", "limit", UPDATE_LIMIT_US, "at most", 1.0)
            )
    about = machine(frames=told, levels_per_event=f"{levels / len(diffs):.1f}")
    return SuiteReport(suite="book", machine=about, results=tuple(results), ok=all(one.ok for one in results))


def _measure(snapshot: DepthSnapshot, diffs: Sequence[DepthDiff], question: Question) -> dict[str, list[float]]:
    """Return each book's time for each event, us: the update and the question after it."""
    books: list[tuple[str, Contender]] = [(kind.name, kind()) for kind in CONTENDERS]
    for _, book in books:
        book.load(snapshot.bids, snapshot.asks)
    taken: dict[str, list[float]] = {name: [] for name, _ in books}
    clock = SYSTEM.monotonic_ns
    for begin in range(0, len(diffs), _TURN):
        turn = diffs[begin : begin + _TURN]
        answers = []
        for name, book in books[begin // _TURN % len(books) :] + books[: begin // _TURN % len(books)]:
            apply, times, said = book.apply, taken[name], []
            for diff in turn:
                started = clock()
                apply(diff.b, diff.a)
                answer = question(book)
                times.append((clock() - started) / NS_PER_US)
                said.append(answer)
            answers.append(said)
        if any(said != answers[0] for said in answers):
            raise Broken(f"the measured books disagree within events {begin} to {begin + len(turn)}")
    return taken


def _average(levels: Iterable[Level], size: Decimal) -> Decimal | None:
    """Return the average price of a size walked down the levels, None where they are too thin."""
    filled, notional = ZERO, ZERO
    for price, there in levels:
        part = min(there, size - filled)
        filled += part
        notional += price * part
        if filled == size:
            return notional / filled
    return None


def _events(files: Sequence[Path]) -> tuple[DepthSnapshot, list[DepthDiff], str]:
    """Return a book and the events that follow it, of a tape's first symbol or of a synthetic market."""
    snapshot: DepthSnapshot | None = None
    diffs: list[DepthDiff] = []
    for body in _bodies(files):
        frame = decode(body)
        if isinstance(frame, DepthSnapshot):
            snapshot = snapshot or frame
        elif isinstance(frame, DepthDiff) and (not diffs or frame.s == diffs[0].s):
            diffs.append(frame)
    after = [] if snapshot is None else [diff for diff in diffs if diff.u > snapshot.lastUpdateId]
    if snapshot is None or not after:
        raise Misuse(f"{files[0]} holds no recorded book with depth after it; name a tape that begins with one")
    told = f"the tape {', '.join(path.name for path in files)}" if files else f"a synthetic market, seed {_SEED}"
    return snapshot, after, told


def _bodies(files: Sequence[Path]) -> Iterator[bytes]:
    if files:
        yield from (line.body for line in read_tape(files))
        return
    rules, start_ns = rules_for("BTC/USDT"), _START_MS * NS_PER_MS
    market = SyntheticMarket([rules], seed=_SEED, start_ns=start_ns)
    yield market.snapshots()[rules.symbol]
    yield from (body for _, body in market.advance(start_ns + _SYNTHETIC_S * NS_PER_S))
