"""Every dialect that configuration may name is there, and what names none is told so."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from edgefleet.errors import Misuse
from edgefleet.params.schema.venues import DIALECTS
from edgefleet.venues.dialect import MODULES, dialect


def test_configuration_and_dialects_have_the_same_names() -> None:
    assert tuple(MODULES) == DIALECTS


@pytest.mark.parametrize("name", MODULES)
def test_a_dialect_is_called_by_its_name(name: str) -> None:
    if find_spec(MODULES[name].rpartition(".")[0]) is None or find_spec(MODULES[name]) is None:
        pytest.fail(f"{MODULES[name]} is not there")

    found = dialect(name)

    assert found.name == name
    pair = {"alpaca": "AAPL/USD", "binance_usdm": "BTC/USDT:USDT"}.get(name, "BTC/USD")
    assert found.canonical(found.spell(pair)) == pair


def test_an_unknown_dialect_is_told_with_those_there_are() -> None:
    with pytest.raises(Misuse, match="'ftx' is unknown; there are binance"):
        dialect("ftx")
