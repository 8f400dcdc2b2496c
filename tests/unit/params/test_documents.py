"""YAML is read with its lines, and stricter than YAML 1.1."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefleet.params.documents import parse_scalar, parse_yaml
from edgefleet.params.faults import InvalidConfig


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("-1", -1),
        ("010", 10),
        ("1_000", 1000),
        ("0.00001", 0.00001),
        ("12:30", "12:30"),
        ("2026-01-01", "2026-01-01"),
        ('"5"', "5"),
        ("true", True),
        ("off", False),
        ("null", None),
        ("[1, {a: 2}]", [1, {"a": 2}]),
        ("<=60000", "<=60000"),
    ],
)
def test_a_scalar_is_what_a_trader_means_by_it(text: str, value: object) -> None:
    assert parse_scalar(text) == value
    assert type(parse_scalar(text)) is type(value)


@pytest.mark.parametrize("text", [".nan", "-.inf", ".INF", "1e999"])
def test_what_is_not_finite_is_refused(text: str) -> None:
    with pytest.raises(InvalidConfig, match=r"c\.yml:2: b: must be finite, was"):
        parse_yaml(f"a: 1\nb: {text}\n", "c.yml")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: 1\nb:\n  c: 1\n  c: 2\n", r"c\.yml:4: b\.c: stands twice, first in line 3"),
        ("- 1\n", r"c\.yml:1: must be a mapping, was a list"),
        ("text", r"c\.yml:1: must be a mapping, was text"),
        ("a: [1,\n", r"c\.yml:2: is not YAML: "),
        ("a: 1\n\tb: 2\n", r"c\.yml:2: is not YAML: "),
        ("a: !!python/object/apply:os.system [x]\n", r"c\.yml:1: a: the tag .* is not supported"),
        ("a: !secret x\n", r"c\.yml:1: a: the tag '!secret' is not supported"),
        ("a: &x {b: 1}\nc:\n  <<: *x\n", r"c\.yml:3: c: a key must be a word"),
        ("? [1, 2]\n: 3\n", r"c\.yml:1: a key must be a word"),
        ("a: &x [*x]\n", r"c\.yml:1: is too large or refers to itself"),
    ],
)
def test_what_is_wrong_is_told_with_file_line_and_key(text: str, told: str) -> None:
    with pytest.raises(InvalidConfig, match=told):
        parse_yaml(text, "c.yml")


def test_a_bomb_of_aliases_is_refused() -> None:
    bomb = "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
        f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n" for before, name in zip("abcde", "bcdef", strict=True)
    )

    with pytest.raises(InvalidConfig, match="too large"):
        parse_yaml(bomb, "c.yml")


def test_every_fault_is_told_not_the_first_alone() -> None:
    with pytest.raises(InvalidConfig) as told:
        parse_yaml("a: .nan\na: 1\nb: !x 1\n", "c.yml")

    assert [fault.line for fault in told.value.faults] == [1, 2, 3]


@given(st.text(max_size=200))
def test_any_text_is_a_mapping_or_a_fault(text: str) -> None:
    try:
        value: object = parse_yaml(text, "c.yml").value
    except InvalidConfig as error:
        value = {"faults": error.faults}

    assert isinstance(value, dict)
