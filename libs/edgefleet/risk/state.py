"""What risk remembers, as plain values that survive msgpack, and what follows from it: equity, exposure, variance.

Decides nothing. One account per venue; what it holds of a base asset is its position in that asset's instruments.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Collection, Mapping
from decimal import Decimal
from typing import Literal, NamedTuple

import msgspec

from edgefleet.clock import NS_PER_MS, NS_PER_S
from edgefleet.errors import Broken, Poison
from edgefleet.instruments import home_of
from edgefleet.messages import Account, Fill, NightlyVar, OrderEvent, OrderState, Refusal, WeightedEdge
from edgefleet.params.schema.risk import RiskParams
from edgefleet.risk.agreement import Agreement
from edgefleet.risk.var import day_deviation
from edgefleet.risk.watch import Watch
from edgefleet.stats.online_covariance import JointReturns
from edgefleet.stats.returns import ReturnVariance
from edgefleet.units import ZERO

_AS_OLD_MS = 5_000  # touches of several venues say a rate together where none is older than another by more
_LATE_NS = 3 * NS_PER_S  # a venue beats each second
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
    regime: str = ""  # the market's, as the ensemble names it
    effective_models: float = 0.0  # how many independent models the evidence is worth
    posterior_sd_bps: float | None = None  # of `edge_bps`; None where it is not known
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


class Floor(msgspec.Struct, frozen=True, gc=False):
    """What a night said: no day's deviation is taken for less."""

    deviation: float  # of a day's return
    at: int  # ns, the night's begin
    method: str


class Desk(msgspec.Struct, kw_only=True):
    """One instrument."""

    instrument: str
    base: str
    quote: str
    venue: str
    is_rate: bool = False  # it is priced for a rate alone
    is_cash: bool = False  # its base is cash: it is a rate, or what the account counts in
    bid: float | None = None
    ask: float | None = None
    age_ms: int | None = None  # of the feed, as the last beat states it
    quarantined: bool = False  # its data is not believed, as the last beat states it
    returns: ReturnVariance = msgspec.field(default_factory=ReturnVariance)
    usual: ReturnVariance = msgspec.field(default_factory=ReturnVariance)  # the same over a longer past
    floor: Floor | None = None
    reference: float | None = None  # mean mid of the last minutes, what the price collar is measured from
    heard: dict[str, Heard] = {}  # by routing rule
    agreement: Agreement = msgspec.field(default_factory=Agreement)
    opinion: Opinion | None = None
    opinion_cause: str = ""  # the newest ensemble, as "stream/id"
    standing: Standing | None = None
    changed_at: int | None = None  # ns, stage time of the last change of the target's quantity
    told: str = ""  # what the last verdict said: told again only when it changes


class RiskState(msgspec.Struct, kw_only=True):
    """Everything risk knows. It starts shut: HALTED until the latch is read."""

    time: int = 0  # ns: the largest stamp seen
    beat: dict[str, int] = {}  # venue -> ns, newest beat on `beats`
    awake: int = 0  # ns, the first beat after a while in which no venue with an account had beaten
    watermark: dict[str, int] = {}  # venue -> ns, newest beat that passed alpha and router
    trading: Literal["ACTIVE", "REDUCING", "HALTED"] = "HALTED"
    trading_reason: str = "no trading state was read yet"
    holdings: dict[
        str, dict[str, Decimal]
    ] = {}  # venue -> asset -> units, free and locked; a venue only once it was told
    peaks: dict[str, float] = {}  # venue|quote -> highest equity; |quote -> that of all accounts together
    desks: dict[str, Desk] = {}
    orders: dict[str, OpenOrder] = {}  # by client order id
    joint: dict[str, JointReturns] = {}  # venue -> returns of its instruments together
    budgets: dict[str, float] = {}  # instrument -> share of equity that allocation leaves to it
    budgets_at: dict[str, int] = {}  # venue -> ns, when the budgets were last looked at
    enlarged: dict[str, list[int]] = {}  # venue -> ns of the enlarged targets of the last minute
    watch: Watch = msgspec.field(default_factory=Watch)  # the circuit breakers
    fleet_quote: str = ""  # what the equity of all accounts together was measured in last, and
    homes: dict[str, str | None] = {}  # venue -> what its account was valued in
    counted: dict[str, list[str]] = {}  # venue -> assets that counted in that


