"""Models that read features get them warm, finite, after a restart too; where none reads nothing is computed."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from edgefleet.alpha.model import AlphaModel, Card, Edge
from edgefleet.alpha.stage import AlphaStage
from edgefleet.clock import NS_PER_S
from edgefleet.errors import Poison
from edgefleet.features import FeatureEngine, FeatureSpec, Top
from edgefleet.messages import Message, Signals, VenueStatus
from edgefleet.params.schema import FleetConfig, Params
from edgefleet.params.schema.models import register_parameters
from edgefleet.stage import Input
from edgefleet.testing import build
from edgefleet.testing.alpha_contract import CHECKS, Check
from edgefleet.testing.clock import START_NS


class ReaderState(msgspec.Struct, tag="test_reader"):
    """The last features."""

    values: dict[str, float] = {}


class ReaderParams(Params):
    """None."""


class Reader(AlphaModel[ReaderState, ReaderParams]):
    """Follows the order flow of ten seconds; not registered, given to the stage by hand."""

    id = "test_reader"
    version = "1"
    card = Card(
        summary="Follows the order flow of ten seconds",
        formula="edge = ofi, capped at 20 bps",
        inputs=("ofi",),
        warm_up="10 s",
        warm_up_bars=0,
        cannot="be traded",
        mirrors=True,
    )
    state_type = ReaderState
    parameters_type = ReaderParams
    reads = ("ofi", "mid")

    def initial(self) -> ReaderState:
        return ReaderState()

    def on_features(self, state: ReaderState, values: Mapping[str, float], parameters: ReaderParams) -> None:
        state.values = dict(values)

    def edge(self, state: ReaderState, top: Top, parameters: ReaderParams) -> Edge | None:
        flow = state.values.get("ofi_10s")
        return None if flow is None else Edge(max(-20.0, min(20.0, flow)), 0.5)

    def horizon_ms(self, parameters: ReaderParams) -> int:
        return 10_000


register_parameters("test_reader", ReaderParams)


def config(**features: Any) -> FleetConfig:
    named = {"features": {"min_interval_ms": 0, **features}, "models": {"models": {"test_reader": {}}}}
    return FleetConfig.model_validate(named)


def market(seconds: int, start: int = 0) -> list[Message]:
    return [
        build.quote(
            bid=Decimal(60_000), bid_size=Decimal(1 + n % 5), ask=Decimal(60_001), ts_event=START_NS + n * NS_PER_S
        )
        for n in range(start, start + seconds)
    ]


class Session:
    """A stage with the reader, told one thing after the other."""

    def __init__(self, settings: FleetConfig | None = None) -> None:
        self.stage, self.config = AlphaStage([Reader()]), settings or config()
        self.state = self.stage.initial()

    def take(self, *messages: Message) -> list[Signals]:
        outputs = [
            output.message
            for number, message in enumerate(messages)
            for output in self.stage.step(self.state, Input("market", f"{number}-0", message), self.config)
        ]
        return [message for message in outputs if isinstance(message, Signals)]

    @property
    def values(self) -> dict[str, float]:
        state: ReaderState = self.state.instruments[build.INSTRUMENT].models["test_reader"]
        return state.values


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_model_that_reads_features_can_keep_every_promise(check: Check) -> None:
    check(Reader())


def test_a_model_reads_what_the_engine_says() -> None:
    session, tape = Session(), market(30)
    engine = FeatureEngine(build.INSTRUMENT, msgspec.structs.replace(FeatureSpec(), families=("mid", "ofi")))

    said = session.take(*tape)
    for message in tape:
        engine.on_message(message)

    assert session.values == engine.values()
    assert set(session.values) == {"mid", "ofi_10s"}
    assert said


def test_a_restart_goes_on_with_what_was_read() -> None:
    whole, session = Session(), Session()
    whole.take(*market(40))
    session.take(*market(25))

    saved = msgspec.msgpack.encode(session.state)
    session.stage = AlphaStage([Reader()])
    session.state = msgspec.msgpack.decode(saved, type=session.stage.state_type)
    session.take(*market(15, start=25))

    assert session.values == whole.values


def test_two_states_through_one_stage_do_not_mix() -> None:
    one, other = Session(), Session()
    other.stage = one.stage
    for message in market(30):
        one.take(message)
        other.take(msgspec.structs.replace(message, bid_size=Decimal(3)))

    alone = Session()
    alone.take(*market(30))
    assert one.values == alone.values
    assert other.values["ofi_10s"] == 0.0


def test_what_the_configuration_leaves_out_is_absent() -> None:
    session = Session(config(online=["mid"]))
    session.take(*market(30))

    assert set(session.values) == {"mid"}


def test_other_windows_begin_anew() -> None:
    session = Session()
    session.take(*market(30))
    session.config = config(ofi_seconds=[5])
    session.take(*market(3, start=30))
    assert set(session.values) == {"mid"}

    session.take(*market(5, start=33))

    assert set(session.values) == {"mid", "ofi_5s"}


def test_a_lost_connection_reaches_the_features() -> None:
    session = Session()
    session.take(*market(30))
    at = START_NS + 30 * NS_PER_S
    session.take(VenueStatus(venue="sim", status="disconnected", ts_event=at, ts_init=at, trace_id="s"))

    session.take(*market(1, start=30))

    assert set(session.values) == {"mid"}


def test_a_number_that_cannot_be_is_poison_before_anything_has_changed() -> None:
    session = Session()
    session.take(*market(30))
    before = msgspec.msgpack.encode(session.state)

    with pytest.raises(Poison, match="quote"):
        session.take(build.quote(bid=Decimal("NaN"), ts_event=START_NS + 31 * NS_PER_S))

    assert msgspec.msgpack.encode(session.state) == before


def test_where_no_model_reads_nothing_is_computed() -> None:
    stage = AlphaStage()
    state, settings = stage.initial(), FleetConfig()
    for number, message in enumerate(market(5)):
        stage.step(state, Input("market", f"{number}-0", message), settings)

    assert state.instruments[build.INSTRUMENT].read is None
