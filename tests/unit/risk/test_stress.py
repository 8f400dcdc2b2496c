"""What portfolios lose in a scenario: shocks by the most specific match, limits after them, and what is not covered."""

from __future__ import annotations

import csv
import gzip
import math
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefleet.params.faults import InvalidConfig
from edgefleet.params.files import load_component, load_fleet
from edgefleet.params.schema import RiskParams, ScenarioParams, StressParams
from edgefleet.risk.limits import Beside, caps_of, limits_for
from edgefleet.risk.stress import Portfolio, Position, StressResult, shock_of, stress

CONF = Path(__file__).parents[3] / "conf"
SHIPPED = {one.name: one for one in load_fleet(CONF, {}).stress.scenarios}
BTC = Position(instrument="BTC/USDT@sim", quantity=Decimal("0.5"), price=Decimal(60_000), asset_class="crypto")
AAPL = Position(instrument="AAPL/USD@alpaca", quantity=100, price=200.0, asset_class="us_stocks", sector="technology")


def scenario(shocks: dict[str, Any], **more: Any) -> ScenarioParams:
    return ScenarioParams.model_validate({"name": "a fall", "source": "a test", "shocks": shocks, **more})


def asked(*positions: Position, shocks: dict[str, Any], equity: float = 100_000.0, **more: Any) -> StressResult:
    return stress(Portfolio(equity=equity, positions=positions), scenario(shocks, **more), RiskParams())


def test_the_most_specific_shock_counts() -> None:
    every = {
        "instrument": {"BTC/*": -0.1, "BTC/USDT@sim": -0.2, "*": -0.9},
        "base": {"BTC": -0.3},
        "sector": {"l1": -0.4},
        "asset_class": {"crypto": -0.5},
    }
    held = Position(instrument="BTC/USDT@sim", quantity=1, price=1.0, asset_class="crypto", sector="l1")
    found = []

    while every:
        found.append(shock_of(held, scenario(every)))
        first = next(iter(every))
        if first == "instrument" and "BTC/USDT@sim" in every[first]:
            del every[first]["BTC/USDT@sim"]
        else:
            del every[first]

    assert found == [
        ("instrument BTC/USDT@sim", -0.2),
        ("instrument BTC/*", -0.1),
        ("base BTC", -0.3),
        ("sector l1", -0.4),
        ("asset class crypto", -0.5),
    ]


@pytest.mark.parametrize("glob", ["BTC/USDT@sim", "BTC/USDT", "BTC-USDT", "BTCUSDT", "BTC*", "*@sim"])
def test_a_glob_may_name_an_instrument_as_the_router_does(glob: str) -> None:
    assert shock_of(BTC, scenario({"instrument": {glob: -0.2}})) == (f"instrument {glob}", -0.2)


def test_a_symbol_without_a_venue_has_its_base() -> None:
    held = Position(instrument="AAPL/USD", quantity=1, price=1.0)

    assert shock_of(held, scenario({"base": {"AAPL": -0.2}})) == ("base AAPL", -0.2)


def test_what_is_held_loses_and_what_is_short_gains() -> None:
    short = Position(instrument="ETH/USDT@sim", quantity=Decimal(-10), price=3_000.0, asset_class="crypto")

    found = asked(BTC, short, shocks={"base": {"BTC": -0.4, "ETH": -0.5}})

    assert [one.loss for one in found.positions] == [12_000.0, -15_000.0]
    assert [one.loss_fraction for one in found.positions] == [0.12, -0.15]
    assert (found.loss, found.loss_fraction, found.equity_after) == (-3_000.0, -0.03, 103_000.0)
    assert found.leverage_after == pytest.approx((18_000 + 15_000) / 103_000)


def test_costs_are_those_of_the_value_that_is_left() -> None:
    found = asked(BTC, shocks={"base": {"BTC": -0.4}}, cost_bps=50)

    assert found.loss == pytest.approx(0.4 * 30_000 + 0.005 * 18_000)


def test_what_no_shock_names_is_told_and_in_no_loss() -> None:
    unpriced = Position(instrument="SOL/USDT@sim", quantity=3, price=None, asset_class="crypto")

    found = asked(BTC, AAPL, unpriced, shocks={"asset_class": {"crypto": -0.4}})

    assert [(one.instrument, one.value, one.reason) for one in found.not_covered] == [
        ("AAPL/USD@alpaca", 20_000.0, "no shock"),
        ("SOL/USDT@sim", None, "no price"),
    ]
    assert found.loss == 12_000.0
    assert found.leverage_after == pytest.approx((18_000 + 20_000) / 88_000)


