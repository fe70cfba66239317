"""``phl load``: files of HL7 v2 messages → Kafka."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from schemas.errors import ConfigError, LakeError, TransportError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from connectors.records import Record
    from jobs.load_files import Deliver, FoundFile, Tally
    from jobs.settings import Settings
    from schemas.source import Source

_BATCH_ID_LIMIT = 80


def load_command(
    paths: Annotated[list[Path], typer.Argument(help="Files, or folders with everything below them.")],
    source: Annotated[str, typer.Option("--source", "-s", help="Name of the source, as in phl.toml.")],
    batch_id: Annotated[str | None, typer.Option(help="What names this load, else each file's hash.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Read and check the files, send nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Report as JSON.")] = False,
    config: Annotated[Path | None, typer.Option(help="Settings file, else phl.toml.")] = None,
) -> None:
    """Send HL7 v2 files: single messages, several in one file, FHS/BHS envelopes; any line ending.

    Loading a file again changes nothing in the tables. Exit code 1: something could not be read and was left
    out.
    """
    from jobs.load_files import Tally, find_files
    from jobs.settings import load_settings

    if batch_id is not None and (not batch_id.isprintable() or not 0 < len(batch_id) <= _BATCH_ID_LIMIT):
        raise ConfigError("CONFIG-BATCH-ID", "give 1 to 80 printable characters", setting="--batch-id")
    settings = load_settings(config)
    sender = configured_source(settings, source)
    files = find_files(paths)
    tally = Tally()
    try:
        _load(settings, files, sender, tally, batch_id, dry_run=dry_run)
    except (TransportError, KeyboardInterrupt):
        _report(tally, as_json=as_json, dry_run=dry_run, broken_off=True)
        raise
    _report(tally, as_json=as_json, dry_run=dry_run)
    if not tally.complete:
        raise typer.Exit(1)


def configured_source(settings: Settings, name: str) -> Source:
    """The source that an argument names; one that is not configured gets the defaults, and a warning.

    Raises:
        ConfigError: ``CONFIG-SOURCE`` where the name cannot be one.
    """
    import re

    import structlog

    if not re.fullmatch(r"[A-Za-z0-9._-]{1,100}", name):
        raise ConfigError(
            "CONFIG-SOURCE", "a source's name has letters, digits, - _ . only", setting="--source"
        )
    sources = settings.sources()
    if name not in sources.by_name:
        structlog.get_logger(__name__).warning("source_not_configured", source=name, uses="defaults")
    return sources.get(name)


def _load(
    settings: Settings,
    files: list[FoundFile],
    source: Source,
    tally: Tally,
    batch_id: str | None,
    *,
    dry_run: bool,
) -> None:
    from connectors.routing import HL7_TOPIC
    from jobs.load_files import load_files
    from jobs.load_progress import progress

    topic = settings.kafka.topic_prefix + HL7_TOPIC
    deliver, put = (nowhere, no_object) if dry_run else (to_kafka(settings, topic), to_store(settings))
    with progress(tally, sum(file.size for file in files), len(files)) as follow:

        def followed(records: Iterable[Record], on_delivered: Callable[[Record], object]) -> None:
            deliver(follow(records), on_delivered)

        load_files(
            files,
            source,
            followed,
            put,
            tally,
            batch_id=batch_id,
            topic=topic,
            threshold=int(settings.listen.object_threshold),
        )


def to_kafka(settings: Settings, topic: str) -> Deliver:
    """Sends records to a topic, which is made where it is not there."""
    from connectors.kafka.deliver import deliver_all
    from connectors.kafka.topics import ensure_topic

    connection = settings.kafka_connection()
    ensure_topic(
        connection, topic, settings.topic_partitions, replication_factor=settings.kafka.replication_factor
    )

    def deliver(records: Iterable[Record], on_delivered: Callable[[Record], object]) -> None:
        deliver_all(connection, records, on_delivered)

    return deliver


def to_store(settings: Settings) -> Callable[[str, bytes], None]:
    """Writes objects of the lake where nothing is there yet."""
    from lake_layout.objects import ObjectStore, open_store

    opened: list[ObjectStore] = []

    def put(path: str, data: bytes) -> None:
        if not opened:  # most files have no message that is too large for Kafka
            opened.append(open_store(settings.lake_location()))
        if not opened[0].put_if_absent(path, data) and opened[0].get_or_none(path) != data:
            raise LakeError("OBJECT-DAMAGED", "an object is there already with other bytes", path=path)

    return put


def nowhere(records: Iterable[Record], on_delivered: Callable[[Record], object]) -> None:
    """Read everything and send nothing."""
    del on_delivered
    for _ in records:
        pass


def no_object(path: str, data: bytes) -> None:
    """Write nothing."""
    del path, data


def _report(tally: Tally, *, as_json: bool, dry_run: bool, broken_off: bool = False) -> None:
    from connectors.hl7_files import FINDINGS

    if as_json:
        typer.echo(json.dumps(_as_dict(tally, dry_run=dry_run, broken_off=broken_off)))
        return
    what = "would send" if dry_run else "sent"
    count = tally.messages if dry_run else tally.delivered
    typer.echo(
        f"{what} {count} messages from {tally.files} files ({tally.message_bytes:,} bytes"
        + (f", {tally.objects} too large for Kafka as objects" if tally.objects else "")
        + ")"
    )
    for code, number in sorted(tally.findings.items()):
        typer.echo(f"{number:>6} × {code}: {FINDINGS[code]}")
        for detail in [d for d in tally.details if d.finding.code == code][:10]:
            finding = detail.finding
            counts = (
                f", states {finding.expected}, has {finding.found}" if finding.expected is not None else ""
            )
            typer.echo(f"         {detail.file} at byte {finding.position}{counts}")
    if broken_off:
        typer.echo("broken off; run the command again: the tables take a message only once")


def _as_dict(tally: Tally, *, dry_run: bool, broken_off: bool) -> dict[str, object]:
    return {
        "dry_run": dry_run,
        "broken_off": broken_off,
        "complete": tally.complete and not broken_off,
        "files": tally.files,
        "files_unreadable": tally.unreadable,
        "messages": tally.messages,
        "delivered": tally.delivered,
        "objects": tally.objects,
        "bytes": tally.message_bytes,
        "findings": dict(sorted(tally.findings.items())),
        "details": [
            {
                "file": str(detail.file),
                "code": detail.finding.code,
                "position": detail.finding.position,
                "batch": detail.finding.batch,
                "expected": detail.finding.expected,
                "found": detail.finding.found,
            }
            for detail in tally.details
        ],
    }
