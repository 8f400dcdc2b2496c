"""How risk says what it decided: verdicts, transitions of breakers, and what it asks of the executor."""

from __future__ import annotations

import hashlib
from decimal import Decimal
from typing import Literal

from edgefleet.messages import Approved, Beat, Command, Ensemble, Refused
from edgefleet.risk.breakers import Move
from edgefleet.risk.decide import Yes
from edgefleet.risk.plan import RiskPlan
from edgefleet.risk.state import Desk, Opinion, RiskState
from edgefleet.risk.verdict import No
from edgefleet.stage import Input, Output
from edgefleet.units import to_decimal

CONTROL = "control"
TARGETS = "targets"
REFUSALS = "refusals"

_CENT = Decimal("0.01")


def target_id(account: str, instrument: str, cause: str) -> str:
    """Return the name of the target that `cause` led to: the same decision has the same name after any crash."""
    return "t" + hashlib.sha256(f"{account}|{instrument}|{cause}".encode()).hexdigest()[:20]


def refused(verdict: No, desk: Desk, entry: Input, cause: Ensemble | Beat, plan: RiskPlan) -> Refused:
    opinion = desk.opinion
    return Refused(
        by="risk",
        target_id=None,
        account=plan.account,
        instrument=desk.instrument,
        reason=verdict.reason,
        limit=verdict.limit,
        observed=verdict.observed,
        input=verdict.input,
        edge_bps=opinion.edge_bps if opinion is not None and opinion.reason is None else None,
        detail=verdict.detail,
        ts_event=cause.ts_event,
        ts_init=cause.ts_init,
        trace_id=cause.trace_id,
        cause=entry.cause,
        edge_cause=desk.opinion_cause,
        config=plan.hash,
    )


def approved(
    verdict: Yes, state: RiskState, desk: Desk, entry: Input, cause: Ensemble | Beat, plan: RiskPlan, *, grows: bool
) -> Approved:
    params = plan.params.verdicts
    opinion = desk.opinion or Opinion()
    numbers = verdict.numbers()
    return Approved(
        target_id=target_id(plan.account, desk.instrument, entry.cause),
        account=plan.account,
        instrument=desk.instrument,
        quantity=verdict.quantity,
        expires_at=state.time + plan.ttl_ns,
        urgency=verdict.urgency,
        algorithm=params.entry_algorithm if grows else params.exit_algorithm,
        price=to_decimal(numbers.mid, verdict.view.ground.terms.rules.tick_size / 2),
        edge_bps=opinion.edge_bps,
        confidence=opinion.confidence,
        kelly_fraction=numbers.kelly,
        variance=numbers.variance,
        var_fraction=numbers.var,
        equity=to_decimal(numbers.equity, _CENT),
        binding=verdict.binding,
        head_room=numbers.head_room,
        ts_event=cause.ts_event,
        ts_init=cause.ts_init,
        trace_id=cause.trace_id,
        cause=entry.cause,
        edge_cause=desk.opinion_cause,
        config=plan.hash,
    )


def opened_or_moved(move: Move, state: RiskState, entry: Input, beat: Beat, plan: RiskPlan) -> list[Output]:
    """Return the message of a transition, and of one that opens what is asked of the executor."""
    outputs = [moved_output(move, entry, beat.ts_init, beat.trace_id, plan)]
    if move.after != "OPEN":
        return outputs
    reason = f"breaker {move.breaker} opened: {move.reason}"
    if move.action == "halt":
        outputs.append(ask("halt", reason, beat))
    elif move.action == "flatten":
        state.watch.flattening = reason
        outputs += [ask("reduce", reason, beat), ask("flatten", reason, beat)]
    return outputs


def moved_output(move: Move, entry: Input, ts_init: int, trace_id: str, plan: RiskPlan) -> Output:
    return Output(CONTROL, move.told(ts_init=ts_init, trace_id=trace_id, cause=entry.cause, config=plan.hash))


def ask(verb: Literal["halt", "reduce", "flatten"], reason: str, beat: Beat) -> Output:
    return Output(CONTROL, Command(verb=verb, reason=reason, by="risk", ts_event=beat.ts_event, ts_init=beat.ts_init))
