"""The session report where a record holds more than one plain session: what is counted, and what is not."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest

from edgefleet.bus.interface import Entry
from edgefleet.messages import Account, Balance, Fill, Message, VenueTrade, encode, tag_of
from edgefleet.replay.report import SessionReport, VenueBooks
from edgefleet.testing.build import account, book_snapshot, fill, touch, trade, venue_trade
from edgefleet.testing.clock import START_NS

SIM, OKX = "BTC/USDT@sim", "BTC/USDT@okx"
D = Decimal


def _report(*messages: Message, stream: str = "fills") -> SessionReport:
    report = SessionReport()
    for number, message in enumerate(messages, start=1):
        report.take(stream, Entry(f"{number}-0", tag_of(message), encode(message)))
    return report


def _built(
    report: SessionReport, *instruments: str, venue_books: Mapping[str, VenueBooks] | None = None
) -> dict[str, Any]:
    return report.build(
        session="s",
        mode="demo",
        instruments=instruments or ("BTC/USDT@sim",),
        quote="USDT",
        started_ns=0,
        ended_ns=0,
        venue_books=venue_books or {},
        restarts={},
    )


def test_fill_that_the_executor_published_twice_is_counted_once() -> None:
    assert _built(_report(account(reason="start"), fill(), fill(cause="venue.events/9-9")))["fills"] == 1


def test_fill_before_the_account_was_opened_is_in_its_balances() -> None:
    assert _built(_report(fill(), account(reason="start")))["fills"] == 0


def test_account_that_the_gateway_heard_of_opens_nothing_before_the_fills_say_so() -> None:
    report = _report(account(reason="start"), stream="venue.events")
    report.take("fills", Entry("1-0", tag_of(fill()), encode(fill())))
    report.take("fills", Entry("2-0", tag_of(account()), encode(account(reason="start"))))

    assert _built(report)["fills"] == 0


def test_entry_that_cannot_be_read_is_passed_over() -> None:
    report = _report(account(reason="start"), fill())
    report.take("fills", Entry("9-0", "fill.v1", b'{"quantity": NaN'))

    assert _built(report)["fills"] == 1


def test_trade_of_the_venue_before_the_opening_is_no_trade_of_this_session() -> None:
    opened = account(reason="start")
    report = _report(opened, fill(venue_order_id="7", trade_id="8"))

    assert report.is_of_session("sim", "1", "2", opened.ts_event + 1)
    assert not report.is_of_session("sim", "1", "2", opened.ts_event)
    assert report.is_of_session("sim", "7", "8", opened.ts_event)


# --- two venues


def _record(report: SessionReport, **streams: list[Message]) -> SessionReport:
    for stream, messages in streams.items():
        for number, message in enumerate(messages, start=1):
            report.take(stream, Entry(f"{number}-0", tag_of(message), encode(message)))
    return report


def _start(venue: str, ts_event: int = START_NS, **held: str) -> Account:
    balances = {asset: Balance(free=D(amount), locked=D(0)) for asset, amount in held.items()}
    return account(venue=venue, balances=balances, reason="start", ts_event=ts_event)


def _bought(venue: str, quantity: str, price: str, fee: str, symbol: str = "BTC/USDT", **changes: Any) -> Fill:
    return fill(
        **{
            "instrument": f"{symbol}@{venue}",
            "quantity": D(quantity),
            "price": D(price),
            "fee": D(fee),
            "fee_asset": symbol.partition("/")[2],
            **changes,
        }
    )


def _touch(instrument: str, bid: str, ask: str) -> Message:
    return touch(instrument=instrument, bid=D(bid), ask=D(ask))


def _told_by_venue(said: Fill) -> VenueTrade:
    names = (
        "instrument", "order_id", "venue_order_id", "trade_id", "side", "quantity", "price", "fee", "fee_asset",
    )  # fmt: skip
    return venue_trade(**{name: getattr(said, name) for name in names})


# Of the same numbers at both: a venue counts its own trades and orders.
AT_SIM = _bought("sim", "1", "60000", "6")
AT_OKX = _bought("okx", "2", "60100", "12")


def _both() -> SessionReport:
    """A session that bought one at `sim` and two at `okx`, where prices are a little higher."""
    return _record(
        SessionReport(),
        fills=[_start("sim", USDT="100000"), _start("okx", USDT="200000"), AT_SIM, AT_OKX],
        beats=[_touch(SIM, "60010", "60011"), _touch(OKX, "60080", "60090")],
    )


def _word(balances: Mapping[str, str], *fills: Fill) -> VenueBooks:
    return VenueBooks(
        balances={asset: D(amount) for asset, amount in balances.items()}, trades=tuple(map(_told_by_venue, fills))
    )


AGREED = {
    "sim": _word({"USDT": "39994", "BTC": "1"}, AT_SIM),
    "okx": _word({"USDT": "79788", "BTC": "2"}, AT_OKX),
}


def test_the_same_symbol_at_two_venues_is_two_markets() -> None:
    report = _record(
        SessionReport(),
        market=[
            book_snapshot(instrument=SIM),
            trade(instrument=SIM, price=D(60_000), quantity=D(1)),
            trade(instrument=OKX, price=D(60_100), quantity=D(3)),
            trade(instrument=OKX, price=D(60_200), quantity=D(1)),
        ],
    )

    built = _built(report, SIM, OKX)

    assert (built["venue"], built["symbols"]) == ("sim,okx", [SIM, OKX])
    assert [(name, row["trades"], row["volume"], row["last"]) for name, row in built["market"].items()] == [
        (SIM, 1, "1", "60000"),
        (OKX, 2, "4", "60200"),
    ]
    assert built["market"][SIM]["best_bid"] == ["59999", "1"]
    assert built["market"][OKX]["best_bid"] is None


def test_the_same_symbol_at_two_venues_is_two_positions_of_two_accounts() -> None:
    built = _built(_both(), SIM, OKX)

    assert built["fills"] == 2
    assert built["positions"] == {SIM: "1", OKX: "2"}
    assert built["accounts"] == {
        "sim": {
            "quote": "USDT", "positions": {SIM: "1"}, "cash": {"USDT": "39994"}, "fees": {"USDT": "6"},
            "equity": "100004", "realized_pnl": "0", "realized_pnl_after_fees": "-6", "unrealized_pnl": "10",
        },
        "okx": {
            "quote": "USDT", "positions": {OKX: "2"}, "cash": {"USDT": "79788"}, "fees": {"USDT": "12"},
            "equity": "199948", "realized_pnl": "0", "realized_pnl_after_fees": "-12", "unrealized_pnl": "-40",
        },
    }  # fmt: skip


def test_accounts_of_one_quote_asset_are_summed() -> None:
    built = _built(_both(), SIM, OKX)

    assert built["cash"] == {"USDT": "119782"}
    assert built["fees"] == {"USDT": "18"}
    assert (built["equity"], built["unrealized_pnl"]) == ("299952", "-30")
    assert (built["realized_pnl"], built["realized_pnl_after_fees"]) == ("0", "-18")


def test_one_venue_is_told_by_its_symbols_and_its_account_is_the_whole() -> None:
    built = _built(_both(), SIM)

    account_at_sim = built["accounts"]["sim"]
    assert ([*built["market"]], built["positions"]) == (["BTC/USDT"], {"BTC/USDT": "1"})
    assert [*built["accounts"]] == ["sim"]
    assert {name: built[name] for name in account_at_sim} == account_at_sim


def test_money_of_different_quote_assets_is_summed_by_asset_and_worth_nothing_together() -> None:
    apple = "AAPL/USD@alpaca"
    report = _record(
        SessionReport(),
        fills=[
            _start("sim", USDT="100000"),
            _start("alpaca", USD="50000"),
            AT_SIM,
            _bought("alpaca", "10", "200", "1", "AAPL/USD"),
        ],
        beats=[_touch(SIM, "60010", "60011"), _touch(apple, "201", "202")],
    )

    built = _built(report, SIM, apple)

    assert {venue: one["equity"] for venue, one in built["accounts"].items()} == {"sim": "100004", "alpaca": "50009"}
    assert built["cash"] == {"USDT": "39994", "USD": "47999"}
    assert built["fees"] == {"USD": "1", "USDT": "6"}
    assert built["positions"] == {SIM: "1", apple: "10"}
    for name in ("equity", "realized_pnl", "realized_pnl_after_fees", "unrealized_pnl"):
        assert built[name] is None


def test_money_of_different_quote_assets_is_worth_what_the_other_is_sold_for() -> None:
    apple = "AAPL/USD@alpaca"
    sold = _bought("alpaca", "4", "210", "1", "AAPL/USD", side="sell", trade_id="2")
    report = _record(
        SessionReport(),
        fills=[
            _start("sim", USDT="100000"),
            _start("alpaca", USD="50000"),
            AT_SIM,
            _bought("alpaca", "10", "200", "1", "AAPL/USD"),
            sold,
        ],
        beats=[_touch(SIM, "60010", "60011"), _touch(apple, "205", "206"), _touch("USD/USDT@sim", "0.5", "0.6")],
    )

    built = _built(report, SIM, apple)

    at_alpaca = built["accounts"]["alpaca"]
    assert (at_alpaca["quote"], at_alpaca["equity"], at_alpaca["realized_pnl"]) == ("USD", "50068", "40")
    assert (built["quote"], built["equity"], built["unrealized_pnl"]) == ("USDT", "125038", "25")
    assert (built["realized_pnl"], built["realized_pnl_after_fees"]) == ("20", "13")
    assert built["cash"] == {"USDT": "39994", "USD": "48838"}


def test_the_only_account_is_worth_what_it_is_in_its_own_asset() -> None:
    report = _record(SessionReport(), fills=[_start("alpaca", USD="50000")])

    built = _built(report, "AAPL/USD@alpaca")

    assert (built["quote"], built["equity"]) == ("USD", "50000")


def test_equity_is_not_known_while_one_account_has_no_price() -> None:
    report = _record(
        SessionReport(),
        fills=[_start("sim", USDT="100000"), _start("okx", USDT="200000"), AT_SIM, AT_OKX],
        beats=[_touch(SIM, "60010", "60011")],
    )

    built = _built(report, SIM, OKX)

    assert (built["accounts"]["sim"]["equity"], built["accounts"]["okx"]["equity"]) == ("100004", None)
    assert (built["equity"], built["unrealized_pnl"]) == (None, None)
    assert built["cash"] == {"USDT": "119782"}


def test_nothing_is_summed_while_one_account_was_never_told() -> None:
    report = _record(SessionReport(), fills=[_start("sim", USDT="100000"), AT_SIM])

    built = _built(report, SIM, OKX)

    assert built["accounts"]["sim"]["cash"] == {"USDT": "39994"}
    assert set(built["accounts"]["okx"].values()) == {None}
    assert [built[name] for name in ("positions", "cash", "fees", "equity", "realized_pnl_after_fees")] == [None] * 5


def test_accounts_that_agree_with_their_venues_agree_together() -> None:
    built = _built(_both(), SIM, OKX, venue_books=AGREED)

    assert built["identity"] == {
        "cash_and_inventory_balance": "0",
        "ledger_minus_venue": "0",
        "fills_not_at_venue": 0,
        "venue_trades_not_in_ledger": 0,
    }


@pytest.mark.parametrize("known", ["sim", "okx"])
def test_whether_accounts_agree_is_not_known_without_the_word_of_one_venue(known: str) -> None:
    assert _built(_both(), SIM, OKX, venue_books={known: AGREED[known]})["identity"] is None


def test_whether_accounts_agree_is_not_known_before_one_was_told() -> None:
    report = _record(SessionReport(), fills=[_start("sim", USDT="100000"), AT_SIM])

    assert _built(report, SIM, OKX, venue_books=AGREED)["identity"] is None


def test_what_does_not_agree_at_one_venue_is_not_made_good_at_the_other() -> None:
    wrong = {
        "sim": _word({"USDT": "39995", "BTC": "1"}, AT_SIM),
        "okx": _word({"USDT": "79787", "BTC": "2"}),
    }

    built = _built(_both(), SIM, OKX, venue_books=wrong)

    assert built["identity"] == {
        "cash_and_inventory_balance": "120216",  # at sim 1 USDT; at okx 120213 USDT and 2 BTC that no trade explains
        "ledger_minus_venue": "2",
        "fills_not_at_venue": 1,
        "venue_trades_not_in_ledger": 0,
    }


def test_trade_of_one_venue_is_no_trade_of_the_other_though_its_numbers_are_the_same() -> None:
    swapped = {
        "sim": _word({"USDT": "39994", "BTC": "1"}, AT_OKX),
        "okx": _word({"USDT": "79788", "BTC": "2"}, AT_OKX),
    }

    built = _built(_both(), SIM, OKX, venue_books=swapped)

    assert built["identity"]["fills_not_at_venue"] == 1
    assert built["identity"]["venue_trades_not_in_ledger"] == 1


def test_account_that_opens_forgets_the_fills_of_its_own_venue_alone() -> None:
    report = _record(
        SessionReport(),
        fills=[_start("sim", USDT="100000"), AT_SIM, AT_OKX, _start("okx", USDT="79788", BTC="2")],
        beats=[_touch(SIM, "60010", "60011"), _touch(OKX, "60080", "60090")],
    )

    built = _built(report, SIM, OKX)

    assert built["fills"] == 1
    assert built["positions"] == {SIM: "1", OKX: "2"}
    assert built["accounts"]["okx"]["fees"] == {}
    assert built["accounts"]["sim"]["fees"] == {"USDT": "6"}


def test_account_that_opens_again_opens_nothing() -> None:
    report = _record(_both(), fills=[_start("sim", USDT="1"), _start("okx", USDT="1")])

    assert _built(report, SIM, OKX)["cash"] == {"USDT": "119782"}


def test_order_ids_of_one_venue_are_not_those_of_the_other() -> None:
    report = _record(
        SessionReport(),
        fills=[
            _bought("sim", "1", "1", "0", order_id="ef-sim", venue_order_id="7"),
            _bought("okx", "1", "1", "0", order_id="ef-okx", venue_order_id="7"),
        ],
    )

    assert report.order_ids("sim") == {"7": "ef-sim"}
    assert report.order_ids("okx") == {"7": "ef-okx"}
    assert report.order_ids("alpaca") == {}


def test_a_trade_is_later_than_the_opening_of_its_own_venue() -> None:
    report = _record(
        SessionReport(),
        fills=[
            _start("sim", START_NS, USDT="1"),
            _start("okx", START_NS + 10, USDT="1"),
            _bought("sim", "1", "1", "0", venue_order_id="7", trade_id="8"),
        ],
    )

    assert report.is_of_session("sim", "1", "2", START_NS + 5)
    assert not report.is_of_session("okx", "1", "2", START_NS + 5)
    assert report.is_of_session("sim", "7", "8", START_NS)
    assert not report.is_of_session("okx", "7", "8", START_NS)
    assert report.is_of_session("alpaca", "1", "2", 0)  # of which no opening is known
