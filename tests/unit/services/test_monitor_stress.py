"""What the monitor says of stress: from the ledger's statements, absent where something is not known."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import generate_latest

from edgefleet.ledger.books import PositionLine, Statement
from edgefleet.params.files import load_fleet
from edgefleet.params.schema import FleetConfig
from edgefleet.telemetry.logs import configure
from edgefleet.telemetry.metrics import Metrics
from edgefleet_services.monitor.stress import StressWatch

CONFIG = load_fleet(Path(__file__).parents[3] / "conf", {})
ZERO = Decimal(0)


def statement(quantity: str = "0.5", bid: str | None = "60000", **changes: Any) -> Statement:
    price = None if bid is None else Decimal(bid)
    line = PositionLine(
        instrument="BTC/USDT@sim",
        quantity=Decimal(quantity),
        average_price=None,
        bid=price,
        ask=None if price is None else price + 1,
        value=None if price is None else price * Decimal(quantity),
        realised=ZERO,
        unrealised=None,
    )
    usual: dict[str, Any] = {
        **dict.fromkeys(("start_equity", "unrealised", "drawdown", "peak_equity")),
        **dict.fromkeys(("start_unrealised", "realised", "fees_in_quote", "ledger_minus_venue"), ZERO),
        "account": "main",
        "venue": "sim",
        "session": "s",
        "quote": "USDT",
        "ts": 1,
        "fills": 1,
        "fees": {},
        "cash": {},
        "unpriced": {},
        "positions": (line,),
        "equity": Decimal(100_000),
    }
    return Statement(**{**usual, **changes})


class Watch(StressWatch):
    def __init__(self, config: FleetConfig = CONFIG) -> None:
        self.config, self.metrics = config, Metrics()
        super().__init__(self.metrics, configure("monitor", level="error", session=None, instance="0"), self._now)

    def _now(self) -> FleetConfig:
        return self.config

    def scenarios(self) -> dict[str, Any]:
        (account,) = self.lines
        return {one["scenario"]: one for one in account["scenarios"]}

    def exported(self) -> str:
        return generate_latest(self.metrics.registry).decode()


def test_an_account_is_put_under_every_scenario() -> None:
    watch = Watch()

    watch.take({"main@sim": statement()})

    found = watch.scenarios()
    assert found["march_2020"]["loss"] == pytest.approx(0.372 * 30_000)
    assert found["march_2020"]["equity_after"] == pytest.approx(88_840)
    assert found["financial_crisis_2008"]["loss"] is None
    assert [one["limit"] for one in found["march_2020"]["broken"]] == ["position", "drawdown"]
    assert 'risk_stress_loss_ratio{scenario="march_2020"} 0.1116' in watch.exported()
    assert "financial_crisis_2008" not in watch.exported()


def test_a_page_gets_no_more_than_it_shows() -> None:
    watch = Watch()

    watch.take({"main@sim": statement()})

    (account,) = watch.brief
    shown = {one["scenario"]: one for one in account["scenarios"]}
    assert shown["march_2020"]["breaks"] == ["position of BTC/USDT@sim", "drawdown"]
    assert shown["financial_crisis_2008"]["not_covered"] == ["BTC/USDT@sim"]


def test_without_equity_the_reason_is_told_and_the_metric_goes() -> None:
    watch = Watch()
    watch.take({"main@sim": statement()})

    watch.take({"main@sim": statement(bid=None, equity=None)})

    (account,) = watch.lines
    assert (account["scenarios"], account["equity"]) == ([], None)
    assert account["why"] == "equity is not known: a position has no price"
    assert "risk_stress_loss_ratio{" not in watch.exported()


def test_equity_that_is_gone_is_refused_with_its_number() -> None:
    watch = Watch()

    watch.take({"main@sim": statement(equity=Decimal(-3))})

    assert watch.lines[0]["why"] == "equity must be positive and finite, was -3.0"


def test_an_asset_that_nothing_prices_is_not_covered() -> None:
    watch = Watch()

    watch.take({"main@sim": statement(unpriced={"DOGE": Decimal(7), "OLD": ZERO})})

    missed = watch.scenarios()["march_2020"]["not_covered"]
    assert [(one["instrument"], one["reason"]) for one in missed] == [("DOGE/USDT@sim", "no price")]


def test_drawdown_counts_from_the_sessions_peak() -> None:
    watch = Watch()

    watch.take({"main@sim": statement(peak_equity=Decimal(110_000))})

    assert watch.scenarios()["march_2020"]["drawdown_after"] == pytest.approx(1 - 88_840 / 110_000)


def test_another_configuration_is_asked_at_once() -> None:
    watch, books = Watch(), {"main@sim": statement()}
    watch.take(books)

    watch.config = FleetConfig()
    watch.take(books)

    assert watch.lines[0]["why"] == "conf/stress.yml names no scenario"
    assert "risk_stress_loss_ratio{" not in watch.exported()


def test_of_two_accounts_the_metric_has_the_larger_share() -> None:
    watch = Watch()

    watch.take({"main@sim": statement(), "other@sim": statement("1", account="other")})

    assert 'risk_stress_loss_ratio{scenario="march_2020"} 0.2232' in watch.exported()


def test_the_same_books_are_not_worked_out_again() -> None:
    watch = Watch()
    watch.take({"main@sim": statement()})
    lines = watch.lines

    watch.take({"main@sim": statement()})

    assert watch.lines is lines
