"""``phl send``: try a listener out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from schemas.errors import ConfigError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator, Mapping

    from connectors.dicom.client import Target
    from jobs.send import Sent


def send_command(
    files: Annotated[
        list[Path], typer.Argument(help="Files of one or many messages, or folders.", exists=True)
    ],
    to: Annotated[str, typer.Option(help="HOST:PORT of a listener.")] = "127.0.0.1:2575",
    protocol: Annotated[
        Literal["mllp", "astm", "dicom"],
        typer.Option(
            help="How to send: HL7 v2 over MLLP, LIS2-A2 records (H to L) as an instrument, DICOM files by C-STORE."
        ),
    ] = "mllp",
    called: Annotated[str, typer.Option(help="DICOM: AE title of the listener.")] = "PHL",
    calling: Annotated[str, typer.Option(help="DICOM: own AE title.")] = "PHL-SEND",
    connections: Annotated[int, typer.Option(min=1, help="Connections at once.")] = 1,
    patience: Annotated[float, typer.Option(min=0.1, help="Seconds to wait for an answer.")] = 60.0,
    retries: Annotated[
        int, typer.Option(min=0, help="Send again what is answered AE, CE, NAK or A700, so often.")
    ] = 0,
    ca: Annotated[Path | None, typer.Option(help="Use TLS; trust certificates signed by this one.")] = None,
    cert: Annotated[Path | None, typer.Option(help="Own certificate (mutual TLS).")] = None,
    key: Annotated[Path | None, typer.Option(help="Its key.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Report as JSON.")] = False,
) -> None:
    """Send files of HL7 v2, of an instrument's records, or of DICOM, and show the answers.

    Exit 1 where any was not accepted.
    """
    host, port = address(to)
    if protocol == "dicom":
        from connectors.dicom.client import Target

        target = Target(host, port, called, calling, _tls(ca, cert, key), patience)
        _send_dicom(files, target, connections, retries, as_json=as_json)
        return
    import asyncio

    from jobs.send import send_all
    from jobs.send_astm import send_all_astm

    send, messages = (
        (send_all_astm, _astm_messages(files)) if protocol == "astm" else (send_all, _messages(files))
    )
    sent = asyncio.run(
        send(
            messages,
            host,
            port,
            connections=connections,
            tls=_tls(ca, cert, key),
            patience=patience,
            retries=retries,
        )
    )
    if as_json:
        report = {
            "sent": sent.total,
            "accepted": sent.accepted,
            "unanswered": sent.unanswered,
            "not_asked": sent.not_asked,
            "codes": sent.codes,
            "reasons": sent.reasons,
        } | ({"replies": [_text(reply) for reply in sent.replies]} if protocol == "astm" else {})
        typer.echo(json.dumps(report))
    else:
        _show(sent)
    if sent.failed:
        raise typer.Exit(1)


def _send_dicom(paths: list[Path], target: Target, connections: int, retries: int, *, as_json: bool) -> None:
    from jobs.load_files import find_files
    from jobs.send_dicom import send_dicom

    files = [file.path for file in find_files(paths)]
    sent = send_dicom(files, target, connections=connections, retries=retries)
    if as_json:
        report = {
            "sent": sent.total,
            "accepted": sent.stored,
            "unanswered": sent.unanswered,
            "not_dicom": sent.not_dicom,
            "codes": sent.summed(0),
            "reasons": sent.summed(1),
        }
        typer.echo(json.dumps(report))
    else:
        _show_answers(sent.answers, "files", [("no answer came", sent.unanswered)])
        left_out = f"; {sent.not_dicom:,} files are not DICOM" if sent.not_dicom else ""
        typer.echo(f"sent {sent.total:,} files, {sent.stored:,} stored{left_out}")
    if sent.failed:
        raise typer.Exit(1)


def _show_answers(answers: Mapping[tuple[str, str], int], what: str, more: list[tuple[str, int]]) -> None:
    """A line for each kind of answer."""
    from jobs.print_rows import print_grid, shown

    rows = [(shown(code), shown(reason[:80]), count) for (code, reason), count in sorted(answers.items())]
    rows += [("none", reason, count) for reason, count in more if count]
    if rows:
        cells = [(code, reason, f"{count:,}") for code, reason, count in rows]
        print_grid(("answer", "reason", what), cells, (False, False, True))


def _show(sent: Sent) -> None:
    _show_answers(
        sent.answers,
        "messages",
        [("no answer came", sent.unanswered), ("none was asked for", sent.not_asked)],
    )
    from jobs.print_rows import shown

    for reply in sent.replies:
        for record in _text(reply).split("\r")[:-1]:
            typer.echo(f"answered  {shown(record)}")
    typer.echo(f"sent {sent.total:,} messages, {sent.accepted:,} accepted")


def _text(reply: bytes) -> str:
    return reply.decode("utf-8", "replace")


def address(text: str, option: str = "--to") -> tuple[str, int]:
    """Host and port of ``HOST:PORT``.

    Raises:
        ConfigError: it is written in another way.
    """
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ConfigError("CONFIG-ADDRESS", "give HOST:PORT, such as 127.0.0.1:2575", setting=option)
    return host.strip("[]"), int(port)


def _messages(paths: list[Path]) -> Iterator[bytes]:
    from connectors.hl7_files import stream_messages
    from jobs.load_files import find_files

    for file in find_files(paths):
        with file.path.open("rb") as opened:
            yield from stream_messages(opened)


def _astm_messages(paths: list[Path]) -> Iterator[bytes]:
    from connectors.astm.client import messages_of
    from jobs.load_files import find_files

    for file in find_files(paths):
        yield from messages_of(file.path.read_bytes())


def _tls(ca: Path | None, cert: Path | None, key: Path | None) -> ssl.SSLContext | None:
    import ssl

    from connectors.listening.tls import client_tls

    if ca is None and cert is None:
        return None
    try:
        return client_tls(str(ca) if ca else None, str(cert) if cert else None, str(key) if key else None)
    except (OSError, ssl.SSLError):
        raise ConfigError(
            "CONFIG-TLS", "the certificates cannot be read", setting="--ca, --cert, --key"
        ) from None
