"""TAQ's files of a stock: one stream in order of time, refused with file and line where they do not read."""

from __future__ import annotations

import gzip
from decimal import Decimal
from pathlib import Path

import pytest

from edgefleet.errors import Misuse
from edgefleet.matching.stocks import StockEvent
from edgefleet.matching.wire import BookTicker, Trade
from edgefleet.venues.taq import read_taq

D = Decimal
TRADES = "DT,EX,SYMBOL,COND,SIZE,PRICE,CORR"
QUOTES = "DT,EX,BID,BIDSIZ,OFR,OFRSIZ,SYMBOL"
DAY = "2018-01-02 14:30"


def written(path: Path, *lines: str) -> Path:
    text = "\n".join(lines) + "\n"
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def events(folder: Path, trades: list[str], quotes: list[str]) -> list[StockEvent]:
    return list(read_taq([written(folder / "t.csv", TRADES, *trades), written(folder / "q.csv.gz", QUOTES, *quotes)]))


def test_files_are_one_stream_and_sizes_are_shares(tmp_path: Path) -> None:
    found = events(
        tmp_path,
        [f"{DAY}:01.000000002,N,XXX,FI,5,10.015,0", f"{DAY}:02.5,N,XXX,,100,10,0"],
        [f"{DAY}:01.000000001,N,10,2,10.02,3,XXX", f"{DAY}:02.5,P,10.01,1,10.02,4,XXX"],
    )

    assert [(event.ts_ns % 10**10, event.trade is not None) for event in found] == [
        (1_000_000_001, False),
        (1_000_000_002, True),
        (2_500_000_000, True),  # of equal stamps the trade: it met the quotes before it
        (2_500_000_000, False),
    ]
    first, second, _, last = found
    assert isinstance(first.frame, BookTicker)
    assert (first.frame.b, first.frame.B, first.frame.A) == (D(10), D(200), D(300))
    assert isinstance(second.frame, Trade)
    assert not second.frame.m, "above the middle: a buyer took"
    assert second.trade is not None
    assert second.trade.conditions == ("F", "I")
    assert last.quote is not None
    assert (last.quote.bid, last.quote.bid_exchange, last.quote.ask_size) == (D("10.01"), "P", D(700))


def test_print_that_was_cancelled_later_is_left_out(tmp_path: Path) -> None:
    found = events(tmp_path, [f"{DAY}:01,D,XXX,TB,127300,157.04,8", f"{DAY}:02,N,XXX,,1,157,1"], [])

    assert [event.trade and event.trade.size for event in found] == [D(1)]


def test_print_that_met_no_book_is_told_and_not_matched(tmp_path: Path) -> None:
    found = events(tmp_path, [f"{DAY}:01,D,XXX,I,5,10,0", f"{DAY}:02,N,XXX,M,5,10,0", f"{DAY}:03,N,XXX,F,5,10,0"], [])

    assert [event.frame is None for event in found] == [True, True, False]
    assert all(event.trade is not None for event in found)


@pytest.mark.parametrize(
    ("trades", "quotes", "words"),
    [
        (["x"], [], "t.csv, line 2: does not read as TAQ"),
        ([f"{DAY}:01,N,XXX,,100,ten,0"], [], "t.csv, line 2"),
        ([f"{DAY}:01,N,XXX,,0,10,0"], [], "a trade's price and size are positive"),
        ([f"{DAY}:01,N,XXX,,100,NaN,0"], [], "not negative"),
        ([f"{DAY}:01,N,XXX,,100,-10,0"], [], "not negative"),
        (["2018-13-02 14:30:01,N,XXX,,100,10,0"], [], "t.csv, line 2"),
        ([f"{DAY}:02,N,XXX,,1,10,0", f"{DAY}:01,N,XXX,,1,10,0"], [], "line 3: 2018-01-02 14:30:01 comes after"),
        ([f"{DAY}:01,N,XXX,,1,10,0"], [f"{DAY}:02,N,10,2,10.02,3,YYY"], "holds one symbol, and this one XXX and YYY"),
        ([], [f"{DAY}:01,N,10,2,10.02,3"], "line 2: does not read as TAQ"),
    ],
)
def test_what_does_not_read_is_refused_with_its_place(
    tmp_path: Path, trades: list[str], quotes: list[str], words: str
) -> None:
    with pytest.raises(Misuse) as caught:
        events(tmp_path, trades, quotes)

    assert words in str(caught.value)


def test_files_of_another_kind_are_refused(tmp_path: Path) -> None:
    other = written(tmp_path / "other.csv", "a,b,c", "1,2,3")
    cut = tmp_path / "cut.csv.gz"
    cut.write_bytes(gzip.compress((TRADES + "\n" + f"{DAY}:01,N,XXX,,1,10,0\n" * 10_000).encode())[:-40])

    with pytest.raises(Misuse, match="not TAQ's columns"):
        list(read_taq([other]))
    with pytest.raises(Misuse, match="cannot be read"):
        list(read_taq([cut]))
    with pytest.raises(Misuse, match="cannot be read"):
        list(read_taq([tmp_path / "absent.csv"]))
    with pytest.raises(Misuse, match="needs its CSV files"):
        list(read_taq([]))
