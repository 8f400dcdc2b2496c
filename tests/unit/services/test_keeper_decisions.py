"""Which killed containers are started again: Docker's real orders of events, and every order that may come."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefleet.clock import NS_PER_S
from edgefleet_services.keeper.decide import (
    ENDS_WITHIN_NS,
    FIRST_DELAY_NS,
    LONGEST_DELAY_NS,
    REMEMBERED_NS,
    SETTLED_AFTER_NS,
    ContainerEvent,
    Facts,
    Keeper,
    why_left,
)

RISK, ALPHA = "risk", "alpha"
KILLED = Facts(status="exited", exit_code=137, restart_policy="unless-stopped", one_off=False)
A_MINUTE_NS = 60 * NS_PER_S


def event(text: str, container: str = RISK) -> ContainerEvent:
    """Return the event of ``kill 9``, ``die`` and so on."""
    action, _, number = text.partition(" ")
    return ContainerEvent(container=container, action=action, signal=int(number) if number else None)


def told(*texts: str, at_ns: int = 0) -> Keeper:
    keeper = Keeper()
    for text in texts:
        keeper.observe(event(text), at_ns)
    return keeper


def test_a_lone_kill_is_healed_once_after_the_first_delay() -> None:
    keeper = told("start", "kill 9", "die")

    assert keeper.due(FIRST_DELAY_NS - 1) == []
    assert keeper.due(FIRST_DELAY_NS) == [RISK]
    assert keeper.due(100 * A_MINUTE_NS) == []


def test_a_death_told_before_its_kill_is_healed_too() -> None:
    assert told("die", "kill 9").due(FIRST_DELAY_NS) == [RISK]


@pytest.mark.parametrize(
    "texts",
    [
        ("kill 15", "die", "stop"),
        ("kill 15", "kill 9", "die", "stop"),  # the grace period ran out
        ("kill 15", "kill 9", "die"),  # its end has not been told yet
        ("kill 2", "kill 9", "die"),  # an image with another stop signal
        ("kill 9", "die", "stop"),  # the keeper came in between
        ("kill 9", "die", "destroy"),  # docker rm -f
        ("kill 9", "destroy", "die"),
        ("kill 9", "die", "start"),  # somebody was faster
        ("kill 9",),  # it is not dead
        ("die",),  # a crash is Docker's own to heal
        ("oom", "die"),
        ("kill 15", "die"),
        ("kill", "die"),  # which signal, nobody knows
    ],
    ids=" ".join,
)
def test_what_was_no_lone_kill_is_left_alone(texts: tuple[str, ...]) -> None:
    assert told("start", *texts).due(100 * A_MINUTE_NS) == []


@pytest.mark.parametrize("texts", [("kill 1", "kill 9", "die"), ("kill 10", "die"), ("kill 6", "die")], ids=" ".join)
def test_a_death_after_a_signal_that_asks_for_no_end_is_healed(texts: tuple[str, ...]) -> None:
    """Docker no longer restarts what it ever sent a signal: a crash after the USR1 that halts trading would last."""
    assert told("start", *texts).due(FIRST_DELAY_NS) == [RISK]


def test_a_stop_is_forgotten_with_the_next_start() -> None:
    keeper = told("kill 15", "die", "stop", "start", "kill 9", "die")

    assert keeper.due(SETTLED_AFTER_NS) == [RISK]


def test_killed_again_and_again_it_is_started_ever_later_but_once_a_minute() -> None:
    keeper, now_ns, waits = Keeper(), 0, []
    for _ in range(8):
        for text in ("start", "kill 9", "die"):
            keeper.observe(event(text), now_ns)
        died_ns = now_ns
        while not keeper.due(now_ns):
            now_ns += NS_PER_S
        waits.append((now_ns - died_ns) // NS_PER_S)

    assert waits == [2, 4, 8, 16, 32, 60, 60, 60]


def test_after_ten_quiet_minutes_the_first_delay_holds_again() -> None:
    keeper = told("kill 9", "die")
    keeper.due(FIRST_DELAY_NS)
    later_ns = FIRST_DELAY_NS + REMEMBERED_NS

    for text in ("start", "kill 9", "die"):
        keeper.observe(event(text), later_ns)

    assert keeper.due(later_ns + FIRST_DELAY_NS) == [RISK]


def test_a_start_that_failed_is_tried_again_later() -> None:
    keeper = told("kill 9", "die")
    keeper.due(FIRST_DELAY_NS)

    keeper.failed(RISK, FIRST_DELAY_NS)

    assert keeper.due(3 * FIRST_DELAY_NS - 1) == []
    assert keeper.due(3 * FIRST_DELAY_NS) == [RISK]


def test_a_start_that_failed_is_not_tried_again_when_the_container_is_gone() -> None:
    keeper = told("kill 9", "die")
    keeper.due(FIRST_DELAY_NS)
    keeper.observe(event("destroy"), FIRST_DELAY_NS)

    keeper.failed(RISK, FIRST_DELAY_NS)

    assert keeper.due(100 * A_MINUTE_NS) == []


@pytest.mark.parametrize("work", ["stop", "create", "rename"])
def test_what_waits_to_be_healed_waits_for_compose_to_end_its_work(work: str) -> None:
    """Stopping a project tells nothing of a container that is down already: the keeper's own stop comes first."""
    keeper = told("kill 9", "die")

    keeper.observe(event(work, ALPHA), NS_PER_S)

    assert keeper.due(NS_PER_S + SETTLED_AFTER_NS - 1) == []
    assert keeper.due(NS_PER_S + SETTLED_AFTER_NS) == [RISK]


