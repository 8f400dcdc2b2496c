"""Circuit breakers: when one opens, how it heals, what it asks for meanwhile. Knows no account, order or stream.

CLOSED -> OPEN on a breach. OPEN -> HALF_OPEN after the cool-down, once the observation is back well inside its limit.
HALF_OPEN -> CLOSED after a probation without a breach, HALF_OPEN -> OPEN at once with one. What is held against the
limits comes from `edgefleet.risk.observers` or from the caller. Time is market time, as the caller says it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final, Literal

import msgspec

from edgefleet.clock import NS_PER_MS
from edgefleet.messages import BreakerAction, BreakerMoved, BreakerState
from edgefleet.params.schema.breakers import RecoveryParams, SwitchParams

BreakerName = Literal[
    "drawdown", "daily_loss", "var", "venue_latency", "staleness", "reject_rate", "consecutive_losses"
]

UNITS: Final[dict[BreakerName, str]] = {
    "drawdown": "fraction of peak equity",
    "daily_loss": "fraction of equity at the start of the session",
    "var": "fraction of equity, 95 %, one day",
    "venue_latency": "ms",
    "staleness": "s",
    "reject_rate": "fraction of answered orders",
    "consecutive_losses": "losses",
}

_SEVERITY: Final[dict[BreakerAction, int]] = {"none": 0, "reduce": 1, "halt": 2, "flatten": 3}
_STAYING: Final = frozenset({"halt", "flatten"})  # only a person ends these


class Breaker(msgspec.Struct, kw_only=True):
    """One breaker, as plain values that survive msgpack."""

    name: BreakerName
    scope: str = ""  # a venue, "venue|quote" of an account, or "" for the whole fleet
    state: BreakerState = "CLOSED"
    since: int = 0  # ns, market time of the last transition; 0 before the first
    limit: float | None = None  # of the last observation; None before the first
    observed: float | None = None  # by the last observation; None where it could not be told or judged
    action: BreakerAction = "none"  # of the opening, until it is CLOSED again
    cool_down_ms: int = 0  # of the opening, until it is CLOSED again


class Move(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One transition and its numbers, as `BreakerMoved` tells them."""

    breaker: BreakerName
    scope: str
    before: BreakerState
    after: BreakerState
    limit: float
    observed: float | None
    unit: str
    action: BreakerAction
    cool_down_ms: int
    reason: str
    ts_event: int

    def told(self, *, ts_init: int, trace_id: str, cause: str, config: str) -> BreakerMoved:
        """Return the message that tells of it."""
        numbers = msgspec.structs.asdict(self)
        return BreakerMoved(**numbers, ts_init=ts_init, trace_id=trace_id, cause=cause, config=config)


def breaker_of(breakers: dict[str, Breaker], name: BreakerName, scope: str = "") -> Breaker:
    """Return the breaker of that name and scope, made CLOSED where there is none."""
    key = f"{name}|{scope}"
    found = breakers.get(key)
    if found is None:
        found = breakers[key] = Breaker(name=name, scope=scope)
    return found


