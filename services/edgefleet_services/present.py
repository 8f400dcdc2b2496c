"""What the risk stage of a fleet knows now, for who only looks: takes nothing over and writes nothing.

From the Redis of a fleet, also for a user who may only read, or from the archive of one that has stopped.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from redis.exceptions import RedisError

from edgefleet.bus.interface import FIRST, Depth, Entry, Record, record_from_state
from edgefleet.bus.redis_bus import RedisBus
from edgefleet.bus.rerun import journal_of
from edgefleet.bus.restore import state_of
from edgefleet.errors import Broken, OutOfReach, Transient
from edgefleet.params.reader import stored_config
from edgefleet.params.schema import FleetConfig
from edgefleet.params.store import ParamStore
from edgefleet.replay.twin import Cursor
from edgefleet.risk.stage import RiskStage
from edgefleet.risk.state import RiskState

if TYPE_CHECKING:
    from edgefleet.store.history import History

LOOKS = 5  # at a stage that goes on meanwhile


class Present(NamedTuple):
    """Risk as of its last commit."""

    state: RiskState
    config: FleetConfig  # in force now; of an archive the last commit's
    commits: int  # of all its life: the number of the last one
    reran: int  # entries since the snapshot, or since the first where there is none


async def risk_now(url: str) -> Present:
    """Return the state that the risk stage would have if it were started again now.

    Its newest snapshot, and its journal since run again with the outputs suppressed and checked, as in a restart.

    Raises
    ------
    OutOfReach
        If Redis does not answer, or holds no state of risk.
    Broken
        If what is stored cannot be run again.
    """
    async with RedisBus(url) as bus:
        try:
            for _ in range(LOOKS - 1):
                record = await _record(bus.redis)
                try:
                    return await _again(bus, record)
                except Broken:
                    # What a newer snapshot made superfluous may be trimmed while the older one is looked at.
                    if (await _record(bus.redis)).n == record.n:
                        raise
            return await _again(bus, await _record(bus.redis))
        except (Transient, RedisError, OSError) as error:
            raise OutOfReach(f"Redis does not answer: {error}; is a fleet running?") from error


async def _again(bus: RedisBus, record: Record) -> Present:
    store, configs = ParamStore(bus.redis), dict[str, FleetConfig]()

    async def by_hash(config_hash: str) -> FleetConfig:
        if config_hash not in configs:
            configs[config_hash] = await stored_config(store, config_hash)
        return configs[config_hash]

    state, reran = await state_of(record, RiskStage(), bus, by_hash, _unheard)
    current = await store.current()
    if current is None:
        raise OutOfReach("this Redis holds no configuration; is it the fleet's?")
    return Present(state, await by_hash(current.hash), record.n, reran)


async def risk_recorded(data_dir: Path) -> Present | None:
    """Return the state that the risk stage had when the archive ends, None where no risk stage is in it.

    All of its journal is run again, as `edgefleet twin` does: seconds for each minute of a busy session.

    Raises
    ------
    Broken
        If the archive has a hole: a fleet that was killed has its last entries in Redis alone.
    """
    from edgefleet.store.history import History  # pyarrow is for who reads an archive

    stage = RiskStage()
    with History.open(data_dir) as history:
        streams = _Recorded(history, f"journal.{stage.service}")
        commits = [commit for entry in streams.journal if (commit := journal_of(entry)).identity == stage.service]
        if not commits:
            return None

        async def by_hash(config_hash: str) -> FleetConfig:
            return history.config(config_hash)

        record = Record(
            identity=stage.service,
            epoch=commits[-1].epoch,
            n=commits[-1].n,
            positions=dict.fromkeys(stage.inputs, FIRST) | {commit.input: commit.last for commit in commits},
            fields={},
            snapshot=None,
            incarnation="",
        )
        state, reran = await state_of(record, stage, streams, by_hash, _unheard)
        return Present(state, history.config(commits[-1].config), record.n, reran)


class _Recorded:
    """An archive's streams as a re-run reads them: each once, forwards."""

    def __init__(self, history: History, journal: str) -> None:
        self._history, self._name = history, journal
        self.journal = list(history.entries(journal))
        self._turned = 0
        self._inputs: dict[str, Cursor] = {}

    async def span(self, stream: str, first: str, last: str, *, count: int | None = None) -> list[Entry]:
        if stream == self._name:
            begin, self._turned = self._turned, self._turned + (count or len(self.journal))
            return self.journal[begin : self._turned]
        if stream not in self._inputs:
            self._inputs[stream] = Cursor(self._history.entries(stream))
        return self._inputs[stream].span(first, last)

    async def depth(self, stream: str) -> Depth:
        return Depth(len(self.journal), len(self.journal), self.journal[-1].id)


async def _record(redis: Any) -> Record:
    """Return what is stored of risk. A user who may only read has no transactions, so the state is read twice."""
    stage = RiskStage()
    for _ in range(LOOKS):
        before = await redis.hget(f"state:{stage.service}", "snap_n")
        snapshot = await redis.get(f"snapshot:{stage.service}")
        stored = await redis.hgetall(f"state:{stage.service}")
        if not stored:
            raise OutOfReach("this Redis holds no state of risk; is it the fleet's, and did the fleet ever run?")
        if stored.get(b"snap_n") == before:
            state = {key.decode(): value.decode() for key, value in stored.items()}
            return record_from_state(stage.service, stage.inputs, state, snapshot, "")
    raise Transient(f"risk saved a snapshot during each of {LOOKS} looks")


async def _unheard(why: str) -> None:
    """The stage itself tells of a snapshot that is of no use, when it starts."""
