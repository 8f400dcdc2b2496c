"""What a venue lists, beside what the fleet's configuration says of it. Knows `exchangeInfo`, nothing of HTTP."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from edgefleet.errors import Poison
from edgefleet.instruments import Instrument
from edgefleet.venues.binance.feed import wire_symbol


class _Filter(msgspec.Struct):
    filterType: str
    tickSize: Decimal | None = None
    stepSize: Decimal | None = None
    minNotional: Decimal | None = None


class _Symbol(msgspec.Struct):
    symbol: str
    status: str = "TRADING"
    filters: list[_Filter] = []


class _Info(msgspec.Struct):
    symbols: list[_Symbol]


_INFO = msgspec.json.Decoder(_Info)


def differences(raw: bytes, instruments: list[Instrument]) -> list[str]:
    """Return one line for each instrument that the venue does not list, or lists with other steps than configured.

    A configured minimum notional above the venue's is no difference: the fleet may be stricter.

    Raises
    ------
    Poison
        If `raw` is no `exchangeInfo` answer.
    """
    try:
        listed = {symbol.symbol: symbol for symbol in _INFO.decode(raw).symbols}
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Poison(f"exchangeInfo does not decode: {error}") from error
    found: list[str] = []
    for instrument in instruments:
        symbol = listed.get(wire_symbol(instrument.symbol))
        if symbol is None:
            found.append(f"{instrument.symbol} is not listed at {instrument.venue}")
        elif symbol.status != "TRADING":
            found.append(f"{instrument.symbol} is {symbol.status} at {instrument.venue}, not TRADING")
        else:
            found += _steps(instrument, symbol)
    return found


def _steps(instrument: Instrument, symbol: _Symbol) -> list[str]:
    tick = _first(symbol, "PRICE_FILTER", "tickSize")
    lot = _first(symbol, "LOT_SIZE", "stepSize")
    notional = _first(symbol, "NOTIONAL", "minNotional") or _first(symbol, "MIN_NOTIONAL", "minNotional")
    found = []
    for name, ours, theirs in (("tick_size", instrument.tick_size, tick), ("lot_size", instrument.lot_size, lot)):
        if theirs and ours % theirs != 0:
            found.append(
                f"{instrument.symbol}: {name} is {ours} in the configuration, {theirs.normalize():f} at the venue"
            )
    if notional is not None and instrument.min_notional < notional:
        found.append(
            f"{instrument.symbol}: min_notional is {instrument.min_notional} in the configuration, "
            f"{notional.normalize():f} at the venue"
        )
    return found


def _first(symbol: _Symbol, kind: str, field: str) -> Decimal | None:
    for rule in symbol.filters:
        if rule.filterType == kind:
            value: Decimal | None = getattr(rule, field)
            return value
    return None
