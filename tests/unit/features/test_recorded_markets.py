"""Features of recorded markets: a crypto pair through our own feed, and a stock. Both forms, to the last bit."""

from __future__ import annotations

import csv
import gzip
import random
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
import pytest
from tests.unit.features.definitions import define

from edgefleet.book import Book
from edgefleet.clock import NS_PER_S
from edgefleet.features import FeatureEngine, FeatureSpec
from edgefleet.features.cards import features
from edgefleet.features.columns import MarketColumns, market_columns
from edgefleet.features.offline import FeatureTable, compute
from edgefleet.messages import BookDelta, BookSnapshot, Message, Quote, Trade, VenueStatus
from edgefleet.venues.binance.feed import BinanceFeed
from edgefleet.venues.tape import read_tape

pytestmark = pytest.mark.data

BTC, STOCK = "BTC/USDT@sim", "XXX/USD@taq"
USUAL = FeatureSpec(top_from="quotes")
# The tape is eleven minutes long: one-second bars and shorter windows let every feature speak on it.
QUICK = FeatureSpec(
    return_seconds=(1, 10, 60),
    volatility_seconds=(10, 60, 300),
    ofi_seconds=(1, 10),
    trade_seconds=(5, 60),
    bar_ms=1_000,
)
FROM_BOOK = msgspec.structs.replace(QUICK, top_from="book", ema_seed="first")
STOCK_SPEC = FeatureSpec(year_s=252 * 6.5 * 3_600, bar_ms=60_000)


@pytest.fixture(scope="module")
def pair(recorded: Path) -> list[Message]:
    """The whole spot tape as messages, in order."""
    feed = BinanceFeed("sim", ["BTC/USDT"])
    files = [recorded / "binance_spot" / f"btcusdt_202408{day}.gz" for day in ("08", "09")]
    found = []
    for line in read_tape(files):
        outputs = feed.on_line(line.stamp_ns, line.body, ts_init=line.stamp_ns)
        found += [output.message for output in outputs if output.stream == "market"]
    return found


@pytest.fixture(scope="module")
def stock(recorded: Path) -> list[Quote | Trade]:
    """Two days of venue N's quotes and every venue's trades, in order of their stamps, the quote first."""
    folder = recorded / "stocks_taq"
    quotes = [_quote(row, n) for n, row in enumerate(_rows(folder / "quotes.csv.gz")) if row["EX"] == "N"]
    quotes.sort(key=lambda quote: quote.ts_event)
    rows = sorted((_stamp(row["DT"]), n, row) for n, row in enumerate(_rows(folder / "trades.csv.gz")))
    trades, at = [], 0
    for ts, n, row in rows:
        while at + 1 < len(quotes) and quotes[at + 1].ts_event <= ts:
            at += 1
        side: Literal["buy", "sell"] = (
            "buy" if Decimal(row["PRICE"]) >= (quotes[at].bid + quotes[at].ask) / 2 else "sell"
        )
        stamps = {"ts_event": ts, "ts_init": ts}
        price, size = Decimal(row["PRICE"]), Decimal(row["SIZE"])
        told = {"instrument": STOCK, "trade_id": str(n), "trace_id": f"taq:XXX:t{n}"}
        trades.append(Trade(price=price, quantity=size, aggressor=side, **told, **stamps))  # type: ignore[arg-type]
    return sorted((*quotes, *trades), key=lambda message: message.ts_event)


def _rows(path: Path) -> list[dict[str, str]]:
    with gzip.open(path, "rt") as file:
        return list(csv.DictReader(file))


def _stamp(text: str) -> int:
    """Return New York winter time as ns since the epoch."""
    whole, _, part = text.partition(".")
    seconds = int(datetime.fromisoformat(whole).replace(tzinfo=UTC).timestamp()) + 5 * 3_600
    return seconds * NS_PER_S + int(part.ljust(9, "0"))


