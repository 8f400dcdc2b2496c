"""`edgefleet params`: parameters with versions, written as the params service writes them, by compare-and-set.

`validate` needs no Redis. Exit codes: 0 good, 2 invalid (file, line, key, reason), 3 Redis or the service out of reach.
"""

from __future__ import annotations

import asyncio
import getpass
import secrets
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
import typer
from redis.exceptions import RedisError

from edgefleet.bus.redis_bus import RedisBus
from edgefleet.clock import iso
from edgefleet.errors import Misuse, OutOfReach, Transient
from edgefleet.messages import ParamRejected, ParamVersion
from edgefleet.params.changes import Difference, differences
from edgefleet.params.files import FILES, assemble, load_component, load_components, path_of
from edgefleet.params.requests import ANSWERED, RELOAD, ReloadAnswer, ReloadRequest
from edgefleet.params.schema import canonical_component
from edgefleet.params.store import ParamStore
from edgefleet.params.versions import FLAGS, ComponentState
from edgefleet.params.writer import Outcome, ParamWriter
from edgefleet_services.running import redis_url_for

ANSWER_WITHIN_S = 5.0

T = TypeVar("T")

AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout and nothing else.")]
Conf = Annotated[Path, typer.Option("--conf", help="The configuration directory.")]
DataDir = Annotated[
    Path | None, typer.Option("--data-dir", help="The fleet's; without it the one that runs from here.")
]
RedisUrl = Annotated[str | None, typer.Option("--redis-url", help="Its Redis; else the running fleet's.")]
Component = Annotated[str, typer.Argument(help=" ".join(FILES) + ".")]
MaybeComponent = Annotated[str | None, typer.Argument(help="One component; without it all.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; it is kept with the version.")]

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)


@app.command("list")
def list_(data_dir: DataDir = None, redis_url: RedisUrl = None, as_json: AsJson = False) -> int:
    """Show each component's version, who made it and when."""
    state = _on_store(redis_url, data_dir, lambda store: store.read())
    rows = [_row(name, component) for name, component in sorted(state.components.items())]
    if as_json:
        _print({"n": state.n, "components": rows})
        return 0
    for row in rows:
        waits = "  waits for risk and executor" if row["waiting"] else ""
        typer.echo(
            f"{row['component']:<16} v{row['version']:<5} {row['sha256'][:12]}  {row['ts']}  {row['author']}{waits}"
        )
    return 0


@app.command()
def get(
    component: Component,
    key: Annotated[str | None, typer.Argument(help="Dotted, such as risk_limits.max_drawdown.")] = None,
    data_dir: DataDir = None,
    redis_url: RedisUrl = None,
    as_json: AsJson = False,
) -> int:
    """Show a component, or one value of it, as it is in force."""
    name = _name(component)
    found = _component(_on_store(redis_url, data_dir, lambda store: store.read()).components, name)
    value = _at(name, found.body, key)
    if as_json:
        _print({"component": name, "key": key, "value": value, "version": found.version, "effective": found.effective})
    else:
        typer.echo(_text(value))
    return 0


@app.command("set")
def set_(
    component: Component,
    key: Annotated[str, typer.Argument(help="Dotted, such as risk_limits.max_drawdown.")],
    value: Annotated[str, typer.Argument(help="One line of YAML.")],
    reason: Reason = "params set",
    data_dir: DataDir = None,
    redis_url: RedisUrl = None,
    as_json: AsJson = False,
) -> int:
    """Replace one value. What loosens a limit waits until risk and executor confirmed it."""
    name, author = _name(component), _author()
    outcome = _on_store(
        redis_url, data_dir, lambda store: ParamWriter(store).set(name, key, value, author=author, reason=reason)
    )
    return _tell(outcome, name, as_json)


