"""A stock broker's orders: hours, queueing, working a market order, replacing, what is refused and with which words."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from edgefleet.matching.broker_account import BrokerState
from edgefleet.matching.broker_orders import BrokerReject, BrokerStatus, OrderKind
from edgefleet.matching.exchange import Fees

from .stock_days import STOCK, D, Stock, at, buy, events, later, sell

OPEN = at("09:30")
NOON = at("12:00")


def trading(usd: str = "10000", shares: str = "0", **more: Any) -> Stock:
    """Return a stock at noon of the half-day, quoted 99.99 / 100.01 for 100 shares each."""
    stock = Stock(at("11:59"), usd, shares, **more)
    stock.quote(NOON, "99.99", "100.01")
    return stock


def refused(stock: Stock, request: Any) -> tuple[int, int, str]:
    before = stock.broker.account.dump()
    with pytest.raises(BrokerReject) as caught:
        stock.broker.place(request)
    assert stock.broker.account.dump() == before, "a refusal changes nothing"
    return caught.value.http_status, caught.value.code, caught.value.message


def test_market_order_takes_the_quote_and_the_account_pays_it() -> None:
    stock = trading()

    order, updates = stock.broker.place(buy("10"))

    assert order.status is BrokerStatus.PENDING_NEW
    assert events(updates) == ["pending_new", "new", "fill"]
    assert (updates[-1].price, updates[-1].quantity, updates[-1].position) == (D("100.01"), D(10), D(10))
    assert stock.broker.account.cash() == D("10000") - D("1000.10")
    assert stock.broker.account.position(STOCK) == 10
    assert stock.broker.account.cost(STOCK) == D("1000.10")


def test_market_order_that_finds_too_little_goes_on_with_the_quotes_that_follow() -> None:
    stock = trading(usd="100000")

    order, updates = stock.broker.place(buy("250"))
    assert events(updates) == ["pending_new", "new", "partial_fill"]
    assert stock.broker.account.order(order.number).filled == 100

    assert stock.quote(later(NOON, 1), "99.99", "100.01") == [], "the quote that was taken is no new one"
    second = stock.quote(later(NOON, 2), "99.99", "100.02")
    third = stock.quote(later(NOON, 3), "99.99", "100.03")

    assert events(second + third) == ["partial_fill", "fill"]
    assert stock.broker.account.order(order.number).cost == D("10001") + D("10002") + 50 * D("100.03")


def test_level_that_went_and_came_back_is_there_anew() -> None:
    stock = trading(usd="100000")
    order, _ = stock.broker.place(buy("300"))
    assert stock.broker.account.order(order.number).filled == 100

    away = stock.quote(later(NOON, 1), "99.99", "100.05", ask_size="20")
    back = stock.quote(later(NOON, 2), "99.99", "100.01")
    again = stock.quote(later(NOON, 3), "99.98", "100.01")

    assert [(u.price, u.quantity) for u in away + back] == [(D("100.05"), D(20)), (D("100.01"), D(100))]
    assert again == [], "the offer stayed as it was, and is taken"


def test_notional_order_spends_what_it_names_in_fractions_of_a_share() -> None:
    stock = trading()

    order, updates = stock.broker.place(buy(notional=D("50")))

    assert events(updates) == ["pending_new", "new", "fill"]
    done = stock.broker.account.order(order.number)
    assert done.filled == D("0.499950004")
    assert D(50) - D("0.0000002") < done.cost <= 50


def test_notional_order_goes_on_until_it_is_spent() -> None:
    stock = trading(usd="50000")

    order, updates = stock.broker.place(buy(notional=D("15000")))
    assert events(updates) == ["pending_new", "new", "partial_fill"]

    assert events(stock.quote(later(NOON, 1), "99.99", "100.02")) == ["fill"]
    assert D("14999.99") < stock.broker.account.order(order.number).cost <= 15_000


@pytest.mark.parametrize(("ask", "size"), [("100.00", "10"), ("99.99", "10"), ("0.0003", "100")])
def test_notional_order_that_spends_the_last_quote_to_its_end_is_filled(ask: str, size: str) -> None:
    stock = Stock(at("11:59"))
    stock.quote(NOON, "0.0001", ask, ask_size=size)
    budget = D(ask) * D(size)

    stock.broker.place(buy(notional=max(budget.quantize(D("0.01")), D(1))))

    (order,) = stock.broker.account.orders()
    whole = order.notional is not None and order.notional - order.cost < D("0.01")
    assert (order.status is BrokerStatus.FILLED) == whole


def test_prices_and_quantities_at_the_edge_are_the_broker_s_to_refuse_and_never_the_exchange_s() -> None:
    stock = trading(usd="1e12", shares="1000000000")
    for limit in ("1000000000", "0.0001", "1", "0.9999"):
        order, _ = stock.broker.place(sell("1000000", limit, "ioc"))
        assert not stock.broker.account.order(order.number).is_open
    stock.quote(later(NOON, 1), "0.0001", "0.0002", "1000000000", "1000000000")
    order, _ = stock.broker.place(buy("1000000000", "0.0002", "ioc"))
    assert stock.broker.account.order(order.number).status is BrokerStatus.FILLED


def test_resting_order_waits_behind_what_is_quoted_at_its_price() -> None:
    stock = trading()
    order, updates = stock.broker.place(buy("10", "99.99"))
    assert events(updates) == ["pending_new", "new"]

    assert stock.trade(later(NOON, 1), "99.99", "100") == [], "the hundred that were there first"
    updates = stock.trade(later(NOON, 2), "99.99", "4")

    assert events(updates) == ["partial_fill"]
    assert updates[0].price == D("99.99")
    assert events(stock.trade(later(NOON, 3), "99.98", "100")) == ["fill"], "a print through the price"
    assert stock.broker.account.order(order.number).status is BrokerStatus.FILLED


def test_order_behind_the_top_takes_its_place_when_its_price_becomes_the_best() -> None:
    stock = trading()
    stock.broker.place(buy("10", "99.95"))

    stock.quote(later(NOON, 0.5), "99.97", "100.01")
    assert stock.trade(later(NOON, 1), "99.95", "50") == [], "nothing is known of the queue there"
    stock.quote(later(NOON, 2), "99.95", "100.01", bid_size="60")

    assert stock.trade(later(NOON, 3), "99.95", "60") == []
    assert events(stock.trade(later(NOON, 4), "99.95", "10")) == ["fill"]


def test_print_off_exchange_fills_nobody_who_waits_in_a_book() -> None:
    stock = trading()
    stock.broker.place(buy("10", "99.99"))

    assert stock.trade(later(NOON, 1), "99.90", "1000", exchange="D") == []
    assert stock.broker.account.price(STOCK) == D("99.90"), "it is a last price all the same"


def test_order_sent_before_the_open_is_accepted_and_meets_the_first_quote_after_it() -> None:
    stock = Stock(at("09:00"))
    stock.quote(at("09:10"), "98.00", "102.00")

    order, updates = stock.broker.place(buy("10"))
    assert (order.status, events(updates)) == (BrokerStatus.ACCEPTED, ["accepted"])
    assert stock.broker.account.buying_power() == D(10_000) - 1_020

    assert stock.trade(later(OPEN, 0.1), "100.00", "5000", ("O",)) == [], "no quote of the day yet"
    updates = stock.quote(later(OPEN, 0.2), "99.99", "100.01")

    assert events(updates) == ["new", "fill"]
    assert updates[-1].price == D("100.01")


def test_order_of_the_day_expires_at_the_close_of_a_half_day() -> None:
    stock = trading()
    order, _ = stock.broker.place(buy("10", "90.00"))
    assert order.expires_ns == at("13:00")

    updates = stock.broker.on_time(at("13:00"))

    assert events(updates) == ["expired"]
    assert updates[0].order.status is BrokerStatus.EXPIRED
    assert stock.broker.account.buying_power() == 10_000


def test_order_until_cancelled_sleeps_over_the_night_and_wakes_with_the_next_quotes() -> None:
    stock = trading()
    order, _ = stock.broker.place(buy("10", "95.00", "gtc"))

    assert stock.broker.on_time(at("13:00")) == []
    assert stock.quote(at("13:30"), "90.00", "94.00") == [], "the post-market is none of its hours"
    assert stock.broker.account.buying_power() == D(10_000) - 950, "and what it needs stays reserved"
    updates = stock.quote(later(at("09:30", month=12, day=2), 1), "93.99", "94.01")

    assert events(updates) == ["fill"]
    assert updates[0].order.number == order.number


def test_extended_hours_order_trades_after_the_close_and_ends_with_the_post_market() -> None:
    stock = trading()
    first, _ = stock.broker.place(buy("10", "95.00", extended_hours=True))
    second, _ = stock.broker.place(buy("1", "50.00", extended_hours=True))
    assert first.expires_ns == at("17:00")

    assert stock.broker.on_time(at("13:00")) == []
    assert events(stock.quote(at("13:30"), "94.00", "94.90")) == ["fill"]
    assert [update.order.number for update in stock.broker.on_time(at("17:00"))] == [second.number]


@pytest.mark.parametrize(
    ("tif", "asked", "expected"),
    [
        ("ioc", "150", ["pending_new", "new", "partial_fill", "canceled"]),
        ("ioc", "100", ["pending_new", "new", "fill"]),
        ("fok", "150", ["pending_new", "new", "canceled"]),
        ("fok", "100", ["pending_new", "new", "fill"]),
    ],
)
@pytest.mark.parametrize("limit", [None, "100.01"])
def test_what_may_not_wait_is_cancelled(tif: str, asked: str, expected: list[str], limit: str | None) -> None:
    stock = trading(usd="20000")

    _, updates = stock.broker.place(buy(asked, limit, tif))

    assert events(updates) == expected


def test_replacing_takes_off_what_was_filled_and_keeps_both_ends_of_the_chain() -> None:
    stock = trading()
    old, _ = stock.broker.place(buy("10", "99.99"))
    stock.trade(later(NOON, 1), "99.99", "103")

    new, updates = stock.broker.replace(old.number, quantity=D(20), limit_price=D("99.98"))

    assert events(updates) == ["replaced", "pending_new", "new"]
    assert new.quantity == 17
    gone = stock.broker.account.order(old.number)
    assert (gone.status, gone.replaced_by, gone.filled) == (BrokerStatus.REPLACED, new.number, D(3))
    assert stock.broker.account.order(new.number).replaces == old.number
    assert stock.broker.account.buying_power() == D(10_000) - 3 * D("99.99") - 17 * D("99.98")


def test_replacing_may_use_what_the_old_order_reserved() -> None:
    stock = trading(usd="1000", shares="5")
    bid, _ = stock.broker.place(buy("10", "99"))
    offer, _ = stock.broker.place(sell("5", "101"))

    stock.broker.replace(bid.number, limit_price=D("99.50"))
    stock.broker.replace(offer.number, limit_price=D("102"))

    assert stock.broker.account.buying_power() == 5
    assert stock.broker.account.available(STOCK) == 0


def test_replacing_beyond_the_buying_power_leaves_the_old_order() -> None:
    stock = trading()
    old, _ = stock.broker.place(buy("10", "99.99"))

    with pytest.raises(BrokerReject, match="insufficient buying power"):
        stock.broker.replace(old.number, quantity=D(101))

    assert stock.broker.account.order(old.number).is_open
    assert stock.broker.account.buying_power() == D(10_000) - D("999.90")


def test_what_the_account_cannot_pay_is_refused_with_both_numbers() -> None:
    stock = trading()
    with pytest.raises(BrokerReject) as caught:
        stock.broker.place(buy("100", "100.01"))

    assert (caught.value.http_status, caught.value.code) == (403, 40310000)
    assert caught.value.details == {"buying_power": "10000", "cost_basis": "10001"}


def test_orders_reserve_what_they_need_until_they_end() -> None:
    stock = trading(shares="10")
    stock.broker.place(buy("50", "99.00"))
    order, _ = stock.broker.place(sell("10", "101.00"))

    assert refused(stock, buy("52", "99.00"))[:2] == (403, 40310000)
    assert refused(stock, sell("1", "101.00")) == (
        403,
        40310000,
        "insufficient qty available for order (requested: 1, available: 0)",
    )
    stock.broker.cancel(order.number)
    assert stock.broker.account.available(STOCK) == 10


@pytest.mark.parametrize(
    ("request_", "status", "code", "words"),
    [
        (sell("1"), 403, 40310000, "account is not allowed to short"),
        (buy("1.5", "99.00", "gtc"), 422, 42210000, "fractional orders must be DAY orders"),
        (buy("0.001"), 403, 40310000, "cost basis must be >= minimal amount of order 1"),
        (buy("1", "99.001"), 422, 42210000, "sub-penny increment"),
        (buy("1", extended_hours=True), 422, 42210000, "extended hours order must be DAY limit orders"),
        (buy(), 422, 40010001, "qty or notional is required"),
        (buy("1", notional=D(5)), 422, 40010001, "only one of qty or notional"),
        (buy("1e20"), 422, 42210000, "qty must be <="),
        (buy("1e-12"), 422, 42210000, "multiple of 0.000000001"),
        (buy("-1"), 422, 42210000, "qty must be > 0"),
        (buy("NaN"), 422, 42210000, "qty must be > 0"),
        (buy("Infinity"), 422, 42210000, "qty must be > 0"),
        (buy("1", "NaN"), 422, 40010001, "limit price must be > 0"),
        (buy("1", "0"), 422, 40010001, "limit price must be > 0"),
        (msgspec.structs.replace(buy("1"), symbol="YYY"), 422, 42210000, 'asset "YYY" not found'),
        (msgspec.structs.replace(buy("1"), kind=OrderKind.LIMIT), 422, 40010001, "limit orders require a limit price"),
        (msgspec.structs.replace(buy("1", "9"), kind=OrderKind.MARKET), 422, 40010001, "require no stop or limit"),
        (buy("1", client_order_id="x" * 129), 422, 40010001, "no more than 128 characters"),
    ],
)
def test_refusals_carry_alpaca_s_codes(request_: Any, status: int, code: int, words: str) -> None:
    found = refused(trading(), request_)

    assert found[:2] == (status, code)
    assert words in found[2]


def test_client_order_id_is_unique_for_ever() -> None:
    stock = trading()
    order, _ = stock.broker.place(buy("1", "99.00", client_order_id="mine"))
    stock.broker.cancel(order.number)

    assert refused(stock, buy("1", client_order_id="mine")) == (422, 40010001, "client_order_id must be unique")


@pytest.mark.parametrize(
    ("resting", "arriving", "meets"),
    [("99.00", None, True), ("99.00", "98.00", True), ("99.00", "99.00", True), ("99.00", "99.01", False)],
)
def test_orders_that_could_trade_with_each_other_are_refused(resting: str, arriving: str | None, meets: bool) -> None:
    stock = trading(shares="10")
    stock.broker.place(buy("1", resting))

    if meets:
        assert refused(stock, sell("1", arriving))[2] == "potential wash trade detected. use complex orders"
    else:
        assert events(stock.broker.place(sell("1", arriving))[1])[:2] == ["pending_new", "new"]


def test_finished_order_cannot_be_cancelled() -> None:
    stock = trading()
    order, _ = stock.broker.place(buy("1"))

    with pytest.raises(BrokerReject, match='order is already in "filled" state'):
        stock.broker.cancel(order.number)


def test_market_order_whose_price_ran_away_from_the_account_is_rejected() -> None:
    stock = Stock(at("09:00"), usd="1000")
    stock.quote(at("09:10"), "99.00", "100.00")
    order, _ = stock.broker.place(buy("10"))

    updates = stock.quote(later(OPEN, 1), "119.00", "120.00")

    assert events(updates) == ["new", "rejected"]
    assert stock.broker.account.order(order.number).failed_ns == later(OPEN, 1)
    assert stock.broker.account.buying_power() == 1_000


def test_commission_is_taken_in_dollars_from_both_sides() -> None:
    stock = trading(fees=Fees(D("0.001"), D("0.002")))

    stock.broker.place(buy("10"))
    assert stock.broker.account.cash() == D(10_000) - D("1000.10") - D("2.00020")
    stock.broker.place(sell("10"))
    assert stock.broker.account.cash() == D(10_000) - D("1000.10") - D("2.00020") + D("999.90") - D("1.99980")
    assert stock.broker.account.position(STOCK) == 0


def test_order_by_dollars_needs_its_commission_beside_them() -> None:
    stock = trading(usd="100", fees=Fees(D("0.01"), D("0.01")))

    assert refused(stock, buy(notional=D("99.5")))[2] == "insufficient buying power"
    stock.broker.place(buy(notional=D("99")))
    assert D("0.0099") < stock.broker.account.cash() < D("0.0101")


def test_resting_purchase_reserves_its_commission_and_gives_back_what_it_did_not_need() -> None:
    stock = trading(fees=Fees(D("0.0015"), D("0.0015")))
    stock.broker.place(buy("10", "99.99"))
    assert stock.broker.account.buying_power() == D(10_000) - D("999.90") * D("1.0015")

    stock.trade(later(NOON, 1), "99.98", "10")

    assert stock.broker.account.buying_power() == stock.broker.account.cash() == D(10_000) - D("999.90") - D("1.49985")


def test_average_cost_is_kept_when_a_part_is_sold() -> None:
    stock = trading()
    stock.broker.place(buy("10"))
    stock.quote(later(NOON, 1), "110.00", "110.02")
    stock.broker.place(buy("10"))
    stock.broker.place(sell("5"))

    assert stock.broker.account.position(STOCK) == 15
    assert stock.broker.account.cost(STOCK) / 15 == (D("100.01") + D("110.02")) / 2


def test_account_that_was_saved_and_loaded_goes_on_as_it_was() -> None:
    stock, twin = trading(shares="5"), Stock(at("11:59"), shares="5")
    stock.broker.place(buy("10"))
    stock.broker.place(buy("10", "99.00"))
    stock.broker.place(buy("10", "98.00", "gtc"))

    saved = msgspec.json.encode(stock.broker.account.dump())
    twin.broker.account.load(msgspec.json.decode(saved, type=BrokerState))
    for market in (stock, twin):
        market.quote(later(NOON, 1), "98.90", "98.95", ask_size="300")

    assert msgspec.json.encode(twin.broker.account.dump()) == msgspec.json.encode(stock.broker.account.dump())
    assert stock.broker.account.position(STOCK) == 25


def test_equity_counts_positions_at_the_last_price() -> None:
    stock = trading(shares="10")
    assert stock.broker.account.equity() == D(10_000) + 1_000, "the middle of the quotes, before a print"

    stock.trade(later(NOON, 1), "120", "1")

    assert stock.broker.account.equity() == D(10_000) + 1_200
