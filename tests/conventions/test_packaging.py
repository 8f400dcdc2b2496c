"""Locks, targets, compose file, contracts and documents agree with each other. No service is started."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from importlinter.cli import lint_imports_command
from tests.conventions.source import LIBRARY, ROOT, SERVICES, name_of, python_files

from edgefleet_services.options import service_port

LOCKS = [ROOT / "requirements.lock", ROOT / "requirements-dev.lock"]
MAKEFILE = (ROOT / "Makefile").read_text()
PROMISED_TARGETS = (
    "demo test install up start stop status logs lint lint-check format type-check coverage test-unit test-risk "
    "test-monitoring test-integration test-faults test-performance test-load test-all test-compose bench docs"
).split()
PROMISED_CONTAINERS = (
    "redis prometheus alertmanager grafana params ingestion alpha router risk executor ledger monitor venue features"
    " keeper"
).split()
FLEET = ["params", "ingestion", "alpha", "router", "risk", "executor", "ledger", "monitor", "venue", "features"]
OURS = [*FLEET, "keeper"]  # what runs in our image; the keeper watches the others and trades nothing


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def compose() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return content


def locked(lock: Path) -> dict[str, set[str]]:
    """Return every locked package with its versions (more than one where Python versions differ)."""
    versions: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([a-z0-9._-]+)==([^\s;\\]+)", lock.read_text(), flags=re.MULTILINE):
        versions.setdefault(name, set()).add(version)
    return versions


def addresses(text: str) -> list[str]:
    return [
        line
        for line in text.splitlines()
        if "://" in line or line.startswith(("--index", "--extra-index", "--find-links"))
    ]


@pytest.mark.parametrize("lock", LOCKS, ids=name_of)
def test_a_lock_holds_hashes_and_no_address(lock: Path) -> None:
    assert not addresses(lock.read_text())
    assert all("--hash=sha256:" in block for block in re.split(r"\n(?=[a-z])", lock.read_text().strip()))


def test_the_address_rule_can_fail() -> None:
    assert addresses("--index-url https://example.org/simple\n")


def test_the_run_lock_is_inside_the_development_lock() -> None:
    run, develop = (locked(lock) for lock in LOCKS)

    assert {name: versions for name, versions in run.items() if develop.get(name) != versions} == {}


def test_every_dependency_is_locked() -> None:
    named = [re.split(r"[\[<>=;\s]", d)[0].lower().replace("_", "-") for d in project()["project"]["dependencies"]]

    assert [name for name in named if name not in locked(LOCKS[0])] == []


def test_torch_is_in_no_lock() -> None:
    assert not any("torch" in locked(lock) for lock in LOCKS)


@pytest.mark.parametrize("target", PROMISED_TARGETS)
def test_make_has_the_target_and_explains_it(target: str) -> None:
    assert re.search(rf"^{target}:.*## \S", MAKEFILE, flags=re.MULTILINE)


def test_make_alone_prints_help() -> None:
    answer = subprocess.run(["make", "--no-print-directory"], cwd=ROOT, capture_output=True, text=True)

    assert answer.returncode == 0, answer.stderr
    assert "demo" in answer.stdout
    assert "test-compose" in answer.stdout


def test_compose_has_the_promised_services() -> None:
    assert set(compose()["services"]) == set(PROMISED_CONTAINERS)


def test_compose_publishes_on_loopback_only() -> None:
    published = [port for service in compose()["services"].values() for port in service.get("ports", [])]

    assert [port for port in published if not port.startswith("127.0.0.1:")] == []


def test_one_service_builds_the_image_that_all_use() -> None:
    services = compose()["services"]

    assert [name for name in OURS if "build" in services[name]] == ["params"]
    assert {services[name]["image"] for name in OURS} == {"edgefleet:local"}


def test_every_container_has_a_health_check_and_comes_back() -> None:
    services = compose()["services"]

    assert {name for name, service in services.items() if service["restart"] != "unless-stopped"} == set()
    assert {name for name in set(services) - set(OURS) if "healthcheck" not in services[name]} == set()
    assert {name for name in OURS if "EDGEFLEET_HEALTH_PORT" not in services[name]["environment"]} == set()


def sockets(service: dict[str, Any]) -> list[str]:
    return [volume for volume in service.get("volumes", []) if "docker.sock" in str(volume)]


def test_only_the_keeper_has_dockers_socket_and_it_has_nothing_else() -> None:
    services = compose()["services"]
    keeper = services["keeper"]

    assert [name for name, service in services.items() if sockets(service)] == ["keeper"]
    assert keeper["volumes"] == ["${EDGEFLEET_DOCKER_SOCKET:-/var/run/docker.sock}:/var/run/docker.sock"]
    assert keeper["network_mode"] == "none"
    assert (keeper["read_only"], keeper["cap_drop"]) == (True, ["ALL"])
    assert keeper["security_opt"] == ["no-new-privileges:true"]
    assert {"ports", "networks", "privileged", "cap_add", "pid"} & set(keeper) == set()


def test_whatever_is_started_brings_the_keeper_and_nothing_waits_for_it_to_be_well() -> None:
    services = compose()["services"]
    waits = {name: services[name]["depends_on"].get("keeper") for name in FLEET if name != "params"}

    assert {name for name, condition in waits.items() if condition != {"condition": "service_started"}} == set()
    assert int(services["keeper"]["environment"]["EDGEFLEET_HEALTH_PORT"]) == service_port("keeper")


def test_containers_and_prometheus_agree_on_ports() -> None:
    scraped = {
        entry["names"][0]: entry["port"]
        for job in yaml.safe_load((ROOT / "prometheus/prometheus.yml").read_text())["scrape_configs"]
        for entry in job.get("dns_sd_configs", [])
    }
    asked = {name: int(compose()["services"][name]["environment"]["EDGEFLEET_HEALTH_PORT"]) for name in FLEET}

    assert scraped == asked == {name: service_port(name) for name in FLEET}


def test_every_service_has_a_user_of_its_own_at_redis() -> None:
    lines = subprocess.run(
        ["sh", "deploy/redis/acl.sh"],
        cwd=ROOT,
        env={"EDGEFLEET_REDIS_PASSWORD": "x", "PATH": "/usr/local/bin:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()

    assert {line.split()[1] for line in lines} == {*FLEET, "fleet", "default"}
    for name in FLEET:
        assert f"redis://{name}:" in compose()["services"][name]["environment"]["REDIS_URL"]


def test_the_import_contracts_hold() -> None:
    answer = CliRunner().invoke(lint_imports_command, ["--config", str(ROOT / "pyproject.toml"), "--no-cache"])

    assert answer.exit_code == 0, answer.output


def test_every_service_folder_is_under_the_contract() -> None:
    contract = next(c for c in project()["tool"]["importlinter"]["contracts"] if c["id"] == "services-apart")
    apart = {name.strip() for layer in contract["layers"] if "|" in layer for name in layer.split("|")}

    assert apart == set(OURS)
    assert {path.name for path in SERVICES.iterdir() if path.is_dir() and path.name in OURS} == set(OURS)


def shell_snippets(markdown: str) -> list[str]:
    return re.findall(r"```(?:sh|bash|shell|console)\n(.*?)```", markdown, flags=re.DOTALL)


def does_not_parse(snippet: str) -> str:
    """Return bash's complaint about a snippet, empty where it has none. Prompts and printed lines are taken off."""
    lines = snippet.splitlines()
    if any(line.startswith("$ ") for line in lines):
        lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    return subprocess.run(["bash", "-n"], input="\n".join(lines), capture_output=True, text=True).stderr


