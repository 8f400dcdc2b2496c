"""What the monitor makes of a stream that it only samples."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgefleet.bus.interface import Entry
from edgefleet.clock import NS_PER_MS, NS_PER_S
from edgefleet.messages import Ensemble, Message, Watermark, decode, encode, tag_of
from edgefleet.testing.build import beat, ensemble
from edgefleet.testing.clock import START_NS
from edgefleet_services.monitor.view import FleetView, alpha_delay_ms
from edgefleet_services.monitor.watch import newest_of_each

WATERMARK = Watermark(venue="sim", ts_event=START_NS, ts_init=START_NS, trace_id="x", cause="signals/1-0")
SAID = st.one_of(
    st.builds(
        ensemble,
        instrument=st.sampled_from(["BTC/USDT@sim", "ETH/USDT@sim"]),
        rule=st.sampled_from(["crypto-fast", "crypto-slow"]),
        mid=st.floats(1, 2),
    ),
    st.just(WATERMARK),
)


def as_entries(messages: list[Message]) -> list[Entry]:
    return [Entry(f"{number}-0", tag_of(one), encode(one)) for number, one in enumerate(messages, start=1)]


def newest_by_definition(entries: list[Entry]) -> list[Entry]:
    """Keep an entry where none of its kind comes after it, having decoded them all."""

    def kind(entry: Entry) -> object:
        message = decode(entry.type, entry.data)
        return (message.instrument, message.rule) if isinstance(message, Ensemble) else entry.type

    return [one for place, one in enumerate(entries) if kind(one) not in map(kind, entries[place + 1 :])]


@given(st.lists(SAID, max_size=20))
def test_newest_of_each_is_what_its_definition_keeps(messages: list[Message]) -> None:
    entries = as_entries(messages)

    assert newest_of_each(entries) == newest_by_definition(entries)


def test_what_does_not_decode_is_left_for_whoever_takes_it() -> None:
    damaged = [Entry("1-0", "ensemble.v1", b"{"), Entry("2-0", "ensemble.v1", b"{")]

    assert newest_of_each(damaged) == damaged


def test_an_ensemble_says_how_far_the_models_are_where_their_watermark_was_not_sampled() -> None:
    view = FleetView()
    view.take(beat(ts_event=START_NS + 3 * NS_PER_S))
    view.take(WATERMARK)
    behind = alpha_delay_ms(view)

    view.take(ensemble(watermark=START_NS + 2 * NS_PER_S))

    assert (behind, alpha_delay_ms(view)) == (3_000, 1_000)


def test_models_that_have_seen_a_trade_after_the_newest_beat_are_not_early() -> None:
    view = FleetView()
    view.take(beat(ts_event=START_NS))

    view.take(ensemble(watermark=START_NS + 5 * NS_PER_MS))

    assert alpha_delay_ms(view) == 0
