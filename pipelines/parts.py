"""What travels between the workers of a graph: small descriptors, and narrow Arrow tables as IPC bytes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ParamSpec, TypeVar

import pyarrow as pa

from lake_layout.added_since import AddedFile
from schemas.errors import IngestError, LakeError, TransportError

P = ParamSpec("P")
T = TypeVar("T")


_MUCH = 10_000


@dataclass(frozen=True, slots=True)
class Part:
    """Some files of a raw table that one worker reads together.

    Attributes:
        number: its place in the batch.
        files: paths relative to the table, in the order of their versions.
        rows: messages in all of them.
        skip: so many messages of the first file belong to the part before it.
        only: the only ones that are read, as an IPC stream (``pipelines.read_again``); None for all.
    """

    number: int
    files: tuple[str, ...]
    rows: int
    only: bytes | None = None
    skip: int = 0


def parts_of(files: Sequence[AddedFile], rows_per_part: int) -> list[Part]:
    """Group files so that a part has about ``rows_per_part`` messages and many small files make few parts."""
    groups: list[list[AddedFile]] = []
    filled = rows_per_part
    for file in files:
        if filled + file.rows > rows_per_part:
            groups.append([])
            filled = 0
        groups[-1].append(file)
        filled += file.rows
    return [
        Part(number, tuple(file.path for file in group), sum(file.rows for file in group))
        for number, group in enumerate(groups)
    ]


def parts_side_by_side(
    files: Sequence[AddedFile], rows_per_part: int, at_once: int, least: int
) -> list[Part]:
    """Parts of about equal size, for so many workers at once.

    Args:
        files: in the order of their versions; a part may begin and end within one.
        rows_per_part: a part's most messages.
        at_once: how many parts are read at a time.
        least: messages that are worth a part of their own.
    """
    whole = sum(file.rows for file in files)
    count = max(1, min(at_once, whole // least))
    if whole > count * rows_per_part:
        count = at_once * -(-whole // (at_once * rows_per_part))
    if count == 1:
        return parts_of(files, rows_per_part)
    return [
        _between(number, files, whole * number // count, whole * (number + 1) // count)
        for number in range(count)
    ]


def _between(number: int, files: Sequence[AddedFile], start: int, end: int) -> Part:
    paths: list[str] = []
    skip = before = 0
    for file in files:
        if before < end and before + file.rows > start:
            skip = skip if paths else start - before
            paths.append(file.path)
        before += file.rows
    return Part(number, tuple(paths), end - start, skip=skip)


def release_memory(messages: int) -> None:
    """Give back what is free in the middle of the heap after a large share of work, which otherwise only grows.

    Args:
        messages: of the share; a small one leaves little behind, and what is kept is quicker to use again.
    """
    if messages >= _MUCH:
        pa.default_memory_pool().release_unused()


def to_bytes(table: pa.Table) -> bytes:
    """An Arrow table as one IPC stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def from_bytes(data: bytes) -> pa.Table:
    """The table that ``to_bytes`` wrote."""
    with pa.ipc.open_stream(data) as reader:
        return reader.read_all()


def coded(function: Callable[P, Iterator[T]]) -> Callable[P, Iterator[T]]:
    """Let only coded errors out of a DoFn's ``process``.

    What a library says about the bytes that it failed on would reach the runner's logs; the place in our code
    and the kind of error are enough to find the cause.
    """

    @functools.wraps(function)
    def process(*args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        try:
            yield from function(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - the border to the runner: nothing uncoded may pass
            raise coded_error(error) from None

    return process


def coded_error(error: Exception) -> IngestError:
    """The error that may leave a worker for one that was raised in it: itself, where it is coded."""
    if isinstance(error, IngestError):
        return error
    if isinstance(error, MemoryError):
        return LakeError("STAGE-MEMORY", "out of memory; lower ingest.batch_messages or ingest.processes")
    where: dict[str, str | int] = {"kind": type(error).__name__, "place": place_of(error)}
    if isinstance(error, OSError):
        return TransportError("STAGE-IO", "a file, the store or the network failed", **where)
    return LakeError("STAGE-INTERNAL", "a defect of this program; report kind and place", **where)


def place_of(error: BaseException) -> str:
    """``file:line`` of where an error was raised, without its text."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return "unknown"
    return f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
