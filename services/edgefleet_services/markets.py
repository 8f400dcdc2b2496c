"""What each traded venue plays in a session: a tape, a synthetic market, a relay of the real one, or itself.

Knows what was asked for and what of it cannot be; starts nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path

from edgefleet.book.sessions import calendar_for
from edgefleet.clock import SYSTEM, iso
from edgefleet.errors import Misuse
from edgefleet.instruments import home_of
from edgefleet.ledger.identity import assets
from edgefleet.matching.hours import Hours, open_moment
from edgefleet.params.schema import FleetConfig
from edgefleet.venues.tape import TapeSummary, check_tape
from edgefleet.venues.taq import is_taq, read_taq
from edgefleet_services.options import Mode, TradedVenue, service_port

SPEEDS = ("1", "10", "max")
OLD_STATE = "venue.json"
TRADED_DIALECTS = ("binance", "alpaca")


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetVenue(TradedVenue):
    """A traded venue as a session has it; its address is its simulation's, or none of a real one."""

    dialect: str = "binance"
    arguments: tuple[str, ...] | None = None  # of the simulation's process; None: it is no process of this fleet

    @property
    def plays_tape(self) -> bool:
        """Return whether its simulation plays a recording."""
        return "--tape" in (self.arguments or ())


@dataclass(frozen=True, slots=True, kw_only=True)
class Markets:
    """What was asked for of the markets, checked."""

    mode: Mode
    traded: tuple[TradedVenue, ...]
    dialects: Mapping[str, str]  # by venue
    speed: str = "1"
    seed: int = 7
    tapes: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)  # by venue
    summaries: Mapping[str, TapeSummary] = field(default_factory=dict)  # of the tapes of Binance's wire
    shift_ns: int | None = None  # time of synthetic markets side by side less the clock's; None: each has its own

    def is_synthetic(self, venue: str) -> bool:
        """Return whether a venue's market is made up."""
        return self.mode != "live" and not self.tapes and (venue == "sim" or self.is_stocks(venue))

    def is_stocks(self, venue: str) -> bool:
        """Return whether a venue trades US stocks in Alpaca's dialect."""
        return self.dialects[venue] == "alpaca"

    def venues(self, data_dir: Path, port: int) -> tuple[FleetVenue, ...]:
        """Return the venues of a fleet whose monitor is at `port`."""
        return tuple(
            FleetVenue(
                name=one.name,
                symbols=one.symbols,
                dialect=self.dialects[one.name],
                url=None if self.mode == "live" else f"http://127.0.0.1:{service_port('venue', port, number)}",
                arguments=self._arguments(one.name, data_dir),
            )
            for number, one in enumerate(self.traded)
        )

    def _arguments(self, venue: str, data_dir: Path) -> tuple[str, ...] | None:
        if self.mode == "live":
            return None
        tape = self.tapes.get(venue)
        if tape:
            files = [argument for path in tape for argument in ("--tape", str(path.resolve()))]
            return ("--market", "tape", "--speed", self.speed, *self._origin(), *files)
        keeps = ("--state-file", str(_state_file(data_dir.resolve(), venue)))
        if self.is_synthetic(venue):
            shift = () if self.shift_ns is None else ("--shift-ns", str(self.shift_ns))
            return ("--market", "synthetic", "--seed", str(self.seed), *shift, *keeps)
        return ("--market", "relay", *keeps)

    def _origin(self) -> tuple[str, ...]:
        """Return what makes several tapes begin at one moment of theirs, whichever was first."""
        if len(self.summaries) < 2:
            return ()
        return ("--start-ns", str(min(one.first_ns for one in self.summaries.values())))

    def told(self, venue: str) -> str:
        """Return, for people, what a venue plays."""
        summary = self.summaries.get(venue)
        if summary is not None:
            return f"tape of {summary.lines} lines at speed {self.speed}"
        if self.tapes.get(venue):
            return f"recorded prints and quotes at speed {self.speed}"
        if self.is_synthetic(venue):
            hours = ", in New York's hours" if self.is_stocks(venue) else ""
            return f"synthetic, seed {self.seed}{hours}{self._told_shift()}"
        return f"live from {venue}"

    def _told_shift(self) -> str:
        return f", {iso(SYSTEM.wall_ns() + self.shift_ns)[:16]} UTC there" if self.shift_ns else ""


