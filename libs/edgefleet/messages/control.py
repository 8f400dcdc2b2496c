"""Who may trade, and since when. Written by the latch Function, params and operators."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

FEEDS: Final = "feeds"  # `TradingState.by` of the hold that the executor takes, and lets go, for a feed that is silent


class Session(msgspec.Struct, frozen=True, kw_only=True, gc=False, tag="session.v1"):
    """A run of the fleet begins. Sent by the supervisor on `control` before any service starts."""

    session: str
    mode: Literal["demo", "paper", "live", "replay"]
    venue: str
    account: str
    symbols: tuple[str, ...]
    first_ids: dict[str, str]  # per stream: the last id before the session ("0-0" where it was empty)
    machine: dict[str, str]  # Python, CPU, lock file: what "equal digests" presupposes
    ts_event: int
    ts_init: int


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
    """An operator asks. Sent on `control` by the CLI and the monitor's API."""

    verb: Literal["flatten", "reconcile"]
    reason: str
    by: str
    ts_event: int
    ts_init: int
