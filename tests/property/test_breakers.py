"""Whatever is observed, in whatever order and with whatever restarts, breakers keep their promises."""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal
from statistics import median
from typing import Any, NamedTuple

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from edgefleet.book.sessions import ALWAYS_OPEN, Calendar, calendar_named
from edgefleet.ledger.lots import Lot, move
from edgefleet.messages import BreakerAction, Fill, OrderEvent, OrderState, decode, encode
from edgefleet.params.schema.breakers import (
    ConsecutiveLossesParams,
    RecoveryParams,
    RejectRateParams,
    SwitchParams,
    VenueLatencyParams,
)
from edgefleet.risk.breakers import Breaker, Move, observe, reset, scale
from edgefleet.risk.observers import DayLoss, LosingRun, Sample, VenueAnswers
from edgefleet.testing import build
from edgefleet.testing.clock import START_NS

MS, SECOND = 1_000_000, 1_000_000_000
LIMIT = 1.0
RECOVERY = RecoveryParams(
    cool_down_ms=5_000, max_cool_down_ms=12_000, reset_fraction=0.6, probation_ms=4_000, half_open_share=0.25
)
PARAMS: dict[str, Any] = {"deadline": None}


class Seen(NamedTuple):
    """One observation, or a person's reset."""

    gap_ms: int
    value: float | None
    enough: bool = True
    enabled: bool = True
    action: BreakerAction = "reduce"
    reset: bool = False


values = st.one_of(st.sampled_from([0.0, 0.6, 1.0, 1.0000001, 2.0, None, math.nan, math.inf]), st.floats(-1, 3))
gaps = st.one_of(st.integers(0, 6_000), st.sampled_from([0, 4_000, 5_000, 10_000, 12_000, 86_400_000]))
actions: st.SearchStrategy[BreakerAction] = st.sampled_from(["none", "reduce", "halt", "flatten"])
mostly = st.sampled_from([True, True, True, False])
anything = st.builds(Seen, gaps, values, mostly, mostly, actions, st.sampled_from([False, False, False, True]))
plain = st.builds(Seen, gaps, values, mostly)


class Step(NamedTuple):
    """An observation with the breaker before and after it."""

    seen: Seen
    ts: int
    before: Breaker
    move: Move | None
    after: Breaker


def copied(breaker: Breaker) -> Breaker:
    return msgspec.msgpack.decode(msgspec.msgpack.encode(breaker), type=Breaker)


def run(
    plan: Sequence[Seen], *, limit: float = LIMIT, start: int = START_NS, restarts: frozenset[int] = frozenset()
) -> list[Step]:
    breaker, ts, steps = Breaker(name="var"), start, []
    for number, seen in enumerate(plan):
        if number in restarts:
            breaker = copied(breaker)
        ts += seen.gap_ms * MS
        before = copied(breaker)
        steps.append(Step(seen, ts, before, apply(breaker, seen, ts, limit), copied(breaker)))
    return steps


def apply(breaker: Breaker, seen: Seen, ts: int, limit: float) -> Move | None:
    if seen.reset:
        return reset(breaker, ts, by="ann", reason="a test")
    switch = SwitchParams(enabled=seen.enabled, action=seen.action)
    return observe(breaker, seen.value, limit, ts, switch, RECOVERY, enough=seen.enough)


def breaches(seen: Seen, limit: float = LIMIT) -> bool:
    return seen.enough and (seen.value is None or not math.isfinite(seen.value) or seen.value > limit)


def definition(step: Step) -> str:
    """Return the state that must follow, read off the rules and not off the code."""
    seen, breaker = step.seen, step.before
    waited_ms = (step.ts - breaker.since) // MS
    stays = breaker.state == "OPEN" and breaker.action in ("halt", "flatten")
    calm = not seen.enough or (not breaches(seen) and seen.value is not None and seen.value <= 0.6 * LIMIT)
    if seen.reset:
        return "HALF_OPEN" if breaker.state == "OPEN" else breaker.state
    if not seen.enabled:
        return "OPEN" if stays else "DISABLED"
    if breaches(seen):
        return "OPEN"
    if breaker.state == "OPEN":
        return "HALF_OPEN" if calm and not stays and waited_ms >= breaker.cool_down_ms else "OPEN"
    if breaker.state == "HALF_OPEN":
        return "CLOSED" if waited_ms >= 4_000 else "HALF_OPEN"
    return "CLOSED"


