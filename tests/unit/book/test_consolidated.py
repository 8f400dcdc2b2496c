"""The consolidated best is that of the believed venues, and who is not believed follows a rule that can be read."""

from __future__ import annotations

import csv
import gzip
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefleet.book import taq
from edgefleet.book.consolidated import ConsolidatedBook, ConsolidatedBooks, Out, VenueQuote
from edgefleet.clock import NS_PER_MS
from edgefleet.testing import build

D = Decimal
VENUES = ("a", "b", "c", "d")


def quote(
    venue: str, bid: int | None, ask: int | None, ts: int = 0, bid_size: int = 1, ask_size: int = 1
) -> VenueQuote:
    return VenueQuote(
        venue, None if bid is None else D(bid), D(bid_size), None if ask is None else D(ask), D(ask_size), ts
    )


def book_of(*quotes: VenueQuote, stale_after_ms: int | None = None) -> ConsolidatedBook:
    book = ConsolidatedBook("X/USD", stale_after_ms)
    for one in quotes:
        book.update(one)
    return book


def plain_out(quotes: list[VenueQuote], now: int, stale_ns: int | None) -> set[str]:
    """The rule, read off the page: quotes in order of arrival."""
    left = [
        q
        for q in quotes
        if not (stale_ns is not None and now - q.ts > stale_ns)
        and not (q.bid is not None and q.ask is not None and q.bid >= q.ask)
    ]

    def locks(one: VenueQuote, other: VenueQuote) -> bool:
        return one is not other and any(
            bid is not None and ask is not None and bid >= ask
            for bid, ask in ((one.bid, other.ask), (other.bid, one.ask))
        )

    while any(locks(one, other) for one in left for other in left):
        most = max(sum(locks(one, other) for other in left) for one in left)
        worst = [one for one in left if sum(locks(one, other) for other in left) == most]
        oldest = min(one.ts for one in worst)
        left.remove(next(one for one in worst if one.ts == oldest))
    return {q.venue for q in quotes} - {q.venue for q in left}


prices = st.one_of(st.none(), st.integers(95, 105))
updates = st.lists(st.tuples(st.sampled_from(VENUES), prices, prices, st.integers(0, 3)), max_size=30)


@given(updates, st.sampled_from([None, 0, 3]))
def test_who_is_out_and_what_is_best_equal_the_rule(
    steps: list[tuple[str, int | None, int | None, int]], stale_after_ms: int | None
) -> None:
    book, last, ts = ConsolidatedBook("X/USD", stale_after_ms), dict[str, VenueQuote](), 0
    for venue, bid, ask, step in steps:
        ts += step * NS_PER_MS
        said = quote(venue, bid, ask, ts)
        book.update(said)
        last.pop(venue, None)
        last[venue] = said

        out = plain_out(list(last.values()), ts, None if stale_after_ms is None else stale_after_ms * NS_PER_MS)

        assert set(book.out) == out
        bids = [(q.bid, q.venue) for q in last.values() if q.venue not in out and q.bid is not None]
        asks = [(q.ask, q.venue) for q in last.values() if q.venue not in out and q.ask is not None]
        assert (book.bid.price if book.bid else None) == max((bid for bid, _ in bids), default=None)
        assert (book.ask.price if book.ask else None) == min((ask for ask, _ in asks), default=None)
        if book.bid is not None:
            assert set(book.bid.venues) == {venue for bid, venue in bids if bid == book.bid.price}
            assert book.bid.size == len(book.bid.venues)
        assert book.bid is None or book.ask is None or book.bid.price < book.ask.price


@given(updates)
def test_events_tell_exactly_how_the_set_of_venues_that_are_out_changes(
    steps: list[tuple[str, int | None, int | None, int]],
) -> None:
    book, out, went = ConsolidatedBook("X/USD", 2), set[str](), 0
    for i, (venue, bid, ask, _) in enumerate(steps):
        for event in book.update(quote(venue, bid, ask, i * NS_PER_MS)):
            assert (event.venue in out) == (event.state == "released")
            out ^= {event.venue}
            went += event.state == "quarantined"

        assert out == set(book.out)
    assert went == sum(book.counts.values())


def test_sizes_at_the_best_are_added_and_the_largest_venue_is_named_first() -> None:
    book = book_of(quote("a", 100, 103, bid_size=2), quote("b", 100, 102, bid_size=5), quote("c", 99, 102, ask_size=3))

    assert book.bid is not None
    assert book.ask is not None
    assert (book.bid.price, book.bid.size, book.bid.venues) == (D(100), D(7), ("b", "a"))
    assert (book.ask.price, book.ask.size, book.ask.venues) == (D(102), D(4), ("c", "b"))
    assert book.spread_bps == pytest.approx(10_000 * 2 / 101)


def test_of_two_venues_that_cross_the_stalest_goes() -> None:
    book = book_of(quote("a", 100, 101, ts=1), quote("b", 103, 104, ts=2))

    assert book.out == {"a": Out.CROSSED}
    assert book.bid is not None
    assert book.bid.price == D(103)


def test_of_two_venues_that_lock_with_equal_stamps_the_one_that_came_first_goes() -> None:
    assert book_of(quote("a", 100, 101), quote("b", 101, 102)).out == {"a": Out.LOCKED}


