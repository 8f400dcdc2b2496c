"""A seeded order-flow market that writes Binance's wire: agents that quote, take and cancel in a real price-time book.

Knows no clock and no socket: it advances to the time it is given, and the same seed, symbols and start give the same
bytes. The price of its assets means nothing; what is meant to be like a market is the shape of its returns (fat tails,
clustered volatility from a two-state regime and a mean-reverting log-volatility), the self-exciting arrival of trades,
the persistence of their sign, a spread that widens with volatility and a book that deepens away from the touch.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from decimal import Decimal

import msgspec

from edgefleet.units import to_decimal

from .engine import Match, PriceTimeBook, Side, TimeInForce
from .filters import MarketRules

STEP_NS = 100_000_000  # depth@100ms
STEPS_PER_S = 10
LEVELS = 40  # quotes the makers keep on each side
START_PRICES = {
    "BTC": 60_000.0,
    "ETH": 3_000.0,
    "BNB": 550.0,
    "SOL": 150.0,
    "XRP": 0.6,
    "ADA": 0.4,
    "DOGE": 0.12,
    "USDT": 1.0,
}
CALM = {"USDT": 0.05}  # volatility of those that are made to stand still, as a share of the others'
TOUCH_USD = 20_000.0  # typical notional of a quote at the touch

_VOLATILITY_1S = 1.2e-4  # of log price, in the calm state
_REGIMES = (1.0, 3.5)  # volatility multipliers, calm and excited
_LEAVE_REGIME = (1 / 60, 1 / 12)  # per second
_TAIL_FREEDOM = 4  # degrees of freedom of a step's Student t
_BASE_RATE = 3.0  # noise trades per second
_EXCITATION = 0.6  # trades that a trade brings, in the mean
_DECAY = 1.5  # per second, of that excitation


class _Asset:
    """One symbol: its latent value, its agents and its book."""

    def __init__(self, rules: MarketRules, seed: int, start_ns: int) -> None:
        self.rules = rules
        self.book = PriceTimeBook()
        self._name = rules.symbol.lower()
        self._random = random.Random(f"{seed}:{rules.symbol}")
        self._value = math.log(START_PRICES.get(rules.base, 100.0))
        self._calm = _VOLATILITY_1S * CALM.get(rules.base, 1.0)
        self._log_volatility = 0.0
        self._regime = 0
        self._excitation = 0.0
        self._sign = Side.BUY
        self._order = 0
        self._trade = 0
        self._update = 1_000
        self._diff_update = self._update
        self._changed: dict[Side, dict[Decimal, None]] = {Side.BUY: {}, Side.SELL: {}}
        self._pending: dict[Side, dict[Decimal, None]] = {Side.BUY: {}, Side.SELL: {}}
        self._ticker: tuple[Decimal, ...] = ()
        self._lines: list[tuple[int, bytes]] = []
        self._now_ns = start_ns
        self._quote()
        self._flush_changes()
        self._pending = {Side.BUY: {}, Side.SELL: {}}
        self._diff_update = self._update

    # --- what the wire shows

    def snapshot(self) -> bytes:
        """Return the book as REST would give it."""
        sides = {
            key: [[_text(price), _text(size)] for price, size in self.book.levels(side)]
            for key, side in (("bids", Side.BUY), ("asks", Side.SELL))
        }
        return msgspec.json.encode({"lastUpdateId": self._update, **sides})

    def step(self, start_ns: int) -> list[tuple[int, bytes]]:
        """Return the lines of one tenth of a second that begins at `start_ns`."""
        self._lines = []
        self._now_ns = start_ns
        self._evolve()
        actions = [self._informed, self._quote, *[self._noise] * self._arrivals(), self._quote]
        for number, action in enumerate(actions, start=1):
            self._now_ns = start_ns + number * STEP_NS // (len(actions) + 1)
            action()
            self._flush_changes()
            self._show_top()
        self._now_ns = start_ns + STEP_NS
        self._show_diff()
        return self._lines

    def _emit(self, stream: str, data: dict[str, object]) -> None:
        body = msgspec.json.encode({"stream": f"{self._name}@{stream}", "data": data})
        self._lines.append((self._now_ns, body))

    def _show_trade(self, match: Match, taker: Side) -> None:
        self._trade += 1
        stamp = self._now_ns // 1_000_000
        self._emit(
            "trade",
            {
                "e": "trade",
                "E": stamp,
                "s": self.rules.symbol,
                "t": self._trade,
                "p": _text(match.price),
                "q": _text(match.quantity),
                "T": stamp,
                "m": taker is Side.SELL,
                "M": True,
            },
        )

    def _show_top(self) -> None:
        bid, ask = self.book.best(Side.BUY), self.book.best(Side.SELL)
        if bid is None or ask is None:
            return
        top = (bid, self.book.level(Side.BUY, bid), ask, self.book.level(Side.SELL, ask))
        if top == self._ticker:
            return
        self._ticker = top
        texts = [_text(value) for value in top]
        names = dict(zip("bBaA", texts, strict=True))
        self._emit("bookTicker", {"u": self._update, "s": self.rules.symbol, **names})

    def _show_diff(self) -> None:
        if self._update == self._diff_update:
            return
        sides = {key: self._changed_levels(side) for key, side in (("b", Side.BUY), ("a", Side.SELL))}
        self._emit(
            "depth@100ms",
            {
                "e": "depthUpdate",
                "E": self._now_ns // 1_000_000,
                "s": self.rules.symbol,
                "U": self._diff_update + 1,
                "u": self._update,
                **sides,
            },
        )
        self._diff_update = self._update
        self._pending = {Side.BUY: {}, Side.SELL: {}}

    def _changed_levels(self, side: Side) -> list[list[str]]:
        prices = sorted(self._pending[side], reverse=side is Side.BUY)
        return [[_text(price), _text(self.book.level(side, price))] for price in prices]

    def _flush_changes(self) -> None:
        """Number what an action changed: one book update per level."""
        for side, prices in self._changed.items():
            self._update += len(prices)
            self._pending[side].update(prices)
            prices.clear()

    # --- the asset's value

    def _evolve(self) -> None:
        rng, dt = self._random, 1 / STEPS_PER_S
        if rng.random() < _LEAVE_REGIME[self._regime] * dt:
            self._regime = 1 - self._regime
        self._log_volatility += -0.05 * self._log_volatility * dt + 0.15 * math.sqrt(dt) * rng.gauss(0.0, 1.0)
        chi2 = rng.gammavariate(_TAIL_FREEDOM / 2, 2.0)
        shock = rng.gauss(0.0, 1.0) / math.sqrt(chi2 / _TAIL_FREEDOM) * math.sqrt((_TAIL_FREEDOM - 2) / _TAIL_FREEDOM)
        self._value += self.volatility * math.sqrt(dt) * shock

    @property
    def volatility(self) -> float:
        """Return the standard deviation of the log value over a second."""
        return self._calm * _REGIMES[self._regime] * math.exp(self._log_volatility)

    # --- the agents

    def _arrivals(self) -> int:
        """Return how many noise traders come in this step (a Hawkes process, Poisson within the step)."""
        rate = _BASE_RATE * _REGIMES[self._regime] ** 0.5 + self._excitation
        count = _poisson(self._random, rate / STEPS_PER_S)
        self._excitation = self._excitation * math.exp(-_DECAY / STEPS_PER_S) + count * _EXCITATION * _DECAY
        return min(count, 50)

    def _noise(self) -> None:
        rng = self._random
        if rng.random() > 0.7:  # otherwise the last one's side: order flow has memory
            self._sign = self._sign.opposite
        notional = TOUCH_USD * 0.15 * rng.lognormvariate(-0.7, 1.2)
        self._take(self._sign, notional, None)

    def _informed(self) -> None:
        """Those who know the value take what is quoted beyond it, most of the time."""
        if self._random.random() < 0.3:
            return
        value = math.exp(self._value)
        for side in (Side.BUY, Side.SELL):
            best = self.book.best(side.opposite)
            if best is None:
                continue
            gain = value - float(best) if side is Side.BUY else float(best) - value
            if gain > 0:
                limit = self._price(value, side)
                self._take(side, TOUCH_USD * self._random.uniform(0.3, 2.0), limit)

    def _take(self, side: Side, notional: float, limit: Decimal | None) -> None:
        quantity = self._quantity(notional)
        best = self.book.best(side.opposite)
        if best is None:
            return
        if limit is None:  # nobody walks the whole book: half a percent is a market order's own protection
            limit = self._price(float(best) * (1.005 if side is Side.BUY else 0.995), side)
        limit = max(limit, best) if side is Side.BUY else min(limit, best)
        outcome = self.book.place(self._next_id(), side, quantity, limit, TimeInForce.IOC)
        for match in outcome.matches:
            self._changed[side.opposite][match.price] = None
            self._show_trade(match, side)

    def _quote(self) -> None:
        """Makers take away what the value has passed or left far behind, and refill both sides around it."""
        value = math.exp(self._value)
        half = value * (2e-6 + 0.12 * self.volatility * self._random.uniform(0.3, 1.0))
        for side in (Side.BUY, Side.SELL):
            sign = 1.0 if side is Side.BUY else -1.0
            self._withdraw(side, value - sign * half, value * (1 - sign * 0.004))
            self._refill(side, value, half)

    def _withdraw(self, side: Side, nearest: float, farthest: float) -> None:
        low, high = (farthest, nearest) if side is Side.BUY else (nearest, farthest)
        rng = self._random
        for order_id, price, _ in list(self.book.orders(side)):
            outside = not low <= float(price) <= high
            if outside or rng.random() < 0.02:
                self.book.cancel(order_id)
                self._changed[side][price] = None

    def _refill(self, side: Side, value: float, half: float) -> None:
        rng = self._random
        sign = 1.0 if side is Side.BUY else -1.0
        tick = float(self.rules.tick_size)
        missing = LEVELS - sum(1 for _ in self.book.orders(side))
        best = self.book.best(side)
        # The touch is quoted anew when it was taken; the rest falls where an exponential law puts it.
        wide = best is None or sign * (value - float(best)) > 3 * half + tick
        for number in range(max(missing, 1 if wide else 0)):
            distance = half if number == 0 and wide else half + rng.expovariate(1.0) * value * 6e-4
            price = self._inside(side, self._price(value - sign * distance, side))
            size = TOUCH_USD * rng.lognormvariate(-0.5, 0.9) * (1 + distance / (value * 5e-4))
            self.book.place(self._next_id(), side, self._quantity(size), price, post_only=True)
            self._changed[side][price] = None

    def _inside(self, side: Side, price: Decimal) -> Decimal:
        """Return `price`, or the nearest that does not trade."""
        other = self.book.best(side.opposite)
        if other is None:
            return price
        tick = self.rules.tick_size
        return min(price, other - tick) if side is Side.BUY else max(price, other + tick)

    def _price(self, value: float, side: Side) -> Decimal:
        price = to_decimal(value, self.rules.tick_size)
        return price if side is Side.BUY else price + self.rules.tick_size

    def _quantity(self, notional: float) -> Decimal:
        return max(to_decimal(notional / math.exp(self._value), self.rules.step_size), self.rules.min_quantity)

    def _next_id(self) -> str:
        self._order += 1
        return str(self._order)


class SyntheticMarket:
    """Several symbols' order flow. `snapshots` first, then `advance` as often as time passes.

    Parameters
    ----------
    rules
        The symbols, with their ticks and lots.
    seed
        What the flow is drawn from.
    start_ns
        Nanoseconds since the epoch at which it begins.
    """

    def __init__(self, rules: Sequence[MarketRules], *, seed: int, start_ns: int) -> None:
        self._assets = [_Asset(rule, seed, start_ns) for rule in rules]
        self._next_ns = start_ns

    def snapshots(self) -> dict[str, bytes]:
        """Return each symbol's book as it stands, as a REST body."""
        return {asset.rules.symbol: asset.snapshot() for asset in self._assets}

    def skip(self, until_ns: int) -> None:
        """Let time pass in which nothing happens, as over a stock market's night."""
        self._next_ns = max(self._next_ns, until_ns)

    def advance(self, until_ns: int) -> Iterator[tuple[int, bytes]]:
        """Yield (stamp in ns, combined-stream envelope) of every whole tenth of a second up to `until_ns`."""
        while self._next_ns + STEP_NS <= until_ns:
            lines = [line for asset in self._assets for line in asset.step(self._next_ns)]
            lines.sort(key=lambda line: line[0])
            self._next_ns += STEP_NS
            yield from lines


def _text(value: Decimal) -> str:
    return format(value, ".8f")


def _poisson(rng: random.Random, mean: float) -> int:
    """Return a Poisson draw (Knuth's product of uniforms; the means here are far below where it underflows)."""
    limit, count, product = math.exp(-min(mean, 500.0)), 0, rng.random()
    while product > limit:
        count += 1
        product *= rng.random()
    return count
