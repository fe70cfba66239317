"""``phl check``: what is wrong in the settings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from schemas.errors import ConfigError, IngestError

if TYPE_CHECKING:
    from jobs.settings import Problem, Settings


def check_command(
    as_json: Annotated[bool, typer.Option("--json", help="Report as JSON.")] = False,
    config: Annotated[Path | None, typer.Option(help="Settings file, else phl.toml.")] = None,
) -> None:
    """Read the settings and name all that is wrong in them; exit code 78 where something is. Starts nothing."""
    from jobs.settings import Problem, read_settings, settings_file

    path, settings = config, None
    try:
        path = settings_file(config)
        settings, problems = read_settings(config)
    except ConfigError as error:  # the file is not there, or not TOML
        if not as_json:
            raise
        problems = [Problem("file", error.message)]
    if settings is not None:
        problems = _refused(settings)
    if as_json:
        found = [{"setting": problem.setting, "message": problem.message} for problem in problems]
        typer.echo(json.dumps({"file": str(path) if path else None, "problems": found}, ensure_ascii=False))
    else:
        for problem in problems:
            typer.echo(f"{problem.setting}: {problem.message}")
        if settings is not None and not problems:
            _summary(settings, path)
    if problems:
        raise typer.Exit(ConfigError.exit_code)


def _refused(settings: Settings) -> list[Problem]:
    """What the parts that settings are passed on to say of them, without reaching out to anything."""
    from jobs.listen import tls_of
    from jobs.settings import Problem

    problems = []
    ports = (settings.listen.port, *(one.port for one in settings.source_settings if one.port and one.tls))
    for port in dict.fromkeys(ports):
        try:
            tls_of(settings, port)
        except ConfigError as error:
            problems.append(Problem(str(error.coordinates["setting"]), error.message))
    if settings.kafka.bootstrap is not None:
        try:
            settings.kafka_connection().admin()
        except IngestError as error:
            name = str(error.coordinates.get("setting", "properties"))
            problems.append(Problem(f"kafka.properties.{name}", error.message))
    for number, source in enumerate(settings.source_settings):
        if source.mapping is not None:
            from jobs.result_file_mapping import read_mapping

            _, wrong = read_mapping(source.mapping)
            problems += [Problem(f"sources[{number}].mapping", text) for text in wrong]
    if settings.lake.uri is not None:
        try:
            settings.lake_location()
        except IngestError as error:
            problems.append(Problem("lake.uri", error.message))
    return problems


def _summary(settings: Settings, path: Path | None) -> None:
    typer.echo(f"{path or 'defaults and environment'}: nothing is wrong")
    typer.echo(f"  kafka   {settings.kafka.bootstrap or 'embedded (phl up)'}")
    typer.echo(f"  lake    {settings.lake.uri or 'embedded (phl up)'}")
    tls = (
        "TLS, certificates of senders checked"
        if settings.listen.tls and settings.listen.tls.client_ca
        else "TLS"
    )
    typer.echo(
        f"  listen  {settings.listen.host}:{settings.listen.port}"
        + (f" ({tls})" if settings.listen.tls else "")
    )
    names = ", ".join(source.name for source in settings.source_settings)
    typer.echo(f"  sources {names or 'none: all messages come from ' + settings.listen.source}")
