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
from edgefleet_services.fleet import Finished, FleetRun, RunOptions, data_directory, redis_server, stop_signals
from edgefleet_services.markets import Markets, check_markets, missing_rates
from edgefleet_services.opening import new_session_id
from edgefleet_services.options import Mode, TradedVenue, key_name, venue_keys
from edgefleet_services.running import RunningFleet, RunningVenue, write_running
from edgefleet_services.supervisor import FleetOptions, MergedLog, free_port_block, require_ports

EXIT_UNBALANCED = 1
EXIT_INTERRUPTED = 130


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What `edgefleet up` was asked for, as typed."""

    mode: Mode
    traded: tuple[TradedVenue, ...]
    tape: tuple[str, ...]  # files; of several venues, VENUE=FILE
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
    markets = _checked(request, config)
    port = _port(request)
    session = new_session_id(SYSTEM.wall_ns(), secrets.token_hex(2))
    with data_directory(request.data_dir or Path("data") / session) as data_dir:
        _greet(request, data_dir, port, markets, config)
        log = MergedLog(data_dir / "logs" / "fleet.jsonl", console_level=request.log_level, console=_say)
        try:
            async with redis_server(request.redis_url, data_dir, _say) as url:
                bus = await RedisBus.connect(url)
                try:
                    await _refuse_second_tape(request, bus, markets)
                    options = _fleet_options(request, session, config, markets, data_dir, url, port)
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


def _checked(request: Request, config: FleetConfig) -> Markets:
    if request.log_level not in ("debug", "info", "warning", "error", "critical"):
        raise Misuse(f"--log-level {request.log_level!r} is unknown; it is debug, info, warning, error or critical")
    if request.duration_s is not None and not 0 < request.duration_s < math.inf:
        raise Misuse(f"--duration {request.duration_s} is no time to run; give seconds, more than 0")
    if request.mode == "live":
        _refuse_unsafe_live(request)
    return check_markets(
        request.mode,
        request.traded,
        request.tape,
        config,
        conf_dir=request.conf_dir,
        speed=request.speed,
        seed=request.seed,
        until_end=request.until_end,
    )


async def _refuse_second_tape(request: Request, bus: RedisBus, markets: Markets) -> None:
    """Refuse a market that begins in the past where a session was before: what the fleet remembers would be ahead."""
    goes_back = "a tape" if request.tape else "markets at New York's last open" if markets.shift_ns else ""
    if goes_back and await bus.last_id("market") != FIRST:
        where = f"--redis-url {request.redis_url}" if request.redis_url else f"data directory {request.data_dir}"
        raise Misuse(f"{where} holds a session already, and {goes_back} would take its clock back; name an empty one")


def _refuse_unsafe_live(request: Request) -> None:
    if not request.live_accepted:
        raise Misuse("--mode live sends real orders; read DISCLAIMER.md, then add --i-accept-live-trading")
    alone = len(request.traded) == 1
    for one in request.traded:
        if one.name == "sim":
            raise Misuse("--mode live on the simulated venue means nothing; use --mode demo, or name a real venue")
        if not all(venue_keys(one.name, alone=alone)):
            own = key_name(one.name)
            needed = "EDGEFLEET_VENUE_KEY and EDGEFLEET_VENUE_SECRET" if alone else f"{own}_KEY and {own}_SECRET"
            why = "" if alone else "; EDGEFLEET_VENUE_KEY is for a fleet at one venue alone"
            raise Misuse(f"--mode live needs {needed} in the environment or .env{why}")


def _port(request: Request) -> int:
    if request.port is None:
        return free_port_block(venues=len(request.traded))
    require_ports(request.port, venues=len(request.traded))
    return request.port


def _running(options: FleetOptions) -> RunningFleet:
    return RunningFleet(
        session=options.session,
        redis_url=options.redis_url,
        port=options.port,
        pid=os.getpid(),
        data_dir=str(options.data_dir),
        venues=tuple(RunningVenue(one.name, one.url, one.dialect) for one in options.venues),
        keeps_features=options.keeps_features,
    )


def _fleet_options(
    request: Request, session: str, config: FleetConfig, markets: Markets, data_dir: Path, redis_url: str, port: int
) -> FleetOptions:
    return FleetOptions(
        mode=request.mode,
        venues=markets.venues(data_dir, port),
        conf_dir=request.conf_dir.resolve(),
        data_dir=data_dir.resolve(),
        redis_url=redis_url,
        port=port,
        session=session,
        account=config.fleet.account,
        quote=config.risk_harmonizer.fleet_limits.quote,
        log_level="info",
        keeps_features=config.fleet.keep_features,
    )


def _greet(request: Request, data_dir: Path, port: int, markets: Markets, config: FleetConfig) -> None:
    orders = "REAL ORDERS" if request.mode == "live" else "paper: no order leaves this machine"
    where = "; ".join(f"{', '.join(one.symbols)} on {one.name}" for one in request.traded)
    _say(f"edgefleet  {request.mode}, {where}; {orders}")
    for one in request.traded:
        venue = "" if len(request.traded) == 1 else f"{one.name}: "
        _say(f"market     {venue}{markets.told(one.name)}")
    for asset in missing_rates(request.traded, config):
        quote = config.risk_harmonizer.fleet_limits.quote
        pair = " or ".join(sorted((f"{asset}/{quote}", f"{quote}/{asset}")))
        _say(f"WARNING    no rate of {asset} in {quote}: nothing is entered or enlarged until there is one; add {pair}")
        _say("           to --symbols at a venue that lists it, or to feeds in conf/fleet.yml")
    if markets.shift_ns and config.fleet.feeds:
        _say("WARNING    fleet.feeds are at the clock's time and this market is not: no rate of theirs counts here")
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
    told = {
        name: "not known" if report[name] is None else report[name] for name in ("equity", "realized_pnl_after_fees")
    }
    money = f"equity {told['equity']}, realised after fees {told['realized_pnl_after_fees']}"
    money += f" ({report['why']})" if report.get("why") else ""
    _say(f"money      {money}; books {balanced}")
    symbol = finished.options.venues[0].symbols[0]
    _say(f"report     {data_dir / 'session.json'}; ask: edgefleet why {symbol} --data-dir {data_dir}")


def _is_zero(identity: dict[str, Any]) -> bool:
    return all(value in ("0", 0) for value in identity.values())


def _say(text: str) -> None:
    with contextlib.suppress(OSError):  # a terminal that hung up; the log file has what matters
        sys.stderr.write(text + "\n")
        sys.stderr.flush()
