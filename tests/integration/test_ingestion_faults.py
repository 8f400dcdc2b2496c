"""Ingestion at a venue that loses, falsifies and refuses: the book is exact again, and silence is seen as age."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import httpx
import pytest
from tests.integration.test_ingestion import Setting, config, ingesting, market, until
from tests.integration.venue_server import RunningVenue, running

from edgefleet.book import Book
from edgefleet.messages import Beat, BookDelta, BookSnapshot, Message, Quote, Trade, VenueStatus, decode
from edgefleet.venues.binance import feed
from edgefleet_services.venue.service import VenueOptions

pytestmark = pytest.mark.integration

DEPTH, TRADE, TICKER = "btcusdt@depth@100ms", "btcusdt@trade", "btcusdt@bookTicker"


class Scene:
    """A synthetic market, and ingestion that follows it."""

    def __init__(self, venue: RunningVenue, setting: Setting) -> None:
        self.venue = venue
        self.setting = setting

    async def fault(self, **plan: object) -> None:
        """Switch faults on."""
        async with httpx.AsyncClient() as client:
            (await client.post(f"{self.venue.sim}/faults", json=plan)).raise_for_status()

    async def left(self) -> dict[str, Any]:
        """Return what is left of the faults."""
        async with httpx.AsyncClient() as client:
            found: dict[str, Any] = (await client.get(f"{self.venue.sim}/faults")).json()
            return found

    async def counters(self) -> dict[str, Any]:
        """Return what ingestion's address has asked of the venue."""
        async with httpx.AsyncClient() as client:
            found: dict[str, Any] = (await client.get(f"{self.venue.sim}/limits")).json()["addresses"]["127.0.0.1"]
            return found

    async def statuses(self) -> list[str]:
        """Return what ingestion said of its connection."""
        return [m.status for m in await market(self.setting.bus) if isinstance(m, VenueStatus)]

    async def beats(self) -> list[Beat]:
        """Return every beat."""
        decoded = [decode(entry.type, entry.data) for entry in await self.setting.bus.span("beats", "-", "+")]
        return [message for message in decoded if isinstance(message, Beat)]

    async def said(self, status: str) -> None:
        """Wait until ingestion has said so of its connection."""

        async def has() -> bool:
            return status in await self.statuses()

        await until(has, status)

    async def following(self) -> None:
        """Wait until a book goes on from its newest snapshot."""

        async def goes_on() -> bool:
            return len(newest_book(await market(self.setting.bus))[1]) >= 3

        await until(goes_on, "a book that goes on")

    async def assert_exact(self) -> None:
        """Compare the fleet's newest book with the venue's own, after the same update, level by level."""
        await self.following()
        snapshot, deltas = newest_book(await market(self.setting.bus))
        book = Book()
        assert snapshot is not None
        book.load(snapshot.bids, snapshot.asks)
        for delta in deltas:
            book.apply(delta.bids, delta.asks)
        last = deltas[-1].last_update_id
        async with httpx.AsyncClient() as client:
            answer = await client.get(
                f"{self.venue.rest}/depth",
                params={"symbol": "BTCUSDT", "limit": "5000"},
                headers={"X-Edgefleet-As-Of": str(last)},
            )
        true = answer.json()
        assert true["lastUpdateId"] == last
        assert sides(book.bids.levels(), book.asks.levels()) == sides(true["bids"], true["asks"])


def sides(bids: Any, asks: Any) -> list[list[tuple[Decimal, Decimal]]]:
    return [[(Decimal(price), Decimal(size)) for price, size in side] for side in (bids, asks)]


def newest_book(messages: list[Message]) -> tuple[BookSnapshot | None, list[BookDelta]]:
    """Return the newest snapshot, and the deltas that came after it; none where the book was lost since."""
    snapshot: BookSnapshot | None = None
    deltas: list[BookDelta] = []
    for message in messages:
        if isinstance(message, BookSnapshot):
            snapshot, deltas = message, []
        elif isinstance(message, BookDelta):
            deltas.append(message)
        elif isinstance(message, VenueStatus) and message.status in ("resync", "disconnected"):
            snapshot, deltas = None, []
    return snapshot, deltas


def since_the_disconnection(messages: list[Message]) -> list[Message]:
    """Return the messages from the first word of a lost connection on."""
    lost = (at for at, m in enumerate(messages) if isinstance(m, VenueStatus) and m.status == "disconnected")
    return messages[next(lost) :]


@asynccontextmanager
async def scene(redis_url: str) -> AsyncIterator[Scene]:
    with running(VenueOptions(market="synthetic", port=0, warm_up_s=10)) as venue:
        async with ingesting(venue, redis_url, config(venue)) as setting:
            made = Scene(venue, setting)
            await made.following()
            yield made