def test_a_scenario_that_covers_nothing_has_no_answer_rather_than_no_loss() -> None:
    found = asked(AAPL, shocks={"asset_class": {"crypto": -0.4}})

    assert (found.loss, found.loss_fraction, found.equity_after, found.leverage_after) == (None,) * 4
    assert found.broken == ()
    assert [one.instrument for one in found.not_covered] == ["AAPL/USD@alpaca"]


def test_who_holds_nothing_loses_nothing() -> None:
    found = asked(shocks={"asset_class": {"crypto": -0.4}})

    assert (found.loss, found.equity_after, found.leverage_after, found.not_covered) == (0.0, 100_000.0, 0.0, ())


def test_drawdown_counts_from_the_peak() -> None:
    held = Position(instrument="BTC/USDT@sim", quantity=1, price=10_000.0, asset_class="crypto")
    portfolio = Portfolio(equity=97_000.0, peak=100_000.0, positions=(held,))

    found = stress(portfolio, scenario({"base": {"BTC": -0.3}}), RiskParams())

    (broken,) = found.broken
    assert (broken.limit, broken.cap) == ("drawdown", 0.05)
    assert broken.before == pytest.approx(0.03)
    assert broken.after == pytest.approx(0.06)
    assert found.drawdown_after == broken.after


def test_when_no_equity_is_left_that_is_what_is_told() -> None:
    held = Position(instrument="BTC/USDT@sim", quantity=4, price=60_000.0, asset_class="crypto")

    found = asked(held, shocks={"base": {"BTC": -0.5}})

    assert (found.equity_after, found.leverage_after) == (-20_000.0, None)
    assert [(one.limit, one.before, one.after) for one in found.broken] == [
        ("equity", 100_000.0, -20_000.0),
        ("drawdown", 0.0, 1.2),
    ]


def test_value_at_risk_is_judged_where_everything_that_it_needs_is_known() -> None:
    calm = Position(instrument="BTC/USDT@sim", quantity=0.2, price=60_000.0, asset_class="crypto", day_deviation=0.03)
    shocks = {"base": {"BTC": -0.1}}

    multiplied = asked(calm, shocks=shocks, volatility_multiplier=5.0)

    assert multiplied.var_after == pytest.approx(1.6448536269514722 * 10_800 * 0.15 / 98_800)
    assert ("var", 0.02) in [(one.limit, one.cap) for one in multiplied.broken]
    assert asked(calm, shocks=shocks).var_after is None
    assert asked(calm, BTC, shocks=shocks, volatility_multiplier=5.0).var_after is None


@pytest.mark.parametrize(
    ("equity", "change", "told"),
    [
        (math.nan, {}, "equity must be positive and finite, was nan"),
        (0.0, {}, "equity must be positive and finite, was 0.0"),
        (1.0, {"price": Decimal("NaN")}, "price of BTC/USDT@sim must be positive and finite, was nan"),
        (1.0, {"price": -3.0}, "price of BTC/USDT@sim must be positive and finite, was -3.0"),
        (1.0, {"quantity": math.inf}, "quantity of BTC/USDT@sim must be finite, was inf"),
        (1.0, {"quantity": 1e300, "price": 1e300}, r"value of BTC/USDT@sim must be finite, was 1e\+300 at 1e\+300"),
        (1.0, {"day_deviation": math.nan}, "day_deviation of BTC/USDT@sim must be finite and not negative, was nan"),
    ],
)
def test_what_is_no_number_is_refused(equity: float, change: dict[str, Any], told: str) -> None:
    held = Position(**{"instrument": "BTC/USDT@sim", "quantity": 1, "price": 1.0, **change})

    with pytest.raises(ValueError, match=told):
        asked(held, shocks={"base": {"BTC": -0.1}}, equity=equity, volatility_multiplier=2.0)


def test_a_peak_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="the peak of equity must be positive and finite, was nan"):
        stress(Portfolio(equity=1.0, positions=(), peak=math.nan), scenario({"base": {"X": -0.1}}), RiskParams())


