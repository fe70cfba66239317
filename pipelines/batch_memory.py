"""How a process that handles batch after batch of columns treats memory.

The defaults are made for programs that grow and stay. Columns of a batch come and go by hundreds of megabytes: given
back to the system each time they are cleared by it page by page when they come again (a tenth of all CPU time here),
and the collector of cycles looks at every record of a batch again and again, of which none is part of a cycle.
"""

from __future__ import annotations

import ctypes
import gc

import pyarrow as pa

_MEBIBYTE = 1024 * 1024
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -2, -3, -8
"""Parameters of ``mallopt`` as ``malloc.h`` of the GNU C library numbers them."""

_KEPT = (
    (_MMAP_THRESHOLD, 32 * _MEBIBYTE),
    (_TRIM_THRESHOLD, 512 * _MEBIBYTE),
    (_TOP_PAD, 16 * _MEBIBYTE),
    (_ARENA_MAX, 1),
)


def keep_memory() -> None:
    """Reuse memory instead of giving it back, and look for cycles seldom.

    To be called once, after the libraries were imported: what is there then is never looked at again. Where the C
    library is another than GNU's only the collector is told.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        for parameter, value in _KEPT:
            libc.mallopt(ctypes.c_int(parameter), ctypes.c_int(value))
        pa.set_memory_pool(pa.system_memory_pool())
    gc.collect()
    gc.freeze()
    gc.set_threshold(200_000, 20, 50)


def collect_cycles() -> None:
    """Look for cycles now: each graph that was run leaves some tens of thousands of objects in them."""
    gc.collect()