@pytest.mark.parametrize(
    "plan",
    [{"drop": {DEPTH: 3}}, {"swap": {DEPTH: 1}}, {"truncate": {DEPTH: 1}}],
    ids=["dropped", "swapped", "truncated"],
)
async def test_book_that_lost_an_update_is_exact_again(redis_url: str, plan: dict[str, object]) -> None:
    async with scene(redis_url) as world:
        await world.fault(**plan)
        await world.said("resync")
        await world.assert_exact()

        assert "disconnected" not in await world.statuses()


async def test_repeated_updates_change_nothing(redis_url: str) -> None:
    async with scene(redis_url) as world:
        await world.fault(repeat={"*": 20})

        async def spent() -> bool:
            return (await world.left())["repeat"] in ({}, {"*": 0})

        await until(spent, "the repetitions")
        await world.assert_exact()

        assert await world.statuses() == []
        prints = [m.trade_id for m in await market(world.setting.bus) if isinstance(m, Trade)]
        assert len(prints) == len(set(prints))


async def test_absurd_prices_do_not_get_in(redis_url: str) -> None:
    async with scene(redis_url) as world:
        await world.fault(absurd={TRADE: 2, TICKER: 2})

        async def spent() -> bool:
            return not any((await world.left())["absurd"].values())

        await until(spent, "the absurd frames")
        await world.following()
        messages = await market(world.setting.bus)

    prices = [m.price for m in messages if isinstance(m, Trade)]
    prices += [price for m in messages if isinstance(m, Quote) for price in (m.bid, m.ask)]
    assert max(prices) < 2 * min(prices)


async def test_silence_is_seen_as_age_on_an_open_connection_and_ends_with_it(redis_url: str) -> None:
    async with scene(redis_url) as world:
        await world.fault(silence={"*": None})

        async def is_old() -> bool:
            ages = [beat.touches[0].age_ms for beat in await world.beats()]
            return any(age is not None and age >= 2_000 for age in ages)

        await until(is_old, "an age of two seconds")
        silent = [beat.touches[0].age_ms for beat in await world.beats()]
        assert await world.statuses() == []
        await world.fault(silence={})

        async def is_young() -> bool:
            age = (await world.beats())[-1].touches[0].age_ms
            return age is not None and age < 1_000

        await until(is_young, "a young touch")
        await world.said("resync")
        await world.assert_exact()

    grown = [age for age in silent if age is not None][-2:]
    assert grown == sorted(grown)


@pytest.mark.parametrize("code", [1001, 1006])
async def test_feed_that_is_cut_off_comes_back_with_an_exact_book(redis_url: str, code: int) -> None:
    async with scene(redis_url) as world:
        await world.fault(disconnect="market", disconnect_code=code, refuse_sockets=2)
        await world.said("connected")
        await world.assert_exact()

        statuses = await world.statuses()
        assert statuses[:2] == ["disconnected", "connected"]
        assert (await world.left())["refuse_sockets"] == 0


@pytest.mark.parametrize("status", [429, 418])
async def test_nothing_is_asked_before_the_venue_said_so(redis_url: str, status: int) -> None:
    async with scene(redis_url) as world:
        await world.fault(rest_limited=1, rest_limited_status=status, rest_path="depth", retry_after_s=3)
        await world.fault(drop={DEPTH: 1})
        await world.said("resync")
        await world.assert_exact()

        counters = await world.counters()
        assert (counters["refused"], counters["banned"]) == ((1, 0) if status == 429 else (0, 1))
        assert counters["early"] == 0


async def test_snapshot_is_asked_for_again_after_errors_of_the_server(redis_url: str) -> None:
    async with scene(redis_url) as world:
        await world.fault(rest_http_error=3, rest_path="depth")
        await world.fault(drop={DEPTH: 1})
        await world.said("resync")
        await world.assert_exact()

        assert (await world.left())["rest_http_error"] == 0


async def test_a_book_that_does_not_come_keeps_the_market_waiting_no_longer_than_is_held(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "MOST_HELD", 30)
    async with scene(redis_url) as world:
        await world.fault(rest_http_error=4, rest_path="depth", disconnect="market")
        await world.said("disconnected")

        async def goes_on() -> bool:
            kinds = [type(m) for m in since_the_disconnection(await market(world.setting.bus))]
            until_the_book = kinds[: kinds.index(BookSnapshot)] if BookSnapshot in kinds else kinds
            return Trade in until_the_book or Quote in until_the_book

        await until(goes_on, "a market without its book")
        await world.assert_exact()
        assert (await world.statuses()).count("disconnected") == 1
