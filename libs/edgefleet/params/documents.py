"""YAML text to plain values that remember their lines. Knows nothing of what the keys mean.

Stricter than YAML 1.1: a key may stand once, `12:30` is text and not 750, `1e-3` is a number, `.nan` is refused.
"""

from __future__ import annotations

import math
import re

import msgspec
import yaml

from edgefleet.params.faults import Fault, InvalidConfig

Path = tuple[str | int, ...]

MAX_BYTES = 1_000_000
MAX_NODES = 50_000  # an alias is counted each time it is used, so a bomb of aliases ends here

_LOADER: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG = "tag:yaml.org,2002:"
_KINDS = frozenset({"map", "seq", "null", "bool", "str", "int", "float", "timestamp", "value"})
_INTEGER = re.compile(r"[-+]?[0-9][0-9_]*\Z")
_REAL = re.compile(r"[-+]?([0-9][0-9_]*\.?[0-9_]*|\.[0-9_]+)([eE][-+]?[0-9]+)?\Z")


class Origin(msgspec.Struct, frozen=True):
    """Where a value was written."""

    source: str
    line: int | None = None


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """A mapping, and where each of its values was written."""

    source: str
    value: dict[str, object]
    origins: dict[Path, Origin]

    def origin(self, path: Path) -> Origin:
        """Return where the nearest written ancestor of `path` stands."""
        while path and path not in self.origins:
            path = path[:-1]
        return self.origins.get(path, Origin(self.source))

    def fault(self, path: Path, reason: str) -> Fault:
        """Return the fault `reason` at `path`."""
        origin = self.origin(path)
        return Fault(source=origin.source, line=origin.line, key=".".join(str(part) for part in path), reason=reason)

    def below(self, key: str) -> Document:
        """Return the mapping under `key` as a document of its own, with the same origins."""
        value = self.value[key]
        if not isinstance(value, dict):
            raise InvalidConfig([self.fault((key,), f"must be a mapping, was {_kind(value)}")])
        origins = {path[1:]: origin for path, origin in self.origins.items() if path[:1] == (key,)}
        return Document(source=self.source, value=value, origins=origins)


def parse_yaml(text: str, source: str) -> Document:
    """Return the mapping that `text` holds; an empty text is an empty mapping.

    Raises
    ------
    InvalidConfig
        If it is not YAML, not a mapping, or has a key twice; every fault names its line.
    """
    if len(text.encode()) > MAX_BYTES:
        raise InvalidConfig([Fault(source=source, reason=f"is longer than {MAX_BYTES:,} bytes")])
    try:
        root = yaml.compose(text, Loader=_LOADER)
    except yaml.YAMLError as error:
        raise InvalidConfig([_syntax_fault(error, source)]) from error
    if root is None:
        return Document(source=source, value={}, origins={(): Origin(source, 1)})
    reading = _Reading(source)
    value = reading.value(root, ())
    if not isinstance(value, dict):
        reading.faults.append(Fault(source=source, line=_line(root), reason=f"must be a mapping, was {_kind(value)}"))
    if reading.faults:
        raise InvalidConfig(reading.faults)
    assert isinstance(value, dict)
    return Document(source=source, value=value, origins=reading.origins)


def parse_scalar(text: str) -> object:
    """Return what one line of YAML means: a number, a truth value, a list, a mapping, or the text itself.

    Raises
    ------
    InvalidConfig
        If it is not YAML.
    """
    try:
        return parse_yaml("value: " + text.replace("\n", " "), "value").value["value"]
    except InvalidConfig as error:
        reasons = "; ".join(fault.reason for fault in error.faults)
        raise InvalidConfig([Fault(source=repr(text), reason=reasons)]) from error


class _Reading:
    """One pass over a tree of nodes."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.origins: dict[Path, Origin] = {}
        self.faults: list[Fault] = []
        self._nodes = 0

    def value(self, node: yaml.Node, path: Path) -> object:
        self._nodes += 1
        if self._nodes > MAX_NODES or len(path) > 32:
            raise InvalidConfig(
                [Fault(source=self.source, line=_line(node), reason="is too large or refers to itself")]
            )
        self.origins.setdefault(path, Origin(self.source, _line(node)))
        if node.tag.removeprefix(_TAG) not in _KINDS:
            return self._refuse(node, path, f"the tag {node.tag!r} is not supported")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
        return self._scalar(node, path)

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, object]:
        found: dict[str, object] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag == f"{_TAG}merge":
                self._refuse(key_node, path, "a key must be a word")
                continue
            key = str(key_node.value)
            here = (*path, key)
            if key in found:
                self._refuse(key_node, here, f"stands twice, first in line {self.origins[here].line}")
                continue
            self.origins[here] = Origin(self.source, _line(key_node))
            found[key] = self.value(value_node, here)
        return found

    def _scalar(self, node: yaml.Node, path: Path) -> object:
        text, kind = str(node.value), node.tag.removeprefix(_TAG)
        quoted = getattr(node, "style", None) in ("'", '"', "|", ">")
        if kind == "null":
            return None
        if kind == "bool":
            return text.lower() in ("true", "yes", "on")
        return text if quoted else self._number(node, text, path)

    def _number(self, node: yaml.Node, text: str, path: Path) -> object:
        if _INTEGER.match(text):
            return int(text.replace("_", ""))
        if text.lower().lstrip("+-") in (".nan", ".inf") or not math.isfinite(_as_float(text)):
            return self._refuse(node, path, f"must be finite, was {text}")
        return _as_float(text) if _REAL.match(text) else text

    def _refuse(self, node: yaml.Node, path: Path, reason: str) -> object:
        """Note a fault and return the value that stands in until the whole document is refused."""
        key = ".".join(str(part) for part in path)
        self.faults.append(Fault(source=self.source, line=_line(node), key=key, reason=reason))
        return None


def _as_float(text: str) -> float:
    return float(text.replace("_", "")) if _REAL.match(text) else 0.0


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _syntax_fault(error: yaml.YAMLError, source: str) -> Fault:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or " ".join(str(error).split())
    return Fault(source=source, line=None if mark is None else mark.line + 1, reason=f"is not YAML: {problem}")


def _kind(value: object) -> str:
    names = {dict: "a mapping", list: "a list", str: "text", bool: "a truth value", type(None): "nothing"}
    return names.get(type(value), "a number")
