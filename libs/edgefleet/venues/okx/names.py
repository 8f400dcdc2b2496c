"""How OKX spells instruments, and how we do. Knows nothing of frames.

`BTC-USDT` is a pair, `BTC-USDT-SWAP` a perpetual, `BTC-USD-240927` a dated contract, `BTC-USD-240927-60000-C` an
option. A contract in USD is inverse: it settles in its base; one in anything else is linear and settles in its quote.
"""

from __future__ import annotations

from edgefleet.errors import Misuse
from edgefleet.instruments import canonical_symbol


def wire_symbol(symbol: str) -> str:
    """Return the venue's spelling of a symbol.

    >>> wire_symbol("BTC/USDT"), wire_symbol("BTC/USDT:USDT"), wire_symbol("BTC/USD:BTC-220527")
    ('BTC-USDT', 'BTC-USDT-SWAP', 'BTC-USD-220527')
    """
    pair, _, settle = canonical_symbol(symbol).partition(":")
    name = pair.replace("/", "-")
    if not settle:
        return name
    dated = settle.partition("-")[2]
    return f"{name}-{dated or 'SWAP'}"


def canonical(name: str) -> str:
    """Return the symbol of an instrument by the venue's spelling.

    >>> canonical("UNI-USD-SWAP"), canonical("BTC-USDT-220527"), canonical("BTC-USD-220527-30000-C")
    ('UNI/USD:UNI', 'BTC/USDT:USDT-220527', 'BTC/USD:BTC-220527-30000-C')

    Raises
    ------
    Misuse
        If it is none that is known.
    """
    base, _, rest = name.partition("-")
    quote, _, contract = rest.partition("-")
    if not quote:
        raise Misuse(f"OKX instrument {name!r} is not readable; it is written as BTC-USDT or BTC-USDT-SWAP")
    if not contract:
        return canonical_symbol(f"{base}/{quote}")
    settle = base if quote == "USD" else quote
    return canonical_symbol(f"{base}/{quote}:{settle}" + ("" if contract == "SWAP" else f"-{contract}"))


def is_contract(name: str) -> bool:
    """Return whether sizes of an instrument are contracts."""
    return name.count("-") > 1


def is_linear(name: str) -> bool:
    """Return whether a contract is a fixed amount of its base: options are, and what is not quoted in USD."""
    parts = name.split("-")
    return len(parts) == 5 or (len(parts) == 3 and parts[1] != "USD")


def kind(name: str) -> str:
    """Return the venue's name of an instrument's kind."""
    parts = name.split("-")
    if len(parts) == 2:
        return "SPOT"
    return "OPTION" if len(parts) == 5 else "SWAP" if parts[2] == "SWAP" else "FUTURES"
