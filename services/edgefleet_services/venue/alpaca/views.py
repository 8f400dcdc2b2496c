"""The broker's values as Alpaca writes them. Knows field names, nothing of how the values came about.

Money and quantities of the account are text, exact; prices and sizes of market data are numbers, as Alpaca has them.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from edgefleet.matching.broker_account import CASH
from edgefleet.matching.broker_orders import (
    BrokerOrder,
    TradeUpdate,
    account_uuid,
    asset_uuid,
    execution_uuid,
    order_uuid,
)
from edgefleet.matching.brokerage import Brokerage
from edgefleet.matching.hours import POST_NS, PRE_NS, Hours, Phase, Session, eastern
from edgefleet.matching.stock_history import Bar
from edgefleet.matching.stocks import StockQuote, StockTrade
from edgefleet.units import decimal_text

from .codec import rfc3339, rfc3339_eastern

Json = dict[str, Any]
Stamp = Callable[[int], Any]

ACCOUNT_NUMBER = "EDGEFLEET1"
EQUITY = "us_equity"
SHARES_SINCE_NS = 1_762_146_000_000_000_000  # midnight in New York before November 3, 2025
ROUND_LOT = 100
NO_EXCHANGE = ""  # where a stock is listed is not told to a simulated venue; Alpaca has the empty name as well


def text(value: Decimal | None) -> str | None:
    """Return an amount as text, None where there is none."""
    return None if value is None else decimal_text(value)


def number(value: Decimal | None) -> int | float | None:
    """Return a market-data figure: an integer where it is whole."""
    if value is None:
        return None
    return int(value) if value == value.to_integral_value() else float(value)


def price(value: Decimal | None) -> float | None:
    """Return a market-data price."""
    return None if value is None else float(value)


def _when(ts_ns: int | None) -> str | None:
    return None if ts_ns is None else rfc3339(ts_ns)


# --- trading


def order(value: BrokerOrder) -> Json:
    """Return an order."""
    average = value.average_price
    return {
        "id": value.id,
        "client_order_id": value.client_order_id,
        "created_at": rfc3339(value.created_ns),
        "updated_at": rfc3339(value.updated_ns),
        "submitted_at": rfc3339(value.created_ns),
        "filled_at": _when(value.filled_ns),
        "expired_at": _when(value.expired_ns),
        "expires_at": _when(value.expires_ns),
        "canceled_at": _when(value.canceled_ns),
        "failed_at": _when(value.failed_ns),
        "replaced_at": _when(value.replaced_ns),
        "replaced_by": None if value.replaced_by is None else order_uuid(value.replaced_by),
        "replaces": None if value.replaces is None else order_uuid(value.replaces),
        "asset_id": asset_uuid(value.symbol),
        "symbol": value.symbol,
        "asset_class": EQUITY,
        "notional": text(value.notional),
        "qty": text(value.quantity),
        "filled_qty": decimal_text(value.filled),
        "filled_avg_price": text(average),
        "order_class": "",
        "order_type": value.kind.value,
        "type": value.kind.value,
        "side": value.side.value.lower(),
        "position_intent": "buy_to_open" if value.side.value == "BUY" else "sell_to_close",
        "time_in_force": value.tif.value,
        "limit_price": text(value.limit_price),
        "stop_price": None,
        "status": value.status.value,
        "extended_hours": value.extended_hours,
        "legs": None,
        "trail_percent": None,
        "trail_price": None,
        "hwm": None,
        "subtag": None,
        "source": None,
    }


def trade_update(update: TradeUpdate) -> Json:
    """Return the `data` of one `trade_updates` message."""
    shown: Json = {"event": update.event, "timestamp": rfc3339(update.ts_ns), "order": order(update.order)}
    if update.trade_id is not None:
        shown |= {
            "execution_id": execution_uuid(update.trade_id),
            "price": text(update.price),
            "qty": text(update.quantity),
            "position_qty": text(update.position),
        }
    return shown


def activity(fill: TradeUpdate) -> Json:
    """Return a fill as an account activity. Its id begins with the Eastern time, so that ids sort as they happened."""
    value = fill.order
    return {
        "id": activity_id(fill),
        "account_id": account_uuid(),
        "activity_type": "FILL",
        "transaction_time": rfc3339(fill.ts_ns),
        "type": fill.event,
        "price": text(fill.price),
        "qty": text(fill.quantity),
        "side": value.side.value.lower(),
        "symbol": value.symbol,
        "leaves_qty": text(value.left) or "0",
        "order_id": value.id,
        "cum_qty": decimal_text(value.filled),
        "order_status": value.status.value,
    }


def activity_id(fill: TradeUpdate) -> str:
    """Return the id of a fill among the activities."""
    local = eastern(fill.ts_ns)
    return f"{local:%Y%m%d%H%M%S}{local.microsecond // 1_000:03d}::{execution_uuid(fill.trade_id or 0)}"


def account(broker: Brokerage, created_ns: int) -> Json:
    """Return the account: cash alone buys, so every buying power is the same."""
    equity, power = broker.account.equity(), broker.account.buying_power()
    shown = decimal_text(power)
    value = decimal_text(broker.account.market_value())
    return {
        "id": account_uuid(),
        "account_number": ACCOUNT_NUMBER,
        "status": "ACTIVE",
        "currency": CASH,
        "cash": decimal_text(broker.account.cash()),
        "buying_power": shown,
        "regt_buying_power": shown,
        "non_marginable_buying_power": shown,
        "portfolio_value": decimal_text(equity),
        "equity": decimal_text(equity),
        "last_equity": decimal_text(broker.account.last_equity),
        "long_market_value": value,
        "short_market_value": "0",
        "position_market_value": value,
        "initial_margin": "0",
        "maintenance_margin": "0",
        "last_maintenance_margin": "0",
        "sma": "0",
        "accrued_fees": "0",
        "multiplier": "1",
        "shorting_enabled": False,
        "trading_blocked": False,
        "transfers_blocked": False,
        "account_blocked": False,
        "trade_suspended_by_user": False,
        "created_at": rfc3339(created_ns),
        "balance_asof": f"{eastern(broker.now_ns):%Y-%m-%d}",
    }


CONFIGURATIONS: Json = {
    "fractional_trading": True,
    "max_margin_multiplier": "1",
    "no_shorting": True,
    "suspend_trade": False,
    "trade_confirm_email": "none",
    "ptp_no_exception_entry": False,
}


def position(broker: Brokerage, symbol: str) -> Json:
    """Return the position in `symbol`, which must be held. Figures that need a price nobody printed are null."""
    held, cost, last = broker.account.position(symbol), broker.account.cost(symbol), broker.account.price(symbol)
    value = None if last is None else held * last
    before = broker.account.closes.get(symbol)
    change = None if last is None or before is None else last - before
    return {
        "asset_id": asset_uuid(symbol),
        "symbol": symbol,
        "exchange": NO_EXCHANGE,
        "asset_class": EQUITY,
        "asset_marginable": False,
        "avg_entry_price": decimal_text(cost / held),
        "qty": decimal_text(held),
        "qty_available": decimal_text(broker.account.available(symbol)),
        "side": "long",
        "market_value": text(value),
        "cost_basis": decimal_text(cost),
        "unrealized_pl": None if value is None else decimal_text(value - cost),
        "unrealized_plpc": None if value is None or not cost else decimal_text((value - cost) / cost),
        "unrealized_intraday_pl": None,  # the shares bought today and before are not kept apart
        "unrealized_intraday_plpc": None,
        "current_price": text(last),
        "lastday_price": text(before),
        "change_today": None if change is None or not before else decimal_text(change / before),
    }


def asset(symbol: str) -> Json:
    """Return a stock as an asset."""
    return {
        "id": asset_uuid(symbol),
        "class": EQUITY,
        "exchange": NO_EXCHANGE,
        "symbol": symbol,
        "name": symbol,
        "status": "active",
        "tradable": True,
        "marginable": False,
        "shortable": False,
        "easy_to_borrow": False,
        "fractionable": True,
        "maintenance_margin_requirement": None,
        "attributes": [],
    }


def clock(hours: Hours, now_ns: int) -> Json:
    """Return the market's clock, in New York's time."""
    return {
        "timestamp": rfc3339_eastern(now_ns),
        "is_open": hours.at(now_ns).phase is Phase.REGULAR,
        "next_open": rfc3339_eastern(hours.next_open(now_ns)),
        "next_close": rfc3339_eastern(hours.next_close(now_ns)),
    }


def session(value: Session) -> Json:
    """Return one day of the calendar, in New York's time."""
    opens, closes = eastern(value.open), eastern(value.close)
    return {
        "date": f"{opens:%Y-%m-%d}",
        "open": f"{opens:%H:%M}",
        "close": f"{closes:%H:%M}",
        "session_open": f"{eastern(value.open - PRE_NS):%H%M}",
        "session_close": f"{eastern(value.close + POST_NS):%H%M}",
    }


