"""`conf/` and the environment to a validated configuration. Knows nothing of Redis and of versions.

The environment stands above the files: `EDGEFLEET__<COMPONENT>__<KEY>[__<KEY>...]=<one line of YAML>` replaces one
value, as in `EDGEFLEET__RISK_HARMONIZER__POSITION_SIZING__KELLY_FRACTION=0.2`. Case does not matter, and a key that
holds other signs is written with underscores: `EDGEFLEET__INSTRUMENTS__SYMBOLS__BTC_USDT__TICK_SIZE`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from edgefleet.errors import Misuse
from edgefleet.params.cross import contradictions
from edgefleet.params.documents import Document, Origin, parse_scalar, parse_yaml
from edgefleet.params.documents import Path as KeyPath
from edgefleet.params.faults import Fault, InvalidConfig
from edgefleet.params.schema import COMPONENTS, FleetConfig, Params, canonical_component
from edgefleet.params.shapes import WRAPPERS, flattened, unwrapped

FILES: dict[str, str] = {
    "risk_harmonizer": "risk_params.yml",
    "model_router": "model_router_rules.yml",
    "models": "models.yml",
    "features": "features.yml",
    "venues": "venues",  # a directory: one file per venue, named after it
    "instruments": "instruments.yml",
    "execution": "execution.yml",
    "stress": "stress.yml",
    "fleet": "fleet.yml",
}
PREFIX = "EDGEFLEET__"
# Sections and keys of the same form that tell a process where it runs; they are no parameters.
PROCESS_SECTIONS = frozenset({"http", "log", "metrics", "redis", "secrets", "database", "venue"})
PROCESS_KEYS = frozenset({"mode", "venue", "symbols", "data_dir", "conf_dir", "session", "instance", "speed"})


class Component(msgspec.Struct, frozen=True, kw_only=True):
    """One component as its file and the environment give it."""

    name: str
    source: str
    document: Document
    params: Params
    whole: bool = True  # False: one venue's file, which leaves the other venues alone

    @property
    def body(self) -> dict[str, Any]:
        """Return the parameters as plain JSON values."""
        return self.params.model_dump(mode="json")


def load_fleet(conf_dir: Path, environ: Mapping[str, str] | None = None) -> FleetConfig:
    """Return the whole configuration that `conf_dir` and the environment give; flags are none.

    A file that is not there leaves its component at its defaults.

    Raises
    ------
    InvalidConfig
        If anything is wrong in any file, with every fault: file, line, key, reason.
    Misuse
        If `conf_dir` is not a directory.
    """
    return assemble(load_components(conf_dir, environ))


def load_components(conf_dir: Path, environ: Mapping[str, str] | None = None) -> dict[str, Component]:
    """Return every component of `conf_dir`, each valid by itself. Raises as `load_fleet` does."""
    if not conf_dir.is_dir():
        raise Misuse(
            f"configuration directory {conf_dir} is not there; `edgefleet init` writes one, or name it with --conf"
        )
    found: dict[str, Component] = {}
    faults: list[Fault] = list(unknown_overrides(environ))
    for name, file in FILES.items():
        try:
            found[name] = load_component(name, conf_dir / file, environ, must_exist=False)
        except InvalidConfig as error:
            faults.extend(error.faults)
    if faults:
        raise InvalidConfig(faults)
    return found


def load_component(
    name: str, path: Path, environ: Mapping[str, str] | None = None, *, must_exist: bool = True
) -> Component:
    """Return one component read from `path` with the environment's overrides, valid by itself.

    Raises
    ------
    InvalidConfig
        If the file is not there, not readable, or wrong: file, line, key, reason.
    """
    component = canonical_component(name)
    source = _shown(path)
    if path.exists():
        document = _venues_document(path, source) if component == "venues" else _shaped(component, _read(path, source))
    elif must_exist:
        raise InvalidConfig([Fault(source=source, reason="is not there; `edgefleet init` writes the defaults")])
    else:
        document = Document(source=source, value={}, origins={})
    overridden = _with_overrides(component, document, os.environ if environ is None else environ)
    params = validated(component, overridden)
    whole = component != "venues" or not path.is_file()
    return Component(name=component, source=source, document=overridden, params=params, whole=whole)


def validated(component: str, document: Document) -> Params:
    """Return the parameters in `document`, read strictly: no text where a number belongs, no truth value as 1.

    Raises
    ------
    InvalidConfig
        With every fault pydantic found, each at its line.
    """
    try:
        return COMPONENTS[component].model_validate_json(msgspec.json.encode(document.value), strict=True)
    except ValidationError as error:
        raise InvalidConfig([_fault(document, details) for details in error.errors()]) from error


def assemble(components: Mapping[str, Component], flags: Mapping[str, bool] | None = None) -> FleetConfig:
    """Return the whole configuration made of `components`.

    Raises
    ------
    InvalidConfig
        If the components do not go together.
    """
    try:
        config = FleetConfig(**{name: part.params for name, part in components.items()}, flags=dict(flags or {}))
    except ValidationError as error:
        raise InvalidConfig(
            [_cross_fault(components, details["loc"], _reason(details)) for details in error.errors()]
        ) from error
    found = contradictions(config)
    if found:
        raise InvalidConfig([_cross_fault(components, path, reason) for path, reason in found])
    return config


def _cross_fault(components: Mapping[str, Component], path: KeyPath, reason: str) -> Fault:
    """Return a fault between components, at the line of the component that the path begins with."""
    component = components.get(str(path[0])) if path else None
    if component is None:
        return Fault(source="configuration", key=".".join(str(step) for step in path), reason=reason)
    return component.document.fault(_written_path(component.document.value, path[1:]), reason)


def unknown_overrides(environ: Mapping[str, str] | None = None) -> list[Fault]:
    """Return a fault for each `EDGEFLEET__` variable that names no component and no setting of a process."""
    variables = os.environ if environ is None else environ
    known = {*COMPONENTS, *(wrapper for wrappers in WRAPPERS.values() for wrapper in wrappers), *PROCESS_SECTIONS}
    return [
        Fault(source=name, reason=f"names no component; they are {', '.join(sorted(COMPONENTS))}")
        for name in sorted(variables)
        if name.startswith(PREFIX) and name.split("__")[1].lower() not in known
    ]


def path_of(conf_dir: Path, component: str) -> Path:
    """Return where a component is configured: a file, for venues a directory."""
    return conf_dir / FILES[canonical_component(component)]


def inside(conf_dir: Path, config_path: str) -> Path:
    """Return the file that `config_path` names, relative to the directory that holds `conf_dir`.

    A leading `conf/` is the configuration directory, whatever its own name is.

    Raises
    ------
    Misuse
        If it leads out of that directory.
    """
    root = conf_dir.resolve().parent
    path = (root / config_path).resolve()
    if not path.exists() and Path(config_path).parts[:1] == ("conf",):
        path = conf_dir.resolve().joinpath(*Path(config_path).parts[1:]).resolve()
    if not path.is_relative_to(root):
        raise Misuse(f"config_path {config_path!r} leads out of {root}; name a file inside it")
    return path


def _read(path: Path, source: str) -> Document:
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InvalidConfig(
            [Fault(source=source, reason=f"is not UTF-8: {error.reason} at byte {error.start}")]
        ) from error
    except OSError as error:
        raise InvalidConfig([Fault(source=source, reason=f"cannot be read: {error.strerror}")]) from error
    return parse_yaml(text, source)


def _shaped(component: str, document: Document) -> Document:
    return flattened(component, unwrapped(component, document))


def _venues_document(path: Path, source: str) -> Document:
    """Return `{venues: {<file name>: ...}}` of a directory of venue files, or of one of them."""
    files = sorted([*path.glob("*.yml"), *path.glob("*.yaml")]) if path.is_dir() else [path]
    value: dict[str, object] = {}
    origins: dict[KeyPath, Origin] = {("venues",): Origin(source)}
    faults: list[Fault] = []
    for file in files:
        try:
            document = _read(file, _shown(file))
        except InvalidConfig as error:
            faults.extend(error.faults)
            continue
        value[file.stem] = document.value
        origins |= {("venues", file.stem, *key): origin for key, origin in document.origins.items()}
    if faults:
        raise InvalidConfig(faults)
    return Document(source=source, value={"venues": value}, origins=origins)


def _with_overrides(component: str, document: Document, environ: Mapping[str, str]) -> Document:
    overrides = {name: text for name, text in sorted(environ.items()) if _concerns(component, name)}
    if not overrides:
        return document
    value: dict[str, object] = msgspec.json.decode(msgspec.json.encode(document.value))
    origins = dict(document.origins)
    defaults = COMPONENTS[component]().model_dump(mode="json")
    for name, text in overrides.items():
        try:
            path = _override_path(name.split("__")[2:], value, defaults)
            _put(value, path, parse_scalar(text))
        except (InvalidConfig, TypeError) as error:
            raise InvalidConfig([Fault(source=name, reason=f"cannot replace a value: {error}")]) from error
        origins[path] = Origin(name)
    return Document(source=document.source, value=value, origins=origins)


def _concerns(component: str, variable: str) -> bool:
    if not variable.startswith(PREFIX):
        return False
    _, section, *keys = variable.split("__")
    if section.lower() not in (component, *WRAPPERS.get(component, ())):
        return False
    return not (component == "fleet" and len(keys) == 1 and keys[0].lower() in PROCESS_KEYS)


def _override_path(words: list[str], value: object, defaults: object) -> tuple[str, ...]:
    """Return the keys that `words` mean, found among the keys in the file and the defaults."""
    path: list[str] = []
    for word in words:
        candidates = [*(value if isinstance(value, dict) else ()), *(defaults if isinstance(defaults, dict) else ())]
        key = next((name for name in candidates if _plain(name) == _plain(word)), word.lower())
        value = value.get(key) if isinstance(value, dict) else None
        defaults = defaults.get(key) if isinstance(defaults, dict) else None
        path.append(key)
    if not path or "" in path:
        raise InvalidConfig([Fault(source="the variable", reason="names no key; write EDGEFLEET__COMPONENT__KEY")])
    return tuple(path)


def _plain(name: str) -> str:
    return re.sub(r"[^0-9A-Z]+", "_", name.upper())


def _put(value: dict[str, object], path: tuple[str, ...], item: object) -> None:
    *parents, last = path
    here: object = value
    for key in parents:
        if not isinstance(here, dict):
            raise TypeError(f"{'.'.join(path)} passes through a value that is no mapping")
        here = here.setdefault(key, {})
    if not isinstance(here, dict):
        raise TypeError(f"{'.'.join(path)} passes through a value that is no mapping")
    here[last] = item


def _fault(document: Document, details: ErrorDetails) -> Fault:
    path = _written_path(document.value, details["loc"])
    if details["type"] == "value_error":
        path = _named_path(document.value, path, _reason(details))
    return document.fault(path, _reason(details))


def _named_path(value: object, path: KeyPath, reason: str) -> KeyPath:
    """Return `path` and, below it, the keys that a validator's text begins with, as far as they are in the document."""
    for step in path:
        value = value[step] if isinstance(value, dict | list) else None  # type: ignore[index]  # a step of its own path
    words = re.split(r"[\s:,]", reason, maxsplit=1)[0].split(".")
    for word in words:
        if not isinstance(value, dict) or word not in value:
            break
        value, path = value[word], (*path, word)
    return path


def _written_path(value: object, location: tuple[str | int, ...]) -> KeyPath:
    """Return `location` without the steps that pydantic adds for unions and validators.

    The last step stays when it is a word: a missing key is in no document.
    """
    path: list[str | int] = []
    for index, step in enumerate(location):
        is_last = index == len(location) - 1
        if isinstance(value, dict) and step in value:
            value = value[str(step)]
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            value = value[step]
        elif not (is_last and isinstance(value, dict) and isinstance(step, str)):
            continue
        path.append(step)
    return tuple(path)


def _reason(details: ErrorDetails) -> str:
    known = {"extra_forbidden": "is unknown here", "missing": "is missing"}
    if details["type"] in known:
        return known[details["type"]]
    message = details["msg"].removeprefix("Value error, ").removeprefix("Input ")
    value = details.get("input")
    return (
        message if details["type"] == "value_error" or isinstance(value, dict | list) else f"{message}, was {value!r}"
    )


def _shown(path: Path) -> str:
    """Return the path as people know it: `conf/fleet.yml`, `conf/venues/sim.yml`."""
    parts = path.parts
    depth = 3 if path.parent.name == "venues" else 2
    return "/".join(parts[-depth:])
