"""Whether an order may leave now, asked right before it does. Knows no orders and no venue."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from edgefleet.clock import NS_PER_MS, Clock


class Gates:
    """Everything that can forbid sending. All of it is local: no answer waits for a network."""

    def __init__(self, clock: Clock, halt_file: Path, *, lease_is_fresh: Callable[[], bool]) -> None:
        self.halted = ""  # why; latched until a person resumes
        self.stopping = False
        self.ready = False
        self.not_ready_reason = "not reconciled yet"
        self.halt_file = halt_file
        self._halt_path = os.fspath(halt_file)
        self._clock = clock
        self._lease_is_fresh = lease_is_fresh
        self._beat_ns: int | None = None

    def is_file_there(self) -> bool:
        """Return whether somebody put the halt file there. Asked twice an order: `Path.exists` costs twice as much."""
        try:
            os.stat(self._halt_path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def beat(self, age_ms: int = 0) -> None:
        """Note that a beat came, `age_ms` ago."""
        came = self._clock.monotonic_ns() - max(age_ms, 0) * NS_PER_MS
        self._beat_ns = came if self._beat_ns is None else max(self._beat_ns, came)

    def has_beat(self, limit_ms: int) -> bool:
        """Return whether a beat is known that is young enough."""
        return self._beat_ns is not None and self._clock.monotonic_ns() - self._beat_ns <= limit_ms * NS_PER_MS

    def refusal(self, beat_limit_ms: int) -> str | None:
        """Return why nothing may be sent now, None where it may."""
        if self.halted:
            return f"HALTED: {self.halted}"
        if self.is_file_there():
            return f"HALTED: {self.halt_file} is there"
        if self.stopping:
            return "the executor is stopping"
        if not self.ready:
            return f"the start gate is shut: {self.not_ready_reason}"
        if self._beat_ns is None:
            return "no beat was seen yet"
        age_ms = (self._clock.monotonic_ns() - self._beat_ns) // NS_PER_MS
        if not age_ms <= beat_limit_ms:
            return f"the last beat came {age_ms} ms ago, allowed {beat_limit_ms}"
        if not self._lease_is_fresh():
            return "the account's lease is too old"
        return None
