"""Operations between buffers: arithmetic, joins and cuts, sums of rows, rows of tables.

Every launcher takes ``(stream, inputs, outputs, **attributes)`` as an op of a plan has them, and
`OPERATIONS` lists them by the name of their op, as `fusedmlp.plan` describes it.  Elementwise ones
are a function of numbers each; where an input has a single row or column it stands for all of them.
"""

from __future__ import annotations

import numpy as np

from . import quads
from .device import BLOCK, NULL, by_dtype, cuda, kernel, larger, launch, log, power, scalar, team
from .quads import load, store

__all__ = ["OPERATIONS", "enqueue_map", "functions"]

_F = np.float64
_WHOLE, _COLUMN, _ROW = range(3)  # an element for each; one for each column; one for each row
_WARP_COLUMNS = 1024


# -- elementwise ---------------------------------------------------------------------------------


@by_dtype
def functions(R):
    """Functions f(a, b, c, u, v) of up to three elements and two float64 numbers, by name."""
    zero, half, one = R(0), R(0.5), R(1)

    @scalar
    def add(a, b, c, u, v):
        return a + b

    @scalar
    def subtract(a, b, c, u, v):
        return a - b

    @scalar
    def multiply(a, b, c, u, v):
        return a * b

    @scalar
    def divide(a, b, c, u, v):
        return a / b

    @scalar
    def maximum(a, b, c, u, v):
        return larger(a, b)

    @scalar
    def minimum(a, b, c, u, v):
        return -larger(-a, -b)

    @scalar
    def logarithm(a, b, c, u, v):
        return log(a)

    @scalar
    def copy(a, b, c, u, v):
        return a

    @scalar
    def affine(a, b, c, factor, shift):
        return R(factor * _F(a) + shift)

    @scalar
    def raised(a, b, c, exponent, v):
        return R(power(_F(a), exponent))

    @scalar
    def extreme_grad(dy, a, b, u, v):
        return dy * (one if a > b else half if a == b else zero)

    @scalar
    def scale_shift(x, a, b, u, v):
        return x * a + b

    @scalar
    def kept(x, mask, c, u, v):
        return x if mask != zero else zero

    found = locals()
    return {name: found[name] for name in _NAMES}


_NAMES = ("add", "subtract", "multiply", "divide", "maximum", "minimum", "logarithm", "copy",
          "affine", "raised", "extreme_grad", "scale_shift", "kept")


