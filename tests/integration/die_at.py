"""Run ``phl`` and be killed (SIGKILL) at a chosen call: ``python -m tests.integration.die_at POINT NTH ARGS…``.

POINT is ``module:function:before`` or ``…:after``; NTH counts the calls from 1.
"""

from __future__ import annotations

import functools
import importlib
import os
import signal
import sys
from collections.abc import Callable


def arm(point: str, nth: int) -> None:
    """Replace a module's function by one that kills the process around its nth call."""
    module, name, when = point.split(":")
    target = importlib.import_module(module)
    original: Callable[..., object] = getattr(target, name)
    calls = 0

    @functools.wraps(original)
    def deadly(*args: object, **kwargs: object) -> object:
        nonlocal calls
        calls += 1
        this = calls
        if this == nth and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*args, **kwargs)
        if this == nth and when == "after":
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(target, name, deadly)


if __name__ == "__main__":
    point, nth, *arguments = sys.argv[1:]
    arm(point, int(nth))
    from jobs.cli.main import main

    sys.argv = ["phl", *arguments]
    main()
