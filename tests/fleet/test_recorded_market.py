"""The fleet over a recorded Binance market: every frame, the right figures, books that balance, the same twice."""

from __future__ import annotations

import json
import shutil
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tests.fleet.conftest import RecordedSession
from tests.fleet.processes import edgefleet, report_of
from tests.unit.book.test_trade_bars import content

from edgefleet.book.bar_columns import TradeColumns, time_bars
from edgefleet.book.grid import WIDTHS_MS
from edgefleet.bus.embedded import EmbeddedServer
from edgefleet.bus.redis_bus import RedisBus
from edgefleet.messages import Bar, Trade
from edgefleet.store.features.offline import FeatureStore
from edgefleet.store.features.online import OnlineFeatures
from edgefleet.store.history import History
from edgefleet.store.market.archive import MarketArchive
from edgefleet.store.market.maintenance import check_archive
from edgefleet.store.market.online import OnlineBars
from edgefleet_services.why import explain

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


INSTRUMENT = "BTC/USDT@sim"


def _bars(session: RecordedSession) -> list[Bar]:
    archive = MarketArchive(session.data_dir / "market")
    return [bar for bar in archive.read(["bar"], writers=["fleet_bars"]) if isinstance(bar, Bar)]


def test_fleet_kept_its_market_and_every_bar_that_it_makes(session_at_max: RecordedSession) -> None:
    archive = MarketArchive(session_at_max.data_dir / "market")
    trades = [trade for trade in archive.read(["trade"]) if isinstance(trade, Trade)]
    columns = TradeColumns.of(trades)

    assert check_archive(archive).whole
    assert len(trades) == 19_904
    for width in WIDTHS_MS.values():
        whole = content(time_bars(columns, width).bars(INSTRUMENT, width))
        ours = content([bar for bar in _bars(session_at_max) if bar.interval_ms == width])
        assert ours == whole[: len(ours)]
        assert len(ours) == len(whole) - 1  # the one that the tape ends in


async def test_newest_row_and_newest_bars_are_in_redis(session_at_max: RecordedSession, tmp_path: Path) -> None:
    store = FeatureStore(session_at_max.data_dir / "market" / "features")
    rows = store.rows(store.find("streaming"), INSTRUMENT)
    shutil.copytree(session_at_max.data_dir / "redis", tmp_path / "redis")
    with EmbeddedServer.start(tmp_path / "redis", 0) as server:
        async with await RedisBus.connect(server.url) as bus:
            online = await OnlineFeatures(bus.redis).read(store.find("streaming"), INSTRUMENT)
            bars = await OnlineBars(bus.redis).read(INSTRUMENT)

    assert online == rows[-1]
    assert online is not None
    assert online.values["vwap_1m"] is not None
    newest = {width: bar for bar in _bars(session_at_max) for width, ms in WIDTHS_MS.items() if bar.interval_ms == ms}
    assert bars == newest


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


def test_why_of_every_fill_goes_back_to_the_market(session_at_max: RecordedSession) -> None:
    """Also where a beat made the verdict: the edge behind it came from an ensemble."""
    for order in _filled_orders(session_at_max):
        with_chain = explain(order, session_at_max.data_dir, redis_url=None, database=None)

        streams = {link.stream for link in with_chain.chain}
        assert with_chain.missing == ()
        assert {"market", "signals", "ensembles", "targets", "orders", "fills"} <= streams, order


def test_why_of_every_refusal_goes_back_to_its_cause(session_at_max: RecordedSession) -> None:
    with History.open(session_at_max.data_dir) as history:
        refusals = [json.loads(entry.data) for entry in history.entries("refusals")]
        for refusal in refusals:
            assert history.cited(refusal["cause"]) is not None, refusal
            assert not refusal["edge_cause"] or history.cited(refusal["edge_cause"]) is not None, refusal
    by_an_edge = [refusal for refusal in refusals if refusal["by"] == "risk" and refusal["edge_bps"] is not None]
    assert by_an_edge
    assert all(refusal["edge_cause"] for refusal in by_an_edge)


def _filled_orders(session: RecordedSession) -> list[str]:
    with History.open(session.data_dir) as history:
        fills = [json.loads(entry.data) for entry in history.entries("fills") if entry.type == "fill.v1"]
    assert fills, "the session has no fill"
    return list(dict.fromkeys(fill["order_id"] for fill in fills))
