"""Commands that run something: `up`, `init`, `service`, `replay`, `twin`."""

from __future__ import annotations

import asyncio
import shutil
import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer
import uvloop

from edgefleet.errors import Misuse
from edgefleet.instruments import canonical_symbol
from edgefleet_services.options import (
    IN_CONTAINERS,
    Mode,
    ServiceOptions,
    redis_url_from_environment,
    service_port,
    traded_venues,
)

Symbols = Annotated[str, typer.Option("--symbols", help="Pairs, separated by commas: BTC/USDT,ETH/USDT.")]
Conf = Annotated[Path, typer.Option("--conf", help="The configuration's directory.")]
DataDir = Annotated[Path | None, typer.Option("--data-dir", help="Where Redis, journals, books and archive are kept.")]
Tape = Annotated[list[Path] | None, typer.Option("--tape", help="Recorded wire lines; several files in order.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout and nothing else.")]
RedisUrl = Annotated[str | None, typer.Option("--redis-url", help="A running Redis; else an embedded one is started.")]

SESSIONS = Path("data")


def register(app: typer.Typer) -> None:
    """Add this module's commands to `app`."""
    app.command("up", context_settings={"allow_extra_args": True, "allow_interspersed_args": True})(up)
    app.command("init")(init)
    app.command("service")(service)
    app.command("replay", context_settings={"allow_extra_args": True, "allow_interspersed_args": True})(replay)
    app.command("twin")(twin)


def up(
    context: typer.Context,
    mode: Annotated[str, typer.Option(envvar="EDGEFLEET_MODE", help="demo, paper or live.")] = "demo",
    venue: Annotated[
        str, typer.Option(envvar="EDGEFLEET_VENUE", help="sim, or a real venue's name; several: sim,alpaca.")
    ] = "sim",
    symbols: Annotated[
        str,
        typer.Option(
            envvar="EDGEFLEET_SYMBOLS",
            help="Pairs, separated by commas: BTC/USDT,ETH/USDT; of several venues BTC/USDT@sim,AAPL/USD@alpaca.",
        ),
    ] = "BTC/USDT",
    tape: Annotated[
        list[str] | None,
        typer.Option("--tape", help="Recorded wire lines, files in order; of several venues, sim=FILE."),
    ] = None,
    speed: Annotated[str, typer.Option(help="Of a tape: 1, 10 or max.")] = "1",
    duration: Annotated[float | None, typer.Option(help="Stop after so many seconds.")] = None,
    until_end: Annotated[
        bool, typer.Option("--until-end", help="Stop when the tape has ended and is drained.")
    ] = False,
    conf: Conf = Path("conf"),
    data_dir: DataDir = None,
    redis_url: RedisUrl = None,
    port: Annotated[int | None, typer.Option(help="The monitor's port; all others move with it.")] = None,
    seed: Annotated[int, typer.Option(help="Of the synthetic market.")] = 7,
    log_level: Annotated[str, typer.Option(help="What the console shows; the log file has everything.")] = "warning",
    yes_live: Annotated[bool, typer.Option("--i-accept-live-trading", help="Needed for --mode live.")] = False,
    as_json: AsJson = False,
) -> int:
    """Run the whole fleet as supervised local processes until it is stopped."""
    from edgefleet_services.session import Request, run_session  # the fleet's parts are not needed by other commands

    request = Request(
        mode=_mode(mode),
        traded=traded_venues(venue, symbols),
        tape=(*(tape or ()), *context.args),
        speed=speed,
        duration_s=duration,
        until_end=until_end,
        conf_dir=conf,
        data_dir=data_dir,
        redis_url=redis_url or redis_url_from_environment(),
        port=port,
        seed=seed,
        log_level=log_level,
        live_accepted=yes_live,
        as_json=as_json,
    )
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            return runner.run(run_session(request))
        except asyncio.CancelledError:
            raise KeyboardInterrupt from None


def service(
    name: Annotated[str, typer.Argument(help=f"One of: {' '.join(sorted(IN_CONTAINERS))} (Compose only: keeper).")],
    redis_url: Annotated[str, typer.Option("--redis-url")] = "",
    conf: Conf = Path("conf"),
    data_dir: Annotated[Path, typer.Option("--data-dir")] = Path("data/fleet"),
    host: Annotated[str, typer.Option(envvar="EDGEFLEET_HOST", help="The address it listens on.")] = "127.0.0.1",
    port: Annotated[int | None, typer.Option()] = None,
    mode: Annotated[str, typer.Option(envvar="EDGEFLEET_MODE")] = "demo",
    venue: Annotated[str, typer.Option(envvar="EDGEFLEET_VENUE")] = "sim",
    venue_url: Annotated[str | None, typer.Option(envvar="EDGEFLEET_VENUE_URL")] = None,
    symbols: Annotated[str, typer.Option(envvar="EDGEFLEET_SYMBOLS")] = "BTC/USDT",
    session: Annotated[str, typer.Option(envvar="EDGEFLEET_SESSION")] = "",
    instance: Annotated[str, typer.Option(envvar="EDGEFLEET_INSTANCE")] = "0",
    log_level: Annotated[str, typer.Option(envvar="EDGEFLEET_LOG_LEVEL")] = "info",
    market: Annotated[
        str, typer.Option(help="venue: synthetic, tape or relay; features: tape where the venue plays one.")
    ] = "synthetic",
    tape: Tape = None,
    speed: Annotated[str, typer.Option(help="venue only: 1, 10 or max.")] = "1",
    seed: Annotated[int, typer.Option(help="venue only: of the synthetic market.")] = 7,
    start_ns: Annotated[int | None, typer.Option(help="venue only: stamp at which a tape's time begins.")] = None,
    shift_ns: Annotated[
        int | None, typer.Option(help="venue only: a synthetic market's time less the clock's.")
    ] = None,
    state_file: Annotated[Path | None, typer.Option(help="venue only: keeps the account over restarts.")] = None,
) -> int:
    """Run one service: what a container starts."""
    if name not in IN_CONTAINERS:
        raise Misuse(f"service {name!r} is unknown; the services are {', '.join(sorted(IN_CONTAINERS))}")
    from edgefleet_services.cli.service import run_service, run_venue

    options = ServiceOptions(
        redis_url=redis_url or redis_url_from_environment() or "redis://127.0.0.1:6379/0",
        conf_dir=conf,
        data_dir=data_dir,
        host=host,
        port=port if port is not None else service_port(name),
        mode=_mode(mode),
        traded=traded_venues(venue, symbols, venue_url),
        session=session,
        instance=instance,
        log_level=log_level,
        from_tape=market == "tape",
    )
    if name != "venue":
        return run_service(name, options)
    return run_venue(
        options,
        market=market,
        tape=tuple(tape or ()),
        speed=speed,
        seed=seed,
        start_ns=start_ns,
        shift_ns=shift_ns,
        state_file=state_file,
    )


