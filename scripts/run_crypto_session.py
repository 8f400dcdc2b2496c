"""A crypto session of so many minutes on paper: a thin wrapper over `edgefleet up` for those who know this script."""

from __future__ import annotations

import argparse
import sys

from edgefleet_services.cli.main import main


def arguments() -> list[str]:
    """Return the `edgefleet` command line for what was typed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--symbols", default="BTCUSDT,ETHUSDT", help="separated by commas")
    parser.add_argument("--duration", type=float, default=30, help="minutes")
    parser.add_argument("--venue", default="sim")
    known, more = parser.parse_known_args()
    command = ["up", "--symbols", known.symbols, "--duration", str(known.duration * 60), "--venue", known.venue]
    return [*command, "--mode", "demo" if known.venue == "sim" else "paper", *more]


if __name__ == "__main__":
    sys.exit(main(arguments()))
