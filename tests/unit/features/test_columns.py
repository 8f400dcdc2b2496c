"""What columns of a market are refused, and what order they are in."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from tests.unit.features.tapes import SECOND, SHORT, START

from edgefleet.features.columns import COLUMNS, MarketColumns, ordered_by_time
from edgefleet.features.offline import compute

Made = dict[str, npt.NDArray[Any]]


def trades(count: int = 3, **changes: Any) -> Made:
    whole = np.arange(count)
    usual: Made = {
        "order": whole,
        "ts_event": START + whole * SECOND,
        "price": np.full(count, 100.0),
        "quantity": np.ones(count),
        "is_buy": np.ones(count, np.bool_),
    }
    return {**usual, **changes}


def test_no_columns_at_all_have_no_features() -> None:
    table = compute(MarketColumns({}), SHORT)
    later = compute(MarketColumns({}), SHORT, np.array([START, START + SECOND]))

    assert len(table.times) == 0
    assert [later.row(number) for number in range(2)] == [{}, {}]


@pytest.mark.parametrize("name", COLUMNS)
def test_a_table_without_rows_is_as_one_that_is_left_out(name: str) -> None:
    shape = (0, 3) if name == "depth" else (0,)
    empty: Made = {column: np.empty(shape) for column in COLUMNS[name]}
    empty |= {"order": np.empty(0, np.int64), "ts_event": np.empty(0, np.int64)}
    tables = {"trades": trades()} | {name: empty}

    with_it, without = (MarketColumns(given) for given in (tables, {k: v for k, v in tables.items() if k != name}))

    assert compute(with_it, SHORT).times.tolist() == compute(without, SHORT).times.tolist()


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -1.0, 0.0, 1e16])
def test_a_number_that_cannot_be_is_refused_by_place(wrong: float) -> None:
    with pytest.raises(ValueError, match=re.escape(f"trades.price is from 1e-18 to 1e+15, was {wrong} in row 1")):
        MarketColumns({"trades": trades(price=np.array([1.0, wrong, 1.0]))})


@pytest.mark.parametrize(
    ("tables", "told"),
    [
        ({"trades": {"order": np.arange(2), "ts_event": np.arange(2)}}, "trades has no column 'price'"),
        ({"trades": trades(price=np.ones(2))}, "trades.price has 2 rows, not 3"),
        ({"trades": trades(order=np.array([1, 1, 2]))}, "two rows have the place 1"),
        ({"trades": trades(ts_event=np.array([1.5, 2.0, 3.0]))}, "trades.ts_event must be whole numbers, was float64"),
        ({"candles": trades()}, "there is no table 'candles'"),
    ],
    ids=["missing", "short", "twice", "stamps", "unknown"],
)
def test_what_is_no_market_is_refused(tables: dict[str, Made], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        MarketColumns(tables)


def test_a_book_that_is_not_deep_enough_is_refused() -> None:
    sides = dict.fromkeys(COLUMNS["depth"], np.ones((1, 2)))
    depth: Made = {"order": np.arange(1), "ts_event": np.array([START]), **sides, "ask_price": np.full((1, 2), 2.0)}

    with pytest.raises(ValueError, match="depth_imbalance_3 needs depth of 3 levels, the columns have 2"):
        compute(MarketColumns({"depth": depth}), SHORT)


def test_times_that_go_back_are_refused() -> None:
    with pytest.raises(ValueError, match="must not go back"):
        compute(MarketColumns({"trades": trades()}), SHORT, np.array([START + 1, START]))


def test_rows_may_come_in_any_order_when_they_say_which() -> None:
    rng = np.random.RandomState(1)
    sorted_ones = trades(50, price=100 + rng.randint(-5, 5, 50) / 10.0)
    shuffle = rng.permutation(50)
    shuffled = {name: column[shuffle] for name, column in sorted_ones.items()}

    whole, other = (compute(MarketColumns({"trades": one}), SHORT) for one in (sorted_ones, shuffled))

    assert [whole.row(n) for n in range(50)] == [other.row(n) for n in range(50)]


def test_columns_without_an_order_are_put_in_that_of_their_stamps() -> None:
    quotes: Made = {"ts_event": np.array([START, START + 2 * SECOND])}
    quotes |= {"bid": np.full(2, 9.0), "ask": np.full(2, 10.0), "bid_size": np.ones(2), "ask_size": np.ones(2)}
    prints = trades()
    del prints["order"]

    columns = MarketColumns(ordered_by_time({"trades": prints, "quotes": quotes}))

    assert columns.places["quotes"].tolist() == [0, 3]
    assert columns.places["trades"].tolist() == [1, 2, 4]
    assert columns.now.tolist() == [START, START, START + SECOND, START + 2 * SECOND, START + 2 * SECOND]
