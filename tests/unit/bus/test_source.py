"""A source writes once, in order, under a counter of its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgefleet.bus.interface import MAX_BATCH_BYTES, Answer, CommitRequest, CommitResult, EncodedOutput, Record
from edgefleet.bus.rerun import journal_of
from edgefleet.bus.source import MAX_OUTPUTS, RolledBack, Source, in_parts
from edgefleet.errors import Broken, Fenced, Transient
from edgefleet.messages import Trade
from edgefleet.stage import Output
from edgefleet.testing import MemoryBus, build
from edgefleet.testing.bus_contract import of_type, trades


class LosingBus(MemoryBus):
    """Carries every commit out; loses the reply of some, as a network does. Remembers the fields it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.lose = 0
        self.fields: list[dict[str, str]] = []

    async def commit(self, request: CommitRequest) -> CommitResult:
        self.fields.append(request.fields)
        result = await super().commit(request)
        if self.lose:
            self.lose -= 1
            raise Transient("no reply")
        return result


class DeafBus(LosingBus):
    """Does not even hear some commits."""

    def __init__(self) -> None:
        super().__init__()
        self.deaf = 0

    async def commit(self, request: CommitRequest) -> CommitResult:
        if self.deaf:
            self.deaf -= 1
            raise Transient("not heard")
        return await super().commit(request)


async def _said(bus: MemoryBus) -> list[str]:
    """Return the trade ids on `market`."""
    return [message.trade_id for message in await of_type(bus, "market", Trade)]


async def _opened(bus: MemoryBus) -> Source:
    source = Source(bus, "ingestion", "ingestion", "feed")
    await source.claim()
    return source


async def test_the_counter_goes_on_after_a_restart() -> None:
    bus = MemoryBus()
    first = await _opened(bus)
    await first.commit([Output("market", build.trade())], config="c", fields={"ended": "0"})

    second = await _opened(bus)
    await second.commit([Output("market", build.trade())], config="c")

    assert (first.counter, second.counter, second.fields) == (1, 2, {"ended": "0"})


async def test_a_lost_reply_writes_nothing_twice() -> None:
    bus = LosingBus()
    source = await _opened(bus)
    bus.lose = 3

    await source.commit([Output("market", build.trade())], config="c")

    assert (await bus.depth("market")).added == source.counter == 1


async def test_a_caller_that_gives_up_hears_of_it() -> None:
    bus = LosingBus()
    source = await _opened(bus)
    bus.lose = 1

    with pytest.raises(Transient):
        await source.commit([Output("market", build.trade())], config="c", keep_trying=lambda: False)


async def test_many_outputs_go_into_as_many_commits_as_they_need_in_order() -> None:
    bus = MemoryBus()
    source = await _opened(bus)

    await source.commit([Output("market", trade) for trade in trades(600)], config="c", fields={"at": "600"})

    counts = [journal_of(entry).outputs[0].count for entry in await bus.span("journal.ingestion", "-", "+")]
    assert await of_type(bus, "market", Trade) == trades(600)
    assert counts == [256, 256, 88]
    assert (await bus.load("ingestion", source.inputs)).fields == {"at": "600"}


async def test_fields_alone_are_a_commit_too() -> None:
    bus = MemoryBus()
    source = await _opened(bus)

    await source.commit([], config="c", fields={"ended": "1"})

    assert (await bus.load("ingestion", source.inputs)).fields == {"ended": "1"}


async def test_an_older_owner_is_fenced() -> None:
    bus = MemoryBus()
    old = await _opened(bus)
    await _opened(bus)

    with pytest.raises(Fenced):
        await old.commit([Output("market", build.trade())], config="c")


async def _rolled_back(bus: MemoryBus) -> Source:
    """Return a source that was at 4 and whose server is at 1 again."""
    source = await _opened(bus)
    await source.commit([Output("market", build.trade())], config="c")
    saved = bus.save_point()
    for trade in trades(3):
        await source.commit([Output("market", trade)], config="c")
    bus.roll_back(saved)
    return source


async def test_a_server_that_lost_commits_is_noticed_and_nothing_is_written() -> None:
    bus = MemoryBus()
    source = await _rolled_back(bus)

    with pytest.raises(RolledBack):
        await source.commit([Output("market", build.trade(trade_id="after"))], config="c")

    assert (source.failure, (await bus.depth("market")).added) == (None, 1)


@pytest.mark.parametrize("count_anew", [Source.claim, Source.stand])
async def test_an_owner_that_counts_anew_goes_on_from_what_the_server_has(
    count_anew: Callable[[Source], Awaitable[Record]],
) -> None:
    bus = MemoryBus()
    source = await _rolled_back(bus)
    with pytest.raises(RolledBack):
        await source.commit([Output("market", build.trade(trade_id="lost"))], config="c")

    await count_anew(source)
    await source.commit([Output("market", build.trade(trade_id="after"))], config="c")

    assert source.counter == 2
    assert await _said(bus) == [build.trade().trade_id, "after"]


async def test_a_server_that_lost_the_claim_is_claimed_again_before_anything_is_written() -> None:
    bus = MemoryBus()
    saved = bus.save_point()
    source = await _opened(bus)
    bus.roll_back(saved)
    with pytest.raises(RolledBack):
        await source.commit([Output("market", build.trade())], config="c")

    await source.stand()
    await source.commit([Output("market", build.trade())], config="c")

    assert (source.epoch, (await bus.depth("market")).added) == (1, 1)


