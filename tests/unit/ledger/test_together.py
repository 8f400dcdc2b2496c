"""All accounts of a session as one: what is known of all is summed, what is not known is None and says why."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefleet.clock import NS_PER_S
from edgefleet.ledger.books import Statement, TopOfBook
from edgefleet.ledger.stage import LedgerStage, LedgerState, all_together, statements
from edgefleet.ledger.together import Together, Worth, together, worth
from edgefleet.messages import Balance, Message, Session, TouchAge
from edgefleet.params.schema import FleetConfig
from edgefleet.stage import Input
from edgefleet.testing import build
from edgefleet.testing.clock import START_NS

D = Decimal
SIM, OKX, APPLE = "BTC/USDT@sim", "BTC/USDT@okx", "AAPL/USD@alpaca"


def line(venue: str = "sim", quote: str = "USDT", **changes: Any) -> Statement:
    """Return an account of 1,000 that earned 30, paid 5 of it in fees and has 10 open, 40 below its highest."""
    usual: dict[str, Any] = {
        "account": "main", "venue": venue, "session": "s1", "quote": quote, "ts": START_NS, "equity": D(1_000),
        "start_equity": D(965), "start_unrealised": D(0), "realised": D(30), "unrealised": D(10), "fees": {quote: D(5)},
        "fees_in_quote": D(5), "drawdown": D(40), "peak_equity": D(1_040), "cash": {quote: D(1_000)}, "unpriced": {},
        "positions": (), "ledger_minus_venue": D(0), "fills": 3,
    }  # fmt: skip
    return Statement(**{**usual, **changes})


def top(bid: str, ask: str, seconds: float = 0) -> TopOfBook:
    return TopOfBook(D(bid), D(ask), START_NS + round(seconds * NS_PER_S))


def whole(
    *lines: Statement, touches: dict[str, TopOfBook] | None = None, quote: str = "USDT", peak: Decimal | None = None
) -> Together:
    found = together(lines, touches or {}, quote, peak, START_NS)
    assert found is not None
    return found


def summed(found: Together) -> tuple[Decimal | None, ...]:
    return found.equity, found.realised_after_fees, found.unrealised, found.fees_in_quote


# --- one account


def test_without_an_account_there_is_nothing_to_tell() -> None:
    assert together([], {}, "USDT", D(1), START_NS) is None


@pytest.mark.parametrize("quote", ["USDT", "USD", ""])
def test_one_account_is_told_in_its_own_asset_with_its_own_peak(quote: str) -> None:
    found = whole(line("alpaca", "USD"), quote=quote, peak=D(7_000))

    assert (found.accounts, found.quote, found.rates) == (("main@alpaca",), "USD", {"USD": D(1)})
    assert summed(found) == (D(1_000), D(25), D(10), D(5))
    assert (found.peak_equity, found.drawdown, found.why) == (D(1_040), D(40), "")


def test_one_account_without_a_price_says_so() -> None:
    found = whole(line(equity=None, unrealised=None, drawdown=None))

    assert summed(found) == (None, D(25), None, D(5))
    assert (found.drawdown, found.peak_equity) == (None, D(1_040))
    assert found.why == "no price yet: main@sim"


# --- several in one asset

AMOUNTS = st.decimals("-1e9", "1e9", places=8)
LINES = st.lists(
    st.builds(
        lambda equity, realised, unrealised, fees, fills, differs: line(
            equity=equity, realised=realised, unrealised=unrealised, fees_in_quote=fees, fees={"BNB": fees},
            fills=fills, ledger_minus_venue=differs,
        ),
        AMOUNTS, AMOUNTS, AMOUNTS, AMOUNTS, st.integers(0, 1_000), st.decimals("0", "1e6", places=8),
    ),
    min_size=1,
    max_size=6,
)  # fmt: skip


@given(LINES, st.none() | AMOUNTS)
def test_accounts_of_one_quote_asset_come_to_the_sum_of_the_parts(lines: list[Statement], peak: Decimal | None) -> None:
    lines = [msgspec.structs.replace(one, venue=f"v{number}") for number, one in enumerate(lines)]

    found = whole(*lines, peak=peak)

    equity = sum((one.equity for one in lines if one.equity is not None), D(0))
    assert found.equity == equity
    assert found.unrealised == sum((one.unrealised for one in lines if one.unrealised is not None), D(0))
    assert found.realised == sum((one.realised for one in lines), D(0))
    assert found.realised_after_fees == sum((one.realised - one.fees_in_quote for one in lines), D(0))
    assert found.fees_in_quote == found.fees["BNB"] == sum((one.fees_in_quote for one in lines), D(0))
    assert found.fills == sum(one.fills for one in lines)
    assert found.ledger_minus_venue == sum((one.ledger_minus_venue for one in lines), D(0))
    assert found.accounts == tuple(f"main@v{number}" for number in range(len(lines)))
    assert found.why == ""


@given(LINES, st.none() | AMOUNTS)
def test_equity_is_never_above_its_highest(lines: list[Statement], peak: Decimal | None) -> None:
    found = whole(*lines, line(), peak=peak)

    assert found.peak_equity is not None
    assert found.equity is not None
    assert found.peak_equity == (found.equity if peak is None else max(peak, found.equity))
    assert found.drawdown == found.peak_equity - found.equity


def test_highest_of_all_is_not_the_sum_of_each_one_s_highest() -> None:
    found = whole(line("sim"), line("okx"), peak=D(2_010))

    assert (found.equity, found.peak_equity, found.drawdown) == (D(2_000), D(2_010), D(10))


def test_one_account_without_a_price_leaves_the_whole_without() -> None:
    found = whole(line("sim"), line("okx", equity=None, unrealised=None), peak=D(2_010))

    assert summed(found) == (None, D(50), None, D(10))
    assert (found.peak_equity, found.drawdown) == (D(2_010), None)
    assert found.why == "no price yet: main@okx"


def test_fees_are_summed_by_their_own_asset() -> None:
    found = whole(line("sim", fees={"USDT": D(5), "BNB": D("0.1")}), line("okx", fees={"BNB": D("0.2"), "OKB": D(1)}))

    assert found.fees == {"BNB": D("0.3"), "OKB": D(1), "USDT": D(5)}


# --- several assets


def test_another_asset_is_worth_what_it_is_sold_for() -> None:
    touches = {"USD/USDT@kraken": top("0.99", "1.01")}

    found = whole(line("sim"), line("alpaca", "USD"), touches=touches)

    assert found.rates == {"USDT": D(1), "USD": D("0.99")}
    assert summed(found) == (D(1_990), D("49.75"), D("19.9"), D("9.95"))
    assert found.why == ""


def test_another_asset_that_must_be_bought_with_is_worth_by_what_the_quote_costs() -> None:
    touches = {"USDT/USD@kraken": top("1.00", "1.25")}

    found = whole(line("sim"), line("alpaca", "USD"), touches=touches)

    assert found.rates["USD"] == D("0.8")
    assert found.equity == D(1_800)


def test_without_a_rate_there_is_no_sum_but_a_reason() -> None:
    found = whole(line("sim"), line("alpaca", "USD"), touches={SIM: top("1", "2")}, peak=D(3_000))

    assert summed(found) == (None, None, None, None)
    assert (found.peak_equity, found.drawdown) == (D(3_000), None)
    assert found.rates == {"USDT": D(1)}
    assert found.why.startswith("no rate of USD in USDT: ")
    assert (found.fills, found.fees) == (6, {"USD": D(5), "USDT": D(5)})


def test_every_asset_without_a_rate_is_named_once() -> None:
    found = whole(line("sim"), line("a", "USD"), line("b", "EUR"), line("c", "USD"))

    assert found.why.startswith("no rate of USD, EUR in USDT: trade or follow USD/USDT or USDT/USD, EUR/USDT")


def test_a_missing_rate_is_told_before_a_missing_price() -> None:
    assert whole(line("sim"), line("a", "USD", equity=None)).why.startswith("no rate of USD in USDT: ")


RATES = st.lists(
    st.tuples(
        st.sampled_from(["EUR/USD", "USD/EUR"]),
        st.decimals("0.5", "2", places=4),
        st.decimals("0", "0.1", places=4),
        st.floats(0, 20),
    ),
    min_size=1,
    max_size=8,
)


@given(RATES)
def test_a_rate_is_the_least_that_any_touch_of_late_gives(told: list[tuple[str, Decimal, Decimal, float]]) -> None:
    touches = {
        f"{pair}@v{number}": TopOfBook(bid, bid + spread, START_NS + round(at * NS_PER_S))
        for number, (pair, bid, spread, at) in enumerate(told)
    }

    found = worth("EUR", "USD", touches)

    newest = max(one.ts for one in touches.values())
    of_late = {name: one for name, one in touches.items() if newest - one.ts <= 5 * NS_PER_S}
    assert found is not None
    ends = [
        (float(one.bid), float(one.ask)) if name.startswith("EUR") else (1 / float(one.ask), 1 / float(one.bid))
        for name, one in of_late.items()
    ]
    assert float(found.least) == pytest.approx(min(least for least, _ in ends), rel=1e-12)
    assert float(found.most) == pytest.approx(max(most for _, most in ends), rel=1e-12)


def test_a_rate_more_than_five_seconds_older_than_another_says_nothing() -> None:
    stale, fresh = top("0.50", "0.51", 0), top("0.99", "1.01", 5)

    assert worth("USD", "USDT", {"USD/USDT@a": stale, "USD/USDT@b": fresh}) == Worth(D("0.50"), D("1.01"))
    assert worth("USD", "USDT", {"USD/USDT@a": stale, "USD/USDT@b": top("0.99", "1.01", 5.000000001)}) == (
        D("0.99"),
        D("1.01"),
    )


def test_the_only_rate_there_is_counts_however_old_other_touches_make_it() -> None:
    assert worth("USD", "USDT", {"USD/USDT@a": top("0.5", "0.6"), SIM: top("1", "2", 3_600)}) == (D("0.5"), D("0.6"))


@pytest.mark.parametrize(("bid", "ask"), [("0", "1"), ("-1", "1"), ("1.1", "1"), ("0", "0")])
def test_a_touch_that_is_none_gives_no_rate(bid: str, ask: str) -> None:
    assert worth("USD", "USDT", {"USD/USDT@a": top(bid, ask), "USDT/USD@b": top(bid, ask)}) is None


def test_an_asset_is_worth_itself_whatever_touches_say() -> None:
    assert worth("USDT", "USDT", {"USDT/USDT@a": top("2", "3")}) == Worth(D(1), D(1))


# --- the stage

RULES = {"tick_size": "0.01", "lot_size": "0.00001", "min_quantity": "0.00001", "min_notional": "5"}


def config(quote: str = "USDT") -> FleetConfig:
    return FleetConfig.model_validate(
        {
            "risk_harmonizer": {"fleet_limits": {"quote": quote}},
            "instruments": {"symbols": dict.fromkeys(("BTC/USDT", "AAPL/USD"), RULES)},
        }
    )


class Ledger:
    """A stage that is fed one message after the other; what it remembers is saved and read again between them."""

    def __init__(self) -> None:
        self.stage, self.config = LedgerStage(), config()
        self.state: LedgerState = self.stage.initial()
        self.entries = 0

    def feed(self, *messages: Message) -> Ledger:
        for message in messages:
            self.entries += 1
            self.stage.step(self.state, Input("fills", f"{self.entries}-0", message), self.config)
            self.state = msgspec.msgpack.decode(msgspec.msgpack.encode(self.state), type=LedgerState)
        return self

    def begin(self, *instruments: str, name: str = "s1") -> Ledger:
        return self.feed(
            Session(
                session=name, mode="demo", venue="", account="main", symbols=(), instruments=instruments,
                first_ids={}, machine={}, ts_event=START_NS, ts_init=START_NS,
            )
        )  # fmt: skip

    def account(self, venue: str, **held: str) -> Ledger:
        balances = {asset: Balance(free=D(amount), locked=D(0)) for asset, amount in held.items()}
        return self.feed(build.account(venue=venue, balances=balances))

    def beat(self, **prices: str) -> Ledger:
        """Beat at every venue that is named, with BTC at one price on both sides."""
        for venue, price in prices.items():
            instrument = f"{'AAPL/USD' if venue == 'alpaca' else 'BTC/USDT'}@{venue}"
            touch = TouchAge(instrument=instrument, bid=D(price), ask=D(price), age_ms=1)
            self.feed(build.beat(venue=venue, touches=(touch,)))
        return self

    @property
    def whole(self) -> Together:
        found = all_together(self.state)
        assert found is not None
        return found


def two_accounts() -> Ledger:
    """Return one BTC and 100 USDT at each of two venues."""
    return Ledger().begin(SIM, OKX).account("sim", USDT="100", BTC="1").account("okx", USDT="100", BTC="1")


def test_highest_equity_of_two_accounts_is_that_of_both_at_one_moment() -> None:
    ledger = two_accounts().beat(sim="1000", okx="1000")
    ledger.beat(sim="1500").beat(okx="500").beat(sim="900").beat(okx="1200")

    # Each was highest at another moment: 1,600 at sim and 1,300 at okx.
    assert ledger.whole.equity == D(2_300)
    assert ledger.whole.peak_equity == ledger.state.peak == D(2_700)
    assert ledger.whole.drawdown == D(400)


def test_highest_equity_is_raised_by_a_beat_alone() -> None:
    ledger = two_accounts().beat(sim="1000", okx="1000")

    ledger.feed(
        build.touch(instrument=SIM, bid=D(9_000), ask=D(9_000)), build.touch(instrument=SIM, bid=D(1), ask=D(1))
    )

    assert ledger.state.peak == D(2_200)


def test_highest_equity_is_measured_anew_in_a_new_session() -> None:
    ledger = two_accounts().beat(sim="5000", okx="5000")
    assert ledger.whole.peak_equity == D(10_200)

    ledger.begin(SIM, OKX, name="s2")
    ledger.account("sim", USDT="100", BTC="1").account("okx", USDT="100", BTC="1").beat(sim="1000", okx="1000")

    assert (ledger.whole.session, ledger.whole.peak_equity, ledger.whole.drawdown) == ("s2", D(2_200), D(0))


def test_highest_equity_is_measured_anew_in_another_asset() -> None:
    ledger = two_accounts().beat(sim="5000", okx="5000").beat(sim="1000", okx="1000")
    assert ledger.whole.peak_equity == D(10_200)

    ledger.config = config("USDC")
    ledger.feed(build.touch(instrument="USDT/USDC@okx", bid=D("0.5"), ask=D("0.6"))).beat(sim="1000", okx="1000")

    assert (ledger.whole.quote, ledger.whole.equity, ledger.whole.peak_equity) == ("USDC", D(1_100), D(1_100))


def test_highest_equity_is_not_measured_while_one_account_has_no_price() -> None:
    ledger = Ledger().begin(SIM, APPLE).account("sim", USDT="100").account("alpaca", USD="100", AAPL="1")
    usd = build.touch(instrument="USD/USDT@sim", bid=D(1), ask=D(1))

    ledger.feed(usd).beat(sim="1000")
    before = (ledger.state.peak, ledger.whole.equity, ledger.whole.why)
    ledger.beat(alpaca="50")

    assert before == (None, None, "no price yet: main@alpaca")
    assert ledger.state.peak == D(250)


def test_account_that_the_session_does_not_have_is_not_counted() -> None:
    ledger = two_accounts().beat(sim="1000", okx="1000")

    ledger.begin(SIM, name="s2").account("sim", USDT="100", BTC="1").beat(sim="1000")

    assert len(statements(ledger.state)) == 2
    assert (ledger.whole.accounts, ledger.whole.equity) == (("main@sim",), D(1_100))
    assert ledger.state.peak is None


def test_one_account_s_highest_is_its_own_book_s() -> None:
    ledger = Ledger().begin(SIM).account("sim", USDT="100", BTC="1").beat(sim="1000").beat(sim="700")

    assert (ledger.whole.peak_equity, ledger.whole.drawdown) == (D(1_100), D(300))
    assert ledger.state.peak is None


def test_each_account_opens_with_what_the_session_trades_at_its_own_venue() -> None:
    ledger = Ledger().begin(SIM, APPLE).account("sim", USDT="100", AAPL="3").account("alpaca", USD="100", AAPL="1")

    books = ledger.state.books
    assert {name: (book.quote, [*book.holdings]) for name, book in books.items()} == {
        "main@sim": ("USDT", [SIM]),
        "main@alpaca": ("USD", [APPLE]),
    }


def test_what_is_lost_in_another_asset_counts_at_the_most_that_it_is_worth() -> None:
    touches = {SIM: top("60000", "60000"), "USD/USDT@a": top("0.98", "1.02")}
    line = two_accounts().beat(sim="60000", okx="60000")
    lost = [msgspec.structs.replace(one, quote="USD", realised=D(-100)) for one in statements(line.state)]

    whole = together(lost, touches, "USDT", None, 0)

    assert whole is not None
    assert whole.realised == D(-200) * D("1.02")
