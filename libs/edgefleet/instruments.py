"""Names and trading rules of instruments. Knows nothing of prices or of how a venue is reached."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Literal

import msgspec

from edgefleet.errors import Misuse

AssetClass = Literal["crypto", "us_stocks", "a_shares", "forex", "commodities"]

# Quote assets that a symbol without a separator may end in, longest first so that FDUSD is not read as USD.
_QUOTES = ("FDUSD", "USDT", "USDC", "BUSD", "TUSD", "USD", "EUR", "GBP", "BTC", "ETH", "BNB", "TRY", "JPY")

# What a contract settles in, and where it ends, its day as YYMMDD; an option's strike and right follow: `BTC-240927`.
_SETTLED = re.compile(r"[A-Z0-9]+(-\d{6}(-\d+(\.\d+)?-[CP])?)?")


class Instrument(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a venue lets one trade under a name, and in which steps."""

    symbol: str  # canonical pair, BASE/QUOTE
    venue: str
    asset_class: AssetClass = "crypto"
    base: str
    quote: str
    tick_size: Decimal  # quote per base unit
    lot_size: Decimal  # base units
    min_quantity: Decimal  # base units
    min_notional: Decimal  # quote units
    shortable: bool = False

    @property
    def id(self) -> str:
        """Return `SYMBOL@venue`, the name that messages carry."""
        return f"{self.symbol}@{self.venue}"


def instrument_id(symbol: str, venue: str) -> str:
    """Return `SYMBOL@venue` for a symbol in any accepted spelling."""
    return f"{canonical_symbol(symbol)}@{venue}"


def split_id(instrument: str) -> tuple[str, str]:
    """Return the symbol and the venue of an instrument id."""
    symbol, at, venue = instrument.rpartition("@")
    if not at or not symbol or not venue:
        raise ValueError(f"an instrument is SYMBOL@venue, was {instrument!r}")
    return symbol, venue


def canonical_symbol(text: str) -> str:
    """Return `BASE/QUOTE[:SETTLE]` for `BTC/USDT`, `BTC-USDT`, `BTCUSDT` or, as a US stock, `AAPL`.

    A perpetual names what it settles in, `BTC/USDT:USDT`; a dated contract also its last day, `BTC/USD:BTC-240927`, and
    an option its strike and right behind it, `BTC/USD:BTC-240927-60000-C`. ccxt writes them so.

    Raises
    ------
    Misuse
        If nothing readable as a pair or a ticker is there.

    Examples
    --------
    >>> canonical_symbol("btcusdt"), canonical_symbol("ETH-USDT"), canonical_symbol("aapl")
    ('BTC/USDT', 'ETH/USDT', 'AAPL/USD')
    """
    pair, colon, settle = text.strip().upper().partition(":")
    pair = pair.replace("-", "/")
    base, slash, quote = pair.partition("/")
    if slash:
        if not base.replace(".", "").isalnum() or not quote.isalnum() or (colon and not _SETTLED.fullmatch(settle)):
            raise Misuse(f"symbol {text!r} is not BASE/QUOTE[:SETTLE]; write it as BTC/USDT")
        return f"{pair}{colon}{settle}"
    if not base.replace(".", "").isalnum():
        raise Misuse(f"symbol {text!r} is not readable; write it as BTC/USDT, or AAPL for a US stock")
    for known in _QUOTES:
        if base.endswith(known) and len(base) > len(known) + 1:
            return f"{base[: -len(known)]}/{known}"
    return f"{base}/USD"
