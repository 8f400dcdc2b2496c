"""`edgefleet risk ...`: golden figures through the command line, and one line for whatever cannot be computed."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from edgefleet_services.cli.main import outcome

Ask = Callable[..., dict[str, Any]]


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Ask:
    """Give a function that runs `edgefleet risk` with `--json` and returns the object it prints."""

    def run(*words: object) -> dict[str, Any]:
        code = outcome(["risk", *map(str, words), "--json"])
        printed = capsys.readouterr()
        assert (code, printed.err) == (0, "")
        assert printed.out.count("\n") == 1
        answer: dict[str, Any] = json.loads(printed.out)
        return answer

    return run


def papers_file(folder: Path, name: str) -> Path:
    generator = np.random.RandomState(12345)
    x = generator.normal(0, 1, (10000, 5))
    y = x[:, [2, 0, 4, 1, 1]] + generator.normal(0, 0.25, (10000, 5))
    frame, path = pd.DataFrame(np.hstack([x, y]), columns=[f"asset{n}" for n in range(1, 11)]), folder / name
    frame.to_csv(path, index=False) if name.endswith("csv") else frame.to_parquet(path)
    return path


def written(folder: Path, content: str, name: str = "table.csv") -> Path:
    path = folder / name
    path.write_text(content)
    return path


@pytest.mark.parametrize("name", ["returns.csv", "returns.parquet"])
@pytest.mark.parametrize(
    ("convention", "weights"),
    [
        ("B", "13.0857 5.2995 10.4393 13.0914 10.8442 9.8157 12.5184 10.1480 9.8001 4.9577"),
        ("C", "6.204 8.346 12.219 16.403 9.340 12.601 5.867 8.740 12.472 7.808"),
        ("D", "6.231 7.282 12.368 14.439 10.917 12.583 6.059 10.560 12.518 7.043"),
    ],
)
def test_hrp_of_the_papers_example(ask: Ask, tmp_path: Path, name: str, convention: str, weights: str) -> None:
    found = ask("hrp", "--returns", papers_file(tmp_path, name), "--convention", convention)

    places = len(weights.split(maxsplit=1)[0].partition(".")[2])
    assert [f"{100 * weight:.{places}f}" for weight in found["weights"].values()] == weights.split()
    assert list(found) == ["weights", "order"]
    assert sorted(found["order"]) == sorted(found["weights"])


@pytest.mark.data
def test_hrp_of_twenty_stocks_from_their_prices(ask: Ask, recorded: Path) -> None:
    theirs = pd.read_csv(recorded / "prices" / "weights_hrp.csv", index_col=0)["0"]

    found = ask("hrp", "--prices", recorded / "prices" / "stock_prices.csv.gz")

    assert found["weights"] == pytest.approx(theirs.to_dict(), abs=1e-12, rel=0)


def test_ledoit_and_wolfs_golden_figures(ask: Ask, tmp_path: Path) -> None:
    returns = np.random.RandomState(0).multivariate_normal([0, 0], [[0.4, 0.2], [0.2, 0.8]], 50)
    path = tmp_path / "returns.csv"
    pd.DataFrame(returns, columns=["a", "b"]).to_csv(path)

    found = ask("cov", "--returns", path, "--method", "ledoit-wolf")

    assert found["assets"] == ["a", "b"]
    assert np.array(found["covariance"]) == pytest.approx(
        np.array([[0.44067332, 0.16161585], [0.16161585, 0.80226294]]), abs=5e-9
    )
    assert found["shrinkage"] == pytest.approx(0.23025406, abs=5e-9)


@pytest.mark.parametrize("method", ["sample", "ewma"])
def test_other_covariances_are_not_shrunk(ask: Ask, tmp_path: Path, method: str) -> None:
    path = written(tmp_path, "a,b\n0.01,0.02\n-0.02,0.01\n0.03,\n0.01,-0.01\n")

    found = ask("cov", "--returns", path, "--method", method)

    assert found["shrinkage"] is None
    assert np.linalg.eigvalsh(found["covariance"]).min() > 0


@pytest.mark.parametrize(
    "method",
    "normal ewma ewma-t historical age-weighted filtered cornish-fisher monte-carlo garch".split(),
)
def test_every_method_tells_both_numbers(ask: Ask, tmp_path: Path, method: str) -> None:
    path = tmp_path / "returns.csv"
    pd.DataFrame({"r": np.random.default_rng(1).normal(0, 0.01, 400)}).to_csv(path)

    found = ask("var", "--returns", path, "--method", method, "--level", "0.95", "--horizon", "1d")

    assert list(found) == ["var", "es"]
    assert found["var"] == pytest.approx(0.0164, rel=0.25)
    assert found["es"] > found["var"]


def test_horizons_go_by_the_calendar(ask: Ask, tmp_path: Path) -> None:
    path = written(tmp_path, "r\n" + "0.01\n-0.01\n" * 50)

    day, stocks, crypto = (
        ask("var", "--returns", path, "--method", "normal", "--horizon", horizon, "--calendar", calendar)["var"]
        for horizon, calendar in (("1d", "XNYS"), ("1w", "XNYS"), ("1w", "24/7"))
    )

    assert (stocks / day, crypto / day) == pytest.approx((5**0.5, 7**0.5))


def test_a_portfolio_is_weighed_before_its_risk(ask: Ask, tmp_path: Path) -> None:
    path = written(tmp_path, "day,a,b\n2020-01-01,0.01,0.03\n2020-01-02,-0.02,0\n2020-01-03,0.01,-0.02\n")
    whole = written(tmp_path, "p\n0.02\n-0.01\n-0.005\n", "whole.csv")

    found = ask("var", "--returns", path, "--weights", "0.5,0.5", "--method", "normal")

    assert found == pytest.approx(ask("var", "--returns", whole, "--method", "normal"))


def test_a_series_that_begins_late_is_judged_from_there(ask: Ask, tmp_path: Path) -> None:
    late = written(tmp_path, "day,a,b\n2020-01-01,,1\n2020-01-02,10,1\n2020-01-03,11,1\n2020-01-06,10,1\n")
    alone = written(tmp_path, "a\n10\n11\n10\n", "alone.csv")

    assert ask("var", "--prices", late, "--column", "a") == ask("var", "--prices", alone)


@pytest.mark.data
@pytest.mark.parametrize(
    ("threshold", "exceed", "xi", "beta", "var", "es"),
    [(20, 36, "0.68415", "9.63513", "25.847", "69.019"), (5, 254, "0.63154", "3.80913", "27.513", "76.440")],
)
def test_danish_fire_losses(
    ask: Ask, recorded: Path, threshold: int, exceed: int, xi: str, beta: str, var: str, es: str
) -> None:
    found = ask("gpd", "--losses", recorded / "evt" / "danish.csv", "--threshold", threshold)

    assert list(found) == ["xi", "beta", "se_xi", "se_beta", "n_exceed", "var", "es"]
    assert (found["n_exceed"], f"{found['xi']:.5f}", f"{found['beta']:.5f}") == (exceed, xi, beta)
    assert (f"{found['var']['0.99']:.3f}", f"{found['es']['0.99']:.3f}") == (var, es)
    assert found["es"]["0.999"] > found["var"]["0.999"] > found["var"]["0.99"]


def test_thresholds_are_proposed(ask: Ask, tmp_path: Path) -> None:
    path = tmp_path / "losses.csv"
    losses = stats.genpareto.rvs(0.3, size=1000, random_state=np.random.RandomState(1))
    pd.DataFrame({"loss": losses}).to_csv(path, index=False)

    found = ask("gpd", "--losses", path, "--propose")

    assert [one["n_exceed"] for one in found["candidates"]] == [200, 150, 100, 75, 50, 25]


@pytest.mark.parametrize("level", [0.05, 0.95])
def test_kupiecs_golden_figures(ask: Ask, level: float) -> None:
    found = ask("backtest", "--exceptions", 57, "--observations", 1043, "--level", level)

    assert list(found) == ["lr_pof", "p_pof", "lr_cci", "p_cci", "lr_cc", "p_cc", "zone"]
    assert (round(found["lr_pof"], 5), round(found["p_pof"], 5), found["zone"]) == (0.46147, 0.49694, "green")
    assert [found[name] for name in ("lr_cci", "p_cci", "lr_cc", "p_cc")] == [None] * 4


def test_transitions_tell_independence_and_with_a_level_the_rest(ask: Ask) -> None:
    bare = ask("backtest", "--transitions", 905, 45, 45, 5)
    whole = ask("backtest", "--transitions", 905, 45, 45, 5, "--level", 0.045)

    assert bare["lr_cci"] == whole["lr_cci"] > 0
    assert [bare[name] for name in ("lr_pof", "p_pof", "lr_cc", "p_cc", "zone")] == [None] * 5
    assert whole["lr_cc"] == whole["lr_pof"] + whole["lr_cci"]
    assert whole["zone"] == "green"


def test_kellys_golden_figures(ask: Ask) -> None:
    found = ask("kelly", "--mean", 0.11, "--sd", 0.15, "--rate", 0.06)

    assert list(found) == ["fraction", "growth"]
    assert (round(found["fraction"], 4), round(found["growth"], 6)) == (2.2222, 0.115556)


@pytest.mark.parametrize("head", ["a,b,c\n", ""])
@pytest.mark.parametrize(
    "means",
    [
        "a,b,c\n0.1396,0.0294,-0.0073\n",
        "mean\n0.1396\n0.0294\n-0.0073\n",
        "0.1396\n0.0294\n-0.0073\n",
        "0.1396,0.0294,-0.0073\n",
    ],
)
def test_kelly_of_three_assets(ask: Ask, tmp_path: Path, head: str, means: str) -> None:
    if not head and means.startswith("a"):
        means = means.partition("\n")[2]
    matrix = head + "0.1109,0.0200,0.0183\n0.0200,0.0372,0.0269\n0.0183,0.0269,0.0420\n"

    found = ask("kelly", "--cov", written(tmp_path, matrix), "--means", written(tmp_path, means, "means.csv"))

    assert [f"{share:.5f}" for share in found["fraction"].values()] == ["1.29308", "1.17017", "-1.48669"]
    assert list(found["fraction"]) == (["a", "b", "c"] if head else ["1", "2", "3"])


def test_means_with_names_find_their_assets(ask: Ask, tmp_path: Path) -> None:
    matrix = written(tmp_path, ",a,b\na,0.04,0\nb,0,0.01\n")
    means = written(tmp_path, "asset,mean\nb,0.02\na,0.04\n", "means.csv")

    found = ask("kelly", "--cov", matrix, "--means", means, "--rate", 0.01)

    assert found["fraction"] == pytest.approx({"a": 0.75, "b": 1.0})
    assert found["growth"] == pytest.approx(0.01 + 0.03 * 0.75 / 2 + 0.01 * 1.0 / 2)


@pytest.mark.parametrize(
    "words",
    [
        ["hrp", "--returns", "{}"],
        ["cov", "--returns", "{}"],
        ["var", "--returns", "{}", "--column", "a"],
        ["gpd", "--losses", "{}", "--column", "a", "--threshold", "0"],
        ["gpd", "--losses", "{}", "--column", "a", "--propose"],
        ["backtest", "--transitions", "90", "4", "4", "1", "--level", "0.95"],
        ["kelly", "--mean", "0.1", "--sd", "0.2"],
    ],
)
def test_without_json_people_get_a_table(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "t.csv"
    pd.DataFrame(np.random.default_rng(2).normal(0, 0.01, (300, 2)), columns=["a", "b"]).to_csv(path)

    code = outcome(["risk", *(word.format(path) for word in words)])

    printed = capsys.readouterr()
    assert (code, printed.err) == (0, "")
    assert printed.out.count("\n") >= 2
    assert not printed.out.startswith("{")


def test_a_level_above_one_half_is_said_to_be_one_minus_the_rate(capsys: pytest.CaptureFixture[str]) -> None:
    outcome(["risk", "backtest", "--exceptions", "5", "--observations", "250", "--level", "0.99"])

    assert "a rate of 0.01 (1 minus the level 0.99)" in capsys.readouterr().out


TWO = "a,b\n0.01,0.02\n-0.02,0.01\n0.03,-0.01\n"
LOSSES = "loss\n" + "\n".join(str(n) for n in range(30)) + "\n"


@pytest.mark.parametrize(
    ("content", "words", "told"),
    [
        ("a\n0.01\n", "hrp --returns {}", "a: 1 return, 2 are the least that vary; bring more rows"),
        ("a,b\n1,2\n1,3\n1,2\n", "hrp --prices {}", "a: all 2 returns are 0.0, variance 0; leave it out"),
        ("a,b\n1,2\n1,nan\n", "hrp --returns {}", "line 3, column 'b': nan is not finite"),
        ("a\n0.01\n-1\n", "var --returns {} --method historical", "-1.0 loses everything or more; are these --prices"),
        (
            "a\n49.7\n50.1\n49.9\n",
            "var --returns {} --method normal",
            "49.7 or more in every period; are these --prices",
        ),
        ("a,b\n1,2\n-1,3\n", "hrp --prices {}", "column 'a': a price must be positive, was -1.0; are these --returns?"),
        ("", "hrp --returns {}", "is empty"),
        (TWO, "hrp --returns nowhere.csv", "nowhere.csv: there is no such file"),
        (TWO, "hrp", "name the data by --returns or by --prices, one of them"),
        (TWO, "hrp --returns {} --prices {}", "name the data by --returns or by --prices, one of them"),
        (TWO, "hrp --returns {} --convention E", "convention must be one of A, B, C, D, was 'E'"),
        (TWO, "cov --returns {} --method best", "--method 'best' is unknown; take ledoit-wolf, ewma or sample"),
        (TWO, "cov --returns {} --method ewma --decay 1", "decay must be in (0, 1), was 1.0"),
        (TWO, "var --returns {}", "has 2 columns of numbers (a, b); choose one by --column"),
        (TWO, "var --returns {} --column a --method best", "--method 'best' is unknown; take one of normal, ewma"),
        (TWO, "var --returns {} --column a --level 0.05", "level must be in (0.5, 1), 0.95 for 95 %, was 0.05"),
        (TWO, "var --returns {} --column a --horizon 1y", "horizon must be one of 1h, 1d, 1w, 1m, was '1y'"),
        (TWO, "var --returns {} --column a --calendar XXX", "calendar must be one of XNYS, 24/7, was 'XXX'"),
        (TWO, "var --returns {} --column a --method garch", "has 3 returns, 100 are the least"),
        (TWO, "var --returns {} --weights 1,2,3", "--weights '1,2,3' must be 2 finite numbers"),
        (TWO, "var --returns {} --weights 1,b", "--weights '1,b' are no numbers"),
        (TWO, "var --returns {} --weights 1,2 --column a", "one of them"),
        ("a\n0.01\n\n0.02\n", "var --returns {}", "a: value 2 of 3 is missing, 1 in all; leave these rows out"),
        ("a\n0.01\n", "var --returns {}", "has 1 return, 2 are the least that vary; bring more"),
        ("a\n5\n5\n5\n", "var --prices {}", "all 2 returns are 0.0: the variance is 0; bring one that moves"),
        (LOSSES, "gpd --losses {} --threshold 25", "only 4 of 30 losses exceed 25.0; 10 are the least"),
        (LOSSES, "gpd --losses {} --threshold nan", "threshold must be finite, was nan"),
        (LOSSES, "gpd --losses {}", "--threshold is missing; give one, or see what each would give with --propose"),
        (LOSSES, "gpd --losses {} --propose --column x", "has no column 'x'"),
        ("", "backtest", "name the counts by --exceptions and --observations, or by --transitions, or data"),
        (TWO, "backtest --returns {} --column a", "a: has 3 returns, 254 are the least of which two are told"),
        (TWO, "backtest --returns {} --column a --window 1", "Input should be greater than or equal to 2"),
        (TWO, "backtest --returns {} --column a --level 0", "level must be in (0, 1), was 0.0"),
        (TWO, "backtest --returns {} --column a --method best", "--method 'best' is unknown; take one of normal, ewma"),
        (
            TWO,
            "backtest --returns {} --column a --method garch --decay 0.9",
            "--decay 0.9 is of ewma, ewma-t, filtered",
        ),
        (
            TWO,
            "backtest --returns {} --column a --exceptions 1",
            "name counts, or data by --returns or --prices, not both",
        ),
        ("a\n5\n5\n5\n", "backtest --prices {}", "all 2 returns are 0.0: the variance is 0"),
        (
            "",
            "backtest --exceptions 5 --observations 100 --level 0.05 --png p.png",
            "--png draws what was told day by day",
        ),
        (LOSSES, "gpd --losses {} --propose --png p.png", "--png draws one fit: name its --threshold"),
        (TWO, "coverage --returns {}", "a: has 3 returns, 502 are the least of which two are told"),
        (TWO, "coverage --returns {} --start 9", "needs 500 returns before it, the longest window, had 9"),
        (TWO, "coverage --returns {} --level nan", "level must be in (0.5, 1), 0.95 for 95 %, was nan"),
        ("", "backtest --exceptions 5 --observations 250", "go together; name all three"),
        ("", "backtest --exceptions 9 --observations 5 --level 0.05", "exceptions must be in 0..5"),
        ("", "backtest --exceptions 1 --observations 5 --level 1", "level must be in (0, 1), was 1.0"),
        ("", "backtest --transitions 0 0 0 0", "counts of transitions must not be negative, nor all zero"),
        ("", "backtest --transitions 1 2 3", "requires 4 arguments"),
        ("", "kelly", "name one bet by --mean and --sd, or several by --cov and --means"),
        ("", "kelly --mean 0.1 --sd -0.2", "--sd must be positive and finite, was -0.2"),
        ("", "kelly --mean nan --sd 0.2", "edge must be finite, was nan"),
        ("", "kelly --mean 0.1 --sd 0.2 --rate inf", "--rate must be finite, was inf"),
        (
            "a,b\n1,1\n1,1\n",
            "kelly --cov {} --means {means}",
            "not positive definite: pivot 1 is 0.0 of 1.0; shrink it",
        ),
        ("a,b\n-1,0\n0,1\n", "kelly --cov {} --means {means}", "variance of 'a' must be above 0, was -1.0"),
        ("a,b\n1,0\n0.5,1\n", "kelly --cov {} --means {means}", "covariance is not symmetric at 1,0: 0.5, 0.0"),
        ("a,b\n1,0\n", "kelly --cov {} --means {means}", "has 1 rows and 2 columns; a covariance is square"),
        ("a,c\n1,0\n0,1\n", "kelly --cov {} --means {means}", "has means of a, b; the covariance is of a, c"),
        ("a,b\n1,\n,1\n", "kelly --cov {} --means {means}", "a: value 2 of 2 is missing"),
        (",a,b\nb,1,0\na,0,1\n", "kelly --cov {} --means {means}", "rows are b, a, columns a, b; order them alike"),
    ],
)
def test_what_cannot_be_computed_is_told_in_one_line(
    content: str, words: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, means = written(tmp_path, content), written(tmp_path, "a,b\n0.1,0.2\n", "means.csv")

    code = outcome(["risk", *(word.format(path, means=means) for word in words.split())])

    printed = capsys.readouterr()
    assert (code, printed.out) == (2, "")
    assert printed.err.startswith("edgefleet: ")
    assert printed.err.count("\n") == 1
    assert told in printed.err


def series_of(folder: Path, count: int = 620, columns: str = "a") -> Path:
    """Write returns whose deviation is 1 % and, every second hundred, 3 %."""
    generator, path = np.random.default_rng(9), folder / "series.csv"
    deviations = np.where(np.arange(count) // 100 % 2, 0.03, 0.01)
    frame = {name: deviations * generator.normal(size=count) for name in columns}
    pd.DataFrame(frame).to_csv(path, index=False)
    return path


@pytest.mark.parametrize("method", ["historical", "age-weighted", "garch-filtered"])
def test_a_backtest_of_data_counts_and_tests_what_it_told(ask: Ask, tmp_path: Path, method: str) -> None:
    path = series_of(tmp_path)

    found = ask("backtest", "--returns", path, "--method", method, "--level", "0.95", "--window", "500")

    again = ask("backtest", "--transitions", *found["transitions"], "--level", "0.05")
    counted = ask("backtest", "--exceptions", found["exceptions"], "--observations", 120, "--level", "0.05")
    assert found["observations"] == 120 == sum(found["transitions"]) + 1
    assert (found["lr_cci"], found["lr_cc"]) == (again["lr_cci"], again["lr_cc"])
    assert (found["lr_pof"], found["zone"]) == (counted["lr_pof"], counted["zone"])


def test_a_backtest_of_data_is_that_of_each_window(ask: Ask, tmp_path: Path) -> None:
    path = series_of(tmp_path, 80)
    returns = pd.read_csv(path)["a"].to_numpy()
    told = [np.quantile(-returns[day - 50 : day], 0.9) for day in range(50, 80)]

    found = ask("backtest", "--returns", path, "--level", "0.1", "--window", "50")

    assert found["exceptions"] == int(np.sum(-returns[50:] > told))
    assert found == ask("backtest", "--returns", path, "--level", "0.9", "--window", "50")


def test_coverage_judges_every_column_by_every_way(ask: Ask, tmp_path: Path) -> None:
    found = ask("coverage", "--returns", series_of(tmp_path, columns="ab"))

    assert list(found["series"]) == ["a", "b"]
    for verdicts in found["series"].values():
        assert len(verdicts) == 14
        for one in verdicts.values():
            assert one["observations"] == 120
            assert one["passes"] == (min(one["p_pof"] or 0, one["p_cci"] or 0) > 0.05)


@pytest.mark.data
def test_coverage_of_a_stock_is_the_table_in_the_documents(recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """BABA is the shortest series: 395 days are judged."""
    table = (Path(__file__).parents[3] / "docs" / "risk_harmoniser.md").read_text()
    prices = str(recorded / "prices" / "stock_prices.csv.gz")

    code = outcome(["risk", "coverage", "--prices", prices, "--column", "BABA"])

    rows = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("BABA")]
    assert code == 0
    assert len(rows) == 3
    documented = [line.split() for line in table.splitlines() if line.split()[:2] == ["BABA", "395"]]
    # The third line is of fits, whose last digits are the optimizer's.
    assert rows[:2] == documented[:2]


def test_pictures_without_their_library_are_told_with_its_extra(tmp_path: Path) -> None:
    program = "import sys; sys.modules['matplotlib'] = None; from edgefleet_services.cli.main import main; main()"
    path, png = series_of(tmp_path, columns="ab"), tmp_path / "p.png"
    command = [sys.executable, "-c", program, "risk", "cov", "--returns", str(path), "--png", str(png)]

    told = subprocess.run(command, capture_output=True, text=True)

    assert (told.returncode, told.stdout) == (2, "")
    assert "matplotlib" in told.stderr
    assert told.stderr.endswith("is not installed; pip install 'edgefleet[research]'\n")
    assert not png.exists()


@pytest.mark.parametrize(
    "words",
    [
        "hrp --returns {}",
        "cov --returns {}",
        "cov --returns {} --method ewma",
        "var --returns {} --column a --method filtered",
        "var --returns {} --column a --method garch",
        "gpd --losses {} --column a --threshold 0.01",
        "backtest --returns {} --column a --method historical",
        "backtest --returns {} --column a --method gjr-t --window 600",
    ],
)
def test_a_picture_is_written_and_the_answer_is_the_same(ask: Ask, tmp_path: Path, words: str) -> None:
    pytest.importorskip("matplotlib", reason="pictures need matplotlib, of the extra `research`")
    path, png = series_of(tmp_path, columns="ab"), tmp_path / "picture"
    asked = words.format(path).split()

    found = ask(*asked, "--png", png)

    content = png.read_bytes()
    width, height = (int.from_bytes(content[place : place + 4], "big") for place in (16, 20))
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    assert min(width, height) >= 500
    assert found == ask(*asked)


def test_a_picture_that_cannot_be_written_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib", reason="pictures need matplotlib, of the extra `research`")
    png = tmp_path / "nowhere" / "p.png"

    code = outcome(["risk", "cov", "--returns", str(series_of(tmp_path, columns="ab")), "--png", str(png)])

    assert code == 2
    assert f"{png}: cannot be written (No such file or directory)" in capsys.readouterr().err


def test_a_library_that_is_not_there_is_named_with_its_extra(tmp_path: Path) -> None:
    program = "import sys; sys.modules['scipy'] = None; from edgefleet_services.cli.main import main; main()"
    asked = ["risk", "hrp", "--convention", "C", "--returns", str(written(tmp_path, TWO))]
    command = [sys.executable, "-c", program, *asked]

    told = subprocess.run(command, capture_output=True, text=True)

    assert (told.returncode, told.stdout) == (2, "")
    assert told.stderr.startswith("edgefleet: scipy")
    assert told.stderr.endswith("is not installed; pip install 'edgefleet[research]'\n")


def test_commands_that_need_no_arrays_load_none() -> None:
    program = (
        "import sys; from edgefleet_services.cli.main import outcome;"
        "outcome(['risk', 'kelly', '--mean', '0.1', '--sd', '0.2']); print(' '.join(sys.modules))"
    )

    modules = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()

    assert not {"numpy", "scipy", "pandas", "arch", "pyarrow"} & set(modules)


def test_fits_and_tests_of_one_series_need_no_scipy(tmp_path: Path) -> None:
    path = tmp_path / "losses.csv.gz"
    path.write_bytes(gzip.compress(LOSSES.encode()))
    program = (
        "import sys; from edgefleet_services.cli.main import outcome;"
        f"assert outcome(['risk', 'gpd', '--losses', {str(path)!r}, '--threshold', '5']) in (0, 2);"
        "print(' '.join(sys.modules))"
    )

    modules = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()

    assert not {"scipy", "pandas", "arch", "pyarrow"} & set(modules)
