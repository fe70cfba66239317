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
from typing import Any, ParamSpec, TypeVar, cast

import numba
import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

Bytes = np.ndarray[tuple[int], np.dtype[np.uint8]]
P = ParamSpec("P")
T = TypeVar("T")


def kernel(function: Callable[P, T]) -> Callable[P, T]:
    """Compile a function of numpy arrays and numbers; nothing of Python is called within."""
    try:
        compiled = numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:  # nowhere to keep it: a read-only system without a home; each process compiles anew
        compiled = numba.njit(nogil=True)(function)
    return cast("Callable[P, T]", compiled)


@intrinsic
def copy_16(_context, target, to, source, start):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201, ARG001
    """Within a kernel: copy 16 bytes at once, from ``source[start:]`` to ``target[to:]``.

    Values are a few bytes each, and a loop over them costs more for its last, mispredicted turn than for the bytes:
    this is four times as fast. Both arrays must hold 16 bytes from there on; what is copied beyond a value's end must
    be written over, or be of no account.
    """
    signature = types.void(target, types.int64, source, types.int64)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ANN401 - LLVM's own
        block = ir.VectorType(ir.IntType(8), 16)

        def place(array: int, index: int) -> Any:  # noqa: ANN401
            found = context.make_array(signature.args[array])(context, builder, arguments[array])
            return builder.bitcast(builder.gep(found.data, [arguments[index]]), block.as_pointer())

        builder.store(builder.load(place(2, 3), align=1), place(0, 1), align=1)
        return context.get_dummy_value()

    return signature, generate


AT_ONCE = 64
"""Bytes that are looked at together."""


def any_of(characters: bytes) -> Callable[[Bytes, int], np.uint64]:
    """Something to call within a kernel: which of 64 bytes are among some characters.

    It takes ``source`` and ``start``, and returns bits, the lowest for ``source[start]``; the array must hold
    ``AT_ONCE`` bytes from there on. Delimiters are found so in a quarter of the time that a look at each byte takes.
    """

    @intrinsic
    def found_in(_context, source, start):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202, ARG001
        signature = types.uint64(source, types.int64)

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ANN401 - LLVM's own
            block = ir.VectorType(ir.IntType(8), AT_ONCE)
            array = context.make_array(signature.args[0])(context, builder, arguments[0])
            place = builder.bitcast(builder.gep(array.data, [arguments[1]]), block.as_pointer())
            text = builder.load(place, align=1)
            flags = ir.Constant(ir.VectorType(ir.IntType(1), AT_ONCE), [0] * AT_ONCE)
            for character in characters:
                wanted = ir.Constant(block, [character] * AT_ONCE)
                flags = builder.or_(flags, builder.icmp_unsigned("==", text, wanted))
            return builder.bitcast(flags, ir.IntType(AT_ONCE))

        return signature, generate

    return cast("Callable[[Bytes, int], np.uint64]", found_in)


@intrinsic
def lowest_bit(_context, number):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201, ARG001
    """Within a kernel: the place of the lowest bit of a number (unsigned, 64 bits) that is set; one must be."""
    signature = types.int64(types.uint64)

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:  # noqa: ANN401 - LLVM's own
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return signature, generate
