"""Markets for tests of features: short ones drawn at random with everything that happens to one, all in little time."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
from hypothesis import strategies as st

from edgefleet.features import FeatureSpec
from edgefleet.messages import Level, Message, VenueStatus
from edgefleet.testing import build

SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND
INSTRUMENT = build.INSTRUMENT

# Windows so short that a tape of some tens of messages warms them up, empties them and breaks them off.
SHORT = FeatureSpec(
    max_gap_s=8,
    depth_levels=(1, 2, 3),
    return_seconds=(1, 4),
    volatility_seconds=(2, 5),
    ofi_seconds=(1, 3),
    trade_seconds=(1, 4),
    bar_ms=1_000,
    ema_bars=(1, 3),
    rsi_bars=2,
    macd_bars=(2, 4, 2),
    atr_bars=2,
    bollinger_bars=3,
)
SPECS = (
    SHORT,
    msgspec.structs.replace(SHORT, top_from="quotes"),
    msgspec.structs.replace(SHORT, top_from="book", ema_seed="first"),
)

_WAITS = st.sampled_from(
    [0, 0, 0, 1, 1, 250_000_000, 250_000_000, 499_999_999, SECOND, SECOND, 2 * SECOND, 5 * SECOND, 9 * SECOND]
)
_TICKS = st.integers(9_996, 10_004)
_SIZES = st.sampled_from(["0", "0.1", "0.3", "1", "2.7", "0.00000001", "12345.678"])
_LEVELS = st.lists(st.tuples(_TICKS, _SIZES), max_size=4)


def _price(ticks: int) -> Decimal:
    return Decimal(ticks) / 100


def _levels(drawn: list[tuple[int, str]], shift: int) -> tuple[Level, ...]:
    return tuple((_price(ticks + shift), Decimal(size)) for ticks, size in drawn)


@st.composite
def _message(draw: st.DrawFn, ts: int) -> Message:
    """Draw one message, now and then stamped before the one before it."""
    ts_event = ts - draw(st.sampled_from([0, 0, 0, 0, 700_000_000]))
    stamp: dict[str, Any] = {"ts_event": ts_event}
    kind = draw(st.sampled_from(["quote"] * 9 + ["trade"] * 9 + ["snapshot"] * 2 + ["delta"] * 6 + ["bar", "status"]))
    if kind == "quote":
        bid = draw(_TICKS)
        ask = bid + draw(st.sampled_from([1, 1, 1, 2, 3, 0, -1]))
        sizes = Decimal(draw(_SIZES)), Decimal(draw(_SIZES))
        bid_price = Decimal(0) if draw(st.integers(0, 15)) == 0 else _price(bid)
        return build.quote(bid=bid_price, bid_size=sizes[0], ask=_price(ask), ask_size=sizes[1], **stamp)
    if kind == "trade":
        quantity = Decimal(draw(_SIZES.filter(lambda size: size != "0")))
        side = draw(st.sampled_from(["buy", "sell"]))
        return build.trade(price=_price(draw(_TICKS)), quantity=quantity, aggressor=side, **stamp)
    if kind == "bar":
        ticks = sorted((draw(_TICKS), draw(_TICKS), draw(_TICKS)))
        low, close, high = map(_price, ticks)
        width = draw(st.sampled_from([1_000, 1_000, 60_000]))
        stamp = {"ts_event": ts_event // SECOND * SECOND}
        return build.bar(interval_ms=width, open=low, high=high, low=low, close=close, **stamp)
    if kind == "status":
        status, detail = draw(st.sampled_from([("disconnected", ""), ("resync", f"{INSTRUMENT}: a gap")]))
        return VenueStatus(venue="sim", status=status, detail=detail, ts_init=ts_event, trace_id="s", **stamp)  # type: ignore[arg-type]
    bids, asks = _levels(draw(_LEVELS), -3), _levels(draw(_LEVELS), 3)
    make = build.book_snapshot if kind == "snapshot" else build.book_delta
    return make(bids=bids, asks=asks, **stamp)


@st.composite
def tapes(draw: st.DrawFn) -> list[Message]:
    """Draw a market of one instrument, in the order in which it came."""
    ts = START
    messages = []
    least = draw(st.sampled_from([1, 20, 50]))  # left to itself a list is short, and nothing warms up
    for wait in draw(st.lists(_WAITS, min_size=least, max_size=least + 20)):
        ts += wait
        messages.append(draw(_message(ts)))
    return messages