def test_what_waits_to_be_healed_waits_for_another_that_is_on_its_way_out() -> None:
    keeper = told("kill 9", "die")
    keeper.observe(event("kill 15", ALPHA), NS_PER_S)

    assert keeper.due(20 * NS_PER_S) == []

    for text in ("die", "stop"):
        keeper.observe(event(text, ALPHA), 20 * NS_PER_S)
    assert keeper.due(20 * NS_PER_S + SETTLED_AFTER_NS - 1) == []
    assert keeper.due(20 * NS_PER_S + SETTLED_AFTER_NS) == [RISK]


def test_one_that_was_asked_to_end_and_lives_on_is_not_waited_for_for_ever() -> None:
    keeper = told("kill 9", "die")
    keeper.observe(event("kill 15", ALPHA), NS_PER_S)

    assert keeper.due(NS_PER_S + ENDS_WITHIN_NS - 1) == []
    assert keeper.due(NS_PER_S + ENDS_WITHIN_NS) == [RISK]


def test_containers_do_not_wait_for_each_other() -> None:
    keeper = told("kill 9", "die")
    for text in ("kill 9", "die"):
        keeper.observe(event(text, ALPHA), NS_PER_S)

    assert keeper.due(FIRST_DELAY_NS) == [RISK]
    assert keeper.due(FIRST_DELAY_NS + NS_PER_S) == [ALPHA]


def test_a_container_that_was_killed_and_is_meant_to_come_back_is_started() -> None:
    assert why_left(KILLED) is None


@pytest.mark.parametrize(
    "facts",
    [
        Facts(status="removing", exit_code=137, restart_policy="unless-stopped", one_off=False),
        Facts(status="running", exit_code=0, restart_policy="unless-stopped", one_off=False),
        Facts(status="exited", exit_code=0, restart_policy="unless-stopped", one_off=False),
        Facts(status="exited", exit_code=137, restart_policy="no", one_off=False),
        Facts(status="exited", exit_code=137, restart_policy="", one_off=False),
        Facts(status="exited", exit_code=137, restart_policy="unless-stopped", one_off=True),
    ],
    ids=str,
)
def test_what_is_not_down_or_ended_by_itself_or_is_not_meant_to_come_back_is_left(facts: Facts) -> None:
    assert why_left(facts) is not None


# --- every order of events ---

TEXTS = (
    "create",
    "destroy",
    "die",
    "die",
    "rename",
    "start",
    "stop",
    "oom",
    "kill 1",
    "kill 2",
    "kill 15",
    *["kill 9"] * 3,
)
ASKS = {"stop", "kill 2", "kill 15"}
scripts = st.lists(
    st.tuples(st.integers(0, 40), st.sampled_from((RISK, ALPHA)), st.sampled_from(TEXTS)), max_size=25
)  # seconds since the one before, container, event


