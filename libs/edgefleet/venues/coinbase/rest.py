"""What Coinbase's public REST answers: products, clock and candles, of the Exchange and of Advanced Trade. No HTTP."""

from __future__ import annotations

from decimal import Decimal
from typing import TypeVar

import msgspec

from edgefleet.errors import Misuse, Poison
from edgefleet.instruments import canonical_symbol
from edgefleet.messages.market import Bar
from edgefleet.venues.candles import Candle, closed_bars
from edgefleet.venues.dialect import Listed
from edgefleet.venues.feed import UNREADABLE
from edgefleet.venues.figures import is_plausible
from edgefleet.venues.stamps import rfc3339_ns

GRANULARITIES = {60_000: 60, 300_000: 300, 900_000: 900, 3_600_000: 3_600, 21_600_000: 21_600, 86_400_000: 86_400}
# by width in ms, as the Exchange names them: seconds
T = TypeVar("T")


class _Product(msgspec.Struct):
    id: str
    base_currency: str
    quote_currency: str
    quote_increment: Decimal
    base_increment: Decimal
    base_min_size: Decimal | None = None
    min_market_funds: Decimal | None = None
    status: str = "online"
    trading_disabled: bool = False


class _AdvancedProduct(msgspec.Struct):
    product_id: str
    base_increment: Decimal
    price_increment: Decimal
    base_min_size: Decimal | None = None
    quote_min_size: Decimal | None = None
    status: str = "online"
    product_type: str = "SPOT"
    is_disabled: bool = False
    trading_disabled: bool = False


class _AdvancedProducts(msgspec.Struct):
    products: list[_AdvancedProduct]


class _Time(msgspec.Struct):
    iso: str


class _Candle(msgspec.Struct, array_like=True):
    start_s: int
    low: Decimal
    high: Decimal
    open: Decimal
    close: Decimal
    volume: Decimal


_PRODUCTS = msgspec.json.Decoder(list[_Product])
_ADVANCED = msgspec.json.Decoder(_AdvancedProducts)
_TIME = msgspec.json.Decoder(_Time)
_CANDLES = msgspec.json.Decoder(list[_Candle])


def listed(raw: bytes) -> list[Listed]:
    """Return what the Exchange's `/products` says of each product.

    Raises
    ------
    Poison
        If `raw` is no such answer.
    """
    return [
        Listed(
            symbol=f"{one.base_currency}/{one.quote_currency}",
            name=one.id,
            trading=one.status == "online" and not one.trading_disabled,
            tick_size=one.quote_increment,
            lot_size=one.base_increment,
            min_quantity=one.base_min_size,
            min_notional=one.min_market_funds,
        )
        for one in _decoded(_PRODUCTS, raw, "products")
    ]


def advanced_listed(raw: bytes) -> list[Listed]:
    """Return what Advanced Trade's `/market/products` says of each spot product that has a readable name.

    Raises
    ------
    Poison
        If `raw` is no such answer.
    """
    found = []
    for one in _decoded(_ADVANCED, raw, "products").products:
        if one.product_type != "SPOT":
            continue
        try:
            symbol = canonical_symbol(one.product_id)
        except Misuse:
            continue
        found.append(
            Listed(
                symbol=symbol,
                name=one.product_id,
                trading=one.status == "online" and not (one.is_disabled or one.trading_disabled),
                tick_size=one.price_increment,
                lot_size=one.base_increment,
                min_quantity=one.base_min_size,
                min_notional=one.quote_min_size,
            )
        )
    return found


def time_ns(raw: bytes) -> int:
    """Return the venue's clock in the answer of `/time`.

    Raises
    ------
    Poison
        If it is none.
    """
    try:
        return rfc3339_ns(_TIME.decode(raw).iso)
    except UNREADABLE as error:
        raise Poison(f"the venue's clock does not decode: {error}") from error


def bars_path(name: str, width_ms: int, count: int) -> str | None:
    """Return the path of the newest candles, None where there are none of this width. The venue sends 300 at most."""
    seconds = GRANULARITIES.get(width_ms)
    return None if seconds is None else f"/products/{name}/candles?granularity={seconds}"


def bars(raw: bytes, instrument: str, width_ms: int, until_ms: int, ts_init: int) -> list[Bar]:
    """Return the closed bars in the answer of `bars_path`, oldest first.

    The venue does not say how many prints a candle is of: `trades` is zero.

    Raises
    ------
    Poison
        If the answer is no list of candles, or holds a price that cannot be.
    """
    symbol, _, venue = instrument.rpartition("@")
    trace = f"{venue}:{symbol.replace('/', '-')}:"
    candles = _decoded(_CANDLES, raw, f"candles of {instrument}")
    candles.sort(key=lambda one: one.start_s)
    plain = (
        Candle(one.start_s * 1_000, one.open, one.high, one.low, one.close, one.volume, 0, is_plausible(one.volume))
        for one in candles
    )
    return closed_bars(plain, instrument, width_ms, until_ms=until_ms, trace=trace, ts_init=ts_init)


def _decoded(decoder: msgspec.json.Decoder[T], raw: bytes, what: str) -> T:
    try:
        return decoder.decode(raw)
    except UNREADABLE as error:
        raise Poison(f"{what} do not decode: {error}") from error
