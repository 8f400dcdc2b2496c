"""The venue's values as Binance Spot writes them in JSON. Knows field names, nothing of how the values came about."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from itertools import islice
from typing import Any

from edgefleet.matching.engine import Side
from edgefleet.matching.exchange import (
    AccountTrade,
    Balance,
    Execution,
    ExecutionType,
    Fees,
    Order,
    OrderType,
)
from edgefleet.matching.filters import MarketRules
from edgefleet.matching.history import Candle
from edgefleet.matching.recorded import RecordedBook
from edgefleet.matching.wire import Level, Trade
from edgefleet.units import ZERO, decimal_text

Json = dict[str, Any]

NO_PREVENTION = "EXPIRE_MAKER"
DAY_FIGURES = (
    "priceChange",
    "priceChangePercent",
    "weightedAvgPrice",
    "prevClosePrice",
    "lastPrice",
    "lastQty",
    "openPrice",
    "highPrice",
    "lowPrice",
    "volume",
    "quoteVolume",
)


def amount(value: Decimal) -> str:
    """Return `value` with eight decimals, as Binance writes prices and quantities; more where it has more."""
    exponent = value.as_tuple().exponent
    if isinstance(exponent, int) and exponent >= -8:
        return format(value, ".8f")
    text = decimal_text(value)
    return text if len(text.partition(".")[2]) > 8 else format(value, ".8f")


def symbol_info(rules: MarketRules) -> Json:
    """Return one entry of `exchangeInfo`'s symbols."""
    return {
        "symbol": rules.symbol,
        "status": "TRADING",
        "baseAsset": rules.base,
        "baseAssetPrecision": 8,
        "quoteAsset": rules.quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "baseCommissionPrecision": 8,
        "quoteCommissionPrecision": 8,
        "orderTypes": [kind.value for kind in OrderType],
        "icebergAllowed": False,
        "ocoAllowed": False,
        "otoAllowed": False,
        "quoteOrderQtyMarketAllowed": True,
        "allowTrailingStop": False,
        "cancelReplaceAllowed": False,
        "amendAllowed": False,
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "filters": [
            {
                "filterType": "PRICE_FILTER",
                "minPrice": amount(rules.min_price),
                "maxPrice": amount(rules.max_price),
                "tickSize": amount(rules.tick_size),
            },
            {
                "filterType": "LOT_SIZE",
                "minQty": amount(rules.min_quantity),
                "maxQty": amount(rules.max_quantity),
                "stepSize": amount(rules.step_size),
            },
            {
                "filterType": "PERCENT_PRICE_BY_SIDE",
                "bidMultiplierUp": decimal_text(rules.multiplier_up),
                "bidMultiplierDown": decimal_text(rules.multiplier_down),
                "askMultiplierUp": decimal_text(rules.multiplier_up),
                "askMultiplierDown": decimal_text(rules.multiplier_down),
                "avgPriceMins": 0,
            },
            {
                "filterType": "NOTIONAL",
                "minNotional": amount(rules.min_notional),
                "applyMinToMarket": True,
                "maxNotional": amount(rules.max_notional),
                "applyMaxToMarket": True,
                "avgPriceMins": 0,
            },
            {"filterType": "MAX_NUM_ORDERS", "maxNumOrders": rules.max_orders},
        ],
        "permissions": [],
        "permissionSets": [["SPOT"]],
        "defaultSelfTradePreventionMode": NO_PREVENTION,
        "allowedSelfTradePreventionModes": [NO_PREVENTION],
    }


def depth(last_update_id: int, bids: Sequence[Level], asks: Sequence[Level]) -> Json:
    """Return a REST book."""
    return {"lastUpdateId": last_update_id, "bids": levels(bids), "asks": levels(asks)}


def whole_book(book: RecordedBook, limit: int) -> Json:
    """Return the best `limit` levels of each side of a book, as REST gives them."""
    return depth(book.last_update_id, list(islice(book.bids.levels(), limit)), list(islice(book.asks.levels(), limit)))


