"""Messages to stream entries and back. Knows the tags and that NaN never enters a stream."""

from __future__ import annotations

import math
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
_DECODERS = {tag: msgspec.json.Decoder(kind) for tag, kind in MESSAGE_TYPES.items()}
_ENCODER = msgspec.json.Encoder()


def _may_hold_floats(annotation: object) -> bool:
    if annotation is float:
        return True
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        return any(_may_hold_floats(field.type) for field in msgspec.structs.fields(annotation))
    return any(_may_hold_floats(part) for part in getattr(annotation, "__args__", ()))


_FLOAT_FIELDS: dict[type[Any], tuple[str, ...]] = {
    kind: tuple(field.name for field in msgspec.structs.fields(kind) if _may_hold_floats(field.type)) for kind in _TAGS
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
    data = _ENCODER.encode(message)
    if b"null" in data:  # a float that is not finite is written as null; so is None, and a text may hold the word
        for name in _FLOAT_FIELDS[type(message)]:
            _refuse_non_finite(getattr(message, name), name)
    return data


def decode(tag: str, data: bytes) -> Message:
    """Return the message in `data`. Fields this version does not know are ignored.

    Raises
    ------
    Poison
        If the tag is unknown or the data does not fit it.
    """
    decoder = _DECODERS.get(tag)
    if decoder is None:
        raise Poison(f"no message has the tag {tag!r}")
    try:
        message: Message = decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Poison(f"{tag} does not decode: {error}") from error
    return message


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
