"""Binance's private side: what an error proves, what a frame says, how a request is signed."""

from __future__ import annotations

import doctest
import hashlib
import hmac
from decimal import Decimal
from urllib.parse import urlencode

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefleet.errors import Poison
from edgefleet.units import decimal_text
from edgefleet.venues.binance import errors, reports, signing
from edgefleet.venues.binance.errors import ErrorBody
from edgefleet.venues.interface import AccountUpdate, OrderUpdate

NAMES = reports.Names("sim", ("BTC/USDT",))
REPORT = {
    "e": "executionReport",
    "s": "BTCUSDT",
    "c": "cancel-1",
    "C": "ef1",
    "S": "BUY",
    "o": "LIMIT",
    "q": "1.00000000",
    "p": "0.10264410",
    "X": "PARTIALLY_FILLED",
    "i": 4293153,
    "l": "0.40000000",
    "z": "0.40000000",
    "L": "0.10264410",
    "n": "0.00040000",
    "N": "BTC",
    "T": 1499405658657,
    "t": 77,
    "m": True,
}


def test_signature_is_that_of_the_documentation() -> None:
    assert doctest.testmod(signing).failed == 0
    assert doctest.testmod(signing).attempted == 1


@pytest.mark.parametrize(
    ("status", "code", "text", "proves"),
    [
        (400, -1013, "Filter failure: LOT_SIZE", True),
        (400, -2010, "Account has insufficient balance for requested action.", True),
        (400, -1021, "Timestamp for this request is outside of the recvWindow.", True),
        (401, -2015, "Invalid API-key, IP, or permissions for action.", True),
        (400, -2010, "Duplicate order sent.", False),
        (400, -1007, "Timeout waiting for response from backend server.", False),
        (400, -1006, "An unexpected response was received from the message bus.", False),
        (400, -1000, "An unknown error occurred while processing the request.", False),
        (503, -1013, "Filter failure: LOT_SIZE", False),
    ],
)
def test_only_some_errors_prove_that_an_order_does_not_exist(status: int, code: int, text: str, proves: bool) -> None:
    assert errors.is_rejection(status, ErrorBody(code, text)) is proves


def test_answer_without_an_error_body_proves_nothing() -> None:
    assert errors.error_body(b"<html>") is None
    assert not errors.is_rejection(403, None)


def test_execution_report_names_the_order_by_its_first_name_and_carries_the_trade() -> None:
    update = reports.user_event(msgspec.json.encode(REPORT), NAMES)

    assert isinstance(update, OrderUpdate)
    assert (update.order.instrument, update.order.order_id, str(update.order.filled)) == ("BTC/USDT@sim", "ef1", "0.4")
    assert update.trade is not None
    assert (update.trade.trade_id, update.trade.fee, update.trade.liquidity) == ("77", Decimal("0.0004"), "maker")


def test_execution_without_its_fee_is_told_as_incomplete_and_not_as_a_trade() -> None:
    update = reports.user_event(msgspec.json.encode(REPORT | {"n": None, "N": None}), NAMES)

    assert isinstance(update, OrderUpdate)
    assert update.trade is None
    assert update.trade_incomplete


def test_end_of_the_listen_key_and_frames_of_no_interest() -> None:
    assert reports.user_event(b'{"e":"listenKeyExpired"}', NAMES) == "expired"
    assert reports.user_event(b'{"e":"balanceUpdate"}', NAMES) is None


def test_unreadable_answer_is_poison_and_not_a_guess() -> None:
    with pytest.raises(Poison, match="not readable"):
        reports.order_answer(b'{"symbol": 1}', NAMES)


NAMES_OF_PARAMETERS = st.sampled_from(["symbol", "quantity", "price", "newClientOrderId"])


@given(st.dictionaries(NAMES_OF_PARAMETERS, st.one_of(st.from_regex(r"[A-Z0-9.]{1,12}", fullmatch=True), st.text())))
def test_a_signed_query_is_the_encoded_one_with_its_hmac(params: dict[str, str]) -> None:
    try:
        query = urlencode({**params, "recvWindow": "5000", "timestamp": "1499827319559"})
    except UnicodeEncodeError:  # a lone surrogate is no text that anybody sends
        return
    signature = hmac.new(b"secret", query.encode(), hashlib.sha256).hexdigest()

    signed = signing.signed_query(params, b"secret", timestamp_ms=1499827319559, recv_window_ms=5000)

    assert signed == f"{query}&signature={signature}"


@given(st.decimals(allow_nan=False, allow_infinity=False, places=8), st.integers(0, 6))
def test_a_plain_number_is_spelled_alike_however_the_venue_spelled_it(value: Decimal, zeros: int) -> None:
    longer = Decimal(f"{value:f}" + "0" * zeros) if "." in f"{value:f}" else value

    spelled = str(reports._plain(longer))

    assert spelled == str(reports._plain(value)) == str(Decimal(decimal_text(longer)))


POSITION = b'{"e":"outboundAccountPosition","E":1,"u":2,"B":[{"a":"USDT","f":"10.00","l":"0.50"}]}'


@pytest.mark.parametrize("event", [msgspec.json.encode(REPORT), POSITION], ids=["order", "balances"])
def test_an_event_is_read_alike_by_itself_and_in_the_envelope_of_the_websocket_api(event: bytes) -> None:
    alone = reports.user_event(event, NAMES)
    wrapped = reports.user_event(b'{"subscriptionId":0,"event":%s}' % event, NAMES)
    kind_last = reports.user_event(msgspec.json.encode(dict(reversed(msgspec.json.decode(event).items()))), NAMES)

    assert isinstance(alone, OrderUpdate | AccountUpdate)
    assert alone == wrapped == kind_last
