"""What an account is worth and what it is exposed to, worked out from the state between two entries. Decides nothing.

Everything here is a function of the state as it is, never of the way it came about: a process that was restarted in
between gets the same bits. A touch changes one line of the lists; sums are taken anew over all of them, in order.
"""

from __future__ import annotations

import math
from itertools import compress
from operator import mul
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from edgefleet.clock import NS_PER_S
from edgefleet.instruments import AssetClass
from edgefleet.messages import Refusal
from edgefleet.risk.limits import Beside
from edgefleet.risk.plan import RiskPlan
from edgefleet.risk.state import NOWHERE, Desk, Range, RiskState, believed, range_of, rate, value_of
from edgefleet.risk.var import Z_95, day_deviation
from edgefleet.risk.verdict import No
from edgefleet.stats.online_covariance import JointReturns

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

NEVER = 2**63 - 1
_OLDEST_NS = 4 * 86_400 * NS_PER_S + 1  # of the last joint sample, which a market that is closed for a long weekend has
K = TypeVar("K", bound=str)


class Correlations(NamedTuple):
    """The correlations of a venue's instruments as far as they are known."""

    at: dict[str, int]  # instrument -> row
    known: tuple[bool, ...]  # whether enough joint returns have come
    rows: list[list[float]]  # NaN where a pair is not known
    table: Floats  # the same with 0 there
    until: int  # ns, stage time from which they are too old


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
    return Correlations({name: at for at, name in enumerate(joint.names)}, known, rows, table, joint.ts + _OLDEST_NS)


class Totals(NamedTuple):
    """Sums over all lines."""

    gross: float
    low: float
    high: float
    linear: float  # of what counts by its sum, in deviations of a day
    variance: float  # of the correlated middles
    moved: list[float]  # table times middles, by row of the correlations
    pulled: list[float]  # table times wanted positions
    wanted_linear: float  # sizes of wanted positions whose correlations are not known, in deviations of a day
    correlated: int  # how many middles are not zero


