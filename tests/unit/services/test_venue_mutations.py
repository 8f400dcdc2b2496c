"""What a faulty venue makes of frames: none is invented, and none is lost but those that are meant to be."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefleet.venues.tape import TapeLine
from edgefleet_services.venue.faults import FaultPlan
from edgefleet_services.venue.mutations import Mutations, absurd, corrupted

STREAMS = ("btcusdt@trade", "btcusdt@depth@100ms")
counts = st.dictionaries(st.sampled_from([*STREAMS, "*"]), st.integers(0, 5), max_size=3)


def lines(length: int) -> list[tuple[str, TapeLine]]:
    return [
        (stream, TapeLine(number, b'{"stream":"%b","data":{"t":%d}}' % (stream.encode(), number)))
        for number in range(length)
        for stream in [STREAMS[number % 2]]
    ]


@given(counts, counts, counts, st.integers(0, 60))
def test_frames_are_dropped_doubled_and_put_out_of_order_as_often_as_was_asked(
    drop: dict[str, int], repeat: dict[str, int], swap: dict[str, int], length: int
) -> None:
    asked = sum(drop.values())
    plan = FaultPlan(drop=dict(drop), repeat=dict(repeat), swap=dict(swap))
    mutations = Mutations.of(plan, 0, None)
    sent: list[TapeLine] = []
    given_ = lines(length)
    for stream, line in given_:
        sent += [line] if mutations is None else mutations.strike(stream, line, 0)

    times = Counter(line.stamp_ns for line in sent)
    kept_back = 0 if mutations is None else len(mutations._kept)
    assert set(times) <= {line.stamp_ns for _, line in given_}
    assert length - len(times) - kept_back == asked - sum(plan.drop.values())
    assert max(times.values(), default=1) <= 2
    assert sum(n - 1 for n in times.values()) == sum(repeat.values()) - sum(plan.repeat.values())


def test_nothing_switched_on_strikes_nothing() -> None:
    assert Mutations.of(FaultPlan(), 0, None) is None
    assert Mutations.of(FaultPlan(drop={"*": 0}), 0, None) is None


def test_frame_that_was_kept_back_comes_though_the_faults_are_switched_off() -> None:
    before = Mutations.of(FaultPlan(swap={"*": 1}), 0, None)
    assert before is not None
    first, second = (line for _, line in lines(3)[::2])

    assert before.strike(STREAMS[0], first, 0) == []
    after = Mutations.of(FaultPlan(), 0, before)

    assert after is not None
    assert after.strike(STREAMS[0], second, 0) == [second, first]
    assert after.spent


def test_silence_ends_with_market_time() -> None:
    mutations = Mutations.of(FaultPlan(silence={STREAMS[0]: 100}), 1_000, None)
    assert mutations is not None
    line = lines(1)[0][1]

    assert mutations.strike(STREAMS[0], line, 1_099) == []
    assert mutations.strike(STREAMS[1], line, 1_099) == [line]
    assert mutations.silence_left(1_099) == {STREAMS[0]: 1}
    assert mutations.strike(STREAMS[0], line, 1_100) == [line]
    assert mutations.spent


@pytest.mark.parametrize(
    "body",
    [
        b'{"stream":"s","data":[{"p":"1"}]}',
        b'{"stream":"s","data":{"e":"trade","p":"1"}}',
        b'{"stream":"s","data":{"b":"1","a":"2"}}',
    ],
)
def test_frame_without_levels_cannot_be_corrupted(body: bytes) -> None:
    assert corrupted(body) is None


def test_frame_without_prices_cannot_be_absurd() -> None:
    assert absurd(b'{"stream":"s","data":{"e":"kline","k":{"o":"1"}}}') is None
    assert absurd(b'{"stream":"s","data":{"e":"trade","p":"0.00010000"}}') == (
        b'{"stream":"s","data":{"e":"trade","p":"0.01"}}'
    )
