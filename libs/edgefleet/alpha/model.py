"""What an alpha model is: market in, an edge out. Knows no particular model and nothing of streams."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Generic, TypeVar

import msgspec

from edgefleet.features import Top
from edgefleet.messages.market import Bar
from edgefleet.params.schema.base import Params

S = TypeVar("S", bound=msgspec.Struct)
P = TypeVar("P", bound=Params)


class Edge(msgspec.Struct, frozen=True, gc=False):
    """What one model expects, and how sure it is."""

    edge_bps: float  # expected return over the horizon; the sign is the direction
    confidence: float  # 0..1


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """What a model says of itself. The page `docs/reference/models/<id>.md` says the same at length."""

    summary: str
    formula: str
    inputs: tuple[str, ...]
    warm_up: str
    warm_up_bars: int  # closed bars of the default parameters before the first edge; 0: the first quote
    cannot: str
    mirrors: bool  # a mirrored market gives the mirrored edge


class AlphaModel(Generic[S, P]):
    """A model. Subclasses name their parts and write `initial`, `edge` and, if they use bars, `on_bar`.

    A model object holds nothing of its own: what it remembers is in its state, a `msgspec.Struct` that survives
    msgpack unchanged, one per instrument. It reads no clock, and absence is `None`, never an invented number.
    """

    id: ClassVar[str]
    version: ClassVar[str]  # raised when the same market gives other edges
    card: ClassVar[Card]
    state_type: type[S]
    parameters_type: type[P]
    reads: ClassVar[tuple[str, ...]] = ()  # families of features for `on_features`: docs/reference/features.md

    def initial(self) -> S:
        """Return the state before any input."""
        raise NotImplementedError

    def on_bar(self, state: S, bar: Bar, parameters: P) -> None:
        """Take a closed bar of `features.bar_ms`, backfilled or live, in order of time."""

    def on_features(self, state: S, values: Mapping[str, float], parameters: P) -> None:
        """Take the features of the families in `reads` as of now, by name, right before `edge` is asked.

        A feature that is not in `values` is not known: not warm yet, lost, or not among `features.online`. There may be
        others that another model reads.
        """

    def edge(self, state: S, top: Top, parameters: P) -> Edge | None:
        """Return the edge as of now, None while there is none (not warm, nothing to say)."""
        raise NotImplementedError

    def horizon_ms(self, parameters: P) -> int:
        """Return how long the edge is expected to hold."""
        raise NotImplementedError

    def parse(self, parameters: Mapping[str, Any]) -> P:
        """Return the parameters as the model's own type."""
        return self.parameters_type.model_validate(parameters)
