"""The commands `risk ...`: for researchers, the arithmetic of the fleet on tables of their own. Needs no fleet."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgefleet.errors import Misuse
from edgefleet_services.cli.answers import AsJson, aligned, answer, refusals_of

if TYPE_CHECKING:
    from edgefleet.risk.coverage import Judged, Way
    from edgefleet.risk.rolling import Rolled
    from edgefleet.risk.tails import ParetoTail
    from edgefleet_services.data.tables import Floats, Table

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

TAIL_LEVELS = (0.99, 0.999)
WAYS_A_LINE = 5  # of the table of `risk coverage`
_NEVER_EARNED = 0.5  # in every period; prices are above it, and so are returns in per cent that never fall

Returns = Annotated[Path | None, typer.Option("--returns", metavar="FILE", help="Simple returns, CSV or Parquet.")]
Prices = Annotated[Path | None, typer.Option("--prices", metavar="FILE", help="Prices, CSV or Parquet.")]
Decay = Annotated[float, typer.Option("--decay", help="Lambda of the exponential weights of ewma.")]
MethodDecay = Annotated[
    float | None,
    typer.Option("--decay", help="Lambda of ewma, ewma-t, filtered (else 0.94) and age-weighted (else 0.99)."),
]
Window = Annotated[int, typer.Option("--window", min=2, help="Returns that each period is told from.")]
Picture = Annotated[Path | None, typer.Option("--png", metavar="FILE", help="Write a picture there.")]
Column = Annotated[str | None, typer.Option("--column", help="Which series, where the file has several.")]


@app.command("hrp")
def hrp(
    returns: Returns = None,
    prices: Prices = None,
    convention: Annotated[
        str, typer.Option("--convention", metavar="A|B|C|D", help="Whose HRP it is: A, B, C or D.")
    ] = "B",
    png: Picture = None,
    as_json: AsJson = False,
) -> int:
    """Weigh assets by hierarchical risk parity.

    A is the paper of 2016, B PyPortfolioOpt, C skfolio with single linkage, D is C with the standard deviation.
    """
    from edgefleet.risk.allocation import hierarchical_risk_parity
    from edgefleet.stats.covariance import check_returns, correlation

    path, names, values = _returns(returns, prices)
    with refusals_of(path):
        check_returns(values, names)
        found = hierarchical_risk_parity(values, convention=convention.upper())  # type: ignore[arg-type]  # it refuses
    weights = dict(zip(names, found.weights.tolist(), strict=True))
    order = [names[place] for place in found.order]
    if png is not None:
        from edgefleet_services.data.pictures import draw_weights

        with refusals_of(path):
            draw_weights(png, names, found.order, found.weights, correlation(values))
    answer({"weights": weights, "order": order}, as_json, aligned((name, f"{weights[name]:.6f}") for name in order))
    return 0


@app.command("cov")
def cov(
    returns: Returns = None,
    prices: Prices = None,
    method: Annotated[
        str, typer.Option("--method", metavar="ledoit-wolf|ewma|sample", help="ledoit-wolf, ewma or sample.")
    ] = "ledoit-wolf",
    decay: Decay = 0.94,
    png: Picture = None,
    as_json: AsJson = False,
) -> int:
    """Estimate the covariance of returns, per row of the file squared.

    sample (n - 1) and ewma (mean zero) judge each pair by the rows which both have; ledoit-wolf takes whole rows only.
    """
    from edgefleet.stats.covariance import check_returns, ewma_covariance, ledoit_wolf, sample_covariance

    path, names, values = _returns(returns, prices)
    shrinkage: float | None = None
    with refusals_of(path):
        check_returns(values, names)
        if method == "ledoit-wolf":
            covariance, shrinkage, _ = ledoit_wolf(values)
        elif method == "ewma":
            covariance = ewma_covariance(values, decay=decay)
        elif method == "sample":
            covariance = sample_covariance(values)
        else:
            raise Misuse(f"--method {method!r} is unknown; take ledoit-wolf, ewma or sample")
    if png is not None:
        import numpy as np

        from edgefleet_services.data.pictures import draw_covariance

        deviations = np.sqrt(np.diag(covariance))
        with refusals_of(path):
            draw_covariance(png, names, covariance / np.outer(deviations, deviations), deviations, method)
    lines = aligned(
        [("", *names), *((name, *map(_short, row)) for name, row in zip(names, covariance.tolist(), strict=True))]
    )
    if shrinkage is not None:
        lines.append(f"shrinkage {_short(shrinkage)}")
    answer({"assets": names, "covariance": covariance.tolist(), "shrinkage": shrinkage}, as_json, lines)
    return 0


@app.command("var")
def var(
    returns: Returns = None,
    prices: Prices = None,
    column: Column = None,
    weights: Annotated[
        str | None, typer.Option("--weights", help="Of a portfolio of all columns, comma-separated.")
    ] = None,
    method: Annotated[
        str,
        typer.Option(
            "--method",
            metavar="METHOD",
            help="normal, ewma, ewma-t, historical, age-weighted, filtered, cornish-fisher, monte-carlo or garch.",
        ),
    ] = "historical",
    level: Annotated[float, typer.Option("--level", help="Probability that the loss stays below, above 0.5.")] = 0.95,
    horizon: Annotated[str, typer.Option("--horizon", metavar="1h|1d|1w|1m", help="1h, 1d, 1w or 1m.")] = "1d",
    period: Annotated[
        str, typer.Option("--period", metavar="1h|1d|1w|1m", help="What one row spans: 1h, 1d, 1w or 1m.")
    ] = "1d",
    calendar: Annotated[
        str, typer.Option("--calendar", metavar="XNYS|24/7", help="XNYS, 252 days of 6.5 hours, or 24/7.")
    ] = "XNYS",
    decay: MethodDecay = None,
    paths: Annotated[int, typer.Option("--paths", help="Of monte-carlo.")] = 100_000,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of monte-carlo.")] = 0,
    draws: Annotated[
        str,
        typer.Option(
            "--draws", metavar="normal|bootstrap", help="What monte-carlo draws: normal, or bootstrap from the returns."
        ),
    ] = "normal",
    backcast: Annotated[
        float | None, typer.Option("--backcast", help="Variance before the first return of garch; else of all.")
    ] = None,
    window: Window = 252,
    png: Picture = None,
    as_json: AsJson = False,
) -> int:
    """Tell value at risk and expected shortfall of one series or portfolio, as positive fractions lost.

    The picture shows what the method tells of one period, from all returns and from the --window before each.
    """
    from edgefleet.risk.horizons import periods_in
    from edgefleet.risk.shortfall import METHODS

    path, names, values = _returns(returns, prices)
    if method not in METHODS:
        raise Misuse(f"--method {method!r} is unknown; take one of {', '.join(METHODS)}")
    options: dict[str, Any] = {}
    if method == "monte-carlo":
        options.update(paths=paths, seed=seed, draws=draws)
    elif method == "garch":
        options["backcast"] = backcast
    elif decay is not None:
        options.update(_decay_of(method, decay))
    name, series = _one_series(path, names, values, column, weights)
    with refusals_of(path, name):
        periods = periods_in(horizon, period, calendar)  # type: ignore[arg-type]  # it refuses what it does not know
        found = METHODS[method](series, level=level, periods=periods, **options)
    if png is not None:
        from edgefleet_services.data.pictures import draw_risk

        with refusals_of(path, name):
            one = METHODS[method](series, level=level, **options)
            rolled = _rolled(series, method, level, window, {} if method == "garch" else options)
            draw_risk(png, f"{name}: {method}, level {level:g}, one period", series, one, rolled)
    lines = [
        f"{name}: {len(series)} returns of {period}; {method}, level {level:g}, horizon {horizon}: "
        f"{_short(periods)} of these returns by {calendar}",
        *aligned([("value at risk", f"{found.var:.6%}"), ("expected shortfall", f"{found.es:.6%}")]),
    ]
    answer({"var": found.var, "es": found.es}, as_json, lines)
    return 0


@app.command("gpd")
def gpd(
    losses: Annotated[Path, typer.Option("--losses", metavar="FILE", help="Losses, positive; CSV or Parquet.")],
    threshold: Annotated[float | None, typer.Option("--threshold", help="What is larger is fitted.")] = None,
    column: Column = None,
    propose: Annotated[bool, typer.Option("--propose", help="Tell what other thresholds would give.")] = False,
    png: Picture = None,
    as_json: AsJson = False,
) -> int:
    """Fit the generalised Pareto distribution to the losses beyond a threshold."""
    from edgefleet.risk.tails import fit_tail, propose_thresholds
    from edgefleet_services.data.tables import read_table

    name, series = read_table(losses).column(losses, column)
    series = _whole(losses, name, series)
    if propose:
        if png is not None:
            raise Misuse("--png draws one fit: name its --threshold instead of --propose")
        with refusals_of(losses, name):
            candidates = propose_thresholds(series)
        answer({"candidates": [_candidate(one) for one in candidates]}, as_json, _proposed(candidates))
        return 0
    if threshold is None:
        raise Misuse("--threshold is missing; give one, or see what each would give with --propose")
    with refusals_of(losses, name):
        tail = fit_tail(series, threshold)
    if png is not None:
        with refusals_of(losses, name):
            _draw_tail(png, name, series, tail)
    body = {
        "xi": tail.xi,
        "beta": tail.beta,
        "se_xi": tail.se_xi,
        "se_beta": tail.se_beta,
        "n_exceed": tail.n_exceed,
        "var": {f"{level:g}": tail.var(level) for level in TAIL_LEVELS},
        "es": {f"{level:g}": tail.es(level) for level in TAIL_LEVELS},
    }
    lines = [
        f"{name}: {tail.n_exceed} of {tail.n} losses exceed {threshold:g}",
        *aligned(
            [
                ("", "estimate", "standard error"),
                ("xi", _short(tail.xi), _short(tail.se_xi)),
                ("beta", _short(tail.beta), _short(tail.se_beta)),
            ]
        ),
        *aligned(
            [
                ("level", "value at risk", "expected shortfall"),
                *((f"{level:g}", _short(tail.var(level)), _short(tail.es(level))) for level in TAIL_LEVELS),
            ]
        ),
    ]
    answer(body, as_json, lines)
    return 0


@app.command("backtest")
def backtest(
    exceptions: Annotated[int | None, typer.Option("--exceptions", help="Losses beyond the value at risk.")] = None,
    observations: Annotated[int | None, typer.Option("--observations", help="Periods in all.")] = None,
    transitions: Annotated[
        tuple[int, int, int, int] | None,
        typer.Option(
            "--transitions",
            metavar="N00 N01 N10 N11",
            help="Four counts n00 n01 n10 n11: what followed what, 1 an exception.",
        ),
    ] = None,
    returns: Returns = None,
    prices: Prices = None,
    column: Column = None,
    method: Annotated[
        str, typer.Option("--method", metavar="METHOD", help="As of risk var; or garch-filtered or gjr-t.")
    ] = "historical",
    window: Window = 252,
    decay: MethodDecay = None,
    level: Annotated[
        float | None,
        typer.Option(
            "--level", help="How often exceptions should come; above 0.5 it is 1 minus that. Of data else 0.95."
        ),
    ] = None,
    png: Picture = None,
    as_json: AsJson = False,
) -> int:
    """Test exceptions: Kupiec's coverage, Christoffersen's independence, both together, the Basel zone.

    They are counted already, or are counted here: each period of a series is told from the --window returns before it.
    A garch is fitted to the returns so far, 1,000 at most, anew every 63. Of data, Z2 of Acerbi and Szekely judges
    the shortfall: about 0 as promised, negative where losses are larger or more frequent.

    --level 0.05 and --level 0.95 are the same: above 0.5 it is the level of the value at risk. With --transitions,
    coverage is that of the periods which followed another one. What cannot be computed is null.
    """
    if returns is not None or prices is not None:
        if any(counted is not None for counted in (exceptions, observations, transitions)):
            raise Misuse("name counts, or data by --returns or --prices, not both")
        wanted = 0.95 if level is None else level
        return _backtest_of_data(returns, prices, column, method, window, decay, wanted, png, as_json)
    if png is not None:
        raise Misuse("--png draws what was told day by day: name the data by --returns or by --prices")
    return _backtest_of_counts(exceptions, observations, transitions, level, as_json)


def _backtest_of_data(
    returns: Path | None,
    prices: Path | None,
    column: str | None,
    method: str,
    window: int,
    decay: float | None,
    level: float,
    png: Path | None,
    as_json: bool,
) -> int:
    from edgefleet.risk.backtests import acerbi_szekely, rate_of, traffic_light, transitions_of
    from edgefleet.risk.coverage import judge

    path, names, values = _returns(returns, prices)
    name, series = _one_series(path, names, values, column, None)
    with refusals_of(path, name):
        rate = rate_of(level)
        options = {} if decay is None else _decay_of(method, decay)
        rolled = _rolled(series, method, 1 - rate, window, options)
        judged = judge(rolled, rate)
        zone = traffic_light(judged.exceptions, judged.periods, rate)
        counts = transitions_of(rolled.exceptions)
        z2 = acerbi_szekely(rolled.returns, rolled.var, rolled.es, rate)
        if png is not None:
            from edgefleet_services.data.pictures import draw_backtest

            title = f"{name}: {method}, level {1 - rate:g}, window {window}"
            draw_backtest(png, title, rolled, len(series) - judged.periods, rate)
    body = {
        "exceptions": judged.exceptions,
        "observations": judged.periods,
        "transitions": counts,
        **_tests(judged.coverage, judged.independence, judged.both),
        "zone": zone,
        "z2": z2,
        "refits_kept": rolled.kept,
    }
    lines = [
        f"{name}: {method}, level {1 - rate:g}, window {window}",
        f"{judged.exceptions} exceptions in {judged.periods} periods, "
        f"{_short(rate * judged.periods)} expected at a rate of {rate:g}",
        "transitions " + ", ".join(f"{key} {count}" for key, count in counts._asdict().items()),
        *_test_lines(judged.coverage, judged.independence, judged.both),
        f"Basel zone: {zone or '-'}",
        f"shortfall (Acerbi and Szekely): Z2 {_short(z2)}",
    ]
    if rolled.kept:
        lines.append(f"{rolled.kept} refits found no maximum: the parameters before stayed in force")
    answer(body, as_json, lines)
    return 0


def _backtest_of_counts(
    exceptions: int | None,
    observations: int | None,
    transitions: tuple[int, int, int, int] | None,
    level: float | None,
    as_json: bool,
) -> int:
    from edgefleet.risk.backtests import (
        Transitions,
        christoffersen,
        conditional_coverage,
        kupiec,
        rate_of,
        traffic_light,
    )

    counts = None if transitions is None else Transitions(*transitions)
    if (counts is None) == (exceptions is None and observations is None):
        raise Misuse(
            "name the counts by --exceptions and --observations, or by --transitions, or data by --returns or --prices"
        )
    with refusals_of():
        rate = None if level is None else rate_of(level)
        if counts is not None:
            apart = christoffersen(counts)
            exceptions, observations = counts.n01 + counts.n11, sum(counts)
        else:
            apart = None
            if exceptions is None or observations is None or rate is None:
                raise Misuse("--exceptions, --observations and --level go together; name all three")
        coverage = None if rate is None else kupiec(exceptions, observations, rate)
        both = None if counts is None or rate is None else conditional_coverage(counts, rate)
        zone = None if rate is None else traffic_light(exceptions, observations, rate)
    body = {**_tests(coverage, apart, both), "zone": zone}
    expected = "" if rate is None else f", {_short(rate * observations)} expected at a rate of {rate:g}"
    if level is not None and rate != level:
        expected += f" (1 minus the level {level:g})"
    lines = [
        f"{exceptions} exceptions in {observations} periods{expected}",
        *_test_lines(coverage, apart, both),
        f"Basel zone: {zone or '-'}",
    ]
    answer(body, as_json, lines)
    return 0


@app.command("coverage")
def coverage(
    returns: Returns = None,
    prices: Prices = None,
    column: Column = None,
    level: Annotated[float, typer.Option("--level", help="Of the value at risk, above 0.5.")] = 0.95,
    start: Annotated[int, typer.Option("--start", help="Returns before the first that is judged, 500 at least.")] = 500,
    as_json: AsJson = False,
) -> int:
    """Judge fourteen ways of telling the next period's value at risk, on every column, by the same periods.

    A cell is the rate of exceptions in %, and p of Kupiec's coverage and Christoffersen's independence; a + stands
    where both are above 0.05. Twenty columns of 25 years take minutes.
    """
    from edgefleet.risk.coverage import WAYS, coverage_of

    path, names, values = _returns(returns, prices)
    chosen = names if column is None else [column]
    found = {}
    for each in chosen:
        name, series = _one_series(path, names, values, each, None)
        with refusals_of(path, name):
            found[name] = coverage_of(series, level=level, start=start)
    body = {name: {way: _judged(verdict) for way, verdict in verdicts.items()} for name, verdicts in found.items()}
    answer({"level": level, "start": start, "series": body}, as_json, _coverage_lines(found, WAYS))
    return 0


@app.command("kelly")
def kelly(
    mean: Annotated[float | None, typer.Option("--mean", help="Expected return, cash included.")] = None,
    sd: Annotated[float | None, typer.Option("--sd", help="Standard deviation of it.")] = None,
    rate: Annotated[float, typer.Option("--rate", help="Return of cash over the same horizon.")] = 0.0,
    covariance: Annotated[
        Path | None, typer.Option("--cov", metavar="FILE", help="Covariance of several assets.")
    ] = None,
    means: Annotated[
        Path | None, typer.Option("--means", metavar="FILE", help="Their expected returns: a row, or a column.")
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Tell the share of wealth that makes it grow fastest, and how fast.

    (mean - rate) / sd^2 of one bet, C^-1 (means - rate) of several; growth is of the logarithm of wealth.
    """
    from edgefleet.risk.kelly import growth_rate, kelly_fraction, kelly_fractions, portfolio_growth_rate

    if not math.isfinite(rate):
        raise Misuse(f"--rate must be finite, was {rate!r}")
    if covariance is not None and means is not None and mean is None and sd is None:
        names, matrix, expected = _assets(covariance, means)
        edges = [value - rate for value in expected]
        with refusals_of(covariance):
            shares = kelly_fractions(matrix, edges)
        growth = portfolio_growth_rate(shares, edges, matrix, rate=rate)
        by_name = dict(zip(names, shares, strict=True))
        lines = aligned([*((name, _short(share)) for name, share in by_name.items()), ("growth", _short(growth))])
        answer({"fraction": by_name, "growth": growth}, as_json, lines)
        return 0
    if mean is None or sd is None or covariance is not None or means is not None:
        raise Misuse("name one bet by --mean and --sd, or several by --cov and --means")
    if not 0 < sd < math.inf:
        raise Misuse(f"--sd must be positive and finite, was {sd!r}")
    with refusals_of():
        share = kelly_fraction(mean - rate, sd * sd, share=1.0)
    growth = growth_rate(share, mean - rate, sd * sd, rate=rate)
    answer(
        {"fraction": share, "growth": growth},
        as_json,
        aligned([("fraction", _short(share)), ("growth", _short(growth))]),
    )
    return 0


