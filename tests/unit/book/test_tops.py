"""The best over venues is what their newest words come to at a beat, and never locked or crossed."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from edgefleet.book.consolidated import Best
from edgefleet.book.tops import ConsolidatedBest, Tops, VenueAge
from edgefleet.clock import NS_PER_MS, NS_PER_S
from edgefleet.messages import Beat, BookDelta, BookSnapshot, Quote, TouchAge, VenueStatus
from edgefleet.testing.clock import START_NS

D = Decimal
SYMBOL = "BTC/USDT"


def quote(venue: str, bid: int, ask: int, ts: int = START_NS, size: int = 1) -> Quote:
    return Quote(
        instrument=f"{SYMBOL}@{venue}",
        bid=D(bid),
        bid_size=D(size),
        ask=D(ask),
        ask_size=D(size),
        update_id=1,
        ts_event=ts,
        ts_init=ts,
        trace_id="q",
    )


def snapshot(venue: str, bid: int, ask: int, ts: int = START_NS) -> BookSnapshot:
    return BookSnapshot(
        instrument=f"{SYMBOL}@{venue}",
        update_id=1,
        bids=((D(bid), D(2)),),
        asks=((D(ask), D(2)),),
        ts_event=ts,
        ts_init=ts,
        trace_id="s",
    )


def delta(venue: str, bid: int, size: int, ts: int = START_NS) -> BookDelta:
    return BookDelta(
        instrument=f"{SYMBOL}@{venue}",
        first_update_id=2,
        last_update_id=2,
        bids=((D(bid), D(size)),),
        asks=(),
        ts_event=ts,
        ts_init=ts,
        trace_id="d",
    )


def beat(venue: str, ts: int = START_NS, *, quarantined: bool = False) -> Beat:
    age = TouchAge(instrument=f"{SYMBOL}@{venue}", bid=None, ask=None, age_ms=None, quarantined=quarantined)
    return Beat(venue=venue, touches=(age,), ts_event=ts, ts_init=ts, trace_id="b")


def status(venue: str, what: str, detail: str = "") -> VenueStatus:
    return VenueStatus(
        venue=venue,
        status=what,  # type: ignore[arg-type]  # a literal of the caller's
        detail=detail,
        ts_event=START_NS,
        ts_init=START_NS,
        trace_id="v",
    )


def told(*messages: Quote | BookSnapshot | BookDelta | Beat | VenueStatus) -> list[ConsolidatedBest]:
    tops = Tops(stale_after_ms=5_000)
    return [best for message in messages for best in tops.take(message)]


def test_one_venue_alone_has_no_best_over_venues() -> None:
    assert told(quote("sim", 99, 101), beat("sim")) == []


def test_two_venues_are_weighed_at_a_beat_of_either() -> None:
    later = START_NS + 1_500 * NS_PER_MS

    found = told(quote("a", 98, 101), quote("b", 99, 102, later, size=3), beat("a", later))

    assert found == [
        ConsolidatedBest(
            SYMBOL,
            bid=Best(D(99), D(3), ("b",)),
            ask=Best(D(101), D(1), ("a",)),
            venues={"a": VenueAge(1_500), "b": VenueAge(0)},
            ts=later,
        )
    ]


def test_a_venue_that_is_too_old_does_not_count_and_is_shown_as_stale() -> None:
    later = START_NS + 6 * NS_PER_S

    (found,) = told(quote("a", 98, 101), quote("b", 99, 102, later), beat("b", later))

    assert found.ask == Best(D(102), D(1), ("b",))
    assert found.venues["a"] == VenueAge(6_000, "stale")


def test_a_venue_that_is_not_believed_does_not_count_until_it_is() -> None:
    both = quote("a", 98, 101), quote("b", 99, 102)

    out, back = told(*both, beat("a", quarantined=True), beat("a"))

    assert (out.ask, out.venues["a"].out) == (Best(D(102), D(1), ("b",)), "excluded")
    assert (back.ask, back.venues["a"].out) == (Best(D(101), D(1), ("a",)), None)


def test_a_lost_connection_takes_its_venues_word_back() -> None:
    found = told(quote("a", 98, 101), quote("b", 99, 102), beat("a"), status("a", "disconnected"), beat("b"))

    assert set(found[-1].venues) == {"b"}
    assert found[-1].ask == Best(D(102), D(1), ("b",))


def test_a_book_is_the_top_until_a_quote_has_come() -> None:
    kraken = snapshot("kraken", 97, 103)
    before, after = told(
        kraken, delta("kraken", 98, 1), quote("b", 90, 110), beat("b"), quote("kraken", 95, 104), beat("b")
    )

    assert (before.bid, before.ask) == (Best(D(98), D(1), ("kraken",)), Best(D(103), D(2), ("kraken",)))
    assert (after.bid, after.ask) == (Best(D(95), D(1), ("kraken",)), Best(D(104), D(1), ("kraken",)))


def test_a_book_that_is_read_again_is_not_known_meanwhile() -> None:
    lost = status("kraken", "resync", f"{SYMBOL}@kraken: gap")

    found = told(snapshot("kraken", 97, 103), quote("b", 90, 110), beat("b"), lost, delta("kraken", 98, 1), beat("b"))

    assert [set(best.venues) for best in found] == [{"b", "kraken"}, {"b"}]


@given(
    st.lists(
        st.tuples(st.sampled_from("abcd"), st.integers(90, 110), st.integers(90, 110), st.integers(0, 3)), max_size=60
    )
)
def test_it_is_never_locked_or_crossed(words: list[tuple[str, int, int, int]]) -> None:
    tops, ts = Tops(stale_after_ms=5_000), START_NS
    for venue, bid, ask, seconds in words:
        ts += seconds * NS_PER_S
        tops.take(quote(venue, bid, ask, ts))

        for best in tops.take(beat(venue, ts)):
            assert best.bid is None or best.ask is None or best.bid.price < best.ask.price
            assert set(best.venues) >= {*(best.bid.venues if best.bid else ()), *(best.ask.venues if best.ask else ())}
