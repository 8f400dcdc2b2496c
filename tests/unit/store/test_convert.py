"""Files of others become market messages: each column where it belongs, each bad line told by its place."""

from __future__ import annotations

import gzip
import zipfile
from collections import Counter
from decimal import Decimal
from pathlib import Path

import pytest

from edgefleet.clock import SYSTEM
from edgefleet.errors import Misuse
from edgefleet.messages import Bar, BookDelta, BookSnapshot, Quote, Trade
from edgefleet.store.convert.binance import read_binance
from edgefleet.store.convert.run import conversion_name, convert
from edgefleet.store.convert.taq import read_taq
from edgefleet.store.convert.tardis import read_tardis
from edgefleet.store.market.archive import MarketArchive
from edgefleet.store.market.kinds import MarketMessage
from edgefleet.store.market.maintenance import check_archive

D = Decimal


def zipped(path: Path, text: str) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(path.with_suffix(".csv").name, text)
    return path


def plain(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


# --- Binance public data


def test_spot_trades_of_2024_count_milliseconds(tmp_path: Path) -> None:
    path = zipped(
        tmp_path / "BTCUSDT-trades-2024-08-08.zip",
        "3734000000,55133.99000000,0.00018000,9.92411820,1723075200004,True,True\n"
        "3734000001,55134.00000000,0.00100000,55.13400000,1723075200104,False,True\n",
    )

    assert list(read_binance([path], Counter())) == [
        Trade(
            instrument="BTC/USDT@binance", trade_id="3734000000", price=D("55133.99000000"), quantity=D("0.00018000"),
            aggressor="sell", ts_event=1723075200004000000, ts_init=1723075200004000000,
            trace_id="binance:BTCUSDT:3734000000",
        ),
        Trade(
            instrument="BTC/USDT@binance", trade_id="3734000001", price=D("55134.00000000"), quantity=D("0.00100000"),
            aggressor="buy", ts_event=1723075200104000000, ts_init=1723075200104000000,
            trace_id="binance:BTCUSDT:3734000001",
        ),
    ]  # fmt: skip


def test_spot_trades_from_2025_on_count_microseconds(tmp_path: Path) -> None:
    path = zipped(
        tmp_path / "BTCUSDT-trades-2025-01-01.zip", "1,93576.00000000,0.001,93.576,1735689600123456,True,True\n"
    )

    (trade,) = read_binance([path], Counter())

    assert trade.ts_event == 1735689600123456000


def test_futures_trades_have_a_header_and_a_column_less(tmp_path: Path) -> None:
    path = zipped(
        tmp_path / "BTCUSDT-trades-2024-08-08.zip",
        "id,price,qty,quote_qty,time,is_buyer_maker\n5283,55100.1,0.002,110.2,1723075200005,true\n",
    )

    (trade,) = read_binance([path], Counter(), venue="binance_usdm", symbol="BTC/USDT:USDT")

    assert isinstance(trade, Trade)
    assert (trade.instrument, trade.aggressor) == ("BTC/USDT:USDT@binance_usdm", "sell")


def test_aggregate_trades_are_trades_that_say_so(tmp_path: Path) -> None:
    spot = zipped(
        tmp_path / "BNBUSDT-aggTrades-2020-12-25.zip", "0,0.20000000,50.00000000,0,2,1608872400000,False,True\n"
    )
    futures = zipped(
        tmp_path / "BNBUSDT-aggTrades-2024-08.zip",
        "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker\n"
        "7,0.3,1,8,9,1723075200005,true\n",
    )

    first, second = read_binance([spot, futures], Counter())

    assert isinstance(first, Trade)
    assert isinstance(second, Trade)
    assert (first.trade_id, first.aggressor, first.quantity) == ("a0", "buy", D("50.00000000"))
    assert (second.trade_id, second.aggressor, second.trace_id) == ("a7", "sell", "binance:BNBUSDT:a7")


def test_klines_are_bars_that_end_with_their_interval_and_empty_ones_are_none(tmp_path: Path) -> None:
    old = zipped(
        tmp_path / "BNBUSDT-1m-2020-10.zip",
        "1601510340000,4.15070000,4.15870000,4.15060000,4.15540000,539.23000000,1601510399999,2240.39860900,13,401.8,"
        "1669.98,0\n"
        "1601510400000,4.1,4.1,4.1,4.1,0,1601510459999,0,0,0,0,0\n",
    )
    new = zipped(
        tmp_path / "DOGEUSDT-1s-2025-01-01.zip",
        "1735689600000000,0.31600000,0.31600000,0.31600000,0.31600000,27.00000000,1735689600999999,8.53200000,1,"
        "0.00000000,0.00000000,0\n",
    )
    left_out: Counter[str] = Counter()

    bar, second = read_binance([old, new], left_out)

    assert bar == Bar(
        instrument="BNB/USDT@binance", interval_ms=60_000, open=D("4.15070000"), high=D("4.15870000"),
        low=D("4.15060000"), close=D("4.15540000"), volume=D("539.23000000"), trades=13,
        ts_event=1601510400000000000, ts_init=1601510400000000000, trace_id="binance:BNBUSDT:kline:1601510340000",
    )  # fmt: skip
    assert isinstance(second, Bar)
    assert (second.interval_ms, second.ts_event) == (1_000, 1735689601000000000)
    assert left_out == {"kline without a trade": 1}


def test_best_quotes_of_futures(tmp_path: Path) -> None:
    path = zipped(
        tmp_path / "BTCUSDT-bookTicker-2024-02-15.zip",
        "update_id,best_bid_price,best_bid_qty,best_ask_price,best_ask_qty,transaction_time,event_time\n"
        "3888,51000.1,1.5,51000.2,2.25,1707955200024,1707955200033\n",
    )

    assert list(read_binance([path], Counter())) == [
        Quote(
            instrument="BTC/USDT@binance", bid=D("51000.1"), bid_size=D("1.5"), ask=D("51000.2"), ask_size=D("2.25"),
            update_id=3888, ts_event=1707955200024000000, ts_init=1707955200024000000,
            trace_id="binance:BTCUSDT:3888",
        )
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("BTCUSDT-trades-2024-08-08.zip", "1,x,1,1,1723075200004,True,True\n", "line 1: price must be a number"),
        ("BTCUSDT-trades-2024-08-08.zip", "1,NaN,1,1,1723075200004,True,True\n", "line 1: price must be a number"),
        (
            "BTCUSDT-trades-2024-08-08.zip",
            "1,1,1,1,1723075200004,perhaps,True\n",
            "line 1: is_buyer_maker must be true",
        ),
        ("BTCUSDT-trades-2024-08-08.zip", "1,1,1,1,0,True,True\n", "line 1: time must be a moment after 1970"),
        ("BTCUSDT-trades-2024-08-08.zip", "1,1,1,1,5,True,True\n1,1\n", "line 2: 2 fields, expected 7"),
        ("BTCUSDT-trades-2024-08-08.zip", "id,price,qty\n1,1,1\n", "no column quote_qty, time, is_buyer_maker"),
        ("BTCUSDT-trades-2024-08-08.zip", "1,1\n", "no column qty"),
        ("trades.zip", "", "not named SYMBOL-KIND"),
    ],
)
def test_a_bad_line_is_told_by_its_place(tmp_path: Path, name: str, text: str, told: str) -> None:
    with pytest.raises(Misuse, match=told) as raised:
        list(read_binance([zipped(tmp_path / name, text)], Counter()))

    assert str(tmp_path / name) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_files_that_are_damaged_or_absent_are_told(tmp_path: Path) -> None:
    whole = zipped(tmp_path / "BTCUSDT-trades-2024-08-08.zip", "1,1,1,1,1723075200004,True,True\n" * 500)
    whole.write_bytes(whole.read_bytes()[:90])
    packed = tmp_path / "quotes.csv.gz"
    packed.write_bytes(
        gzip.compress(f"{_HEAD},id,side,price,amount\n".encode() + b"b,BTCUSDT,1,2,3,buy,1,1\n" * 90_000)[:-40]
    )
    two = tmp_path / "BTCUSDT-trades-2024-08-09.zip"
    with zipfile.ZipFile(two, "w") as archive:
        archive.writestr("a.csv", "")
        archive.writestr("b.csv", "")

    for path, told in ((whole, "truncated or damaged"), (two, "a zip of one file is expected, it holds 2")):
        with pytest.raises(Misuse, match=told):
            list(read_binance([path], Counter()))
    with pytest.raises(Misuse, match=r"truncated or damaged"):
        list(read_tardis([packed], Counter()))
    with pytest.raises(Misuse, match="cannot be read: No such file"):
        list(read_binance([tmp_path / "BTCUSDT-trades-2024-08-10.zip"], Counter()))


