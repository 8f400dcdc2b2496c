"""Models' formulas, the pace of Signals, and what the alpha layer passes on."""

from __future__ import annotations

import math
from decimal import Decimal
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefleet.alpha.model import Edge
from edgefleet.alpha.models.ma_momentum import momentum, squared_weights
from edgefleet.alpha.models.ob_pressure import pressure_of
from edgefleet.alpha.stage import AlphaStage
from edgefleet.clock import NS_PER_MS, NS_PER_S
from edgefleet.messages import Message, Signals, VenueStatus, Watermark
from edgefleet.params.schema import FleetConfig
from edgefleet.params.schema.models import MaMomentumParams
from edgefleet.stage import Input, Output
from edgefleet.testing import build
from edgefleet.testing.clock import START_NS

USUAL = MaMomentumParams()


def at(ms: int) -> int:
    return START_NS + ms * NS_PER_MS


class Session:
    """An alpha stage and its state, told one thing after the other."""

    def __init__(self, **components: Any) -> None:
        self.stage = AlphaStage()
        self.state = self.stage.initial()
        self.config = FleetConfig.model_validate(components)
        self.told = 0

    def take(self, message: Message) -> list[Output]:
        self.told += 1
        return list(self.stage.step(self.state, Input("market", f"{self.told}-0", message), self.config))

    def signals(self, message: Message) -> list[Signals]:
        return [output.message for output in self.take(message) if isinstance(output.message, Signals)]

    def warm(self, bars: int = 30) -> None:
        for number in range(bars + 1):
            price = Decimal(60_000) + number
            self.take(build.trade(price=price, ts_event=START_NS + (number - bars) * NS_PER_S))


def models(signals: Signals) -> dict[str, float]:
    return {edge.model: edge.edge_bps for edge in signals.edges}


@pytest.mark.parametrize(
    ("bid", "ask", "edge"), [(10.0, 2.0, 16.6667), (5.0, 5.0, 0.0), (2.0, 10.0, -16.6667), (1, 0, 25)]
)
def test_pressure_is_the_imbalance_of_the_best_sizes(bid: float, ask: float, edge: float) -> None:
    pressure = pressure_of(bid, ask)

    assert pressure is not None
    assert 25 * pressure == pytest.approx(edge, abs=1e-4)


def test_no_sizes_no_pressure() -> None:
    assert pressure_of(0.0, 0.0) is None


def test_one_percent_gap_is_40_bps_and_0_4_in_the_legacy_scale() -> None:
    slow, fast = 100.0, 101.0  # of 30 closes the last 5 average 101, so that all 30 average 100
    closes = [(30 * slow - 5 * fast) / 25] * 25 + [fast] * 5

    calibrated = momentum(closes, USUAL)
    legacy = momentum(closes, MaMomentumParams(scale="legacy"))

    assert calibrated is not None
    assert legacy is not None
    assert calibrated.edge_bps == pytest.approx(40.0)
    assert legacy.edge_bps == pytest.approx(0.4)


def test_momentum_is_capped() -> None:
    found = momentum([100.0] * 25 + [200.0] * 5, USUAL)

    assert found is not None
    assert found.edge_bps == 40.0


def test_closes_that_never_moved_have_no_edge_and_no_confidence() -> None:
    assert momentum([100.0] * 30, USUAL) == Edge(0.0, 0.0)


def test_momentum_needs_every_bar() -> None:
    assert momentum([100.0] * 29, USUAL) is None


@given(st.lists(st.floats(50, 150), min_size=30, max_size=30))
def test_gap_is_the_weighted_sum_of_changes_that_confidence_assumes(closes: list[float]) -> None:
    changes = [newer - older for older, newer in pairwise(closes)][::-1]
    weights = [max(0, 1 - j / 30) - max(0, 1 - j / 5) for j in range(1, 30)]

    gap = sum(closes[-5:]) / 5 - sum(closes) / 30

    assert gap == pytest.approx(sum(w * c for w, c in zip(weights, changes, strict=True)), abs=1e-9)
    assert squared_weights(5, 30) == pytest.approx(math.fsum(w * w for w in weights))


def test_signals_follow_at_most_once_per_interval_of_event_time() -> None:
    session = Session(features={"min_interval_ms": 100})

    said = [session.signals(build.quote(ts_event=at(ms), update_id=ms)) for ms in (0, 40, 99, 100, 150, 201)]

    assert [len(one) for one in said] == [1, 0, 0, 1, 0, 1]


