"""Recorded Binance wire, read from plain or gzip files in order, for who plays it. Knows no sockets.

A line is `<receive stamp, ns> <json>`, or `<receive stamp, ns> <url> <json>` for a REST answer; older tapes have those
without an address. A line of a stamp and an address, a connection that was made, says nothing here.

A tape is evidence: a line that cannot be read stops the reading with the file and the line number, it is never skipped.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from edgefleet.errors import Misuse, Poison
from edgefleet.matching.wire import BookTicker, DepthSnapshot, Frame, decode
from edgefleet.venues.binance.dialect import book_of
from edgefleet.venues.capture import open_recording


@dataclass(frozen=True, slots=True)
class TapeLine:
    """One recorded line: the recorder's stamp and the body, byte for byte."""

    stamp_ns: int
    body: bytes
    url: str = ""  # that a REST answer came from; empty for a frame, and where the line does not say

    @property
    def raw(self) -> bytes:
        """Return the stamp and the body as recorded."""
        return b"%d %b" % (self.stamp_ns, self.body)

    @property
    def book_of(self) -> str | None:
        """Return whose book a REST answer is, as the venue writes it; None where the line does not say."""
        return book_of(self.url) if self.url else None


@dataclass(frozen=True, slots=True)
class TapeSummary:
    """What a tape holds, found by reading all of it."""

    lines: int
    first_ns: int
    last_ns: int
    first_event_ms: int | None  # the first `E` there is, the venue's clock
    symbols: tuple[str, ...]  # as the venue writes them, in order of appearance
    snapshots: int  # recorded answers of REST depth: without one no book can begin


class _Named(msgspec.Struct):
    stream: str


_NAMED = msgspec.json.Decoder(_Named)
_ADDRESS = re.compile(rb"(?:wss?|https?)://")


def read_tape(files: Sequence[Path]) -> Iterator[TapeLine]:
    """Yield the lines of `files`, one file after the other.

    Raises
    ------
    Misuse
        Where a file is missing or unreadable, a gzip is truncated or damaged, or a line has no stamp or no JSON object.
    """
    for path in files:
        for _, line in _numbered(Path(path)):
            yield line


def check_tape(files: Sequence[Path]) -> TapeSummary:
    """Return what the tape holds, after reading and parsing every line of it.

    Raises
    ------
    Misuse
        As `read_tape`; and where a line's JSON does not parse, or there is no line at all.
    """
    if not files:
        raise Misuse("a tape needs at least one file: --tape FILE...")
    lines, first, last, snapshots = 0, 0, 0, 0
    first_event: int | None = None
    symbols: dict[str, None] = {}
    for path in files:
        for number, line in _numbered(Path(path)):
            frame = _parsed(path, number, line.body)
            if frame is not None and not isinstance(frame, DepthSnapshot):
                symbols[frame.s] = None
                if first_event is None and not isinstance(frame, BookTicker):
                    first_event = frame.E
            snapshots += isinstance(frame, DepthSnapshot)
            first = first or line.stamp_ns
            last = line.stamp_ns
            lines += 1
    if not lines:
        raise Misuse(f"the tape is empty: {', '.join(str(path) for path in files)}")
    return TapeSummary(lines, first, last, first_event, tuple(symbols), snapshots)


def _parsed(path: Path, number: int, body: bytes) -> Frame | None:
    try:
        frame = decode(body)
        if frame is None:
            _NAMED.decode(body)
    except (Poison, msgspec.DecodeError) as error:
        raise Misuse(f"{path}, line {number}: {error}") from error
    return frame


def _numbered(path: Path) -> Iterator[tuple[int, TapeLine]]:
    number = 0
    try:
        with open_recording(path) as stream:
            for number, line in enumerate(stream, start=1):
                stamp, space, body = line.rstrip(b"\r\n").partition(b" ")
                if not space or not stamp.isdigit():
                    raise Misuse(f"{path}, line {number}: no receive stamp in nanoseconds before the frame")
                url = b""
                if _ADDRESS.match(body):
                    url, _, body = body.partition(b" ")
                    if not body:  # a connection was made
                        continue
                if not body.startswith(b"{") or not body.endswith(b"}"):
                    raise Misuse(f"{path}, line {number}: not a JSON object")
                yield number, TapeLine(int(stamp), body, url.decode())
    except EOFError:
        raise Misuse(f"{path}, after line {number}: truncated, the gzip ends before its end marker") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise Misuse(f"{path}, after line {number}: damaged gzip: {error}") from error
    except OSError as error:
        raise Misuse(f"{path}: cannot be read: {error.strerror or error}") from error
