"""Every feature has a card, every card is in the reference, and the configuration asks for what there is."""

from __future__ import annotations

import random
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from pydantic import ValidationError
from tests.unit.features.tapes import SECOND, SHORT, START

from edgefleet.features import FeatureSpec
from edgefleet.features.cards import CARDS, Card, definitions, features, page
from edgefleet.features.columns import market_columns
from edgefleet.features.offline import compute
from edgefleet.features.read import READERS
from edgefleet.messages import Message
from edgefleet.params.files import load_fleet
from edgefleet.params.schema import FeaturesParams
from edgefleet.params.schema.features import FEATURE_FAMILIES
from edgefleet.testing import build

ROOT = Path(__file__).resolve().parents[3]


def test_configuration_cards_and_engine_know_the_same_families() -> None:
    assert tuple(CARDS) == FEATURE_FAMILIES == tuple(READERS)
    assert {feature.family for feature in features(FeatureSpec())} == set(FEATURE_FAMILIES)


def test_names_are_one_each() -> None:
    names = [feature.name for feature in features(FeatureSpec())]

    assert len(names) == len(set(names)) == 29


@pytest.mark.parametrize("card", CARDS.values(), ids=CARDS)
def test_a_card_leaves_nothing_open(card: Card) -> None:
    assert all(msgspec.structs.asdict(card)[field] for field in Card.__struct_fields__ if field != "tolerance")
    assert card.tolerance == 0  # what the tests of the two forms hold it to


SETTINGS = {
    "year_s": 1.0,
    "top_from": "book",
    "max_gap_s": 7,
    "bar_ms": 1_000,
    "ema_seed": "first",
    "macd_bars": (12, 26, 5),
}


def market(seconds: int) -> list[Message]:
    """Return a walk of half seconds with quotes, trades and a book that say different things, and a hole."""
    walk = random.Random(5)
    found: list[Message] = []
    for step in range(2 * seconds):
        stamp = {"ts_event": START + step * SECOND // 2 + (8 * SECOND if step > seconds else 0)}
        price = Decimal(60_000 + walk.randint(-9, 9))
        found.append(
            build.quote(bid=price, ask=price + 1 + walk.randint(0, 2), bid_size=Decimal(walk.randint(1, 9)), **stamp)
        )
        found.append(build.trade(price=price + walk.randint(0, 1), quantity=Decimal(walk.randint(1, 9)), **stamp))
        found.append(build.book_snapshot(bids=((price - 1, Decimal(walk.randint(1, 9))),), **stamp))
    return found


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_setting_that_moves_a_number_is_in_its_definition(setting: str) -> None:
    """On a market with a hole in it, every feature whose numbers differ has another definition."""
    spec = msgspec.structs.replace(SHORT, bar_ms=2_000, macd_bars=(12, 26, 9), trade_seconds=(1,), ofi_seconds=(1,))
    other = msgspec.structs.replace(spec, **{setting: SETTINGS[setting]})
    tape = market(200)

    tables = [compute(market_columns(tape, build.INSTRUMENT, one), one) for one in (spec, other)]
    told, others = definitions(spec), definitions(other)
    kept = [name for name in told if others.get(name) == told[name]]
    assert 0 < len(kept) < len(told)
    for name in kept:
        assert tables[0].values[name].tolist() == tables[1].values[name].tolist()
        assert tables[0].valid[name].tolist() == tables[1].valid[name].tolist()


def test_the_page_is_what_the_cards_say() -> None:
    made = (ROOT / "docs" / "reference" / "features.md").read_text()

    assert made.partition("\n")[2] == page()


def test_the_page_names_every_feature_with_its_unit() -> None:
    text = page()

    for feature in features(FeatureSpec()):
        assert f"`{feature.name}`" in text
        assert CARDS[feature.family].unit in text


def test_the_shipped_file_asks_for_the_defaults() -> None:
    assert load_fleet(ROOT / "conf", {}).features == FeaturesParams()
    assert FeatureSpec.of(FeaturesParams(), "crypto") == FeatureSpec()


def test_families_are_given_in_their_own_order_whatever_the_file_says() -> None:
    spec = FeatureSpec.of(FeaturesParams(online=("rsi", "mid")), "crypto")

    assert [feature.name for feature in features(spec)] == ["mid", "rsi_14"]


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"online": ["mid", "sharpe"]}, "no family of features is called 'sharpe'"),
        ({"online": ["mid", "mid"]}, "names something twice"),
        ({"depth_levels": [5, 5]}, "names something twice"),
        ({"depth_levels": [0]}, "greater than or equal to 1"),
        ({"volatility_minutes": [1_441]}, "less than or equal to 1440"),
        ({"trade_seconds": list(range(1, 10))}, "at most 8"),
        ({"macd_fast_bars": 26}, "macd_fast_bars must be below macd_slow_bars, were 26 and 26"),
        ({"ema_seed": "zero"}, "'sma' or 'first'"),
        ({"max_gap_s": 0}, "greater than or equal to 1"),
    ],
)
def test_what_cannot_be_computed_is_refused(asked: dict[str, object], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        FeaturesParams.model_validate(asked)


@pytest.mark.parametrize(
    "asked", [{"depth_levels": (0,)}, {"volatility_seconds": (1,)}, {"macd_bars": (3, 3, 2)}, {"year_s": 0.0}], ids=str
)
def test_a_spec_that_cannot_be_computed_is_refused(asked: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"counted|terms|below|year"):
        msgspec.structs.replace(FeatureSpec(), **asked)
