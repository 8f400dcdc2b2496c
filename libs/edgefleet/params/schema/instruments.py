"""`conf/instruments.yml`: what may be traded, and in which steps."""

from __future__ import annotations

from decimal import Decimal
from functools import cached_property
from typing import Literal

from pydantic import Field

from edgefleet.instruments import Instrument
from edgefleet.params.schema.base import Params


class InstrumentParams(Params):
    """One pair at every venue of the fleet that lists it."""

    asset_class: Literal["crypto", "us_stocks", "a_shares", "forex", "commodities"] = Field(
        "crypto", description="whose caps hold for it"
    )
    sector: str = Field("none", description="shares the sector's limit; none: no such limit")
    tick_size: Decimal = Field(gt=0, description="quote per base unit")
    lot_size: Decimal = Field(gt=0, description="base units")
    min_quantity: Decimal = Field(gt=0, description="base units")
    min_notional: Decimal = Field(ge=0, description="quote units")
    shortable: bool = Field(
        False, description="whether the position may be negative", json_schema_extra={"tighter": "lower"}
    )
    rate_only: bool = Field(
        False,
        description="priced and never traded: its touch is a rate between assets that accounts count in",
        json_schema_extra={"tighter": "higher"},
    )
    daily_volume: Decimal | None = Field(
        None, gt=0, description="base units a day, for the impact of one's own orders; null: impact counts nothing"
    )


class InstrumentsParams(Params):
    """Instruments by canonical symbol."""

    symbols: dict[str, InstrumentParams] = Field(default_factory=dict)

    @cached_property
    def _by_id(self) -> dict[str, Instrument]:
        return {}

    def get(self, instrument: str) -> Instrument | None:
        """Return the rules of `SYMBOL@venue`, None where the symbol is not configured."""
        known = self._by_id.get(instrument)
        if known is not None:
            return known
        symbol, _, venue = instrument.rpartition("@")
        params = self.symbols.get(symbol)
        if params is None:
            return None
        base, _, rest = symbol.partition("/")
        made = Instrument(
            symbol=symbol,
            venue=venue,
            asset_class=params.asset_class,
            base=base,
            quote=rest.partition(":")[0],
            tick_size=params.tick_size,
            lot_size=params.lot_size,
            min_quantity=params.min_quantity,
            min_notional=params.min_notional,
            shortable=params.shortable,
            rate_only=params.rate_only,
        )
        self._by_id[instrument] = made
        return made

    def is_rate(self, instrument: str) -> bool:
        """Return whether `SYMBOL@venue` is priced for a rate alone; one that is not configured is not."""
        rules = self.get(instrument)
        return rules is not None and rules.rate_only
