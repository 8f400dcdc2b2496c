"""Every dialect in the table keeps every promise of the feed contract, and has its card in the docs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.contract.feed_cases import CASES, RECORDED, load

from edgefleet.testing.feed_contract import CHECKS, Check
from edgefleet.testing.feed_harness import FeedCase
from edgefleet.venues.dialect import MODULES

CARDS = Path(__file__).parents[2] / "docs" / "reference" / "feeds.md"
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
    assert set(CASES) == set(MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_every_feed_has_a_card_that_says_what_cannot_be_seen(name: str) -> None:
    load(name)

    _, found, rest = CARDS.read_text().partition(f"\n## `{name}`\n")

    assert found, f"docs/reference/feeds.md has no card of {name}"
    card = rest.partition("\n## ")[0]
    for row in ("| channels |", "| proof |", "| prints |", "| sources |"):
        assert row in card
