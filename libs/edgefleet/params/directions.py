"""Which way a parameter is tighter, what a change loosens, and the part of a change that only tightens. Pure.

A field says its direction in its schema: `json_schema_extra={"tighter": "lower"}` or `"higher"`. A field without one
has no direction: it applies at once. In a limit, an absent value (None, or a key that is gone) is no limit at all,
unless the field says `"absent": "tightest"` (a class without a cap is not traded).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Literal, NamedTuple, get_args, get_origin

from pydantic.fields import FieldInfo

from edgefleet.params.schema import Params

Body = dict[str, Any]
Path = tuple[str, ...]
_ABSENT = object()


def loosened(model: type[Params], before: Body, after: Body) -> tuple[Path, ...]:
    """Return the keys at which `after` allows more than `before`, in the order of the schema."""
    return tuple(
        path
        for path, tighter in _limits(model, before, after)
        if _is_looser(_at(before, path), _at(after, path), tighter)
    )


def tightened(model: type[Params], before: Body, after: Body) -> Body:
    """Return `after`, but with the value of `before` wherever `after` allows more: what may apply at once."""
    merged = copy.deepcopy(after)
    for path in loosened(model, before, after):
        _put(merged, path, _at(before, path))
    return merged


class _Rule(NamedTuple):
    """How one limit is read."""

    tighter: Literal["lower", "higher"]
    absent_is_tightest: bool


def _limits(model: type[Params], before: object, after: object, path: Path = ()) -> Iterator[tuple[Path, _Rule]]:
    for field, info in model.model_fields.items():
        name, rule = info.alias or field, _rule(info)
        old, new = _get(before, name), _get(after, name)
        block, keys = _block(info.annotation), _keys(old, new) if _is_table(info.annotation) else None
        if rule is not None and keys is None:
            yield (*path, name), rule
        elif rule is not None and keys is not None:
            yield from (((*path, name, key), rule) for key in keys)
        elif block is not None and keys is not None:
            for key in keys:
                yield from _limits(block, _get(old, key), _get(new, key), (*path, name, key))
        elif block is not None and old is not None and new is not None:
            yield from _limits(block, old, new, (*path, name))


def _rule(info: FieldInfo) -> _Rule | None:
    extra = info.json_schema_extra
    tighter = extra.get("tighter") if isinstance(extra, dict) else None
    if tighter is None or not isinstance(extra, dict):
        return None
    if tighter != "lower" and tighter != "higher":
        raise ValueError(f"a field is tighter when 'lower' or 'higher', was {tighter!r}")
    return _Rule("lower" if tighter == "lower" else "higher", extra.get("absent") == "tightest")


def _block(annotation: object) -> type[Params] | None:
    """Return the block of parameters inside `annotation`: itself, an optional one, or a table's values."""
    if isinstance(annotation, type) and issubclass(annotation, Params):
        return annotation
    return next((block for part in get_args(annotation) if (block := _block(part)) is not None), None)


def _is_table(annotation: object) -> bool:
    return get_origin(annotation) is dict or any(_is_table(part) for part in get_args(annotation))


def _keys(old: object, new: object) -> list[str]:
    return [str(key) for key in {**(old if isinstance(old, dict) else {}), **(new if isinstance(new, dict) else {})}]


def _is_looser(old: object, new: object, rule: _Rule) -> bool:
    before, after = _number(old), _number(new)
    if before is None or after is None:
        return before is None and after is not None if rule.absent_is_tightest else before is not None and after is None
    return after > before if rule.tighter == "lower" else after < before


def _number(value: object) -> Decimal | None:
    if isinstance(value, bool | int | float | str | Decimal):
        try:
            return Decimal(str(int(value) if isinstance(value, bool) else value))
        except InvalidOperation:
            return None
    return None


def _get(value: object, key: str) -> object:
    return value.get(key) if isinstance(value, dict) else None


def _at(body: Mapping[str, Any], path: Path) -> object:
    here: object = body
    for key in path:
        here = here.get(key, _ABSENT) if isinstance(here, dict) else _ABSENT
    return here


def _put(body: Body, path: Path, value: object) -> None:
    *parents, last = path
    for key in parents:
        body = body.setdefault(key, {})
    if value is _ABSENT:
        body.pop(last, None)
    else:
        body[last] = value
