"""From what a user typed to a session and its report. Knows the checks that come before anything is started."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import secrets
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from edgefleet.bus.interface import FIRST
from edgefleet.bus.redis_bus import RedisBus
from edgefleet.clock import SYSTEM
from edgefleet.errors import Misuse
from edgefleet.params.files import load_fleet
from edgefleet.params.schema import FleetConfig
from edgefleet.venues.tape import TapeSummary, check_tape
from edgefleet.venues.taq import is_taq, read_taq
from edgefleet_services.fleet import Finished, FleetRun, RunOptions, data_directory, redis_server, stop_signals
from edgefleet_services.opening import new_session_id
from edgefleet_services.options import Mode
from edgefleet_services.running import RunningFleet, write_running
from edgefleet_services.supervisor import FleetOptions, MergedLog, free_port_block, require_ports

SPEEDS = ("1", "10", "max")
TRADED_DIALECTS = ("binance", "alpaca")
EXIT_UNBALANCED = 1
EXIT_INTERRUPTED = 130


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What `edgefleet up` was asked for, as typed."""

    mode: Mode
    venue: str
    symbols: tuple[str, ...]
    tape: tuple[Path, ...]
    speed: str
    duration_s: float | None
    until_end: bool
    conf_dir: Path
    data_dir: Path | None
    redis_url: str | None
    port: int | None
    seed: int
    log_level: str
    live_accepted: bool
    as_json: bool


async def run_session(request: Request) -> int:
    """Run one session and print its report; return the exit code."""
    _cancel_on_signals()
    config = load_fleet(request.conf_dir)
    tape = _checked(request, config)
    port = _port(request)
    session = new_session_id(SYSTEM.wall_ns(), secrets.token_hex(2))
    with data_directory(request.data_dir or Path("data") / session) as data_dir:
        _greet(request, data_dir, port, tape, stocks=is_stocks(config, request.venue))
        log = MergedLog(data_dir / "logs" / "fleet.jsonl", console_level=request.log_level, console=_say)
        try:
            async with redis_server(request.redis_url, data_dir, _say) as url:
                bus = await RedisBus.connect(url)
                try:
                    await _refuse_second_tape(request, bus)
                    options = _fleet_options(request, session, config, data_dir, url, port)
                    write_running(_running(options))
                    run = RunOptions(duration_s=request.duration_s, until_end=request.until_end, progress=_say)
                    finished = await FleetRun(options, run, log).run(bus)
                    from edgefleet_services.report import session_report  # reads Parquet: 30 MB that only the end needs

                    report = await asyncio.to_thread(session_report, finished)
                finally:
                    await bus.close()
        finally:
            log.close()
        (data_dir / "session.json").write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
        _tell(request, report, finished, data_dir)
    if finished.interrupted and request.until_end:
        return EXIT_INTERRUPTED
    return 0 if report["identity"] is None or _is_zero(report["identity"]) else EXIT_UNBALANCED


def _cancel_on_signals() -> None:
    """Until the services are there to be stopped in order, a signal ends this task, and what it holds is let go."""
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    assert task is not None
    for signum in stop_signals():
        loop.add_signal_handler(signum, task.cancel)


def _checked(request: Request, config: FleetConfig) -> TapeSummary | None:
    if request.log_level not in ("debug", "info", "warning", "error", "critical"):
        raise Misuse(f"--log-level {request.log_level!r} is unknown; it is debug, info, warning, error or critical")
    if request.duration_s is not None and not 0 < request.duration_s < math.inf:
        raise Misuse(f"--duration {request.duration_s} is no time to run; give seconds, more than 0")
    if request.mode == "live":
        _refuse_unsafe_live(request)
    if request.venue not in config.venues.venues:
        known = ", ".join(sorted(config.venues.venues))
        raise Misuse(f"--venue {request.venue!r} is not in {request.conf_dir}/venues; known are {known}")
    dialect = config.venues.venues[request.venue].dialect
    if dialect not in TRADED_DIALECTS:
        raise Misuse(
            f"orders at {request.venue} ({dialect}) are not built; they are at {', '.join(TRADED_DIALECTS)}. "
            f"Follow its market beside the traded one: fleet.feeds in {request.conf_dir}/fleet.yml"
        )
    for symbol in request.symbols:
        if config.instruments.get(f"{symbol}@{request.venue}") is None:
            raise Misuse(
                f"symbol {symbol} is not in {request.conf_dir}/instruments.yml; add its tick, lot and minimum there"
            )
    if not request.tape:
        if request.until_end:
            raise Misuse("--until-end needs a --tape: a market without a tape does not end; use --duration")
        return None
    if request.speed not in SPEEDS:
        raise Misuse(f"--speed {request.speed!r} is unknown; it is {', '.join(SPEEDS)}")
    if is_stocks(config, request.venue):
        _check_stock_tape(request)
        return None
    if request.venue != "sim":
        raise Misuse(f"--tape plays on the simulated venue only, not on {request.venue!r}; use --venue sim")
    summary = check_tape(request.tape)
    absent = [symbol for symbol in request.symbols if symbol.replace("/", "") not in summary.symbols]
    if absent:
        raise Misuse(f"symbol {', '.join(absent)} is not on the tape; it has {', '.join(summary.symbols)}")
    if not summary.snapshots:
        raise Misuse("the tape has no depth snapshot, so no book can begin; record one beside the stream")
    return summary