def _state_file(data_dir: Path, venue: str) -> Path:
    """Return where the account of a simulated venue is kept.

    Raises
    ------
    Misuse
        If one of an earlier version is there, which had one file for whichever venue there was.
    """
    old, now = data_dir / OLD_STATE, data_dir / f"venue.{venue}.json"
    if old.exists():
        raise Misuse(f"{old} is a simulated account of an earlier version; if it is {venue}'s, rename it to {now.name}")
    return now


def check_markets(
    mode: Mode,
    traded: tuple[TradedVenue, ...],
    tape: Sequence[str],
    config: FleetConfig,
    *,
    conf_dir: Path,
    speed: str,
    seed: int,
    until_end: bool,
) -> Markets:
    """Return what each venue plays; a tape is read whole.

    Raises
    ------
    Misuse
        If a venue or a symbol is not configured, or a tape does not hold what is asked of it.
    """
    dialects = {one.name: _dialect(one, config, conf_dir) for one in traded}
    traded = tuple(_rates_last(one, config) for one in traded)
    markets = Markets(mode=mode, traded=traded, dialects=dialects, speed=speed, seed=seed, tapes=_shared(tape, traded))
    if tape and mode == "live":
        raise Misuse("--mode live trades the real market, and a --tape is a recorded one; leave one of them out")
    if not tape:
        if until_end:
            raise Misuse("--until-end needs a --tape: a market without a tape does not end; use --duration")
        return replace(markets, shift_ns=_common_shift(markets, SYSTEM.wall_ns()))
    if speed not in SPEEDS:
        raise Misuse(f"--speed {speed!r} is unknown; it is {', '.join(SPEEDS)}")
    if len(traded) == 1:
        return _one_tape(markets, traded[0])
    if speed == "max":
        raise Misuse("--speed max plays each tape as fast as it is read, and several lose each other; use 1 or 10")
    summaries = {}
    stocks = next((one.name for one in traded if markets.is_stocks(one.name)), None)
    if stocks is not None:
        raise Misuse(
            f"a tape beside {stocks} cannot be: recorded crypto and recorded stocks have no common time here; "
            "play one of them alone, or leave --tape out and have both synthetic"
        )
    for one in traded:
        files = markets.tapes.get(one.name)
        if not files:
            raise Misuse(f"{one.name} has no tape, and another time than a tape's; add --tape {one.name}=FILE")
        summaries[one.name] = _checked_tape(files, one)
    return replace(markets, summaries=summaries)


def missing_rates(traded: Sequence[TradedVenue], config: FleetConfig) -> list[str]:
    """Return the assets that accounts count in and to which, from the fleet's, no instrument or feed leads."""
    quote = config.risk_harmonizer.fleet_limits.quote
    symbols = {symbol for one in traded for symbol in one.symbols}
    symbols |= {symbol for followed in config.fleet.feeds.values() for symbol in followed}
    homes = [
        home_of({assets(one)[1] for one in venue.instruments if not config.instruments.is_rate(one)}, quote)
        for venue in traded
    ]
    wanted = dict.fromkeys(home for home in homes if home not in (None, quote)) if len(traded) > 1 else {}
    return [home for home in wanted if not {f"{home}/{quote}", f"{quote}/{home}"} & symbols]


def _rates_last(traded: TradedVenue, config: FleetConfig) -> TradedVenue:
    """Return a venue whose first symbol is one that is traded: what its account counts in is told by it."""
    symbols = sorted(traded.symbols, key=lambda symbol: config.instruments.is_rate(f"{symbol}@{traded.name}"))
    return replace(traded, symbols=tuple(symbols))


def _common_shift(markets: Markets, wall_ns: int) -> int | None:
    """Return what the time of synthetic markets that stand side by side is less the clock's, so that all have one.

    None where each may have its own. Beside a real market it is the clock's, and stocks are closed when New York is.
    """
    names = [one.name for one in markets.traded]
    made_up = [name for name in names if markets.is_synthetic(name)]
    if len(names) == 1 or not made_up:
        return None
    if len(made_up) < len(names) or not any(markets.is_stocks(name) for name in made_up):
        return 0
    begins_ns = open_moment(Hours(calendar_for("us_stocks")), wall_ns)
    return 0 if begins_ns is None else begins_ns - wall_ns


