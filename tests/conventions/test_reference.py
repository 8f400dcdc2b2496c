"""The generated pages of the reference are what the code says, and the written ones name what is there."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest
from tests.conventions.source import ROOT

REFERENCE = ROOT / "docs" / "reference"
PAGES = sorted((ROOT / "docs").rglob("*.md"))


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reference", ROOT / "scripts" / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def links(text: str) -> list[str]:
    """Return the files that a page links to."""
    found = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text)
    return [link for link in found if "://" not in link]


def test_generated_pages_are_what_the_code_says() -> None:
    assert generator().differing(REFERENCE) == [], "run make docs"


def test_a_page_that_is_not_there_differs(tmp_path: Path) -> None:
    (tmp_path / "metrics.md").write_text("of another time\n")

    assert "metrics.md" in generator().differing(tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_leads_to_a_file(page: Path) -> None:
    assert [link for link in links(page.read_text()) if not (page.parent / link).exists()] == []


def test_every_page_of_a_folder_is_in_its_index() -> None:
    lost = [
        page.relative_to(ROOT).as_posix()
        for folder in ("adr", "concepts", "how-to", "reference", "runbook")
        for page in (ROOT / "docs" / folder).glob("*.md")
        if page.name != "index.md" and f"({page.name})" not in (page.parent / "index.md").read_text()
    ]

    assert lost == []


def test_the_link_rule_can_fail() -> None:
    assert links("[a](nowhere.md) and [b](https://example.org/x.md)") == ["nowhere.md"]
