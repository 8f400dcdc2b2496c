"""What each traded venue plays, and what of it is refused before anything is started."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import pytest

from edgefleet.book.sessions import closed_now
from edgefleet.clock import NS_PER_S
from edgefleet.errors import Misuse
from edgefleet.params.schema import FleetConfig
from edgefleet_services.markets import Markets, _common_shift, check_markets, missing_rates
from edgefleet_services.options import Mode, traded_venues

CONF = Path("conf")
BOTH = ("sim,sim2", "BTC/USDT@sim,BTC/USDT@sim2")
STEPS = {"tick_size": "0.01", "lot_size": "0.00001", "min_quantity": "0.00001", "min_notional": "5"}
STOCK = {**STEPS, "asset_class": "us_stocks"}

Write = Callable[..., Path]


def config() -> FleetConfig:
    """Return two pairs and a stock, at venues of several dialects."""
    dialects = {"sim": "binance", "sim2": "binance", "binance": "binance", "alpaca": "alpaca", "okx": "okx"}
    return FleetConfig.model_validate(
        {
            "instruments": {"symbols": {"BTC/USDT": STEPS, "ETH/USDT": STEPS, "XXX/USD": STOCK, "YYY/USD": STOCK}},
            "venues": {
                "venues": {
                    name: {"dialect": dialect, "rest_url": "http://x", "stream_url": "ws://x"}
                    for name, dialect in dialects.items()
                }
            },
        }
    )


def checked(
    venues: str,
    symbols: str,
    *tape: str | Path,
    mode: Mode = "demo",
    speed: str = "1",
    until_end: bool = False,
) -> Markets:
    return check_markets(
        mode,
        traded_venues(venues, symbols),
        [str(word) for word in tape],
        config(),
        conf_dir=CONF,
        speed=speed,
        seed=11,
        until_end=until_end,
    )


def arguments(markets: Markets, folder: Path) -> dict[str, tuple[str, ...] | None]:
    return {venue.name: venue.arguments for venue in markets.venues(folder, 8001)}


def after(words: Sequence[str], option: str) -> list[str]:
    """Return the values that follow an option, each time it stands there."""
    return [value for word, value in pairwise(words) if word == option]


@pytest.fixture
def tape(tmp_path: Path) -> Write:
    """Write a tape of Binance's wire: a snapshot, then a trade, a second apart."""

    def write(name: str, first_ns: int = 1_000, *, symbol: str = "BTCUSDT", snapshot: bool = True) -> Path:
        print_ = (
            f'{{"stream":"{symbol.lower()}@trade","data":{{"e":"trade","E":1,"s":"{symbol}","t":1,"p":"1","q":"1",'
            '"T":1,"m":true}}'
        )
        lines = [f"{first_ns + 1_000_000_000} {print_}\n"]
        if snapshot:
            lines.insert(0, f'{first_ns} {{"lastUpdateId":1,"bids":[],"asks":[]}}\n')
        path = tmp_path / name
        path.write_text("".join(lines))
        return path

    return write


@pytest.fixture
def stock_tape(tmp_path: Path) -> Path:
    """Write one trade of XXX in TAQ's columns."""
    path = tmp_path / "trades.csv"
    path.write_text("DT,EX,SYMBOL,COND,SIZE,PRICE,CORR\n2018-01-02 14:30:01,N,XXX,FI,5,10.01,0\n")
    return path


# --- tapes of several venues


def test_each_venue_plays_the_files_that_name_it_and_those_that_follow(tape: Write, tmp_path: Path) -> None:
    a, b, c, d = tape("a", 5), tape("b", 6), tape("c", 7), tape("d", 8)

    markets = checked(*BOTH, f"sim2={a}", b, f"sim={c}", f"sim2={d}")

    assert markets.tapes == {"sim2": (a, b, d), "sim": (c,)}
    found = arguments(markets, tmp_path)
    assert {name: after(words or (), "--tape") for name, words in found.items()} == {
        "sim": [str(c)],
        "sim2": [str(a), str(b), str(d)],
    }


