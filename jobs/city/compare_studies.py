"""The studies that are so now against what the city knows: their counts, by the view that analysts ask."""

from __future__ import annotations

from collections import Counter
from typing import Final

from jobs.city.compare import Difference
from jobs.city.studies import ARCHIVES, Studies
from jobs.lake_views import lake_views
from lake_layout.lake import Lake

_QUERY: Final = """SELECT source, study_instance_uid, patient_id, instances, images, series, modalities
FROM curated_imaging.study WHERE instances > 0"""
_EXAMPLES: Final = 5


def compare_studies(lake: Lake, studies: Studies) -> Difference | None:
    """Compare the counts of each study and patient with the truth; None where nothing differs.

    Raises:
        LakeError: a table is there and cannot be opened.
    """
    with lake_views(lake) as views:
        rows = views.connection.execute(_QUERY).fetchall()
    sources = {archive.source for archive in ARCHIVES}
    there = Counter((*row[:6], tuple(row[6])) for row in rows if row[0] in sources)
    wanted = Counter((*key, *counts) for key, counts in studies.now().items())
    missing, surplus = wanted - there, there - wanted
    if not missing and not surplus:
        return None
    keys = {row[:3] for row in missing} & {row[:3] for row in surplus}
    lacking = sum(row[:3] not in keys for row in missing)
    more = sum(row[:3] not in keys for row in surplus)
    named = sorted({f"{row[0]} {row[1]}" for row in (*missing, *surplus)})[:_EXAMPLES]
    columns = ("instances", "images", "series", "modalities") if keys else ()
    return Difference("curated_imaging.study", lacking, more, len(keys), columns, tuple(named))
