"""Four numbers at a time: loads and stores of 16 bytes, the widest that a thread can make.

An access of 16 bytes asks for an address that is a multiple of 16, and a compiler makes one of
four neighbours only where it knows that.  Nothing in Numba's language says so; hence the two
functions here, which are written in LLVM's.  Four float64 are two such accesses.

Whoever launches decides: `count` says how many quads the arrays may be read in, all of them or none
at all, and a kernel goes on with single elements behind the last quad.
"""

from __future__ import annotations

from .device import BLOCK, SIMULATED, launch

__all__ = ["EACH", "blocks", "count", "load", "store"]

EACH = 4
"""Numbers of a quad."""

_BYTES = 16  # of an access


def _address(array):
    return array.data._ary.ctypes.data if SIMULATED else array.data


def count(n, *arrays, columns=EACH):
    """Quads of the first n elements that all arrays are read and written in, None aside.

    All that there are where each array begins at a multiple of 16 bytes and rows of `columns` are
    whole quads, else 0.

    Parameters
    ----------
    n : int
    arrays : device.Array or None
    columns : int
        Where the kernel looks up what belongs to the row or the column of a quad.
    """
    aligned = all(_address(array) % _BYTES == 0 for array in arrays if array is not None)
    return n // EACH if aligned and columns % EACH == 0 else 0


def blocks(n):
    """Blocks for n elements of which each thread takes a quad at a time."""
    return launch(n, EACH * BLOCK)


if SIMULATED:
    def load(pointer, i):
        """The numbers i to i + 3 of an array."""
        return pointer[i], pointer[i + 1], pointer[i + 2], pointer[i + 3]

    def store(pointer, i, a, b, c, d):
        """Let these be the numbers i to i + 3 of an array."""
        pointer[i], pointer[i + 1], pointer[i + 2], pointer[i + 3] = a, b, c, d
else:
    from llvmlite import ir
    from numba.core import types
    from numba.cuda.extending import intrinsic

    def _accesses(context, builder, kind, pointer, i):
        """The vector type of an access, and the places of those that make up a quad."""
        wide = ir.VectorType(context.get_value_type(kind), 8 * _BYTES // kind.bitwidth)
        places = []
        for first in range(0, EACH, wide.count):
            place = builder.gep(pointer, [builder.add(i, ir.Constant(i.type, first))])
            places.append(builder.bitcast(place, wide.as_pointer()))
        return wide, places

    def _number(k):
        return ir.Constant(ir.IntType(32), k)

    @intrinsic
    def load(typing, pointer, i):
        """The numbers i to i + 3 of an array."""
        kind = pointer.dtype

        def generate(context, builder, signature, arguments):
            wide, places = _accesses(context, builder, kind, *arguments)
            held = [builder.load(place, align=_BYTES) for place in places]
            return context.make_tuple(builder, signature.return_type, [
                builder.extract_element(one, _number(k)) for one in held
                for k in range(wide.count)])

        return types.UniTuple(kind, EACH)(pointer, i), generate

    @intrinsic
    def store(typing, pointer, i, a, b, c, d):
        """Let these be the numbers i to i + 3 of an array."""
        kind = pointer.dtype

        def generate(context, builder, signature, arguments):
            wide, places = _accesses(context, builder, kind, *arguments[:2])
            values = iter(arguments[2:])
            for place in places:
                one = ir.Constant(wide, ir.Undefined)
                for k in range(wide.count):
                    one = builder.insert_element(one, next(values), _number(k))
                builder.store(one, place, align=_BYTES)
            return context.get_dummy_value()

        return types.void(pointer, i, kind, kind, kind, kind), generate
