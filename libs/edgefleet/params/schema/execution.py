"""`conf/execution.yml`: how targets become orders, and what the gateway waits for before it sends one."""

from __future__ import annotations

from decimal import Decimal

from pydantic import Field

from edgefleet.params.schema.base import HIGHER, LOWER, Params


class ExecutionParams(Params):
    """Order placement and the gateway's gates."""

    stale_after_ms: int = Field(
        5_000, gt=0, description="a feed older than this, by the beat, places nothing", json_schema_extra=LOWER
    )
    feed_deadline_ms: int = Field(
        10_000,
        gt=0,
        description="a traded feed silent for longer, by the beat, holds the fleet in REDUCING until it speaks",
        json_schema_extra=LOWER,
    )
    close_enough_fraction: Decimal = Field(
        Decimal("0.005"), ge=0, lt=1, description="share of a target by which a position may miss it and be left alone"
    )
    limit_offset_ticks: int = Field(
        2, ge=0, description="ticks beyond the far touch that a limit order may pay", json_schema_extra=LOWER
    )
    reprice_ticks: int = Field(5, gt=0, description="ticks the touch may leave a resting order behind")
    resting_ms: int = Field(10_000, gt=0, description="event time after which a resting order is replaced")
    max_legs: int = Field(8, gt=0, description="orders that one target may lead to")
    max_attempts: int = Field(3, gt=0, description="times a leg is tried when a post-only order would have taken")
    max_rejects: int = Field(
        10,
        gt=0,
        description="rejected orders of one instrument in a row that halt the instrument",
        json_schema_extra=LOWER,
    )
    request_timeout_ms: int = Field(2_000, gt=0, description="silence of the venue after which an order is UNKNOWN")
    beat_limit_ms: int = Field(
        3_000, gt=0, description="monotonic time without a beat after which nothing is sent", json_schema_extra=LOWER
    )
    clock_offset_limit_ms: int = Field(
        250, gt=0, description="venue clock offset that shuts the start gate", json_schema_extra=LOWER
    )
    absent_after_misses: int = Field(
        5, ge=5, description="misses before an UNKNOWN order is absent", json_schema_extra=HIGHER
    )
    absent_after_ms: int = Field(
        60_000,
        ge=60_000,
        description="time that must pass before an UNKNOWN order is absent",
        json_schema_extra=HIGHER,
    )
    stop_cancel_ms: int = Field(5_000, gt=0, description="time an ordered stop gives the cancels of our own orders")
