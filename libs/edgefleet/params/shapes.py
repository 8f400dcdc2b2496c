"""The shapes that users' files have, brought to the one that the schema has. Keeps every line; judges no value.

`model_router_rules.yml` nests what selects a rule under `match` and the defaults under `config`; the schema is flat.
"""

from __future__ import annotations

from edgefleet.params.documents import Document, Origin, Path
from edgefleet.params.faults import Fault, InvalidConfig

WRAPPERS: dict[str, tuple[str, ...]] = {
    "risk_harmonizer": ("risk_harmonizer", "risk_harmoniser"),
    "model_router": ("model_router",),
}


def unwrapped(component: str, document: Document) -> Document:
    """Return what stands under the component's wrapper key, where there is one.

    Raises
    ------
    InvalidConfig
        If something stands beside it.
    """
    wrappers = [name for name in WRAPPERS.get(component, ()) if name in document.value]
    if not wrappers:
        return document
    others = [key for key in document.value if key != wrappers[0]]
    if others:
        raise InvalidConfig([document.fault((key,), f"stands beside {wrappers[0]}; put it inside") for key in others])
    return document.below(wrappers[0])


def flattened(component: str, document: Document) -> Document:
    """Return the document in the schema's shape.

    Raises
    ------
    InvalidConfig
        If a value stands both inside and outside of `match` or `config`, or two rules have one explicit priority.
    """
    if component != "model_router":
        return document
    flat = _lifted(document, (), "config")
    rules = flat.value.get("rules")
    for place in range(len(rules) if isinstance(rules, list) else 0):
        flat = _lifted(flat, ("rules", place), "match")
    _refuse_equal_priorities(flat)
    return flat


def _lifted(document: Document, path: Path, key: str) -> Document:
    """Return the document with the keys of the mapping at `path`.`key` moved up into `path`."""
    block = _at(document.value, path)
    inner = block.get(key) if isinstance(block, dict) else None
    if not isinstance(block, dict) or not isinstance(inner, dict):
        return document
    twice = [name for name in inner if name in block]
    if twice:
        raise InvalidConfig([document.fault((*path, key, name), f"stands beside {key} too") for name in twice])
    lifted = {**inner, **{name: value for name, value in block.items() if name != key}}
    inside = (*path, key)
    origins = {_up(at, inside): origin for at, origin in document.origins.items()}
    return Document(source=document.source, value=_replaced(document.value, path, lifted), origins=origins)


def _up(at: Path, inside: Path) -> Path:
    return (*inside[:-1], *at[len(inside) :]) if at[: len(inside)] == inside and len(at) > len(inside) else at


def _at(value: object, path: Path) -> object:
    for step in path:
        value = value[step] if isinstance(value, dict | list) else None  # type: ignore[index]  # a step of its own path
    return value


def _replaced(value: dict[str, object], path: Path, new: dict[str, object]) -> dict[str, object]:
    if not path:
        return new
    name, place = str(path[0]), path[1]
    items = value[name]
    assert isinstance(items, list)
    return {**value, name: [new if index == place else item for index, item in enumerate(items)]}


def _refuse_equal_priorities(document: Document) -> None:
    rules = document.value.get("rules")
    first: dict[object, Origin] = {}
    faults: list[Fault] = []
    for place, rule in enumerate(rules if isinstance(rules, list) else ()):
        priority = rule.get("priority") if isinstance(rule, dict) else None
        path = ("rules", place, "priority")
        if type(priority) is not int:
            continue
        if priority in first:
            faults.append(
                document.fault(path, f"{priority} is the priority of the rule in line {first[priority].line} too")
            )
        first.setdefault(priority, document.origin(path))
    if faults:
        raise InvalidConfig(faults)