def observe(
    breaker: Breaker,
    value: float | None,
    limit: float,
    ts: int,
    switch: SwitchParams,
    recovery: RecoveryParams,
    *,
    source: str = "",
    enough: bool = True,
) -> Move | None:
    """Hold `value` against `limit` at `ts` and return the transition that follows, None where there is none.

    One observation makes one transition at most, however much time has passed since the last.

    Parameters
    ----------
    value
        In the breaker's unit. None and what is not finite open: a risk that cannot be told is not borne.
    limit
        In the same unit; a larger value is a breach, an equal one is not.
    ts
        Market time, ns. Time that goes back heals nothing.
    switch
        Whether the breaker is on, and its action. A breaker that is OPEN keeps the action it opened with; a more
        severe one is taken over, and told, with the next breach. Switched off it is DISABLED, except that what only a
        person may end stays OPEN until one does.
    source
        The input that `value` was made of, for the reason; the breaker's name where absent.
    enough
        False: too little has happened to judge by, whatever `value` is. That opens nothing, and lets time heal.

    Raises
    ------
    ValueError
        If `limit` is no finite number >= 0. The breaker is as it was.
    """
    if not 0 <= limit < math.inf:
        raise ValueError(
            f"limit of {breaker.name} must be finite and not negative, was {limit!r} beside an observed {value!r}"
        )
    known = value if value is not None and math.isfinite(value) else None
    breaker.limit, breaker.observed = limit, known if enough else None
    breaches = enough and not (known is not None and known <= limit)
    if not switch.enabled:
        if breaker.state == "DISABLED" or _is_stuck(breaker):
            return None
        return _move(breaker, "DISABLED", ts, "switched off")
    if breaches:
        return _breached(breaker, value, limit, ts, switch, recovery, source or breaker.name)
    if breaker.state == "DISABLED":
        return _move(breaker, "CLOSED", ts, "switched on")
    if breaker.state == "HALF_OPEN" and ts - breaker.since >= recovery.probation_ms * NS_PER_MS:
        return _move(breaker, "CLOSED", ts, f"no breach for {recovery.probation_ms} ms")
    if breaker.state == "OPEN" and not _is_stuck(breaker) and ts - breaker.since >= breaker.cool_down_ms * NS_PER_MS:
        if not enough:
            return _move(breaker, "HALF_OPEN", ts, "too little happens to judge by")
        if known is not None and known <= recovery.reset_fraction * limit:
            return _move(breaker, "HALF_OPEN", ts, f"back inside {recovery.reset_fraction:g} of the limit")
    return None


def reset(breaker: Breaker, ts: int, *, by: str, reason: str) -> Move | None:
    """Let a person end what is OPEN: return its transition to HALF_OPEN, None where it is not OPEN.

    Positions are held back for a probation still, and a breach opens it again at once: what is measured from a moment
    (drawdown, daily loss, losses in a row) must be measured anew from here, which `forget` of the observers does.
    """
    return _move(breaker, "HALF_OPEN", ts, f"reset by {by}: {reason}") if breaker.state == "OPEN" else None


def scale(breakers: Iterable[Breaker], half_open_share: float) -> float:
    """Return the share of their size that positions may be enlarged to: 1, `half_open_share`, or 0.

    0 where one is OPEN, the share where one is HALF_OPEN; those whose action is `none` hold nothing back.
    """
    states = {breaker.state for breaker in breakers if breaker.action != "none"}
    return 0.0 if "OPEN" in states else half_open_share if "HALF_OPEN" in states else 1.0


def _breached(
    breaker: Breaker,
    value: float | None,
    limit: float,
    ts: int,
    switch: SwitchParams,
    recovery: RecoveryParams,
    source: str,
) -> Move | None:
    if breaker.state == "OPEN":
        if not _SEVERITY[switch.action] > _SEVERITY[breaker.action]:
            return None
        cool_down_ms = breaker.cool_down_ms
    elif breaker.state == "HALF_OPEN":
        cool_down_ms = min(max(2 * breaker.cool_down_ms, recovery.cool_down_ms), recovery.max_cool_down_ms)
    else:
        cool_down_ms = recovery.cool_down_ms
    breaker.action, breaker.cool_down_ms = switch.action, cool_down_ms
    told = f"{value!r} is above {limit!r}" if breaker.observed is not None else f"is no finite number but {value!r}"
    return _move(breaker, "OPEN", ts, f"{source} {told}")


def _is_stuck(breaker: Breaker) -> bool:
    return breaker.state == "OPEN" and breaker.action in _STAYING


def _move(breaker: Breaker, after: BreakerState, ts: int, reason: str) -> Move:
    before = breaker.state
    breaker.state, breaker.since = after, ts
    if after in ("CLOSED", "DISABLED"):
        breaker.action, breaker.cool_down_ms = "none", 0
    assert breaker.limit is not None  # only an observation begins a way out of CLOSED
    return Move(
        breaker=breaker.name,
        scope=breaker.scope,
        before=before,
        after=after,
        limit=breaker.limit,
        observed=breaker.observed,
        unit=UNITS[breaker.name],
        action=breaker.action,
        cool_down_ms=breaker.cool_down_ms,
        reason=reason,
        ts_event=ts,
    )
