"""Every kind of bad data is found, named and counted; sound data passes, the recorded day above all."""

from __future__ import annotations

import random
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from edgefleet.book.quality import Fault, Judgement, QualityMonitor, contradicts_itself
from edgefleet.book.sessions import calendar_for
from edgefleet.book.trade_bars import TimeBars
from edgefleet.clock import NS_PER_MS, NS_PER_S
from edgefleet.messages import Bar, Quote, Trade
from edgefleet.params.schema.quality import QualityParams
from edgefleet.testing import build
from edgefleet.venues.binance.feed import BinanceFeed
from edgefleet.venues.tape import read_tape

D = Decimal
START = 1_700_006_400 * NS_PER_S
BTC = "BTC/USDT@sim"


class Market:
    """A monitor and one instrument's events, each a millisecond after the last."""

    def __init__(self, **params: Any) -> None:
        self.monitor = QualityMonitor(QualityParams(**params), counting_venues=["sim"])
        self.ts, self.id, self.update = START, 100, 100

    def trade(self, price: str = "100", quantity: str = "1", step_ms: float = 1, **changes: Any) -> Judgement:
        self.ts, self.id = self.ts + int(step_ms * NS_PER_MS), self.id + 1
        usual = {"trade_id": str(self.id), "ts_event": self.ts, "ts_init": self.ts}
        return self.monitor.on_trade(build.trade(price=D(price), quantity=D(quantity), **{**usual, **changes}))

    def quote(self, bid: str = "99", ask: str = "101", step_ms: float = 1, **changes: Any) -> Judgement:
        self.ts, self.update = self.ts + int(step_ms * NS_PER_MS), self.update + 1
        usual = {"update_id": self.update, "ts_event": self.ts, "ts_init": self.ts}
        return self.monitor.on_quote(build.quote(bid=D(bid), ask=D(ask), **{**usual, **changes}))


def faults(judgement: Judgement) -> list[Fault]:
    return [finding.fault for finding in judgement.findings]


def test_sound_trades_and_quotes_pass() -> None:
    market = Market()

    for _ in range(20):
        assert market.quote() == market.trade() == Judgement("pass")
    assert market.monitor.counts(BTC) == {}
    assert market.monitor.verdict(BTC) == market.monitor.verdict("never/SEEN@sim") == "pass"


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"price": "10000"}, Fault.PRICE_LEAP),
        ({"price": "1"}, Fault.PRICE_LEAP),
        ({"price": "0"}, Fault.PRICE_NOT_POSITIVE),
        ({"price": "-5"}, Fault.PRICE_NOT_POSITIVE),
        ({"quantity": "0"}, Fault.VOLUME_NOT_POSITIVE),
        ({"quantity": "-1"}, Fault.VOLUME_NOT_POSITIVE),
        ({"quantity": "100000"}, Fault.VOLUME_ABSURD),
        ({"trade_id": "110"}, Fault.DUPLICATE),
        ({"step_ms": -1_500}, Fault.OUT_OF_ORDER),
    ],
)
def test_a_trade_that_cannot_be_is_kept_out_by_name(changes: dict[str, Any], fault: Fault) -> None:
    market = Market(volume_trades=10)
    for _ in range(20):
        market.trade()

    judgement = market.trade(**changes)

    assert (judgement.verdict, faults(judgement)) == ("quarantine", [fault])
    assert market.monitor.counts(BTC) == {fault: 1}
    assert market.monitor.verdict(BTC) == "pass", "one bad trade does not take its instrument out"


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"bid": "9900", "ask": "10100"}, Fault.PRICE_LEAP),
        ({"ask": "10100"}, Fault.PRICE_LEAP),
        ({"bid": "0.99"}, Fault.PRICE_LEAP),
        ({"bid": "0"}, Fault.PRICE_NOT_POSITIVE),
        ({"bid": "0", "ask": "0"}, Fault.PRICE_NOT_POSITIVE),
        ({"ask": "0"}, Fault.PRICE_NOT_POSITIVE),
        ({"bid": "101"}, Fault.CROSSED),
        ({"bid": "102"}, Fault.CROSSED),
        ({"bid_size": D(-1)}, Fault.VOLUME_NOT_POSITIVE),
        ({"update_id": 105}, Fault.OUT_OF_ORDER),
        ({"update_id": 120}, Fault.DUPLICATE),
        ({"step_ms": -1_500}, Fault.OUT_OF_ORDER),
    ],
)
def test_a_quote_that_cannot_be_is_kept_out_by_name(changes: dict[str, Any], fault: Fault) -> None:
    market = Market()
    for _ in range(20):
        market.quote()

    judgement = market.quote(**changes)

    assert (judgement.verdict, faults(judgement)) == ("quarantine", [fault])


