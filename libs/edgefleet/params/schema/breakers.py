"""`conf/risk_params.yml`, key `breakers`: when trading is held back, and how it comes back. Computes nothing."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from edgefleet.messages import BreakerAction
from edgefleet.params.schema.base import HIGHER, LOWER, Params


class RecoveryParams(Params):
    """How an open breaker heals. Times are market time."""

    cool_down_ms: int = Field(
        60_000, gt=0, description="time that a breaker is open at least", json_schema_extra=HIGHER
    )
    max_cool_down_ms: int = Field(
        3_600_000,
        gt=0,
        description="bound of the cool-down, which doubles with each breach on probation",
        json_schema_extra=HIGHER,
    )
    reset_fraction: float = Field(
        0.8,
        gt=0,
        le=1,
        description="share of the limit that the observation must be back inside of to heal",
        json_schema_extra=LOWER,
    )
    probation_ms: int = Field(
        300_000, gt=0, description="time without a breach until a half-open breaker closes", json_schema_extra=HIGHER
    )
    half_open_share: float = Field(
        0.5, gt=0, le=1, description="share of their size that positions may have meanwhile", json_schema_extra=LOWER
    )

    @model_validator(mode="after")
    def _the_bound_is_not_below_the_first(self) -> Self:
        if not self.cool_down_ms <= self.max_cool_down_ms:
            raise ValueError(f"cool_down_ms {self.cool_down_ms} is above max_cool_down_ms {self.max_cool_down_ms}")
        return self


class SwitchParams(Params):
    """What every breaker has."""

    enabled: bool = Field(True, description="false: it never opens, and says so", json_schema_extra=HIGHER)
    action: BreakerAction = Field(
        "reduce", description="none: only told; reduce: nothing is enlarged; halt and flatten: until a person resumes"
    )


class DrawdownBreakerParams(SwitchParams):
    """Fall of equity from its peak, open P&L included. Its limit is `risk_limits.max_drawdown`."""


class DailyLossParams(SwitchParams):
    """Fall of equity since the session began, open P&L included."""

    limit: float = Field(
        0.03, gt=0, lt=1, description="fraction of equity at the start of the session", json_schema_extra=LOWER
    )


class VarBreakerParams(SwitchParams):
    """Value at risk of what is held."""

    limit: float = Field(0.025, gt=0, lt=1, description="fraction of equity, 95 %, one day", json_schema_extra=LOWER)


class AnswersParams(SwitchParams):
    """Which orders a venue is judged by."""

    orders: int = Field(20, ge=1, le=200, description="answered orders that are looked at, the last ones")
    min_orders: int = Field(5, ge=1, le=200, description="of them, before they are judged", json_schema_extra=LOWER)
    window_ms: int = Field(600_000, gt=0, description="age at which an answer is forgotten")

    @model_validator(mode="after")
    def _as_many_as_needed_are_looked_at(self) -> Self:
        if not self.min_orders <= self.orders:
            raise ValueError(f"min_orders {self.min_orders} is above orders {self.orders}")
        return self


class VenueLatencyParams(AnswersParams):
    """Time from an order to the venue's first word about it."""

    limit_ms: int = Field(5_000, gt=0, description="market time", json_schema_extra=LOWER)
    limit_ms_by_venue: dict[str, int] = Field(
        default_factory=lambda: {"sim": 120_000},
        description="for one venue; on a tape at full speed half a second of the clock is a minute of the market",
        json_schema_extra=LOWER,
    )

    def limit_of(self, venue: str) -> int:
        """Return the limit that holds for a venue, ms."""
        return self.limit_ms_by_venue.get(venue, self.limit_ms)

    @model_validator(mode="after")
    def _limits_are_positive(self) -> Self:
        for venue, limit in self.limit_ms_by_venue.items():
            if not limit > 0:
                raise ValueError(f"limit_ms_by_venue.{venue} must be positive, was {limit}")
        return self


class RejectRateParams(AnswersParams):
    """Share of orders that the venue did not take."""

    orders: int = Field(40, ge=1, le=200, description="answered orders that are looked at, the last ones")
    min_orders: int = Field(10, ge=1, le=200, description="of them, before they are judged", json_schema_extra=LOWER)
    limit: float = Field(0.25, gt=0, lt=1, description="rejected / answered orders", json_schema_extra=LOWER)


class StalenessParams(SwitchParams):
    """Age of the feeds that held positions are marked by."""

    limit_s: float = Field(10.0, gt=0, le=3_600, description="seconds of market time", json_schema_extra=LOWER)


class ConsecutiveLossesParams(SwitchParams):
    """Positions in a row that were closed at a loss, fees included."""

    action: BreakerAction = Field(
        "none", description="none: only told, for the shipped models lose to fees; reduce for your own"
    )
    limit: int = Field(20, ge=1, le=1_000, description="losses that are borne; the next opens", json_schema_extra=LOWER)
    memory_ms: int = Field(
        3_600_000, gt=0, description="time without a loss after which they are forgotten", json_schema_extra=HIGHER
    )


class BreakerParams(Params):
    """When trading is held back. Everything is observed in market time."""

    recovery: RecoveryParams = Field(default_factory=lambda: RecoveryParams())
    drawdown: DrawdownBreakerParams = Field(default_factory=lambda: DrawdownBreakerParams())
    daily_loss: DailyLossParams = Field(default_factory=lambda: DailyLossParams())
    var: VarBreakerParams = Field(default_factory=lambda: VarBreakerParams())
    venue_latency: VenueLatencyParams = Field(default_factory=lambda: VenueLatencyParams())
    staleness: StalenessParams = Field(default_factory=lambda: StalenessParams())
    reject_rate: RejectRateParams = Field(default_factory=lambda: RejectRateParams())
    consecutive_losses: ConsecutiveLossesParams = Field(default_factory=lambda: ConsecutiveLossesParams())

    def check_beside(self, name: str, var_hard_limit: float, *, stale_after_ms: int) -> None:
        """Refuse breakers that would open on what the verdicts still allow, by their limit of that `name`.

        Raises
        ------
        ValueError
            If a breaker that is on has its limit below that of the verdicts.
        """
        var, age_s = self.var.limit, self.staleness.limit_s
        if self.var.enabled and not var_hard_limit <= var:
            raise ValueError(f"breakers.var.limit {var} is below {name} {var_hard_limit}")
        if self.staleness.enabled and not stale_after_ms <= age_s * 1_000:
            raise ValueError(f"breakers.staleness.limit_s {age_s} is below freshness.stale_after_ms {stale_after_ms}")
