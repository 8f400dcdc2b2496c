"""`edgefleet bench features` in short: every figure stands beside its limit, floor or peer, and the limit is kept."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from edgefleet.errors import Misuse
from edgefleet_services.bench.features import run_features

pytestmark = pytest.mark.performance


def test_every_figure_stands_beside_what_it_is_measured_against() -> None:
    said: list[str] = []

    report = run_features((), said.append, quick=True)

    rows = {row["name"]: row for row in msgspec.to_builtins(report)["results"]}
    kinds = {f"all_features_p50.{kind}" for kind in ("quote", "trade", "book")}
    assert set(rows) == {"all_features", *kinds, "beside_decoding", "beside_recomputing"}
    for row in rows.values():
        assert row["value"] > 0
        assert row["reference_value"] > 0
    assert report.suite == "features"
    assert said


@pytest.mark.data
def test_all_features_of_the_recorded_pair_keep_the_limit(recorded: Path) -> None:
    report = run_features([recorded / "binance_spot" / "btcusdt_20240808.gz"], lambda text: None, quick=True)

    row = next(row for row in report.results if row.name == "all_features")
    assert row.ok, f"{row.value} us an event"


def test_a_tape_without_the_pair_is_one_clear_line(tmp_path: Path) -> None:
    tape = tmp_path / "other.txt"
    tape.write_text('1723161253000000000 {"stream":"ethusdt@trade","data":{}}\n')

    with pytest.raises(Misuse, match="holds no market of BTC/USDT"):
        run_features([tape], lambda text: None)
