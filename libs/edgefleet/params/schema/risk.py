"""`conf/risk_params.yml`: blending, sizing and limits. Knows bounds and what contradicts what; computes nothing."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import ConfigDict, Field, model_validator
from pydantic.config import JsonDict

from edgefleet.instruments import AssetClass
from edgefleet.params.schema.base import HIGHER, LOWER, Params
from edgefleet.params.schema.breakers import BreakerParams

_CAPS: JsonDict = {"tighter": "lower", "absent": "tightest"}  # a class without a cap is not traded


def _leverage() -> dict[AssetClass, float]:
    return {"crypto": 3.0, "us_stocks": 4.0, "a_shares": 2.0, "forex": 10.0, "commodities": 5.0}


def _position() -> dict[AssetClass, float]:
    return {"crypto": 0.20, "us_stocks": 0.25, "a_shares": 0.15, "forex": 0.30, "commodities": 0.20}


class ShrinkageParams(Params):
    """How far a blended edge is pulled toward what is believed before any model speaks."""

    enabled: bool = Field(True, description="false: the blend is taken as it is")
    mode: Literal["precision", "legacy"] = Field(
        "precision", description="precision: less the more models agree to speak; legacy: always shrinkage_strength"
    )
    prior_edge_bps: float = Field(0.0, ge=-1_000, le=1_000, description="what is believed before any model speaks")
    shrinkage_strength: float = Field(
        0.1, ge=0, lt=1, description="weight of the prior beside one model of full confidence"
    )


class EdgeBlendingParams(Params):
    """How several models' edges become one."""

    decay_factors: dict[str, float] = Field(default_factory=dict, description="lambda per model, >= 0; absent: 0")
    default_confidence: float = Field(
        0.5, ge=0, le=1, description="for an edge that states none; every message of the fleet states one"
    )
    min_confidence_threshold: float = Field(
        0.3, ge=0, le=1, description="models below it are not blended", json_schema_extra=HIGHER
    )
    max_models_to_blend: int = Field(5, ge=1, le=100, description="those with the largest weight are kept")
    tau_ms: int | None = Field(None, gt=0, description="age at which an edge counts 1/e; null: the model's own horizon")
    agreement_interval_ms: int = Field(
        1_000, gt=0, description="market time from one comparison of an instrument's models to the next"
    )
    agreement_half_life_s: float = Field(
        600.0, gt=0, le=1e9, description="age at which a comparison counts half; after ten a silent model is forgotten"
    )
    agreement_min_samples: int = Field(
        30, ge=2, description="comparisons before two models' likeness is believed; until then they are one evidence"
    )
    shrinkage: ShrinkageParams = Field(default_factory=lambda: ShrinkageParams())

    @model_validator(mode="after")
    def _decay_is_not_growth(self) -> Self:
        for model, decay in self.decay_factors.items():
            if not 0 <= decay <= 100:
                raise ValueError(f"decay_factors.{model} must be in [0, 100], was {decay}")
        return self

    @model_validator(mode="after")
    def _agreement_outlives_its_interval(self) -> Self:
        if not self.agreement_interval_ms <= 1_000 * self.agreement_half_life_s:
            raise ValueError(
                f"agreement_interval_ms is {self.agreement_interval_ms}, above agreement_half_life_s of "
                f"{self.agreement_half_life_s:g} s: no two comparisons would ever count together"
            )
        return self


class PositionSizingParams(Params):
    """From an edge to a share of equity."""

    kelly_fraction: float = Field(0.25, gt=0, le=1, description="share of the full Kelly bet", json_schema_extra=LOWER)
    max_leverage: dict[AssetClass, float] = Field(
        default_factory=_leverage, description="gross exposure / equity", json_schema_extra=_CAPS
    )
    max_position_pct: dict[AssetClass, float] = Field(
        default_factory=_position,
        description="exposure of one instrument / equity; a class that is absent is not traded",
        json_schema_extra=_CAPS,
    )
    aim_fraction: float = Field(
        0.9,
        gt=0,
        le=1,
        description="share of each cap that sizing aims at; the rest is for drift",
        json_schema_extra=LOWER,
    )
    size_step_fraction: float = Field(0.25, gt=0, le=1, description="one size step, as a share of the aimed cap")
    no_trade_band: float = Field(0.1, ge=0, lt=1, description="relative deviation that does not change a target")
    cost_sides: Literal[1, 2] = Field(
        1, description="sides an edge must pay for to enter: 1, or 2 with the way back", json_schema_extra=HIGHER
    )
    exit_edge_bps: float = Field(
        0.0, ge=0, le=1_000, description="a target is closed when its edge is not above this", json_schema_extra=HIGHER
    )
    min_dwell_ms: int = Field(
        15_000, ge=0, description="market time from a change to the next enlargement", json_schema_extra=HIGHER
    )
    drawdown_aware: bool = Field(
        True, description="the Kelly share falls with what is left of max_drawdown (Grossman, Zhou 1993)"
    )
    regime_scale: dict[str, float] = Field(
        default_factory=dict, description="factor on sizes while the ensemble names this regime, 0 to 1; absent: 1"
    )
    impact_coefficient: float = Field(
        0.5,
        ge=0,
        le=10,
        description="Y of the square-root law of impact: Y x day's deviation x sqrt(order / day's volume)",
        json_schema_extra=HIGHER,
    )

    @model_validator(mode="after")
    def _caps_are_positive(self) -> Self:
        for name, caps, highest in (
            ("max_leverage", self.max_leverage, 100.0),
            ("max_position_pct", self.max_position_pct, 1.0),
        ):
            for asset_class, cap in caps.items():
                if not 0 < cap <= highest:
                    raise ValueError(f"{name}.{asset_class} must be in (0, {highest:g}], was {cap}")
        for regime, factor in self.regime_scale.items():
            if not 0 <= factor <= 1:
                raise ValueError(f"regime_scale.{regime} may only shrink, in [0, 1], was {factor}")
        return self


