"""The negative half of a decision: why nothing is approved. Knows no state and no parameters."""

from __future__ import annotations

import msgspec

from edgefleet.messages import Refusal


class No(msgspec.Struct, frozen=True, gc=False):
    """Nothing is approved."""

    reason: Refusal
    limit: float | None = None
    observed: float | None = None
    detail: str = ""
    input: str | None = None