def test_several_tapes_begin_at_the_earliest_stamp_of_any(tape: Write, tmp_path: Path) -> None:
    late, early = tape("late", 9_000_000_000), tape("early", 7_000_000_000)

    found = arguments(checked(*BOTH, f"sim={late}", f"sim2={early}", speed="10"), tmp_path)

    assert {name: after(words or (), "--start-ns") for name, words in found.items()} == {
        "sim": ["7000000000"],
        "sim2": ["7000000000"],
    }
    assert [after(words or (), "--speed") for words in found.values()] == [["10"], ["10"]]


def test_tape_keeps_no_account_from_an_earlier_run(tape: Write, tmp_path: Path) -> None:
    found = arguments(checked(*BOTH, f"sim={tape('a')}", f"sim2={tape('b')}"), tmp_path)

    assert not any("--state-file" in (words or ()) for words in found.values())


def test_file_of_several_venues_that_names_none_is_refused(tape: Write) -> None:
    a = tape("a")

    with pytest.raises(Misuse, match=rf"--tape {a}: of which of sim, sim2\? Write it as sim={a}"):
        checked(*BOTH, a, f"sim2={a}")


def test_tape_of_a_venue_that_is_not_traded_is_no_venue_s_tape(tape: Write) -> None:
    with pytest.raises(Misuse, match="'okx' is not among the venues sim, sim2"):
        checked(*BOTH, f"okx={tape('a')}")


@pytest.mark.parametrize(("given", "lacks"), [("sim", "sim2"), ("sim2", "sim")])
def test_venue_without_a_tape_beside_one_that_has_one_is_refused(tape: Write, given: str, lacks: str) -> None:
    with pytest.raises(Misuse, match=rf"^{lacks} has no tape.*add --tape {lacks}=FILE"):
        checked(*BOTH, f"{given}={tape('a')}")


def test_several_tapes_are_not_played_as_fast_as_they_are_read(tape: Write) -> None:
    with pytest.raises(Misuse, match="--speed max"):
        checked(*BOTH, f"sim={tape('a')}", f"sim2={tape('b')}", speed="max")


def test_stock_among_several_tapes_is_refused(tape: Write, stock_tape: Path) -> None:
    with pytest.raises(Misuse, match="a tape beside alpaca cannot be"):
        checked("sim,alpaca", "BTC/USDT@sim,XXX/USD@alpaca", f"sim={tape('a')}", f"alpaca={stock_tape}")


def test_symbol_that_is_on_the_other_venue_s_tape_alone_is_refused(tape: Write) -> None:
    a, b = tape("a", symbol="BTCUSDT"), tape("b", symbol="ETHUSDT")

    with pytest.raises(Misuse, match="symbol BTC/USDT is not on the tape; it has ETHUSDT"):
        checked(*BOTH, f"sim={a}", f"sim2={b}")


def test_second_tape_without_a_snapshot_is_refused(tape: Write) -> None:
    with pytest.raises(Misuse, match="no depth snapshot"):
        checked(*BOTH, f"sim={tape('a')}", f"sim2={tape('b', snapshot=False)}")


def test_each_venue_is_told_with_what_it_plays(tape: Write) -> None:
    markets = checked(*BOTH, f"sim={tape('a')}", f"sim2={tape('b')}", tape("c"), speed="10")

    assert [markets.told(name) for name in ("sim", "sim2")] == [
        "tape of 2 lines at speed 10",
        "tape of 4 lines at speed 10",
    ]


# --- one venue


@pytest.mark.parametrize("prefix", ["", "sim="])
def test_one_venue_s_tape_plays_as_fast_as_it_is_asked_to_and_from_its_own_begin(
    tape: Write, tmp_path: Path, prefix: str
) -> None:
    a, b = tape("a"), tape("b")

    (venue,) = checked("sim", "BTC/USDT", f"{prefix}{a}", b, speed="max").venues(tmp_path, 8001)

    assert venue.plays_tape
    assert venue.arguments == ("--market", "tape", "--speed", "max", "--tape", str(a), "--tape", str(b))


def test_file_with_an_equals_sign_in_its_name_is_one_venue_s_file(tape: Write) -> None:
    path = tape("day=1.gz.txt")

    assert checked("sim", "BTC/USDT", path).tapes == {"sim": (path,)}


def test_tape_does_not_play_at_a_real_venue(tape: Write) -> None:
    with pytest.raises(Misuse, match="simulated venue only, not on 'binance'"):
        checked("binance", "BTC/USDT", tape("a"))


