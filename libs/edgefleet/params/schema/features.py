"""`conf/features.yml`: how often and over what alpha computes."""

from __future__ import annotations

from pydantic import Field

from edgefleet.params.schema.base import Params
from edgefleet.params.schema.quality import QualityParams


class FeaturesParams(Params):
    """Streaming features and the conflation before the models."""

    min_interval_ms: int = Field(
        100, ge=0, description="event time between two Signals of an instrument; 0: every event"
    )
    quality: QualityParams = Field(
        default_factory=QualityParams, description="from when on market data is not believed"
    )
    bar_ms: int = Field(1_000, gt=0, description="length of a bar in event time")
