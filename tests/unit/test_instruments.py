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
        ("googl", "GOOGL/USD"),
        ("xrpaud", "XRP/AUD"),
        ("btcusd", "BTC/USD"),
        ("1000satsusdt", "1000SATS/USDT"),
        ("usdcusdt", "USDC/USDT"),
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
    ("text", "readings"),
    [
        ("btcpyusd", "BTC/PYUSD or BTCPY/USD"),
        ("btcfdusd", "BTC/FDUSD or BTCFD/USD"),
        ("dotusd", "DO/TUSD or DOT/USD"),
        ("bnbusd", "BN/BUSD or BNB/USD"),
        ("tusdt", "T/USDT or TUSDT/USD"),
        ("opusd", "OP/USD or OPUSD/USD"),
    ],
)
def test_a_symbol_that_may_be_two_is_refused_with_both(text: str, readings: str) -> None:
    with pytest.raises(Misuse, match=f"{text!r} may be {readings}; write it so, with the slash"):
        canonical_symbol(text)


@pytest.mark.parametrize("text", ["btcxyz", "xrpzar", "600519", "btcusd1", "S2"])
def test_a_symbol_whose_quote_is_not_known_is_refused(text: str) -> None:
    with pytest.raises(Misuse, match="no quote asset that is known; write it as BASE/QUOTE"):
        canonical_symbol(text)


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