@given(st.lists(anything, max_size=40))
@settings(max_examples=400, **PARAMS)
def test_every_step_is_the_one_that_the_rules_name(plan: list[Seen]) -> None:
    for step in run(plan):
        assert step.after.state == definition(step)


@given(st.lists(anything, max_size=40))
@settings(max_examples=400, **PARAMS)
def test_a_breach_never_leaves_it_closed_and_no_way_leads_from_open_to_closed(plan: list[Seen]) -> None:
    for step in run(plan):
        if not step.seen.reset and step.seen.enabled and breaches(step.seen):
            assert step.after.state == "OPEN"
        assert (step.before.state, step.after.state) != ("OPEN", "CLOSED")
        assert step.after.cool_down_ms <= 12_000


@given(st.lists(anything, max_size=40))
@settings(max_examples=400, **PARAMS)
def test_each_transition_is_told_once_with_numbers_that_bear_it_out(plan: list[Seen]) -> None:
    for seen, ts, before, told, after in run(plan):
        assert (told is None) == ((before.state, before.action) == (after.state, after.action))
        if told is None:
            continue
        assert (told.before, told.after, told.ts_event) == (before.state, after.state, ts)
        assert (told.action, told.cool_down_ms, told.limit) == (after.action, after.cool_down_ms, LIMIT)
        if told.after == "OPEN":
            assert (
                told.observed == seen.value if told.observed is not None else not math.isfinite(seen.value or math.nan)
            )
            assert told.observed is None or told.observed > told.limit
        elif told.after != "DISABLED" and not seen.reset:
            assert told.observed is None or told.observed <= told.limit
        message = told.told(ts_init=1, trace_id="t", cause="beats/1-0", config="0" * 64)
        assert decode("breaker.v1", encode(message)) == message


@given(st.lists(anything, max_size=40))
@settings(max_examples=400, **PARAMS)
def test_what_halts_is_ended_by_a_person_alone(plan: list[Seen]) -> None:
    for step in run(plan):
        if step.before.state == "OPEN" and step.before.action in ("halt", "flatten") and not step.seen.reset:
            assert step.after.state == "OPEN"
            assert step.after.action in ("halt", "flatten")


@given(st.lists(anything, max_size=40), st.frozensets(st.integers(0, 39), max_size=10))
@settings(max_examples=200, **PARAMS)
def test_a_restart_at_any_moment_changes_nothing(plan: list[Seen], restarts: frozenset[int]) -> None:
    whole, restarted = run(plan), run(plan, restarts=restarts)

    assert [(step.move, step.after) for step in restarted] == [(step.move, step.after) for step in whole]


@given(st.lists(plain, max_size=40), st.floats(0, 2), st.floats(0, 2))
@settings(max_examples=400, **PARAMS)
def test_a_lower_limit_never_opens_later(plan: list[Seen], one: float, other: float) -> None:
    def first_open(limit: float) -> float:
        return next((step.ts for step in run(plan, limit=limit) if step.after.state == "OPEN"), math.inf)

    assert first_open(min(one, other)) <= first_open(max(one, other))


@given(st.lists(anything, max_size=40), st.integers(0, 10**18))
@settings(max_examples=200, **PARAMS)
def test_only_differences_of_time_matter(plan: list[Seen], start: int) -> None:
    here, there = run(plan), run(plan, start=start)

    for one, other in zip(here, there, strict=True):
        assert one.after.state == other.after.state
        assert (one.move is None) == (other.move is None)
        if one.move is not None and other.move is not None:
            assert msgspec.structs.replace(other.move, ts_event=one.move.ts_event) == one.move


