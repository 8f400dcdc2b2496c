"""Market messages as columns and back, to the last digit. Knows the messages' fields; knows no file.

How many digits the venue wrote after the point is in `digits`, so that what comes back is the same message byte for
byte: one number for each decimal field in the order of the fields, ``price:size`` for the levels of a side, all of them
one by one where they differ.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from decimal import Context, Decimal
from typing import Any

from edgefleet.errors import Misuse
from edgefleet.messages import market
from edgefleet.store.arrow import STAMP, pa
from edgefleet.store.market.kinds import DECIMAL, LEVELS, SCALE, TOUCHES, Kind, MarketMessage, decimal_fields

_EXACT = Context(prec=80)
Columns = dict[str, list[Any]]


def table_of(kind: Kind, sequence: Sequence[int], messages: Sequence[MarketMessage]) -> pa.Table:
    """Return messages of one kind as a table.

    Raises
    ------
    ValueError, OverflowError
        If a number in them does not fit its column.
    """
    columns: Columns = {
        name: [getattr(message, field) for message in messages] for name, field in kind.attributes.items()
    }
    arrays: dict[str, pa.Array] = {"seq": pa.array(sequence, pa.int64())}
    for name, type_ in kind.fields.items():
        arrays[name] = _array(columns[name], type_)
    if kind.decimals:
        arrays["digits"] = pa.array(_digits(kind, columns, len(messages)), pa.string())
    schema = kind.layout.schema
    return pa.Table.from_arrays([arrays[name] for name in schema.names], schema=schema)


def unfit(kind: Kind, message: MarketMessage) -> str | None:
    """Return why a message cannot be a row, None where it can."""
    try:
        table_of(kind, [1], [message])
    except (ValueError, OverflowError, ArithmeticError) as error:
        return str(error).splitlines()[0]
    return None


def messages_of(kind: Kind, instrument: str, rows: pa.RecordBatch) -> Iterator[tuple[int, MarketMessage]]:
    """Yield number and message of each row, in order."""
    if not rows.num_rows:
        return
    there = set(rows.schema.names)
    fields = {name: type_ for name, type_ in kind.fields.items() if name in there}
    decimals = decimal_fields(fields)
    read = _Reader(rows.column("digits").to_pylist() if decimals else [], len(decimals))
    columns = [read.column(rows.column(name), type_) for name, type_ in fields.items()]
    names = tuple(kind.attributes[column] for column in fields)
    make: Callable[..., MarketMessage] = kind.type
    named = {} if kind.by_venue else {"instrument": instrument}
    for seq, *values in zip(rows.column("seq").to_pylist(), *columns, strict=True):
        yield seq, make(**named, **dict(zip(names, values, strict=True)))


# --- to columns


def _array(values: list[Any], type_: pa.DataType) -> pa.Array:
    if type_ == LEVELS:
        flat = [level for levels in values for level in levels]
        columns = [pa.array([price for price, _ in flat], DECIMAL), pa.array([size for _, size in flat], DECIMAL)]
        return _lists(values, columns, type_)
    if type_ == TOUCHES:
        touches = [touch for each in values for touch in each]
        columns = [_inner(touches, field) for field in type_.value_type]
        return _lists(values, columns, type_)
    if type_ == STAMP:
        return pa.array(values, pa.int64()).view(STAMP)
    return pa.array(values, type_)


def _inner(touches: list[market.TouchAge], field: pa.Field) -> pa.Array:
    found = [getattr(touch, field.name) for touch in touches]
    if field.name == "vwap_1m":
        found = [None if value is None else str(value) for value in found]
    return pa.array(found, field.type)


def _lists(values: list[Any], columns: list[pa.Array], type_: pa.DataType) -> pa.Array:
    offsets = [0]
    for each in values:
        offsets.append(offsets[-1] + len(each))
    inner = pa.StructArray.from_arrays(columns, fields=list(type_.value_type))
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), inner, type=type_)


def _digits(kind: Kind, columns: Columns, count: int) -> list[str]:
    """Return each row's `digits`; one text for all rows where every number of a field is written alike."""
    texts = [_uniform(columns[name], kind.fields[name]) for name in kind.decimals]
    if None not in texts:
        return [",".join(texts)] * count  # type: ignore[arg-type]  # none of them is None
    rows = []
    for i in range(count):
        each = [
            text if text is not None else _written_out(columns[name][i], kind.fields[name])
            for name, text in zip(kind.decimals, texts, strict=True)
        ]
        rows.append(",".join(each))
    return rows


def _uniform(values: list[Any], type_: pa.DataType) -> str | None:
    if type_ == DECIMAL:
        known = [value for value in values if value is not None]
        return _alike(known)
    sides = _pairs([item for items in values for item in items])
    if not sides:
        return ""
    parts = [_alike([value for value in side if value is not None]) for side in sides]
    return None if None in parts else ":".join(parts)  # type: ignore[arg-type]  # none of them is None


