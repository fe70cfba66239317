"""``phl hl7``: HL7 v2 messages as trees, and the rows that they become."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from schemas.source import Source


def hl7_command(
    files: Annotated[list[Path], typer.Argument(help="Files of one or many messages; - for stdin.")],
    charset: Annotated[
        str, typer.Option(help="Charset of messages that do not say (a Python codec name).")
    ] = "utf-8",
    time_zone: Annotated[str, typer.Option(help="IANA zone of times without one.")] = "Asia/Shanghai",
    tree: Annotated[bool, typer.Option(help="Print segments, fields and components.")] = True,
    rows: Annotated[bool, typer.Option(help="Print the rows of the tables.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="A line with an object per message.")] = False,
) -> None:
    """Show what messages say: the tree, the rows it becomes, what deviates. Nothing is stored or sent.

    Exit code 1: a message cannot be read.
    """
    from jobs.show_message import show_files, write_pretty

    source = Source("phl-hl7", charset=charset, time_zone=time_zone)
    unreadable = False
    for shown in show_files(files, source):
        unreadable |= shown.problem is not None
        if as_json:
            sys.stdout.write(json.dumps(shown.plain(tree=tree, rows=rows), ensure_ascii=False) + "\n")
        else:
            write_pretty(shown, tree=tree, rows=rows)
    if unreadable:
        raise typer.Exit(1)
