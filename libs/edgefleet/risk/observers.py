"""What circuit breakers are held against: losses, a venue's answers, the age of feeds. Knows no breaker.

Each observer is plain values that survive msgpack, takes what happens in the order in which it happened, and costs the
same however long it has been running. Times are market time, ns.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from decimal import Decimal
from statistics import median
from typing import Final, NamedTuple

import msgspec

from edgefleet.book.sessions import Calendar, silence
from edgefleet.clock import NS_PER_MS, NS_PER_S
from edgefleet.messages import Fill, OrderEvent, OrderState
from edgefleet.params.schema.breakers import AnswersParams, ConsecutiveLossesParams, VenueLatencyParams
from edgefleet.units import ZERO

_HISTORY: Final = 200  # answers kept: the bound of `AnswersParams.orders`
_ANSWERED: Final = frozenset(
    {
        OrderState.ACCEPTED,
        OrderState.PARTIALLY_FILLED,
        OrderState.FILLED,
        OrderState.CANCELLED,
        OrderState.EXPIRED,
        OrderState.REJECTED,
    }
)
# As the reason of a post-only order begins that would have traded at once: the market's doing, not a refusal to trade.
_WOULD_TAKE: Final = "WOULD_TAKE"


class Sample(NamedTuple):
    """What `observe` is told: a value in the breaker's unit, and whether enough happened to judge by it."""

    value: float | None
    enough: bool = True


def fall(base: float, now: float) -> float:
    """Return the fall of equity from `base` as a fraction of it, ``1 - now / base``; negative where it rose.

    NaN, which opens a breaker, where either is not finite or `base` is not positive: such a fall cannot be told.

    Examples
    --------
    >>> fall(100.0, 97.0), fall(0.0, 5.0)
    (0.030000000000000027, nan)
    """
    return 1 - now / base if 0 < base < math.inf and math.isfinite(now) else math.nan


class DayLoss(msgspec.Struct):
    """Loss since the session began, of one account in one quote asset.

    A session of crypto is a day of UTC, one of stocks the exchange's; between two sessions the one that ended goes on.
    Its base is the last equity seen before it opened, so that what a gap over the night costs is a loss of the day that
    opens with it; the first equity seen, where there is none before. It is the session of the stamp that decides, so a
    stage that stood still for a week charges the week to the day on which it goes on.
    """

    opened: int | None = None  # ns, open of the session
    base: float | None = None
    last: float | None = None  # newest finite equity

    def take(self, equity: float, ts: int, calendar: Calendar) -> Sample:
        """Take equity, marked to the touch, and return the loss as a fraction of the base, negative for a profit.

        Equity that is not finite is no base and gives NaN.
        """
        opened = _session_open(ts, calendar)
        if opened is not None and (self.opened is None or opened > self.opened):
            self.opened = opened
            self.base = self.last
        if math.isfinite(equity):
            self.last = equity
            if self.base is None:
                self.base = equity
        return Sample(math.nan if self.base is None else fall(self.base, equity))

    def rescale(self, factor: float) -> None:
        """Move the base in proportion with money that came or went: the loss stays the share that it was.

        Raises
        ------
        ValueError
            If `factor` is not positive and finite.
        """
        if not 0 < factor < math.inf:
            raise ValueError(f"a factor must be positive and finite, was {factor!r} beside a base of {self.base!r}")
        if self.base is not None:
            self.base *= factor
        if self.last is not None:
            self.last *= factor

    def forget(self) -> None:
        """Measure from the next equity on."""
        self.base = self.last = None


def _session_open(ts: int, calendar: Calendar) -> int | None:
    """Return the open of the session at `ts`, or of the last before it; None where the calendar does not reach."""
    if not calendar.covers(ts):
        return None
    session = calendar.session_of(ts) or calendar.session_before(ts)
    return None if session is None else session.open


class Feed(NamedTuple):
    """What the age of one instrument's feed is judged by."""

    age_ms: int | None  # as the last beat states it; None: it never spoke
    held: bool  # a position is marked by it
    calendar: Calendar


