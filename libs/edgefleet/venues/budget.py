"""How much may be asked of a venue, by its published limits and by what its answers tell. Opens no socket.

A venue bans an address that does not heed it, and an order that cannot be cancelled is worse than one that is not
placed. So nothing leaves while the venue asked for silence; new orders may use the smallest share of the request
weight, questions a larger one, and a fifth of all of it is left to cancels alone. What the address has used is known
twice: by our own count of the last minute, whatever the venue's clock says, and by the venue's word, which includes
what other processes of this machine asked. The larger counts.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from edgefleet.clock import NS_PER_MS, NS_PER_S, Clock

Purpose = Literal["order", "question", "cancel"]

SHARES: Final[Mapping[Purpose, float]] = {"order": 0.60, "question": 0.77, "cancel": 0.97}
ORDER_SHARE: Final = 0.9  # of the count of new orders
_MINUTE_MS, _TEN_SECONDS_MS, _DAY_MS = 60_000, 10_000, 86_400_000
_GRACE_MS: Final = 1_000  # how far we may be wrong about where the venue's minute ends
_DEFAULT_SILENCE_S: Final = 1.0
_DEFAULT_BAN_S: Final = 60.0


class VenueLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What a venue publishes. The defaults are Binance Spot's, for as long as it has not been asked."""

    weight_1m: int = 6_000
    orders_10s: int = 100
    orders_1d: int = 200_000


class _RateLimit(msgspec.Struct, frozen=True):
    rateLimitType: str
    interval: str
    intervalNum: int
    limit: int


class _Listing(msgspec.Struct, frozen=True):
    rateLimits: list[_RateLimit]


_NAMES: Final = {
    ("REQUEST_WEIGHT", "MINUTE", 1): "weight_1m",
    ("ORDERS", "SECOND", 10): "orders_10s",
    ("ORDERS", "DAY", 1): "orders_1d",
}


def published_limits(exchange_info: bytes) -> VenueLimits:
    """Return the limits in an `exchangeInfo` answer; what it does not name keeps its default.

    Raises
    ------
    msgspec.MsgspecError
        If the body is no such answer.
    """
    found = msgspec.json.decode(exchange_info, type=_Listing).rateLimits
    named = {_NAMES.get((one.rateLimitType, one.interval, one.intervalNum), ""): one.limit for one in found}
    return VenueLimits(**{name: limit for name, limit in named.items() if name and limit > 0})


class _Recent:
    """A sum over the last so many milliseconds of our own clock."""

    def __init__(self, window_ms: int) -> None:
        self._window_ns = (window_ms + _GRACE_MS) * NS_PER_MS
        self._parts: deque[tuple[int, int]] = deque()
        self._sum = 0

    def add(self, amount: int, now_ns: int) -> None:
        self._parts.append((now_ns, amount))
        self._sum += amount

    def at(self, now_ns: int) -> int:
        """Return the sum as it is at `now_ns`."""
        parts = self._parts
        while parts and now_ns - parts[0][0] >= self._window_ns:
            self._sum -= parts.popleft()[1]
        return self._sum

    def falls_in_ns(self, now_ns: int) -> int:
        """Return how long until the oldest part is out; the whole window where there is none."""
        return self._parts[0][0] + self._window_ns - now_ns if self._parts else self._window_ns


class _Told:
    """The venue's own count in one of its intervals, with what has left since and is not answered."""

    def __init__(self, interval_ms: int) -> None:
        self._interval_ms = interval_ms
        self._count = 0
        self._until_ns = 0
        self.in_flight = 0

    def hear(self, text: str | None, now_ns: int, venue_ms: int) -> None:
        """Take the value of a header in, where there is one."""
        if text is None or not text.isdecimal():
            return
        left_ms = self._interval_ms - venue_ms % self._interval_ms + _GRACE_MS
        self._count = max(int(text), self._count) if now_ns < self._until_ns else int(text)
        self._until_ns = max(self._until_ns, now_ns + left_ms * NS_PER_MS) if self._count else 0

    def at(self, now_ns: int) -> int:
        """Return the count, 0 once its interval is over."""
        return (self._count if now_ns < self._until_ns else 0) + self.in_flight

    def falls_in_ns(self, now_ns: int) -> int:
        """Return how long until the interval is over."""
        return max(self._until_ns - now_ns, 0)


