"""Accounts at two venues as one portfolio: what one holds is the other's limit, and nothing is assumed of either."""

from __future__ import annotations

import math
from collections.abc import Collection
from decimal import Decimal
from typing import Any

import pytest
from tests.unit.risk.world import BTC, ETH, Venues, World, venues_config

from edgefleet.messages import Approved, BreakerMoved, Refusal, Refused, Session
from edgefleet.risk.explain import explain
from edgefleet.risk.kept import Kept
from edgefleet.risk.observers import DayLoss
from edgefleet.risk.plan import RiskPlan
from edgefleet.risk.state import fleet_equity, home_quote, leave_other_venues, rates
from edgefleet.risk.var import SECONDS_PER_DAY, Z_95
from edgefleet.testing import build

OTHER = "BTC/USDT@okx"
PRICES = {BTC: 60_000.0, ETH: 3_000.0, OTHER: 60_000.0}
CASH = {"sim": {"USDT": "100000"}, "okx": {"USDT": "100000"}}


def fleet(risk: dict[str, Any] | None = None, **changes: Any) -> Venues:
    world = Venues(venues_config(risk, **changes), PRICES, CASH)
    world.warm()
    world.said.clear()
    return world


def deviation(world: World, name: str) -> float:
    variance = world.state.desks[name].returns.per_second
    assert variance is not None
    return math.sqrt(variance * SECONDS_PER_DAY)


def approved(said: list[Approved | Refused]) -> Approved:
    (one,) = said
    assert isinstance(one, Approved), one
    return one


def refused(said: list[Approved | Refused]) -> Refused:
    (one,) = said
    assert isinstance(one, Refused), one
    return one


def test_what_one_venue_holds_leaves_less_of_the_whole_to_the_other() -> None:
    world = fleet({"fleet_limits": {"gross": 0.12, "net": 0.12}})
    world.hold(60.0, BTC)

    target = approved(world.edge(60.0, OTHER))

    held = float(world.state.holdings["sim"]["BTC"])
    equity = fleet_equity(world.state, "USDT")
    assert equity is not None
    used = (held + float(target.quantity)) * 60_000.0 / equity
    assert target.binding == "fleet_gross"
    assert 0.9 * 0.12 * 0.75 < used <= 0.9 * 0.12 * (1 + 1e-3)
    assert target.head_room["fleet_gross"] == pytest.approx(1 - used / 0.12, abs=1e-3)


def test_the_same_asset_at_two_venues_counts_as_one_in_the_bad_direction() -> None:
    world = fleet()
    world.fill("0.3", BTC)
    world.fill("0.3", OTHER)
    world.beat()
    plan = RiskPlan(world.config)

    both = Kept().fleet(world.state, plan)
    equity = both.equity()

    assert equity is not None
    sizes = [0.3 * float(world.touch(name)[1]) * deviation(world, name) for name in (BTC, OTHER)]
    assert both.var(equity) == pytest.approx(Z_95 * math.fsum(sizes) / equity, rel=1e-12)


def test_a_short_at_one_venue_hedges_nothing_at_the_other() -> None:
    long, hedged = fleet(), fleet()
    long.fill("0.3", BTC)
    long.fill("0.3", OTHER)
    hedged.fill("0.3", BTC)
    hedged.fill("-0.3", OTHER)

    kept = [Kept().fleet(world.state, RiskPlan(world.config)) for world in (long, hedged)]

    assert kept[1].var(200_000.0) == pytest.approx(kept[0].var(200_000.0), rel=1e-3)


def test_with_one_account_there_are_no_limits_of_a_fleet() -> None:
    world = Venues(venues_config(), PRICES, {"sim": {"USDT": "100000"}})
    world.warm()

    target = approved(world.edge(60.0, BTC))

    assert not [name for name in target.head_room if name.startswith("fleet")]
    assert not [key for key in world.state.peaks if key.startswith("|")]


