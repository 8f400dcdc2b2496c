"""Recorded wire of any venue, line by line and in order of receipt. Knows no sockets and no venue's frames.

Two shapes are read, plain or gzip, told apart line by line:

- a tape: `<receive stamp, ns> <json>` for a frame, `<receive stamp, ns> <url> <json>` for a REST answer, and
  `<stamp, ns> <url>` for a connect. On older tapes a REST answer has no address, and Binance's alone are told by it;
- what the recorder of cryptofeed writes: `<seconds>: <frame>` for a frame, `<url> <-> <seconds>` for a connect,
  `<url> <- <seconds>: <text>` for what was sent, `<url> -> <seconds>: <body>` for a REST answer.
"""

from __future__ import annotations

import gzip
import heapq
import re
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

from edgefleet.clock import NS_PER_S
from edgefleet.errors import Misuse

Kind = Literal["frame", "rest", "connect", "sent"]

_GZIP_MAGIC = b"\x1f\x8b"
_TAPE = re.compile(rb"(\d{16,20}) ([\[{].*)", re.DOTALL)
_TAPE_ADDRESSED = re.compile(rb"(\d{16,20}) ((?:wss?|https?)://\S+)(?: ([\[{].*))?", re.DOTALL)
_FRAME = re.compile(rb"(\d{1,12}(?:\.\d+)?): (.*)", re.DOTALL)
_ADDRESSED = re.compile(rb"((?:wss?|https?)://\S+) (<->|<-|->) (\d{1,12}(?:\.\d+)?)(?:: (.*))?", re.DOTALL)
_KINDS: dict[bytes, Kind] = {b"<->": "connect", b"<-": "sent", b"->": "rest"}


class CaptureLine(NamedTuple):
    """One thing that happened on the wire."""

    stamp_ns: int  # the recorder's clock
    kind: Kind
    body: bytes  # empty for a connect
    url: str  # whom it went to or came from; empty for a frame, and where the line does not say


def open_recording(path: Path) -> gzip.GzipFile | BinaryIO:
    """Return the bytes of a plain or gzip file, whatever its name."""
    with path.open("rb") as probe:
        compressed = probe.read(2) == _GZIP_MAGIC
    return gzip.open(path, "rb") if compressed else path.open("rb")


def read_capture(files: Sequence[Path]) -> Iterator[CaptureLine]:
    """Yield the lines of all files in the order of their stamps; lines of one file keep the order they were written in.

    Raises
    ------
    Misuse
        Where there is no file, one is missing, damaged or truncated, or a line is of neither shape.
    """
    yield from (line for _, line in read_files(files))


def read_files(files: Sequence[Path]) -> Iterator[tuple[int, CaptureLine]]:
    """Yield what `read_capture` does, each line with the place of its file in `files`.

    Raises
    ------
    Misuse
        As `read_capture`.
    """
    if not files:
        raise Misuse("no file is named: give the recorded files, as in `edgefleet data check FILE... --venue binance`")
    keyed = (_keyed(number, Path(path)) for number, path in enumerate(files))
    yield from ((number, line) for _, number, line in heapq.merge(*keyed, key=lambda found: found[0]))


def _keyed(number: int, path: Path) -> Iterator[tuple[int, int, CaptureLine]]:
    """Yield lines with a key that never falls: a recorder's clock that was set back must not shuffle its file."""
    newest = 0
    for line in _lines(path):
        newest = max(newest, line.stamp_ns)
        yield newest, number, line


def _lines(path: Path) -> Iterator[CaptureLine]:
    number = 0
    try:
        with open_recording(path) as stream:
            for number, raw in enumerate(stream, start=1):
                line = raw.rstrip(b"\r\n")
                if not line or line.startswith(b"configuration: "):  # what the recorder was asked for
                    continue
                parsed = parse_line(line)
                if parsed is None:
                    raise Misuse(f"{path}, line {number}: neither `<ns> [<url>] <json>` nor as cryptofeed writes it")
                yield parsed
    except EOFError:
        raise Misuse(f"{path}, after line {number}: truncated, the gzip ends before its end marker") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise Misuse(f"{path}, after line {number}: damaged gzip: {error}") from error
    except OSError as error:
        raise Misuse(f"{path}: cannot be read: {error.strerror or error}") from error


def parse_line(line: bytes) -> CaptureLine | None:
    """Return what a line says, None where it is of neither shape.

    Examples
    --------
    >>> parse_line(b'1652459225.5037491: {"event":"subscribe"}')
    CaptureLine(stamp_ns=1652459225503749100, kind='frame', body=b'{"event":"subscribe"}', url='')
    """
    tape = _TAPE.fullmatch(line)
    if tape is not None:
        body = tape[2]
        return CaptureLine(int(tape[1]), "rest" if b'"lastUpdateId"' in body[:40] else "frame", body, "")
    answer = _TAPE_ADDRESSED.fullmatch(line)
    if answer is not None:
        stamp, url, body = answer.groups()
        return CaptureLine(int(stamp), "connect" if body is None else "rest", body or b"", url.decode())
    frame = _FRAME.fullmatch(line)
    if frame is not None:
        return CaptureLine(_seconds(frame[1]), "frame", frame[2], "")
    addressed = _ADDRESSED.fullmatch(line)
    if addressed is not None:
        url, arrow, stamp, body = addressed.groups()
        return CaptureLine(_seconds(stamp), _KINDS[arrow], body or b"", url.decode())
    return None


def _seconds(text: bytes) -> int:
    """Return nanoseconds of a decimal number of seconds, exactly: a float would lose the last hundred."""
    whole, _, part = text.partition(b".")
    return int(whole) * NS_PER_S + int(part[:9].ljust(9, b"0"))
