"""The simulated venue's counters: no minute beyond its limit, and silence that is meant."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefleet_services.venue.limits import Limits, TooMany, Usage

START_MS = 1_750_000_012_345
LIMITS = Limits(weight_1m=100, orders_10s=3, orders_1d=5, ban_after=2, ban_s=60)


class Api:
    """A venue's counters and the clock they go by."""

    def __init__(self, limits: Limits = LIMITS) -> None:
        self.now_ms = START_MS
        self.usage = Usage(lambda: self.now_ms, limits)

    def ask(self, weight: int = 1, address: str = "here") -> TooMany | None:
        try:
            self.usage.admit(address, weight)
        except TooMany as refusal:
            return refusal
        return None

    def order(self, *, trades: bool = False) -> TooMany | None:
        try:
            self.usage.admit_order()
        except TooMany as refusal:
            return refusal
        self.usage.count_order()
        if trades:
            self.usage.order_traded()
        return None


@given(st.lists(st.tuples(st.integers(1, 60), st.integers(0, 40_000)), max_size=60))
def test_no_minute_holds_more_than_its_limit_and_nobody_is_let_in_while_he_is_to_be_silent(
    asked: list[tuple[int, int]],
) -> None:
    api = Api(Limits(weight_1m=100, ban_after=1, ban_s=90))
    minutes: dict[int, int] = {}
    silent_until = 0

    for weight, pause_ms in asked:
        refusal = api.ask(weight)
        if refusal is None:
            assert api.now_ms >= silent_until
            minutes[api.now_ms // 60_000] = minutes.get(api.now_ms // 60_000, 0) + weight
        else:
            assert refusal.retry_after_s is not None
            silent_until = max(silent_until, api.now_ms + (refusal.retry_after_s - 1) * 1_000)
        api.now_ms += pause_ms

    assert all(used <= 100 for used in minutes.values())


def test_whoever_waits_as_long_as_he_was_told_is_let_in() -> None:
    api = Api()
    assert api.ask(100) is None
    refusal = api.ask()

    assert refusal is not None
    assert refusal.http_status == 429
    assert refusal.retry_after_s is not None
    api.now_ms += refusal.retry_after_s * 1_000
    assert api.ask() is None
    assert api.usage.shown()["addresses"]["here"]["early"] == 0


def test_one_address_does_not_pay_for_another() -> None:
    api = Api()
    api.ask(100)
    api.ask()

    assert api.ask(address="there") is None


def test_who_does_not_wait_is_banned_and_the_ban_ends() -> None:
    api = Api()
    api.ask(100)
    statuses = [refusal.http_status for _ in range(5) if (refusal := api.ask()) is not None]

    assert statuses == [429, 429, 429, 418, 418]
    api.now_ms += 59_000
    assert api.ask() is not None
    api.now_ms += 61_000
    assert api.ask() is None


def test_orders_are_counted_by_ten_seconds_and_by_day() -> None:
    api = Api()
    first = [api.order() for _ in range(4)]
    api.now_ms += 10_000
    second = [api.order() for _ in range(3)]

    assert [refusal is None for refusal in first] == [True, True, True, False]
    assert [refusal is None for refusal in second] == [True, True, False]
    assert first[3] is not None
    assert (first[3].code, first[3].headers) == (-1015, {})


def test_order_that_traded_counts_no_longer() -> None:
    api = Api()

    assert [api.order(trades=True) for _ in range(50)] == [None] * 50


@pytest.mark.parametrize("wrong", [{"weight_1m": 0}, {"orders_10s": -1}, {"ban_s": 0}, {"ban_after": -1}])
def test_limits_that_cannot_be_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least"):
        Limits(**wrong)
