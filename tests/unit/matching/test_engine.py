"""The price-time book, held against the figures of exchange-core (Apache-2.0)."""

from __future__ import annotations

from decimal import Decimal

import pytest

from edgefleet.matching.engine import Match, PriceTimeBook, Side, TimeInForce, UnknownOrder, WouldTake

D = Decimal
IOC, FOK = TimeInForce.IOC, TimeInForce.FOK


def trades(matches: tuple[Match, ...]) -> list[tuple[str, int, int]]:
    return [(match.maker_id, int(match.quantity), int(match.price)) for match in matches]


@pytest.fixture
def small() -> PriceTimeBook:
    book = PriceTimeBook()
    book.place("101", Side.SELL, D(7), D(1600))
    book.place("102", Side.BUY, D(4), D(1550))
    return book


@pytest.fixture
def deep() -> PriceTimeBook:
    book = PriceTimeBook()
    for number, (side, price, size) in enumerate(
        [
            (Side.SELL, 81599, 50),
            (Side.SELL, 81599, 25),
            (Side.SELL, 81600, 100),
            (Side.SELL, 200954, 10),
            (Side.SELL, 201000, 60),
            (Side.BUY, 81593, 40),
            (Side.BUY, 81590, 20),
            (Side.BUY, 81590, 1),
            (Side.BUY, 81200, 20),
            (Side.BUY, 10000, 13),
            (Side.BUY, 9136, 2),
        ],
        start=1,
    ):
        book.place(str(number), side, D(size), D(price))
    return book


def test_ioc_trades_at_the_resting_price(small: PriceTimeBook) -> None:
    outcome = small.place("103", Side.BUY, D(2), D(1700), IOC)

    assert trades(outcome.matches) == [("101", 2, 1600)]
    assert list(small.levels(Side.SELL)) == [(D(1600), D(5))]
    assert list(small.levels(Side.BUY)) == [(D(1550), D(4))]


def test_moved_order_trades_at_the_price_of_the_one_it_meets(small: PriceTimeBook) -> None:
    small.place("103", Side.BUY, D(2), D(1700), IOC)
    small.place("104", Side.BUY, D(4), D(1583))

    outcome = small.move("101", D(1580))

    assert trades(outcome.matches) == [("104", 4, 1583)]
    assert list(small.levels(Side.SELL)) == [(D(1580), D(1))]
    assert list(small.levels(Side.BUY)) == [(D(1550), D(4))]


def test_sell_takes_the_best_price_then_the_older_order(deep: PriceTimeBook) -> None:
    outcome = deep.place("s", Side.SELL, D(41), None, IOC)

    assert trades(outcome.matches) == [("6", 40, 81593), ("7", 1, 81590)]


def test_buy_walks_two_orders_of_a_level_and_the_next_level(deep: PriceTimeBook) -> None:
    outcome = deep.place("b", Side.BUY, D(175), None, IOC)

    assert trades(outcome.matches) == [("1", 50, 81599), ("2", 25, 81599), ("3", 100, 81600)]


def test_two_levels_average_between_their_prices() -> None:
    book = PriceTimeBook()
    book.place("1", Side.SELL, D(10_000), D(101))
    book.place("2", Side.SELL, D(10_000), D(102))

    outcome = book.place("3", Side.BUY, D(20_000))

    assert sum(match.price * match.quantity for match in outcome.matches) / outcome.matched == D("101.5")


def test_fill_or_kill_does_nothing_where_part_would_be_left(deep: PriceTimeBook) -> None:
    outcome = deep.place("b", Side.BUY, D(176), D(81600), FOK)

    assert outcome.matches == ()
    assert outcome.unfilled == 176
    assert deep.level(Side.SELL, D(81599)) == 75


def test_fill_or_kill_trades_where_all_of_it_does(deep: PriceTimeBook) -> None:
    assert deep.place("b", Side.BUY, D(175), D(81600), FOK).matched == 175


def test_what_an_ioc_leaves_does_not_rest(small: PriceTimeBook) -> None:
    outcome = small.place("103", Side.BUY, D(9), D(1600), IOC)

    assert (outcome.matched, outcome.rested, outcome.unfilled) == (D(7), D(0), D(2))
    assert "103" not in small


def test_post_only_order_that_would_trade_leaves_the_book_alone(small: PriceTimeBook) -> None:
    with pytest.raises(WouldTake):
        small.place("103", Side.BUY, D(1), D(1600), post_only=True)

    assert small.left("101") == 7
    assert small.place("103", Side.BUY, D(1), D(1599), post_only=True).rested == 1


def test_reduced_order_keeps_its_place(deep: PriceTimeBook) -> None:
    assert deep.reduce("1", D(20)) == 30

    assert trades(deep.place("b", Side.BUY, D(31)).matches) == [("1", 30, 81599), ("2", 1, 81599)]


def test_order_reduced_to_nothing_is_gone(deep: PriceTimeBook) -> None:
    assert deep.reduce("1", D(50)) == 0
    assert "1" not in deep


def test_cancelled_order_does_not_trade(deep: PriceTimeBook) -> None:
    assert deep.cancel("1") == 50

    assert trades(deep.place("b", Side.BUY, D(1)).matches) == [("2", 1, 81599)]


def test_unknown_order_is_named(small: PriceTimeBook) -> None:
    with pytest.raises(UnknownOrder, match="999"):
        small.cancel("999")


@pytest.mark.parametrize(("quantity", "price"), [("0", "1"), ("-1", "1"), ("1", "0"), ("NaN", "1")])
def test_quantity_and_price_must_be_positive(small: PriceTimeBook, quantity: str, price: str) -> None:
    with pytest.raises((ValueError, ArithmeticError)):
        small.place("x", Side.BUY, D(quantity), D(price))


def test_second_order_of_an_id_is_refused(small: PriceTimeBook) -> None:
    with pytest.raises(ValueError, match="rests already"):
        small.place("101", Side.SELL, D(1), D(1700))
