"""A ticker refutes a book by a run of disagreements on one side over some time, and never by a race."""

from __future__ import annotations

from decimal import Decimal

from edgefleet.venues.top_watch import REFUTED_AFTER_NS, TOPS_TO_REFUTE, TopWatch

OURS = Decimal("100"), Decimal("101")
LOWER_BID = Decimal("99"), Decimal("101")


def test_a_side_that_disagrees_long_and_often_refutes_the_book() -> None:
    watch = TopWatch()
    step = REFUTED_AFTER_NS // (TOPS_TO_REFUTE - 1)

    answers = [watch.compare(OURS, LOWER_BID, at * step) for at in range(TOPS_TO_REFUTE)]

    assert answers == [False] * (TOPS_TO_REFUTE - 1) + [True]


def test_many_disagreements_of_one_moment_are_a_race() -> None:
    watch = TopWatch()

    assert not any(watch.compare(OURS, LOWER_BID, at) for at in range(50))


def test_few_disagreements_over_a_long_time_are_not_enough() -> None:
    watch = TopWatch()

    assert not watch.compare(OURS, LOWER_BID, 0)
    assert not watch.compare(OURS, LOWER_BID, 10 * REFUTED_AFTER_NS)


def test_an_agreement_ends_the_run() -> None:
    watch = TopWatch()
    for at in (0, REFUTED_AFTER_NS):
        watch.compare(OURS, LOWER_BID, at)

    watch.compare(OURS, OURS, REFUTED_AFTER_NS + 1)

    assert not watch.doubts
    assert not watch.compare(OURS, LOWER_BID, 2 * REFUTED_AFTER_NS)


def test_a_ticker_that_was_only_faster_is_no_disagreement() -> None:
    watch = TopWatch()
    for at in range(10):
        assert not watch.compare(OURS, LOWER_BID, at * REFUTED_AFTER_NS)
        watch.changed(*LOWER_BID)  # the book's next change


def test_the_other_side_does_not_acquit() -> None:
    watch = TopWatch()
    theirs = [(Decimal("99"), Decimal(str(102 + at))) for at in range(TOPS_TO_REFUTE)]

    answers = []
    for at, (bid, ask) in enumerate(theirs):
        answers.append(watch.compare((Decimal("100"), ask), (bid, ask), at * REFUTED_AFTER_NS))

    assert answers[-1]
