"""``curated.person`` and the other tables of identity with what batches changed and their files do not have yet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from lake_layout.live_files import LiveFile, files_of
from pipelines.identity_changes import applied_up_to, has_changes
from schemas.errors import LakeError
from schemas.tables.identification import IDENTITY_CHANGE
from schemas.tables.identity import IDENTITY, UNITS

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    import duckdb
    from deltalake import DeltaTable

    from lake_layout.lake import Lake
    from schemas.table import Table

_CHANGES: Final = "identity_changes"
_NO_END: Final = 2**62


@dataclass(frozen=True)
class IdentityChanges:
    """What batches changed.

    Attributes:
        delta: the handle it is read through.
        files: of the version that it stands at.
    """

    delta: DeltaTable
    files: Sequence[LiveFile]

    @classmethod
    def before(cls, lake: Lake, tables: Collection[Table]) -> IdentityChanges | None:
        """To be opened before the tables are: what is brought into one of them afterwards leaves the changes.

        Args:
            lake: where the tables lie.
            tables: which; None is given back where no change concerns them.

        Raises:
            LakeError: the table is there and cannot be opened.
        """
        if not {*IDENTITY} & {*tables}:
            return None
        try:
            delta = lake.open(IDENTITY_CHANGE)
        except LakeError as error:
            if error.code != "LAKE-TABLE-MISSING":
                raise
            return None
        return cls(delta, files_of(delta, IDENTITY_CHANGE))

    def show(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Let views be made of them."""
        connection.register(_CHANGES, self.delta.to_pyarrow_dataset(schema=IDENTITY_CHANGE.arrow_schema))

    def concern(self, table: Table, delta: DeltaTable | None) -> bool:
        """Whether a table's files do not have all of them."""
        if delta is None or table not in IDENTITY:
            return False
        return any(has_changes(file, table, applied_up_to(delta), _NO_END) for file in self.files)


def with_changes(table: Table, files: str, delta: DeltaTable) -> str:
    """SQL for the rows of a table with what was changed; ``IdentityChanges.show`` comes before.

    Args:
        table: which.
        files: name in SQL of what its files have.
        delta: the handle they are read through.
    """
    unit = UNITS[table.name]

    def columns(of: str) -> str:
        return ", ".join(f'{of}."{name}"' for name in table.arrow_schema.names)

    def same(one: str) -> str:
        return " AND ".join(f'{one}."{name}" IS NOT DISTINCT FROM goes."{name}"' for name in unit)

    names = ", ".join(f'"{name}"' for name in unit)
    return (
        f"WITH said AS (SELECT * FROM {_CHANGES} WHERE of_table = '{table.name}' "  # noqa: S608 - our names
        f"AND batch_number > {applied_up_to(delta)}), "
        f"goes AS (SELECT {names}, max(batch_number) AS last FROM said WHERE gone GROUP BY {names}) "
        f'SELECT {columns("there")} FROM "{files}" AS there ANTI JOIN goes ON {same("there")} '
        f"UNION ALL SELECT {columns('comes')} FROM said AS comes ANTI JOIN goes "
        f"ON {same('comes')} AND goes.last > comes.batch_number WHERE NOT comes.gone"
    )