def levels(book_side: Sequence[Level]) -> list[list[str]]:
    """Return (price, quantity) pairs as text."""
    return [[amount(price), amount(size)] for price, size in book_side]


def trade(print_: Trade) -> Json:
    """Return one entry of REST `trades`."""
    return {
        "id": print_.t,
        "price": amount(print_.p),
        "qty": amount(print_.q),
        "quoteQty": amount(print_.p * print_.q),
        "time": print_.T,
        "isBuyerMaker": print_.m,
        "isBestMatch": True,
    }


def agg_trade(print_: Trade) -> Json:
    """Return one entry of REST `aggTrades`; here every print is an aggregate of one."""
    return {
        "a": print_.t,
        "p": amount(print_.p),
        "q": amount(print_.q),
        "f": print_.t,
        "l": print_.t,
        "T": print_.T,
        "m": print_.m,
        "M": True,
    }


def kline(candle: Candle, width_ms: int) -> list[Any]:
    """Return one entry of REST `klines`."""
    return [
        candle.start,
        amount(candle.open),
        amount(candle.high),
        amount(candle.low),
        amount(candle.close),
        amount(candle.volume),
        candle.start + width_ms - 1,
        amount(candle.quote_volume),
        candle.trades,
        amount(candle.taker_buy_volume),
        amount(candle.taker_buy_quote_volume),
        "0",
    ]


def kline_event(symbol: str, interval: str, candle: Candle, width_ms: int, *, closed: bool, now_ms: int) -> Json:
    """Return the `data` of a `kline_<interval>` frame."""
    return {
        "e": "kline",
        "E": now_ms,
        "s": symbol,
        "k": {
            "t": candle.start,
            "T": candle.start + width_ms - 1,
            "s": symbol,
            "i": interval,
            "f": candle.first_trade,
            "L": candle.last_trade,
            "o": amount(candle.open),
            "c": amount(candle.close),
            "h": amount(candle.high),
            "l": amount(candle.low),
            "v": amount(candle.volume),
            "n": candle.trades,
            "x": closed,
            "q": amount(candle.quote_volume),
            "V": amount(candle.taker_buy_volume),
            "Q": amount(candle.taker_buy_quote_volume),
            "B": "0",
        },
    }


def day_ticker(symbol: str, day: Candle | None, bid: Level | None, ask: Level | None, now_ms: int) -> Json:
    """Return REST `ticker/24hr`; zeros where nothing was printed, as Binance has it for a market without trades."""
    bid_price, bid_size = bid or (ZERO, ZERO)
    ask_price, ask_size = ask or (ZERO, ZERO)
    shown: Json = {
        "symbol": symbol,
        "bidPrice": amount(bid_price),
        "bidQty": amount(bid_size),
        "askPrice": amount(ask_price),
        "askQty": amount(ask_size),
        "openTime": max(now_ms - 86_400_000, 0),
        "closeTime": now_ms,
    }
    if day is None:
        return shown | dict.fromkeys(DAY_FIGURES, amount(ZERO)) | {"firstId": -1, "lastId": -1, "count": 0}
    change = day.close - day.open
    return shown | {
        "priceChange": amount(change),
        "priceChangePercent": format(change / day.open * 100, ".3f"),
        "weightedAvgPrice": format(day.quote_volume / day.volume, ".8f"),
        "prevClosePrice": amount(day.open),
        "lastPrice": amount(day.close),
        "lastQty": amount(day.last_quantity),
        "openPrice": amount(day.open),
        "highPrice": amount(day.high),
        "lowPrice": amount(day.low),
        "volume": amount(day.volume),
        "quoteVolume": amount(day.quote_volume),
        "firstId": day.first_trade,
        "lastId": day.last_trade,
        "count": day.trades,
    }


