"""`edgefleet data compact` beside the one who writes: fewer files, every row."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.faults.test_features_kill import market
from tests.fleet.processes import edgefleet

from edgefleet.bus.interface import Entry
from edgefleet.clock import SYSTEM
from edgefleet.messages import encode, tag_of
from edgefleet.params.files import load_fleet
from edgefleet.store.archive import Archive
from edgefleet.store.features.offline import FeatureStore
from edgefleet.store.market.archive import MarketArchive
from edgefleet.store.market.maintenance import check_archive
from edgefleet.testing import build
from edgefleet_services.data import follow as command
from edgefleet_services.features.follower import Follower, Places

CONF = Path(command.__file__).parents[3] / "conf"
SECONDS = 150


@pytest.mark.integration
def test_files_are_fewer_and_rows_the_same_while_the_writer_goes_on(tmp_path: Path) -> None:
    said = market(0, SECONDS)
    ledger, out = Archive(tmp_path), tmp_path / "market"
    with Follower(Places(tmp_path, None, out), load_fleet(CONF, {}), SYSTEM) as one:
        for second in range(SECONDS):
            of_it = said[second * 5 : second * 5 + 5]
            ledger.write("market", [Entry(f"{second}-{n + 1}", tag_of(m), encode(m)) for n, m in enumerate(of_it)])
            one.turn()
            if second % 2 == 0:
                one.commit()
            if second == SECONDS // 2:
                merged = edgefleet("data", "compact", out, "--least-files", "20")

    files = list(out.glob("date=*/*/*/*.parquet"))
    store = FeatureStore(out / "features")
    assert merged.returncode == 0, merged.stderr
    assert len(files) < 5 * 40
    assert check_archive(MarketArchive(out)).whole
    assert list(MarketArchive(out).read(writers=["fleet"])) == said
    assert len(store.rows(store.find("streaming"), build.INSTRUMENT)) == SECONDS


@pytest.mark.integration
def test_what_is_no_archive_is_told(tmp_path: Path) -> None:
    finished = edgefleet("data", "compact", tmp_path)

    assert finished.returncode == 2
    assert "is no archive" in finished.stderr