# --- Tardis

_HEAD = "exchange,symbol,timestamp,local_timestamp"


def test_tardis_trades_and_those_without_a_side(tmp_path: Path) -> None:
    path = tmp_path / "deribit_trades_2020-03-01_BTC-PERPETUAL.csv.gz"
    path.write_bytes(
        gzip.compress(
            f"{_HEAD},id,side,price,amount\n"
            "binance,BTCUSDT,1583020803145000,1583020803307160,78661406,buy,8599.5,2000\n"
            "binance,BTCUSDT,1583020803145000,1583020803307160,78661407,unknown,8599.5,1\n".encode()
        )
    )
    left_out: Counter[str] = Counter()

    (trade,) = read_tardis([path], left_out)

    assert trade == Trade(
        instrument="BTC/USDT@binance", trade_id="78661406", price=D("8599.5"), quantity=D(2000), aggressor="buy",
        ts_event=1583020803145000000, ts_init=1583020803307160000, trace_id="binance:BTCUSDT:1583020803307160:1",
    )  # fmt: skip
    assert left_out == {"trade without a side": 1}


def test_tardis_quotes_and_those_with_one_side(tmp_path: Path) -> None:
    path = plain(
        tmp_path / "quotes.csv",
        f"{_HEAD},ask_amount,ask_price,bid_price,bid_amount\n"
        "deribit,BTC-USD,1583020800000000,1583020800001000,500,8600.5,8600,300\n"
        "deribit,BTC-USD,1583020800000000,1583020800001000,500,8600.5,,\n",
    )
    left_out: Counter[str] = Counter()

    (quote,) = read_tardis([path], left_out, venue="dbt")

    assert isinstance(quote, Quote)
    assert (quote.instrument, quote.bid, quote.bid_size, quote.ask, quote.ask_size) == (
        "BTC/USD@dbt", D(8600), D(300), D("8600.5"), D(500),
    )  # fmt: skip
    assert left_out == {"quote with one side": 1}


