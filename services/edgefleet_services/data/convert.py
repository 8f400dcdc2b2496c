"""`edgefleet data convert` and `info`: recordings and files of others into an archive, and what an archive holds."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from edgefleet.clock import SYSTEM, iso
from edgefleet.errors import Misuse
from edgefleet.instruments import canonical_symbol
from edgefleet.replay.capture import Playback, contents
from edgefleet.store.convert.binance import read_binance
from edgefleet.store.convert.rows import LeftOut, first_line
from edgefleet.store.convert.run import Converted, conversion_name, convert
from edgefleet.store.convert.taq import read_taq
from edgefleet.store.convert.tardis import read_tardis
from edgefleet.store.market.archive import MarketArchive
from edgefleet.store.market.kinds import BY_TYPE, MarketMessage
from edgefleet.store.market.maintenance import ArchiveInfo, archive_info, check_archive
from edgefleet.venues.dialect import dialect
from edgefleet.venues.taq import is_taq

FORMATS = ("wire", "binance-public", "tardis", "taq")
_PUBLIC = re.compile(r"[A-Z0-9]+-[A-Za-z0-9]+-\d{4}-\d{2}(-\d{2})?\.(zip|csv)")


def convert_files(
    files: Sequence[Path], out: Path, *, kind: str | None, venue: str | None, symbols: Sequence[str]
) -> Converted:
    """Return what converting `files` into the archive at `out` came to.

    Raises
    ------
    Misuse
        If the format is unknown and cannot be told, wire comes without a venue, or a file cannot be read.
    OutOfReach
        If the archive cannot be written.
    """
    found = kind or format_of(files)
    left_out = LeftOut()
    options = {"venue": venue, "symbols": ",".join(symbols) or None}
    messages: Iterator[MarketMessage]
    match found:
        case "wire":
            if venue is None:
                raise Misuse("recorded wire needs --venue: whose it is, such as binance or coinbase")
            messages = _from_wire(files, venue, symbols)
        case "binance-public":
            messages = read_binance(files, left_out, venue=venue or "binance", symbol=_only(symbols))
        case "tardis":
            messages = read_tardis(files, left_out, venue=venue, symbol=_only(symbols))
        case "taq":
            quotes, trades = _taq_files(files)
            messages = read_taq(quotes, trades, left_out, venue=venue)
        case _:
            raise Misuse(f"format {found!r} is unknown; there are {', '.join(FORMATS)}")
    return convert(messages, MarketArchive(out), conversion_name(found, files, options), SYSTEM, left_out=left_out)


def format_of(files: Sequence[Path]) -> str:
    """Return the format of `files`, told by their names and first lines; wire where nothing else fits."""
    if not files:
        raise Misuse("no file is named: give what to convert")
    for path in files:
        if not path.is_file():
            raise Misuse(f"{path}: no such file")
    if all(_PUBLIC.fullmatch(path.name) for path in files):
        return "binance-public"
    if all(is_taq(path) for path in files):
        return "taq"
    if all(path.suffixes[:1] == [".csv"] for path in files) and all(first_line(p)[:1] == ["exchange"] for p in files):
        return "tardis"
    return "wire"


def _from_wire(files: Sequence[Path], venue: str, symbols: Sequence[str]) -> Iterator[MarketMessage]:
    known = dialect(venue)
    named = [canonical_symbol(symbol) for symbol in symbols]
    held = contents(files, known, named)
    wanted = named or list(held.frames)
    for _, outputs in Playback(known, venue, wanted, held.books).play(files):
        for stream, message in outputs:
            if stream == "market" and type(message) in BY_TYPE:
                yield message  # type: ignore[misc]  # the line above says so


def _only(symbols: Sequence[str]) -> str | None:
    if len(symbols) > 1:
        raise Misuse(f"--symbols {','.join(symbols)}: these files are of one symbol each; name one, or none")
    return canonical_symbol(symbols[0]) if symbols else None


def _taq_files(files: Sequence[Path]) -> tuple[Path | None, Path | None]:
    quotes: Path | None = None
    trades: Path | None = None
    for path in files:
        if "BID" in first_line(path):
            quotes = path
        else:
            trades = path
    if len(files) > 2 or len(files) != (quotes is not None) + (trades is not None):
        raise Misuse("TAQ is converted as one file of quotes, one of trades, or one of each")
    return quotes, trades


def describe(directory: Path, *, check: bool) -> ArchiveInfo:
    """Return what the archive at `directory` holds; with `check` after reading every row.

    Raises
    ------
    Misuse
        If there is none, or a file of it cannot be read.
    """
    if not directory.is_dir():
        raise Misuse(f"{directory}: no such directory")
    archive = MarketArchive(directory)
    info = check_archive(archive) if check else archive_info(archive)
    if not info.files:
        raise Misuse(f"{directory} holds no market archive: no date=.../kind=.../instrument=.../*.parquet in it")
    return info


def as_body(info: ArchiveInfo) -> dict[str, Any]:
    """Return the answer as `--json` prints it."""
    body: dict[str, Any] = msgspec.to_builtins(info)
    return body | {"whole": info.whole}


def told(info: ArchiveInfo) -> Iterator[str]:
    """Yield the answer as lines for a person."""
    yield f"{info.rows} rows in {info.files} files, {info.bytes / 1e6:.1f} MB"
    for one in info.holdings:
        span = "" if one.first_ns is None or one.last_ns is None else f", {iso(one.first_ns)} to {iso(one.last_ns)}"
        yield f"  {one.instrument or one.kind:24} {one.kind:14} {one.rows:>10} rows, {one.files} files{span}"
    for source in info.sources:
        state = "done" if source.finished else "open"
        trouble = f", {source.missing} missing, {source.twice} twice" if source.missing or source.twice else ""
        yield f"  written by {source.writer}: {source.rows} rows, {source.found} found, {state}{trouble}"
    yield "every row that was committed is there once" if info.whole else "NOT WHOLE: see the writers above"
