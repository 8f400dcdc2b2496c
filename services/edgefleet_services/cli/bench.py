"""The command `bench`: a suite's figures beside their floors."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer
import uvloop

from edgefleet.errors import Misuse
from edgefleet_services.bench.report import SuiteReport

BUILT = ("pipeline", "feed", "book", "features", "risk")


def register(app: typer.Typer) -> None:
    """Add this module's command to `app`."""
    app.command("bench", context_settings={"allow_extra_args": True, "allow_interspersed_args": True})(bench)


def bench(
    context: typer.Context,
    suite: Annotated[str, typer.Argument(help=f"One of: {' '.join(BUILT)} all.")],
    orders: Annotated[int | None, typer.Option(help="Orders per rate; else 1,000, and 200 at 100 events/s.")] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="A look in about two minutes instead of a measurement.")
    ] = False,
    tape: Annotated[
        list[Path] | None, typer.Option("--tape", help="The frames; else the recorded day, if found.")
    ] = None,
    conf: Annotated[Path, typer.Option("--conf", help="The configuration's directory.")] = Path("conf"),
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout and nothing else.")] = False,
) -> int:
    """Measure the fleet, each figure beside its floor of the same run. Progress goes to stderr."""
    if suite not in (*BUILT, "all"):
        raise Misuse(f"bench {suite!r} is unknown; there are {', '.join(BUILT)} and all")
    if orders is not None and orders < 1:
        raise Misuse(f"--orders {orders}: at least one order is needed to measure one")
    files = _tape((*(tape or ()), *map(Path, context.args)))
    reports = [_measure(one, files, conf, orders, quick=quick) for one in (BUILT if suite == "all" else (suite,))]
    report = reports[0]
    if suite == "all":
        results = tuple(row for one in reports for row in one.results)
        report = msgspec.structs.replace(report, suite="all", results=results, ok=all(one.ok for one in reports))
    body = msgspec.json.encode(report)
    if as_json:
        sys.stdout.write(body.decode() + "\n")
    else:
        for row in report.results:
            verdict = "ok  " if row.ok else "MISS"
            told = f"{row.value:>10g} {row.unit:<9} {row.ratio:>7.3f}x of {row.reference_value:g} ({row.reference})"
            typer.echo(f"{verdict} {row.name:<40} {told}, target {row.target}")
    return 0 if report.ok else 1


def _measure(suite: str, tape: tuple[Path, ...], conf: Path, orders: int | None, *, quick: bool) -> SuiteReport:
    """Return the figures of one suite."""
    from edgefleet_services.bench.pipeline import PipelineOptions, run_pipeline, tell

    match suite:
        case "feed":
            from edgefleet_services.bench.feed import run_feed

            return run_feed(tape, tell, quick=quick)
        case "book":
            from edgefleet_services.bench.book import BookOptions, run_book

            return run_book(BookOptions(tape=tape, quick=quick), tell)
        case "features":
            from edgefleet_services.bench.features import run_features

            return run_features(tape, tell, quick=quick)
        case "risk":
            from edgefleet_services.bench.risk import run_risk

            return run_risk(tell, quick=quick)
    options = PipelineOptions(conf_dir=conf.resolve(), tape=tape, orders=orders, quick=quick)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(run_pipeline(options, tell))


def _tape(named: tuple[Path, ...]) -> tuple[Path, ...]:
    """Return the tape named, else the recorded day where there is one, else none."""
    if named:
        missing = [path for path in named if not path.is_file()]
        if missing:
            raise Misuse(f"tape {missing[0]} is not there; name recorded frames with --tape")
        return tuple(path.resolve() for path in named)
    folder = Path(os.environ.get("EDGEFLEET_TEST_DATA", "../shared/data")) / "binance_spot"
    return tuple(path.resolve() for path in sorted(folder.glob("btcusdt_*.gz")))
