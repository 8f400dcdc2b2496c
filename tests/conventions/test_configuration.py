"""The files in `conf/` and the typed parameters name the same keys, so a trader sees every knob and no dead one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel
from tests.conventions.source import ROOT, name_of

from edgefleet.params.faults import InvalidConfig
from edgefleet.params.files import FILES, load_fleet
from edgefleet.params.schema import COMPONENTS

CONF = ROOT / "conf"


def fixed_keys(model: type[BaseModel], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the path of every field, going into blocks; what stands in tables and lists has keys of the user's own."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from fixed_keys(field.annotation, (*path, field.alias or name))
        else:
            yield (*path, field.alias or name)


def unmentioned(model: type[BaseModel], text: str) -> list[str]:
    """Return the fields that a file's text never names, as a key or as a commented key."""
    return [".".join(path) for path in fixed_keys(model) if f"{path[-1]}:" not in text]


def test_the_shipped_configuration_is_valid() -> None:
    assert load_fleet(CONF, {}).hash


@pytest.mark.parametrize("component", [c for c in COMPONENTS if FILES[c].endswith(".yml")])
def test_every_parameter_is_written_in_its_file(component: str) -> None:
    assert unmentioned(COMPONENTS[component], (CONF / FILES[component]).read_text()) == []


@pytest.mark.parametrize("path", sorted(CONF.rglob("*.yml")), ids=name_of)
def test_every_file_belongs_to_a_component(path: Path) -> None:
    relative = path.relative_to(CONF).as_posix()

    assert relative in FILES.values() or relative.partition("/")[0] in FILES.values()


def test_the_rule_of_written_parameters_can_fail() -> None:
    class Block(BaseModel):
        present: int = 1
        forgotten: int = 2

    assert unmentioned(Block, "present: 1\n") == ["forgotten"]


def test_an_unknown_key_is_refused(tmp_path: Path) -> None:
    (tmp_path / "fleet.yml").write_text("no_such_key: 1\n")

    with pytest.raises(InvalidConfig, match="no_such_key"):
        load_fleet(tmp_path, {})
