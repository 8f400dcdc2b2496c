"""`edgefleet data check`: a capture through the feed of its venue, and what that proves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgefleet.instruments import split_id
from edgefleet.replay.capture import Playback, open_capture
from edgefleet.replay.check import MarketCheck

_NOTICES_TOLD = 5


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer of a check: `body` is what `--json` prints, `check` holds the pictures' points."""

    body: dict[str, Any]
    check: MarketCheck
    ok: bool


def check_capture(files: Sequence[Path], venue: str, symbols: Sequence[str]) -> Answer:
    """Return what `files` prove, read as the wire of `venue`.

    It is well (`ok`) when every frame of market data and every name could be read, no book of ours was crossed or had
    a wrong checksum or a hole in its sequence, and every instrument whose depth is here has its book at the end.

    Raises
    ------
    Misuse
        If the venue is unknown, a file cannot be read, or a symbol is not in the capture.
    """
    venue = venue.lower()
    known, held = open_capture(files, venue)
    wanted = held.wanted(symbols, known)
    playback = Playback(known, venue, wanted, held)
    feeds = playback.feeds
    check = MarketCheck([name for feed in feeds for name in feed.instruments], compares_ids=known.tops_by_id)
    for played in playback.play(files):
        check.take(played.outputs, played.instruments)
    books = {name: counts for feed in feeds for name, counts in feed.book_counts().items()}
    never = [name for name, one in check.instruments.items() if not one.snapshots]
    bookless = [name for name in never if books[name].stale or books[name].gaps]
    lost = [name for name, one in check.instruments.items() if one.snapshots and not one.has_book]
    body: dict[str, Any] = {
        "venue": venue,
        "dialect": known.name,
        "files": [str(path) for path in files],
        "lines": held.lines,
        "seconds": round((held.last_ns - held.first_ns) / 1e9, 3),
        **check.report(books, {symbol: held.frames[name] for name, symbol in wanted.symbols.items()}),
        "resyncs": check.resyncs,
        "disconnects": check.disconnects,
        "duplicates": sum(feed.counts.duplicates for feed in feeds),
        "quarantined": sum(feed.counts.quarantined for feed in feeds),
        "faults": check.faults,
        "trade_gaps": sum(feed.counts.trade_gaps for feed in feeds),
        "undecodable": sum(feed.counts.undecodable for feed in feeds) + len(playback.refused),
        "unknown_events": sum(feed.counts.unknown_events for feed in feeds),
        "without_book": sorted(split_id(name)[0] for name in never),
        "lost_books": sorted(split_id(name)[0] for name in lost),
        "notices": _first(playback.refused + playback.notices),
    }
    total = body["total"]
    faults = ("crossed", "checksums_bad", "gaps")
    ok = not (any(total[fault] for fault in faults) or body["undecodable"] or bookless or lost or wanted.unread)
    return Answer(body | {"ok": ok}, check, ok)


def _first(notices: list[str]) -> list[str]:
    more = len(notices) - _NOTICES_TOLD
    return notices if more <= 0 else [*notices[:_NOTICES_TOLD], f"and {more} more like these"]


def told(answer: Answer) -> Iterator[str]:
    """Yield the answer as lines for a person."""
    body = answer.body
    yield f"{body['venue']}: {body['lines']} lines over {body['seconds']:.0f} s, {len(body['instruments'])} instruments"
    if body["dialect"] != body["venue"]:
        yield f"  read as {body['dialect']}"
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
    if body["lost_books"]:
        yield f"  lost and not begun anew by the end: the book of {', '.join(body['lost_books'])}"
    if body["faults"]:
        yield "  a fleet's quality checks: " + ", ".join(f"{count} {name}" for name, count in body["faults"].items())
    for notice in body["notices"]:
        yield f"  {notice}"
    if not answer.ok:
        yield "NOT WELL: see books, crossed, checksums, gaps, unreadable frames and names above"
    elif len(body["without_book"]) == len(body["instruments"]):
        yield "no book to prove; what was read is sound"
    else:
        yield "every book is exact"
