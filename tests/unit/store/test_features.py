"""Point-in-time features: never a value before it was available, ties as defined, online as offline."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from edgefleet.bus.redis_bus import RedisBus
from edgefleet.clock import SYSTEM
from edgefleet.errors import Misuse, Poison, Transient
from edgefleet.store.features.as_of import in_force
from edgefleet.store.features.offline import FeatureStore
from edgefleet.store.features.online import PREFIX, OnlineFeatures
from edgefleet.store.features.parity import Difference, parity
from edgefleet.store.features.sets import FeatureRow, FeatureSet
from edgefleet.store.features.training import as_of
from edgefleet.testing import FakeClock

BTC, ETH = "BTC/USDT@binance", "ETH/USDT@binance"
DAY = 86_400 * 1_000_000_000
SET = FeatureSet(name="flow", version=1, definitions={"ofi": "ofi(levels=5)", "spread": "spread_bps()"})


def row(ts: int, available: int, ofi: float | None = None, instrument: str = BTC) -> FeatureRow:
    return FeatureRow(instrument, ts, available, {"ofi": ofi, "spread": 1.5})


def store_of(directory: Path, rows: list[FeatureRow], features: FeatureSet = SET) -> FeatureStore:
    store = FeatureStore(directory)
    with store.writer(features, "test", SYSTEM) as writer:
        writer.take(rows)
    return store


# --- which row is in force

events = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 6)), max_size=14)


def by_definition(rows: list[tuple[int, int]], time: int, max_age: int | None) -> int:
    """Read off the page: the newest moment of what was available, then the last available, then the last written."""
    known = [(ts, available, i) for i, (ts, available) in enumerate(rows) if available <= time]
    if not known:
        return -1
    ts, _, i = max(known)
    return -1 if max_age is not None and ts < time - max_age else i


@settings(max_examples=400)
@given(events, st.lists(st.integers(-2, 20), max_size=10), st.none() | st.integers(0, 6))
def test_what_is_in_force_is_what_the_definition_says(
    drawn: list[tuple[int, int]], times: list[int], max_age: int | None
) -> None:
    rows = [(ts, ts + delay) for ts, delay in drawn]
    stamps = np.array(rows, np.int64).reshape(-1, 2)

    found = in_force(stamps[:, 0], stamps[:, 1], np.arange(len(rows)), np.array(times, np.int64), max_age_ns=max_age)

    assert found.tolist() == [by_definition(rows, time, max_age) for time in times]
    assert all(rows[i][1] <= time for i, time in zip(found.tolist(), times, strict=True) if i >= 0)


@settings(max_examples=30)
@given(events, st.lists(st.integers(0, 20), min_size=1, max_size=8), st.integers(0, 20))
def test_what_becomes_available_later_changes_no_earlier_answer(
    tmp_path_factory: pytest.TempPathFactory, drawn: list[tuple[int, int]], times: list[int], cut: int
) -> None:
    rows = [row(ts, ts + delay, float(i)) for i, (ts, delay) in enumerate(drawn)]
    asked = [time for time in times if time <= cut]

    whole = as_of(store_of(tmp_path_factory.mktemp("whole"), rows), SET, {BTC: asked})
    known = [each for each in rows if each.available_at <= cut]
    then = as_of(store_of(tmp_path_factory.mktemp("then"), known), SET, {BTC: asked})

    assert whole.to_pylist() == then.to_pylist()


def test_a_correction_counts_from_when_it_was_available_and_a_late_old_row_never(tmp_path: Path) -> None:
    rows = [row(10, 11, 1.0), row(20, 21, 2.0), row(20, 40, 2.5), row(10, 50, 9.0), row(30, 60, None)]
    store = store_of(tmp_path, rows)

    table = as_of(store, SET, {BTC: [10, 11, 21, 39, 40, 55, 60], ETH: [60]})

    assert table["ofi"].to_pylist() == [None, 1.0, 2.0, 2.0, 2.5, 2.5, None, None]
    assert table["spread"].to_pylist() == [None, 1.5, 1.5, 1.5, 1.5, 1.5, 1.5, None]
    assert [t if t is None else t.value for t in table["ts_event"].to_pylist()] == [None, 10, 20, 20, 20, 20, 30, None]
    assert table["instrument"].to_pylist() == [BTC] * 7 + [ETH]
    assert store.latest(SET, BTC, 45) == rows[2]
    assert store.latest(SET, BTC, 10) is None


def test_of_two_rows_for_one_moment_available_at_once_the_one_written_last_counts(tmp_path: Path) -> None:
    store = store_of(tmp_path, [row(10, 11, 1.0), row(10, 11, 2.0)])

    assert as_of(store, SET, {BTC: [11]})["ofi"].to_pylist() == [2.0]
    assert store.latest(SET, BTC, 11) == row(10, 11, 2.0)


def test_what_is_too_old_is_none(tmp_path: Path) -> None:
    store = store_of(tmp_path, [row(3 * DAY, 3 * DAY, 1.0)])

    table = as_of(store, SET, {BTC: [3 * DAY + 5, 3 * DAY + 6, 9 * DAY]}, max_age_ns=5)

    assert table["ofi"].to_pylist() == [1.0, None, None]


# --- the files


def test_rows_come_back_as_they_were_written_over_days_and_instruments(tmp_path: Path) -> None:
    rows = [row(n * DAY // 3, n * DAY // 3 + 7, n / 3, ETH if n % 2 else BTC) for n in range(40)]
    store = store_of(tmp_path, rows)

    assert store.instruments(SET) == [BTC, ETH]
    assert store.rows(SET, ETH) == [each for each in rows if each.instrument == ETH]
    assert store.rows(SET, BTC, after=10 * DAY) == [
        each for each in rows if each.instrument == BTC and each.ts_event >= 10 * DAY
    ]


def test_small_files_are_merged_and_say_the_same(tmp_path: Path) -> None:
    store, rows = FeatureStore(tmp_path), [row(n, n + 7, n / 3, ETH if n % 2 else BTC) for n in range(40)]
    with store.writer(SET, "test", SYSTEM) as writer:
        for each in rows:
            writer.take([each])
            writer.commit()

    assert store.compact(SET) == 38
    assert store.rows(SET, BTC) == rows[::2]
    assert store.rows(SET, ETH) == rows[1::2]


def test_others_read_the_features_without_us(tmp_path: Path) -> None:
    store_of(tmp_path, [row(10, 11, 0.1), row(20, 21, None)])
    files = tmp_path / "set=flow" / "version=1" / "date=*" / "instrument=*" / "*.parquet"

    assert pl.read_parquet(files).sort("seq")["ofi"].to_list() == [0.1, None]
    assert duckdb.execute(f"select instrument, sum(spread) from '{files}' group by all").fetchall() == [(BTC, 3.0)]


def test_a_training_set_says_what_made_it(tmp_path: Path) -> None:
    store = store_of(tmp_path, [row(10, 11)])

    metadata = as_of(store, SET, {BTC: [11]}).schema.metadata

    assert metadata[b"edgefleet.features"].decode() == SET.label == f"flow@1:{SET.digest[:12]}"
    assert metadata[b"edgefleet.digest"].decode() == SET.digest
    assert store.sets() == [SET]


def test_changed_definitions_need_a_new_version(tmp_path: Path) -> None:
    store = store_of(tmp_path, [row(10, 11)])
    changed = FeatureSet(name="flow", version=1, definitions={**SET.definitions, "ofi": "ofi(levels=10)"})

    with pytest.raises(Misuse, match="changed definitions are a new version"):
        store.writer(changed, "test", SYSTEM)
    with pytest.raises(Misuse, match="definitions differ"):
        as_of(store, changed, {BTC: [1]})

    newer = FeatureSet(name="flow", version=2, definitions=changed.definitions)
    store.writer(newer, "test", SYSTEM).close()
    assert store.find("flow") == newer
    with pytest.raises(Misuse, match="no feature set flow@3 in the store; it has flow@1, flow@2"):
        store.find("flow", 3)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (row(10, 9), "cannot be known before it is"),
        (row(10, 11, math.nan), "ofi of .* must be finite or None"),
        (row(10, 11, math.inf), "ofi of .* must be finite or None"),
        (FeatureRow(BTC, 10, 11, {"vol": 1.0}), "has no feature vol"),
    ],
)
def test_what_is_no_row_of_the_set_is_refused(tmp_path: Path, given: FeatureRow, told: str) -> None:
    with FeatureStore(tmp_path).writer(SET, "test", SYSTEM) as writer, pytest.raises(ValueError, match=told):
        writer.take([given])


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "Flow", "version": 1, "definitions": {"a": ""}},
        {"name": "flow", "version": 0, "definitions": {"a": ""}},
        {"name": "flow", "version": 1, "definitions": {}},
        {"name": "flow", "version": 1, "definitions": {"seq": ""}},
        {"name": "flow", "version": 1, "definitions": {"a b": ""}},
    ],
)
def test_a_set_has_a_name_a_version_and_features_with_names(wrong: dict[str, object]) -> None:
    with pytest.raises(Misuse):
        FeatureSet(**wrong)  # type: ignore[arg-type]  # wrong on purpose


def test_a_writer_that_was_given_up_leaves_what_it_committed(tmp_path: Path) -> None:
    clock, store = FakeClock(), FeatureStore(tmp_path)
    writer = store.writer(SET, "test", clock, commit_ms=1_000)
    writer.take([row(10, 11, 1.0)], "one")
    assert not writer.turn()
    clock.advance(ms=1_000)
    assert writer.turn()
    writer.take([row(20, 21, 2.0)], "two")
    writer.abandon()

    with store.writer(SET, "test", clock) as again:
        assert again.position == "one"
        again.take([row(20, 21, 3.0)], "two")
    assert [each.values["ofi"] for each in store.rows(SET, BTC)] == [1.0, 3.0]


# --- online


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with await RedisBus.connect(redis_url) as bus:
        yield bus.redis


@pytest.mark.integration
async def test_a_row_is_read_back_to_the_last_bit(redis: Redis) -> None:
    online = OnlineFeatures(redis)
    awkward = [0.1, 1 / 3, 5e-324, 1.7976931348623157e308, -0.0, None, 123456789.123456789]

    for n, value in enumerate(awkward):
        await online.write(SET, row(n, n + 1, value))
        found = await online.read(SET, BTC)
        assert found == row(n, n + 1, value)
        assert found is not None
        assert value is None or str(found.values["ofi"]) == str(value)


@pytest.mark.integration
async def test_an_absent_value_replaces_an_older_one_and_sets_share_the_hash(redis: Redis) -> None:
    online, other = OnlineFeatures(redis), FeatureSet(name="vol", version=3, definitions={"rv": "rv(60)"})
    await online.write(SET, row(1, 2, 7.0))
    await online.write(other, FeatureRow(BTC, 5, 6, {"rv": 0.2}))
    await online.write(SET, FeatureRow(BTC, 3, 4, {}))

    assert await online.read(SET, BTC) == FeatureRow(BTC, 3, 4, {"ofi": None, "spread": None})
    assert await online.values(BTC) == {"ofi": (None, 3), "spread": (None, 3), "rv": (0.2, 5)}
    assert await online.read(SET, ETH) is None
    assert await online.read(FeatureSet(name="vol", version=3, definitions={"rv": "rv(30)"}), BTC) is None


@pytest.mark.integration
@pytest.mark.parametrize(("field", "value"), [("ofi", "x 1"), ("ofi", "1.0 9"), ("set:flow", "1")])
async def test_a_hash_that_somebody_else_wrote_to_is_no_row(redis: Redis, field: str, value: str) -> None:
    online = OnlineFeatures(redis)
    await online.write(SET, row(1, 2, 7.0))
    await redis.hset(PREFIX + BTC, field, value)

    with pytest.raises(Poison, match="holds no row of flow@1"):
        await online.read(SET, BTC)


@pytest.mark.integration
async def test_online_equals_offline_as_of_now_or_the_difference_is_told(redis: Redis, tmp_path: Path) -> None:
    online, rows = OnlineFeatures(redis), [row(n, n + 2, n / 7) for n in range(50)]
    store = store_of(tmp_path, rows)
    for each in rows:
        await online.write(SET, each)

    assert await parity(online, store, SET, [BTC, ETH], 51) == []
    assert await parity(online, store, SET, [BTC], 50) == [
        Difference(instrument=BTC, what="ts_event", online=49, offline=48),
        Difference(instrument=BTC, what="available_at", online=51, offline=50),
        Difference(instrument=BTC, what="ofi", online=49 / 7, offline=48 / 7),
    ]
    await online.write(SET, row(1, 2, 1.0, ETH))
    assert await parity(online, store, SET, [ETH], 51) == [
        Difference(instrument=ETH, what="row", online=1, offline=None)
    ]


async def test_a_redis_that_is_gone_is_told() -> None:
    from edgefleet.bus.link import pool_of

    client = Redis.from_pool(pool_of("redis://127.0.0.1:1/0"))
    with pytest.raises(Transient, match="Redis does not answer"):
        await OnlineFeatures(client).read(SET, BTC)
    await client.aclose()
