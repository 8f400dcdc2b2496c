"""Recorded lines are read byte for byte, in the order of their stamps, and a damaged file is told with its line."""

from __future__ import annotations

import gzip
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefleet.clock import NS_PER_S
from edgefleet.errors import Misuse
from edgefleet.venues.capture import CaptureLine, parse_line, read_capture


@pytest.mark.parametrize(
    ("line", "read"),
    [
        (b'1723161253901723900 {"a":1}', CaptureLine(1723161253901723900, "frame", b'{"a":1}', "")),
        (b'1723161253901723900 [1,{"b":2}]', CaptureLine(1723161253901723900, "frame", b'[1,{"b":2}]', "")),
        (
            b'1723161253901723900 {"lastUpdateId":7,"bids":[],"asks":[]}',
            CaptureLine(1723161253901723900, "rest", b'{"lastUpdateId":7,"bids":[],"asks":[]}', ""),
        ),
        (
            b'1723161253901723900 https://v/book/btcusd/ {"bids":[]}',
            CaptureLine(1723161253901723900, "rest", b'{"bids":[]}', "https://v/book/btcusd/"),
        ),
        (b"1723161253901723900 wss://v/ws", CaptureLine(1723161253901723900, "connect", b"", "wss://v/ws")),
        (b"1723161253901723900 wss://v/ws <html>", None),
        (b"1652459225.5: pong", CaptureLine(1652459225500000000, "frame", b"pong", "")),
        (b"wss://v/ws <-> 1652459224.25", CaptureLine(1652459224250000000, "connect", b"", "wss://v/ws")),
        (b'wss://v/ws <- 1652459225: {"op":1}', CaptureLine(1652459225 * NS_PER_S, "sent", b'{"op":1}', "wss://v/ws")),
        (
            b"https://v/depth?symbol=A -> 1652459225.1: {}",
            CaptureLine(1652459225100000000, "rest", b"{}", "https://v/depth?symbol=A"),
        ),
        (b"what is this", None),
        (b"12 {}", None),
    ],
)
def test_a_line_says_what_happened(line: bytes, read: CaptureLine | None) -> None:
    assert parse_line(line) == read


@given(st.decimals(min_value=0, max_value=10**10, places=7, allow_nan=False, allow_infinity=False))
def test_seconds_become_nanoseconds_without_loss(stamp: Decimal) -> None:
    line = parse_line(f"{stamp:f}: {{}}".encode())

    assert line is not None
    assert Decimal(line.stamp_ns) == stamp * NS_PER_S


def test_files_are_merged_by_their_stamps_and_each_keeps_its_own_order(tmp_path: Path) -> None:
    frames, rest = tmp_path / "frames", tmp_path / "rest.gz"
    frames.write_bytes(b"configuration: {}\n1.5: a\n1.2: b\n3: c\n")  # the recorder's clock was set back once
    rest.write_bytes(gzip.compress(b"https://v/depth -> 2: d\n"))

    bodies = [line.body for line in read_capture([frames, rest])]

    assert bodies == [b"a", b"b", b"d", b"c"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"1.0: a\nnonsense\n", "line 2: neither"),
        (gzip.compress(b"1.0: a\n" * 999, mtime=0)[:-30], "truncated"),
        (gzip.compress(b"1.0: a\n" * 999, mtime=0)[:20] + b"\xff" * 40, "damaged gzip"),
    ],
    ids=["nonsense", "truncated", "damaged"],
)
def test_a_damaged_file_is_told_with_its_line(content: bytes, told: str, tmp_path: Path) -> None:
    path = tmp_path / "capture"
    path.write_bytes(content)

    with pytest.raises(Misuse, match=told):
        list(read_capture([path]))


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(Misuse, match="No such file"):
        list(read_capture([tmp_path / "none"]))