class Exposures:
    """The lines of one venue's account in one quote asset, and what follows from them.

    Exposures are in the quote asset, at the ask. An instrument counts with the middle of where its position may come to
    as far as its correlations are known, and with the distance to the ends by its sum: a bound from above.
    """

    __slots__ = (
        "_at",
        "_classes",
        "_correlations",
        "_high",
        "_linear",
        "_low",
        "_masks",
        "_middles",
        "_params",
        "_plan",
        "_quote",
        "_quotes",
        "_ranges",
        "_sectors",
        "_state",
        "_totals",
        "_values",
        "_wanted",
        "_wanted_linear",
        "_worst",
        "next_expiry",
        "troubles",
        "unknown",
        "venue",
    )

    def __init__(
        self, state: RiskState, plan: RiskPlan, venue: str, quote: str, correlations: Correlations | None
    ) -> None:
        self._state, self._plan, self._params = state, plan, plan.params
        self.venue, self._quote, self._correlations = venue, quote, correlations
        desks = [desk for desk in state.desks.values() if desk.venue == venue]
        self._quotes = {desk.quote for desk in desks}
        size = len(desks)
        self._at = {desk.instrument: at for at, desk in enumerate(desks)}
        self._worst, self._low, self._high = [0.0] * size, [0.0] * size, [0.0] * size
        self._linear, self._wanted_linear = [0.0] * size, [0.0] * size
        self._ranges: list[tuple[Range, float | None]] = [(NOWHERE, None)] * size
        rows = 0 if correlations is None else len(correlations.rows)
        self._middles, self._wanted = [0.0] * rows, [0.0] * rows
        self._classes: dict[AssetClass, list[float]] = {}
        self._sectors: dict[str, list[float]] = {}
        self._masks: dict[str, list[bool]] = {}
        self._values: dict[str, float | None] = {
            asset: value_of(state, venue, asset, quote) for asset in state.holdings.get(venue, ())
        }
        self._totals: Totals | None = None
        self.troubles: dict[str, No] = {}  # instruments that are held and cannot be valued
        self.unknown: dict[str, None] = {}  # instruments that are held and whose variance is not known
        # ns, stage time at which a target stops to count, or the correlations do
        self.next_expiry = NEVER if correlations is None else correlations.until
        for desk in desks:
            self._enter(desk)

    def take(self, desk: Desk) -> bool:
        """Work out anew what follows from one instrument; False where more does, for its price is others' rate."""
        if desk.base in self._quotes or desk.instrument not in self._at:
            return False
        self._mark(desk)
        self._enter(desk)
        return True

    def remark(self, desk: Desk) -> bool:
        """Do what `take` does where nothing but the touch of the instrument has changed."""
        if desk.base in self._quotes or desk.instrument not in self._at:
            return False
        self._mark(desk)
        units, variance = self._ranges[self._at[desk.instrument]]
        if units.worst > 0:
            self._price_in(desk, units, variance)
        return True

    def _mark(self, desk: Desk) -> None:
        if desk.quote == self._quote and desk.base in self._values:
            self._values[desk.base] = value_of(self._state, self.venue, desk.base, self._quote)

    def equity(self) -> float | None:
        """Return what the account is worth: longs at the bid, shorts at the ask; None where a touch is not known."""
        values = self._values.values()
        return None if None in values else math.fsum(values)  # type: ignore[arg-type]  # none of them is None

    def var(self, equity: float) -> float:
        """Return the value at risk of everything, 95 %, one day, as a fraction of `equity`."""
        totals = self._sum()
        return Z_95 * (math.sqrt(totals.variance) + totals.linear) / equity

    def beside(self, desk: Desk, equity: float) -> Beside:
        """Return what all others come to as fractions of `equity`, as the limits of `desk` see it."""
        name, asset_class, sector = desk.instrument, *self._kind(desk)
        totals, at = self._sum(), self._at[name]
        worst = self._worst[at]
        in_class = totals.gross if len(self._classes) == 1 else math.fsum(self._classes[asset_class])
        row = self._row(name)
        variance, covariance, linear = totals.variance, 0.0, totals.linear - self._linear[at]
        pull, pull_linear = 0.0, totals.wanted_linear - self._wanted_linear[at]
        if row is not None:
            own, wanted = self._middles[row], self._wanted[row]
            covariance = totals.moved[row] - own
            variance += own * (own - 2 * totals.moved[row])
            pull = totals.pulled[row] - wanted
            if totals.correlated == (own != 0.0):
                variance = covariance = 0.0  # no other: what is left there are roundings
        else:
            linear, variance = linear + math.sqrt(variance), 0.0
            pull_linear += math.fsum(map(abs, self._wanted))
        left = _left(linear, 0.0)
        return Beside(
            _left(totals.gross, worst) / equity,
            _left(in_class, worst) / equity,
            0.0 if sector == "none" else _left(math.fsum(self._sectors[sector]), worst) / equity,
            math.fsum(compress(self._worst, self._mask(name))) / equity,
            (totals.low - self._low[at]) / equity,
            (totals.high - self._high[at]) / equity,
            max(variance, 0.0) / (equity * equity),
            covariance / equity,
            left / equity,
            pull / equity,
            _left(pull_linear, 0.0) / equity,
        )

    def _enter(self, desk: Desk) -> None:
        state = self._state
        standing = desk.standing
        if standing is not None and state.time < standing.expires_at < self.next_expiry:
            self.next_expiry = standing.expires_at
        units, variance = range_of(state, desk), believed(desk, self._params)
        self._ranges[self._at[desk.instrument]] = units, variance
        self.unknown.pop(desk.instrument, None)
        if units.worst > 0 and variance is None:
            self.unknown[desk.instrument] = None
        self._price_in(desk, units, variance)

    def _price_in(self, desk: Desk, units: Range, variance: float | None) -> None:
        name, at = desk.instrument, self._at[desk.instrument]
        self._totals = None
        price = self._price(desk) if units.worst > 0 else 0.0
        self.troubles.pop(name, None)
        if price is None:
            self.troubles[name] = No(Refusal.NO_TOUCH, detail=f"{name} is held and has no price")
            price = 0.0
        elif not math.isfinite(units.worst * price):
            self.troubles[name] = No(Refusal.NOT_FINITE, input=f"{name}.exposure")
            price = 0.0
        deviation = 0.0 if variance is None else day_deviation(variance)
        low, high, wanted, worst = units.low * price, units.high * price, units.wanted * price, units.worst * price
        self._low[at], self._high[at], self._worst[at] = low, high, worst
        row = self._row(name)
        if row is None:
            self._linear[at], self._wanted_linear[at] = worst * deviation, abs(wanted) * deviation
        else:
            self._linear[at] = (high - low) / 2 * deviation
            self._middles[row], self._wanted[row] = (high + low) / 2 * deviation, wanted * deviation
        asset_class, sector = self._kind(desk)
        _slot(self._classes, asset_class, len(self._at))[at] = worst
        if sector != "none":
            _slot(self._sectors, sector, len(self._at))[at] = worst

    def _sum(self) -> Totals:
        found = self._totals
        if found is None:
            moved, pulled, variance = self._move()
            found = self._totals = Totals(
                math.fsum(self._worst),
                math.fsum(self._low),
                math.fsum(self._high),
                math.fsum(self._linear),
                variance,
                moved,
                pulled,
                math.fsum(self._wanted_linear),
                len(self._middles) - self._middles.count(0.0),
            )
        return found

    def _move(self) -> tuple[list[float], list[float], float]:
        """Return the table times the middles and times the wanted positions, and the variance of the middles."""
        correlations, middles, wanted = self._correlations, self._middles, self._wanted
        if correlations is None:
            return [], [], 0.0
        if not any(middles) and not any(wanted):
            return middles, wanted, 0.0
        moved = _times(correlations.table, middles)
        pulled = moved if wanted == middles else _times(correlations.table, wanted)
        variance = math.fsum(map(mul, middles, moved))
        return moved, pulled, max(variance, 0.0)

    def _row(self, name: str) -> int | None:
        correlations = self._correlations
        if correlations is None:
            return None
        row = correlations.at.get(name)
        return row if row is not None and correlations.known[row] else None

    def _mask(self, name: str) -> list[bool]:
        """Return, per line, whether it moves with `name` or might: what is not known counts as correlated."""
        found = self._masks.get(name)
        if found is None:
            least = self._params.risk_limits.correlated_from
            found = [other != name and not self.correlation(name, other) < least for other in self._at]
            self._masks[name] = found
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
        worth = rate(self._state, self.venue, desk.quote, self._quote, high=True)
        return None if worth is None or desk.ask is None else desk.ask * worth

    def _kind(self, desk: Desk) -> tuple[AssetClass, str]:
        terms = self._plan.terms(desk.instrument)
        return ("crypto", "none") if isinstance(terms, No) else (terms.rules.asset_class, terms.sector)


def _slot(groups: dict[K, list[float]], name: K, size: int) -> list[float]:
    found = groups.get(name)
    if found is None:
        found = groups[name] = [0.0] * size
    return found


def _left(total: float, own: float) -> float:
    left = total - own
    return left if not left < 0 else 0.0


def _times(table: Floats, vector: list[float]) -> list[float]:
    """Return the product, without BLAS: its bits are the same on every machine of a kind."""
    import numpy as np  # where there is a table it is loaded already

    found: list[float] = np.einsum("ij,j->i", table, vector).tolist()
    return found
