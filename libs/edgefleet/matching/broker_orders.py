"""A stock broker's orders as values, and what it refuses at the door, in Alpaca's codes and words. Knows no market.

A refusal that Alpaca documents or is known to give carries its code and text; where none is known the text is ours, on
the code of its kind (422 and 42210000, a request that cannot be carried out).
"""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid5

import msgspec

from edgefleet.errors import FleetError
from edgefleet.units import ZERO, decimal_text

from .engine import Side
from .stocks import CENT, LARGEST, SHARE_STEP, SUB_PENNY

MIN_NOTIONAL = Decimal(1)  # USD
LONGEST_CLIENT_ID = 128
# Ids are UUIDs on the wire and the same in every run of the same requests.
_SPACE = UUID("5d2a1f0e-6f2c-5a54-9d5b-2b0a8c1f7e11")


class OrderKind(StrEnum):
    """The order types that are executed here."""

    MARKET = "market"
    LIMIT = "limit"


class Tif(StrEnum):
    """How long an order stands."""

    DAY = "day"
    GTC = "gtc"
    IOC = "ioc"
    FOK = "fok"


class BrokerStatus(StrEnum):
    """Where an order stands, in Alpaca's words."""

    PENDING_NEW = "pending_new"  # in an answer alone: it is on its way to the market
    ACCEPTED = "accepted"  # waits here until it may trade
    NEW = "new"
    PARTIALLY_FILLED = "partially_filled"
    FILLED = "filled"
    CANCELED = "canceled"
    EXPIRED = "expired"
    REPLACED = "replaced"
    REJECTED = "rejected"


OPEN = frozenset({BrokerStatus.ACCEPTED, BrokerStatus.NEW, BrokerStatus.PARTIALLY_FILLED})


