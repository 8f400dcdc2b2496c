"""Whether a service is well, as named checks. Knows nothing of HTTP or of what the checks mean."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from edgefleet.clock import NS_PER_MS, SYSTEM, Clock


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One fact about a service's health."""

    name: str
    ok: bool
    detail: str


class HealthReport(msgspec.Struct, frozen=True, kw_only=True):
    """What `/health` answers."""

    service: str
    ok: bool
    checks: tuple[Check, ...]


class Health:
    """The checks of one process. Every method may be called from any thread."""

    def __init__(self, service: str, clock: Clock = SYSTEM) -> None:
        self._service = service
        self._clock = clock
        self._checks: dict[str, Callable[[], tuple[bool, str]]] = {}
        self._beats: dict[str, int] = {}

    def report(self, name: str, ok: bool, detail: str) -> None:
        """Set a check to what was last seen of it."""
        self._checks[name] = lambda: (ok, detail)

    def ask(self, name: str, check: Callable[[], tuple[bool, str]]) -> None:
        """Ask `check` for (ok, detail) at each request. It runs in the server's thread and must not block."""
        self._checks[name] = check

    def beat(self, name: str, *, within_ms: int) -> None:
        """Say that `name` is alive now; the check fails when it does not say so again for `within_ms`."""
        self._beats[name] = self._clock.monotonic_ns()
        if name not in self._checks:
            self._checks[name] = lambda: self._recent(name, within_ms)

    def _recent(self, name: str, within_ms: int) -> tuple[bool, str]:
        age_ms = (self._clock.monotonic_ns() - self._beats[name]) // NS_PER_MS
        return age_ms <= within_ms, f"last seen {age_ms} ms ago, allowed {within_ms} ms"

    def now(self) -> HealthReport:
        """Return every check's answer; ok only when there is a check and all are ok."""
        answers = [(name, *check()) for name, check in sorted(self._checks.items())]
        checks = tuple(Check(name=name, ok=ok, detail=detail) for name, ok, detail in answers)
        return HealthReport(service=self._service, ok=bool(checks) and all(check.ok for check in checks), checks=checks)
