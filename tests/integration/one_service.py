"""Run one service, as the fleet does, in a process that a test may kill.

Its arguments: name, Redis URL, data directory, port.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from edgefleet_services.cli.service import run_service
from edgefleet_services.options import ServiceOptions

ROOT = Path(__file__).parents[2]


def start(name: str, redis_url: str, data_dir: Path, port: int, *, log: Path) -> subprocess.Popen[bytes]:
    """Return the running process; what it says goes to `log`."""
    command = [sys.executable, "-m", "tests.integration.one_service", name, redis_url, str(data_dir), str(port)]
    with log.open("ab") as out:
        return subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=out)


def main() -> None:
    name, redis_url, data_dir, port = sys.argv[1:5]
    options = ServiceOptions(redis_url=redis_url, conf_dir=ROOT / "conf", data_dir=Path(data_dir), port=int(port))
    sys.exit(run_service(name, options))


if __name__ == "__main__":
    main()
