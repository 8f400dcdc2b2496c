"""The commands `data ...`: markets recorded, converted, checked and described."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer
import uvloop

from edgefleet.errors import Misuse

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

Files = Annotated[list[Path], typer.Argument(metavar="FILE...", help="Recorded lines, plain or gzip.")]
Venue = Annotated[str, typer.Option("--venue", help="Whose wire it is: binance, coinbase, kraken, okx, alpaca ...")]
OptionalVenue = Annotated[str | None, typer.Option("--venue", help="Whose wire it is: binance, coinbase, kraken ...")]
Out = Annotated[Path, typer.Option("--out", help="The archive's directory; made where there is none.")]
Symbols = Annotated[str | None, typer.Option("--symbols", help="Only these, comma-separated.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout and nothing else.")]


@app.command("record")
def record(
    venue: Venue,
    symbols: Symbols = None,
    out: Out = Path("data/archive"),
    duration: Annotated[float | None, typer.Option("--duration", help="Seconds; without it until Ctrl-C.")] = None,
    conf: Annotated[Path, typer.Option("--conf", help="The configuration's directory.")] = Path("conf"),
    venue_url: Annotated[str | None, typer.Option("--venue-url", help="Another address of that venue.")] = None,
    frames: Annotated[bool, typer.Option("--frames/--no-frames", help="Keep the raw frames too, in tapes/.")] = True,
) -> int:
    """Record a venue's live market: typed Parquet, and the raw frames as a tape. Needs no fleet and no Redis."""
    from edgefleet_services.data.record import RecordOptions
    from edgefleet_services.data.record import record as run

    if duration is not None and not 0 < duration < float("inf"):
        raise Misuse(f"--duration {duration} is no time to record")
    options = RecordOptions(
        venue=venue,
        symbols=_listed(symbols),
        out=out,
        conf_dir=conf,
        venue_url=venue_url,
        duration_s=duration,
        keep_frames=frames,
    )
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        kept = runner.run(run(options, _progress))
    return 0 if kept else 1


@app.command("follow")
def follow(
    data_dir: Annotated[Path | None, typer.Option("--data-dir", help="The fleet's; without it the newest.")] = None,
    out: Out = Path("data/archive"),
    redis_url: Annotated[str | None, typer.Option("--redis-url", help="The fleet's, where it is another.")] = None,
    duration: Annotated[float | None, typer.Option("--duration", help="Seconds; without it until Ctrl-C.")] = None,
    version: Annotated[
        int | None,
        typer.Option("--set-version", help="Of the feature set; else the one that is made so, or the next."),
    ] = None,
    conf: Annotated[Path, typer.Option("--conf", help="The configuration's directory.")] = Path("conf"),
) -> int:
    """Keep a running fleet's market and bars in an archive, its features in a store, as the service features does."""
    from edgefleet_services.data.follow import FollowOptions
    from edgefleet_services.data.follow import follow as run
    from edgefleet_services.running import find_running

    if duration is not None and not 0 < duration < float("inf"):
        raise Misuse(f"--duration {duration} is no time to follow")
    fleet = find_running(data_dir)
    url = redis_url or (None if fleet is None else fleet.redis_url)
    if url is None:
        raise Misuse("no fleet runs here; start one, or name its --redis-url and --data-dir")
    directory = data_dir or (Path() if fleet is None else Path(fleet.data_dir))
    options = FollowOptions(
        data_dir=directory, redis_url=url, out=out, conf_dir=conf, version=version, duration_s=duration
    )
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        kept = runner.run(run(options, _progress))
    return 0 if kept.messages else 1


