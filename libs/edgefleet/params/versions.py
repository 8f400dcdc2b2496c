"""How a change becomes versions: what applies at once, what waits, what follows when it was confirmed. Pure.

A change that only tightens, or that has no direction, is one effective version. A change that loosens anything is
first a version with `effective: false`; until risk and executor confirmed it, the tightened part of it is in force.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec
from pydantic import ValidationError

from edgefleet.ids import body_hash
from edgefleet.messages import ConfigBody, ParamVersion
from edgefleet.params.cross import contradictions
from edgefleet.params.directions import Body, loosened, tightened
from edgefleet.params.faults import Fault, InvalidConfig
from edgefleet.params.schema import COMPONENTS, FleetConfig

FLAGS = "flags"
NAMES = (*COMPONENTS, FLAGS)


class ComponentState(msgspec.Struct, frozen=True, kw_only=True):
    """What is stored of one component: the body in force, and the one that waits."""

    version: int
    sha256: str  # of `body`
    body: Body  # in force
    author: str
    reason: str
    ts: int  # ns
    effective: bool = True
    pending: Body | None = None  # the loosening that waits for its confirmations
    file_sha256: str = ""  # of the body that the file gave when it was last read

    @property
    def wanted(self) -> Body:
        """Return the body that was asked for last: the one that waits, else the one in force."""
        return self.body if self.pending is None else self.pending


class FleetState(msgspec.Struct, frozen=True, kw_only=True):
    """All components and the number of the write that made them so."""

    n: int = 0
    components: dict[str, ComponentState] = {}

    @property
    def versions(self) -> dict[str, int]:
        """Return each component's version."""
        return {name: component.version for name, component in self.components.items()}

    @property
    def waiting(self) -> dict[str, int]:
        """Return the version of each component that waits for confirmations."""
        return {name: component.version for name, component in self.components.items() if component.pending is not None}

    def bodies(self) -> dict[str, Body]:
        """Return the bodies in force."""
        return {name: component.body for name, component in self.components.items()}


class Current(msgspec.Struct, frozen=True, kw_only=True):
    """What readers read: the configuration in force, its hash, and the write that made it so."""

    n: int
    hash: str
    versions: dict[str, int]
    waiting: dict[str, int]
    body: str  # canonical JSON


class Applied(msgspec.Struct, frozen=True, kw_only=True):
    """What an instance of a service has in force. It lives as long as the instance's lease."""

    service: str
    instance: str
    hash: str
    n: int  # of the write it has applied
    seen: int  # of the newest write it has read
    versions: dict[str, int]
    ts: int  # ns, when it was applied


class Written(NamedTuple):
    """A new state and what the history says of it."""

    state: FleetState
    history: tuple[ParamVersion, ...]


class Stamp(NamedTuple):
    """Who changes, why and when (ns)."""

    author: str
    reason: str
    ts: int


def propose(
    state: FleetState,
    wanted: Mapping[str, Body],
    stamp: Stamp,
    *,
    may_loosen: bool,
    files: Mapping[str, str] | None = None,
) -> Written:
    """Return the state in which `wanted` is in force, or waits where it loosens and `may_loosen` is false.

    A component whose body is what was asked for last gets no new version.

    Raises
    ------
    InvalidConfig
        If the whole configuration with `wanted` in it is not valid; nothing is changed then.
    """
    _go_together({name: component.wanted for name, component in state.components.items()} | dict(wanted))
    news = {name: body for name, body in wanted.items() if _is_news(state, name, body)}
    components = dict(state.components)
    for name, body in news.items():
        components[name] = _next(state, name, body, stamp, may_loosen)
    for name, sha256 in (files or {}).items():
        components[name] = msgspec.structs.replace(components[name], file_sha256=sha256)
    components = _valid_or_waiting(state, components, news)
    return _written(state, components, news)


def promote(state: FleetState, stamp: Stamp) -> Written:
    """Return the state in which everything that waited is in force, as effective versions.

    Raises
    ------
    InvalidConfig
        If what waited no longer goes together with the rest.
    """
    waited = {name: component.pending for name, component in state.components.items() if component.pending is not None}
    _go_together(state.bodies() | waited)
    components = dict(state.components)
    for name, body in waited.items():
        by = Stamp(components[name].author, f"{components[name].reason}; {stamp.reason}", stamp.ts)
        components[name] = _effective(components[name], body, by)
    return _written(state, components, waited)


