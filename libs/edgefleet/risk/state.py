"""What risk remembers, as plain values that survive msgpack, and what follows from it: equity, exposure, variance.

Decides nothing. One account per venue; what it holds of a base asset is its position in that asset's instruments.
"""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Literal

import msgspec

from edgefleet.errors import Broken
from edgefleet.messages import Account, Fill, OrderEvent, OrderState, Refusal, WeightedEdge
from edgefleet.stats.returns import ReturnVariance
from edgefleet.units import ZERO

SETTLED = frozenset(
    {OrderState.FILLED, OrderState.CANCELLED, OrderState.EXPIRED, OrderState.REJECTED, OrderState.DENIED}
)


class OpenOrder(msgspec.Struct, kw_only=True):
    """An order that may still change the position."""

    instrument: str
    sign: int  # 1 buys, -1 sells
    quantity: Decimal  # base units, positive
    said: Decimal = ZERO  # base units filled, as `orders` said
    seen: Decimal = ZERO  # base units filled, as `fills` came; either stream may be ahead
    unknown: bool = False

    @property
    def remaining(self) -> float:
        """Return the signed base units that it may still bring."""
        rest = float(self.quantity - max(self.said, self.seen))
        return self.sign * rest if rest > 0 else 0.0


class Opinion(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What the models expect of an instrument, or why they expect nothing."""

    edge_bps: float = 0.0  # over the horizon; 0 where there is no opinion
    confidence: float = 0.0
    horizon_ms: float = 0.0
    reason: Refusal | None = None  # why there is none: NO_MODELS, LOW_CONFIDENCE or NOT_FINITE
    limit: float | None = None
    observed: float | None = None
    input: str | None = None
    detail: str = ""


class Heard(msgspec.Struct, frozen=True, gc=False):
    """The models that a routing rule last listened to."""

    ts: int  # ns, stamp of the ensemble
    edges: tuple[WeightedEdge, ...]


class Standing(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The last approved target of an instrument."""

    quantity: Decimal  # base units, signed
    expires_at: int  # ns, stage time


class Desk(msgspec.Struct, kw_only=True):
    """One instrument."""

    instrument: str
    base: str
    quote: str
    venue: str
    bid: float | None = None
    ask: float | None = None
    age_ms: int | None = None  # of the feed, as the last beat states it
    quarantined: bool = False  # its data is not believed, as the last beat states it
    returns: ReturnVariance = msgspec.field(default_factory=ReturnVariance)
    heard: dict[str, Heard] = {}  # by routing rule
    opinion: Opinion | None = None
    opinion_cause: str = ""  # the newest ensemble, as "stream/id"
    standing: Standing | None = None
    changed_at: int | None = None  # ns, stage time of the last change of the target's quantity
    told: str = ""  # what the last verdict said: told again only when it changes


class RiskState(msgspec.Struct, kw_only=True):
    """Everything risk knows. It starts shut: HALTED until the latch is read."""

    time: int = 0  # ns: the largest stamp seen
    beat: dict[str, int] = {}  # venue -> ns, newest beat on `beats`
    watermark: dict[str, int] = {}  # venue -> ns, newest beat that passed alpha and router
    trading: Literal["ACTIVE", "REDUCING", "HALTED"] = "HALTED"
    trading_reason: str = "no trading state was read yet"
    holdings: dict[
        str, dict[str, Decimal]
    ] = {}  # venue -> asset -> units, free and locked; a venue only once it was told
    peaks: dict[str, float] = {}  # venue|quote -> highest equity
    desks: dict[str, Desk] = {}
    orders: dict[str, OpenOrder] = {}  # by client order id


def desk_of(state: RiskState, instrument: str) -> Desk:
    """Return the instrument's desk, made where there is none."""
    found = state.desks.get(instrument)
    if found is None:
        symbol, _, venue = instrument.rpartition("@")
        base, _, rest = symbol.partition("/")
        found = Desk(instrument=instrument, base=base, quote=rest.partition(":")[0], venue=venue)
        state.desks[instrument] = found
    return found


def take_account(state: RiskState, account: Account) -> None:
    """Take the venue's balances over. They follow exactly the trades they include, so what differs came from outside.

    Money that came or went is no gain or loss: the peaks move with it.
    """
    for asset, balance in account.balances.items():
        _must_be_finite(f"balance of {asset}", balance.free, balance.locked)
    before = {key: equity(state, *key.split("|")) for key in state.peaks}
    state.holdings[account.venue] = {
        asset: held.free + held.locked for asset, held in account.balances.items() if held.free + held.locked != ZERO
    }
    for key, was in before.items():
        now = equity(state, *key.split("|"))
        if was is not None and now is not None and math.isfinite(now - was):
            state.peaks[key] += now - was


def take_fill(state: RiskState, fill: Fill) -> None:
    """Move base, quote and fee; before the first `Account` there is nothing to move, for it will include the fill."""
    _must_be_finite(f"fill {fill.trade_id}", fill.quantity, fill.price, fill.fee)
    order = state.orders.get(fill.order_id)
    if order is not None:
        order.seen += fill.quantity
    desk = desk_of(state, fill.instrument)
    held = state.holdings.get(desk.venue)
    if held is None:
        return
    sign = 1 if fill.side == "buy" else -1
    held[desk.base] = held.get(desk.base, ZERO) + sign * fill.quantity
    held[desk.quote] = held.get(desk.quote, ZERO) - sign * fill.quantity * fill.price
    held[fill.fee_asset] = held.get(fill.fee_asset, ZERO) - fill.fee


def take_order(state: RiskState, event: OrderEvent) -> None:
    """Keep an order while it may still change the position."""
    _must_be_finite(f"order {event.order_id}", event.quantity, event.filled)
    if event.state in SETTLED:
        state.orders.pop(event.order_id, None)
        return
    known = state.orders.get(event.order_id)
    state.orders[event.order_id] = OpenOrder(
        instrument=event.instrument,
        sign=1 if event.side == "buy" else -1,
        quantity=event.quantity,
        said=event.filled,
        seen=ZERO if known is None else known.seen,
        unknown=event.state is OrderState.UNKNOWN,
    )


def _must_be_finite(what: str, *numbers: Decimal) -> None:
    """A fact of the order path that is no number is an invariant of ours broken, never something to trade around."""
    for number in numbers:
        if not number.is_finite():
            raise Broken(f"{what} is not finite: {number}")


def position(state: RiskState, desk: Desk) -> Decimal:
    """Return the base units held, signed."""
    held = state.holdings.get(desk.venue)
    return ZERO if held is None else held.get(desk.base, ZERO)


def worst_quantity(state: RiskState, desk: Desk) -> float:
    """Return the largest size (base units) that the position can have come to by what is already decided.

    The worst of the position, the position with all open and UNKNOWN buys, with all such sells, and the last approved
    target while it has not expired.
    """
    held = float(position(state, desk))
    highest = lowest = held
    for order in state.orders.values():
        if order.instrument == desk.instrument:
            rest = order.remaining
            if rest > 0:
                highest += rest
            else:
                lowest += rest
    target = standing_quantity(state, desk)
    return max(abs(held), abs(highest), abs(lowest), 0.0 if target is None else abs(float(target)))


def standing_quantity(state: RiskState, desk: Desk) -> Decimal | None:
    """Return the last approved target, None where there is none or it has expired."""
    standing = desk.standing
    return standing.quantity if standing is not None and standing.expires_at > state.time else None


def unknown_quantity(state: RiskState, instrument: str) -> float:
    """Return the base units of orders of the instrument that may or may not exist."""
    return math.fsum(
        abs(order.remaining) for order in state.orders.values() if order.unknown and order.instrument == instrument
    )


def rate(state: RiskState, venue: str, asset: str, quote: str, *, high: bool) -> float | None:
    """Return what a unit of `asset` is worth in `quote` at the touch: at the ask if `high`, None where nothing says."""
    if asset == quote:
        return 1.0
    desk = state.desks.get(f"{asset}/{quote}@{venue}")
    if desk is None:
        return None
    return desk.ask if high else desk.bid


def equity(state: RiskState, venue: str, quote: str) -> float | None:
    """Return what the venue's account is worth in `quote`, marked to the touch: longs at the bid, shorts at the ask.

    An asset without an instrument in the session counts nothing. None where the account or a touch is not known.
    """
    held = state.holdings.get(venue)
    if held is None:
        return None
    total = 0.0
    for asset, units in held.items():
        if asset == quote:
            total += float(units)
            continue
        desk = state.desks.get(f"{asset}/{quote}@{venue}")
        if desk is None:
            continue
        amount = float(units)
        price = desk.bid if amount >= 0 else desk.ask
        if amount != 0:
            if price is None:
                return None
            total += amount * price
    return total


def mark_peaks(state: RiskState) -> None:
    """Raise the highest equity seen, per account and quote asset, to what it is now."""
    for venue, quote in {(desk.venue, desk.quote): None for desk in state.desks.values()}:
        now = equity(state, venue, quote)
        if now is not None and now > state.peaks.get(f"{venue}|{quote}", 0.0) and now < math.inf:
            state.peaks[f"{venue}|{quote}"] = now


def drawdown(state: RiskState, venue: str, quote: str, now: float) -> float:
    """Return the fall of equity from its peak as a fraction of the peak, 0 above it."""
    peak = state.peaks.get(f"{venue}|{quote}")
    return 0.0 if peak is None or now >= peak else 1 - now / peak
