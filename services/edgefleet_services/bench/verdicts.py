"""An account that holds fifty instruments, and verdicts on them the usual way: arrays and numpy. Knows no report."""

from __future__ import annotations

import math
import random
from decimal import Decimal

import msgspec
import numpy as np
import numpy.typing as npt

from edgefleet.clock import NS_PER_S
from edgefleet.errors import Broken
from edgefleet.messages import (
    Account,
    Approved,
    Balance,
    Beat,
    Ensemble,
    Fill,
    Message,
    Touch,
    TouchAge,
    TradingState,
    Watermark,
    WeightedEdge,
)
from edgefleet.params.schema import FleetConfig
from edgefleet.risk.exposures import Exposures, correlations_of
from edgefleet.risk.ground import Ground, ground_of
from edgefleet.risk.limits import caps_of
from edgefleet.risk.plan import RiskPlan
from edgefleet.risk.stage import RiskStage, RiskState
from edgefleet.risk.state import position
from edgefleet.risk.var import SECONDS_PER_DAY, Z_95
from edgefleet.stage import Input, Output
from edgefleet.units import BPS

INSTRUMENTS = 50
VENUE, QUOTE = "sim", "USDT"
EDGES_BPS = (24.0, 25.0)  # of a model that speaks a little differently each time
HORIZON_MS = 10_000
_EQUITY = 1_000_000
_RULES = {
    "tick_size": "0.01",
    "lot_size": "0.00001",
    "min_quantity": "0.00001",
    "min_notional": "5",
    "shortable": True,
}
_MINUTES, _SECONDS = 45, 200  # of beats: so that correlations, sampled each minute, and variances are known
_MOVE = 1e-4  # standard deviation of what all prices share in a beat, and of what each has besides
_ROUNDS = 50  # by then the account holds what it is allowed to

Floats = npt.NDArray[np.float64]


