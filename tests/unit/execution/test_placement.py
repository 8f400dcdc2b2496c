"""One order for one wanted change of position."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

from hypothesis import given
from hypothesis import strategies as st

from edgefleet.execution.placement import NoOrder, Placement, Top, left_behind, plan, signed
from edgefleet.instruments import Instrument
from edgefleet.messages.verdicts import Refusal
from edgefleet.params.schema import ExecutionParams

TOP = Top(Decimal("59999.99"), Decimal("60000.01"))
RULES = Instrument(
    symbol="BTC/USDT",
    venue="sim",
    base="BTC",
    quote="USDT",
    tick_size=Decimal("0.01"),
    lot_size=Decimal("0.001"),
    min_quantity=Decimal("0.001"),
    min_notional=Decimal(5),
)
sizes = st.decimals(Decimal(-5), Decimal(5), places=4, allow_nan=False)
kinds: st.SearchStrategy[Literal["market", "limit", "post_only"]] = st.sampled_from(["market", "limit", "post_only"])


def place(
    target: Decimal,
    position: Decimal,
    kind: Literal["market", "limit", "post_only"] = "market",
    *,
    reducing: bool = False,
) -> Placement | NoOrder:
    return plan(target, position, kind, TOP, RULES, ExecutionParams(), reducing=reducing)


@given(sizes, sizes, kinds)
def test_order_moves_the_position_toward_the_target_and_never_past_it(
    target: Decimal, position: Decimal, kind: Literal["market", "limit", "post_only"]
) -> None:
    order = place(target, position, kind)

    if isinstance(order, Placement):
        after = position + signed(order.side, order.quantity)
        assert abs(target - after) < abs(target - position)
        assert (target - after) * (target - position) >= 0
        assert order.quantity % RULES.lot_size == 0
    else:
        near = ExecutionParams().close_enough_fraction * abs(target)
        assert abs(target - position) <= max(near, RULES.lot_size)


@given(sizes, sizes)
def test_while_reducing_an_order_only_shrinks_the_position(target: Decimal, position: Decimal) -> None:
    order = place(target, position, reducing=True)

    if isinstance(order, Placement):
        after = position + signed(order.side, order.quantity)
        assert abs(after) < abs(position)
        assert after * position >= 0
        assert order.reduce_only


def test_position_already_at_its_target_is_left_alone_while_reducing() -> None:
    assert place(Decimal("0.1"), Decimal("0.1"), reducing=True) == NoOrder(None)


def test_enlarging_is_refused_while_reducing() -> None:
    refused = place(Decimal(2), Decimal(1), reducing=True)

    assert isinstance(refused, NoOrder)
    assert refused.reason is Refusal.REDUCING


def test_too_small_a_notional_is_refused_with_both_numbers() -> None:
    rules = Instrument(
        **{name: getattr(RULES, name) for name in RULES.__struct_fields__} | {"min_notional": Decimal(100)}
    )

    refused = plan(Decimal("0.001"), Decimal(0), "market", TOP, rules, ExecutionParams(), reducing=False)

    assert refused == NoOrder(Refusal.BELOW_MINIMUM, 100.0, 60.00001, "min_notional")


def test_resting_order_is_left_behind_only_by_a_move_away_from_it() -> None:
    assert left_behind("buy", Decimal("59999.93"), TOP, Decimal("0.01"), 5)
    assert not left_behind("buy", Decimal("59999.94"), TOP, Decimal("0.01"), 5)
    assert not left_behind("sell", Decimal("59999.00"), TOP, Decimal("0.01"), 5) or TOP.ask < Decimal("59999.00")
    assert left_behind("sell", Decimal("60000.07"), TOP, Decimal("0.01"), 5)


def test_fee_taken_in_the_base_asset_is_not_bought_back() -> None:
    assert place(Decimal("2.910"), Decimal("2.910") - Decimal("0.00291")) == NoOrder(None)


def test_closing_a_position_leaves_nothing_that_can_be_sold() -> None:
    made = place(Decimal(0), Decimal("2.90709"))

    assert isinstance(made, Placement)
    assert made.quantity == Decimal("2.907")