@given(st.lists(anything, max_size=20), st.lists(anything, max_size=20))
@settings(max_examples=200, **PARAMS)
def test_scale_is_nothing_the_share_or_all(one: list[Seen], other: list[Seen]) -> None:
    breakers = [steps[-1].after for steps in (run(one), run(other)) if steps]
    holding = {breaker.state for breaker in breakers if breaker.action != "none"}

    share = scale(breakers, 0.25)

    assert share in (0.0, 0.25, 1.0)
    assert (share == 0.0) == ("OPEN" in holding)
    assert (share == 1.0) == (not holding & {"OPEN", "HALF_OPEN"})


# --- observers against their definitions ---


class Marked(NamedTuple):
    """Equity at a time, after money came or went."""

    gap_s: int
    equity: float
    factor: float


marks = st.builds(
    Marked,
    st.one_of(st.integers(0, 4_000), st.integers(0, 90_000)),
    st.one_of(st.floats(1_000, 2_000), st.just(math.nan)),
    st.sampled_from([1.0, 1.0, 1.0, 1.1, 0.95]),
)


def base_by_definition(history: list[tuple[int, float, float]], calendar: Calendar) -> float | None:
    """The last finite equity before the session opened, else the first one since, times all factors since then."""
    ts = history[-1][0]
    session = calendar.session_of(ts) or calendar.session_before(ts)
    assert session is not None
    finite = [n for n, (_, equity, _) in enumerate(history) if math.isfinite(equity)]
    before = [n for n in finite if history[n][0] < session.open]
    if not finite:
        return None
    began = before[-1] if before else finite[0]
    return history[began][1] * math.prod(factor for _, _, factor in history[began + 1 :])


@given(st.lists(marks, min_size=1, max_size=40), st.sampled_from([ALWAYS_OPEN, calendar_named("XNYS")]))
@settings(max_examples=200, **PARAMS)
def test_daily_loss_is_its_definition(plan: list[Marked], calendar: Calendar) -> None:
    loss, ts, history = DayLoss(), START_NS, []
    for mark in plan:
        ts += mark.gap_s * SECOND
        loss.rescale(mark.factor)
        value, _ = loss.take(mark.equity, ts, calendar)
        loss = msgspec.msgpack.decode(msgspec.msgpack.encode(loss), type=DayLoss)
        history.append((ts, mark.equity, mark.factor))

        base = base_by_definition(history, calendar)

        assert value is not None
        if base is None or not math.isfinite(mark.equity):
            assert math.isnan(value)
        else:
            assert math.isclose(value, (base - mark.equity) / base, abs_tol=1e-9)


orders = st.tuples(st.integers(0, 3_000), st.integers(0, 7), st.sampled_from(list(OrderState)))
LATENCY = VenueLatencyParams(limit_ms=1_000, orders=4, min_orders=2, window_ms=8_000)
REJECTS = RejectRateParams(limit=0.4, orders=4, min_orders=2, window_ms=8_000)
SAID = frozenset(OrderState) - {"PENDING_NEW", "PENDING_CANCEL", "UNKNOWN", "DENIED"}


def answered(log: list[OrderEvent]) -> tuple[list[tuple[int, float, bool]], list[int]]:
    """Return (when, ms, rejected) of every answered order, and when those without an answer were sent."""
    found, waiting = [], []
    sent = [n for n, event in enumerate(log) if event.state is OrderState.PENDING_NEW]
    for n in sent:
        earlier = [event.state for event in log[:n] if event.order_id == log[n].order_id]
        pending = [state for state in earlier if state == "PENDING_NEW" or state == "DENIED" or state in SAID]
        if pending and pending[-1] == "PENDING_NEW":
            continue  # said twice
        later = [event for event in log[n + 1 :] if event.order_id == log[n].order_id]
        end = next((event for event in later if event.state in SAID or event.state is OrderState.DENIED), None)
        if end is None:
            waiting.append(log[n].ts_event)
        elif end.state is not OrderState.DENIED:
            found.append((end.ts_event, (end.ts_event - log[n].ts_event) / MS, end.state is OrderState.REJECTED))
    return found, waiting


