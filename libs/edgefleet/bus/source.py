"""Where messages begin: a source commits what it heard under a counter of its own. Knows nothing of what it heard."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence

from edgefleet.bus.interface import (
    MAX_BATCH_BYTES,
    Answer,
    Bus,
    CommitRequest,
    EncodedOutput,
    Record,
    encode_outputs,
    id_key,
)
from edgefleet.errors import Broken, Fenced, Transient
from edgefleet.stage import Output

MAX_OUTPUTS = 256
BACK_OFF_S = (0.02, 0.05, 0.1, 0.2, 0.5)


class RolledBack(Transient):
    """The server holds less of a source than it had acknowledged. What that means is for the source's owner to say."""


class Source:
    """One owner of a name: its epoch, and a counter for each of its inputs. What it commits is written once.

    `claim` takes the name over and learns how far it was; `fields` are what it saved last time. A commit that finds
    the server behind us raises `RolledBack`: the owner claims or stands anew, and says again what it can.

    Parameters
    ----------
    names
        Its counters, each an input `source:<name>`. What is committed without naming one counts under the first.
    """

    def __init__(self, bus: Bus, service: str, identity: str, *names: str) -> None:
        self._bus = bus
        self._service = service
        self.identity = identity
        self.inputs = tuple(f"source:{name}" for name in names)
        self.epoch = 0
        self.fields: dict[str, str] = {}
        self.failure: str | None = None  # why the last commit was not answered; None while commits are
        self._counters = dict.fromkeys(self.inputs, 0)
        self._unheard: CommitRequest | None = None  # sent and not answered: it may have been written

    @property
    def counter(self) -> int:
        """Return the number of the last commit of the first input."""
        return self._counters[self.inputs[0]]

    async def claim(self) -> Record:
        """Take the name over, so that an older owner is fenced, and return what is stored of it."""
        return self._stand_on(await self._bus.claim(self._service, self.identity, self.inputs, snapshots=False))

    async def stand(self) -> Record:
        """Count from where the server is, which may have lost commits of ours or the claim itself.

        Raises
        ------
        Fenced
            If a newer owner has the name.
        """
        record = await self._bus.load(self.identity, self.inputs)
        if record.epoch > self.epoch:
            raise self._fenced()
        if record.epoch < self.epoch:
            return await self.claim()
        return self._stand_on(record)

    async def commit(
        self,
        outputs: Sequence[Output],
        *,
        config: str,
        fields: Mapping[str, str] | None = None,
        keep_trying: Callable[[], bool] = lambda: True,
    ) -> None:
        """Write `outputs` in order, in as many commits as they need.

        While the bus does not answer, the same commit is sent again: its counter tells whether it was written.
        `fields` describe the source after the last output and go with it.

        Raises
        ------
        RolledBack
            If the server lost commits of ours; the outputs that are left are not written.
        Fenced
            If a newer owner has the name.
        Broken
            If somebody else counts under this name.
        Transient
            If the bus did not answer and `keep_trying()` is false.
        """
        parts = list(in_parts(encode_outputs(outputs)))
        if not parts and fields:
            parts = [()]
        for i, part in enumerate(parts, start=1):
            await self._until_heard(part, config, fields if i == len(parts) else None, keep_trying)
        if fields:
            self.fields.update(fields)

    async def attempt(
        self, outputs: tuple[EncodedOutput, ...], *, config: str, fields: Mapping[str, str] | None = None
    ) -> None:
        """Send the next commit once.

        Raises
        ------
        Transient
            If there was no answer: it may have been written. The next attempt finds out.
        RolledBack, Fenced, Broken
            As `commit`.
        """
        if self._unheard is not None and self._unheard.outputs != outputs:
            await self._send(self._unheard)  # what was said before comes before, written already or not
        await self._send(self.request(outputs, config=config, fields=fields))

    def request(
        self,
        outputs: tuple[EncodedOutput, ...] = (),
        *,
        config: str,
        fields: Mapping[str, str] | None = None,
        name: str | None = None,
    ) -> CommitRequest:
        """Return the next commit of an input; `written` moves its counter once the commit is known to be there."""
        name = self.inputs[0] if name is None else name
        before = self._counters[name]
        here = f"{before + 1}-0"
        return CommitRequest(
            identity=self.identity,
            epoch=self.epoch,
            input=name,
            expected=f"{before}-0",
            first=here,
            last=here,
            count=1,
            config=config,
            outputs=outputs,
            fields=dict(fields or {}),
            wants_ids=False,
        )

    def written(self, request: CommitRequest) -> None:
        """Count a commit that `request` gave."""
        self._counters[request.input] = id_key(request.last)[0]

    async def _send(self, request: CommitRequest) -> None:
        repeated = self._unheard is not None
        self._unheard = request
        result = await self._bus.commit(request)
        self._unheard = None
        match result.answer:
            case Answer.OK:
                self.written(request)
            case Answer.DUP if repeated:
                self.written(request)
            case Answer.FENCED:
                raise self._fenced()
            case Answer.CONFLICT:
                raise RolledBack(f"the bus does not have {request.input} at {request.expected}")
            case _:
                where = f"{self.identity} commit {request.last}"
                raise Broken(f"{where} was answered {result.answer}: another counts under its name")

    async def _until_heard(
        self,
        outputs: tuple[EncodedOutput, ...],
        config: str,
        fields: Mapping[str, str] | None,
        keep_trying: Callable[[], bool],
    ) -> None:
        failures = 0
        while True:
            try:
                await self.attempt(outputs, config=config, fields=fields)
            except RolledBack:
                self.failure = None
                raise
            except Transient as error:
                self.failure = str(error)
                if not keep_trying():
                    raise
                await asyncio.sleep(back_off_s(failures))
                failures += 1
            else:
                self.failure = None
                return

    def _stand_on(self, record: Record) -> Record:
        if self._unheard is not None and (
            record.epoch != self.epoch or record.positions[self._unheard.input] != self._unheard.expected
        ):
            self._unheard = None  # it is there, or can never be written any more
        self.epoch, self.fields = record.epoch, dict(record.fields)
        self._counters = {name: id_key(record.positions[name])[0] for name in self.inputs}
        return record

    def _fenced(self) -> Fenced:
        return Fenced(f"{self.identity} has a newer owner than epoch {self.epoch}; this one stops")


def back_off_s(failures: int) -> float:
    """Return how long to wait after so many failures in a row."""
    return BACK_OFF_S[min(failures, len(BACK_OFF_S) - 1)]


def in_parts(outputs: Sequence[EncodedOutput]) -> Iterator[tuple[EncodedOutput, ...]]:
    """Yield outputs in order, cut where a commit would become too large."""
    part: list[EncodedOutput] = []
    size = 0
    for output in outputs:
        if part and (len(part) == MAX_OUTPUTS or size + len(output.data) > MAX_BATCH_BYTES):
            yield tuple(part)
            part, size = [], 0
        part.append(output)
        size += len(output.data)
    if part:
        yield tuple(part)
