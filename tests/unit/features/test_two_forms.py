"""Every feature in both forms against its definition, to the last bit, on markets drawn at random."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.features.definitions import define
from tests.unit.features.tapes import INSTRUMENT, SECOND, SHORT, SPECS, START, tapes

from edgefleet.features import FeatureEngine, FeatureSpec, FeatureState
from edgefleet.features.cards import Feature, features
from edgefleet.features.columns import market_columns
from edgefleet.features.offline import FeatureTable, compute
from edgefleet.messages import Message

specs = pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.top_from)


def streamed(messages: list[Message], spec: FeatureSpec) -> list[dict[str, float]]:
    """Return what the engine says after each message."""
    engine = FeatureEngine(INSTRUMENT, spec)
    found = []
    for message in messages:
        engine.on_message(message)
        found.append(engine.values())
    return found


def offline(messages: list[Message], spec: FeatureSpec) -> list[dict[str, float]]:
    """Return what columns of the same messages say after each."""
    table = compute(market_columns(messages, INSTRUMENT, spec), spec)
    return [table.row(number) for number in range(len(table.times))]


@specs
@given(messages=tapes())
@settings(max_examples=60)
def test_streaming_is_the_definition_at_every_message(spec: FeatureSpec, messages: list[Message]) -> None:
    now = 0
    for count, said in enumerate(streamed(messages, spec), start=1):
        now = max(now, messages[count - 1].ts_event)  # type: ignore[union-attr]
        assert said == define(messages[:count], spec, now)


@specs
@given(messages=tapes())
@settings(max_examples=60)
def test_columns_say_what_streaming_says_at_every_message(spec: FeatureSpec, messages: list[Message]) -> None:
    assert offline(messages, spec) == streamed(messages, spec)


@specs
@given(messages=tapes(), waits=st.lists(st.sampled_from([0, 1, SECOND // 3, SECOND, 3 * SECOND]), max_size=40))
@settings(max_examples=40)
def test_both_forms_are_the_definition_at_chosen_times(
    spec: FeatureSpec, messages: list[Message], waits: list[int]
) -> None:
    times = (START - SECOND + np.cumsum(np.array(waits, np.int64))).astype(np.int64)

    sampled = list(FeatureEngine(INSTRUMENT, spec).sample(messages, times.tolist()))
    table = compute(market_columns(messages, INSTRUMENT, spec), spec, times)

    seen = np.maximum.accumulate([message.ts_event for message in messages])  # type: ignore[union-attr]
    for number, (at, said) in enumerate(sampled):
        assert at == times[number]
        assert said == table.row(number)
        assert said == define(messages[: int(np.searchsorted(seen, at, side="right"))], spec, at)
    assert len(sampled) == len(times)


@specs
@given(messages=tapes(), place=st.integers(0, 60))
@settings(max_examples=30)
def test_restart_in_the_middle_changes_nothing(spec: FeatureSpec, messages: list[Message], place: int) -> None:
    engine = FeatureEngine(INSTRUMENT, spec)
    for message in messages[:place]:
        engine.on_message(message)

    saved = msgspec.msgpack.encode(engine.state)
    state = msgspec.msgpack.decode(saved, type=FeatureState)

    assert state == engine.state
    assert msgspec.msgpack.encode(state) == saved
    resumed = FeatureEngine(INSTRUMENT, spec, state)
    found = []
    for message in messages[place:]:
        resumed.on_message(message)
        found.append(resumed.values())
    assert found == streamed(messages, spec)[place:]


def seen_ahead(
    whole: FeatureTable, other: FeatureTable, places: int, asked: Sequence[Feature] = features(SHORT)
) -> list[str]:
    """Return the features that two runs do not agree on at the places that both have seen."""
    return [
        feature.name
        for feature in asked
        if other.valid[feature.name][:places].tolist() != whole.valid[feature.name][:places].tolist()
        or other.values[feature.name][:places].tolist() != whole.values[feature.name][:places].tolist()
    ]


@specs
@given(messages=tapes(), others=tapes(), share=st.floats(0, 1))
@settings(max_examples=40)
def test_no_feature_looks_ahead(
    spec: FeatureSpec, messages: list[Message], others: list[Message], share: float
) -> None:
    """Whether what comes later is cut off or is something else, what was known before it is the same."""
    place = int(share * len(messages))
    whole = compute(market_columns(messages, INSTRUMENT, spec), spec)
    cut = compute(market_columns(messages[:place], INSTRUMENT, spec), spec)
    changed = compute(market_columns(messages[:place] + others, INSTRUMENT, spec), spec)

    assert set(whole.values) == {feature.name for feature in features(spec)}
    assert seen_ahead(whole, cut, place, features(spec)) == []
    assert seen_ahead(whole, changed, place, features(spec)) == []


def test_the_rule_of_looking_ahead_can_fail() -> None:
    """A mean over the whole column knows what comes later."""
    feature = Feature("mean", "mid", 0, "top", 0)

    def table(prices: list[float]) -> FeatureTable:
        mids, known = np.array(prices), np.ones(len(prices), np.bool_)
        return FeatureTable(np.arange(len(prices)), {"mean": mids - mids.mean()}, {"mean": known})

    assert seen_ahead(table([1.0, 2.0, 6.0]), table([1.0, 2.0]), 2, [feature]) == ["mean"]


@given(messages=tapes())
@settings(max_examples=30)
def test_nothing_that_is_not_finite_leaves(messages: list[Message]) -> None:
    table = compute(market_columns(messages, INSTRUMENT, SHORT), SHORT)

    assert list(table.values) == [feature.name for feature in features(SHORT)]
    for name, numbers in table.values.items():
        assert np.isfinite(numbers).all()
        assert (numbers[~table.valid[name]] == 0).all()
