"""Commands for a fleet that runs: `status`, `doctor`, `halt`, `reduce`, `resume`."""

from __future__ import annotations

import asyncio
import getpass
import sys
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import typer
from redis.exceptions import RedisError

from edgefleet.bus.interface import Latch
from edgefleet.bus.redis_bus import RedisBus
from edgefleet.clock import NS_PER_S, SYSTEM
from edgefleet.errors import Misuse, OutOfReach, Transient
from edgefleet.ledger.books import Statement
from edgefleet.messages import Command
from edgefleet.params.schema import FleetConfig
from edgefleet_services.options import SERVICES, service_port
from edgefleet_services.running import find_running, monitor_port_for, redis_url_for

FLATTEN_DEADLINE_S = 20

State = Literal["ACTIVE", "REDUCING", "HALTED"]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout and nothing else.")]
DataDir = Annotated[Path | None, typer.Option("--data-dir", help="The fleet's; else the one that runs from here.")]
RedisUrl = Annotated[str | None, typer.Option("--redis-url", help="Its Redis; else the running fleet's.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; it is kept with the change.")]


def register(app: typer.Typer) -> None:
    """Add this module's commands to `app`."""
    app.command("status")(status)
    app.command("doctor")(doctor)
    app.command("halt")(halt)
    app.command("reduce")(reduce)
    app.command("resume")(resume)


def status(
    data_dir: DataDir = None,
    port: Annotated[int | None, typer.Option(help="The monitor's.")] = None,
    as_json: AsJson = False,
) -> int:
    """Show every service's health, lag, positions and P&L, as the monitor knows them."""
    monitor = monitor_port_for(port, data_dir)
    body = _ask_monitor(monitor, "/api/v1/status")
    known = {str(service.get("service")): service for service in body.get("services") or []}
    fleet = find_running(data_dir)
    left_out = {"venue"} if (body.get("session") or {}).get("mode") == "live" else set()
    if fleet is not None and fleet.port == monitor and not fleet.keeps_features:
        left_out.add("features")
    names = [name for name in SERVICES if name not in left_out]
    asked = [(name, name, 0) for name in names if name != "venue"]
    if "venue" in names:
        venues = fleet.venues if fleet is not None and fleet.port == monitor else ()
        several = len(venues) > 1
        asked += [("venue", f"venue.{one.name}" if several else "venue", at) for at, one in enumerate(venues)]
        asked += [] if venues else [("venue", "venue", 0)]
    body["services"] = [
        {**known.get(name, {}), **_health(shown, service_port(name, monitor, number))} for name, shown, number in asked
    ]
    if as_json:
        _print(body)
    else:
        for line in _status_lines(body):
            typer.echo(line)
    return 0 if all(service["ok"] for service in body["services"]) else 1


def doctor(
    conf: Annotated[Path, typer.Option("--conf", help="The configuration's directory.")] = Path("conf"),
    data_dir: DataDir = None,
    redis_url: RedisUrl = None,
    as_json: AsJson = False,
) -> int:
    """Check machine, Redis, clock, venue, keys and configuration; say how to mend what is wrong."""
    from edgefleet_services.doctor import examine

    findings = asyncio.run(examine(conf, data_dir, redis_url))
    if as_json:
        _print({"checks": findings, "ok": all(finding["ok"] for finding in findings)})
    else:
        for finding in findings:
            mend = f"; {finding['mend']}" if not finding["ok"] and finding["mend"] else ""
            typer.echo(f"{'ok ' if finding['ok'] else 'RED'} {finding['name']:<14} {finding['detail']}{mend}")
    return 0 if all(finding["ok"] for finding in findings) else 1


def halt(
    reason: Reason,
    flatten: Annotated[bool, typer.Option("--flatten", help="First close what is open, then halt.")] = False,
    data_dir: DataDir = None,
    redis_url: RedisUrl = None,
) -> int:
    """Stop trading now; only `resume` starts it again."""
    return _latch("HALTED", reason, data_dir, redis_url, flatten=flatten)