def test_one_venue_against_many_goes_though_it_is_the_newest() -> None:
    book = book_of(quote("a", 100, 101, 1), quote("b", 100, 101, 2), quote("c", 10_000, 10_100, 3))

    assert book.out == {"c": Out.CROSSED}


def test_a_frozen_venue_goes_when_the_others_have_moved_and_is_back_when_it_follows() -> None:
    book = book_of(quote("a", 100, 101, 1), quote("b", 103, 104, 2), quote("c", 103, 104, 3))
    assert book.out == {"a": Out.CROSSED}

    (back,) = book.update(quote("a", 103, 104, 4))

    assert (back.venue, back.state, back.reason, book.out) == ("a", "released", Out.CROSSED, {})
    assert book.counts == {("a", Out.CROSSED): 1}


def test_a_venue_is_back_when_the_others_come_to_it() -> None:
    book = book_of(quote("a", 100, 101, 1), quote("b", 103, 104, 2))

    (back,) = book.update(quote("b", 100, 102, 3))

    assert (back.venue, back.state) == ("a", "released")


def test_a_venue_that_crosses_itself_is_out_alone() -> None:
    book = book_of(quote("a", 100, 101), quote("b", 102, 99), quote("c", 100, 100))

    assert book.out == {"b": Out.OWN_CROSSED, "c": Out.OWN_LOCKED}
    assert book.bid is not None
    assert book.bid.venues == ("a",)


def test_an_event_names_whom_the_offender_crossed() -> None:
    book = book_of(quote("a", 100, 101, 1), quote("b", 100, 101, 2))

    (event,) = book.update(quote("c", 105, 106, 3))

    assert (event.state, event.reason, set(event.against), event.ts) == ("quarantined", Out.CROSSED, {"a", "b"}, 3)


def test_quotes_age_by_the_time_of_events_alone() -> None:
    book = book_of(quote("a", 100, 101, 0), stale_after_ms=5)

    assert book.advance(5 * NS_PER_MS) == []
    (event,) = book.advance(5 * NS_PER_MS + 1)

    assert (event.venue, event.reason, book.bid) == ("a", Out.STALE, None)
    assert [e.state for e in book.update(quote("a", 100, 101, 6 * NS_PER_MS))] == ["released"]


def test_an_excluded_venue_does_not_count_until_it_is_admitted() -> None:
    book = book_of(quote("a", 100, 101), quote("b", 99, 102))

    book.exclude("a")
    assert (book.out, book.bid and book.bid.price) == ({"a": Out.EXCLUDED}, D(99))
    book.admit("a")
    assert (book.out, book.bid and book.bid.price) == ({}, D(100))
    book.forget("a")
    assert (book.out, book.bid and book.bid.price) == ({}, D(99))


def test_an_older_quote_of_a_venue_is_passed_over() -> None:
    book = book_of(quote("a", 100, 101, 5), quote("a", 90, 91, 4))

    assert (book.overtaken, book.bid and book.bid.price) == (1, D(100))


def test_messages_meet_by_symbol_and_a_price_of_zero_is_none() -> None:
    books = ConsolidatedBooks()
    books.take(build.quote(instrument="AAPL/USD@n", bid=D(100), ask=D(0)))
    books.take(build.quote(instrument="AAPL/USD@p", bid=D(99), ask=D(102)))
    books.take(build.quote(instrument="MSFT/USD@n", bid=D(1), ask=D(2)))

    book = books.books["AAPL/USD"]
    assert book.bid is not None
    assert book.ask is not None
    assert (book.bid.venues, book.ask.venues, len(books.books)) == (("n",), ("p",), 2)


@pytest.mark.data
@pytest.mark.parametrize(("stale_after_ms", "bad_of_source", "out"), [(None, 85_281, 7_435), (1_000, 7_851, 1_422)])
def test_best_of_the_sample_equals_the_source_wherever_the_source_is_sound(
    recorded: Path, stale_after_ms: int | None, bad_of_source: int, out: int
) -> None:
    with gzip.open(recorded / "stocks_taq" / "quotes.csv.gz", "rt") as file:
        rows = list(csv.DictReader(file))
    stamps = taq.quotes(rows)
    book, last, bad = ConsolidatedBook("XXX", stale_after_ms), dict[str, VenueQuote](), 0
    for at, ts in zip(stamps.row.tolist(), stamps.ts.tolist(), strict=True):
        row = rows[at]
        said = VenueQuote(
            row["EX"], D(row["BID"]) or None, D(row["BIDSIZ"]), D(row["OFR"]) or None, D(row["OFRSIZ"]), ts
        )
        book.update(said)
        last[said.venue] = said
        fresh = [q for q in last.values() if stale_after_ms is None or ts - q.ts <= stale_after_ms * NS_PER_MS]
        bid = max((q.bid for q in fresh if q.bid is not None), default=None)
        ask = min((q.ask for q in fresh if q.ask is not None), default=None)
        ours = (book.bid.price if book.bid else None, book.ask.price if book.ask else None)
        if bid is not None and ask is not None and bid >= ask:
            bad += 1
            assert ours[0] is None or ours[1] is None or ours[0] < ours[1]
        else:
            assert ours == (bid, ask)

    assert len(stamps) == 131_401
    quarantined = sum(n for (_, reason), n in book.counts.items() if reason is not Out.STALE)
    assert (bad, quarantined) == (bad_of_source, out)