def count_enlargement(state: RiskState, venue: str) -> None:
    """Remember that a target of the venue's account was enlarged now, and forget what is older than a minute."""
    times = state.enlarged.get(venue, [])
    state.enlarged[venue] = [*times[_older(times, state.time) :], state.time]


def enlarged_lately(state: RiskState, venue: str) -> int:
    """Return how many targets of the venue's account were enlarged in the last minute."""
    times = state.enlarged.get(venue, [])
    return len(times) - _older(times, state.time)


def _older(times: list[int], now: int) -> int:
    """Return how many of the ascending `times` are a minute old or more."""
    return bisect_right(times, now - 60 * NS_PER_S)


def desk_of(state: RiskState, instrument: str) -> Desk:
    """Return the instrument's desk, made where there is none."""
    found = state.desks.get(instrument)
    if found is None:
        symbol, _, venue = instrument.rpartition("@")
        base, _, rest = symbol.partition("/")
        found = Desk(instrument=instrument, base=base, quote=rest.partition(":")[0], venue=venue)
        state.desks[instrument] = found
    return found


def edges_of(desk: Desk) -> tuple[WeightedEdge, ...]:
    """Return what all rules listen to of the instrument, as last heard."""
    return tuple(edge for heard in desk.heard.values() for edge in heard.edges)


def take_account(state: RiskState, account: Account) -> None:
    """Take the venue's balances over. They follow exactly the trades they include, so what differs came from outside.

    Money that came or went is no gain or loss: peaks move in proportion, so that a drawdown stays what it was.
    """
    for asset, balance in account.balances.items():
        _must_be_finite(f"balance of {asset}", balance.free, balance.locked)
    before = {key: _worth(state, key) for key in state.peaks}
    state.holdings[account.venue] = {
        asset: held.free + held.locked for asset, held in account.balances.items() if held.free + held.locked != ZERO
    }
    for key, was in before.items():
        now = _worth(state, key)
        if was is not None and now is not None and 0 < was < math.inf and 0 < now < math.inf:
            state.peaks[key] *= now / was
            state.watch.rescale(key, now / was)


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
    """Return the base units held, signed; of what the account counts in, none: that is cash."""
    held = state.holdings.get(desk.venue)
    return ZERO if held is None or desk.is_cash else held.get(desk.base, ZERO)


def note_beat(state: RiskState, venue: str, ts: int) -> None:
    """Take a venue's beat. Where none of the fleet's venues had beaten for a while, all begin anew with it."""
    if venue in state.holdings:
        newest = max((at for one, at in state.beat.items() if one in state.holdings), default=0)
        if ts - newest > _LATE_NS:
            state.awake = ts
    state.beat[venue] = max(state.beat.get(venue, 0), ts)


def silent_venues(state: RiskState) -> dict[str, int]:
    """Return the venues with an account that do not beat while another does, and for how long, in ns.

    A venue that is only followed may be at another time and says nothing of them; nor does the time in which none beat.
    """
    beats = {venue: max(at, state.awake) for venue, at in state.beat.items() if venue in state.holdings}
    newest = max(beats.values(), default=0)
    return {venue: newest - at for venue, at in beats.items() if newest - at > _LATE_NS}


def note_cash(state: RiskState, quote: str, is_rate: Callable[[str], bool]) -> None:
    """Note of each instrument whether its base is cash and no position: it is a rate, or what its account counts in.

    An account counts in `quote` where it trades in that, else in its first. `is_rate` says of an instrument whether it
    is priced for a rate alone.
    """
    for desk in state.desks.values():
        desk.is_rate = is_rate(desk.instrument)
    homes = {venue: home_quote(state, venue, quote) for venue in {desk.venue for desk in state.desks.values()}}
    for desk in state.desks.values():
        desk.is_cash = desk.is_rate or desk.base == homes[desk.venue]


class Range(NamedTuple):
    """Where a position may come to by what is already decided, in base units; `low <= high`."""

    low: float
    high: float
    wanted: float  # the last approved target, else the position
    worst: float  # size of the larger end


NOWHERE = Range(0.0, 0.0, 0.0, 0.0)


