"""Indicators of closed bars, updated bar by bar. Knows nothing of how bars are made."""

from __future__ import annotations

import math

import msgspec

from edgefleet.features.spec import FeatureSpec
from edgefleet.stats.smoothing import Ema, Wilder


class Rsi(msgspec.Struct):
    """Wilder's relative strength index: his means of gains and of losses between closes."""

    gains: Wilder
    losses: Wilder
    close: float | None = None

    def update(self, close: float) -> None:
        """Take a close."""
        before, self.close = self.close, close
        if before is not None:
            change = close - before
            self.gains.update(change if change > 0 else 0.0)
            self.losses.update(-change if change < 0 else 0.0)

    @property
    def value(self) -> float | None:
        """Return 100 gains/(gains + losses), None before the means are or where no close ever moved in them."""
        gains, losses = self.gains.value, self.losses.value
        if gains is None or losses is None or not gains + losses > 0:
            return None
        return 100.0 * (gains / (gains + losses))


class Macd(msgspec.Struct):
    """A fast exponential mean less a slow one, and the exponential mean of that.

    Seeded with plain means, the fast one begins with the closes that end where the slow one begins (TA-Lib).
    """

    fast: Ema
    slow: Ema
    signal: Ema
    line: float | None = None

    @classmethod
    def of(cls, spec: FeatureSpec) -> Macd:
        """Return the indicator before any bar."""
        fast, slow, signal = spec.macd_bars
        skip = slow - fast if spec.ema_seed == "sma" else 0
        return cls(Ema(fast, spec.ema_seed, skip), Ema(slow, spec.ema_seed), Ema(signal, spec.ema_seed))

    def update(self, close: float) -> None:
        """Take a close."""
        fast, slow = self.fast.update(close), self.slow.update(close)
        if fast is not None and slow is not None:
            self.line = fast - slow
            self.signal.update(self.line)


class Atr(msgspec.Struct):
    """Wilder's average true range: his mean of each bar's range, the close before it included."""

    ranges: Wilder
    close: float | None = None

    def update(self, high: float, low: float, close: float) -> None:
        """Take a bar."""
        before, self.close = self.close, close
        if before is not None:
            self.ranges.update(max(high - low, abs(before - high), abs(before - low)))


class Indicators(msgspec.Struct):
    """Everything that is computed of bars. Changed in place."""

    emas: list[Ema]
    rsi: Rsi
    macd: Macd
    atr: Atr
    band_bars: int
    closes: list[float] = []  # the newest `band_bars`
    band: tuple[float, float] | None = None  # mean and deviation of `closes`
    end: int = 0  # ns, end of the newest bar

    @classmethod
    def of(cls, spec: FeatureSpec) -> Indicators:
        """Return the indicators before any bar."""
        return cls(
            [Ema(span, spec.ema_seed) for span in spec.ema_bars],
            Rsi(Wilder(spec.rsi_bars), Wilder(spec.rsi_bars)),
            Macd.of(spec),
            Atr(Wilder(spec.atr_bars)),
            spec.bollinger_bars,
        )

    def update(self, high: float, low: float, close: float, end: int) -> None:
        """Take a closed bar; one that is not later than the last was seen already."""
        if end <= self.end:
            return
        self.end = end
        for ema in self.emas:
            ema.update(close)
        self.rsi.update(close)
        self.macd.update(close)
        self.atr.update(high, low, close)
        self.closes.append(close)
        del self.closes[: -self.band_bars]
        self.band = band(self.closes) if len(self.closes) == self.band_bars else None


def band(closes: list[float]) -> tuple[float, float]:
    """Return mean and standard deviation (ddof 0) of closes."""
    mean = math.fsum(closes) / len(closes)
    return mean, math.sqrt(math.fsum((close - mean) * (close - mean) for close in closes) / len(closes))
