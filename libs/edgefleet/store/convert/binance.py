"""Binance's public data (data.binance.vision): trades, aggregate trades, klines and best quotes, as zips of one CSV.

Columns as https://github.com/binance/binance-public-data names them. Spot files from 2025-01-01 on count microseconds,
older ones and those of futures milliseconds (its README; issue 386): the unit is told by the number of digits. Nobody
received these rows, so `ts_init` is `ts_event`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from edgefleet.clock import NS_PER_MS, NS_PER_US
from edgefleet.errors import Misuse
from edgefleet.ids import trace_id
from edgefleet.instruments import instrument_id
from edgefleet.messages import Bar, Quote, Trade
from edgefleet.store.convert.rows import LeftOut, Row, rows

_NAME = re.compile(r"([A-Z0-9]+)-(trades|aggTrades|bookTicker|\d+(?:s|m|h|d|w|mo))-\d{4}-\d{2}(?:-\d{2})?\.(?:zip|csv)")
_FROM_US = 10**14  # as milliseconds the year 5138, as microseconds 1973

# What is read of them; the rest says the same in other words, and futures leave some of it out.
_TRADES = ("id", "price", "qty", "quote_qty", "time", "is_buyer_maker")
_AGG_TRADES = (
    "agg_trade_id", "price", "quantity", "first_trade_id", "last_trade_id", "transact_time", "is_buyer_maker",
)  # fmt: skip
_KLINES = ("open_time", "open", "high", "low", "close", "volume", "close_time", "quote_volume", "count")
_TICKER = (
    "update_id", "best_bid_price", "best_bid_qty", "best_ask_price", "best_ask_qty", "transaction_time", "event_time",
)  # fmt: skip


class _Names(NamedTuple):
    instrument: str
    venue: str
    symbol: str  # the venue's spelling


def read_binance(
    files: Sequence[Path], left_out: LeftOut, *, venue: str = "binance", symbol: str | None = None
) -> Iterator[Trade | Bar | Quote]:
    """Yield the messages in files named as the venue does, such as ``BTCUSDT-trades-2024-08-08.zip``, in their order.

    A kline without a trade makes no bar. An aggregate trade is one trade named ``a<id>``: it stands for the prints
    that one order made at one price, so keep it apart from the trades of the same day.

    Parameters
    ----------
    symbol
        The canonical pair; None: as the file's name says it.

    Raises
    ------
    Misuse
        If a file's name or a row of it is none of these.
    """
    for path in files:
        match = _NAME.fullmatch(path.name)
        if match is None:
            raise Misuse(f"{path}: not named SYMBOL-KIND-YYYY-MM-DD.zip; KIND: trades, aggTrades, bookTicker, 1m ...")
        names = _Names(instrument_id(symbol or match[1], venue), venue, match[1])
        columns, make = _FORMATS.get(match[2], (_KLINES, _bar))
        for row in rows(path, columns):
            message = make(row, names)
            if message is None:
                left_out["kline without a trade"] += 1
            else:
                yield message


def _trade(row: Row, names: _Names) -> Trade:
    return _print(row, names, row.text("id"), "qty", "time", "is_buyer_maker")


def _agg_trade(row: Row, names: _Names) -> Trade:
    return _print(row, names, f"a{row.text('agg_trade_id')}", "quantity", "transact_time", "is_buyer_maker")


def _print(row: Row, names: _Names, trade_id: str, quantity: str, time: str, buyer_maker: str) -> Trade:
    stamp = _stamp(row, time)
    return Trade(
        instrument=names.instrument,
        trade_id=trade_id,
        price=row.decimal("price"),
        quantity=row.decimal(quantity),
        aggressor="sell" if row.flag(buyer_maker) else "buy",
        ts_event=stamp,
        ts_init=stamp,
        trace_id=trace_id(names.venue, names.symbol, trade_id),
    )


def _bar(row: Row, names: _Names) -> Bar | None:
    if row.whole("count") == 0:
        return None
    opened, unit = _stamp(row, "open_time"), _unit(row.whole("open_time"))
    ended = _stamp(row, "close_time") + unit  # the file says the last moment inside
    return Bar(
        instrument=names.instrument,
        interval_ms=(ended - opened) // NS_PER_MS,
        open=row.decimal("open"),
        high=row.decimal("high"),
        low=row.decimal("low"),
        close=row.decimal("close"),
        volume=row.decimal("volume"),
        trades=row.whole("count"),
        ts_event=ended,
        ts_init=ended,
        trace_id=trace_id(names.venue, names.symbol, f"kline:{opened // NS_PER_MS}"),
    )


def _quote(row: Row, names: _Names) -> Quote:
    stamp = _stamp(row, "transaction_time")
    return Quote(
        instrument=names.instrument,
        bid=row.decimal("best_bid_price"),
        bid_size=row.decimal("best_bid_qty"),
        ask=row.decimal("best_ask_price"),
        ask_size=row.decimal("best_ask_qty"),
        update_id=row.whole("update_id"),
        ts_event=stamp,
        ts_init=stamp,
        trace_id=trace_id(names.venue, names.symbol, row.text("update_id")),
    )


_FORMATS: dict[str, tuple[tuple[str, ...], Callable[[Row, _Names], Trade | Bar | Quote | None]]] = {
    "trades": (_TRADES, _trade),
    "aggTrades": (_AGG_TRADES, _agg_trade),
    "bookTicker": (_TICKER, _quote),
}


def _unit(time: int) -> int:
    return NS_PER_MS if time < _FROM_US else NS_PER_US


def _stamp(row: Row, name: str) -> int:
    time = row.whole(name)
    if time <= 0:
        raise row.wrong(f"{name} must be a moment after 1970, was {time}")
    return time * _unit(time)