def test_a_stamp_of_the_future_is_kept_out_and_does_not_become_the_time() -> None:
    market = Market(ahead_ms=1_000)
    market.trade()
    market.quote()

    for say in (market.trade, market.quote):
        judgement = say(ts_event=market.ts + 3_600 * NS_PER_S)
        assert (judgement.verdict, faults(judgement)) == ("quarantine", [Fault.FUTURE])
        assert say().verdict == "pass"
    assert market.trade(ts_event=market.ts + 900 * NS_PER_MS).verdict == "pass", "clocks differ"


class LooksAtEach(QualityMonitor):
    """The plain definition: no quote is taken without the checks."""

    def _takes_usual(self, known: object, quote: Quote) -> bool:
        return False


@pytest.mark.parametrize("leap_times", ["1.05", "1.25", "2"])
@pytest.mark.parametrize("seed", range(4))
def test_what_is_taken_in_one_look_is_what_the_checks_say_one_by_one(seed: int, leap_times: str) -> None:
    params = QualityParams(
        leap_times=D(leap_times), leap_frames=3, stuck_trades=2, stuck_others=2, stuck_after_ms=1_000, ahead_ms=1_000,
        faults_to_quarantine=3, clean_ms=5_000, fault_window_ms=10_000,
    )  # fmt: skip
    fast, plain = QualityMonitor(params), LooksAtEach(params)
    dice = random.Random(seed)
    ts, update = START, 100
    seen: Counter[str] = Counter()

    def odd(usual: Any, *others: Any) -> Any:
        return dice.choice(others) if dice.random() < 0.04 else usual

    for number in range(4_000):
        mood = ("calm", "calm", "still", "wild")[number // 100 % 4]  # still: a quote that trades leave behind
        ts += (
            300 * NS_PER_MS
            if mood == "still"
            else odd(dice.choice([1, 200]), -20_000, -1, 0, 1_500, 40_000) * NS_PER_MS
        )
        update += odd(1, -1, 0, 2)
        stamps = {
            "instrument": BTC if mood != "calm" else dice.choice([BTC, "BTC/USDT@other"]),
            "ts_event": ts,
            "ts_init": ts + odd(0, -500, -2_000) * NS_PER_MS,
        }
        if dice.random() < 0.7:
            bid = D(odd(dice.choice(["99", "99.5"]), "1", "70", "110", "9900"))
            ask = D(odd(dice.choice(["100", "101"]), "99", "104", "130", "10100"))
            if mood == "still":
                bid, ask = D("99"), D("100")
            elif mood == "wild" and dice.random() < 0.5:
                bid, ask = D("9900"), D("10000")
            quote = build.quote(bid=bid, ask=ask, bid_size=D(odd("1", "0", "-1")), update_id=update, **stamps)
            judgement = fast.on_quote(quote)
            assert judgement == plain.on_quote(quote)
        else:
            price = D("98" if mood == "still" else odd("99.7", "50", "98", "10000"))
            trade = build.trade(price=price, trade_id=str(number), **stamps)
            judgement = fast.on_trade(trade)
            assert judgement == plain.on_trade(trade)
        seen.update([judgement.verdict, *faults(judgement)])
        assert fast.on_time(ts) == plain.on_time(ts)
        assert fast.verdict(BTC) == plain.verdict(BTC)
    assert fast.counts(BTC) == plain.counts(BTC)
    assert seen.keys() >= {"pass", "quarantine", Fault.STUCK_QUOTE, Fault.PRICE_LEAP, Fault.FUTURE, Fault.OUT_OF_ORDER}


def test_most_quotes_of_a_calm_market_are_taken_in_one_look() -> None:
    market, looks = Market(), []

    class Counting(QualityMonitor):
        def _takes_usual(self, known: object, quote: Quote) -> bool:
            looks.append(super()._takes_usual(known, quote))  # type: ignore[arg-type]  # a private type, passed on
            return looks[-1]

    market.monitor = Counting(QualityParams())
    for n in range(20):
        market.quote(bid=f"99.{n}", ask=f"101.{n}")

    assert looks == [False] + [True] * 19


def test_missing_ids_are_a_gap_and_the_trade_that_shows_it_is_sound() -> None:
    market = Market()
    market.trade()

    judgement = market.trade(trade_id="110")

    assert (judgement.verdict, faults(judgement)) == ("pass", [Fault.TRADE_GAP])
    assert judgement.findings[0].observed == 8.0


def test_ids_of_a_venue_that_does_not_count_up_show_no_gap() -> None:
    monitor = QualityMonitor(QualityParams())

    for trade_id in ("1", "9", "4", "x-1"):
        assert monitor.on_trade(build.trade(trade_id=trade_id)) == Judgement("pass")
    assert faults(monitor.on_trade(build.trade(trade_id="9"))) == [Fault.DUPLICATE]


def test_silence_is_a_gap_where_the_market_was_open() -> None:
    market = Market(gap_ms=1_000)
    market.trade()

    assert market.trade(step_ms=1_000).findings == ()
    judgement = market.trade(step_ms=1_001)

    assert (judgement.verdict, faults(judgement)) == ("pass", [Fault.TIME_GAP])
    assert (judgement.findings[0].observed, judgement.findings[0].limit) == (1_001.0, 1_000.0)


def test_the_night_of_a_stock_market_is_no_gap() -> None:
    monitor = QualityMonitor(QualityParams(), calendar_for("us_stocks"))
    opens, hour = 1_719_840_600 * NS_PER_S, 3_600 * NS_PER_S  # 2024-07-01
    stamps = [opens, opens + hour, opens + 6 * hour, opens + 24 * hour, opens + 24 * hour + 1]

    found = [faults(monitor.on_trade(build.trade(trade_id=str(ts), ts_event=ts))) for ts in stamps]

    assert found == [[], [Fault.TIME_GAP], [Fault.TIME_GAP], [], []]


def test_a_quote_that_trades_leave_behind_is_stuck_until_it_changes() -> None:
    market = Market(stuck_after_ms=100, stuck_trades=3)
    market.quote()
    for _ in range(3):
        market.trade("104", step_ms=10)
        market.quote()  # said again, unchanged
    assert market.monitor.verdict(BTC) == "pass", "not for long enough yet"

    judgement = market.trade("104", step_ms=100)
    assert (judgement.verdict, faults(judgement)) == ("quarantine", [Fault.STUCK_QUOTE])
    assert (market.trade("104").verdict, market.monitor.verdict(BTC)) == ("quarantine", "quarantine")

    assert market.quote("103", "105") == Judgement("pass")
    assert market.monitor.verdict(BTC) == "pass"
    assert market.monitor.counts(BTC) == {Fault.STUCK_QUOTE: 1}


def test_what_left_a_quote_behind_before_it_changed_does_not_count() -> None:
    market = Market(stuck_after_ms=100, stuck_trades=3)
    market.quote()
    for _ in range(2):
        market.trade("104")
    market.quote("103", "105")

    assert market.trade("102", step_ms=200).verdict == "pass"
    assert market.trade("102").verdict == "pass"
    assert faults(market.trade("102")) == [Fault.STUCK_QUOTE]


def test_a_quote_that_trades_stay_within_is_quiet_and_not_stuck() -> None:
    market = Market(stuck_after_ms=100, stuck_trades=3)
    market.quote()

    for _ in range(50):
        assert market.trade("100", step_ms=100).verdict == "pass"


def test_a_quote_is_stuck_when_other_venues_of_its_symbol_move_on() -> None:
    monitor = QualityMonitor(QualityParams(stuck_after_ms=100, stuck_others=5))
    monitor.on_quote(build.quote(ts_event=START))
    for i in range(6):
        other = build.quote(instrument="BTC/USDT@b", bid_size=D(i + 1), update_id=i + 1, ts_event=START + i)
        assert monitor.on_quote(other).verdict == "pass"
        monitor.on_quote(build.quote(instrument="ETH/USDT@sim", update_id=i + 1, ts_event=START + i))

    assert monitor.on_time(START + 99 * NS_PER_MS) == ()
    (finding,) = monitor.on_time(START + 100 * NS_PER_MS)

    assert (finding.instrument, finding.fault) == (BTC, Fault.STUCK_QUOTE)
    assert [monitor.verdict(name) for name in (BTC, "BTC/USDT@b", "ETH/USDT@sim")] == ["quarantine", "pass", "pass"]
    assert monitor.on_time(START + 200 * NS_PER_MS) == ()


def test_a_market_that_did_move_is_believed_in_the_end() -> None:
    market = Market(leap_frames=3, volume_trades=10, faults_to_quarantine=1_000)
    for _ in range(10):
        market.trade()

    assert [market.trade("200").verdict for _ in range(4)] == ["quarantine"] * 3 + ["pass"]
    assert [market.trade("200", "100000").verdict for _ in range(4)] == ["quarantine"] * 3 + ["pass"]


def test_faults_within_the_window_quarantine_an_instrument_until_it_is_clean() -> None:
    market = Market(faults_to_quarantine=3, fault_window_ms=100, clean_ms=50)
    market.trade()

    assert [market.trade(quantity="0", step_ms=60).verdict for _ in range(3)] == ["quarantine"] * 3
    assert market.monitor.verdict(BTC) == "pass", "no three of them within 100 ms"
    market.trade(quantity="0")
    assert market.monitor.verdict(BTC) == "quarantine"
    assert market.trade(step_ms=49) == Judgement("quarantine"), "sound itself, but not believed"
    assert market.trade(step_ms=1) == Judgement("pass")
    assert market.monitor.verdict(BTC) == "pass"


gaps = st.one_of(st.integers(0, 60), st.sampled_from([0, 25, 49, 50, 51, 100, 101]))


@given(st.lists(st.tuples(gaps, st.booleans()), max_size=40))
def test_an_instruments_verdict_follows_from_the_stamps_of_its_faults(steps: list[tuple[int, bool]]) -> None:
    market, stamps, out = Market(faults_to_quarantine=3, fault_window_ms=100, clean_ms=50), list[int](), False
    for step_ms, sound in steps:
        market.trade(quantity="1" if sound else "0", step_ms=step_ms)
        now = market.ts
        if not sound:
            stamps.append(now)
            out = out or len([at for at in stamps if now - at <= 100 * NS_PER_MS]) >= 3
        elif stamps and now - stamps[-1] >= 50 * NS_PER_MS:
            out = False

        assert market.monitor.verdict(BTC) == ("quarantine" if out else "pass")
        assert market.monitor.counts(BTC).get(Fault.VOLUME_NOT_POSITIVE, 0) == len(stamps)


prints = st.lists(
    st.tuples(st.integers(0, 9_999), st.decimals(min_value=1, max_value=9, places=2), st.decimals("0.01", 9, places=2)),
    min_size=1,
    max_size=30,
)


@given(prints)
def test_bars_made_of_trades_never_contradict_themselves(rows: list[tuple[int, Decimal, Decimal]]) -> None:
    bars = TimeBars(BTC, 1_000)
    made = [
        bar
        for ms, price, quantity in sorted(rows)
        for bar in bars.add(build.trade(price=price, quantity=quantity, ts_event=START + ms * NS_PER_MS))
    ]

    assert not any(contradicts_itself(bar) for bar in made + bars.flush())


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"high": D(99)}, Fault.OHLC),
        ({"low": D(101)}, Fault.OHLC),
        ({"open": D(120)}, Fault.OHLC),
        ({"close": D(80)}, Fault.OHLC),
        ({"turnover": D(1_111)}, Fault.OHLC),
        ({"low": D(0)}, Fault.PRICE_NOT_POSITIVE),
        ({"volume": D(-1), "turnover": None}, Fault.VOLUME_NOT_POSITIVE),
        ({"trades": 0}, Fault.VOLUME_NOT_POSITIVE),
        ({"volume": D(0), "turnover": D(0)}, Fault.VOLUME_NOT_POSITIVE),
        (dict.fromkeys(("open", "high", "low", "close"), D(10_000)) | {"turnover": None}, Fault.PRICE_LEAP),
    ],
)
def test_a_bar_that_cannot_be_is_kept_out_by_name(changes: dict[str, Any], fault: Fault) -> None:
    sound = Bar(
        instrument=BTC,
        interval_ms=60_000,
        open=D(100),
        high=D(110),
        low=D(90),
        close=D(100),
        volume=D(10),
        trades=3,
        turnover=D(1_000),
        ts_event=START,
        ts_init=START,
        trace_id="",
    )
    monitor = QualityMonitor(QualityParams())
    assert monitor.on_bar(sound) == Judgement("pass")

    judgement = monitor.on_bar(msgspec.structs.replace(sound, **changes))

    assert (judgement.verdict, faults(judgement)) == ("quarantine", [fault])


