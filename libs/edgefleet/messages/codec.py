"""Messages to stream entries and back. Knows the tags and that NaN never enters a stream."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import msgspec

from edgefleet.errors import Poison
from edgefleet.messages import control, market, orders, signals, system, verdicts

Message = (
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
    | signals.Signals
    | signals.Watermark
    | signals.Ensemble
    | signals.ModelSwitched
    | verdicts.Approved
    | verdicts.Refused
    | orders.OrderEvent
    | orders.Fill
    | orders.Account
    | orders.VenueOrder
    | orders.VenueTrade
    | orders.GatewayOutcome
    | orders.Reconciled
    | control.Session
    | control.TradingState
    | control.Command
    | control.BreakerMoved
    | control.NightlyVar
    | system.ParamVersion
    | system.ConfigBody
    | system.ParamRejected
    | system.Journal
    | system.Alert
    | system.InputLost
    | system.Rollback
    | system.DeadLetter
)

MESSAGE_TYPES: dict[str, type[Any]] = {str(kind.__struct_config__.tag): kind for kind in Message.__args__}

_TAGS = {kind: tag for tag, kind in MESSAGE_TYPES.items()}
_DECODE: dict[str, Callable[[bytes], Message]] = {
    tag: msgspec.json.Decoder(kind).decode for tag, kind in MESSAGE_TYPES.items()
}


def _written(value: object) -> object:
    """Return what stands in a stream for a value that JSON does not know."""
    if isinstance(value, market.WrittenLevels):
        return value.spelled
    # How an enc_hook says no.
    raise NotImplementedError(f"a message cannot hold a {type(value).__name__}")


_ENCODE = msgspec.json.Encoder(enc_hook=_written).encode


def _may_hold_floats(annotation: object) -> bool:
    if annotation is float:
        return True
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        return any(_may_hold_floats(field.type) for field in msgspec.structs.fields(annotation))
    return any(_may_hold_floats(part) for part in getattr(annotation, "__args__", ()))


def _may_be_none(annotation: object) -> bool:
    return type(None) in getattr(annotation, "__args__", ())


_FLOAT_FIELDS: dict[type[Any], tuple[str, ...]] = {
    kind: tuple(field.name for field in msgspec.structs.fields(kind) if _may_hold_floats(field.type)) for kind in _TAGS
}

_NULLABLE_FIELDS: dict[type[Any], tuple[str, ...]] = {
    kind: tuple(field.name for field in msgspec.structs.fields(kind) if _may_be_none(field.type)) for kind in _TAGS
}


def tag_of(message: Message) -> str:
    """Return the tag under which `message` travels, such as ``fill.v1``."""
    return _TAGS[type(message)]


def encode(message: Message) -> bytes:
    """Return the JSON of `message` as it stands in a stream's `data` field.

    Raises
    ------
    ValueError
        If a float in it is not finite: JSON would carry it as null, and null means absent.
    """
    data = _ENCODE(message)
    fields = _FLOAT_FIELDS[type(message)]
    if fields:
        nulls = data.count(b"null")  # a float that is not finite is written as null; so is None
        if nulls and nulls != _absent(message):  # a text may hold the word, and so may what is nested
            for name in fields:
                _refuse_non_finite(getattr(message, name), name)
    return data


def decode(tag: str, data: bytes) -> Message:
    """Return the message in `data`. Fields this version does not know are ignored.

    Raises
    ------
    Poison
        If the tag is unknown or the data does not fit it.
    """
    try:
        return _DECODE[tag](data)
    except KeyError:
        raise Poison(f"no message has the tag {tag!r}") from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Poison(f"{tag} does not decode: {error}") from error


def _absent(message: Message) -> int:
    """Return how many of the message's own fields are None: each is one null of its JSON."""
    absent = 0
    for name in _NULLABLE_FIELDS[type(message)]:
        if getattr(message, name) is None:
            absent += 1
    return absent


def _refuse_non_finite(value: object, name: str) -> None:
    if type(value) is float:
        if not math.isfinite(value):
            raise ValueError(f"{name} must be finite to enter a stream, was {value!r}")
    elif isinstance(value, msgspec.Struct):
        for field in value.__struct_fields__:
            _refuse_non_finite(getattr(value, field), f"{name}.{field}")
    elif isinstance(value, tuple):
        for item in value:
            _refuse_non_finite(item, name)
    elif isinstance(value, dict):
        for key, item in value.items():
            _refuse_non_finite(item, f"{name}[{key}]")
