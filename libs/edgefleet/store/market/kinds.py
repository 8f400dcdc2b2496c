"""Kinds of market messages: their columns, how these are packed, and where their files stand. Knows no message's value.

A price or a size is ``decimal128(38, 18)``, which others read as an exact number.
"""

from __future__ import annotations

import types
from decimal import Decimal
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints
from urllib.parse import quote, unquote

import msgspec

from edgefleet.errors import Misuse
from edgefleet.instruments import split_id
from edgefleet.messages import market
from edgefleet.store.arrow import STAMP, pa
from edgefleet.store.days import date_of
from edgefleet.store.partitions import Layout

MarketMessage = (
    market.Trade
    | market.Quote
    | market.BookSnapshot
    | market.BookDelta
    | market.Bar
    | market.Beat
    | market.Touch
    | market.VenueStatus
    | market.News
    | market.OnChain
)

SCALE = 18
DECIMAL = pa.decimal128(38, SCALE)
LEVELS = pa.list_(pa.struct([("price", DECIMAL), ("size", DECIMAL)]))
TOUCHES = pa.list_(
    pa.struct([
        ("instrument", pa.string()), ("bid", DECIMAL), ("ask", DECIMAL), ("age_ms", pa.int64()),
        ("quarantined", pa.bool_()), ("vwap_1m", pa.string()),  # a quotient has its own digits: it is kept as written
    ])
)  # fmt: skip


class Kind(NamedTuple):
    """A kind of message: its name in paths, its type, the columns of its rows."""

    name: str
    type: type[Any]
    tag: str
    fields: dict[str, pa.DataType]  # by column, without the instrument, which is the partition's
    attributes: dict[str, str]  # of the message, by column
    by_venue: bool  # it names a venue and no instrument
    layout: Layout

    @property
    def decimals(self) -> list[str]:
        """Return the fields whose digits are kept, in order."""
        return decimal_fields(self.fields)

    @property
    def optional(self) -> set[str]:
        """Return the columns that a file of an older version may lack: the message has a default for them."""
        spared = {field.name for field in msgspec.structs.fields(self.type) if not field.required}
        return {column for column, attribute in self.attributes.items() if attribute in spared}


def decimal_fields(fields: dict[str, pa.DataType]) -> list[str]:
    """Return the fields that hold prices or sizes, in order."""
    return [name for name, type_ in fields.items() if type_ in (DECIMAL, LEVELS, TOUCHES)]


def _plain(annotation: object) -> pa.DataType:
    if get_origin(annotation) in (Union, types.UnionType):
        inner = [part for part in get_args(annotation) if part is not type(None)]
        return _plain(inner[0]) if len(inner) == 1 else None
    if get_origin(annotation) is Literal:
        return pa.string()
    known = {
        int: pa.int64(),
        str: pa.string(),
        float: pa.float64(),
        bool: pa.bool_(),
        Decimal: DECIMAL,
        tuple[market.Level, ...]: LEVELS,
        tuple[market.TouchAge, ...]: TOUCHES,
    }
    return known[annotation]  # type: ignore[index]  # a field of another type fails here, at import


def _kind(message: type[Any]) -> Kind:
    hints = get_type_hints(message)
    tag = str(message.__struct_config__.tag)
    name = tag.rpartition(".")[0]
    attributes = {_column(name, field): field for field in message.__struct_fields__ if field != "instrument"}
    fields = {
        column: STAMP if field.startswith("ts_") else _plain(hints[field]) for column, field in attributes.items()
    }
    order = ["seq", "ts_event", "ts_init"]  # first what one looks for first
    typed = {"seq": pa.int64(), **fields}
    if decimal_fields(fields):
        typed["digits"] = pa.string()
    schema = pa.schema([(each, typed.pop(each)) for each in order] + list(typed.items()))
    layout = Layout(schema.with_metadata({"edgefleet.message": tag}), _written(schema))
    by_venue = "instrument" not in message.__struct_fields__ and "venue" in fields
    return Kind(name, message, tag, fields, attributes, by_venue, layout)


def _column(kind: str, field: str) -> str:
    """Return the name of a field's column: what a partition's path says already has no second meaning in its files."""
    return f"{kind}_{field}" if field in ("date", "kind") else field


def _written(schema: pa.Schema) -> dict[str, Any]:
    """Return how the columns are packed: stamps and numbers as differences, texts by their common beginnings."""
    packed: dict[str, str] = {}
    repeated = []
    for field in schema:
        if field.type in (pa.int64(), STAMP):
            packed[field.name] = "DELTA_BINARY_PACKED"
        elif field.name in ("trade_id", "trace_id"):
            packed[field.name] = "DELTA_BYTE_ARRAY"
        elif field.type == pa.string():
            repeated.append(field.name)
        elif field.type == LEVELS:
            repeated += [f"{field.name}.list.element.price", f"{field.name}.list.element.size"]
        elif field.type == TOUCHES:
            repeated += [
                f"{field.name}.list.element.{inner}" for inner in ("instrument", "bid", "ask", "age_ms", "vwap_1m")
            ]
    return {
        "compression": "zstd",
        "compression_level": 6,
        "write_page_checksum": True,
        "use_dictionary": repeated,
        "column_encoding": packed,
        "write_statistics": ["seq", "ts_event", "ts_init"],
    }


KINDS: dict[str, Kind] = {kind.name: kind for kind in map(_kind, get_args(MarketMessage))}
BY_TYPE: dict[type[Any], Kind] = {kind.type: kind for kind in KINDS.values()}


def partition_of(kind: Kind, instrument: str, day: int) -> str:
    """Return the directory of one instrument's messages of one kind and UTC day (days since the epoch)."""
    return f"date={date_of(day)}/kind={kind.name}/instrument={quote(instrument, safe='')}"


def named_in(partition: str) -> tuple[str, Kind, str]:
    """Return the date, kind and instrument that a partition's path names.

    Raises
    ------
    Misuse
        If it is no partition of a market archive.
    """
    try:
        date, kind, instrument = (part.partition("=")[2] for part in partition.split("/"))
        return date, KINDS[kind], unquote(instrument)
    except (ValueError, KeyError):
        raise Misuse(f"{partition!r} is no partition of a market archive: date=/kind=/instrument=") from None


def owner_of(message: MarketMessage) -> str:
    """Return the instrument of a message; ``@venue`` where it is about a venue."""
    named = getattr(message, "instrument", None)
    return f"@{message.venue}" if named is None else str(named)  # type: ignore[union-attr]


def venue_of(owner: str) -> str:
    """Return the ``@venue`` under which the messages about an instrument's venue stand."""
    return owner if owner.startswith("@") else f"@{split_id(owner)[1]}"
