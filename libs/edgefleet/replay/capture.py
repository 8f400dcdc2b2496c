"""A capture of any venue through that venue's own feed: what the fleet would have made of it. Knows no sockets.

Used by `data check` and `data convert`. A capture tells which instruments it holds and which books came by REST.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edgefleet.errors import Misuse, Poison
from edgefleet.instruments import instrument_id
from edgefleet.stage import Output
from edgefleet.venues.capture import CaptureLine, read_capture
from edgefleet.venues.dialect import Dialect, FeedOptions
from edgefleet.venues.feed import Feed


@dataclass(frozen=True, slots=True)
class Contents:
    """What a capture holds, found by reading all of it."""

    lines: int
    first_ns: int
    last_ns: int
    frames: Counter[str] = field(default_factory=Counter)  # by symbol: frames of market data that name it
    books: frozenset[str] = frozenset()  # symbols whose book was fetched by REST


def contents(files: Sequence[Path], dialect: Dialect, symbols: Sequence[str] = ()) -> Contents:
    """Return what is in `files`, read as the wire of `dialect`.

    Where `symbols` are given, their names mean them, whatever else they may mean.

    Raises
    ------
    Misuse
        Where a file cannot be read, nothing in it is market data of that venue, or no symbols are given and a name in
        it cannot be read as one.
    """
    given = {dialect.spell(symbol): symbol for symbol in symbols}
    lines, first, last = 0, 0, 0
    by_name: Counter[str] = Counter()
    books: set[str] = set()
    unnamed_book = False
    for line in read_capture(files):
        lines += 1
        first = first or line.stamp_ns
        last = line.stamp_ns
        if line.kind == "frame":
            by_name.update(dict.fromkeys(dialect.names(line.body), 1))
        elif line.kind == "rest":
            name = dialect.book_of(line.url) if line.url else None
            if name is not None:
                books.add(name)
            unnamed_book = unnamed_book or not line.url
    if not by_name:
        told = ", ".join(path.name for path in files)
        raise Misuse(f"{told}: no market data of {dialect.name} in {lines} lines; is --venue right?")
    if unnamed_book and len(by_name) == 1:
        books.update(by_name)
    frames = Counter({_symbol_of(name, given, dialect): count for name, count in by_name.items()})
    return Contents(lines, first, last, frames, frozenset(_symbol_of(name, given, dialect) for name in books))


def _symbol_of(name: str, given: Mapping[str, str], dialect: Dialect) -> str:
    if name in given:
        return given[name]
    try:
        return dialect.canonical(name)
    except Misuse:
        if given:  # of another that nobody asked for
            return name
        raise


class Playback:
    """A capture's lines through the feed of its dialect.

    Parameters
    ----------
    dialect
        Whose wire it is.
    venue
        The venue's name in the messages.
    symbols
        Canonical pairs to follow.
    books
        Those of `symbols` whose book the capture holds as a REST answer; the others have none where their dialect
        needs one.
    """

    def __init__(self, dialect: Dialect, venue: str, symbols: Sequence[str], books: frozenset[str]) -> None:
        bookless = () if dialect.book_path is None else tuple(symbol for symbol in symbols if symbol not in books)
        self.feed: Feed = dialect.feed(venue, symbols, FeedOptions(touch_interval_ms=0, bookless=bookless))
        self._dialect = dialect
        self._venue = venue
        self._symbols = tuple(symbols)
        self._by_name = {dialect.spell(symbol): symbol for symbol in symbols}
        self.refused: list[str] = []  # REST books that could not be read
        self.notices: list[str] = []

    def play(self, files: Sequence[Path]) -> Iterator[tuple[CaptureLine, list[Output]]]:
        """Yield each line with what followed from it; the last output closes the tape."""
        line: CaptureLine | None = None
        connected = False
        for line in read_capture(files):
            outputs: list[Output] = []
            if line.kind == "connect":
                if connected:
                    outputs = self.feed.on_disconnect("the recorder connected anew", line.stamp_ns)
                connected = True
                self.feed.on_connect(line.stamp_ns)
            elif line.kind == "frame":
                outputs = self.feed.on_frame(line.stamp_ns, line.body, line.stamp_ns)
            elif line.kind == "rest":
                outputs = self._book(line)
            self.feed.take_requests()
            self.notices += self.feed.take_notices()
            yield line, outputs
        if line is not None:
            yield line, self.feed.on_end(line.stamp_ns)

    def _book(self, line: CaptureLine) -> list[Output]:
        if line.url:
            symbol = self._by_name.get(self._dialect.book_of(line.url) or "")
        else:
            symbol = self._symbols[0] if len(self._symbols) == 1 else None
        if symbol is None:
            return []
        try:
            return self.feed.on_snapshot(instrument_id(symbol, self._venue), line.body, line.stamp_ns)
        except Poison as error:
            self.refused.append(str(error))
            return []