def reduce(reason: Reason, data_dir: DataDir = None, redis_url: RedisUrl = None) -> int:
    """Let positions only get smaller; only `resume` ends it."""
    return _latch("REDUCING", reason, data_dir, redis_url)


def resume(reason: Reason, data_dir: DataDir = None, redis_url: RedisUrl = None) -> int:
    """Let the fleet trade again: the latch is ACTIVE, and circuit breakers that are open go on probation."""
    fleet = find_running(data_dir)
    stopper = None if fleet is None else Path(fleet.data_dir) / "HALT"
    if stopper is not None and stopper.exists():
        raise Misuse(f"the file {stopper} halts the fleet as long as it is there; remove it, then resume")
    return _latch("ACTIVE", reason, data_dir, redis_url)


def _latch(
    state: State,
    reason: str,
    data_dir: Path | None,
    redis_url: str | None,
    *,
    flatten: bool = False,
) -> int:
    if not reason.strip():
        raise Misuse("--reason is empty; say why, it is kept with the change")
    try:
        found = asyncio.run(_move_latch(redis_url_for(redis_url, data_dir), state, reason, flatten=flatten))
    except (Transient, RedisError, OSError) as error:
        other_way = "; a file HALT in the fleet's data directory halts without Redis" if state == "HALTED" else ""
        raise OutOfReach(f"Redis stopped answering: {error}{other_way}") from error
    typer.echo(f"trading state {found.state}: {found.reason} (by {found.by})")
    if state == "ACTIVE" == found.state:
        typer.echo("open circuit breakers are on probation now; edgefleet status names those that open again")
    return 0 if found.state == state else 1


async def _move_latch(url: str, state: State, reason: str, *, flatten: bool) -> Latch:
    async with await RedisBus.connect(url) as bus:
        by = f"{getpass.getuser()} (edgefleet)"
        if flatten:
            await _flatten(bus, reason, by)
        now = SYSTEM.wall_ns()
        latch = await bus.latch(state, reason=reason, by=by, person=True, ts=now)
        if state == "ACTIVE" and latch.state == state:
            await bus.append("control", Command(verb="resume", reason=reason, by=by, ts_event=now, ts_init=now))
        return latch


async def _flatten(bus: RedisBus, reason: str, by: str) -> None:
    """Let positions only get smaller, ask for zero, and wait until they are; after the deadline, say what is left."""
    now = SYSTEM.wall_ns()
    await bus.latch("REDUCING", reason=reason, by=by, person=False, ts=now)
    await bus.append("control", Command(verb="flatten", reason=reason, by=by, ts_event=now, ts_init=now))
    deadline = SYSTEM.monotonic_ns() + FLATTEN_DEADLINE_S * NS_PER_S
    while left := await _worth_closing(bus):
        if SYSTEM.monotonic_ns() > deadline:
            typer.echo(f"not flat after {FLATTEN_DEADLINE_S} s: {', '.join(left)}; halted all the same", err=True)
            return
        await asyncio.sleep(0.1)


async def _worth_closing(bus: RedisBus) -> list[str]:
    """Return the positions that are large enough for the venue to take an order for."""
    body = await bus.redis.hget("config:current", "body")
    config = FleetConfig.model_validate_json(body) if body is not None else FleetConfig()
    found = []
    async for key in bus.redis.scan_iter(match="ledger:books:*"):
        books = msgspec.json.decode(await bus.redis.get(key) or b"null", type=Statement | None)
        for line in books.positions if books is not None else ():
            rules = config.instruments.get(line.instrument)
            smallest = Decimal(0) if rules is None else rules.min_notional
            if line.quantity and (line.value is None or abs(line.value) >= smallest):
                found.append(f"{line.instrument} {line.quantity}")
    return found


def _ask_monitor(port: int, path: str) -> dict[str, Any]:
    import httpx  # not with this module, which every service's process loads: 4 MB

    try:
        answer = httpx.get(f"http://127.0.0.1:{port}{path}", timeout=5.0)
        answer.raise_for_status()
    except httpx.HTTPError as error:
        raise OutOfReach(f"the monitor on port {port} does not answer ({error}); is a fleet running?") from error
    body = answer.json()
    if not isinstance(body, dict):
        raise OutOfReach(f"what listens on port {port} is no edgefleet monitor; name its port with --port")
    return body


