"""`conf/features.yml`, key `keep`: what the service `features` makes of the market beside features."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field, field_validator

from edgefleet.errors import Misuse
from edgefleet.instruments import canonical_symbol
from edgefleet.params.schema.base import Params

Width = Literal["1m", "5m", "15m", "1h", "1d"]
Size = Annotated[Decimal, Field(gt=0)]


class KeepParams(Params):
    """Bars of prints, and the best over venues."""

    bars: tuple[Width, ...] = Field(("1m", "5m", "15m", "1h", "1d"), description="widths of the bars that are kept")
    grace_ms: int = Field(
        1_000, ge=0, description="how far behind market time a print may be; a bar stays open for as long after its end"
    )
    auction_ms: int = Field(
        0, ge=0, description="stocks: how long after the bell prints belong to the session's last bar"
    )
    volume_bars: dict[str, Size] = Field(
        default_factory=dict, description="base units of a volume bar, by symbol; a symbol without one has none"
    )
    dollar_bars: dict[str, Size] = Field(
        default_factory=dict, description="quote units of a dollar bar, by symbol; a symbol without one has none"
    )
    best_stale_ms: int = Field(
        5_000, gt=0, description="age of a venue's quote from which it counts no more in the best over venues"
    )

    @field_validator("bars")
    @classmethod
    def _each_once(cls, values: tuple[Width, ...]) -> tuple[Width, ...]:
        if len(set(values)) < len(values):
            raise ValueError("names a width twice")
        return values

    @field_validator("volume_bars", "dollar_bars")
    @classmethod
    def _symbols_are_canonical(cls, sizes: dict[str, Decimal]) -> dict[str, Decimal]:
        for symbol in sizes:
            try:
                canonical = canonical_symbol(symbol)
            except Misuse as error:
                raise ValueError(str(error)) from None
            if symbol != canonical:
                raise ValueError(f"a symbol is written {canonical}, was {symbol!r}")
        return sizes
