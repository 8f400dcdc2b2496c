"""`edgefleet data check`: a capture through the feed of its venue, and what that proves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgefleet.errors import Misuse
from edgefleet.instruments import canonical_symbol, split_id
from edgefleet.replay.capture import Playback, contents
from edgefleet.replay.check import MarketCheck
from edgefleet.venues.dialect import dialect

_NOTICES_TOLD = 5


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer of a check: `body` is what `--json` prints, `check` holds the pictures' points."""

    body: dict[str, Any]
    check: MarketCheck
    ok: bool


def check_capture(files: Sequence[Path], venue: str, symbols: Sequence[str]) -> Answer:
    """Return what `files` prove, read as the wire of `venue`.

    It is well (`ok`) when no book of ours was crossed, none had a wrong checksum or a hole in its sequence, and every
    frame of market data could be read.

    Raises
    ------
    Misuse
        If the venue is unknown, a file cannot be read, or a symbol is not in the capture.
    """
    known = dialect(venue)
    named = [canonical_symbol(symbol) for symbol in symbols]
    held = contents(files, known, named)
    wanted = named or list(held.frames)
    absent = [symbol for symbol in wanted if symbol not in held.frames]
    if absent:
        raise Misuse(f"{', '.join(absent)} is not in the capture; it holds {', '.join(sorted(held.frames))}")
    playback = Playback(known, venue, wanted, held.books)
    check = MarketCheck(playback.feed.instruments, compares_ids=known.tops_by_id)
    for _, outputs in playback.play(files):
        check.take(outputs)
    counts = playback.feed.counts
    body: dict[str, Any] = {
        "venue": venue,
        "files": [str(path) for path in files],
        "lines": held.lines,
        "seconds": round((held.last_ns - held.first_ns) / 1e9, 3),
        **check.report(playback.feed.book_counts(), {symbol: held.frames[symbol] for symbol in wanted}),
        "duplicates": counts.duplicates,
        "quarantined": counts.quarantined,
        "trade_gaps": counts.trade_gaps,
        "undecodable": counts.undecodable + len(playback.refused),
        "unknown_events": counts.unknown_events,
        "without_book": sorted(split_id(name)[0] for name, one in check.instruments.items() if not one.snapshots),
        "notices": (playback.refused + playback.notices)[:_NOTICES_TOLD],
    }
    total = body["total"]
    faults = ("crossed", "checksums_bad", "gaps")
    ok = not any(total[fault] for fault in faults) and not body["undecodable"]
    return Answer(body | {"ok": ok}, check, ok)


def told(answer: Answer) -> Iterator[str]:
    """Yield the answer as lines for a person."""
    body = answer.body
    yield f"{body['venue']}: {body['lines']} lines over {body['seconds']:.0f} s, {len(body['instruments'])} instruments"
    rows = {**body["instruments"], **({"total": body["total"]} if len(body["instruments"]) > 1 else {})}
    for name, row in rows.items():
        yield f"  {name}"
        vwap = f", volume {row['volume']} at {row['vwap']} on average" if row["volume"] else ""
        yield f"    {row['trades']} trades{vwap}; {row['quotes']} quotes"
        yield (
            f"    book: {row['snapshots']} snapshots, {row['depth_applied']} deltas applied, "
            f"{row['depth_stale']} stale, {row['gaps']} gaps, {row['crossed']} crossed"
        )
        if row["checksums_ok"] or row["checksums_bad"]:
            yield f"    checksums: {row['checksums_ok']} right, {row['checksums_bad']} wrong"
        if row["tops_compared"]:
            yield f"    the venue's own top equals ours {row['tops_equal']} times of {row['tops_compared']}"
        lag = row["clock_lag_ms"]
        if lag is not None:
            yield f"    received after the venue's stamp: p1 {lag['p1']} ms, p50 {lag['p50']} ms, p99 {lag['p99']} ms"
    if body["without_book"]:
        yield f"  no snapshot in the capture, so no book of {', '.join(body['without_book'])}"
    for notice in body["notices"]:
        yield f"  {notice}"
    yield "every book is exact" if answer.ok else "NOT WELL: see crossed, checksums, gaps and unreadable frames above"
