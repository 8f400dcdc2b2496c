"""What a venue said, committed to `venue.events` once and in order. Knows commits and rollbacks; no venue."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from itertools import takewhile
from typing import Final

import msgspec

from edgefleet.bus.interface import Answer, Bus, EncodedOutput, Record, encode_outputs
from edgefleet.bus.source import RolledBack, Source, back_off_s, in_parts
from edgefleet.clock import Clock
from edgefleet.errors import Transient
from edgefleet.gateway.intents import IntentJournal
from edgefleet.messages import Alert, Message, decode
from edgefleet.stage import Output

INTENTS: Final = "source:intents"
MAX_BATCH: Final = 128
KEEP_BATCHES: Final = 2_000  # Redis with AOF everysec loses two seconds at most


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
    """A gateway's identity on the bus, `executor.gateway.<venue>`: two counters, one for events and one for intents.

    What is committed stays in a ring for a while, numbered, so that a server which lost it is given it back.
    """

    def __init__(
        self, bus: Bus, venue: str, journal: IntentJournal, clock: Clock, config_hash: Callable[[], str]
    ) -> None:
        self._bus = bus
        self._journal = journal
        self._clock = clock
        self._config_hash = config_hash
        self._source = Source(bus, "executor", f"executor.gateway.{venue}", "venue", "intents")
        self._ring: deque[Batch] = deque(maxlen=KEEP_BATCHES)
        self._pending: deque[Output] = deque()
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._intending = asyncio.Lock()
        self._counting = asyncio.Lock()  # whoever holds it alone moves the counter of events
        self.incarnation = ""
        self.fields: dict[str, str] = {}
        self.lost_facts = False  # Redis forgot more than our ring can give back
        self.on_trouble: Callable[[str], None] = lambda reason: None

    async def claim(self, batches: list[Batch]) -> Record:
        """Take the identity over and give Redis back what the journal has above it."""
        async with self._counting:
            self._ring.extend(batches)
            record = await self._source.claim()
            self.fields = dict(record.fields)
            self._look_at(record)
            await self._give_back()
        return record

    def tell(self, *messages: Message) -> None:
        """Queue messages: alerts to `alerts`, everything else to `venue.events`."""
        for message in messages:
            self._pending.append(Output("alerts" if isinstance(message, Alert) else "venue.events", message))
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
                for part in in_parts(encode_outputs(outputs)):
                    await self._publish(part)
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
                request = self._source.request(config=self._config_hash(), name=INTENTS)
                result = await self._bus.intend(request, account=account, lease=lease, reducing=reducing)
                if result.answer is Answer.OK:
                    self._source.written(request)
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
        async with self._counting:
            await self._stand()

    async def _stand(self) -> None:
        self._look_at(await self._source.stand())
        await self._give_back()

    def _look_at(self, record: Record) -> None:
        if self.incarnation and record.incarnation != self.incarnation:
            self.lost_facts = True
        self.incarnation = record.incarnation

    async def _publish(self, outputs: tuple[EncodedOutput, ...]) -> None:
        batch: Batch | None = None
        failures = 0
        while True:
            try:
                async with self._counting:
                    if batch is None or (batch.n > self._source.counter and batch not in self._ring):
                        batch = self._number(outputs)
                    try:
                        await self._give_back()
                    except RolledBack:
                        await self._stand()
                    if batch.n <= self._source.counter:
                        return
            except Transient as error:
                self.on_trouble(str(error))
                await asyncio.sleep(back_off_s(failures))
                failures += 1

    def _number(self, outputs: tuple[EncodedOutput, ...]) -> Batch:
        """Return `outputs` as the batch behind all that is in the ring, having put it there."""
        n = max(self._source.counter, self._ring[-1].n if self._ring else 0) + 1
        batch = Batch(n, tuple(StoredOutput(o.stream, o.type, msgspec.Raw(o.data)) for o in outputs))
        self._ring.append(batch)
        # Not waited for: what a venue said can be asked for again. Intents are what must be on disk.
        self._note(batch)
        return batch

    async def _give_back(self) -> None:
        """Commit the batches of the ring that Redis does not have, the newest being what is published now."""
        stored = self._source.counter
        missing = [*takewhile(lambda batch: batch.n > stored, reversed(self._ring))][::-1]
        if [batch.n for batch in missing] != list(range(stored + 1, stored + 1 + len(missing))):
            self.lost_facts = True
            self._ring.clear()
            return
        for batch in missing:
            outputs = tuple(EncodedOutput(o.stream, o.type, bytes(o.data)) for o in batch.outputs)
            await self._source.attempt(outputs, config=self._config_hash(), fields=self.fields)

    def _note(self, batch: Batch) -> None:
        self._journal.begin("events", msgspec.json.encode(batch), at=self._clock.wall_ns(), durable=False)
