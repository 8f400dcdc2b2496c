"""Texts of a venue to figures: exact, and none that cannot be."""

from __future__ import annotations

import json
from decimal import Decimal

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edgefleet.messages import WrittenLevels
from edgefleet.venues.binance import wire
from edgefleet.venues.figures import Reader, is_plausible, is_size, price_of, size_of

WRITTEN = st.decimals(min_value=0, max_value=10**7, places=8).map(lambda value: f"{value:f}")
TEXTS = st.one_of(
    st.decimals(allow_nan=True, allow_infinity=True).map(str),
    WRITTEN,
    st.text(alphabet="0123456789.eE+-_ nNiIfF", max_size=36),
    st.text(max_size=12),
)
SIDES = st.lists(st.tuples(TEXTS, TEXTS), max_size=3)


def judged_plainly(text: str, *, zero: bool) -> Decimal | None:
    try:
        value = Decimal(text)
    except ArithmeticError:
        return None
    return value if (is_size if zero else is_plausible)(value) else None


@given(TEXTS, st.booleans())
def test_a_text_means_what_decimal_says_or_is_refused(text: str, zero: bool) -> None:
    expected = judged_plainly(text, zero=zero)
    read = size_of if zero else price_of

    if expected is None:
        with pytest.raises(msgspec.ValidationError, match="cannot be"):
            read(text)
    else:
        assert str(read(text)) == str(expected)


@given(st.lists(st.tuples(*[st.sampled_from(["", "0", "0.00", "1", "1.0", "2", "x"])] * 4), max_size=8))
def test_a_reader_reads_each_frame_as_if_it_were_the_first(frames: list[tuple[str, str, str, str]]) -> None:
    read = Reader()
    for bid, bid_size, ask, ask_size in frames:
        try:
            expected = price_of(bid), size_of(bid_size), price_of(ask), size_of(ask_size)
        except msgspec.ValidationError:
            with pytest.raises(msgspec.ValidationError, match="cannot be"):
                read.top(bid, bid_size, ask, ask_size)
        else:
            assert list(map(str, read.top(bid, bid_size, ask, ask_size))) == list(map(str, expected))


def test_prints() -> None:
    read = Reader()

    assert read.print("100.5", "0.25") == (Decimal("100.5"), Decimal("0.25"))
    assert read.print("100.5", "0.5") == (Decimal("100.5"), Decimal("0.5"))
    for _ in range(2):
        with pytest.raises(msgspec.ValidationError, match="'0' is a price or quantity that cannot be"):
            read.print("100", "0")


def depth_frame(bids: list[tuple[str, str]], asks: list[tuple[str, str]]) -> bytes:
    data = {"e": "depthUpdate", "E": 1, "s": "BTCUSDT", "U": 1, "u": 2, "b": bids, "a": asks}
    return json.dumps({"stream": "btcusdt@depth@100ms", "data": data}).encode()


@given(SIDES, SIDES)
@example([("1", "1e-400")], [])
@example([("1e-31", "1")], [])
@example([("1", "1e5"), ("1", "0.00000000")], [("0.00000012", "1")])
@example([("1", "-0")], [("2", "9" * 15)])
@example([("1", "0." + "0" * 29 + "1")], [])
def test_levels_that_are_let_through_are_levels(bids: list[tuple[str, str]], asks: list[tuple[str, str]]) -> None:
    raw = depth_frame(bids, asks)
    try:
        found = wire.levels_of(raw, wire.DEPTH.decode(raw).data)
    except msgspec.ValidationError:
        return
    for levels, texts in zip(found, (bids, asks), strict=True):
        assert levels == tuple((Decimal(price), Decimal(size)) for price, size in texts)
        assert all(is_plausible(price) and is_size(size) for price, size in levels)
        if isinstance(levels, WrittenLevels):
            assert levels.spelled == [(str(price), str(size)) for price, size in levels]
            for (price, size), (near_price, near_size) in zip(levels, levels.figures, strict=True):
                assert (float(price), float(size)) == (near_price, near_size)
                assert (near_size == 0) is (size == 0)


@pytest.mark.parametrize("size", ["1e\\u002d400", "1\\u00452", "\\u0031"])
def test_what_is_escaped_is_judged_as_what_it_is(size: str) -> None:
    raw = depth_frame([("1", "@")], []).replace(b"@", size.encode())
    data = wire.DEPTH.decode(raw).data
    value = Decimal(data.b[0][1])

    if is_size(value):
        assert wire.levels_of(raw, data)[0] == ((Decimal(1), value),)
    else:
        with pytest.raises(msgspec.ValidationError):
            wire.levels_of(raw, data)


@given(st.lists(st.tuples(WRITTEN.filter(lambda text: Decimal(text) > 0), WRITTEN), max_size=20))
def test_what_a_venue_writes_is_let_through(levels: list[tuple[str, str]]) -> None:
    raw = depth_frame(levels, levels)

    bids, asks = wire.levels_of(raw, wire.DEPTH.decode(raw).data)

    assert bids == asks == tuple((Decimal(price), Decimal(size)) for price, size in levels)
    assert isinstance(bids, WrittenLevels)


@pytest.mark.parametrize("level", [("0", "1"), ("NaN", "1"), ("1", "NaN"), ("1", "-1"), ("1e15", "1"), ("1", "1e-400"),
    ("1", "Infinity"), ("", "1"), ("1", ""), ("1_0", "1"), (" 1", "1"), ("1", "0." + "0" * 40 + "1")])  # fmt: skip
def test_a_frame_with_a_level_that_cannot_be_is_refused(level: tuple[str, str]) -> None:
    for raw in (depth_frame([("1", "1"), level], []), depth_frame([], [level])):
        with pytest.raises(msgspec.ValidationError):
            wire.levels_of(raw, wire.DEPTH.decode(raw).data)


@pytest.mark.parametrize("text", ["1e-999", "0." + "1" * 31, "1e15", "-1", "0", "NaN", "sNaN", "Infinity"])
def test_what_no_venue_writes_is_no_price_and_no_quantity(text: str) -> None:
    assert not is_plausible(Decimal(text))
