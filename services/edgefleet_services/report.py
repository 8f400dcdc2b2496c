"""The report of a session in processes: its streams from archive and Redis, its identity from the venue's own books."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from edgefleet.bus.interface import FIRST
from edgefleet.gateway.words import venue_trade
from edgefleet.ledger.identity import amounts
from edgefleet.messages import Session
from edgefleet.replay.report import SessionReport, VenueBooks
from edgefleet.store.history import History
from edgefleet_services.fleet import Books, Finished

REPORTED = ("market", "beats", "signals", "ensembles", "targets", "refusals", "venue.events", "orders", "fills")


def session_report(finished: Finished) -> dict[str, Any]:
    """Return the report of this session alone, where the record holds earlier ones too; reads every stream once."""
    report = SessionReport()
    options = finished.options
    with History.open(options.data_dir, redis_url=options.redis_url) as history:
        before = _before(history, options.session)
        for stream in (*REPORTED, *(name for name in history.streams() if name.startswith("dead."))):
            after = before(stream)
            for entry in history.entries(stream, "-" if after == FIRST else after):
                if entry.id != after:
                    report.take(stream, entry)
    result = report.build(
        session=options.session,
        mode=options.mode,
        instruments=options.instruments,
        quote=options.quote,
        started_ns=finished.started_ns,
        ended_ns=finished.ended_ns,
        venue_books={venue: _books(options.account, venue, said, report) for venue, said in finished.books.items()},
        restarts=finished.restarts,
    )
    result["lag"] = {f"{service}/{stream}": lag for (service, stream), lag in sorted(finished.lags.items())}
    result["first_fill_s"] = finished.first_fill_s
    return result


def _before(history: History, session: str) -> Callable[[str], str]:
    """Return what gives a stream's last id before the session began."""
    for entry in history.entries("control"):
        if entry.type == "session.v1":
            message = msgspec.json.decode(entry.data, type=Session)
            if message.session == session:
                return lambda stream: message.first_ids.get(stream, entry.id)
    return lambda stream: FIRST  # a Redis that lost its data has no earlier session either


def _books(account: str, venue: str, said: Books, report: SessionReport) -> VenueBooks:
    """Return a venue's books; its trade list names its own order ids, ours are added where the fleet knows them."""
    ours = report.order_ids(venue)
    trades = tuple(
        venue_trade(
            trade,
            account=account,
            order_id=trade.order_id or ours.get(trade.venue_order_id, trade.venue_order_id),
            ts_init=trade.ts_event,
        )
        for trade in said.trades
        if report.is_of_session(venue, trade.venue_order_id, trade.trade_id, trade.ts_event)
    )
    return VenueBooks(balances=amounts(said.account.balances), trades=trades)
