"""Which killed containers are started again, and when. Knows events and time; knows no socket, no clock and no Docker.

Docker takes every signal through its API for a person's stop: whether the container dies of it, as of a kill, or of
something else much later, as after the USR1 that halts trading, it is not started again, whatever the restart policy.
A real stop asks first (signal 15), kills only after the grace period, and says `stop`; a forced removal kills at once,
and the container is gone. So a death after a signal that asked for no end, with nothing behind it, is healed, and every
doubt leaves the container down.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from edgefleet.clock import NS_PER_S

ASKS_TO_END = frozenset({2, 3, 15})  # INT, QUIT, TERM: what is sent first to a container that is to stop
# Compose is at work on the project: what it stops, replaces or is about to remove is not ours to start meanwhile.
AT_WORK = frozenset({"create", "rename", "stop"})
ACTIONS = ("create", "destroy", "die", "kill", "rename", "start", "stop")

# Long enough for what comes with a kill: `stop`, `destroy`, the keeper's own end by a `docker-compose kill` of all.
FIRST_DELAY_NS = 2 * NS_PER_S
LONGEST_DELAY_NS = 60 * NS_PER_S
REMEMBERED_NS = 600 * NS_PER_S  # a start before this no longer makes the next one wait
# A container that is down already gets no event when the whole project is stopped. Nothing is started while another one
# is on its way out, or just after: at the end of a project's stop the keeper itself is stopped.
SETTLED_AFTER_NS = 5 * NS_PER_S
# Longer than `stop_grace_period`: what still runs then ignored a signal, and is not waited for.
ENDS_WITHIN_NS = 25 * NS_PER_S


class ContainerEvent(msgspec.Struct, frozen=True, kw_only=True):
    """What Docker said about a container of the project."""

    container: str  # its id
    action: str
    signal: int | None = None  # of a kill


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What Docker says a container is, asked when its time has come."""

    status: str  # created, running, paused, restarting, removing, exited, dead
    exit_code: int
    restart_policy: str  # no, on-failure, always, unless-stopped; empty is no
    one_off: bool  # made by `docker-compose run`


def why_left(facts: Facts) -> str | None:
    """Return why a container whose time has come is left as it is, None where it is to be started."""
    if facts.status != "exited":
        return f"it is {facts.status}, not exited"
    if facts.exit_code == 0:
        return "it came to its end by itself"
    if facts.one_off:
        return "it is a one-off command"
    if facts.restart_policy in {"", "no"}:
        return "it has no restart policy: it is not meant to come back"
    return None


@dataclass(slots=True)
class _Run:
    """What is known of a container since its last start."""

    signalled: bool = False  # by anything that asks for no end
    dead: bool = False
    asked_to_end_ns: int | None = None
    due_ns: int | None = None
    starts_ns: list[int] = field(default_factory=list)  # ours, the remembered ones; they outlive the run

    @property
    def is_to_heal(self) -> bool:
        return self.signalled and self.dead and self.asked_to_end_ns is None

    def is_on_its_way_out(self, now_ns: int) -> bool:
        asked_ns = self.asked_to_end_ns
        return asked_ns is not None and not self.dead and now_ns < asked_ns + ENDS_WITHIN_NS


class Keeper:
    """The containers of a project and what is to be started again. All times are of one monotonic clock."""

    def __init__(self) -> None:
        self._runs: dict[str, _Run] = {}
        self._at_work_ns: int | None = None

    def observe(self, event: ContainerEvent, now_ns: int) -> None:
        """Take in one event of the project, in Docker's order. Actions other than `ACTIONS` change nothing."""
        asks = event.action == "stop" or (event.action == "kill" and event.signal in ASKS_TO_END)
        if asks or event.action in AT_WORK:
            self._at_work_ns = now_ns
        if event.action == "destroy":
            self._runs.pop(event.container, None)
            return
        run = self._runs.setdefault(event.container, _Run())
        if event.action == "start":
            self._runs[event.container] = _Run(starts_ns=run.starts_ns)
            return
        if asks:
            run.asked_to_end_ns = now_ns
        run.signalled |= event.action == "kill" and event.signal is not None and not asks
        run.dead |= event.action in {"die", "stop"}
        if not run.is_to_heal:
            run.due_ns = None
        elif run.due_ns is None and event.action in {"die", "kill"}:
            run.due_ns = now_ns + _delay_ns(run, now_ns)

    def due(self, now_ns: int) -> list[str]:
        """Return the containers to start now, each counted as a start; none is returned twice unless it `failed`."""
        if self._is_at_work(now_ns):
            return []
        ready = [name for name, run in self._runs.items() if run.due_ns is not None and run.due_ns <= now_ns]
        for name in ready:
            run = self._runs[name]
            run.due_ns = None
            run.starts_ns.append(now_ns)
        return ready

    def _is_at_work(self, now_ns: int) -> bool:
        just_now = self._at_work_ns is not None and now_ns < self._at_work_ns + SETTLED_AFTER_NS
        return just_now or any(run.is_on_its_way_out(now_ns) for run in self._runs.values())

    def failed(self, container: str, now_ns: int) -> None:
        """Take in that Docker could not start a container that was due: it is due again later, if it still is down."""
        run = self._runs.get(container)
        if run is not None and run.is_to_heal:
            run.due_ns = now_ns + _delay_ns(run, now_ns)


def _delay_ns(run: _Run, now_ns: int) -> int:
    """Return how long to wait: twice as long for every start of the last ten minutes, a minute at most."""
    run.starts_ns = [at for at in run.starts_ns if now_ns - at < REMEMBERED_NS]
    return min(LONGEST_DELAY_NS, FIRST_DELAY_NS << min(len(run.starts_ns), 10))