classes = st.sampled_from(["crypto", "us_stocks", "forex"])
positions = st.lists(
    st.builds(
        Position,
        instrument=st.sampled_from(["BTC/USDT@sim", "ETH/USDT@sim", "AAPL/USD@alpaca", "XXX/USD@alpaca"]),
        quantity=st.floats(-100, 100),
        price=st.floats(0.01, 1_000),
        asset_class=classes,
        sector=st.sampled_from(["none", "l1", "technology"]),
        day_deviation=st.floats(0, 0.2),
    ),
    max_size=6,
    unique_by=lambda one: one.instrument,
)
shocked = scenario(
    {"base": {"BTC": -0.4}, "sector": {"technology": -0.2}, "asset_class": {"crypto": -0.5, "us_stocks": 0.3}},
    volatility_multiplier=3.0,
)


@given(positions, st.floats(1.0, 1e6))
def test_positions_add_up_to_the_whole(held: list[Position], equity: float) -> None:
    found = stress(Portfolio(equity=equity, positions=tuple(held)), shocked, RiskParams())

    assert len(found.positions) + len(found.not_covered) == len(held)
    if found.loss is not None and found.equity_after is not None:
        assert found.loss == math.fsum(one.loss for one in found.positions)
        assert found.equity_after == equity - found.loss
        assert found.loss_fraction == found.loss / equity


@given(positions, st.floats(1.0, 1e6))
def test_who_holds_the_opposite_gains_what_the_other_loses(held: list[Position], equity: float) -> None:
    opposite = tuple(msgspec.structs.replace(one, quantity=-float(one.quantity)) for one in held)

    found = stress(Portfolio(equity=equity, positions=tuple(held)), shocked, RiskParams())
    mirrored = stress(Portfolio(equity=equity, positions=opposite), shocked, RiskParams())

    assert [one.loss for one in mirrored.positions] == [-one.loss for one in found.positions]


@given(positions, st.floats(1e4, 1e6))
def test_broken_limits_are_those_that_the_harmonizer_would_refuse(held: list[Position], equity: float) -> None:
    """The harmonizer asks per instrument beside the others; that is the plain definition, told by limit and cap."""
    params = RiskParams()

    found = stress(Portfolio(equity=equity, positions=tuple(held)), shocked, params)

    if found.equity_after is None or not found.equity_after > 0:
        return
    fractions, expected = {}, set()
    for one in held:
        known = shock_of(one, shocked)
        left = 1.0 if known is None else 1 + known[1]
        assert one.price is not None
        fractions[one.instrument] = abs(float(one.quantity)) * float(one.price) * left / found.equity_after
    for one in held:
        assert one.asset_class is not None
        assert one.day_deviation is not None
        others = [other for other in held if other is not one]
        beside = Beside(
            gross=math.fsum(fractions[other.instrument] for other in others),
            in_class=math.fsum(fractions[o.instrument] for o in others if o.asset_class == one.asset_class),
            in_sector=math.fsum(fractions[o.instrument] for o in others if o.sector == one.sector),
            linear=math.fsum(fractions[o.instrument] * 3 * (o.day_deviation or 0.0) for o in others),
        )
        caps = caps_of(one.asset_class, one.sector, params)
        for limit in limits_for(caps, 3 * one.day_deviation, beside, 0.0, None):
            if limit.name in ("order_size", "cluster", "venue", "net", "var_week", "var_month"):
                continue  # of one change, of correlations, or another form of those that are told
            used = limit.used(fractions[one.instrument])
            if abs(used - limit.cap) < 1e-9:  # sums in another order may round to the other side
                return
            if not used <= limit.cap:
                expected.add((limit.name, limit.cap))
    assert {(one.limit, one.cap) for one in found.broken if one.limit != "drawdown"} == expected