def _returns(returns: Path | None, prices: Path | None) -> tuple[Path, list[str], Floats]:
    """Return where returns come from, their columns' names and themselves."""
    from edgefleet.stats.covariance import returns_of
    from edgefleet_services.data.tables import read_table

    path = returns if prices is None else prices
    if path is None or (returns is not None and prices is not None):
        raise Misuse("name the data by --returns or by --prices, one of them")
    table = read_table(path)
    values = table.values
    if prices is not None:
        _check_prices(path, table)
        with refusals_of(path):
            values = returns_of(values)
    return path, list(table.names), values


def _check_prices(path: Path, table: Table) -> None:
    for name, column in zip(table.names, table.values.T, strict=True):
        for price in column.tolist():
            if price <= 0:
                raise Misuse(f"{path}: column {name!r}: a price must be positive, was {price!r}; are these --returns?")


def _one_series(
    path: Path, names: list[str], values: Floats, column: str | None, weights: str | None
) -> tuple[str, Floats]:
    import numpy as np

    from edgefleet_services.data.tables import Table

    if weights is None:
        name, series = Table(tuple(names), values, None).column(path, column)
    elif column is not None:
        raise Misuse("name one series by --column or a portfolio of all by --weights, one of them")
    else:
        name, series = "portfolio", values @ np.array(_numbers(weights, names))
    # A series that begins later than others has missing values at an end, where nothing is lost by leaving them out.
    present = np.flatnonzero(~np.isnan(series))
    whole = _whole(path, name, series[present[0] : present[-1] + 1] if len(present) else series[:0])
    for value in whole.tolist():
        if value <= -1:
            lost = f"a return of {value!r} loses everything or more"
            raise Misuse(f"{path}: {name}: {lost}; are these --prices, or per cent?")
    if len(whole) and float(whole.min()) > _NEVER_EARNED:
        least = f"a return of {float(whole.min())!r} or more in every period"
        raise Misuse(f"{path}: {name}: {least}; are these --prices, or per cent?")
    return name, whole


