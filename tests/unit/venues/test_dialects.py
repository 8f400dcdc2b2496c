"""Every dialect that configuration may name is there, and what names none is told so."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from edgefleet.errors import Misuse
from edgefleet.params.schema.venues import DIALECTS, VenueParams
from edgefleet.venues.capture import read_capture
from edgefleet.venues.dialect import dialect, which_dialect


def test_a_name_in_the_table_is_known_to_configuration_and_to_who_asks_for_the_dialect(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(DIALECTS, "myvenue", DIALECTS["kraken"])

    assert dialect("myvenue") is dialect("kraken")
    assert VenueParams(dialect="myvenue", rest_url="", stream_url="").dialect == "myvenue"


@pytest.mark.parametrize("name", DIALECTS)
def test_a_dialect_is_called_by_its_name(name: str) -> None:
    if find_spec(DIALECTS[name].rpartition(".")[0]) is None or find_spec(DIALECTS[name]) is None:
        pytest.fail(f"{DIALECTS[name]} is not there")

    found = dialect(name)

    assert found.name == name
    pair = {"alpaca": "AAPL/USD", "binance_usdm": "BTC/USDT:USDT"}.get(name, "BTC/USD")
    assert found.canonical(found.spell(pair)) == pair


def test_an_unknown_dialect_is_told_with_those_there_are() -> None:
    with pytest.raises(Misuse, match="'ftx' is unknown; there are binance"):
        dialect("ftx")


@pytest.mark.parametrize("name", ["OKX", "Kraken", "Binance_USDM", "CCXT:Bybit"])
def test_a_dialect_is_found_in_whatever_case_it_is_written(name: str) -> None:
    assert dialect(name).name == name.lower()
    assert VenueParams(dialect=name, rest_url="", stream_url="").dialect == name.lower()


SPOT = (
    b'{"stream":"btcusdt@trade","data":{"e":"trade","E":2,"s":"BTCUSDT","t":1,"p":"1","q":"1","T":1,"m":true,"M":true}}',
    b'{"stream":"btcusdt@bookTicker","data":{"u":1,"s":"BTCUSDT","b":"1","B":"1","a":"2","A":"1"}}',
    b'{"stream":"btcusdt@depth@100ms","data":{"e":"depthUpdate","E":1,"s":"BTCUSDT","U":1,"u":1,"b":[],"a":[]}}',
)
USDM = (
    b'{"stream":"btcusdt@trade","data":{"e":"trade","E":2,"T":1,"s":"BTCUSDT","t":1,"p":"1","q":"1","X":"MARKET","m":true}}',
    b'{"stream":"btcusdt@bookTicker","data":{"e":"bookTicker","u":1,"s":"BTCUSDT","b":"1","B":"1","a":"2","A":"1","E":1}}',
    b'{"stream":"btcusdt@depth@0ms","data":{"e":"depthUpdate","E":1,"s":"BTCUSDT","U":1,"u":1,"pu":0,"b":[],"a":[]}}',
)
FRAMES = {
    "binance": SPOT,
    "binance_usdm": USDM,
    "coinbase": (b'{"type":"l2update","product_id":"BTC-USD","changes":[],"time":"2021-10-12T00:24:34.859Z"}',),
    "coinbase_advanced": (
        b'{"channel":"l2_data","timestamp":"2024-05-01T12:00:00Z","sequence_num":0,'
        b'"events":[{"type":"update","product_id":"BTC-USD","updates":[]}]}',
    ),
    "kraken": (b'{"channel":"book","type":"update","data":[{"symbol":"BTC/USD","bids":[],"asks":[],"checksum":1}]}',),
    "kraken_v1": (b'[336,{"b":[["1.0","0.0","1557070785.898642"]],"c":"1"},"book-10","XBT/USD"]',),
    "okx": (b'{"arg":{"channel":"books5","instId":"BTC-USDT"},"data":[]}',),
    "alpaca": (
        b'[{"T":"q","S":"AAPL","ax":"Q","ap":2.0,"as":1,"bx":"Q","bp":1.0,"bs":1,"c":["R"],'
        b'"t":"2024-05-01T12:00:00Z","z":"C"}]',
    ),
}


@pytest.mark.parametrize("name", DIALECTS)
def test_frames_tell_which_dialect_reads_them(name: str) -> None:
    frames = [b'{"result":null,"id":1}', *FRAMES[name]]

    assert which_dialect(frames) == name


def test_of_frames_that_nobody_reads_no_dialect_is_named() -> None:
    assert which_dialect([b"", b"\xff", b"<html>", b"[1,2,3,4]", b'{"event":"heartbeat"}']) is None
    assert which_dialect([]) is None


@pytest.mark.parametrize("frame", USDM)
def test_spot_claims_no_frame_of_usdm(frame: bytes) -> None:
    assert dialect("binance").names(frame) == ()
    assert dialect("binance_usdm").names(frame) == ("BTCUSDT",)


@pytest.mark.data
@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("binance_spot/btcusdt_20240808.gz", "binance"),
        ("binance_us/BINANCE_US.ws.1.0.gz", "binance"),
        ("binance_usdm/btcusdt_20240808.gz", "binance_usdm"),
        ("coinbase/COINBASE.ws.28.0.gz", "coinbase"),
        ("okx/OKX.ws.1.0.gz", "okx"),
    ],
)
def test_recordings_tell_which_dialect_reads_them(recorded: Path, path: str, name: str) -> None:
    frames = (line.body for line in read_capture([recorded / path]) if line.kind == "frame")

    assert which_dialect(frames) == name
