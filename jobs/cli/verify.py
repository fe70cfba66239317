"""``phl verify``: prove that nothing is missing and nothing is there twice."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from schemas.errors import ConfigError

if TYPE_CHECKING:
    from quality.differences import Difference, Report

_SHOWN = 200


def verify_command(
    since: Annotated[
        str | None, typer.Option(help="Only messages received then or later (ISO 8601).")
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Messages still to be normalised fail too.")
    ] = False,
    deep: Annotated[
        bool,
        typer.Option(
            "--deep",
            help="Fold all that was normalised again, find who is who and what codes mean, and compare.",
        ),
    ] = False,
    ask_kafka: Annotated[
        bool, typer.Option("--kafka/--no-kafka", help="Ask Kafka to explain offsets that are missing.")
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Report as JSON.")] = False,
    config: Annotated[Path | None, typer.Option(help="Settings file, else phl.toml.")] = None,
) -> None:
    """Compare what landed with what became of it, per topic partition; may run beside phl ingest.

    landed = accepted + duplicate + conflict + ignored + quarantined, each offset once, and the rows that each
    message claims are in the tables. Exit code 1 and a table of differences where not. --deep reads everything
    that was normalised, once for each curated table.
    """
    start = _instant(since) if since is not None else None
    from jobs.settings import load_settings
    from jobs.verify_lake import verify_lake
    from lake_layout.lake import Lake
    from pipelines.modalities import MODALITIES

    settings = load_settings(config)
    kafka = settings.kafka_connection() if ask_kafka else None
    lake, prefix = Lake(settings.lake_location()), settings.kafka.topic_prefix
    report = verify_lake(lake, MODALITIES, kafka, topic_prefix=prefix, since=start)
    if deep:
        from jobs.verify_codes import verify_codes
        from jobs.verify_curated import verify_curated
        from jobs.verify_identity import verify_identity
        from lake_layout.sorted_runs import IndexLocation

        index = IndexLocation(str(settings.index_dir))
        report.differences.extend(verify_curated(lake, settings.sources(), index))
        report.differences.extend(verify_identity(lake, settings.sources()))
        report.differences.extend(verify_codes(lake))
    if as_json:
        typer.echo(json.dumps(as_dict(report, strict=strict)))
    else:
        _print(report, strict=strict)
    if not report.clean(strict=strict):
        raise typer.Exit(1)


def _instant(text: str) -> str:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError("CONFIG-SINCE", "give a date or time as in ISO 8601", setting="--since") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).isoformat()


def as_dict(report: Report, *, strict: bool) -> dict[str, object]:
    """The report in the types of JSON."""
    from dataclasses import asdict

    from quality.differences import DIFFERENCES

    return {
        "clean": report.clean(strict=strict),
        "landed": sum(partition.landed for partition in report.partitions),
        "pending": report.pending,
        "unfinished_rows": report.unfinished_rows,
        "explained_offsets": report.explained,
        "objects": report.objects,
        "partitions": [asdict(partition) for partition in report.partitions],
        "differences": [
            {**asdict(difference), "meaning": DIFFERENCES[difference.code]}
            for difference in report.differences
        ],
    }


def _print(report: Report, *, strict: bool) -> None:
    from jobs.print_rows import print_grid
    from schemas.tables.ops import DISPOSITIONS

    names = ["raw", "topic id", "partition", "offsets", "landed", *DISPOSITIONS, "pending"]
    sums = [
        [p.raw_table, p.topic_id, str(p.partition), f"{p.first}–{p.next - 1}", f"{p.landed:,}"]
        + [f"{p.dispositions.get(name, 0):,}" for name in DISPOSITIONS]
        + [f"{p.pending:,}"]
        for p in report.partitions
    ]
    print_grid(names, sums, [False, False, True, False] + [True] * (len(names) - 4))
    if report.differences:
        _print_differences(report.differences)
    landed = sum(partition.landed for partition in report.partitions)
    notes = [
        f"{landed:,} messages landed",
        *([f"{report.pending:,} not normalised yet"] if report.pending else []),
        *(
            [f"{report.unfinished_rows:,} rows of a batch that has not ended"]
            if report.unfinished_rows
            else []
        ),
        *([f"{report.explained:,} offsets that Kafka explains"] if report.explained else []),
        *([f"{report.objects:,} objects looked at"] if report.objects else []),
    ]
    verdict = "clean" if report.clean(strict=strict) else f"{len(report.differences)} differences"
    if not report.differences and not report.clean(strict=strict):
        verdict = "not finished (--strict)"
    typer.echo(f"{verdict}: {', '.join(notes)}")


def _print_differences(differences: list[Difference]) -> None:
    from jobs.print_rows import print_grid
    from quality.differences import DIFFERENCES

    names = [
        "difference",
        "table",
        "topic id",
        "partition",
        "offsets",
        "messages",
        "expected",
        "found",
        "such as",
    ]
    cells = [
        [
            d.code,
            d.table,
            d.topic_id,
            str(d.partition) if d.partition >= 0 else "",
            f"{d.first}–{d.last}" if d.last >= 0 else "",
            f"{d.messages:,}" if d.messages else "",
            str(d.expected),
            str(d.found),
            d.file or " ".join(map(str, d.examples)),
        ]
        for d in differences[:_SHOWN]
    ]
    right = [False, False, False, True, False, True, True, True, False]
    print_grid(names, cells, right)
    for code in sorted({difference.code for difference in differences}):
        typer.echo(f"{code}: {DIFFERENCES[code]}")
    if len(differences) > _SHOWN:
        typer.echo(f"{len(differences) - _SHOWN} further differences: see --json")
