"""`edgefleet params` against a real Redis and a params service in a process of its own."""

from __future__ import annotations

import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from typer.testing import CliRunner

from edgefleet.bus.embedded import EmbeddedServer
from edgefleet.errors import Misuse, OutOfReach
from edgefleet_services.cli.params import app

pytestmark = pytest.mark.integration

CONF = Path(__file__).parents[2] / "conf"
SERVE = """
import asyncio, sys
from pathlib import Path
from edgefleet_services.options import ServiceOptions
from edgefleet_services.params.service import serve
url, conf, port = sys.argv[1:]
asyncio.run(serve(ServiceOptions(redis_url=url, conf_dir=Path(conf), data_dir=Path(conf).parent, port=int(port))))
"""


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


class Service:
    """A params service, its Redis and its files."""

    def __init__(self, url: str, conf: Path, port: int, process: subprocess.Popen[bytes]) -> None:
        self.url, self.conf, self.port, self.process = url, conf, port, process

    def run(self, *arguments: str) -> tuple[int, str]:
        """Return the exit code and the output of one command line."""
        result = CliRunner().invoke(app, list(arguments), env={"REDIS_URL": self.url}, standalone_mode=False)
        if isinstance(result.exception, Misuse):
            return 2, str(result.exception)
        if isinstance(result.exception, OutOfReach):
            return 3, str(result.exception)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return int(result.return_value or 0) if result.exit_code == 0 else result.exit_code, result.output

    def resident_mb(self) -> float:
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1]) / 1024
        raise AssertionError("no VmRSS")


@contextmanager
def serving(url: str, conf: Path) -> Iterator[Service]:
    port = _free_port()
    process = subprocess.Popen([sys.executable, "-c", SERVE, url, str(conf), str(port)])
    try:
        _until_healthy(port, process)
        yield Service(url, conf, port, process)
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(timeout=10)
    assert code == 0


def _until_healthy(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urlopen(f"http://127.0.0.1:{port}/health", timeout=1) as answer:
                assert json.load(answer)["ok"]
                return
        except (URLError, ConnectionError):
            time.sleep(0.02)  # the process is starting; there is nothing else to wait on
    raise AssertionError("the params service did not become healthy")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    root = tmp_path_factory.mktemp("params")
    conf = Path(shutil.copytree(CONF, root / "conf"))
    with EmbeddedServer.start(root / "redis", _free_port()) as server, serving(server.url, conf) as running:
        yield running


def test_list_shows_every_component_at_its_version(service: Service) -> None:
    code, output = service.run("list", "--json")

    names = {row["component"] for row in json.loads(output)["components"]}
    assert code == 0
    assert names == {
        "risk_harmonizer", "model_router", "models", "features", "venues", "instruments", "execution", "stress",
        "fleet", "flags",
    }  # fmt: skip


def test_set_get_diff_history_and_rollback_tell_one_story(service: Service) -> None:
    before = json.loads(service.run("get", "features", "bar_ms", "--json")[1])["value"]

    assert service.run("set", "features", "bar_ms", "750", "--reason", "shorter bars") == (0, "features v2\n")
    assert service.run("get", "features", "bar_ms") == (0, "750\n")
    changed = json.loads(service.run("diff", "features", "--from", "1", "--to", "2", "--json")[1])
    code, _ = service.run("rollback", "features")
    told = service.run("history", "features")[1]

    assert changed["differences"] == [{"component": "features", "key": "bar_ms", "before": before, "after": 750}]
    assert code == 0
    assert service.run("get", "features", "bar_ms") == (0, f"{before}\n")
    assert "shorter bars" in told
    assert "rollback to version 1" in told


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        (
            "position_sizing.kelly_fraction",
            "3",
            "risk_harmonizer: position_sizing.kelly_fraction: .*less than or equal to 1",
        ),
        ("position_sizing.kely", "0.1", "risk_harmonizer: position_sizing.kely: is unknown here"),
        ("nothing.at_all", "0.1", "risk_harmonizer: nothing.at_all: 'nothing' is unknown here"),
        ("position_sizing.kelly_fraction", "lots", "risk_harmonizer: position_sizing.kelly_fraction: "),
        ("position_sizing.kelly_fraction", ".nan", "kelly|finite"),
    ],
)
def test_set_refuses_what_does_not_fit_and_names_the_key(service: Service, key: str, value: str, told: str) -> None:
    code, output = service.run("set", "risk_harmoniser", key, value)

    assert code == 2
    assert re.search(told, output), output


def test_reload_answers_with_the_versions_or_with_file_line_and_key(service: Service) -> None:
    file = service.conf / "execution.yml"
    good = file.read_text()
    line = good[: good.index("max_legs: 8")].count("\n") + 1
    file.write_text(good.replace("max_legs: 8", "max_legs: 9"))
    taken = service.run("reload", "execution")
    file.write_text(good.replace("max_legs: 8", "max_legs: 0"))
    refused = service.run("reload", "execution", "--json")
    file.write_text(good)

    assert taken[0] == 0
    assert "execution v2" in taken[1]
    assert refused[0] == 2
    assert json.loads(refused[1])["errors"] == [f"conf/execution.yml:{line}: max_legs: should be greater than 0, was 0"]


def test_validate_needs_no_redis(service: Service, tmp_path: Path) -> None:
    conf = Path(shutil.copytree(CONF, tmp_path / "conf"))

    valid = CliRunner().invoke(app, ["validate", "--conf", str(conf), "--json"])
    (conf / "fleet.yml").write_text("account: main\naccount: other\n")
    wrong = CliRunner().invoke(app, ["validate", "--conf", str(conf)])

    assert json.loads(valid.output)["ok"]
    assert str(wrong.exception) == "conf/fleet.yml:2: account: stands twice, first in line 1"


def test_a_redis_that_does_not_answer_is_out_of_reach(service: Service) -> None:
    code, told = Service(f"redis://127.0.0.1:{_free_port()}/0", CONF, 0, service.process).run("list")

    assert code == 3
    assert "out of reach" in told


def test_the_process_stays_lean_and_serves_its_metrics(service: Service) -> None:
    with urlopen(f"http://127.0.0.1:{service.port}/metrics") as answer:
        page = answer.read().decode()

    assert 'edgefleet_param_version{component="risk_harmonizer",service="params"}' in page
    assert service.resident_mb() < 80
