"""The fleet over a recorded Binance market: every frame, the right figures, books that balance, the same twice."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from tests.fleet.conftest import RecordedSession
from tests.fleet.processes import edgefleet, report_of

pytestmark = [pytest.mark.integration, pytest.mark.data, pytest.mark.timeout(900)]

Reports = tuple[dict[str, Any], dict[str, Any]]


def _is_the_recorded_market(market: dict[str, Any]) -> None:
    """The figures of the recording itself, counted from its lines."""
    assert market["trades"] == 19_904
    assert market["volume"] == "437.91552"
    assert abs(Decimal(market["vwap"]) - Decimal("61671.551606654")) < Decimal("1e-9")
    assert market["quotes"] == 73_174
    assert market["book_deltas"] == 6_493
    assert market["last"] == "61602.02"
    assert market["best_bid"] == ["61602.01", "1.67177"]
    assert market["best_ask"] == ["61602.02", "2.66795"]
    assert (market["book_gaps"], market["crossed"]) == (0, 0)


def _traded_and_balanced(report: dict[str, Any]) -> None:
    assert report["approved"] > 0
    assert sum(report["refused"].values()) > 0
    assert report["orders"] > 0
    assert report["fills"] > 0
    assert report["identity"] == {
        "cash_and_inventory_balance": "0",
        "ledger_minus_venue": "0",
        "fills_not_at_venue": 0,
        "venue_trades_not_in_ledger": 0,
    }
    assert report["dead_letters"] == 0
    open_states = {"PENDING_NEW", "ACCEPTED", "PARTIALLY_FILLED", "PENDING_CANCEL", "UNKNOWN"}
    assert not open_states & set(report["order_states"]), report["order_states"]


def test_fleet_sees_the_whole_market(session_at_max: RecordedSession) -> None:
    _is_the_recorded_market(session_at_max.report["market"]["BTC/USDT"])


def test_fleet_trades_and_its_books_balance(session_at_max: RecordedSession) -> None:
    _traded_and_balanced(session_at_max.report)


def test_fleet_has_read_everything(session_at_max: RecordedSession) -> None:
    lags = session_at_max.report["lag"]

    assert {"alpha/market", "router/signals", "risk/ensembles", "executor/targets", "ledger/fills"} <= set(lags)
    assert {name: lag for name, lag in lags.items() if lag} == {}


def test_every_order_was_timed(session_at_max: RecordedSession) -> None:
    timed = session_at_max.report["latency_ms"]["tick_to_order"]

    assert 0 < timed["n"] <= session_at_max.report["orders"]
    assert 0 < timed["p50"] <= timed["p90"] <= timed["p99"] <= timed["max"]


def test_replay_sees_the_same_market(replayed: Reports) -> None:
    _is_the_recorded_market(replayed[0]["market"]["BTC/USDT"])
    _traded_and_balanced(replayed[0])


def test_two_replays_are_the_same(replayed: Reports) -> None:
    first, second = replayed

    assert first["digests"] == second["digests"]
    assert first["equity"] == second["equity"]


def test_fleet_and_replay_saw_and_thought_the_same(session_at_max: RecordedSession, replayed: Reports) -> None:
    compared = ("market", "signals", "ensembles")

    live = {stream: session_at_max.report["digests"][stream] for stream in compared}

    assert live == {stream: replayed[0]["digests"][stream] for stream in compared}


def test_twin_of_the_session_is_equal_in_every_stage(session_at_max: RecordedSession) -> None:
    finished = edgefleet("twin", "--data-dir", session_at_max.data_dir, "--json", timeout_s=300)

    result = report_of(finished)
    assert finished.returncode == 0, result
    assert result["parity"] == 1.0
    assert set(result["stages"]) == {"alpha", "router", "risk", "executor"}
    for name, stage in result["stages"].items():
        assert stage["compared"] == stage["equal"] > 0, name
        assert stage["first_difference"] is None, name


def _explained(session: RecordedSession, subject: str) -> dict[str, Any]:
    finished = edgefleet("why", subject, "--data-dir", session.data_dir, "--json")
    assert finished.returncode == 0, finished.stderr
    return report_of(finished)


def test_why_of_a_symbol_ends_in_a_verdict(session_at_max: RecordedSession) -> None:
    answer = _explained(session_at_max, "BTC/USDT")

    streams = [link["stream"] for link in answer["chain"]]
    assert answer["missing"] == []
    assert "market" in streams
    assert {"targets", "refusals"} & set(streams)


def test_why_of_a_fill_goes_back_to_the_market(session_at_max: RecordedSession) -> None:
    verdicts = _explained(session_at_max, "BTC/USDT")
    assert verdicts["lookup_ms"] < 5_000
    order = _any_filled_order(session_at_max)

    answer = _explained(session_at_max, order)

    assert answer["missing"] == []
    streams = {link["stream"] for link in answer["chain"]}
    assert {"market", "signals", "ensembles", "targets", "orders", "fills"} <= streams


def _any_filled_order(session: RecordedSession) -> str:
    """Return an order that an edge called for; one that a beat called for (what is held may no longer be) has none."""
    from edgefleet.store.history import History

    with History.open(session.data_dir) as history:
        targets = {f"targets/{entry.id}": json.loads(entry.data) for entry in history.entries("targets")}
        called_for = {name for name, target in targets.items() if target["cause"].startswith("ensembles/")}
        orders = [json.loads(entry.data) for entry in history.entries("orders")]
        ours = {order["order_id"] for order in orders if order["cause"] in called_for}
        for entry in history.entries("fills"):
            if entry.type == "fill.v1" and (order_id := json.loads(entry.data)["order_id"]) in ours:
                return str(order_id)
    raise AssertionError("the session has no fill of an order that an edge called for")