def staleness(feeds: Iterable[Feed], ts: int) -> Sample:
    """Return the age of the oldest feed that a position is marked by, in seconds; 0 where none is held.

    A feed of a closed market is not waited for, and after an opening none is older than the session; where the calendar
    does not reach the market counts as open. A feed that has not spoken yet has no age: nothing is decided without its
    price, and every fleet begins so.

    Raises
    ------
    ValueError
        If an age is negative.
    """
    ages = [_age_s(feed, ts) for feed in feeds if feed.held]
    return Sample(max((age for age in ages if age is not None), default=0.0))


def _age_s(feed: Feed, ts: int) -> float | None:
    if feed.age_ms is not None and feed.age_ms < 0:
        raise ValueError(f"age of a feed must not be negative, was {feed.age_ms} ms at {ts}")
    found = silence(None if feed.age_ms is None else feed.age_ms * NS_PER_MS, feed.calendar, ts)
    return None if found is None else found / NS_PER_S


class Answer(msgspec.Struct, frozen=True, gc=False):
    """A venue's first word about an order."""

    ts: int  # ns
    latency_ms: float  # since the order was decided
    rejected: bool


class VenueAnswers(msgspec.Struct):
    """How one venue answers orders: how soon, and whether it takes them.

    An order counts once, at the first word after PENDING_NEW that comes from the venue: ACCEPTED, a fill, an end, or
    REJECTED. DENIED was never sent and counts nowhere; UNKNOWN is no word, the order goes on waiting. Stamps are the
    executor's, which are market time, so the latency is what the market moved on by meanwhile.
    """

    sent: dict[str, int] = {}  # client order id -> ns of PENDING_NEW, without an answer yet; oldest first
    answers: list[Answer] = []  # the last ones, oldest first

    def take(self, event: OrderEvent) -> None:
        """Take a transition of an order at this venue."""
        if event.state is OrderState.PENDING_NEW:
            self.sent.setdefault(event.order_id, event.ts_event)
        elif event.state is OrderState.DENIED:
            self.sent.pop(event.order_id, None)
        elif event.state in _ANSWERED:
            since = self.sent.pop(event.order_id, None)
            if since is None:
                return  # its answer was counted, or the order was sent before this began
            rejected = event.state is OrderState.REJECTED and not event.reason.startswith(_WOULD_TAKE)
            # A stage that was rolled back may stamp an answer before its order; no order is answered before it is sent.
            latency_ms = max(event.ts_event - since, 0) / NS_PER_MS
            self.answers.append(Answer(event.ts_event, latency_ms, rejected))
            del self.answers[:-_HISTORY]

    def latency(self, ts: int, params: VenueLatencyParams, limit_ms: int) -> Sample:
        """Return the time that the venue takes to answer, ms.

        The median of the last `params.orders` answers, where there are `params.min_orders`; or the age of the oldest
        order that has no answer, where that is longer: a venue that is silent is slow. A single slow answer moves the
        median little. Enough to judge is either the number of answers, or an order that waits beyond the limit.
        """
        recent = [answer.latency_ms for answer in self._recent(ts, params)]
        judged = len(recent) >= params.min_orders
        oldest = next(iter(self.sent.values()), None)
        waiting = 0.0 if oldest is None else (ts - oldest) / NS_PER_MS
        usual = median(recent) if judged else 0.0
        enough = judged or waiting > limit_ms
        return Sample(max(usual, waiting) if enough else None, enough)

    def rejected(self, ts: int, params: AnswersParams) -> Sample:
        """Return the share of the last answered orders that were rejected, None with fewer than `params.min_orders`."""
        recent = self._recent(ts, params)
        if len(recent) < params.min_orders:
            return Sample(None, enough=False)
        return Sample(sum(answer.rejected for answer in recent) / len(recent))

    def forget(self) -> None:
        """Judge by what is sent from now on."""
        self.sent.clear()
        self.answers.clear()

    def _recent(self, ts: int, params: AnswersParams) -> list[Answer]:
        since = ts - params.window_ms * NS_PER_MS
        return [answer for answer in self.answers[-params.orders :] if answer.ts >= since]


class Trip(msgspec.Struct):
    """One position from flat to flat, so far."""

    held: Decimal = ZERO  # base units, signed
    cash: Decimal = ZERO  # quote units that came in, negative where more went out; fees included
    is_whole: bool = True  # every fee of it could be told in the quote asset


