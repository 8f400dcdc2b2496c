"""Changes of the configuration: from files, operators, flags and confirmations to stored versions.

Reads, decides and writes by compare-and-set, so several writers cannot lose each other's change. Who wins at a restart:
a file that changed since it was last read wins over what operators set; a file that did not leaves their settings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from pydantic import ValidationError

from edgefleet.clock import SYSTEM, Clock
from edgefleet.errors import Misuse, Transient
from edgefleet.ids import body_hash
from edgefleet.messages import Alert, ParamRejected, ParamVersion
from edgefleet.params.directions import Body
from edgefleet.params.documents import parse_scalar
from edgefleet.params.faults import Fault, InvalidConfig
from edgefleet.params.files import Component, assemble, inside, load_component, load_components, path_of
from edgefleet.params.requests import ReloadRequest
from edgefleet.params.schema import COMPONENTS, canonical_component
from edgefleet.params.store import ParamStore
from edgefleet.params.versions import FLAGS, FleetState, Stamp, Written, are_confirmed, promote, propose, withdraw

CONFIRMING = frozenset({"risk", "executor"})  # whose instances must have applied a loosening before it is in force
MAX_ATTEMPTS = 20
REJECTED_BODY_BYTES = 100_000

Wanted = dict[str, Body]


class Outcome(NamedTuple):
    """What a change came to."""

    n: int
    history: tuple[ParamVersion, ...]  # the versions it made, none where nothing was new
    waiting: dict[str, int]


class ParamWriter:
    """Who may change the stored configuration."""

    def __init__(self, store: ParamStore, *, clock: Clock = SYSTEM, environ: Mapping[str, str] | None = None) -> None:
        self._store = store
        self._clock = clock
        self._environ = environ

    async def start(self, conf_dir: Path) -> Outcome:
        """Put the files in force at a start: all of them on a new Redis, else those that changed since they were read.

        Raises
        ------
        InvalidConfig
            If a file is wrong; what is stored stays in force.
        """
        components = load_components(conf_dir, self._environ)
        assemble(components)
        files = {name: body_hash(component.body) for name, component in components.items()}

        def decide(state: FleetState) -> Wanted:
            changed = {
                name: component.body
                for name, component in components.items()
                if (known := state.components.get(name)) is None or known.file_sha256 != files[name]
            }
            return changed if FLAGS in state.components else changed | {FLAGS: {}}

        return await self._change(decide, "conf", "start", files=files)

    async def reload(self, conf_dir: Path, request: ReloadRequest) -> Outcome:
        """Read what `request` names again and put it in force. Every reader confirms it, even where nothing is new.

        Raises
        ------
        InvalidConfig
            If a file is wrong or the components do not go together; nothing changes then.
        Misuse
            If the component is unknown or the path leads out.
        """
        components = self._read(conf_dir, request)

        def decide(state: FleetState) -> Wanted:
            return {name: _merged_venue(state, component) for name, component in components.items()}

        # Another file than the component's own is an operator's setting: it says nothing of what the own file holds.
        own = request.config_path is None or self._is_own(conf_dir, request)
        files = {name: body_hash(component.body) for name, component in components.items() if own}
        reason = "reload" if request.config_path is None else f"reload {request.config_path}"
        return await self._change(decide, request.author, reason, files=files, always=True)

    def text_of(self, conf_dir: Path, request: ReloadRequest, payload: bytes) -> str:
        """Return what was refused, for the history: the file's text where there is one, else the request."""
        try:
            name = canonical_component(request.component or "")
            path = path_of(conf_dir, name) if request.config_path is None else inside(conf_dir, request.config_path)
            raw = path.read_bytes()
        except (Misuse, OSError):
            raw = payload
        return raw[:REJECTED_BODY_BYTES].decode(errors="replace")

    async def set(self, component: str, key: str, value: str, *, author: str, reason: str) -> Outcome:
        """Replace one value, `value` being one line of YAML. Raises `InvalidConfig` where it does not fit."""
        name = canonical_component(component)

        def decide(state: FleetState) -> Wanted:
            return {name: with_value(name, _wanted(state, name), key, parse_scalar(value))}

        return await self._change(decide, author, reason)

    async def rollback(self, component: str, version: int | None, *, author: str) -> Outcome:
        """Put an earlier version in force again, as a new one: `version`, or the one before the last change.

        Raises
        ------
        Misuse
            If the history does not hold it.
        """
        name = component if component == FLAGS else canonical_component(component)
        target = await self._target(name, version)
        body = msgspec.json.decode(target.body)
        return await self._change(lambda _state: {name: body}, author, f"rollback to version {target.version}")

    async def flags(self, flags: Mapping[str, bool]) -> Outcome:
        """Put feature flags in force."""
        return await self._change(lambda _state: {FLAGS: dict(sorted(flags.items()))}, "feature keys", "feature keys")

    async def promote(self) -> Outcome | None:
        """Put what waits in force once every living risk and executor applied it; None while nothing can be."""
        state = await self._store.read()
        if not state.waiting:
            return None
        living = [applied for applied in await self._store.applied() if applied.service in CONFIRMING]
        if not all(are_confirmed(state.waiting, applied.versions) for applied in living):
            return None
        by = ", ".join(f"{applied.service}:{applied.instance}" for applied in living) or "no living instance"
        stamp = Stamp("params", f"confirmed by {by}", self._clock.wall_ns())
        try:
            written = promote(state, stamp)
        except InvalidConfig as error:
            written = withdraw(state, stamp._replace(reason=f"withdrawn: {error}"))
        try:
            return await self._write(written)
        except Transient:
            return None  # whoever changed it has woken us again

    async def reject(self, component: str, source: str, error: Misuse, *, body: str, author: str) -> ParamRejected:
        """Note that a change was refused, in the history and as an alert; return what was noted."""
        now = self._clock.wall_ns()
        faults = error.faults if isinstance(error, InvalidConfig) else (Fault(source=source, reason=str(error)),)
        errors = tuple(str(fault) for fault in faults)
        rejected = ParamRejected(
            component=component, source=source, errors=errors, body=body, author=author, ts_event=now, ts_init=now
        )
        alert = Alert(
            name="param_rejected",
            severity="warning",
            service="params",
            text=f"{component}: {'; '.join(errors)}",
            ts_event=now,
            ts_init=now,
        )
        await self._store.reject(rejected, alert)
        return rejected

    def _read(self, conf_dir: Path, request: ReloadRequest) -> dict[str, Component]:
        if request.component is None:
            return load_components(conf_dir, self._environ)
        name = canonical_component(request.component)
        path = path_of(conf_dir, name) if request.config_path is None else inside(conf_dir, request.config_path)
        return {name: load_component(name, path, self._environ)}

    def _is_own(self, conf_dir: Path, request: ReloadRequest) -> bool:
        own = path_of(conf_dir, request.component or "").resolve()
        return inside(conf_dir, request.config_path or "") == own

    async def _target(self, name: str, version: int | None) -> ParamVersion:
        if version is not None:
            return await self._store.version(name, version)
        history = [m for m in await self._store.history(name) if isinstance(m, ParamVersion)]
        earlier = [m for m in history if m.sha256 != history[-1].sha256]
        if not earlier:
            raise Misuse(f"{name} has no earlier version to go back to")
        return earlier[-1]

    async def _change(
        self,
        decide: Callable[[FleetState], Wanted],
        author: str,
        reason: str,
        *,
        files: Mapping[str, str] | None = None,
        always: bool = False,
    ) -> Outcome:
        """Read, decide, write; again where another write came between."""
        for _ in range(MAX_ATTEMPTS):
            state = await self._store.read()
            wanted = decide(state)
            living = [applied for applied in await self._store.applied() if applied.service in CONFIRMING]
            stamp = Stamp(author, reason, self._clock.wall_ns())
            written = propose(state, wanted, stamp, may_loosen=not living, files=files)
            if not always and written.state.components == state.components:
                return Outcome(state.n, (), state.waiting)
            try:
                return await self._write(written)
            except Transient:
                continue
        raise Transient(f"{MAX_ATTEMPTS} other changes of the parameters came first; try again")

    async def _write(self, written: Written) -> Outcome:
        now = await self._store.write(written, ts=self._clock.wall_ns())
        return Outcome(now.n, written.history, now.waiting)


