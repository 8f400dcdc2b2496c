"""The simulated venue's REST side: signatures, refusals, faults, and starts that cannot be."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from edgefleet.clock import NS_PER_MS, SYSTEM
from edgefleet.errors import FleetError, Misuse, OutOfReach
from edgefleet_services.options import DEMO_KEY
from edgefleet_services.venue.service import Venue, VenueOptions

from .venue_server import RunningVenue, running, signed_query

pytestmark = pytest.mark.integration

MARKET_BUY = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.01"}


def options(**more: Any) -> VenueOptions:
    return VenueOptions(market="synthetic", port=0, balances={"USDT": Decimal(100_000)}, warm_up_s=10, **more)


@pytest.fixture(scope="module")
def venue() -> Iterator[RunningVenue]:
    with running(options()) as venue:
        yield venue


@pytest.mark.parametrize(
    ("headers", "query", "status", "code"),
    [
        ({}, "timestamp=1&signature=x", 401, -2014),
        ({"X-MBX-APIKEY": "someone"}, "timestamp=1&signature=x", 401, -2015),
        ({"X-MBX-APIKEY": DEMO_KEY}, "signature=x", 400, -1102),
        ({"X-MBX-APIKEY": DEMO_KEY}, "timestamp=abc&signature=x", 400, -1100),
        ({"X-MBX-APIKEY": DEMO_KEY}, "timestamp=1&signature=x", 400, -1021),
        ({"X-MBX-APIKEY": DEMO_KEY}, "timestamp=99999999999999&signature=x", 400, -1021),
    ],
)
def test_unauthentic_request_is_refused(
    venue: RunningVenue, headers: dict[str, str], query: str, status: int, code: int
) -> None:
    answer = httpx.get(f"{venue.rest}/account?{query}", headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_wrong_signature_is_refused(venue: RunningVenue) -> None:
    query = f"timestamp={SYSTEM.wall_ns() // NS_PER_MS}"
    for signature, code in ((f"&signature={'0' * 64}", -1022), ("", -1102)):
        answer = httpx.get(f"{venue.rest}/account?{query}{signature}", headers={"X-MBX-APIKEY": DEMO_KEY})
        assert (answer.status_code, answer.json()["code"]) == (400, code)


def test_signature_covers_query_and_body(venue: RunningVenue) -> None:
    body = signed_query(**MARKET_BUY)
    answer = httpx.post(f"{venue.rest}/order", content=body, headers={"X-MBX-APIKEY": DEMO_KEY})
    tampered = httpx.post(
        f"{venue.rest}/order", content=body.replace("0.01", "0.02"), headers={"X-MBX-APIKEY": DEMO_KEY}
    )

    assert answer.json()["status"] == "FILLED"
    assert tampered.json()["code"] == -1022


@pytest.mark.parametrize(
    ("method", "path", "params", "code"),
    [
        ("POST", "order", MARKET_BUY | {"symbol": "NOPE"}, -1121),
        ("POST", "order", MARKET_BUY | {"side": "UP"}, -1117),
        ("POST", "order", MARKET_BUY | {"type": "STOP_LOSS"}, -1116),
        ("POST", "order", MARKET_BUY | {"quantity": "a"}, -1100),
        ("POST", "order", MARKET_BUY | {"quantity": "NaN"}, -1100),
        ("POST", "order", MARKET_BUY | {"quantity": "0.000001"}, -1013),
        ("POST", "order", MARKET_BUY | {"quantity": "100"}, -2010),
        ("POST", "order", {"symbol": "BTCUSDT"}, -1102),
        ("DELETE", "order", {"symbol": "BTCUSDT", "orderId": "999"}, -2011),
        ("DELETE", "order", {"symbol": "BTCUSDT"}, -1102),
        ("GET", "order", {"symbol": "BTCUSDT", "origClientOrderId": "nobody"}, -2013),
        ("GET", "account", {"recvWindow": "70000"}, -1131),
    ],
)
def test_refusal_has_binances_code(
    venue: RunningVenue, method: str, path: str, params: dict[str, str], code: int
) -> None:
    answer = venue.signed(method, path, **params)

    assert (answer.status_code, answer.json()["code"]) == (400, code)


def test_market_data_refusals_have_binances_codes(venue: RunningVenue) -> None:
    assert venue.get("depth")["code"] == -1102
    assert venue.get("depth", symbol="NOPE")["code"] == -1121
    assert venue.get("klines", symbol="BTCUSDT", interval="7m")["code"] == -1120
    assert venue.get("trades", symbol="BTCUSDT", limit=0)["code"] == -1130


def test_used_weight_is_told(venue: RunningVenue) -> None:
    first = httpx.get(f"{venue.rest}/depth", params={"symbol": "BTCUSDT", "limit": 5_000})
    answer = venue.signed("POST", "order", **MARKET_BUY)

    assert int(first.headers["x-mbx-used-weight-1m"]) >= 250
    assert int(answer.headers["x-mbx-order-count-10s"]) >= 1


def test_health_and_metrics_answer_on_the_same_port(venue: RunningVenue) -> None:
    root = venue.rest.removesuffix("/api/v3")

    assert httpx.get(f"{root}/health").json()["status"] == "ok"
    assert 'edgefleet_messages_total{service="venue",type="Trade"}' in httpx.get(f"{root}/metrics").text


# --- faults


@pytest.fixture
def faulty(venue: RunningVenue) -> Iterator[RunningVenue]:
    yield venue
    quiet = {"hold_order_response_ms": 0, "drop_order_response": 0, "order_http_error": 0}
    httpx.post(f"{venue.sim}/faults", json=quiet)


def test_dropped_answer_leaves_the_order_at_the_venue(faulty: RunningVenue) -> None:
    httpx.post(f"{faulty.sim}/faults", json={"drop_order_response": 1})

    with pytest.raises(httpx.RemoteProtocolError):
        faulty.signed("POST", "order", **MARKET_BUY, newClientOrderId="dropped")

    found = faulty.signed("GET", "order", symbol="BTCUSDT", origClientOrderId="dropped").json()
    assert found["status"] == "FILLED"
    assert httpx.get(f"{faulty.sim}/faults").json()["drop_order_response"] == 0


@pytest.mark.parametrize(("when", "there"), [("before", False), ("after", True)])
def test_server_error_strikes_before_or_after_the_order(faulty: RunningVenue, when: str, there: bool) -> None:
    name = f"error-{when}"
    httpx.post(f"{faulty.sim}/faults", json={"order_http_error": 1, "order_http_error_when": when})

    assert faulty.signed("POST", "order", **MARKET_BUY, newClientOrderId=name).status_code == 503

    found = faulty.signed("GET", "order", symbol="BTCUSDT", origClientOrderId=name).json()
    assert ("orderId" in found) is there
    assert faulty.signed("POST", "order", **MARKET_BUY).status_code == 200


def test_held_answer_comes_late_while_the_order_is_there(faulty: RunningVenue) -> None:
    httpx.post(f"{faulty.sim}/faults", json={"hold_order_response_ms": 300})
    query = signed_query(**MARKET_BUY, newClientOrderId="held")

    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{faulty.rest}/order?{query}", headers={"X-MBX-APIKEY": DEMO_KEY}, timeout=0.1)

    assert faulty.signed("GET", "order", symbol="BTCUSDT", origClientOrderId="held").json()["status"] == "FILLED"


def test_unknown_fault_is_refused(faulty: RunningVenue) -> None:
    assert httpx.post(f"{faulty.sim}/faults", json={"explode": 1}).status_code == 400


# --- the account over restarts, and starts that cannot be


def test_account_outlives_the_process(tmp_path: Path) -> None:
    state = tmp_path / "venue.json"
    with running(options(state_file=state)) as venue:
        venue.signed("POST", "order", **MARKET_BUY, newClientOrderId="kept")
        before = venue.signed("GET", "account").json()["balances"]

    with running(options(state_file=state)) as venue:
        assert venue.signed("GET", "account").json()["balances"] == before
        assert venue.signed("GET", "order", symbol="BTCUSDT", origClientOrderId="kept").json()["status"] == "FILLED"
        assert [path.name for path in tmp_path.iterdir()] == ["venue.json"]


def test_port_in_use_is_one_clear_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        with (
            pytest.raises(OutOfReach, match=f"127.0.0.1:{port}.*in use") as error,
            running(VenueOptions(market="synthetic", port=port, warm_up_s=1)),
        ):
            pass

    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"symbols": ("FOO/USDT",)}, "FOO/USDT"),
        ({"market": "tape", "tape": (Path("nowhere.gz"),)}, "nowhere.gz: cannot be read"),
        ({"market": "tape", "speed": "fast"}, "speed"),
        ({"market": "tape", "speed": "-1"}, "speed"),
        ({"market": "relay"}, "upstream"),
        ({"balances": {"USDT": Decimal(-1)}}, "negative"),
    ],
)
def test_wrong_option_is_told_before_anything_starts(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(Misuse, match=said):
        Venue(VenueOptions(**wrong))


def test_tape_without_the_symbol_is_told(tmp_path: Path) -> None:
    tape = tmp_path / "tape"
    tape.write_text('1 {"stream":"btcusdt@bookTicker","data":{"u":1,"s":"BTCUSDT","b":"1","B":"1","a":"2","A":"1"}}\n')

    with pytest.raises(Misuse, match="holds BTCUSDT, not ETHUSDT"):
        Venue(VenueOptions(market="tape", tape=(tape,), symbols=("ETH/USDT",)))


def test_unreadable_state_file_is_told(tmp_path: Path) -> None:
    state = tmp_path / "venue.json"
    state.write_text("{}")

    with pytest.raises(FleetError, match=r"venue\.json: not a saved account"):
        Venue(options(state_file=state))
