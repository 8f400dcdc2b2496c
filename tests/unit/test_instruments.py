"""Names of instruments: every accepted spelling, and what is refused."""

from __future__ import annotations

import pytest

from edgefleet.errors import Misuse
from edgefleet.instruments import canonical_symbol, instrument_id, split_id


@pytest.mark.parametrize(
    ("text", "symbol"),
    [
        ("btcusdt", "BTC/USDT"),
        ("ETH-USDT", "ETH/USDT"),
        ("aapl", "AAPL/USD"),
        ("brk.b", "BRK.B/USD"),
        ("btc/usdt:usdt", "BTC/USDT:USDT"),
        ("BTC-USDT:USDT", "BTC/USDT:USDT"),
        ("BTC/USD:BTC-220527", "BTC/USD:BTC-220527"),
        ("btc-usd:btc-220527", "BTC/USD:BTC-220527"),
        ("BTC/USD:BTC-220527-30000-C", "BTC/USD:BTC-220527-30000-C"),
        ("XRP/USD:XRP-261225-0.55-P", "XRP/USD:XRP-261225-0.55-P"),
    ],
)
def test_accepted_spellings(text: str, symbol: str) -> None:
    assert canonical_symbol(text) == symbol
    assert canonical_symbol(symbol) == symbol
    assert split_id(instrument_id(text, "okx")) == (symbol, "okx")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "BTC/",
        "/USDT",
        "BTC/USDT:",
        "BTC-USDT-SWAP",
        "BTC/USDT:USDT-",
        "BTC/USDT:USDT-2205",
        "BTC/USDT:USDT-220527-30000",
        "BTC/USDT:USDT-220527-30000-X",
        "BTC/USDT:US@T",
    ],
)
def test_what_is_no_symbol_is_refused(text: str) -> None:
    with pytest.raises(Misuse):
        canonical_symbol(text)
