"""`edgefleet data closes`: an archive's bars as the prices that `edgefleet risk` is back-tested on."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgefleet.clock import NS_PER_S, SYSTEM
from edgefleet.errors import Misuse
from edgefleet.messages import Bar
from edgefleet.store.market.archive import MarketArchive
from edgefleet_services.cli.main import outcome
from edgefleet_services.data.closes import closes_of, instrument_of
from edgefleet_services.data.tables import read_table

MINUTE_NS = 60 * NS_PER_S
START_NS = 1_704_110_400 * NS_PER_S  # 1 January 2024, 12:00 UTC
DAY_NS = 86_400 * NS_PER_S


def bar(end: int, close: str = "100", **changes: object) -> Bar:
    price = Decimal(close)
    usual = {
        "instrument": "BTC/USDT@sim", "interval_ms": 60_000, "open": price, "high": price, "low": price,
        "close": price, "volume": Decimal(1), "trades": 1, "ts_event": end, "ts_init": end, "trace_id": "x",
    }  # fmt: skip
    return Bar(**{**usual, **changes})  # type: ignore[arg-type]  # the values of a test


def kept(folder: Path, bars: Iterable[Bar], writer: str = "fleet_bars") -> MarketArchive:
    archive = MarketArchive(folder)
    writing = archive.writer(writer, SYSTEM)
    writing.take(list(bars))
    writing.close()
    return archive


def minutes(archive: MarketArchive) -> list[tuple[int, str | None]]:
    found = closes_of(archive, "BTC/USDT@sim", "1m", "crypto")
    return [
        ((one.end - START_NS) // MINUTE_NS, None if one.price is None else str(one.price.normalize())) for one in found
    ]


def test_a_gap_is_one_absent_close_however_long_it_is(tmp_path: Path) -> None:
    archive = kept(tmp_path, [bar(START_NS + n * MINUTE_NS, str(n)) for n in (1, 2, 5, 6)])

    assert minutes(archive) == [(1, "1"), (2, "2"), (3, None), (5, "5"), (6, "6")]


def test_other_widths_and_kinds_are_left_out(tmp_path: Path) -> None:
    end = START_NS + MINUTE_NS
    others = [bar(end, "7", interval_ms=300_000), bar(end, "8", interval_ms=0, kind="volume", ts_open=end)]

    assert minutes(kept(tmp_path, [*others, bar(end, "9")])) == [(1, "9")]


def test_history_gives_way_to_what_the_fleet_saw(tmp_path: Path) -> None:
    first, second = START_NS + MINUTE_NS, START_NS + 2 * MINUTE_NS
    kept(tmp_path, [bar(first, "1", backfill=True), bar(second, "2", backfill=True)], "fleet")

    assert minutes(kept(tmp_path, [bar(second, "3")])) == [(1, "1"), (2, "3")]


def test_two_closes_of_one_bar_are_refused_with_both(tmp_path: Path) -> None:
    end = START_NS + MINUTE_NS
    kept(tmp_path, [bar(end, "1")], "one")
    archive = kept(tmp_path, [bar(end, "2")], "other")

    with pytest.raises(Misuse, match=r"closes 1\S* and 2|closes 2\S* and 1"):
        minutes(archive)


def test_a_bar_that_ends_off_its_grid_is_refused_with_both_times(tmp_path: Path) -> None:
    archive = kept(tmp_path, [bar(START_NS + MINUTE_NS), bar(START_NS + MINUTE_NS + NS_PER_S)])

    with pytest.raises(Misuse, match=r"ends at 2024-01-01T12:02:00\S*, was 2024-01-01T12:01:01"):
        minutes(archive)


def test_a_night_and_a_weekend_of_stocks_are_no_gap_and_a_missing_session_is_one(tmp_path: Path) -> None:
    # Closing bells of New York, 21:00 UTC: Thursday and Friday, Monday, and Wednesday without the Tuesday.
    bells = [START_NS + n * DAY_NS + 9 * 3_600 * NS_PER_S for n in (3, 4, 7, 9)]
    archive = kept(
        tmp_path,
        [bar(end, str(n), instrument="AAPL/USD@alpaca", interval_ms=86_400_000) for n, end in enumerate(bells, 1)],
    )

    found = closes_of(archive, "AAPL/USD@alpaca", "1d", "us_stocks")

    assert [one.price for one in found] == [1, 2, 3, None, 4]


@settings(max_examples=25)  # each writes an archive
@given(st.sets(st.integers(1, 60), min_size=2))
def test_returns_of_the_file_are_those_of_bars_that_follow_each_other(
    tmp_path_factory: pytest.TempPathFactory, ends: set[int]
) -> None:
    folder = tmp_path_factory.mktemp("closes")
    kept(folder / "market", [bar(START_NS + n * MINUTE_NS, str(100 + n * n)) for n in sorted(ends)])
    words = ["data", "closes", str(folder / "market"), "--interval", "1m", "--out", str(folder / "closes.csv")]

    assert outcome(words) == 0

    _, prices = read_table(folder / "closes.csv").column(folder, None)
    found = [after / before for before, after in itertools.pairwise(prices) if after > 0 and before > 0]
    pairs = [n for n in sorted(ends) if n + 1 in ends]
    assert found == pytest.approx([(100 + (n + 1) ** 2) / (100 + n * n) for n in pairs])


def test_which_instrument_is_meant(tmp_path: Path) -> None:
    end = START_NS + MINUTE_NS
    archive = kept(tmp_path, [bar(end), bar(end, instrument="ETH/USDT@sim"), bar(end, instrument="ETH/USDT@okx")])

    assert instrument_of(archive, "BTCUSDT") == "BTC/USDT@sim"
    assert instrument_of(archive, "ETH/USDT@okx") == "ETH/USDT@okx"
    for named in (None, "ETH/USDT", "SOL/USDT"):
        with pytest.raises(Misuse, match="BTC/USDT@sim"):
            instrument_of(archive, named)
    with pytest.raises(Misuse, match="has no bars"):
        instrument_of(MarketArchive(tmp_path / "empty"), None)


@pytest.mark.parametrize(
    ("changed", "told"), [(["--interval", "2m"], "'2m' is unknown"), (["--interval", "1d"], "has no 1d bars")]
)
def test_what_is_not_there_is_told_in_one_line(
    tmp_path: Path, changed: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    kept(tmp_path / "market", [bar(START_NS + MINUTE_NS)])

    code = outcome(["data", "closes", str(tmp_path / "market"), "--out", str(tmp_path / "c.csv"), *changed])

    assert code == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "c.csv").exists()
