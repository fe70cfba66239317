"""``phl``: the command that people run.

Each sub-command is a function in a module of its own, which is imported when it is asked for, so that help comes
at once.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command as built

from jobs.exit_codes import DEFECT
from schemas.errors import IngestError

if TYPE_CHECKING:
    from collections.abc import Sequence

COMMANDS: dict[str, tuple[str, str, str]] = {
    "init": ("jobs.cli.init", "init_command", "Write a commented phl.toml."),
    "check": ("jobs.cli.check", "check_command", "Say what is wrong in the settings."),
    "up": ("jobs.cli.up", "up_command", "Start the embedded Kafka and S3 store; make tables and topics."),
    "down": ("jobs.cli.down", "down_command", "Stop the embedded services."),
    "status": ("jobs.cli.status", "status_command", "Say whether the services are up."),
    "listen": ("jobs.cli.listen", "listen_command", "Take what senders send, each protocol at its ports."),
    "send": ("jobs.cli.send", "send_command", "Send files over MLLP and show the answers."),
    "collect": ("jobs.cli.collect", "collect_command", "Take in files that laboratories drop."),
    "load": ("jobs.cli.load", "load_command", "Take in files of HL7 v2 messages."),
    "harvest": (
        "jobs.cli.harvest",
        "harvest_command",
        "Take in the headers of DICOM archives: folders, ZIPs, S3.",
    ),
    "hl7": ("jobs.cli.hl7", "hl7_command", "Show HL7 v2 messages as trees, and the rows they become."),
    "ingest": ("jobs.cli.ingest", "ingest_command", "Kafka to tables: land, normalise, curate."),
    "curate": ("jobs.cli.ingest", "curate_command", "Fold new rows into what is true now."),
    "verify": ("jobs.cli.verify", "verify_command", "Prove that nothing is missing and nothing is twice."),
    "objects": ("jobs.cli.objects", "objects_command", "Look whether the objects that rows name are there."),
    "quarantine": (
        "jobs.cli.quarantine",
        "quarantine_command",
        "Messages that cannot be read: list, show, replay, discard.",
    ),
    "steward": (
        "jobs.cli.steward",
        "steward_command",
        "Decide who is who; list what needs a decision.",
    ),
    "reprocess": ("jobs.cli.reprocess", "reprocess_command", "Have the messages of a range read again."),
    "codes": ("jobs.cli.codes", "codes_command", "Map local codes to LOINC; list what is not mapped."),
    "query": ("jobs.cli.query", "query_command", "SQL over the lake's tables."),
    "simulate": ("jobs.cli.simulate", "simulate_command", "A synthetic city's traffic, and its truth."),
    "demo": ("jobs.cli.demo", "demo_command", "All of it in one go."),
    "soak": ("jobs.cli.soak", "soak_command", "Let everything fail, and look whether anything was lost."),
}
"""Name → (module, function, one line of help)."""


class _Later(TyperCommand):
    """Stands in for a sub-command until it is run or asked for its own help."""

    # Arguments and result are the library's own; it passes them on by name.
    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:  # noqa: ANN401
        return _load(str(self.name)).make_context(info_name, args, parent=parent, **extra)


def _load(name: str) -> Any:  # noqa: ANN401 - a command of the library that typer carries within
    module, function, line = COMMANDS[name]
    single = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    command = getattr(importlib.import_module(module), function)
    single.command(name, help=command.__doc__ or line, no_args_is_help=False)(command)
    return built(single)


class LazyGroup(TyperGroup):
    """Knows its sub-commands from the table alone."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ANN401, ARG002 - see _Later
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ANN401, ARG002
        if cmd_name not in COMMANDS:
            return None
        line = COMMANDS[cmd_name][2]
        return _Later(cmd_name, help=line, short_help=line, callback=None)


app = typer.Typer(
    cls=LazyGroup,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # they print local variables, and with them payload
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Hospitals' HL7 v2 messages, from the socket to deduplicated Delta tables, exactly once.",
)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"phl {version('population-health-lake')}")
        raise typer.Exit


@app.callback()
def phl(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Hospitals' HL7 v2 messages, from the socket to deduplicated Delta tables, exactly once."""


def run(arguments: Sequence[str]) -> int:
    """Run a command line.

    Returns:
        The exit code: 0; 1 where a report found something; 2 for a wrong command line; 70 for a defect; 75 where
        something does not answer; 78 for wrong settings; 130 after Ctrl-C.
    """
    from jobs.logs import configure_logging, describe

    configure_logging()
    try:
        app(args=list(arguments), prog_name="phl")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except IngestError as error:
        typer.echo(f"phl: {error}", err=True)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except Exception as error:  # noqa: BLE001 - its text may hold payload: kind and place are what may be said
        where = ", ".join(f"{name}={value}" for name, value in describe(error).items())
        typer.echo(f"phl: DEFECT: an error that nobody foresaw ({where})", err=True)
        return DEFECT
    return 0


def main() -> None:
    """Entry point of the ``phl`` command."""
    code = run(sys.argv[1:])
    try:
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of a pipe went away: nothing to tell it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.stderr.flush()
    # A query that ended with an error leaves threads behind that still read; the interpreter's own end would let
    # them abort the process (exit code 134), and there is nothing left for it to do.
    os._exit(code)


if __name__ == "__main__":
    main()
