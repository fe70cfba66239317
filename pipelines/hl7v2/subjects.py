"""The patients that a batch speaks of, by the identifiers of their PID segments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.hl7v2.columns import Columns, taken
from pipelines.hl7v2.decode import I64
from pipelines.hl7v2.structures import identifier_lists
from schemas.hl7v2.mapping import Place

_PLACES = tuple(Place("PID", number) for number in (3, 2, 4, 19))
"""PID-3 and, of old versions, PID-2, PID-4 and the social security number PID-19 (HL7 v2.5.1 §3.4.2)."""


@dataclass(frozen=True)
class Subjects:
    """Patients of a batch, one for each PID segment.

    Attributes:
        identifiers: a list for each.
        patient_id: the first one's value.
        authority: the first one's authority.
    """

    identifiers: pa.Array
    patient_id: pa.Array
    authority: pa.Array

    @classmethod
    def of(cls, columns: Columns, authority: pa.Array, places: Sequence[Place] = _PLACES) -> Subjects:
        """Read the identifiers.

        Args:
            columns: the batch.
            authority: of identifiers without one, for each message.
            places: fields that hold identifiers, the most wanted first.
        """
        lists = identifier_lists(columns, places, "PID", authority)
        starts = lists.offsets.to_numpy()[:-1]
        filled = pc.fill_null(pc.list_value_length(lists), 0).to_numpy() > 0
        flat = lists.values
        if not len(flat):
            empty = pa.nulls(len(lists), pa.string())
            return cls(lists, empty, empty)
        first = pa.array(np.where(filled, starts, 0), mask=~filled)
        return cls(lists, flat.field("value").take(first), flat.field("authority").take(first))

    def linked(self, link: I64) -> tuple[pa.Array, pa.Array]:
        """First identifier and its authority, by link."""
        return taken(self.patient_id, link), taken(self.authority, link)
