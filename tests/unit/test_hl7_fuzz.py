"""Some thousands of mutated messages; ``python -m tests.tools.fuzz_hl7`` runs as many as are wanted."""

from __future__ import annotations

import pytest

from tests.tools.fuzz_hl7 import batches, problem_of


@pytest.mark.parametrize("seed", [11, 12])
def test_mutated_messages_are_read_or_refused_whatever_their_neighbours(seed: int) -> None:
    assert [problem_of(batch) for batch in batches(2_000, seed)] == [None]