def _whole(path: Path, name: str, series: Floats) -> Floats:
    import numpy as np

    missing = np.flatnonzero(np.isnan(series))
    if len(missing):
        raise Misuse(
            f"{path}, {name}: value {missing[0] + 1} of {len(series)} is missing, {len(missing)} in all; "
            "leave these rows out or fill them"
        )
    return series


def _numbers(text: str, names: Sequence[str]) -> list[float]:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError as error:
        raise Misuse(f"--weights {text!r} are no numbers; separate them by commas") from error
    if len(numbers) != len(names) or not all(map(math.isfinite, numbers)):
        raise Misuse(f"--weights {text!r} must be {len(names)} finite numbers, one for each of {', '.join(names)}")
    return numbers


def _assets(covariance: Path, means: Path) -> tuple[list[str], list[list[float]], list[float]]:
    """Return names, covariance and expected returns; means come by name where their file has the names."""
    from edgefleet_services.data.tables import read_table

    matrix, expected = (read_table(path, header_optional=True) for path in (covariance, means))
    names = list(matrix.names)
    for path, table in ((covariance, matrix), (means, expected)):
        for name, column in zip(table.names, table.values.T, strict=True):
            _whole(path, name, column)
    if len(matrix.values) != len(names):
        raise Misuse(f"{covariance}: has {len(matrix.values)} rows and {len(names)} columns; a covariance is square")
    for name, variance in zip(names, matrix.values.diagonal().tolist(), strict=True):
        if not variance > 0:
            raise Misuse(f"{covariance}: variance of {name!r} must be above 0, was {variance!r}")
    if matrix.labels is not None and list(matrix.labels) != names:
        raise Misuse(f"{covariance}: rows are {', '.join(matrix.labels)}, columns {', '.join(names)}; order them alike")
    if len(expected.values) == 1 and (len(names) > 1 or expected.labels is None):
        found = dict(zip(expected.names, expected.values[0].tolist(), strict=True))
    elif len(expected.names) == 1:
        column = expected.values[:, 0].tolist()
        labels = expected.labels or (tuple(names) if len(column) == len(names) else tuple(map(str, range(len(column)))))
        found = dict(zip(labels, column, strict=True))
    else:
        rows, columns = expected.values.shape
        raise Misuse(f"{means}: has {rows} rows and {columns} columns; give means as one row, or as one column")
    if len(found) == len(names) and set(found) != set(names) and all(name.isdigit() for name in found):
        found = dict(zip(names, found.values(), strict=True))
    if set(found) != set(names):
        raise Misuse(f"{means}: has means of {', '.join(found)}; the covariance is of {', '.join(names)}")
    return names, matrix.values.tolist(), [found[name] for name in names]


