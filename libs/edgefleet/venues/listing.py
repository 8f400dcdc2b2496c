"""What a venue lists, beside what the fleet's configuration says of it. Knows no venue's own answers."""

from __future__ import annotations

from collections.abc import Iterable

from edgefleet.instruments import Instrument
from edgefleet.venues.dialect import Listed


def differences(listed: Iterable[Listed], instruments: Iterable[Instrument]) -> list[str]:
    """Return one line for each instrument that the venue does not list, or lists with other steps than configured.

    A configured minimum notional above the venue's is no difference: the fleet may be stricter. What the venue says
    nothing of is not compared.
    """
    by_symbol = {one.symbol: one for one in listed}
    found: list[str] = []
    for instrument in instruments:
        one = by_symbol.get(instrument.symbol)
        if one is None:
            found.append(f"{instrument.symbol} is not listed at {instrument.venue}")
        elif not one.trading:
            found.append(f"{instrument.symbol} is not trading at {instrument.venue}")
        else:
            found += _steps(instrument, one)
    return found


def _steps(instrument: Instrument, one: Listed) -> list[str]:
    found = []
    for name, ours, theirs in (
        ("tick_size", instrument.tick_size, one.tick_size),
        ("lot_size", instrument.lot_size, one.lot_size),
    ):
        if theirs and ours % theirs != 0:
            found.append(
                f"{instrument.symbol}: {name} is {ours} in the configuration, {theirs.normalize():f} at the venue"
            )
    if one.min_notional is not None and instrument.min_notional < one.min_notional:
        found.append(
            f"{instrument.symbol}: min_notional is {instrument.min_notional} in the configuration, "
            f"{one.min_notional.normalize():f} at the venue"
        )
    return found