def test_every_limit_of_the_fleet_is_on_the_verdict() -> None:
    world = fleet()

    target = approved(world.edge(60.0, BTC))

    assert {name for name in target.head_room if name.startswith("fleet_")} == {
        "fleet_gross",
        "fleet_net",
        "fleet_var",
        "fleet_es",
        "fleet_drawdown",
    }


def test_an_account_without_a_rate_is_named_and_holds_back_what_enlarges_and_nothing_that_closes() -> None:
    elsewhere = "BTC/EUR@okx"
    world = Venues(
        venues_config(symbols=("BTC/USDT", "BTC/EUR")),
        {BTC: 60_000.0, elsewhere: 55_000.0},
        {"sim": {"USDT": "100000"}, "okx": {"EUR": "50000"}},
    )
    world.warm()
    world.said.clear()

    entering = refused(world.edge(60.0, elsewhere))
    world.fill("0.1", BTC)  # of which no model expects anything
    closing = approved(world.beat())

    assert entering.reason is Refusal.NO_TOUCH
    assert "the account at okx cannot be valued: EUR has no rate in USDT" in entering.detail
    assert closing.quantity == 0


def test_an_account_without_a_touch_is_named_and_holds_back_the_other() -> None:
    world = fleet()
    world.fill("0.1", OTHER)
    world.silent.add(OTHER)
    world.beat()

    entering = refused(world.edge(60.0, BTC))

    assert entering.reason is Refusal.NO_TOUCH
    assert "okx" in entering.detail


def test_an_account_in_another_asset_is_worth_what_the_worse_rate_says() -> None:
    rate = "EUR/USDT@sim"
    world = Venues(
        venues_config(symbols=("BTC/USDT", "EUR/USDT", "BTC/EUR")),
        {BTC: 60_000.0, rate: 1.1, "BTC/EUR@okx": 55_000.0},
        {"sim": {"USDT": "100000"}, "okx": {"EUR": "50000"}},
    )
    world.warm()
    bid, ask = world.touch(rate)

    assert rates(world.state, "EUR", "USDT") == (float(bid), float(ask), 5)
    assert rates(world.state, "USDT", "EUR") == (1 / float(ask), 1 / float(bid), 5)
    assert fleet_equity(world.state, "USDT") == pytest.approx(100_000 + 50_000 * float(bid))


def euros(*, at_okx: bool = True, **held: str) -> Venues:
    """Return dollars at one venue, euros and bitcoin at the other, and a rate between the two there or at both."""
    elsewhere = {"EUR/USDT@okx": 1.1} if at_okx else {}
    world = Venues(
        venues_config(symbols=("BTC/USDT", "ETH/USDT", "EUR/USDT", "BTC/EUR")),
        {BTC: 60_000.0, ETH: 3_000.0, "EUR/USDT@sim": 1.1, "BTC/EUR@okx": 55_000.0, **elsewhere},
        {"sim": {"USDT": "100000"}, "okx": {"EUR": "50000", "BTC": "0.1", **held}},
    )
    world.warm()
    world.said.clear()
    return world


@pytest.mark.parametrize("how", ["venue", "feed"])
def test_what_another_account_holds_is_not_valued_by_a_feed_that_went_silent(how: str) -> None:
    world = fleet()
    world.fill("0.1", OTHER)
    world.beat()
    (first,) = world.edge(60.0, BTC)

    for second in range(1, 12):
        world.dead = {"okx"} if how == "venue" else set()
        world.ages = {OTHER: second * 1_000}
        world.beat()
    entering = refused(world.edge(60.0, ETH))
    world.dead, world.ages = set(), {}
    world.beat()
    again = world.edge(61.0, ETH)

    assert isinstance(first, Approved)
    assert entering.reason is Refusal.STALE_DATA
    assert entering.limit == 10_000.0
    assert entering.observed == pytest.approx(11_000.0, abs=10)
    assert "the account at okx is not valued as it is: what it holds is marked by an old touch" in entering.detail
    assert isinstance(again[0], Approved)


