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
        only: the only ones that are read, as an IPC stream (``pipelines.read_again``); None for all.
    """

    number: int
    files: tuple[str, ...]
    rows: int
    only: bytes | None = None


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
        except IngestError:
            raise
        except MemoryError:
            raise LakeError(
                "STAGE-MEMORY", "out of memory; lower ingest.batch_messages or batch_bytes"
            ) from None
        except OSError as error:
            raise TransportError(
                "STAGE-IO",
                "a file, the store or the network failed",
                kind=type(error).__name__,
                place=place_of(error),
            ) from None
        except Exception as error:  # noqa: BLE001 - the border to the runner: nothing uncoded may pass
            raise LakeError(
                "STAGE-INTERNAL",
                "a defect of this program; report kind and place",
                kind=type(error).__name__,
                place=place_of(error),
            ) from None

    return process


def place_of(error: BaseException) -> str:
    """``file:line`` of where an error was raised, without its text."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return "unknown"
    return f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
