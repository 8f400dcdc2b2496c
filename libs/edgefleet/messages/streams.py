"""Which messages flow in which stream, who writes them and who reads them: the table the documents are made from."""

from __future__ import annotations

from typing import Any, NamedTuple

from edgefleet.messages import control, market, orders, signals, system, verdicts


class StreamCard(NamedTuple):
    """One stream of the fleet."""

    name: str
    messages: tuple[type[Any], ...]
    written_by: tuple[str, ...]
    read_by: tuple[str, ...]


STREAMS: tuple[StreamCard, ...] = (
    StreamCard(
        "control",
        (control.Session, control.TradingState, control.Command, control.BreakerMoved, control.NightlyVar),
        ("supervisor", "the latch Function", "operators", "risk", "features"),
        ("risk", "executor", "ledger", "monitor"),
    ),
    StreamCard(
        "market",
        (
            market.Trade,
            market.Quote,
            market.BookSnapshot,
            market.BookDelta,
            market.Bar,
            market.Beat,
            market.VenueStatus,
            market.News,
            market.OnChain,
        ),
        ("ingestion",),
        ("alpha", "features", "monitor"),
    ),
    StreamCard(
        "beats", (market.Beat, market.Touch, market.Bar), ("ingestion",), ("risk", "executor", "ledger", "monitor")
    ),
    StreamCard("signals", (signals.Signals, signals.Watermark), ("alpha",), ("router", "monitor")),
    StreamCard(
        "ensembles", (signals.Ensemble, signals.ModelSwitched, signals.Watermark), ("router",), ("risk", "monitor")
    ),
    StreamCard("targets", (verdicts.Approved,), ("risk",), ("executor", "monitor")),
    StreamCard("refusals", (verdicts.Refused,), ("risk", "executor"), ("monitor",)),
    StreamCard(
        "venue.events",
        (orders.Account, orders.VenueOrder, orders.VenueTrade, orders.GatewayOutcome, orders.Reconciled),
        ("executor",),
        ("executor",),
    ),
    StreamCard("orders", (orders.OrderEvent,), ("executor",), ("risk", "ledger", "monitor")),
    StreamCard("fills", (orders.Fill, orders.Account), ("executor",), ("risk", "ledger", "monitor")),
    StreamCard(
        "params.history",
        (system.ParamVersion, system.ConfigBody, system.ParamRejected),
        ("params",),
        ("every service",),
    ),
    StreamCard("alerts", (system.Alert, system.InputLost, system.Rollback), ("every service",), ("monitor", "ledger")),
    StreamCard("dead.<service>", (system.DeadLetter,), ("every stage",), ("monitor",)),
    StreamCard("journal.<service>", (system.Journal,), ("the commit Function",), ("the stage itself", "twin")),
    StreamCard("model.switch.log", (signals.ModelSwitched,), ("router",), ("monitor",)),
)
