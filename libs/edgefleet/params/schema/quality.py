"""`conf/features.yml`, key `quality`: from when on market data is not believed."""

from __future__ import annotations

from decimal import Decimal

from pydantic import Field

from edgefleet.params.schema.base import Params


class QualityParams(Params):
    """Thresholds of the data quality checks. Times are event time."""

    leap_times: Decimal = Field(
        Decimal("1.25"), gt=1, le=100, description="a price further than this factor from the last ones is kept out"
    )
    leap_frames: int = Field(
        50, ge=1, description="prices kept out in a row after which the next one is believed: the market did move"
    )
    volume_times: float = Field(
        5_000.0, gt=1, description="a trade of more than this many times the mean size of the last ones is absurd"
    )
    volume_trades: int = Field(500, ge=10, description="trades that the mean size is taken over, and needs at least")
    stuck_after_ms: int = Field(10_000, gt=0, description="time without a change after which a quote may be stuck")
    stuck_trades: int = Field(
        20, ge=1, description="trades outside the unchanged quote in that time by which it is stuck"
    )
    stuck_others: int = Field(
        500, ge=1, description="changes of other venues' quotes of the symbol in that time by which it is stuck"
    )
    late_ms: int = Field(1_000, ge=0, description="how far behind its instrument's last stamp an event may be")
    ahead_ms: int = Field(
        60_000,
        gt=0,
        description="how far a venue's stamp may be ahead of our receipt of it: clocks differ, hours do not",
    )
    gap_ms: int = Field(60_000, gt=0, description="silence between two trades of an open market that is a gap")
    ids_remembered: int = Field(1_000, ge=1, description="trades of an instrument among which a duplicate is known")
    faults_to_quarantine: int = Field(5, ge=1, description="faults within the window that quarantine an instrument")
    fault_window_ms: int = Field(10_000, gt=0, description="time within which faults are counted together")
    clean_ms: int = Field(5_000, gt=0, description="time without a fault after which an instrument passes again")
