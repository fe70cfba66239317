"""Structured log lines on standard error, without anything that a message said.

The project's own events carry coordinates. What libraries log, warn of or raise may quote the bytes that they
failed on, so of those only kind and place are printed.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import traceback
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import structlog

from schemas.errors import IngestError

if TYPE_CHECKING:
    from structlog.typing import EventDict, Processor, WrappedLogger

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_OF_NO_CONCERN = ("apache_beam/io/gcp/internal/clients/bigquery/__init__.py",)
"""Says at every start that a client of a store that is not used here is not installed."""
_ROOT = Path(__file__).resolve().parent.parent


def configure_logging(level: str | None = None) -> None:
    """Set up logging of this process: colours on a terminal, JSON lines elsewhere.

    Args:
        level: debug, info, warning or error; None for ``PHL_LOG_LEVEL``, else info.
    """
    wanted = LEVELS.get((level or os.environ.get("PHL_LOG_LEVEL") or "info").lower(), logging.INFO)
    terminal = sys.stderr.isatty()
    renderer: Processor = (
        structlog.dev.ConsoleRenderer() if terminal else structlog.processors.JSONRenderer(ensure_ascii=False)
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            reduce_exception,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(wanted),
        logger_factory=_StandardError,
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(handlers=[LibraryLog()], level=logging.WARNING, force=True)
    logging.captureWarnings(capture=True)
    sys.excepthook = _uncaught
    threading.excepthook = _uncaught_in_thread
    sys.unraisablehook = _unraisable


class _StandardError:
    """Writes lines to standard error as it is at that moment (tests and pipes replace it)."""

    def __init__(self, *_names: object) -> None:
        """Take no notice of names."""

    def msg(self, line: str) -> None:
        sys.stderr.write(line + "\n")
        sys.stderr.flush()

    debug = info = warning = error = critical = exception = fatal = failure = log = msg


def place_of(trace: TracebackType | None) -> str:
    """File and line of the innermost frame, ours where there is one: ``jobs/wiring.py:31``."""
    frames = traceback.extract_tb(trace)
    ours = [frame for frame in frames if _is_ours(frame.filename)]
    if not frames:
        return "unknown"
    frame = (ours or frames)[-1]
    shown = Path(frame.filename).relative_to(_ROOT) if ours else Path(frame.filename).name
    return f"{shown}:{frame.lineno}"


def _is_ours(name: str) -> bool:
    path = Path(name)
    return path.is_relative_to(_ROOT) and "site-packages" not in path.parts


def describe(error: BaseException) -> dict[str, str | int]:
    """What may be said of an exception: code and coordinates of ours, of others only kind and place."""
    if isinstance(error, IngestError):
        return {"code": error.code, "reason": error.message, **error.coordinates}
    return {"kind": type(error).__name__, "place": place_of(error.__traceback__)}


def reduce_exception(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Processor: instead of the exception's text and traceback, kind and place."""
    found = event.pop("exc_info", None)
    event.pop("stack_info", None)
    error = sys.exc_info()[1] if found is True else found[1] if isinstance(found, tuple) else found
    if isinstance(error, BaseException):
        for name, value in describe(error).items():
            event.setdefault(name, value)
    return event


class LibraryLog(logging.Handler):
    """Takes the records of the standard library's logging, which all libraries use, into ours.

    A record's text may hold payload (Beam puts whole tracebacks there); the logger's name, the line that logged
    and the kind of exception cannot.
    """

    def emit(self, record: logging.LogRecord) -> None:
        if record.pathname.endswith(_OF_NO_CONCERN):
            return
        error = record.exc_info[1] if record.exc_info else None
        write = (
            structlog.get_logger(record.name).error
            if record.levelno >= logging.ERROR
            else structlog.get_logger(record.name).warning
        )
        write(
            "library_log",
            logger=record.name,
            at=f"{Path(record.pathname).name}:{record.lineno}",
            **({"kind": type(error).__name__} if error else {}),
        )


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    structlog.get_logger(__name__).error("uncaught", **describe(error.with_traceback(trace)))


def _uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None and not isinstance(args.exc_value, SystemExit):
        structlog.get_logger(__name__).error("uncaught_in_thread", **describe(args.exc_value))


def _unraisable(args: sys.UnraisableHookArgs) -> None:
    if args.exc_value is not None:
        structlog.get_logger(__name__).warning("unraisable", **describe(args.exc_value))
