"""Time texts become nanoseconds exactly, and what is no time is told as a frame that cannot be read."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefleet.clock import NS_PER_S
from edgefleet.venues.stamps import rfc3339_ns, seconds_ns


@given(
    st.integers(0, 7_258_118_400),  # to the year 2200
    st.integers(0, NS_PER_S - 1),
    st.integers(0, 9),
)
def test_every_digit_that_is_written_counts(seconds: int, fraction: int, digits: int) -> None:
    written = f"{fraction:09d}"[:digits]
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S") + (f".{written}" if digits else "") + "Z"

    assert rfc3339_ns(text) == seconds * NS_PER_S + int(written.ljust(9, "0"))


def test_an_offset_is_taken_off() -> None:
    assert rfc3339_ns("2024-02-29T23:00:00.5-05:30") == rfc3339_ns("2024-03-01T04:30:00.500Z")


@given(st.integers(0, 4 * 10**9), st.integers(0, 999_999))
def test_seconds_keep_their_microseconds(seconds: int, micros: int) -> None:
    assert seconds_ns(f"{seconds}.{micros:06d}") == seconds * NS_PER_S + micros * 1_000


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Z",
        "now",
        "2021-04-17",
        "2021-04-17T16:43:37",
        "2021-04-17T16:43:37.Z",
        "2021-04-17T16:43:37.1e3Z",
        "2021-04-17T16:43:37.-1Z",
        "2021-13-17T16:43:37.1Z",
        "2021-04-17T25:43:37.1Z",
        "2021-04-17T16:43:37.1+0100",
        "2021-04-17T16:43:37,1Z",
        "2021-W15-6T16:43:37",
    ],
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        rfc3339_ns(text)


@pytest.mark.parametrize("text", ["", ".5", "-1.0", "1.-5", "nan", "1e9", "1.2.3", "١.5"])
def test_what_are_no_seconds_is_refused(text: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        seconds_ns(text)


def test_the_utc_of_the_library_agrees() -> None:
    stamp = datetime(2021, 4, 17, 16, 43, 37, 75_687, UTC)

    assert rfc3339_ns("2021-04-17T16:43:37.075687Z") == int(stamp.timestamp()) * NS_PER_S + 75_687_000
