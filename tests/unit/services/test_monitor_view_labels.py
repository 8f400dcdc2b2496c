"""What an instrument is called in metrics and outward keys: its symbol, for as long as that says which it is."""

from __future__ import annotations

import pytest

from edgefleet.messages import Session
from edgefleet.testing.clock import START_NS
from edgefleet_services.monitor.view import FleetView

SIM, OKX, ETH = "BTC/USDT@sim", "BTC/USDT@okx", "ETH/USDT@sim"


def session(*instruments: str, name: str = "s1", venue: str = "", symbols: tuple[str, ...] = ()) -> Session:
    return Session(
        session=name, mode="paper", venue=venue, account="main", symbols=symbols, first_ids={}, machine={},
        instruments=instruments, ts_event=START_NS, ts_init=START_NS,
    )  # fmt: skip


def view(*instruments: str) -> FleetView:
    made = FleetView()
    made.take(session(*instruments))
    return made


def test_symbol_that_is_traded_at_one_venue_is_its_own_name() -> None:
    seen = view(SIM, ETH)

    assert (seen.label(SIM), seen.label(ETH)) == ("BTC/USDT", "ETH/USDT")


def test_symbol_that_is_traded_at_two_venues_is_told_with_its_venue() -> None:
    seen = view(SIM, OKX, ETH)

    assert (seen.label(SIM), seen.label(OKX), seen.label(ETH)) == (SIM, OKX, "ETH/USDT")


def test_symbol_that_is_followed_beside_the_traded_one_is_told_with_its_venue() -> None:
    seen = view(SIM)

    assert (seen.label(SIM), seen.label(OKX)) == ("BTC/USDT", OKX)


@pytest.mark.parametrize("traded", [(), (SIM,)])
def test_symbol_that_is_traded_nowhere_is_its_own_name(traded: tuple[str, ...]) -> None:
    assert view(*traded).label("DOGE/USDT@okx") == "DOGE/USDT"


def test_before_a_session_is_known_every_symbol_is_its_own_name() -> None:
    seen = FleetView()

    assert (seen.label(SIM), seen.label(OKX)) == ("BTC/USDT", "BTC/USDT")


def test_what_a_session_calls_an_instrument_is_not_what_the_next_one_does() -> None:
    seen = view(SIM, OKX)
    assert (seen.label(SIM), seen.label(OKX)) == (SIM, OKX)

    seen.take(session(SIM, name="s2"))

    assert (seen.label(SIM), seen.label(OKX)) == ("BTC/USDT", OKX)


def test_what_was_called_before_the_first_session_is_called_anew() -> None:
    seen = FleetView()
    assert seen.label(OKX) == "BTC/USDT"

    seen.take(session(SIM, OKX))

    assert seen.label(OKX) == OKX


def test_session_that_is_told_again_changes_no_name() -> None:
    seen = view(SIM, OKX)
    assert seen.label(SIM) == SIM

    seen.take(session(SIM))

    assert seen.label(SIM) == SIM


def test_session_of_an_earlier_version_tells_its_symbols_and_one_venue() -> None:
    seen = FleetView()
    seen.take(session(venue="sim", symbols=("BTC/USDT",)))

    assert (seen.label(SIM), seen.label(OKX)) == ("BTC/USDT", OKX)


def test_a_contract_is_not_the_pair_whose_name_it_begins_with() -> None:
    perpetual = "BTC/USDT:USDT@okx"

    seen = view(SIM, perpetual)

    assert (seen.label(SIM), seen.label(perpetual)) == ("BTC/USDT", "BTC/USDT:USDT")
