"""A fleet's `market` stream to files, once each: the market itself, its features, its bars. Writes nothing to Redis.

Reads the stream plainly, beside the fleet: it holds nothing up and decides nothing. What Redis has trimmed is read from
the ledger's files. Features and bars are committed before the market, with what their makers remember: so a start goes
on from where the market is committed, passes by what the others had taken already, and an open bar stays whole.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from edgefleet.book.tops import ConsolidatedBest
from edgefleet.bus.interface import FIRST, Entry, id_key
from edgefleet.clock import Clock
from edgefleet.errors import OutOfReach, Poison, Transient
from edgefleet.messages import Beat, Message, decode
from edgefleet.messages.market import Bar
from edgefleet.params.schema import FleetConfig
from edgefleet.stage import Output
from edgefleet.store.closing import ClosesOrAbandons
from edgefleet.store.features.offline import FeatureStore
from edgefleet.store.features.sets import FeatureRow, FeatureSet
from edgefleet.store.history import History
from edgefleet.store.market.archive import MarketArchive
from edgefleet.store.market.kinds import MarketMessage
from edgefleet.store.recorder import Recorder
from edgefleet_services.features.keepers import BarKeeper, BestKeeper, FeatureKeeper, definitions_of

MARKET = "market"
SET_NAME = "streaming"
WRITER, BARS_WRITER = "fleet", "fleet_bars"
TAKEN = 1_000  # entries of one turn
COMMIT_MS = 30_000  # the most that a start takes again
MOST_HELD = 8_000  # rows and levels: 25 MB less than a recorder that has its machine to itself


class Places(NamedTuple):
    """Whose market is kept, and where."""

    data_dir: Path  # the fleet's, with the ledger's files
    redis_url: str | None  # None: what the ledger's files have is all there is
    out: Path


@dataclass(slots=True)
class News:
    """What one turn came to: what is now the newest, and what was counted."""

    rows: dict[str, FeatureRow] = field(default_factory=dict)  # by instrument
    bars: dict[str, dict[str, Bar]] = field(default_factory=dict)  # by instrument, all its kinds
    bests: dict[str, ConsolidatedBest] = field(default_factory=dict)  # by symbol
    tags: Counter[str] = field(default_factory=Counter)  # messages taken
    kept: Counter[str] = field(default_factory=Counter)  # rows by what they are
    refused: Counter[str] = field(default_factory=Counter)  # by reason
    last_id: str = FIRST  # of the entries taken
    more: bool = False  # there may be more to take


class Follower(ClosesOrAbandons):
    """The one who keeps a directory. Call `turn` again and again, from one thread at a time; `close` commits all.

    Raises
    ------
    Misuse
        If the version of the set has other definitions, or no feature is asked for.
    OutOfReach
        If the directory cannot be written, or another process keeps it. After an error of the disk, here and later, the
        follower is of no use; another one goes on from the marks.
    """

    def __init__(self, places: Places, config: FleetConfig, clock: Clock, *, version: int | None = None) -> None:
        store = FeatureStore(places.out / "features")
        self.features = feature_set(store, config, version)
        archive = MarketArchive(places.out)
        self._recorder = Recorder(archive, WRITER, clock, commit_ms=COMMIT_MS, most_held=MOST_HELD)
        try:
            self._bars = archive.writer(BARS_WRITER, clock, refuse=self._on_refused)
            try:
                self._rows = store.writer(self.features, WRITER, clock)
            except BaseException:
                self._bars.abandon()
                raise
        except BaseException:
            self._recorder.abandon()
            raise
        self._history = History.open(places.data_dir, places.redis_url)
        self._position = self._recorder.position or FIRST
        # Rows and bars up to here are in the files already.
        self._after = {"rows": self._known(self._rows.position), "bars": self._known(self._bars.position)}
        self._features = FeatureKeeper(config, self._remembered("rows"))
        self._bar_keeper = BarKeeper(config, self._remembered("bars"))
        self._bests = BestKeeper(config)
        self._news = News()
        self.time = 0  # the market's, ns since the epoch: of the newest beat that was taken
        self._left_out = self._bar_keeper.left_out

    @property
    def newest_bars(self) -> dict[str, dict[str, Bar]]:
        """Return every instrument's newest finished bars by kind, those of earlier runs included."""
        return self._bar_keeper.newest

    @property
    def begun_anew(self) -> list[str]:
        """Return what begins anew, `rows` or `bars`, because what was remembered cannot be read."""
        return [what for what, keeper in (("rows", self._features), ("bars", self._bar_keeper)) if keeper.forgot]

    def turn(self) -> News:
        """Take at most a thousand entries, commit where it is due, and return what came of them.

        Raises
        ------
        Transient
            If Redis does not answer: nothing was taken, and the next turn goes on.
        OutOfReach
            If the disk takes no more.
        """
        try:
            entries = self._history.following(MARKET, self._position, TAKEN)
        except OutOfReach as error:
            raise Transient(str(error)) from error
        self._news = news = News(more=len(entries) == TAKEN)
        for entry in entries:
            self._take(entry, news)
            self._position = entry.id
        news.last_id = self._position
        self._count_left_out(news)
        if self._recorder.is_due:
            self.commit()
        return news

    def commit(self) -> None:
        """Put on the disk what was taken, the market last: what is made of it is never behind it."""
        self._rows.commit(memory=self._features.memory)
        self._bars.commit(memory=self._bar_keeper.memory)
        self._recorder.commit()

    def settle(self) -> None:
        """Commit what was taken, if anything was."""
        if self._position not in (FIRST, self._recorder.position):
            self.commit()

    def close(self) -> None:
        """Commit what was taken, and end."""
        try:
            self.settle()
        finally:
            self.abandon()

    def abandon(self) -> None:
        """End without what is not committed."""
        self._rows.abandon()
        self._bars.abandon()
        self._recorder.abandon()
        self._history.close()

    def _take(self, entry: Entry, news: News) -> None:
        try:
            message = decode(entry.type, entry.data)
        except Poison:
            news.refused["unreadable"] += 1
            self._recorder.take([], entry.id)
            return
        before = self._recorder.counts.refused
        self._recorder.take([Output(MARKET, message)], entry.id)
        news.refused["unfit"] += self._recorder.counts.refused - before
        news.tags[entry.type] += 1
        if isinstance(message, Beat):
            self.time = max(self.time, message.ts_event)
        news.bests.update({best.symbol: best for best in self._bests.take(message)})
        place = id_key(entry.id)
        if place > self._after["rows"]:
            self._take_rows(message, entry.id, news)
        if place > self._after["bars"]:
            self._take_bars(message, entry.id, news)

    def _take_rows(self, message: Message, position: str, news: News) -> None:
        refused = self._features.refused
        rows = self._features.take(message)
        self._rows.take(rows, position)
        news.refused["not_a_number"] += self._features.refused - refused
        news.kept["feature_row"] += len(rows)
        news.rows.update({row.instrument: row for row in rows})

    def _take_bars(self, message: Message, position: str, news: News) -> None:
        bars = self._bar_keeper.take(message)
        self._bars.take(bars, position)
        news.kept["bar"] += len(bars)
        if bars:
            newest = self._bar_keeper.newest
            news.bars.update({bar.instrument: newest[bar.instrument] for bar in bars})

    def _count_left_out(self, news: News) -> None:
        left_out = self._bar_keeper.left_out
        for reason, count in left_out.items():
            news.refused[reason] += count - self._left_out[reason]
        self._left_out = left_out

    def _known(self, position: str) -> tuple[int, int]:
        """Return a place of ours, that of the market where ours is behind: what is between them is nowhere."""
        return max(id_key(position or FIRST), id_key(self._position))

    def _remembered(self, what: str) -> str:
        """Return what was remembered at the last commit, nothing where that is not the place to go on from."""
        writer = self._rows if what == "rows" else self._bars
        return writer.mark.memory if id_key(writer.position or FIRST) == self._after[what] else ""

    def _on_refused(self, message: MarketMessage, reason: str) -> None:
        self._news.refused["unfit"] += 1


def feature_set(store: FeatureStore, config: FleetConfig, version: int | None) -> FeatureSet:
    """Return the set that a configuration's features are rows of.

    Its version is the one named, else the one that has these definitions in the store, else the next one.
    """
    made = definitions_of(config)
    if version is not None:
        return FeatureSet(name=SET_NAME, version=version, definitions=made)
    known = [each for each in store.sets() if each.name == SET_NAME]
    fresh = FeatureSet(name=SET_NAME, version=max([each.version for each in known], default=0) + 1, definitions=made)
    return next((each for each in known if each.digest == fresh.digest), fresh)
