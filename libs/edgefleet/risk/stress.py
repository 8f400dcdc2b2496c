"""What a portfolio would lose if markets fell as they once did, and which limits would then be broken.

Pure: knows positions, prices, shocks and limits; nothing of streams, files or accounts. Losses are positive.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from decimal import Decimal
from fnmatch import fnmatchcase

import msgspec

from edgefleet.instruments import AssetClass
from edgefleet.params.schema.risk import RiskParams
from edgefleet.params.schema.stress import ScenarioParams
from edgefleet.risk.var import ES_TAIL, Z_95

_BPS = 10_000


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """One position as it is now. What is not known is None."""

    instrument: str  # SYMBOL@venue, or SYMBOL
    quantity: Decimal | float  # base units, signed
    price: Decimal | float | None  # quote units per base unit
    asset_class: AssetClass | None = None
    sector: str = "none"
    day_deviation: float | None = None  # of one day's return


class Portfolio(msgspec.Struct, frozen=True, kw_only=True):
    """What one account holds."""

    equity: Decimal | float  # quote units
    positions: tuple[Position, ...]
    peak: Decimal | float | None = None  # highest equity; where None, the one of now is the highest that is known


class PositionLoss(msgspec.Struct, frozen=True, kw_only=True):
    """What one position loses."""

    instrument: str
    value: float  # quote units before the shock, signed
    by: str  # what named the shock, such as `base BTC`
    shock: float  # fraction of price
    loss: float  # quote units, costs included; negative is a gain
    loss_fraction: float  # of equity before the shock


class Uncovered(msgspec.Struct, frozen=True, kw_only=True):
    """A position that the scenario says nothing of, or that has no price."""

    instrument: str
    value: float | None  # quote units, signed; None without a price
    reason: str


class BrokenLimit(msgspec.Struct, frozen=True, kw_only=True):
    """A limit that does not hold after the shock."""

    limit: str
    of: str  # the instrument, class or sector it is the limit of; empty: the whole portfolio
    cap: float
    before: float
    after: float


class StressResult(msgspec.Struct, frozen=True, kw_only=True):
    """One scenario's answer. `loss` and what follows from it are None where it covers none of the positions.

    What is not covered is in none of the losses, and stands at its price of now where leverage and limits are told.
    """

    scenario: str
    loss: float | None  # quote units
    loss_fraction: float | None  # of equity before the shock
    equity_after: float | None
    leverage_after: float | None  # gross exposure / equity; None as well where no equity is left
    drawdown_after: float | None  # fraction of the peak
    var_after: float | None  # 95 %, one day, of the equity left; None where a deviation or the multiplier is not known
    positions: tuple[PositionLoss, ...]
    not_covered: tuple[Uncovered, ...]
    broken: tuple[BrokenLimit, ...]


class _Exposure(msgspec.Struct, frozen=True):
    """A position and what it is worth after the shock, in quote units, >= 0 each."""

    position: Position
    before: float
    after: float


def stress(portfolio: Portfolio, scenario: ScenarioParams, params: RiskParams) -> StressResult:
    """Return what the scenario does to the portfolio.

    A position of value ``v`` under a shock ``s`` with costs ``c`` loses ``-v s + |v| (1 + s) c``. The limits are the
    harmonizer's hard ones: position, single, leverage, class, sector and gross as shares of the equity that is left,
    drawdown, and the day's value at risk and expected shortfall with every daily deviation multiplied and correlations
    of one, which in a fall is what they come to.

    Raises
    ------
    ValueError
        If equity, the peak or a price is not positive and finite, or a quantity or deviation is not finite.

    Examples
    --------
    >>> fall = ScenarioParams.model_validate({"name": "x", "source": "x", "shocks": {"base": {"BTC": -0.4}}})
    >>> held = Position(instrument="BTC/USDT@sim", quantity=0.5, price=60_000.0, asset_class="crypto")
    >>> found = stress(Portfolio(equity=100_000.0, positions=(held,)), fall, RiskParams())
    >>> found.loss, found.loss_fraction, found.equity_after, [one.limit for one in found.broken]
    (12000.0, 0.12, 88000.0, ['position', 'drawdown'])
    """
    equity = _positive("equity", portfolio.equity)
    peak = equity if portfolio.peak is None else max(equity, _positive("the peak of equity", portfolio.peak))
    cost = (scenario.cost_bps or 0.0) / _BPS
    losses: list[PositionLoss] = []
    missed: list[Uncovered] = []
    exposures: list[_Exposure] = []
    for position in portfolio.positions:
        value = value_of(position)
        found = shock_of(position, scenario)
        if value is None:
            missed.append(Uncovered(instrument=position.instrument, value=None, reason="no price"))
        elif found is None:
            missed.append(Uncovered(instrument=position.instrument, value=value, reason="no shock"))
            exposures.append(_Exposure(position, abs(value), abs(value)))
        else:
            by, shock = found
            left = abs(value) * (1 + shock)
            loss = left * cost - value * shock
            losses.append(
                PositionLoss(
                    instrument=position.instrument,
                    value=value,
                    by=by,
                    shock=shock,
                    loss=loss,
                    loss_fraction=loss / equity,
                )
            )
            exposures.append(_Exposure(position, abs(value), left))
    if missed and not losses:
        return _unanswered(scenario.name, missed)
    total = math.fsum(one.loss for one in losses)
    after = equity - total
    at_risk = _at_risk(exposures, scenario.volatility_multiplier)
    return StressResult(
        scenario=scenario.name,
        loss=total,
        loss_fraction=total / equity,
        equity_after=after,
        leverage_after=math.fsum(one.after for one in exposures) / after if after > 0 else None,
        drawdown_after=1 - after / peak,
        var_after=at_risk[1] / after if at_risk is not None and after > 0 else None,
        positions=tuple(losses),
        not_covered=tuple(missed),
        broken=tuple(_broken(exposures, at_risk, equity, after, peak, params)),
    )


def stress_all(portfolio: Portfolio, scenario: ScenarioParams, params: RiskParams) -> StressResult:
    """Return what the scenario does to all accounts together; the limits are those of the whole fleet.

    They are its gross exposure and its drawdown, as shares of the equity of all that is left.
    """
    found, limits = stress(portfolio, scenario, params), params.fleet_limits
    if found.loss is None or found.equity_after is None or found.drawdown_after is None:
        return found
    if found.leverage_after is None:  # nothing is left, and shares of nothing are no numbers
        return msgspec.structs.replace(found, broken=tuple(one for one in found.broken if one.limit == "equity"))
    equity = float(portfolio.equity)
    gross = math.fsum(abs(value) for one in portfolio.positions if (value := value_of(one)) is not None) / equity
    peak = equity if portfolio.peak is None else max(equity, float(portfolio.peak))
    fall, broken = found.drawdown_after, []
    if not found.leverage_after <= limits.gross:
        at = found.leverage_after
        broken.append(BrokenLimit(limit="fleet_gross", of="", cap=limits.gross, before=gross, after=at))
    if not fall < limits.max_drawdown:
        was = 1 - equity / peak
        broken.append(BrokenLimit(limit="fleet_drawdown", of="", cap=limits.max_drawdown, before=was, after=fall))
    return msgspec.structs.replace(found, broken=tuple(broken))


def shock_of(position: Position, scenario: ScenarioParams) -> tuple[str, float] | None:
    """Return what names the shock of a position and the shock, None where the scenario says nothing of it.

    Globs over the instrument go first, the one with the most letters before others, then base, sector, asset class.
    """
    shocks = scenario.shocks
    names = _spellings(position.instrument)
    fitting = [glob for glob in shocks.instrument if any(fnmatchcase(name, glob) for name in names)]
    if fitting:
        glob = max(fitting, key=_letters)  # of equals the first in the file
        return f"instrument {glob}", shocks.instrument[glob]
    base = names[-2].partition("/")[0]
    if base in shocks.base:
        return f"base {base}", shocks.base[base]
    if position.sector in shocks.sector:
        return f"sector {position.sector}", shocks.sector[position.sector]
    if position.asset_class is not None and position.asset_class in shocks.asset_class:
        return f"asset class {position.asset_class}", shocks.asset_class[position.asset_class]
    return None


def value_of(position: Position) -> float | None:
    """Return what a position is worth, signed, None without a price.

    Raises
    ------
    ValueError
        If the quantity is not finite, or the price not positive and finite.
    """
    quantity = float(position.quantity)
    if not math.isfinite(quantity):
        raise ValueError(f"quantity of {position.instrument} must be finite, was {quantity!r}")
    if position.price is None:
        return None
    value = quantity * _positive(f"price of {position.instrument}", position.price)
    if not math.isfinite(value):
        raise ValueError(f"value of {position.instrument} must be finite, was {quantity!r} at {position.price!r}")
    return value


def _spellings(instrument: str) -> tuple[str, ...]:
    """Return the names that a glob may mean, the symbol and its short form last."""
    symbol = instrument.rpartition("@")[0] or instrument
    return instrument, symbol.replace("/", "-"), symbol, symbol.replace("/", "")


def _letters(glob: str) -> int:
    return sum(character not in "*?[]" for character in glob)


def _positive(what: str, number: Decimal | float) -> float:
    value = float(number)
    if not 0 < value < math.inf:
        raise ValueError(f"{what} must be positive and finite, was {value!r}")
    return value


def _unanswered(name: str, missed: Sequence[Uncovered]) -> StressResult:
    return StressResult(
        scenario=name,
        loss=None,
        loss_fraction=None,
        equity_after=None,
        leverage_after=None,
        drawdown_after=None,
        var_after=None,
        positions=(),
        not_covered=tuple(missed),
        broken=(),
    )


def _at_risk(exposures: Sequence[_Exposure], multiplier: float | None) -> tuple[float, float] | None:
    """Return the value at risk in quote units before and after, None where not everything that it needs is known."""
    before, after = [], []
    for one in exposures:
        deviation = one.position.day_deviation
        if deviation is None or multiplier is None:
            return None
        if not 0 <= deviation < math.inf:
            raise ValueError(
                f"day_deviation of {one.position.instrument} must be finite and not negative, was {deviation!r}"
            )
        before.append(Z_95 * one.before * deviation)
        after.append(Z_95 * one.after * deviation * multiplier)
    return math.fsum(before), math.fsum(after)


def _broken(
    exposures: Sequence[_Exposure],
    at_risk: tuple[float, float] | None,
    equity: float,
    after: float,
    peak: float,
    params: RiskParams,
) -> Iterable[BrokenLimit]:
    most = params.risk_limits.max_drawdown
    fall = BrokenLimit(limit="drawdown", of="", cap=most, before=1 - equity / peak, after=1 - after / peak)
    if not after > 0:  # shares of nothing are no numbers
        yield BrokenLimit(limit="equity", of="", cap=0.0, before=equity, after=after)
        yield fall
        return
    for limit, of, cap, used_before, used_after in _uses(exposures, at_risk, params):
        if not used_after / after <= cap:
            yield BrokenLimit(limit=limit, of=of, cap=cap, before=used_before / equity, after=used_after / after)
    if not fall.after < most:
        yield fall


def _uses(
    exposures: Sequence[_Exposure], at_risk: tuple[float, float] | None, params: RiskParams
) -> Iterable[tuple[str, str, float, float, float]]:
    """Give each limit: its name, whose it is, its cap, and the quote units that use it before and after."""
    sizing, bounds = params.position_sizing, params.risk_limits
    caps = bounds.concentration_limits
    classes: dict[AssetClass, list[_Exposure]] = {}
    sectors: dict[str, list[_Exposure]] = {}
    for one in exposures:
        name, asset_class = one.position.instrument, one.position.asset_class
        if asset_class is not None:
            classes.setdefault(asset_class, []).append(one)
            yield "position", name, sizing.max_position_pct.get(asset_class, 0.0), one.before, one.after
        yield "single", name, caps.single, one.before, one.after
        if one.position.sector != "none":
            sectors.setdefault(one.position.sector, []).append(one)
    for asset_class, members in classes.items():
        before, after = _sums(members)
        yield "leverage", asset_class, sizing.max_leverage.get(asset_class, 0.0), before, after
        yield "class", asset_class, caps.class_, before, after
    for sector, members in sectors.items():
        yield "sector", sector, caps.sector, *_sums(members)
    before, after = _sums(exposures)
    yield "gross", "", bounds.exposure_limits.gross, before, after
    if at_risk is not None:
        yield "var", "", bounds.var_hard_limit, *at_risk
        before, after = (risk / Z_95 * ES_TAIL for risk in at_risk)
        yield "es", "", bounds.expected_shortfall.hard_limit, before, after


def _sums(exposures: Sequence[_Exposure]) -> tuple[float, float]:
    return math.fsum(one.before for one in exposures), math.fsum(one.after for one in exposures)
