"""Two recorded days of a stock through the whole fleet in one process: hours are kept and the books balance."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from edgefleet.book.sessions import calendar_for
from edgefleet.bus.interface import Entry
from edgefleet.errors import Misuse
from edgefleet.messages import OrderEvent, OrderState, Trade, decode
from edgefleet.params.files import load_fleet
from edgefleet.replay.fleet import InProcessFleet
from edgefleet_services.replay import StockTape, replay_tape

CONF = Path(__file__).resolve().parents[2] / "conf"
pytestmark = [pytest.mark.data, pytest.mark.integration]


def files(recorded: Path) -> list[Path]:
    return [recorded / "stocks_taq" / "trades.csv.gz", recorded / "stocks_taq" / "quotes.csv.gz"]


def silent(_: str) -> None:
    """Take progress and show it to nobody."""


def test_the_sample_replays_through_the_whole_fleet(recorded: Path) -> None:
    report: dict[str, Any] = replay_tape(files(recorded), CONF, ("XXX/USD",), seed=7, progress=silent)

    assert report["identity"] == {
        "cash_and_inventory_balance": "0",
        "ledger_minus_venue": "0",
        "fills_not_at_venue": 0,
        "venue_trades_not_in_ledger": 0,
    }
    assert report["market"]["XXX/USD"]["quotes"] == 69_470  # changes of the best bid and offer over all exchanges
    assert report["fills"] > 0
    assert report["refused"]["MARKET_CLOSED"] > 0
    assert report["dead_letters"] == 0


def test_no_order_leaves_outside_the_trading_hours(recorded: Path) -> None:
    config = load_fleet(CONF)
    tape = StockTape(files(recorded), config, ("XXX/USD",))
    outside: Counter[str] = Counter()
    sent = 0

    def take(stream: str, entry: Entry) -> None:
        nonlocal sent
        if entry.type == "order_event.v1":
            event = decode(entry.type, entry.data)
            assert isinstance(event, OrderEvent)
            if event.state is OrderState.PENDING_NEW:
                sent += 1
                outside["orders"] += not hours.is_open(event.ts_event)
        elif entry.type == "trade.v1" and stream == "market":
            print_ = decode(entry.type, entry.data)
            assert isinstance(print_, Trade)
            outside["prints"] += not hours.is_open(print_.ts_event)

    hours = calendar_for("us_stocks")
    fleet = InProcessFleet(config, tape.venue, tape.exchange, take)
    fleet.open(tape.first_ns)
    for executions, outputs in tape.play():
        fleet.on_executions(executions)
        fleet.on_market(outputs)

    assert sent > 0
    assert outside["orders"] == 0


def test_another_symbol_is_told(recorded: Path) -> None:
    with pytest.raises(Misuse, match="symbol AAPL/USD is not on the tape; it has XXX"):
        replay_tape(files(recorded), CONF, ("AAPL/USD",), seed=7, progress=silent)
