"""Faults that can be switched on at the venue while it runs. Knows what each strikes, not how it is served."""

from __future__ import annotations

from typing import Literal

import msgspec

When = Literal["before", "after"]
Whom = Literal["", "one", "market", "user", "all"]
EVERY = "*"  # in place of a stream's name: every stream
_MOST_MS = 366 * 86_400_000  # of anything that lasts


class FaultPlan(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What is struck next. Counts run down to 0 and the fault is over; what has no count lasts until it is set back.

    The body of `POST /sim/faults` replaces the fields it names, `GET` tells what is left, `DELETE` ends all.
    Tables are keyed by a stream's name, such as ``btcusdt@depth@100ms``, or ``*`` for every stream.
    """

    # new orders
    hold_order_response_ms: int = 0  # answer this late, the order being accepted at once
    drop_order_response: int = 0  # so many orders are accepted and the connection is cut without an answer
    order_http_error: int = 0  # so many orders are answered with 503 ...
    order_http_error_when: When = "before"  # ... before or after they were accepted
    # any request of /api/v3
    rest_path: str = ""  # strike only what begins so after /api/v3/, such as depth; empty: every request
    rest_http_error: int = 0  # so many requests are answered with ...
    rest_http_status: int = 503  # ... this status, and nothing is done
    rest_limited: int = 0  # so many requests are refused for load; the address is then asked for silence ...
    rest_limited_status: Literal[429, 418] = 429
    retry_after_s: int = 5  # ... for so long: a request that comes earlier is refused too, and counted as early
    clock_skew_ms: int = 0  # the API clock is ahead of the true time by so much; negative: behind
    # sockets
    refuse_sockets: int = 0  # so many WebSocket handshakes are answered with 503
    disconnect: Whom = ""  # done at once: who is cut off
    disconnect_code: int = 1001  # with this close code; 1006: without a close frame
    # frames of a stream
    silence: dict[str, int | None] = {}  # not sent while so many ms of market time pass; null: until set back
    drop: dict[str, int] = {}  # so many frames are not sent
    repeat: dict[str, int] = {}  # so many frames are sent twice
    swap: dict[str, int] = {}  # so many frames are sent after the one that follows them
    corrupt: dict[str, int] = {}  # in so many depth frames what is there is gone, and what is gone is there
    absurd: dict[str, int] = {}  # in so many frames every price is a hundredfold
    truncate: dict[str, int] = {}  # so many frames end in their middle

    def __post_init__(self) -> None:
        if not 500 <= self.rest_http_status <= 599:
            raise ValueError(f"rest_http_status is 500 to 599, was {self.rest_http_status}")
        if self.disconnect_code not in (1000, 1001, 1006, 1008, 1011, 1012, 1013):
            raise ValueError(f"disconnect_code {self.disconnect_code} is no close code of a venue")
        counts = [self.hold_order_response_ms, self.drop_order_response, self.order_http_error]
        counts += [self.rest_http_error, self.rest_limited, self.refuse_sockets]
        counts += [ms for ms in self.silence.values() if ms is not None]
        for table in (self.drop, self.repeat, self.swap, self.corrupt, self.absurd, self.truncate):
            counts += table.values()
        if any(count < 0 for count in counts):
            raise ValueError("a count of a fault is not negative")
        lasting = [self.hold_order_response_ms, abs(self.clock_skew_ms), self.retry_after_s * 1_000]
        lasting += [ms for ms in self.silence.values() if ms is not None]
        if max(lasting) > _MOST_MS:
            raise ValueError(f"nothing of a fault lasts, and no clock is away, longer than a year: {_MOST_MS} ms")
        if self.retry_after_s < 1:
            raise ValueError(f"retry_after_s is at least 1, was {self.retry_after_s}")

    @property
    def streams(self) -> set[str]:
        """Return the streams that are struck by name."""
        tables = (self.silence, self.drop, self.repeat, self.swap, self.corrupt, self.absurd, self.truncate)
        return {name for table in tables for name in table if name != EVERY}

    def take_drop(self) -> bool:
        """Return whether this order's answer is dropped."""
        self.drop_order_response, struck = _take(self.drop_order_response)
        return struck

    def take_error(self, when: When) -> bool:
        """Return whether this order is answered with 503 at this point."""
        if when != self.order_http_error_when:
            return False
        self.order_http_error, struck = _take(self.order_http_error)
        return struck

    def take_limited(self, path: str) -> bool:
        """Return whether a request of `/api/v3/<path>` is refused for load."""
        if not self.rest_limited or not path.startswith(self.rest_path):
            return False
        self.rest_limited -= 1
        return True

    def take_rest_error(self, path: str) -> bool:
        """Return whether a request of `/api/v3/<path>` is answered with an error of the server's."""
        if not self.rest_http_error or not path.startswith(self.rest_path):
            return False
        self.rest_http_error -= 1
        return True

    def take_handshake(self) -> bool:
        """Return whether a WebSocket is refused."""
        self.refuse_sockets, struck = _take(self.refuse_sockets)
        return struck


def _take(left: int) -> tuple[int, bool]:
    return (left - 1, True) if left > 0 else (0, False)
