"""What a night says of an instrument's bars, held against the arithmetic asked directly."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from edgefleet.clock import NS_PER_S, SYSTEM
from edgefleet.messages import Bar
from edgefleet.params.schema import BacktestParams
from edgefleet.risk.backtests import acerbi_szekely, traffic_light
from edgefleet.risk.coverage import judge
from edgefleet.risk.rolling import roll, roll_refitted, tell_next
from edgefleet.store.market.archive import MarketArchive
from edgefleet_services.cli.main import outcome
from edgefleet_services.data.nightly import back_test
from edgefleet_services.features.nights import SymbolNight

HOUR_NS = 3_600 * NS_PER_S
START_NS = 1_704_067_200 * NS_PER_S  # 1 January 2024
BTC = "BTC/USDT@sim"
SHORT = BacktestParams(window=100, periods=60, methods=("historical", "ewma"))


def bar(instrument: str, number: int, close: str, **changes: Any) -> Bar:
    price, end = Decimal(close), START_NS + number * HOUR_NS
    usual: dict[str, Any] = {
        "interval_ms": 3_600_000, "open": price, "high": price, "low": price, "close": price, "volume": Decimal(1),
        "trades": 1, "ts_event": end, "ts_init": end, "trace_id": "x",
    }  # fmt: skip
    return Bar(instrument=instrument, **{**usual, **changes})


def walk(count: int, seed: int = 7) -> list[str]:
    draw, price = random.Random(seed), 60_000.0
    prices = []
    for _ in range(count):
        price *= 1 + draw.gauss(0, 0.004)
        prices.append(f"{price:.2f}")
    return prices


def keep(folder: Path, bars: Sequence[Bar], writer: str = "fleet_bars") -> MarketArchive:
    archive = MarketArchive(folder)
    writing = archive.writer(writer, SYSTEM)
    writing.take(list(bars))
    writing.close()
    return archive


def hours(instrument: str, prices: Sequence[str]) -> list[Bar]:
    return [bar(instrument, number + 1, price) for number, price in enumerate(prices)]


def test_each_method_says_what_the_arithmetic_says_of_the_newest_periods(tmp_path: Path) -> None:
    prices = walk(260)
    settings = BacktestParams(window=120, periods=80, methods=("filtered", "garch"), level=0.9)

    found = back_test(keep(tmp_path, hours(BTC, prices)), BTC, "crypto", settings)

    series = np.array([float(price) for price in prices])
    returns = series[1:] / series[:-1] - 1
    expected = {
        "filtered": roll(returns, "filtered", window=120, level=0.9, start=len(returns) - 80),
        "garch": roll_refitted(returns, "garch", level=0.9, start=len(returns) - 80),
    }
    assert (found.returns, found.needed, found.gaps) == (259, 200, 0)
    for method, rolled in expected.items():
        judged, tested = judge(rolled, 0.1), found.methods[method]
        assert (tested.exceptions, tested.observations, tested.expected) == (judged.exceptions, 80, 8)
        assert judged.coverage is not None
        assert tested.p_pof == judged.coverage.p
        assert tested.p_cci == (None if judged.independence is None else judged.independence.p)
        assert tested.zone == traffic_light(judged.exceptions, 80, 0.1)
        assert tested.z2 == acerbi_szekely(rolled.returns, rolled.var, rolled.es, 0.1)
        assert tested.passes is judged.passes
        assert (method in found.passing) is judged.passes
        assert tested.var == tell_next(returns, method, window=120, level=0.9).var


def test_too_few_returns_are_told_with_both_numbers_and_are_no_failure(tmp_path: Path) -> None:
    archive = keep(tmp_path, hours(BTC, walk(160)))

    found = back_test(archive, BTC, "crypto", SHORT)

    assert (found.returns, found.needed, found.methods, found.failed) == (159, 160, {}, None)


def test_one_return_more_is_enough(tmp_path: Path) -> None:
    found = back_test(keep(tmp_path, hours(BTC, walk(161))), BTC, "crypto", SHORT)

    assert {method: tested.observations for method, tested in found.methods.items()} == {"historical": 60, "ewma": 60}


def test_an_instrument_without_bars_has_none_of_those_that_are_needed(tmp_path: Path) -> None:
    found = back_test(MarketArchive(tmp_path), BTC, "crypto", SHORT)

    assert (found.returns, found.needed, found.failed) == (0, 160, None)


def test_bars_behind_the_night_are_not_judged(tmp_path: Path) -> None:
    prices = walk(240)
    whole = keep(tmp_path / "whole", hours(BTC, prices))
    cut = keep(tmp_path / "cut", hours(BTC, prices[:200]))
    night = START_NS + 200 * HOUR_NS + 600 * NS_PER_S

    of_whole, of_cut = (back_test(archive, BTC, "crypto", SHORT, night) for archive in (whole, cut))

    assert of_whole == of_cut
    assert of_whole.returns == 199


def test_no_return_is_taken_over_a_gap(tmp_path: Path) -> None:
    prices = walk(200)
    bars = [one for number, one in enumerate(hours(BTC, prices)) if not 90 <= number < 95]

    found = back_test(keep(tmp_path, bars), BTC, "crypto", SHORT)

    assert (found.returns, found.gaps) == (199 - 6, 1)


def test_bars_that_cannot_be_believed_are_told_and_hide_no_other_symbol(tmp_path: Path) -> None:
    prices = walk(170)
    keep(tmp_path, hours(BTC, prices))
    archive = keep(tmp_path, [bar(BTC, 1, "1")], "other_bars")

    found = back_test(archive, BTC, "crypto", SHORT)

    assert found.failed is not None
    assert "two writers kept this market" in found.failed
    assert found.methods == {}


def test_a_price_that_never_moves_refuses_the_method_and_not_the_night(tmp_path: Path) -> None:
    found = back_test(keep(tmp_path, hours(BTC, ["100"] * 170)), BTC, "crypto", SHORT)

    assert found.failed is None
    assert "the variance is 0" in (found.methods["ewma"].refused or "")
    assert found.methods["ewma"].exceptions is None
    assert found.passing == ()


def test_a_market_that_turns_wild_is_rejected(tmp_path: Path) -> None:
    calm = walk(130)
    price, wild = float(calm[-1]), []
    for number in range(60):
        price *= 0.95 if number % 2 else 1.05
        wild.append(f"{price:.2f}")

    found = back_test(keep(tmp_path, hours(BTC, calm + wild)), BTC, "crypto", SHORT)

    assert "historical" in found.rejected
    assert found.methods["historical"].zone == "red"
    assert "historical" not in found.passing


# --- the command


def fleet(folder: Path) -> Path:
    """Return a stopped fleet's directory, with bars of two symbols, one of them too few."""
    keep(folder / "market", [*hours(BTC, walk(200)), *hours("ETH/USDT@sim", walk(50, seed=8))])
    return folder


