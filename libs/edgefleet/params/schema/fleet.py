"""`conf/fleet.yml`: what the machinery may use, and how long it waits."""

from __future__ import annotations

from pydantic import Field

from edgefleet.params.schema.base import Params


class FleetParams(Params):
    """Machinery."""

    account: str = Field("main", min_length=1, pattern=r"^[a-z0-9_-]+$", description="the account's name")
    touch_interval_ms: int = Field(100, ge=0, description="event time between two Touch of one instrument")
    feeds: dict[str, tuple[str, ...]] = Field(
        default_factory=dict, description="market data of other venues beside the traded one: symbols by venue"
    )
    keep_features: bool = Field(
        True, description="whether the service features keeps the market, features and bars; `up` starts it then"
    )
    snapshot_every_inputs: int = Field(1_000, gt=0, description="inputs between two snapshots of a stage's state")
    snapshot_every_ms: int = Field(1_000, gt=0, description="the same by time; whichever comes first")
    retain_entries: int = Field(200_000, gt=0, description="entries per stream that trimming always leaves")
    max_lag_entries: int = Field(100, gt=0, description="ingestion waits (tape) while a stage is further behind")
    targets_cap: int = Field(1_000, gt=0, description="unread targets at which risk is told BUSY")
    take_over_ms: int = Field(3_000, gt=0, description="lease of an account and of a configuration reader")
