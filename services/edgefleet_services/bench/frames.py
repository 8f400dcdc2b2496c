"""Market-data frames to measure with: a tape's own, over and over, their top-of-book sizes set so that orders follow.

The mix of frames, their order, their prices and the changes of the book are the source's. What is written anew is what
has to be: sequence numbers and stamps, so that the second time round follows the first as a live market would, and the
sizes of `bookTicker`, so that the pressure of the book turns once in `FLIP_EVERY` events. Knows no socket.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from edgefleet.clock import NS_PER_MS, NS_PER_S
from edgefleet.errors import Misuse
from edgefleet.matching.filters import rules_for
from edgefleet.matching.synthetic import SyntheticMarket
from edgefleet.matching.wire import DepthSnapshot, decode, stream_name
from edgefleet.units import ZERO
from edgefleet.venues.tape import read_tape

FLIP_EVERY = 100
# Shares of the recorded Binance day in tests and documents; a synthetic market is brought to them.
TAPE_MIX = {"bookTicker": 0.735, "trade": 0.200, "depth": 0.065}
_SYNTHETIC_S = 120
_SEED = 7
_START_MS = 1_723_161_253_000
_LARGE, _SMALL = b"9.00000000", b"1.00000000"


class _Ticker(msgspec.Struct, frozen=True):
    u: int
    b: str
    a: str


class _Trade(msgspec.Struct, frozen=True):
    t: int
    p: str
    q: str
    m: bool


class _Depth(msgspec.Struct, frozen=True):
    u: int
    b: msgspec.Raw
    a: msgspec.Raw


class _TickerFrame(msgspec.Struct, frozen=True):
    data: _Ticker


class _TradeFrame(msgspec.Struct, frozen=True):
    data: _Trade


class _DepthFrame(msgspec.Struct, frozen=True):
    data: _Depth


_DECODERS: dict[str, msgspec.json.Decoder[Any]] = {
    "bookTicker": msgspec.json.Decoder(_TickerFrame),
    "trade": msgspec.json.Decoder(_TradeFrame),
    "depth@100ms": msgspec.json.Decoder(_DepthFrame),
}
_KINDS: dict[type[msgspec.Struct], str] = {_Ticker: "bookTicker", _Trade: "trade", _Depth: "depth"}
_LEVELS = msgspec.json.Decoder(list[tuple[Decimal, Decimal]])
_Event = _Ticker | _Trade | _Depth


class Source(NamedTuple):
    """What frames are made of: one book and the events that follow it."""

    symbol: str  # as the venue writes it
    snapshot: bytes
    events: tuple[_Event, ...]
    told: str  # where it is from

    @property
    def mix(self) -> dict[str, float]:
        """Return each kind's share of the events."""
        counts = Counter(_KINDS[type(event)] for event in self.events)
        return {name: round(counts[name] / len(self.events), 4) for name in TAPE_MIX}


def from_tape(files: Sequence[Path], symbol: str) -> Source:
    """Return the events of a tape from its recorded book on.

    Raises
    ------
    Misuse
        If it cannot be read, or holds no book or no event of `symbol`.
    """
    snapshot, bodies = b"", []
    for line in read_tape(files):
        if b'"lastUpdateId"' in line.body[:40]:
            snapshot = snapshot or line.body
        elif line.body.startswith(b'{"stream":"%b@' % symbol.lower().encode()):
            bodies.append(line.body)
    if not snapshot:
        raise Misuse(f"{files[0]} holds no recorded book; name a tape that begins with a depth snapshot")
    events = _after(snapshot, _events(bodies))
    if not any(isinstance(event, _Depth) for event in events):
        raise Misuse(f"{files[0]} holds no depth of {symbol} after its book")
    return Source(symbol, snapshot, events, f"the tape {', '.join(path.name for path in files)}")


def from_synthetic(symbol: str = "BTC/USDT") -> Source:
    """Return two minutes of the seeded synthetic market, thinned and repeated to the mix of a recorded one."""
    rules = rules_for(symbol)
    start_ns = _START_MS * NS_PER_MS
    market = SyntheticMarket([rules], seed=_SEED, start_ns=start_ns)
    snapshot = market.snapshots()[rules.symbol]
    lines = market.advance(start_ns + _SYNTHETIC_S * NS_PER_S)
    events = _in_tape_mix(_after(snapshot, _events(body for _, body in lines)))
    return Source(rules.symbol, snapshot, tuple(events), f"a synthetic market, seed {_SEED}, in a recorded day's mix")


def _events(bodies: Iterable[bytes]) -> Iterator[_Event]:
    for body in bodies:
        decoder = _DECODERS.get((stream_name(body) or "").partition("@")[2])
        if decoder is not None:
            event: _Event = decoder.decode(body).data
            yield event


def _after(snapshot: bytes, events: Iterable[_Event]) -> tuple[_Event, ...]:
    """Return the events that a consumer with `snapshot` applies: the recorder's book came after its first frames."""
    book = decode(snapshot)
    assert isinstance(book, DepthSnapshot)
    return tuple(event for event in events if isinstance(event, _Trade) or event.u > book.lastUpdateId)


