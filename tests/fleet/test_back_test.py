"""What the documentation has run each night, on a session of the fleet: its own bars, back-tested."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.fleet.conftest import RecordedSession
from tests.fleet.processes import edgefleet

from edgefleet.messages import Trade
from edgefleet.store.market.archive import MarketArchive
from edgefleet_services.data.tables import read_table
from edgefleet_services.features.nights import FOLDER

pytestmark = [pytest.mark.integration, pytest.mark.timeout(500)]


def test_a_sessions_own_minutes_are_back_tested(session_at_max: RecordedSession, tmp_path: Path) -> None:
    market, closes = session_at_max.data_dir / "market", tmp_path / "closes.csv"

    kept = edgefleet("data", "closes", market, "--symbol", "BTC/USDT", "--interval", "1m", "--out", closes)
    tested = edgefleet("risk", "backtest", "--prices", closes, "--window", "5", "--json")

    assert (kept.returncode, kept.stderr) == (0, "")
    table = read_table(closes)
    assert table.labels is not None
    prices = dict(zip(table.labels, table.values[:, 0].tolist(), strict=True))
    # By hand: the last print of each minute.
    last: dict[int, float] = {}
    for trade in MarketArchive(market).read(["trade"], order="event"):
        assert isinstance(trade, Trade)
        last[trade.ts_event // 60_000_000_000] = float(trade.price)
    # The minute that was open when the session ended is no bar: nobody knows its close.
    expected = [price for _, price in sorted(last.items())][:-1]
    assert [price for price in prices.values() if price > 0] == expected
    assert tested.returncode == 0, tested.stderr
    body = json.loads(tested.stdout)
    assert body["observations"] == len(expected) - 1 - 5
    assert 0 <= body["exceptions"] <= body["observations"]
    # Days of a demo on a tape are nobody's: the fleet itself back-tested nothing.
    assert not (market / FOLDER).exists()
