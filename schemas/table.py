"""The vocabulary that tables are written in: a table is a literal, all else is derived from it."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

INSTANT = pa.timestamp("us", tz="UTC")


@dataclass(frozen=True, slots=True)
class Field:
    """A column.

    Attributes:
        name: snake case, in the words of FHIR R5 or HL7.
        type: Arrow type; only types that Delta knows (no unsigned, no fixed-size binary).
        doc: one sentence, with unit where there is one.
        standard: where the value comes from, such as ``OBX-5`` or ``MSH-7``.
        nullable: whether the value may be absent.
    """

    name: str
    type: pa.DataType
    doc: str
    standard: str = ""
    nullable: bool = True


@dataclass(frozen=True, slots=True)
class Table:
    """A Delta table.

    Attributes:
        name: its place in the lake, ``layer/name``, such as ``normalised/observation``.
        doc: one sentence.
        fields: the columns, in order.
        partition_by: name of the one date column that the files are parted by (first day of a month).
        sort_by: columns that rows are sorted by within a file.
        statistics: columns whose minimum, maximum and null count are kept in the log, so that files are
            pruned by them; few, since every refresh reads them.
        row_key: columns that tell the rows of one message from each other; empty where none do.
    """

    name: str
    doc: str
    fields: tuple[Field, ...]
    partition_by: str | None = None
    sort_by: tuple[str, ...] = ()
    statistics: tuple[str, ...] = ()
    row_key: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        names = [field.name for field in self.fields]
        unknown = {
            *filter(None, [self.partition_by]), *self.sort_by, *self.statistics, *self.row_key
        } - set(names)  # fmt: skip
        if unknown or len(set(names)) != len(names):
            raise ValueError(f"{self.name}: columns unknown or repeated: {sorted(unknown)}")

    @property
    def arrow_schema(self) -> pa.Schema:
        """The Arrow schema of the whole table, partition column included."""
        return pa.schema([pa.field(f.name, f.type, nullable=f.nullable) for f in self.fields])

    @property
    def view_name(self) -> str:
        """The name in SQL: ``normalised.observation``."""
        return self.name.replace("/", ".")