class VarTargetParams(Params):
    """Value at risk that sizing aims at, as fractions of equity at 95 %."""

    daily_95pct: float = Field(
        0.015, gt=0, lt=1, description="value at risk that sizing aims at", json_schema_extra=LOWER
    )
    weekly_95pct: float = Field(
        0.035, gt=0, lt=1, description="the same over the calendar's week", json_schema_extra=LOWER
    )
    monthly_95pct: float = Field(
        0.08, gt=0, lt=1, description="the same over a twelfth of the calendar's year", json_schema_extra=LOWER
    )

    @model_validator(mode="after")
    def _longer_is_not_tighter(self) -> Self:
        if not self.daily_95pct <= self.weekly_95pct <= self.monthly_95pct:
            raise ValueError(
                "var_targets must not fall with the horizon: "
                f"daily {self.daily_95pct}, weekly {self.weekly_95pct}, monthly {self.monthly_95pct}"
            )
        return self


class ConcentrationParams(Params):
    """Largest exposure / equity by what the positions share."""

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True, serialize_by_alias=True)

    single: float = Field(0.25, gt=0, le=10, description="one instrument", json_schema_extra=LOWER)
    class_: float = Field(0.60, gt=0, le=10, alias="class", description="one asset class", json_schema_extra=LOWER)
    sector: float = Field(0.40, gt=0, le=10, description="one sector, where one is named", json_schema_extra=LOWER)
    geography: float = Field(
        0.70,
        gt=0,
        le=10,
        description="enforced where instruments state a geography; none does yet",
        json_schema_extra=LOWER,
    )

    @model_validator(mode="after")
    def _one_fits_into_its_group(self) -> Self:
        for name, limit in (("class", self.class_), ("sector", self.sector), ("geography", self.geography)):
            if not self.single <= limit:
                raise ValueError(f"concentration_limits.single {self.single} is above {name} {limit}")
        return self


class ExposureParams(Params):
    """Largest exposure / equity of everything that an account holds."""

    gross: float = Field(4.0, gt=0, le=100, description="longs and shorts together", json_schema_extra=LOWER)
    net: float = Field(4.0, gt=0, le=100, description="longs less shorts, either way", json_schema_extra=LOWER)
    venue: float = Field(4.0, gt=0, le=100, description="at one venue", json_schema_extra=LOWER)

    @model_validator(mode="after")
    def _net_is_not_above_gross(self) -> Self:
        if not self.net <= self.gross:
            raise ValueError(f"exposure_limits.net {self.net} is above gross {self.gross}, which it can never reach")
        return self


class OrderLimitParams(Params):
    """What one target may ask for."""

    max_order_pct: float = Field(
        0.25, gt=0, le=10, description="change of one target / equity; closing is not bound", json_schema_extra=LOWER
    )
    max_changes_per_minute: int = Field(
        120, ge=1, le=100_000, description="enlarged targets of an account, market time", json_schema_extra=LOWER
    )
    price_collar_pct: float = Field(
        0.05,
        gt=0,
        lt=1,
        description="distance of the mid from its mean of the last minutes",
        json_schema_extra=LOWER,
    )


class ShortfallParams(Params):
    """Expected shortfall of a day at 97.5 %, as fractions of equity."""

    target: float = Field(0.0215, gt=0, lt=1, description="what sizing aims at", json_schema_extra=LOWER)
    hard_limit: float = Field(0.0285, gt=0, lt=1, description="a verdict refuses", json_schema_extra=LOWER)

    @model_validator(mode="after")
    def _the_target_is_below_the_limit(self) -> Self:
        if not self.target <= self.hard_limit:
            raise ValueError(f"expected_shortfall.target {self.target} is above hard_limit {self.hard_limit}")
        return self


