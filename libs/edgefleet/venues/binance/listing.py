"""What a Binance-dialect venue lists. Knows `exchangeInfo`, nothing of HTTP."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from edgefleet.errors import Poison
from edgefleet.venues.dialect import Listed


class _Filter(msgspec.Struct):
    filterType: str
    tickSize: Decimal | None = None
    stepSize: Decimal | None = None
    minQty: Decimal | None = None
    minNotional: Decimal | None = None


class _Symbol(msgspec.Struct):
    symbol: str
    baseAsset: str
    quoteAsset: str
    status: str = "TRADING"
    filters: list[_Filter] = []


class _Info(msgspec.Struct):
    symbols: list[_Symbol]


_INFO = msgspec.json.Decoder(_Info)


def listed(raw: bytes) -> list[Listed]:
    """Return what an `exchangeInfo` answer says of each symbol; those whose pair is not readable are left out.

    Raises
    ------
    Poison
        If `raw` is no `exchangeInfo` answer.
    """
    try:
        symbols = _INFO.decode(raw).symbols
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Poison(f"exchangeInfo does not decode: {error}") from error
    return [
        Listed(
            symbol=f"{one.baseAsset}/{one.quoteAsset}",
            name=one.symbol,
            trading=one.status == "TRADING",
            tick_size=_first(one, "PRICE_FILTER", "tickSize"),
            lot_size=_first(one, "LOT_SIZE", "stepSize"),
            min_quantity=_first(one, "LOT_SIZE", "minQty"),
            min_notional=_first(one, "NOTIONAL", "minNotional") or _first(one, "MIN_NOTIONAL", "minNotional"),
        )
        for one in symbols
    ]


def _first(symbol: _Symbol, kind: str, field: str) -> Decimal | None:
    for rule in symbol.filters:
        if rule.filterType == kind:
            value: Decimal | None = getattr(rule, field)
            return value
    return None
