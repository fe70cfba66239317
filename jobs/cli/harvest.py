"""``phl harvest``: the headers of a DICOM archive → Kafka; the objects stay where they are."""

from __future__ import annotations

import json
import os
from contextlib import nullcontext
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import typer

from schemas.errors import ConfigError, LakeError, TransportError

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from connectors.dicom.places import Place
    from connectors.routing import PutObject
    from jobs.harvest import Tally
    from jobs.load_files import Deliver
    from jobs.settings import Settings
    from schemas.source import Source


def harvest_command(
    uri: Annotated[str, typer.Argument(help="A folder, a DICOM or ZIP file, or s3://bucket/prefix.")],
    source: Annotated[str, typer.Option("--source", "-s", help="Name of the source, as in phl.toml.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Read the headers, send nothing.")] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Look at so many things at most.")] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Take also what a former run of this source has taken.")
    ] = False,
    workers: Annotated[
        int | None, typer.Option(min=1, max=64, help="Readers at a time, else what pays for such a place.")
    ] = None,
    list_names: Annotated[
        Path | None,
        typer.Option(help="Write the names of what is not DICOM or could not be read to this file."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Report as JSON.")] = False,
    config: Annotated[Path | None, typer.Option(help="Settings file, else phl.toml.")] = None,
) -> None:
    """Take in the headers of DICOM objects that lie in a folder, in ZIP files or in an S3 bucket.

    Only the beginning of each object is read, up to its pixel data; the objects stay where they are. Run it again
    after it was broken off, or when objects were added: what it has taken and what has not changed is skipped.
    Names of files may name patients: the report shows hashes of them, --list-names has the names. Exit code 1:
    something that should be there could not be taken.
    """
    from jobs.cli.load import configured_source
    from jobs.harvest import Tally, place_of
    from jobs.settings import load_settings

    settings = load_settings(config)
    sender = configured_source(settings, source)
    place = place_of(uri, settings)
    tally = Tally()
    try:
        with _names(list_names) as names:
            _harvest(
                settings,
                place,
                sender,
                tally,
                names,
                dry_run=dry_run,
                again=again,
                limit=limit,
                workers=workers,
            )
    except (TransportError, LakeError, KeyboardInterrupt):
        _report(tally, as_json=as_json, dry_run=dry_run, broken_off=True)
        raise
    _report(tally, as_json=as_json, dry_run=dry_run)
    if not tally.complete:
        raise typer.Exit(1)


def _names(path: Path | None) -> AbstractContextManager[IO[str] | None]:
    """A file that only its owner may read."""
    if path is None:
        return nullcontext()
    try:
        return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8")
    except OSError:
        raise ConfigError(
            "HARVEST-NAMES", "the file of names cannot be written", setting="--list-names"
        ) from None


def _harvest(
    settings: Settings,
    place: Place,
    source: Source,
    tally: Tally,
    names: IO[str] | None,
    *,
    dry_run: bool,
    again: bool,
    limit: int | None,
    workers: int | None,
) -> None:
    from connectors.dicom.harvest import Look
    from connectors.dicom.record import DICOM_TOPIC
    from connectors.kafka.topics import describe_topic
    from jobs.cli.load import no_object, nowhere, to_kafka, to_store
    from jobs.harvest import harvest
    from jobs.harvest_progress import harvest_progress
    from jobs.harvested import Harvested

    topic = settings.kafka.topic_prefix + DICOM_TOPIC
    deliver: Deliver
    put: PutObject
    if dry_run:
        deliver, put, harvested = nowhere, no_object, Harvested(None, "")
    else:
        deliver, put = to_kafka(settings, topic), to_store(settings)
        topic_id = describe_topic(settings.kafka_connection(), topic).topic_id
        file = settings.state_dir / "harvest" / f"{topic}-{source.name}.sqlite"
        harvested = Harvested(file, topic_id, again=again)
    look = Look(source, topic, place.first, put, int(settings.listen.object_threshold))
    with harvested, harvest_progress(tally, place) as follow:
        harvest(
            place, look, deliver, harvested, tally, workers=workers, limit=limit, names=names, follow=follow
        )


def _report(tally: Tally, *, as_json: bool, dry_run: bool, broken_off: bool = False) -> None:
    from connectors.dicom.harvest import FINDINGS

    if as_json:
        typer.echo(json.dumps(_as_dict(tally, dry_run=dry_run, broken_off=broken_off)))
        return
    what, count = ("would send", tally.headers) if dry_run else ("sent", tally.delivered)
    typer.echo(
        f"looked at {tally.looked_at:,} files"
        + (f", {tally.dicomdirs:,} of them DICOMDIRs" if tally.dicomdirs else "")
        + (f", and skipped {tally.known:,} that a former run has settled" if tally.known else "")
    )
    typer.echo(
        f"{what} {count:,} headers ({tally.header_bytes:,} bytes"
        + (f", {tally.objects} too large for Kafka as objects" if tally.objects else "")
        + ")"
    )
    for code, number in sorted(tally.findings.items()):
        typer.echo(f"{number:>8,} × {code}: {FINDINGS[code]}")
        typer.echo(
            f"           {' '.join(tally.named[code])}{' …' if number > len(tally.named[code]) else ''}"
        )
    if tally.findings:
        typer.echo("names are shown as hashes, since they may name patients; --list-names FILE writes them")
    if broken_off:
        typer.echo("broken off; run the command again: it goes on where it was")


def _as_dict(tally: Tally, *, dry_run: bool, broken_off: bool) -> dict[str, object]:
    return {
        "dry_run": dry_run,
        "broken_off": broken_off,
        "complete": tally.complete and not broken_off,
        "looked_at": tally.looked_at,
        "known": tally.known,
        "headers": tally.headers,
        "header_bytes": tally.header_bytes,
        "objects": tally.objects,
        "delivered": tally.delivered,
        "dicomdirs": tally.dicomdirs,
        "findings": dict(sorted(tally.findings.items())),
        "named": dict(sorted(tally.named.items())),
    }
