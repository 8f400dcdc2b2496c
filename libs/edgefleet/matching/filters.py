"""What a venue lets one trade and in which steps: Binance's symbol filters. Knows no books and no balances.

Source: the "Filters" page of the Binance Spot API documentation. A refusal names the filter in the venue's own words.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

import msgspec

from edgefleet.errors import FleetError, Misuse
from edgefleet.instruments import canonical_symbol
from edgefleet.units import ZERO

from .engine import Side


class VenueReject(FleetError):
    """The venue refused a request with one of Binance's error codes. Nothing at the venue changed."""

    def __init__(self, code: int, message: str, *, http_status: int = 400) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.http_status = http_status


class MarketRules(msgspec.Struct, frozen=True, kw_only=True):
    """The trading rules of one symbol."""

    symbol: str  # as the venue writes it, BTCUSDT
    base: str
    quote: str
    tick_size: Decimal  # quote per base unit
    step_size: Decimal  # base units
    min_quantity: Decimal
    max_quantity: Decimal = Decimal(9_000)
    min_price: Decimal
    max_price: Decimal = Decimal(1_000_000)
    min_notional: Decimal = Decimal(5)  # quote units
    max_notional: Decimal = Decimal(9_000_000)
    multiplier_up: Decimal = Decimal(5)
    multiplier_down: Decimal = Decimal("0.2")
    max_orders: int = 200


def _rules(base: str, quote: str, tick: str, step: str, max_quantity: int) -> MarketRules:
    return MarketRules(
        symbol=base + quote,
        base=base,
        quote=quote,
        tick_size=Decimal(tick),
        step_size=Decimal(step),
        min_quantity=Decimal(step),
        max_quantity=Decimal(max_quantity),
        min_price=Decimal(tick),
    )


# Tick and lot sizes as Binance Spot has them; the rest are its usual values.
KNOWN_RULES: Mapping[str, MarketRules] = {
    rules.symbol: rules
    for rules in (
        _rules("BTC", "USDT", "0.01", "0.00001", 9_000),
        _rules("ETH", "USDT", "0.01", "0.0001", 9_000),
        _rules("BNB", "USDT", "0.01", "0.001", 900_000),
        _rules("SOL", "USDT", "0.01", "0.001", 90_000),
        _rules("XRP", "USDT", "0.0001", "0.1", 9_222_449),
        _rules("ADA", "USDT", "0.0001", "0.1", 900_000),
        _rules("DOGE", "USDT", "0.00001", "1", 9_000_000),
        _rules("AVAX", "USDT", "0.01", "0.01", 90_000),
        _rules("LINK", "USDT", "0.01", "0.01", 90_000),
        _rules("LTC", "USDT", "0.01", "0.001", 90_000),
        _rules("ETH", "BTC", "0.00001", "0.0001", 100_000),
        _rules("USDT", "USD", "0.0001", "0.01", 9_000_000),
    )
}


def venue_symbol(symbol: str) -> str:
    """Return Binance's spelling of a pair: `BTC/USDT` is `BTCUSDT`."""
    return canonical_symbol(symbol).partition(":")[0].replace("/", "")


def rules_for(symbol: str) -> MarketRules:
    """Return the trading rules of `symbol` in any accepted spelling, or raise `Misuse` where they are not known."""
    rules = KNOWN_RULES.get(venue_symbol(symbol))
    if rules is None:
        known = ", ".join(sorted(KNOWN_RULES))
        raise Misuse(f"the simulated venue has no trading rules for {symbol}; it knows {known}")
    return rules


def _refuse(name: str) -> VenueReject:
    return VenueReject(-1013, f"Filter failure: {name}")


def check_price(rules: MarketRules, price: Decimal) -> None:
    """Raise `VenueReject` unless `price` is in bounds and a whole number of ticks (PRICE_FILTER)."""
    if not rules.min_price <= price <= rules.max_price or price % rules.tick_size:
        raise _refuse("PRICE_FILTER")


def check_quantity(rules: MarketRules, quantity: Decimal) -> None:
    """Raise `VenueReject` unless `quantity` is in bounds and a whole number of lots (LOT_SIZE)."""
    if not rules.min_quantity <= quantity <= rules.max_quantity or quantity % rules.step_size:
        raise _refuse("LOT_SIZE")


def check_notional(rules: MarketRules, notional: Decimal) -> None:
    """Raise `VenueReject` unless `notional`, in quote units, is within NOTIONAL."""
    if not rules.min_notional <= notional <= rules.max_notional:
        raise _refuse("NOTIONAL")


def check_percent_price(rules: MarketRules, side: Side, price: Decimal, reference: Decimal | None) -> None:
    """Raise `VenueReject` where `price` is too far from `reference` (PERCENT_PRICE_BY_SIDE).

    Binance takes the average price of the last five minutes; `reference` is the caller's, and None (no trade yet) lets
    every price pass as Binance does where there is no average.
    """
    if reference is None:
        return
    if not reference * rules.multiplier_down <= price <= reference * rules.multiplier_up:
        raise _refuse("PERCENT_PRICE_BY_SIDE")


def check_order_count(rules: MarketRules, open_orders: int) -> None:
    """Raise `VenueReject` where one more open order would be too many (MAX_NUM_ORDERS)."""
    if not open_orders < rules.max_orders:
        raise _refuse("MAX_NUM_ORDERS")


def floor_quantity(rules: MarketRules, quantity: Decimal) -> Decimal:
    """Return the largest whole number of lots in `quantity`."""
    return max(quantity - quantity % rules.step_size, ZERO)