class LosingRun(msgspec.Struct):
    """How many positions in a row were closed at a loss, over all instruments of one account.

    A position counts once, when it is flat again or has turned around, however many fills opened and closed it. What it
    earned is the cash that came in less the cash that went out and the fees: from flat to flat average cost and first
    in, first out come to the same, so no cost price is kept. A rest below one lot is flat; it is taken at the last
    price and goes on into the next position. The fill that turns a position around shares its fee between both by
    quantity. What lost nothing ends the run, and so does `memory_ms` without a loss.

    A position that is only ever made larger and smaller never counts. What the account held before its first fill here
    is not known: a sale of it is the beginning of a short position.
    """

    trips: dict[str, Trip] = {}  # by instrument
    losses: int = 0
    last: int = 0  # ns, of the last loss

    def take(
        self, fill: Fill, lot: Decimal, fee_rate: Decimal | None, params: ConsecutiveLossesParams
    ) -> Decimal | None:
        """Take a fill and return what the position that it closed has earned, in the quote asset, None where none was.

        Parameters
        ----------
        lot
            The instrument's, base units, positive.
        fee_rate
            What a unit of `fill.fee_asset` is worth in the quote asset; asked only where it is neither base nor quote.
            None where nothing says: the position is counted without that fee, as a loss where it lost nevertheless,
            and ends no run where it did not.

        Raises
        ------
        ValueError
            If a number of it is not finite, or quantity, price or lot is not positive. Nothing is counted.
        """
        _check_fill(fill, lot, fee_rate)
        base, _, rest = fill.instrument.rpartition("@")[0].partition("/")
        worth = _worth(fill, base, rest.partition(":")[0], fee_rate)
        trip = self.trips.setdefault(fill.instrument, Trip())
        before, bought = trip.held, fill.quantity if fill.side == "buy" else -fill.quantity
        trip.held += bought
        trip.cash -= bought * fill.price
        if fill.fee_asset == base:
            trip.held -= fill.fee
        else:
            trip.cash -= worth or ZERO
        trip.is_whole = trip.is_whole and worth is not None
        turned = before * trip.held < 0
        if abs(before) < lot or not (turned or abs(trip.held) < lot):
            return None
        onward = (worth or ZERO) * abs(trip.held) / fill.quantity if turned else ZERO
        earned = trip.cash + trip.held * fill.price + onward
        self._count(earned, trip.is_whole, fill.ts_event, params)
        self.trips[fill.instrument] = Trip(
            held=trip.held, cash=-trip.held * fill.price - onward, is_whole=worth is not None or not turned
        )
        return earned

    def sample(self, ts: int, params: ConsecutiveLossesParams) -> Sample:
        """Return the number of losses in a row, 0 once they are forgotten."""
        return Sample(0.0 if self._is_forgotten(ts, params) else float(self.losses))

    def forget(self) -> None:
        """Count from the next position on."""
        self.losses = 0

    def _count(self, earned: Decimal, is_whole: bool, ts: int, params: ConsecutiveLossesParams) -> None:
        if earned < 0:
            self.losses = 1 if self._is_forgotten(ts, params) else self.losses + 1
            self.last = ts
        elif is_whole:
            self.losses = 0

    def _is_forgotten(self, ts: int, params: ConsecutiveLossesParams) -> bool:
        return ts - self.last > params.memory_ms * NS_PER_MS


def _worth(fill: Fill, base: str, quote: str, fee_rate: Decimal | None) -> Decimal | None:
    """Return what the fee is worth in the quote asset, None where nothing says."""
    if not fill.fee or fill.fee_asset == quote:
        return fill.fee
    rate = fill.price if fill.fee_asset == base else fee_rate
    return None if rate is None else fill.fee * rate


def _check_fill(fill: Fill, lot: Decimal, fee_rate: Decimal | None) -> None:
    numbers = (fill.quantity, fill.price, fill.fee, lot, ZERO if fee_rate is None else fee_rate)
    if not all(number.is_finite() for number in numbers) or not min(fill.quantity, fill.price, lot) > 0:
        raise ValueError(
            f"fill {fill.trade_id} must be of finite, positive numbers: quantity {fill.quantity}, price {fill.price}, "
            f"fee {fill.fee}, lot {lot}, fee rate {fee_rate}"
        )
