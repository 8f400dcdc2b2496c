"""Trades and quotes of US stocks in the columns of NYSE TAQ: DT EX SYMBOL, PRICE SIZE COND CORR, BID BIDSIZ OFR OFRSIZ.

Quote sizes are in round lots (https://search.r-project.org/CRAN/refmans/highfrequency/html/mergeQuotesSameTimestamp.html),
trade sizes in shares. A trade does not say who was the aggressor: it is inferred as Lee and Ready do ("Inferring Trade
Direction from Intraday Data", Journal of Finance 46, 1991): above the midpoint of the best quotes of all venues before
it a buy, below it a sell, at it by the last different price. Nobody received these rows, so `ts_init` is `ts_event`.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from edgefleet.clock import NS_PER_S
from edgefleet.errors import Misuse
from edgefleet.ids import trace_id
from edgefleet.messages import Quote, Trade
from edgefleet.store.convert.rows import LeftOut, Row, rows

_TRADES = ("DT", "EX", "SYMBOL", "COND", "SIZE", "PRICE", "CORR")
_QUOTES = ("DT", "EX", "BID", "BIDSIZ", "OFR", "OFRSIZ", "SYMBOL")
# The one-letter codes of the Daily TAQ specification, as market identifier codes (ISO 10383).
VENUES = {
    "A": "xase", "B": "xbos", "C": "xcis", "D": "xadf", "H": "eprl", "I": "xise", "J": "edga", "K": "edgx",
    "L": "ltse", "M": "xchi", "N": "xnys", "P": "arcx", "Q": "xnas", "T": "xnas", "U": "memx", "V": "iexg",
    "W": "xcbo", "X": "xpsx", "Y": "baty", "Z": "bats",
}  # fmt: skip
_ROUND_LOT = Decimal(100)
_TICKER = re.compile(r"[A-Z0-9.]{1,16}")


def read_taq(
    quotes: Path | None,
    trades: Path | None,
    left_out: LeftOut,
    *,
    exchange: str | None = None,
    venue: str | None = None,
    timezone: str = "UTC",
    round_lot: Decimal = _ROUND_LOT,
) -> Iterator[Trade | Quote]:
    """Yield quotes and trades of all venues by their moment; at the same moment the trades first.

    Left out and counted: trades that were corrected or cancelled (CORR is not 0), quotes with a side that is zero,
    trades that no quote and no other price gives a side, rows of other venues than `exchange`.

    Parameters
    ----------
    exchange
        The one-letter code of the only venue to give; sides are inferred from the quotes of all.
    venue
        The name under which every row goes; None: its venue's market identifier code in small letters, ``xnys``.
    timezone
        What DT is in: the files of the R package `highfrequency` say UTC, the exchange's own New York time.
    round_lot
        Shares to one unit of BIDSIZ and OFRSIZ.

    Raises
    ------
    Misuse
        If a file cannot be read, is not sorted by DT, or names a venue or a time zone that there is not.
    """
    try:
        zone = ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError):
        raise Misuse(f"there is no time zone {timezone!r}; write it as America/New_York or UTC") from None
    reading = _Reading(left_out, venue, zone, round_lot)
    printed = iter(()) if trades is None else reading.ordered(trades, _TRADES, 0)
    quoted = iter(()) if quotes is None else reading.ordered(quotes, _QUOTES, 1)
    for stamp, kind, row in heapq.merge(printed, quoted, key=lambda each: each[:2]):
        message = reading.trade(row, stamp) if kind == 0 else reading.quote(row, stamp)
        if message is None:
            continue
        if exchange is not None and row.text("EX") != exchange:
            left_out["other venue"] += 1
            continue
        yield message


class _Reading:
    """The best quotes and the last prices on the way through the files."""

    def __init__(self, left_out: LeftOut, venue: str | None, zone: ZoneInfo, round_lot: Decimal) -> None:
        self._left_out = left_out
        self._venue = venue
        self._zone = zone
        self._lot = round_lot
        self._quotes: dict[str, dict[str, tuple[Decimal, Decimal]]] = {}  # symbol -> venue -> bid and ask
        self._last: dict[str, tuple[Decimal, Literal["buy", "sell"] | None]] = {}
        self._counts = [0, 0]
        self._seconds: dict[str, int] = {}

    def ordered(self, path: Path, columns: tuple[str, ...], kind: int) -> Iterator[tuple[int, int, Row]]:
        before = 0
        for row in rows(path, columns, header=True):
            stamp = self._stamp(row)
            if stamp < before:
                raise row.wrong(f"DT {row.text('DT')} is before that of the line above; sort the file")
            before = stamp
            yield stamp, kind, row

    def quote(self, row: Row, stamp: int) -> Quote | None:
        bid, ask = row.decimal("BID"), row.decimal("OFR")
        known = self._quotes.setdefault(row.text("SYMBOL"), {})
        if not bid > 0 or not ask > 0:
            known.pop(row.text("EX"), None)
            self._left_out["quote with a side of zero"] += 1
            return None
        known[row.text("EX")] = bid, ask
        self._counts[1] += 1
        instrument, trace = self._names(row, f"q{self._counts[1]}")
        return Quote(
            instrument=instrument,
            bid=bid,
            bid_size=row.decimal("BIDSIZ") * self._lot,
            ask=ask,
            ask_size=row.decimal("OFRSIZ") * self._lot,
            update_id=self._counts[1],
            ts_event=stamp,
            ts_init=stamp,
            trace_id=trace,
        )

    def trade(self, row: Row, stamp: int) -> Trade | None:
        if row.text("CORR").strip() not in ("0", "00"):
            self._left_out["trade corrected or cancelled"] += 1
            return None
        price = row.decimal("PRICE")
        if not price > 0:
            self._left_out["trade with a price of zero"] += 1
            return None
        aggressor = self._side(row.text("SYMBOL"), price)
        if aggressor is None:
            self._left_out["trade without a side"] += 1
            return None
        self._counts[0] += 1
        instrument, trace = self._names(row, str(self._counts[0]))
        return Trade(
            instrument=instrument,
            trade_id=str(self._counts[0]),
            price=price,
            quantity=row.decimal("SIZE"),
            aggressor=aggressor,
            ts_event=stamp,
            ts_init=stamp,
            trace_id=trace,
        )

    def _side(self, symbol: str, price: Decimal) -> Literal["buy", "sell"] | None:
        side = self._by_quotes(symbol, price)
        last, direction = self._last.get(symbol, (price, None))
        if price != last:
            direction = "buy" if price > last else "sell"
        self._last[symbol] = price, direction
        return direction if side is None else side

    def _by_quotes(self, symbol: str, price: Decimal) -> Literal["buy", "sell"] | None:
        known = self._quotes.get(symbol)
        if not known:
            return None
        bid, ask = max(bid for bid, _ in known.values()), min(ask for _, ask in known.values())
        twice = bid + ask
        if not bid < ask or 2 * price == twice:  # locked or crossed quotes of several venues have no midpoint
            return None
        return "buy" if 2 * price > twice else "sell"

    def _names(self, row: Row, count: str) -> tuple[str, str]:
        code, symbol = row.text("EX"), row.text("SYMBOL")
        if code not in VENUES:
            raise row.wrong(f"EX {code!r} is no venue of TAQ; there are {', '.join(sorted(VENUES))}")
        venue = self._venue or VENUES[code]
        ticker = symbol.strip().replace(" ", ".")  # a class of shares: TAQ writes BRK B
        if _TICKER.fullmatch(ticker) is None:
            raise row.wrong(f"SYMBOL {symbol!r} is no ticker")
        return f"{ticker}/USD@{venue}", trace_id(venue, ticker, count)

    def _stamp(self, row: Row) -> int:
        """Return the moment of DT, ``YYYY-MM-DD HH:MM:SS.nnnnnnnnn``; what is finer than a second stays exact."""
        whole, _, part = row.text("DT").partition(".")
        if not (part.isdigit() or not part) or len(part) > 9:
            raise row.wrong(f"DT must be a moment with at most nine digits after the point, was {row.text('DT')!r}")
        seconds = self._seconds.get(whole)
        if seconds is None:
            try:
                seconds = int(datetime.fromisoformat(whole).replace(tzinfo=self._zone).timestamp())
            except ValueError:
                raise row.wrong(f"DT must be YYYY-MM-DD HH:MM:SS, was {whole!r}") from None
            self._seconds = {whole: seconds}
        return seconds * NS_PER_S + int(part.ljust(9, "0"))
