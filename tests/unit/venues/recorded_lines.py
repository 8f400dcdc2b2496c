"""Lines of cryptofeed captures: `<s>: <frame>` on a connection, `<address> -> <s>: <body>` of a REST answer."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from pathlib import Path

_FRAME = re.compile(rb"(\d+\.\d+): (.*)")
_ANSWER = re.compile(rb"(\S+) -> (\d+\.\d+): (.*)")


def frames(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield each received frame with its receive stamp in ns."""
    with gzip.open(path, "rb") as lines:
        for line in lines:
            found = _FRAME.match(line.rstrip(b"\r\n"))
            if found is not None:
                yield _ns(found[1]), found[2]


def answers(path: Path) -> Iterator[tuple[str, int, bytes]]:
    """Yield the address, the receive stamp in ns and the body of each REST answer."""
    with gzip.open(path, "rb") as lines:
        for line in lines:
            found = _ANSWER.match(line.rstrip(b"\r\n"))
            if found is not None:
                yield found[1].decode(), _ns(found[2]), found[3]


def _ns(seconds: bytes) -> int:
    whole, _, rest = seconds.partition(b".")
    return int(whole) * 10**9 + int(rest.ljust(9, b"0")[:9])