def with_value(component: str, body: Body, key: str, value: object) -> Body:
    """Return `body` with `value` at the dotted `key`, validated.

    Raises
    ------
    InvalidConfig
        If the key is unknown or the value does not fit it.
    """
    changed: Body = msgspec.json.decode(msgspec.json.encode(body))
    *parents, last = key.split(".")
    here: Any = changed
    for step in parents:
        here = _into(component, here, step, key)
    if isinstance(here, list):
        here[_index(component, here, last, key)] = value
    elif isinstance(here, dict):
        here[last] = value
    else:
        raise InvalidConfig([Fault(source=component, key=key, reason="is no key: its parent is a single value")])
    return validated_body(component, changed)


def validated_body(component: str, body: Body) -> Body:
    """Return `body` as its schema writes it. Raises `InvalidConfig` where it does not fit."""
    try:
        return COMPONENTS[component].model_validate_json(msgspec.json.encode(body), strict=True).model_dump(mode="json")
    except ValidationError as error:
        raise InvalidConfig(
            [
                Fault(
                    source=component,
                    key=".".join(str(step) for step in details["loc"]),
                    reason="is unknown here" if details["type"] == "extra_forbidden" else details["msg"],
                )
                for details in error.errors()
            ]
        ) from error


def _wanted(state: FleetState, name: str) -> Body:
    known = state.components.get(name)
    if known is None:
        raise Misuse(f"{name} has no version yet; start the params service")
    return known.wanted


def _merged_venue(state: FleetState, component: Component) -> Body:
    """Return the component's body; one venue's file changes that venue and leaves the others."""
    if component.name != "venues" or component.whole:
        return component.body
    known = state.components.get("venues")
    others = {} if known is None else known.wanted.get("venues", {})
    return {**component.body, "venues": {**others, **component.body["venues"]}}


def _into(component: str, here: Any, step: str, key: str) -> Any:
    if isinstance(here, list):
        return here[_index(component, here, step, key)]
    if isinstance(here, dict) and step in here:
        return here[step]
    raise InvalidConfig([Fault(source=component, key=key, reason=f"{step!r} is unknown here")])


def _index(component: str, items: list[Any], step: str, key: str) -> int:
    if step.isdecimal() and int(step) < len(items):
        return int(step)
    raise InvalidConfig(
        [Fault(source=component, key=key, reason=f"the list has {len(items)} items, from 0; was {step!r}")]
    )
