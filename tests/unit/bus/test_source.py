"""A source writes once, in order, under a counter of its own."""

from __future__ import annotations

import pytest

from edgefleet.bus.interface import Answer, CommitRequest, CommitResult
from edgefleet.bus.rerun import journal_of
from edgefleet.bus.source import Source
from edgefleet.errors import Broken, Fenced, Transient
from edgefleet.messages import Rollback
from edgefleet.testing import MemoryBus, build
from edgefleet.testing.bus_contract import of_type, trades


class LosingBus(MemoryBus):
    """Carries every commit out; loses the reply of some, as a network does."""

    def __init__(self) -> None:
        super().__init__()
        self.lose = 0

    async def commit(self, request: CommitRequest) -> CommitResult:
        result = await super().commit(request)
        if self.lose:
            self.lose -= 1
            raise Transient("no reply")
        return result


async def _opened(bus: MemoryBus) -> Source:
    source = Source(bus, "ingestion", "ingestion", "feed")
    await source.open()
    return source


async def test_the_counter_goes_on_after_a_restart() -> None:
    bus = MemoryBus()
    first = await _opened(bus)
    await first.commit([("market", build.trade())], config="c", fields={"ended": "0"})

    second = await _opened(bus)
    await second.commit([("market", build.trade())], config="c")

    assert (first.counter, second.counter, second.fields) == (1, 2, {"ended": "0"})


async def test_a_lost_reply_writes_nothing_twice() -> None:
    bus = LosingBus()
    source = await _opened(bus)
    bus.lose = 3

    await source.commit([("market", build.trade())], config="c")

    assert (await bus.depth("market")).added == source.counter == 1


async def test_a_caller_that_gives_up_hears_of_it() -> None:
    bus = LosingBus()
    source = await _opened(bus)
    bus.lose = 1

    with pytest.raises(Transient):
        await source.commit([("market", build.trade())], config="c", keep_trying=lambda: False)


async def test_many_outputs_go_into_as_many_commits_as_they_need_in_order() -> None:
    bus = MemoryBus()
    source = await _opened(bus)

    ids = await source.commit([("market", trade) for trade in trades(600)], config="c", fields={"at": "600"})

    entries = await bus.span("market", "-", "+")
    counts = [journal_of(entry).outputs[0].count for entry in await bus.span("journal.ingestion", "-", "+")]
    assert ids == [entry.id for entry in entries]
    assert counts == [256, 256, 88]
    assert (await bus.load("ingestion", [source.input])).fields == {"at": "600"}


async def test_fields_alone_are_a_commit_too() -> None:
    bus = MemoryBus()
    source = await _opened(bus)

    assert await source.commit([], config="c", fields={"ended": "1"}) == []

    assert (await bus.load("ingestion", [source.input])).fields == {"ended": "1"}


async def test_an_older_owner_is_fenced() -> None:
    bus = MemoryBus()
    old = await _opened(bus)
    await _opened(bus)

    with pytest.raises(Fenced):
        await old.commit([("market", build.trade())], config="c")


async def test_a_server_that_lost_commits_is_told_of_and_counted_on_from() -> None:
    bus = MemoryBus()
    source = await _opened(bus)
    await source.commit([("market", build.trade())], config="c")
    saved = bus.save_point()
    for trade in trades(3):
        await source.commit([("market", trade)], config="c")

    bus.roll_back(saved)
    await source.commit([("market", build.trade(trade_id="after"))], config="c")

    (told,) = await of_type(bus, "alerts", Rollback)
    assert (told.had, told.found, source.counter) == ("4-0", "1-0", 2)
    assert (await bus.depth("market")).added == 2


async def test_somebody_elses_count_is_broken() -> None:
    bus = MemoryBus()
    source = await _opened(bus)
    request = source.request((), config="c")
    assert (await bus.commit(request)).answer is Answer.OK

    with pytest.raises(Broken, match="another counts here"):
        await source.commit([("market", build.trade())], config="c")
