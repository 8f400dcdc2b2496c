"""The ledger's stage: money is conserved, fees leave in their own asset, a fill is booked once."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from edgefleet.ledger.books import Statement
from edgefleet.ledger.identity import after, amounts, assets, check, imbalance
from edgefleet.ledger.stage import LedgerStage, LedgerState, statements
from edgefleet.messages import Account, Alert, Balance, Fill, Message, Session
from edgefleet.params.schema import FleetConfig
from edgefleet.stage import Input, Output
from edgefleet.testing.build import fill, touch
from edgefleet.testing.clock import START_NS

CONFIG = FleetConfig()


def account(reason: str = "start", **held: str) -> Account:
    balances = {name: Balance(free=Decimal(amount), locked=Decimal(0)) for name, amount in held.items()}
    stamps: dict[str, Any] = {"ts_event": START_NS, "ts_init": START_NS, "trace_id": "sim:account:1"}
    return Account(account="main", venue="sim", balances=balances, reason=reason, **stamps)  # type: ignore[arg-type]  # a word per test


def session(name: str = "s1") -> Session:
    return Session(
        session=name, mode="demo", venue="sim", account="main", symbols=("BTC/USDT",), first_ids={}, machine={},
        ts_event=START_NS, ts_init=START_NS,
    )  # fmt: skip


def run(messages: list[Message], state: LedgerState | None = None) -> tuple[LedgerState, list[Output]]:
    stage = LedgerStage()
    state = stage.initial() if state is None else state
    outputs: list[Output] = []
    for number, message in enumerate(messages, 1):
        outputs += stage.step(state, Input("fills", f"{number}-0", message), CONFIG)
    return state, outputs


def only(state: LedgerState) -> Statement:
    (line,) = statements(state)
    return line


MONEY = st.decimals("0.01", "90000", places=2)
FILLS = st.lists(
    st.builds(
        lambda number, side, quantity, price, fee, fee_asset: fill(
            trade_id=str(number), order_id=f"ef{number % 5}", side=side, quantity=quantity, price=price, fee=fee,
            fee_asset=fee_asset,
        ),
        st.integers(1, 10_000),
        st.sampled_from(["buy", "sell"]),
        st.decimals("0.00001", "2", places=5),
        MONEY,
        st.decimals("-0.001", "0.005", places=5),
        st.sampled_from(["USDT", "BTC"]),
    ),
    max_size=25,
    unique_by=lambda one: one.trade_id,
)  # fmt: skip


@given(FILLS, MONEY)
def test_cash_and_inventory_are_conserved(fills: list[Fill], bid: Decimal) -> None:
    start = account(USDT="100000", BTC="3")
    first = touch(bid=Decimal(60_000), ask=Decimal(60_001))

    state, _ = run([session(), start, first, *fills, touch(bid=bid, ask=bid + 1)])

    line, book = only(state), state.books["main@sim"]
    expected = after(amounts(start.balances), fills)
    assert imbalance(book.balances, expected) == 0
    assert line.positions[0].quantity == book.balances["BTC"]
    assert line.equity is not None
    assert line.start_equity is not None
    assert line.unrealised is not None
    assert line.equity - line.start_equity == line.realised + line.unrealised - line.fees_in_quote


@given(FILLS, st.randoms(use_true_random=False))
def test_fills_that_come_again_and_out_of_order_are_booked_once(fills: list[Fill], random: Any) -> None:
    opening: list[Message] = [session(), account(USDT="100000"), touch()]
    shuffled = fills + random.sample(fills, len(fills) // 2)
    random.shuffle(shuffled)

    once, _ = run([*opening, *fills])
    again, _ = run([*opening, *shuffled])

    assert again.books["main@sim"].balances == once.books["main@sim"].balances
    assert again.books["main@sim"].fees == once.books["main@sim"].fees
    assert only(again).fills == len(fills)


@given(FILLS, st.integers(0, 25))
def test_a_restart_in_the_middle_changes_nothing(fills: list[Fill], cut: int) -> None:
    opening: list[Message] = [session(), account(USDT="100000", BTC="1"), touch()]

    whole, _ = run([*opening, *fills])
    half, _ = run([*opening, *fills[:cut]])
    saved = msgspec.msgpack.decode(msgspec.msgpack.encode(half), type=LedgerState)
    resumed, _ = run(list(fills[cut:]), saved)

    assert resumed == whole


def test_a_fee_in_the_base_asset_leaves_with_the_position() -> None:
    bought = fill(quantity=Decimal(1), price=Decimal(100), fee=Decimal("0.001"), fee_asset="BTC")

    state, _ = run([session(), account(USDT="1000"), bought, touch(bid=Decimal(100), ask=Decimal(101))])

    line = only(state)
    assert line.positions[0].quantity == Decimal("0.999")
    assert line.cash == {"USDT": Decimal(900)}
    assert line.fees == {"BTC": Decimal("0.001")}
    assert line.fees_in_quote == Decimal("0.1")
    assert line.equity == Decimal("999.9")


def test_a_fee_in_a_third_asset_is_told_apart_and_left_out_of_equity() -> None:
    paid = fill(quantity=Decimal(1), price=Decimal(100), fee=Decimal("0.02"), fee_asset="BNB")

    state, _ = run([session(), account(USDT="1000", BNB="1"), paid, touch(bid=Decimal(100), ask=Decimal(101))])

    line = only(state)
    assert line.unpriced == {"BNB": Decimal("0.98")}
    assert line.equity == 1000
    assert line.fees_in_quote == 0


def test_equity_is_unknown_until_what_is_held_has_a_price() -> None:
    state, _ = run([session(), account(USDT="1000", BTC="1")])

    assert only(state).equity is None

    state, _ = run([touch(bid=Decimal(50), ask=Decimal(51))], state)
    assert only(state).equity == 1050


def test_a_short_position_is_valued_at_the_ask() -> None:
    sold = fill(side="sell", quantity=Decimal(2), price=Decimal(100), fee=Decimal(0))

    state, _ = run([session(), account(USDT="1000"), sold, touch(bid=Decimal(90), ask=Decimal(95))])

    assert only(state).unrealised == 10
    assert only(state).equity == 1010


def test_a_holding_from_before_the_session_is_no_profit() -> None:
    state, _ = run([session(), account(USDT="0", BTC="2"), touch(bid=Decimal(100), ask=Decimal(101))])
    sold = fill(side="sell", quantity=Decimal(2), price=Decimal(103), fee=Decimal(0))

    state, _ = run([sold], state)

    assert only(state).realised == 6


def test_a_new_session_carries_lots_on_where_the_venue_agrees() -> None:
    bought = fill(quantity=Decimal(1), price=Decimal(100), fee=Decimal(0))
    state, _ = run([session(), account(USDT="1000"), touch(bid=Decimal(100), ask=Decimal(101)), bought])

    run([session("s2"), account(USDT="900", BTC="1"), touch(bid=Decimal(120), ask=Decimal(121))], state)

    line = only(state)
    assert line.positions[0].average_price == 100
    assert line.realised == 0
    assert line.unrealised == 20
    assert line.start_unrealised == 20


def test_a_new_session_believes_the_venue_where_it_does_not() -> None:
    bought = fill(quantity=Decimal(1), price=Decimal(100), fee=Decimal(0))
    state, _ = run([session(), account(USDT="1000"), touch(bid=Decimal(100), ask=Decimal(101)), bought])

    run([session("s2"), account(USDT="100000"), touch(bid=Decimal(120), ask=Decimal(121))], state)

    line = only(state)
    assert line.positions[0].quantity == 0
    assert line.equity == 100_000
    assert line.realised == 0
    assert line.fills == 0


def test_an_executor_that_starts_again_in_a_session_resets_nothing() -> None:
    bought = fill(quantity=Decimal(1), price=Decimal(100), fee=Decimal(0))

    state, outputs = run([session(), account(USDT="1000"), bought, account(USDT="900", BTC="1")])

    assert only(state).fills == 1
    assert only(state).ledger_minus_venue == 0
    assert outputs == []


def test_a_difference_that_stays_is_an_alert_that_names_it() -> None:
    wrong = account("periodic", USDT="999.5")

    state, first = run([session(), account(USDT="1000"), wrong])
    _, second = run([wrong], state)

    assert first == []
    (alert,) = [output.message for output in second]
    assert isinstance(alert, Alert)
    assert "USDT 0.5" in alert.text


def test_a_fill_that_the_opening_balance_contains_is_not_booked_again() -> None:
    state, _ = run([session(), fill(), account(USDT="94000", BTC="0.1"), touch()])

    assert only(state).positions[0].quantity == Decimal("0.1")
    assert state.unopened_fills == 1


def test_the_identity_is_zero_for_equal_books_and_not_otherwise() -> None:
    start, trade = {"USDT": Decimal(10_000)}, fill()
    end = after(start, [trade])

    good = check(start=start, end=end, venue_trades=[trade], ledger=end, fills=[trade])
    bad = check(start=start, end={**end, "USDT": Decimal(1)}, venue_trades=[], ledger=end, fills=[trade])

    assert good.holds
    assert not bad.holds
    assert bad.fills_not_at_venue == 1


def test_a_self_trade_is_two_executions() -> None:
    bought, sold = fill(order_id="a", fee=Decimal(1)), fill(order_id="b", side="sell", fee=Decimal(1))

    assert after({"USDT": Decimal(10_000)}, [bought, sold]) == {"USDT": Decimal(9_998), "BTC": Decimal(0)}


def test_assets_of_a_settled_pair_leave_the_settlement_out() -> None:
    assert assets("BTC/USDT:USDT@binance") == ("BTC", "USDT")


def test_a_statements_time_is_the_markets_and_not_the_operators() -> None:
    opened = msgspec.structs.replace(session(), ts_event=START_NS + 10**18)

    state, _ = run([opened, account(USDT="1000"), touch(ts_event=START_NS + 5)])

    assert only(state).ts == START_NS + 5


def test_prices_of_an_earlier_session_value_nothing_in_the_next() -> None:
    state, _ = run([session(), account(USDT="1000", BTC="1"), touch()])

    run([session("s2"), account(USDT="1000", BTC="1")], state)

    assert only(state).equity is None


def test_the_difference_is_what_it_was_when_the_venue_last_spoke() -> None:
    state, _ = run([session(), account(USDT="10000"), fill()])

    assert only(state).ledger_minus_venue == 0
