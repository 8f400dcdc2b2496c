"""The `edgefleet` command: one line and an exit code for every failure that was foreseen."""

from __future__ import annotations

import sys
from pathlib import Path

import typer
from dotenv import load_dotenv

from edgefleet.errors import FleetError, Misuse, OutOfReach
from edgefleet_services.cli import bench, data, operate, params, records, risk, risk_ask, risk_live, risk_nightly, run

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
app.add_typer(data.app, name="data", help="Recorded markets: check, record, convert, info.")
risk_ask.register(risk.app)
risk_live.register(risk.app)
risk_nightly.register(risk.app)
app.add_typer(risk.app, name="risk", help="The arithmetic of risk, on tables of your own and on the portfolio.")


def main(arguments: list[str] | None = None) -> None:
    """Run the command and leave with its exit code; what was foreseen is told in one line on stderr."""
    sys.exit(outcome(arguments))


def outcome(arguments: list[str] | None = None) -> int:
    """Return the exit code of one command line. `.env` in this directory fills in what the environment does not say."""
    load_dotenv(Path(".env"), override=False)
    try:
        result = app(args=arguments, prog_name="edgefleet", standalone_mode=False)
    except (typer.Abort, KeyboardInterrupt):
        result = EXIT_INTERRUPTED
    except typer.TyperException as error:
        return _tell_misuse(error)
    except Misuse as error:
        return _tell(error, EXIT_MISUSE)
    except OutOfReach as error:
        return _tell(error, EXIT_OUT_OF_REACH)
    except FleetError as error:
        return _tell(error, EXIT_BAD_ANSWER)
    if result == EXIT_INTERRUPTED:
        typer.echo("edgefleet: interrupted", err=True)
    return result if isinstance(result, int) else 0


def _tell_misuse(error: typer.TyperException) -> int:
    context: typer.Context | None = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "edgefleet"
    text = error.format_message()
    if "\n" in text:  # a group without a command answers with its help
        typer.echo(text, err=True)
    else:
        typer.echo(f"edgefleet: {text.rstrip('.')}; see {command} --help", err=True)
    return EXIT_MISUSE


def _tell(error: FleetError, code: int) -> int:
    typer.echo(f"edgefleet: {' '.join(str(error).split())}", err=True)
    return code


if __name__ == "__main__":
    main()
