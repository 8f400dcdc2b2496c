"""The service `features` to be killed, and followers that die at every moment of their commits."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from tests.faults.recorder_process import DIED, die_at

from edgefleet.clock import SYSTEM
from edgefleet.params.files import load_fleet
from edgefleet_services.cli.service import run_service
from edgefleet_services.features import follower, service
from edgefleet_services.features.follower import Follower, Places
from edgefleet_services.options import ServiceOptions

ROOT = Path(__file__).parents[2]


def follow_to_the_end(directory: Path, out: Path) -> None:
    """Keep what a ledger's files have, with a commit after each turn."""
    with Follower(Places(directory, None, out), load_fleet(ROOT / "conf", {}), SYSTEM) as one:
        while one.turn().more:
            one.commit()


def die_everywhere(directory: str, taken: int, reports: Any) -> None:
    """Die at the first, the second ... thing asked of the disk, go on to the end, and report where that was kept."""
    follower.TAKEN = taken
    for moment in range(1, 1_000):
        out = Path(directory) / f"out{moment}"
        child = os.fork()
        if child == 0:
            die_at(moment)
            follow_to_the_end(Path(directory), out)
            os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        follow_to_the_end(Path(directory), out)
        reports.send(str(out))
        if code == 0:
            break
        assert code == DIED, code
    reports.send(None)


def main() -> None:
    """Run the service, commits and merging so frequent that kills meet them. Arguments: URL, data directory, port."""
    url, data_dir, port = sys.argv[1:4]
    follower.COMMIT_MS, follower.TAKEN = 15, 100
    service.TIDY_EVERY_S, service.TIDY_FILES = 0.1, 6
    options = ServiceOptions(redis_url=url, conf_dir=ROOT / "conf", data_dir=Path(data_dir), port=int(port))
    sys.exit(run_service("features", options))


if __name__ == "__main__":
    main()