def _tests(coverage: Any, independence: Any, both: Any) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    for short, test in (("pof", coverage), ("cci", independence), ("cc", both)):
        found[f"lr_{short}"], found[f"p_{short}"] = test or (None, None)
    return found


def _test_lines(coverage: Any, independence: Any, both: Any) -> list[str]:
    named = (("coverage (Kupiec)", coverage), ("independence (Christoffersen)", independence), ("both", both))
    cells = ((name, *((_short(x) for x in test) if test else ("-", "-"))) for name, test in named)
    return aligned([("test", "likelihood ratio", "p"), *cells])


def _judged(verdict: Judged) -> dict[str, Any]:
    return {
        "exceptions": verdict.exceptions,
        "observations": verdict.periods,
        **_tests(verdict.coverage, verdict.independence, verdict.both),
        "passes": verdict.passes,
        "refits_kept": verdict.kept,
        "refused": verdict.refused,
    }


def _coverage_lines(found: dict[str, dict[str, Judged]], ways: Sequence[Way]) -> Iterator[str]:
    """Give the table, some ways a line, then who passed by none and where each way comes from."""
    for first in range(0, len(ways), WAYS_A_LINE):
        names = [way.name for way in ways[first : first + WAYS_A_LINE]]
        rows = [("", "periods", *names)]
        for series, verdicts in found.items():
            periods = verdicts[names[0]].periods
            rows.append((series, str(periods), *(_coverage_cell(verdicts[name]) for name in names)))
        passed = (str(sum(verdicts[name].passes for verdicts in found.values())) for name in names)
        yield from (line.rstrip() for line in aligned([*rows, ("passed", "", *passed)]))
        yield ""
    none = [series for series, verdicts in found.items() if not any(one.passes for one in verdicts.values())]
    yield f"{len(found) - len(none)} of {len(found)} pass by one way at least; by none: {', '.join(none) or '-'}"
    yield f"The best of {len(ways)} ways on each series is not one test: some pass by chance where none holds."
    width = max(len(way.name) for way in ways)
    yield from (f"{way.name:<{width}}  {_told_from(way)}" for way in ways)


