"""How alike the models of one instrument speak. Knows names and edges; nothing of weights, outcomes or prices.

`Agreement` remembers, `Likeness` is what follows from it until the next sample: who speaks like whom, how large the
edges are. Models that repeat one another are one source of evidence, whatever their number.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from operator import lt

import msgspec

from edgefleet.clock import NS_PER_MS
from edgefleet.messages.signals import WeightedEdge
from edgefleet.params.schema.risk import EdgeBlendingParams

_FORGOTTEN = 10  # half-lives without a word: what was heard counts 1/1024 by then
_REPEATS = 0.5  # of the mean square of one model's edges, told by the other's: above it more is repeated than is new
_REMEMBERED = 64  # sets of models whose `Among` is kept until the next sample

_ITSELF = 1.0, 2.0  # what a row holds of a model beside its own copy
_NOBODY: Mapping[str, tuple[float, float]] = {}


class Alone(msgspec.Struct, array_like=True):
    """One model's edges: sums in which a sample of age ``t`` counts ``2**(-t / half_life)``."""

    count: int = 0
    ts: int = 0  # ns, of the last sample
    weight: float = 0.0
    squared: float = 0.0  # bps^2


class Together(msgspec.Struct, array_like=True):
    """Two models' edges at the moments when both were heard, weighted as in `Alone`; all in bps^2."""

    count: int = 0
    ts: int = 0  # ns, of the last sample
    first: float = 0.0
    second: float = 0.0
    product: float = 0.0


class Agreement(msgspec.Struct):
    """Second moments of the models' edges for one instrument, weighted by age. Changed in place.

    A model that comes later has counts of its own; what was not heard for ten half-lives is dropped, so memory
    depends on how many models speak and not on how long. The moments are about zero, not about the mean: the sign and
    size of an edge are what it says, and two models that always say 10 are one opinion even when their noise differs.
    """

    ts: int | None = None  # ns, of the last sample
    alone: dict[str, Alone] = {}
    together: dict[str, dict[str, Together]] = {}  # by both names, the smaller one outside

    def is_due(self, ts: int, params: EdgeBlendingParams) -> bool:
        """Return whether `agreement_interval_ms` have passed at `ts` (ns) since the last sample, or there is none."""
        return self.ts is None or ts - self.ts >= params.agreement_interval_ms * NS_PER_MS

    def sample(self, edges: Iterable[WeightedEdge], ts: int, params: EdgeBlendingParams) -> bool:
        """Take what the models say at `ts` (ns) and return True; False where none is due (`is_due`).

        Of a model that several rules chose, the freshest edge counts.

        Raises
        ------
        ValueError
            If an edge is not finite, or its square is not; nothing is taken then.
        """
        if not self.is_due(ts, params):
            return False
        said: dict[str, float] = {}
        for edge in sorted(edges, key=_by_name_and_age):
            if not edge.edge_bps * edge.edge_bps < math.inf:
                raise ValueError(f"{edge.model}.edge_bps must have a finite square, was {edge.edge_bps!r}")
            said.setdefault(edge.model, edge.edge_bps)
        self.ts = ts
        half_life_ns = params.agreement_half_life_s * 1e9
        self._forget(ts - _FORGOTTEN * half_life_ns)
        models = list(said)
        for place, model in enumerate(models):
            self._take(model, said[model], ts, half_life_ns)
            row = self.together.setdefault(model, {}) if place + 1 < len(models) else {}
            for other in models[place + 1 :]:
                pair = row.get(other)
                if pair is None:
                    pair = row[other] = Together(ts=ts)
                _take_pair(pair, said[model], said[other], ts, half_life_ns)
        return True

    def likeness(self, min_samples: int) -> Likeness:
        """Return what is known after `min_samples` samples of a model or of a pair; a pair that is 0 never is."""
        correlations: dict[tuple[str, str], float] = {}
        for first, row in self.together.items():
            for second, pair in row.items():
                scale = math.sqrt(pair.first) * math.sqrt(pair.second)
                if pair.count >= min_samples and scale > 0:
                    correlations[first, second] = min(1.0, max(-1.0, pair.product / scale))
        moments = {
            model: one.squared / one.weight
            for model, one in self.alone.items()
            if one.count >= min_samples and one.squared > 0
        }
        return Likeness(correlations, moments)

    def _take(self, model: str, edge_bps: float, ts: int, half_life_ns: float) -> None:
        one = self.alone.get(model)
        if one is None:
            one = self.alone[model] = Alone(ts=ts)
        kept = 0.5 ** ((ts - one.ts) / half_life_ns)
        one.weight = kept * one.weight + 1.0
        one.squared = kept * one.squared + edge_bps * edge_bps
        one.count += 1
        one.ts = ts

    def _forget(self, since: float) -> None:
        self.alone = {model: one for model, one in self.alone.items() if one.ts >= since}
        together = {
            first: {second: pair for second, pair in row.items() if pair.ts >= since}
            for first, row in self.together.items()
        }
        self.together = {first: row for first, row in together.items() if row}


def _by_name_and_age(edge: WeightedEdge) -> tuple[str, int, float]:
    return edge.model, edge.age_ms, edge.edge_bps


def _take_pair(pair: Together, first_bps: float, second_bps: float, ts: int, half_life_ns: float) -> None:
    kept = 0.5 ** ((ts - pair.ts) / half_life_ns)
    pair.first = kept * pair.first + first_bps * first_bps
    pair.second = kept * pair.second + second_bps * second_bps
    pair.product = kept * pair.product + first_bps * second_bps
    pair.count += 1
    pair.ts = ts