def range_of(state: RiskState, desk: Desk) -> Range:
    """Return where the position may come to: with all open and UNKNOWN buys or sells, or at the last approved target.

    The target counts until it expires.
    """
    held = float(position(state, desk))
    highest = lowest = wanted = held
    for order in state.orders.values():
        if order.instrument == desk.instrument:
            rest = order.remaining
            if rest > 0:
                highest += rest
            else:
                lowest += rest
    target = standing_quantity(state, desk)
    if target is not None:
        wanted = float(target)
    low, high = min(lowest, wanted), max(highest, wanted)
    return Range(low, high, wanted, max(-low, high)) if low != 0 or high != 0 else NOWHERE


def standing_quantity(state: RiskState, desk: Desk) -> Decimal | None:
    """Return the last approved target, None where there is none or it has expired."""
    standing = desk.standing
    return standing.quantity if standing is not None and standing.expires_at > state.time else None


def unknown_quantity(state: RiskState, instrument: str) -> float:
    """Return the base units of orders of the instrument that may or may not exist."""
    return math.fsum(
        abs(order.remaining) for order in state.orders.values() if order.unknown and order.instrument == instrument
    )


class Leg(NamedTuple):
    """An instrument on the way from one asset to another."""

    desk: Desk
    turned: bool  # from its quote asset to its base

    def price(self, *, high: bool) -> float | None:
        """Return what a unit is worth at the touch: at what is paid for it if `high`, else at what is got."""
        touch = self.desk.ask if high is not self.turned else self.desk.bid
        if touch is None or not self.turned:
            return touch
        return 1 / touch if touch > 0 else None


def way_of(state: RiskState, venue: str, asset: str, quote: str) -> tuple[Leg, ...] | None:
    """Return the instruments that lead from an asset to another at a venue: none where it is the same.

    It is the instrument of both, either way round, else one of `asset` and then that of what it is quoted in. None: no
    way leads there.
    """
    if asset == quote:
        return ()
    found = _leg(state, venue, asset, quote)
    if found is not None:
        return (found,)
    for desk in state.desks.values():
        if desk.base == asset and desk.venue == venue:
            onward = _leg(state, venue, desk.quote, quote)
            if onward is not None:
                return Leg(desk, turned=False), onward
    return None


def _leg(state: RiskState, venue: str, asset: str, quote: str) -> Leg | None:
    straight = state.desks.get(f"{asset}/{quote}@{venue}")
    if straight is not None:
        return Leg(straight, turned=False)
    turned = state.desks.get(f"{quote}/{asset}@{venue}")
    return None if turned is None else Leg(turned, turned=True)


def rate(state: RiskState, venue: str, asset: str, quote: str, *, high: bool) -> float | None:
    """Return what a unit of `asset` is worth in `quote`: at what is paid for it if `high`, None where nothing says."""
    way = way_of(state, venue, asset, quote)
    return None if way is None else _along(way, high=high)


def _along(way: tuple[Leg, ...], *, high: bool) -> float | None:
    found = 1.0
    for leg in way:
        price = leg.price(high=high)
        if price is None:
            return None
        found *= price
    return found


def value_of(state: RiskState, venue: str, asset: str, quote: str) -> float | None:
    """Return what the account's units of `asset` are worth in `quote`: longs at the bid, shorts at the ask.

    An asset that no instrument of the session leads from to `quote` counts nothing. None where a touch is not known.
    """
    amount = float(state.holdings[venue][asset])
    if asset == quote or amount == 0:
        return amount
    straight = state.desks.get(f"{asset}/{quote}@{venue}")
    if straight is not None:  # nearly always, and asked with each touch
        price = straight.bid if amount >= 0 else straight.ask
    else:
        way = way_of(state, venue, asset, quote)
        if way is None:
            return 0.0
        price = _along(way, high=amount < 0)
    return None if price is None else amount * price


def equity(state: RiskState, venue: str, quote: str, among: Collection[str] | None = None) -> float | None:
    """Return what the venue's account is worth in `quote`, None where the account or a touch is not known.

    With `among`, of these assets alone.
    """
    held = state.holdings.get(venue)
    if held is None:
        return None
    values = []
    for asset in held:
        if among is not None and asset not in among:
            continue
        value = value_of(state, venue, asset, quote)
        if value is None:
            return None
        values.append(value)
    return sum(values, 0.0)  # in this order, as `Exposures` does


