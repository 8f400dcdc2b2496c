"""Faults a test can switch on at the venue. Knows which request they strike, not how a request is served."""

from __future__ import annotations

from typing import Literal

import msgspec


class FaultPlan(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What the next POST orders suffer. Counts run down to 0; a hold lasts until it is set to 0.

    The body of `POST /sim/faults` replaces the fields it names; `GET /sim/faults` tells what is left.
    """

    hold_order_response_ms: int = 0  # answer this late, the order being accepted at once
    drop_order_response: int = 0  # so many orders are accepted and the connection is cut without an answer
    order_http_error: int = 0  # so many orders are answered with 503 ...
    order_http_error_when: Literal["before", "after"] = "before"  # ... before or after they were accepted

    def take_drop(self) -> bool:
        """Return whether this order's answer is dropped."""
        self.drop_order_response, struck = _take(self.drop_order_response)
        return struck

    def take_error(self, when: Literal["before", "after"]) -> bool:
        """Return whether this order is answered with 503 at this point."""
        if when != self.order_http_error_when:
            return False
        self.order_http_error, struck = _take(self.order_http_error)
        return struck


def _take(left: int) -> tuple[int, bool]:
    return (left - 1, True) if left > 0 else (0, False)