@pytest.mark.parametrize("wrong", [{"leap_times": 1}, {"clean_ms": 0}, {"volume_times": 1}, {"unknown": 3}])
def test_thresholds_have_bounds(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        QualityParams(**wrong)


@pytest.fixture(scope="module")
def tape(recorded: Path) -> list[Trade | Quote]:
    feed, names = BinanceFeed("sim", ["BTC/USDT"]), ("btcusdt_20240808.gz", "btcusdt_20240809.gz")
    messages = [
        out.message
        for line in read_tape([recorded / "binance_spot" / name for name in names])
        for out in feed.on_line(line.stamp_ns, line.body, ts_init=line.stamp_ns)
        if out.stream == "market"
    ]
    return [message for message in messages if isinstance(message, (Trade, Quote))]


def judged(events: list[Trade | Quote]) -> tuple[dict[Fault, int], int]:
    """Return the counts of faults and the number of events kept out."""
    monitor = QualityMonitor(QualityParams(), counting_venues=["sim"])
    verdicts = [monitor.on_trade(e) if isinstance(e, Trade) else monitor.on_quote(e) for e in events]
    return monitor.counts(BTC), sum(judgement.verdict == "quarantine" for judgement in verdicts)


@pytest.mark.data
def test_the_recorded_day_passes_whole(tape: list[Trade | Quote]) -> None:
    assert len(tape) == 93_078
    assert judged(tape) == ({}, 0)


@pytest.mark.data
def test_every_mutation_of_the_recorded_day_is_found_and_nothing_else_is(tape: list[Trade | Quote]) -> None:
    events, at = list(tape[:20_000]), [i for i, e in enumerate(tape[:20_000]) if isinstance(e, Trade)]
    first, second, third, fourth, fifth = at[600], at[1_200], at[1_800], at[2_400], at[3_000]
    replace = msgspec.structs.replace
    events[first] = replace(events[first], price=events[first].price * 100)  # type: ignore[union-attr]
    events[second] = replace(events[second], quantity=D(0))
    events[third] = replace(events[third], quantity=D(100_000))
    events.insert(fifth, events[fourth])
    del events[fourth]

    counts, kept_out = judged(events)

    assert counts == {
        Fault.PRICE_LEAP: 1,
        Fault.VOLUME_NOT_POSITIVE: 1,
        Fault.VOLUME_ABSURD: 1,
        Fault.TRADE_GAP: 1,
        Fault.OUT_OF_ORDER: 1,
    }
    assert kept_out == 4


@pytest.mark.data
def test_a_frozen_quote_on_the_recorded_day_is_found(tape: list[Trade | Quote]) -> None:
    quotes = [i for i, e in enumerate(tape) if isinstance(e, Quote)]
    frozen = tape[quotes[5_000]]
    events = [e for i, e in enumerate(tape) if isinstance(e, Trade) or i <= quotes[5_000]]
    assert frozen.ts_event + 60 * NS_PER_S < tape[-1].ts_event

    counts, kept_out = judged(events)

    assert counts == {Fault.STUCK_QUOTE: 1}
    assert kept_out > 1_000
