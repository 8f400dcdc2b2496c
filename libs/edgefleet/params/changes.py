"""What differs between two bodies, key by key. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from edgefleet.params.directions import Body


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One key with two values; None where the key is not there."""

    component: str
    key: str  # dotted
    before: Any
    after: Any


def differences(component: str, before: Body, after: Body) -> list[Difference]:
    """Return every leaf that differs, in the order of `before`, then what `after` adds.

    Examples
    --------
    >>> [(d.key, d.before, d.after) for d in differences("f", {"a": {"b": 1}, "c": 2}, {"a": {"b": 3}, "c": 2})]
    [('a.b', 1, 3)]
    """
    old, new = dict(_leaves(before)), dict(_leaves(after))
    return [
        Difference(component=component, key=key, before=old.get(key), after=new.get(key))
        for key in {**old, **new}
        if key not in old or key not in new or old[key] != new[key]
    ]


def _leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Yield each leaf; an empty mapping or list is a leaf of its own."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    if not items or not value:
        yield ".".join(path), value
    else:
        for key, item in items:
            yield from _leaves(item, (*path, str(key)))
