"""From entries to bytes and back: what the loop, a restart and the twin have in common."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from edgefleet.bus.interface import MAX_BATCH_BYTES, EncodedOutput, Entry, encode_outputs, outputs_crc
from edgefleet.bus.loop import run_batch
from edgefleet.bus.rerun import (
    ORDER_PATH,
    SnapshotUnusable,
    dead_letter,
    encode_state,
    is_fatal,
    pack_snapshot,
    unpack_snapshot,
)
from edgefleet.errors import Broken, Poison, Transient
from edgefleet.messages import Alert, DeadLetter, decode
from edgefleet.params.schema import FleetConfig
from edgefleet.stage import Output
from edgefleet.testing import CountingStage, build
from edgefleet.testing.stages import POISON, CountingState

CONFIG = FleetConfig()


def _entry(trade_id: str, ms: int = 1_000) -> Entry:
    (output,) = encode_outputs([Output("market", build.trade(trade_id=trade_id))])
    return Entry(f"{ms}-0", output.type, output.data)


@given(st.integers(0, 10**6), st.integers(0, 2**32 - 1), st.dictionaries(st.sampled_from("abc"), st.integers(0, 9)))
def test_a_snapshot_gives_back_what_it_was_made_of(seen: int, checksum: int, per_input: dict[str, int]) -> None:
    stage, state = CountingStage(), CountingState(seen=seen, checksum=checksum, per_input=per_input)

    back, positions = unpack_snapshot(stage, pack_snapshot(stage, state, {"market": "5-1"}))

    assert (back, positions) == (state, {"market": "5-1"})


@given(st.data())
def test_a_snapshot_with_one_flipped_byte_is_not_used(data: st.DataObject) -> None:
    stage = CountingStage()
    whole = pack_snapshot(stage, CountingState(seen=7), {"market": "5-1"})
    at = data.draw(st.integers(0, len(whole) - 1))
    damaged = whole[:at] + bytes([whole[at] ^ data.draw(st.integers(1, 255))]) + whole[at + 1 :]

    with pytest.raises(SnapshotUnusable):
        unpack_snapshot(stage, damaged)


@pytest.mark.parametrize("cut", [0, 1, 4, 10])
def test_a_snapshot_cut_short_is_not_used(cut: int) -> None:
    with pytest.raises(SnapshotUnusable):
        unpack_snapshot(CountingStage(), pack_snapshot(CountingStage(), CountingState(), {})[:cut])


def test_a_snapshot_of_another_schema_is_not_used_and_both_numbers_are_told() -> None:
    snapshot = pack_snapshot(CountingStage(schema=1), CountingState(), {})

    with pytest.raises(SnapshotUnusable, match="schema 1, the stage has 2"):
        unpack_snapshot(CountingStage(schema=2), snapshot)


def test_a_poisonous_entry_alone_leaves_the_state_as_it_was() -> None:
    stage = CountingStage()
    state, _ = run_batch(stage, stage.initial(), "market", [_entry("1"), _entry("2")], CONFIG)
    before = encode_state(state)

    after, outputs = run_batch(stage, state, "market", [_entry(POISON)], CONFIG)

    assert encode_state(after) == before
    assert [output.stream for output in outputs] == ["dead.alpha", "alerts"]


def test_an_entry_that_failed_among_others_was_never_committed_so_it_is_broken() -> None:
    stage = CountingStage()

    with pytest.raises(Broken, match="1000-0"):
        run_batch(stage, stage.initial(), "market", [_entry("1"), _entry(POISON)], CONFIG)


def test_a_dead_letter_keeps_the_entry_whole_and_takes_its_time_from_the_id() -> None:
    entry = Entry("1700000000123-4", "trade.v1", b"{half \xff")

    letter, alert = (
        decode(output.type, output.data) for output in dead_letter("alpha", "market", entry, Poison("no use"))
    )

    assert isinstance(letter, DeadLetter)
    assert isinstance(alert, Alert)
    assert (letter.id, letter.entry_type, letter.error) == (entry.id, "trade.v1", "no use")
    assert letter.data == "{half �"
    assert letter.ts_event == alert.ts_event == 1_700_000_000_123_000_000


def test_a_dead_letter_of_any_entry_fits_into_a_commit() -> None:
    entry = Entry("1-0", "trade.v1", b"\x01" * MAX_BATCH_BYTES)

    outputs = dead_letter("alpha", "market", entry, Poison("no use"))

    assert sum(len(output.data) for output in outputs) < MAX_BATCH_BYTES
    assert f"of {MAX_BATCH_BYTES} bytes" in decode(outputs[0].type, outputs[0].data).error  # type: ignore[union-attr]


def test_a_dead_letter_is_the_same_each_time_it_is_made() -> None:
    error = ValueError("a poisonous trade")

    assert dead_letter("alpha", "market", _entry("1"), error) == dead_letter("alpha", "market", _entry("1"), error)


@pytest.mark.parametrize("stream", sorted(ORDER_PATH))
def test_nothing_on_the_order_path_is_set_aside(stream: str) -> None:
    assert is_fatal(Poison("?"), stream)


def test_what_is_no_fault_of_the_entry_is_not_blamed_on_it() -> None:
    assert is_fatal(Transient("?"), "market")
    assert is_fatal(Broken("?"), "market")
    assert not is_fatal(ValueError("?"), "market")


def test_the_checksum_sees_the_order_the_stream_and_where_one_output_ends() -> None:
    a, b = EncodedOutput("s", "t", b"xy"), EncodedOutput("s", "t", b"z")

    assert outputs_crc([a, b]) != outputs_crc([b, a])
    assert outputs_crc([a]) != outputs_crc([replace(a, stream="r")])
    assert outputs_crc([a]) != outputs_crc([replace(a, type="u")])
    assert outputs_crc([a, b]) != outputs_crc([EncodedOutput("s", "t", b"xyz")])


@given(st.lists(st.builds(EncodedOutput, st.text(), st.text(), st.binary()), max_size=5))
def test_the_checksum_is_that_of_every_output_written_out(outputs: list[EncodedOutput]) -> None:
    written = b"".join(f"{out.stream}\0{out.type}\0".encode() + out.data for out in outputs)

    assert outputs_crc(outputs) == zlib.crc32(written)
