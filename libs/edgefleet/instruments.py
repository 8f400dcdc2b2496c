"""Names and trading rules of instruments. Knows nothing of prices or of how a venue is reached."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from decimal import Decimal
from typing import Literal

import msgspec

from edgefleet.errors import Misuse

AssetClass = Literal["crypto", "us_stocks", "a_shares", "forex", "commodities"]

# Quote assets that a symbol without a separator may end in. Where it may end in two, it is not read.
_QUOTES = (
    *("FDUSD", "PYUSD", "RLUSD", "USDT", "USDC", "BUSD", "GUSD", "TUSD", "DAI", "BTC", "ETH", "BNB"),
    *("USD", "EUR", "GBP", "AUD", "BRL", "CAD", "CHF", "JPY", "TRY"),
)

_TICKER = re.compile(r"[A-Z]{1,5}(\.[A-Z]{1,2})?")  # of a US stock, with its class

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
    rate_only: bool = False  # priced and never traded: its base is cash

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


def home_of(quotes: Collection[str], preferred: str) -> str | None:
    """Return what an account counts in: `preferred` where it trades in that, else the first quote asset; None: nothing.

    Examples
    --------
    >>> home_of({"USDT", "USD"}, "USDT"), home_of({"USD", "EUR"}, "USDT"), home_of((), "USDT")
    ('USDT', 'EUR', None)
    """
    return preferred if preferred in quotes else min(quotes, default=None)


def canonical_symbol(text: str) -> str:
    """Return `BASE/QUOTE[:SETTLE]` for `BTC/USDT`, `BTC-USDT`, `BTCUSDT` or, as a US stock, `AAPL`.

    Without a separator only what can be read in one way is read: `DOTUSD` is DOT/USD or DO/TUSD, and so neither.

    A perpetual names what it settles in, `BTC/USDT:USDT`; a dated contract also its last day, `BTC/USD:BTC-240927`, and
    an option its strike and right behind it, `BTC/USD:BTC-240927-60000-C`. ccxt writes them so.

    Raises
    ------
    Misuse
        If nothing readable as a pair or a ticker is there, or more than one pair is.

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
    readings = _readings(base)
    if not readings:
        raise Misuse(f"symbol {text!r} ends in no quote asset that is known; write it as BASE/QUOTE, such as BTC/USDT")
    if len(readings) > 1:
        raise Misuse(f"symbol {text!r} may be {' or '.join(readings)}; write it so, with the slash")
    return readings[0]


def pair_of(name: str, quotes: Sequence[str]) -> str:
    """Return `BASE/QUOTE` of a venue's name without a separator: of its `quotes`, the longest that the name ends in.

    Raises
    ------
    Misuse
        If it ends in none of them.

    Examples
    --------
    >>> pair_of("BTCFDUSD", ("USD", "FDUSD"))
    'BTC/FDUSD'
    """
    found = max((quote for quote in quotes if name.endswith(quote) and name != quote), key=len, default=None)
    if found is None or not name.isalnum():
        raise Misuse(f"{name!r} ends in no quote asset of the venue that is known; name its pair as BASE/QUOTE")
    return f"{name[: -len(found)]}/{found}"


def _readings(name: str) -> list[str]:
    """Return all that a name without a separator may mean. Four letters are a ticker, five may be one."""
    is_ticker = _TICKER.fullmatch(name) is not None
    if is_ticker and ("." in name or len(name) <= 4):
        return [f"{name}/USD"]
    pairs = [f"{name[: -len(quote)]}/{quote}" for quote in _QUOTES if name.endswith(quote) and name != quote]
    return [*pairs, f"{name}/USD"] if is_ticker else pairs
