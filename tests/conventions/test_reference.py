"""The generated pages of the reference are what the code says, and every page can be found from its index."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from tests.conventions.source import ROOT


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reference", ROOT / "scripts" / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_pages_are_what_the_code_says() -> None:
    """Asked in a process of its own: here a test may have registered a model that is not the product's."""
    command = [sys.executable, str(ROOT / "scripts" / "reference.py"), "--check"]

    asked = subprocess.run(command, capture_output=True, text=True, check=False)

    assert asked.returncode == 0, asked.stderr


def test_a_page_that_is_not_there_differs(tmp_path: Path) -> None:
    (tmp_path / "metrics.md").write_text("of another time\n")

    assert "metrics.md" in generator().differing(tmp_path)


def unlisted(folder: Path) -> list[str]:
    """Return the pages of a folder that its index does not link to."""
    index = (folder / "index.md").read_text()
    return sorted(
        page.name for page in folder.glob("*.md") if page.name != "index.md" and f"({page.name})" not in index
    )


@pytest.mark.parametrize("folder", ["adr", "concepts", "how-to", "reference", "runbook"])
def test_every_page_is_in_its_index(folder: str) -> None:
    assert unlisted(ROOT / "docs" / folder) == []


def test_the_index_rule_can_fail(tmp_path: Path) -> None:
    (tmp_path / "index.md").write_text("[a](a.md)\n")
    (tmp_path / "a.md").write_text("")
    (tmp_path / "lost.md").write_text("")

    assert unlisted(tmp_path) == ["lost.md"]
