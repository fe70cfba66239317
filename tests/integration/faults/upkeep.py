"""Upkeep of one small table in a process of its own, which may be killed (``python -m``).

Reads the lake's location from standard input, as JSON. Nothing is too young to be removed.
"""

from __future__ import annotations

import json
import sys

from lake_layout.lake import Lake
from lake_layout.location import LakeLocation
from lake_layout.maintain import forget_claims, maintain
from tests.integration.lake_cases import LAND, RAW

if __name__ == "__main__":
    lake = Lake(LakeLocation(**json.loads(sys.stdin.read())))
    batch = int(sys.argv[1])
    maintain(lake, RAW, kept_days=0, kept_removed_hours=0)
    forget_claims(lake, LAND.name, batch)
