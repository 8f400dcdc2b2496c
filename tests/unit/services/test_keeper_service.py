"""The keeper against a Docker of our own on a unix socket: what it asks, what it starts, and how it is left out."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from edgefleet.clock import NS_PER_S
from edgefleet.errors import Misuse
from edgefleet.testing import FakeClock
from edgefleet_services.keeper.decide import FIRST_DELAY_NS
from edgefleet_services.keeper.service import serve
from edgefleet_services.options import ServiceOptions

PROJECT = "com.docker.compose.project"
ITSELF, RISK = "keeper0" * 9, "risk000" * 9
STARTED_S = 1_750_000_000  # 2025-06-15T15:06:40Z


def state(status: str = "running", exit_code: int = 0, finished: str = "0001-01-01T00:00:00Z") -> dict[str, Any]:
    return {
        "Status": status,
        "ExitCode": exit_code,
        "StartedAt": "2025-06-15T15:06:40.123456789Z",
        "FinishedAt": finished,
    }


class FakeDocker:
    """The four requests that the keeper makes, answered from what a test says; it forgets nothing it told."""

    def __init__(self) -> None:
        self.states = {ITSELF: state(), RISK: state()}
        self.labels: dict[str, str] | None = {PROJECT: "fleet", "com.docker.compose.oneoff": "False"}
        self.refuses_start = False
        self.starts = 0
        self.asked: list[dict[str, str]] = []  # the parameters of each request for events
        self._told: list[dict[str, Any]] = []
        self._news = asyncio.Condition()
        self.app = Starlette(
            routes=[
                Route("/containers/{name}/json", self._inspect),
                Route("/containers/{name}/start", self._start, methods=["POST"]),
                Route("/events", self._events),
            ]
        )

    def _container(self, name: str) -> str | None:
        return next((container for container in self.states if container.startswith(name)), None)

    async def _inspect(self, request: Request) -> Response:
        container = self._container(request.path_params["name"])
        if container is None:
            return JSONResponse({"message": "No such container"}, 404)
        policy = {"RestartPolicy": {"Name": "unless-stopped", "MaximumRetryCount": 0}}
        return JSONResponse(
            {
                "Id": container,
                "State": self.states[container],
                "HostConfig": policy,
                "Config": {"Labels": self.labels},
            }
        )

    async def _start(self, request: Request) -> Response:
        if self.refuses_start:
            return JSONResponse({"message": "port is already allocated"}, 500)
        container = request.path_params["name"]
        self.starts += 1
        self.states[container] = state()
        await self.tell(container, "start")
        return Response(status_code=204)

    async def _events(self, request: Request) -> Response:
        self.asked.append(dict(request.query_params))
        seconds, _, nanoseconds = request.query_params["since"].partition(".")
        since_ns = int(seconds) * NS_PER_S + int(nanoseconds)

        async def lines() -> AsyncIterator[bytes]:
            sent = 0
            while True:
                async with self._news:
                    while len(self._told) == sent:
                        await self._news.wait()
                    new, sent = self._told[sent:], len(self._told)
                for event in new:
                    if event["timeNano"] >= since_ns:
                        line = json.dumps(event, ensure_ascii=False).encode() + b"\n"
                        yield line[:20]
                        yield line[20:]

        return StreamingResponse(lines(), media_type="application/json")

    async def tell(self, container: str, action: str, **attributes: str) -> None:
        """Publish an event, a second after the one before."""
        async with self._news:
            at_s = STARTED_S + 1 + len(self._told)
            self._told.append(
                {
                    "Type": "container",
                    "Action": action,
                    "Actor": {
                        "ID": container,
                        "Attributes": {"name": "fleet_risk_1", "label": "odd\x85one", **attributes},
                    },
                    "scope": "local",
                    "time": at_s,
                    "timeNano": at_s * NS_PER_S,
                }
            )
            self._news.notify_all()

    async def kill(self, container: str) -> None:
        """Do what `docker kill` does."""
        self.states[container] = state("exited", 137, "2025-06-15T15:07:00Z")
        await self.tell(container, "kill", signal="9")
        await self.tell(container, "die", exitCode="137")


@asynccontextmanager
async def answering(docker: FakeDocker, path: Path) -> AsyncIterator[None]:
    """Let `docker` answer at the socket; at the end all its connections break, as when an engine is killed."""
    config = uvicorn.Config(docker.app, uds=str(path), log_config=None, lifespan="off", timeout_graceful_shutdown=0)
    server = uvicorn.Server(config)
    server.config.load()
    server.lifespan = server.config.lifespan_class(server.config)
    bound = socket.socket(socket.AF_UNIX)
    bound.bind(str(path))
    await server.startup(sockets=[bound])
    serving = asyncio.create_task(server.main_loop())
    try:
        yield
    finally:
        server.should_exit = True
        await serving
        await server.shutdown(sockets=[bound])
        bound.close()
        path.unlink()


def options(port: int) -> ServiceOptions:
    return ServiceOptions(redis_url="", conf_dir=Path(), data_dir=Path(), port=port)


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@asynccontextmanager
async def keeping(path: Path, port: int, clock: FakeClock) -> AsyncIterator[asyncio.Task[None]]:
    stop = asyncio.Event()
    task = asyncio.create_task(serve(options(port), docker=path, hostname=ITSELF[:12], stop=stop, clock=clock))
    try:
        yield task
    finally:
        stop.set()
        await task


async def until(look: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        while not await look():  # noqa: ASYNC110 - what is looked at is behind a socket and sets no event of ours
            await asyncio.sleep(0.02)


async def health(port: int) -> httpx.Response | None:
    async with httpx.AsyncClient() as client:
        try:
            return await client.get(f"http://127.0.0.1:{port}/health")
        except httpx.ConnectError:
            return None


def answers(port: int, status: int) -> Callable[[], Awaitable[bool]]:
    async def look() -> bool:
        answer = await health(port)
        return answer is not None and answer.status_code == status

    return look


def started(docker: FakeDocker, times: int, clock: FakeClock) -> Callable[[], Awaitable[bool]]:
    async def look() -> bool:
        clock.advance(ns=FIRST_DELAY_NS // 10)
        return docker.starts == times

    return look


def said(capsys: pytest.CaptureFixture[str], event: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    return [line for line in lines if line["event"] == event]


async def test_a_killed_container_is_started_and_said_so_in_one_line(
    tmp_path: Path, port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    docker, clock = FakeDocker(), FakeClock()
    async with answering(docker, tmp_path / "docker.sock"), keeping(tmp_path / "docker.sock", port, clock):
        await until(answers(port, 200))
        await docker.kill(RISK)

        await until(started(docker, 1, clock))

        filters = json.loads(docker.asked[0]["filters"])
    assert filters["label"] == [f"{PROJECT}=fleet"]
    assert filters["type"] == ["container"]
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(line["service"], line["container"]) for line in lines if line["event"] == "killed_container_started"] == [
        ("keeper", "fleet_risk_1")
    ]


async def test_what_is_being_removed_when_its_time_has_come_is_left(
    tmp_path: Path, port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    docker, clock, seen = FakeDocker(), FakeClock(), []

    async def left() -> bool:
        clock.advance(ns=FIRST_DELAY_NS // 10)
        seen.extend(said(capsys, "killed_container_left"))
        return bool(seen)

    async with answering(docker, tmp_path / "docker.sock"), keeping(tmp_path / "docker.sock", port, clock):
        await until(answers(port, 200))
        await docker.kill(RISK)
        docker.states[RISK] = state("removing", 137)

        await until(left)

    assert docker.starts == 0
    assert "removing" in seen[0]["reason"]


async def test_a_start_that_docker_refuses_is_tried_again(
    tmp_path: Path, port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    docker, clock, seen = FakeDocker(), FakeClock(), []
    docker.refuses_start = True

    async def refused() -> bool:
        clock.advance(ns=FIRST_DELAY_NS // 10)
        seen.extend(said(capsys, "killed_container_not_started"))
        return bool(seen)

    async with answering(docker, tmp_path / "docker.sock"), keeping(tmp_path / "docker.sock", port, clock):
        await until(answers(port, 200))
        await docker.kill(RISK)
        await until(refused)

        docker.refuses_start = False

        await until(started(docker, 1, clock))
    assert "port is already allocated" in seen[0]["error"]


async def test_after_the_engine_was_away_it_goes_on_behind_the_last_event(tmp_path: Path, port: int) -> None:
    docker, clock, path = FakeDocker(), FakeClock(), tmp_path / "docker.sock"
    engine = AsyncExitStack()
    await engine.enter_async_context(answering(docker, path))
    async with keeping(path, port, clock):
        await until(answers(port, 200))
        await docker.kill(RISK)
        await until(started(docker, 1, clock))
        await engine.aclose()
        await until(answers(port, 503))
        await docker.kill(RISK)  # nobody listens

        async with answering(docker, path):
            await until(started(docker, 2, clock))

    since = [float(asked["since"]) for asked in docker.asked]
    assert since[0] == STARTED_S
    assert since[1] > STARTED_S + 2


async def test_a_new_keeper_knows_nothing_of_kills_before_it(tmp_path: Path, port: int) -> None:
    """Who killed all and lets Compose make new containers would find the old ones started in the midst of it."""
    docker, clock = FakeDocker(), FakeClock()
    async with answering(docker, tmp_path / "docker.sock"), keeping(tmp_path / "docker.sock", port, clock):
        await until(answers(port, 200))

    assert [float(asked["since"]) for asked in docker.asked] == [STARTED_S]


async def test_a_keeper_that_was_started_again_looks_back_for_a_minute(tmp_path: Path, port: int) -> None:
    docker, clock = FakeDocker(), FakeClock()
    docker.states[ITSELF] = state(finished="2025-06-15T15:06:39.5Z")
    async with answering(docker, tmp_path / "docker.sock"), keeping(tmp_path / "docker.sock", port, clock):
        await until(answers(port, 200))

    assert [float(asked["since"]) for asked in docker.asked] == [STARTED_S - 60]


@pytest.mark.parametrize("is_folder", [False, True], ids=["the null device", "the folder that Docker makes"])
async def test_without_a_socket_it_is_well_and_says_that_killed_containers_stay_down(
    is_folder: bool, tmp_path: Path, port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    async with keeping(tmp_path if is_folder else Path("/dev/null"), port, FakeClock()):
        await until(answers(port, 200))
        answer = await health(port)

    assert answer is not None
    assert "killed containers stay down" in answer.json()["checks"][0]["detail"]
    lines = capsys.readouterr().err.splitlines()
    assert [json.loads(line)["event"] for line in lines] == ["killed_containers_stay_down"]


@pytest.mark.parametrize(
    ("itself", "labels", "told"),
    [
        ("elsewhere", {PROJECT: "fleet"}, "runs in a container of the project"),
        (ITSELF, {}, "start the keeper by docker-compose"),
        (ITSELF, None, "start the keeper by docker-compose"),
    ],
    ids=["no container", "no project", "no labels"],
)
async def test_outside_a_compose_project_it_ends_with_one_line(
    itself: str, labels: dict[str, str] | None, told: str, tmp_path: Path, port: int
) -> None:
    docker = FakeDocker()
    docker.states, docker.labels = {itself: state()}, labels
    async with answering(docker, tmp_path / "docker.sock"):
        with pytest.raises(Misuse, match=told):
            await serve(options(port), docker=tmp_path / "docker.sock", hostname=ITSELF[:12], stop=asyncio.Event())


async def test_an_engine_that_is_away_for_long_is_one_line(
    tmp_path: Path, port: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgefleet_services.keeper.service.RECONNECT_AFTER_S", 0.01)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "docker.sock"))
        refused = 0

        async def tried_often() -> bool:
            nonlocal refused
            refused += 1
            return refused > 20 and await answers(port, 503)()

        async with keeping(tmp_path / "docker.sock", port, FakeClock()):
            await until(tried_often)

    assert len(said(capsys, "engine_out_of_reach")) == 1


@pytest.mark.parametrize("body", [b"not json\n", b'{"Action": "die"}\n', b'{"Action": 7, "timeNano": 1}\n'])
async def test_an_answer_that_is_not_dockers_is_told_and_asked_again(body: bytes, tmp_path: Path, port: int) -> None:
    docker = FakeDocker()

    async def nonsense(request: Request) -> Response:
        docker.asked.append(dict(request.query_params))
        return Response(body)

    docker.app.router.routes.insert(0, Route("/events", nonsense))
    async with answering(docker, tmp_path / "docker.sock"), keeping(tmp_path / "docker.sock", port, FakeClock()):
        await until(answers(port, 503))

        async def asked_again() -> bool:
            return len(docker.asked) > 1

        await until(asked_again)