def test_cash_is_worth_the_same_however_silent_its_venue_is() -> None:
    world = fleet()
    world.dead = {"okx"}
    for _ in range(12):
        world.beat()

    assert isinstance(world.edge(60.0, BTC)[0], Approved)


def test_of_a_rate_at_several_venues_the_young_ones_count() -> None:
    world = euros()
    world.ages["EUR/USDT@sim"] = 20_000
    world.prices["EUR/USDT@sim"] = 1.2
    world.beat()

    bid, ask = world.touch("EUR/USDT@okx")
    assert rates(world.state, "EUR", "USDT") == (float(bid), float(ask), 5)


def test_an_account_is_not_valued_by_an_old_rate() -> None:
    world = euros(at_okx=False)
    young = world.edge(60.0, BTC)
    world.ages["EUR/USDT@sim"] = 20_000
    world.beat()

    entering = refused(world.edge(60.0, ETH))

    assert isinstance(young[0], Approved)
    assert entering.reason is Refusal.STALE_DATA
    assert entering.observed == 20_000.0
    assert "the account at okx is not valued as it is: the rate of EUR in USDT is old" in entering.detail


def fallen(world: World) -> float:
    """Return how far all equity is below its peak."""
    equity = fleet_equity(world.state, "USDT")
    assert equity is not None
    return 1 - equity / world.state.peaks["|USDT"]


def test_no_loss_is_made_or_forgotten_when_an_account_comes_to_be_valued_in_another_asset() -> None:
    world = euros(at_okx=False, USDT="40000")
    world.fill("0.5", BTC)
    world.beat()
    world.prices[BTC] *= 0.9
    world.beat()
    was, fell, worth = home_quote(world.state, "okx", "USDT"), fallen(world), fleet_equity(world.state, "USDT")

    world.prices["EUR/USDT@okx"] = 1.1  # its first instrument in dollars: now these are its home
    world.beat()

    assert (was, home_quote(world.state, "okx", "USDT")) == ("EUR", "USDT")
    assert worth is not None
    assert fleet_equity(world.state, "USDT") != pytest.approx(worth, rel=0.1)
    assert fell > 0.01
    assert fallen(world) == pytest.approx(fell, abs=1e-9)
    assert world.state.watch.days["|USDT"].base == pytest.approx(world.state.peaks["|USDT"], rel=0.01)


def test_a_speck_that_nobody_prices_hides_no_account() -> None:
    world = Venues(
        venues_config(symbols=("BTC/USDT", "ETH/USDT", "EUR/USDT")),
        {BTC: 60_000.0, "EUR/USDT@sim": 1.1, OTHER: 60_000.0},
        {"sim": {"USDT": "100000"}, "okx": {"USDT": "100000", "EUR": "0.00000001"}},
    )
    world.warm()
    world.silent = {"EUR/USDT@sim"}
    world.beat()

    world.fill("0.5", BTC)
    world.beat()
    world.prices[BTC] *= 0.5
    world.beat()

    assert fleet_equity(world.state, "USDT") is not None
    opened = {one.breaker for one in world.control if isinstance(one, BreakerMoved) and one.scope == ""}
    assert opened >= {"drawdown", "daily_loss"}


def test_what_was_measured_in_another_asset_long_ago_is_no_loss_of_today() -> None:
    world = fleet()
    world.fill("0.3", BTC)
    world.beat()
    world.state.peaks["|BTC"] = 10.0  # as an earlier version left it
    world.state.watch.days["|BTC"] = DayLoss(opened=world.now - 200 * 86_400 * 10**9, base=10.0, last=3.0)
    before = world.state.watch.days["|USDT"].base

    world.beat()

    assert fallen(world) < 0.001
    assert world.state.watch.days["|USDT"].base == before
    assert "|BTC" not in world.state.peaks


