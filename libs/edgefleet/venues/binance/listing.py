"""What a Binance-dialect venue lists. Knows `exchangeInfo`, nothing of HTTP."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from edgefleet.errors import Poison
from edgefleet.venues.dialect import Listed
from edgefleet.venues.feed import UNREADABLE


class _Filter(msgspec.Struct):
    filterType: str
    tickSize: Decimal | None = None
    stepSize: Decimal | None = None
    minQty: Decimal | None = None
    minNotional: Decimal | None = None
    notional: Decimal | None = None  # what USD-M calls it


class Symbol(msgspec.Struct):
    """What is said of one symbol, of spot or of a contract."""

    symbol: str
    baseAsset: str
    quoteAsset: str
    status: str = "TRADING"
    marginAsset: str | None = None
    filters: list[_Filter] = []


class _Info(msgspec.Struct):
    symbols: list[Symbol]


_INFO = msgspec.json.Decoder(_Info)


def listed(raw: bytes) -> list[Listed]:
    """Return what an `exchangeInfo` answer says of each symbol; those whose pair is not readable are left out.

    Raises
    ------
    Poison
        If `raw` is no `exchangeInfo` answer.
    """
    return [steps(one, f"{one.baseAsset}/{one.quoteAsset}") for one in decoded(raw)]


def decoded(raw: bytes) -> list[Symbol]:
    """Return the symbols in an `exchangeInfo` answer.

    Raises
    ------
    Poison
        If `raw` is none.
    """
    try:
        return _INFO.decode(raw).symbols
    except UNREADABLE as error:
        raise Poison(f"exchangeInfo does not decode: {error}") from error


def steps(one: Symbol, symbol: str) -> Listed:
    """Return the steps and minima in the filters of one symbol."""
    return Listed(
        symbol=symbol,
        name=one.symbol,
        trading=one.status == "TRADING",
        tick_size=_first(one, "PRICE_FILTER", "tickSize"),
        lot_size=_first(one, "LOT_SIZE", "stepSize"),
        min_quantity=_first(one, "LOT_SIZE", "minQty"),
        min_notional=_first(one, "NOTIONAL", "minNotional")
        or _first(one, "MIN_NOTIONAL", "minNotional")
        or _first(one, "MIN_NOTIONAL", "notional"),
    )


def _first(symbol: Symbol, kind: str, field: str) -> Decimal | None:
    for rule in symbol.filters:
        if rule.filterType == kind:
            value: Decimal | None = getattr(rule, field)
            return value
    return None
