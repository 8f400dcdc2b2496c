"""What breakers are held against: losses since a session began, a venue's answers, feeds, losses in a row."""

from __future__ import annotations

import datetime as dt
import math
from decimal import Decimal
from typing import Any

import pytest

from edgefleet.book.sessions import ALWAYS_OPEN, Calendar, calendar_named
from edgefleet.messages import OrderState
from edgefleet.orders.facts import WOULD_TAKE
from edgefleet.params.schema.breakers import ConsecutiveLossesParams, RejectRateParams, VenueLatencyParams
from edgefleet.risk import observers
from edgefleet.risk.observers import DayLoss, Feed, LosingRun, Sample, VenueAnswers, fall, staleness
from edgefleet.testing import build
from edgefleet.testing.clock import START_NS

MS, SECOND, HOUR = 1_000_000, 1_000_000_000, 3_600_000_000_000
LOT = Decimal("0.0001")
NEW_YORK = calendar_named("XNYS")


def at(text: str) -> int:
    return int(dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC).timestamp()) * SECOND


# --- falls ---


@pytest.mark.parametrize(("base", "now", "expected"), [(100.0, 97.0, 0.03), (100.0, 110.0, -0.1), (50.0, -5.0, 1.1)])
def test_fall_is_a_fraction_of_its_base(base: float, now: float, expected: float) -> None:
    assert fall(base, now) == pytest.approx(expected)


@pytest.mark.parametrize(("base", "now"), [(0.0, 1.0), (-1.0, 1.0), (math.nan, 1.0), (1.0, math.nan), (1.0, math.inf)])
def test_fall_that_cannot_be_told_is_nan(base: float, now: float) -> None:
    assert math.isnan(fall(base, now))


# --- daily loss ---


class Day:
    """One account's loss, taken at times of a calendar."""

    def __init__(self, calendar: Calendar = ALWAYS_OPEN) -> None:
        self.loss, self.calendar = DayLoss(), calendar

    def take(self, equity: float, when: str) -> float:
        value, enough = self.loss.take(equity, at(when), self.calendar)
        assert enough
        assert value is not None
        return value


def test_loss_of_a_day_of_utc_is_against_the_equity_it_began_with() -> None:
    day = Day()

    assert day.take(100.0, "2024-08-08 10:00:00") == 0.0
    assert day.take(98.0, "2024-08-08 23:59:59") == pytest.approx(0.02)
    assert day.take(98.0, "2024-08-09 00:00:00") == 0.0
    assert day.take(96.04, "2024-08-09 00:00:01") == pytest.approx(0.02)


def test_gap_over_the_night_is_a_loss_of_the_day_that_opens_with_it() -> None:
    day = Day(NEW_YORK)
    day.take(100.0, "2024-08-08 19:59:00")  # the exchange closes at 20:00 UTC in summer

    assert day.take(99.0, "2024-08-08 22:00:00") == pytest.approx(0.01)
    assert day.take(99.0, "2024-08-09 13:29:59") == pytest.approx(0.01)
    assert day.take(94.05, "2024-08-09 13:30:00") == pytest.approx(0.05)


def test_day_of_stocks_does_not_end_at_midnight_or_over_the_weekend() -> None:
    day = Day(NEW_YORK)
    day.take(100.0, "2024-08-09 15:00:00")

    assert day.take(98.0, "2024-08-10 00:00:01") == pytest.approx(0.02)
    assert day.take(98.0, "2024-08-11 12:00:00") == pytest.approx(0.02)
    assert day.take(98.0, "2024-08-12 13:30:00") == 0.0


def test_day_goes_on_where_the_calendar_does_not_reach() -> None:
    day = Day(NEW_YORK)
    day.take(100.0, "2024-08-09 15:00:00")

    assert day.take(98.0, "2090-01-01 15:00:00") == pytest.approx(0.02)


def test_stamp_of_an_earlier_day_begins_no_session() -> None:
    day = Day()
    day.take(100.0, "2024-08-09 00:00:01")
    day.take(97.0, "2024-08-09 00:00:02")

    assert day.take(97.0, "2024-08-08 23:59:59") == pytest.approx(0.03)
    assert day.take(97.0, "2024-08-09 00:00:03") == pytest.approx(0.03)


def test_money_that_came_or_went_is_no_loss() -> None:
    day = Day()
    day.take(100.0, "2024-08-08 10:00:00")
    day.loss.rescale(0.6)

    assert day.take(60.0, "2024-08-08 10:00:01") == 0.0
    assert day.take(57.0, "2024-08-08 10:00:02") == pytest.approx(0.05)
    day.loss.rescale(2.0)
    assert day.take(114.0, "2024-08-08 10:00:03") == pytest.approx(0.05)