def conf(folder: Path) -> Path:
    folder.mkdir()
    (folder / "features.yml").write_text("backtest: {window: 100, periods: 60, methods: [historical, ewma]}\n")
    return folder


def test_the_command_prints_the_table_and_says_which_pass(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, settings = fleet(tmp_path / "data"), conf(tmp_path / "conf")
    expected = back_test(MarketArchive(data / "market"), BTC, "crypto", SHORT)

    code = outcome(["risk", "nightly", "--data-dir", str(data), "--conf", str(settings)])

    said = capsys.readouterr().out.splitlines()
    assert code == 0
    assert said[0] == (
        f"{BTC}: 199 returns of 1h bars, 0 gaps; level 0.95, window 100; passing: {', '.join(expected.passing)}"
    )
    assert said[1].split() == "exceptions expected coverage p independence p zone Z2".split()
    assert [line.split()[0] for line in said[2:4]] == ["historical", "ewma"]
    assert f" {expected.methods['ewma'].exceptions} in 60 " in said[3]
    assert said[3].endswith("+") is expected.methods["ewma"].passes
    assert said[4] == "ETH/USDT@sim: 49 returns of 1h bars, 0 gaps; too few, 160 are needed"


def test_the_command_prints_a_line_of_json_for_each_symbol(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, settings = fleet(tmp_path / "data"), conf(tmp_path / "conf")

    outcome(["risk", "nightly", "--data-dir", str(data), "--conf", str(settings), "--json", "--symbols", "BTC/USDT"])

    lines = capsys.readouterr().out.splitlines()
    assert [msgspec.json.decode(line, type=SymbolNight) for line in lines] == [
        back_test(MarketArchive(data / "market"), BTC, "crypto", SHORT)
    ]
    assert json.loads(lines[0])["methods"]["historical"]["observations"] == 60


def test_the_command_ends_with_1_where_a_person_should_know(tmp_path: Path) -> None:
    keep(tmp_path / "data" / "market", hours(BTC, walk(200)))
    keep(tmp_path / "data" / "market", [bar(BTC, 1, "1")], "other_bars")

    assert outcome(["risk", "nightly", "--data-dir", str(tmp_path / "data"), "--conf", str(conf(tmp_path / "c"))]) == 1


def test_in_a_container_the_environment_names_the_market(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    keep(tmp_path / "elsewhere", hours(BTC, walk(50)))
    monkeypatch.setenv("EDGEFLEET_MARKET_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.delenv("REDIS_URL", raising=False)
    monkeypatch.delenv("EDGEFLEET_REDIS_URL", raising=False)
    monkeypatch.chdir(tmp_path)

    assert outcome(["risk", "nightly"]) == 0

    assert capsys.readouterr().out == f"{BTC}: 49 returns of 1h bars, 0 gaps; too few, 502 are needed\n"


def test_a_symbol_without_bars_is_refused_with_those_that_have_some(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = fleet(tmp_path / "data")

    assert outcome(["risk", "nightly", "--data-dir", str(data), "--symbols", "SOL/USDT"]) == 2

    assert "SOL/USDT has no bars; there are BTC/USDT@sim, ETH/USDT@sim" in capsys.readouterr().err


def test_the_service_loads_no_arithmetic_for_its_nights() -> None:
    program = "import sys, edgefleet_services.features.nightly; print(' '.join(sys.modules))"

    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()

    assert {"scipy", "arch", "pandas", "edgefleet.risk.rolling"} & set(loaded) == set()
