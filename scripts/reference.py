"""Write what is generated under docs/reference. `--check` writes nothing and fails where a file differs."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, get_args

import msgspec
import typer
import yaml
from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

import edgefleet
from edgefleet.features import cards
from edgefleet.messages import dictionary
from edgefleet.messages.asyncapi import document
from edgefleet.params.files import FILES
from edgefleet.params.schema import COMPONENTS, VenueParams, VenuesParams
from edgefleet.params.schema import models as model_parameters
from edgefleet.telemetry.metrics import Metrics, declared
from edgefleet_services.cli.main import app

TARGET = Path(__file__).resolve().parent.parent / "docs" / "reference"
MADE = "<!-- made by scripts/reference.py from the code: change it there, then `make docs` -->\n"


def pages() -> dict[str, str]:
    """Return every generated file of the reference by its name."""
    return {
        "asyncapi.yml": yaml.safe_dump(document(edgefleet.__version__), sort_keys=False, width=120, allow_unicode=True),
        "commands.md": commands(),
        "configuration.md": configuration(),
        "features.md": MADE + cards.page(),
        "messages.md": MADE + dictionary.page(),
        "metrics.md": metrics(),
    }


# --- commands ---


def commands() -> str:
    """Return the page of `edgefleet` and all its commands."""
    blocks = [MADE + "# Commands", COMMANDS_HEAD, _table(("exit code", "means"), EXIT_CODES), COMMANDS_WORDS]
    for name, command in _leaves(typer.main.get_command(app)):
        blocks.append(f"## {name}\n\n{inspect.cleandoc(command.help or '')}")
        rows = [_parameter(parameter) for parameter in command.params]
        if rows:
            blocks.append(_table(("", "", "default"), rows))
    return "\n\n".join(blocks) + "\n"


COMMANDS_HEAD = """\
`edgefleet COMMAND --help` says the same. With `--json` a command prints one JSON object (or one a line where it
streams) on stdout and nothing else; people's text and progress go to stderr."""
COMMANDS_WORDS = """\
Pairs are `BASE/QUOTE`; `BTC-USDT` and `BTCUSDT` are accepted and shown as `BTC/USDT`. `.env` in the directory fills in
what the environment does not say. A command that talks to a running fleet takes the one of `--data-dir`, else the
newest that runs from this directory."""
EXIT_CODES = (
    ("0", "good"),
    ("1", "it ran and the answer is bad: a service that is not well, a twin that differs, a missed target"),
    ("2", "wrong use or configuration: one line with what, where and how to mend"),
    ("3", "a needed thing is out of reach: Redis, the venue, or a Redis that another fleet owns"),
    ("130", "interrupted"),
)