def test_a_touch_that_is_younger_than_now_is_not_old() -> None:
    world = fleet()
    world.fill("0.1", OTHER)
    world.ages = {OTHER: -3}
    world.beat()

    assert isinstance(world.edge(60.0, BTC)[0], Approved)


def test_no_drawdown_is_forgotten_when_the_fleet_is_valued_in_another_asset() -> None:
    world = euros()
    world.fill("0.5", BTC)
    world.beat()
    world.prices[BTC] *= 0.9
    world.beat()
    equity = fleet_equity(world.state, "USDT")
    assert equity is not None
    fell = 1 - equity / world.state.peaks["|USDT"]

    risk = world.config.risk_harmonizer
    limits = risk.fleet_limits.model_copy(update={"quote": "EUR"})
    world.config = world.config.model_copy(update={"risk_harmonizer": risk.model_copy(update={"fleet_limits": limits})})
    world.beat()

    after = fleet_equity(world.state, "EUR")
    assert after is not None
    assert fell > 0.01
    assert 1 - after / world.state.peaks["|EUR"] == pytest.approx(fell, abs=1e-9)
    assert [key for key in (*world.state.peaks, *world.state.watch.days) if key.startswith("|")] == ["|EUR", "|EUR"]


def test_losses_of_both_accounts_together_hold_the_fleet_back() -> None:
    world = fleet({"fleet_limits": {"max_drawdown": 0.01}, "risk_limits": {"max_drawdown": 0.2}, "monitoring": {}})
    world.fill("0.4", BTC)
    world.fill("0.4", OTHER)
    for name in (BTC, OTHER):
        world.prices[name] *= 0.94
    world.beat()

    entering = refused(world.edge(60.0, ETH))

    assert entering.reason is Refusal.DRAWDOWN
    assert entering.limit == 0.01
    assert entering.detail == "of all accounts together"
    opened = [one for one in world.control if isinstance(one, BreakerMoved) and one.after == "OPEN"]
    assert ("drawdown", "") in [(one.breaker, one.scope) for one in opened]


def test_money_that_comes_to_one_account_is_no_gain_of_the_fleet() -> None:
    world = fleet()
    world.beat()
    before = world.state.peaks["|USDT"]

    world.account({"USDT": "50000"}, "okx")
    world.beat()

    assert before == pytest.approx(200_000.0)
    assert world.state.peaks["|USDT"] == pytest.approx(150_000.0)


def test_a_target_that_lapses_at_one_venue_frees_the_other() -> None:
    world = fleet({"fleet_limits": {"gross": 0.05, "net": 0.05}})
    approved(world.edge(60.0, OTHER))
    assert refused(world.edge(60.0, BTC)).reason in (Refusal.POSITION_LIMIT, Refusal.BELOW_MINIMUM)

    world.now += 31 * 1_000_000_000
    said = world.edge(60.0, BTC)

    assert isinstance(said[0], Approved)


def test_what_is_told_of_the_fleet_is_what_the_verdict_rests_on() -> None:
    world = fleet({"fleet_limits": {"gross": 0.12, "net": 0.12}})
    world.hold(60.0, BTC)
    target = approved(world.edge(60.0, OTHER))

    found = explain(world.state, OTHER, world.config)

    whole = {number.name: number.value for group in found.groups if group.title == "fleet" for number in group.numbers}
    assert whole["equity"] == fleet_equity(world.state, "USDT")
    assert set(whole) >= {"account sim", "account okx", "peak", "drawdown", "weight", "value at risk now"}
    told = {group.title for group in found.limits}
    assert {"fleet_gross", "fleet_net", "fleet_var", "fleet_es"} <= told
    assert Decimal(target.quantity) > 0


