"""The engine of features: what it refuses, when it begins to speak, what it forgets."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from tests.unit.features.tapes import INSTRUMENT, SECOND, SHORT, START

from edgefleet.errors import Poison
from edgefleet.features import FeatureEngine, FeatureSpec
from edgefleet.features.cards import features
from edgefleet.features.engine import digest
from edgefleet.messages import Message, VenueStatus
from edgefleet.params.schema import FeaturesParams
from edgefleet.testing import build


def engine_after(*messages: Message, spec: FeatureSpec = SHORT) -> FeatureEngine:
    engine = FeatureEngine(INSTRUMENT, spec)
    for message in messages:
        engine.on_message(message)
    return engine


def status(word: str, at: int, *, venue: str = "sim", detail: str = "") -> VenueStatus:
    return VenueStatus(venue=venue, status=word, detail=detail, ts_event=at, ts_init=at, trace_id="s")  # type: ignore[arg-type]


def warm(seconds: int = 12, spec: FeatureSpec = SHORT) -> FeatureEngine:
    """Return an engine that has had a snapshot, then a quote, a trade and a change of the book in every second."""
    engine = FeatureEngine(INSTRUMENT, spec)
    engine.on_message(build.book_snapshot(ts_event=START))
    for second in range(seconds):
        at, up = START + second * SECOND, Decimal(second % 3)
        engine.on_message(build.quote(bid=60_000 + up, ask=60_001 + up, ts_event=at))
        engine.on_message(build.trade(price=60_000 + up, ts_event=at))
        engine.on_message(build.book_delta(ts_event=at))
    return engine


# --- what is said


def test_everything_is_known_once_it_is_warm() -> None:
    assert list(warm().values()) == [feature.name for feature in features(SHORT)]


def test_the_numbers_of_one_moment_are_the_cards_formulas() -> None:
    top: dict[str, Any] = {"bid": Decimal(99), "bid_size": Decimal(3), "ask": Decimal(101), "ask_size": Decimal(1)}

    said = engine_after(build.quote(**top)).values()

    assert said == {"mid": 100.0, "spread_bps": 200.0, "microprice": 100.5, "top_imbalance": 0.5}


def test_annual_volatility_of_a_known_walk() -> None:
    """Returns of plus and minus x in turn deviate by x sqrt(n/(n - 1)) a second."""
    spec = FeatureSpec(volatility_seconds=(4,), year_s=252 * 6.5 * 3_600)
    quotes = [
        build.quote(bid=Decimal(price) - 1, ask=Decimal(price) + 1, ts_event=START + second * SECOND)
        for second, price in enumerate((100, 101, 100, 101, 100, 101, 100))
    ]

    said = engine_after(*quotes, spec=spec).values()

    x = 0.009950330853168083  # ln 1.01
    assert said["volatility_4s"] == pytest.approx(x * (4 / 3) ** 0.5 * (252 * 6.5 * 3_600) ** 0.5, rel=1e-12)


def test_asset_classes_have_their_own_year() -> None:
    crypto, stock = (FeatureSpec.of(FeaturesParams(), kind).year_s for kind in ("crypto", "us_stocks"))

    assert (crypto, stock) == (31_536_000.0, 5_896_800.0)


def test_order_flow_of_the_papers_cases() -> None:
    """Size added at the bid counts up, a bid that left counts its whole size down; the ask the other way round."""

    def told(bid: int, bid_size: int, ask: int, ask_size: int, second: int) -> Message:
        sizes = {"bid_size": Decimal(bid_size), "ask_size": Decimal(ask_size)}
        return build.quote(bid=Decimal(bid), ask=Decimal(ask), **sizes, ts_event=START + second * SECOND)

    engine = engine_after(told(100, 5, 102, 5, 0), told(100, 7, 102, 5, 2), spec=FeatureSpec(ofi_seconds=(1,)))
    assert engine.values()["ofi_1s"] == 2.0  # added at the bid

    for top, flow in (
        ((99, 4, 102, 5), -7.0),  # the bid of 7 is gone
        ((99, 4, 101, 3), -3.0),  # a better ask of 3
        ((100, 6, 101, 3), 6.0),  # a better bid of 6
        ((100, 6, 103, 9), 3.0),  # the ask of 3 is gone
    ):
        last = engine.state.time // SECOND - START // SECOND
        engine.on_message(told(*top, last + 2))
        assert engine.values()["ofi_1s"] == flow


# --- when it begins and ends


@pytest.mark.parametrize("feature", features(SHORT), ids=lambda feature: feature.name)
def test_each_feature_begins_when_its_card_says(feature: Any) -> None:
    """A quote, a trade and a book in each second from the middle of one; a bar closes with each second's trade."""
    engine = FeatureEngine(INSTRUMENT, SHORT)
    begun = None
    for step in range(40):
        at = START + step * SECOND + SECOND // 2
        engine.on_message(build.book_snapshot(ts_event=at))
        engine.on_message(build.quote(bid=Decimal(99 + step % 2), ask=Decimal(101), ts_event=at))
        engine.on_message(build.trade(price=Decimal(100 + step % 2), ts_event=at))
        if feature.name in engine.values():
            begun = step
            break

    # The first second is heard from its middle on: its whole seconds are counted from its end. A return's second is
    # looked up, so it must have been reached; a bar needs the trade that closes it.
    extra = {"top": 1 if feature.family in {"return", "volatility"} else 0}.get(feature.begin, 0)
    assert begun == feature.warm_up + (extra if feature.warm_up else 0)


