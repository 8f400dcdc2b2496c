"""The nights on which value at risk is back-tested: when one begins, what it came to, a file for each.

Knows no statistics: the service loads this.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from operator import itemgetter
from pathlib import Path
from typing import Literal

import msgspec

from edgefleet.clock import NS_PER_S, iso
from edgefleet.errors import Misuse
from edgefleet.instruments import AssetClass
from edgefleet.params.schema import BacktestParams
from edgefleet.store.arrow import write_whole

MARKET_VARIABLE = "EDGEFLEET_MARKET_DIR"
FOLDER = "backtests"  # in the market's directory, which is all of the disk that the service may write in a container
REJECTED_BELOW = 0.01  # p of Kupiec's test from which a person is told, as in prometheus/rules

Zone = Literal["green", "yellow", "red"]


class Tested(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """How one way of telling value at risk did. What could not be computed is None, and `refused` says why."""

    exceptions: int | None = None
    observations: int | None = None
    expected: float | None = None  # exceptions
    p_pof: float | None = None  # Kupiec: as many as promised
    p_cci: float | None = None  # Christoffersen: one says nothing of the next
    p_cc: float | None = None  # both
    zone: Zone | None = None
    z2: float | None = None
    refits_kept: int = 0
    passes: bool = False  # neither test rejects at 5 %
    var: float | None = None  # told before the period that comes next: a loss, as a fraction
    refused: str | None = None

    @property
    def is_rejected(self) -> bool:
        """Return whether a person should know: coverage is rejected at 1 %, or the zone is red."""
        return self.zone == "red" or (self.p_pof is not None and self.p_pof < REJECTED_BELOW)


class SymbolNight(msgspec.Struct, frozen=True, kw_only=True):
    """One symbol's back-test: a line of a night's file. Without enough returns it has no `methods`."""

    instrument: str
    until: str | None  # bars that ended later are not judged; None: all
    interval: str
    level: float
    window: int
    returns: int  # that the bars gave
    needed: int
    gaps: int  # over which no return was taken
    methods: dict[str, Tested] = {}
    passing: tuple[str, ...] = ()
    failed: str | None = None  # why there is no answer

    @classmethod
    def unjudged(cls, instrument: str, settings: BacktestParams, until_ns: int | None) -> SymbolNight:
        """Return what is so before any return was seen."""
        return cls(
            instrument=instrument,
            until=None if until_ns is None else iso(until_ns),
            interval=settings.interval,
            level=settings.level,
            window=settings.window,
            returns=0,
            needed=settings.window + settings.periods,
            gaps=0,
        )

    @property
    def most_cautious(self) -> tuple[str, float] | None:
        """Return the way that tells most for the next period and that, of those which pass; where none does, of all."""
        told = {method: tested.var for method, tested in self.methods.items() if tested.var is not None}
        passing = {method: var for method, var in told.items() if method in self.passing}
        return max((passing or told).items(), key=itemgetter(1), default=None)

    @property
    def rejected(self) -> dict[str, Tested]:
        """Return the ways that a person should know of."""
        return {method: tested for method, tested in self.methods.items() if tested.is_rejected}


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What the process of a night is told on its standard input."""

    market: str  # the archive's directory
    instruments: dict[str, AssetClass]
    until_ns: int
    settings: str  # BacktestParams as JSON


_LINES = msgspec.json.Decoder(SymbolNight)


def market_directory(data_dir: Path) -> Path:
    """Return where a fleet's market is kept: in its data directory, where the environment names no other."""
    return Path(os.environ.get(MARKET_VARIABLE) or data_dir / "market")


def night_of(now_ns: int, at: str) -> date:
    """Return the newest night that has begun: the day, in UTC, whose `at` has passed."""
    now = datetime.fromtimestamp(now_ns // NS_PER_S, UTC)
    return now.date() if now.time() >= time.fromisoformat(at) else now.date() - timedelta(days=1)


def begin_of(night: date, at: str) -> int:
    """Return when a night begins, ns since the epoch."""
    return int(datetime.combine(night, time.fromisoformat(at), UTC).timestamp()) * NS_PER_S


class Nights:
    """The files of a directory, one for each night that was back-tested."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def newest(self) -> date | None:
        """Return the last night there is."""
        return max(self._known(), default=None)

    def read(self, night: date) -> list[SymbolNight]:
        """Return what a night came to.

        Raises
        ------
        Misuse
            If the file cannot be read, as one that another release wrote.
        """
        path = self._path(night)
        try:
            return _LINES.decode_lines(path.read_bytes())
        except (OSError, msgspec.MsgspecError) as error:
            raise Misuse(f"{path} cannot be read: {error}") from error

    def write(self, night: date, found: Sequence[SymbolNight], keep_days: int) -> None:
        """Put a night on the disk in one step, and remove those that are more than `keep_days` older."""
        write_whole(self._path(night), msgspec.json.Encoder().encode_lines(found))
        for old in self._known():
            if (night - old).days > keep_days:
                self._path(old).unlink()

    def _path(self, night: date) -> Path:
        return self._folder / f"{night.isoformat()}.jsonl"

    def _known(self) -> list[date]:
        found = []
        for path in self._folder.glob("????-??-??.jsonl"):
            try:
                found.append(date.fromisoformat(path.stem))
            except ValueError:
                continue  # a file of somebody else's
        return found
