"""What `--venue`, `--symbols` and `--venue-url` come to, and whose key a venue is sent."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefleet.errors import Misuse
from edgefleet_services.options import MAX_VENUES, ServiceOptions, TradedVenue, traded_venues, venue_keys

NAMES = st.lists(st.from_regex(r"[a-z][a-z0-9]{0,7}", fullmatch=True), min_size=1, max_size=MAX_VENUES, unique=True)
PAIRS = st.lists(st.sampled_from(["BTC/USDT", "ETH/USDT", "AAPL/USD", "BTC/USDT:USDT"]), min_size=1, unique=True)


def instruments(traded: tuple[TradedVenue, ...]) -> list[str]:
    return [instrument for venue in traded for instrument in venue.instruments]


@given(NAMES, st.data())
def test_what_is_named_in_full_is_traded_where_it_is_named(names: list[str], data: st.DataObject) -> None:
    wanted = {name: data.draw(PAIRS) for name in names}
    words = [f"{symbol}@{name}" for name, symbols in wanted.items() for symbol in symbols]

    traded = traded_venues(",".join(names), ",".join(data.draw(st.permutations(words))))

    assert [venue.name for venue in traded] == names
    assert {venue.name: set(venue.symbols) for venue in traded} == {name: set(found) for name, found in wanted.items()}
    assert sorted(instruments(traded)) == sorted(words)


@given(NAMES, st.data())
def test_what_a_service_is_started_with_is_read_back_as_it_was(names: list[str], data: st.DataObject) -> None:
    urls = st.sampled_from([None, "http://127.0.0.1:9180", "http://127.0.0.1:9181"])
    asked = tuple(TradedVenue(name=name, symbols=tuple(data.draw(PAIRS)), url=data.draw(urls)) for name in names)

    read = traded_venues(
        ",".join(one.name for one in asked),
        ",".join(instruments(asked)),
        ",".join(one.url or "" for one in asked),
    )

    assert read == asked


def test_one_venue_trades_every_bare_symbol() -> None:
    traded = traded_venues("sim", "BTC/USDT,ETH/USDT")

    assert traded == (TradedVenue(name="sim", symbols=("BTC/USDT", "ETH/USDT"), url=None),)


def test_one_venue_may_be_named_with_its_symbols() -> None:
    assert traded_venues("sim", "BTC/USDT@sim") == traded_venues("sim", "BTC/USDT")


def test_of_several_venues_a_bare_symbol_could_be_of_any() -> None:
    with pytest.raises(Misuse, match=r"ETH/USDT: at which of sim, sim2\? Write it as ETH/USDT@sim$"):
        traded_venues("sim,sim2", "BTC/USDT@sim,BTC/USDT@sim2,ETH/USDT")


@pytest.mark.parametrize("names", ["sim", "sim,sim2"])
def test_symbol_of_a_venue_that_is_not_traded_is_refused(names: str) -> None:
    with pytest.raises(Misuse, match=r"BTC/USDT@okx: 'okx' is not among the venues sim.*; add it to --venue"):
        traded_venues(names, "BTC/USDT@okx,BTC/USDT@sim")


def test_symbol_that_names_its_venue_by_nothing_is_refused() -> None:
    with pytest.raises(Misuse, match=r"'' is not among the venues"):
        traded_venues("sim", "BTC/USDT@")


def test_venue_without_a_symbol_is_refused_with_what_it_would_take() -> None:
    with pytest.raises(Misuse, match=r"nothing to trade at sim2; .* --symbols BTC/USDT@sim2$"):
        traded_venues("sim,sim2", "BTC/USDT@sim")


def test_only_venue_without_a_symbol_is_told_to_take_a_bare_one() -> None:
    with pytest.raises(Misuse, match=r"nothing to trade at sim; .* --symbols BTC/USDT$"):
        traded_venues("sim", " , ")


@pytest.mark.parametrize("names", ["", " ", ",", " , "])
def test_no_venue_is_refused(names: str) -> None:
    with pytest.raises(Misuse, match="--venue is empty"):
        traded_venues(names, "BTC/USDT")


def test_each_venue_has_the_address_at_its_place() -> None:
    traded = traded_venues("sim,okx,sim2", "BTC/USDT@sim2,BTC/USDT@okx,BTC/USDT@sim", "http://a, ,http://b")

    assert {venue.name: venue.url for venue in traded} == {"sim": "http://a", "okx": None, "sim2": "http://b"}


@pytest.mark.parametrize("urls", [None, "", ","])
def test_without_addresses_the_configured_ones_are_taken(urls: str | None) -> None:
    assert [venue.url for venue in traded_venues("sim,sim2", "BTC/USDT@sim,BTC/USDT@sim2", urls)] == [None, None]


@pytest.mark.parametrize("urls", ["http://a", "http://a,http://b,http://c"])
def test_another_number_of_addresses_than_of_venues_is_refused(urls: str) -> None:
    given = len(urls.split(","))

    with pytest.raises(Misuse, match=rf"--venue-url has {given} addresses and --venue 2 venues; give one for each"):
        traded_venues("sim,sim2", "BTC/USDT@sim,BTC/USDT@sim2", urls)


def test_as_many_venues_as_there_are_ports_are_taken_and_no_more() -> None:
    names = [f"v{number}" for number in range(MAX_VENUES + 1)]
    symbols = ",".join(f"BTC/USDT@{name}" for name in names[:MAX_VENUES])

    traded = traded_venues(",".join(names[:MAX_VENUES]), symbols)

    assert len(traded) == MAX_VENUES
    with pytest.raises(Misuse, match=rf"--venue names {MAX_VENUES + 1} venues; a fleet has ports for {MAX_VENUES}"):
        traded_venues(",".join(names), f"{symbols},BTC/USDT@{names[-1]}")


def test_what_is_named_twice_is_traded_once() -> None:
    traded = traded_venues("sim, sim2,sim", "BTC/USDT@sim,btcusdt@sim, BTC-USDT@sim2,BTC/USDT@sim")

    assert instruments(traded) == ["BTC/USDT@sim", "BTC/USDT@sim2"]


def test_symbols_stay_in_the_order_in_which_they_were_asked_for() -> None:
    traded = traded_venues("sim", "ETH/USDT,BTC/USDT,ETH/USDT")

    assert traded[0].symbols == ("ETH/USDT", "BTC/USDT")


def test_symbol_that_cannot_be_read_is_refused_before_any_venue_is_asked() -> None:
    with pytest.raises(Misuse, match="DOTUSD"):
        traded_venues("sim", "DOTUSD@sim")


def test_service_trades_what_its_venues_trade_in_their_order(tmp_path: Path) -> None:
    traded = traded_venues("sim2,sim", "BTC/USDT@sim,ETH/USDT@sim2,BTC/USDT@sim2")

    options = ServiceOptions(redis_url="redis://x", conf_dir=tmp_path, data_dir=tmp_path, port=1, traded=traded)

    assert options.instruments == ("ETH/USDT@sim2", "BTC/USDT@sim2", "BTC/USDT@sim")


# --- keys


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment with the key that names no venue, and none that does."""
    for venue in ("BINANCE", "ALPACA", "MY_DESK"):
        for part in ("KEY", "SECRET"):
            monkeypatch.delenv(f"EDGEFLEET_VENUE_{venue}_{part}", raising=False)
    monkeypatch.setenv("EDGEFLEET_VENUE_KEY", "common")
    monkeypatch.setenv("EDGEFLEET_VENUE_SECRET", "common secret")
    return monkeypatch


