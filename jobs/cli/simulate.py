"""``phl simulate``: the synthetic city."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from schemas.errors import ConfigError

if TYPE_CHECKING:
    from jobs.city.truth import Truth

RESULTS_OF_A_FILE = 50
"""So many messages for each result file that a clinic drops, as many as institutions write into a file."""

_DICOM_PORT = 11112


def simulate_command(
    messages: Annotated[int, typer.Option(min=1, help="How many.")] = 500,
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.")] = 1,
    to: Annotated[str | None, typer.Option(help="Send over MLLP to HOST:PORT.")] = None,
    files: Annotated[
        Path | None, typer.Option(help="Write files for phl load, a folder for each source.")
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(help="Write DICOM files for phl send or phl harvest, a folder for each archive."),
    ] = None,
    rate: Annotated[float | None, typer.Option(min=0.01, help="Messages a second (MLLP).")] = None,
    base: Annotated[datetime | None, typer.Option(help="When the first message is sent, city time.")] = None,
    truth: Annotated[Path | None, typer.Option(help="Write what must come out, as JSON.")] = None,
    sources: Annotated[
        Path | None,
        typer.Option(help="Write the city's [[sources]] as a settings file for listener and lake."),
    ] = None,
    drops: Annotated[
        Path | None,
        typer.Option(
            help="Drop result files of four clinics below this folder, for phl collect; see --sources."
        ),
    ] = None,
    instruments: Annotated[
        bool,
        typer.Option(
            "--instruments",
            help="Six laboratory instruments too: with --to they send to ports 4001 to 4006, --sources names them.",
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Report as JSON.")] = False,
) -> None:
    """Make up a city's traffic: every family of HL7 v2, mostly admissions and reports, and what goes wrong with them.

    Among them are resends, reused control ids, corrections, and what is no message. All persons are made up.
    Beside the traffic comes the truth: what must become of each message, and which rows must be in the tables.
    Exit 1 where the listener answered otherwise than it must.
    """
    import asyncio

    from jobs.city.instruments import PORTS, Laboratory, reported, send_over_astm
    from jobs.city.result_files import FileDrops, write_drops
    from jobs.city.send import send_over_mllp, write_files
    from jobs.city.traffic import BASE, City, Transport
    from jobs.city.truth import Truth
    from jobs.cli.send import address

    if all(one is None for one in (to, files, sources, drops, images)):
        raise ConfigError(
            "CONFIG-SIMULATE",
            "say where to: --to HOST:PORT, --files FOLDER, --drops FOLDER or --images FOLDER",
            setting="--to, --files, --drops, --images",
        )
    if to is not None and files is not None:
        raise ConfigError("CONFIG-SIMULATE", "give --to or --files, not both", setting="--to, --files")
    report: dict[str, object] = {}
    wrong = 0
    parts: list[Truth] = []
    if sources is not None:
        _write_sources(sources, drops, images=images is not None, instruments=instruments)
        report["sources"] = str(sources)
    if to is not None or files is not None:
        city = City(seed, Transport.MLLP if to else Transport.FILES, base=base or BASE)
        if to is not None:
            host, port = address(to)
            answers = asyncio.run(send_over_mllp(city.messages(messages), host, port, rate=rate))
            wrong = answers.unexpected
            report |= {"sent": answers.total, "codes": answers.codes, "unexpected_answers": wrong}
            if instruments:
                laboratory = Laboratory(seed, reported(city.truth))
                measured = laboratory.messages(max(1, messages // RESULTS_OF_A_FILE), base or BASE)
                delivered, _ = asyncio.run(send_over_astm(measured, host, PORTS))
                report |= {"measured": delivered, "measured_must_become": laboratory.truth.dispositions()}
                parts.append(laboratory.truth)
        elif files is not None:
            report["files"] = write_files(city.messages(messages), files)
        report["must_become"] = city.truth.dispositions()
        parts.append(city.truth)
    if drops is not None:
        dropped = FileDrops(seed, base=base or BASE)
        report["result_files"] = write_drops(dropped.files(max(1, messages // RESULTS_OF_A_FILE)), drops)
        report["result_files_must_become"] = dropped.truth.dispositions()
        parts.append(dropped.truth)
    if images is not None:
        parts.append(_write_images(seed, images, report))
    if truth is not None and parts:
        Truth.together(parts).save(truth)
    _tell(report, as_json=as_json)
    if wrong:
        raise typer.Exit(1)


def _write_images(seed: int, folder: Path, report: dict[str, object]) -> Truth:
    from jobs.city.studies import studies_of, write_images

    studies, images = studies_of(seed)
    report["images"] = write_images(images, folder)
    report["images_must_become"] = studies.truth.dispositions()
    return studies.truth


def _tell(report: dict[str, object], *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(report, ensure_ascii=False))
        return
    for name, value in report.items():
        shown = (
            ", ".join(f"{count} {key}" for key, count in value.items()) if isinstance(value, dict) else value
        )
        typer.echo(f"{name.replace('_', ' ')}: {shown}")


def _write_sources(path: Path, drops: Path | None, *, images: bool, instruments: bool) -> None:
    """Write the city's settings where no others are: those may be somebody's work.

    Args:
        path: of the file.
        drops: folder below which clinics drop files; their mappings are written beside the settings then.
        images: whether the archives of images are senders, too.
        instruments: whether the laboratory instruments are.

    Raises:
        ConfigError: ``CONFIG-FILE``.
    """
    from jobs.city.instruments import PORTS, instrument_settings
    from jobs.city.result_files import write_settings
    from jobs.city.settings import source_settings

    text = source_settings()
    if instruments:
        text += "\n" + instrument_settings(PORTS)
    if images:
        from jobs.city.studies import studies_settings

        text += studies_settings(_DICOM_PORT)
    try:
        if drops is not None:
            text += "\n" + write_settings(path.resolve().parent, drops.resolve())
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        if path.is_file() and path.read_bytes() == text.encode():
            return
        raise ConfigError(
            "CONFIG-FILE",
            "another file is there already; remove it or give another name",
            setting="--sources",
            file=str(path),
        ) from None
    except OSError:
        raise ConfigError(
            "CONFIG-FILE", "the file cannot be written there", setting="--sources", file=str(path)
        ) from None
