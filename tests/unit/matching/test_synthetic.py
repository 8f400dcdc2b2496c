"""The synthetic market: the same from the same seed, honest on the wire, and shaped like a market."""

from __future__ import annotations

import math
from itertools import pairwise
from statistics import fmean, median

import pytest

from edgefleet.clock import NS_PER_S
from edgefleet.matching.filters import rules_for
from edgefleet.matching.recorded import RecordedBook
from edgefleet.matching.synthetic import SyntheticMarket
from edgefleet.matching.wire import BookTicker, DepthDiff, DepthSnapshot, Trade, decode

SECONDS = 900


def synthetic(seed: int = 7, *symbols: str) -> SyntheticMarket:
    return SyntheticMarket([rules_for(symbol) for symbol in symbols or ("BTC/USDT",)], seed=seed, start_ns=NS_PER_S)


def autocorrelation(values: list[float], lag: int) -> float:
    mean = fmean(values)
    centred = [value - mean for value in values]
    variance = sum(value * value for value in centred)
    return sum(a * b for a, b in zip(centred, centred[lag:], strict=False)) / variance


def excess_kurtosis(values: list[float]) -> float:
    mean = fmean(values)
    second = fmean([(value - mean) ** 2 for value in values])
    return fmean([(value - mean) ** 4 for value in values]) / second**2 - 3


@pytest.fixture(scope="module", params=[7, 8])
def mids(request: pytest.FixtureRequest) -> list[float]:
    """The mid at the end of every second."""
    by_second: dict[int, float] = {}
    for stamp, body in synthetic(request.param).advance(SECONDS * NS_PER_S):
        frame = decode(body)
        if isinstance(frame, BookTicker):
            by_second[stamp // NS_PER_S] = float(frame.b + frame.a) / 2
    return [by_second[second] for second in sorted(by_second)]


def test_returns_have_fat_tails_and_clustered_volatility(mids: list[float]) -> None:
    returns = [math.log(b / a) for a, b in pairwise(mids)]

    assert len(returns) > 0.95 * SECONDS
    assert excess_kurtosis(returns) > 1
    sizes = [abs(value) for value in returns]
    assert all(autocorrelation(sizes, lag) > 0 for lag in (1, 5, 10))
    assert abs(autocorrelation(returns, 1)) < 0.2


def test_wire_is_consistent_with_itself() -> None:
    market = synthetic()
    book = RecordedBook()
    snapshot = decode(market.snapshots()["BTCUSDT"])
    assert isinstance(snapshot, DepthSnapshot)
    book.snapshot(snapshot)
    last_ticker: BookTicker | None = None
    compared, stamps, spreads, depths = 0, [0], [], []

    for stamp, body in market.advance(120 * NS_PER_S):
        frame = decode(body)
        assert stamp >= stamps[-1]
        stamps.append(stamp)
        if isinstance(frame, BookTicker):
            last_ticker = frame
            spreads.append(float((frame.a - frame.b) / frame.b) * 1e4)
        elif isinstance(frame, DepthDiff):
            assert book.last_update_id + 1 == frame.U
            book.diff(frame)
            bid, ask = book.bids.best(), book.asks.best()
            assert bid is not None
            assert ask is not None
            assert bid[0] < ask[0]
            depths.append(min(len(book.bids), len(book.asks)))
            if last_ticker is not None and last_ticker.u == frame.u:
                assert (bid, ask) == ((last_ticker.b, last_ticker.B), (last_ticker.a, last_ticker.A))
                compared += 1

    assert compared > 100
    assert book.gaps == 0
    assert min(spreads) > 0
    assert median(spreads) < 5  # basis points
    assert min(depths) >= 10


def test_trades_keep_the_trading_rules() -> None:
    rules = rules_for("BTC/USDT")
    trades = [frame for _, body in synthetic().advance(60 * NS_PER_S) if isinstance(frame := decode(body), Trade)]

    assert len(trades) > 60
    assert all(not trade.p % rules.tick_size and not trade.q % rules.step_size for trade in trades)
    assert {trade.m for trade in trades} == {True, False}
    assert [trade.t for trade in trades] == list(range(1, len(trades) + 1))


def test_same_seed_gives_the_same_bytes_however_it_is_advanced() -> None:
    whole = list(synthetic(3, "BTC/USDT", "ETH/USDT").advance(20 * NS_PER_S))

    parts = synthetic(3, "BTC/USDT", "ETH/USDT")
    pieces = [line for until in (1, 2, 7, 7, 20) for line in parts.advance(until * NS_PER_S)]

    assert pieces == whole
    assert list(synthetic(4, "BTC/USDT", "ETH/USDT").advance(20 * NS_PER_S)) != whole


def test_another_symbol_does_not_change_the_first() -> None:
    alone = list(synthetic(3, "BTC/USDT").advance(20 * NS_PER_S))
    beside = [line for line in synthetic(3, "BTC/USDT", "ETH/USDT").advance(20 * NS_PER_S) if b"BTCUSDT" in line[1]]

    assert beside == alone
