"""The data dictionary: what every field of every message means, in which unit. Made from the types and their comments.

A field that means the same wherever it occurs is told once, in `MEANINGS`; a comment beside the field wins.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import NamedTuple, get_args, get_type_hints

import msgspec

from edgefleet.messages.codec import MESSAGE_TYPES
from edgefleet.messages.streams import STREAMS

MEANINGS = {
    "abstained": "models that said nothing, each with its reason",
    "account": "name of the trading account",
    "after": "models that are heard from now on",
    "age_ms": "ms since the instrument's feed last said anything; none: it never did",
    "aggressor": "side of the taker",
    "algorithm": "how the order is to be placed",
    "ask": "best ask, quote per base unit",
    "ask_size": "size at the best ask, base units",
    "asks": "levels (price in quote per base unit, size in base units)",
    "attempt": "count of tries to place the leg as a maker, from 0",
    "author": "who changed the parameters",
    "backfill": "from history, for warm-up; nothing is decided on it",
    "balances": "free and locked of each asset",
    "before": "models that were heard until now",
    "bid": "best bid, quote per base unit",
    "bid_size": "size at the best bid, base units",
    "bids": "levels (price in quote per base unit, size in base units)",
    "body": "the text that was refused",
    "by": "who did it: a service or a person",
    "cause": "id of the entry that led to it",
    "chosen": "models that were heard, with weight and edge",
    "close": "last price, quote per base unit",
    "command": "what the venue was asked for",
    "component": "of the parameters: the file's name without .yml",
    "confidence": "0..1",
    "config": "hash of the configuration in force",
    "count": "entries",
    "data": "the entry's data as it came",
    "detail": "in words",
    "edge_bps": "expected return over the horizon, basis points",
    "edges": "what each model expects",
    "entry_type": "tag of the message",
    "epoch": "grows with every process that takes the stage over",
    "equity": "cash and positions at their marks, in the account's currency",
    "error": "why it could not be taken",
    "fee": "in units of `fee_asset`",
    "fee_asset": "asset the fee was paid in",
    "filled": "base units that were filled in all",
    "first": "first id",
    "first_update_id": "the venue's number of the first change",
    "found": "position that Redis holds",
    "free": "units of the asset",
    "had": "position that the stage had committed",
    "hash": "of the configuration",
    "headline": "as the provider wrote it",
    "high": "highest price, quote per base unit",
    "horizon_ms": "ms over which the edge is expected",
    "id": "of the entry",
    "identity": "of the stage",
    "input": "stream",
    "instrument": "id, `SYMBOL@venue`",
    "kind": "which of the kinds listed",
    "last": "last id",
    "last_update_id": "the venue's number of the last change",
    "leg": "count of the orders of one target, from 0",
    "limit": "the number that was not to be passed, in the reason's unit",
    "liquidity": "rested (maker) or took (taker)",
    "locked": "units of the asset in open orders",
    "low": "lowest price, quote per base unit",
    "metric": "the provider's name of it",
    "mid": "mean of best bid and ask, quote per base unit",
    "mode": "what the session is",
    "model": "id of the model",
    "n": "number of the commit",
    "name": "of the alert",
    "open": "first price, quote per base unit",
    "order_id": "ours, as the venue knows it too",
    "outcome": "what is known of it",
    "outputs": "what the commit wrote, by stream",
    "price": "quote per base unit",
    "provider": "whose number it is",
    "quantity": "base units",
    "ready": "the account may trade",
    "reason": "why, by name or in words",
    "regime": "of the market, by the router's rule",
    "rule": "of the router, by name",
    "service": "name of the service",
    "session": "id of the session",
    "severity": "how bad",
    "sha256": "of the text",
    "side": "buy or sell",
    "source": "where it comes from",
    "state": "which of the states listed",
    "status": "which of the states listed",
    "stream": "name of the stream",
    "symbols": "instruments that are traded, `BASE/QUOTE`",
    "target_id": "of the decision that led to it",
    "text": "one line",
    "touches": "newest top of every instrument",
    "trace_id": "of the market frame that began the chain",
    "trade_id": "the venue's, unique by instrument",
    "trades": "prints",
    "ts_event": "ns since the epoch, when it happened, by the venue's clock (event time)",
    "ts_init": "ns since the epoch, when we learned of it, by our clock",
    "unit": "of the value",
    "update_id": "the venue's book sequence",
    "urgency": "how soon it must be placed",
    "value": "in `unit`",
    "venue": "name of the venue",
    "venue_order_id": "the venue's own",
    "verb": "what is to be done",
    "version": "of the model or of the parameters",
    "versions": "version of each component",
    "watermark": "ns since the epoch: everything before it was taken into account",
}


class Field(NamedTuple):
    """A row of the dictionary."""

    name: str
    type: str
    meaning: str


def fields(kind: type[msgspec.Struct]) -> list[Field]:
    """Return the fields of a message as they are written, each with its meaning.

    Raises
    ------
    LookupError
        If a field has neither a comment nor a row in `MEANINGS`.
    """
    source = inspect.getsource(kind)
    return [_field(kind, source, name) for name in kind.__struct_fields__]


def _field(kind: type[msgspec.Struct], source: str, name: str) -> Field:
    found = re.search(rf"^    {name}: ([^#\n]*?)(?: = [^#\n]*?)?(?:  # (.*))?$", source, re.MULTILINE)
    meaning = (found and found[2]) or MEANINGS.get(name)
    if found is None or meaning is None:
        raise LookupError(f"{kind.__name__}.{name} has no meaning: write a comment beside it")
    return Field(name, found[1], meaning)


def parts(kind: type[msgspec.Struct]) -> Iterator[type[msgspec.Struct]]:
    """Yield the structures that a message holds."""
    for hint in get_type_hints(kind).values():
        yield from _structs(hint)


def _structs(hint: object) -> Iterator[type[msgspec.Struct]]:
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        yield hint
    for inner in get_args(hint):
        yield from _structs(inner)


def page() -> str:
    """Return the dictionary in Markdown."""
    sent: dict[str, list[str]] = {}
    for card in STREAMS:
        for kind in card.messages:
            sent.setdefault(kind.__name__, []).append(f"`{card.name}`")
    blocks = [
        "# Data dictionary: messages",
        "Amounts, prices and sizes are exact decimals, in JSON as text. Stamps are integers, ns since the epoch. "
        "Features and their units are [on their own page](features.md), the schemas in [asyncapi.yml](asyncapi.yml).",
    ]
    told: set[type[msgspec.Struct]] = set()
    for tag, kind in sorted(MESSAGE_TYPES.items()):
        streams = ", ".join(sent.get(kind.__name__, ["no stream"]))
        blocks.append(f"## {tag}\n\nStreams: {streams}. {' '.join((inspect.getdoc(kind) or '').split())}")
        blocks.append(_table(kind))
        for part in dict.fromkeys(parts(kind)):
            if part not in told:
                told.add(part)
                blocks.append(f"### {part.__name__}\n\n{' '.join((inspect.getdoc(part) or '').split())}")
                blocks.append(_table(part))
    return "\n\n".join(blocks) + "\n"


def _table(kind: type[msgspec.Struct]) -> str:
    rows = ["| field | type | meaning, unit |", "| --- | --- | --- |"]
    for name, written, meaning in fields(kind):
        cells = (f"`{name}`", f"`{written}`", meaning)
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows)
