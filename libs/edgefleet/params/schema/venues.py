"""`conf/venues/*.yml`: where venues are and what they cost. Holds no secrets."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

from pydantic import Field

from edgefleet.params.schema.base import Params


class VenueParams(Params):
    """One venue."""

    dialect: Literal["binance", "alpaca"] = Field("binance", description="the adapter that speaks to it")
    rest_url: str = Field(description="base address of REST")
    stream_url: str = Field(description="base address of the WebSocket")
    maker_fee: Decimal = Field(Decimal("0.001"), ge=0, lt=1, description="fraction of notional")
    taker_fee: Decimal = Field(Decimal("0.001"), ge=0, lt=1, description="fraction of notional")
    recv_window_ms: int = Field(1_000, gt=0, le=60_000, description="age at which the venue refuses a signed request")


class VenuesParams(Params):
    """Venues by name."""

    venues: dict[str, VenueParams] = Field(default_factory=dict)
