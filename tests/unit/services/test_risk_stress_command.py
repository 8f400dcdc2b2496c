"""`edgefleet risk stress --positions`: a portfolio and scenarios from files, and one line for whatever is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgefleet_services.cli.main import outcome

CONF = Path(__file__).parents[3] / "conf"
PORTFOLIO: dict[str, Any] = {
    "equity": 100_000,
    "positions": [
        {"instrument": "BTC/USDT@sim", "quantity": "0.5", "price": 60_000},
        {"instrument": "aapl", "quantity": 100, "price": 200},
        {"instrument": "GLD/USD", "quantity": 1, "price": 300, "asset_class": "commodities"},
    ],
}
MINE = "scenarios: [{name: mine, source: my own, shocks: {sector: {technology: -0.5}}}]\n"


def written(folder: Path, body: object, name: str = "portfolio.json") -> Path:
    path = folder / name
    path.write_text(body if isinstance(body, str) else json.dumps(body))
    return path


def asked(capsys: pytest.CaptureFixture[str], *words: object) -> dict[str, Any]:
    code = outcome(["risk", "stress", *map(str, words), "--conf", str(CONF), "--json"])
    printed = capsys.readouterr()
    assert (code, printed.err) == (0, "")
    body: dict[str, Any] = json.loads(printed.out)
    return body


def test_a_portfolio_of_ones_own_needs_no_fleet(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    body = asked(capsys, "--positions", written(tmp_path, PORTFOLIO), "--scenario", "march_2020")

    (account,) = body["accounts"]
    (found,) = account["scenarios"]
    assert [one["instrument"] for one in account["positions"]] == ["BTC/USDT@sim", "AAPL/USD", "GLD/USD"]
    assert found["loss"] == pytest.approx(0.372 * 30_000 + 0.339 * 20_000)
    assert [one["instrument"] for one in found["not_covered"]] == ["GLD/USD"]
    assert found["var_after"] is None


def test_class_and_sector_come_from_the_configuration_where_the_file_has_none(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    scenarios = written(tmp_path, MINE, "mine.yml")

    body = asked(capsys, "--positions", written(tmp_path, PORTFOLIO), "--scenarios", scenarios)

    (found,) = body["accounts"][0]["scenarios"]
    assert [(one["instrument"], one["by"], one["loss"]) for one in found["positions"]] == [
        ("AAPL/USD", "sector technology", 10_000.0)
    ]


def test_people_read_what_is_not_covered_and_what_breaks(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = written(tmp_path, PORTFOLIO)

    code = outcome(["risk", "stress", "--positions", str(path), "--conf", str(CONF), "--scenario", "ftx_november_2022"])

    told = capsys.readouterr().out
    assert code == 0
    assert "BTC/USDT@sim: 30000.00 by -25.4% (base BTC): loses 7620.00, 7.62% of equity" in told
    assert "ftx_november_2022 breaks drawdown 0.0762 (limit 0.05, now 0)" in told
    assert (
        "over its limit before and after ftx_november_2022: position BTC/USDT@sim 0.2423 (limit 0.2, now 0.3)" in told
    )
    assert "does not cover AAPL/USD (no shock), GLD/USD (no shock)" in told


@pytest.mark.parametrize(
    ("body", "words", "told"),
    [
        ({**PORTFOLIO, "equity": "NaN"}, (), "equity must be positive and finite, was nan"),
        ({**PORTFOLIO, "equity": -5}, (), "equity must be positive and finite, was -5.0"),
        ({**PORTFOLIO, "cash": 1}, (), "unknown field `cash`"),
        ({**PORTFOLIO, "peak": 10}, (), "the peak is the highest equity seen"),
        (
            {**PORTFOLIO, "positions": PORTFOLIO["positions"][:1] * 2},
            (),
            "names BTC/USDT@sim twice; add its quantities up",
        ),
        ({"equity": 1}, (), "missing required field `positions`"),
        ('{"equity": NaN, "positions": []}', (), "malformed"),
        (PORTFOLIO, ("--scenario", "no_such"), "--scenario 'no_such' is unknown; conf/stress.yml has financial_crisis"),
        (PORTFOLIO, ("--scenarios", "no_such.yml"), "no_such.yml: is not there"),
    ],
)
def test_what_is_wrong_is_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, body: object, words: tuple[str, ...], told: str
) -> None:
    path = written(tmp_path, body)

    code = outcome(["risk", "stress", "--positions", str(path), "--conf", str(CONF), *words])

    printed = capsys.readouterr()
    assert (code, printed.out) == (2, "")
    assert told in printed.err
    assert printed.err.count("\n") == 1


def test_without_any_scenario_the_mend_is_told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = written(tmp_path, PORTFOLIO)

    code = outcome(["risk", "stress", "--positions", str(path), "--conf", str(tmp_path / "nowhere")])

    assert code == 2
    assert "names no scenario" in capsys.readouterr().err


def test_a_file_that_is_not_there_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    code = outcome(["risk", "stress", "--positions", "no_such.json", "--conf", str(CONF)])

    assert code == 2
    assert "no_such.json cannot be read" in capsys.readouterr().err