def test_stock_s_tape_plays_at_its_own_venue(stock_tape: Path, tmp_path: Path) -> None:
    markets = checked("alpaca", "XXX/USD", stock_tape)

    assert arguments(markets, tmp_path)["alpaca"] == (
        "--market", "tape", "--speed", "1", "--tape", str(stock_tape),
    )  # fmt: skip
    assert markets.told("alpaca") == "recorded prints and quotes at speed 1"


def test_stock_that_is_not_on_its_tape_is_refused(stock_tape: Path) -> None:
    with pytest.raises(Misuse, match="symbol YYY/USD is not on the tape; it has XXX"):
        checked("alpaca", "YYY/USD", stock_tape)


def test_wire_that_is_no_stock_s_tape_is_refused_at_a_venue_of_stocks(tape: Write) -> None:
    with pytest.raises(Misuse, match="TAQ's trades and quotes"):
        checked("alpaca", "XXX/USD", tape("a"))


@pytest.mark.parametrize("venues", [("sim", "BTC/USDT"), BOTH])
def test_speed_that_is_unknown_is_refused(tape: Write, venues: tuple[str, str]) -> None:
    with pytest.raises(Misuse, match=r"--speed '2' is unknown; it is 1, 10, max"):
        checked(*venues, f"sim={tape('a')}", speed="2")


# --- no tape


@pytest.mark.parametrize("venues", [("sim", "BTC/USDT"), BOTH])
def test_market_without_a_tape_does_not_end(venues: tuple[str, str]) -> None:
    with pytest.raises(Misuse, match="--until-end needs a --tape"):
        checked(*venues, until_end=True)


def test_each_simulated_venue_has_a_market_and_an_account_of_its_own(tmp_path: Path) -> None:
    markets = checked("sim,sim2,alpaca", "BTC/USDT@sim,BTC/USDT@sim2,XXX/USD@alpaca", mode="paper")

    found = {name: words or () for name, words in arguments(markets, tmp_path).items()}

    assert {name: (*after(words, "--market"), *after(words, "--state-file")) for name, words in found.items()} == {
        "sim": ("synthetic", str(tmp_path / "venue.sim.json")),
        "sim2": ("relay", str(tmp_path / "venue.sim2.json")),
        "alpaca": ("synthetic", str(tmp_path / "venue.alpaca.json")),
    }
    assert {name: after(words, "--seed") for name, words in found.items()} == {
        "sim": ["11"],
        "sim2": [],
        "alpaca": ["11"],
    }
    assert {name: markets.told(name) for name in found} == {
        "sim": "synthetic, seed 11",
        "sim2": "live from sim2",
        "alpaca": "synthetic, seed 11, in New York's hours",
    }


def test_made_up_markets_side_by_side_have_one_time(tmp_path: Path) -> None:
    markets = checked("sim,alpaca", "BTC/USDT@sim,XXX/USD@alpaca")

    one, other = (after(words or (), "--shift-ns") for words in arguments(markets, tmp_path).values())

    assert one == other == [str(markets.shift_ns)]


def test_the_time_of_made_up_markets_side_by_side_is_one_at_which_new_york_is_open() -> None:
    markets = checked("sim,alpaca", "BTC/USDT@sim,XXX/USD@alpaca")
    friday, saturday = 1_750_433_400 * NS_PER_S, 1_750_500_000 * NS_PER_S  # 2025-06-20 15:30, 06-21 10:00 UTC

    shift = _common_shift(markets, saturday)

    assert shift is not None
    assert closed_now("us_stocks", saturday) is not None
    assert closed_now("us_stocks", saturday + shift) is None
    assert _common_shift(markets, friday) == 0


@pytest.mark.parametrize("venues", [("sim", "BTC/USDT"), ("alpaca", "XXX/USD")])
def test_made_up_market_that_is_alone_has_a_time_of_its_own(venues: tuple[str, str], tmp_path: Path) -> None:
    (words,) = arguments(checked(*venues), tmp_path).values()

    assert "--shift-ns" not in (words or ())


def test_made_up_market_beside_a_real_one_has_the_clock_s_time(tmp_path: Path) -> None:
    markets = checked("alpaca,binance", "BTC/USDT@binance,XXX/USD@alpaca", mode="paper")

    found = {name: after(words or (), "--shift-ns") for name, words in arguments(markets, tmp_path).items()}

    assert found == {"alpaca": ["0"], "binance": []}


