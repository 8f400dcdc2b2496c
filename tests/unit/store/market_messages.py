"""Market messages of every kind, drawn by hypothesis or counted out. Knows no archive."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from edgefleet.messages import (
    Bar,
    Beat,
    BookDelta,
    BookSnapshot,
    News,
    OnChain,
    Quote,
    Touch,
    TouchAge,
    Trade,
    VenueStatus,
)
from edgefleet.store.market.kinds import MarketMessage

DAY = 86_400 * 1_000_000_000
START = 19_944 * DAY - 5_000  # five microseconds before a midnight


def numbered(first: int, count: int, instrument: str = "BTC/USDT@binance", step_ns: int = 1) -> list[MarketMessage]:
    """Return trades, quotes and deltas in turn, across a midnight, each with its number in it."""
    return [_numbered(n, instrument, step_ns) for n in range(first, first + count)]


def _numbered(n: int, instrument: str, step_ns: int) -> MarketMessage:
    price, size = Decimal(60_000) + Decimal(n).scaleb(-2), Decimal(n % 97).scaleb(-3)
    stamps: dict[str, Any] = {"ts_event": START + n * step_ns, "ts_init": START + n * step_ns, "trace_id": f"t:{n}"}
    match n % 3:
        case 0:
            return Trade(instrument=instrument, trade_id=str(n), price=price, quantity=size, aggressor="buy", **stamps)
        case 1:
            return Quote(
                instrument=instrument, bid=price, bid_size=size, ask=price + 1, ask_size=size, update_id=n, **stamps
            )
        case _:
            levels = tuple((price - k, size + k) for k in range(n % 5))
            return BookDelta(instrument=instrument, first_update_id=n, last_update_id=n, bids=levels, asks=(), **stamps)


amounts = st.builds(
    lambda whole, digits: Decimal(whole).scaleb(-digits), st.integers(-(10**18), 10**18), st.integers(-1, 18)
)
stamps = st.integers(0, 2**63 - 2 * DAY)
instruments = st.sampled_from(["BTC/USDT@binance", "XXX/USD@xnys", "BTC/USDT:USDT@okx", "Ä=%/ b@v"])
texts = st.text(max_size=8)
ids = st.integers(-(2**63), 2**63 - 1)
levels = st.lists(st.tuples(amounts, amounts), max_size=6).map(tuple)
common: dict[str, Any] = {"ts_event": stamps, "ts_init": stamps, "trace_id": texts}
named: dict[str, Any] = {"instrument": instruments, **common}
numbers = st.floats(allow_nan=False, allow_infinity=False)
touch_ages = st.builds(
    TouchAge,
    instrument=instruments,
    bid=st.none() | amounts,
    ask=st.none() | amounts,
    age_ms=st.none() | st.integers(0, 10**9),
)
tops: dict[str, Any] = {"bid": amounts, "bid_size": amounts, "ask": amounts, "ask_size": amounts}
messages = st.one_of(
    st.builds(
        Trade, trade_id=texts, price=amounts, quantity=amounts, aggressor=st.sampled_from(["buy", "sell"]), **named
    ),
    st.builds(Quote, update_id=ids, **tops, **named),
    st.builds(Touch, **tops, **named),
    st.builds(BookSnapshot, update_id=ids, bids=levels, asks=levels, **named),
    st.builds(BookDelta, first_update_id=ids, last_update_id=ids, bids=levels, asks=levels, **named),
    st.builds(
        Bar, interval_ms=ids, open=amounts, high=amounts, low=amounts, close=amounts, volume=amounts, trades=ids,
        backfill=st.booleans(), **named,
    ),
    st.builds(Beat, venue=st.just("okx"), touches=st.lists(touch_ages, max_size=4).map(tuple), **common),
    st.builds(
        VenueStatus, venue=st.just("okx"), status=st.sampled_from(["connected", "ended"]), detail=texts, **common
    ),
    st.builds(News, headline=texts, sentiment=numbers, impact=numbers, source=texts, **named),
    st.builds(OnChain, metric=texts, value=numbers, unit=texts, provider=texts, **named),
)  # fmt: skip