def init(directory: Annotated[Path, typer.Option("--dir", help="Where to write.")] = Path()) -> int:
    """Write `.env` and `conf/` with safe paper defaults, never over a file that is there."""
    for source, name in _templates():
        target = directory / name
        if target.exists():
            typer.echo(f"kept  {target}")
            continue
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
        except OSError as error:
            raise Misuse(f"{target} cannot be written ({error.strerror}); name another directory with --dir") from error
        if name == Path(".env"):
            target.chmod(0o600)
        typer.echo(f"wrote {target}")
    return 0


def _templates() -> list[tuple[Path, Path]]:
    """Return each default file and where it goes: from the package, or, in a checkout, from the project itself."""
    packaged = Path(__file__).resolve().parents[1] / "template"
    root = packaged if packaged.is_dir() else Path(__file__).resolve().parents[3]
    conf = sorted(path for path in (root / "conf").rglob("*.yml"))
    return [(root / ".env.example", Path(".env"))] + [(path, path.relative_to(root)) for path in conf]


def replay(
    context: typer.Context,
    tape: Tape = None,
    conf: Conf = Path("conf"),
    symbols: Symbols = "BTC/USDT",
    speed: Annotated[str, typer.Option(help="Only max: a replay waits for nothing.")] = "max",
    seed: Annotated[int, typer.Option(help="Reserved for what is random; no stage is today.")] = 7,
    report: Annotated[Path | None, typer.Option(help="A directory to write report.json into.")] = None,
    as_json: AsJson = False,
) -> int:
    """Run the same stages over a tape in one process, deterministically."""
    from edgefleet_services.replay import replay_tape

    if speed != "max":
        raise Misuse(f"--speed {speed}: a replay has no clock to wait for; leave it out, or pace a tape with up")
    files = (*(tape or ()), *map(Path, context.args))
    result = replay_tape(files, conf, _symbols(symbols), seed=seed, progress=_progress)
    if report is not None:
        try:
            report.mkdir(parents=True, exist_ok=True)
            (report / "report.json").write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=2) + b"\n")
        except OSError as error:
            raise Misuse(f"--report {report} cannot be written ({error.strerror}); name another directory") from error
        _progress(f"report written to {report / 'report.json'}")
    _answer(result, as_json)
    return 0


def twin(
    data_dir: DataDir = None,
    session: Annotated[str | None, typer.Option(help="A session's id, under data/.")] = None,
    as_json: AsJson = False,
) -> int:
    """Re-run a recorded session offline and compare what each stage wrote, all bytes."""
    from edgefleet_services.twin import compare_session

    result = compare_session(session_directory(data_dir, session), progress=_progress)
    _answer(result, as_json)
    return 0 if result["parity"] == 1.0 else 1


def session_directory(data_dir: Path | None, session: str | None) -> Path:
    """Return the directory of a session: the one named, or the newest.

    Raises
    ------
    Misuse
        If there is none.
    """
    if data_dir is not None:
        found = data_dir
    elif session is not None:
        found = SESSIONS / session
    else:
        known = sorted(SESSIONS.glob("*/session.json"), key=lambda path: path.stat().st_mtime)
        if not known:
            raise Misuse(f"no session is under {SESSIONS}/; run edgefleet up first, or name one with --data-dir")
        found = known[-1].parent
    if not found.is_dir():
        raise Misuse(f"session directory {found} is not there; name one with --data-dir or --session")
    return found


def _mode(text: str) -> Mode:
    match text:
        case "demo" | "paper" | "live":
            return text
    raise Misuse(f"--mode {text!r} is unknown; it is demo, paper or live")


def _symbols(text: str) -> tuple[str, ...]:
    symbols = tuple(dict.fromkeys(canonical_symbol(part) for part in text.split(",") if part.strip()))
    if not symbols:
        raise Misuse("--symbols is empty; write for example --symbols BTC/USDT,ETH/USDT")
    return symbols


def _progress(text: str) -> None:
    typer.echo(text, err=True)


def _answer(result: object, as_json: bool) -> None:
    body = msgspec.json.encode(result)
    sys.stdout.write((body if as_json else msgspec.json.format(body, indent=2)).decode() + "\n")
