"""`conf/venues/*.yml`: where venues are and what they cost. Holds no secrets."""

from __future__ import annotations

from decimal import Decimal

from pydantic import Field, field_validator

from edgefleet.params.schema.base import Params

# The one table of dialects: a name, and the module that holds it as DIALECT. It stands here because configuration is
# read without any venue; `edgefleet.venues.dialect` imports a module when its dialect is asked for.
DIALECTS = {
    "binance": "edgefleet.venues.binance.dialect",
    "binance_usdm": "edgefleet.venues.binance.usdm",
    "coinbase": "edgefleet.venues.coinbase.dialect",
    "coinbase_advanced": "edgefleet.venues.coinbase.advanced",
    "kraken": "edgefleet.venues.kraken.dialect",
    "kraken_v1": "edgefleet.venues.kraken.v1",
    "okx": "edgefleet.venues.okx.dialect",
    "alpaca": "edgefleet.venues.alpaca.dialect",
}


class VenueParams(Params):
    """One venue."""

    dialect: str = Field("binance", description=f"how it speaks: {', '.join(DIALECTS)}, or ccxt:<exchange id>")
    rest_url: str = Field(description="base address of REST")
    stream_url: str = Field(description="base address of the WebSocket")
    data_rest_url: str | None = Field(None, description="base address of market data's REST, where it is another")
    data_stream_url: str | None = Field(None, description="base address of its WebSocket, where it is another")
    maker_fee: Decimal = Field(Decimal("0.001"), ge=0, lt=1, description="fraction of notional")
    taker_fee: Decimal = Field(Decimal("0.001"), ge=0, lt=1, description="fraction of notional")
    recv_window_ms: int = Field(1_000, gt=0, le=60_000, description="age at which the venue refuses a signed request")
    options: dict[str, str] = Field(
        default_factory=dict, description="of one dialect, such as Alpaca's `feed`: iex, sip"
    )

    @field_validator("dialect")
    @classmethod
    def _is_known(cls, name: str) -> str:
        known = name.lower()
        if known not in DIALECTS and not known.startswith("ccxt:"):
            raise ValueError(f"{name!r} is none of {', '.join(DIALECTS)}, and not ccxt:<exchange id>")
        return known


class VenuesParams(Params):
    """Venues by name."""

    venues: dict[str, VenueParams] = Field(default_factory=dict)
