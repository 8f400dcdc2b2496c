"""Takes messages and raw frames as they come and keeps them: the archive, and the tape where one is kept.

`Recorder` is fed by whoever has a feed. `StreamRecorder` follows the `market` stream of a fleet and can be killed at
any moment: it goes on after the last entry that is committed, from Redis or, where that is trimmed, from the ledger's
files.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

from edgefleet.bus.interface import FIRST
from edgefleet.clock import Clock
from edgefleet.errors import Misuse, Poison
from edgefleet.messages import decode
from edgefleet.stage import Output
from edgefleet.store.closing import ClosesOrAbandons
from edgefleet.store.history import History
from edgefleet.store.market.archive import MarketArchive
from edgefleet.store.market.kinds import BY_TYPE, MarketMessage
from edgefleet.store.market.writer import MAX_HELD
from edgefleet.store.tape import TapeWriter

MARKET = "market"
_TURN_ENTRIES = 1_000
_TAPE_FLUSH_MS = 5_000  # a tape costs little, and is all there is of a socket whose archive was not committed


class RecorderCounts(msgspec.Struct):
    """What a recorder has seen since it was made. Only grows."""

    messages: int = 0
    frames: int = 0
    refused: int = 0  # messages that no column can hold, entries that no message is in
    passed: int = 0  # entries that are no market message
    last_refused: str = ""
    frames_refused: int = 0  # what is no JSON, and so is not on the tape
    last_frame_refused: str = ""


class Recorder(ClosesOrAbandons):
    """Messages to an archive and frames to a tape, each committed as it is due. Call `turn` again and again.

    Parameters
    ----------
    name
        The writer's name in the archive; one recorder at a time has it.
    tape_dir
        Where raw frames go; None: they are not kept.
    commit_ms
        The most that a kill can cost a recorder whose source does not repeat itself.
    most_held
        As `MarketWriter` has it.
    """

    def __init__(
        self,
        archive: MarketArchive,
        name: str,
        clock: Clock,
        *,
        tape_dir: Path | None = None,
        commit_rows: int = 200_000,
        commit_ms: int = 30_000,
        most_held: int = MAX_HELD,
    ) -> None:
        self.counts = RecorderCounts()
        self._writer = archive.writer(
            name, clock, commit_rows=commit_rows, commit_ms=commit_ms, most_held=most_held, refuse=self._on_refused
        )
        try:
            self._tape = (
                None if tape_dir is None else TapeWriter(tape_dir, name, clock, flush_ms=min(commit_ms, _TAPE_FLUSH_MS))
            )
        except BaseException:
            self._writer.abandon()
            raise

    @property
    def position(self) -> str:
        """Return the position of the source that is committed, empty before the first."""
        return self._writer.mark.position

    @property
    def recorded(self) -> int:
        """Return how many messages are committed, of all that ever recorded under the name."""
        return self._writer.mark.rows

    def take(self, outputs: Iterable[Output], position: str | None = None) -> None:
        """Add what a feed made, as it gives it. What is not for `market` is passed by."""
        wanted: list[MarketMessage] = []
        for output in outputs:
            if output.stream == MARKET and type(output.message) in BY_TYPE:
                wanted.append(output.message)  # type: ignore[arg-type]  # the line above says so
            else:
                self.counts.passed += 1
        self.counts.messages += len(wanted)
        self._writer.take(wanted, position)

    def take_frame(self, stamp_ns: int, body: bytes, stream: str | None = None, *, url: str = "") -> None:
        """Add a raw frame to the tape; `stream` names the channel of a frame that does not say it itself.

        `url` is the address that a REST answer came from or, without a body, that a connection was made to.

        What is no JSON, as the page of a venue under maintenance, has no place on a tape and is counted as refused.
        """
        if self._tape is None:
            return
        try:
            self._tape.add(stamp_ns, body, stream, url=url)
            self.counts.frames += not url
        except Misuse as error:
            self.counts.frames_refused += 1
            self.counts.last_frame_refused = str(error)

    def turn(self) -> bool:
        """Commit what is due; return whether the archive was."""
        if self._tape is not None:
            self._tape.turn()
        return self._writer.turn()

    @property
    def is_due(self) -> bool:
        """Return whether the archive is due to be committed."""
        return self._writer.is_due

    def commit(self) -> None:
        """Commit the archive, due or not."""
        self._writer.commit()

    def close(self) -> None:
        """Commit all and end."""
        try:
            if self._tape is not None:
                self._tape.close()
        finally:
            self._writer.close()

    def abandon(self) -> None:
        """End without what is not committed, as a kill would."""
        if self._tape is not None:
            self._tape.abandon()
        self._writer.abandon()

    def _on_refused(self, message: MarketMessage, reason: str) -> None:
        self.counts.refused += 1
        self.counts.last_refused = f"{type(message).__name__} at {message.ts_event}: {reason}"


class StreamRecorder:
    """The fleet's `market` stream to an archive. Call `turn` again and again, and `close` at the end."""

    def __init__(self, history: History, recorder: Recorder, stream: str = MARKET) -> None:
        self._history = history
        self._recorder = recorder
        self._stream = stream
        self._position = recorder.position or FIRST

    @property
    def counts(self) -> RecorderCounts:
        """Return what was seen."""
        return self._recorder.counts

    def turn(self) -> bool:
        """Take at most a thousand entries; return whether there may be more.

        Raises
        ------
        OutOfReach
            If Redis does not answer or the disk takes no more.
        """
        entries = self._history.following(self._stream, self._position, _TURN_ENTRIES)
        for entry in entries:
            try:
                self._recorder.take([Output(MARKET, decode(entry.type, entry.data))], entry.id)
            except Poison as error:
                self.counts.refused += 1
                self.counts.last_refused = f"{self._stream}/{entry.id}: {error}"
            self._position = entry.id
        self._recorder.turn()
        return len(entries) == _TURN_ENTRIES

    def close(self) -> None:
        """Take and commit everything that is in the stream now."""
        while self.turn():
            pass
        self._recorder.close()
