"""Which entries of a batch are new to the books."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgefleet.bus.interface import Entry, id_key
from edgefleet.store.books import following

IDS = st.tuples(st.integers(0, 20), st.integers(0, 20))


@given(st.sets(IDS), IDS)
def test_entries_after_a_position_are_those_whose_id_is_larger(ids: set[tuple[int, int]], at: tuple[int, int]) -> None:
    entries = [Entry(f"{ms}-{seq}", "touch.v1", b"{}") for ms, seq in sorted(ids)]

    found = following(entries, f"{at[0]}-{at[1]}")

    assert list(found) == [entry for entry in entries if id_key(entry.id) > at]
