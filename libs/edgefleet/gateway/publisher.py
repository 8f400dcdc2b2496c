"""What a venue said, committed to `venue.events` once and in order. Knows commits and rollbacks; no venue."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

import msgspec

from edgefleet.bus.interface import Answer, Bus, CommitRequest, CommitResult, EncodedOutput, Record, encode_outputs
from edgefleet.clock import Clock
from edgefleet.errors import Broken, Fenced, Transient
from edgefleet.gateway.intents import IntentJournal
from edgefleet.messages import Alert, Message, decode

IDENTITY: Final = "executor.gateway"
EVENTS: Final = "source:venue"
INTENTS: Final = "source:intents"
MAX_BATCH: Final = 128
KEEP_BATCHES: Final = 2_000  # Redis with AOF everysec loses two seconds at most
_BACK_OFF_S: Final = (0.02, 0.05, 0.1, 0.2, 0.5)


class StoredOutput(msgspec.Struct, frozen=True, array_like=True):
    """One output of a batch as it stands in the intent journal."""

    stream: str
    type: str
    data: msgspec.Raw


class Batch(msgspec.Struct, frozen=True):
    """One commit to `venue.events`."""

    n: int
    outputs: tuple[StoredOutput, ...]

    def messages(self) -> list[Message]:
        """Return the messages in it."""
        return [decode(output.type, bytes(output.data)) for output in self.outputs]


class Publisher:
    """The gateway's identity on the bus: two counters, one for events and one for intents."""

    def __init__(self, bus: Bus, journal: IntentJournal, clock: Clock, config_hash: Callable[[], str]) -> None:
        self._bus = bus
        self._journal = journal
        self._clock = clock
        self._config_hash = config_hash
        self._epoch = 0
        self._n = {EVENTS: 0, INTENTS: 0}
        self._ring: deque[Batch] = deque(maxlen=KEEP_BATCHES)
        self._pending: deque[tuple[str, Message]] = deque()
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._intending = asyncio.Lock()
        self._committing = asyncio.Lock()
        self.incarnation = ""
        self.fields: dict[str, str] = {}
        self.lost_facts = False  # Redis forgot more than our ring can give back
        self.on_trouble: Callable[[str], None] = lambda reason: None

    async def claim(self, batches: list[Batch]) -> Record:
        """Take the identity over and give Redis back what the journal has above it."""
        self._ring.extend(batches)
        record = await self._bus.claim("executor", IDENTITY, (EVENTS, INTENTS), snapshots=False)
        self.fields = dict(record.fields)
        self._stand_on(record)
        await self._give_back()
        return record

    def tell(self, *messages: Message) -> None:
        """Queue messages: alerts to `alerts`, everything else to `venue.events`."""
        for message in messages:
            self._pending.append(("alerts" if isinstance(message, Alert) else "venue.events", message))
        self._idle.clear()
        self._wake.set()

    async def flushed(self) -> None:
        """Wait until everything told is committed."""
        await self._idle.wait()

    async def run(self) -> None:
        """Commit what is told, for ever.

        Raises
        ------
        Fenced
            If another gateway has the identity.
        """
        while True:
            await self._wake.wait()
            while self._pending:
                outputs = [self._pending.popleft() for _ in range(min(MAX_BATCH, len(self._pending)))]
                await self._publish(encode_outputs(outputs))
            self._wake.clear()
            self._idle.set()

    async def intend(self, *, account: str, lease: str, reducing: bool) -> bool:
        """Commit one intent; False where the latch, the mode or the lease forbids it.

        Raises
        ------
        Transient
            If Redis did not say: the intent may stand, and the order must not be sent.
        """
        async with self._intending:
            for _ in range(2):
                n = self._n[INTENTS]
                request = self._request(INTENTS, n, (), {})
                result = await self._bus.intend(request, account=account, lease=lease, reducing=reducing)
                if result.answer is Answer.OK:
                    self._n[INTENTS] = n + 1
                    return True
                if result.answer is Answer.HALTED:
                    return False
                # An intent whose reply was lost has moved the counter; the number is all that is stale.
                await self.stand()
            raise Transient(f"the intent was answered with {result.answer} twice")

    async def stand(self) -> None:
        """Read again where Redis thinks we are, after it was lost; give back what it forgot.

        Raises
        ------
        Fenced
            If another gateway has the identity.
        """
        record = await self._bus.load(IDENTITY, (EVENTS, INTENTS))
        if record.epoch > self._epoch:
            raise Fenced(f"{IDENTITY} has epoch {record.epoch}, this one has {self._epoch}; it stops")
        if record.epoch < self._epoch:
            record = await self._bus.claim("executor", IDENTITY, (EVENTS, INTENTS), snapshots=False)
        self._stand_on(record)
        await self._give_back()

    def _stand_on(self, record: Record) -> None:
        if self.incarnation and record.incarnation != self.incarnation:
            self.lost_facts = True
        self.incarnation = record.incarnation
        self._epoch = record.epoch
        self._n = {name: int(record.positions[name].partition("-")[0]) for name in (EVENTS, INTENTS)}

    async def _give_back(self) -> None:
        """Commit again the batches that Redis has lost."""
        stored = self._n[EVENTS]
        missing = [batch for batch in self._ring if batch.n > stored]
        if missing and missing[0].n != stored + 1:
            self.lost_facts = True
            self._ring.clear()
            return
        for batch in missing:
            outputs = tuple(EncodedOutput(o.stream, o.type, bytes(o.data)) for o in batch.outputs)
            result = await self._commit(outputs)
            if result.answer not in (Answer.OK, Answer.DUP):
                raise Transient(f"a batch given back was answered with {result.answer}")

    async def _publish(self, outputs: tuple[EncodedOutput, ...]) -> None:
        failures = 0
        batch: Batch | None = None
        while True:
            try:
                if batch is None or batch.n != self._n[EVENTS] + 1:
                    if batch is not None and batch.n <= self._n[EVENTS]:
                        return  # it was committed, its reply was lost
                    batch = Batch(
                        self._n[EVENTS] + 1, tuple(StoredOutput(o.stream, o.type, msgspec.Raw(o.data)) for o in outputs)
                    )
                    self._ring.append(batch)
                    # Not waited for: what a venue said can be asked for again. Intents are what must be on disk.
                    self._note(batch)
                result = await self._commit(outputs)
                if result.answer in (Answer.OK, Answer.DUP):
                    return
                if result.answer is Answer.FENCED:
                    raise Fenced(f"{IDENTITY} has a newer owner; this one stops")
                if result.answer is not Answer.CONFLICT:
                    raise Broken(f"events were answered with {result.answer}")
                self._ring.remove(batch)
                await self.stand()
                batch = None
            except Transient as error:
                self.on_trouble(str(error))
                await asyncio.sleep(_BACK_OFF_S[min(failures, len(_BACK_OFF_S) - 1)])
                failures += 1

    def _note(self, batch: Batch) -> None:
        task = asyncio.ensure_future(
            self._journal.append("events", msgspec.json.encode(batch), at=self._clock.wall_ns(), durable=False)
        )
        task.add_done_callback(lambda done: done.exception())  # `journal.failure` tells; orders are refused by it

    async def _commit(self, outputs: tuple[EncodedOutput, ...]) -> CommitResult:
        async with self._committing:
            n = self._n[EVENTS]
            result = await self._bus.commit(self._request(EVENTS, n, outputs, self.fields))
            if result.answer in (Answer.OK, Answer.DUP):
                self._n[EVENTS] = n + 1
            return result

    def _request(
        self, source: str, n: int, outputs: tuple[EncodedOutput, ...], fields: dict[str, str]
    ) -> CommitRequest:
        here = f"{n + 1}-0"
        return CommitRequest(
            identity=IDENTITY,
            epoch=self._epoch,
            input=source,
            expected=f"{n}-0",
            first=here,
            last=here,
            count=1,
            config=self._config_hash(),
            outputs=outputs,
            fields=dict(fields),
        )
