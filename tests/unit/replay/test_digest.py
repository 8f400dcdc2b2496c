"""Digests: equal where two runs must agree, different where they must not."""

from __future__ import annotations

import pytest

from edgefleet.replay.digest import STREAMS, Digests

QUOTE = b'{"type":"quote.v1","instrument":"BTC/USDT@sim","bid":"1","ts_event":5,"ts_init":6,"trace_id":"t"}'


def _digest(stream: str, *entries: bytes) -> str:
    digests = Digests()
    for entry in entries:
        digests.add(stream, entry)
    return digests.hex()[stream]


@pytest.mark.parametrize("stream", STREAMS)
def test_when_we_received_it_does_not_count(stream: str) -> None:
    assert _digest(stream, QUOTE) == _digest(stream, QUOTE.replace(b'"ts_init":6', b'"ts_init":7'))


@pytest.mark.parametrize("stream", STREAMS)
def test_what_the_venue_said_counts(stream: str) -> None:
    assert _digest(stream, QUOTE) != _digest(stream, QUOTE.replace(b'"bid":"1"', b'"bid":"2"'))


def test_order_counts() -> None:
    other = QUOTE.replace(b'"bid":"1"', b'"bid":"2"')

    assert _digest("market", QUOTE, other) != _digest("market", other, QUOTE)


def test_missing_entry_counts() -> None:
    assert _digest("market", QUOTE) != _digest("market", QUOTE, QUOTE)


def test_id_that_a_venue_gave_does_not_count_in_fills_but_does_in_market() -> None:
    first, second = b'{"type":"fill.v1","trade_id":"1"}', b'{"type":"fill.v1","trade_id":"2"}'

    assert _digest("fills", first) == _digest("fills", second)
    assert _digest("market", first) != _digest("market", second)


def test_stream_that_no_run_compares_is_ignored() -> None:
    digests = Digests()

    digests.add("alerts", b'{"type":"alert.v1"}')

    assert digests.hex() == Digests().hex()


def test_entry_that_is_no_json_counts_as_it_stands() -> None:
    broken, other = Digests(), Digests()
    broken.add("market", b'{"price": NaN')
    other.add("market", b'{"price": Nan')

    assert broken.counts["market"] == 1
    assert broken.hex()["market"] != other.hex()["market"]