def test_interval_of_zero_lets_every_event_through() -> None:
    session = Session(features={"min_interval_ms": 0})

    said = session.signals(build.quote()) + session.signals(build.trade()) + session.signals(build.book_delta())

    assert [one.cause for one in said] == ["market/1-0", "market/2-0", "market/3-0"]


def test_signals_carry_the_stamps_of_their_cause_and_the_stages_time() -> None:
    session = Session()
    session.take(build.beat(ts_event=at(500)))

    (said,) = session.signals(build.quote(ts_event=at(100), ts_init=7, trace_id="sim:BTCUSDT:9"))

    assert (said.ts_event, said.ts_init, said.trace_id, said.watermark) == (at(100), 7, "sim:BTCUSDT:9", at(500))
    assert said.mid == 60_000.0
    assert said.config == session.config.hash


def test_beat_is_passed_on_as_a_watermark() -> None:
    (output,) = Session().take(build.beat(ts_event=at(3)))

    assert output.stream == "signals"
    assert isinstance(output.message, Watermark)
    assert output.message.ts_event == at(3)


@pytest.mark.parametrize("top", [{"bid": Decimal("60000.01")}, {"bid": Decimal("60001")}])
def test_locked_or_crossed_top_gives_no_signals(top: dict[str, Decimal]) -> None:
    assert Session().signals(build.quote(**top)) == []


def test_lost_feed_gives_no_signals_until_a_quote_comes() -> None:
    session = Session(features={"min_interval_ms": 0})
    session.take(build.quote())
    lost = VenueStatus(venue="sim", status="disconnected", ts_event=at(1), ts_init=0, trace_id="t")

    session.take(lost)

    assert session.signals(build.trade(ts_event=at(2))) == []
    assert session.signals(build.quote(ts_event=at(3)))


def test_momentum_speaks_after_thirty_closed_bars() -> None:
    session = Session(features={"min_interval_ms": 0})
    session.warm(29)
    (before,) = session.signals(build.quote(ts_event=at(1)))

    session.take(build.trade(price=Decimal(60_040), ts_event=at(1_000)))
    (after,) = session.signals(build.quote(ts_event=at(1_001)))

    assert set(models(before)) == {"ob_pressure"}
    assert models(after)["ma_momentum"] > 0


def test_shadow_model_is_silent_and_warm_when_promoted() -> None:
    session = Session(
        features={"min_interval_ms": 0}, models={"models": {"ob_pressure": {}, "ma_momentum": {"state": "shadow"}}}
    )
    session.warm()
    (shadow,) = session.signals(build.quote(ts_event=at(1)))

    session.config = FleetConfig.model_validate({"features": {"min_interval_ms": 0}})
    (live,) = session.signals(build.quote(ts_event=at(2)))

    assert set(models(shadow)) == {"ob_pressure"}
    assert set(models(live)) == {"ma_momentum", "ob_pressure"}


def test_history_of_another_width_says_nothing() -> None:
    session = Session()
    for number in range(40):
        session.take(build.bar(interval_ms=60_000, backfill=True, ts_event=START_NS - (40 - number) * 60 * NS_PER_S))

    (said,) = session.signals(build.quote())

    assert set(models(said)) == {"ob_pressure"}


def test_new_width_of_bars_starts_the_warm_up_anew() -> None:
    session = Session(features={"min_interval_ms": 0})
    session.warm()
    session.config = FleetConfig.model_validate({"features": {"min_interval_ms": 0, "bar_ms": 5_000}})

    (said,) = session.signals(build.quote(ts_event=at(5_000)))

    assert set(models(said)) == {"ob_pressure"}


def test_snapshot_comes_back_typed_and_equal() -> None:
    session = Session()
    session.warm()

    saved = msgspec.msgpack.encode(session.state)
    restored = msgspec.msgpack.decode(saved, type=session.stage.state_type)

    assert restored == session.state
    assert msgspec.msgpack.encode(restored) == saved


def test_snapshot_from_before_a_model_was_added_is_used() -> None:
    session = Session(features={"min_interval_ms": 0})
    session.take(build.quote())
    del session.state.instruments[build.INSTRUMENT].models["ma_momentum"]

    session.warm()

    (said,) = session.signals(build.quote(ts_event=at(1)))
    assert set(models(said)) == {"ob_pressure", "ma_momentum"}