@app.command()
def rollback(
    component: Component,
    version: Annotated[int | None, typer.Argument(help="Without it the body before the last change.")] = None,
    data_dir: DataDir = None,
    redis_url: RedisUrl = None,
    as_json: AsJson = False,
) -> int:
    """Put an earlier version in force again, as a new version."""
    name, author = _name(component), _author()
    outcome = _on_store(redis_url, data_dir, lambda store: ParamWriter(store).rollback(name, version, author=author))
    return _tell(outcome, name, as_json)


@app.command()
def history(
    component: MaybeComponent = None,
    limit: Annotated[int, typer.Option(min=1, help="The newest so many.")] = 20,
    data_dir: DataDir = None,
    redis_url: RedisUrl = None,
    as_json: AsJson = False,
) -> int:
    """Show versions and refusals, oldest first; with --json one object a line."""
    name = None if component is None else _name(component)
    entries = _on_store(redis_url, data_dir, lambda store: store.history(name))[-limit:]
    for entry in entries:
        if as_json:
            _print(msgspec.to_builtins(entry))
        else:
            typer.echo(_history_line(entry))
    return 0


@app.command()
def diff(
    component: MaybeComponent = None,
    from_version: Annotated[int | None, typer.Option("--from", help="A version; without it what is in force.")] = None,
    to_version: Annotated[int | None, typer.Option("--to", help="A version; without it the file in --conf.")] = None,
    conf: Conf = Path("conf"),
    data_dir: DataDir = None,
    redis_url: RedisUrl = None,
    as_json: AsJson = False,
) -> int:
    """Show what differs between versions, or between what is in force and the files."""
    if component is None and (from_version is not None or to_version is not None):
        raise Misuse("--from and --to need a component: each component counts its own versions")
    names = [_name(component)] if component is not None else list(FILES)

    async def compare(store: ParamStore) -> list[Difference]:
        state = await store.read()
        found: list[Difference] = []
        for name in names:
            before = _component(state.components, name).body
            if from_version is not None:
                before = msgspec.json.decode((await store.version(name, from_version)).body)
            if to_version is not None:
                after = msgspec.json.decode((await store.version(name, to_version)).body)
            elif name == FLAGS:
                after = before
            else:
                after = load_component(name, path_of(conf, name)).body
            found.extend(differences(name, before, after))
        return found

    found = _on_store(redis_url, data_dir, compare)
    if as_json:
        _print({"equal": not found, "differences": msgspec.to_builtins(found)})
    else:
        for one in found:
            typer.echo(f"{one.component}.{one.key}: {_text(one.before)} -> {_text(one.after)}")
        if not found:
            typer.echo("nothing differs")
    return 0


@app.command()
def validate(
    component: MaybeComponent = None,
    file: Annotated[Path | None, typer.Option("--file", help="Another file than the component's own.")] = None,
    conf: Conf = Path("conf"),
    as_json: AsJson = False,
) -> int:
    """Check the files, without Redis: file, line, key and reason of everything that is wrong."""
    if component is None and file is not None:
        raise Misuse("--file needs a component")
    components = load_components(conf)
    if component is not None:
        name = canonical_component(component)
        components[name] = load_component(name, file or path_of(conf, name))
    config = assemble(components)
    if as_json:
        _print({"ok": True, "config": config.hash, "components": sorted(components)})
    else:
        typer.echo(f"{conf} is valid: {len(components)} components, configuration {config.hash[:12]}")
    return 0


@app.command()
def reload(
    component: MaybeComponent = None,
    file: Annotated[str | None, typer.Option("--file", help="Relative to the directory that holds conf/.")] = None,
    data_dir: DataDir = None,
    redis_url: RedisUrl = None,
    as_json: AsJson = False,
) -> int:
    """Ask the params service to read its files again, and say what came of it."""
    request = ReloadRequest(component=component, config_path=file, id=secrets.token_hex(8), author=_author())
    answer = _on_bus(redis_url, data_dir, lambda bus: _ask(bus, request))
    if as_json:
        _print(msgspec.to_builtins(answer))
    else:
        for error in answer.errors:
            typer.echo(f"edgefleet: {error}", err=True)
        if answer.ok:
            typer.echo(_versions_line(answer.versions, answer.waiting))
    return 0 if answer.ok else 2