@pytest.mark.parametrize("page", [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))], ids=name_of)
def test_shell_snippets_parse(page: Path) -> None:
    assert [problem for snippet in shell_snippets(page.read_text()) if (problem := does_not_parse(snippet))] == []


def test_the_snippet_rule_can_fail() -> None:
    assert does_not_parse(shell_snippets("```sh\nif true; do\n```\n")[0])


def missing_make_targets(markdown: str) -> set[str]:
    named = set(
        re.findall(
            r"(?:^|[`(\s])make ([a-z][a-z-]+)(?=[`\s)]|$)", "\n".join(shell_snippets(markdown)), flags=re.MULTILINE
        )
    )
    return {target for target in named if not re.search(rf"^{target}:", MAKEFILE, flags=re.MULTILINE)}


@pytest.mark.parametrize("page", [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))], ids=name_of)
def test_documents_name_targets_that_exist(page: Path) -> None:
    assert missing_make_targets(page.read_text()) == set()


def test_the_target_rule_can_fail() -> None:
    assert missing_make_targets("```sh\nmake coffee\n```\n") == {"coffee"}


def broken_links(page: Path) -> list[str]:
    """Return the relative links of a page that lead nowhere."""
    prose = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    links = [
        link.split("#")[0]
        for link in re.findall(r"\]\(([^)\s]+)\)", prose)
        if "://" not in link and not link.startswith("mailto:")
    ]
    return [link for link in links if link and not (page.parent / link).exists()]


