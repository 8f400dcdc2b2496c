"""Market messages to the archive while they come, in bounded memory. Decides nothing about them.

Messages are numbered from one in the order in which they are given. They are held until there is a row group of a
partition, or too much of all; written to drafts; and committed by rows or by time, together with the position of the
source: after a kill the source goes on from `mark.position`, and nothing is lost or there twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from edgefleet.clock import NS_PER_MS, Clock
from edgefleet.errors import Misuse
from edgefleet.store.closing import ClosesOrAbandons
from edgefleet.store.days import DAY_NS, day_of
from edgefleet.store.market.columns import table_of, unfit
from edgefleet.store.market.kinds import BY_TYPE, Kind, MarketMessage, owner_of, partition_of
from edgefleet.store.partitions import Mark, Partitions, PartitionWriter

SPILL_ROWS = 4_096
# Levels weigh as rows do: about 0.3 KB each while they are objects. So this much is about 15 MB.
MAX_HELD = 50_000
Refuse = Callable[[MarketMessage, str], None]


def _stop(message: MarketMessage, reason: str) -> None:
    raise Misuse(f"{type(message).__name__} of {owner_of(message)} at {message.ts_event} cannot be archived: {reason}")


class _Held:
    __slots__ = ("kind", "messages", "partition", "sequence", "weight")

    def __init__(self, kind: Kind, partition: str) -> None:
        self.kind = kind
        self.partition = partition
        self.sequence: list[int] = []
        self.messages: list[MarketMessage] = []
        self.weight = 0


class MarketWriter(ClosesOrAbandons):
    """One source's messages. Call `take`, and `turn` again and again; `close` commits what there is.

    Parameters
    ----------
    name
        The writer's; a source that comes again under its name goes on where it stopped.
    commit_rows, commit_ms
        A commit is made when so many rows wait for one, or the oldest waits so long.
    most_held
        Rows and levels that are held as objects; fewer take less memory and make smaller row groups.
    refuse
        Is given a message that no column can hold, and why; by default that is a `Misuse`.
    """

    def __init__(
        self,
        partitions: Partitions,
        name: str,
        clock: Clock,
        *,
        commit_rows: int = 200_000,
        commit_ms: int = 30_000,
        most_held: int = MAX_HELD,
        refuse: Refuse = _stop,
    ) -> None:
        self._writer: PartitionWriter = partitions.writer(name)
        self._clock = clock
        self._commit_rows = commit_rows
        self._commit_ns = commit_ms * NS_PER_MS
        self._most_held = most_held
        self._spill_rows = min(SPILL_ROWS, most_held // 4)
        self._refuse = refuse
        self._held: dict[tuple[type[MarketMessage], str, int], _Held] = {}
        self._weight = 0
        self._since: int | None = None  # monotonic ns of the oldest message that is not committed
        self._seq = self.mark.seq
        self.position = self.mark.position

    @property
    def mark(self) -> Mark:
        """Return what is committed: on the disk, and there for every reader."""
        return self._writer.mark

    @property
    def waiting(self) -> int:
        """Return how many messages are not committed."""
        return self._seq - self.mark.seq

    def take(self, messages: Iterable[MarketMessage], position: str | None = None) -> None:
        """Add messages, in order; `position` is where the source stands after them.

        Where anything is raised, by `messages` too, the writer commits no more: half of them would have no position.
        """
        if self._since is None:
            self._since = self._clock.monotonic_ns()
        try:
            for message in messages:
                self._add(message)
        except BaseException:
            self._writer.fail()
            raise
        if position is not None:
            self.position = position

    def turn(self) -> bool:
        """Commit where it is due; return whether it was."""
        if not self.is_due:
            return False
        self.commit()
        return True

    @property
    def is_due(self) -> bool:
        """Return whether a commit is due, by rows or by time."""
        if self._since is None or (not self.waiting and self.position == self.mark.position):
            return False
        late = self._clock.monotonic_ns() - self._since >= self._commit_ns
        return late or self.waiting >= self._commit_rows

    def commit(self, *, finished: bool = False, memory: str = "") -> Mark:
        """Put all that was taken on the disk and return the new mark, which keeps `memory` for who goes on from it.

        Raises
        ------
        OutOfReach
            If the disk does not take it. The writer is of no use after that; another one goes on from the mark.
        """
        self._spill(0)
        self._since = None
        return self._writer.commit(self._seq, self.position, finished=finished, memory=memory)

    def close(self, *, finished: bool = False) -> None:
        """Commit what waits, and end."""
        try:
            if self.waiting or finished or self.position != self.mark.position:
                self.commit(finished=finished)
        finally:
            self._writer.close()

    def abandon(self) -> None:
        """End without what is not committed."""
        self._writer.close()

    def _add(self, message: MarketMessage) -> None:
        owner = owner_of(message)
        key = type(message), owner, message.ts_event // DAY_NS
        held = self._held.get(key)
        if held is None:
            held = self._begin(key, message)
            if held is None:
                return
        self._seq += 1
        held.sequence.append(self._seq)
        held.messages.append(message)
        weight = 1 + len(getattr(message, "bids", ())) + len(getattr(message, "asks", ()))
        held.weight += weight
        self._weight += weight
        if len(held.messages) >= self._spill_rows:
            self._write(held)
        elif self._weight >= self._most_held:
            self._spill(self._most_held // 2)

    def _begin(self, key: tuple[type[MarketMessage], str, int], message: MarketMessage) -> _Held | None:
        kind = BY_TYPE.get(key[0])
        if kind is None:
            raise Misuse(f"{key[0].__name__} is no market message")
        try:
            partition = partition_of(kind, key[1], day_of(message.ts_event))
        except ValueError as error:
            self._refuse(message, str(error))
            return None
        held = self._held[key] = _Held(kind, partition)
        return held

    def _spill(self, down_to: int) -> None:
        """Write what is held, the largest first, until no more than `down_to` is: large groups cost least."""
        for held in sorted(self._held.values(), key=lambda each: -each.weight):
            if self._weight <= down_to:
                break
            self._write(held)
        self._held = {key: held for key, held in self._held.items() if held.messages}

    def _write(self, held: _Held) -> None:
        if not held.messages:
            return
        sequence, messages = held.sequence, held.messages
        self._weight -= held.weight
        held.sequence, held.messages, held.weight = [], [], 0
        try:
            table = table_of(held.kind, sequence, messages)
        except (ValueError, OverflowError, ArithmeticError):
            sequence, messages = self._without_unfit(held.kind, sequence, messages)
            if not messages:
                return
            table = table_of(held.kind, sequence, messages)
        self._writer.add(held.partition, held.kind.layout, table, sequence[0], sequence[-1])

    def _without_unfit(
        self, kind: Kind, sequence: list[int], messages: list[MarketMessage]
    ) -> tuple[list[int], list[MarketMessage]]:
        fit: tuple[list[int], list[MarketMessage]] = [], []
        for seq, message in zip(sequence, messages, strict=True):
            reason = unfit(kind, message)
            if reason is None:
                fit[0].append(seq)
                fit[1].append(message)
            else:
                self._refuse(message, reason)
        return fit
