"""How Alpaca spells stocks, and how we do: a ticker is a pair with the dollar. Knows nothing of frames."""

from __future__ import annotations

from edgefleet.errors import Misuse
from edgefleet.instruments import canonical_symbol


def wire_symbol(symbol: str) -> str:
    """Return the ticker of a canonical symbol.

    >>> wire_symbol("AAPL/USD"), wire_symbol("BRK.B/USD")
    ('AAPL', 'BRK.B')

    Raises
    ------
    Misuse
        If it is none of a stock.
    """
    ticker, _, quote = canonical_symbol(symbol).partition("/")
    if quote != "USD":
        raise Misuse(f"symbol {symbol!r} is no US stock; write it as AAPL/USD, or AAPL")
    return ticker


def canonical(name: str) -> str:
    """Return the symbol of a ticker.

    Raises
    ------
    Misuse
        If it is none.
    """
    return canonical_symbol(f"{name}/USD")
