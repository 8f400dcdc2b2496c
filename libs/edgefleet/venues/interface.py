"""What the gateway asks of a venue, and every way it can answer. Knows no wire format and no policy."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from decimal import Decimal
from typing import Literal, Protocol

import msgspec

from edgefleet.messages.orders import Balance, OrderKind, Side

STAMP_REFUSED = "STAMP_REFUSED"  # code of a `Rejected`: the venue's clock finds the request too old, or too new

VenueStatus = Literal["NEW", "PARTIALLY_FILLED", "FILLED", "CANCELED", "REJECTED", "EXPIRED"]


class NewOrder(msgspec.Struct, frozen=True, kw_only=True):
    """An order to be placed, in the fleet's own terms."""

    order_id: str  # client order id
    instrument: str
    side: Side
    kind: OrderKind
    quantity: Decimal
    price: Decimal | None


class OrderReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a venue says one order is now."""

    instrument: str
    order_id: str  # client order id
    venue_order_id: str
    status: VenueStatus
    side: Side
    kind: OrderKind
    quantity: Decimal
    price: Decimal | None
    filled: Decimal
    ts_event: int  # ns, the venue's stamp


class TradeReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a venue says of one execution of the account. `order_id` is empty where the venue names only its own id."""

    instrument: str
    order_id: str
    venue_order_id: str
    trade_id: str
    side: Side
    quantity: Decimal
    price: Decimal
    fee: Decimal
    fee_asset: str
    liquidity: Literal["maker", "taker"]
    ts_event: int


class AccountReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a venue says the account holds."""

    balances: dict[str, Balance]
    ts_event: int


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """The venue took the request and said what the order is now."""

    order: OrderReport
    trades: tuple[TradeReport, ...] = ()


class Rejected(msgspec.Struct, frozen=True, kw_only=True):
    """The venue's own semantics prove that the request changed nothing."""

    code: str
    reason: str


class NotFound(msgspec.Struct, frozen=True, kw_only=True):
    """The venue does not know the order. It may still learn of it."""

    code: str
    reason: str


class NotSent(msgspec.Struct, frozen=True, kw_only=True):
    """No byte of the request left this machine."""

    reason: str


class Unknown(msgspec.Struct, frozen=True, kw_only=True):
    """The request may or may not have been carried out: a timeout, a 5xx, a cut connection."""

    reason: str


class Limited(msgspec.Struct, frozen=True, kw_only=True):
    """The venue refused for load (429, 418) before looking at the request; nothing may be asked for a while."""

    code: str
    reason: str
    retry_after_s: float


PlaceResult = Answered | Rejected | NotSent | Unknown | Limited
CancelResult = Answered | NotFound | Rejected | NotSent | Unknown | Limited
QueryResult = Answered | NotFound | NotSent | Unknown | Limited


class Connected(msgspec.Struct, frozen=True, kw_only=True):
    """The user stream is up, for the first time or again: what happened before is not told by it."""


class Disconnected(msgspec.Struct, frozen=True, kw_only=True):
    """The user stream broke; it is being built up again."""

    reason: str


class OrderUpdate(msgspec.Struct, frozen=True, kw_only=True):
    """An order changed at the venue; `trade` is the execution behind it, where there is one."""

    order: OrderReport
    trade: TradeReport | None
    trade_incomplete: bool = False  # an execution was told without its fee: the trades must be asked for


class AccountUpdate(msgspec.Struct, frozen=True, kw_only=True):
    """Balances changed at the venue: those assets alone that did."""

    balances: dict[str, Balance]
    ts_event: int


UserEvent = Connected | Disconnected | OrderUpdate | AccountUpdate


class Venue(Protocol):
    """An exchange account behind typed outcomes. No method retries an order by itself.

    The reads (`open_orders`, `trades_since`, `account`, `server_time_offset_ns`) raise `Transient` where the venue
    does not answer and `Misuse` where it refuses our keys; `place`, `cancel` and `query` answer with a value always.
    """

    name: str

    async def place(self, order: NewOrder) -> PlaceResult:
        """Send one order, once."""
        ...

    async def cancel(self, instrument: str, order_id: str) -> CancelResult:
        """Ask for the cancel of an order by its client id."""
        ...

    async def query(self, instrument: str, order_id: str) -> QueryResult:
        """Ask what an order is, by its client id."""
        ...

    async def open_orders(self) -> Sequence[OrderReport]:
        """Return every open order of the account, whoever placed it."""
        ...

    async def trades_since(self, instrument: str, trade_id: str | None) -> Sequence[TradeReport]:
        """Return the account's trades with a greater id, oldest first; without an id the most recent ones."""
        ...

    async def account(self) -> AccountReport:
        """Return the account's balances."""
        ...

    async def server_time_offset_ns(self) -> int:
        """Return the venue's API clock minus ours, in nanoseconds, and sign later requests by it."""
        ...

    def user_events(self) -> AsyncIterator[UserEvent]:
        """Yield what happens to the account, for ever; reconnects by itself and says so."""
        ...

    async def close(self) -> None:
        """Let go of every connection."""
        ...
