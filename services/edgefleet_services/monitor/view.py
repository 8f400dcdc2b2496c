"""What the newest messages add up to for a person watching. Does no I/O; what was not seen is None or empty."""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from decimal import Decimal
from typing import Any, Final

import msgspec

from edgefleet.clock import NS_PER_MS, iso
from edgefleet.instruments import split_id
from edgefleet.messages import (
    Alert,
    Approved,
    Beat,
    BreakerMoved,
    BreakerState,
    Ensemble,
    Fill,
    InputLost,
    Message,
    ModelSwitched,
    OrderEvent,
    Refused,
    Rollback,
    Session,
    Touch,
    TradingState,
    Watermark,
)
from edgefleet.units import decimal_text

KEPT_ORDERS = 200
KEPT_FILLS = 200
KEPT_REFUSALS = 100
KEPT_ALERTS = 50

Shown = dict[str, Any]

_BY_STATE: Final[dict[BreakerState, int]] = {"OPEN": 0, "HALF_OPEN": 1, "DISABLED": 2, "CLOSED": 3}


class FleetView:
    """Takes entries of the fleet's streams and tells what they come to. Streams may be read with holes."""

    def __init__(self) -> None:
        self.session: Session | None = None
        self.trading: TradingState | None = None
        self.touches: dict[str, Touch] = {}
        self.ages: dict[str, int | None] = {}
        self.beat_ts: dict[str, int] = {}  # by venue
        self.ensembles: dict[tuple[str, str], Ensemble] = {}
        self.decisions: dict[str, Approved] = {}
        self.edges: dict[str, float] = {}  # by instrument: the newest decision's, approved or refused
        self.orders: OrderedDict[str, OrderEvent] = OrderedDict()
        self.fills: deque[Fill] = deque(maxlen=KEPT_FILLS)
        self.refusals: deque[Refused] = deque(maxlen=KEPT_REFUSALS)
        self.alerts: deque[Alert | InputLost | Rollback] = deque(maxlen=KEPT_ALERTS)
        self.refused: Counter[str] = Counter()
        self.breakers: dict[tuple[str, str], BreakerMoved] = {}  # by name and scope: the last move of each
        self.watermark: int | None = None
        self._labels: dict[str, str] = {}

    def label(self, instrument: str) -> str:
        """Return what metrics and outward keys call an instrument: its symbol, where it is traded at one venue.

        Where the session trades the symbol at several, or at another than this, the whole name tells them apart.
        """
        known = self._labels.get(instrument)
        if known is None:
            symbol = split_id(instrument)[0]
            traded = () if self.session is None else self.session.traded
            alike = [one for one in traded if split_id(one)[0] == symbol]
            known = self._labels[instrument] = symbol if alike in ([], [instrument]) else instrument
        return known

    def take(self, message: Message) -> None:
        """Take one message; of a kind that is not shown, nothing is kept."""
        match message:
            case Touch():
                self.touches[message.instrument] = message
            case Beat():
                self._beat(message)
            case Ensemble():
                self.ensembles[message.instrument, message.rule] = message
                self.watermark = message.watermark
            case Watermark():
                self.watermark = message.ts_event
            case Approved():
                self.decisions[message.instrument] = message
                self.edges[message.instrument] = message.edge_bps
            case Refused():
                self._refused(message)
            case OrderEvent():
                self._order(message)
            case Fill():
                self.fills.append(message)
            case Session():
                self._begin(message)
            case TradingState():
                self.trading = message
            case BreakerMoved():
                self.breakers[message.breaker, message.scope] = message
            case Alert() | InputLost() | Rollback():
                self.alerts.append(message)
            case ModelSwitched():
                pass  # counted from the log's length, which trimming does not shorten
            case _:
                pass

    def _begin(self, session: Session) -> None:
        """Begin a session: what an earlier one decided is not shown as this one's.

        Breakers are part of risk's state, which outlives a session, so theirs stays.
        """
        if self.session is not None and self.session.session == session.session:
            return
        self.session = session
        self._labels.clear()
        for kept in (self.touches, self.ages, self.beat_ts, self.ensembles, self.decisions, self.edges):
            kept.clear()
        for rows in (self.orders, self.fills, self.refusals, self.refused):
            rows.clear()

    def _beat(self, beat: Beat) -> None:
        self.beat_ts[beat.venue] = beat.ts_event
        for touch in beat.touches:
            self.ages[touch.instrument] = touch.age_ms

    def _refused(self, refused: Refused) -> None:
        self.refusals.append(refused)
        self.refused[refused.reason.value] += 1
        if refused.by == "risk" and refused.edge_bps is not None:
            self.edges[refused.instrument] = refused.edge_bps

    def _order(self, event: OrderEvent) -> None:
        self.orders[event.order_id] = event
        self.orders.move_to_end(event.order_id)
        if len(self.orders) > KEPT_ORDERS:
            self.orders.popitem(last=False)

    def age_of(self, instrument: str) -> int | None:
        """Return how old an instrument's feed is: its age at its venue's last beat, and the time to the last of any.

        Of any that is traded at, that is.
        """
        age_ms, venue = self.ages.get(instrument), split_id(instrument)[1]
        traded = set() if self.session is None else {split_id(one)[1] for one in self.session.traded}
        beats = [at for one, at in self.beat_ts.items() if one in traded]
        if age_ms is None or venue not in traded or venue not in self.beat_ts:
            return age_ms  # a venue that is only followed may be at another time
        return age_ms + (max(beats) - self.beat_ts[venue]) // NS_PER_MS

    def market(self) -> list[Shown]:
        """Return each instrument's touch and how old its data is, by name."""
        names = sorted({*self.touches, *self.ages})
        return [self._market_line(name) for name in names]

    def _market_line(self, instrument: str) -> Shown:
        touch = self.touches.get(instrument)
        return {
            "instrument": instrument,
            "bid": None if touch is None else decimal_text(touch.bid),
            "bid_size": None if touch is None else decimal_text(touch.bid_size),
            "ask": None if touch is None else decimal_text(touch.ask),
            "ask_size": None if touch is None else decimal_text(touch.ask_size),
            "age_ms": self.age_of(instrument),
            "time": None if touch is None else iso(touch.ts_event),
        }

    def models(self) -> list[Shown]:
        """Return who is listened to, per instrument and rule."""
        return [
            {
                "instrument": ensemble.instrument,
                "rule": rule,
                "regime": ensemble.regime,
                "uncertainty_bps": ensemble.uncertainty_bps,
                "chosen": [
                    {
                        "model": edge.model,
                        "weight": edge.weight,
                        "edge_bps": edge.edge_bps,
                        "confidence": edge.confidence,
                    }
                    for edge in ensemble.chosen
                ],
                "abstained": [{"model": one.model, "reason": one.reason} for one in ensemble.abstained],
            }
            for (_, rule), ensemble in sorted(self.ensembles.items())
        ]

    def risk(self) -> list[Shown]:
        """Return the newest approved target of each instrument."""
        return [
            {
                "instrument": name,
                "edge_bps": self.edges.get(name),
                "target": decimal_text(target.quantity),
                "price": decimal_text(target.price),
                "var_pct": target.var_fraction * 100,
                "kelly_fraction": target.kelly_fraction,
                "binding": target.binding,
                "head_room": target.head_room,
                "target_id": target.target_id,
                "time": iso(target.ts_event),
            }
            for name, target in sorted(self.decisions.items())
        ]

    def breaker_lines(self) -> list[Shown]:
        """Return the last move of each breaker, the open ones first; one that never moved is CLOSED and not told of."""
        moved = sorted(self.breakers.values(), key=lambda one: (_BY_STATE[one.after], one.breaker, one.scope))
        return [
            {
                "breaker": one.breaker,
                "scope": one.scope,
                "state": one.after,
                "before": one.before,
                "limit": one.limit,
                "observed": one.observed,
                "unit": one.unit,
                "action": one.action,
                "cool_down_ms": one.cool_down_ms,
                "reason": one.reason,
                "since": iso(one.ts_event),
            }
            for one in moved
        ]

    def head_room(self) -> dict[str, float]:
        """Return per limit the least that the newest approved targets leave of it, as a share of it."""
        least: dict[str, float] = {}
        for target in self.decisions.values():
            for limit, room in target.head_room.items():
                least[limit] = min(room, least.get(limit, room))
        return least

    def order_lines(self, limit: int) -> list[Shown]:
        """Return the orders whose state changed last, newest first."""
        return [shown(order) for order in list(reversed(self.orders.values()))[:limit]]

    def fill_lines(self, limit: int) -> list[Shown]:
        """Return the newest fills, newest first."""
        return [shown(fill) for fill in list(reversed(self.fills))[:limit]]

    def refusal_lines(self, limit: int) -> list[Shown]:
        """Return the newest refusals, newest first."""
        return [shown(refusal) for refusal in list(reversed(self.refusals))[:limit]]

    def alert_lines(self, limit: int) -> list[Shown]:
        """Return the newest alerts, newest first."""
        return [{"kind": str(a.__struct_config__.tag), **shown(a)} for a in list(reversed(self.alerts))[:limit]]