def test_money_that_came_before_midnight_counts_in_the_next_base() -> None:
    day = Day()
    day.take(100.0, "2024-08-08 23:59:59")
    day.loss.rescale(2.0)

    assert day.take(190.0, "2024-08-09 00:00:00") == pytest.approx(0.05)


def test_equity_that_is_no_number_is_told_as_such_and_is_no_base() -> None:
    day = Day()

    assert math.isnan(day.take(math.nan, "2024-08-08 10:00:00"))
    assert day.take(100.0, "2024-08-08 10:00:01") == 0.0
    assert math.isnan(day.take(math.inf, "2024-08-09 00:00:00"))
    assert day.take(97.0, "2024-08-09 00:00:01") == pytest.approx(0.03)


def test_a_factor_that_is_no_number_is_refused_with_both_numbers() -> None:
    day = Day()
    day.take(100.0, "2024-08-08 10:00:00")

    with pytest.raises(ValueError, match=r"was nan beside a base of 100\.0"):
        day.loss.rescale(math.nan)


def test_after_a_reset_the_loss_is_measured_anew() -> None:
    day = Day()
    day.take(100.0, "2024-08-08 10:00:00")
    day.take(95.0, "2024-08-08 11:00:00")
    day.loss.forget()

    assert day.take(95.0, "2024-08-08 11:00:01") == 0.0


# --- feeds ---


@pytest.mark.parametrize(
    ("age_ms", "when", "calendar", "seconds"),
    [
        (2_500, "2024-08-08 10:00:00", ALWAYS_OPEN, 2.5),
        (60_000, "2024-08-08 00:00:01", ALWAYS_OPEN, 60.0),  # midnight makes no feed younger
        (2_500, "2024-08-08 15:00:00", NEW_YORK, 2.5),
        (64_800_000, "2024-08-08 13:30:04", NEW_YORK, 4.0),
        (64_800_000, "2024-08-08 13:29:59", NEW_YORK, 0.0),
        (2_500, "2090-01-01 15:00:00", NEW_YORK, 2.5),
        (None, "2024-08-08 15:00:00", NEW_YORK, 0.0),
        (None, "2024-08-08 13:00:00", NEW_YORK, 0.0),
    ],
)
def test_age_of_a_feed_counts_while_its_market_is_open(
    age_ms: int | None, when: str, calendar: Calendar, seconds: float
) -> None:
    assert staleness([Feed(age_ms, True, calendar)], at(when)) == Sample(seconds)


def test_oldest_feed_of_what_is_held_counts_and_one_that_never_spoke_has_no_age() -> None:
    young, old = Feed(1_000, True, ALWAYS_OPEN), Feed(5_000, True, ALWAYS_OPEN)
    unheld, dumb = Feed(90_000, False, ALWAYS_OPEN), Feed(None, True, ALWAYS_OPEN)

    assert staleness([young, old, unheld], START_NS) == Sample(5.0)
    assert staleness([unheld, Feed(None, False, ALWAYS_OPEN)], START_NS) == Sample(0.0)
    assert staleness([], START_NS) == Sample(0.0)
    assert staleness([old, dumb], START_NS) == Sample(5.0)


def test_feed_of_a_negative_age_is_refused() -> None:
    with pytest.raises(ValueError, match=f"was -1 ms at {START_NS}"):
        staleness([Feed(-1, True, ALWAYS_OPEN)], START_NS)


# --- a venue's answers ---

LATENCY = VenueLatencyParams(limit_ms=1_000, orders=3, min_orders=2, window_ms=60_000)
REJECTS = RejectRateParams(limit=0.4, orders=4, min_orders=2, window_ms=60_000)


class Venue:
    """Orders that are sent and answered."""

    def __init__(self) -> None:
        self.answers, self.now, self.count = VenueAnswers(), START_NS, 0

    def say(self, order_id: str, state: OrderState, reason: str = "") -> None:
        self.answers.take(build.order_event(order_id=order_id, state=state, reason=reason, ts_event=self.now))

    def send(self) -> str:
        self.count += 1
        self.say(f"ef{self.count}", OrderState.PENDING_NEW)
        return f"ef{self.count}"

    def answer(self, after_ms: int, state: OrderState = OrderState.ACCEPTED, reason: str = "") -> None:
        order_id = self.send()
        self.now += after_ms * MS
        self.say(order_id, state, reason)

    def latency(self) -> Sample:
        return self.answers.latency(self.now, LATENCY, LATENCY.limit_ms)

    def rejected(self) -> Sample:
        return self.answers.rejected(self.now, REJECTS)


