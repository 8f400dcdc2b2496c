"""The last minute's average is that of its prints, second by second, whatever their number."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from edgefleet.book.minute import SECONDS, MinuteVwap
from edgefleet.clock import NS_PER_S

D = Decimal
PRINTS = st.lists(
    st.tuples(
        st.integers(0, 200_000),
        st.decimals(D("0.01"), D(10**6), places=2),
        st.decimals(D("0.001"), D(10**4), places=3),
    ),
    max_size=40,
)


def definition(prints: list[tuple[int, Decimal, Decimal]], now_ms: int) -> Decimal | None:
    """The average of the prints of the last sixty whole seconds, the present one among them."""
    kept = [(price, size) for at, price, size in prints if at // 1_000 > now_ms // 1_000 - SECONDS]
    volume = sum((size for _, size in kept), D(0))
    return round(sum((price * size for price, size in kept), D(0)) / volume, 12).normalize() if volume else None


@given(PRINTS, st.integers(0, 100_000))
def test_it_is_the_average_of_the_minute(prints: list[tuple[int, Decimal, Decimal]], later_ms: int) -> None:
    vwap = MinuteVwap()
    ordered = sorted(prints, key=lambda one: one[0])
    for at, price, size in ordered:
        vwap.add(at * 1_000_000, price, size)
    now = (ordered[-1][0] if ordered else 0) + later_ms

    assert vwap.value(now * 1_000_000) == definition(ordered, now)


def test_many_prints_take_the_memory_of_sixty_seconds() -> None:
    vwap = MinuteVwap()

    for number in range(10_000):
        vwap.add(number * NS_PER_S // 10, D(100), D(1))

    assert len(vwap._seconds) <= SECONDS
    assert vwap.value(999 * NS_PER_S) == D(100)
