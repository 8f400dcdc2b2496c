"""What a stage's loop tells, as metrics, logs and health. Knows the loop's hooks, nothing of what a stage means."""

from __future__ import annotations

from collections.abc import Sequence

import prometheus_client

from edgefleet.bus.interface import Answer, Clearance, EncodedOutput, Entry, Record
from edgefleet.bus.loop import Observer
from edgefleet.clock import NS_PER_S
from edgefleet.telemetry.health import Health
from edgefleet.telemetry.logs import Logger
from edgefleet.telemetry.metrics import Metrics


class StageMetrics(Observer):
    """The observer of one stage's loop. A stage is well once it is restored and while its bus answers."""

    def __init__(self, service: str, metrics: Metrics, health: Health, log: Logger) -> None:
        self._service = service
        self._health, self._log = health, log
        self._step = metrics.step_duration.labels(service=service)
        self._messages, self._dead_letters = metrics.messages, metrics.dead_letters
        self._counters: dict[str, prometheus_client.Counter] = {}  # by type of message: a look-up of labels costs more
        health.report("stage", False, "not restored yet")

    def restored(self, record: Record, reran: int) -> None:
        detail = f"restored at commit {record.n}, epoch {record.epoch}, {reran} entries re-run"
        self._health.report("stage", True, detail)
        self._log.info("stage_restored", identity=record.identity, n=record.n, epoch=record.epoch, reran=reran)

    def committed(
        self,
        stream: str,
        entries: Sequence[Entry],
        outputs: Sequence[EncodedOutput],
        step_ns: int,
        clearance: Clearance | None = None,
    ) -> None:
        if not entries:
            return
        # A batch's steps are timed together: one observation of their mean.
        self._step.observe(step_ns / len(entries) / NS_PER_S)
        counts: dict[str, int] = {}  # most batches are a few entries: making a Counter costs more than they do
        for entry in entries:
            counts[entry.type] = counts.get(entry.type, 0) + 1
        for kind, count in counts.items():
            counter = self._counters.get(kind)
            if counter is None:
                counter = self._counters[kind] = self._messages.labels(service=self._service, type=kind)
            counter.inc(count)

    def refused(self, stream: str, answer: Answer) -> None:
        if answer is not Answer.BUSY:
            self._log.warning("commit_refused", stream=stream, answer=answer.value)

    def dead_lettered(self, stream: str, entry: Entry, error: str) -> None:
        self._dead_letters.labels(service=self._service).inc()
        self._log.error("dead_letter", stream=stream, entry=entry.id, type=entry.type, error=error)

    def snapshot_rejected(self, reason: str) -> None:
        self._log.warning("snapshot_rejected", reason=reason)

    def input_lost(self, stream: str, entries: int) -> None:
        self._log.error("input_lost", stream=stream, entries=entries)

    def rolled_back(self, stream: str, had: str, found: str) -> None:
        self._log.error("rolled_back", stream=stream, had=had, found=found)

    def flushed(self, had: str, found: str) -> None:
        self._log.error("flushed", had=had, found=found)

    def unreachable(self, error: str) -> None:
        self._health.report("stage", False, error)
        self._log.warning("bus_unreachable", error=error)

    def configured(self, config_hash: str) -> None:
        self._log.info("configured", config=config_hash)
