"""A risk stage with a market, an account and an order book of its own around it. Time is what the world says it is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Literal

import msgspec

from edgefleet.messages import (
    Account,
    Approved,
    Balance,
    Beat,
    Ensemble,
    Message,
    OrderState,
    Refused,
    TouchAge,
    TradingState,
    Watermark,
    WeightedEdge,
)
from edgefleet.params.schema import FleetConfig
from edgefleet.risk.stage import RiskStage, RiskState
from edgefleet.stage import Input
from edgefleet.testing import build
from edgefleet.testing.clock import START_NS

SECOND = 1_000_000_000
BTC, ETH = "BTC/USDT@sim", "ETH/USDT@sim"
PRICES = {BTC: 60_000.0, ETH: 3_000.0}


def config(risk: Mapping[str, Any] | None = None, *, shortable: bool = False, **instrument: Any) -> FleetConfig:
    """Return two instruments at a venue that takes 10 bps, and the risk parameters that are named."""
    rules = {"tick_size": "0.01", "lot_size": "0.00001", "min_quantity": "0.00001", "min_notional": "5"}
    symbol = {**rules, "shortable": shortable, **instrument}
    return FleetConfig.model_validate(
        {
            "risk_harmonizer": risk or {},
            "instruments": {"symbols": {"BTC/USDT": symbol, "ETH/USDT": symbol}},
            "venues": {"venues": {"sim": {"rest_url": "http://sim", "stream_url": "ws://sim"}}},
        }
    )


class World:
    """Feeds a `RiskStage` and keeps what it said."""

    def __init__(self, settings: FleetConfig | None = None, *, cash: str = "100000", ready: bool = True) -> None:
        self.stage = RiskStage()
        self.state: RiskState = self.stage.initial()
        self.config = settings or config()
        self.said: list[Approved | Refused] = []
        self.control: list[Message] = []
        self.prices = dict(PRICES)
        self.now = START_NS
        self.entries = 0
        if ready:
            self.trading("ACTIVE")
            self.account({"USDT": cash})
            self.warm()
            self.said.clear()

    def feed(self, stream: str, message: Message) -> list[Approved | Refused]:
        """Give the stage one entry and return what it said to it."""
        self.entries += 1
        entry = Input(stream, f"{self.entries}-0", message)
        outputs = self.stage.step(self.state, entry, self.config)
        verdicts = [out.message for out in outputs if isinstance(out.message, Approved | Refused)]
        self.control += [out.message for out in outputs if out.stream == "control"]
        assert len(verdicts) == sum(out.stream != "control" for out in outputs)
        self.said += verdicts
        return verdicts

    def trading(self, state: Literal["ACTIVE", "REDUCING", "HALTED"], by: str = "person") -> None:
        said = TradingState(state=state, reason="a test", by=by, ts_event=self.now, ts_init=self.now)
        self.feed("control", said)

    def account(self, balances: Mapping[str, str], venue: str = "sim") -> None:
        held = {asset: Balance(free=Decimal(units), locked=Decimal(0)) for asset, units in balances.items()}
        stamps = {"ts_event": self.now, "ts_init": self.now, "trace_id": "sim:account"}
        self.feed("fills", Account(account="main", venue=venue, balances=held, reason="start", **stamps))  # type: ignore[arg-type]

    def touch(self, instrument: str) -> tuple[Decimal, Decimal]:
        """Return bid and ask, a cent on each side of the price."""
        price = round(Decimal(repr(self.prices[instrument])), 2)
        return price - Decimal("0.01"), price + Decimal("0.01")

    def beat(
        self,
        seconds: int = 1,
        *,
        age_ms: int | None = 5,
        alpha_alive: bool = True,
        touch: Mapping[str, Any] | None = None,
    ) -> list[Approved | Refused]:
        """Let seconds pass and beat once; the watermark follows while alpha lives."""
        self.now += seconds * SECOND
        ages = []
        for instrument in self.prices:
            bid, ask = self.touch(instrument)
            one = TouchAge(instrument=instrument, bid=bid, ask=ask, age_ms=age_ms)
            ages.append(msgspec.structs.replace(one, **(touch or {})) if instrument == BTC else one)
        stamps = {"ts_event": self.now, "ts_init": self.now, "trace_id": f"sim:beat:{self.now}"}
        said = self.feed("beats", Beat(venue="sim", touches=tuple(ages), **stamps))  # type: ignore[arg-type]
        if alpha_alive:
            self.feed("ensembles", Watermark(venue="sim", cause="signals/1-0", **stamps))  # type: ignore[arg-type]
        return said

    def warm(self, beats: int = 40, bps: float = 1.0) -> None:
        """Beat while every price goes up and down by `bps` a second."""
        for n in range(beats):
            up = math.exp((1 if n % 2 == 0 else -1) * bps / 10_000)
            self.prices = {name: price * up for name, price in self.prices.items()}
            self.beat()

    def edge(
        self, bps: float, instrument: str = BTC, *, confidence: float = 1.0, horizon_ms: int = 10_000, **changes: Any
    ) -> list[Approved | Refused]:
        """Let the router choose one model with this edge."""
        chosen = WeightedEdge(
            model="m",
            version="1",
            edge_bps=bps,
            confidence=confidence,
            horizon_ms=horizon_ms,
            weight=1.0,
            age_ms=0,
        )
        return self.ensemble((chosen,), instrument, **changes)

    def ensemble(
        self, chosen: Sequence[WeightedEdge], instrument: str = BTC, **changes: Any
    ) -> list[Approved | Refused]:
        stamps: dict[str, Any] = {"ts_event": self.now, "watermark": self.now}
        message: Ensemble = build.ensemble(
            instrument=instrument, chosen=tuple(chosen), **{**stamps, "rule": "all", **changes}
        )
        return self.feed("ensembles", message)

    def fill(
        self,
        quantity: str | Decimal,
        instrument: str = BTC,
        *,
        fee: str = "0",
        fee_asset: str = "USDT",
        order_id: str = "ef1",
    ) -> None:
        """Let a signed quantity trade at the touch."""
        units = Decimal(quantity)
        bid, ask = self.touch(instrument)
        trade = build.fill(
            instrument=instrument,
            order_id=order_id,
            side="buy" if units > 0 else "sell",
            quantity=abs(units),
            price=ask if units > 0 else bid,
            fee=Decimal(fee),
            fee_asset=fee_asset,
            ts_event=self.now,
        )
        self.feed("fills", trade)

    def order(
        self, quantity: str | Decimal, state: OrderState, instrument: str = BTC, *, order_id: str = "ef1"
    ) -> None:
        """Tell of an order for a signed quantity."""
        units = Decimal(quantity)
        side = "buy" if units > 0 else "sell"
        said = build.order_event(
            instrument=instrument, order_id=order_id, state=state, side=side, quantity=abs(units), ts_event=self.now
        )
        self.feed("orders", said)

    def hold(self, bps: float = 20.0, instrument: str = BTC) -> Approved:
        """Enter on an edge and have it filled; return the target."""
        (target,) = self.edge(bps, instrument)
        assert isinstance(target, Approved)
        self.fill(target.quantity, instrument)
        return target


class Venues(World):
    """The same with venues of its own: every one beats with the instruments that are priced there."""

    def __init__(
        self, settings: FleetConfig, prices: Mapping[str, float], cash: Mapping[str, Mapping[str, str]]
    ) -> None:
        super().__init__(settings, ready=False)
        self.prices = dict(prices)
        self.silent: set[str] = set()  # instruments without a touch
        self.dead: set[str] = set()  # venues that do not beat
        self.ages: dict[str, int] = {}  # by instrument, ms
        self.trading("ACTIVE")
        for venue, balances in cash.items():
            self.account(balances, venue)

    def beat(self, seconds: int = 1, **_: Any) -> list[Approved | Refused]:
        """Let seconds pass and every venue beat once, and the watermarks follow."""
        self.now += seconds * SECOND
        said: list[Approved | Refused] = []
        stamps: dict[str, Any] = {"ts_event": self.now, "ts_init": self.now, "trace_id": f"beat:{self.now}"}
        for venue in dict.fromkeys(name.partition("@")[2] for name in self.prices):
            if venue in self.dead:
                continue
            touches = []
            for name in self.prices:
                if name.partition("@")[2] == venue:
                    bid, ask = (None, None) if name in self.silent else self.touch(name)
                    touches.append(TouchAge(instrument=name, bid=bid, ask=ask, age_ms=self.ages.get(name, 5)))
            said += self.feed("beats", Beat(venue=venue, touches=tuple(touches), **stamps))
            self.feed("ensembles", Watermark(venue=venue, cause="signals/1-0", **stamps))
        return said


def venues_config(
    risk: Mapping[str, Any] | None = None, symbols: Sequence[str] = ("BTC/USDT", "ETH/USDT"), **rules: Any
) -> FleetConfig:
    """Return instruments that may be shorted at two venues, `sim` and `okx`, and the risk parameters that are named."""
    steps = {"tick_size": "0.01", "lot_size": "0.00001", "min_quantity": "0.00001", "min_notional": "5"}
    where = {"rest_url": "http://sim", "stream_url": "ws://sim"}
    return FleetConfig.model_validate(
        {
            "risk_harmonizer": risk or {},
            "instruments": {"symbols": {symbol: {**steps, "shortable": True, **rules} for symbol in symbols}},
            "venues": {"venues": {"sim": where, "okx": where}},
        }
    )
