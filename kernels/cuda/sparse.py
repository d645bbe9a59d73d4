"""Products with matrices in compressed rows.

Row i of a batch has the elements ``extents[i, 0]`` to ``extents[i, 1]`` of `values` and `columns`.
A few threads beside each other go through the elements of a row, or, for the gradient of the
weights, through those of the whole batch; each adds up outputs of its own, in that order.
"""

from __future__ import annotations

from typing import NamedTuple

from .device import BLOCK, SIMULATED, Array, by_dtype, cuda, flat, kernel, launch

__all__ = ["CompressedRows", "densify", "gather", "sparse_dw", "sparse_product"]

_LANES = 2 if SIMULATED else 32
_TEAMS = BLOCK // _LANES  # of a block


class CompressedRows(NamedTuple):
    """Vectors on the device: elements, int32 columns, and int64 starts of the rows."""

    values: Array
    columns: Array
    starts: Array


@kernel("i* i* i* i i i*", name="gather_extents")
def _gather(starts, order, clock, batch, rows, extents):
    i = cuda.blockIdx.x * BLOCK + cuda.threadIdx.x
    while i < rows:
        row = order[clock[0] * batch + i]
        extents[2 * i], extents[2 * i + 1] = starts[row], starts[row + 1]
        i += cuda.gridDim.x * BLOCK


def gather(stream, x, order, clock, batch, rows, extents):
    """Where the rows that a step takes begin and end."""
    _gather(stream, launch(rows), x.starts.data, order.data, clock.data, batch, rows, extents.data)


@by_dtype
def _products(R):
    zero = R(0)

    @kernel("R* s* i* R* i i", R, name="densify")
    def spread(values, columns, extents, out, n, width):
        row = cuda.blockIdx.x
        while row < n:
            for j in range(cuda.threadIdx.x, width, BLOCK):
                out[row * width + j] = zero
            for at in range(extents[2 * row], extents[2 * row + 1]):
                j = columns[at]
                if j % BLOCK == cuda.threadIdx.x:  # whose zero it was
                    out[row * width + j] += values[at]
            row += cuda.gridDim.x

    @kernel("R* s* i* R* R* R* i i i i", R, name="sparse_product")
    def product(values, columns, extents, kernel, bias, out, n, m, pitch, has_bias):
        lane = cuda.threadIdx.x % _LANES
        row = cuda.blockIdx.x * _TEAMS + cuda.threadIdx.x // _LANES
        while row < n:
            first, last = extents[2 * row], extents[2 * row + 1]
            for j in range(lane, m, _LANES):
                total = zero
                for at in range(first, last):
                    total += values[at] * kernel[columns[at] * pitch + j]
                out[row * m + j] = total + bias[j] if has_bias else total
            row += cuda.gridDim.x * _TEAMS

    @kernel("R* s* i* R* R* i i i i", R, name="sparse_dw")
    def gradient(values, columns, extents, dz, dkernel, n, rows, m, pitch):
        # a team has every so many'th row of the kernel for itself
        lane = cuda.threadIdx.x % _LANES
        own = cuda.blockIdx.x * _TEAMS + cuda.threadIdx.x // _LANES
        teams = cuda.gridDim.x * _TEAMS
        for k in range(own, rows, teams):
            for j in range(lane, m, _LANES):
                dkernel[k * pitch + j] = zero
        for i in range(n):
            for at in range(extents[2 * i], extents[2 * i + 1]):
                k = columns[at]
                if k % teams == own:
                    value = values[at]
                    for j in range(lane, m, _LANES):
                        dkernel[k * pitch + j] += value * dz[i * m + j]

    return spread, product, gradient


def densify(stream, x, extents, out):
    """out = x with all its zeros."""
    _products(out.dtype)[0](stream, launch(out.rows, 1), x.values.data, x.columns.data,
                            extents.data, out.data, out.rows, out.columns)


def sparse_product(stream, x, extents, kernel, bias, out):
    """out = x @ kernel + bias."""
    _products(out.dtype)[1](stream, launch(out.rows, _TEAMS), x.values.data, x.columns.data,
                            extents.data, kernel.data, flat(bias), out.data, out.rows,
                            kernel.columns, kernel.pitch, int(bias is not None))


def sparse_dw(stream, x, extents, dz, dkernel):
    """dkernel = x.T @ dz."""
    _products(dz.dtype)[2](stream, launch(dkernel.rows, _TEAMS), x.values.data, x.columns.data,
                           extents.data, dz.data, dkernel.data, dz.rows, dkernel.rows,
                           dkernel.columns, dkernel.pitch)
