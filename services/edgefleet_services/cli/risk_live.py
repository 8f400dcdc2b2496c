"""The commands `risk ...` about a portfolio: the fleet's as its risk stage knows it, or one from a file. Only looks."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from edgefleet.clock import iso
from edgefleet.errors import Misuse, OutOfReach
from edgefleet.instruments import AssetClass, canonical_symbol
from edgefleet.params.files import load_component, load_fleet
from edgefleet.params.schema import FleetConfig, ScenarioParams, StressParams
from edgefleet_services.cli.answers import AsJson, aligned, answer, refusals_of
from edgefleet_services.running import find_running, redis_url_for

if TYPE_CHECKING:
    from edgefleet.risk.holdings import Held
    from edgefleet.risk.stress import Portfolio, Position, StressResult
    from edgefleet_services.present import Present

NONE = "-"


class _PositionLine(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """One position of a file."""

    instrument: str
    quantity: Decimal
    price: Decimal | None = None
    asset_class: AssetClass | None = None
    sector: str | None = None
    day_deviation: float | None = None


class _PortfolioFile(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A portfolio of one's own."""

    equity: Decimal
    peak: Decimal | None = None
    positions: tuple[_PositionLine, ...]


def register(app: typer.Typer) -> None:
    """Add this module's commands to `app`."""
    app.command("stress")(stress_portfolio)


def stress_portfolio(
    scenario: Annotated[str | None, typer.Option("--scenario", help="One of them, told by position.")] = None,
    scenarios: Annotated[
        Path | None, typer.Option("--scenarios", metavar="FILE", help="These in place of conf/stress.yml's: its shape.")
    ] = None,
    positions: Annotated[
        Path | None,
        typer.Option(
            "--positions", metavar="FILE", help="JSON {equity, positions: [...]} in place of the fleet's portfolio."
        ),
    ] = None,
    conf: Annotated[Path, typer.Option("--conf", help="Of --positions: where scenarios and limits are.")] = Path(
        "conf"
    ),
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", help="The fleet's, stopped ones too; else the one that runs from here.")
    ] = None,
    redis_url: Annotated[str | None, typer.Option("--redis-url", help="Its Redis; else the running fleet's.")] = None,
    as_json: AsJson = False,
) -> int:
    """Tell what the portfolio would lose in markets as they once fell, and which limits would break.

    Losses are positive. A position for which a scenario names no shock is told as not covered and in no loss.
    """
    from edgefleet.risk.holdings import Held, all_of, portfolios_of
    from edgefleet.risk.plan import RiskPlan  # not with this module, which every service's process loads
    from edgefleet.risk.stress import stress, stress_all

    if positions is None:
        where: tuple[Path, ...] = ()
        present = present_risk(redis_url, data_dir)
        config, as_of = present.config, iso(present.state.time) if present.state.time else None
        held = portfolios_of(present.state, RiskPlan(config))
        if not held:
            raise OutOfReach("the risk stage has seen no instrument yet; ask again when the session has begun")
        whole = all_of(present.state, RiskPlan(config))
        held += [] if whole is None else [whole]
    else:
        where = (positions,)
        config, as_of = load_fleet(conf) if conf.is_dir() else FleetConfig(), None
        whole, held = None, [Held("", "", _portfolio(positions, config))]
    chosen = _chosen(config, scenarios, scenario)
    bodies, lines = [], []
    for one in held:
        found: list[StressResult] = []
        if one.portfolio is not None:
            ask = stress_all if one is whole else stress
            with refusals_of(*where):
                found = [ask(one.portfolio, each, config.risk_harmonizer) for each in chosen]
        bodies.append(_body(one, found))
        lines += _lines(one, found, as_of, detailed=scenario is not None)
    answer({"as_of": as_of, "accounts": bodies}, as_json, lines)
    return 0 if all(one.portfolio is not None for one in held) else 1


def present_risk(redis_url: str | None, data_dir: Path | None) -> Present:
    """Return risk as the running fleet has it, or as the archive of one that has stopped does."""
    from edgefleet_services.present import risk_now, risk_recorded

    if redis_url is None and data_dir is not None and find_running(data_dir) is None and data_dir.is_dir():
        recorded = asyncio.run(risk_recorded(data_dir))
        if recorded is not None:
            return recorded
    return asyncio.run(risk_now(redis_url_for(redis_url, data_dir)))


def _chosen(config: FleetConfig, scenarios: Path | None, name: str | None) -> tuple[ScenarioParams, ...]:
    where, params = "conf/stress.yml", config.stress
    if scenarios is not None:
        where, read = str(scenarios), load_component("stress", scenarios).params
        assert isinstance(read, StressParams)
        params = read
    if not params.scenarios:
        raise Misuse(f"{where} names no scenario; `edgefleet init` writes some, or name a file with --scenarios")
    if name is None:
        return params.scenarios
    found = tuple(one for one in params.scenarios if one.name == name)
    if not found:
        known = ", ".join(one.name for one in params.scenarios)
        raise Misuse(f"--scenario {name!r} is unknown; {where} has {known}")
    return found


