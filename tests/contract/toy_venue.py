"""A venue that nobody runs, with what ours have not: diffs without numbers, on REST books that name no instrument.

Names are `btcusd`; a book is asked for at `/book/btcusd/`.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from decimal import Decimal
from typing import Literal

import msgspec
from tests.contract import venue_simulators as simulated
from tests.contract.feed_cases import levels, parse, poisoned, poisoned_prints, through

from edgefleet.clock import NS_PER_US
from edgefleet.errors import Poison
from edgefleet.instruments import canonical_symbol
from edgefleet.messages.market import Level
from edgefleet.stage import Output
from edgefleet.testing.feed_harness import Change, FeedCase, Line, OracleBook, Print
from edgefleet.venues.dialect import Dialect, FeedOptions
from edgefleet.venues.feed import UNREADABLE, FeedCore, Followed, are_levels
from edgefleet.venues.figures import is_plausible

SYMBOLS = ("BTC/USD", "DOGE/USD")


class Book(msgspec.Struct):
    """A diff, or all of a book over REST; `at` is the venue's clock in microseconds."""

    at: int
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]


class Frame(msgspec.Struct):
    kind: Literal["diff", "print"]
    of: str
    data: msgspec.Raw


class PrintData(msgspec.Struct):
    at: int
    id: int
    price: Decimal
    size: Decimal
    taker: Literal["buy", "sell"]


FRAME = msgspec.json.Decoder(Frame)
BOOK = msgspec.json.Decoder(Book)
PRINT = msgspec.json.Decoder(PrintData)


class Pair(Followed):
    __slots__ = ("begun_at", "pending")

    def __init__(self, name: str, instrument: str, trace: str) -> None:
        super().__init__(name, instrument, trace)
        self.pending: list[tuple[Book, int]] = []
        self.begun_at = 0

    def lose_book(self) -> None:
        super().lose_book()
        self.pending = []
        self.top = None
        self.top_dirty = False


class ToyFeed(FeedCore[Pair]):
    """Frames of one connection in, `market` and `beats` messages out."""

    def spell(self, symbol: str) -> str:
        return spell(symbol)

    def follow(self, name: str, instrument: str, trace: str) -> Pair:
        return Pair(name, instrument, trace)

    @property
    def awaiting(self) -> tuple[str, ...]:
        return tuple(one.instrument for one in self._followed.values() if one.pending and not one.synced)

    def is_too_old(self, followed: Pair, book: Book) -> bool:
        return not followed.pending or book.at < followed.pending[0][0].at

    def handle(self, stamp_ns: int, raw: bytes, ts_init: int, out: list[Output]) -> None:
        before = self.counts.undecodable
        try:
            frame = FRAME.decode(raw)
            followed = self.hear(frame.of, stamp_ns)
            if followed is not None and frame.kind == "diff":
                self._on_diff(followed, BOOK.decode(frame.data), stamp_ns, raw, ts_init, out)
            elif followed is not None:
                self.on_print(followed, PRINT.decode(frame.data), stamp_ns, raw, ts_init, out)
        except UNREADABLE as error:
            self.refuse(raw, str(error))
        if self.counts.undecodable != before:  # it may have been a diff of any of them, and nothing later would tell
            for one in self._followed.values():
                if one.synced:
                    self.lose(one, "a frame could not be read", ts_init, out)
                one.pending = []

    def on_snapshot(self, instrument: str, raw: bytes, ts_init: int) -> list[Output]:
        out: list[Output] = []
        followed = self._by_instrument[instrument]
        if followed.synced:
            return out
        book = BOOK.decode(raw)
        if self.is_too_old(followed, book):
            raise Poison(f"book {book.at} of {instrument} is from before the first change that is held")
        self.take_stamp(book.at * NS_PER_US, book.at * NS_PER_US)
        self.connected(ts_init, out)
        pending, followed.pending, followed.begun_at = followed.pending, [], book.at
        self.load_book(followed, book.bids, book.asks, book.at, book.at * NS_PER_US, ts_init, out)
        self.quote_from_book(followed, book.at * NS_PER_US, ts_init, out)
        for diff, received in pending:
            if followed.synced:
                self._apply(followed, diff, received, out)
        return out

    def _on_diff(self, followed: Pair, diff: Book, stamp_ns: int, raw: bytes, ts_init: int, out: list[Output]) -> None:
        if not are_levels((*diff.bids, *diff.asks)) or not self.take_stamp(diff.at * NS_PER_US, stamp_ns):
            self.refuse(raw, "a price, size or stamp that cannot be")
            return
        self.connected(ts_init, out)
        if followed.synced:
            self._apply(followed, diff, ts_init, out)
        else:
            followed.pending.append((diff, ts_init))

    def _apply(self, followed: Pair, diff: Book, ts_init: int, out: list[Output]) -> None:
        if diff.at <= followed.begun_at:
            self.count_stale(followed)
        elif diff.at == followed.update_id:
            self.counts.duplicates += 1
        elif diff.at < followed.update_id:
            self.count_gap(followed)
            self.lose(followed, f"change {diff.at} came after {followed.update_id}", ts_init, out)
        elif self.apply_delta(
            followed, diff.bids, diff.asks, followed.update_id + 1, diff.at, diff.at * NS_PER_US, ts_init, out
        ):
            self.quote_from_book(followed, diff.at * NS_PER_US, ts_init, out)
        else:
            self.lose(followed, f"crossed after change {diff.at}", ts_init, out)

    def on_print(
        self, followed: Pair, data: PrintData, stamp_ns: int, raw: bytes, ts_init: int, out: list[Output]
    ) -> None:
        if not (is_plausible(data.price) and is_plausible(data.size)):
            self.refuse(raw, "a price or size that cannot be")
        elif self.take_stamp(data.at * NS_PER_US, stamp_ns) and not self.keeps_out(
            followed, followed.prints, data.price
        ):
            self.connected(ts_init, out)
            if self.is_new_print(followed, data.id):
                at = data.at * NS_PER_US
                self.trade(followed, str(data.id), data.price, data.size, data.taker, at, ts_init, out)


