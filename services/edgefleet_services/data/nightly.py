"""The back-test of a night: an instrument's kept bars against every way of telling value at risk. Writes no file.

As a process of its own it is asked on its standard input and answers with a line for each symbol, so that the arrays
and the fits are in no service: ``python -m edgefleet_services.data.nightly``.
"""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from edgefleet.errors import FleetError
from edgefleet.instruments import AssetClass
from edgefleet.params.schema import BacktestParams
from edgefleet.store.market.archive import MarketArchive
from edgefleet_services.features.nights import Asked, SymbolNight, Tested

if TYPE_CHECKING:
    from edgefleet.risk.rolling import Rolled
    from edgefleet.stats.checks import Floats

LAST_NICE = 19


def main() -> None:
    """Answer what standard input asks."""
    asked = msgspec.json.decode(sys.stdin.buffer.read(), type=Asked)
    settings = BacktestParams.model_validate_json(asked.settings)
    os.nice(LAST_NICE)
    # Whoever asked keeps the time; this ends the process where they were killed before they could.
    _, most = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(
        resource.RLIMIT_CPU, (settings.time_limit_s if most < 0 else min(settings.time_limit_s, most), most)
    )
    archive = MarketArchive(Path(asked.market))
    for instrument, asset_class in asked.instruments.items():
        found = back_test(archive, instrument, asset_class, settings, asked.until_ns)
        sys.stdout.buffer.write(msgspec.json.encode(found) + b"\n")
        sys.stdout.buffer.flush()


def back_test(
    archive: MarketArchive,
    instrument: str,
    asset_class: AssetClass,
    settings: BacktestParams,
    until_ns: int | None = None,
) -> SymbolNight:
    """Return how every method of the settings did on the newest periods of an instrument's bars.

    A period over a gap has no return and is not judged: those before and after it then stand side by side. Each is told
    from the `window` returns before it, a garch from up to 1,000. An archive that cannot be read gives `failed`.
    """
    from edgefleet_services.data.closes import closes_of

    about = SymbolNight.unjudged(instrument, settings, until_ns)
    try:
        closes = [
            one
            for one in closes_of(archive, instrument, settings.interval, asset_class)
            if until_ns is None or one.end <= until_ns
        ]
        returns = _returns([None if one.price is None else float(one.price) for one in closes])
    except (FleetError, ValueError) as error:
        return msgspec.structs.replace(about, failed=str(error))
    about = msgspec.structs.replace(about, returns=len(returns), gaps=sum(one.price is None for one in closes))
    if len(returns) < about.needed:
        return about
    methods = {method: _tested(returns, method, settings) for method in settings.methods}
    passing = tuple(method for method, tested in methods.items() if tested.passes)
    return msgspec.structs.replace(about, methods=methods, passing=passing)


def _returns(prices: list[float | None]) -> Floats:
    import numpy as np

    from edgefleet.stats.covariance import returns_of

    if len(prices) < 2:
        return np.empty(0)
    column = np.array([[np.nan if price is None else price] for price in prices])
    series: Floats = returns_of(column)[:, 0]
    return series


def _tested(returns: Floats, method: str, settings: BacktestParams) -> Tested:
    from edgefleet.risk.backtests import rate_of, traffic_light
    from edgefleet.risk.coverage import judge

    rate = rate_of(settings.level)
    try:
        rolled = _rolled(returns, method, settings)
        judged = judge(rolled, rate)
        zone = traffic_light(judged.exceptions, judged.periods, rate)
    except ModuleNotFoundError as error:
        return Tested(refused=f"{error.name} is not installed; pip install 'edgefleet[research]'")
    except ValueError as error:
        return Tested(refused=str(error))
    z2, refused = _shortfall(rolled, rate)
    var, untold = _next(returns, method, settings)
    return Tested(
        exceptions=judged.exceptions,
        observations=judged.periods,
        expected=rate * judged.periods,
        p_pof=None if judged.coverage is None else judged.coverage.p,
        p_cci=None if judged.independence is None else judged.independence.p,
        p_cc=None if judged.both is None else judged.both.p,
        zone=zone,
        z2=z2,
        refits_kept=judged.kept,
        passes=judged.passes,
        var=var,
        refused=refused or untold,
    )


def _next(returns: Floats, method: str, settings: BacktestParams) -> tuple[float | None, str | None]:
    """Return the value at risk of the next period, or why there is none; one that is no loss bounds nothing."""
    from edgefleet.risk.rolling import tell_next

    try:
        var = tell_next(returns, method, window=settings.window, level=settings.level).var
    except ValueError as error:
        return None, str(error)
    return (var, None) if var > 0 else (None, f"tells a value at risk of {var!r} for the next period, which is no loss")


def _shortfall(rolled: Rolled, rate: float) -> tuple[float | None, str | None]:
    """Return Z2, or why there is none: the value at risk is judged without it."""
    from edgefleet.risk.backtests import acerbi_szekely

    try:
        return acerbi_szekely(rolled.returns, rolled.var, rolled.es, rate), None
    except ValueError as error:
        return None, str(error)


def _rolled(returns: Floats, method: str, settings: BacktestParams) -> Rolled:
    from edgefleet.risk.rolling import LONGEST, METHODS_REFITTED, roll, roll_refitted

    # As far back as any method looks: what is older costs a night and changes nothing.
    newest = returns[-(max(settings.window, LONGEST) + settings.periods) :]
    start = len(newest) - settings.periods
    if method in METHODS_REFITTED:
        return roll_refitted(newest, method, level=settings.level, start=start)
    return roll(newest, method, window=settings.window, level=settings.level, start=start)


if __name__ == "__main__":
    main()
