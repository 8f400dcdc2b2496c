"""What may be asked of a venue: no limit is passed, a fifth is left to cancels, silence is kept."""

from __future__ import annotations

import json
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefleet.clock import NS_PER_MS
from edgefleet.testing import FakeClock
from edgefleet.venues.budget import Budget, Purpose, VenueLimits, published_limits

PURPOSES = get_args(Purpose)
LIMITS = VenueLimits(weight_1m=100, orders_10s=10, orders_1d=30)

steps = st.tuples(
    st.sampled_from(PURPOSES),
    st.sampled_from([1, 2, 4, 20]),
    st.integers(0, 20_000),  # ms until the next request
    st.integers(0, 3),  # requests that are on their way together
)


class Venue:
    """Binance's counters over a clock that is not ours: they begin anew with each of its minutes."""

    def __init__(self, clock: FakeClock, offset_ms: int) -> None:
        self._clock = clock
        self._offset_ms = offset_ms
        self.minutes: dict[int, dict[str, int]] = {}
        self.ten_seconds: dict[int, int] = {}

    def take(self, purpose: str, weight: int) -> dict[str, str]:
        """Count a request and return the headers of its answer."""
        now_ms = self._clock.wall_ns() // NS_PER_MS + self._offset_ms
        used = self.minutes.setdefault(now_ms // 60_000, dict.fromkeys(PURPOSES, 0))
        used[purpose] += weight
        headers = {"x-mbx-used-weight-1m": str(sum(used.values()))}
        if purpose == "order":
            self.ten_seconds[now_ms // 10_000] = self.ten_seconds.get(now_ms // 10_000, 0) + 1
            headers["x-mbx-order-count-10s"] = str(self.ten_seconds[now_ms // 10_000])
        return headers


@given(st.lists(steps, max_size=80), st.integers(-60_000, 60_000))
def test_no_limit_of_the_venue_is_passed_and_a_fifth_is_left_to_cancels_whatever_its_clock(
    asked: list[tuple[Purpose, int, int, int]], offset_ms: int
) -> None:
    clock = FakeClock()
    venue, budget = Venue(clock, offset_ms), Budget(clock, LIMITS)

    for purpose, weight, pause_ms, together in asked:
        on_their_way = []
        for _ in range(1 + together):
            if budget.wait_s(purpose, weight) == 0:
                budget.leaves(purpose, weight)
                on_their_way.append(venue.take(purpose, weight))
        for headers in on_their_way:
            budget.returns(purpose, weight, headers)
        clock.advance(ms=pause_ms)

    for used in venue.minutes.values():
        assert sum(used.values()) <= LIMITS.weight_1m
        assert used["order"] + used["question"] <= 0.8 * LIMITS.weight_1m
    assert all(count <= LIMITS.orders_10s for count in venue.ten_seconds.values())


def test_what_others_of_our_address_asked_counts_until_the_venues_minute_is_over() -> None:
    clock = FakeClock()
    budget = Budget(clock, LIMITS)
    budget.leaves("question", 1)
    budget.returns("question", 1, {"x-mbx-used-weight-1m": "80"})

    assert budget.wait_s("order", 1) > 0
    assert budget.wait_s("question", 1) > 0
    assert budget.wait_s("cancel", 1) == 0
    clock.advance(s=budget.wait_s("order", 1), ns=1)
    assert budget.wait_s("order", 1) == 0


@pytest.mark.parametrize(
    ("status", "headers", "seconds"),
    [(429, {"retry-after": "7"}, 7.0), (418, {"retry-after": "120"}, 120.0), (429, {}, 1.0), (418, {}, 60.0)],
)
def test_nothing_leaves_before_the_silence_is_over(status: int, headers: dict[str, str], seconds: float) -> None:
    clock = FakeClock()
    budget = Budget(clock)

    assert budget.refused(status, -1003, headers) == seconds

    for purpose in PURPOSES:
        assert budget.wait_s(purpose, 1) == pytest.approx(seconds)
    clock.advance(s=seconds)
    assert budget.wait_s("order", 1) == 0


def test_shorter_silence_does_not_end_a_longer_one() -> None:
    budget = Budget(FakeClock())
    budget.refused(418, -1003, {"retry-after": "120"})
    budget.refused(429, -1003, {"retry-after": "2"})

    assert budget.wait_s("cancel", 1) == pytest.approx(120)


def test_too_many_orders_hold_back_orders_and_nothing_else() -> None:
    budget = Budget(FakeClock())
    budget.refused(429, -1015, {})

    assert 0 < budget.wait_s("order", 1) <= 11
    assert budget.wait_s("cancel", 1) == budget.wait_s("question", 4) == 0


def test_order_that_was_never_answered_keeps_its_weight() -> None:
    clock = FakeClock()
    budget = Budget(clock, LIMITS)
    for _ in range(3):
        budget.leaves("question", 20)
        budget.returns("question", 20, {})

    assert budget.used_weight == 60
    assert budget.wait_s("question", 20) > 0
    clock.advance(s=61)
    assert budget.used_weight == 0


def test_published_limits_are_read_and_unknown_ones_passed_by() -> None:
    body = {
        "rateLimits": [
            {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 1200},
            {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 50},
            {"rateLimitType": "RAW_REQUESTS", "interval": "MINUTE", "intervalNum": 5, "limit": 61000},
        ]
    }

    limits = published_limits(json.dumps(body).encode())

    assert limits == VenueLimits(weight_1m=1_200, orders_10s=50, orders_1d=200_000)
