"""Every dialect in the table keeps every promise of the feed contract, and has its card in the docs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.contract.feed_cases import CASES, RECORDED, load

from edgefleet.params.schema.venues import DIALECTS
from edgefleet.testing.feed_contract import CHECKS, Check
from edgefleet.testing.feed_harness import FeedCase

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"
IDS = [pytest.param(name, marks=pytest.mark.data) if name in RECORDED else name for name in CASES]


@pytest.fixture(scope="module")
def case(request: pytest.FixtureRequest) -> FeedCase:
    name: str = request.param
    load(name)
    folder = request.getfixturevalue("recorded") if name in RECORDED else Path()
    make: Callable[[Path], FeedCase] = CASES[name]
    return make(folder)


@pytest.mark.parametrize("case", IDS, indirect=True)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_every_feed(case: FeedCase, check: Check) -> None:
    check(case)


def test_every_dialect_in_the_table_has_a_case() -> None:
    assert set(CASES) == set(DIALECTS)


def card_of(name: str) -> str:
    """Return the sections that are headed with the dialect's name on the feeds' pages."""
    sections = [part for page in sorted(REFERENCE.glob("feeds*.md")) for part in page.read_text().split("\n## ")[1:]]
    return "\n".join(section for section in sections if f"`{name}`" in section.partition("\n")[0]).lower()


@pytest.mark.parametrize("name", DIALECTS)
def test_every_feed_has_a_card_that_says_what_cannot_be_seen(name: str) -> None:
    load(name)

    card = card_of(name)

    for row in ("| channels |", "| prints |", "| source"):
        assert row in card
    assert "| not seen |" in card or "| cannot be seen |" in card