@by_dtype
def _map(R, name):
    f = functions(R)[name]

    @scalar
    def pick(array, way, i, columns):
        if way == _COLUMN:
            return array[i % columns]
        if way == _ROW:
            return array[i // columns]
        return array[i]

    @scalar
    def pick_quad(array, way, i, columns):
        if way == _ROW:
            one = array[i // columns]
            return one, one, one, one
        return load(array, i % columns if way == _COLUMN else i)

    @kernel("R* R* R* R* i i i i i i i d d", R, name=f"map_{name}")
    def mapped(a, b, c, out, n, whole, columns, of_a, of_b, of_c, count, u, v):
        t = cuda.blockIdx.x * BLOCK + cuda.threadIdx.x
        q = t
        while q < whole:
            x0, x1, x2, x3 = x = pick_quad(a, of_a, 4 * q, columns)
            y0, y1, y2, y3 = pick_quad(b, of_b, 4 * q, columns) if count > 1 else x
            z0, z1, z2, z3 = pick_quad(c, of_c, 4 * q, columns) if count > 2 else x
            store(out, 4 * q, f(x0, y0, z0, u, v), f(x1, y1, z1, u, v), f(x2, y2, z2, u, v),
                  f(x3, y3, z3, u, v))
            q += cuda.gridDim.x * BLOCK
        i = 4 * whole + t
        while i < n:
            x = pick(a, of_a, i, columns)
            y = pick(b, of_b, i, columns) if count > 1 else x
            z = pick(c, of_c, i, columns) if count > 2 else x
            out[i] = f(x, y, z, u, v)
            i += cuda.gridDim.x * BLOCK

    return mapped


def _way(array, out):
    """How the elements of an input belong to those of the output."""
    if array.size == out.size:
        return _WHOLE
    return _COLUMN if array.columns == out.columns else _ROW


def enqueue_map(stream, name, inputs, out, u=0.0, v=0.0):
    """out = f(a, b, c, u, v) of the function `name` and up to three inputs."""
    arrays = [*inputs, *[None] * (3 - len(inputs))]
    pointers = [NULL if array is None else array.data for array in arrays]
    ways = [_WHOLE if array is None else _way(array, out) for array in arrays]
    columns = quads.EACH if set(ways) == {_WHOLE} else out.columns
    _map(out.dtype, name)(stream, quads.blocks(out.size), *pointers, out.data, out.size,
                          quads.count(out.size, out, *arrays, columns=columns), out.columns, *ways,
                          len(inputs), float(u), float(v))


def _mapping(name, order=slice(None)):
    """The launcher of an op that is one function of its inputs, in this order."""
    def enqueue(stream, inputs, outputs):
        enqueue_map(stream, name, inputs[order] if isinstance(order, slice)
                     else [inputs[i] for i in order], outputs[0])

    return enqueue


def _accumulate(stream, inputs, outputs):
    """Gradients with all their padding, which is 0, in whatever layout they share."""
    enqueue_map(stream, "add", [_padded(array) for array in inputs], _padded(outputs[0]))


def _padded(array):
    return array._replace(rows=1, columns=array.rows * array.pitch)


def _affine(stream, inputs, outputs, factor, shift=0.0):
    enqueue_map(stream, "affine", inputs, outputs[0], factor, shift)


def _power(stream, inputs, outputs, exponent):
    enqueue_map(stream, "raised", inputs, outputs[0], exponent)


# -- sums of rows --------------------------------------------------------------------------------


@by_dtype
def _sums(R, wide):
    lanes, rows, add, _ = team(np.float64, wide)

    @kernel("R* R* R* i i i d", R, name=f"row_sum{'_wide' if wide else ''}")
    def row_sum(a, b, out, n, columns, product, factor):
        lane, row = cuda.threadIdx.x % lanes, cuda.blockIdx.x * rows + cuda.threadIdx.x // lanes
        while row < n:
            total = _F(0)
            for j in range(lane, columns, lanes):
                value = _F(a[row * columns + j])
                total += value * _F(b[row * columns + j]) if product else value
            total = add(total)
            if lane == 0:
                out[row] = R(factor * total)
            row += cuda.gridDim.x * rows

    return row_sum, rows


def _row_sum(stream, inputs, outputs, factor=1.0):
    a, b = inputs[0], inputs[-1]
    made, rows = _sums(a.dtype, a.columns > _WARP_COLUMNS)
    made(stream, launch(a.rows, rows), a.data, b.data, outputs[0].data, a.rows, a.columns,
         int(len(inputs) > 1), float(factor))


# -- side by side --------------------------------------------------------------------------------


@by_dtype
def _columns(R):
    @kernel("R* R* i i i i i i i", R, name="cut")
    def cut(x, out, n, groups, width, wide_in, start_in, wide_out, start_out):
        i = cuda.blockIdx.x * BLOCK + cuda.threadIdx.x
        while i < n * groups * width:
            group, j = i // width, i % width  # groups of all rows, one after the other
            out[group * wide_out + start_out + j] = x[group * wide_in + start_in + j]
            i += cuda.gridDim.x * BLOCK

    @kernel("R* R* i i i i", R, name="place")
    def put(x, out, n, width, wide, start):
        i = cuda.blockIdx.x * BLOCK + cuda.threadIdx.x
        while i < n:
            group, j = i // wide, i % wide - start
            out[i] = x[group * width + j] if 0 <= j < width else R(0)
            i += cuda.gridDim.x * BLOCK

    return cut, put


def _copy_columns(stream, x, out, groups, width, start_in, start_out):
    _columns(x.dtype)[0](stream, launch(x.rows * groups * width), x.data, out.data, x.rows, groups,
                         width, x.columns // groups, start_in, out.columns // groups, start_out)


def _concatenate(stream, inputs, outputs, groups):
    start = 0
    for part in inputs:
        width = part.columns // groups
        _copy_columns(stream, part, outputs[0], groups, width, 0, start)
        start += width


def _slice(stream, inputs, outputs, start, groups):
    _copy_columns(stream, inputs[0], outputs[0], groups, outputs[0].columns // groups, start, 0)


def _place(stream, inputs, outputs, start, groups):
    x, out = inputs[0], outputs[0]
    _columns(x.dtype)[1](stream, launch(out.size), x.data, out.data, out.size, x.columns // groups,
                         out.columns // groups, start)


# -- tables --------------------------------------------------------------------------------------


@by_dtype
def _table(R):
    missing = R(np.nan)

    @kernel("R* R* R* i i i i", R, name="embedding")
    def embedding(indices, table, y, n, rows, columns, pitch):
        i = cuda.blockIdx.x * BLOCK + cuda.threadIdx.x
        while i < n * columns:
            index, j = indices[i // columns], i % columns
            if index > R(-1) and index < R(rows):
                y[i] = table[int(index) * pitch + j]
            else:
                y[i] = missing
            i += cuda.gridDim.x * BLOCK

    @kernel("R* R* R* i i i i", R, name="embedding_grad")
    def embedding_grad(indices, dy, dtable, n, rows, columns, pitch):
        # a block for each row of the table, which adds up what is its own in the order of the batch
        row = cuda.blockIdx.x
        while row < rows:
            for j in range(cuda.threadIdx.x, columns, BLOCK):
                total = R(0)
                for i in range(n):
                    index = indices[i]
                    if index > R(-1) and int(index) == row:
                        total += dy[i * columns + j]
                dtable[row * pitch + j] = total
            row += cuda.gridDim.x

    return embedding, embedding_grad


def _embedding(stream, inputs, outputs):
    (indices, table), (y,) = inputs, outputs
    _table(y.dtype)[0](stream, launch(y.size), indices.data, table.data, y.data, indices.size,
                       table.rows, table.columns, table.pitch)


def _embedding_grad(stream, inputs, outputs):
    (indices, dy), (dtable,) = inputs, outputs
    _table(dy.dtype)[1](stream, launch(dtable.rows, 1), indices.data, dy.data, dtable.data,
                        indices.size, dtable.rows, dtable.columns, dtable.pitch)


OPERATIONS = {
    **{name: _mapping(name)
       for name in ("add", "subtract", "multiply", "divide", "maximum", "minimum")},
    "log": _mapping("logarithm"),
    "accumulate": _accumulate,
    "scale_rows": _mapping("multiply"),
    "scale_columns": _mapping("multiply"),
    "repeat": _mapping("copy"),
    "reshape": _mapping("copy"),
    "scale_shift": _mapping("scale_shift"),
    "maximum_grad": _mapping("extreme_grad"),
    "minimum_grad": _mapping("extreme_grad", (0, 2, 1)),
    "affine": _affine,
    "broadcast": _affine,
    "power": _power,
    "row_sum": _row_sum,
    "row_dot": _row_sum,
    "concatenate": _concatenate,
    "slice": _slice,
    "place": _place,
    "embedding": _embedding,
    "embedding_grad": _embedding_grad,
}
