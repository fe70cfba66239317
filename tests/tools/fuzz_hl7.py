"""Mutated messages by the thousand: each is read or refused with a code, and says the same whatever its neighbours.

``python -m tests.tools.fuzz_hl7 --count 1000000 --seed 1`` runs for long; the test suite runs some thousands. What
fails is told by seed and number of the batch, which give the same messages again.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.hl7v2.modality import HL7V2
from schemas.findings import FINDINGS
from schemas.modality import Parsed
from schemas.source import Source, Sources
from schemas.table import INSTANT

ROOT = Path(__file__).parents[2]
FOLDERS = (ROOT / "tests" / "golden" / "hl7v2", ROOT / ".." / "shared" / "fixtures" / "hl7v2")
SOURCES = Sources.of(
    Source("plain"),
    Source("mainland", charset="gb18030"),
    Source("island", charset="big5", time_zone="Asia/Taipei"),
    Source("latin", charset="iso8859-1", time_zone="Europe/Berlin"),
    Source("japan", charset="iso2022_jp"),
)
NAMES = sorted(SOURCES.by_name)
RECEIVED = datetime(2026, 6, 1, tzinfo=UTC)
BATCH = 5_000
SAMPLE = 25
"""Messages of each batch that are read alone, too."""
PIECES = (
    b"|", b"||", b"^", b"~", b"\\", b"&", b"\r", b"\n", b"\r\n", b" ", b"\0", b"\xff", b"\x81|", b"\xb4\\",
    b"\xef\xbb\xbf", b'""', b"MSH", b"\rMSH|^~\\&|", b"\rADD|", b"\rDSC|1", b"\x1b$B", b"\\X41\\", b"\\.sp9\\",
    b"\\F\\",
    b"\rORC|NW|1", b"\rOBR|1||2|C", b"\rOBX|1|NM|C||1~2", b"\rPID|1||9", b"\rPV1|1|I", b"\rSPM|1|3", b"\rNTE|1||n",
    b"\rMRG|1", b"\rZZZ", b"~~~~", b"^^^^^^^^", b"&&&&", b"99999999", b"-1e9", b"20260230", b"UNICODE UTF-16", b"GBK",
)  # fmt: skip


def corpus() -> list[bytes]:
    """The golden and the public messages, none of them long."""
    found = [path for folder in FOLDERS for path in sorted(folder.resolve().rglob("*.hl7"))]
    return [message for message in (path.read_bytes() for path in found) if len(message) < 6_000]


def mutated(whole: Sequence[bytes], chance: random.Random) -> bytes:
    """One message with up to a dozen changes: bytes, pieces, whole segments, and parts of other messages."""
    message = chance.choice(whole)
    for _ in range(chance.randint(0, 12)):
        low = chance.randint(0, len(message))
        high = min(len(message), low + chance.randint(0, 15))
        match chance.randint(0, 6):
            case 0:
                piece = chance.choice(PIECES)
            case 1:
                piece = chance.randbytes(chance.randint(0, 4))
            case 2:
                piece = message[low:high] * chance.randint(0, 4)
            case 3:
                other = chance.choice(whole)
                start = chance.randint(0, len(other))
                piece = other[start : start + chance.randint(0, 200)]
            case 4:
                lines = message.split(b"\r")
                chance.shuffle(lines)
                message, piece = b"\r".join(lines[:1] + lines), b""
            case 5:
                line = chance.choice(message.split(b"\r"))
                piece = b"\r" + line + b"\r"
            case _:
                delimiter = chance.choice(b"|^~\\&\r\n")
                message = message.replace(
                    bytes([delimiter]), bytes([chance.randrange(256)]), chance.randint(0, 3)
                )
                low, high, piece = min(low, len(message)), min(high, len(message)), b""
        message = message[:low] + piece + message[high:]
    return message[: chance.randint(0, len(message))] if chance.random() < 0.1 else message


def batches(count: int, seed: int) -> Iterator[list[tuple[bytes, str]]]:
    """Mutated messages with their sources, in batches; each batch depends on the seed and its number only."""
    whole = corpus()
    for number in range(0, count, BATCH):
        chance = random.Random(f"{seed}/{number}")
        yield [(mutated(whole, chance), chance.choice(NAMES)) for _ in range(min(BATCH, count - number))]


def raw_rows(batch: Sequence[tuple[bytes, str]]) -> pa.Table:
    """Raw rows as the stages hand them to the parser."""
    return pa.table(
        {
            "payload": pa.array([message for message, _ in batch], pa.binary()),
            "source": pa.array([name for _, name in batch], pa.string()),
            "received_at": pa.array([RECEIVED] * len(batch), INSTANT),
        }
    )


def problem_of(batch: Sequence[tuple[bytes, str]]) -> str | None:  # noqa: PLR0911 - a check each
    """What is wrong with the reading of a batch; None where nothing is."""
    parsed = HL7V2.parse(raw_rows(batch), SOURCES)
    read = parsed.messages.column("row").to_numpy()
    refused = parsed.unreadable.column("row").to_numpy()
    if sorted([*read, *refused]) != list(range(len(batch))):
        return "a message is neither read nor refused, or both"
    codes = pa.concat_arrays(
        [
            pc.list_flatten(parsed.messages.column("codes")).combine_chunks(),
            parsed.unreadable.column("code").combine_chunks(),
        ]
    )
    if set(codes.unique().to_pylist()) - set(FINDINGS):
        return "a code is not in the table of findings"
    segments = np.unique(
        np.concatenate(
            [
                table.column("row").to_numpy().astype(np.int64) << 32
                | table.column("segment_index").to_numpy()
                for table in parsed.tables.values()
            ]
            or [np.zeros(0, np.int64)]
        )
    )
    rows, first, counts = np.unique(segments >> 32, return_index=True, return_counts=True)
    if not np.array_equal(rows, np.sort(read)) or np.any(segments[first] & 0xFFFFFFFF):
        return "a message is read without its first segment"
    if np.any((segments[first + counts - 1] & 0xFFFFFFFF) != counts - 1):
        return "a segment is in no table"
    for table in (parsed.messages, parsed.unreadable, *parsed.tables.values()):
        table.validate(full=True)
    envelopes = HL7V2.envelopes([message for message, _ in batch], [SOURCES.get(name) for _, name in batch])
    told = dict(zip(refused.tolist(), parsed.unreadable.column("code").to_pylist(), strict=True))
    if [told.get(row) for row in range(len(batch))] != envelopes.column("problem").to_pylist():
        return "the envelope and the reader do not agree on what is unreadable"
    for row in range(0, len(batch), max(1, len(batch) // SAMPLE)):
        alone = HL7V2.parse(raw_rows(batch[row : row + 1]), SOURCES)
        if said(alone, 0) != said(parsed, row):
            return f"message {row} says something else alone"
    return _difference(parsed, HL7V2.parse(raw_rows(batch[::-1]), SOURCES), len(batch))


def said(parsed: Parsed, row: int) -> list[tuple[str, list[dict[str, object]]]]:
    """All that was said of one message, without its number."""
    found = []
    for name, table in sorted({**parsed.tables, "": parsed.messages, "-": parsed.unreadable}.items()):
        own = table.filter(pc.equal(table.column("row"), row)).drop_columns(["row"])
        if own.num_rows:
            found.append((name, own.to_pylist()))
    return found


def _difference(parsed: Parsed, turned: Parsed, count: int) -> str | None:
    """Where the same messages, read in the opposite order, say something else."""
    if parsed.tables.keys() != turned.tables.keys() or parsed.objects != turned.objects:
        return "other tables in another order"
    pairs = [(name, table, turned.tables[name]) for name, table in parsed.tables.items()]
    pairs += [
        ("messages", parsed.messages, turned.messages),
        ("unreadable", parsed.unreadable, turned.unreadable),
    ]
    for name, table, other in pairs:
        if table.num_rows != other.num_rows:
            return f"another number of rows in another order: {name}"
        back = other.set_column(0, "row", pc.cast(pc.subtract(count - 1, other.column("row")), pa.int32()))
        mine_sorted, theirs_sorted = _sorted(table), _sorted(back)
        for column in table.column_names:
            mine, theirs = _plain(mine_sorted.column(column)), _plain(theirs_sorted.column(column))
            if not mine.equals(theirs):
                return f"another value in another order: {name}.{column}"
    return None


def _sorted(table: pa.Table) -> pa.Table:
    order = np.argsort(table.column("row").to_numpy(), kind="stable")
    return table.take(pa.array(order))


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def main() -> int:
    """Run; 1 where something is wrong."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--count", type=int, default=1_000_000)
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--from-batch", type=int, default=0)
    chosen = arguments.parse_args()
    began = time.monotonic()
    for number, batch in enumerate(batches(chosen.count, chosen.seed)):
        if number < chosen.from_batch:
            continue
        try:
            problem = problem_of(batch)
        except Exception as error:  # noqa: BLE001 - any kind is what is looked for
            problem = f"{type(error).__name__}: {error}"
        if problem is not None:
            sys.stdout.write(f"seed {chosen.seed}, batch {number}: {problem}\n")
            return 1
        if number % 50 == 49:
            rate = (number + 1 - chosen.from_batch) * BATCH / (time.monotonic() - began)
            sys.stdout.write(f"{(number + 1) * BATCH:>9,} messages, {rate:,.0f} a second\n")
            sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