async def test_an_older_owner_does_not_stand() -> None:
    bus = MemoryBus()
    old = await _opened(bus)
    await _opened(bus)

    with pytest.raises(Fenced):
        await old.stand()


async def test_somebody_elses_count_is_broken() -> None:
    bus = MemoryBus()
    source = await _opened(bus)
    assert (await bus.commit(source.request(config="c"))).answer is Answer.OK

    with pytest.raises(Broken, match="another counts under its name"):
        await source.commit([Output("market", build.trade())], config="c")


async def test_what_was_given_up_on_is_heard_of_before_anything_else_is_said() -> None:
    bus = LosingBus()
    source = await _opened(bus)
    bus.lose = 1
    with pytest.raises(Transient):
        await source.commit([Output("market", build.trade(trade_id="given up"))], config="c", keep_trying=lambda: False)

    await source.commit([Output("market", build.trade(trade_id="next"))], config="c")

    assert await _said(bus) == ["given up", "next"]
    assert source.counter == 2


async def test_what_was_given_up_on_and_never_came_is_said_before_anything_else() -> None:
    bus = DeafBus()
    source = await _opened(bus)
    bus.deaf = 1
    with pytest.raises(Transient):
        await source.commit([Output("market", build.trade(trade_id="given up"))], config="c", keep_trying=lambda: False)

    await source.commit([Output("market", build.trade(trade_id="next"))], config="c")

    assert await _said(bus) == ["given up", "next"]


async def test_a_claim_settles_what_was_not_answered() -> None:
    bus = LosingBus()
    source = await _opened(bus)
    bus.lose = 1
    with pytest.raises(Transient):
        await source.commit(
            [Output("market", build.trade(trade_id="heard late"))], config="c", keep_trying=lambda: False
        )

    await source.claim()
    await source.commit([Output("market", build.trade(trade_id="next"))], config="c")

    assert await _said(bus) == ["heard late", "next"]


async def test_why_the_bus_does_not_answer_is_known_while_it_does_not() -> None:
    bus = LosingBus()
    source = await _opened(bus)
    bus.lose = 1
    seen: list[str | None] = []

    def told() -> bool:
        seen.append(source.failure)
        return True

    await source.commit([Output("market", build.trade())], config="c", keep_trying=told)

    assert (seen, source.failure) == (["no reply"], None)


async def test_fields_go_with_the_last_part_of_what_they_describe() -> None:
    bus = LosingBus()
    source = await _opened(bus)

    await source.commit([Output("market", trade) for trade in trades(300)], config="c", fields={"marks": "300"})

    assert bus.fields == [{}, {"marks": "300"}]


async def test_nothing_to_say_is_no_commit() -> None:
    bus = LosingBus()
    source = await _opened(bus)

    await source.commit([], config="c")

    assert (bus.fields, source.counter) == ([], 0)


async def test_counters_of_one_name_do_not_mix() -> None:
    bus = MemoryBus()
    source = Source(bus, "executor", "executor.gateway", "venue", "intents")
    await source.claim()
    request = source.request(config="c", name="source:intents")
    assert (await bus.commit(request)).answer is Answer.OK
    source.written(request)

    await source.commit([Output("market", build.trade())], config="c")

    positions = (await bus.load("executor.gateway", source.inputs)).positions
    assert positions == {"source:venue": "1-0", "source:intents": "1-0"}


@given(st.lists(st.sampled_from([1, 100, MAX_BATCH_BYTES // 3, MAX_BATCH_BYTES]), max_size=20), st.integers(0, 600))
def test_parts_keep_every_output_in_order_and_fit_into_a_commit(sizes: list[int], small: int) -> None:
    outputs = [EncodedOutput("market", str(i), bytes(size)) for i, size in enumerate([*sizes, *[1] * small])]

    parts = list(in_parts(outputs))

    assert [output for part in parts for output in part] == outputs
    assert all(0 < len(part) <= MAX_OUTPUTS for part in parts)
    assert all(sum(len(output.data) for output in part) <= MAX_BATCH_BYTES for part in parts)


@settings(max_examples=15)
@given(st.lists(st.tuples(st.integers(1, 3), st.sampled_from(["heard", "lost", "deaf", "rolled back"])), max_size=8))
async def test_whatever_happens_to_the_answers_each_thing_is_said_once_in_order(
    events: list[tuple[int, str]],
) -> None:
    bus = DeafBus()
    source = await _opened(bus)
    saved, said, kept = bus.save_point(), 0, list[str]()
    kept_at_save: list[str] = []
    for count, event in events:
        bus.lose, bus.deaf = (event == "lost") * count, (event == "deaf") * count
        if event == "rolled back":
            bus.roll_back(saved)
            kept = list(kept_at_save)
            await source.stand()
        names = [str(said + i) for i in range(count)]
        said += count
        await source.commit([Output("market", build.trade(trade_id=name)) for name in names], config="c")
        kept += names
        if said % 2:
            saved, kept_at_save = bus.save_point(), list(kept)

    assert await _said(bus) == kept
