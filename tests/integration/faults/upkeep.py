"""Upkeep of one small table in processes of their own, which may be killed (``python -m``).

They are forked from one that has the libraries and does nothing with them. It reads the lake's location from standard
input (a line of JSON), then lines with the batch and the place to die at (null for none), and answers each with how the
child ended. Nothing is too young to be removed.
"""

from __future__ import annotations

import json
import os
import sys

from lake_layout.fail_points import VARIABLE
from lake_layout.lake import Lake
from lake_layout.location import LakeLocation
from lake_layout.maintain import forget_claims, maintain
from tests.integration.lake_cases import LAND, RAW


def look_after(location: LakeLocation, batch: int, point: str | None) -> None:
    """In a child: what upkeep does."""
    if point is not None:
        os.environ[VARIABLE] = point
    lake = Lake(location)
    maintain(lake, RAW, kept_days=0, kept_removed_hours=0)
    forget_claims(lake, LAND.name, batch)


def main() -> None:
    location = LakeLocation(**json.loads(sys.stdin.readline()))
    for line in sys.stdin:
        pid = os.fork()
        if not pid:
            code = 1
            os.dup2(2, 1)  # what it logs is no answer
            try:
                look_after(location, *json.loads(line))
                code = 0
            finally:
                os._exit(code)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)  # noqa: T201 - its answer


if __name__ == "__main__":
    main()