def ticker_event(symbol: str, day: Candle, bid: Level | None, ask: Level | None, now_ms: int) -> Json:
    """Return the `data` of a `ticker` frame."""
    rest = day_ticker(symbol, day, bid, ask, now_ms)
    names = {
        "p": "priceChange", "P": "priceChangePercent", "w": "weightedAvgPrice", "x": "prevClosePrice",
        "c": "lastPrice", "Q": "lastQty", "b": "bidPrice", "B": "bidQty", "a": "askPrice", "A": "askQty",
        "o": "openPrice", "h": "highPrice", "l": "lowPrice", "v": "volume", "q": "quoteVolume",
        "O": "openTime", "C": "closeTime", "F": "firstId", "L": "lastId", "n": "count",
    }  # fmt: skip
    return {"e": "24hrTicker", "E": now_ms, "s": symbol} | {short: rest[long] for short, long in names.items()}


def mini_ticker_event(symbol: str, day: Candle, now_ms: int) -> Json:
    """Return the `data` of a `miniTicker` frame."""
    return {
        "e": "24hrMiniTicker",
        "E": now_ms,
        "s": symbol,
        "c": amount(day.close),
        "o": amount(day.open),
        "h": amount(day.high),
        "l": amount(day.low),
        "v": amount(day.volume),
        "q": amount(day.quote_volume),
    }


def book_ticker(symbol: str, bid: Level | None, ask: Level | None) -> Json:
    """Return REST `ticker/bookTicker`."""
    bid_price, bid_size = bid or (ZERO, ZERO)
    ask_price, ask_size = ask or (ZERO, ZERO)
    return {
        "symbol": symbol,
        "bidPrice": amount(bid_price),
        "bidQty": amount(bid_size),
        "askPrice": amount(ask_price),
        "askQty": amount(ask_size),
    }


def account(balances: dict[str, Balance], fees: Fees, update_time: int) -> Json:
    """Return REST `account`."""
    maker, taker = amount(fees.maker), amount(fees.taker)
    return {
        "makerCommission": int(fees.maker * 10_000),
        "takerCommission": int(fees.taker * 10_000),
        "buyerCommission": 0,
        "sellerCommission": 0,
        "commissionRates": {"maker": maker, "taker": taker, "buyer": "0.00000000", "seller": "0.00000000"},
        "canTrade": True,
        "canWithdraw": False,
        "canDeposit": False,
        "brokered": False,
        "requireSelfTradePrevention": False,
        "preventSor": False,
        "updateTime": update_time,
        "accountType": "SPOT",
        "balances": [balance(asset, held) for asset, held in balances.items()],
        "permissions": ["SPOT"],
        "uid": 1,
    }


def balance(asset: str, held: Balance) -> Json:
    """Return one balance of REST `account`."""
    return {"asset": asset, "free": amount(held.free), "locked": amount(held.locked)}


def order(value: Order) -> Json:
    """Return REST `order` as GET answers it."""
    return {
        "symbol": value.symbol,
        "orderId": value.order_id,
        "orderListId": -1,
        "clientOrderId": value.client_order_id,
        "price": amount(value.price),
        "origQty": amount(value.quantity),
        "executedQty": amount(value.executed),
        "cummulativeQuoteQty": amount(value.cost),
        "status": value.status.value,
        "timeInForce": value.time_in_force.value,
        "type": value.type.value,
        "side": value.side.value,
        "stopPrice": "0.00000000",
        "icebergQty": "0.00000000",
        "time": value.time,
        "updateTime": value.update_time,
        "isWorking": True,
        "workingTime": value.time,
        "origQuoteOrderQty": amount(value.quote_quantity),
        "selfTradePreventionMode": NO_PREVENTION,
    }


def order_ack(value: Order) -> Json:
    """Return POST `order`'s answer of type ACK."""
    return {
        "symbol": value.symbol,
        "orderId": value.order_id,
        "orderListId": -1,
        "clientOrderId": value.client_order_id,
        "transactTime": value.time,
    }


