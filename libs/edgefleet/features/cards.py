"""What every feature is: formula, unit, inputs, window, warm-up, source. Computes none of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Literal

import msgspec

from edgefleet.features.spec import TRADING_YEAR_S, FeatureSpec

EDITION = 1  # raised when the same market and the same spec give other numbers

Begin = Literal["top", "book", "trades", "bars"]  # what warm-up is counted from, and in seconds or closed bars


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """What one family of features says of itself."""

    family: str
    summary: str
    formula: str
    inputs: tuple[str, ...]
    unit: str
    window: str
    warm_up: str  # how much data until it is given
    absent: str  # when it is not given although it is warm
    source: str
    tolerance: float = 0.0  # largest relative difference of the two forms; 0: equal to the last bit


class Feature(msgspec.Struct, frozen=True):
    """One number by name, and how it is warmed up."""

    name: str
    family: str
    size: int  # levels, seconds or bars; 0: none
    begin: Begin
    warm_up: int  # whole seconds of history, or closed bars; 0: the first of its inputs


def features(spec: FeatureSpec) -> tuple[Feature, ...]:
    """Return every feature that `spec` asks for, in the order in which values are given."""
    return tuple(feature for family in spec.families for feature in _OF[family](spec))


def definitions(spec: FeatureSpec) -> dict[str, str]:
    """Return, by name, all that decides each feature's value: what a store tells two definitions apart by.

    Examples
    --------
    >>> definitions(FeatureSpec(families=("ofi",), ofi_seconds=(10,)))
    {'ofi_10s': 'ofi(size=10, max_gap_s=300, top_from=auto, edition=1)'}
    """
    found = {}
    for feature in features(spec):
        settings = [f"size={feature.size}", *(f"{name}={getattr(spec, name)}" for name in _DECIDED_BY[feature.family])]
        found[feature.name] = f"{feature.family}({', '.join(settings)}, edition={EDITION})"
    return found


def _now(family: str) -> tuple[Feature, ...]:
    return (Feature(family, family, 0, "top", 0),)


def _spans(family: str, begin: Begin, seconds: Iterable[int]) -> tuple[Feature, ...]:
    return tuple(Feature(f"{family}_{_span(size)}", family, size, begin, size) for size in seconds)


def _span(seconds: int) -> str:
    return f"{seconds // 60}m" if seconds % 60 == 0 else f"{seconds}s"


def _levels(spec: FeatureSpec) -> tuple[Feature, ...]:
    return tuple(Feature(f"depth_imbalance_{k}", "depth_imbalance", k, "book", 0) for k in spec.depth_levels)


def _emas(spec: FeatureSpec) -> tuple[Feature, ...]:
    first = spec.ema_seed == "first"
    return tuple(Feature(f"ema_{span}", "ema", span, "bars", 1 if first else span) for span in spec.ema_bars)


def _macd(spec: FeatureSpec) -> tuple[Feature, ...]:
    fast, slow, signal = spec.macd_bars
    line, both = (1, 1) if spec.ema_seed == "first" else (slow, slow + signal - 1)
    name = f"{fast}_{slow}_{signal}"
    return (
        Feature(f"macd_{name}", "macd", slow, "bars", line),
        Feature(f"macd_signal_{name}", "macd", slow, "bars", both),
        Feature(f"macd_histogram_{name}", "macd", slow, "bars", both),
    )


_OF: Mapping[str, Callable[[FeatureSpec], tuple[Feature, ...]]] = {
    "mid": lambda _: _now("mid"),
    "spread_bps": lambda _: _now("spread_bps"),
    "microprice": lambda _: _now("microprice"),
    "top_imbalance": lambda _: _now("top_imbalance"),
    "depth_imbalance": _levels,
    "return": lambda spec: _spans("return", "top", spec.return_seconds),
    "volatility": lambda spec: _spans("volatility", "top", spec.volatility_seconds),
    "ofi": lambda spec: _spans("ofi", "top", spec.ofi_seconds),
    "volume": lambda spec: _spans("volume", "trades", spec.trade_seconds),
    "vwap": lambda spec: _spans("vwap", "trades", spec.trade_seconds),
    "trade_imbalance": lambda spec: _spans("trade_imbalance", "trades", spec.trade_seconds),
    "ema": _emas,
    "rsi": lambda spec: (Feature(f"rsi_{spec.rsi_bars}", "rsi", spec.rsi_bars, "bars", spec.rsi_bars + 1),),
    "macd": _macd,
    "atr": lambda spec: (Feature(f"atr_{spec.atr_bars}", "atr", spec.atr_bars, "bars", spec.atr_bars + 1),),
    "bollinger_z": lambda spec: (
        Feature(f"bollinger_z_{spec.bollinger_bars}", "bollinger_z", spec.bollinger_bars, "bars", spec.bollinger_bars),
    ),
}

_BY_TOP, _BY_BARS = ("max_gap_s", "top_from"), ("bar_ms",)
# What of a spec, beside its own size, decides the value of a feature.
_DECIDED_BY: Mapping[str, tuple[str, ...]] = {
    "mid": _BY_TOP,
    "spread_bps": _BY_TOP,
    "microprice": _BY_TOP,
    "top_imbalance": _BY_TOP,
    "depth_imbalance": ("max_gap_s",),
    "return": _BY_TOP,
    "volatility": (*_BY_TOP, "year_s"),
    "ofi": _BY_TOP,
    "volume": ("max_gap_s",),
    "vwap": ("max_gap_s",),
    "trade_imbalance": ("max_gap_s",),
    "ema": (*_BY_BARS, "ema_seed"),
    "rsi": _BY_BARS,
    "macd": (*_BY_BARS, "macd_bars", "ema_seed"),
    "atr": _BY_BARS,
    "bollinger_z": (*_BY_BARS, *_BY_TOP),
}

_TOP = ("best bid and ask",)
_NO_TOP = "no usable top"
_TRADES = "seconds (t - n, t], whole seconds of event time, the running one included"
_WARM_TRADES = "from the n-th second after that of the first trade on"
_WARM_TOP = "from the n-th second after that of the first usable top on"
_NO_SEED = "`sma`: the mean of the first n is the first value; `first`: the first close is"
_WILDER = "J. W. Wilder, New Concepts in Technical Trading Systems, 1978"

_CARDS = (
    Card(
        family="mid",
        summary="Price half-way between the best bid and ask",
        formula="(bid + ask)/2",
        inputs=_TOP,
        unit="quote per base unit",
        window="now",
        warm_up="the first usable top",
        absent=_NO_TOP,
        source="definition",
    ),
    Card(
        family="spread_bps",
        summary="Distance of the best ask from the best bid",
        formula="(ask - bid)/mid * 10,000",
        inputs=_TOP,
        unit="bps of the mid",
        window="now",
        warm_up="the first usable top",
        absent=_NO_TOP,
        source="definition",
    ),
    Card(
        family="microprice",
        summary="Mid weighted by the size on the other side",
        formula="(bid * ask_size + ask * bid_size)/(bid_size + ask_size)",
        inputs=_TOP,
        unit="quote per base unit",
        window="now",
        warm_up="the first usable top",
        absent=f"{_NO_TOP}, or both sizes zero",
        source="J. Gatheral and R. Oomen, Zero-intelligence realized variance estimation, Finance & Stochastics 14, "
        "2010 (the weighted mid; not Stoikov's micro-price of 2018, which is fitted)",
    ),
    Card(
        family="top_imbalance",
        summary="Which side waits with more at the best price",
        formula="(bid_size - ask_size)/(bid_size + ask_size)",
        inputs=_TOP,
        unit="fraction, -1 to 1",
        window="now",
        warm_up="the first usable top",
        absent=f"{_NO_TOP}, or both sizes zero",
        source="M. Gould and J. Bonart, Queue Imbalance as a One-Tick-Ahead Price Predictor, 2016",
    ),
    Card(
        family="depth_imbalance",
        summary="Which side waits with more on the best k levels",
        formula="(B - A)/(B + A), B and A the sums of the k best sizes, added from the best price outwards",
        inputs=("book snapshot and deltas",),
        unit="fraction, -1 to 1",
        window="now; k levels, or as many as a side has",
        warm_up="the first book snapshot",
        absent="no book, a side of it empty, or its best prices locked or crossed",
        source="Á. Cartea, S. Jaimungal and J. Penalva, Algorithmic and High-Frequency Trading, 2015, ch. 12",
    ),
    Card(
        family="return",
        summary="Change of the mid against n seconds ago",
        formula="mid(t)/mid(s) - 1, s the last whole second at least n before t, mid(s) the last at or before s",
        inputs=_TOP,
        unit="fraction",
        window="n seconds, and up to one more where t is between whole seconds",
        warm_up="once n whole seconds are over after that of the first usable top",
        absent=_NO_TOP,
        source="definition, on a grid so that memory is bounded",
    ),
    Card(
        family="volatility",
        summary="Standard deviation of one-second log returns of the mid, per year",
        formula="sqrt(v * year_s), v = (sum r^2 - (sum r)^2/n)/(n - 1), r = ln(mid(s)/mid(s - 1)) over the n newest "
        "whole seconds that are over; year_s by asset class",
        inputs=_TOP,
        unit="fraction per square root of a trading year",
        window="n returns of one second",
        warm_up="once n whole seconds after that of the first usable top are past",
        absent="never",
        source="T. Andersen and T. Bollerslev, Answering the Skeptics, 1998 (realised volatility); mean taken off. "
        "At one second the bounce of the mid is in it",
    ),
    Card(
        family="ofi",
        summary="Order-flow imbalance at the best prices: size that came to the bid less size that came to the ask",
        formula="sum of e = [b >= b'] q_b - [b <= b'] q_b' - [a <= a'] q_a + [a >= a'] q_a' from one usable top "
        "(primed) to the next",
        inputs=_TOP,
        unit="base units",
        window="seconds (t - n, t], whole seconds of event time, the running one included",
        warm_up=_WARM_TOP,
        absent="never",
        source="R. Cont, A. Kukanov and S. Stoikov, The Price Impact of Order Book Events, "
        "Journal of Financial Econometrics 12(1), 2014",
    ),
    Card(
        family="volume",
        summary="What was traded",
        formula="sum of q",
        inputs=("trades",),
        unit="base units",
        window=_TRADES,
        warm_up=_WARM_TRADES,
        absent="never: without a trade it is 0",
        source="definition",
    ),
    Card(
        family="vwap",
        summary="Mean price of what was traded, weighted by size",
        formula="sum of p q / sum of q",
        inputs=("trades",),
        unit="quote per base unit",
        window=_TRADES,
        warm_up=_WARM_TRADES,
        absent="no trade in the window",
        source="definition",
    ),
    Card(
        family="trade_imbalance",
        summary="Which side took more",
        formula="sum of s q / sum of q, s = 1 where the buyer took, -1 where the seller did",
        inputs=("trades",),
        unit="fraction, -1 to 1",
        window=_TRADES,
        warm_up=_WARM_TRADES,
        absent="no trade in the window",
        source="definition; the sign is the venue's word",
    ),
    Card(
        family="ema",
        summary="Exponential mean of closes",
        formula=f"E + (c - E) * 2/(n + 1); {_NO_SEED}",
        inputs=("closed bars",),
        unit="quote per base unit",
        window="all bars; the last n carry 86 %",
        warm_up="n bars (`sma`), one bar (`first`)",
        absent="never",
        source="TA-Lib EMA (`sma`)",
    ),
    Card(
        family="rsi",
        summary="Relative strength index",
        formula="100 G/(G + L), G and L Wilder's means of the rises and of the falls between closes",
        inputs=("closed bars",),
        unit="0 to 100",
        window="all bars",
        warm_up="n + 1 bars: the plain means of the first n changes begin it",
        absent="no close moved (TA-Lib says 0)",
        source=f"{_WILDER}; TA-Lib RSI",
    ),
    Card(
        family="macd",
        summary="Fast less slow exponential mean of closes; its own exponential mean (signal); line less signal "
        "(histogram)",
        formula="EMA_fast - EMA_slow; EMA_signal of that; seeded with `sma` the fast mean begins with the closes that "
        "end where the slow mean begins",
        inputs=("closed bars",),
        unit="quote per base unit",
        window="all bars",
        warm_up="line: slow bars; signal and histogram: slow + signal - 1 (`sma`); one bar (`first`)",
        absent="never",
        source="TA-Lib MACD (`sma`)",
    ),
    Card(
        family="atr",
        summary="Average true range",
        formula="Wilder's mean of max(high - low, |close' - high|, |close' - low|), close' of the bar before",
        inputs=("closed bars",),
        unit="quote per base unit",
        window="all bars",
        warm_up="n + 1 bars",
        absent="never",
        source=f"{_WILDER}; TA-Lib ATR",
    ),
    Card(
        family="bollinger_z",
        summary="How many deviations the mid is from the mean of the last closes",
        formula="(mid - m)/d, m and d mean and standard deviation (ddof 0) of the n newest closes",
        inputs=("closed bars", *_TOP),
        unit="standard deviations",
        window="n bars",
        warm_up="n bars and a usable top",
        absent=f"{_NO_TOP}, or n equal closes",
        source="J. Bollinger, Bollinger on Bollinger Bands, 2001; TA-Lib BBANDS",
    ),
)

CARDS: Mapping[str, Card] = MappingProxyType({card.family: card for card in _CARDS})

_HEAD = """\
Each number is computed in two forms that are equal to the last bit where no tolerance is named: event by event
(`edgefleet.features.FeatureEngine`), and over columns (`edgefleet.features.offline`, numpy). Both read event time only.

