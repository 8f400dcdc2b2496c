"""Errors named by their consequence: what the fleet does about each. Knows nothing of who raises them."""

from __future__ import annotations


class FleetError(Exception):
    """Anything the fleet raises on purpose."""


class Transient(FleetError):
    """Worth trying again unchanged. The loop re-reads after a back-off; nobody is woken."""


class Poison(FleetError):
    """This message will never succeed. It goes to the dead-letter stream with this text; the service goes on.

    On the order path (`targets orders fills venue.events control`) it is `Broken` instead.
    """


class Broken(FleetError):
    """An invariant of ours is false. The service stops and trading with it; restart is recovery."""


class Fenced(FleetError):
    """A newer owner has this identity. The process stops; it must not write again."""


class Misuse(FleetError):
    """Wrong use or configuration: one line with what, where and how to mend. The command exits with 2."""


class OutOfReach(FleetError):
    """A needed thing (Redis, venue, data directory) does not answer. The command exits with 3."""