def order_result(value: Order) -> Json:
    """Return POST `order`'s answer of type RESULT."""
    return order_ack(value) | {
        "price": amount(value.price),
        "origQty": amount(value.quantity),
        "executedQty": amount(value.executed),
        "origQuoteOrderQty": amount(value.quote_quantity),
        "cummulativeQuoteQty": amount(value.cost),
        "status": value.status.value,
        "timeInForce": value.time_in_force.value,
        "type": value.type.value,
        "side": value.side.value,
        "workingTime": value.time,
        "selfTradePreventionMode": NO_PREVENTION,
    }


def order_full(value: Order, executions: list[Execution]) -> Json:
    """Return POST `order`'s answer of type FULL, with the fills of the order itself."""
    trades = [e.trade for e in executions if e.trade is not None and e.order.order_id == value.order_id]
    fills = [
        {
            "price": amount(t.price),
            "qty": amount(t.quantity),
            "commission": amount(t.commission),
            "commissionAsset": t.commission_asset,
            "tradeId": t.trade_id,
        }
        for t in trades
    ]
    return order_result(value) | {"fills": fills}


def cancelled(execution: Execution) -> Json:
    """Return DELETE `order`'s answer."""
    value = execution.order
    return order_result(value) | {
        "origClientOrderId": value.client_order_id,
        "clientOrderId": execution.cancel_id,
        "transactTime": value.update_time,
    }


def my_trade(value: AccountTrade) -> Json:
    """Return one entry of REST `myTrades`."""
    return {
        "symbol": value.symbol,
        "id": value.trade_id,
        "orderId": value.order_id,
        "orderListId": -1,
        "price": amount(value.price),
        "qty": amount(value.quantity),
        "quoteQty": amount(value.quote_quantity),
        "commission": amount(value.commission),
        "commissionAsset": value.commission_asset,
        "time": value.time,
        "isBuyer": value.side is Side.BUY,
        "isMaker": value.is_maker,
        "isBestMatch": True,
    }


def execution_report(execution: Execution) -> Json:
    """Return the user stream's `executionReport`."""
    value, fill = execution.order, execution.trade
    is_cancel = execution.type is ExecutionType.CANCELED
    return {
        "e": "executionReport",
        "E": execution.time,
        "s": value.symbol,
        "c": execution.cancel_id if is_cancel and execution.cancel_id else value.client_order_id,
        "S": value.side.value,
        "o": value.type.value,
        "f": value.time_in_force.value,
        "q": amount(value.quantity),
        "p": amount(value.price),
        "P": "0.00000000",
        "F": "0.00000000",
        "g": -1,
        "C": value.client_order_id if is_cancel else "",
        "x": execution.type.value,
        "X": value.status.value,
        "r": "NONE",
        "i": value.order_id,
        "l": amount(fill.quantity if fill else ZERO),
        "z": amount(value.executed),
        "L": amount(fill.price if fill else ZERO),
        "n": amount(fill.commission) if fill else "0",
        "N": fill.commission_asset if fill else None,
        "T": execution.time,
        "t": fill.trade_id if fill else -1,
        "v": 0,
        "I": execution.sequence,
        "w": value.is_open,
        "m": fill.is_maker if fill else False,
        "M": fill is not None,
        "O": value.time,
        "Z": amount(value.cost),
        "Y": amount(fill.quote_quantity if fill else ZERO),
        "Q": amount(value.quote_quantity),
        "W": value.time,
        "V": NO_PREVENTION,
    }


def account_position(balances: dict[str, Balance], assets: list[str], time_ms: int) -> Json:
    """Return the user stream's `outboundAccountPosition` for the assets that changed."""
    return {
        "e": "outboundAccountPosition",
        "E": time_ms,
        "u": time_ms,
        "B": [{"a": a, "f": amount(balances[a].free), "l": amount(balances[a].locked)} for a in assets],
    }
