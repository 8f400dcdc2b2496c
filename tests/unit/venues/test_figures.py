"""Texts of a venue to figures: exact, read once, and none that cannot be."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefleet.venues import figures
from edgefleet.venues.figures import Figures, Reader, is_plausible, is_size

TEXTS = st.one_of(
    st.decimals(allow_nan=True, allow_infinity=True).map(str),
    st.decimals(min_value=0, max_value=10**7, places=8).map(str),
    st.text(max_size=12),
)


def judged_plainly(text: str, *, zero: bool) -> Decimal | None:
    try:
        value = Decimal(text)
    except ArithmeticError:
        return None
    return value if (is_size if zero else is_plausible)(value) else None


@given(TEXTS, st.booleans())
def test_a_text_means_what_decimal_says_or_is_refused(text: str, zero: bool) -> None:
    expected = judged_plainly(text, zero=zero)

    if expected is None:
        with pytest.raises(msgspec.ValidationError, match="cannot be"):
            Figures(zero=zero)[text]
    else:
        assert str(Figures(zero=zero)[text]) == str(expected)


def test_the_same_text_is_the_same_object_and_what_was_refused_is_refused_again() -> None:
    prices = Figures(zero=False)

    assert prices["60000.10"] is prices["60000.10"]
    for _ in range(2):
        with pytest.raises(msgspec.ValidationError, match=r"'0\.00' is a price or quantity that cannot be"):
            prices["0.00"]


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "_REMEMBERED", 3)
    sizes = Figures(zero=True)

    found = [sizes[str(n)] for n in range(10)]

    assert found == [Decimal(n) for n in range(10)]
    assert len(sizes) <= 3


def test_levels_tops_and_prints() -> None:
    read = Reader()

    levels = read.levels([("100.5", "2"), ("100.4", "0.00")])
    assert levels == ((Decimal("100.5"), Decimal(2)), (Decimal("100.4"), Decimal(0)))
    assert read.top("100", "0", "101", "1") == (Decimal(100), Decimal(0), Decimal(101), Decimal(1))
    assert read.print("100.5", "0.25") == (Decimal("100.5"), Decimal("0.25"))
    with pytest.raises(msgspec.ValidationError, match="'0' is a price or quantity that cannot be"):
        read.print("100", "0")


@pytest.mark.parametrize("text", ["1e-999", "0." + "1" * 31, "1e15", "-1", "0", "NaN", "sNaN", "Infinity"])
def test_what_no_venue_writes_is_no_price_and_no_quantity(text: str) -> None:
    assert not is_plausible(Decimal(text))