def plain(value: Any) -> Any:
    """Return a message as dicts, lists and text, with exact decimals that have neither exponent nor spare zeros."""
    return _texts(msgspec.to_builtins(value, builtin_types=(Decimal,)))


def _texts(value: Any) -> Any:
    if isinstance(value, Decimal):
        return decimal_text(value)
    if isinstance(value, dict):
        return {key: _texts(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_texts(item) for item in value]
    return value


def shown(message: msgspec.Struct) -> Shown:
    """Return a message for a browser: decimals as text, the stamp as ISO time (a number of ns does not fit there)."""
    body: Shown = plain(message)
    ts_event, ts_init = body.pop("ts_event"), body.pop("ts_init", None)
    body.pop("type", None)
    for name, value in body.items():
        if name.endswith(("_at", "_ts")) and isinstance(value, int):
            body[name] = iso(value)
    return {**body, "time": iso(ts_event), "received": None if ts_init is None else iso(ts_init)}


def staleness(view: FleetView) -> dict[tuple[str, str], float]:
    """Return seconds since each (venue, symbol) last said anything, by the newest beat; the unknown are left out."""
    ages = {}
    for instrument in view.ages:
        age_ms = view.age_of(instrument)
        if age_ms is not None:
            symbol, venue = split_id(instrument)
            ages[venue, symbol] = age_ms / 1_000
    return ages


def alpha_delay_ms(view: FleetView) -> int | None:
    """Return how far the models are behind the newest beat, None where one of them was not seen.

    They have come to their last watermark, or to what an ensemble says they had seen: a trade may be ahead of the beat.
    """
    newest = max(view.beat_ts.values(), default=None)
    return None if newest is None or view.watermark is None else max(newest - view.watermark, 0) // NS_PER_MS
