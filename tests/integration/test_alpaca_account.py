"""The fleet's Alpaca adapter against the simulated stock venue: every outcome that the venue interface knows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any, TypeVar, cast

import httpx
import pytest

from edgefleet.errors import Misuse, OutOfReach, Transient
from edgefleet.venues.alpaca.rest import AlpacaVenue
from edgefleet.venues.interface import (
    Answered,
    Connected,
    Disconnected,
    Limited,
    NewOrder,
    NotFound,
    NotSent,
    OrderUpdate,
    Rejected,
    Unknown,
    UserEvent,
)
from edgefleet_services.options import DEMO_KEY, DEMO_SECRET
from edgefleet_services.venue.service import VenueOptions

from .alpaca_venue import Clients, alpaca, at
from .venue_server import free_port

pytestmark = pytest.mark.integration

D = Decimal
AAPL = "AAPL/USD@alpaca"
T = TypeVar("T")


@pytest.fixture(scope="module")
def venue() -> Iterator[Clients]:
    options = VenueOptions(
        dialect="alpaca",
        symbols=("AAPL/USD", "MSFT/USD"),
        port=0,
        start_ns=at("2024-11-27 10:00"),
        warm_up_s=5,
        balances={"USD": D(100_000), "MSFT": D(10)},
    )
    with alpaca(options) as clients:
        yield clients


def adapter(port: int, secret: str = DEMO_SECRET, timeout_ms: int = 5_000) -> AlpacaVenue:
    return AlpacaVenue(
        name="alpaca",
        rest_url=f"http://127.0.0.1:{port}",
        stream_url=f"ws://127.0.0.1:{port}",
        key=DEMO_KEY,
        secret=secret,
        symbols=("AAPL/USD", "MSFT/USD"),
        timeout_ms=timeout_ms,
    )


@asynccontextmanager
async def opened(port: int, **more: Any) -> AsyncIterator[AlpacaVenue]:
    """Give an account that is closed, and its sockets with it, before the loop is."""
    made = adapter(port, **more)
    try:
        yield made
    finally:
        await made.close()
        await asyncio.sleep(0)


@asynccontextmanager
async def following(account: AlpacaVenue) -> AsyncIterator[AsyncIterator[UserEvent]]:
    """Give the account's events once they flow."""
    events = account.user_events()
    try:
        await until(events, Connected)
        yield events
    finally:
        await cast("AsyncGenerator[UserEvent]", events).aclose()


@pytest.fixture
async def account(venue: Clients) -> AsyncIterator[AlpacaVenue]:
    async with opened(venue.venue.port) as made:
        yield made


_NUMBER = iter(range(1_000_000))


def order(quantity: str, price: str | None = None, side: Any = "buy", kind: Any = None, **more: Any) -> NewOrder:
    name = more.pop("name", f"ef-{next(_NUMBER)}")
    return NewOrder(
        order_id=name,
        instrument=more.pop("instrument", AAPL),
        side=side,
        kind=kind or ("market" if price is None else "limit"),
        quantity=D(quantity),
        price=None if price is None else D(price),
    )


def faults(venue: Clients, **plan: Any) -> None:
    httpx.post(f"{venue.venue.sim}/faults", json=plan).raise_for_status()


async def until(events: AsyncIterator[UserEvent], kind: type[T], condition: Any = lambda event: True) -> T:
    """Return the first event of a kind that meets `condition`."""
    async with asyncio.timeout(20):
        async for event in events:
            if isinstance(event, kind) and condition(event):
                return event
    raise AssertionError("the stream ended")


async def test_order_is_answered_executed_and_told(account: AlpacaVenue) -> None:
    sent = order("3")
    async with following(account) as events:
        answered = await account.place(sent)
        mine = lambda event: event.order.order_id == sent.order_id and event.order.status == "FILLED"  # noqa: E731
        told = await until(events, OrderUpdate, mine)

    assert isinstance(answered, Answered)
    assert (answered.order.order_id, answered.order.instrument, answered.order.status) == (sent.order_id, AAPL, "NEW")
    assert told.trade is not None
    found = await account.query(AAPL, sent.order_id)
    assert isinstance(found, Answered)
    assert (found.order.status, found.order.filled, found.order.quantity) == ("FILLED", D(3), D(3))
    (trade,) = [t for t in await account.trades_since(AAPL, None) if t.trade_id == told.trade.trade_id]
    assert trade == told.trade.__class__(**{**_fields(told.trade), "order_id": ""})
    assert trade.venue_order_id == found.order.venue_order_id