def _written_out(value: Any, type_: pa.DataType) -> str:
    if type_ == DECIMAL:
        return "" if value is None else str(_after_point(value))
    alike = _uniform([value], type_)
    if alike is not None:
        return alike
    sides = [["" if each is None else str(_after_point(each)) for each in side] for side in _pairs(value)]
    return " ".join(f"{first}:{second}" for first, second in zip(*sides, strict=True))


def _pairs(items: Sequence[Any]) -> list[list[Decimal | None]]:
    """Return the two numbers of levels or touches as two lists; nothing where there are none."""
    if not items:
        return []
    if isinstance(items[0], market.TouchAge):
        return [[touch.bid for touch in items], [touch.ask for touch in items]]
    return [list(side) for side in zip(*items, strict=True)]


def _alike(values: list[Decimal]) -> str | None:
    if not values:
        return ""
    if not all(map(values[0].same_quantum, values)):
        return None
    return str(_after_point(values[0]))


def _after_point(value: Decimal) -> int:
    exponent = value.as_tuple().exponent
    if not isinstance(exponent, int):
        raise ValueError(f"a price or size must be a finite number, was {value}")
    return -exponent


# --- and back


class _Reader:
    """The columns of one batch, taken in the order of the fields, for `digits` names them so."""

    def __init__(self, digits: list[str], fields: int) -> None:
        self._rows = [text.split(",") for text in (digits if len(set(digits)) > 1 else digits[:1])]
        if any(len(row) != fields for row in self._rows):
            raise Misuse(f"`digits` must name {fields} fields in each row")
        self._at = 0

    def column(self, values: pa.Array, type_: pa.DataType) -> list[Any]:
        if type_ == DECIMAL:
            texts = self._next()
            return _decimals(values, texts if len(texts) > 1 else texts[0])
        if type_ in (LEVELS, TOUCHES):
            return self._items(values, type_)
        if type_ == STAMP:
            return list(values.view(pa.int64()).to_pylist())
        return list(values.to_pylist())

    def _next(self) -> list[str]:
        self._at += 1
        return [row[self._at - 1] for row in self._rows]

    def _items(self, values: pa.Array, type_: pa.DataType) -> list[Any]:
        offsets = values.offsets.to_pylist()
        lengths = [after - before for before, after in itertools.pairwise(offsets)]
        first, second = _both(self._next(), lengths)
        inner = dict(zip((field.name for field in type_.value_type), values.flatten().flatten(), strict=True))
        if type_ == LEVELS:
            flat: list[Any] = list(zip(_decimals(inner["price"], first), _decimals(inner["size"], second), strict=True))
        else:
            others = [inner[name].to_pylist() for name in ("instrument", "age_ms", "quarantined", "vwap_1m")]
            bids, asks = _decimals(inner["bid"], first), _decimals(inner["ask"], second)
            flat = [
                market.TouchAge(
                    instrument=instrument,
                    bid=bid,
                    ask=ask,
                    age_ms=age,
                    quarantined=quarantined,
                    vwap_1m=None if vwap is None else Decimal(vwap),
                )
                for bid, ask, instrument, age, quarantined, vwap in zip(bids, asks, *others, strict=True)
            ]
        start = offsets[0]
        return [tuple(flat[i - start : j - start]) for i, j in itertools.pairwise(offsets)]


Digits = str | list[str]  # of all numbers, or of each


def _both(texts: list[str], lengths: list[int]) -> tuple[Digits, Digits]:
    """Return the digits of both numbers of the levels of a batch."""
    if len(texts) == 1 and " " not in texts[0]:
        first, _, second = texts[0].partition(":")
        return first, second
    pairs: list[str] = []
    for text, length in zip(texts if len(texts) == len(lengths) else texts * len(lengths), lengths, strict=True):
        pairs += text.split(" ") if " " in text else [text] * length
    split = [pair.partition(":") for pair in pairs]
    return [pair[0] for pair in split], [pair[2] for pair in split]


def _decimals(values: pa.Array, digits: Digits) -> list[Decimal | None]:
    """Return the numbers, each with as many digits after the point as the venue wrote."""
    if len(values) == 0 or digits == "":
        return [None] * len(values)
    # The column's own bytes, for numbers repeat: a look-up costs a fifth of making one anew.
    raw = values.buffers()[1][values.offset * 16 : (values.offset + len(values)) * 16].to_pybytes()
    keys = [raw[i : i + 16] for i in range(0, len(raw), 16)]
    found: list[Decimal | None]
    if isinstance(digits, str):
        made = {key: _decimal(key, digits) for key in set(keys)}
        found = [made[key] for key in keys]
    else:
        each = {pair: _decimal(*pair) for pair in set(zip(keys, digits, strict=True)) if pair[1]}
        found = [each.get(pair) for pair in zip(keys, digits, strict=True)]
    if values.null_count:
        return [value if there else None for value, there in zip(found, values.is_valid().to_pylist(), strict=True)]
    return found


def _decimal(stored: bytes, text: str) -> Decimal:
    scaled, digits = int.from_bytes(stored, "little", signed=True), int(text)
    whole = scaled // 10 ** (SCALE - digits) if digits <= SCALE else scaled * 10 ** (digits - SCALE)
    return _EXACT.scaleb(Decimal(whole), -digits)
