"""The command `risk nightly`: what the service `features` does each night, now and on the screen. Writes no file."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from edgefleet.errors import Misuse, OutOfReach, Transient
from edgefleet.instruments import canonical_symbol
from edgefleet_services.cli.answers import AsJson, aligned
from edgefleet_services.cli.run import session_directory
from edgefleet_services.options import redis_url_from_environment
from edgefleet_services.running import RunningFleet, find_running

if TYPE_CHECKING:
    from edgefleet.params.schema import FleetConfig
    from edgefleet.store.market.archive import MarketArchive
    from edgefleet_services.features.nights import SymbolNight, Tested

NONE = "-"


def register(app: typer.Typer) -> None:
    """Add this module's command to `app`."""
    app.command("nightly")(nightly)


def nightly(
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", help="The fleet's; else the one that runs from here, or the newest.")
    ] = None,
    symbols: Annotated[
        str | None, typer.Option("--symbols", help="BTC/USDT or BTC/USDT@sim, comma-separated; else all with bars.")
    ] = None,
    conf: Annotated[
        Path | None, typer.Option("--conf", help="Whose features.yml counts; else the running fleet's, or conf.")
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Back-test value at risk on the fleet's own bars, as it does itself each night: by `backtest` of features.yml.

    Each way on each symbol: exceptions, p of Kupiec's coverage and Christoffersen's independence, Basel's zone, Z2 of
    Acerbi and Szekely; a + where neither test rejects at 5 %. With --json a line for each symbol, as in `backtests/`.
    Exit code 1 where coverage is rejected at 1 %, a zone is red, or a symbol's bars cannot be read.
    """
    from edgefleet.store.market.archive import MarketArchive
    from edgefleet_services.data.nightly import back_test

    running = find_running(data_dir)
    url = running.redis_url if running is not None else redis_url_from_environment() if data_dir is None else None
    config = _filed(conf) if url is None or conf is not None else asyncio.run(_in_force(url))
    archive = MarketArchive(_market(running, data_dir))
    bad = False
    for instrument in _chosen(archive, symbols):
        rules = config.instruments.get(instrument)
        asset_class = "crypto" if rules is None else rules.asset_class
        found = back_test(archive, instrument, asset_class, config.features.backtest)
        bad = bad or found.failed is not None or bool(found.rejected)
        if as_json:
            sys.stdout.write(msgspec.json.encode(found).decode() + "\n")
        else:
            typer.echo("\n".join(_lines(found)))
    return 1 if bad else 0


def _market(running: RunningFleet | None, data_dir: Path | None) -> Path:
    from edgefleet_services.features.nights import MARKET_VARIABLE, market_directory

    if running is not None:
        return market_directory(Path(running.data_dir))
    if os.environ.get(MARKET_VARIABLE):  # as in a container, where no session leaves word of itself
        return market_directory(data_dir or Path())
    return market_directory(session_directory(data_dir, None))


def _filed(conf: Path | None) -> FleetConfig:
    from edgefleet.params.files import load_fleet
    from edgefleet.params.schema import FleetConfig

    directory = conf or Path("conf")
    return load_fleet(directory) if conf is not None or directory.is_dir() else FleetConfig()


async def _in_force(url: str) -> FleetConfig:
    """Return the configuration that a running fleet's services read."""
    from redis.exceptions import RedisError

    from edgefleet.bus.redis_bus import RedisBus
    from edgefleet.params.schema import FleetConfig
    from edgefleet.params.store import ParamStore

    async with RedisBus(url) as bus:
        try:
            current = await ParamStore(bus.redis).current()
        except (Transient, RedisError, OSError) as error:
            raise OutOfReach(f"Redis does not answer: {error}; take the files' settings with --conf") from error
    return FleetConfig() if current is None else FleetConfig.model_validate_json(current.body)


def _chosen(archive: MarketArchive, symbols: str | None) -> list[str]:
    known = sorted({one.instrument for one in archive.chosen(["bar"])})
    if not known:
        raise Misuse(f"{archive.partitions.root} has no bars; the service features keeps them, see conf/features.yml")
    if symbols is None:
        return known
    chosen = []
    for part in (part.strip() for part in symbols.split(",") if part.strip()):
        name = part if "@" in part else canonical_symbol(part)
        meant = [one for one in known if name in (one, one.rpartition("@")[0])]
        if not meant:
            raise Misuse(f"--symbols: {part} has no bars; there are {', '.join(known)}")
        chosen += meant
    return list(dict.fromkeys(chosen))


def _lines(found: SymbolNight) -> Iterator[str]:
    about = f"{found.instrument}: {found.returns} returns of {found.interval} bars, {found.gaps} gaps"
    if found.failed is not None:
        yield f"{found.instrument}: {found.failed}"
        return
    if not found.methods:
        yield f"{about}; too few, {found.needed} are needed"
        return
    yield f"{about}; level {found.level:g}, window {found.window}; passing: {_listed(found.passing)}"
    heads = ("", "exceptions", "expected", "coverage p", "independence p", "zone", "Z2", "")
    yield from (
        line.rstrip() for line in aligned([heads, *(_cells(method, one) for method, one in found.methods.items())])
    )
    yield from (f"{method}: {one.refused}" for method, one in found.methods.items() if one.refused)


def _cells(method: str, one: Tested) -> tuple[str, ...]:
    counted = NONE if one.exceptions is None else f"{one.exceptions} in {one.observations}"
    numbers = (one.expected, one.p_pof, one.p_cci)
    texts = (NONE if number is None else f"{number:.4g}" for number in numbers)
    z2 = NONE if one.z2 is None else f"{one.z2:.3f}"
    return method, counted, *texts, one.zone or NONE, z2, "+" if one.passes else ""


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"
