"""The house's rules, read off the source. Each stands beside a test that it can fail."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conventions.source import LIBRARY, ROOT, SERVICES, calls, name_of, python_files, references, repository_files

SOURCES = python_files(LIBRARY, SERVICES)

CLOCK_READS = {
    "time.time",
    "time.time_ns",
    "time.monotonic",
    "time.monotonic_ns",
    "time.perf_counter",
    "time.perf_counter_ns",
    "datetime.datetime.now",
    "datetime.datetime.utcnow",
    "datetime.datetime.today",
    "datetime.date.today",
}
# Where a broad `except` may stand, and why. Each such line carries its reason as well.
LOOPS = {
    "libs/edgefleet/bus/loop.py": "the service loop, the last place that can keep a service alive",
    "libs/edgefleet/store/recorder_thread.py": "what its thread raises is raised again in the thread that feeds it",
    "libs/edgefleet/replay/twin.py": "what a step raised then it must raise again, and a new failure is the finding",
}
# Where the shared generator may be drawn from: nothing of it reaches a message or a decision.
JITTER = {"libs/edgefleet/venues/binance/user_stream.py": "clients that lost one venue must not come back in step"}
# Split, so that this file does not break the rule it states.
FORBIDDEN_TEXT = re.compile(
    "|".join(
        (
            "/wo" + r"rk/(?:main|shared|\.library)",
            "/ro" + r"ot/",
            r"/home/[a-z]",
            r"/Users/[A-Za-z]",
            "pypi" + r"\.org",
            "python" + r"hosted",
            "registry" + r"\.npmjs",
            "deb" + r"\.debian\.org",
        )
    )
)


def clock_reads(source: str) -> set[str]:
    return {name for name in references(source) if name in CLOCK_READS or name.endswith("loop.time")}


@pytest.mark.parametrize("path", [p for p in SOURCES if name_of(p) != "libs/edgefleet/clock.py"], ids=name_of)
def test_time_is_asked_of_the_clock(path: Path) -> None:
    """Replay is only possible when every moment comes through `edgefleet.clock`."""
    assert not clock_reads(path.read_text())


@pytest.mark.parametrize(
    "source",
    [
        "import time\nnow = time.time()\n",
        "from time import monotonic as m\nnow = m()\n",
        "import datetime as dt\nnow = dt.datetime.now(dt.UTC)\n",
        "import asyncio\nloop = asyncio.get_running_loop()\nnow = loop.time()\n",
        "import time\ndefault_factory = time.time_ns\n",
    ],
)
def test_the_clock_rule_can_fail(source: str) -> None:
    assert clock_reads(source)


def prints(source: str) -> list[int]:
    return [line for line, name, _ in calls(source) if name in {"print", "pprint.pprint"}]


@pytest.mark.parametrize("path", [p for p in SOURCES if SERVICES / "cli" not in p.parents], ids=name_of)
def test_only_the_command_line_prints(path: Path) -> None:
    assert not prints(path.read_text())


def test_the_print_rule_can_fail() -> None:
    assert prints("def f():\n    print('x')\n") == [2]


def unseeded(source: str) -> list[str]:
    """Return draws from the shared generator, and generators made without a seed."""
    found = []
    for line, name, call in calls(source):
        makes_generator = name in {"random.Random", "numpy.random.default_rng", "numpy.random.RandomState"}
        if makes_generator and not call.args and not call.keywords:
            found.append(f"{line}: {name}() without a seed")
        shared = name.startswith(("random.", "numpy.random.")) and not makes_generator
        if shared and name not in {"numpy.random.Generator", "numpy.random.PCG64", "numpy.random.SeedSequence"}:
            found.append(f"{line}: {name}")
    return found


@pytest.mark.parametrize(
    "path", [p for p in python_files(LIBRARY, SERVICES, ROOT / "tests") if name_of(p) not in JITTER], ids=name_of
)
def test_randomness_has_a_seed(path: Path) -> None:
    assert not unseeded(path.read_text())


@pytest.mark.parametrize(
    "source",
    [
        "import random\nrandom.random()\n",
        "from random import choice\nchoice([1])\n",
        "import random\nrandom.Random()\n",
    ],
)
def test_the_seed_rule_can_fail(source: str) -> None:
    assert unseeded(source)


def test_a_generator_that_was_handed_in_passes_the_seed_rule() -> None:
    assert not unseeded("def shuffled(random, xs):\n    random.shuffle(xs)\n")


def test_a_seeded_generator_passes_the_seed_rule() -> None:
    assert not unseeded("import random\nr = random.Random(7)\nr.random()\n")


def broad_excepts(source: str) -> list[int]:
    """Return the lines of handlers that catch everything and do not raise again."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.ExceptHandler):
            continue
        caught = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
        everything = any(
            kind is None or (isinstance(kind, ast.Name) and kind.id in {"Exception", "BaseException"})
            for kind in caught
        )
        raises_again = isinstance(node.body[-1], ast.Raise)
        if everything and not raises_again:
            found.append(node.lineno)
    return found


