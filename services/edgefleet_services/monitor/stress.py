"""Each account under each scenario of the configuration, from the ledger's statements. Decides nothing.

The monitor has no deviations, so value at risk after a shock is for `edgefleet risk stress`, which asks risk itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from edgefleet.ledger.books import PositionLine, Statement
from edgefleet.params.schema import FleetConfig
from edgefleet.risk.stress import Portfolio, Position, stress
from edgefleet.telemetry.logs import Logger
from edgefleet.telemetry.metrics import Metrics
from edgefleet.units import ZERO
from edgefleet_services.monitor.view import Shown


class StressWatch:
    """What every account would lose. Worked out anew where a statement or the configuration is another one."""

    def __init__(self, metrics: Metrics, log: Logger, config: Callable[[], FleetConfig]) -> None:
        self._metrics, self._log, self._config = metrics, log, config
        self._asked: tuple[FleetConfig, dict[str, Statement]] | None = None
        self._set: set[str] = set()
        self.lines: list[Shown] = []  # one object an account: its scenarios, or why there are none
        self.brief: list[Shown] = []  # the same, with no more than a page shows

    def take(self, statements: Mapping[str, Statement]) -> None:
        """Take the newest statements and set the metric."""
        asked = self._config(), dict(statements)
        if self._asked is not None and self._asked[0] is asked[0] and self._asked[1] == asked[1]:
            return
        self._asked = asked
        self.lines = [self._account(name, line, asked[0]) for name, line in asked[1].items()]
        self.brief = [{**account, "scenarios": [_brief(one) for one in account["scenarios"]]} for account in self.lines]
        self._tell()

    def _account(self, name: str, line: Statement, config: FleetConfig) -> Shown:
        body: Shown = {"account": name, "quote": line.quote, "equity": None, "scenarios": [], "why": None}
        if line.equity is None:
            return {**body, "why": "equity is not known: a position has no price"}
        try:
            portfolio = portfolio_of(line, config)
            found = [stress(portfolio, scenario, config.risk_harmonizer) for scenario in config.stress.scenarios]
        except ValueError as error:
            self._log.warning("stress_refused", account=name, reason=str(error))
            return {**body, "why": str(error)}
        return {
            **body,
            "equity": portfolio.equity,
            "scenarios": [msgspec.to_builtins(one) for one in found],
            "why": None if found else "conf/stress.yml names no scenario",
        }

    def _tell(self) -> None:
        """Set the metric to the largest share that an account would lose; what is not known has no series."""
        worst: dict[str, float] = {}
        for account in self.lines:
            for one in account["scenarios"]:
                share = one["loss_fraction"]
                if share is not None:
                    worst[one["scenario"]] = max(share, worst.get(one["scenario"], share))
        for scenario, share in worst.items():
            self._metrics.stress_loss.labels(scenario).set(share)
        for scenario in self._set - set(worst):
            self._metrics.stress_loss.remove(scenario)
        self._set = set(worst)


def portfolio_of(line: Statement, config: FleetConfig) -> Portfolio:
    """Return a statement with a known equity as a portfolio; an asset that nothing prices is a position without one.

    Raises
    ------
    ValueError
        If equity is not known.
    """
    if line.equity is None:
        raise ValueError(f"equity of {line.account}@{line.venue} is not known")
    unpriced = [
        Position(instrument=f"{asset}/{line.quote}@{line.venue}", quantity=units, price=None)
        for asset, units in line.unpriced.items()
        if units != ZERO
    ]
    held = [_position(one, config) for one in line.positions if one.quantity != ZERO]
    return Portfolio(equity=float(line.equity), positions=(*held, *unpriced), peak=line.peak_equity)


def _brief(found: Shown) -> Shown:
    return {
        "scenario": found["scenario"],
        "loss_fraction": found["loss_fraction"],
        "equity_after": found["equity_after"],
        "breaks": [" of ".join(filter(None, (one["limit"], one["of"]))) for one in found["broken"]],
        "not_covered": [one["instrument"] for one in found["not_covered"]],
    }


def _position(line: PositionLine, config: FleetConfig) -> Position:
    symbol = line.instrument.rpartition("@")[0]
    known = config.instruments.symbols.get(symbol)
    return Position(
        instrument=line.instrument,
        quantity=line.quantity,
        price=line.bid if line.quantity > ZERO else line.ask,
        asset_class=None if known is None else known.asset_class,
        sector="none" if known is None else known.sector,
    )
