"""What is kept out of an import, and what the archive and its processes are spared by it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from edgefleet.lean import absent

ARCHIVES = """
import sys, tempfile
from pathlib import Path
from edgefleet.bus.interface import Entry
from edgefleet.lean import sparing
with sparing("numpy"):
    from edgefleet.store.archive import MERGE_FILES, Archive
archive = Archive(Path(tempfile.mkdtemp()))
for n in range(1, MERGE_FILES + 1):
    archive.write("market", [Entry(f"{n}-0", "trade.v1", b"{}")])
assert archive.merge("market") == MERGE_FILES
assert len(list(archive.read("market", "0-0"))) == MERGE_FILES
"""


def loaded_after(program: str) -> set[str]:
    """Return the modules of a fresh process that ran `program`."""
    ask = f"{program}\nprint(' '.join(sys.modules))"
    return set(subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True).stdout.split())


def test_a_module_is_absent_in_the_block_and_there_after_it() -> None:
    sys.modules.pop("colorsys", None)

    with absent("colorsys"), pytest.raises(ImportError):
        import colorsys

    import colorsys

    assert colorsys.rgb_to_hsv(0, 0, 0) == (0.0, 0.0, 0)


def test_what_is_loaded_already_stays() -> None:
    with absent("sys"):
        import sys as same

    assert same is sys


def test_an_archive_is_written_merged_and_read_without_the_libraries_that_weigh_most() -> None:
    heavy = {"numpy", "pandas", "pyarrow.compute", "pyarrow.dataset", "pyarrow._s3fs"}

    assert loaded_after(ARCHIVES) & heavy == set()


def test_books_bars_sessions_and_checks_load_neither_arrays_nor_frames() -> None:
    modules = "aggregator consolidated grid markets quality sessions trade_bars".split()
    program = f"import sys, {', '.join(f'edgefleet.book.{name}' for name in modules)}"
    program += "; edgefleet.book.sessions.calendar_named('XNYS')"

    assert loaded_after(program) & {"numpy", "pandas", "exchange_calendars", "sortedcontainers"} == set()


def test_the_command_line_of_a_service_loads_neither_a_client_of_http_nor_colours() -> None:
    assert loaded_after("import sys, edgefleet_services.cli.main") & {"httpx", "rich", "pygments", "pyarrow"} == set()