@pytest.mark.parametrize("path", [p for p in SOURCES if name_of(p) not in LOOPS], ids=name_of)
def test_nothing_is_caught_that_was_not_foreseen(path: Path) -> None:
    """A broad `except` outside the loops turns a fault into a wrong number."""
    assert not broad_excepts(path.read_text())


@pytest.mark.parametrize("name", LOOPS)
def test_a_broad_except_in_a_loop_says_why(name: str) -> None:
    lines = (ROOT / name).read_text().splitlines()

    assert all(re.search(r":\s+# \S", lines[number - 1]) for number in broad_excepts("\n".join(lines)))
    assert broad_excepts("\n".join(lines)), "no broad except left: take the file off the list"


@pytest.mark.parametrize("handler", ["except:", "except Exception:", "except (ValueError, BaseException) as error:"])
def test_the_except_rule_can_fail(handler: str) -> None:
    assert broad_excepts(f"try:\n    f()\n{handler}\n    pass\n") == [3]


def test_a_handler_that_raises_again_passes_the_except_rule() -> None:
    assert not broad_excepts("try:\n    f()\nexcept BaseException:\n    undo()\n    raise\n")


def floats(source: str) -> list[int]:
    """Return the lines that make a float: a call, or a literal with a point."""
    made = [line for line, name, _ in calls(source) if name == "float"]
    literals = [
        n.lineno for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Constant) and isinstance(n.value, float)
    ]
    return made + literals


@pytest.mark.parametrize("path", python_files(LIBRARY / "ledger"), ids=name_of)
def test_money_in_the_books_is_never_a_float(path: Path) -> None:
    assert not floats(path.read_text())


@pytest.mark.parametrize("source", ["x = float('1')\n", "x = 0.5\n"])
def test_the_float_rule_can_fail(source: str) -> None:
    assert floats(source)


def opens_with_a_sentence(source: str) -> bool:
    docstring = ast.get_docstring(ast.parse(source))
    return docstring is not None and docstring.split("\n\n")[0].rstrip().endswith((".", ":"))


@pytest.mark.parametrize("path", [p for p in SOURCES if p.read_text().strip()], ids=name_of)
def test_a_module_opens_with_what_it_knows(path: Path) -> None:
    assert opens_with_a_sentence(path.read_text())


def test_the_module_sentence_rule_can_fail() -> None:
    assert not opens_with_a_sentence("import os\n")
    assert not opens_with_a_sentence('"""params"""\n')


def machine_names(text: str) -> Iterator[str]:
    yield from (f"{text.count(chr(10), 0, m.start()) + 1}: {m.group()}" for m in FORBIDDEN_TEXT.finditer(text))


@pytest.mark.parametrize("path", repository_files(), ids=name_of)
def test_no_file_names_a_machine_or_a_package_index(path: Path) -> None:
    assert not list(machine_names(path.read_text(errors="replace")))


@pytest.mark.parametrize("text", ["see /ro" + "ot/notes", "index = https://pypi" + ".org/simple"])
def test_the_machine_name_rule_can_fail(text: str) -> None:
    assert list(machine_names(text))


UNFINISHED = re.compile("|".join(("#.*\\b" + word + "\\b") for word in ("TO" + "DO", "FIX" + "ME", "X" + "XX")))


@pytest.mark.parametrize("path", python_files(LIBRARY, SERVICES, ROOT / "tests"), ids=name_of)
def test_nothing_is_left_unfinished(path: Path) -> None:
    assert not UNFINISHED.findall(path.read_text())


def test_the_unfinished_rule_can_fail() -> None:
    assert UNFINISHED.findall("x = 1  # TO" + "DO later\n")
