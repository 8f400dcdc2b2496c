"""Who may trade, and since when. Written by the latch Function, operators and risk's circuit breakers."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

BreakerState = Literal["CLOSED", "OPEN", "HALF_OPEN", "DISABLED"]
BreakerAction = Literal["none", "reduce", "halt", "flatten"]  # in the order of their severity

SESSION_START: Final = "edgefleet up"  # `TradingState.by` at a session's start: it is no person's word
FEEDS: Final = "feeds"  # `TradingState.by` of the hold that the executor takes, and lets go, for a feed that is silent


class Session(msgspec.Struct, frozen=True, kw_only=True, gc=False, tag="session.v1"):
    """A run of the fleet begins. Sent by the supervisor on `control` before any service starts."""

    session: str
    mode: Literal["demo", "paper", "live", "replay"]
    venue: str  # where it trades; of several, their names separated by commas
    account: str
    symbols: tuple[str, ...]
    first_ids: dict[str, str]  # per stream: the last id before the session ("0-0" where it was empty)
    machine: dict[str, str]  # Python, CPU, lock file: what "equal digests" presupposes
    instruments: tuple[str, ...] = ()  # SYMBOL@venue, what it trades; see `traded`
    ts_event: int
    ts_init: int

    @property
    def traded(self) -> tuple[str, ...]:
        """Return what it trades, as SYMBOL@venue; an earlier version told symbols and one venue apart."""
        return self.instruments or tuple(f"{symbol}@{self.venue}" for symbol in self.symbols)


class TradingState(msgspec.Struct, frozen=True, kw_only=True, gc=False, tag="trading_state.v1"):
    """The latch moved. Sent by the latch Function on `control`.

    Only a person loosens it, with one exception: REDUCING that was taken by `FEEDS` is let go by `FEEDS`.
    """

    state: Literal["ACTIVE", "REDUCING", "HALTED"]
    reason: str
    by: str  # who: a service's name, "mode", or a person
    ts_event: int
    ts_init: int


class Command(msgspec.Struct, frozen=True, kw_only=True, gc=False, tag="command.v1"):
    """Somebody asks: an operator, by the CLI or the monitor's API, or risk, whose breaker opened. Sent on `control`.

    The executor carries it out: `halt` and `reduce` move the latch, `flatten` aims every position at zero. `resume` is
    told beside the latch that a person sets to ACTIVE, which is silent where it was so before: breakers hear it.
    """

    verb: Literal["flatten", "reconcile", "halt", "reduce", "resume"]
    reason: str
    by: str
    ts_event: int
    ts_init: int


class NightlyVar(msgspec.Struct, frozen=True, kw_only=True, gc=False, tag="nightly_var.v1"):
    """What a night's back-test says of an instrument's next day. Sent by features on `control` each night.

    Risk takes no day's deviation of the instrument for less than this.
    """

    instrument: str
    method: str  # that says most, of those which pass; where none does, of all
    passes: bool  # neither its coverage nor its independence is rejected
    var: float  # loss over one interval that is not exceeded with `level`, a fraction, positive
    level: float  # probability with which it is not exceeded
    interval_ms: int  # of a bar
    deviation: float  # of a day's return: of the normal distribution that says as much
    returns: int  # that the bars gave
    ts_event: int  # ns, end of the last bar that may be in it
    ts_init: int
    trace_id: str


class BreakerMoved(msgspec.Struct, frozen=True, kw_only=True, gc=False, tag="breaker.v1"):
    """A circuit breaker changed its state. Sent by risk on `control`, once per transition.

    `before` is `after` only where a breaker that is OPEN, and still in breach, took a more severe action.
    """

    breaker: str  # drawdown, daily_loss, var, venue_latency, staleness, reject_rate or consecutive_losses
    scope: str  # what it watches: a venue, "venue|quote" of an account, or "" for the whole fleet
    before: BreakerState  # its state until now
    after: BreakerState  # its state from now on
    limit: float  # in `unit`; a larger value opens
    observed: float | None  # in `unit`; None where it could not be told, which opens, or too little happened to judge
    unit: str  # of limit and observed
    action: BreakerAction  # what it asks for while OPEN; "none" once it is CLOSED or DISABLED
    cool_down_ms: int  # ms of market time that its last opening lasts at least; 0 once it is CLOSED or DISABLED
    reason: str
    ts_event: int  # ns since the epoch, market time
    ts_init: int
    trace_id: str
    cause: str
    config: str