def test_a_silence_makes_everything_unknown_and_windows_begin_anew() -> None:
    engine = warm()
    last = engine.state.time

    assert engine.values(last + 8 * SECOND)
    assert engine.values(last + 8 * SECOND + 1) == {}

    engine.on_message(build.quote(ts_event=last + 9 * SECOND))
    said = set(engine.values())
    assert {"mid", "rsi_2", "ema_3"} <= said  # bars go on
    assert not said & {"return_1s", "volatility_2s", "ofi_1s", "volume_1s", "depth_imbalance_1"}


def test_prices_end_when_only_trades_go_on() -> None:
    engine = warm()
    last = engine.state.time
    for second in range(1, 10):
        engine.on_message(build.trade(ts_event=last + second * SECOND))

    said = set(engine.values())

    assert "volume_4s" in said
    assert not said & {"mid", "return_1s", "volatility_2s", "ofi_1s", "bollinger_z_3", "depth_imbalance_1"}


def test_a_lost_connection_is_forgotten_at_once() -> None:
    engine = warm()
    engine.on_message(status("disconnected", engine.state.time))

    assert set(engine.values()) == {f.name for f in features(SHORT) if f.begin == "bars" and f.family != "bollinger_z"}


@pytest.mark.parametrize(
    "message",
    [
        status("disconnected", START + 12 * SECOND, venue="other"),
        status("connected", START + 12 * SECOND),
        status("resync", START + 12 * SECOND, detail="ETH/USDT@sim: a gap"),
        build.quote(instrument="ETH/USDT@sim", bid=Decimal(1), ask=Decimal(2)),
        build.beat(),
    ],
    ids=lambda message: type(message).__name__,
)
def test_what_does_not_concern_it_is_passed_over(message: Message) -> None:
    engine = warm()
    before = engine.values()

    engine.on_message(message)

    assert engine.values() == before


def test_a_lost_book_takes_only_the_depth_along() -> None:
    engine = warm()
    before = set(engine.values())
    engine.on_message(status("resync", engine.state.time, detail=f"{INSTRUMENT}: expected update 5, got 7"))
    engine.on_message(build.book_delta(ts_event=engine.state.time))

    assert before - set(engine.values()) == {"depth_imbalance_1", "depth_imbalance_2", "depth_imbalance_3"}


def test_a_venue_without_quotes_has_its_top_in_the_book_until_one_comes() -> None:
    engine = engine_after(build.book_snapshot())
    assert engine.values()["mid"] == 60_000.0

    engine.on_message(build.quote(bid=Decimal(59_997), ask=Decimal(60_001)))
    engine.on_message(build.book_delta())

    assert engine.values()["mid"] == 59_999.0


def test_a_crossed_top_is_no_price_and_histories_go_on() -> None:
    engine = warm()
    engine.on_message(build.quote(bid=Decimal(5), ask=Decimal(4), ts_event=engine.state.time))

    said = set(engine.values())

    assert not said & {"mid", "spread_bps", "microprice", "top_imbalance", "return_1s", "bollinger_z_3"}
    assert {"volatility_2s", "ofi_1s", "volume_1s"} <= said