def _fields(value: Any) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__struct_fields__}


async def test_balances_follow_the_trades(account: AlpacaVenue) -> None:
    before = (await account.account()).balances
    trades_before = len(await account.trades_since(AAPL, "-1"))
    for quantity, side in (("5", "buy"), ("0.25", "buy"), ("2", "sell")):
        assert isinstance(await account.place(order(quantity, side=side)), Answered)
    resting = order("1", "50")
    await account.place(resting)

    after = (await account.account()).balances
    trades = (await account.trades_since(AAPL, "-1"))[trades_before:]

    spent = sum((t.price * t.quantity * (1 if t.side == "buy" else -1) for t in trades), D(0))
    assert after["USD"].free + after["USD"].locked == before["USD"].free + before["USD"].locked - spent
    assert after["USD"].locked == before["USD"].locked + 50
    held = before["AAPL"].free if "AAPL" in before else D(0)
    assert after["AAPL"].free == held + D("3.25")
    await account.cancel(AAPL, resting.order_id)


async def test_trades_are_read_back_to_the_one_that_is_known(account: AlpacaVenue) -> None:
    for quantity in ("1", "2", "3"):
        await account.place(order(quantity))
    whole = await account.trades_since(AAPL, "-1")

    assert [t.trade_id for t in await account.trades_since(AAPL, whole[-3].trade_id)] == [
        t.trade_id for t in whole[-2:]
    ]
    assert [t.ts_event for t in whole] == sorted(t.ts_event for t in whole)
    assert await account.trades_since("MSFT/USD@alpaca", whole[-1].trade_id) == []


async def test_resting_order_is_open_until_it_is_cancelled(account: AlpacaVenue) -> None:
    sent = order("1", "50")
    await account.place(sent)
    assert sent.order_id in [report.order_id for report in await account.open_orders()]

    for _ in range(2):  # asking again does no harm
        answered = await account.cancel(AAPL, sent.order_id)
        assert isinstance(answered, Answered)
        assert answered.order.status == "CANCELED"
    assert sent.order_id not in [report.order_id for report in await account.open_orders()]


async def test_cancel_of_an_order_that_another_process_sent(venue: Clients, account: AlpacaVenue) -> None:
    sent = order("1", "50")
    async with opened(venue.venue.port) as other:
        await other.place(sent)

    answered = await account.cancel(AAPL, sent.order_id)

    assert isinstance(answered, Answered)
    assert answered.order.status == "CANCELED"


async def test_cancel_of_a_filled_order_says_that_it_is_filled(account: AlpacaVenue) -> None:
    sent = order("1")
    await account.place(sent)

    answered = await account.cancel(AAPL, sent.order_id)

    assert isinstance(answered, Answered)
    assert answered.order.status == "FILLED"


@pytest.mark.parametrize("ask", ["query", "cancel"])
async def test_unknown_order_is_not_found(account: AlpacaVenue, ask: str) -> None:
    answer = await getattr(account, ask)(AAPL, "never-sent")

    assert isinstance(answer, NotFound)
    assert answer.code == "40410000"


@pytest.mark.parametrize(
    ("sent", "code", "words"),
    [
        (order("1000000", "90"), "40310000", "insufficient buying power"),
        (order("11", side="sell", instrument="MSFT/USD@alpaca"), "40310000", "insufficient qty available"),
        (order("1", "50.001"), "42210000", "sub-penny"),
        (order("1", instrument="TSLA/USD@alpaca"), "42210000", 'asset "TSLA" not found'),
    ],
)
async def test_refusals_prove_that_there_is_no_order(
    account: AlpacaVenue, sent: NewOrder, code: str, words: str
) -> None:
    answer = await account.place(sent)

    assert isinstance(answer, Rejected)
    assert answer.code == code
    assert words in answer.reason
    assert isinstance(await account.query(sent.instrument, sent.order_id), NotFound)