def _quote(row: dict[str, str], number: int) -> Quote:
    ts = _stamp(row["DT"])
    return Quote(
        instrument=STOCK,
        bid=Decimal(row["BID"]),
        bid_size=Decimal(row["BIDSIZ"]),
        ask=Decimal(row["OFR"]),
        ask_size=Decimal(row["OFRSIZ"]),
        update_id=number,
        ts_event=ts,
        ts_init=ts,
        trace_id=f"taq:XXX:q{number}",
    )


def compare(messages: Sequence[Message], instrument: str, spec: FeatureSpec, *, every: int = 1) -> None:
    """Run the engine and compare it with the columns after every so many messages."""
    table = compute(market_columns(messages, instrument, spec), spec)
    engine, place = FeatureEngine(instrument, spec), 0
    for message in messages:
        if not engine.concerns(message):
            continue
        engine.on_message(message)
        if place % every == 0:
            assert engine.values() == table.row(place), f"after message {place}"
        place += 1
    assert place == len(table.times)


def spoken(table: FeatureTable) -> set[str]:
    return {name for name, valid in table.valid.items() if valid.any()}


def mutated(messages: Sequence[Message], seed: int) -> list[Message]:
    """Return a tape with everything wrong that a stream can bring: holes, doubles, swaps, stamps ahead and behind."""
    rng = random.Random(seed)
    found: list[Message] = []
    shift = 0
    for message in messages:
        fate = rng.random()
        if fate < 0.05 or not isinstance(message, Quote | Trade | BookDelta | BookSnapshot):
            continue
        if fate > 0.9998:
            shift += rng.choice([1, 7, 299, 301, 4_000]) * NS_PER_S
        stamp = message.ts_event + shift + (rng.randint(-3, 3) * NS_PER_S if fate < 0.06 else 0)
        found.append(msgspec.structs.replace(message, ts_event=stamp))
        if fate > 0.97:
            found.append(found[-1])
        elif fate > 0.94 and len(found) > 1:
            found[-1], found[-2] = found[-2], found[-1]
        elif fate < 0.0502:
            word = VenueStatus(venue="sim", status="disconnected", ts_event=stamp, ts_init=stamp, trace_id="s")
            found.append(word)
    return found


@pytest.mark.parametrize("seed", range(3))
def test_columns_equal_the_stream_on_a_tape_with_everything_wrong(pair: list[Message], seed: int) -> None:
    broken = mutated(pair[:40_000], seed)
    spec = (QUICK, FROM_BOOK, msgspec.structs.replace(QUICK, top_from="quotes"))[seed]

    compare(broken, BTC, spec)
    table = compute(market_columns(broken, BTC, spec), spec)
    assert spoken(table) >= {"mid", "depth_imbalance_5", "return_1s", "ofi_1s", "vwap_5s", "rsi_14"}


@pytest.mark.parametrize("spec", [QUICK, FROM_BOOK, USUAL], ids=["quick", "from_book", "usual"])
def test_columns_equal_the_stream_at_every_event_of_the_pair(pair: list[Message], spec: FeatureSpec) -> None:
    compare(pair, BTC, spec)


def test_every_feature_speaks_on_the_pair(pair: list[Message]) -> None:
    for spec in (QUICK, FROM_BOOK):
        assert spoken(compute(market_columns(pair, BTC, spec), spec)) == {feature.name for feature in features(spec)}