def test_latency_is_the_median_of_the_last_answers() -> None:
    venue = Venue()
    venue.answer(900)

    assert venue.latency() == Sample(None, enough=False)
    venue.answer(100)
    assert venue.latency() == Sample(500.0)
    venue.answer(200)
    assert venue.latency() == Sample(200.0)
    venue.answer(300)
    assert venue.latency() == Sample(200.0)


@pytest.mark.parametrize(
    "state", [s for s in OrderState if s not in {"PENDING_NEW", "PENDING_CANCEL", "UNKNOWN", "DENIED"}]
)
def test_first_word_of_the_venue_is_the_answer(state: str) -> None:
    venue = Venue()
    venue.answer(10, OrderState(state))
    venue.answer(30, OrderState(state))

    venue.say("ef2", OrderState.FILLED)

    assert venue.latency() == Sample(20.0)
    assert len(venue.answers.answers) == 2


def test_order_that_was_never_sent_and_one_from_before_count_nowhere() -> None:
    venue = Venue()
    venue.answer(10_000, OrderState.DENIED)
    venue.say("older", OrderState.ACCEPTED)

    assert venue.answers == VenueAnswers()


def test_venue_that_is_silent_is_slow() -> None:
    venue = Venue()
    venue.answer(10)
    venue.answer(10)
    order_id = venue.send()
    venue.now += 400 * MS
    venue.say(order_id, OrderState.UNKNOWN)

    assert venue.latency() == Sample(400.0)
    venue.now += 4_000 * MS
    assert venue.latency() == Sample(4_400.0)


def test_one_silent_order_is_enough_once_it_waits_beyond_the_limit() -> None:
    venue = Venue()
    venue.send()

    venue.now += 1_000 * MS
    assert venue.latency() == Sample(None, enough=False)
    venue.now += MS
    assert venue.latency() == Sample(1_001.0)


def test_answers_are_forgotten_with_time() -> None:
    venue = Venue()
    venue.answer(10, OrderState.REJECTED)
    venue.answer(10, OrderState.REJECTED)
    venue.now += 59_990 * MS
    assert venue.rejected() == Sample(1.0)
    venue.now += 1

    assert venue.latency() == Sample(None, enough=False)
    assert venue.rejected() == Sample(None, enough=False)


def test_reject_rate_is_of_the_last_answered_orders() -> None:
    venue = Venue()
    venue.answer(10, OrderState.REJECTED, "-2010 insufficient balance")

    assert venue.rejected() == Sample(None, enough=False)
    venue.answer(10)
    assert venue.rejected() == Sample(0.5)
    for _ in range(3):
        venue.answer(10)
    assert venue.rejected() == Sample(0.0)


def test_post_only_order_that_would_have_traded_is_no_refusal() -> None:
    venue = Venue()
    venue.answer(10, OrderState.REJECTED, f"{WOULD_TAKE} -2010 Order would immediately match and take.")
    venue.answer(10)

    assert venue.rejected() == Sample(0.0)
    assert observers._WOULD_TAKE == WOULD_TAKE


def test_answer_stamped_before_its_order_took_no_time() -> None:
    venue = Venue()
    venue.answer(-500)

    assert [answer.latency_ms for answer in venue.answers.answers] == [0.0]


def test_no_more_answers_are_kept_than_parameters_can_ask_for() -> None:
    venue = Venue()
    for _ in range(250):
        venue.answer(1)

    assert len(venue.answers.answers) == 200
    assert VenueLatencyParams(orders=len(venue.answers.answers)).orders == 200
    venue.answers.forget()
    assert venue.answers == VenueAnswers()


# --- losses in a row ---


class Account:
    """Fills of one account."""

    def __init__(self, memory_ms: int = 3_600_000) -> None:
        self.run, self.now, self.params = LosingRun(), START_NS, ConsecutiveLossesParams(memory_ms=memory_ms)

    def fill(self, quantity: str, price: str, fee: str = "0", asset: str = "USDT", **more: Any) -> Decimal | None:
        signed = Decimal(quantity)
        rate = more.pop("rate", None)
        fill = build.fill(
            side="buy" if signed > 0 else "sell",
            quantity=abs(signed),
            price=Decimal(price),
            fee=Decimal(fee),
            fee_asset=asset,
            ts_event=self.now,
            **more,
        )
        return self.run.take(fill, LOT, rate, self.params)

    def lose(self) -> None:
        self.fill("1", "100")
        assert self.fill("-1", "99") == -1

    @property
    def losses(self) -> float | None:
        return self.run.sample(self.now, self.params).value


