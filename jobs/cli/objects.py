"""``phl objects``: whether what rows name is there."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from quality.objects import ObjectsReport


class Action(StrEnum):
    """What is to be done."""

    CHECK = "check"


class Fix(StrEnum):
    """What becomes of what is found."""

    NEVER = "never"


def objects_command(
    action: Annotated[Action, typer.Argument(help="Compare rows with objects.")],  # noqa: ARG001 - the only one
    deep: Annotated[
        bool, typer.Option("--deep", help="Read the lake's objects whole and compare their SHA-256.")
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Objects that nothing names fail too.")] = False,
    grace: Annotated[
        str, typer.Option(help="Objects younger than that may be named by rows to come.")
    ] = "24h",
    elsewhere: Annotated[
        bool, typer.Option("--elsewhere/--no-elsewhere", help="Look at objects outside the lake too.")
    ] = True,
    ask_kafka: Annotated[
        bool, typer.Option("--kafka/--no-kafka", help="Ask Kafka for records that are not landed yet.")
    ] = True,
    fix: Annotated[Fix, typer.Option(help="Nothing is ever changed or removed.")] = Fix.NEVER,  # noqa: ARG001
    as_json: Annotated[bool, typer.Option("--json", help="Report as JSON.")] = False,
    config: Annotated[Path | None, typer.Option(help="Settings file, else phl.toml.")] = None,
) -> None:
    """Look whether each object that a row names is there with its size; list objects that nothing names.

    Images, large messages, embedded documents; in the lake, and what was harvested where it lies. Safe while
    everything runs. Exit code 1 where an object is missing or not as it must be.
    """
    from datetime import timedelta

    from jobs.check_objects import Wanted, check_objects
    from jobs.durations import seconds
    from jobs.objects_progress import progress
    from jobs.settings import load_settings
    from lake_layout.lake import Lake
    from pipelines.modalities import MODALITIES

    wanted = Wanted(deep=deep, elsewhere=elsewhere, grace=timedelta(seconds=seconds(grace, "--grace")))
    settings = load_settings(config)
    kafka = settings.kafka_connection() if ask_kafka else None
    with progress() as told:
        report = check_objects(
            Lake(settings.lake_location()), MODALITIES, kafka, wanted,
            topic_prefix=settings.kafka.topic_prefix, progress=told,
        )  # fmt: skip
    if as_json:
        typer.echo(json.dumps(as_dict(report, strict=strict)))
    else:
        _print(report, strict=strict)
    if not report.clean(strict=strict):
        raise typer.Exit(1)


def as_dict(report: ObjectsReport, *, strict: bool) -> dict[str, object]:
    """The report in the types of JSON."""
    from dataclasses import asdict

    from quality.objects import OBJECT_FAULTS

    return {
        "clean": report.clean(strict=strict),
        **asdict(report),
        "faults": [{**asdict(fault), "meaning": OBJECT_FAULTS[fault.code]} for fault in report.faults],
    }


def _print(report: ObjectsReport, *, strict: bool) -> None:
    from jobs.print_rows import print_grid
    from quality.objects import OBJECT_FAULTS

    if report.faults:
        names = ["fault", "table", "objects", "rows", "topic id", "partition", "offset", "such as"]
        cells = [
            [
                fault.code, fault.table, f"{fault.objects:,}", f"{fault.rows:,}", fault.topic_id,
                str(fault.partition) if fault.partition >= 0 else "",
                str(fault.offset) if fault.offset >= 0 else "", "\n".join(fault.paths[:3]),
            ]
            for fault in report.faults
        ]  # fmt: skip
        print_grid(names, cells, [False, False, True, True, False, True, True, False])
        for code in sorted({fault.code for fault in report.faults}):
            typer.echo(f"{code}: {OBJECT_FAULTS[code]}")
    if report.orphans:
        typer.echo(f"{report.orphans:,} objects ({report.orphan_bytes:,} bytes) that nothing names, such as")
        for path in report.orphan_paths:
            typer.echo(f"  {path}")
    verdict = "clean" if report.clean(strict=strict) else "not as it must be"
    notes = [
        f"{report.rows:,} rows name {report.named:,} objects",
        *([f"{report.elsewhere:,} of them elsewhere"] if report.elsewhere else []),
        f"{report.listed:,} objects in the lake",
        *([f"{report.hashed:,} read whole"] if report.hashed else []),
        *([f"{report.waiting:,} named by records not landed yet"] if report.waiting else []),
        *([f"{report.young:,} young ones that nothing names yet"] if report.young else []),
        *([] if report.kafka_asked else ["Kafka was not asked for records not landed yet"]),
    ]
    typer.echo(f"{verdict}: {', '.join(notes)}")