def spell(symbol: str) -> str:
    return symbol.replace("/", "").lower()


def canonical(name: str) -> str:
    return canonical_symbol(f"{name[:-3]}/{name[-3:]}")


def names(raw: bytes) -> Sequence[str]:
    try:
        return (FRAME.decode(raw).of,)
    except UNREADABLE:
        return ()


def make_feed(venue: str, symbols: Sequence[str], options: FeedOptions) -> ToyFeed:
    return ToyFeed(venue, symbols, touch_interval_ms=options.touch_interval_ms)


DIALECT = Dialect(
    name="toy",
    rest_url="https://toy",
    stream_url="wss://toy",
    feed=make_feed,
    address=lambda base, symbols: base,
    spell=spell,
    canonical=canonical,
    names=names,
    book_path=lambda name: f"/book/{name}/",
    book_of=lambda url: url.rstrip("/").rpartition("/")[2] if "/book/" in url else None,
)


# --- the venue's side


def frames(steps: int) -> list[Line]:
    """Return a connection: REST books of both pairs, once a few diffs have come, among diffs and prints."""
    every, lines, begun = simulated.markets(), [], set()
    choose = random.Random(7)
    for count, now in enumerate(simulated.clock(steps)):
        market = choose.choice(every)
        name = spell(market.symbol)
        changed, printed = market.step()
        lines.append(simulated.line(now, f'{{"kind":"diff","of":"{name}","data":{book_of(market, changed, now)}}}'))
        if printed is not None:
            taker, price, size = printed
            data = (
                f'{{"at":{now // 1_000},"id":{market.prints},"price":"{market.price(price)}",'
                f'"size":"{market.size(size)}","taker":"{taker}"}}'
            )
            lines.append(simulated.line(now, f'{{"kind":"print","of":"{name}","data":{data}}}'))
        if name not in begun and count > 5:
            begun.add(name)
            whole = [(side, price, size) for side in ("bid", "ask") for price, size in market.ordered(side, 1_000)]
            lines.append(Line(now + simulated.LAG_NS, book_of(market, whole, now).encode(), name))
    return lines


def book_of(market: simulated.Market, changes: simulated.Changed, now: int) -> str:
    sides = {
        side: ",".join(f'["{market.price(price)}","{market.size(size)}"]' for of, price, size in changes if of == side)
        for side in ("bid", "ask")
    }
    return f'{{"at":{now // 1_000},"bids":[{sides["bid"]}],"asks":[{sides["ask"]}]}}'


# --- the oracle


def read(body: bytes, book_of: str | None = None) -> list[Change]:
    found = parse(body)
    if not isinstance(found, dict) or (book_of is None and found.get("kind") != "diff"):
        return []
    name, data = (found["of"], found["data"]) if book_of is None else (book_of, found)
    return [Change(name, book_of is not None, levels(data["bids"]), levels(data["asks"]), int(data["at"]))]


def read_prints(body: bytes) -> list[Print]:
    found = parse(body)
    if not isinstance(found, dict) or found.get("kind") != "print":
        return []
    one = found["data"]
    price, size = Decimal(one["price"]), Decimal(one["size"])
    return [Print(found["of"], str(one["id"]), price, size, one["taker"], int(one["at"]) * 1_000)]


def rest_book(name: str, book: OracleBook, last: bytes) -> bytes:
    bids, asks = book.top(None)
    rows = {
        key: [[f"{price:f}", f"{size:f}"] for price, size in side] for key, side in (("bids", bids), ("asks", asks))
    }
    return msgspec.json.encode({"at": book.update_id, **rows})


def toy(steps: int = 200) -> FeedCase:
    why = "diffs carry no number: one that is missing, or late, is seen by a stamp that goes back, or a cross"
    return FeedCase(
        id="toy",
        dialect=DIALECT,
        symbols=SYMBOLS,
        stranger="LTC/USD",
        lines=tuple(frames(steps)),
        read=read,
        read_prints=read_prints,
        snapshot=rest_book,
        absurd_price=through(read, '["{}"'),
        poison=poisoned(read, '["{}"'),
        poison_print=poisoned_prints(read_prints, '"price":"{}"', '"size":"{}"'),
        blind={"drop": why, "reorder": why},
    )
