"""Messages of a source into an archive, once. Knows no format.

The writer is named after what is converted: killed half-way, the same conversion goes on where it was committed; done,
it is not done again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path

import msgspec

from edgefleet.clock import Clock
from edgefleet.errors import Misuse
from edgefleet.ids import body_hash
from edgefleet.store.convert.rows import LeftOut
from edgefleet.store.market.archive import MarketArchive
from edgefleet.store.market.kinds import MarketMessage
from edgefleet.store.partitions import writer_name

_CHUNK = 1_000


class Converted(msgspec.Struct, frozen=True, kw_only=True):
    """What a conversion came to."""

    writer: str
    rows: int  # in the archive, of this conversion
    written: int  # by this run of it: 0 where it was done before
    left_out: Mapping[str, int]  # rows of the source that this run passed by, and why
    already: bool


def convert(
    messages: Iterable[MarketMessage],
    archive: MarketArchive,
    name: str,
    clock: Clock,
    *,
    left_out: LeftOut | None = None,
) -> Converted:
    """Write all messages under a name of `conversion_name` and return what that came to.

    `messages` must be the same each time, as they are where a file is read: what is in the archive is skipped.

    Raises
    ------
    Misuse
        From the source, or if a message fits no column. What was committed before stays, and the next run goes on.
    OutOfReach
        If the archive cannot be written, or the same conversion runs elsewhere.
    """
    counts = LeftOut() if left_out is None else left_out
    writer = archive.writer(name, clock)
    try:
        before = writer.mark
        if before.finished:
            return Converted(writer=name, rows=before.rows, written=0, left_out={}, already=True)
        rest = iter(messages)
        skipped = sum(1 for _ in islice(rest, before.seq))
        if skipped < before.seq:
            raise Misuse(f"{name}: the archive holds {before.seq} messages of a source that now has {skipped}")
        while chunk := list(islice(rest, _CHUNK)):
            writer.take(chunk)
            writer.turn()
        mark = writer.commit(finished=True)
    finally:
        writer.abandon()
    return Converted(writer=name, rows=mark.rows, written=mark.rows - before.rows, left_out=dict(counts), already=False)


def conversion_name(kind: str, files: Sequence[Path], options: Mapping[str, object]) -> str:
    """Return the name of a conversion: the same for the same contents and options, wherever the files stand.

    Raises
    ------
    Misuse
        If a file cannot be read.
    """
    try:
        digests = [_digest(path) for path in files]
    except OSError as error:
        raise Misuse(f"{error.filename}: cannot be read: {error.strerror or error}") from error
    said = {key: None if value is None else str(value) for key, value in options.items()}
    return f"{writer_name(kind)}_{body_hash([digests, said])[:16]}"


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