def _health(name: str, port: int) -> dict[str, Any]:
    """Return a service's own word on how it is."""
    import httpx  # as above

    try:
        answer = httpx.get(f"http://127.0.0.1:{port}/health", timeout=3.0)
        checks = answer.json().get("checks") or []
    except (httpx.HTTPError, ValueError, AttributeError) as error:
        return {"service": name, "ok": False, "wrong": [f"port {port}: {error}"]}
    wrong = [f"{check['name']}: {check['detail']}" for check in checks if not check.get("ok")]
    return {"service": name, "ok": answer.status_code == 200, "wrong": wrong}


def _status_lines(body: dict[str, Any]) -> list[str]:
    state, session = body.get("trading_state") or {}, body.get("session") or {}
    lines = [
        f"session    {session.get('session', '-')}: {session.get('mode', '-')} on {session.get('venue', '-')}, "
        f"{', '.join(session.get('symbols') or [])}",
        f"trading    {state.get('state', 'not known')}: {state.get('reason', '')} (by {state.get('by', '-')})",
    ]
    lines += [_breaker_line(one) for one in body.get("breakers") or [] if one["state"] in ("OPEN", "HALF_OPEN")]
    lines += _together_lines(body)
    for account in body.get("accounts") or []:
        earned = f"realised after fees {_cents(account['realised_after_fees'])}"
        earned += f", unrealised {_cents(account['unrealised'])}"
        worth = f"equity {_cents(account['equity'])} {account['quote']}"
        lines.append(f"account    {account['account']}@{account['venue']}: {worth}, {earned}, {account['fills']} fills")
        lines += [
            f"position   {line['instrument']} {line['quantity']}, worth {_cents(line['value'])}"
            for line in account["positions"]
        ]
    lines += [
        f"market     {touch['instrument']} {touch['bid']} / {touch['ask']}, {touch['age_ms']} ms old"
        for touch in body.get("market") or []
    ]
    for service in body["services"]:
        behind = sum((service.get("lag") or {}).values())
        # The venue and params read no stream that they could be behind in.
        well = f"{behind} entries behind" if service.get("lag") else "answers"
        told = "; ".join(service["wrong"]) or well
        lines.append(f"{'ok ' if service['ok'] else 'RED'}        {service['service']:<12} {told}")
    return lines


def _together_lines(body: dict[str, Any]) -> list[str]:
    """Return what several accounts come to; one alone is told by its own line."""
    whole = body.get("together")
    if not whole or len(whole["accounts"]) < 2:
        return []
    earned = f"realised after fees {_cents(whole['realised_after_fees'])}, unrealised {_cents(whole['unrealised'])}"
    why = f"; {whole['why']}" if whole["why"] else ""
    rates = [
        f"1 {asset} = {rate} {whole['quote']}" for asset, rate in whole["rates"].items() if asset != whole["quote"]
    ]
    by = f"; {', '.join(rates)}" if rates else ""
    return [f"accounts   together: equity {_cents(whole['equity'])} {whole['quote']}, {earned}{by}{why}"]


def _breaker_line(one: dict[str, Any]) -> str:
    name = f"{one['breaker']} of {one['scope']}" if one["scope"] else one["breaker"]
    observed = "not known" if one["observed"] is None else f"{one['observed']:.6g}"
    numbers = f"observed {observed}, limit {one['limit']:.6g} ({one['unit']})"
    return f"breaker    {one['state']} {name}: {numbers}, action {one['action']}, since {one['since']}: {one['reason']}"


def _cents(amount: str | None) -> str:
    """Return an exact amount for the eye; `--json` has all of it."""
    return "not known" if amount is None else f"{round(Decimal(amount), 2) + 0:.2f}"


def _print(body: object) -> None:
    sys.stdout.write(msgspec.json.encode(body).decode() + "\n")