def test_a_simulated_account_is_kept_by_the_venue_s_name_and_not_by_its_place(tmp_path: Path) -> None:
    found = arguments(checked("binance", "BTC/USDT", mode="paper"), tmp_path)

    assert found == {"binance": ("--market", "relay", "--state-file", str(tmp_path / "venue.binance.json"))}


def test_simulated_venues_have_ports_that_follow_each_other(tmp_path: Path) -> None:
    venues = checked("sim2,sim", "BTC/USDT@sim,ETH/USDT@sim2").venues(tmp_path, 8101)

    assert [(venue.name, venue.symbols, venue.url) for venue in venues] == [
        ("sim2", ("ETH/USDT",), "http://127.0.0.1:9280"),
        ("sim", ("BTC/USDT",), "http://127.0.0.1:9281"),
    ]


def test_live_venues_are_no_processes_of_the_fleet(tmp_path: Path) -> None:
    markets = checked("binance,alpaca", "BTC/USDT@binance,XXX/USD@alpaca", mode="live")

    venues = markets.venues(tmp_path, 8001)

    assert [(venue.name, venue.dialect, venue.url, venue.arguments) for venue in venues] == [
        ("binance", "binance", None, None),
        ("alpaca", "alpaca", None, None),
    ]
    assert markets.told("alpaca") == "live from alpaca"


# --- what is not configured


def test_second_venue_that_is_not_configured_is_refused() -> None:
    with pytest.raises(Misuse, match=r"--venue 'kraken' is not in conf/venues; known are alpaca, binance, okx, sim"):
        checked("sim,kraken", "BTC/USDT@sim,BTC/USDT@kraken")


def test_second_venue_at_which_orders_are_not_built_is_refused() -> None:
    with pytest.raises(Misuse, match=r"orders at okx \(okx\) are not built; they are at binance, alpaca"):
        checked("sim,okx", "BTC/USDT@sim,BTC/USDT@okx")


def test_symbol_of_the_second_venue_that_is_not_configured_is_refused() -> None:
    with pytest.raises(Misuse, match=r"symbol SOL/USDT is not in conf/instruments\.yml"):
        checked("sim,sim2", "BTC/USDT@sim,SOL/USDT@sim2")


@pytest.mark.parametrize("venues", [BOTH, ("sim", "BTC/USDT")])
def test_live_orders_never_meet_a_tape(tape: Write, venues: tuple[str, str]) -> None:
    given = [f"{name}={tape(name)}" for name in venues[0].split(",")] if "," in venues[0] else [tape("a")]

    with pytest.raises(Misuse, match="--mode live trades the real market, and a --tape is a recorded one"):
        checked(*venues, *given, mode="live")


def test_a_simulated_account_of_an_earlier_version_is_refused_with_its_new_name(tmp_path: Path) -> None:
    (tmp_path / "venue.json").write_text("{}")

    with pytest.raises(Misuse, match=r"if it is sim's, rename it to venue\.sim\.json"):
        arguments(checked("sim", "BTC/USDT"), tmp_path)


@pytest.mark.parametrize(
    ("symbols", "told"),
    [
        ("XXX/USD@sim,XXX/USD@alpaca", r"XXX/USD@sim: sim \(binance\) trades no stocks"),
        ("BTC/USDT@sim,BTC/USDT@alpaca", r"BTC/USDT@alpaca: alpaca \(alpaca\) trades US stocks"),
        ("BTC/USDDT@sim,XXX/USD@alpaca", "did you mean BTC/USDT"),
    ],
)
def test_a_symbol_at_the_wrong_kind_of_venue_is_told_before_anything_starts(symbols: str, told: str) -> None:
    with pytest.raises(Misuse, match=told):
        checked("sim,alpaca", symbols)


def test_what_leads_from_one_account_s_asset_to_another_s_is_missed_before_the_start() -> None:
    apart, led = (traded_venues("sim,alpaca", f"BTC/USDT@sim,{more}XXX/USD@alpaca") for more in ("", "USDT/USD@sim,"))

    assert missing_rates(apart, config()) == ["USD"]
    assert missing_rates(led, config()) == []
    assert missing_rates(traded_venues("alpaca", "XXX/USD"), config()) == []
