"""The simulated venue seen by ccxt, an outside client, and judged by the validators that ccxt's own wheel ships."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import ccxt
import pytest

from edgefleet_services.options import DEMO_KEY, DEMO_SECRET
from edgefleet_services.venue.service import VenueOptions

from .venue_server import RunningVenue, running

pytestmark = pytest.mark.integration

SYMBOL = "BTC/USDT"


@pytest.fixture(scope="module")
def venue() -> Iterator[RunningVenue]:
    balances = {"USDT": Decimal(100_000), "BTC": Decimal(2)}
    with running(VenueOptions(market="synthetic", symbols=(SYMBOL, "ETH/USDT"), port=0, balances=balances)) as venue:
        yield venue


@pytest.fixture(scope="module")
def exchange(venue: RunningVenue) -> Any:
    client = ccxt.binance(
        {
            "apiKey": DEMO_KEY,
            "secret": DEMO_SECRET,
            "enableRateLimit": False,
            "options": {"fetchCurrencies": False, "fetchMargins": False, "fetchMarkets": {"types": ["spot"]}},
        }
    )
    client.urls["api"] = client.urls["api"] | {"public": venue.rest, "private": venue.rest}
    client.load_markets()
    return client


def validator(name: str) -> Any:
    """Return ccxt's own test of one method."""
    return getattr(importlib.import_module(f"ccxt.test.exchange.sync.test_{name}"), f"test_{name}")


def structure(name: str) -> Any:
    """Return ccxt's own check of one structure."""
    return getattr(importlib.import_module(f"ccxt.test.exchange.base.test_{name}"), f"test_{name}")


@pytest.fixture
def limit_order(exchange: Any) -> Iterator[dict[str, Any]]:
    """A limit order far below the market, cancelled afterwards."""
    price = exchange.fetch_ticker(SYMBOL)["bid"] * 0.9
    order = exchange.create_order(SYMBOL, "limit", "buy", 0.01, price)
    yield order
    if exchange.fetch_order(order["id"], SYMBOL)["status"] == "open":
        exchange.cancel_order(order["id"], SYMBOL)


def test_markets_pass_the_validator(exchange: Any) -> None:
    # The client of this venue is told to load spot markets only, whatever else Binance has.
    kinds = {"swap", "future", "option"}
    has = {kind: exchange.has[kind] for kind in kinds}
    exchange.has.update(dict.fromkeys(kinds))
    try:
        validator("load_markets")(exchange, {})
    finally:
        exchange.has.update(has)

    market = exchange.market(SYMBOL)
    assert (market["precision"]["price"], market["precision"]["amount"]) == (0.01, 0.00001)


def test_time_is_the_wall_clock(exchange: Any) -> None:
    assert abs(exchange.fetch_time() - exchange.milliseconds()) < 1_000


@pytest.mark.parametrize("method", ["fetch_order_book", "fetch_l2_order_book"])
def test_order_book_passes_the_validator(exchange: Any, method: str) -> None:
    # Binance's spot book carries no stamp: ccxt's list of exceptions says the same of the real one.
    assert validator(method)(exchange, {"timestamp": True, "datetime": True}, SYMBOL)


@pytest.mark.parametrize("method", ["fetch_trades", "fetch_ohlcv", "fetch_ticker"])
def test_market_data_passes_the_validator(exchange: Any, method: str) -> None:
    assert validator(method)(exchange, {}, SYMBOL)


def test_tickers_of_all_symbols_pass_the_validator(exchange: Any) -> None:
    assert validator("fetch_tickers")(exchange, {}, SYMBOL)


def test_balance_passes_the_validator(exchange: Any) -> None:
    assert validator("fetch_balance")(exchange, {})


def test_market_order_is_filled_and_passes_the_validator(exchange: Any) -> None:
    order = exchange.create_order(SYMBOL, "market", "buy", 0.01)

    structure("order")(exchange, {}, "createOrder", order, SYMBOL, exchange.milliseconds())
    assert order["status"] == "closed"
    assert order["filled"] == 0.01
    assert order["fee"]["currency"] == "BTC"


def test_limit_order_rests_and_passes_the_validator(exchange: Any, limit_order: dict[str, Any]) -> None:
    structure("order")(exchange, {}, "createOrder", limit_order, SYMBOL, exchange.milliseconds())
    found = exchange.fetch_order(limit_order["id"], SYMBOL)

    structure("order")(exchange, {}, "fetchOrder", found, SYMBOL, exchange.milliseconds())
    assert found["status"] == "open"
    assert found["clientOrderId"] == limit_order["clientOrderId"]


def test_open_orders_pass_the_validator(exchange: Any, limit_order: dict[str, Any]) -> None:
    assert validator("fetch_open_orders")(exchange, {}, SYMBOL)
    assert [order["id"] for order in exchange.fetch_open_orders(SYMBOL)] == [limit_order["id"]]


def test_cancelled_order_passes_the_validator(exchange: Any, limit_order: dict[str, Any]) -> None:
    cancelled = exchange.cancel_order(limit_order["id"], SYMBOL)

    structure("order")(exchange, {}, "cancelOrder", cancelled, SYMBOL, exchange.milliseconds())
    assert cancelled["status"] == "canceled"
    assert exchange.fetch_open_orders(SYMBOL) == []


def test_post_only_order_that_would_take_is_refused(exchange: Any) -> None:
    price = exchange.fetch_ticker(SYMBOL)["ask"] * 1.05

    with pytest.raises(ccxt.OrderImmediatelyFillable):
        exchange.create_order(SYMBOL, "limit", "buy", 0.001, price, {"postOnly": True})


def test_my_trades_pass_the_validator(exchange: Any) -> None:
    exchange.create_order(SYMBOL, "market", "sell", 0.01)

    assert validator("fetch_my_trades")(exchange, {}, SYMBOL)