def _dialect(traded: TradedVenue, config: FleetConfig, conf_dir: Path) -> str:
    params = config.venues.venues.get(traded.name)
    if params is None:
        known = ", ".join(sorted(config.venues.venues))
        raise Misuse(
            f"--venue {traded.name!r} is not in {conf_dir}/venues; known are {known}. A second one of a kind is a copy "
            f"of its file under another name"
        )
    if params.dialect not in TRADED_DIALECTS:
        raise Misuse(
            f"orders at {traded.name} ({params.dialect}) are not built; they are at {', '.join(TRADED_DIALECTS)}. "
            f"Follow its market beside the traded one: fleet.feeds in {conf_dir}/fleet.yml"
        )
    for symbol in traded.symbols:
        rules = config.instruments.get(f"{symbol}@{traded.name}")
        if rules is None:
            like = get_close_matches(symbol, config.instruments.symbols, n=1)
            meant = f"did you mean {like[0]}? Else " if like else ""
            raise Misuse(
                f"symbol {symbol} is not in {conf_dir}/instruments.yml; {meant}add its tick, lot and minimum there"
            )
        if (rules.asset_class == "us_stocks") is not (params.dialect == "alpaca"):
            kinds = "US stocks" if params.dialect == "alpaca" else "no stocks"
            raise Misuse(f"--symbols {symbol}@{traded.name}: {traded.name} ({params.dialect}) trades {kinds}")
    return params.dialect


def _shared(tape: Sequence[str], traded: Sequence[TradedVenue]) -> dict[str, tuple[Path, ...]]:
    """Return each venue's files; of several venues, a file that names none is of the one before it: `sim=a.gz b.gz`."""
    names = {one.name for one in traded}
    found: dict[str, tuple[Path, ...]] = {}
    venue = traded[0].name if len(traded) == 1 else ""
    for text in tape:
        name, _, path = text.partition("=")
        if path and name not in names and len(names) > 1 and not Path(text).exists():
            raise Misuse(f"--tape {text}: {name!r} is not among the venues {', '.join(sorted(names))}")
        if path and name in names:
            venue, text = name, path
        if not venue:
            raise Misuse(f"--tape {text}: of which of {', '.join(sorted(names))}? Write it as {traded[0].name}={text}")
        found[venue] = (*found.get(venue, ()), Path(text))
    return found


def _one_tape(markets: Markets, traded: TradedVenue) -> Markets:
    files = markets.tapes[traded.name]
    if markets.is_stocks(traded.name):
        _check_stock_tape(files, traded.symbols)
        return markets
    if traded.name != "sim":
        raise Misuse(f"--tape plays on the simulated venue only, not on {traded.name!r}; use --venue sim")
    return replace(markets, summaries={traded.name: _checked_tape(files, traded)})


def _checked_tape(files: Sequence[Path], traded: TradedVenue) -> TapeSummary:
    summary = check_tape(files)
    absent = [symbol for symbol in traded.symbols if symbol.replace("/", "") not in summary.symbols]
    if absent:
        raise Misuse(f"symbol {', '.join(absent)} is not on the tape; it has {', '.join(summary.symbols)}")
    if not summary.snapshots:
        raise Misuse("the tape has no depth snapshot, so no book can begin; record one beside the stream")
    return summary


def _check_stock_tape(files: Sequence[Path], symbols: tuple[str, ...]) -> None:
    strange = [str(path) for path in files if not is_taq(path)]
    if strange:
        raise Misuse(f"{', '.join(strange)}: a stock's tape is TAQ's trades and quotes as CSV")
    first = next(read_taq(files), None)
    if first is None or symbols != (f"{first.symbol}/USD",):
        held = "nothing" if first is None else first.symbol
        raise Misuse(f"symbol {', '.join(symbols)} is not on the tape; it has {held}")
