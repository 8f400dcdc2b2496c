"""The venue's rate limits: request weight of an address, new orders of the account. Counts, refuses and bans.

The rules are Binance's: each limit counts in whole intervals of the venue's clock; weight belongs to the address,
orders to the account, and an order that has traded no longer counts. A request that is refused carries `Retry-After`,
and an address that goes on asking meanwhile is banned. Source: "Limits" of the REST API's documentation and "Spot
Unfilled Order Count Rules".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from edgefleet.matching.filters import VenueReject

MINUTE_MS, TEN_SECONDS_MS, DAY_MS = 60_000, 10_000, 86_400_000


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the venue lets one ask. The defaults are far above Binance's, so that nobody meets them by accident."""

    weight_1m: int = 600_000  # Binance: 6,000
    orders_10s: int = 10_000  # Binance: 100
    orders_1d: int = 20_000_000  # Binance: 200,000
    ban_after: int = 3  # requests that may come before a Retry-After is over; with the next the address is banned
    ban_s: int = 120  # Binance: 2 minutes, and up to 3 days for those who do it again

    def __post_init__(self) -> None:
        if min(self.weight_1m, self.orders_10s, self.orders_1d, self.ban_s) < 1 or self.ban_after < 0:
            raise ValueError("a limit is a whole number of at least 1, ban_after of at least 0")

    def published(self) -> list[dict[str, Any]]:
        """Return `rateLimits` of `exchangeInfo`."""
        return [
            {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": self.weight_1m},
            {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": self.orders_10s},
            {"rateLimitType": "ORDERS", "interval": "DAY", "intervalNum": 1, "limit": self.orders_1d},
        ]


class TooMany(VenueReject):
    """A request was refused for load before anything looked at it."""

    def __init__(self, code: int, message: str, *, status: int, retry_after_s: int | None) -> None:
        super().__init__(code, message, http_status=status)
        self.retry_after_s = retry_after_s

    @property
    def headers(self) -> dict[str, str]:
        """Return the header that says how long to be silent; none for the count of orders, as at Binance."""
        return {} if self.retry_after_s is None else {"retry-after": str(self.retry_after_s)}


class _Counter:
    """A sum that begins anew with each interval of the clock."""

    def __init__(self, interval_ms: int) -> None:
        self._interval_ms = interval_ms
        self._number = 0
        self._sum = 0

    def at(self, now_ms: int) -> int:
        """Return the sum of the interval that `now_ms` lies in."""
        number = now_ms // self._interval_ms
        if number != self._number:
            self._number, self._sum = number, 0
        return self._sum

    def add(self, amount: int, now_ms: int) -> None:
        """Count `amount`; below 0 the sum does not fall."""
        self._sum = max(self.at(now_ms) + amount, 0)

    def ends_in_s(self, now_ms: int) -> int:
        """Return the whole seconds until the interval is over, at least 1."""
        return max(-(-(self._interval_ms - now_ms % self._interval_ms) // 1_000), 1)


class Address:
    """What one address has asked, and whether it may ask more."""

    def __init__(self) -> None:
        self.weight = _Counter(MINUTE_MS)
        self.heaviest = 0  # weight of any minute so far
        self.refused = 0  # requests answered 429
        self.banned = 0  # requests answered 418
        self.early = 0  # requests that came before a Retry-After was over
        self._strikes = 0
        self._quiet_until_ms = 0
        self._banned_until_ms = 0

    def admit(self, weight: int, limits: Limits, now_ms: int) -> None:
        """Count a request, or raise `TooMany`."""
        if now_ms < self._banned_until_ms:
            self.early += 1
            raise self._ban(now_ms)
        if now_ms < self._quiet_until_ms:
            self.early += 1
            self._strikes += 1
            if self._strikes > limits.ban_after:
                self._banned_until_ms = now_ms + limits.ban_s * 1_000
                raise self._ban(now_ms)
            raise self._refusal(limits, now_ms)
        if self.weight.at(now_ms) + weight > limits.weight_1m:
            self.silence(self.weight.ends_in_s(now_ms), now_ms)
            raise self._refusal(limits, now_ms)
        self.weight.add(weight, now_ms)
        self.heaviest = max(self.heaviest, self.weight.at(now_ms))

    def refuse(self, limits: Limits, now_ms: int) -> None:
        """Raise the `TooMany` that the address has coming, of `silence` or `ban`."""
        raise self._ban(now_ms) if now_ms < self._banned_until_ms else self._refusal(limits, now_ms)

    def silence(self, seconds: int, now_ms: int) -> None:
        """Ask for silence, as after a limit was passed."""
        self._strikes = 0
        self._quiet_until_ms = now_ms + seconds * 1_000

    def ban(self, seconds: int, now_ms: int) -> None:
        """Refuse everything for so long."""
        self._banned_until_ms = now_ms + seconds * 1_000

    def pardon(self) -> None:
        """Take back what was asked of the address."""
        self._quiet_until_ms = self._banned_until_ms = 0

    def _refusal(self, limits: Limits, now_ms: int) -> TooMany:
        self.refused += 1
        text = (
            f"Too much request weight used; current limit is {limits.weight_1m} request weight per 1 MINUTE. "
            "Please use WebSocket Streams for live updates to avoid polling the API."
        )
        return TooMany(-1003, text, status=429, retry_after_s=_seconds(self._quiet_until_ms - now_ms))

    def _ban(self, now_ms: int) -> TooMany:
        self.banned += 1
        text = f"Way too much request weight used; IP banned until {self._banned_until_ms}."
        return TooMany(-1003, text, status=418, retry_after_s=_seconds(self._banned_until_ms - now_ms))


class Usage:
    """Everybody's counters, under limits that can be changed while they count."""

    def __init__(self, now_ms: Callable[[], int], limits: Limits) -> None:
        self.limits = limits
        self._now_ms = now_ms
        self._addresses: dict[str, Address] = {}
        self._orders = {"10s": _Counter(TEN_SECONDS_MS), "1d": _Counter(DAY_MS)}
        self._orders_refused = 0

    def of(self, address: str) -> Address:
        """Return the counters of one address."""
        if address not in self._addresses:
            self._addresses[address] = Address()
        return self._addresses[address]

    def admit(self, address: str, weight: int) -> dict[str, str]:
        """Count one request and return the headers of its answer, or raise `TooMany`."""
        self.of(address).admit(weight, self.limits, self._now_ms())
        return self.headers(address)

    def headers(self, address: str) -> dict[str, str]:
        """Return the headers that tell an address its weight."""
        used = str(self.of(address).weight.at(self._now_ms()))
        return {"x-mbx-used-weight": used, "x-mbx-used-weight-1m": used}

    def admit_order(self) -> None:
        """Raise `TooMany` where one more order would be too many."""
        now = self._now_ms()
        for name, limit, said in (("10s", self.limits.orders_10s, "10 SECOND"), ("1d", self.limits.orders_1d, "1 DAY")):
            if self._orders[name].at(now) + 1 > limit:
                self._orders_refused += 1
                text = f"Too many new orders; current limit is {limit} orders per {said}."
                raise TooMany(-1015, text, status=429, retry_after_s=None)

    def count_order(self) -> dict[str, str]:
        """Count an order that was accepted, and return the headers that tell it."""
        now = self._now_ms()
        for counter in self._orders.values():
            counter.add(1, now)
        return {f"x-mbx-order-count-{name}": str(counter.at(now)) for name, counter in self._orders.items()}

    def order_counts(self) -> list[dict[str, Any]]:
        """Return the account's count of new orders under each limit, as `rateLimit/order` answers."""
        now, limits = self._now_ms(), [one for one in self.limits.published() if one["rateLimitType"] == "ORDERS"]
        return [one | {"count": counter.at(now)} for one, counter in zip(limits, self._orders.values(), strict=True)]

    def order_traded(self) -> None:
        """Note that an order that was counted has traded for the first time: it counts no longer."""
        for counter in self._orders.values():
            counter.add(-1, self._now_ms())

    def pardon(self) -> None:
        """Let every address ask again."""
        for address in self._addresses.values():
            address.pardon()

    def shown(self) -> dict[str, Any]:
        """Return the limits and every counter, for `/sim/limits`."""
        now = self._now_ms()
        return {
            "limits": msgspec.structs.asdict(self.limits),
            "orders": {name: counter.at(now) for name, counter in self._orders.items()},
            "orders_refused": self._orders_refused,
            "addresses": {
                name: {
                    "weight_1m": one.weight.at(now),
                    "heaviest_1m": one.heaviest,
                    "refused": one.refused,
                    "banned": one.banned,
                    "early": one.early,
                }
                for name, one in self._addresses.items()
            },
        }


def _seconds(milliseconds: int) -> int:
    return max(-(-milliseconds // 1_000), 1)
