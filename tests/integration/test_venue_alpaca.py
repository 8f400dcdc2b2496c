"""The simulated stock venue seen by alpaca-py, Alpaca's own client, unmodified."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import msgspec
import pytest
from websockets.sync.client import connect

from edgefleet_services.options import DEMO_KEY, DEMO_SECRET
from edgefleet_services.venue.service import VenueOptions

from .alpaca_client import (
    APIError,
    ClosePositionRequest,
    GetAssetsRequest,
    GetCalendarRequest,
    GetOrdersRequest,
    LimitOrderRequest,
    MarketOrderRequest,
    OrderSide,
    OrderStatus,
    QueryOrderStatus,
    ReplaceOrderRequest,
    StockBarsRequest,
    StockLatestBarRequest,
    StockLatestQuoteRequest,
    StockLatestTradeRequest,
    StockQuotesRequest,
    StockSnapshotRequest,
    StockTradesRequest,
    StopOrderRequest,
    TimeFrame,
    TimeFrameUnit,
    TimeInForce,
)
from .alpaca_venue import Clients, alpaca, at
from .venue_server import eventually

pytestmark = pytest.mark.integration

KEYS = {"APCA-API-KEY-ID": DEMO_KEY, "APCA-API-SECRET-KEY": DEMO_SECRET}


def options(start: str, **more: Any) -> VenueOptions:
    return VenueOptions(dialect="alpaca", symbols=("AAPL/USD", "MSFT"), port=0, start_ns=at(start), **more)


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    # alpaca-py tells every closed connection as a warning with a stack.
    caplog.set_level(logging.CRITICAL, logger="alpaca")


@pytest.fixture(scope="module")
def venue() -> Iterator[Clients]:
    """A venue in the middle of a half-day: it closes at 13:00."""
    with alpaca(options("2024-11-29 10:00", balances={"USD": Decimal(1_000_000), "MSFT": Decimal(50)})) as clients:
        yield clients


def ask(venue: Clients, symbol: str = "AAPL") -> float:
    quotes = venue.data.get_stock_latest_quote(StockLatestQuoteRequest(symbol_or_symbols=symbol))
    return float(quotes[symbol].ask_price)


def market_order(side: OrderSide, qty: float, symbol: str = "AAPL", **more: Any) -> MarketOrderRequest:
    return MarketOrderRequest(symbol=symbol, qty=qty, side=side, time_in_force=TimeInForce.DAY, **more)


def limit_order(side: OrderSide, qty: float, price: float, tif: str = "day", **more: Any) -> LimitOrderRequest:
    tif_ = TimeInForce(tif)
    return LimitOrderRequest(symbol="AAPL", qty=qty, side=side, time_in_force=tif_, limit_price=price, **more)


def filled(venue: Clients, order: Any) -> Any:
    """Return the order once it is filled."""

    def found() -> Any:
        now = venue.trading.get_order_by_id(order.id)
        return now if now.status is OrderStatus.FILLED else None

    return eventually(found, f"{order.symbol} filled")


# --- clock and calendar


def test_clock_is_the_market_s(venue: Clients) -> None:
    clock = venue.trading.get_clock()

    assert clock.is_open
    assert clock.timestamp.date() == date(2024, 11, 29)
    assert clock.next_close == datetime(2024, 11, 29, 18, tzinfo=UTC), "a half-day"
    assert clock.next_open == datetime(2024, 12, 2, 14, 30, tzinfo=UTC)


def test_calendar_has_the_holiday_and_the_half_day(venue: Clients) -> None:
    days = venue.trading.get_calendar(GetCalendarRequest(start=date(2024, 11, 27), end=date(2024, 12, 2)))

    assert [(day.date.day, day.open.hour, day.close.hour) for day in days] == [(27, 9, 16), (29, 9, 13), (2, 9, 16)]


def test_calendar_without_dates_is_this_year_and_the_next(venue: Clients) -> None:
    days = venue.trading.get_calendar()

    assert (days[0].date, days[-1].date) == (date(2024, 1, 2), date(2025, 12, 31))


# --- orders


def test_market_order_is_filled_and_told_on_the_stream(venue: Clients) -> None:
    told: list[Any] = []
    venue.updates(told.append)

    order = venue.trading.submit_order(market_order(OrderSide.BUY, 10, client_order_id="stream-1"))

    assert order.status is OrderStatus.PENDING_NEW
    done = filled(venue, order)
    eventually(lambda: any(update.event == "fill" for update in told), "the fill")
    mine = [update for update in told if update.order.id == order.id]
    assert [update.event for update in mine][:2] == ["pending_new", "new"]
    fills = [update for update in mine if update.execution_id is not None]
    assert sum(update.qty for update in fills) == float(done.filled_qty) == 10
    paid = sum(Decimal(str(update.price)) * Decimal(str(update.qty)) for update in fills)
    assert paid / 10 == Decimal(done.filled_avg_price)
    assert fills[-1].order.status is OrderStatus.FILLED
    assert fills[-1].position_qty == float(venue.trading.get_open_position("AAPL").qty)


def test_account_and_position_are_the_trades_to_the_cent(venue: Clients) -> None:
    before = venue.trading.get_account()
    held = Decimal(position.qty) if (position := _position(venue, "AAPL")) else Decimal(0)

    bought = filled(venue, venue.trading.submit_order(market_order(OrderSide.BUY, 7)))
    sold = filled(venue, venue.trading.submit_order(market_order(OrderSide.SELL, 3)))

    cost = Decimal(bought.filled_avg_price) * 7 - Decimal(sold.filled_avg_price) * 3
    account = venue.trading.get_account()
    assert Decimal(account.cash) == pytest.approx(Decimal(before.cash) - cost, abs=Decimal("1e-9"))
    position = venue.trading.get_open_position("AAPL")
    assert Decimal(position.qty) == held + 4
    engine = {asset["asset"]: asset for asset in httpx.get(f"{venue.venue.sim}/account").json()["balances"]}
    assert Decimal(engine["USD"]["free"]) + Decimal(engine["USD"]["locked"]) == Decimal(account.cash)
    assert Decimal(engine["AAPL"]["free"]) == Decimal(position.qty)


def test_equity_is_cash_and_positions(venue: Clients) -> None:
    account = venue.trading.get_account()
    positions = venue.trading.get_all_positions()

    assert Decimal(account.long_market_value) == Decimal(account.equity) - Decimal(account.cash)
    assert all(
        Decimal(p.market_value) - Decimal(p.cost_basis) == Decimal(p.unrealized_pl) and p.side.value == "long"
        for p in positions
    )
    assert "MSFT" in {position.symbol for position in positions}


def test_order_larger_than_the_quotes_is_filled_in_parts(venue: Clients) -> None:
    told: list[Any] = []
    venue.updates(told.append)

    order = venue.trading.submit_order(market_order(OrderSide.BUY, 3_000, "MSFT"))
    done = filled(venue, order)

    eventually(lambda: any(update.event == "fill" for update in told), "the last part")
    parts = [update for update in told if update.execution_id is not None and update.order.id == order.id]
    assert [update.event for update in parts] == ["partial_fill"] * (len(parts) - 1) + ["fill"]
    assert len(parts) > 1
    assert sum(update.qty for update in parts) == float(done.filled_qty) == 3_000


def test_fractions_of_a_share_are_bought_by_quantity_and_by_dollars(venue: Clients) -> None:
    half = filled(venue, venue.trading.submit_order(market_order(OrderSide.BUY, 0.5)))
    assert half.filled_qty == "0.5"

    request = MarketOrderRequest(symbol="AAPL", notional=100, side=OrderSide.BUY, time_in_force=TimeInForce.DAY)
    done = filled(venue, venue.trading.submit_order(request))

    assert done.qty is None
    assert Decimal(done.notional) == 100
    assert 100 - Decimal("0.000001") < Decimal(done.filled_qty) * Decimal(done.filled_avg_price) <= 100


def test_limit_order_rests_is_found_and_cancelled(venue: Clients) -> None:
    order = venue.trading.submit_order(limit_order(OrderSide.BUY, 5, 50.25, client_order_id="resting-1"))

    assert venue.trading.get_order_by_client_id("resting-1").id == order.id
    open_orders = venue.trading.get_orders(GetOrdersRequest(status=QueryOrderStatus.OPEN, symbols=["AAPL"]))
    assert order.id in {found.id for found in open_orders}
    assert open_orders[0].limit_price == "50.25"
    power = Decimal(venue.trading.get_account().buying_power)

    venue.trading.cancel_order_by_id(order.id)

    gone = venue.trading.get_order_by_id(order.id)
    assert gone.status is OrderStatus.CANCELED
    assert gone.canceled_at is not None
    assert Decimal(venue.trading.get_account().buying_power) == power + 5 * Decimal("50.25")


def test_all_orders_are_cancelled_at_once(venue: Clients) -> None:
    orders = [venue.trading.submit_order(limit_order(OrderSide.BUY, 1, 40 + n)) for n in range(3)]

    answers = venue.trading.cancel_orders()

    assert {answer.id for answer in answers} == {order.id for order in orders}
    assert {answer.status for answer in answers} == {200}
    assert venue.trading.get_orders() == []


def test_order_is_replaced_by_a_new_one(venue: Clients) -> None:
    told: list[Any] = []
    venue.updates(told.append)
    old = venue.trading.submit_order(limit_order(OrderSide.BUY, 5, 50))

    new = venue.trading.replace_order_by_id(old.id, ReplaceOrderRequest(qty=8, limit_price=51.5))

    assert (new.replaces, new.qty, new.limit_price) == (old.id, "8", "51.5")
    gone = venue.trading.get_order_by_id(old.id)
    assert (gone.status, gone.replaced_by) == (OrderStatus.REPLACED, new.id)
    eventually(lambda: [u.event for u in told if u.order.id == new.id] == ["pending_new", "new"], "the new order")
    assert [u.event for u in told if u.order.id == old.id] == ["pending_new", "new", "replaced"]
    venue.trading.cancel_order_by_id(new.id)


@pytest.mark.parametrize("tif", ["ioc", "fok"])
def test_what_cannot_trade_at_once_is_cancelled(venue: Clients, tif: str) -> None:
    order = venue.trading.submit_order(limit_order(OrderSide.BUY, 5, 50, tif))

    assert venue.trading.get_order_by_id(order.id).status is OrderStatus.CANCELED


def test_position_is_closed_in_part_and_whole(venue: Clients) -> None:
    filled(venue, venue.trading.submit_order(market_order(OrderSide.BUY, 8)))
    held = Decimal(venue.trading.get_open_position("AAPL").qty)

    part = filled(venue, venue.trading.close_position("AAPL", ClosePositionRequest(qty="3")))
    assert part.filled_qty == "3"
    assert Decimal(venue.trading.get_open_position("AAPL").qty) == held - 3

    filled(venue, venue.trading.close_position("AAPL"))
    with pytest.raises(APIError) as caught:
        venue.trading.get_open_position("AAPL")
    assert (caught.value.status_code, caught.value.code) == (404, 40410000)


def test_orders_are_listed_newest_first_and_by_what_is_asked(venue: Clients) -> None:
    ids = [venue.trading.submit_order(limit_order(OrderSide.BUY, 1, 30 + n)).id for n in range(3)]

    newest = venue.trading.get_orders(GetOrdersRequest(status=QueryOrderStatus.ALL, limit=2))
    oldest = venue.trading.get_orders(
        GetOrdersRequest(status=QueryOrderStatus.OPEN, direction="asc", side=OrderSide.BUY)
    )
    earlier = venue.trading.get_orders(
        GetOrdersRequest(status=QueryOrderStatus.ALL, until=newest[0].created_at - timedelta(days=1))
    )

    assert [order.id for order in newest] == ids[:0:-1]
    assert [order.id for order in oldest] == ids
    assert earlier == []
    venue.trading.cancel_orders()


def test_fills_are_account_activities_page_by_page(venue: Clients) -> None:
    filled(venue, venue.trading.submit_order(market_order(OrderSide.BUY, 2)))

    every = venue.trading.get("/account/activities/FILL", {"direction": "asc"})
    paged: list[Any] = []
    while page := venue.trading.get(
        "/account/activities",
        {"activity_types": "FILL", "direction": "asc", "page_size": 2}
        | ({"page_token": paged[-1]["id"]} if paged else {}),
    ):
        paged += page

    assert paged == every
    assert every[-1]["qty"] == "2"
    assert every == sorted(every, key=lambda fill: fill["transaction_time"])
    assert venue.trading.get("/account/activities/DIV") == []


# --- refusals


def refusal(act: Any) -> tuple[int, int, str]:
    with pytest.raises(APIError) as caught:
        act()
    return caught.value.status_code, caught.value.code, caught.value.message


def test_client_order_id_must_be_unique(venue: Clients) -> None:
    venue.trading.submit_order(market_order(OrderSide.BUY, 1, client_order_id="twice"))

    answer = refusal(lambda: venue.trading.submit_order(market_order(OrderSide.BUY, 1, client_order_id="twice")))

    assert answer == (422, 40010001, "client_order_id must be unique")


def test_insufficient_buying_power_names_both_numbers(venue: Clients) -> None:
    with pytest.raises(APIError) as caught:
        venue.trading.submit_order(limit_order(OrderSide.BUY, 100_000, 99))

    assert (caught.value.status_code, caught.value.code) == (403, 40310000)
    body = json.loads(str(caught.value))
    assert body["message"] == "insufficient buying power"
    assert body["cost_basis"] == "9900000"
    assert Decimal(body["buying_power"]) == Decimal(venue.trading.get_account().buying_power)


def test_shorts_are_refused(venue: Clients) -> None:
    venue.trading.close_all_positions(cancel_orders=True)
    eventually(lambda: not venue.trading.get_all_positions(), "everything sold")

    answer = refusal(lambda: venue.trading.submit_order(market_order(OrderSide.SELL, 1)))

    assert answer == (403, 40310000, "account is not allowed to short")
    assert not venue.trading.get_account().shorting_enabled


def test_stop_orders_are_refused_by_name(venue: Clients) -> None:
    order = StopOrderRequest(symbol="AAPL", qty=1, side="sell", time_in_force="day", stop_price=50)

    status, code, message = refusal(lambda: venue.trading.submit_order(order))

    assert (status, code) == (422, 42210000)
    assert "stop orders are not supported" in message


@pytest.mark.parametrize("path", ["orders/3a0f0c5c-0000-4000-8000-000000000000", "positions/TSLA", "assets/TSLA"])
def test_what_is_not_there_is_404(venue: Clients, path: str) -> None:
    assert refusal(lambda: venue.trading.get(f"/{path}"))[:2] == (404, 40410000)


def test_what_is_not_offered_says_so(venue: Clients) -> None:
    status, code, message = refusal(venue.trading.get_portfolio_history)

    assert (status, code) == (404, 40410000)
    assert message == "GET /v2/account/portfolio/history is not offered by the simulated venue"
    assert httpx.get(f"{venue.url}/v2/watchlists").status_code == 401, "and to a stranger nothing"


def test_unknown_order_cannot_be_cancelled(venue: Clients) -> None:
    unknown = "3a0f0c5c-0000-4000-8000-000000000000"

    answer = refusal(lambda: venue.trading.cancel_order_by_id(unknown))

    assert answer == (404, 40410000, f"order not found for {unknown}")


@pytest.mark.parametrize(("path", "status"), [("account", 401), ("stocks/trades/latest?symbols=AAPL", 403)])
def test_strangers_are_turned_away(venue: Clients, path: str, status: int) -> None:
    for headers in ({}, KEYS | {"APCA-API-SECRET-KEY": "another"}):
        answer = httpx.get(f"{venue.url}/v2/{path}", headers=headers)
        assert answer.status_code == status
        assert set(answer.json()) == {"code", "message"}


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 400, 40010000),
        (b'{"symbol": 5}', 400, 40010000),
        (b"{}", 422, 40010001),
        (b'{"symbol":"AAPL","side":"hold","type":"market","time_in_force":"day","qty":"1"}', 422, 40010001),
        (b'{"symbol":"AAPL","side":"buy","type":"market","time_in_force":"opg","qty":"1"}', 422, 42210000),
        (b'{"symbol":"AAPL","side":"buy","type":"market","time_in_force":"day","qty":"NaN"}', 422, 42210000),
        (b'{"symbol":"AAPL","side":"buy","type":"market","time_in_force":"day","qty":"Infinity"}', 422, 42210000),
        (
            b'{"symbol":"AAPL","side":"buy","type":"limit","time_in_force":"day","qty":1,"limit_price":1e30}',
            422,
            42210000,
        ),
    ],
)
def test_requests_that_do_not_read_are_refused(venue: Clients, body: bytes, status: int, code: int) -> None:
    answer = httpx.post(f"{venue.url}/v2/orders", content=body, headers=KEYS)

    assert (answer.status_code, answer.json()["code"]) == (status, code)


@pytest.mark.parametrize(
    "query", ["percentage=1e400", "percentage=0", "percentage=101", "qty=1e400", "qty=NaN", "qty=-1"]
)
def test_position_is_not_closed_by_what_is_no_part_of_it(venue: Clients, query: str) -> None:
    if _position(venue, "MSFT") is None:
        filled(venue, venue.trading.submit_order(market_order(OrderSide.BUY, 1, "MSFT")))

    answer = httpx.delete(f"{venue.url}/v2/positions/MSFT?{query}", headers=KEYS)

    assert (answer.status_code, answer.json()["code"]) == (422, 42210000)


@pytest.mark.parametrize(
    "path",
    [
        "calendar?start=9999-12-31",
        "calendar?start=tomorrow",
        "orders?after=0001-01-01T00:00:00Z",
        "orders?limit=-1",
        "stocks/bars?symbols=AAPL&timeframe=2Fortnight",
        "stocks/trades?symbols=AAPL&start=2024-13-01",
        "stocks/trades?symbols=AAPL&page_token=%C3%A9",
        "stocks/trades?start=2024-11-29",
        "stocks/quotes?symbols=AAPL&currency=EUR",
        "account/activities?page_token=nothing",
    ],
)
def test_queries_that_do_not_read_are_refused(venue: Clients, path: str) -> None:
    answer = httpx.get(f"{venue.url}/v2/{path}", headers=KEYS)

    assert answer.status_code == 422
    assert answer.json()["code"] in (40010001, 42210000)


def test_every_answer_says_how_much_may_still_be_asked(venue: Clients) -> None:
    first, second = (httpx.get(f"{venue.url}/v2/clock", headers=KEYS).headers for _ in range(2))

    assert first["x-ratelimit-limit"] == "1000"
    if first["x-ratelimit-reset"] == second["x-ratelimit-reset"]:
        assert int(second["x-ratelimit-remaining"]) == int(first["x-ratelimit-remaining"]) - 1


# --- what trades


def test_assets_are_the_stocks_served(venue: Clients) -> None:
    assets = venue.trading.get_all_assets(GetAssetsRequest(status="active"))

    assert [asset.symbol for asset in assets] == ["AAPL", "MSFT"]
    assert all(asset.fractionable and asset.tradable and not asset.shortable for asset in assets)
    assert venue.trading.get_asset(assets[0].id) == venue.trading.get_asset("AAPL") == assets[0]


# --- market data


def test_bars_agree_with_the_trades_they_are_made_of(venue: Clients) -> None:
    start, end = datetime(2024, 11, 29, 14, 58, tzinfo=UTC), datetime(2024, 11, 29, 14, 59, 59, 999999, tzinfo=UTC)

    bars = venue.data.get_stock_bars(
        StockBarsRequest(symbol_or_symbols=["AAPL", "MSFT"], timeframe=TimeFrame.Minute, start=start, end=end)
    )
    trades = venue.data.get_stock_trades(
        StockTradesRequest(symbol_or_symbols="AAPL", start=start, end=end, limit=5_000)
    )

    assert [bar.timestamp.minute for bar in bars["AAPL"]] == [58, 59]
    inside = [trade for trade in trades["AAPL"] if trade.timestamp.minute == 58]
    bar = bars["AAPL"][0]
    assert (bar.open, bar.close) == (inside[0].price, inside[-1].price)
    assert (bar.high, bar.low) == (max(t.price for t in inside), min(t.price for t in inside))
    assert bar.volume == sum(trade.size for trade in inside)
    assert bar.trade_count == len(inside)
    assert len(bars["MSFT"]) == 2


def test_pages_are_the_whole(venue: Clients) -> None:
    start, end = datetime(2024, 11, 29, 14, 58, tzinfo=UTC), datetime(2024, 11, 29, 14, 59, tzinfo=UTC)
    params = {"symbols": "AAPL,MSFT", "start": start.isoformat(), "end": end.isoformat(), "limit": 100}
    pages: list[Any] = []
    token = None
    while not pages or token:
        pages.append(venue.data.get("/stocks/quotes", params | ({"page_token": token} if token else {})))
        token = pages[-1]["next_page_token"]

    whole = venue.data.get_stock_quotes(StockQuotesRequest(symbol_or_symbols=["AAPL", "MSFT"], start=start, end=end))

    assert len(pages) > 2
    for symbol in ("AAPL", "MSFT"):
        stamps = [quote["t"] for page in pages for quote in page["quotes"].get(symbol, [])]
        assert len(stamps) == len(whole[symbol])
        assert stamps == sorted(stamps)


def test_bars_come_in_every_frame_and_order(venue: Clients) -> None:
    frames = [TimeFrame(5, TimeFrameUnit.Minute), TimeFrame.Hour, TimeFrame.Day, TimeFrame.Week, TimeFrame.Month]
    for frame in frames:
        bars = venue.data.get_stock_bars(
            StockBarsRequest(
                symbol_or_symbols="AAPL", timeframe=frame, start=datetime(2024, 11, 1, tzinfo=UTC), sort="desc"
            )
        )
        stamps = [bar.timestamp for bar in bars["AAPL"]]
        assert stamps == sorted(stamps, reverse=True)
        assert stamps


def test_latest_and_snapshot_agree(venue: Clients) -> None:
    symbols = ["AAPL", "MSFT", "NONE"]
    trades = venue.data.get_stock_latest_trade(StockLatestTradeRequest(symbol_or_symbols=symbols))
    snapshots = venue.data.get_stock_snapshot(StockSnapshotRequest(symbol_or_symbols=symbols))
    bars = venue.data.get_stock_latest_bar(StockLatestBarRequest(symbol_or_symbols=symbols))

    assert set(trades) == set(snapshots) == set(bars) == {"AAPL", "MSFT"}
    shot = snapshots["AAPL"]
    assert shot.latest_trade.timestamp >= trades["AAPL"].timestamp
    assert shot.latest_quote.bid_price < shot.latest_quote.ask_price
    assert shot.daily_bar.low <= shot.minute_bar.low <= shot.minute_bar.high <= shot.daily_bar.high
    assert shot.previous_daily_bar is None


# --- streams


def test_market_data_stream_speaks_msgpack(venue: Clients) -> None:
    got: dict[str, list[Any]] = {"trades": [], "quotes": [], "bars": []}

    async def on_trade(trade: Any) -> None:
        got["trades"].append(trade)

    async def on_quote(quote: Any) -> None:
        got["quotes"].append(quote)

    def subscribe(stream: Any) -> None:
        stream.subscribe_trades(on_trade, "AAPL")
        stream.subscribe_quotes(on_quote, "*")

    stream = venue.market(subscribe, "sip")
    eventually(lambda: got["trades"] and {q.symbol for q in got["quotes"]} == {"AAPL", "MSFT"}, "market data")
    stream.unsubscribe_quotes("*")

    assert {trade.symbol for trade in got["trades"]} == {"AAPL"}
    trade = got["trades"][0]
    asked = StockTradesRequest(
        symbol_or_symbols="AAPL", start=trade.timestamp, end=trade.timestamp + timedelta(microseconds=1)
    )
    assert trade.id in {found.id for found in venue.data.get_stock_trades(asked)["AAPL"]}
    assert all(quote.bid_price < quote.ask_price for quote in got["quotes"])


def test_market_data_stream_speaks_json() -> None:
    with alpaca(options("2024-11-29 10:00:58", warm_up_s=5)) as venue, connect(f"{venue.venue.ws}/v2/iex") as socket:
        assert json.loads(socket.recv()) == [{"T": "success", "msg": "connected"}]
        socket.send(json.dumps({"action": "subscribe", "trades": ["AAPL"]}))
        assert json.loads(socket.recv()) == [{"T": "error", "code": 401, "msg": "not authenticated"}]
        socket.send(json.dumps({"action": "auth", "key": DEMO_KEY, "secret": "wrong"}))
        assert json.loads(socket.recv()) == [{"T": "error", "code": 402, "msg": "auth failed"}]
        socket.send(json.dumps({"action": "auth", "key": DEMO_KEY, "secret": DEMO_SECRET}))
        assert json.loads(socket.recv()) == [{"T": "success", "msg": "authenticated"}]
        socket.send("[")
        assert json.loads(socket.recv()) == [{"T": "error", "code": 400, "msg": "invalid syntax"}]
        socket.send(json.dumps({"action": "subscribe", "trades": ["AAPL"], "bars": ["*"]}))
        (subscribed,) = json.loads(socket.recv())
        assert subscribed["trades"] == subscribed["corrections"] == ["AAPL"]
        assert (subscribed["bars"], subscribed["quotes"]) == (["*"], [])

        seen: dict[str, dict[str, Any]] = {}
        while set(seen) != {"t", "b"}:
            for message in json.loads(socket.recv(timeout=20)):
                seen[message["T"]] = message

        assert set(seen["t"]) == {"T", "S", "t", "x", "p", "s", "c", "i", "z"}
        assert seen["b"]["t"] == "2024-11-29T15:00:00Z", "the minute that closed, told by the first moment after it"


def test_keys_in_the_headers_are_enough() -> None:
    with (
        alpaca(options("2024-11-29 10:00", warm_up_s=1)) as venue,
        connect(
            f"{venue.venue.ws}/v2/sip", additional_headers=KEYS | {"Content-Type": "application/msgpack"}
        ) as socket,
    ):
        assert msgspec.msgpack.decode(socket.recv(decode=False)) == [{"T": "success", "msg": "connected"}]
        assert msgspec.msgpack.decode(socket.recv(decode=False)) == [{"T": "success", "msg": "authenticated"}]


@pytest.mark.parametrize("codec", ["json", "msgpack"])
def test_account_stream_sends_binary_frames_in_both_encodings(venue: Clients, codec: str) -> None:
    pack: Any = json.dumps if codec == "json" else msgspec.msgpack.encode
    unpack: Any = json.loads if codec == "json" else msgspec.msgpack.decode
    headers = {"Content-Type": "application/msgpack"} if codec == "msgpack" else {}
    with connect(f"{venue.venue.ws}/stream", additional_headers=headers) as socket:
        for secret, status in (("wrong", "unauthorized"), (DEMO_SECRET, "authorized")):
            socket.send(pack({"action": "authenticate", "data": {"key_id": DEMO_KEY, "secret_key": secret}}))
            answer = socket.recv()
            assert isinstance(answer, bytes)
            assert unpack(answer)["data"]["status"] == status
        socket.send(pack({"action": "listen", "data": {"streams": ["trade_updates", "account_updates"]}}))
        assert unpack(socket.recv()) == {"stream": "listening", "data": {"streams": ["trade_updates"]}}

        order = venue.trading.submit_order(limit_order(OrderSide.BUY, 1, 20))
        first = unpack(socket.recv(timeout=20))

        assert (first["stream"], first["data"]["event"]) == ("trade_updates", "pending_new")
        assert first["data"]["order"]["id"] == str(order.id)
        venue.trading.cancel_order_by_id(order.id)


# --- opening hours


def test_order_sent_before_the_open_waits_for_it() -> None:
    with alpaca(options("2024-11-29 09:29:59", warm_up_s=1)) as venue:
        told: list[Any] = []
        venue.updates(told.append)

        assert not venue.trading.get_clock().is_open
        order = venue.trading.submit_order(market_order(OrderSide.BUY, 1))

        assert order.status is OrderStatus.ACCEPTED
        done = filled(venue, order)
        eventually(lambda: len(told) == 3, "three updates")
        assert [update.event for update in told] == ["accepted", "new", "fill"]
        assert done.filled_at >= datetime(2024, 11, 29, 14, 30, tzinfo=UTC)


def test_order_of_the_day_ends_with_a_half_day_and_the_market_falls_silent() -> None:
    with alpaca(options("2024-11-29 12:59:58", warm_up_s=10)) as venue:
        told: list[Any] = []
        venue.updates(told.append)
        venue.trading.submit_order(limit_order(OrderSide.BUY, 1, 20))
        kept = venue.trading.submit_order(limit_order(OrderSide.BUY, 1, 20, "gtc"))

        eventually(lambda: any(update.event == "expired" for update in told), "the end of the day's order")

        clock = venue.trading.get_clock()
        assert not clock.is_open
        assert clock.next_open == datetime(2024, 12, 2, 14, 30, tzinfo=UTC)
        assert [order.id for order in venue.trading.get_orders()] == [kept.id]
        trades = venue.data.get_stock_latest_trade(StockLatestTradeRequest(symbol_or_symbols="AAPL"))
        assert trades["AAPL"].timestamp <= datetime(2024, 11, 29, 18, tzinfo=UTC)


# --- what may go wrong on request, and restarts


def test_order_faults_strike_here_as_well(venue: Clients) -> None:
    httpx.post(f"{venue.venue.sim}/faults", json={"order_http_error": 1, "order_http_error_when": "after"})

    assert (
        refusal(lambda: venue.trading.submit_order(limit_order(OrderSide.BUY, 1, 20, client_order_id="late")))[0] == 503
    )

    venue.trading.cancel_order_by_id(venue.trading.get_order_by_client_id("late").id)


def test_data_stream_that_is_cut_off_comes_back_by_itself(venue: Clients) -> None:
    heard: list[Any] = []

    async def on_quote(quote: Any) -> None:
        heard.append(quote)

    stream = venue.market(lambda stream: stream.subscribe_quotes(on_quote, "AAPL"))
    eventually(lambda: heard, "quotes")
    socket = stream._ws

    left = httpx.post(f"{venue.venue.sim}/faults", json={"disconnect": "market", "refuse_sockets": 1}).json()
    assert (left["disconnect"], left["refuse_sockets"]) == ("", 1)
    eventually(lambda: stream._ws is not None and stream._ws is not socket and stream._running, "another connection")
    before = len(heard)
    eventually(lambda: len(heard) > before, "quotes again")
    assert httpx.get(f"{venue.venue.sim}/faults").json()["refuse_sockets"] == 0


def test_silent_stream_is_silent_until_it_is_set_back(venue: Clients) -> None:
    with connect(f"{venue.venue.ws}/v2/iex", additional_headers=KEYS) as socket:
        socket.send(json.dumps({"action": "subscribe", "quotes": ["AAPL"], "trades": ["MSFT"]}))
        httpx.post(f"{venue.venue.sim}/faults", json={"silence": {"quotes@AAPL": None}})
        told = venue.venue.status()["market_time_ms"] + 1
        later: list[dict[str, Any]] = []
        while len(later) < 15:
            later += [m for m in json.loads(socket.recv(timeout=20)) if "t" in m and _ms(m["t"]) > told]
        assert {message["T"] for message in later} == {"t"}, "the others go on"
        httpx.delete(f"{venue.venue.sim}/faults")
        while all(message["T"] != "q" for message in json.loads(socket.recv(timeout=20))):
            pass


def test_account_outlives_a_restart(tmp_path: Any) -> None:
    file = tmp_path / "account.json"
    kept = options("2024-11-29 10:00", warm_up_s=5, state_file=file)
    with alpaca(kept) as venue:
        bought = filled(venue, venue.trading.submit_order(market_order(OrderSide.BUY, 3)))
        resting = venue.trading.submit_order(limit_order(OrderSide.BUY, 1, 20, client_order_id="kept"))
        cash = venue.trading.get_account().cash

    with alpaca(kept) as venue:
        assert venue.trading.get_account().cash == cash
        assert venue.trading.get_open_position("AAPL").avg_entry_price == bought.filled_avg_price
        assert venue.trading.get_order_by_client_id("kept").id == resting.id
        venue.trading.cancel_order_by_id(resting.id)


def _ms(stamp: str) -> float:
    return datetime.fromisoformat(stamp).timestamp() * 1e3


def _position(venue: Clients, symbol: str) -> Any:
    return next((p for p in venue.trading.get_all_positions() if p.symbol == symbol), None)
