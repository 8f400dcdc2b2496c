"""Commands that read what was written down: `why`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from edgefleet.errors import Misuse
from edgefleet.instruments import canonical_symbol
from edgefleet_services.cli.run import session_directory
from edgefleet_services.running import find_running


def register(app: typer.Typer) -> None:
    """Add this module's commands to `app`."""
    app.command("why")(why)


def why(
    subject: Annotated[str, typer.Argument(metavar="ORDER_ID|TARGET_ID|SYMBOL", help="What to explain.")],
    at: Annotated[str | None, typer.Option("--at", help="SYMBOL as it stood at this time, UTC.")] = None,
    data_dir: Annotated[Path | None, typer.Option("--data-dir", help="The session's; without it the newest.")] = None,
    session: Annotated[str | None, typer.Option("--session", help="A session's id, under data/.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout and nothing else.")] = False,
) -> int:
    """Tell the chain from market event to fill, or to the refusal, with every number that decided."""
    from edgefleet_services.why import explain, moment, told

    found = find_running(data_dir) if session is None else None
    directory = Path(found.data_dir) if found is not None else session_directory(data_dir, session)
    answer = explain(
        _named(subject),
        directory,
        redis_url=found.redis_url if found is not None else None,
        database=os.environ.get("EDGEFLEET_DATABASE_URL"),
        at_ns=None if at is None else moment(at),
    )
    if as_json:
        sys.stdout.write(msgspec.json.encode(answer).decode() + "\n")
    else:
        for line in told(answer):
            typer.echo(line)
    return 0


def _named(subject: str) -> str:
    looks_like_id = subject[:1] in "te" and subject == subject.lower() and len(subject) > 12
    if looks_like_id or "@" in subject:
        return subject
    try:
        return canonical_symbol(subject)
    except Misuse:
        return subject