@pytest.mark.parametrize(
    ("name", "symbol", "before", "after", "digits"),
    [
        # Closes as the scenario's source names them: index or coin, first and second figure.
        ("financial_crisis_2008", "MSFT", 1565.15, 676.53, 3),
        ("march_2020", "MSFT", 3386.15, 2237.40, 3),
        ("stocks_flash_2010_05_06", "MSFT", 1165.87, 1065.79, 3),
        ("march_2020", "BTC", 7911, 4971, 3),
        ("march_2020", "ETH", 194.9, 112.3, 2),
        ("crypto_may_2021", "BTC", 58_804, 34_771, 3),
        ("crypto_may_2021", "ETH", 4_169, 2_110, 3),
        ("crypto_flash_2021_05_19", "BTC", 42_909, 30_682, 3),
        ("crypto_flash_2021_05_19", "ETH", 3_380, 1_952, 3),
        ("luna_may_2022", "BTC", 39_698, 29_048, 3),
        ("luna_may_2022", "ETH", 2_941, 1_962, 3),
        ("ftx_november_2022", "BTC", 21_283, 15_881, 3),
        ("ftx_november_2022", "ETH", 1_628, 1_100, 3),
        ("ftx_november_2022", "FTT", 25, 2.3, 2),
    ],
)
def test_a_shipped_shock_is_what_its_source_says(
    name: str, symbol: str, before: float, after: float, digits: int
) -> None:
    stock = symbol == "MSFT"
    held = Position(instrument=f"{symbol}/USD@x", quantity=1, price=1.0, asset_class="us_stocks" if stock else "crypto")

    found = shock_of(held, SHIPPED[name])

    assert found is not None
    assert found[1] == pytest.approx(after / before - 1, abs=0.6 * 10**-digits)
    assert f"{before:,.2f}".rstrip("0").rstrip(".").replace(",", "") in SHIPPED[name].source.replace(",", "")


def test_the_stocks_of_2008_fell_as_the_recorded_prices_say(recorded: Path) -> None:
    with gzip.open(recorded / "prices" / "stock_prices.csv.gz", "rt") as file:
        days = {row["date"]: row for row in csv.DictReader(file) if row["date"] in ("2007-10-09", "2009-03-09")}
    first, last = days["2007-10-09"], days["2009-03-09"]
    shocks = SHIPPED["financial_crisis_2008"].shocks.base

    for name, shock in shocks.items():
        column = "GOOG" if name == "GOOGL" else name
        assert shock == pytest.approx(float(last[column]) / float(first[column]) - 1, abs=0.0006), name


FILE = """\
scenarios:
  - name: mine
    source: my own
    shocks:
      base: {{BTC: {shock}}}
{more}"""


@pytest.mark.parametrize(
    ("shock", "more", "told"),
    [
        ("-1.2", "", "stress.yml:5: scenarios.0.shocks.base.BTC: base.BTC must be in [-1, 10], was -1.2"),
        (".nan", "", "stress.yml:5: scenarios.0.shocks.base.BTC: must be finite, was .nan"),
        ("-0.1", "    no_such: 1\n", "stress.yml:6: scenarios.0.no_such: is unknown here"),
        (
            "-0.1",
            "    cost_bps: -1\n",
            "stress.yml:6: scenarios.0.cost_bps: should be greater than or equal",
        ),
        (
            "-0.1",
            "  - {name: mine, source: x, shocks: {base: {X: 0.1}}}\n",
            "stress.yml:1: scenarios: scenarios 1 and 2 are both 'mine'",
        ),
        ("-0.1", "  - {name: y, source: x, shocks: {}}\n", "names nothing; give at least one shock"),
        ("-0.1", "  - {name: y, source: x, shocks: {sector: {none: -0.1}}}\n", "no sector; name one"),
        ("-0.1", "  - {name: y, shocks: {base: {X: 0.1}}}\n", "stress.yml:6: scenarios.1.source: is missing"),
    ],
)
def test_a_wrong_file_is_refused_at_its_line(tmp_path: Path, shock: str, more: str, told: str) -> None:
    path = tmp_path / "stress.yml"
    path.write_text(FILE.format(shock=shock, more=more))

    with pytest.raises(InvalidConfig) as refused:
        load_component("stress", path, {})

    assert told in str(refused.value)


def test_a_file_of_ones_own_is_read(tmp_path: Path) -> None:
    path = tmp_path / "stress.yml"
    path.write_text(FILE.format(shock="-1", more=""))

    params = load_component("stress", path, {}).params

    assert isinstance(params, StressParams)
    assert params.scenarios[0].shocks.base == {"BTC": -1.0}


def test_every_shipped_scenario_says_where_it_is_from() -> None:
    assert len(SHIPPED) >= 7
    assert [name for name, one in SHIPPED.items() if not any(digit in one.source for digit in "0123456789")] == []