def leave_other_venues(state: RiskState, venues: Collection[str]) -> None:
    """Let go of accounts that a session at `venues` does not have: nobody tells of them any more.

    Else what was once held on paper would be valued beside the account that trades, for ever and at old prices.
    """
    others = [other for other in state.holdings if other not in venues]
    if not others:
        return
    for other in others:
        del state.holdings[other]
    # What all accounts were worth together was worth with those that are gone: it goes as well.
    for key in [key for key in state.peaks if key.partition("|")[0] not in venues]:
        del state.peaks[key]
    for key in [key for key in state.watch.days if key.partition("|")[0] not in venues]:
        del state.watch.days[key]


def is_fleet(state: RiskState) -> bool:
    """Return whether more than one account is known, so that they are one portfolio as well."""
    return len(state.holdings) > 1


def home_quote(state: RiskState, venue: str, quote: str) -> str | None:
    """Return what a venue's account is valued in: `quote` where it trades in that, else its first; None: in nothing."""
    desks = [desk for desk in state.desks.values() if desk.venue == venue]
    return home_of({desk.quote for desk in desks if not desk.is_rate}, quote)


def home_quotes(state: RiskState, quote: str) -> dict[str, str | None]:
    """Return, by venue, what each account is valued in."""
    return {venue: home_quote(state, venue, quote) for venue in state.holdings}


class Rate(NamedTuple):
    """What a unit of an asset is worth in another."""

    least: float
    most: float
    age_ms: int  # of the youngest touch that says it


def rates(state: RiskState, asset: str, quote: str) -> Rate | None:
    """Return the least and the most that a unit of `asset` is worth in `quote` at the touch of any venue.

    None where no venue says; a touch that is crossed, not positive or not believed says nothing, nor does one that is
    older than another by more than `_AS_OLD_MS`.
    """
    if asset == quote:
        return Rate(1.0, 1.0, 0)
    found: list[Rate] = []
    for venue in state.beat:
        straight, turned = (state.desks.get(f"{one}@{venue}") for one in (f"{asset}/{quote}", f"{quote}/{asset}"))
        if straight is not None and straight.bid is not None and straight.ask is not None and _is_sound(straight):
            found.append(Rate(straight.bid, straight.ask, age_ms(state, straight)))
        if turned is not None and turned.bid is not None and turned.ask is not None and _is_sound(turned):
            found.append(Rate(1 / turned.ask, 1 / turned.bid, age_ms(state, turned)))
    if not found:
        return None
    youngest = min(one.age_ms for one in found)
    fresh = [one for one in found if one.age_ms <= youngest + _AS_OLD_MS]
    return Rate(min(one.least for one in fresh), max(one.most for one in fresh), youngest)


