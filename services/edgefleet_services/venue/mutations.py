"""Frames as a faulty venue sends them: missing, doubled, out of order, false. Knows frames, not who gets them."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec

from edgefleet.units import decimal_text
from edgefleet.venues.tape import TapeLine

from .faults import EVERY, FaultPlan

_HUNDREDFOLD = Decimal(100)
_PRICES = ("p", "c", "o", "h", "l", "w", "x")  # of trades and tickers


class Mutations:
    """The stream faults of a plan that strike frames. Made only where there is one, so that no frame else pays."""

    def __init__(self, plan: FaultPlan, now_ms: int, kept: dict[str, TapeLine]) -> None:
        self._plan = plan
        self._kept = kept  # by stream: a frame that waits for the one after it
        self._until: dict[str, int | None] = {
            name: None if ms is None else now_ms + ms for name, ms in plan.silence.items()
        }
        self._changes: tuple[tuple[dict[str, int], Callable[[bytes], bytes | None]], ...] = (
            (plan.corrupt, corrupted),
            (plan.absurd, absurd),
            (plan.truncate, truncated),
        )

    @staticmethod
    def of(plan: FaultPlan, now_ms: int, before: Mutations | None) -> Mutations | None:
        """Return what of `plan` strikes frames, None where nothing does; a frame kept back `before` is not lost."""
        made = Mutations(plan, now_ms, {} if before is None else before._kept)
        return None if made.spent else made

    def silence_left(self, now_ms: int) -> dict[str, int | None]:
        """Return the silences that are not over, in ms of market time."""
        left = {name: None if end is None else end - now_ms for name, end in self._until.items()}
        return {name: ms for name, ms in left.items() if ms is None or ms > 0}

    @property
    def spent(self) -> bool:
        """Whether nothing is left to strike, nor a frame kept back."""
        plan = self._plan
        tables = (plan.drop, plan.repeat, plan.swap, plan.corrupt, plan.absurd, plan.truncate)
        return not self._until and not self._kept and not any(any(table.values()) for table in tables)

    def strike(self, stream: str, line: TapeLine, now_ms: int) -> list[TapeLine]:
        """Return what is sent in place of a frame of `stream`: nothing, one, or several."""
        plan = self._plan
        if self._is_silent(stream, now_ms) or _take(plan.drop, stream):
            return []
        for table, change in self._changes:
            line = _changed(table, stream, line, change)
        if stream not in self._kept and _take(plan.swap, stream):
            self._kept[stream] = line
            return []
        kept = self._kept.pop(stream, None)
        lines = [line] if kept is None else [line, kept]
        return lines * 2 if kept is None and _take(plan.repeat, stream) else lines

    def _is_silent(self, stream: str, now_ms: int) -> bool:
        for name in (stream, EVERY):
            if name in self._until:
                end = self._until[name]
                if end is None or now_ms < end:
                    return True
                del self._until[name]
        return False


def _take(table: dict[str, int], stream: str) -> bool:
    for name in (stream, EVERY):
        if table.get(name, 0) > 0:
            table[name] -= 1
            return True
    return False


def _changed(table: dict[str, int], stream: str, line: TapeLine, change: Callable[[bytes], bytes | None]) -> TapeLine:
    """Return a frame changed where one is due; a frame that the fault does not fit is left and not counted."""
    if not any(table.values()):
        return line
    body = change(line.body)
    return line if body is None or not _take(table, stream) else TapeLine(line.stamp_ns, body)


def corrupted(body: bytes) -> bytes | None:
    """Return a depth frame whose levels are the opposite of true: what is gone is there, what is there is gone.

    Numbers and sequence are right, so that only a comparison with the market itself can tell.
    """
    envelope = msgspec.json.decode(body)
    data = envelope.get("data")
    if not isinstance(data, dict) or not (_is_levels(data.get("b")) and _is_levels(data.get("a"))):
        return None
    for side in ("b", "a"):
        data[side] = [[price, "1.00000000" if Decimal(size) == 0 else "0.00000000"] for price, size in data[side]]
    return msgspec.json.encode(envelope)


def absurd(body: bytes) -> bytes | None:
    """Return a frame of a hundred times the price; None for one that has none."""
    envelope = msgspec.json.decode(body)
    data = envelope.get("data")
    if not isinstance(data, dict):
        return None
    before = msgspec.json.encode(data)
    is_ticker = isinstance(data.get("b"), str) and isinstance(data.get("a"), str)
    for name in (*_PRICES, "b", "a") if is_ticker else _PRICES:
        if isinstance(data.get(name), str):
            data[name] = _hundredfold(data[name])
    for side in ("b", "a"):
        if _is_levels(data.get(side)):
            data[side] = [[_hundredfold(price), size] for price, size in data[side]]
    return None if msgspec.json.encode(data) == before else msgspec.json.encode(envelope)


def truncated(body: bytes) -> bytes:
    """Return the first half of a frame's `data`, so that the stream it came on is still known."""
    start = max(body.find(b'"data":'), 0)
    return body[: start + (len(body) - start) // 2]


def _hundredfold(text: str) -> str:
    return decimal_text(Decimal(text) * _HUNDREDFOLD)


def _is_levels(value: Any) -> bool:
    return isinstance(value, list)
