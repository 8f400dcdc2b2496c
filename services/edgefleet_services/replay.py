"""`edgefleet replay`: a tape through the fleet's own stages in this process, and the report of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from edgefleet.clock import SYSTEM
from edgefleet.errors import Misuse
from edgefleet.ids import body_hash
from edgefleet.instruments import split_id
from edgefleet.matching.exchange import SimExchange
from edgefleet.params.files import load_fleet
from edgefleet.replay.fleet import InProcessFleet, exchange_for
from edgefleet.replay.report import SessionReport, VenueBooks
from edgefleet.venues.binance.dialect import BOOK_LEVELS
from edgefleet.venues.binance.feed import BinanceFeed, wire_symbol
from edgefleet.venues.tape import check_tape, read_tape
from edgefleet_services.venue.views import whole_book

VENUE = "sim"
START_BALANCES = {"USDT": Decimal(100_000)}
_TELL_EVERY = 20_000
_SNAPSHOT = b'{"lastUpdateId"'  # a recorded REST answer: what asked for it stood outside the connection


def replay_tape(
    files: Sequence[Path], conf_dir: Path, symbols: tuple[str, ...], *, seed: int, progress: Callable[[str], None]
) -> dict[str, Any]:
    """Return the session report of a replay."""
    config = load_fleet(conf_dir)
    started = SYSTEM.wall_ns()
    summary = check_tape(files)
    absent = [symbol for symbol in symbols if symbol.replace("/", "") not in summary.symbols]
    if absent:
        raise Misuse(f"symbol {', '.join(absent)} is not on the tape; it has {', '.join(summary.symbols)}")
    if not summary.snapshots:
        raise Misuse("the tape has no depth snapshot, so no book can begin; record one beside the stream")
    report = SessionReport()
    exchange = exchange_for(config, VENUE, symbols, START_BALANCES)
    fleet = InProcessFleet(config, VENUE, exchange, report.take)
    interval_ms = config.fleet.touch_interval_ms
    feed = BinanceFeed(VENUE, symbols, touch_interval_ms=interval_ms, waits_for_books=True)
    feed.set_quality(config.features.quality)
    fleet.open(summary.first_ns)
    for number, line in enumerate(read_tape(files), start=1):
        fleet.on_executions(exchange.on_line(line.stamp_ns, line.body))
        if line.body.startswith(_SNAPSHOT):
            fleet.on_market(feed.on_snapshot(f"{symbols[0]}@{VENUE}", line.body, line.stamp_ns))
        else:
            fleet.on_market(feed.on_frame(line.stamp_ns, line.body, line.stamp_ns))
        while feed.lost:  # a snapshot may let frames go among which the next book is lost
            for instrument, update_id in feed.lost.items():
                body = _book_as_of(exchange, instrument, update_id)
                fleet.on_market(feed.on_snapshot(instrument, body, line.stamp_ns))
        if number % _TELL_EVERY == 0:
            progress(f"replay {100 * number // summary.lines:3d} %  {number} of {summary.lines} lines")
    fleet.on_market(feed.on_end(summary.last_ns))
    fleet.close()
    session = f"replay-{body_hash([config.hash, [str(path.name) for path in files], symbols, seed])[:12]}"
    return report.build(
        session=session,
        mode="replay",
        venue=VENUE,
        symbols=symbols,
        started_ns=started,
        ended_ns=SYSTEM.wall_ns(),
        venue_books=VenueBooks(
            balances={asset: balance.total for asset, balance in exchange.account().items() if balance.total},
            trades=fleet.venue_trades(),
        ),
        restarts={},
    )


def _book_as_of(exchange: SimExchange, instrument: str, update_id: int) -> bytes:
    """Return what the simulated venue answers to a consumer that lost its book after `update_id`."""
    book = exchange.markets[wire_symbol(split_id(instrument)[0])].book.as_of(update_id)
    return msgspec.json.encode(whole_book(book, BOOK_LEVELS))