def test_both_forms_sample_each_second_of_the_pair_alike(pair: list[Message]) -> None:
    columns = market_columns(pair, BTC, QUICK)
    times = np.arange(columns.now[0] // NS_PER_S - 2, columns.now[-1] // NS_PER_S + 400) * NS_PER_S

    table = compute(columns, QUICK, times)

    for number, (at, said) in enumerate(FeatureEngine(BTC, QUICK).sample(pair, times.tolist())):
        assert (at, said) == (times[number], table.row(number))
    assert not any(valid[-10:].any() for valid in table.valid.values())  # long after the last word nothing is known


def test_both_forms_are_the_definition_on_the_pair(pair: list[Message]) -> None:
    """The definition starts from the first message for each moment: a few moments are enough of it."""
    concerned = [message for message in pair if FeatureEngine(BTC, QUICK).concerns(message)]
    table = compute(market_columns(pair, BTC, QUICK), QUICK)

    for place in (40, 9_001, 30_000):
        assert define(concerned[: place + 1], QUICK, int(table.times[place])) == table.row(place)


def test_depth_is_that_of_the_money_book(pair: list[Message]) -> None:
    """The ladder of floats against the book of decimals, at every fiftieth change."""
    depth = market_columns(pair, BTC, USUAL).tables["depth"]
    book, row = Book(), -1
    for message in pair:
        if isinstance(message, BookSnapshot):
            book.load(message.bids, message.asks)
        elif isinstance(message, BookDelta):
            book.apply(message.bids, message.asks)
        else:
            continue
        row += 1
        if row % 50 == 0:
            for side, name in ((book.bids, "bid"), (book.asks, "ask")):
                told = [(float(price), float(size)) for price, size in side.levels(20)]
                assert list(zip(depth[f"{name}_price"][row], depth[f"{name}_size"][row], strict=True)) == told
    assert row + 1 == len(depth["order"]) == 6_494


def test_what_the_tape_proves_is_what_the_features_say(pair: list[Message]) -> None:
    """Volume and VWAP of the last minute from the prints alone; the last top by the recorder's table."""
    engine = FeatureEngine(BTC, USUAL)
    for message in pair:
        engine.on_message(message)
    said, now = engine.values(), engine.state.time

    # No print of this tape comes late by enough to count in another second.
    window = [m for m in pair if isinstance(m, Trade) and m.ts_event > (-(-now // NS_PER_S) - 60) * NS_PER_S]
    volume = sum((trade.quantity for trade in window), Decimal(0))
    notional = sum((trade.quantity * trade.price for trade in window), Decimal(0))
    assert said["volume_1m"] == float(volume)
    assert said["vwap_1m"] == pytest.approx(float(notional / volume), rel=1e-15)
    assert said["mid"] == (61602.01 + 61602.02) / 2
    assert said["top_imbalance"] == (1.67177 - 2.66795) / (1.67177 + 2.66795)


def test_columns_equal_the_stream_on_the_stock(stock: list[Quote | Trade]) -> None:
    compare(stock, STOCK, STOCK_SPEC, every=7)


def test_a_night_is_no_return_and_no_volatility(stock: list[Quote | Trade]) -> None:
    """After the close nothing is known, and at the next open windows are empty; indicators go on over the night."""
    columns = market_columns(stock, STOCK, STOCK_SPEC)
    table = compute(columns, STOCK_SPEC)
    opens = np.flatnonzero(np.diff(columns.now) > 10 * 3_600 * NS_PER_S) + 1
    assert len(opens) == 1
    first = int(opens[0])

    before, after = table.row(first - 1), table.row(first)
    night = compute(columns, STOCK_SPEC, columns.now[first - 1 : first] + 3_600 * NS_PER_S).row(0)

    assert night == {}
    assert {"rsi_14", "ema_21", "atr_14"} <= set(before) & set(after)
    assert not {name for name in after if name.startswith(("return", "volatility", "ofi", "volume", "vwap"))}


def test_columns_of_a_parquet_file_are_enough(pair: list[Message], tmp_path: Path) -> None:
    """Written and read back without our messages, the tables give the same features."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = market_columns(pair[:20_000], BTC, QUICK)
    flat = {name: table for name, table in columns.tables.items() if name != "depth"}
    for name, table in flat.items():
        pq.write_table(pa.table(dict(table)), tmp_path / f"{name}.parquet")

    read = {name: pq.read_table(tmp_path / f"{name}.parquet") for name in flat}
    tables = {
        name: {column: table[column].to_numpy() for column in table.column_names} for name, table in read.items()
    } | {"depth": columns.tables["depth"]}
    again = compute(MarketColumns(tables), QUICK)

    whole = compute(columns, QUICK)
    for name in whole.values:
        assert again.values[name].tobytes() == whole.values[name].tobytes()
        assert again.valid[name].tobytes() == whole.valid[name].tobytes()
