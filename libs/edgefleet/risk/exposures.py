"""What an account is worth and what it is exposed to, worked out from the state between two entries. Decides nothing.

Everything here is a function of the state as it is, never of the way it came about: a process that was restarted in
between gets the same bits. A touch changes one line of the lists; sums are taken anew over all of them, in order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container
from itertools import compress
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from edgefleet.clock import NS_PER_S
from edgefleet.instruments import AssetClass
from edgefleet.messages import Refusal
from edgefleet.risk.limits import NOBODY, Beside
from edgefleet.risk.plan import RiskPlan
from edgefleet.risk.state import NOWHERE, Desk, Range, RiskState, believed, deviation_of, range_of, rate, value_of
from edgefleet.risk.var import Z_95
from edgefleet.risk.verdict import No
from edgefleet.stats.online_covariance import JointReturns

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

NEVER = 2**63 - 1
_OLDEST_NS = 4 * 86_400 * NS_PER_S + 1  # of the last joint sample, which a market that is closed for a long weekend has


class Correlations(NamedTuple):
    """The correlations of a venue's instruments as far as they are known."""

    at: dict[str, int]  # instrument -> row
    known: tuple[bool, ...]  # whether enough joint returns have come
    rows: list[list[float]]  # NaN where a pair is not known
    table: Floats  # the same with 0 there
    until: int  # ns, stage time from which they are too old
    einsum: Callable[..., Floats]  # numpy's: it is loaded where there are correlations, and asked for with every touch

    def zeros(self) -> tuple[Floats, Floats]:
        """Return two rows of zeros, one number per instrument."""
        import numpy as np  # where there is a table it is loaded already

        return np.zeros(len(self.rows)), np.zeros(len(self.rows))


def joint_now(state: RiskState, venue: str) -> JointReturns | None:
    """Return the joint returns of a venue's instruments, None where there are none or the last is too long ago."""
    joint = state.joint.get(venue)
    return None if joint is None or not state.time < joint.ts + _OLDEST_NS else joint


def correlations_of(joint: JointReturns, least: int) -> Correlations | None:
    """Return what is known of how a venue's instruments move together, None with fewer than `least` returns."""
    found = joint.correlations(least)
    if found is None:
        return None
    rows: list[list[float]] = found.tolist()
    known = tuple(any(not math.isnan(one) for at, one in enumerate(row) if at != i) for i, row in enumerate(rows))
    table = found.copy()
    table[table != table] = 0.0  # NaN
    import numpy as np  # where there is a table it is loaded already

    at = {name: at for at, name in enumerate(joint.names)}
    return Correlations(at, known, rows, table, joint.ts + _OLDEST_NS, np.einsum)


class Totals(msgspec.Struct, frozen=True, gc=False):
    """Sums over all lines."""

    gross: float
    low: float
    high: float
    linear: float  # of what counts by its sum, in deviations of a day
    variance: float  # of the correlated middles
    moved: Floats | None  # table times middles, by row of the correlations; None where it is zero
    wanted_linear: float  # sizes of wanted positions whose correlations are not known, in deviations of a day


class Around(NamedTuple):
    """Where everything that an account holds may come to, in its quote asset."""

    gross: float
    low: float  # net of longs and shorts
    high: float


class Line(msgspec.Struct):
    """Where an instrument stands in the lists, and what is configured of it."""

    at: int
    row: int | None  # of the correlations, None where they are not known
    asset_class: AssetClass
    sector: str
    near: tuple[bool, ...] | None = (
        None  # per line whether it moves with it, once that was asked; empty where none does
    )


