"""What risk decided. Only the risk stage makes an `Approved`; the executor accepts nothing else."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import Literal

import msgspec


class Refusal(StrEnum):
    """Why something was not done: a word a dashboard can group by."""

    NOT_FINITE = "NOT_FINITE"  # an input was NaN or infinite; `input` names it
    NOT_WARM = "NOT_WARM"  # too few returns to know the variance
    NO_MODELS = "NO_MODELS"  # the ensemble chose nobody
    NO_ACCOUNT = "NO_ACCOUNT"  # the account's balances are not known yet
    ACCOUNT_ASSET = "ACCOUNT_ASSET"  # what the instrument would trade is what the account counts in
    NO_TOUCH = "NO_TOUCH"  # no price of the instrument is known
    LOW_CONFIDENCE = "LOW_CONFIDENCE"
    EDGE_BELOW_COST = "EDGE_BELOW_COST"
    BELOW_MINIMUM = "BELOW_MINIMUM"  # smaller than the venue's smallest order
    NOT_SHORTABLE = "NOT_SHORTABLE"
    POSITION_LIMIT = "POSITION_LIMIT"
    LEVERAGE_LIMIT = "LEVERAGE_LIMIT"
    VAR_LIMIT = "VAR_LIMIT"
    ES_LIMIT = "ES_LIMIT"
    CORRELATION_LIMIT = "CORRELATION_LIMIT"  # too much of what moves together
    BUDGET_LIMIT = "BUDGET_LIMIT"  # the instrument's share of the allocation
    ORDER_LIMIT = "ORDER_LIMIT"  # one change too large, or too many of them
    PRICE_COLLAR = "PRICE_COLLAR"  # the price is too far from where it was
    VOLATILITY = "VOLATILITY"  # prices move far more than they usually do
    ALREADY_HELD = "ALREADY_HELD"  # what is held elsewhere carries this edge's risk already
    BREAKER = "BREAKER"  # a circuit breaker is open
    DRAWDOWN = "DRAWDOWN"
    STALE_DATA = "STALE_DATA"
    QUARANTINED = "QUARANTINED"  # the instrument's data is not believed at present
    MARKET_CLOSED = "MARKET_CLOSED"  # outside the trading hours of the instrument
    STALE_SIGNAL = "STALE_SIGNAL"
    HALTED = "HALTED"
    REDUCING = "REDUCING"
    SUPERSEDED = "SUPERSEDED"  # a newer target replaced it before it was acted on
    EXPIRED = "EXPIRED"
    UNRESOLVED_ORDER = "UNRESOLVED_ORDER"  # an order of the instrument is UNKNOWN
    NOT_READY = "NOT_READY"  # the executor's start gate has not opened
    UNKNOWN_INSTRUMENT = "UNKNOWN_INSTRUMENT"
    DWELL = "DWELL"  # too soon after the target's last change


class Approved(msgspec.Struct, frozen=True, kw_only=True, gc=False, tag="approved.v1"):
    """The position that an account shall have in an instrument. Sent by risk on `targets`."""

    target_id: str
    account: str
    instrument: str
    quantity: Decimal  # base units, signed: the absolute position, not a change
    expires_at: int  # ns since the epoch, market time
    urgency: Literal["low", "normal", "high"]
    algorithm: Literal["market", "limit", "post_only"]
    price: Decimal  # quote per base unit: the mid at the decision
    edge_bps: float
    confidence: float
    kelly_fraction: float  # of equity, signed, before the limits
    variance: float | None  # of returns over the horizon, as a fraction squared; None when closing without one
    var_fraction: float  # of equity, 95 %, one day, with this position held
    equity: Decimal
    binding: str  # the limit that set the size, or "kelly"
    head_room: dict[str, float]  # per limit: what is left of it, as a fraction of the limit
    ts_event: int
    ts_init: int
    trace_id: str
    cause: str
    edge_cause: str = ""  # the ensemble that the edge came from; a beat may be the cause long after it
    config: str


class Refused(msgspec.Struct, frozen=True, kw_only=True, gc=False, tag="refused.v1"):
    """Something was not done, and the number that decided. Sent by risk and executor on `refusals`."""

    by: Literal["risk", "executor"]
    target_id: str | None  # the target that is not acted on; None where none was made
    account: str
    instrument: str
    reason: Refusal
    limit: float | None
    observed: float | None  # a non-finite value is None with reason NOT_FINITE
    input: str | None = None  # the name of the input that was not finite
    edge_bps: float | None = None
    detail: str = ""
    ts_event: int
    ts_init: int
    trace_id: str
    cause: str
    edge_cause: str = ""  # the ensemble that the edge came from; a beat may be the cause long after it
    config: str
