"""The `edgefleet` command: one line and an exit code for every failure that was foreseen."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import typer
from dotenv import load_dotenv

from edgefleet.errors import FleetError, Misuse, OutOfReach
from edgefleet_services.cli import bench, operate, params, records, run

EXIT_BAD_ANSWER = 1
EXIT_MISUSE = 2
EXIT_OUT_OF_REACH = 3
EXIT_INTERRUPTED = 130

app = typer.Typer(
    name="edgefleet",
    help="A self-hosted trading fleet over Redis Streams. Paper by default.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
run.register(app)
operate.register(app)
records.register(app)
bench.register(app)
app.add_typer(params.app, name="params", help="Parameters with versions.")


def main(arguments: list[str] | None = None) -> None:
    """Run the command and leave with its exit code; what was foreseen is told in one line on stderr."""
    sys.exit(outcome(arguments))


def outcome(arguments: list[str] | None = None) -> int:
    """Return the exit code of one command line. `.env` in this directory fills in what the environment does not say."""
    load_dotenv(Path(".env"), override=False)
    try:
        result = app(args=arguments, standalone_mode=False)
    except click.exceptions.Abort:
        return EXIT_INTERRUPTED
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except click.ClickException as error:
        error.show()
        return EXIT_MISUSE
    except Misuse as error:
        return _tell(error, EXIT_MISUSE)
    except OutOfReach as error:
        return _tell(error, EXIT_OUT_OF_REACH)
    except FleetError as error:
        return _tell(error, EXIT_BAD_ANSWER)
    return result if isinstance(result, int) else 0


def _tell(error: FleetError, code: int) -> int:
    typer.echo(f"edgefleet: {' '.join(str(error).split())}", err=True)
    return code


if __name__ == "__main__":
    main()