def _told_from(way: Way) -> str:
    return way.source if way.window is None else f"{way.source}; {way.window} returns"


def _coverage_cell(verdict: Judged) -> str:
    if verdict.coverage is None:
        return "refused  "
    apart = "    -" if verdict.independence is None else f"{verdict.independence.p:.3f}"
    rate = 100 * verdict.exceptions / verdict.periods
    return f"{rate:.1f} {verdict.coverage.p:.3f} {apart} {'+' if verdict.passes else ' '}"


def _decay_of(method: str, decay: float) -> dict[str, float]:
    known = ("ewma", "ewma-t", "filtered", "age-weighted")
    if method not in known:
        raise Misuse(f"--decay {decay:g} is of {', '.join(known)}; {method} has none")
    return {"decay": decay}


def _rolled(series: Floats, method: str, level: float, window: int, options: dict[str, Any]) -> Rolled:
    from edgefleet.risk.rolling import METHODS_REFITTED, roll, roll_refitted
    from edgefleet.risk.shortfall import METHODS

    if method not in (*METHODS, *METHODS_REFITTED):
        raise Misuse(
            f"--method {method!r} is unknown; take one of {', '.join(dict.fromkeys((*METHODS, *METHODS_REFITTED)))}"
        )
    if method in METHODS_REFITTED:
        return roll_refitted(series, method, level=level, start=window)
    return roll(series, method, window=window, level=level, **options)


