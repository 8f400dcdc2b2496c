"""What one symbol's venues say together: each one's spread, imbalance and VWAP, and arbitrage between them net of fees.

Knows no stream and no clock; time is the stamps of what it is given.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Literal

import msgspec

from edgefleet.book.book import Book, imbalance
from edgefleet.clock import NS_PER_MS
from edgefleet.messages.market import Level
from edgefleet.units import BPS, EXACT, ZERO

_STEP = 16  # levels of each book that a comparison looks at first


class RollingVwap:
    """The volume-weighted average price of the trades of the last while, exactly: what is added leaves as it came.

    The window is open at its old end: a trade counts while it is younger than `window_ms` by the newest stamp seen.
    """

    def __init__(self, window_ms: int) -> None:
        if window_ms <= 0:
            raise ValueError(f"a window must be positive, was {window_ms} ms")
        self.window_ns = window_ms * NS_PER_MS
        self.market_ts: int | None = None
        self.volume = ZERO
        self.turnover = ZERO
        self._trades: deque[tuple[int, Decimal, Decimal]] = deque()  # stamp, volume, turnover; by stamp

    def add(self, ts: int, price: Decimal, quantity: Decimal) -> None:
        """Take a trade; one that comes late takes its place, one that is out of the window already is passed over."""
        self.advance(ts)
        if self.market_ts is not None and ts <= self.market_ts - self.window_ns:
            return
        turnover = EXACT.multiply(price, quantity)
        self.volume, self.turnover = EXACT.add(self.volume, quantity), EXACT.add(self.turnover, turnover)
        at = len(self._trades)
        while at and self._trades[at - 1][0] > ts:
            at -= 1
        self._trades.insert(at, (ts, quantity, turnover))

    def advance(self, ts: int) -> None:
        """Let time be `ts`: what is too old leaves."""
        if self.market_ts is None or ts > self.market_ts:
            self.market_ts = ts
        trades, until = self._trades, self.market_ts - self.window_ns
        while trades and trades[0][0] <= until:
            _, quantity, turnover = trades.popleft()
            self.volume = EXACT.subtract(self.volume, quantity)
            self.turnover = EXACT.subtract(self.turnover, turnover)

    @property
    def value(self) -> Decimal | None:
        """Return the average, quote per base unit, None where nothing was traded within the window."""
        return self.turnover / self.volume if self.volume else None

    def __len__(self) -> int:
        return len(self._trades)


class VenueView(msgspec.Struct, frozen=True):
    """One venue's book and trades in figures; each is None where it cannot be said."""

    spread_percent: float | None  # of the mid
    imbalance: float | None  # of the sizes of the best levels, -1..1
    vwap: Decimal | None  # of the window's trades


def venue_view(book: Book, vwap: RollingVwap, levels: int = 5) -> VenueView:
    """Return one venue's figures; the imbalance is that of the best `levels` levels."""
    spread = book.spread_bps
    return VenueView(None if spread is None else spread / 100, imbalance(*book.depth(levels)), vwap.value)


class Opportunity(msgspec.Struct, frozen=True):
    """Buying at one venue and selling at another at once, as far as it pays after both fees."""

    size: Decimal  # base units for which every single one pays
    cost: Decimal  # quote units paid for them, before the fee
    proceeds: Decimal  # quote units received, before the fee
    profit: Decimal  # quote units after both fees, positive
    gross_bps: float  # proceeds over cost, before fees
    net_bps: float  # profit over cost


def opportunity(
    asks: Sequence[Level], bids: Sequence[Level], buy_fee: Decimal, sell_fee: Decimal
) -> Opportunity | None:
    """Return what buying from `asks` of one venue and selling to `bids` of another brings, None where nothing pays.

    Both books are walked level by level while the next unit still pays: ``bid * (1 - sell_fee) > ask * (1 + buy_fee)``.

    Parameters
    ----------
    asks, bids
        Best first.
    buy_fee, sell_fee
        The taker's fee as a fraction of the traded amount; negative is a rebate.

    Examples
    --------
    >>> D = Decimal
    >>> found = opportunity([(D(100), D(2))], [(D(102), D(1)), (D(99), D(9))], D("0.001"), D("0.001"))
    >>> found.size, found.profit
    (Decimal('1'), Decimal('1.798'))
    """
    return _walk(iter(asks), iter(bids), 1 + buy_fee, 1 - sell_fee)


def between_books(buy_at: Book, sell_at: Book, buy_fee: Decimal, sell_fee: Decimal) -> Opportunity | None:
    """Return the opportunity between two whole books; deep levels are only sorted where it reaches them."""
    ask, bid = buy_at.asks.best(), sell_at.bids.best()
    if ask is None or bid is None or not _pays(ask[0], bid[0], 1 + buy_fee, 1 - sell_fee):
        return None
    count = _STEP
    while True:
        asks, bids = buy_at.asks.levels(count), sell_at.bids.levels(count)
        found = opportunity(asks, bids, buy_fee, sell_fee)
        if found is None or (_ends_within(asks, count, found.size) and _ends_within(bids, count, found.size)):
            return found
        count *= 4


def _ends_within(levels: Sequence[Level], count: int, size: Decimal) -> bool:
    return len(levels) < count or sum([there for _, there in levels], ZERO) > size


