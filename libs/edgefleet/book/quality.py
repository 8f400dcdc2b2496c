"""Whether market data can be believed: each fault has a label and is counted, and instruments pass or are quarantined.

Decides about what it is shown and changes nothing of it. Knows no stream and no clock; time is the events' stamps.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection
from decimal import Decimal
from enum import StrEnum
from typing import Literal

import msgspec

from edgefleet.book.leap import NEAR, LeapGuard
from edgefleet.book.sessions import ALWAYS_OPEN, Calendar
from edgefleet.clock import NS_PER_MS
from edgefleet.instruments import split_id
from edgefleet.messages.market import Bar, Quote, Touch, Trade
from edgefleet.params.schema.quality import QualityParams
from edgefleet.units import ZERO

Verdict = Literal["pass", "quarantine"]


class Fault(StrEnum):
    """What can be wrong with market data."""

    PRICE_NOT_POSITIVE = "price_not_positive"
    PRICE_LEAP = "price_leap"  # such as a price times 100
    VOLUME_NOT_POSITIVE = "volume_not_positive"
    VOLUME_ABSURD = "volume_absurd"
    DUPLICATE = "duplicate"
    OUT_OF_ORDER = "out_of_order"
    FUTURE = "future"  # stamped long after we had it
    CROSSED = "crossed"  # a venue's own bid is not below its ask
    OHLC = "ohlc"  # a bar whose figures contradict each other
    STUCK_QUOTE = "stuck_quote"
    TRADE_GAP = "trade_gap"  # ids are missing
    TIME_GAP = "time_gap"


# About what is missing or elsewhere: the event that shows them is sound itself.
_BESIDE = frozenset({Fault.STUCK_QUOTE, Fault.TRADE_GAP, Fault.TIME_GAP})


class Finding(msgspec.Struct, frozen=True):
    """One fault, with what was seen and the limit it broke where there is one."""

    instrument: str
    fault: Fault
    ts: int  # ns since the epoch, of the event that showed it; of its receipt where its own cannot be
    observed: float | None = None
    limit: float | None = None


class Judgement(msgspec.Struct, frozen=True):
    """What to do with an event: use it, or keep it out because of itself or because its instrument is quarantined."""

    verdict: Verdict
    findings: tuple[Finding, ...] = ()


_SOUND = Judgement("pass")
_KEPT_OUT = Judgement("quarantine")


class _Watched:
    """What is remembered of one instrument."""

    def __init__(self, symbol: str, counts_up: bool, params: QualityParams) -> None:
        self.symbol = symbol
        self.counts_up = counts_up  # its venue's trade ids do
        self.counts: Counter[Fault] = Counter()
        self.faults: deque[int] = deque()  # stamps, those of the window
        self.last_fault: int | None = None
        self.quarantined = False
        self.stuck = False
        self.trade_guard, self.quote_guard, self.bar_guard = (
            LeapGuard(params.leap_times, params.leap_frames) for _ in range(3)
        )
        self.trade_ts: int | None = None
        self.last_id: int | None = None
        self.ids: set[str] = set()
        self.ids_in_order: deque[str] = deque()
        self.sizes: deque[float] = deque()
        self.sizes_sum = 0.0
        self.absurd = 0  # sizes in a row that were too large
        self.update_id = 0
        self.quote: tuple[Decimal, Decimal, Decimal, Decimal] | None = None
        self.quote_since = 0  # the stamp it has not changed since
        self.quote_ts: int | None = None
        self.outside = 0  # trades outside the quote since it changed
        self.others = 0  # changes of other venues' quotes since it changed


class QualityMonitor:
    """The checks of all instruments of one asset class.

    Parameters
    ----------
    calendar
        The market's hours: silence outside them is no gap.
    counting_venues
        Venues whose trade ids of an instrument count up by one: there a missing id is a gap.
    """

    def __init__(
        self, params: QualityParams, calendar: Calendar = ALWAYS_OPEN, counting_venues: Collection[str] = ()
    ) -> None:
        self.params = params
        self.calendar = calendar
        self._ahead_ns = params.ahead_ms * NS_PER_MS
        self._near_is_no_leap = params.leap_times > NEAR * NEAR
        self.counting_venues = frozenset(counting_venues)
        self._watched: dict[str, _Watched] = {}
        self._venues: dict[str, list[_Watched]] = {}  # by symbol

    def on_trade(self, trade: Trade) -> Judgement:
        """Judge a print."""
        known = self._known(trade.instrument)
        findings: list[Finding] = []
        if self._is_ahead(trade, findings):
            return self._judged(known, trade.ts_init, findings)
        self._identity(known, trade, findings)
        self._order(known.trade_ts, trade.instrument, trade.ts_event, findings)
        self._price(known.trade_guard, trade.instrument, trade.price, trade.ts_event, findings)
        self._volume(known, trade, findings)
        if not findings:
            quote = known.quote
            if quote is not None and not quote[0] <= trade.price <= quote[2]:
                known.outside += 1
        self._silence(known, trade, findings)
        self._stuck(known, trade.instrument, trade.ts_event, findings)
        return self._judged(known, trade.ts_event, findings)

    def on_quote(self, quote: Quote | Touch) -> Judgement:
        """Judge a top of book."""
        known = self._known(quote.instrument)
        if isinstance(quote, Quote) and self._takes_usual(known, quote):
            return _SOUND
        findings: list[Finding] = []
        name, ts = quote.instrument, quote.ts_event
        if self._is_ahead(quote, findings):
            return self._judged(known, quote.ts_init, findings)
        if isinstance(quote, Quote):
            self._update(known, quote, findings)
        self._order(known.quote_ts, name, ts, findings)
        known.quote_ts = ts if known.quote_ts is None else max(known.quote_ts, ts)
        if quote.bid_size < 0 or quote.ask_size < 0:
            size = min(quote.bid_size, quote.ask_size)
            findings.append(Finding(name, Fault.VOLUME_NOT_POSITIVE, ts, float(size), 0.0))
        if quote.bid >= quote.ask > ZERO:
            findings.append(Finding(name, Fault.CROSSED, ts, float(quote.bid), float(quote.ask)))
        self._price(known.quote_guard, name, quote.ask if quote.bid > ZERO else quote.bid, ts, findings)
        if quote.bid > ZERO and not findings and quote.ask > quote.bid * self.params.leap_times:
            limit = float(quote.bid * self.params.leap_times)
            findings.append(Finding(name, Fault.PRICE_LEAP, ts, float(quote.ask), limit))
        if not findings:
            self._changed(known, _figures(quote), ts)
        self._stuck(known, name, ts, findings)
        return self._judged(known, ts, findings)

    def on_bar(self, bar: Bar) -> Judgement:
        """Judge a bar, its own or a venue's."""
        known = self._known(bar.instrument)
        findings: list[Finding] = []
        name, ts = bar.instrument, bar.ts_event
        if min(bar.open, bar.high, bar.low, bar.close) <= 0:
            lowest = min(bar.open, bar.high, bar.low, bar.close)
            findings.append(Finding(name, Fault.PRICE_NOT_POSITIVE, ts, float(lowest), 0.0))
        elif contradicts_itself(bar):
            findings.append(Finding(name, Fault.OHLC, ts))
        elif known.bar_guard.leaps(bar.close):
            findings.append(Finding(name, Fault.PRICE_LEAP, ts, float(bar.close), float(self.params.leap_times)))
        if bar.volume < 0 or bar.trades < 0 or (bar.trades > 0) != (bar.volume > 0):
            findings.append(Finding(name, Fault.VOLUME_NOT_POSITIVE, ts, float(bar.volume), 0.0))
        return self._judged(known, ts, findings)

    def on_time(self, ts: int) -> tuple[Finding, ...]:
        """Let event time be `ts`, of a beat for instance, and return what is found by that alone: stuck quotes."""
        findings: list[Finding] = []
        for instrument, known in self._watched.items():
            found: list[Finding] = []
            self._stuck(known, instrument, ts, found)
            self._judged(known, ts, found)
            findings += found
        return tuple(findings)

    def verdict(self, instrument: str) -> Verdict:
        """Return whether an instrument passes as of the last event; one never seen passes."""
        known = self._watched.get(instrument)
        return "quarantine" if known is not None and (known.quarantined or known.stuck) else "pass"

    def counts(self, instrument: str) -> dict[Fault, int]:
        """Return how often each fault was found."""
        known = self._watched.get(instrument)
        return {} if known is None else dict(known.counts)

    def _takes_usual(self, known: _Watched, quote: Quote) -> bool:
        """Take a quote that no check finds anything about; False, taking nothing, where they have to look.

        It says in one look what the checks say one by one: most quotes are newer than the last, near it, and of a sound
        instrument.
        """
        ts, last, bid, ask = quote.ts_event, known.quote_ts, quote.bid, quote.ask
        if (
            last is None
            or last > ts
            or ts - quote.ts_init > self._ahead_ns
            or quote.update_id <= known.update_id
            or known.quarantined
            or known.outside >= self.params.stuck_trades  # as of what is stuck until it changes
            or known.others >= self.params.stuck_others
            or not (bid < ask and known.quote_guard.is_near(bid, ask) and self._near_is_no_leap)
            or quote.bid_size < ZERO
            or quote.ask_size < ZERO
        ):
            return False
        known.update_id = quote.update_id
        known.quote_ts = ts
        known.quote_guard.doubted = 0
        self._changed(known, (bid, quote.bid_size, ask, quote.ask_size), ts)
        return True

    # --- the checks

    def _is_ahead(self, event: Trade | Quote | Touch, findings: list[Finding]) -> bool:
        """Whether an event's stamp cannot be; it must not become the time that others are measured by."""
        ahead = event.ts_event - event.ts_init
        if ahead <= self.params.ahead_ms * NS_PER_MS:
            return False
        limit = float(self.params.ahead_ms)
        findings.append(Finding(event.instrument, Fault.FUTURE, event.ts_init, ahead / NS_PER_MS, limit))
        return True

    def _identity(self, known: _Watched, trade: Trade, findings: list[Finding]) -> None:
        name, ts, trade_id = trade.instrument, trade.ts_event, trade.trade_id
        if trade_id in known.ids:
            findings.append(Finding(name, Fault.DUPLICATE, ts))
            return
        known.ids.add(trade_id)
        known.ids_in_order.append(trade_id)
        if len(known.ids_in_order) > self.params.ids_remembered:
            known.ids.discard(known.ids_in_order.popleft())
        if not (known.counts_up and trade_id.isascii() and trade_id.isdigit()):
            return
        number, last = int(trade_id), known.last_id
        if last is not None and number > last + 1:
            findings.append(Finding(name, Fault.TRADE_GAP, ts, float(number - last - 1), 0.0))
        elif last is not None and number < last:
            findings.append(Finding(name, Fault.OUT_OF_ORDER, ts, float(number), float(last)))
        known.last_id = number if last is None else max(last, number)

    def _update(self, known: _Watched, quote: Quote, findings: list[Finding]) -> None:
        update_id, last = quote.update_id, known.update_id
        if update_id and update_id < last:
            findings.append(
                Finding(quote.instrument, Fault.OUT_OF_ORDER, quote.ts_event, float(update_id), float(last))
            )
        elif update_id and update_id == last and _figures(quote) == known.quote:  # a stamp may stand for the id
            findings.append(Finding(quote.instrument, Fault.DUPLICATE, quote.ts_event))
        known.update_id = max(last, update_id)

    def _order(self, last: int | None, name: str, ts: int, findings: list[Finding]) -> None:
        behind = 0 if last is None else last - ts
        if any(finding.fault is Fault.OUT_OF_ORDER for finding in findings):
            return
        if behind > self.params.late_ms * NS_PER_MS:
            findings.append(Finding(name, Fault.OUT_OF_ORDER, ts, behind / NS_PER_MS, float(self.params.late_ms)))

    def _price(self, guard: LeapGuard, name: str, price: Decimal, ts: int, findings: list[Finding]) -> None:
        if not price > 0:
            findings.append(Finding(name, Fault.PRICE_NOT_POSITIVE, ts, float(price), 0.0))
        elif guard.leaps(price):
            findings.append(Finding(name, Fault.PRICE_LEAP, ts, float(price), float(self.params.leap_times)))

    def _volume(self, known: _Watched, trade: Trade, findings: list[Finding]) -> None:
        size, sizes = float(trade.quantity), known.sizes
        if not size > 0:
            findings.append(Finding(trade.instrument, Fault.VOLUME_NOT_POSITIVE, trade.ts_event, size, 0.0))
            return
        if len(sizes) == self.params.volume_trades:
            limit = self.params.volume_times * known.sizes_sum / len(sizes)
            known.absurd = known.absurd + 1 if size > limit else 0
            if 0 < known.absurd <= self.params.leap_frames:
                findings.append(Finding(trade.instrument, Fault.VOLUME_ABSURD, trade.ts_event, size, limit))
                return
            known.sizes_sum -= sizes.popleft()
        sizes.append(size)
        known.sizes_sum += size

    def _silence(self, known: _Watched, trade: Trade, findings: list[Finding]) -> None:
        ts, last = trade.ts_event, known.trade_ts
        known.trade_ts = ts if last is None else max(last, ts)
        if last is None or ts - last <= self.params.gap_ms * NS_PER_MS:
            return
        session = self.calendar.session_of(ts)
        if session is not None and last >= session.open:
            silent_ms = (ts - last) / NS_PER_MS
            findings.append(Finding(trade.instrument, Fault.TIME_GAP, ts, silent_ms, float(self.params.gap_ms)))

    def _changed(self, known: _Watched, quote: tuple[Decimal, Decimal, Decimal, Decimal], ts: int) -> None:
        if quote == known.quote:
            return
        known.quote, known.quote_since = quote, ts
        known.outside = known.others = 0
        known.stuck = False
        for other in self._venues[known.symbol]:
            if other is not known:
                other.others += 1

    def _stuck(self, known: _Watched, name: str, ts: int, findings: list[Finding]) -> None:
        if known.stuck or known.quote is None:
            return
        unchanged = ts - known.quote_since
        moved = known.outside >= self.params.stuck_trades or known.others >= self.params.stuck_others
        if moved and unchanged >= self.params.stuck_after_ms * NS_PER_MS:
            known.stuck = True
            limit = float(self.params.stuck_after_ms)
            findings.append(Finding(name, Fault.STUCK_QUOTE, ts, unchanged / NS_PER_MS, limit))

    # --- the verdict

    def _judged(self, known: _Watched, ts: int, findings: list[Finding]) -> Judgement:
        faults = known.faults
        for finding in findings:
            known.counts[finding.fault] += 1
            faults.append(ts)
        if findings:
            known.last_fault = ts
            while ts - faults[0] > self.params.fault_window_ms * NS_PER_MS:
                faults.popleft()
            known.quarantined = known.quarantined or len(faults) >= self.params.faults_to_quarantine
        elif known.quarantined and known.last_fault is not None:
            known.quarantined = ts - known.last_fault < self.params.clean_ms * NS_PER_MS
        if not findings:
            return _KEPT_OUT if known.quarantined or known.stuck else _SOUND
        unsound = any(finding.fault not in _BESIDE for finding in findings)
        kept_out = unsound or known.quarantined or known.stuck
        return Judgement("quarantine" if kept_out else "pass", tuple(findings))

    def _known(self, instrument: str) -> _Watched:
        known = self._watched.get(instrument)
        if known is None:
            symbol, venue = split_id(instrument)
            known = self._watched[instrument] = _Watched(symbol, venue in self.counting_venues, self.params)
            self._venues.setdefault(symbol, []).append(known)
        return known


def _figures(quote: Quote | Touch) -> tuple[Decimal, Decimal, Decimal, Decimal]:
    return quote.bid, quote.bid_size, quote.ask, quote.ask_size


def contradicts_itself(bar: Bar) -> bool:
    """Return whether a bar's open, close or VWAP lies outside its low and high, or its low is above its high."""
    if not (bar.low <= min(bar.open, bar.close) and max(bar.open, bar.close) <= bar.high):
        return True
    return bar.turnover is not None and not bar.low * bar.volume <= bar.turnover <= bar.high * bar.volume