class RiskLimitsParams(Params):
    """What is never exceeded."""

    var_targets: VarTargetParams = Field(default_factory=lambda: VarTargetParams())
    var_hard_limit: float = Field(
        0.02, gt=0, lt=1, description="fraction of equity, 95 %, one day; a verdict refuses", json_schema_extra=LOWER
    )
    max_drawdown: float = Field(
        0.05, gt=0, lt=1, description="fall from the peak of equity, open P&L included", json_schema_extra=LOWER
    )
    vol_multiplier_limit: float = Field(
        4.0, ge=1, description="deviation now / usual deviation; above it nothing is enlarged", json_schema_extra=LOWER
    )
    max_correlation_exposure: float = Field(
        0.60,
        gt=0,
        le=10,
        description="exposure / equity of an instrument and all that correlate with it",
        json_schema_extra=LOWER,
    )
    correlated_from: float = Field(
        0.7,
        gt=0,
        le=1,
        description="correlation from which two instruments are one cluster; unknown counts as correlated",
        json_schema_extra=LOWER,
    )
    concentration_limits: ConcentrationParams = Field(default_factory=lambda: ConcentrationParams())
    exposure_limits: ExposureParams = Field(default_factory=lambda: ExposureParams())
    order_limits: OrderLimitParams = Field(default_factory=lambda: OrderLimitParams())
    expected_shortfall: ShortfallParams = Field(default_factory=lambda: ShortfallParams())

    @model_validator(mode="after")
    def _the_target_is_below_the_limit(self) -> Self:
        if not self.var_targets.daily_95pct <= self.var_hard_limit:
            raise ValueError(
                f"var_targets.daily_95pct {self.var_targets.daily_95pct} is above var_hard_limit {self.var_hard_limit}"
            )
        return self


class FleetLimitsParams(Params):
    """What is never exceeded by all accounts as one portfolio, where the fleet trades at more than one venue."""

    quote: str = Field(
        "USDT", pattern=r"^[A-Z0-9]+$", description="asset that all accounts are valued in, by rates of the feeds"
    )
    gross: float = Field(
        4.0, gt=0, le=100, description="exposure / equity of all accounts, longs and shorts", json_schema_extra=LOWER
    )
    net: float = Field(
        4.0, gt=0, le=100, description="the same, longs less shorts, either way", json_schema_extra=LOWER
    )
    var_target: float = Field(
        0.015, gt=0, lt=1, description="fraction of equity, 95 %, one day; what sizing aims at", json_schema_extra=LOWER
    )
    var_hard_limit: float = Field(0.02, gt=0, lt=1, description="the same; a verdict refuses", json_schema_extra=LOWER)
    expected_shortfall: ShortfallParams = Field(default_factory=lambda: ShortfallParams())
    max_drawdown: float = Field(
        0.05, gt=0, lt=1, description="fall of all equity from its peak, open P&L included", json_schema_extra=LOWER
    )

    @model_validator(mode="after")
    def _what_can_be_reached(self) -> Self:
        if not self.net <= self.gross:
            raise ValueError(f"fleet_limits.net {self.net} is above gross {self.gross}, which it can never reach")
        if not self.var_target <= self.var_hard_limit:
            raise ValueError(f"fleet_limits.var_target {self.var_target} is above var_hard_limit {self.var_hard_limit}")
        return self


class VolatilityParams(Params):
    """How the variance of returns is estimated from the beats."""

    half_life_s: float = Field(300.0, gt=0, le=86_400, description="age at which a return counts half")
    min_returns: int = Field(30, ge=2, description="returns before a variance or a correlation is believed")
    nightly_floor_days: int = Field(
        7,
        ge=0,
        le=366,
        description="days for which no day's deviation is taken for less than a night's value at risk says; 0: never",
        json_schema_extra=HIGHER,
    )
    usual_half_life_s: float = Field(
        7_200.0,
        gt=0,
        le=2_592_000,
        description="the same for the usual variance that vol_multiplier_limit compares with",
    )
    correlation_half_life_s: float = Field(
        14_400.0, gt=0, le=2_592_000, description="age at which a joint return counts half"
    )
    correlation_interval_s: float = Field(
        60.0,
        gt=0,
        le=86_400,
        description="spacing of joint returns: over seconds correlations look smaller than they are (Epps 1979)",
    )

    @model_validator(mode="after")
    def _usual_is_longer(self) -> Self:
        if not self.half_life_s <= self.usual_half_life_s:
            raise ValueError(f"half_life_s {self.half_life_s} is above usual_half_life_s {self.usual_half_life_s}")
        return self