def _pays(ask: Decimal, bid: Decimal, pays: Decimal, keeps: Decimal) -> bool:
    return EXACT.multiply(bid, keeps) > EXACT.multiply(ask, pays)


def _walk(asks: Iterator[Level], bids: Iterator[Level], pays: Decimal, keeps: Decimal) -> Opportunity | None:
    size, cost, proceeds = ZERO, ZERO, ZERO
    ask, bid = next(asks, None), next(bids, None)
    while ask is not None and bid is not None and _pays(ask[0], bid[0], pays, keeps):
        part = min(ask[1], bid[1])
        size = EXACT.add(size, part)
        cost, proceeds = EXACT.fma(ask[0], part, cost), EXACT.fma(bid[0], part, proceeds)
        ask = (ask[0], EXACT.subtract(ask[1], part))
        bid = (bid[0], EXACT.subtract(bid[1], part))
        if not ask[1]:
            ask = next(asks, None)
        if not bid[1]:
            bid = next(bids, None)
    if not size:
        return None
    profit = EXACT.subtract(EXACT.multiply(proceeds, keeps), EXACT.multiply(cost, pays))
    return Opportunity(size, cost, proceeds, profit, float((proceeds - cost) / cost) * BPS, float(profit / cost) * BPS)


class Arbitrage(msgspec.Struct, frozen=True):
    """An opportunity between two venues opened, changed or closed."""

    state: Literal["opened", "updated", "closed"]
    symbol: str
    buy_at: str
    sell_at: str
    now: Opportunity | None  # None once closed
    best: Opportunity  # that of the largest profit since it opened
    since: int  # ns since the epoch, the stamp by which it opened
    ts: int
    lasted_ns: int


class _Open(msgspec.Struct):
    since: int
    now: Opportunity
    best: Opportunity


class ArbitrageMonitor:
    """The opportunities between all pairs of one symbol's venues.

    Parameters
    ----------
    fees
        The taker's fee of each venue as a fraction; a venue that has none here is not compared.
    stale_after_ms
        Age of a venue's last book, by event time, from which it is compared no more.
    """

    def __init__(self, symbol: str, fees: Mapping[str, Decimal], stale_after_ms: int) -> None:
        for venue, fee in fees.items():
            if not (fee.is_finite() and -1 < fee < 1):
                raise ValueError(f"a fee is a fraction between -1 and 1, of {venue} was {fee}")
        self.symbol = symbol
        self.fees = dict(fees)
        self.stale_after_ns = stale_after_ms * NS_PER_MS
        self.market_ts = 0
        self.open: dict[tuple[str, str], _Open] = {}  # by buying and selling venue
        self._books: dict[str, tuple[Book, int]] = {}

    def on_book(self, venue: str, book: Book, ts: int) -> list[Arbitrage]:
        """Take a venue's book as it is at `ts`, and return what that opened, changed and closed.

        A book that is crossed in itself is no ground for anything: its venue is dropped until the next one.
        The book is looked at again when another venue's changes: hand in the one that is kept up to date.
        """
        if venue not in self.fees:
            return self.advance(ts)
        if book.is_crossed:
            return self.advance(ts) + self.drop(venue)
        self._books[venue] = (book, ts)
        events = self.advance(ts)
        for other in list(self._books):
            if other != venue and venue in self._books:  # it may itself be too old beside the others
                events += self._compare(venue, other)
                events += self._compare(other, venue)
        return events

    def advance(self, ts: int) -> list[Arbitrage]:
        """Let time be `ts`, and return what closes because a venue has been silent for too long."""
        self.market_ts = max(self.market_ts, ts)
        silent = [venue for venue, (_, at) in self._books.items() if self.market_ts - at > self.stale_after_ns]
        return [event for venue in silent for event in self.drop(venue)]

    def drop(self, venue: str) -> list[Arbitrage]:
        """Compare a venue no more until its next book: it is quarantined, or its connection is gone."""
        self._books.pop(venue, None)
        return [self._close(pair) for pair in list(self.open) if venue in pair]

    def _compare(self, buy_at: str, sell_at: str) -> list[Arbitrage]:
        pair = (buy_at, sell_at)
        found = between_books(self._books[buy_at][0], self._books[sell_at][0], self.fees[buy_at], self.fees[sell_at])
        known = self.open.get(pair)
        if found is None:
            return [] if known is None else [self._close(pair)]
        if known is None:
            self.open[pair] = _Open(self.market_ts, found, found)
            return [self._event("opened", pair, self.open[pair], found)]
        if found == known.now:
            return []
        known.now = found
        if found.profit > known.best.profit:
            known.best = found
        return [self._event("updated", pair, known, found)]

    def _close(self, pair: tuple[str, str]) -> Arbitrage:
        return self._event("closed", pair, self.open.pop(pair), None)

    def _event(
        self,
        state: Literal["opened", "updated", "closed"],
        pair: tuple[str, str],
        known: _Open,
        now: Opportunity | None,
    ) -> Arbitrage:
        lasted = self.market_ts - known.since
        return Arbitrage(state, self.symbol, *pair, now, known.best, known.since, self.market_ts, lasted)
