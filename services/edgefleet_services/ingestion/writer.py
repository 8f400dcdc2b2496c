"""Outputs of a source into the bus, each batch once. Knows commits and their answers, nothing of markets."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Mapping

from edgefleet.bus.interface import (
    FIRST,
    MAX_BATCH_BYTES,
    MAX_BATCH_ENTRIES,
    Answer,
    Bus,
    CommitRequest,
    EncodedOutput,
    encode_outputs,
    id_key,
)
from edgefleet.errors import Broken, Fenced, Transient
from edgefleet.stage import Output

_RETRY_S = 0.05
_MAX_RETRY_S = 1.0


class RolledBack(Transient):
    """Redis holds less of this source than was acknowledged: what followed the books is broken and begins anew."""


class SourceWriter:
    """What a source has to say, in order, committed in batches under a counter of its own.

    A commit whose reply was lost is sent again unchanged: the bus answers DUP where it had been applied.
    """

    def __init__(self, bus: Bus, identity: str) -> None:
        self._bus = bus
        self._identity = identity
        self._input = f"source:{identity}"
        self._epoch = 0
        self._position = FIRST
        self._waiting: deque[EncodedOutput] = deque()
        self.fields: dict[str, str] = {}
        self.failure: str | None = None  # why the last commit was not answered; None while commits are

    def __len__(self) -> int:
        return len(self._waiting)

    async def claim(self) -> None:
        """Become the one writer of this source, and know what is stored of it."""
        service = self._identity.partition(".")[0]
        record = await self._bus.claim(service, self._identity, [self._input], snapshots=False)
        self._epoch = record.epoch
        self._position = record.positions[self._input]
        self.fields = dict(record.fields)

    def add(self, outputs: Iterable[Output]) -> None:
        """Put outputs behind what waits."""
        self._waiting.extend(encode_outputs(list(outputs)))

    async def flush(self, config: str, fields: Mapping[str, str]) -> None:
        """Commit all that waits. `fields` describe the source after the last of it and go with the last commit.

        Raises
        ------
        Fenced
            If a newer process writes this source.
        RolledBack
            If Redis lost acknowledged commits; what waits is dropped.
        """
        while self._waiting:
            batch = self._next_batch()
            await self._commit(batch, config, {} if self._waiting else fields)
        self.fields.update(fields)

    def _next_batch(self) -> tuple[EncodedOutput, ...]:
        batch: list[EncodedOutput] = []
        size = 0
        while self._waiting and len(batch) < MAX_BATCH_ENTRIES:
            size += len(self._waiting[0].data)
            if batch and size > MAX_BATCH_BYTES:
                break
            batch.append(self._waiting.popleft())
        return tuple(batch)

    async def _commit(self, outputs: tuple[EncodedOutput, ...], config: str, fields: Mapping[str, str]) -> None:
        number = f"{id_key(self._position)[0] + 1}-0"
        request = CommitRequest(
            identity=self._identity,
            epoch=self._epoch,
            input=self._input,
            expected=self._position,
            first=number,
            last=number,
            count=1,
            config=config,
            outputs=outputs,
            fields=dict(fields),
        )
        delay = _RETRY_S
        while True:
            try:
                answer = (await self._bus.commit(request)).answer
                self.failure = None
                break
            except Transient as error:
                self.failure = str(error)
                await asyncio.sleep(delay)
                delay = min(2 * delay, _MAX_RETRY_S)
        match answer:
            case Answer.OK | Answer.DUP:
                self._position = number
            case Answer.FENCED:
                raise Fenced(f"another process writes {self._identity}; this one stops")
            case Answer.CONFLICT:
                self._waiting.clear()
                raise RolledBack(f"Redis has less of {self._identity} than commit {self._position}")
            case _:
                raise Broken(f"the commit of a source was answered {answer}")
