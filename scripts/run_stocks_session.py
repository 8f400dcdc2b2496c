"""US stocks on paper for so many minutes: a thin wrapper over `edgefleet up` for those who know this script."""

from __future__ import annotations

import argparse

from edgefleet_services.cli.main import main


def arguments() -> list[str]:
    """Return the `edgefleet` command line for what was typed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--symbols", default="AAPL,GOOGL,TSLA", help="separated by commas")
    parser.add_argument("--duration", type=float, default=60, help="minutes")
    known, more = parser.parse_known_args()
    command = ["up", "--symbols", known.symbols, "--duration", str(known.duration * 60), "--venue", "alpaca"]
    return [*command, "--mode", "demo", *more]


if __name__ == "__main__":
    main(arguments())