class Fifty:
    """A risk stage whose account holds fifty instruments, long and short in turns, each at its limit."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        symbols = [f"A{place:02}/{QUOTE}" for place in range(INSTRUMENTS)]
        self.names = [f"{symbol}@{VENUE}" for symbol in symbols]
        sizing = {"min_dwell_ms": 0, "max_position_pct": {"crypto": 0.01}}  # the half of all equity is held
        self.config = FleetConfig.model_validate(
            {
                "risk_harmonizer": {"position_sizing": sizing},
                "instruments": {"symbols": dict.fromkeys(symbols, _RULES)},
                "venues": {"venues": {VENUE: {"rest_url": "http://sim", "stream_url": "ws://sim"}}},
            }
        )
        self.stage = RiskStage()
        self.state: RiskState = self.stage.initial()
        self.now = 1_700_000_000 * NS_PER_S
        self._count = 0
        self._prices = [100.0] * INSTRUMENTS
        self._open()
        for spacing in (60,) * _MINUTES + (1,) * _SECONDS:
            self.beat(spacing)
        self._fill_up()

    def step(self, stream: str, message: Message) -> tuple[Output, ...]:
        """Take one message as the newest entry of a stream."""
        self._count += 1
        return tuple(self.stage.step(self.state, Input(stream, f"{self._count}-0", message), self.config))

    def touch(self, place: int, ticks: int) -> Touch:
        """Return a touch of one instrument, so many ticks above its price."""
        bid, ask = self._quote(place, ticks)
        return Touch(
            instrument=self.names[place],
            bid=bid,
            bid_size=Decimal(1),
            ask=ask,
            ask_size=Decimal(1),
            ts_event=self.now,
            ts_init=self.now,
            trace_id="t",
        )

    def ensemble(self, place: int, edge_bps: float) -> Ensemble:
        """Return what one model says of an instrument, on the side of its position."""
        signed = edge_bps if place % 2 else -edge_bps
        edge = WeightedEdge(
            model="m", version="1", edge_bps=signed, confidence=1.0, horizon_ms=HORIZON_MS, weight=1.0, age_ms=0
        )
        return Ensemble(
            instrument=self.names[place],
            rule="all",
            chosen=(edge,),
            abstained=(),
            regime=None,
            uncertainty_bps=None,
            mid=self._prices[place],
            watermark=self.now,
            ts_event=self.now,
            ts_init=self.now,
            trace_id="e",
            cause="signals/1-0",
            config="0" * 16,
        )

    def beat(self, seconds: int) -> None:
        """Let the market move on by so many seconds."""
        self.now += seconds * NS_PER_S
        shared = self._rng.gauss(0, _MOVE)
        self._prices = [price * math.exp(shared + self._rng.gauss(0, _MOVE)) for price in self._prices]
        quotes = [self._quote(place, 0) for place in range(INSTRUMENTS)]
        touches = tuple(
            TouchAge(instrument=name, bid=bid, ask=ask, age_ms=5)
            for name, (bid, ask) in zip(self.names, quotes, strict=True)
        )
        stamps = {"ts_event": self.now, "ts_init": self.now}
        self.step("beats", Beat(venue=VENUE, touches=touches, trace_id="b", **stamps))
        self.step("ensembles", Watermark(venue=VENUE, cause="signals/1-0", trace_id="b", **stamps))

    def exposures(self) -> Exposures:
        """Return what the account has come to, worked out from the state alone."""
        plan = RiskPlan(self.config)
        known = correlations_of(self.state.joint[VENUE], plan.params.volatility.min_returns)
        return Exposures(self.state, plan, VENUE, QUOTE, known)

    def ground(self, place: int) -> Ground:
        """Return what a verdict on one instrument rests on.

        Raises
        ------
        Broken
            If there can be none.
        """
        desk = self.state.desks[self.names[place]]
        found = ground_of(self.state, desk, RiskPlan(self.config), self.exposures())
        if not isinstance(found, Ground):
            raise Broken(f"there is no verdict on {self.names[place]}: {found}")
        return found

    def _open(self) -> None:
        stamps = {"ts_event": self.now, "ts_init": self.now}
        self.step("control", TradingState(state="ACTIVE", reason="bench", by="person", **stamps))
        balances = {QUOTE: Balance(free=Decimal(_EQUITY), locked=Decimal(0))}
        account = Account(account="main", venue=VENUE, balances=balances, reason="start", trace_id="a", **stamps)
        self.step("fills", account)

    def _fill_up(self) -> None:
        """Fill each target at once, until nothing is asked for any more."""
        for _ in range(_ROUNDS):
            told = [
                output.message
                for place in range(INSTRUMENTS)
                for output in self.step("ensembles", self.ensemble(place, EDGES_BPS[0]))
            ]
            for one in told:
                if not isinstance(one, Approved):
                    raise Broken(f"an instrument of the bench is not held: {one}")
                self._fill(one)
            if not told:
                return
        raise Broken(f"the account of the bench does not settle in {_ROUNDS} rounds")

    def _fill(self, target: Approved) -> None:
        desk = self.state.desks[target.instrument]
        missing = target.quantity - position(self.state, desk)
        if not missing:
            return
        fill = Fill(
            account="main",
            order_id="o",
            venue_order_id="v",
            trade_id="r",
            target_id=target.target_id,
            instrument=target.instrument,
            side="buy" if missing > 0 else "sell",
            quantity=abs(missing),
            price=Decimal(100),
            fee=Decimal(0),
            fee_asset=QUOTE,
            liquidity="taker",
            ts_event=self.now,
            ts_init=self.now,
            trace_id="f",
            cause=f"targets/{target.target_id}",
            config=target.config,
        )
        self.step("fills", fill)

    def _quote(self, place: int, ticks: int) -> tuple[Decimal, Decimal]:
        tick = Decimal("0.01")
        bid = Decimal(f"{self._prices[place]:.2f}") + ticks * tick
        return bid, bid + tick


class Verdict(msgspec.Struct, frozen=True, gc=False):
    """The numbers that a verdict is made of."""

    equity: float
    var: float  # of all, a share of equity
    kelly: float  # share of equity that the edge deserves beside what is held
    room: float  # that all limits leave, for what they aim at
    holds: bool  # whether what is held is within every limit


class InNumpy:
    """The same numbers with numpy: the whole account anew for each verdict, its covariance laid out beforehand."""

    def __init__(self, fifty: Fifty) -> None:
        state, params = fifty.state, fifty.config.risk_harmonizer
        desks = [state.desks[name] for name in fifty.names]
        grounds = [fifty.ground(place) for place in range(INSTRUMENTS)]
        self._units = np.array([float(position(state, desk)) for desk in desks])
        self._cash = float(state.holdings[VENUE][QUOTE])
        self.bids, self.asks = np.array([one.bid for one in grounds]), np.array([one.ask for one in grounds])
        joint = state.joint[VENUE]
        table = joint.correlations(params.volatility.min_returns)
        if table is None:
            raise Broken(f"{joint.count} joint returns are too few for a covariance")
        places = [joint.names.index(name) for name in fifty.names]
        correlations = table[np.ix_(places, places)]
        deviations = np.array([one.deviation for one in grounds], dtype=np.float64)
        self._covariance = correlations * np.multiply.outer(deviations, deviations)
        self._near = (correlations >= params.risk_limits.correlated_from) & ~np.eye(INSTRUMENTS, dtype=np.bool_)
        self._share, self._fee = grounds[0].share, grounds[0].terms.fee
        caps = caps_of("crypto", "none", params)
        groups = [*caps.in_class, caps.cluster, *caps.gross]
        self._caps = np.array([one.cap for one in caps.alone] + [one.cap for one in groups])
        self._aims = np.array([one.aim for one in caps.alone] + [one.aim for one in groups])
        self._order, self._net = caps.order, caps.net
        self._budgets = np.array([state.budgets.get(name, math.inf) for name in fifty.names])
        self._aim = caps.aim_fraction
        self._risk_caps, self._risk_aims = (
            np.array([cap.cap / scale for cap, scale in caps.risk]),
            np.array([cap.aim / scale for cap, scale in caps.risk]),
        )

    def verdict(self, place: int, edge_bps: float) -> Verdict:
        """Return the numbers for a signed edge on one instrument."""
        units, bids, asks = self._units, self.bids, self.asks
        equity = self._cash + float((units * np.where(units > 0, bids, asks)).sum())
        weights = units * asks / equity
        moved = self._covariance @ weights
        variance, own, square = float(weights @ moved), float(weights[place]), float(self._covariance[place, place])
        beside = float(moved[place]) - own * square
        others = variance - own * (2 * beside + own * square)

        sign = 1.0 if edge_bps > 0 else -1.0
        bid, ask = float(bids[place]), float(asks[place])
        cost_bps = (self._fee + (ask - bid) / (ask + bid)) * BPS
        horizon = square / SECONDS_PER_DAY * HORIZON_MS / 1_000
        kelly = self._share * max(abs(edge_bps) - cost_bps, 0.0) / BPS / horizon - sign * beside / square

        sizes = np.abs(weights)
        gross, near = float(sizes.sum() - sizes[place]), float(sizes[self._near[place]].sum())
        used = np.array([0.0, 0.0, gross, gross, near, gross, gross])
        net = float(weights.sum()) - own
        towards = sign * beside
        spare = self._risk_aims**2 - others
        room = min(
            float((self._aims - used).min()),
            self._order.aim + max(sign * own, 0.0),
            self._aim * float(self._budgets[place]),
            self._net.aim - sign * net,
            float((spare / (np.sqrt(towards * towards + square * spare) + towards)).min()),
        )
        holds = bool(
            (used + abs(own) <= self._caps).all()
            and abs(own) <= self._budgets[place]
            and abs(net + own) <= self._net.cap
            and (math.sqrt(variance) <= self._risk_caps).all()
        )
        return Verdict(equity, Z_95 * math.sqrt(variance), kelly, max(room, 0.0), holds)
