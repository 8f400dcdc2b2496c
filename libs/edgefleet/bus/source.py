"""Where messages begin: a source commits what it heard under a counter of its own. Knows nothing of what it heard."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from edgefleet.bus.interface import (
    MAX_BATCH_BYTES,
    Answer,
    Bus,
    CommitRequest,
    EncodedOutput,
    encode_outputs,
    id_key,
)
from edgefleet.clock import SYSTEM, Clock
from edgefleet.errors import Broken, Fenced, Transient
from edgefleet.messages import Message, Rollback

MAX_OUTPUTS = 256
BACK_OFF_S = (0.02, 0.05, 0.1, 0.2, 0.5)


class Source:
    """One writer with a counter: what it commits is written once, also where replies are lost.

    `open` takes the name over and learns how far it was; `fields` are what it saved last time.
    """

    def __init__(
        self,
        bus: Bus,
        service: str,
        identity: str,
        name: str,
        *,
        also_reads: Sequence[str] = (),
        clock: Clock = SYSTEM,
    ) -> None:
        self._bus = bus
        self._clock = clock
        self._service = service
        self.identity = identity
        self.input = f"source:{name}"
        self.also_reads = tuple(also_reads)
        self.epoch = 0
        self.counter = 0
        self.fields: dict[str, str] = {}

    async def open(self) -> None:
        """Take the name over; an older owner is fenced."""
        record = await self._bus.claim(self._service, self.identity, (self.input, *self.also_reads), snapshots=False)
        self.epoch, self.fields = record.epoch, dict(record.fields)
        self.counter = id_key(record.positions[self.input])[0]

    async def commit(
        self,
        outputs: Sequence[tuple[str, Message]],
        *,
        config: str,
        fields: Mapping[str, str] | None = None,
        keep_trying: Callable[[], bool] = lambda: True,
    ) -> list[str]:
        """Write `outputs` in order, in as many commits as they need; return the ids of those heard to be OK.

        While the bus does not answer, the same commit is sent again: its counter tells whether it was written. Where
        the server lost commits of ours, that is told as a `Rollback` and counting goes on from what it has.

        Raises
        ------
        Fenced
            If a newer owner has the name.
        Broken
            If the stored counter is ahead of ours: somebody else counts under this name.
        Transient
            If the bus did not answer and `keep_trying()` is false.
        """
        parts = list(_parts(encode_outputs(outputs))) or [()]
        ids: list[str] = []
        for i, part in enumerate(parts):
            last = i == len(parts) - 1
            ids += await self._once(part, config, fields if last else None, keep_trying)
        if fields:
            self.fields.update(fields)
        return ids

    def request(
        self, outputs: tuple[EncodedOutput, ...], *, config: str, fields: Mapping[str, str] | None = None
    ) -> CommitRequest:
        """Return the next commit of this source; `written` moves the counter once it is known to be there."""
        before, after = f"{self.counter}-0", f"{self.counter + 1}-0"
        return CommitRequest(
            identity=self.identity,
            epoch=self.epoch,
            input=self.input,
            expected=before,
            first=after,
            last=after,
            count=1,
            config=config,
            outputs=outputs,
            fields=dict(fields or {}),
        )

    def written(self) -> None:
        """Count the commit that `request` gave."""
        self.counter += 1

    async def _once(
        self,
        outputs: tuple[EncodedOutput, ...],
        config: str,
        fields: Mapping[str, str] | None,
        keep_trying: Callable[[], bool],
    ) -> tuple[str, ...]:
        failures = 0
        while True:
            try:
                result = await self._bus.commit(self.request(outputs, config=config, fields=fields))
                if result.answer is Answer.CONFLICT:
                    await self._recount()
                    continue
            except Transient:
                if not keep_trying():
                    raise
                await asyncio.sleep(BACK_OFF_S[min(failures, len(BACK_OFF_S) - 1)])
                failures += 1
                continue
            if result.answer is Answer.FENCED:
                raise Fenced(f"{self.identity} has a newer owner than epoch {self.epoch}; this one stops")
            if result.answer is Answer.OK or (result.answer is Answer.DUP and failures):
                self.written()
                return result.ids
            raise Broken(f"{self.identity} commit {self.counter + 1} was answered {result.answer}: another counts here")

    async def _recount(self) -> None:
        """Go on from where the server is, where that is behind us: it lost what it had acknowledged."""
        had, epoch = self.counter, self.epoch
        record = await self._bus.load(self.identity, (self.input,))
        found = id_key(record.positions[self.input])[0]
        if record.epoch > epoch:
            raise Fenced(f"{self.identity} has a newer owner than epoch {epoch}; this one stops")
        if found > had or (found == had and record.epoch == epoch):
            raise Broken(f"{self.identity} is at {found} on the bus and at {had} here: another counts under its name")
        await self.open()
        if found < had:
            now = self._clock.wall_ns()
            told = {"service": self._service, "input": self.input, "had": f"{had}-0", "found": f"{found}-0"}
            await self._bus.append("alerts", Rollback(**told, ts_event=now, ts_init=now))


def _parts(outputs: tuple[EncodedOutput, ...]) -> list[tuple[EncodedOutput, ...]]:
    """Return outputs in order, cut where a commit would become too large."""
    parts: list[tuple[EncodedOutput, ...]] = []
    part: list[EncodedOutput] = []
    size = 0
    for output in outputs:
        if part and (len(part) == MAX_OUTPUTS or size + len(output.data) > MAX_BATCH_BYTES):
            parts.append(tuple(part))
            part, size = [], 0
        part.append(output)
        size += len(output.data)
    return [*parts, tuple(part)] if part else parts
