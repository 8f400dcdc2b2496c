"""`edgefleet bench risk` in short: every figure stands beside a limit or a peer, and ours and the peer agree."""

from __future__ import annotations

import msgspec
import pytest

from edgefleet.errors import Broken
from edgefleet_services.bench.risk import run_risk
from edgefleet_services.bench.verdicts import EDGES_BPS, INSTRUMENTS, Fifty, InNumpy

pytestmark = pytest.mark.performance

SPEEDS = {
    f"{name}_{figure}"
    for name in ("blend_12", "blend_best_of_12", "verdict")
    for figure in ("p50", "p99", "rate", "beside_numpy", "p99_beside_numpy")
} | {"blend_12_first_p50", "blend_best_of_12_first_p50"}


def test_every_figure_stands_beside_what_it_is_measured_against() -> None:
    said: list[str] = []

    report = run_risk(said.append, quick=True)

    rows = {row["name"]: row for row in msgspec.to_builtins(report)["results"]}
    others = {"verdict_quiet_p50", "covariance_update_p50", "covariance_beside_numpy", "hrp_B_p50", "hrp_C_p50"}
    growth = {"growth_blocks", "growth_resident"}
    assert set(rows) - {"hrp_beside_pyportfolioopt"} == SPEEDS | others | growth | {"hrp_beside_skfolio"}
    for name, row in rows.items():
        assert row["reference_value"] > 0
        assert row["value"] > 0 or name in growth
    assert rows["growth_blocks"]["ok"], rows["growth_blocks"]
    told = "hrp_beside_pyportfolioopt" in rows or any("PyPortfolioOpt is not installed" in line for line in said)
    assert told
    assert report.suite == "risk"


def test_numpys_verdict_is_ours_after_touches() -> None:
    fifty = Fifty(3)
    plain = InNumpy(fifty)

    for place in range(0, INSTRUMENTS, 7):
        touch = fifty.touch(place, 3)
        fifty.step("beats", touch)
        plain.bids[place], plain.asks[place] = touch.bid, touch.ask

    for place in range(INSTRUMENTS):
        sign = 1 if place % 2 else -1
        ground, theirs = fifty.ground(place), plain.verdict(place, sign * EDGES_BPS[0])
        assert theirs.equity == pytest.approx(ground.equity, rel=1e-12)
        assert theirs.var == pytest.approx(fifty.exposures().var(ground.equity), rel=1e-9)
        assert theirs.room == pytest.approx(ground.limits.tightest(sign)[1], rel=1e-9)


def test_a_peer_that_disagrees_stops_the_suite(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgefleet_services.bench.blending.InNumpy.blend", lambda self, edges, params: (0.123, 1.0))

    with pytest.raises(Broken, match=r"blend_12: ours is .*, what stands beside it gives 0.123"):
        run_risk(lambda text: None, quick=True)
