"""Whether a message costs its size: CPU time at a quarter and at all of it, for each thing that may grow.

``python -m benchmarks.hl7_large``; four times the size ought to cost about four times as much, never sixteen.
"""

from __future__ import annotations

import time

from pipelines.hl7v2 import parse
from tests.tools.large_hl7 import GROWING


def cost(message: bytes) -> float:
    """CPU seconds of reading a message, the least of two."""
    taken = []
    for _ in range(2):
        begin = time.process_time()
        parse([message])
        taken.append(time.process_time() - begin)
    return min(taken)


def main() -> None:
    """Print the table."""
    base = cost(b"MSH|^~\\&|A\r")
    print(f"{'what grows':36}{'number':>12}{'a quarter':>12}{'all':>12}{'ratio':>8}")
    for what, (count, message) in GROWING.items():
        less, more = cost(message(count // 4)) - base, cost(message(count)) - base
        print(f"{what:36}{count:>12,}{less:>10.3f} s{more:>10.3f} s{more / max(less, 1e-4):>8.1f}")


if __name__ == "__main__":
    main()
