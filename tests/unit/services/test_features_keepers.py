"""What the service `features` makes of messages, and that it goes on from what it remembered."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
from pydantic import ValidationError

from edgefleet.clock import NS_PER_S
from edgefleet.errors import Misuse
from edgefleet.messages import Message
from edgefleet.params.files import load_fleet
from edgefleet.params.schema import FleetConfig
from edgefleet.store.features.offline import FeatureStore
from edgefleet.store.market.archive import MarketArchive
from edgefleet.testing import build
from edgefleet.testing.clock import START_NS, FakeClock
from edgefleet_services.features.follower import feature_set
from edgefleet_services.features.keepers import BarKeeper, FeatureKeeper, made_alike

CONF = Path(__file__).resolve().parents[3] / "conf"


def configured(**features: object) -> FleetConfig:
    config = load_fleet(CONF, {})
    return config.model_copy(update={"features": type(config.features).model_validate(features)})


def market(seconds: int, first: int = 0) -> list[Message]:
    """Return a quote, a print and a beat of each second."""
    said: list[Message] = []
    for second in range(first, first + seconds):
        ts, mid = START_NS + second * NS_PER_S, Decimal(60_000) + second % 7
        stamps = {"ts_event": ts, "ts_init": ts}
        said += [
            build.quote(bid=mid - 1, ask=mid + 1, update_id=second + 1, **stamps),
            build.trade(price=mid, trade_id=str(second + 1), **stamps),
            build.beat(**{**stamps, "ts_event": ts + NS_PER_S // 2}),
        ]
    return said


def test_rows_after_a_start_are_those_of_a_keeper_that_never_stopped() -> None:
    said, config = market(200), configured()
    whole = FeatureKeeper(config)
    expected = [row for message in said for row in whole.take(message)]

    first = FeatureKeeper(config)
    head = [row for message in said[:333] for row in first.take(message)]
    second = FeatureKeeper(config, first.memory)

    assert head + [row for message in said[333:] for row in second.take(message)] == expected
    assert expected[-1].values.keys() >= {"mid", "return_1m", "vwap_1m"}


def test_a_venues_clock_that_is_ahead_of_ours_leaves_no_beat_without_a_row() -> None:
    keeper = FeatureKeeper(configured())
    ahead = START_NS + 3 * NS_PER_S
    keeper.take(build.quote(ts_event=ahead))

    (row,) = keeper.take(build.beat(ts_event=START_NS))

    assert (row.ts_event, row.available_at) == (ahead, ahead)


def test_bars_of_size_are_made_where_a_size_is_configured() -> None:
    sized = configured(keep={"bars": ["1m"], "volume_bars": {"BTC/USDT": "1"}, "dollar_bars": {"ETH/USDT": "9"}})
    keeper = BarKeeper(sized)

    bars = [bar for message in market(70) for bar in keeper.take(message)]

    assert {(bar.kind, bar.interval_ms) for bar in bars} == {("volume", 0), ("time", 60_000)}
    assert set(keeper.newest[build.INSTRUMENT]) == {"1m", "volume"}


@pytest.mark.parametrize(("price", "turnover"), [("0.000000123457", None), ("0.0000001200000", "0.000000000000147600")])
def test_a_turnover_of_more_digits_than_a_column_has_is_not_known_and_costs_no_bar(
    price: str, turnover: str | None, tmp_path: Path
) -> None:
    keeper = BarKeeper(configured(keep={"volume_bars": {"BTC/USDT": "0.000001"}}))

    bars = keeper.take(build.trade(price=Decimal(price), quantity=Decimal("0.00000123")))

    assert [bar.turnover for bar in bars] == [None if turnover is None else Decimal(turnover)]
    with MarketArchive(tmp_path).writer("bars", FakeClock()) as writer:
        writer.take(bars)
    assert list(MarketArchive(tmp_path).read()) == bars


@pytest.mark.parametrize(
    "wrong",
    [
        {"bars": ["2m"]},
        {"bars": ["1m", "1m"]},
        {"volume_bars": {"BTC/USDT": "0"}},
        {"dollar_bars": {"btcusdt": "5"}},
        {"best_stale_ms": 0},
    ],
)
def test_what_cannot_be_kept_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        configured(keep=wrong)


def test_another_trading_parameter_makes_the_same_rows_and_another_size_does_not() -> None:
    config = load_fleet(CONF, {})
    machinery = config.model_copy(update={"fleet": config.fleet.model_copy(update={"targets_cap": 7})})

    assert made_alike(config, machinery)
    assert not made_alike(config, configured(keep={"volume_bars": {"BTC/USDT": "1"}}))


def test_other_definitions_are_the_next_version_and_the_same_ones_the_old(tmp_path: Path) -> None:
    store, usual, other = FeatureStore(tmp_path), configured(), configured(ema_bars=[5])

    for config in (usual, other):
        store.writer(feature_set(store, config, None), "fleet", FakeClock()).abandon()

    assert [feature_set(store, each, None).version for each in (usual, other, configured(ema_bars=[6]))] == [1, 2, 3]
    with pytest.raises(Misuse):
        store.writer(feature_set(store, other, 1), "fleet", FakeClock())


def test_a_memory_that_cannot_be_read_is_none_and_is_told() -> None:
    config = configured()

    rows, bars = FeatureKeeper(config, "bm8gc3RhdGU="), BarKeeper(config, '{"BTC/USDT@sim": {"time": 5}}')

    assert (rows.forgot, bars.forgot, FeatureKeeper(config).forgot) == (True, True, False)
    assert len([row for message in market(3) for row in rows.take(message)]) == 3
