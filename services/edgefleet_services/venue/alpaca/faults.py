"""Faults of the stock venue beyond those of new orders, by the names the other dialect has for them. Knows no socket.

Streams are named `trades@AAPL`, `quotes@AAPL`, `bars@AAPL`, `dailyBars@AAPL`, or `*` for each.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import msgspec

from ..consumers import Payload
from ..faults import FaultPlan
from . import views
from .codec import Codec

EVERY = "*"
_MOST_SKEW_MS = 366 * 86_400_000
_CLOSE_CODES = (1000, 1001, 1008, 1011, 1012, 1013)
_PRICES = {"t": ("p",), "q": ("bp", "ap"), "b": ("o", "h", "l", "c", "vw"), "d": ("o", "h", "l", "c", "vw")}


class StockFaultPlan(FaultPlan, forbid_unknown_fields=True, kw_only=True):
    """What is struck next. Counts run down to 0 and the fault is over; what has no count lasts until it is set back."""

    rest_path: str = ""  # strike only what begins so after /v2/, such as stocks/bars; empty: every request
    rest_http_error: int = 0  # so many requests are answered with ...
    rest_http_status: int = 503  # ... this status, and nothing is done
    rest_limited: int = 0  # so many requests are refused for load (429) ...
    retry_after_s: int = 5  # ... and told to come back after so long
    clock_skew_ms: int = 0  # the API's clock is ahead of the true time by so much; negative: behind
    refuse_sockets: int = 0  # so many WebSocket handshakes are answered with 503
    disconnect: Literal["", "one", "market", "user", "all"] = ""  # done at once: who is cut off
    disconnect_code: int = 1001  # with this close code
    # not sent while so many ms of market time pass; null: until set back
    silence: dict[str, int | None] = msgspec.field(default_factory=dict)
    drop: dict[str, int] = msgspec.field(default_factory=dict)  # so many messages are not sent
    repeat: dict[str, int] = msgspec.field(default_factory=dict)  # so many messages are sent twice
    swap: dict[str, int] = msgspec.field(default_factory=dict)  # so many messages come after the one that follows them
    absurd: dict[str, int] = msgspec.field(default_factory=dict)  # in so many messages every price is a hundredfold
    truncate: dict[str, int] = msgspec.field(default_factory=dict)  # so many frames end in their middle

    def __post_init__(self) -> None:
        if not 500 <= self.rest_http_status <= 599:
            raise ValueError(f"rest_http_status is 500 to 599, was {self.rest_http_status}")
        if self.disconnect_code not in _CLOSE_CODES:
            raise ValueError(f"disconnect_code {self.disconnect_code} is no close code of this venue")
        tables = (self.drop, self.repeat, self.swap, self.absurd, self.truncate)
        counts = [self.rest_http_error, self.rest_limited, self.refuse_sockets, self.retry_after_s]
        counts += [ms for ms in self.silence.values() if ms is not None]
        if any(count < 0 for count in [*counts, *(count for table in tables for count in table.values())]):
            raise ValueError("a count of a fault is not negative")
        if abs(self.clock_skew_ms) > _MOST_SKEW_MS:
            raise ValueError(f"clock_skew_ms is at most a year, {_MOST_SKEW_MS} ms, was {self.clock_skew_ms}")

    def take_limited(self, path: str) -> bool:
        """Return whether a request of `/v2/<path>` is refused for load."""
        if not self.rest_limited or not path.startswith(self.rest_path):
            return False
        self.rest_limited -= 1
        return True

    def take_rest_error(self, path: str) -> bool:
        """Return whether a request of `/v2/<path>` is answered with an error of the server's."""
        if not self.rest_http_error or not path.startswith(self.rest_path):
            return False
        self.rest_http_error -= 1
        return True

    def take_handshake(self) -> bool:
        """Return whether a WebSocket is refused."""
        if not self.refuse_sockets:
            return False
        self.refuse_sockets -= 1
        return True


@dataclass(frozen=True, slots=True)
class Message:
    """Market data on its way to those who take it: encoded for each as it asked."""

    kind: str
    symbol: str
    view: Callable[[Codec], views.Json]
    is_absurd: bool = False
    is_cut: bool = False

    def frame(self, codec: Codec) -> Payload:
        """Return the frame that is sent."""
        shown = self.view(codec)
        if self.is_absurd:
            shown |= {name: shown[name] * 100 for name in _PRICES[self.kind] if shown[name] is not None}
        frame = codec.encode(views.streamed(self.kind, self.symbol, shown))
        return frame[: len(frame) // 2] if self.is_cut else frame


class Strikes:
    """The faults of a plan that strike messages, and what they keep back."""

    def __init__(self) -> None:
        self._plan = StockFaultPlan()
        self._until: dict[str, int | None] = {}
        self._kept: dict[str, Message] = {}  # by stream: a message that waits for the one after it

    def set(self, plan: StockFaultPlan, now_ms: int) -> None:
        """Strike by `plan` from now on; a message kept back before is not lost."""
        self._plan = plan
        self._until = {name: None if ms is None else now_ms + ms for name, ms in plan.silence.items()}

    def silence_left(self, now_ms: int) -> dict[str, int | None]:
        """Return the silences that are not over, in ms of market time."""
        left = {name: None if end is None else end - now_ms for name, end in self._until.items()}
        return {name: ms for name, ms in left.items() if ms is None or ms > 0}

    def strike(self, stream: str, message: Message, now_ms: int) -> list[Message]:
        """Return what is sent in place of a message of `stream`: nothing, one, or several."""
        plan = self._plan
        if self._is_silent(stream, now_ms) or _take(plan.drop, stream):
            return []
        struck = replace(message, is_absurd=_take(plan.absurd, stream), is_cut=_take(plan.truncate, stream))
        if stream not in self._kept and _take(plan.swap, stream):
            self._kept[stream] = struck
            return []
        kept = self._kept.pop(stream, None)
        if kept is not None:
            return [struck, kept]
        return [struck, struck] if _take(plan.repeat, stream) else [struck]

    def _is_silent(self, stream: str, now_ms: int) -> bool:
        ends: list[Any] = [self._until[name] for name in (stream, EVERY) if name in self._until]
        return any(end is None or now_ms < end for end in ends)


def _take(table: dict[str, int], stream: str) -> bool:
    for name in (stream, EVERY):
        if table.get(name, 0) > 0:
            table[name] -= 1
            return True
    return False
