"""Messages with sensible values, so that a test names only what it is about. Knows nothing of who sends them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec

from edgefleet.messages import (
    Account,
    Approved,
    Balance,
    Bar,
    Beat,
    BookDelta,
    BookSnapshot,
    BreakerMoved,
    Ensemble,
    Fill,
    GatewayOutcome,
    ModelEdge,
    NightlyVar,
    OrderEvent,
    OrderState,
    Quote,
    Reconciled,
    Signals,
    Touch,
    TouchAge,
    Trade,
    TradingState,
    VenueOrder,
    VenueTrade,
    WeightedEdge,
)
from edgefleet.testing.clock import START_NS

INSTRUMENT = "BTC/USDT@sim"
_STAMPS: dict[str, Any] = {"ts_event": START_NS, "ts_init": START_NS, "trace_id": "sim:BTCUSDT:1"}
_DECIDED: dict[str, Any] = {**_STAMPS, "cause": "market/1-0", "config": "0" * 64}


def trade(**changes: Any) -> Trade:
    """Return a buy of 0.5 at 60,000."""
    usual: dict[str, Any] = {
        "instrument": INSTRUMENT,
        "trade_id": "1",
        "price": Decimal("60000.00"),
        "quantity": Decimal("0.5"),
        "aggressor": "buy",
    }
    return Trade(**{**usual, **_STAMPS, **changes})


def quote(**changes: Any) -> Quote:
    """Return 59,999.99 x 1 against 60,000.01 x 2."""
    usual: dict[str, Any] = {
        "instrument": INSTRUMENT,
        "bid": Decimal("59999.99"),
        "bid_size": Decimal(1),
        "ask": Decimal("60000.01"),
        "ask_size": Decimal(2),
        "update_id": 1,
    }
    return Quote(**{**usual, **_STAMPS, **changes})


def book_snapshot(**changes: Any) -> BookSnapshot:
    """Return a book of three levels on each side around 60,000."""
    usual: dict[str, Any] = {
        "instrument": INSTRUMENT,
        "update_id": 10,
        "bids": tuple((Decimal(59_999 - i), Decimal(1)) for i in range(3)),
        "asks": tuple((Decimal(60_001 + i), Decimal(1)) for i in range(3)),
    }
    return BookSnapshot(**{**usual, **_STAMPS, **changes})


def book_delta(**changes: Any) -> BookDelta:
    """Return the delta after `book_snapshot()`, which changes its best bid's size."""
    usual: dict[str, Any] = {
        "instrument": INSTRUMENT,
        "first_update_id": 11,
        "last_update_id": 12,
        "bids": ((Decimal(59_999), Decimal(2)),),
        "asks": (),
    }
    return BookDelta(**{**usual, **_STAMPS, **changes})


def bar(**changes: Any) -> Bar:
    """Return a minute that went nowhere."""
    usual: dict[str, Any] = dict.fromkeys(("open", "high", "low", "close"), Decimal(60_000))
    usual |= {"instrument": INSTRUMENT, "interval_ms": 60_000, "volume": Decimal(1), "trades": 1}
    return Bar(**{**usual, **_STAMPS, **changes})


def beat(**changes: Any) -> Beat:
    """Return a beat with one fresh touch around 60,000."""
    touch = TouchAge(instrument=INSTRUMENT, bid=Decimal("59999.99"), ask=Decimal("60000.01"), age_ms=5)
    return Beat(**{"venue": "sim", "touches": (touch,), **_STAMPS, **changes})


def touch(**changes: Any) -> Touch:
    """Return the top of the book that `quote()` tells of."""
    usual = {field: getattr(quote(), field) for field in ("instrument", "bid", "bid_size", "ask", "ask_size")}
    return Touch(**{**usual, **_STAMPS, **changes})


def signals(**changes: Any) -> Signals:
    """Return one model's edge of 5 bps."""
    edge = ModelEdge(model="ob_pressure", version="1", edge_bps=5.0, confidence=0.6, horizon_ms=1_000)
    usual: dict[str, Any] = {"instrument": INSTRUMENT, "edges": (edge,), "mid": 60_000.0, "features": "0" * 16}
    return Signals(**{**usual, "watermark": START_NS, **_DECIDED, **changes})


def ensemble(**changes: Any) -> Ensemble:
    """Return one chosen model with an edge of 5 bps."""
    chosen = WeightedEdge(
        model="ob_pressure", version="1", edge_bps=5.0, confidence=0.6, horizon_ms=1_000, weight=1.0, age_ms=0
    )
    usual: dict[str, Any] = {
        "instrument": INSTRUMENT,
        "rule": "crypto-fast",
        "chosen": (chosen,),
        "abstained": (),
        "regime": None,
        "uncertainty_bps": None,
        "mid": 60_000.0,
        "watermark": START_NS,
    }
    return Ensemble(**{**usual, **_DECIDED, **changes})