def test_position_counts_once_however_many_fills_close_it() -> None:
    account = Account()
    assert account.fill("2", "100") is None
    assert account.fill("2", "110") is None
    assert account.fill("-1", "90") is None
    assert account.fill("-2", "95") is None
    assert account.losses == 0

    assert account.fill("-1", "120") == -20
    assert account.losses == 1


def test_fees_make_a_gain_a_loss() -> None:
    account = Account()
    account.fill("1", "100", fee="0.6")

    assert account.fill("-1", "101", fee="0.6") == Decimal("-0.2")
    assert account.losses == 1


def test_short_position_earns_when_it_comes_back_cheaper() -> None:
    account = Account()
    account.fill("-1", "100")

    assert account.fill("1", "99") == 1
    assert account.losses == 0


def test_what_lost_nothing_ends_the_run() -> None:
    account = Account()
    account.lose()
    account.lose()
    assert account.losses == 2

    account.fill("1", "100")
    assert account.fill("-1", "100") == 0
    assert account.losses == 0


def test_losses_of_all_instruments_are_one_run() -> None:
    account = Account()
    account.lose()
    account.fill("1", "100", instrument="ETH/USDT@sim")
    account.fill("1", "100")
    account.fill("-1", "90", instrument="ETH/USDT@sim")

    assert account.losses == 2


def test_fill_that_turns_a_position_around_ends_one_and_begins_the_next() -> None:
    account = Account()
    account.fill("1", "100")

    assert account.fill("-3", "90", fee="3") == -11  # a third of the fee closed
    assert account.fill("2", "80") == 18  # 20, less the two thirds that opened it
    assert account.losses == 0


def test_fee_taken_from_what_was_bought_leaves_a_rest_that_is_flat() -> None:
    account = Account()
    account.fill("1", "100", fee="0.00105", asset="BTC")

    assert account.fill("-0.9989", "100") == Decimal("-0.105")
    assert account.run.trips["BTC/USDT@sim"].held == Decimal("0.00005")
    assert account.fill("-1", "200") is None  # a rest that turns around is no position
    assert account.fill("1", "200") == Decimal("0.005")  # it was bought at 100


def test_fee_in_a_third_asset_counts_at_its_rate() -> None:
    account = Account()
    account.fill("1", "100", fee="0.01", asset="BNB", rate=Decimal(500))

    assert account.fill("-1", "104") == -1
    assert account.losses == 1


def test_fee_that_nothing_tells_the_worth_of_ends_no_run() -> None:
    account = Account()
    account.lose()
    account.fill("1", "100", fee="0.01", asset="BNB")
    account.fill("-1", "104")
    assert account.losses == 1

    account.fill("1", "100", fee="0.01", asset="BNB")
    account.fill("-1", "99")
    assert account.losses == 2
    account.fill("1", "100")
    account.fill("-1", "104")
    assert account.losses == 0


def test_fee_of_unknown_worth_that_turned_a_position_is_of_both() -> None:
    account = Account()
    account.lose()
    account.fill("1", "100")
    account.fill("-2", "104", fee="0.01", asset="BNB")
    assert account.losses == 1

    assert account.fill("1", "100") == 4
    assert account.losses == 1


def test_losses_are_forgotten_with_time() -> None:
    account = Account(memory_ms=1_000)
    account.lose()
    account.lose()
    account.now += 1_000 * MS
    assert account.losses == 2

    account.now += 1
    assert account.losses == 0
    account.lose()
    assert account.losses == 1
    account.run.forget()
    assert account.losses == 0


@pytest.mark.parametrize(
    ("changes", "lot"),
    [
        ({"price": Decimal("NaN")}, LOT),
        ({"fee": Decimal("Infinity")}, LOT),
        ({"quantity": Decimal(0)}, LOT),
        ({"price": Decimal(-1)}, LOT),
        ({}, Decimal(0)),
    ],
)
def test_fill_that_is_no_fill_is_refused_and_counts_nothing(changes: dict[str, Decimal], lot: Decimal) -> None:
    run = LosingRun()

    with pytest.raises(ValueError, match="fill 1 must be of finite, positive numbers: quantity"):
        run.take(build.fill(**changes), lot, None, ConsecutiveLossesParams())

    assert run == LosingRun()