def test_an_account_of_an_earlier_session_counts_no_more() -> None:
    world = fleet({"fleet_limits": {"quote": "EUR"}})  # without a rate nothing is enlarged while there are two accounts
    assert refused(world.edge(60.0, OTHER)).reason is Refusal.NO_TOUCH

    began = Session(
        session="s", mode="paper", venue="okx", account="main", symbols=("BTC/USDT",), first_ids={}, machine={},
        ts_event=world.now, ts_init=world.now,
    )  # fmt: skip
    world.feed("control", began)

    assert list(world.state.holdings) == ["okx"]
    assert not [key for key in (*world.state.peaks, *world.state.watch.days) if not key.startswith("okx|")]
    assert approved(world.edge(61.0, OTHER)).quantity > 0


def began(world: World, *instruments: str) -> None:
    """Let a session begin that trades these."""
    venues = dict.fromkeys(name.partition("@")[2] for name in instruments)
    session = Session(
        session="s2", mode="paper", venue=",".join(venues), account="main", symbols=("BTC/USDT",),
        instruments=instruments, first_ids={}, machine={}, ts_event=world.now, ts_init=world.now,
    )  # fmt: skip
    world.feed("control", session)


def remembered(world: World) -> tuple[list[str], dict[str, float], list[str]]:
    """Return the accounts that risk knows, the highest equity of each, and the days that breakers measure."""
    return [*world.state.holdings], dict(world.state.peaks), [*world.state.watch.days]


def test_accounts_that_the_next_session_trades_at_as_well_are_kept_with_what_all_were_worth() -> None:
    world = fleet()
    world.beat()
    before = remembered(world)

    began(world, BTC, OTHER)

    assert remembered(world) == before
    assert (before[0], {*before[1]}) == (["sim", "okx"], {"sim|USDT", "okx|USDT", "|USDT"})
    assert before[2]


def test_account_of_a_third_venue_goes_and_takes_what_all_were_worth_with_it() -> None:
    world = fleet()
    world.beat()
    world.account({"USDT": "100000"}, "kraken")
    world.state.peaks["kraken|USDT"] = 100_000.0
    days = [day for day in world.state.watch.days if day.partition("|")[0] in ("sim", "okx")]

    began(world, OTHER, BTC)

    accounts, peaks, days_left = remembered(world)
    assert (accounts, {*peaks}) == (["sim", "okx"], {"sim|USDT", "okx|USDT"})
    assert days_left == days != []


@pytest.mark.parametrize("venues", [("sim", "okx"), {"okx", "sim", "never told"}])
def test_venues_that_are_all_kept_change_nothing(venues: Collection[str]) -> None:
    world = fleet()
    world.beat()
    before = remembered(world)

    leave_other_venues(world.state, venues)

    assert remembered(world) == before


def test_without_a_venue_every_account_goes() -> None:
    world = fleet()
    world.beat()

    leave_other_venues(world.state, ())

    assert remembered(world) == ([], {}, [])


def test_targets_of_two_kept_accounts_are_still_weighed_together() -> None:
    world = fleet({"fleet_limits": {"gross": 0.12, "net": 0.12}})
    world.hold(60.0, BTC)

    began(world, BTC, OTHER)
    target = approved(world.edge(60.0, OTHER))

    assert target.binding == "fleet_gross"


def test_which_account_is_named_does_not_follow_from_the_order_of_touches() -> None:
    prices = {ETH: 3_000.0, "BTC/EUR@sim": 54_000.0, "ETH/EUR@sim": 2_700.0}
    settings = venues_config(symbols=("ETH/USDT", "BTC/EUR", "ETH/EUR"))
    said = []
    for last in ("BTC/EUR@sim", "ETH/EUR@sim"):
        world = Venues(settings, prices, {"sim": {"USDT": "100000", "BTC": "0.05", "ETH": "0.5"}})
        world.warm()
        world.edge(60.0, ETH)
        bid, ask = world.touch(last)
        world.feed("beats", build.touch(instrument=last, bid=bid, ask=ask, ts_event=world.now))
        said.append(refused(world.edge(-60.0, ETH)).detail)

    assert said[0] == said[1] != ""