class World:
    """Docker as the keeper sees it, one look a second: what is due is started, and the start is told."""

    def __init__(self) -> None:
        self.keeper = Keeper()
        self.now_s = 0
        self.told: list[tuple[int, str, str]] = []
        self.starts: list[tuple[int, str]] = []

    def tell(self, container: str, text: str) -> None:
        self.told.append((self.now_s, container, text))
        self.keeper.observe(event(text, container), self.now_s * NS_PER_S)

    def let_pass(self, seconds: int) -> None:
        for _ in range(seconds):
            self.now_s += 1
            for container in self.keeper.due(self.now_s * NS_PER_S):
                assert self.may_start(container), f"started {container} at {self.now_s} after {self.told}"
                self.starts.append((self.now_s, container))
                self.tell(container, "start")

    def since_start(self, container: str) -> dict[str, int]:
        """Return what was told of a container since its last start, with the second it was last told."""
        since: dict[str, int] = {}
        for at, name, text in self.told:
            if name == container:
                since = {} if text in {"start", "destroy"} else {**since, text: at}
        return since

    def may_start(self, container: str) -> bool:
        """The definition: signalled and dead since its last start, not asked to end, and Compose is not at work."""
        since = set(self.since_start(container))
        for other in (RISK, ALPHA):
            asked_s = max((at for text, at in self.since_start(other).items() if text in ASKS), default=None)
            lives = not self.since_start(other).keys() & {"die", "stop"}
            if asked_s is not None and lives and self.now_s < asked_s + ENDS_WITHIN_NS // NS_PER_S:
                return False
        work = [at for at, _, text in self.told if text in {"create", "rename"} | ASKS]
        settled = not work or self.now_s - work[-1] >= SETTLED_AFTER_NS // NS_PER_S
        return settled and "die" in since and bool(since & {"kill 1", "kill 9"}) and not since & ASKS


@given(scripts)
def test_nothing_is_started_that_was_asked_to_end_or_is_gone_or_got_no_signal(
    script: list[tuple[int, str, str]],
) -> None:
    world = World()
    for gap_s, container, text in script:
        world.let_pass(gap_s)
        world.tell(container, text)

    world.let_pass(120)  # each start is held against the definition


@given(scripts)
def test_whatever_came_before_a_lone_kill_is_healed_once(script: list[tuple[int, str, str]]) -> None:
    world = World()
    for gap_s, container, text in script:
        world.let_pass(gap_s)
        world.tell(container, text)
    for text in ("start", "kill 9", "die"):
        world.tell(RISK, text)
    before = len(world.starts)

    world.let_pass((LONGEST_DELAY_NS + ENDS_WITHIN_NS) // NS_PER_S)

    assert [name for _, name in world.starts[before:]].count(RISK) == 1


# In ten minutes: at 0, 4, 12, 28, 60 seconds, then once a minute.
MOST_IN_TEN_MINUTES = 13


@given(st.lists(st.integers(0, 200), max_size=40))
def test_however_it_is_killed_it_is_started_a_bounded_number_of_times_in_ten_minutes(gaps_s: list[int]) -> None:
    world = World()
    for gap_s in gaps_s:
        world.let_pass(gap_s)
        for text in ("kill 9", "die"):
            world.tell(RISK, text)
    world.let_pass(60)

    at = [second for second, _ in world.starts]
    remembered_s = REMEMBERED_NS // NS_PER_S
    assert all(sum(first <= s < first + remembered_s for s in at) <= MOST_IN_TEN_MINUTES for first in at)


def test_the_bound_is_reached() -> None:
    world = World()
    while world.now_s < FIRST_DELAY_NS // NS_PER_S + 599:  # the first start and what follows in ten minutes
        if not world.told or world.told[-1][2] == "start":
            for text in ("kill 9", "die"):
                world.tell(RISK, text)
        world.let_pass(1)

    assert len(world.starts) == MOST_IN_TEN_MINUTES
