"""A busy market is read in turns, any other at once."""

from __future__ import annotations

import sys

import pytest

from edgefleet.clock import NS_PER_MS, NS_PER_S
from edgefleet_services.ingestion.pace import BUSY_PER_S, SHORT_TURN_NS, SHORT_TURN_SHARE, TURN_NS, Pace, waited_ns


def after_a_second_at(rate: int, *, waiting: float = 0.0) -> Pace:
    """Return the pace of a market that gave `rate` frames a second, each taken alone.

    The process was ready and had no processor for a share `waiting` of the second.
    """
    now = 0
    pace = Pace(0, lambda: int(waiting * now))
    for i in range(rate):
        now = i * NS_PER_S // rate
        pace.took(1, now)
    return pace


@pytest.mark.parametrize(("rate", "busy"), [(100, False), (1_000, False), (BUSY_PER_S + 200, True), (20_000, True)])
def test_a_market_is_busy_by_its_rate(rate: int, busy: bool) -> None:
    assert after_a_second_at(rate).is_busy == busy


def test_a_quiet_market_is_never_waited_for() -> None:
    assert after_a_second_at(100).rest_s(NS_PER_S) == 0


def test_a_busy_market_is_read_once_in_a_turn() -> None:
    pace = after_a_second_at(10_000)
    pace.took(10, NS_PER_S)

    assert pace.rest_s(NS_PER_S) == TURN_NS / NS_PER_S
    assert pace.rest_s(NS_PER_S + TURN_NS - NS_PER_MS // 2) == 0.0005
    assert pace.rest_s(NS_PER_S + TURN_NS) == 0


def test_a_busy_market_that_falls_quiet_is_quiet_with_the_next_frame() -> None:
    pace = after_a_second_at(10_000)

    pace.took(1, 2 * NS_PER_S)

    assert not pace.is_busy


@pytest.mark.parametrize(
    ("rate", "waiting", "turn_ns"),
    [
        (10_000, SHORT_TURN_SHARE - 0.02, TURN_NS),
        (10_000, SHORT_TURN_SHARE + 0.02, SHORT_TURN_NS),
        (100, 0.9, 0),  # a quiet market is read at once, however busy the machine is
    ],
)
def test_a_busy_market_is_read_seldomer_where_processors_are_short(rate: int, waiting: float, turn_ns: int) -> None:
    pace = after_a_second_at(rate, waiting=waiting)
    pace.took(1, NS_PER_S)

    assert pace.rest_s(NS_PER_S) == turn_ns / NS_PER_S


def test_where_a_commit_was_full_the_next_reading_does_not_wait() -> None:
    pace = after_a_second_at(30_000, waiting=0.9)
    pace.took(256, NS_PER_S, full=True)

    assert pace.rest_s(NS_PER_S) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells how long a process waited for a processor")
def test_the_kernel_tells_how_long_we_waited() -> None:
    before = waited_ns()

    assert 0 < before <= waited_ns()
