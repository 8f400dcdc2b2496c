"""The usual way as a peer: windows held as arrays, and every feature recomputed over them with numpy for each event.

It is spared what it would cost to keep its windows: only the recomputing is timed. Indicators are taken over the last
`_BARS` bars as weighted sums, which is less than their definition asks.
"""

from __future__ import annotations

from collections import deque

import numpy as np
import numpy.typing as npt

from edgefleet.book import BarBuilder
from edgefleet.clock import NS_PER_S
from edgefleet.features.engine import flow
from edgefleet.features.spec import FeatureSpec
from edgefleet.messages.market import BookDelta, BookSnapshot, Quote, Trade

Floats = npt.NDArray[np.float64]

_BARS = 100
_MIDS = 3_602  # seconds of the longest volatility
_EVENTS = 200_000  # of a window at most


class Recomputing:
    """Windows of one instrument's market, and all usual features over them."""

    def __init__(self, spec: FeatureSpec) -> None:
        self._spec = spec
        self._top: tuple[float, float, float, float] | None = None
        self._mids: deque[float] = deque(maxlen=_MIDS)
        self._second = 0
        self._flows: deque[tuple[int, float]] = deque(maxlen=_EVENTS)
        self._trades: deque[tuple[int, float, float, float]] = deque(maxlen=_EVENTS)
        self._builder = BarBuilder(spec.bar_ms)
        self._bars: deque[tuple[float, float, float]] = deque(maxlen=_BARS)
        self._now = 0

    def follow(self, event: Quote | Trade | BookDelta | BookSnapshot) -> None:
        """Take an event into the windows."""
        self._now = max(self._now, event.ts_event)
        if isinstance(event, Quote):
            top = (float(event.bid), float(event.bid_size), float(event.ask), float(event.ask_size))
            if self._top is not None:
                self._flows.append((event.ts_event, flow(self._top, top)))
                missed = min(event.ts_event // NS_PER_S - self._second, _MIDS)
                self._mids.extend([(self._top[0] + self._top[2]) / 2] * missed)
            self._top, self._second = top, event.ts_event // NS_PER_S
        elif isinstance(event, Trade):
            sign = 1.0 if event.aggressor == "buy" else -1.0
            self._trades.append((event.ts_event, float(event.price), float(event.quantity), sign))
            bar = self._builder.add(event)
            if bar is not None:
                self._bars.append((float(bar.high), float(bar.low), float(bar.close)))

    def hold(self) -> None:
        """Lay the windows out as arrays, as one who recomputes would have them."""
        window = max(self._spec.trade_seconds) * NS_PER_S
        trades = [trade for trade in self._trades if trade[0] > self._now - window]
        flows = [one for one in self._flows if one[0] > self._now - max(self._spec.ofi_seconds) * NS_PER_S]
        self._at = np.array([trade[0] for trade in trades], np.int64)
        self._price, self._size, self._sign = (np.array([trade[n] for trade in trades]) for n in (1, 2, 3))
        self._flow_at = np.array([one[0] for one in flows], np.int64)
        self._flow = np.array([one[1] for one in flows])
        self._grid = np.array(self._mids)
        self._high, self._low, self._close = (np.array([bar[n] for bar in self._bars]) for n in range(3))

    def recompute(self) -> list[float]:
        """Return the features of windows and bars, each from its whole window. The book's are left out."""
        assert self._top is not None
        bid, bid_size, ask, ask_size = self._top
        mid = (bid + ask) / 2
        found = [mid, (ask - bid) / mid, (bid * ask_size + ask * bid_size) / (bid_size + ask_size)]
        found += [mid / float(self._grid[-n - 1]) - 1 for n in self._spec.return_seconds]
        changes = np.diff(np.log(self._grid))
        found += [float(changes[-n:].std(ddof=1)) for n in self._spec.volatility_seconds]
        found += [float(self._flow[self._since(self._flow_at, n) :].sum()) for n in self._spec.ofi_seconds]
        for n in self._spec.trade_seconds:
            since = self._since(self._at, n)
            size = self._size[since:]
            volume = float(size.sum())
            found += [volume, float(self._price[since:] @ size) / volume, float(self._sign[since:] @ size) / volume]
        return found + self._indicators()

    def _since(self, stamps: npt.NDArray[np.int64], seconds: int) -> int:
        return int(np.searchsorted(stamps, self._now - seconds * NS_PER_S, side="right"))

    def _indicators(self) -> list[float]:
        spec, closes = self._spec, self._close
        changes = np.diff(closes)
        rises, falls = np.maximum(changes, 0.0), np.maximum(-changes, 0.0)
        ranges = np.maximum(self._high[1:], closes[:-1]) - np.minimum(self._low[1:], closes[:-1])
        gain, loss = _weighted(rises, 1 / spec.rsi_bars), _weighted(falls, 1 / spec.rsi_bars)
        fast, slow, _ = spec.macd_bars
        found = [_weighted(closes, 2 / (span + 1)) for span in (*spec.ema_bars, fast, slow)]
        band = closes[-spec.bollinger_bars :]
        return [*found, 100 * gain / (gain + loss), _weighted(ranges, 1 / spec.atr_bars), float(band.std())]


def _weighted(terms: Floats, alpha: float) -> float:
    """Return the exponential mean of terms, the newest last."""
    weights = (1 - alpha) ** np.arange(len(terms))[::-1]
    return float(weights @ terms / weights.sum())
