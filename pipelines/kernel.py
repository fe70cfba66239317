"""Kernels: plain loops over numpy arrays, compiled to machine code when they are first called.

A kernel sees each byte once and makes no Python object; it holds no Python lock while it runs, so that kernels run
beside each other in threads. What is compiled is kept beside the module (or in the user's cache folder where that
cannot be written) and loaded from there afterwards.

No bounds are checked within a kernel: whatever bytes come in, every index must be shown to lie inside its array by
what the kernel itself has checked. ``NUMBA_BOUNDSCHECK=1`` in the environment checks them all; a test runs the
reader so on arbitrary bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

import numba

P = ParamSpec("P")
T = TypeVar("T")


def kernel(function: Callable[P, T]) -> Callable[P, T]:
    """Compile a function of numpy arrays and numbers; nothing of Python is called within."""
    return cast("Callable[P, T]", numba.njit(nogil=True, cache=True)(function))
