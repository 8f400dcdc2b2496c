"""Logs are events: one JSON object a line, or a line for people on a terminal. Knows nothing of where they go next.

Every event carries `ts` (ISO 8601, UTC), `level`, `event`, `service` and, where bound, `session`, `instance` and
`trace_id`.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, MutableMapping
from typing import Any, TextIO, cast

import msgspec
import structlog
from structlog.typing import FilteringBoundLogger, WrappedLogger

from edgefleet.clock import SYSTEM, Clock, iso
from edgefleet.errors import Misuse

LEVELS: dict[str, int] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
}

Logger = FilteringBoundLogger
_EventDict = MutableMapping[str, Any]
_Processor = Callable[[WrappedLogger, str, _EventDict], _EventDict]


def configure(
    service: str,
    *,
    level: str = "info",
    session: str | None = None,
    instance: str | None = None,
    stream: TextIO | None = None,
    console: bool | None = None,
    clock: Clock = SYSTEM,
) -> Logger:
    """Return the process's logger and make it the default one; lines go to `stream`, standard error by default.

    Parameters
    ----------
    level
        The lowest level that is written: debug, info, warning, error, critical.
    console
        True for lines that people read, False for JSON; by default people's lines where `stream` is a terminal.

    Raises
    ------
    Misuse
        If `level` is not one of the five.
    """
    if level.lower() not in LEVELS:
        raise Misuse(f"log level {level!r} is unknown; write one of {', '.join(LEVELS)}")
    out = sys.stderr if stream is None else stream
    for_people = out.isatty() if console is None else console
    render = structlog.dev.ConsoleRenderer(colors=out.isatty()) if for_people else render_json
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            stamp(clock),
            structlog.processors.StackInfoRenderer(),
            *([] if for_people else [structlog.processors.format_exc_info]),
            render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level.lower()]),
        logger_factory=structlog.WriteLoggerFactory(out),
        cache_logger_on_first_use=False,
    )
    bound = {"service": service, "session": session, "instance": instance}
    logger = structlog.get_logger().bind(**{name: value for name, value in bound.items() if value is not None})
    return cast(Logger, logger)


def stamp(clock: Clock) -> _Processor:
    """Return the processor that adds `ts` from `clock`."""

    def add(_logger: WrappedLogger, _method: str, event: _EventDict) -> _EventDict:
        event["ts"] = iso(clock.wall_ns())
        return event

    return add


def render_json(_logger: WrappedLogger, _method: str, event: _EventDict) -> str:
    """Return `event` as one line of JSON, its fixed fields first; what has no JSON form is written as its `repr`."""
    ordered = {name: event.pop(name) for name in ("ts", "level", "service", "event") if name in event}
    return msgspec.json.encode(ordered | dict(event), enc_hook=repr).decode()