def test_a_stock_quote_of_nothing_is_no_price() -> None:
    empty = {"bid": Decimal(0), "bid_size": Decimal(0), "ask": Decimal(0), "ask_size": Decimal(0)}

    assert "mid" not in engine_after(build.quote(), build.quote(**empty)).values()


def test_backfilled_bars_warm_indicators_up_before_any_trade() -> None:
    ends = [START + n * 60 * SECOND for n in range(1, 40)]
    bars = [build.bar(interval_ms=60_000, backfill=True, ts_event=end) for end in ends]

    said = engine_after(*bars, spec=FeatureSpec()).values()

    assert {"ema_9", "ema_21", "macd_12_26_9", "macd_signal_12_26_9", "atr_14"} <= set(said)
    assert "rsi_14" not in said  # no close moved


def test_a_bar_that_was_seen_is_not_taken_twice() -> None:
    once = [build.bar(interval_ms=1_000, ts_event=START + n * SECOND, close=Decimal(59_999 + n)) for n in range(1, 9)]

    assert engine_after(*once, *once).values() == engine_after(*once).values()


# --- what is refused

NAN, INFINITE, SIGNAL, HUGE = Decimal("NaN"), Decimal("Infinity"), Decimal("sNaN"), Decimal("1e400")


@pytest.mark.parametrize("wrong", [NAN, INFINITE, SIGNAL, HUGE, *map(Decimal, ("-1", "1e16", "1e-30"))], ids=str)
@pytest.mark.parametrize(
    "message",
    [
        lambda x: build.quote(bid=x),
        lambda x: build.quote(ask_size=x),
        lambda x: build.trade(price=x),
        lambda x: build.trade(quantity=x),
        lambda x: build.book_delta(bids=((Decimal(1), Decimal(1)), (x, Decimal(1)))),
        lambda x: build.book_snapshot(asks=((Decimal(1), x),)),
        lambda x: build.bar(interval_ms=1_000, close=x),
    ],
    ids=["bid", "ask_size", "price", "quantity", "level", "level_size", "close"],
)
def test_a_number_that_cannot_be_is_poison_and_changes_nothing(
    message: Callable[[Decimal], Message], wrong: Decimal
) -> None:
    engine = warm()
    before = msgspec.msgpack.encode(engine.state)

    with pytest.raises(Poison, match=r"v1 sim:BTCUSDT:1: .*was"):
        engine.on_message(message(wrong))

    assert msgspec.msgpack.encode(engine.state) == before


@pytest.mark.parametrize("field", ["price", "quantity"])
def test_a_trade_for_nothing_is_poison(field: str) -> None:
    with pytest.raises(Poison, match="traded price or size"):
        engine_after(build.trade(**{field: Decimal(0)}))


def test_what_was_is_not_read_after_something_newer_came() -> None:
    engine = warm()

    with pytest.raises(ValueError, match="cannot be read after"):
        engine.values(engine.state.time - 1)


def test_a_state_of_another_question_is_not_used() -> None:
    used = warm()

    assert FeatureEngine(INSTRUMENT, SHORT, used.state).values() == used.values()
    assert FeatureEngine(INSTRUMENT, FeatureSpec(), used.state).values() == {}


# --- what it costs and what it is called


def test_only_the_families_asked_for_are_computed() -> None:
    spec = msgspec.structs.replace(SHORT, families=("mid", "volume"), top_from="quotes")
    engine = warm(spec=spec)

    assert list(engine.values()) == ["mid", "volume_1s", "volume_4s"]
    assert engine.state.ladder is None
    assert engine.state.indicators.end == 0


def test_memory_is_bounded_by_the_windows() -> None:
    engine = warm(2_000)

    size = len(msgspec.msgpack.encode(engine.state))

    assert size < 10_000
    assert len(msgspec.msgpack.encode(warm(4_000).state)) < 1.5 * size


def test_equal_features_have_one_name_and_others_another() -> None:
    said = warm().values()

    assert digest(said) == digest(warm().values())
    assert digest(said) != digest(said | {"mid": said["mid"] + 1e-9})
    assert digest({"a": 1.0}) != digest({"b": 1.0})


def test_the_engine_does_without_numpy() -> None:
    ask = "import sys, edgefleet.features; print(' '.join(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True).stdout.split()

    assert not {"numpy", "pandas", "pyarrow"} & set(loaded)
