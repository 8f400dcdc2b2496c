"""How a command answers: as one JSON object or as lines, its tables aligned, what it refuses in one sentence."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import msgspec
import typer

from edgefleet.errors import Misuse

AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout and nothing else.")]


@contextmanager
def refusals_of(*where: object) -> Iterator[None]:
    """Say where it was that arithmetic refused its input, or which extra is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise Misuse(f"{error.name} is not installed; pip install 'edgefleet[research]'") from error
    except ValueError as error:
        raise Misuse(": ".join(filter(None, (", ".join(map(str, where)), str(error))))) from error


def answer(body: dict[str, Any], as_json: bool, lines: Iterable[str]) -> None:
    """Print `body`, or where no JSON is asked for the same as `lines`."""
    if as_json:
        sys.stdout.write(msgspec.json.encode(body).decode() + "\n")
        return
    for line in lines:
        typer.echo(line)


def aligned(rows: Iterable[Sequence[str]]) -> list[str]:
    """Return rows as aligned text: the first column to the left, the others to the right."""
    table = [list(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in table
    ]