def withdraw(state: FleetState, stamp: Stamp) -> Written:
    """Return the state in which nothing waits any more: what is in force stays, as new versions."""
    kept = {name: component.body for name, component in state.components.items() if component.pending is not None}
    components = dict(state.components) | {
        name: _effective(state.components[name], body, stamp) for name, body in kept.items()
    }
    return _written(state, components, kept)


def validate(bodies: Mapping[str, Body]) -> FleetConfig:
    """Return the whole configuration made of `bodies`.

    Raises
    ------
    InvalidConfig
        With every fault in it.
    """
    try:
        return FleetConfig.model_validate_json(msgspec.json.encode(bodies), strict=True)
    except ValidationError as error:
        raise InvalidConfig([_told(details["loc"], details["msg"]) for details in error.errors()]) from error


def current(state: FleetState) -> Current:
    """Return what readers read of `state`."""
    config = validate(state.bodies())
    return Current(
        n=state.n,
        hash=config.hash,
        versions=state.versions,
        waiting=state.waiting,
        body=canonical(config.model_dump(mode="json")),
    )


def config_body(now: Current, ts: int) -> ConfigBody:
    """Return the history's entry for the configuration in force."""
    return ConfigBody(hash=now.hash, versions=now.versions, body=now.body, ts_event=ts, ts_init=ts)


def canonical(body: Any) -> str:
    """Return `body` as the JSON that its hash is taken over."""
    return msgspec.json.encode(body, order="sorted").decode()


def are_confirmed(waiting: Mapping[str, int], applied: Mapping[str, int]) -> bool:
    """Return whether an instance that applied these versions has all that wait."""
    return all(applied.get(name, 0) >= version for name, version in waiting.items())


def _go_together(bodies: Mapping[str, Body]) -> None:
    found = contradictions(validate(bodies))
    if found:
        raise InvalidConfig([_told(path, reason) for path, reason in found])


def _is_news(state: FleetState, name: str, body: Body) -> bool:
    known = state.components.get(name)
    return known is None or known.wanted != body


def _next(state: FleetState, name: str, body: Body, stamp: Stamp, may_loosen: bool) -> ComponentState:
    known = state.components.get(name)
    if known is None:
        return _component(1, body, stamp)
    model = COMPONENTS.get(name)
    if may_loosen or model is None or not loosened(model, known.body, body):
        return _effective(known, body, stamp)
    in_force = tightened(model, known.body, body)
    return msgspec.structs.replace(
        known,
        version=known.version + 1,
        body=in_force,
        sha256=body_hash(in_force),
        author=stamp.author,
        reason=stamp.reason,
        ts=stamp.ts,
        effective=False,
        pending=body,
    )


def _valid_or_waiting(
    state: FleetState, components: dict[str, ComponentState], news: Mapping[str, Body]
) -> dict[str, ComponentState]:
    """Return `components`, or, where the tightened parts do not go together, the old bodies with all of it waiting."""
    try:
        _go_together({name: component.body for name, component in components.items()})
    except InvalidConfig:
        waiting = {name: _waiting_whole(state.components[name], components[name], news[name]) for name in news}
        return components | waiting
    return components


def _waiting_whole(old: ComponentState, new: ComponentState, body: Body) -> ComponentState:
    return msgspec.structs.replace(new, body=old.body, sha256=old.sha256, effective=False, pending=body)


def _component(version: int, body: Body, stamp: Stamp) -> ComponentState:
    return ComponentState(
        version=version, sha256=body_hash(body), body=body, author=stamp.author, reason=stamp.reason, ts=stamp.ts
    )


def _effective(known: ComponentState, body: Body, stamp: Stamp) -> ComponentState:
    made = _component(known.version + 1, body, stamp)
    return msgspec.structs.replace(made, file_sha256=known.file_sha256)


def _written(state: FleetState, components: dict[str, ComponentState], changed: Mapping[str, Body]) -> Written:
    after = FleetState(n=state.n + 1, components=components)
    config = validate(after.bodies()).hash
    return Written(after, tuple(_version(name, components[name], config) for name in changed))


def _version(name: str, component: ComponentState, config: str) -> ParamVersion:
    return ParamVersion(
        component=name,
        version=component.version,
        sha256=body_hash(component.wanted),
        body=canonical(component.wanted),
        author=component.author,
        reason=component.reason,
        effective=component.effective,
        config=config,
        ts_event=component.ts,
        ts_init=component.ts,
    )


def _told(location: tuple[str | int, ...], message: str) -> Fault:
    reason = message.removeprefix("Value error, ").removeprefix("Input ")
    return Fault(source="configuration", key=".".join(str(step) for step in location), reason=reason)
