"""The commands `data ...`: recorded markets, checked, recorded and converted."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

Files = Annotated[list[Path], typer.Argument(metavar="FILE...", help="Recorded lines, plain or gzip.")]
Venue = Annotated[str, typer.Option("--venue", help="Whose wire it is: binance, coinbase, kraken, okx, alpaca ...")]
Symbols = Annotated[str | None, typer.Option("--symbols", help="Only these, comma-separated.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout and nothing else.")]


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

    wanted = tuple(one for one in (symbols or "").split(",") if one)
    answer = check_capture(files, venue, wanted)
    if html is not None:
        write_page(html, answer)
    if as_json:
        sys.stdout.write(msgspec.json.encode(answer.body).decode() + "\n")
    else:
        for line in told(answer):
            typer.echo(line)
    return 0 if answer.ok else 1
