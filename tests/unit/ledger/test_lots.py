"""Lots against a reference that remembers every single unit."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefleet.ledger.lots import Lot, average_price, move, priced, quantity, unrealised

CHANGES = st.lists(st.tuples(st.integers(-6, 6).filter(bool), st.integers(1, 50)), max_size=40)


def one_unit_at_a_time(changes: list[tuple[int, int]]) -> tuple[list[tuple[int, int]], int]:
    """The definition: a queue of units, each with its sign and price; an opposite unit closes the oldest."""
    queue: list[tuple[int, int]] = []
    realised = 0
    for change, price in changes:
        sign = 1 if change > 0 else -1
        for _ in range(abs(change)):
            if queue and queue[0][0] != sign:
                held_sign, cost = queue.pop(0)
                realised += held_sign * (price - cost)
            else:
                queue.append((sign, price))
    return queue, realised


@given(CHANGES)
def test_lots_match_a_queue_of_single_units(changes: list[tuple[int, int]]) -> None:
    lots: tuple[Lot, ...] = ()
    realised = Decimal(0)

    for number, (change, price) in enumerate(changes):
        lots, earned = move(lots, Decimal(change), Decimal(price), at=number, origin=str(number))
        realised += earned

    queue, expected = one_unit_at_a_time(changes)
    units = [(1 if lot.quantity > 0 else -1, lot.price) for lot in lots for _ in range(abs(int(lot.quantity)))]
    assert units == [(sign, Decimal(price)) for sign, price in queue]
    assert realised == expected


@given(CHANGES, st.integers(1, 50))
def test_profit_is_what_the_money_says(changes: list[tuple[int, int]], mark: int) -> None:
    lots: tuple[Lot, ...] = ()
    realised = cash = Decimal(0)

    for change, price in changes:
        lots, earned = move(lots, Decimal(change), Decimal(price), at=0, origin="x")
        realised += earned
        cash -= change * price

    assert cash + quantity(lots) * mark == realised + unrealised(lots, Decimal(mark))


def test_a_sale_through_zero_closes_long_lots_and_opens_a_short_one() -> None:
    held = move((), Decimal(2), Decimal(100), at=1, origin="a").lots

    lots, realised = move(held, Decimal(-5), Decimal(110), at=2, origin="b")

    assert realised == 20
    assert lots == (Lot(Decimal(-3), Decimal(110), 2, "b"),)


def test_an_average_is_unknown_while_a_cost_is_unknown() -> None:
    lots = (Lot(Decimal(1), None, 0, "opening"), Lot(Decimal(1), Decimal(10), 1, "a"))

    assert average_price(lots) is None
    assert average_price(priced(lots, Decimal(20))) == 15
    assert average_price(()) is None


def test_money_is_never_rounded_in_silence() -> None:
    huge = "1000000000000.000000000000000001"

    lots = move((), Decimal(huge), Decimal("61602.01000001"), at=0, origin="a").lots
    realised = move(lots, Decimal("-" + huge), Decimal("61602.01000002"), at=0, origin="b").realised

    assert realised == Decimal("10000.00000000000000000000000001")


def test_the_rule_above_can_fail() -> None:
    with pytest.raises(AssertionError):
        assert Decimal("1e30") + Decimal("1e-30") - Decimal("1e30") == Decimal("1e-30")