@app.command("convert")
def convert(
    files: Files,
    out: Out,
    venue: OptionalVenue = None,
    symbols: Symbols = None,
    kind: Annotated[
        str | None, typer.Option("--format", help="wire, binance-public, tardis or taq; else told by the files.")
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Convert recordings and files of others into an archive. Done once, it is not done again."""
    from edgefleet_services.data.convert import convert_files

    done = convert_files(files, out, kind=kind, venue=venue, symbols=_listed(symbols))
    if as_json:
        sys.stdout.write(msgspec.json.encode(done).decode() + "\n")
        return 0
    typer.echo(f"{done.rows} messages in {out}" + (", converted before" if done.already else f", {done.written} new"))
    for reason, count in sorted(done.left_out.items()):
        typer.echo(f"  left out: {count} {reason}")
    return 0


@app.command("info")
def info(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="An archive.")],
    check: Annotated[bool, typer.Option("--check", help="Read every row and look for gaps and doubles.")] = False,
    as_json: AsJson = False,
) -> int:
    """Tell what an archive holds. Exit code 1 where a row that was committed is missing or there twice."""
    from edgefleet_services.data.convert import as_body, describe, told

    found = describe(directory, check=check)
    if as_json:
        sys.stdout.write(msgspec.json.encode(as_body(found)).decode() + "\n")
    else:
        for line in told(found):
            typer.echo(line)
    return 0 if found.whole else 1


@app.command("closes")
def closes(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="An archive with bars: market/ of a fleet's data.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The CSV to write.")],
    symbol: Annotated[
        str | None, typer.Option("--symbol", help="BTC/USDT or BTC/USDT@sim; else the only one there is.")
    ] = None,
    interval: Annotated[str, typer.Option("--interval", metavar="1m|5m|15m|1h|1d", help="Of the bars.")] = "1d",
    conf: Annotated[Path, typer.Option("--conf", help="Where instruments.yml tells the class.")] = Path("conf"),
) -> int:
    """Write the closes of an archive's bars as prices for `edgefleet risk ... --prices`.

    Where bars are missing although the market was open one empty cell stands, and no return is taken over it.
    """
    from edgefleet.params.files import load_fleet
    from edgefleet.params.schema import FleetConfig
    from edgefleet.store.market.archive import MarketArchive
    from edgefleet_services.data.closes import closes_of, instrument_of, write_closes

    archive = MarketArchive(directory)
    instrument = instrument_of(archive, symbol)
    rules = (load_fleet(conf) if conf.is_dir() else FleetConfig()).instruments.get(instrument)
    found = closes_of(archive, instrument, interval, "crypto" if rules is None else rules.asset_class)
    if not found:
        raise Misuse(f"{directory} has no {interval} bars of {instrument}; conf/features.yml says which are kept")
    write_closes(out, instrument, found)
    gaps = sum(one.price is None for one in found)
    typer.echo(f"{len(found) - gaps} closes of {interval} bars of {instrument} in {out}, {gaps} gaps")
    return 0


@app.command("compact")
def compact(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="An archive; its feature store comes along.")],
    least_files: Annotated[int, typer.Option("--least-files", min=2, help="Of a partition, to be merged.")] = 2,
) -> int:
    """Merge an archive's small files, while it is written and read. The service features does so each hour."""
    from edgefleet_services.data.compact import compact_directory

    typer.echo(f"{compact_directory(directory, least_files)} files of {directory} are parts of others now")
    return 0


@app.command("check")
def check(
    files: Files,
    venue: Venue,
    symbols: Symbols = None,
    html: Annotated[Path | None, typer.Option("--html", help="Write a report with pictures there.")] = None,
    as_json: AsJson = False,
) -> int:
    """Read a capture with the fleet's own feed and tell whether every book is exact. Exit code 1 where one is not."""
    from edgefleet_services.data.check import check_capture, told
    from edgefleet_services.data.page import write_page

    answer = check_capture(files, venue, _listed(symbols))
    if html is not None:
        write_page(html, answer)
    if as_json:
        sys.stdout.write(msgspec.json.encode(answer.body).decode() + "\n")
    else:
        for line in told(answer):
            typer.echo(line)
    return 0 if answer.ok else 1


def _listed(symbols: str | None) -> tuple[str, ...]:
    return tuple(one.strip() for one in (symbols or "").split(",") if one.strip())


def _progress(text: str) -> None:
    typer.echo(text, err=True)