def test_the_only_venue_is_sent_the_key_that_names_none(environment: pytest.MonkeyPatch) -> None:
    assert venue_keys("binance", alone=True) == ("common", "common secret")


def test_one_of_several_venues_is_never_sent_the_key_that_names_none(environment: pytest.MonkeyPatch) -> None:
    assert venue_keys("binance", alone=False) == ("", "")


def test_secret_that_names_none_does_not_complete_the_key_of_one_of_several(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("EDGEFLEET_VENUE_BINANCE_KEY", "own")

    assert venue_keys("binance", alone=False) == ("own", "")


@pytest.mark.parametrize("alone", [True, False])
def test_the_venue_s_own_key_comes_before_any_other(environment: pytest.MonkeyPatch, alone: bool) -> None:
    environment.setenv("EDGEFLEET_VENUE_MY_DESK_KEY", "own")
    environment.setenv("EDGEFLEET_VENUE_MY_DESK_SECRET", "own secret")

    assert venue_keys("my-desk", alone=alone) == ("own", "own secret")


@pytest.mark.parametrize("alone", [True, False])
def test_no_venue_is_sent_the_key_of_another(environment: pytest.MonkeyPatch, alone: bool) -> None:
    environment.delenv("EDGEFLEET_VENUE_KEY")
    environment.delenv("EDGEFLEET_VENUE_SECRET")
    environment.setenv("EDGEFLEET_VENUE_BINANCE_KEY", "own")
    environment.setenv("EDGEFLEET_VENUE_BINANCE_SECRET", "own secret")

    assert venue_keys("alpaca", alone=alone) == ("", "")


@pytest.mark.parametrize("names", ["my-venue,my_venue", "a,A"])
def test_two_venues_never_have_their_keys_under_one_name(names: str) -> None:
    first, second = names.split(",")

    with pytest.raises(Misuse, match=r"two venues would have their keys in EDGEFLEET_VENUE_\w+_KEY; rename one"):
        traded_venues(names, f"BTC/USDT@{first},BTC/USDT@{second}")


def test_key_and_secret_come_from_one_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEFLEET_VENUE_BINANCE_KEY", "own")
    monkeypatch.setenv("EDGEFLEET_VENUE_SECRET", "common")
    monkeypatch.setenv("EDGEFLEET_VENUE_KEY", "common")

    assert venue_keys("binance", alone=True) == ("own", "")
    assert venue_keys("okx", alone=True) == ("common", "common")
