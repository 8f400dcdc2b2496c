"""A busy market is read in turns, any other at once."""

from __future__ import annotations

import pytest

from edgefleet.clock import NS_PER_MS, NS_PER_S
from edgefleet_services.ingestion.pace import BUSY_PER_S, TURN_NS, Pace


def after_a_second_at(rate: int) -> Pace:
    """Return the pace of a market that gave `rate` frames a second, each taken alone."""
    pace = Pace(0)
    for i in range(rate):
        pace.took(1, i * NS_PER_S // rate)
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
