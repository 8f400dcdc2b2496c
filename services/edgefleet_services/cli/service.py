"""Start one service of the fleet in this process. Imports only that service, so that a lean one stays lean."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import importlib
import os
import signal
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Literal

import uvloop

from edgefleet.errors import Fenced, Misuse
from edgefleet.lean import absent, sparing
from edgefleet_services.options import ServiceOptions

_PR_SET_PDEATHSIG = 1
# No order waits for these: where processors are few, they run when the way of an order has what it needs.
_BEHIND_THE_ORDERS = frozenset({"features", "keeper", "ledger", "monitor", "params"})
_BACKGROUND_NICE = 10
_COLLECT_EVERY = 20_000  # objects; a batch of entries makes hundreds at once, and what it makes has no cycles


def run_service(name: str, options: ServiceOptions) -> int:
    """Run `name` until it is told to stop; return its exit code."""
    _die_with_parent()
    if name in _BEHIND_THE_ORDERS:
        os.nice(_BACKGROUND_NICE)
    module = _lean_module(f"edgefleet_services.{name}.service")
    return _run(module.serve(options))


def run_venue(
    options: ServiceOptions,
    *,
    market: str,
    tape: tuple[Path, ...],
    speed: str,
    seed: int,
    start_ns: int | None,
    shift_ns: int | None,
    state_file: Path | None,
) -> int:
    """Run the simulated venue: a tape, a synthetic market, or a relay of the venue that `options` names."""
    _die_with_parent()
    from edgefleet.params.files import load_fleet

    venue = _lean_module("edgefleet_services.venue.service")
    if state_file is not None:
        state_file.parent.mkdir(parents=True, exist_ok=True)
    config = load_fleet(options.conf_dir)
    of = options.traded[0]
    params = config.venues.venues.get(of.name)
    if params is None:
        raise Misuse(f"venue {of.name!r} is not in {options.conf_dir}/venues; add it there")
    return _run(
        venue.serve(
            venue.VenueOptions(
                dialect=params.dialect,
                market=_market(market),
                symbols=of.symbols,
                tape=tape,
                speed=speed,
                seed=seed,
                start_ns=start_ns,
                shift_ns=shift_ns,
                host=options.host,
                port=options.port,
                maker_fee=params.maker_fee,
                taker_fee=params.taker_fee,
                state_file=state_file,
                upstream_ws=params.stream_url if market == "relay" else "",
                upstream_rest=f"{params.rest_url}/api/v3" if market == "relay" else "",
            )
        )
    )


def _lean_module(name: str) -> Any:
    # httpx and structlog load what prints in colours for their own command lines, 4 MB of every process.
    # No service makes data frames: pyarrow need not look for numpy.
    with absent("pygments", "rich"), sparing("numpy"):
        return importlib.import_module(name)


def _market(text: str) -> Literal["tape", "synthetic", "relay"]:
    match text:
        case "tape" | "synthetic" | "relay":
            return text
    raise Misuse(f"--market {text!r} is unknown; it is synthetic, tape or relay")


def _run(service: Coroutine[Any, Any, None]) -> int:
    # What the imports made lives as long as the process: a collection that walks it stops the service for milliseconds.
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_EVERY)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(service)
    return 0


def _die_with_parent() -> None:
    """End this process when its supervisor dies, however it dies. Linux only; elsewhere an ordered stop does it."""
    parent = os.environ.get("EDGEFLEET_PARENT")
    if parent is None or not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(parent):
        raise Fenced("the supervisor is gone; nothing is started without it")
