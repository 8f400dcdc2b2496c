"""A capture of any venue through that venue's own feed: what the fleet would have made of it. Knows no sockets.

Used by `data check` and `data convert`. A capture tells which instruments it holds and which books came by REST. Files
that hold different instruments were different connections, and each has a feed of its own; files that share one are
played through one feed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from edgefleet.errors import Misuse, Poison
from edgefleet.instruments import canonical_symbol, instrument_id
from edgefleet.stage import Output
from edgefleet.venues.capture import CaptureLine, read_files
from edgefleet.venues.dialect import Dialect, FeedOptions, dialect, which_dialect
from edgefleet.venues.feed import Feed


@dataclass(slots=True)
class Held:
    """What one file of a capture holds."""

    names: set[str] = field(default_factory=set)  # of its frames, as the venue spells them
    last_ns: int = 0


@dataclass(frozen=True, slots=True)
class Contents:
    """What a capture holds, found by reading all of it."""

    lines: int
    first_ns: int
    last_ns: int
    files: tuple[Held, ...]
    frames: Counter[str]  # by name, as the venue spells it: frames of market data
    books: Counter[str]  # by name: books that were fetched by REST
    nobodys_books: int  # REST books of which nothing tells whose they are

    def wanted(self, symbols: Sequence[str], known: Dialect) -> Wanted:
        """Return what to follow: `symbols`, written our way or the venue's, all that is held where none is named.

        Raises
        ------
        Misuse
            If one is not in the capture, or no name in it can be read as a symbol.
        """
        if symbols:
            return Wanted(dict(self._asked(symbol, known) for symbol in symbols), ())
        everything = self._everything(known)
        if not everything.symbols:
            raise Misuse(everything.unread[0])
        return everything

    def _everything(self, known: Dialect) -> Wanted:
        found: dict[str, str] = {}
        unread: list[str] = []
        for name in self.frames:
            try:
                found[name] = known.canonical(name)
            except Misuse as error:
                unread.append(f"{name} is left out: {error}")
        return Wanted(found, tuple(unread))

    def _asked(self, symbol: str, known: Dialect) -> tuple[str, str]:
        with suppress(Misuse):
            ours = canonical_symbol(symbol)
            name = known.spell(ours)
            if name in self.frames:
                return name, ours
        if symbol in self.frames:
            return symbol, known.canonical(symbol)
        there = sorted(self._everything(known).symbols.values()) or self.frames
        raise Misuse(f"{symbol} is not in the capture; it holds {', '.join(there)}")


class Wanted(NamedTuple):
    """What is followed of a capture."""

    symbols: dict[str, str]  # by the venue's name
    unread: tuple[str, ...]  # why a name is not


def open_capture(files: Sequence[Path], venue: str) -> tuple[Dialect, Contents]:
    """Return the dialect that `venue` stands for in `files`, and what they hold.

    A venue that has several wires, as Kraken has v1 and v2, may be named by any of them.

    Raises
    ------
    Misuse
        Where the venue is unknown, a file cannot be read, or nothing in it is market data of that venue.
    """
    known = dialect(venue)
    held = contents(files, known)
    if held.frames:
        return known, held
    told = ", ".join(path.name for path in files)
    other = which_dialect(line.body for _, line in read_files(files) if line.kind == "frame")
    if other is None:
        raise Misuse(f"{told}: no market data of {known.name} in {held.lines} lines; is --venue right?")
    if _family(other) != _family(known.name):
        raise Misuse(f"{told}: no market data of {known.name}; what is in it {other} reads: --venue {other}")
    found = dialect(other)
    return found, contents(files, found)


def _family(name: str) -> str:
    return name.partition("_")[0]


def contents(files: Sequence[Path], known: Dialect) -> Contents:
    """Return what is in `files`, read as the wire of one dialect."""
    lines, first, last = 0, 0, 0
    held = tuple(Held() for _ in files)
    frames: Counter[str] = Counter()
    books: Counter[str] = Counter()
    unnamed: Counter[int] = Counter()  # by file
    for number, line in read_files(files):
        lines += 1
        first = min(first or line.stamp_ns, line.stamp_ns)  # a recorder's clock may be set back
        last = max(last, line.stamp_ns)
        held[number].last_ns = max(held[number].last_ns, line.stamp_ns)
        if line.kind == "frame":
            names = known.names(line.body)
            frames.update(dict.fromkeys(names, 1))
            held[number].names.update(names)
        elif line.kind == "rest" and _is_book(line):
            if not line.url:
                unnamed[number] += 1
            elif (name := known.book_of(line.url)) is not None:
                books[name] += 1
    nobodys = 0
    for number, count in unnamed.items():
        if len(held[number].names) == 1:
            books[next(iter(held[number].names))] += count
        else:
            nobodys += count
    return Contents(lines, first, last, held, frames, books, nobodys)


def _is_book(line: CaptureLine) -> bool:
    """Return whether a REST answer can be a book: a maintenance page and an error are none."""
    return line.body[:1] in (b"{", b"[") and (b'"asks"' in line.body or b'"a"' in line.body)


class Played(NamedTuple):
    """One line of a capture, with what followed from it for the instruments of its connection."""

    line: CaptureLine
    outputs: list[Output]
    instruments: tuple[str, ...]


class _Connection:
    """The files that share instruments, and their feed."""

    def __init__(self, feed: Feed, names: Sequence[str]) -> None:
        self.feed = feed
        self.names = tuple(names)
        self.connected: dict[int, int] = {}  # file -> when it ends; of those that said that they connected

    def connect(self, number: int, ends_ns: int, stamp_ns: int) -> list[Output] | None:
        """Take a connect of a file; return what follows where it replaces an older one, None where it does not."""
        replaced = number in self.connected or any(end <= stamp_ns for end in self.connected.values())
        if replaced:
            self.connected = {other: end for other, end in self.connected.items() if end > stamp_ns}
        is_first = not self.connected and not replaced
        self.connected[number] = ends_ns
        outputs = self.feed.on_disconnect("the recorder connected anew", stamp_ns) if replaced else None
        if replaced or is_first:
            self.feed.on_connect(stamp_ns)
        return outputs


class Playback:
    """A capture's lines through the feeds of its dialect.

    Parameters
    ----------
    known
        Whose wire it is.
    venue
        The venue's name in the messages.
    wanted
        What to follow.
    held
        What the capture holds. A symbol whose book it does not hold has none where its dialect needs a REST answer.
    """

    def __init__(self, known: Dialect, venue: str, wanted: Wanted, held: Contents) -> None:
        self._dialect = known
        self._venue = venue
        self._files = held.files
        self._wanted = wanted.symbols
        self._books = Counter(held.books)  # those that are still to come, by name
        self._by_name: dict[str, _Connection] = {}
        self._by_file: dict[int, _Connection] = {}
        for numbers, together in _connections(held.files, wanted.symbols):
            connection = _Connection(self._feed(together), together)
            self._by_name.update(dict.fromkeys(together, connection))
            self._by_file.update(dict.fromkeys(numbers, connection))
        self._connections = tuple(dict.fromkeys(self._by_name.values()))
        self.refused: list[str] = []  # REST books that could not be read
        self.notices = list(wanted.unread)
        if held.nobodys_books:
            self.notices.append(
                f"{held.nobodys_books} REST books say nothing of whose they are, and their files hold several "
                "instruments: they are left out"
            )

    def _feed(self, names: Sequence[str]) -> Feed:
        needed = self._dialect.book_path is not None
        bookless = tuple(self._wanted[name] for name in names if needed and not self._books[name])
        symbols = [self._wanted[name] for name in names]
        return self._dialect.feed(self._venue, symbols, FeedOptions(touch_interval_ms=0, bookless=bookless))

    @property
    def feeds(self) -> tuple[Feed, ...]:
        """Return the feed of each connection."""
        return tuple(connection.feed for connection in self._connections)

    def play(self, files: Sequence[Path]) -> Iterator[Played]:
        """Yield each line with what followed from it; the last of each connection closes the tape."""
        line: CaptureLine | None = None
        for number, line in read_files(files):
            connection = self._by_file.get(number)
            outputs: list[Output] = []
            if line.kind == "rest":
                connection, outputs = self._book(number, line)
            elif connection is None:
                continue  # a file of instruments that nobody asked for
            elif line.kind == "connect":
                outputs = self._connect(connection, number, line)
            elif line.kind == "frame":
                outputs = connection.feed.on_frame(line.stamp_ns, line.body, line.stamp_ns)
            if connection is not None:
                connection.feed.take_requests()
                self.notices += connection.feed.take_notices()
                yield Played(line, outputs, connection.feed.instruments)
        if line is not None:
            for connection in self._connections:
                yield Played(line, connection.feed.on_end(line.stamp_ns), connection.feed.instruments)

    def _connect(self, connection: _Connection, number: int, line: CaptureLine) -> list[Output]:
        outputs = connection.connect(number, self._files[number].last_ns, line.stamp_ns)
        if outputs is None:
            return []
        for name in connection.names:
            outputs += self._do_without(connection, name, line.stamp_ns)
        return outputs

    def _do_without(self, connection: _Connection, name: str, stamp_ns: int) -> list[Output]:
        """Let a feed wait no longer for a REST book that the capture does not hold."""
        if self._dialect.book_path is None or self._books[name] > 0:
            return []
        why = "the capture holds none for it"
        return connection.feed.give_up_book(instrument_id(self._wanted[name], self._venue), why, stamp_ns)

    def _book(self, number: int, line: CaptureLine) -> tuple[_Connection | None, list[Output]]:
        names = self._files[number].names
        name = self._dialect.book_of(line.url) if line.url else next(iter(names)) if len(names) == 1 else None
        connection = None if name is None else self._by_name.get(name)
        if name is None or connection is None:
            return None, []
        if _is_book(line):
            self._books[name] -= 1
        try:
            instrument = instrument_id(self._wanted[name], self._venue)
            outputs = connection.feed.on_snapshot(instrument, line.body, line.stamp_ns)
        except Poison as error:
            self.refused.append(str(error))
            outputs = self._do_without(connection, name, line.stamp_ns)
        return connection, outputs


def _connections(files: Sequence[Held], wanted: Iterable[str]) -> Iterator[tuple[list[int], list[str]]]:
    """Yield the files that share instruments, directly or by others, with the `wanted` names that they hold."""
    left = {number: set(held.names) for number, held in enumerate(files)}
    while left:
        number = min(left)
        together = left.pop(number)
        numbers = [number]
        while near := [other for other, found in left.items() if found & together]:
            for other in near:
                together |= left.pop(other)
                numbers.append(other)
        followed = [name for name in wanted if name in together]
        if followed:
            yield numbers, followed
