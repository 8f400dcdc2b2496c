"""Every dialect that configuration may name is there, and what names none is told so."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from edgefleet.errors import Misuse
from edgefleet.params.schema.venues import DIALECTS, VenueParams
from edgefleet.venues.dialect import dialect


def test_a_name_in_the_table_is_known_to_configuration_and_to_who_asks_for_the_dialect(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(DIALECTS, "myvenue", DIALECTS["kraken"])

    assert dialect("myvenue") is dialect("kraken")
    assert VenueParams(dialect="myvenue", rest_url="", stream_url="").dialect == "myvenue"


@pytest.mark.parametrize("name", DIALECTS)
def test_a_dialect_is_called_by_its_name(name: str) -> None:
    if find_spec(DIALECTS[name].rpartition(".")[0]) is None or find_spec(DIALECTS[name]) is None:
        pytest.fail(f"{DIALECTS[name]} is not there")

    found = dialect(name)

    assert found.name == name
    pair = {"alpaca": "AAPL/USD", "binance_usdm": "BTC/USDT:USDT"}.get(name, "BTC/USD")
    assert found.canonical(found.spell(pair)) == pair


def test_an_unknown_dialect_is_told_with_those_there_are() -> None:
    with pytest.raises(Misuse, match="'ftx' is unknown; there are binance"):
        dialect("ftx")