def age_ms(state: RiskState, desk: Desk) -> int:
    """Return how old an instrument's touch is: its age at the venue's last beat, and the time to the last of any.

    Between two beats nothing grows old, so what was worked out after one is so until the next.
    """
    beat = state.beat.get(desk.venue)
    return max(desk.age_ms or 0, 0) + (0 if beat is None else (max(state.beat.values()) - beat) // NS_PER_MS)


def _is_sound(desk: Desk) -> bool:
    return (
        desk.bid is not None and desk.ask is not None and 0 < desk.bid <= desk.ask < math.inf and not desk.quarantined
    )


def fleet_equity(state: RiskState, quote: str) -> float | None:
    """Return what all accounts are worth in `quote`, each at the worse rate; None where one cannot be valued."""
    return _fleet_equity(state, quote, home_quotes(state, quote))


def _fleet_equity(
    state: RiskState, quote: str, homes: Mapping[str, str | None], among: Mapping[str, Collection[str]] | None = None
) -> float | None:
    values = []
    for venue, home in homes.items():
        assets = None if among is None else among.get(venue)
        worth = None if home is None else equity(state, venue, home, assets)
        span = None if home is None else rates(state, home, quote)
        if worth is None or span is None:
            return None
        values.append(worth_in(worth, span))
    return math.fsum(values)


def worth_in(worth: float, span: Rate) -> float:
    """Return a worth in another asset, at the worse of both rates."""
    return worth * (span.least if worth >= 0 else span.most)


def _worth(state: RiskState, key: str) -> float | None:
    """Return the equity that the peak of `key` is of."""
    venue, quote = key.split("|")
    return equity(state, venue, quote) if venue else fleet_equity(state, quote)


def mark_fleet_peak(state: RiskState, quote: str) -> None:
    """Raise the highest equity of all accounts together to what it is now; one alone has its own peak."""
    if not is_fleet(state):
        return
    homes = home_quotes(state, quote)
    now = _fleet_equity(state, quote, homes)
    if now is None:
        return
    if 0 < now < math.inf:
        _rebase(state, quote, now, homes)
    if state.peaks.get(f"|{quote}", 0.0) < now < math.inf:
        state.peaks[f"|{quote}"] = now


def _rebase(state: RiskState, quote: str, now: float, homes: dict[str, str | None]) -> None:
    """Let no loss be made or forgotten by what the fleet, or one of its accounts, is valued in.

    An account's home may change with its instruments, and what it holds beside that counts nothing; and the fleet's own
    asset may be set anew. What was measured goes on in proportion, as soon as both worths are known.
    """
    key, counted = f"|{quote}", _counted(state, homes)
    is_new = (state.homes, state.counted) != (homes, counted)
    if state.fleet_quote in ("", quote) and state.homes.keys() == homes.keys() and is_new:
        was = _fleet_equity(state, quote, state.homes, state.counted)
        if was is not None and 0 < was < math.inf and key in state.peaks:
            state.peaks[key] *= now / was
            state.watch.rescale(key, now / was)
    before = f"|{state.fleet_quote}"
    if state.fleet_quote not in ("", quote) and before in state.peaks:
        was = fleet_equity(state, state.fleet_quote)
        if was is None or not 0 < was < math.inf:
            return  # asked again with the next beat
        state.peaks[key] = max(state.peaks.get(key, 0.0), state.peaks[before] * now / was)
        state.watch.move(before, key, now / was)
    for other in [one for one in state.peaks if one.startswith("|") and one != key]:
        del state.peaks[other]
        state.watch.days.pop(other, None)
    state.fleet_quote, state.homes, state.counted = quote, homes, counted


def _counted(state: RiskState, homes: Mapping[str, str | None]) -> dict[str, list[str]]:
    """Return, by venue, the assets that its instruments lead from to what its account counts in."""
    found = {}
    for venue, home in homes.items():
        desks = [desk for desk in state.desks.values() if desk.venue == venue]
        assets = {*(desk.base for desk in desks), *(desk.quote for desk in desks)}
        leads = [one for one in assets if home is not None and way_of(state, venue, one, home) is not None]
        found[venue] = sorted(leads)
    return found


def believed(desk: Desk, params: RiskParams) -> float | None:
    """Return the variance of one second's return, None with too few returns or where the price never moved."""
    if desk.returns.count < params.volatility.min_returns:
        return None
    variance = desk.returns.per_second
    return variance if variance is not None and 0 < variance < math.inf else None


def deviation_of(desk: Desk, variance: float) -> float:
    """Return a day's deviation: of the variance of a second now, and not below what a night said."""
    now, floor = day_deviation(variance), desk.floor
    return now if floor is None or not floor.deviation > now else floor.deviation


def take_night(state: RiskState, said: NightlyVar) -> None:
    """Hold the instrument's deviation up from here on; a night before the one that is known says nothing."""
    if not 0 < said.deviation < math.inf:
        raise Poison(f"the night's deviation of {said.instrument} must be positive and finite, was {said.deviation!r}")
    desk = desk_of(state, said.instrument)
    if desk.floor is None or desk.floor.at <= said.ts_event:
        desk.floor = Floor(said.deviation, said.ts_event, said.method)


def forget_old_night(desk: Desk, now: int, keep_ns: int) -> None:
    """Let a night go that was too long ago."""
    if desk.floor is not None and now - desk.floor.at > keep_ns:
        desk.floor = None


def mark_peaks(state: RiskState) -> None:
    """Raise the highest equity seen, per account and quote asset, to what it is now."""
    for venue, quote in {(desk.venue, desk.quote): None for desk in state.desks.values() if not desk.is_cash}:
        now = equity(state, venue, quote)
        if now is not None and now > state.peaks.get(f"{venue}|{quote}", 0.0) and now < math.inf:
            state.peaks[f"{venue}|{quote}"] = now


def drawdown(state: RiskState, venue: str, quote: str, now: float) -> float:
    """Return the fall of equity from its peak as a fraction of the peak, 0 above it."""
    peak = state.peaks.get(f"{venue}|{quote}")
    return 0.0 if peak is None or now >= peak else 1 - now / peak