def _leaves(group: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _leaves(command, f"{prefix}{name} ")
        else:
            yield prefix + name, command


def _parameter(parameter: Any) -> tuple[str, str, str]:
    is_option = parameter.opts[0].startswith("-")
    name = parameter.opts[0] if is_option else parameter.metavar or parameter.name.upper()
    default = parameter.default
    told = "needed" if parameter.required else "" if default in (None, False, "", ()) else f"`{default}`"
    variable = f" (`{parameter.envvar}`)" if parameter.envvar else ""
    return f"`{name}`", _cell((parameter.help or "") + variable), told


# --- configuration ---

CONFIGURATION_HEAD = """\
Files are in `conf/`, one per component, each key commented. Every file is validated whole: an unknown key, a value of
another type or out of bounds is refused with file, line, key and reason, and nothing changes. *Tighter* is the side
that applies at once; a change to the other side [waits for risk and executor](../concepts/parameters.md). A key
without one applies at once both ways.

One value can be set above its file by the environment: `EDGEFLEET__<COMPONENT>__<KEY>__<KEY>=<one line of YAML>`, as in
`EDGEFLEET__RISK_HARMONIZER__POSITION_SIZING__KELLY_FRACTION=0.2`."""
KEY_COLUMNS = ("key", "type", "default", "bounds", "tighter", "")
BOUNDS = {Ge: ("≥", "ge"), Gt: (">", "gt"), Le: ("≤", "le"), Lt: ("<", "lt"), MinLen: ("length ≥", "min_length")}


def configuration() -> str:
    """Return the page of every key in `conf/`."""
    blocks = [MADE + "# Configuration keys", CONFIGURATION_HEAD]
    for component, model in COMPONENTS.items():
        file = f"conf/{FILES[component]}" + ("" if FILES[component].endswith(".yml") else "/NAME.yml")
        spelled = ", also written `risk_harmoniser`" if component == "risk_harmonizer" else ""
        blocks.append(f"## {component}\n\n`{file}`{spelled}. {inspect.cleandoc(model.__doc__ or '')}")
        # A venue's file holds one entry of the component's table, named after the file.
        inner = VenueParams if model is VenuesParams else model
        blocks.append(_table(KEY_COLUMNS, _keys(inner)))
    for name, block in sorted(model_parameters.parameter_blocks().items()):
        blocks.append(f"## models.{name}.parameters\n\n{inspect.cleandoc(block.__doc__ or '')}")
        blocks.append(_table(KEY_COLUMNS, _keys(block)))
    return "\n\n".join(blocks) + "\n"


def _keys(model: type[BaseModel], path: str = "") -> Iterator[tuple[str, ...]]:
    for name, field in model.model_fields.items():
        key = f"{path}{field.alias or name}"
        inner, step = _block(field.annotation)
        if inner is not None:
            yield from _keys(inner, f"{key}{step}.")
        else:
            yield _key_row(key, field)


def _block(annotation: Any) -> tuple[type[BaseModel] | None, str]:
    """Return the block that a key holds, and how its entries are named: a table by NAME, a list by [N]."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, ""
    inside = [a for a in get_args(annotation) if isinstance(a, type) and issubclass(a, BaseModel)]
    if not inside:
        return None, ""
    return inside[0], "[N]" if str(annotation).startswith("tuple") else ".NAME"


def _key_row(key: str, field: FieldInfo) -> tuple[str, ...]:
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, Mapping) else {}
    return (
        f"`{key}`",
        _type(field.annotation),
        _default(field),
        _bounds(field),
        str(extra.get("tighter", "")),
        _cell(field.description or ""),
    )


def _type(annotation: Any) -> str:
    words = re.sub(r"<class '([\w.]+)'>", r"\1", str(annotation))
    words = re.sub(r"typing\.|edgefleet[\w.]*\.|decimal\.", "", words)
    words = re.sub(r"Literal\[([^\]]*)\]", lambda found: found[1].replace("'", "").replace(", ", " or "), words)
    words = words.replace("NoneType", "null").replace("| None", "or null").replace("Decimal", "decimal")
    words = re.sub(r"dict\[(.*), (.*)\]", r"table of \1 to \2", words)
    words = re.sub(r"tuple\[(?:Annotated\[)?(\w+)[^\]]*\]?, \.\.\.\]", r"list of \1", words)
    return _cell(words.replace("tuple[str, ...]", "list of str").replace("|", "or"))


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True) if field.default_factory is not None else field.default
    if value is PydanticUndefined:
        return "needed"
    if isinstance(value, Decimal):
        return f"`{value}`"
    return f"`{msgspec.json.encode(value).decode()}`"


def _bounds(field: FieldInfo) -> str:
    known = [(BOUNDS[type(bound)], bound) for bound in field.metadata if type(bound) in BOUNDS]
    return ", ".join(f"{sign} {getattr(bound, name)}" for (sign, name), bound in known)


# --- metrics ---

METRICS_HEAD = """\
Every process serves its own on `/metrics`, and only those that it has set: an absent series is a thing not known, not
a zero. Names without a prefix are for dashboards of others too, those with `edgefleet_` tell of the machinery. A
counter begins at 0 with its process."""


def metrics() -> str:
    """Return the page of every metric."""
    found = Metrics()
    for attribute in declared():
        getattr(found, attribute)
    rows = []
    for attribute in declared():
        metric = getattr(found, attribute)
        family = next(iter(metric.describe()))
        name = family.name + ("_total" if family.type == "counter" else "")
        labels = ", ".join(metric._labelnames)
        rows.append((f"`{name}`", family.type, labels, family.documentation))
    return f"{MADE}# Metrics\n\n{METRICS_HEAD}\n\n{_table(('metric', 'kind', 'labels', ''), rows)}\n"


# --- Markdown ---


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def differing(target: Path) -> list[str]:
    """Return the names of the files in `target` that are not what the code says."""
    return [
        name for name, text in pages().items() if not (target / name).exists() or (target / name).read_text() != text
    ]


def main() -> int:
    """Return 0 when the files are, or now are, what the code says."""
    found = differing(TARGET)
    if "--check" in sys.argv:
        for name in found:
            sys.stderr.write(f"docs/reference/{name} is not what the code says; run make docs\n")
        return 1 if found else 0
    for name in found:
        (TARGET / name).write_text(pages()[name])
        sys.stderr.write(f"wrote docs/reference/{name}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