- **Time** is the largest `ts_event` of the instrument so far: a message that comes late counts as of now. **Whole
  seconds** are those of event time; what is stamped 5.0 s belongs to the 5th.
- **A usable top** has a positive best bid below the best ask. Another one is passed over: the features of the moment
  are absent until the next, and histories go on with the last. `top_from` says whether tops are the venue's
  quotes, the best of its book, or (`auto`) the best of its book until a quote has come.
- **Warm-up** is what a feature needs until it is first given; before that it is absent, never a number that stands for
  nothing. It begins anew when the venue's connection was lost (`VenueStatus` `disconnected`) and after `max_gap_s`
  without a message of the instrument or, for what comes from tops, without a usable top. In such a silence nothing is
  given. Indicators of bars go on: an interval without a trade makes no bar.
- **A trading year** is, for each asset class: {years}.
- **Bars** are `indicator_bar_ms` long, made of the trades; a bar is closed by the first trade of a later interval. Bars
  of that length that come as messages, such as history at the start, are taken where they are later than the last.
- **Sums over windows** are rounded once (`math.fsum`): no drift, however long a window has been rolling.
- A number that is not finite, a negative size and a trade without a price are refused (`Poison`), state unchanged."""


def page(spec: FeatureSpec | None = None) -> str:
    """Return `docs/reference/features.md` below its first comment; the names are those of `spec`."""
    asked = FeatureSpec() if spec is None else spec
    years = ", ".join(f"{name} {seconds / 3_600:g} h" for name, seconds in TRADING_YEAR_S.items())
    blocks = ["# Features", _HEAD.format(years=years)]
    for family in asked.families:
        card = CARDS[family]
        names = [f"`{feature.name}`" for feature in features(asked) if feature.family == family]
        tolerance = "equal to the last bit" if card.tolerance == 0 else f"within {card.tolerance:g} of the value"
        rows = (
            ("names", ", ".join(names)),
            ("formula", card.formula),
            ("inputs", ", ".join(card.inputs)),
            ("unit", card.unit),
            ("window", card.window),
            ("warm-up", card.warm_up),
            ("absent though warm", card.absent),
            ("two forms", tolerance),
            ("source", card.source),
        )
        lines = [f"| {key} | {value.replace('|', chr(92) + '|')} |" for key, value in rows]
        blocks.append(f"## {family}\n\n{card.summary}.\n\n" + "\n".join(("| | |", "| --- | --- |", *lines)))
    return "\n\n".join(blocks) + "\n"
