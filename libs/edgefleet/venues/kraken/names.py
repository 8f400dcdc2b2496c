"""How Kraken writes pairs: v2 as the rest of the world, v1 and REST with its own names of two assets."""

from __future__ import annotations

from edgefleet.instruments import canonical_symbol

_V1_NAMES = {"BTC": "XBT", "DOGE": "XDG"}
_OUR_NAMES = {theirs: ours for ours, theirs in _V1_NAMES.items()}


def spell(symbol: str) -> str:
    """Return the spelling of v2, which is ours: ``BTC/USD``."""
    return canonical_symbol(symbol).partition(":")[0]


def spell_v1(symbol: str) -> str:
    """Return the spelling of v1: ``XBT/USD`` for ``BTC/USD``."""
    base, _, quote = spell(symbol).partition("/")
    return f"{_V1_NAMES.get(base, base)}/{_V1_NAMES.get(quote, quote)}"


def canonical(name: str) -> str:
    """Return ``BTC/USD`` for a name of v2 or v1.

    Raises
    ------
    Misuse
        If `name` is not readable as a pair.

    Examples
    --------
    >>> canonical("XBT/USD"), canonical("DOGE/USD"), canonical("ETH/XBT")
    ('BTC/USD', 'DOGE/USD', 'ETH/BTC')
    """
    base, _, quote = canonical_symbol(name).partition("/")
    return f"{_OUR_NAMES.get(base, base)}/{_OUR_NAMES.get(quote, quote)}"