class Budget:
    """What one process may ask of one venue.

    Ask `wait_s` first; then say `leaves`, and `returns` whatever became of the request.
    """

    def __init__(self, clock: Clock, limits: VenueLimits | None = None) -> None:
        self.limits = limits or VenueLimits()
        self.offset_ns = 0  # the venue's clock minus ours
        self._clock = clock
        self._quiet_until = 0  # monotonic ns
        self._no_orders_until = 0
        self._weight = _Recent(_MINUTE_MS)
        self._orders = _Recent(_TEN_SECONDS_MS)
        self._told_weight = _Told(_MINUTE_MS)
        self._told_orders = {"10s": _Told(_TEN_SECONDS_MS), "1d": _Told(_DAY_MS)}

    @property
    def used_weight(self) -> int:
        """Return the weight used in this minute, as far as we know."""
        now = self._clock.monotonic_ns()
        return max(self._weight.at(now), self._told_weight.at(now))

    def wait_s(self, purpose: Purpose, weight: int) -> float:
        """Return how long such a request must wait, in seconds; 0.0 where it may leave now."""
        now = self._clock.monotonic_ns()
        wait = self._quiet_until - now
        if purpose == "order":
            wait = max(wait, self._no_orders_until - now, self._wait_for_orders(now))
        allowed = self.limits.weight_1m * SHARES[purpose]
        counts: tuple[_Recent | _Told, ...] = (self._weight, self._told_weight)
        for count in counts:
            if count.at(now) + weight > allowed:
                # What only in-flight requests keep back is over when one of them is answered.
                wait = max(wait, count.falls_in_ns(now), NS_PER_MS)
        return max(wait, 0) / NS_PER_S

    def _wait_for_orders(self, now: int) -> int:
        counts: tuple[tuple[_Recent | _Told, int], ...] = (
            (self._orders, self.limits.orders_10s),
            (self._told_orders["10s"], self.limits.orders_10s),
            (self._told_orders["1d"], self.limits.orders_1d),
        )
        full = [count for count, limit in counts if count.at(now) + 1 > max(limit * ORDER_SHARE, 1)]
        return max((max(count.falls_in_ns(now), NS_PER_MS) for count in full), default=0)

    def leaves(self, purpose: Purpose, weight: int) -> None:
        """Note that a request leaves now."""
        now = self._clock.monotonic_ns()
        self._weight.add(weight, now)
        self._told_weight.in_flight += weight
        if purpose == "order":
            self._orders.add(1, now)
            for told in self._told_orders.values():
                told.in_flight += 1

    def returns(self, purpose: Purpose, weight: int, headers: Mapping[str, str]) -> None:
        """Note that a request is answered, with what the answer tells (names in lower case), or given up."""
        now = self._clock.monotonic_ns()
        venue_ms = (self._clock.wall_ns() + self.offset_ns) // NS_PER_MS
        self._told_weight.in_flight -= weight
        self._told_weight.hear(headers.get("x-mbx-used-weight-1m"), now, venue_ms)
        if purpose == "order":
            for name, told in self._told_orders.items():
                told.in_flight -= 1
                told.hear(headers.get(f"x-mbx-order-count-{name}"), now, venue_ms)

    def refused(self, status: int, code: int | None, headers: Mapping[str, str]) -> float:
        """Note that the venue refused for load, and return for how long nothing more may be asked, in seconds.

        A refusal for the count of orders (-1015) carries no `Retry-After`: it holds orders back until that count
        begins anew, and nothing else.
        """
        now = self._clock.monotonic_ns()
        told = headers.get("retry-after", "")
        if code == -1015 and not told:
            venue_ms = (self._clock.wall_ns() + self.offset_ns) // NS_PER_MS
            pause_ns = (_TEN_SECONDS_MS - venue_ms % _TEN_SECONDS_MS + _GRACE_MS) * NS_PER_MS
            self._no_orders_until = max(self._no_orders_until, now + pause_ns)
            return pause_ns / NS_PER_S
        seconds = float(told) if told.isdecimal() else _DEFAULT_BAN_S if status == 418 else _DEFAULT_SILENCE_S
        self._quiet_until = max(self._quiet_until, now + int(seconds * NS_PER_S))
        return seconds