class Exposures:
    """The lines of one venue's account in one quote asset, and what follows from them.

    Exposures are in the quote asset, at the ask. An instrument counts with the middle of where its position may come to
    as far as its correlations are known, and with the distance to the ends by its sum: a bound from above.
    """

    __slots__ = (
        "_apart",
        "_classes",
        "_correlated",
        "_correlations",
        "_equity",
        "_high",
        "_linear",
        "_lines",
        "_low",
        "_middles",
        "_params",
        "_plan",
        "_quotes",
        "_ranges",
        "_sectors",
        "_state",
        "_totals",
        "_turning",
        "_unvalued",
        "_values",
        "_wanted",
        "_wanted_linear",
        "_worst",
        "next_expiry",
        "quote",
        "troubles",
        "unknown",
        "venue",
    )

    def __init__(
        self, state: RiskState, plan: RiskPlan, venue: str, quote: str, correlations: Correlations | None
    ) -> None:
        self._state, self._plan, self._params = state, plan, plan.params
        self.venue, self.quote, self._correlations = venue, quote, correlations
        desks = [desk for desk in state.desks.values() if desk.venue == venue]
        self._quotes = {desk.quote for desk in desks}
        size = len(desks)
        self._lines = {desk.instrument: self._line(desk, at) for at, desk in enumerate(desks)}
        self._worst, self._low, self._high = [0.0] * size, [0.0] * size, [0.0] * size
        self._apart: set[int] = set()  # lines that may end at two places
        # By line, without zeros: most are, and the sum of what is left is exact in any order.
        self._linear: dict[int, float] = {}
        self._wanted_linear: dict[int, float] = {}
        self._ranges: list[tuple[Range, float | None]] = [(NOWHERE, None)] * size
        self._middles: Floats | None
        self._wanted: Floats | None
        self._middles, self._wanted = (None, None) if correlations is None else correlations.zeros()
        self._correlated: set[int] = set()  # rows whose middle is not zero
        self._turning: set[int] = set()  # rows where another position is wanted than the middle
        lines = self._lines.values()
        self._classes: dict[AssetClass, list[float]] = {line.asset_class: [0.0] * size for line in lines}
        self._sectors: dict[str, list[float]] = {line.sector: [0.0] * size for line in lines}
        self._values: dict[str, float | None] = {
            asset: value_of(state, venue, asset, quote) for asset in state.holdings.get(venue, ())
        }
        self._unvalued = {asset for asset, value in self._values.items() if value is None}
        self._equity: float | None = None
        self._totals: Totals | None = None
        self.troubles: dict[str, No] = {}  # instruments that are held and cannot be valued
        self.unknown: dict[str, None] = {}  # instruments that are held and whose variance is not known
        # ns, stage time at which a target stops to count, or the correlations do
        self.next_expiry = NEVER if correlations is None else correlations.until
        for desk in desks:
            self._enter(desk)

    def take(self, desk: Desk) -> bool:
        """Work out anew what follows from one instrument; False where more does, for its price is others' rate."""
        if desk.base in self._quotes or desk.instrument not in self._lines:
            return False
        self._mark(desk)
        self._enter(desk)
        return True

    def remark(self, desk: Desk) -> bool:
        """Do what `take` does where nothing but the touch of the instrument has changed."""
        if desk.base in self._quotes or desk.instrument not in self._lines:
            return False
        self._mark(desk)
        units, variance = self._ranges[self._lines[desk.instrument].at]
        if units.worst > 0:
            self._price_in(desk, units, variance)
        return True

    def _mark(self, desk: Desk) -> None:
        base = desk.base
        if base not in self._values:
            return
        value = self._values[base] = value_of(self._state, self.venue, base, self.quote)
        self._equity = None
        if value is None:
            self._unvalued.add(base)
        else:
            self._unvalued.discard(base)

    def equity(self) -> float | None:
        """Return what the account is worth: longs at the bid, shorts at the ask; None where a touch is not known."""
        if self._unvalued:
            return None
        found = self._equity
        if found is None:
            found = self._equity = sum(self._values.values(), 0.0)  # type: ignore[type-var]  # none of them is None
        return found

    def var(self, equity: float) -> float:
        """Return the value at risk of everything, 95 %, one day, as a fraction of `equity`."""
        return Z_95 * self.deviation() / equity

    def deviation(self) -> float:
        """Return a day's deviation of everything, in the quote asset."""
        totals = self._sum()
        return math.sqrt(totals.variance) + totals.linear

    def first_trouble(self, beside: str) -> No | None:
        """Return why an instrument other than `beside` cannot be valued: of several that of the first in the lists.

        So it is the same whatever touch came last: a stage that was restored in between names the same one.
        """
        name = self._first(self.troubles, beside)
        return None if name is None else self.troubles[name]

    def first_unknown(self, beside: str) -> No | None:
        """Return that an instrument other than `beside` is held without a variance, the first in the lists."""
        name = self._first(self.unknown, beside)
        return None if name is None else No(Refusal.NOT_WARM, detail=f"{name} is held and its variance is not known")

    def _first(self, named: Container[str], beside: str) -> str | None:
        return next((name for name in self._lines if name in named and name != beside), None) if named else None

    def held(self) -> dict[str, float]:
        """Return the instruments in which something is held, or may come to be by an order or a target: how much."""
        worst = {name: self._ranges[line.at][0].worst for name, line in self._lines.items()}
        return {name: units for name, units in worst.items() if units > 0}

    def around(self) -> Around:
        """Return what everything comes to, each line at its worst, in the quote asset."""
        totals = self._sum()
        return Around(totals.gross, totals.low, totals.high)

    def beside(self, desk: Desk, equity: float) -> Beside:
        """Return what all others come to as fractions of `equity`, as the limits of `desk` see it."""
        if len(self._lines) == 1:
            return NOBODY
        line, totals = self._lines[desk.instrument], self._sum()
        at, row, worst = line.at, line.row, self._worst[line.at]
        in_class = totals.gross if len(self._classes) == 1 else sum(self._classes[line.asset_class], 0.0)
        near = line.near
        if near is None:
            near = self._near_to(line, desk.instrument)
        variance, covariance, linear = totals.variance, 0.0, totals.linear - self._linear.get(at, 0.0)
        pull, pull_linear = 0.0, totals.wanted_linear - self._wanted_linear.get(at, 0.0)
        moved, middles = totals.moved, self._middles
        if row is None:
            linear, variance = linear + math.sqrt(variance), 0.0
            pull_linear += 0.0 if self._wanted is None else math.fsum(map(abs, self._wanted.tolist()))
        else:
            along, own = (0.0, 0.0) if moved is None or middles is None else (moved.item(row), middles.item(row))
            if len(self._correlated) <= 1 and self._correlated <= {row}:
                variance = 0.0  # no other: what is left there are roundings
            else:
                covariance = along - own
                variance += own * (own - 2 * along)
            pull = self._pull(row, along)
        gross, in_class = totals.gross - worst, in_class - worst
        in_sector = 0.0 if line.sector == "none" else sum(self._sectors[line.sector], 0.0) - worst
        # What is left of a sum may be below zero by roundings; NaN stays.
        return Beside(
            0.0 if gross < 0 else gross / equity,
            0.0 if in_class < 0 else in_class / equity,
            0.0 if in_sector < 0 else in_sector / equity,
            sum(compress(self._worst, near), 0.0) / equity if near else 0.0,
            (totals.low - self._low[at]) / equity,
            (totals.high - self._high[at]) / equity,
            0.0 if variance < 0 else variance / (equity * equity),
            covariance / equity,
            0.0 if linear < 0 else linear / equity,
            pull / equity,
            0.0 if pull_linear < 0 else pull_linear / equity,
        )

    def _enter(self, desk: Desk) -> None:
        state = self._state
        standing = desk.standing
        if standing is not None and state.time < standing.expires_at < self.next_expiry:
            self.next_expiry = standing.expires_at
        units, variance = range_of(state, desk), believed(desk, self._params)
        self._ranges[self._lines[desk.instrument].at] = units, variance
        self.unknown.pop(desk.instrument, None)
        if units.worst > 0 and variance is None:
            self.unknown[desk.instrument] = None
        self._price_in(desk, units, variance)

    def _price_in(self, desk: Desk, units: Range, variance: float | None) -> None:
        name, line = desk.instrument, self._lines[desk.instrument]
        at, row = line.at, line.row
        self._totals = None
        price = self._price(desk) if units.worst > 0 else 0.0
        if self.troubles:
            self.troubles.pop(name, None)
        if price is None:
            self.troubles[name] = No(Refusal.NO_TOUCH, detail=f"{name} is held and has no price")
            price = 0.0
        elif not math.isfinite(units.worst * price):
            self.troubles[name] = No(Refusal.NOT_FINITE, input=f"{name}.exposure")
            price = 0.0
        deviation = 0.0 if variance is None else deviation_of(desk, variance)
        low, high, wanted, worst = units.low * price, units.high * price, units.wanted * price, units.worst * price
        self._low[at], self._high[at], self._worst[at] = low, high, worst
        if row is None:
            _put(self._linear, at, worst * deviation)
            _put(self._wanted_linear, at, abs(wanted) * deviation)
        else:
            _put(self._linear, at, (high - low) / 2 * deviation)
            self._place(row, (high + low) / 2 * deviation, wanted * deviation)
        _mark_in(self._apart, at, low != high)
        self._classes[line.asset_class][at] = worst
        if line.sector != "none":
            self._sectors[line.sector][at] = worst

    def _place(self, row: int, middle: float, wanted: float) -> None:
        if self._middles is None or self._wanted is None:
            return
        self._middles[row], self._wanted[row] = middle, wanted
        _mark_in(self._correlated, row, middle != 0.0)
        _mark_in(self._turning, row, wanted != middle)

    def _sum(self) -> Totals:
        found = self._totals
        if found is None:
            moved, variance = self._move()
            low = sum(self._low, 0.0)
            found = self._totals = Totals(
                sum(self._worst, 0.0),
                low,
                sum(self._high, 0.0) if self._apart else low,
                math.fsum(self._linear.values()),
                variance,
                moved,
                math.fsum(self._wanted_linear.values()),
            )
        return found

    def _move(self) -> tuple[Floats | None, float]:
        """Return the table times the middles, and their variance.

        Without BLAS: its bits are the same on every machine of a kind.
        """
        if self._correlations is None or self._middles is None or not self._correlated:
            return None, 0.0
        # The table is symmetric, so its rows are added up one after the other: that takes half of what row sums take.
        moved = self._correlations.einsum("i,ij->j", self._middles, self._correlations.table)
        variance = sum((self._middles * moved).tolist(), 0.0)
        return moved, 0.0 if variance < 0 else variance

    def _pull(self, row: int, along: float) -> float:
        """Return a row of the table times the wanted positions of the others; `along` is it times the middles."""
        if self._correlations is None or self._wanted is None:
            return 0.0
        if self._turning:
            along = float(self._correlations.einsum("i,i", self._wanted, self._correlations.table[row]))
        return along - self._wanted.item(row)

    def _line(self, desk: Desk, at: int) -> Line:
        terms, correlations = self._plan.terms(desk.instrument), self._correlations
        row = None if correlations is None else correlations.at.get(desk.instrument)
        known = row if correlations is not None and row is not None and correlations.known[row] else None
        if isinstance(terms, No):
            return Line(at, known, "crypto", "none")
        return Line(at, known, terms.rules.asset_class, terms.sector)

    def _near_to(self, line: Line, name: str) -> tuple[bool, ...]:
        """Return, per line, whether it moves with `name` or might: what is not known counts as correlated."""
        least = self._params.risk_limits.correlated_from
        mask = [other != name and not self.correlation(name, other) < least for other in self._lines]
        found = line.near = tuple(mask) if any(mask) else ()
        return found

    def correlation(self, name: str, other: str) -> float:
        """Return the correlation of two instruments, NaN where it is not known."""
        correlations = self._correlations
        if correlations is None:
            return math.nan
        row, column = correlations.at.get(name), correlations.at.get(other)
        return math.nan if row is None or column is None else correlations.rows[row][column]

    def _price(self, desk: Desk) -> float | None:
        """Return what a base unit is worth at the ask, in the account's quote asset."""
        worth = rate(self._state, self.venue, desk.quote, self.quote, high=True)
        return None if worth is None or desk.ask is None else desk.ask * worth


def _put(parts: dict[int, float], at: int, value: float) -> None:
    if value == 0.0:
        parts.pop(at, None)
    else:
        parts[at] = value


def _mark_in(marked: set[int], at: int, is_so: bool) -> None:
    if is_so:
        marked.add(at)
    else:
        marked.discard(at)