async def _ask(bus: RedisBus, request: ReloadRequest) -> ReloadAnswer:
    payload = msgspec.json.encode({name: value for name, value in msgspec.to_builtins(request).items() if value})
    try:
        async with asyncio.timeout(ANSWER_WITHIN_S), bus.subscribe(ANSWERED) as answers:
            if not await bus.publish(RELOAD, payload):
                raise OutOfReach("no params service listens on this Redis; start the fleet with edgefleet up")
            async for _, data in answers:
                answer = msgspec.json.decode(data, type=ReloadAnswer)
                if answer.id == request.id:
                    return answer
    except TimeoutError:
        pass
    raise OutOfReach(f"the params service did not answer within {ANSWER_WITHIN_S:g} s; see `edgefleet params history`")


def _on_store(redis_url: str | None, data_dir: Path | None, act: Callable[[ParamStore], Awaitable[T]]) -> T:
    return _on_bus(redis_url, data_dir, lambda bus: act(ParamStore(bus.redis)))


def _on_bus(redis_url: str | None, data_dir: Path | None, act: Callable[[RedisBus], Awaitable[T]]) -> T:
    async def connected() -> T:
        async with AsyncExitStack() as stack:
            bus = await stack.enter_async_context(await RedisBus.connect(redis_url_for(redis_url, data_dir)))
            try:
                return await act(bus)
            except (Transient, RedisError, OSError) as error:
                raise OutOfReach(f"Redis stopped answering: {error}") from error

    return asyncio.run(connected())


def _tell(outcome: Outcome, name: str, as_json: bool) -> int:
    versions = {version.component: version.version for version in outcome.history}
    if as_json:
        _print({"component": name, "n": outcome.n, "versions": versions, "waiting": outcome.waiting})
    else:
        typer.echo(_versions_line(versions, outcome.waiting))
    return 0


def _versions_line(versions: dict[str, int], waiting: dict[str, int]) -> str:
    if not versions:
        return "nothing new: this is what was in force"
    told = (
        f"{name} v{version}{' waits for risk and executor' if name in waiting else ''}"
        for name, version in versions.items()
    )
    return ", ".join(told)


def _history_line(entry: ParamVersion | ParamRejected) -> str:
    head = f"{iso(entry.ts_event)}  {entry.component:<16}"
    if isinstance(entry, ParamRejected):
        return f"{head} REJECTED  {'; '.join(entry.errors)}"
    waits = "" if entry.effective else "  (waits)"
    return f"{head} v{entry.version:<5} {entry.sha256[:12]}  {entry.author}: {entry.reason}{waits}"


def _row(name: str, component: ComponentState) -> dict[str, Any]:
    return {
        "component": name,
        "version": component.version,
        "sha256": component.sha256,
        "author": component.author,
        "reason": component.reason,
        "ts": iso(component.ts),
        "effective": component.effective,
        "waiting": component.pending is not None,
    }


def _name(component: str) -> str:
    return FLAGS if component == FLAGS else canonical_component(component)


def _component(components: dict[str, ComponentState], name: str) -> ComponentState:
    if name not in components:
        raise OutOfReach(f"{name} is not in this Redis yet; start the params service")
    return components[name]


def _at(name: str, body: Any, key: str | None) -> Any:
    for step in key.split(".") if key else ():
        if isinstance(body, dict) and step in body:
            body = body[step]
        elif isinstance(body, list) and step.isdecimal() and int(step) < len(body):
            body = body[int(step)]
        else:
            raise Misuse(f"{name}: {key}: {step!r} is unknown here; `edgefleet params get {name}` shows all keys")
    return body


def _author() -> str:
    return f"{getpass.getuser()} (edgefleet)"


def _text(value: Any) -> str:
    if isinstance(value, dict | list):
        return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _print(body: object) -> None:
    typer.echo(msgspec.json.encode(body).decode())