@given(st.lists(orders, max_size=60))
@settings(max_examples=200, **PARAMS)
def test_answers_of_a_venue_are_their_definition(plan: list[tuple[int, int, OrderState]]) -> None:
    answers, ts, log = VenueAnswers(), START_NS, list[OrderEvent]()
    for gap_ms, number, state in plan:
        ts += gap_ms * MS
        log.append(build.order_event(order_id=f"ef{number}", state=state, ts_event=ts))
        answers.take(log[-1])
        answers = msgspec.msgpack.decode(msgspec.msgpack.encode(answers), type=VenueAnswers)
    found, waiting = answered(log)
    order_of = {when: n for n, when in enumerate(sorted({one[0] for one in found}))}
    assert sorted(order_of[answer.ts] for answer in answers.answers) == [order_of[a.ts] for a in answers.answers]
    told = [(answer.ts, answer.latency_ms, answer.rejected) for answer in answers.answers]
    assert sorted(told) == sorted(found)

    recent = [one for one in told[-4:] if ts - one[0] <= 8_000 * MS]
    oldest = (ts - min(waiting)) / MS if waiting else 0.0

    if len(recent) >= 2:
        assert answers.latency(ts, LATENCY, LATENCY.limit_ms) == Sample(max(median(one[1] for one in recent), oldest))
        assert answers.rejected(ts, REJECTS) == Sample(sum(one[2] for one in recent) / len(recent))
    else:
        assert answers.latency(ts, LATENCY, LATENCY.limit_ms) == (
            Sample(oldest) if oldest > 1_000 else Sample(None, enough=False)
        )
        assert answers.rejected(ts, REJECTS) == Sample(None, enough=False)


# Quantities that share a fee without rounding, so that what broke even is exactly 0.
trades = st.tuples(st.sampled_from([-4, -2, -1, 1, 2, 4]), st.integers(90, 110), st.integers(0, 3))
UNFORGETTING = ConsecutiveLossesParams(memory_ms=10**12)


def earned_by_lots(plan: Sequence[tuple[int, int, int]]) -> list[Decimal]:
    """Return what each position earned by the ledger's lots, first in, first out, with its share of the fees."""
    held: tuple[Lot, ...] = ()
    earned, ended = Decimal(0), []
    for quantity, price, fee in plan:
        before = sum((lot.quantity for lot in held), Decimal(0))
        held, realised = move(held, Decimal(quantity), Decimal(price), at=0, origin="")
        after = sum((lot.quantity for lot in held), Decimal(0))
        opening = abs(after) / abs(quantity) * fee if before * after < 0 else Decimal(0)
        earned += realised - (fee - opening)
        if before and before * after <= 0:
            ended.append(earned)
            earned = -opening
    return ended


def fill_of(quantity: int, price: int, fee: int) -> Fill:
    side = "buy" if quantity > 0 else "sell"
    return build.fill(side=side, quantity=Decimal(abs(quantity)), price=Decimal(price), fee=Decimal(fee))


@given(st.lists(trades, max_size=40))
@settings(max_examples=300, **PARAMS)
def test_losses_in_a_row_are_those_of_the_ledger(plan: list[tuple[int, int, int]]) -> None:
    account, earned = LosingRun(), []
    for trade in plan:
        ended = account.take(fill_of(*trade), Decimal("0.001"), None, UNFORGETTING)
        account = msgspec.msgpack.decode(msgspec.msgpack.encode(account), type=LosingRun)
        if ended is not None:
            earned.append(ended)

    expected = earned_by_lots(plan)
    losing = next((n for n, one in enumerate(reversed(expected)) if one >= 0), len(expected))

    assert earned == expected
    assert account.sample(START_NS, UNFORGETTING) == Sample(float(losing))
