"""Why an order was sent, or why none was: the chain of entries from the market to the fill or the refusal.

Reads the record (archive and, where a fleet runs, its Redis) and the ledger's index. Decides nothing anew.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from edgefleet.clock import NS_PER_MS, NS_PER_S, SYSTEM, iso
from edgefleet.errors import Misuse
from edgefleet.instruments import instrument_id, split_id
from edgefleet.messages import (
    Approved,
    Beat,
    BookDelta,
    BookSnapshot,
    BreakerMoved,
    Ensemble,
    Fill,
    GatewayOutcome,
    Message,
    OrderEvent,
    Quote,
    Refusal,
    Refused,
    Signals,
    Touch,
    Trade,
    TradingState,
    VenueOrder,
    VenueTrade,
    decode,
)
from edgefleet.store.db import LedgerDatabase, LookupRow, Transaction, database_url
from edgefleet.store.history import History
from edgefleet.units import decimal_text

_BREAKER_TAG = str(BreakerMoved.__struct_config__.tag)
MAX_CAUSES = 12  # a chain is market, signals, ensembles, targets, orders, venue.events, fills: a longer one is no chain


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of a chain."""

    stream: str
    id: str
    type: str
    message: Any


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What led to something, oldest first."""

    subject: str
    chain: tuple[Link, ...]
    missing: tuple[str, ...]  # causes that are cited and no longer on record
    lookup_ms: float


def explain(
    subject: str, data_dir: Path, *, redis_url: str | None, database: str | None, at_ns: int | None = None
) -> Answer:
    """Return the chain of an order, a target, or of an instrument's latest verdict.

    Raises
    ------
    Misuse
        If the record knows nothing under that name.
    """
    started = SYSTEM.monotonic_ns()
    books = LedgerDatabase(database_url(data_dir, database))
    try:
        with History.open(data_dir, redis_url=redis_url) as history, books.reading() as index:
            rows = _rows(index, subject, at_ns)
            if not rows:
                when = "" if at_ns is None else f" until {iso(at_ns)}"
                raise Misuse(f"nothing on record about {subject!r}{when}; name an order id, a target id, or a symbol")
            chain, missing = _chain(history, rows)
    finally:
        books.close()
    elapsed = (SYSTEM.monotonic_ns() - started) / NS_PER_MS
    return Answer(subject=subject, chain=chain, missing=missing, lookup_ms=round(elapsed, 1))


def _rows(index: Transaction, subject: str, at_ns: int | None) -> list[LookupRow]:
    rows = index.entries_of_order(subject)
    if rows:
        targets = {row.target_id for row in rows if row.target_id}
        return rows + [
            row for target in sorted(targets) for row in index.entries_of_target(target) if row.order_id is None
        ]
    rows = index.entries_of_target(subject)
    if rows:
        return rows
    symbol, at, venue = subject.partition("@")
    if at and "/" not in symbol:
        subject = instrument_id(symbol, venue)
    return _latest_verdict(index, subject, at_ns) if "/" in subject else rows


def _latest_verdict(index: Transaction, symbol: str, at_ns: int | None) -> list[LookupRow]:
    verdicts = [
        row
        for instrument in ([symbol] if "@" in symbol else index.instruments_of(symbol))
        for row in index.entries_of_instrument(instrument, until=at_ns, limit=200)
        if row.stream in ("targets", "refusals")
    ]
    if not verdicts:
        return []
    traded = {row.instrument for row in verdicts if row.stream == "targets"}
    if len(traded) > 1:
        names = ", ".join(sorted(traded))
        raise Misuse(f"{symbol} is traded at several venues, {names}; name one of them")
    newest = max(verdicts, key=lambda row: (row.ts_event, row.id))
    return index.entries_of_target(newest.target_id) if newest.target_id else [newest]


def _chain(history: History, rows: list[LookupRow]) -> tuple[tuple[Link, ...], tuple[str, ...]]:
    links: dict[str, Link] = {}
    missing: list[str] = []
    for row in rows:
        _follow(history, f"{row.stream}/{row.id}", links, missing)
    for link in tuple(links.values()):
        _follow(history, getattr(link.message, "edge_cause", "") or None, links, missing)
        if isinstance(link.message, Refused) and link.message.reason is Refusal.BREAKER:
            opened = _opening(history, link)
            if opened is None:
                missing.append(f"the opening of breaker {link.message.detail}")
            _follow(history, opened, links, missing)
    ordered = sorted(links.values(), key=lambda link: (_ORDER.get(link.stream, len(_ORDER)), _key(link.id)))
    return tuple(ordered), tuple(missing)


def _opening(history: History, refusal: Link) -> str | None:
    """Return the entry of `control` that tells of the breaker a refusal names, as it stood then, None without one.

    Its last move before the refusal, in the instrument's venue or account or in the whole fleet.
    """
    refused: Refused = refusal.message
    symbol, venue = split_id(refused.instrument)
    quote = symbol.rpartition("/")[2].partition(":")[0]
    scopes, found = ("", venue, f"{venue}|{quote}", f"{refused.account}|{quote}"), None
    # Ids begin with the server's ms, so what came later, of a later session too, is not looked at.
    for entry in history.entries("control", last=f"{_key(refusal.id)[0]}-{2**64 - 1}"):
        if entry.type != _BREAKER_TAG:
            continue
        moved = decode(entry.type, entry.data)
        if not isinstance(moved, BreakerMoved) or moved.breaker != refused.detail:
            continue
        if moved.scope in scopes and moved.ts_event <= refused.ts_event:
            found = f"control/{entry.id}" if moved.after == "OPEN" else None
    return found


def _follow(history: History, cited: str | None, links: dict[str, Link], missing: list[str]) -> None:
    for _ in range(MAX_CAUSES):
        if cited is None or cited in links:
            return
        entry = history.cited(cited)
        if entry is None:
            missing.append(cited)
            return
        stream = cited.rpartition("/")[0]
        message = decode(entry.type, entry.data)
        links[cited] = Link(stream=stream, id=entry.id, type=entry.type, message=message)
        cited = getattr(message, "cause", None)


_ORDER = {
    name: rank
    for rank, name in enumerate(
        ("market", "signals", "ensembles", "beats", "control", "targets", "refusals", "orders", "venue.events", "fills")
    )
}


def _key(entry_id: str) -> tuple[int, int]:
    milliseconds, _, sequence = entry_id.partition("-")
    return int(milliseconds), int(sequence)


def told(answer: Answer) -> list[str]:
    """Return the chain as lines for people, one per entry, with the numbers that decided."""
    lines = [f"why {answer.subject}"]
    for link in answer.chain:
        stamp = iso(getattr(link.message, "ts_event", 0))[11:23]
        lines.append(f"  {stamp}  {link.stream:<12} {_sentence(link.message)}   [{link.stream}/{link.id}]")
    lines += [f"  missing: {cited} is cited but no longer on record" for cited in answer.missing]
    lines.append(f"  looked up in {answer.lookup_ms} ms")
    return lines


def _sentence(message: Message) -> str:
    match message:
        case Trade():
            size, price = decimal_text(message.quantity), decimal_text(message.price)
            return f"{message.instrument} traded {size} at {price}, {message.aggressor}er aggressed"
        case Quote() | Touch():
            return (
                f"{message.instrument} bid {decimal_text(message.bid)} x {decimal_text(message.bid_size)}, "
                f"ask {decimal_text(message.ask)} x {decimal_text(message.ask_size)}"
            )
        case BookDelta():
            return f"{message.instrument} {len(message.bids)} bid and {len(message.asks)} ask levels changed"
        case BookSnapshot():
            return f"{message.instrument} whole book, update {message.update_id}"
        case Beat():
            ages = ", ".join(f"{touch.instrument} {touch.age_ms} ms" for touch in message.touches)
            return f"beat of {message.venue}; ages: {ages}"
        case TradingState():
            return f"trading state {message.state}: {message.reason} (by {message.by})"
        case BreakerMoved():
            name = f"{message.breaker} of {message.scope}" if message.scope else message.breaker
            numbers = f"observed {_short(message.observed)}, limit {_short(message.limit)} ({message.unit})"
            return f"breaker {name} {message.after}: {numbers}, action {message.action}; {message.reason}"
        case Signals():
            edges = ", ".join(
                f"{e.model} {e.edge_bps:+.2f} bps at confidence {e.confidence:.2f}" for e in message.edges
            )
            return f"{message.instrument} mid {message.mid:.10g}; {edges or 'no model is warm'}"
        case Ensemble():
            chosen = ", ".join(f"{e.model} weight {e.weight:.2f}" for e in message.chosen)
            out = ", ".join(f"{a.model} ({a.reason})" for a in message.abstained)
            return f"rule {message.rule}: {chosen or 'nobody'}" + (f"; abstained {out}" if out else "")
        case Approved():
            rooms = ", ".join(f"{name} {room:.0%}" for name, room in sorted(message.head_room.items()))
            return (
                f"hold {decimal_text(message.quantity)} {message.instrument}: edge {message.edge_bps:+.2f} bps, Kelly "
                f"{message.kelly_fraction:+.3f} of equity, VaR {message.var_fraction:.3%}, bound by {message.binding}; "
                f"head-room {rooms}; config {message.config[:12]}"
            )
        case Refused():
            told = [message.reason.value]
            if message.observed is not None or message.limit is not None or message.input is not None:
                told.append(f"observed {_short(message.observed)}, limit {_short(message.limit)}")
            return f"refused by {message.by}: {', '.join(told)} {message.detail}".rstrip()
        case OrderEvent():
            price = "market" if message.price is None else f"at {decimal_text(message.price)}"
            asked = f"{message.side} {decimal_text(message.quantity)} {price}"
            filled = f"filled {decimal_text(message.filled)} {message.reason}"
            return f"order {message.order_id} {message.state.value}: {asked}, {filled}".rstrip()
        case GatewayOutcome():
            return f"{message.command} {message.order_id}: {message.outcome} {message.code} {message.reason}".rstrip()
        case VenueOrder():
            filled = decimal_text(message.filled)
            return f"order {message.order_id} is {message.status}, filled {filled} ({message.source})"
        case Fill() | VenueTrade():
            return (
                f"{message.side} {decimal_text(message.quantity)} at {decimal_text(message.price)}, fee "
                f"{decimal_text(message.fee)} {message.fee_asset}, {message.liquidity}, trade {message.trade_id}"
            )
        case _:
            return type(message).__name__


def _short(value: float | None) -> str:
    return "nothing finite" if value is None else f"{value:.6g}"


def moment(text: str) -> int:
    """Return ns since the epoch for an ISO 8601 time (UTC where no zone is given) or for plain seconds.

    Raises
    ------
    Misuse
        If it is neither.
    """
    from datetime import UTC, datetime

    try:
        return int(float(text) * NS_PER_S)
    except ValueError:
        pass
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        raise Misuse(f"--at {text!r} is no time; write 2024-08-09T00:01:02, UTC") from None
    moved = parsed if parsed.tzinfo is not None else parsed.replace(tzinfo=UTC)
    return int(moved.timestamp() * NS_PER_S)