def test_tardis_snapshots_have_as_many_levels_as_the_book(tmp_path: Path) -> None:
    levels = ",".join(f"asks[{i}].price,asks[{i}].amount,bids[{i}].price,bids[{i}].amount" for i in range(5))
    path = plain(
        tmp_path / "book_snapshot_5.csv",
        f"{_HEAD},{levels}\nbinance,BTCUSDT,1,2,101,1,100,2,102,3,99,4,,,98,5,,,,,,,,\n",
    )

    (book,) = read_tardis([path], Counter())

    assert isinstance(book, BookSnapshot)
    assert book.asks == ((D(101), D(1)), (D(102), D(3)))
    assert book.bids == ((D(100), D(2)), (D(99), D(4)), (D(98), D(5)))
    assert (book.update_id, book.ts_event, book.ts_init) == (1, 1_000, 2_000)


def test_tardis_book_rows_of_one_receipt_are_one_message(tmp_path: Path) -> None:
    path = plain(
        tmp_path / "incremental_book_L2.csv",
        f"{_HEAD},is_snapshot,side,price,amount\n"
        "binance,BTCUSDT,5,6,false,bid,99,1\n"
        "binance,BTCUSDT,10,11,true,bid,99,1\n"
        "binance,BTCUSDT,10,11,true,bid,100,2\n"
        "binance,BTCUSDT,10,11,true,bid,98,0\n"
        "binance,BTCUSDT,10,11,true,ask,102,3\n"
        "binance,BTCUSDT,10,11,true,ask,101,4\n"
        "binance,BTCUSDT,12,13,false,ask,101,0\n"
        "binance,BTCUSDT,12,13,false,bid,100,5\n"
        "binance,BTCUSDT,14,15,false,ask,103,1\n"
        "binance,BTCUSDT,20,21,true,ask,110,1\n",
    )
    left_out: Counter[str] = Counter()

    book, change, more, anew = read_tardis([path], left_out)

    assert isinstance(book, BookSnapshot)
    assert (book.bids, book.asks) == (((D(100), D(2)), (D(99), D(1))), ((D(101), D(4)), (D(102), D(3))))
    assert isinstance(change, BookDelta)
    assert (change.bids, change.asks) == (((D(100), D(5)),), ((D(101), D(0)),))
    assert isinstance(more, BookDelta)
    assert [book.update_id, change.first_update_id, more.first_update_id, more.last_update_id] == [1, 2, 3, 3]
    assert isinstance(anew, BookSnapshot)
    assert (anew.bids, anew.asks) == ((), ((D(110), D(1)),))
    assert left_out == {"book rows before a snapshot": 1}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a,b\n", "no file of Tardis: its columns begin a, b"),
        ("", "no file of Tardis: its columns begin nowhere"),
        (f"{_HEAD},open_interest\n", "columns open_interest are none of"),
        (f"{_HEAD},is_snapshot,side,price,amount\nb,BTCUSDT,1,2,true,left,1,1\n", "line 2: side must be bid or ask"),
        (f"{_HEAD},is_snapshot,side,price,amount\nb,BTCUSDT,1,2,maybe,bid,1,1\n", "line 2: is_snapshot must be true"),
        (f"{_HEAD},id,side,price,amount\nb,BTC_USDC,1,2,1,buy,1,1\n", "line 2: symbol 'BTC_USDC' is not readable"),
        (f"{_HEAD},id,side,price,amount\nb,BTCUSDT,now,2,1,buy,1,1\n", "line 2: timestamp must be a whole number"),
    ],
)
def test_what_is_no_file_of_tardis_is_told(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(Misuse, match=told):
        list(read_tardis([plain(tmp_path / "x.csv", text)], Counter()))


# --- TAQ

_QUOTES = "DT,EX,BID,BIDSIZ,OFR,OFRSIZ,SYMBOL\n"
_TRADES = "DT,EX,SYMBOL,COND,SIZE,PRICE,CORR\n"


def test_taq_quotes_are_in_round_lots_and_trades_get_the_side_of_lee_and_ready(tmp_path: Path) -> None:
    quotes = plain(
        tmp_path / "quotes.csv",
        _QUOTES
        + "2018-01-02 14:30:00.000000001,N,100.00,3,100.10,4,XXX\n"
        + "2018-01-02 14:30:00.000000002,P,99.00,1,100.04,1,XXX\n"
        + "2018-01-02 14:30:05.0,M,0.0,0,0.0,0,XXX\n",
    )
    trades = plain(
        tmp_path / "trades.csv",
        _TRADES
        + "2018-01-02 14:30:00.0,N,XXX,,1,100,0\n"  # before any quote, and no other price: no side
        + "2018-01-02 14:30:01.5,N,XXX,F,10,100.03,0\n"  # above the midpoint of the best of both venues, 100.02
        + "2018-01-02 14:30:02,T,XXX,F,10,100.01,0\n"  # below it
        + "2018-01-02 14:30:03,T,XXX,F,10,100.02,0\n"  # at it: the last other price was lower
        + "2018-01-02 14:30:04,T,XXX,F,10,100.02,0\n"  # at it, and so was the last: the same
        + "2018-01-02 14:30:04,T,XXX,F,10,100.02,8\n",  # cancelled
    )
    left_out: Counter[str] = Counter()

    found = list(read_taq(quotes, trades, left_out))

    quote = next(message for message in found if isinstance(message, Quote))
    assert (quote.instrument, quote.bid_size, quote.ask_size) == ("XXX/USD@xnys", D(300), D(400))
    assert quote.ts_event == 1_514_903_400_000_000_001
    sides = [(m.instrument, m.aggressor) for m in found if isinstance(m, Trade)]
    assert sides == [
        ("XXX/USD@xnys", "buy"), ("XXX/USD@xnas", "sell"), ("XXX/USD@xnas", "buy"), ("XXX/USD@xnas", "buy"),
    ]  # fmt: skip
    assert left_out == {
        "trade without a side": 1, "trade corrected or cancelled": 1, "quote with a side of zero": 1,
    }  # fmt: skip


def test_a_class_of_shares_is_written_with_a_point(tmp_path: Path) -> None:
    (quote,) = read_taq(
        plain(tmp_path / "quotes.csv", _QUOTES + "2018-07-02 09:30:00.5,N,1,1,2,1,BRK B\n"), None, Counter()
    )

    assert quote.instrument == "BRK.B/USD@xnys"


def test_taq_stamps_are_in_a_zone_and_one_venue_can_be_taken(tmp_path: Path) -> None:
    quotes = plain(
        tmp_path / "quotes.csv",
        _QUOTES + "2018-07-02 09:30:00.5,N,1,1,2,1,XXX\n" + "2018-07-02 09:30:01,P,1,1,2,1,XXX\n",
    )
    left_out: Counter[str] = Counter()

    (quote,) = read_taq(quotes, None, left_out, exchange="N", venue="alpaca", timezone="America/New_York")

    assert quote.instrument == "XXX/USD@alpaca"
    assert quote.ts_event == 1_530_538_200_500_000_000  # 13:30:00.5 UTC, in summer
    assert left_out == {"other venue": 1}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("2018-01-02 14:30:00,%,1,1,2,1,XXX\n", "line 2: EX '%' is no venue of TAQ"),
        ("2018-01-02 14:30:00,N,1,1,2,1,\n", "line 2: SYMBOL '' is no ticker"),
        ("2018-01-02 25:30:00,N,1,1,2,1,XXX\n", "line 2: DT must be YYYY-MM-DD HH:MM:SS"),
        ("2018-01-02 14:30:00.x,N,1,1,2,1,XXX\n", "line 2: DT must be a moment with at most nine digits"),
        ("2018-01-03 14:30:00,N,1,1,2,1,X\n2018-01-02 14:30:00,N,1,1,2,1,X\n", "line 3: DT .* is before that of"),
    ],
)
def test_what_is_no_taq_line_is_told(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(Misuse, match=told):
        list(read_taq(plain(tmp_path / "quotes.csv", _QUOTES + text), None, Counter()))
    with pytest.raises(Misuse, match="there is no time zone 'Mars/Olympus'"):
        list(read_taq(None, None, Counter(), timezone="Mars/Olympus"))


@pytest.mark.data
def test_the_recorded_stock_is_converted_whole(recorded: Path, tmp_path: Path) -> None:
    """131,401 quotes and 77,263 trades: 96 quotes have a side of zero, 2 trades were corrected or cancelled."""
    quotes, trades = (recorded / "stocks_taq" / name for name in ("quotes.csv.gz", "trades.csv.gz"))
    archive, left_out = MarketArchive(tmp_path), Counter[str]()

    result = convert(read_taq(quotes, trades, left_out), archive, "taq", SYSTEM, left_out=left_out)

    assert result.rows == result.written == 131_401 + 77_263 - 96 - 2
    assert result.left_out == {"quote with a side of zero": 96, "trade corrected or cancelled": 2}
    info = check_archive(archive)
    assert info.whole
    rows = {(holding.kind, holding.instrument): holding.rows for holding in info.holdings}
    assert rows["quote", "XXX/USD@xnys"] == 94_422
    assert sum(count for (kind, _), count in rows.items() if kind == "trade") == 77_261


# --- into the archive


def _trades(count: int) -> list[MarketMessage]:
    from edgefleet.testing.build import trade

    return [trade(trade_id=str(n)) for n in range(count)]


def test_a_conversion_that_is_done_is_not_done_again(tmp_path: Path) -> None:
    archive = MarketArchive(tmp_path)

    first = convert(_trades(2_500), archive, "x_1", SYSTEM)
    second = convert(_trades(2_500), archive, "x_1", SYSTEM)

    assert (first.rows, first.written, first.already) == (2_500, 2_500, False)
    assert (second.rows, second.written, second.already) == (2_500, 0, True)
    assert list(archive.read()) == _trades(2_500)


def test_a_conversion_that_was_broken_off_goes_on_where_it_was_committed(tmp_path: Path) -> None:
    archive = MarketArchive(tmp_path)
    writer = archive.writer("x_1", SYSTEM)
    writer.take(_trades(1_700))
    writer.commit()
    writer.take(_trades(10))
    writer.abandon()

    result = convert(_trades(2_500), archive, "x_1", SYSTEM)

    assert (result.rows, result.written) == (2_500, 800)
    assert list(archive.read()) == _trades(2_500)
    other = archive.writer("x_2", SYSTEM)
    other.take(_trades(1))
    other.close()
    with pytest.raises(Misuse, match="holds 1 messages of a source that now has 0"):
        convert([], archive, "x_2", SYSTEM)


def test_a_conversion_is_named_by_what_is_converted_and_how(tmp_path: Path) -> None:
    one, same, other = (plain(tmp_path / name, text) for name, text in (("a", "1"), ("b", "1"), ("c", "2")))

    name = conversion_name("Tardis-CSV", [one], {"venue": None})

    assert name.startswith("tardis_csv_")
    assert conversion_name("Tardis-CSV", [same], {"venue": None}) == name
    assert conversion_name("Tardis-CSV", [other], {"venue": None}) != name
    assert conversion_name("Tardis-CSV", [one], {"venue": "x"}) != name
    with pytest.raises(Misuse, match="cannot be read"):
        conversion_name("x", [tmp_path / "absent"], {})