def _draw_tail(png: Path, name: str, losses: Floats, tail: ParetoTail) -> None:
    import numpy as np

    from edgefleet.risk.tails import mean_excesses
    from edgefleet_services.data.pictures import draw_tail

    beyond = np.sort(losses[losses > tail.threshold])
    # The largest of n losses is placed at half a loss in n, for none of n is larger and a logarithm needs some.
    counted = (np.arange(len(beyond), 0, -1) - 0.5) / tail.n
    fitted = np.array([tail.beyond(loss) for loss in beyond.tolist()], dtype=np.float64)
    draw_tail(png, name, mean_excesses(losses), (beyond, counted, fitted), tail)


def _short(number: float | None) -> str:
    return "-" if number is None else f"{number:.6g}"


def _candidate(one: Any) -> dict[str, Any]:
    tail = one.tail
    return {
        "threshold": one.threshold,
        "n_exceed": one.n_exceed,
        "mean_excess": one.mean_excess,
        "xi": None if tail is None else tail.xi,
        "se_xi": None if tail is None else tail.se_xi,
    }


def _proposed(candidates: Sequence[Any]) -> list[str]:
    found = [_candidate(one) for one in candidates]
    return (
        aligned([tuple(found[0]), *(tuple(_short(value) for value in one.values()) for one in found)]) if found else []
    )
