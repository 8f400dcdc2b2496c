"""Docker's API over its unix socket, as much of it as the keeper asks. Decides nothing.

Paths carry no API version, so an engine answers with the newest it has: what is read here has been the same since 1.24.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import httpx
import msgspec

from edgefleet.clock import NS_PER_S
from edgefleet.errors import Misuse, Transient

from .decide import ACTIONS, ContainerEvent, Facts

T = TypeVar("T")

PROJECT = "com.docker.compose.project"
ONE_OFF = "com.docker.compose.oneoff"
# A start returns when the container runs; an engine on a loaded machine takes seconds for that.
ANSWERS_WITHIN_S = 60.0


class _State(msgspec.Struct, frozen=True, rename="pascal"):
    status: str
    exit_code: int
    started_at: datetime
    finished_at: datetime  # the year 1 where it never ended


class _RestartPolicy(msgspec.Struct, frozen=True, rename="pascal"):
    name: str = ""


class _HostConfig(msgspec.Struct, frozen=True, rename="pascal"):
    restart_policy: _RestartPolicy


class _Config(msgspec.Struct, frozen=True, rename="pascal"):
    labels: dict[str, str] | None = None


class _Container(msgspec.Struct, frozen=True, rename="pascal"):
    id: str = msgspec.field(name="Id")
    state: _State
    host_config: _HostConfig
    config: _Config

    @property
    def labels(self) -> dict[str, str]:
        return self.config.labels or {}


class _Actor(msgspec.Struct, frozen=True):
    id: str = msgspec.field(name="ID")
    attributes: dict[str, str] = msgspec.field(name="Attributes", default_factory=dict)


class _Event(msgspec.Struct, frozen=True):
    action: str = msgspec.field(name="Action")
    actor: _Actor = msgspec.field(name="Actor")
    time_ns: int = msgspec.field(name="timeNano")


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """An event of a container with what the log and the next connection need."""

    event: ContainerEvent
    name: str
    time_ns: int  # the engine's wall clock


class Itself(msgspec.Struct, frozen=True, kw_only=True):
    """What the keeper is to Docker."""

    project: str
    started_ns: int  # the engine's wall clock, to the second below
    has_run_before: bool  # it was started again; False for a container that is new


class Engine:
    """A connection to Docker. Every method raises `Transient` where the engine is silent or talks nonsense."""

    def __init__(self, socket: Path) -> None:
        # No proxy: Docker may have put the host's into the environment, and it would be asked instead of the socket.
        transport = httpx.AsyncHTTPTransport(uds=str(socket))
        self._client = httpx.AsyncClient(
            transport=transport, base_url="http://docker", timeout=ANSWERS_WITHIN_S, trust_env=False
        )

    async def __aenter__(self) -> Engine:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def itself(self, hostname: str) -> Itself:
        """Return what the container of this hostname is; Docker's default hostname is the container's id.

        Raises
        ------
        Misuse
            If there is no such container, or it belongs to no Compose project.
        """
        answer = await self._ask("GET", f"/containers/{hostname}/json")
        if answer.status_code == 404:
            raise Misuse(f"the engine knows no container {hostname!r}: the keeper runs in a container of the project")
        container = _decoded(answer.content, _Container)
        project = container.labels.get(PROJECT)
        if project is None:
            raise Misuse(f"container {hostname!r} has no label {PROJECT}: start the keeper by docker-compose")
        return Itself(
            project=project,
            started_ns=int(container.state.started_at.timestamp()) * NS_PER_S,
            has_run_before=container.state.finished_at.year > 1,
        )

    async def facts(self, container: str) -> Facts | None:
        """Return what a container is now, None where it is gone."""
        answer = await self._ask("GET", f"/containers/{container}/json")
        if answer.status_code == 404:
            return None
        known = _decoded(answer.content, _Container)
        return Facts(
            status=known.state.status,
            exit_code=known.state.exit_code,
            restart_policy=known.host_config.restart_policy.name,
            one_off=known.labels.get(ONE_OFF, "False").lower() == "true",
        )

    async def start(self, container: str) -> bool:
        """Start a container; return False where it ran already, is gone or is being removed."""
        answer = await self._ask("POST", f"/containers/{container}/start")
        return answer.status_code == 204

    async def events(self, project: str, since_ns: int) -> AsyncIterator[Told | None]:
        """Yield None when the engine listens, then what it says of the project's containers, from `since_ns` on.

        Docker remembers its last 256 events; those come first. Ends when the engine does.
        """
        filters = {"type": ["container"], "event": ACTIONS, "label": [f"{PROJECT}={project}"]}
        since = f"{since_ns // NS_PER_S}.{since_ns % NS_PER_S:09d}"
        parameters = {"since": since, "filters": msgspec.json.encode(filters).decode()}
        quiet = httpx.Timeout(ANSWERS_WITHIN_S, read=None)  # a project may have nothing to say for days
        try:
            async with self._client.stream("GET", "/events", params=parameters, timeout=quiet) as answer:
                if answer.status_code != 200:
                    raise _refused(answer.status_code, await answer.aread())
                yield None
                async for line in _lines(answer):
                    yield _told(line)
        except httpx.HTTPError as error:
            raise _silent(error) from error

    async def _ask(self, method: str, path: str) -> httpx.Response:
        try:
            answer = await self._client.request(method, path)
        except httpx.HTTPError as error:
            raise _silent(error) from error
        # Not modified, gone and being removed are answers; the rest is not.
        if answer.is_success or answer.status_code in {304, 404, 409}:
            return answer
        raise _refused(answer.status_code, answer.content)


async def _lines(answer: httpx.Response) -> AsyncIterator[bytes]:
    # httpx' own lines also end at U+0085, which may stand in a label as it is.
    begun = b""
    async for chunk in answer.aiter_bytes():
        *whole, begun = (begun + chunk).split(b"\n")
        for line in whole:
            if line.strip():
                yield line


def _told(line: bytes) -> Told:
    event = _decoded(line, _Event)
    attributes = event.actor.attributes
    number = attributes.get("signal", "")
    return Told(
        event=ContainerEvent(
            container=event.actor.id, action=event.action, signal=int(number) if number.isdecimal() else None
        ),
        name=attributes.get("name", event.actor.id[:12]),
        time_ns=event.time_ns,
    )


def _decoded(data: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.MsgspecError as error:
        raise Transient(f"the engine's answer is not what Docker's API says: {error}") from error


def _silent(error: httpx.HTTPError) -> Transient:
    return Transient(f"the engine does not answer: {error or type(error).__name__}")


def _refused(status: int, body: bytes) -> Transient:
    return Transient(f"the engine refused with {status}: {body[:200].decode(errors='replace').strip()}")
