"""Reading a recorded tape: in order, byte for byte, and with a clear word where it cannot be read."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from edgefleet.errors import Misuse
from edgefleet.venues.tape import TapeLine, check_tape, read_tape

FRAME = b'{"stream":"btcusdt@trade","data":{"e":"trade","E":1700,"s":"BTCUSDT","t":1,"p":"1","q":"1","T":1,"m":true}}'


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, bytes], Path]:
    def write(name: str, content: bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return write


def test_plain_and_gzip_files_are_one_tape_in_order(write: Callable[[str, bytes], Path]) -> None:
    first = write("a.gz", gzip.compress(b"1 " + FRAME + b"\n2 " + FRAME + b"\n"))
    second = write("b.txt", b"3 " + FRAME)

    lines = list(read_tape([first, second]))

    assert lines == [TapeLine(stamp, FRAME) for stamp in (1, 2, 3)]
    assert lines[0].raw == b"1 " + FRAME


def test_summary_tells_what_the_tape_holds(write: Callable[[str, bytes], Path]) -> None:
    path = write("a", b'5 {"lastUpdateId":1,"bids":[],"asks":[]}\n9 ' + FRAME + b"\n")

    summary = check_tape([path])

    assert (summary.lines, summary.first_ns, summary.last_ns) == (2, 5, 9)
    assert (summary.first_event_ms, summary.symbols) == (1700, ("BTCUSDT",))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"1 " + FRAME + b"\n2 {nope}\n", "line 2: not a combined-stream"),
        (b"1 " + FRAME + b"\n2 nope\n", "line 2: not a JSON object"),
        (b"1 " + FRAME + b"\n" + FRAME + b"\n", "line 2: no receive stamp"),
        (b"1 " + FRAME + b"\n\n", "line 2: no receive stamp"),
        (b'1 {"hello":1}\n', "line 1: not a combined-stream"),
        (b"1 " + FRAME.replace(b'"p":"1"', b'"p":"x"'), "line 1: unreadable frame of btcusdt@trade"),
        (b"1 " + FRAME.replace(b'"p":"1",', b""), "line 1: unreadable frame of btcusdt@trade"),
        (b'1 {"stream":"btcusdt@kline_1m","data":{"s":}}', "line 1: JSON is malformed"),
        (b"", "empty"),
    ],
)
def test_line_that_cannot_be_read_is_named(write: Callable[[str, bytes], Path], content: bytes, said: str) -> None:
    path = write("tape", content)

    with pytest.raises(Misuse, match=said) as error:
        check_tape([path])

    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_truncated_gzip_is_told_with_the_last_good_line(write: Callable[[str, bytes], Path]) -> None:
    whole = gzip.compress(b"".join(b"%d %b\n" % (stamp, FRAME) for stamp in range(1, 2_000)), compresslevel=0)
    path = write("a.gz", whole[: len(whole) // 2])

    with pytest.raises(Misuse, match=r"a\.gz, after line \d+: truncated"):
        check_tape([path])


def test_damaged_gzip_is_told(write: Callable[[str, bytes], Path]) -> None:
    whole = bytearray(gzip.compress(b"1 " + FRAME + b"\n"))
    whole[-6] ^= 0xFF

    with pytest.raises(Misuse, match="damaged gzip"):
        check_tape([write("a.gz", bytes(whole))])


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(Misuse, match=r"nowhere\.gz: cannot be read: No such file"):
        check_tape([tmp_path / "nowhere.gz"])


def test_no_file_at_all_is_told() -> None:
    with pytest.raises(Misuse, match="at least one file"):
        check_tape([])