def is_stocks(config: FleetConfig, venue: str) -> bool:
    """Return whether a venue trades US stocks in Alpaca's dialect."""
    return config.venues.venues[venue].dialect == "alpaca"


def _check_stock_tape(request: Request) -> None:
    strange = [str(path) for path in request.tape if not is_taq(path)]
    if strange:
        raise Misuse(f"{', '.join(strange)}: a stock's tape is TAQ's trades and quotes as CSV")
    first = next(read_taq(request.tape), None)
    if first is None or request.symbols != (f"{first.symbol}/USD",):
        held = "nothing" if first is None else first.symbol
        raise Misuse(f"symbol {', '.join(request.symbols)} is not on the tape; it has {held}")


async def _refuse_second_tape(request: Request, bus: RedisBus) -> None:
    if request.tape and await bus.last_id("market") != FIRST:
        where = f"--redis-url {request.redis_url}" if request.redis_url else f"data directory {request.data_dir}"
        raise Misuse(f"{where} holds a session already, and a tape would take its clock back; name an empty one")


def _refuse_unsafe_live(request: Request) -> None:
    if not request.live_accepted:
        raise Misuse("--mode live sends real orders; read DISCLAIMER.md, then add --i-accept-live-trading")
    if not os.environ.get("EDGEFLEET_VENUE_KEY") or not os.environ.get("EDGEFLEET_VENUE_SECRET"):
        raise Misuse("--mode live needs EDGEFLEET_VENUE_KEY and EDGEFLEET_VENUE_SECRET in the environment or .env")
    if request.venue == "sim":
        raise Misuse("--mode live on the simulated venue means nothing; use --mode demo, or name a real venue")


def _port(request: Request) -> int:
    if request.port is None:
        return free_port_block()
    require_ports(request.port)
    return request.port


def _running(options: FleetOptions) -> RunningFleet:
    return RunningFleet(
        session=options.session,
        redis_url=options.redis_url,
        port=options.port,
        pid=os.getpid(),
        data_dir=str(options.data_dir),
        venue=options.venue,
        venue_url=options.venue_url,
        dialect=options.dialect,
        keeps_features=options.keeps_features,
    )


def _fleet_options(
    request: Request, session: str, config: FleetConfig, data_dir: Path, redis_url: str, port: int
) -> FleetOptions:
    stocks = is_stocks(config, request.venue)
    return FleetOptions(
        mode=request.mode,
        venue=request.venue,
        symbols=request.symbols,
        conf_dir=request.conf_dir.resolve(),
        data_dir=data_dir.resolve(),
        redis_url=redis_url,
        port=port,
        session=session,
        account=config.fleet.account,
        dialect=config.venues.venues[request.venue].dialect,
        venue_arguments=_venue_arguments(request, data_dir, stocks=stocks),
        log_level="info",
        keeps_features=config.fleet.keep_features,
    )


def _venue_arguments(request: Request, data_dir: Path, *, stocks: bool) -> tuple[str, ...] | None:
    if request.mode == "live":
        return None
    keeps = ("--state-file", str(data_dir.resolve() / "venue.json"))
    if request.tape:
        files = [argument for path in request.tape for argument in ("--tape", str(path.resolve()))]
        return ("--market", "tape", "--speed", request.speed, *files)
    if request.venue == "sim" or stocks:
        return ("--market", "synthetic", "--seed", str(request.seed), *keeps)
    return ("--market", "relay", *keeps)


def _greet(request: Request, data_dir: Path, port: int, tape: TapeSummary | None, *, stocks: bool) -> None:
    if tape is not None:
        market = f"tape of {tape.lines} lines at speed {request.speed}"
    elif request.tape:
        market = f"recorded prints and quotes at speed {request.speed}"
    elif request.mode != "live" and (stocks or request.venue == "sim"):
        market = f"synthetic, seed {request.seed}" + (", in New York's hours" if stocks else "")
    else:
        market = f"live from {request.venue}"
    orders = "REAL ORDERS" if request.mode == "live" else "paper: no order leaves this machine"
    _say(f"edgefleet  {request.mode}, {', '.join(request.symbols)} on {request.venue}; {orders}")
    _say(f"market     {market}")
    _say(f"data       {data_dir}")
    _say(f"page       http://127.0.0.1:{port}/")
    _say("stop       Ctrl-C")


def _tell(request: Request, report: dict[str, Any], finished: Finished, data_dir: Path) -> None:
    if request.as_json:
        sys.stdout.write(msgspec.json.encode(report).decode() + "\n")
        return
    identity = report["identity"]
    balanced = (
        "not known" if identity is None else "balanced to zero" if _is_zero(identity) else f"DO NOT BALANCE {identity}"
    )
    refused = sum(report["refused"].values())
    _say(
        f"session    {report['signals']} signals, {report['approved']} approved, {refused} refused, "
        f"{report['orders']} orders, {report['fills']} fills"
    )
    money = f"equity {report['equity']}, realised after fees {report['realized_pnl_after_fees']}"
    _say(f"money      {money}; books {balanced}")
    _say(f"report     {data_dir / 'session.json'}; ask: edgefleet why {request.symbols[0]} --data-dir {data_dir}")


def _is_zero(identity: dict[str, Any]) -> bool:
    return all(value in ("0", 0) for value in identity.values())


def _say(text: str) -> None:
    with contextlib.suppress(OSError):  # a terminal that hung up; the log file has what matters
        sys.stderr.write(text + "\n")
        sys.stderr.flush()