async def test_second_order_of_one_name_is_no_rejection(account: AlpacaVenue) -> None:
    first = order("1", "50")
    await account.place(first)

    again = await account.place(order("1", "50", name=first.order_id))

    assert isinstance(again, Unknown), "an order of that name is there"
    await account.cancel(AAPL, first.order_id)


async def test_post_only_orders_are_not_sent(account: AlpacaVenue) -> None:
    assert isinstance(await account.place(order("1", "50", kind="post_only")), NotSent)


async def test_lost_answer_is_unknown_and_the_order_is_found(venue: Clients, account: AlpacaVenue) -> None:
    faults(venue, drop_order_response=1)
    sent = order("1")

    assert isinstance(await account.place(sent), Unknown)

    found = await account.query(AAPL, sent.order_id)
    assert isinstance(found, Answered)
    assert found.order.status == "FILLED"


@pytest.mark.parametrize(("when", "there"), [("before", False), ("after", True)])
async def test_server_error_is_unknown(venue: Clients, account: AlpacaVenue, when: str, there: bool) -> None:
    faults(venue, order_http_error=1, order_http_error_when=when)
    sent = order("1")

    assert isinstance(await account.place(sent), Unknown)

    assert isinstance(await account.query(AAPL, sent.order_id), Answered) is there


async def test_late_answer_is_unknown(venue: Clients) -> None:
    faults(venue, hold_order_response_ms=2_000)
    try:
        async with opened(venue.venue.port, timeout_ms=100) as hasty:
            assert isinstance(await hasty.place(order("1")), Unknown)
    finally:
        faults(venue, hold_order_response_ms=0)


async def test_venue_that_is_not_there_was_sent_nothing() -> None:
    nobody = adapter(free_port())

    assert isinstance(await nobody.place(order("1")), NotSent)
    assert isinstance(await nobody.cancel(AAPL, "x"), NotSent)
    with pytest.raises(Transient):
        await nobody.account()
    with pytest.raises(OutOfReach):
        await nobody.warm()


async def test_wrong_keys_are_told_as_such(venue: Clients) -> None:
    async with opened(venue.venue.port, secret="another") as stranger:
        with pytest.raises(Misuse, match="refuses our key"):
            await stranger.account()
        with pytest.raises(Misuse, match="refuses our key on its stream"):
            await until(stranger.user_events(), Connected)
        assert isinstance(await stranger.place(order("1")), Rejected)


async def test_clock_is_measured_against_the_api_s_not_the_market_s(account: AlpacaVenue) -> None:
    assert abs(await account.server_time_offset_ns()) < 250_000_000


async def test_refusal_for_load_asks_for_silence() -> None:
    async def limited(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = b'{"code":42910000,"message":"rate limit exceeded"}'
        head = b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 7\r\nContent-Length: %d\r\n\r\n" % len(body)
        writer.write(head + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(limited, "127.0.0.1", 0)
    async with server, opened(server.sockets[0].getsockname()[1]) as busy:
        first = await busy.place(order("1"))
        second = await busy.place(order("1"))

    assert isinstance(first, Limited)
    assert (first.retry_after_s, first.reason) == (7, "rate limit exceeded")
    assert isinstance(second, Limited), "and nothing is asked meanwhile"
    assert second.retry_after_s < 7


async def test_stream_that_broke_comes_back() -> None:
    options = VenueOptions(
        dialect="alpaca", symbols=("AAPL/USD",), port=free_port(), start_ns=at("2024-11-27 10:00"), warm_up_s=1
    )
    async with opened(options.port) as account:
        with alpaca(options):
            events = account.user_events()
            await until(events, Connected)
        assert (await until(events, Disconnected)).reason
        with alpaca(options):
            await until(events, Connected)
            sent = order("1", "50")
            await account.place(sent)
            assert (await until(events, OrderUpdate)).order.order_id == sent.order_id
            await cast("AsyncGenerator[UserEvent]", events).aclose()