# --- market data


def trade(value: StockTrade, stamp: Stamp = rfc3339) -> Json:
    """Return a print."""
    return {
        "t": stamp(value.ts_ns),
        "x": value.exchange,
        "p": price(value.price),
        "s": number(value.size),
        "c": value.conditions,
        "i": value.number,
        "z": value.tape,
    }


def quote(value: StockQuote, stamp: Stamp = rfc3339) -> Json:
    """Return a best bid and ask. A side that nobody quotes has price and size 0.

    Sizes are shares, and before November 3, 2025 round lots of a hundred, as Alpaca's are.
    """
    lot = 1 if value.ts_ns >= SHARES_SINCE_NS else ROUND_LOT
    return {
        "t": stamp(value.ts_ns),
        "ax": value.ask_exchange,
        "ap": price(value.ask),
        "as": number(value.ask_size / lot),
        "bx": value.bid_exchange,
        "bp": price(value.bid),
        "bs": number(value.bid_size / lot),
        "c": value.conditions,
        "z": value.tape,
    }


def bar(value: Bar, stamp: Stamp = rfc3339) -> Json:
    """Return a bar that has its prices."""
    vwap = value.vwap
    return {
        "t": stamp(value.start_ns),
        "o": price(value.open),
        "h": price(value.high),
        "l": price(value.low),
        "c": price(value.close),
        "v": number(value.volume),
        "n": value.trades,
        "vw": None if vwap is None else float(round(vwap, 6)),
    }


def streamed(kind: str, symbol: str, shown: Json) -> list[Json]:
    """Return market data as a stream carries it: named by its kind (`t`, `q`, `b`, `d`) and symbol, in an array."""
    return [{"T": kind, "S": symbol} | shown]