@pytest.mark.parametrize("page", [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))], ids=name_of)
def test_links_between_documents_lead_somewhere(page: Path) -> None:
    assert broken_links(page) == []


def test_the_link_rule_can_fail(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("[gone](gone.md)")

    assert broken_links(page) == ["gone.md"]


def imported_modules(source: str) -> set[str]:
    """Return the top-level names a source imports, at any depth of its functions."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None and node.level == 0:
            found.add(node.module.partition(".")[0])
    return found


def undeclared(modules: set[str], declared: set[str]) -> set[str]:
    """Return the third-party modules whose distribution is not declared."""
    distributions = packages_distributions()
    foreign = {name for name in modules if name not in sys.stdlib_module_names and name in distributions}
    return {name for name in foreign if not {canonical(d) for d in distributions[name]} & declared}


# Parts that their whole pins exactly or names as its own interface.
COMES_WITH = {"pydantic-core": "pydantic", "starlette": "fastapi", "hiredis": "redis"}


def canonical(requirement: str) -> str:
    return re.split(r"[\[<>=;\s]", requirement)[0].lower().replace("_", "-")


def declared_distributions(*extras: str) -> set[str]:
    content = project()["project"]
    listed = [*content["dependencies"], *(d for extra in extras for d in content["optional-dependencies"][extra])]
    named = {canonical(requirement) for requirement in listed} | {"edgefleet"}
    return named | {part for part, whole in COMES_WITH.items() if whole in named}


def test_what_the_fleet_imports_is_a_dependency() -> None:
    shipped = [path for path in python_files(LIBRARY, SERVICES) if LIBRARY / "testing" not in path.parents]
    modules = {name for path in shipped for name in imported_modules(path.read_text())}

    # What is imported only when a user asked for it, by the name of its extra.
    assert undeclared(modules, declared_distributions("postgres", "research", "venues")) == set()


def test_what_the_tests_import_is_in_the_development_set() -> None:
    modules = {name for path in python_files(ROOT / "tests") for name in imported_modules(path.read_text())}

    assert undeclared(modules, declared_distributions("dev", "postgres", "testing", "venues")) == set()


def test_what_the_contract_kits_import_is_in_their_extra() -> None:
    modules = {name for path in python_files(LIBRARY / "testing") for name in imported_modules(path.read_text())}

    assert undeclared(modules, declared_distributions("testing")) == set()


def test_the_dependency_rule_can_fail() -> None:
    assert undeclared({"yaml", "asyncio"}, {"redis"}) == {"yaml"}