class BrokerReject(FleetError):
    """The broker refused a request with one of Alpaca's codes. Nothing changed. `details` stand beside the message."""

    def __init__(self, code: int, message: str, http_status: int, **details: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.http_status = http_status
        self.details = details


def bad_request(message: str) -> BrokerReject:
    """Return the refusal of a request whose words are missing, contradictory or not unique."""
    return BrokerReject(40010001, message, 422)


def unprocessable(message: str) -> BrokerReject:
    """Return the refusal of a request that can be read and cannot be carried out."""
    return BrokerReject(42210000, message, 422)


def not_found(message: str) -> BrokerReject:
    """Return the answer where there is no such thing."""
    return BrokerReject(40410000, message, 404)


def forbidden(message: str, **details: str) -> BrokerReject:
    """Return the refusal of what this account may not do now."""
    return BrokerReject(40310000, message, 403, **details)


class BrokerRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a client asks for: `quantity` in shares or `notional` in USD."""

    symbol: str
    side: Side
    kind: OrderKind
    tif: Tif
    quantity: Decimal | None = None
    notional: Decimal | None = None
    limit_price: Decimal | None = None
    extended_hours: bool = False
    client_order_id: str | None = None


class BrokerOrder(msgspec.Struct, frozen=True, kw_only=True):
    """An order as it stood at `updated_ns`. Stamps are ns of market time, None where it has not happened."""

    number: int
    client_order_id: str
    symbol: str
    side: Side
    kind: OrderKind
    tif: Tif
    quantity: Decimal | None
    notional: Decimal | None
    limit_price: Decimal | None
    extended_hours: bool
    status: BrokerStatus
    filled: Decimal = ZERO
    cost: Decimal = ZERO  # USD paid or received for `filled`
    created_ns: int
    updated_ns: int
    expires_ns: int | None  # None: stands until it is cancelled
    filled_ns: int | None = None
    canceled_ns: int | None = None
    expired_ns: int | None = None
    failed_ns: int | None = None
    replaced_ns: int | None = None
    replaced_by: int | None = None
    replaces: int | None = None

    @property
    def is_open(self) -> bool:
        """Return whether it may still trade."""
        return self.status in OPEN

    @property
    def id(self) -> str:
        """Return its id on the wire."""
        return order_uuid(self.number)

    @property
    def left(self) -> Decimal | None:
        """Return the shares still to be traded, None for a notional order, which does not name them."""
        return None if self.quantity is None else self.quantity - self.filled

    @property
    def average_price(self) -> Decimal | None:
        """Return what was paid or received a share, None before the first fill."""
        return self.cost / self.filled if self.filled else None


class TradeUpdate(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happened to one order; the fields of an execution are None where it was none."""

    event: str
    order: BrokerOrder
    ts_ns: int
    price: Decimal | None = None
    quantity: Decimal | None = None
    position: Decimal | None = None  # shares held after it
    trade_id: int | None = None


def order_uuid(number: int) -> str:
    """Return the wire's name of the broker's order `number`."""
    return str(uuid5(_SPACE, f"order {number}"))


def execution_uuid(trade_id: int) -> str:
    """Return the wire's name of the account's trade `trade_id`."""
    return str(uuid5(_SPACE, f"execution {trade_id}"))


def asset_uuid(symbol: str) -> str:
    """Return the wire's name of a stock."""
    return str(uuid5(_SPACE, f"asset {symbol}"))


def account_uuid() -> str:
    """Return the wire's name of the account."""
    return str(uuid5(_SPACE, "account"))


def check_request(request: BrokerRequest) -> None:
    """Raise `BrokerReject` where what is asked does not fit together, whatever the market and the account are."""
    if request.quantity is None and request.notional is None:
        raise bad_request("qty or notional is required")
    if request.quantity is not None and request.notional is not None:
        raise bad_request("only one of qty or notional is accepted")
    if len(request.client_order_id or "") > LONGEST_CLIENT_ID:
        raise bad_request(f"client_order_id must be no more than {LONGEST_CLIENT_ID} characters")
    check_amount("qty", request.quantity, SHARE_STEP)
    check_amount("notional", request.notional, CENT)
    if request.kind is OrderKind.LIMIT:
        if request.limit_price is None:
            raise bad_request("limit orders require a limit price")
        check_limit_price(request.limit_price)
    elif request.limit_price is not None:
        raise bad_request("market orders require no stop or limit price")
    if request.notional is not None and request.kind is not OrderKind.MARKET:
        raise unprocessable("notional orders must be market orders")
    if (request.notional is not None or _is_fractional(request.quantity)) and request.tif is not Tif.DAY:
        raise unprocessable("fractional orders must be DAY orders")
    if request.extended_hours and (request.kind is not OrderKind.LIMIT or request.tif is not Tif.DAY):
        raise unprocessable("extended hours order must be DAY limit orders")


def check_limit_price(price: Decimal) -> None:
    """Raise `BrokerReject` unless `price` is positive and in whole cents (below one dollar: hundredths of a cent)."""
    if not (price.is_finite() and price > 0):
        raise bad_request("limit price must be > 0")
    if not price <= LARGEST:
        raise unprocessable(f"limit price must be <= {decimal_text(LARGEST)}")
    if price % (CENT if price >= 1 else SUB_PENNY):
        text = decimal_text(price)
        raise unprocessable(
            f"invalid limit_price {text}. sub-penny increment does not fulfill minimum pricing criteria"
        )


def check_cost(cost: Decimal, request: BrokerRequest) -> None:
    """Raise `BrokerReject` where a fractional or notional order is worth less than a dollar."""
    if (request.notional is not None or _is_fractional(request.quantity)) and not cost >= MIN_NOTIONAL:
        raise forbidden(f"cost basis must be >= minimal amount of order {decimal_text(MIN_NOTIONAL)}")


def check_amount(name: str, value: Decimal | None, step: Decimal) -> None:
    """Raise `BrokerReject` unless `value`, where there is one, is positive, not too large and a multiple of `step`."""
    if value is None:
        return
    if not (value.is_finite() and value > 0):
        raise unprocessable(f"{name} must be > 0")
    if not value <= LARGEST:
        raise unprocessable(f"{name} must be <= {decimal_text(LARGEST)}")
    if value % step:
        raise unprocessable(f"{name} must be a multiple of {format(step, 'f')}, was {decimal_text(value)}")


def _is_fractional(quantity: Decimal | None) -> bool:
    return quantity is not None and bool(quantity % 1)


def changed(order: BrokerOrder, **fields: Any) -> BrokerOrder:
    """Return `order` with `fields` replaced."""
    return msgspec.structs.replace(order, **fields)