class Among(msgspec.Struct, frozen=True, gc=False):
    """How alike the models of one set are, in the order in which the set was named."""

    shares: tuple[float, ...]  # per model 1 / (1 + sum over the others of max(rho, 0)^2); 1 where nothing is known
    pairs: tuple[float, ...]  # of each model with those before it, row by row: twice the correlation of their evidence
    moments: tuple[float, ...]  # bps^2 per model, all 0 where one of them is not known


class Ready(msgspec.Struct, frozen=True):
    """The models that were asked about last, and how alike they are: sets mostly stay as they are."""

    names: tuple[str, ...]
    ordered: bool  # in ascending order, each once
    among: Among | None = None  # where all of them are blended
    rows: tuple[tuple[tuple[float, float], ...], ...] = ()  # where the best are: of each two what `_rows` holds
    moments: tuple[float, ...] = ()  # the same: bps^2 per model, 0 where it is not known


class Likeness:
    """Correlations of the models' edges, ready to be asked thousands of times until the next sample.

    Where nothing is known of two models, each keeps its weight (a discount claims a measurement), and their evidence
    counts as correlated by `unknown`: 1, the cautious assumption, makes them one source. An edge correlates with
    another of the same model by 1.

    Raises
    ------
    ValueError
        If a correlation is not in [-1, 1], a moment not positive and finite, or `unknown` not in [0, 1].
    """

    __slots__ = ("_among", "_correlations", "_moments", "_rows", "_unknown", "last", "repeats")

    def __init__(
        self, correlations: Mapping[tuple[str, str], float], moments: Mapping[str, float], *, unknown: float = 1.0
    ) -> None:
        for pair, rho in correlations.items():
            if not -1 <= rho <= 1:
                raise ValueError(f"the correlation of {pair[0]} and {pair[1]} must be in [-1, 1], was {rho!r}")
        for model, moment in moments.items():
            if not 0 < moment < math.inf:
                raise ValueError(f"the second moment of {model} must be positive and finite, was {moment!r}")
        if not 0 <= unknown <= 1:
            raise ValueError(f"unknown must be in [0, 1], was {unknown!r}")
        self._correlations = dict(correlations)
        self._moments = dict(moments)
        self._unknown = unknown
        self._among: dict[tuple[str, ...], Among] = {}
        self.last: Ready | None = None  # what was asked about last
        self._rows: dict[str, dict[str, tuple[float, float]]] = {}  # max(rho, 0)^2 and 2 max(rho, 0) of each two
        repeated: dict[str, set[str]] = {}
        for (first, second), rho in correlations.items():
            told = max(rho, 0.0) ** 2, 2 * max(rho, 0.0)
            self._rows.setdefault(first, {})[second] = self._rows.setdefault(second, {})[first] = told
            if rho > 0 and rho * rho > _REPEATS:
                repeated.setdefault(first, set()).add(second)
                repeated.setdefault(second, set()).add(first)
        self.repeats = {model: frozenset(others) for model, others in repeated.items()}  # whom a model mostly repeats

    def correlation(self, first: str, second: str) -> float | None:
        """Return the correlation of two models' edges about zero, None where it is not known."""
        if first == second:
            return 1.0
        rho = self._correlations.get((first, second))
        return self._correlations.get((second, first)) if rho is None else rho

    def ready(self, models: tuple[str, ...], *, whole: bool) -> Ready:
        """Return how alike `models` are: all of them, or, where the best are yet to be found, each two."""
        found = self.last
        if found is None or found.names != models or (found.among is None if whole else not found.rows):
            found = self.last = self._made_ready(models, whole=whole)
        return found

    def _made_ready(self, models: tuple[str, ...], *, whole: bool) -> Ready:
        ordered = all(map(lt, models, models[1:]))
        if whole:
            return Ready(models, ordered, self.among(models))
        stranger = 0.0, 2 * self._unknown
        every = [self._rows.get(model, _NOBODY) for model in models]
        rows = tuple([tuple([row.get(other, stranger) for other in models]) for row in every])
        return Ready(models, ordered, None, rows, tuple([self._moments.get(model, 0.0) for model in models]))

    def among(self, models: tuple[str, ...]) -> Among:
        """Return how alike `models` are; one that is named twice is its own copy."""
        found = self._among.get(models)
        if found is None:
            if len(self._among) >= _REMEMBERED:
                self._among.clear()
            found = self._among[models] = self.compare(models)
        return found

    def compare(self, models: tuple[str, ...]) -> Among:
        """Return what `among` does without keeping it: for sets that change from one blend to the next."""
        alike = [1.0] * len(models)
        pairs: list[float] = []
        stranger = 0.0, 2 * self._unknown
        for i, model in enumerate(models):
            row = self._rows.get(model, _NOBODY)
            for j in range(i):
                other = models[j]
                square, twice = _ITSELF if other == model else row.get(other, stranger)
                if square:
                    alike[i] += square
                    alike[j] += square
                pairs.append(twice)
        moments = [self._moments.get(model, 0.0) for model in models]
        if 0.0 in moments:
            moments = [0.0] * len(models)
        shares = tuple([1.0 / count for count in alike])
        return Among(shares, tuple(pairs), tuple(moments))


# Two assumptions where there is no measurement: nothing is known, and every model errs by itself.
UNKNOWN = Likeness({}, {})
INDEPENDENT = Likeness({}, {}, unknown=0.0)
