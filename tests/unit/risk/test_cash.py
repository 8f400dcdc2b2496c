"""What an account counts in is cash: no position, nothing to sell, and worth the same by whatever asset it is told."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.risk.world import BTC, Venues, venues_config

from edgefleet.messages import Approved, Beat, BreakerMoved, Refusal, Refused, TouchAge
from edgefleet.params.schema.risk import RiskParams
from edgefleet.params.schema.stress import ScenarioParams
from edgefleet.risk.holdings import all_of, portfolios_of
from edgefleet.risk.plan import RiskPlan
from edgefleet.risk.state import RiskState, desk_of, equity, fleet_equity, home_quote, note_cash, position, rate
from edgefleet.risk.stress import Portfolio, Position, stress_all

DOLLAR = "USDT/USD@sim"
PRICES = {BTC: 60_000.0, DOLLAR: 1.0}
SYMBOLS = ("BTC/USDT", "USDT/USD")
CASH = {"USDT": "100000"}


def trading(quote: str = "USDT", *, rate_only: bool = False, **balances: str) -> Venues:
    """Return an account that may trade bitcoin for USDT, and USDT for dollars."""
    settings = venues_config({"fleet_limits": {"quote": quote}}, symbols=SYMBOLS)
    if rate_only:
        settings.instruments.symbols["USDT/USD"] = settings.instruments.symbols["USDT/USD"].model_copy(
            update={"rate_only": True}
        )
    world = Venues(settings, PRICES, {"sim": balances or {"USDT": "100000"}})
    world.warm()
    world.said.clear()
    return world


def test_cash_is_not_sold_for_another_asset_whatever_the_edge_says() -> None:
    world = trading()

    (up,) = world.edge(60.0, DOLLAR)
    (down,) = world.edge(-60.0, DOLLAR)

    assert isinstance(up, Refused)
    assert isinstance(down, Refused)
    assert {up.reason, down.reason} == {Refusal.ACCOUNT_ASSET}
    assert up.detail == "the account at sim counts in USDT: USDT is no position"


def test_cash_takes_no_room_of_what_is_traded() -> None:
    world, alone = trading(), Venues(venues_config(), {BTC: 60_000.0}, {"sim": {"USDT": "100000"}})
    alone.warm()

    beside, by_itself = world.edge(60.0, BTC)[0], alone.edge(60.0, BTC)[0]

    assert isinstance(beside, Approved)
    assert isinstance(by_itself, Approved)
    assert beside.quantity == by_itself.quantity
    assert beside.head_room == pytest.approx(by_itself.head_room, rel=1e-9)


def test_an_account_that_counts_in_the_other_asset_holds_it_as_a_position() -> None:
    world = trading("USD", USD="100000", USDT="5000")

    assert position(world.state, world.state.desks[DOLLAR]) == 5_000
    assert not world.state.desks[DOLLAR].is_cash


@pytest.mark.parametrize("quote", ["USDT", "USD", "EUR"])
def test_a_rate_is_never_traded_whatever_the_fleet_is_valued_in(quote: str) -> None:
    world = trading(quote, rate_only=True)

    said = [world.edge(bps, DOLLAR)[0] for bps in (60.0, -60.0)]

    assert {one.reason for one in said if isinstance(one, Refused)} == {Refusal.ACCOUNT_ASSET}
    assert "it is priced for a rate alone" in said[0].detail  # type: ignore[union-attr]
    assert home_quote(world.state, "sim", quote) == "USDT"
    assert position(world.state, world.state.desks[DOLLAR]) == 0
    assert isinstance(world.edge(60.0, BTC)[0], Approved)


def test_what_is_bought_is_no_loss_in_whatever_asset_the_account_is_told() -> None:
    world = trading()
    before = equity(world.state, "sim", "USD")

    world.fill("0.5", BTC)
    world.beat()

    after = equity(world.state, "sim", "USD")
    assert before is not None
    assert after == pytest.approx(before, rel=1e-3)
    assert not [one for one in world.control if getattr(one, "breaker", "") == "drawdown"]


def quoted(**prices: tuple[float, float]) -> RiskState:
    state = RiskState()
    for symbol, (bid, ask) in prices.items():
        desk = desk_of(state, f"{symbol.replace('_', '/')}@sim")
        desk.bid, desk.ask = bid, ask
    return state


@given(bid=st.floats(1e-6, 1e6), spread=st.floats(0, 0.5))
def test_a_pair_turned_round_is_worth_the_other_side_of_its_touch(bid: float, spread: float) -> None:
    ask = bid * (1 + spread)
    state = quoted(USDT_USD=(bid, ask))

    assert rate(state, "sim", "USD", "USDT", high=False) == 1 / ask
    assert rate(state, "sim", "USD", "USDT", high=True) == 1 / bid


@given(first=st.floats(1e-3, 1e6), second=st.floats(1e-3, 1e3), spread=st.floats(0, 0.5))
def test_an_asset_is_worth_what_its_quote_is_worth_further_on(first: float, second: float, spread: float) -> None:
    wide = 1 + spread
    state = quoted(BTC_USDT=(first, first * wide), USDT_USD=(second, second * wide))

    low, high = (rate(state, "sim", "BTC", "USD", high=side) for side in (False, True))

    assert low == 1.0 * first * second
    assert high == 1.0 * (first * wide) * (second * wide)


def test_where_no_instrument_leads_nothing_is_said() -> None:
    state = quoted(BTC_USDT=(1.0, 2.0))

    assert rate(state, "sim", "BTC", "EUR", high=True) is None
    assert rate(state, "okx", "BTC", "USDT", high=True) is None


@pytest.mark.parametrize(("bid", "ask"), [(None, None), (0.0, 0.0)])
def test_a_turned_pair_without_a_price_has_none(bid: Any, ask: Any) -> None:
    state = quoted(USDT_USD=(bid, ask))

    assert rate(state, "sim", "USD", "USDT", high=False) is None


def test_a_new_instrument_may_change_what_an_account_counts_in() -> None:
    state = quoted(BTC_EUR=(1.0, 1.0), EUR_USDT=(1.0, 1.0))
    state.holdings["sim"] = {"EUR": Decimal(5)}

    note_cash(state, "EUR", lambda name: False)
    in_euros = {name: desk.is_cash for name, desk in state.desks.items()}
    note_cash(state, "USDT", lambda name: False)
    in_dollars = {name: desk.is_cash for name, desk in state.desks.items()}

    assert in_euros == {"BTC/EUR@sim": False, "EUR/USDT@sim": True}
    assert in_dollars == {"BTC/EUR@sim": False, "EUR/USDT@sim": False}


def test_a_rate_is_no_account_of_its_own_and_all_accounts_are_one_portfolio() -> None:
    settings = venues_config(symbols=("BTC/USDT", "USDT/USD", "AAPL/USD"))
    prices = {**PRICES, DOLLAR: 0.5, "AAPL/USD@okx": 100.0}
    world = Venues(settings, prices, {"sim": {"USDT": "100000"}, "okx": {"USD": "50000"}})
    world.warm()
    world.fill("0.5", BTC)
    world.fill("100", "AAPL/USD@okx")
    world.beat()
    plan = RiskPlan(world.config)

    each, whole = portfolios_of(world.state, plan), all_of(world.state, plan)

    assert [(one.venue, one.quote) for one in each] == [("okx", "USD"), ("sim", "USDT")]
    assert whole is not None
    assert whole.portfolio is not None
    assert {one.instrument for one in whole.portfolio.positions} == {BTC, "AAPL/USD@okx"}
    assert float(whole.portfolio.equity) == pytest.approx(fleet_equity(world.state, "USDT"))
    stocks = next(one for one in whole.portfolio.positions if one.instrument.startswith("AAPL"))
    assert float(stocks.price or 0) == pytest.approx(200.0, rel=0.05)


def test_all_accounts_under_stress_are_held_against_the_limits_of_the_fleet() -> None:
    held = (Position(instrument=BTC, quantity=1, price=60_000.0, asset_class="crypto"),)
    fall = ScenarioParams.model_validate({"name": "x", "source": "x", "shocks": {"base": {"BTC": -0.5}}})
    limits = RiskParams.model_validate({"fleet_limits": {"gross": 0.5, "net": 0.5, "max_drawdown": 0.1}})

    found = stress_all(Portfolio(equity=100_000.0, positions=held, peak=120_000.0), fall, limits)
    told = {one.limit: (round(one.before, 9), round(one.after, 9)) for one in found.broken}

    assert found.loss == 30_000.0
    assert told == {"fleet_drawdown": (round(1 - 100 / 120, 9), round(1 - 70 / 120, 9))}


def test_a_position_at_a_venue_that_does_not_beat_opens_the_breaker_of_staleness() -> None:
    world = Venues(venues_config(), {BTC: 60_000.0, "BTC/USDT@okx": 60_000.0}, dict.fromkeys(("sim", "okx"), CASH))
    world.warm()
    world.fill("0.5", "BTC/USDT@okx")
    world.beat()
    world.dead = {"okx"}
    world.control.clear()

    for _ in range(9):
        world.beat()
    before = [one for one in world.control if isinstance(one, BreakerMoved)]
    for _ in range(3):
        world.beat()

    assert before == []
    assert [(one.breaker, one.scope, one.after) for one in world.control if isinstance(one, BreakerMoved)] == [
        ("staleness", "okx", "OPEN")
    ]


def both() -> Venues:
    """Return two accounts that each hold bitcoin."""
    world = Venues(venues_config(), {BTC: 60_000.0, "BTC/USDT@okx": 60_000.0}, dict.fromkeys(("sim", "okx"), CASH))
    world.warm()
    world.fill("0.3", BTC)
    world.fill("0.3", "BTC/USDT@okx")
    world.beat()
    world.control.clear()
    return world


@pytest.mark.parametrize("gap_s", [5, 11, 30, 600])
def test_a_while_in_which_no_venue_beat_is_no_silence_of_one_of_them(gap_s: int) -> None:
    world = both()

    world.beat(seconds=gap_s)
    world.beat()

    assert [one for one in world.control if isinstance(one, BreakerMoved) and one.breaker == "staleness"] == []


def test_a_venue_that_is_only_followed_makes_none_that_is_traded_look_old() -> None:
    world = both()
    ahead = world.now + 29 * 3_600 * 10**9
    touch = TouchAge(instrument="USDT/USD@kraken", bid=Decimal(1), ask=Decimal(1), age_ms=5)

    world.feed("beats", Beat(venue="kraken", touches=(touch,), ts_event=ahead, ts_init=ahead, trace_id="k"))
    world.beat()

    assert [one for one in world.control if isinstance(one, BreakerMoved) and one.breaker == "staleness"] == []


def test_an_empty_account_hides_nothing_of_the_others() -> None:
    world = Venues(venues_config(), {BTC: 60_000.0, "BTC/USDT@okx": 60_000.0}, {"sim": CASH, "okx": {"USDT": "0"}})
    world.warm()
    world.fill("0.5", BTC)
    world.beat()

    whole = all_of(world.state, RiskPlan(world.config))

    assert whole is not None
    assert whole.portfolio is not None
    assert [one.instrument for one in whole.portfolio.positions] == [BTC]


def test_what_is_traded_in_another_asset_than_the_account_counts_in_is_priced_by_one_step_more() -> None:
    prices = {BTC: 60_000.0, "ETH/BTC@sim": 0.5, "BTC/USDT@okx": 60_000.0}
    settings = venues_config(symbols=("BTC/USDT", "ETH/BTC"), tick_size="0.00001")
    world = Venues(settings, prices, {"sim": {"USDT": "100000", "ETH": "2"}, "okx": CASH})
    world.warm()

    whole = all_of(world.state, RiskPlan(world.config))

    assert whole is not None
    assert whole.portfolio is not None
    (held,) = whole.portfolio.positions
    assert held.instrument == "ETH/BTC@sim"
    assert float(held.price or 0) == pytest.approx(30_000.0, rel=0.05)


def test_where_nothing_is_left_the_equity_is_what_broke() -> None:
    held = (Position(instrument=BTC, quantity=5, price=60_000.0, asset_class="crypto"),)
    fall = ScenarioParams.model_validate({"name": "x", "source": "x", "shocks": {"base": {"BTC": -0.5}}})

    found = stress_all(Portfolio(equity=100_000.0, positions=held), fall, RiskParams())

    assert [one.limit for one in found.broken] == ["equity"]