def _portfolio(path: Path, config: FleetConfig) -> Portfolio:
    """Return a file's portfolio; what it does not say of a class or a sector, `conf/instruments.yml` may."""
    from edgefleet.risk.stress import Portfolio

    try:
        file = msgspec.json.decode(path.read_bytes(), type=_PortfolioFile)
    except OSError as error:
        raise Misuse(f"{path} cannot be read: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise Misuse(f"{path}: {error}; write {{equity, positions: [{{instrument, quantity, price}}]}}") from error
    names = [line.instrument for line in file.positions]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise Misuse(f"{path} names {twice} twice; add its quantities up")
    if file.peak is not None and file.peak.is_finite() and file.equity.is_finite() and file.peak < file.equity:
        raise Misuse(f"{path}: peak {file.peak} is below equity {file.equity}; the peak is the highest equity seen")
    return Portfolio(
        equity=file.equity, peak=file.peak, positions=tuple(_position(line, config) for line in file.positions)
    )


def _position(line: _PositionLine, config: FleetConfig) -> Position:
    from edgefleet.risk.stress import Position

    symbol, at, venue = line.instrument.rpartition("@")
    symbol = canonical_symbol(symbol if at else line.instrument)
    known = config.instruments.symbols.get(symbol)
    return Position(
        instrument=f"{symbol}{at}{venue if at else ''}",
        quantity=line.quantity,
        price=line.price,
        asset_class=line.asset_class or (None if known is None else known.asset_class),
        sector=line.sector or ("none" if known is None else known.sector),
        day_deviation=line.day_deviation,
    )


def _body(held: Held, found: list[StressResult]) -> dict[str, Any]:
    portfolio = held.portfolio
    return {
        "venue": held.venue or None,
        "quote": held.quote or None,
        "equity": None if portfolio is None else float(portfolio.equity),
        "peak": None if portfolio is None or portfolio.peak is None else float(portfolio.peak),
        "positions": [] if portfolio is None else [msgspec.to_builtins(one) for one in portfolio.positions],
        "scenarios": [msgspec.to_builtins(one) for one in found],
        "why": held.why or None,
    }


def _lines(held: Held, found: list[StressResult], as_of: str | None, *, detailed: bool) -> list[str]:
    account = f"{held.venue} in {held.quote}, as of {as_of or 'nothing'}" if held.venue else "the file's portfolio"
    if held.portfolio is None:
        return [f"{account}: {held.why}"]
    count = len(held.portfolio.positions)
    head = f"{account}: equity {held.portfolio.equity:.2f}, {count} position{'' if count == 1 else 's'}"
    table = [("scenario", "loss", "of equity", "equity after", "leverage", "drawdown")]
    table += [
        (
            one.scenario,
            _money(one.loss),
            _percent(one.loss_fraction),
            _money(one.equity_after),
            NONE if one.leverage_after is None else f"{one.leverage_after:.2f}",
            _percent(one.drawdown_after),
        )
        for one in found
    ]
    return [head, *aligned(table), *(line for one in found for line in _remarks(one, detailed=detailed))]


def _remarks(found: StressResult, *, detailed: bool) -> list[str]:
    lines = []
    if detailed:
        lines += [
            f"  {one.instrument}: {one.value:.2f} by {one.shock:+.1%} ({one.by}): loses {one.loss:.2f}, "
            f"{one.loss_fraction:.2%} of equity"
            for one in found.positions
        ]
    told = [
        (
            one.before <= one.cap,
            f"{' '.join(filter(None, (one.limit, one.of)))} {one.after:.4g} (limit {one.cap:g}, now {one.before:.4g})",
        )
        for one in found.broken
        if one.limit != "equity"
    ]
    broken, over = ([text for is_new, text in told if is_new is new] for new in (True, False))
    if any(one.limit == "equity" for one in found.broken):
        lines.append(f"{found.scenario} leaves no equity")
    missed = [f"{one.instrument} ({one.reason})" for one in found.not_covered]
    lines += [f"{found.scenario} breaks {'; '.join(broken)}"] if broken else []
    lines += [f"over its limit before and after {found.scenario}: {'; '.join(over)}"] if over else []
    lines += [f"{found.scenario} does not cover {', '.join(missed)}"] if missed else []
    return lines


def _money(amount: float | None) -> str:
    return NONE if amount is None else f"{amount:.2f}"


def _percent(share: float | None) -> str:
    return NONE if share is None else f"{share:.2%}"
