"""`edgefleet bench book` in short: every figure stands beside a plain book's. How fast is for a quiet machine."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from edgefleet.errors import Broken, Misuse
from edgefleet_services.bench import book
from edgefleet_services.bench.book import BookOptions, run_book


@pytest.mark.performance
def test_every_figure_stands_beside_a_plain_book() -> None:
    said: list[str] = []

    report = run_book(BookOptions(quick=True), said.append)

    rows = msgspec.to_builtins(report)["results"]
    assert {row["name"] for row in rows} == {
        *(f"{name}_{label}" for name in book.QUESTIONS for label in ("p50", "p99")),
        "update_p50",
    }
    assert {row["reference"] for row in rows} == {book.Sorted.name, book.Plain.name, "limit"}
    assert all(row["value"] > 0 and row["reference_value"] > 0 for row in rows)
    assert report.suite == "book"
    assert len(said) == 1 + len(book.QUESTIONS)


@pytest.mark.performance
def test_a_book_that_is_fast_by_being_wrong_is_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(book.Ours, "levels", lambda self, count: ((), ()))

    with pytest.raises(Broken, match="the measured books disagree within events 0 to 200"):
        run_book(BookOptions(quick=True), lambda _: None)


def test_a_tape_without_a_book_is_refused(tmp_path: Path) -> None:
    tape = tmp_path / "tape"
    tape.write_bytes(
        b'1 {"stream":"btcusdt@bookTicker","data":{"u":1,"s":"BTCUSDT","b":"1","B":"1","a":"2","A":"1"}}\n'
    )

    with pytest.raises(Misuse, match="holds no recorded book"):
        run_book(BookOptions(tape=(tape,)), lambda _: None)
