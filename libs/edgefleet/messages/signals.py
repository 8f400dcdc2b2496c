"""What models expect and which of them are listened to. Written by alpha (`signals`) and router (`ensembles`)."""

from __future__ import annotations

import msgspec


class ModelEdge(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One model's expectation for one instrument."""

    model: str
    version: str
    edge_bps: float  # expected return over the horizon; the sign is the direction
    confidence: float  # 0..1
    horizon_ms: int


class Signals(msgspec.Struct, frozen=True, kw_only=True, gc=False, tag="signals.v1"):
    """Every warm model's edge for one instrument at one moment. Sent by alpha on `signals`."""

    instrument: str
    edges: tuple[ModelEdge, ...]
    mid: float  # quote per base unit
    features: str  # digest of the features that the models saw
    watermark: int  # ns since the epoch: the stage's time, the largest stamp alpha has seen
    ts_event: int
    ts_init: int
    trace_id: str
    cause: str  # stream and id of the direct input
    config: str  # hash of the configuration in force


class Watermark(msgspec.Struct, frozen=True, kw_only=True, gc=False, tag="watermark.v1"):
    """A `Beat` passed this stage. Forwarded in order by alpha on `signals` and by router on `ensembles`.

    What reads behind them learns how far they have come even when they have nothing to say.
    """

    venue: str
    ts_event: int  # the beat's stamp
    ts_init: int
    trace_id: str
    cause: str


class WeightedEdge(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A chosen model's edge and the weight the router gives it."""

    model: str
    version: str
    edge_bps: float
    confidence: float
    horizon_ms: int
    weight: float  # > 0
    age_ms: int  # how old the edge is, in market time


class Abstention(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A model that was not listened to, and why."""

    model: str
    reason: str


class Ensemble(msgspec.Struct, frozen=True, kw_only=True, gc=False, tag="ensemble.v1"):
    """The models that are listened to for one instrument and horizon class. Sent by router on `ensembles`."""

    instrument: str
    rule: str  # the routing rule that chose
    chosen: tuple[WeightedEdge, ...]
    abstained: tuple[Abstention, ...]
    regime: str | None
    uncertainty_bps: float | None  # dispersion of the chosen edges; None with fewer than two
    mid: float
    watermark: int
    ts_event: int
    ts_init: int
    trace_id: str
    cause: str
    config: str


class ModelSwitched(msgspec.Struct, frozen=True, kw_only=True, gc=False, tag="model_switched.v1"):
    """The chosen models of an instrument and rule changed. Sent by router on `ensembles` and `model.switch.log`."""

    instrument: str
    rule: str
    before: tuple[str, ...]
    after: tuple[str, ...]
    reason: str
    ts_event: int
    ts_init: int
    trace_id: str
    cause: str
    config: str