def _in_tape_mix(events: Iterable[_Event]) -> Iterator[_Event]:
    """Yield every depth event, with as many of the tickers and trades around it as a recorded day has."""
    tickers: list[_Ticker] = []
    trades: list[_Trade] = []
    due = dict.fromkeys(TAPE_MIX, 0.0)
    for event in events:
        if isinstance(event, _Ticker):
            tickers.append(event)
        elif isinstance(event, _Trade):
            trades.append(event)
        elif tickers and trades:
            for name, found in (("trade", trades), ("bookTicker", tickers)):
                due[name] += TAPE_MIX[name] / TAPE_MIX["depth"]
                count, due[name] = int(due[name]), due[name] % 1
                for i in range(count):
                    yield found[i * len(found) // count]
                del found[:-1]  # one stays for an interval in which there is none
            yield event


class FrameMaker:
    """Frames without end from one source, in the order and mix it has. Deterministic."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.made = 0  # events so far
        self.flips = 0  # how often the pressure has turned in the tickers: the orders that were asked for
        name = source.symbol.lower().encode()
        self._symbol = source.symbol.encode()
        self._ticker = b'{"stream":"%b@bookTicker","data":{' % name
        self._trade = b'{"stream":"%b@trade","data":{' % name
        self._depth = b'{"stream":"%b@depth@100ms","data":{' % name
        self._update = self._depth_update = _last_update(source.snapshot)
        self._trade_id = 0
        self._buys: bool | None = None
        self._at = 0
        self._ends_at = _back_to_the_start(source)

    def take(self, count: int, *, start_ns: int, rate: float) -> list[bytes]:
        """Return the next `count` frames, stamped as of a market that sends `rate` a second from `start_ns` on."""
        frames = []
        for number in range(count):
            stamp_ms = (start_ns + int(number * NS_PER_S / rate)) // NS_PER_MS
            frames.append(self._next(stamp_ms))
        return frames

    def _next(self, stamp_ms: int) -> bytes:
        self.made += 1
        if self._at == len(self.source.events):
            self._at = 0
            return self._depth_frame(stamp_ms, *self._ends_at)
        event = self.source.events[self._at]
        self._at += 1
        if isinstance(event, _Ticker):
            return self._ticker_frame(event)
        if isinstance(event, _Trade):
            return self._trade_frame(stamp_ms, event)
        return self._depth_frame(stamp_ms, bytes(event.b), bytes(event.a))

    def _ticker_frame(self, event: _Ticker) -> bytes:
        self._update += 1
        buys = (self.made - 1) // FLIP_EVERY % 2 == 0
        self.flips += self._buys is not None and self._buys is not buys  # none while a burst of trades has no ticker
        self._buys = buys
        sizes = (_LARGE, _SMALL) if buys else (_SMALL, _LARGE)
        return b'%b"u":%d,"s":"%b","b":"%b","B":"%b","a":"%b","A":"%b"}}' % (
            self._ticker, self._update, self._symbol, event.b.encode(), sizes[0], event.a.encode(), sizes[1],
        )  # fmt: skip

    def _trade_frame(self, stamp_ms: int, event: _Trade) -> bytes:
        self._trade_id += 1
        return b'%b"e":"trade","E":%d,"s":"%b","t":%d,"p":"%b","q":"%b","T":%d,"m":%b,"M":true}}' % (
            self._trade, stamp_ms, self._symbol, self._trade_id, event.p.encode(), event.q.encode(), stamp_ms,
            b"true" if event.m else b"false",
        )  # fmt: skip

    def _depth_frame(self, stamp_ms: int, bids: bytes, asks: bytes) -> bytes:
        first, self._update = self._depth_update + 1, self._update + 1
        self._depth_update = self._update
        return b'%b"e":"depthUpdate","E":%d,"s":"%b","U":%d,"u":%d,"b":%b,"a":%b}}' % (
            self._depth, stamp_ms, self._symbol, first, self._update, bids, asks,
        )  # fmt: skip


def _last_update(snapshot: bytes) -> int:
    book = decode(snapshot)
    assert isinstance(book, DepthSnapshot)
    return book.lastUpdateId


def _back_to_the_start(source: Source) -> tuple[bytes, bytes]:
    """Return the level changes that make the book at the source's end the book at its start again."""
    start = decode(source.snapshot)
    assert isinstance(start, DepthSnapshot)
    changes = []
    for levels, side in ((start.bids, "b"), (start.asks, "a")):
        first = dict(levels)
        last = dict(first)
        for event in source.events:
            if isinstance(event, _Depth):
                last.update(_LEVELS.decode(getattr(event, side)))
        gone = [(price, ZERO) for price, size in last.items() if size and price not in first]
        back = [(price, size) for price, size in first.items() if last[price] != size]
        changes.append([(f"{price:.8f}", f"{size:.8f}") for price, size in gone + back])
    return msgspec.json.encode(changes[0]), msgspec.json.encode(changes[1])