def approved(**changes: Any) -> Approved:
    """Return a target of 0.1 that lives for five seconds."""
    usual: dict[str, Any] = {
        "target_id": "t1",
        "account": "main",
        "instrument": INSTRUMENT,
        "quantity": Decimal("0.1"),
        "expires_at": START_NS + 5_000_000_000,
        "urgency": "normal",
        "algorithm": "market",
        "price": Decimal(60_000),
        "edge_bps": 5.0,
        "confidence": 0.6,
        "kelly_fraction": 0.1,
        "variance": 1e-6,
        "var_fraction": 0.005,
        "equity": Decimal(100_000),
        "binding": "kelly",
        "head_room": {"position": 0.5},
    }
    return Approved(**{**usual, **_DECIDED, **changes})


def order_event(**changes: Any) -> OrderEvent:
    """Return a market buy of 0.1, decided and not yet sent."""
    usual: dict[str, Any] = {
        "order_id": "ef1",
        "venue_order_id": None,
        "account": "main",
        "instrument": INSTRUMENT,
        "target_id": "t1",
        "leg": 0,
        "attempt": 0,
        "state": OrderState.PENDING_NEW,
        "side": "buy",
        "kind": "market",
        "quantity": Decimal("0.1"),
        "price": None,
        "filled": Decimal(0),
        "reduce_only": False,
    }
    return OrderEvent(**{**usual, **_DECIDED, **changes})


def venue_trade(**changes: Any) -> VenueTrade:
    """Return an execution of 0.1 at 60,000 with a fee of 6 USDT."""
    usual: dict[str, Any] = {
        "account": "main",
        "instrument": INSTRUMENT,
        "order_id": "ef1",
        "venue_order_id": "1",
        "trade_id": "1",
        "side": "buy",
        "quantity": Decimal("0.1"),
        "price": Decimal(60_000),
        "fee": Decimal(6),
        "fee_asset": "USDT",
        "liquidity": "taker",
    }
    return VenueTrade(**{**usual, **_STAMPS, **changes})


def venue_order(**changes: Any) -> VenueOrder:
    """Return the venue's word that the order of `order_event()` is new at the venue."""
    usual: dict[str, Any] = {
        "account": "main",
        "instrument": INSTRUMENT,
        "order_id": "ef1",
        "venue_order_id": "1",
        "status": "NEW",
        "side": "buy",
        "kind": "market",
        "quantity": Decimal("0.1"),
        "price": None,
        "filled": Decimal(0),
        "source": "stream",
    }
    return VenueOrder(**{**usual, **_STAMPS, **changes})


def gateway_outcome(**changes: Any) -> GatewayOutcome:
    """Return the word that a new order was sent and answered."""
    usual: dict[str, Any] = {
        "account": "main",
        "instrument": INSTRUMENT,
        "order_id": "ef1",
        "command": "new",
        "outcome": "SENT",
    }
    return GatewayOutcome(**{**usual, **_STAMPS, **changes})


def account(**changes: Any) -> Account:
    """Return 100,000 USDT at the start."""
    usual: dict[str, Any] = {
        "account": "main",
        "venue": "sim",
        "balances": {"USDT": Balance(free=Decimal(100_000), locked=Decimal(0))},
        "reason": "start",
    }
    return Account(**{**usual, **_STAMPS, **changes})


def reconciled(**changes: Any) -> Reconciled:
    """Return an open start gate with nothing in doubt."""
    usual: dict[str, Any] = {
        "account": "main",
        "venue": "sim",
        "ready": True,
        "ours": (),
        "external": (),
        "orphans": (),
        "unresolved": (),
    }
    return Reconciled(**{**usual, **_STAMPS, **changes})


def trading_state(state: str = "ACTIVE", **changes: Any) -> TradingState:
    """Return a person's ACTIVE."""
    usual: dict[str, Any] = {
        "state": state,
        "reason": "test",
        "by": "person",
        "ts_event": START_NS,
        "ts_init": START_NS,
    }
    return TradingState(**{**usual, **changes})


def nightly_var(**changes: Any) -> NightlyVar:
    """Return an hour's value at risk of 1.2 % at 95 %, told by history: a day's deviation of 3.6 %."""
    usual: dict[str, Any] = {
        "instrument": INSTRUMENT,
        "method": "historical",
        "passes": True,
        "var": 0.012,
        "level": 0.95,
        "interval_ms": 3_600_000,
        "deviation": 0.0357,
        "returns": 502,
    }
    return NightlyVar(**{**usual, **_STAMPS, **changes})


def breaker_moved(**changes: Any) -> BreakerMoved:
    """Return a daily loss of 4 % that opened its breaker at 3 %."""
    usual: dict[str, Any] = {
        "breaker": "daily_loss",
        "scope": "main|USDT",
        "before": "CLOSED",
        "after": "OPEN",
        "limit": 0.03,
        "observed": 0.04,
        "unit": "fraction of equity",
        "action": "reduce",
        "cool_down_ms": 60_000,
        "reason": "daily_loss 0.04 is above 0.03",
    }
    return BreakerMoved(**{**usual, **_DECIDED, **changes})


def fill(**changes: Any) -> Fill:
    """Return the fill that `venue_trade()` leads to."""
    said = msgspec.structs.asdict(venue_trade())
    usual = {name: value for name, value in said.items() if name in Fill.__struct_fields__}
    return Fill(**{**usual, "target_id": "t1", **_DECIDED, **changes})