class FreshnessParams(Params):
    """How old what a verdict rests on may be, in market time."""

    stale_after_ms: int = Field(
        3_000, gt=0, description="age of an instrument's feed, as beats state it", json_schema_extra=LOWER
    )
    signal_stale_after_ms: int = Field(
        20_000,
        gt=0,
        description="newest beat minus newest watermark; a tape at full speed lags some seconds",
        json_schema_extra=LOWER,
    )
    flatten_after_ms: int = Field(
        60_000, gt=0, description="the same lag at which positions without an edge are closed", json_schema_extra=LOWER
    )

    @model_validator(mode="after")
    def _refuse_before_flatten(self) -> Self:
        if not self.signal_stale_after_ms <= self.flatten_after_ms:
            raise ValueError(
                f"signal_stale_after_ms {self.signal_stale_after_ms} is above flatten_after_ms {self.flatten_after_ms}"
            )
        return self


class VerdictParams(Params):
    """What an approved target says to the executor."""

    target_ttl_ms: int = Field(30_000, gt=0, description="market time until a target expires; renewed at two thirds")
    entry_algorithm: Literal["market", "limit", "post_only"] = Field(
        "market", description="orders that open or enlarge"
    )
    exit_algorithm: Literal["market", "limit", "post_only"] = Field("market", description="orders that reduce or close")


class AllocationParams(Params):
    """How equity is shared out between instruments before any edge is known."""

    method: Literal["none", "hrp", "inverse_variance"] = Field(
        "hrp", description="hrp: hierarchical risk parity; none: every instrument may use its whole cap"
    )
    convention: Literal["A", "B"] = Field(
        "B", description="of hrp, as docs/risk_harmoniser.md names them; C and D need scipy, which no service loads"
    )
    gross: float = Field(1.0, gt=0, le=100, description="exposure / equity that is shared out", json_schema_extra=LOWER)
    refresh_s: float = Field(60.0, gt=0, le=86_400, description="market time between two looks at the budgets")
    band: float = Field(0.1, ge=0, lt=1, description="relative deviation that does not move a budget")
    turnover_cap: float = Field(
        0.25, gt=0, le=100, description="sum of the moves of one look, as a share of what is shared out"
    )
    min_move: float = Field(0.005, ge=0, lt=1, description="a smaller move of a budget is not made, share of equity")


class AlertParams(Params):
    """When a person should know. The alert rules in `prometheus/` have thresholds of their own."""

    var_breach_threshold: float = Field(1.1, ge=1, description="accepted; multiple of the daily VaR target")
    drawdown_warning: float = Field(0.03, gt=0, lt=1, description="accepted; not above max_drawdown")
    model_confidence_low: float = Field(0.2, ge=0, le=1, description="accepted")
    blend_latency_high_us: float = Field(50, gt=0, description="accepted")


class MonitoringParams(Params):
    """What monitoring of risk looks at."""

    alerts: AlertParams = Field(default_factory=lambda: AlertParams())


class RiskParams(Params):
    """What one instrument and the whole book may risk."""

    edge_blending: EdgeBlendingParams = Field(default_factory=lambda: EdgeBlendingParams())
    position_sizing: PositionSizingParams = Field(default_factory=lambda: PositionSizingParams())
    risk_limits: RiskLimitsParams = Field(default_factory=lambda: RiskLimitsParams())
    fleet_limits: FleetLimitsParams = Field(default_factory=lambda: FleetLimitsParams())
    volatility: VolatilityParams = Field(default_factory=lambda: VolatilityParams())
    freshness: FreshnessParams = Field(default_factory=lambda: FreshnessParams())
    breakers: BreakerParams = Field(default_factory=lambda: BreakerParams())
    allocation: AllocationParams = Field(default_factory=lambda: AllocationParams())
    verdicts: VerdictParams = Field(default_factory=lambda: VerdictParams())
    monitoring: MonitoringParams = Field(default_factory=lambda: MonitoringParams())

    @model_validator(mode="after")
    def _the_warning_comes_first(self) -> Self:
        warning, limit = self.monitoring.alerts.drawdown_warning, self.risk_limits.max_drawdown
        if not warning <= limit:
            raise ValueError(
                f"monitoring.alerts.drawdown_warning {warning} is above risk_limits.max_drawdown {limit}; "
                "lower the warning first"
            )
        for name, limit in (
            ("risk_limits.var_hard_limit", self.risk_limits.var_hard_limit),
            ("fleet_limits.var_hard_limit", self.fleet_limits.var_hard_limit),
        ):
            self.breakers.check_beside(name, limit, stale_after_ms=self.freshness.stale_after_ms)
        return self
