"""Masks of steps, what they keep, pooling over steps, and weights of the rows of a loss.

Formulas are those of `fusedmlp.kernels.reference.masks`.  A sample has t steps of c elements, which
lie one after the other whether its buffer has a row for the sample or one for each step; a mask has
a number for each step, 0 for what is left out.  Launchers take ``(stream, inputs, outputs, rows,
**attributes)``, `rows` being the samples of the batch.
"""

from __future__ import annotations

import numpy as np

from .arithmetic import enqueue_map
from .device import (
    BLOCK,
    block_sum,
    by_dtype,
    cuda,
    flat,
    kernel,
    larger,
    launch,
    scalar,
    team,
)

__all__ = ["OPERATIONS"]

_F = np.float64
_ZERO, _ONE = _F(0), _F(1)
_WARP_COLUMNS = 1024
_OVER = {"rows": 0, "kept": 1, "weights": 2}


# -- masks ---------------------------------------------------------------------------------------


@by_dtype
def _mask(R, wide):
    lanes, rows, _, largest = team(R, wide)

    @kernel("R* R* i i R", R, name=f"step_mask{'_wide' if wide else ''}")
    def step_mask(x, mask, n, columns, value):
        lane, row = cuda.threadIdx.x % lanes, cuda.blockIdx.x * rows + cuda.threadIdx.x // lanes
        while row < n:
            other = R(0)
            for j in range(lane, columns, lanes):
                if x[row * columns + j] != value:
                    other = R(1)
            other = largest(other)
            if lane == 0:
                mask[row] = other
            row += cuda.gridDim.x * rows

    return step_mask, rows


def _step_mask(stream, inputs, outputs, rows, steps, value):
    """mask = 1 where an element of a step is not `value`, else 0."""
    (x,), (mask,) = inputs, outputs
    n = rows * steps
    columns = x.size // max(n, 1)
    made, each = _mask(x.dtype, columns > _WARP_COLUMNS)
    made(stream, launch(n, each), x.data, mask.data, n, columns, float(x.dtype.type(value)))


def _keep_steps(stream, inputs, outputs, rows, steps):
    """y = x in steps that the mask keeps, else 0."""
    n, (y,) = rows * steps, outputs
    x, mask, y = (array._replace(rows=n, columns=array.size // max(n, 1),
                                 pitch=array.size // max(n, 1)) for array in (*inputs, y))
    enqueue_map(stream, "kept", (x, mask), y)


# -- pooling -------------------------------------------------------------------------------------


@by_dtype
def _pool(R):
    """A thread has a column of a sample: neighbours read neighbours, step after step."""
    zero = R(0)

    @scalar
    def kept(mask, masked, first, steps):
        if not masked:
            return _F(steps)
        count = _ZERO
        for k in range(steps):
            if mask[first + k] != zero:
                count += _ONE
        return count

    @kernel("R* R* R* i i i i", R, name="pool_mean")
    def mean(x, mask, y, n, steps, columns, masked):
        i = cuda.blockIdx.x * BLOCK + cuda.threadIdx.x
        while i < n * columns:
            sample, j = i // columns, i % columns
            total = _ZERO
            for k in range(sample * steps, (sample + 1) * steps):
                if not masked or mask[k] != zero:
                    total += _F(x[k * columns + j])
            y[i] = R(total / kept(mask, masked, sample * steps, steps))
            i += cuda.gridDim.x * BLOCK

    @kernel("R* R* i i i", R, name="pool_max")
    def most(x, y, n, steps, columns):
        i = cuda.blockIdx.x * BLOCK + cuda.threadIdx.x
        while i < n * columns:
            first = i // columns * steps * columns + i % columns
            value = x[first]
            for k in range(1, steps):
                value = larger(value, x[first + k * columns])
            y[i] = value
            i += cuda.gridDim.x * BLOCK

    @kernel("R* R* R* i i i i", R, name="pool_mean_grad")
    def mean_grad(dy, mask, dx, n, steps, columns, masked):
        i = cuda.blockIdx.x * BLOCK + cuda.threadIdx.x
        while i < n * columns:
            sample, j = i // columns, i % columns
            part = R(_F(dy[i]) / kept(mask, masked, sample * steps, steps))
            for k in range(sample * steps, (sample + 1) * steps):
                dx[k * columns + j] = part if not masked or mask[k] != zero else zero
            i += cuda.gridDim.x * BLOCK

    @kernel("R* R* R* R* i i i", R, name="pool_max_grad")
    def most_grad(dy, x, y, dx, n, steps, columns):
        i = cuda.blockIdx.x * BLOCK + cuda.threadIdx.x
        while i < n * columns:
            first, value = i // columns * steps * columns + i % columns, y[i]
            equal = _ZERO
            for k in range(steps):
                if x[first + k * columns] == value:
                    equal += _ONE
            part = R(_F(dy[i]) / (equal if equal > _ONE else _ONE))
            for k in range(steps):
                at = first + k * columns
                dx[at] = part if x[at] == value else zero
            i += cuda.gridDim.x * BLOCK

    return mean, most, mean_grad, most_grad


def _enqueue_pool(stream, inputs, outputs, rows, steps, kind):
    """y = the mean over the steps that count, or the largest of all."""
    (x, *mask), (y,) = inputs, outputs
    mean, most, _, _ = _pool(x.dtype)
    sizes = rows, steps, y.size // max(rows, 1)
    if kind == "max":
        most(stream, launch(y.size), x.data, y.data, *sizes)
    else:
        mean(stream, launch(y.size), x.data, flat(*mask), y.data, *sizes,
             int(bool(mask)))


def _enqueue_pool_grad(stream, inputs, outputs, rows, steps, kind):
    """dx = dy over their number in the steps that count, or that are the largest; else 0."""
    (dy, *more), (dx,) = inputs, outputs
    _, _, mean_grad, most_grad = _pool(dy.dtype)
    sizes = rows, steps, dy.size // max(rows, 1)
    if kind == "max":
        x, y = more
        most_grad(stream, launch(dy.size), dy.data, x.data, y.data, dx.data, *sizes)
    else:
        mean_grad(stream, launch(dy.size), dy.data, flat(*more), dx.data,
                  *sizes, int(bool(more)))


# -- weights -------------------------------------------------------------------------------------


@by_dtype
def _weights(R):
    add = block_sum(np.float64)
    zero, one = R(0), R(1)

    @kernel("R* R* i* R* i i i i i i i", R, name="row_weights")
    def row_weights(weights, mask, classes, out, n, each, masked, ignores, ignored, over,
                    weighted):
        # one block: the sum that everything is divided by is that of all rows
        count, total = _ZERO, _ZERO
        for i in range(cuda.threadIdx.x, n, BLOCK):
            if (not masked or mask[i] != zero) and not (ignores and classes[i] == ignored):
                weight = weights[i // each] if weighted else one
                out[i] = weight
                count += _ONE
                total += _F(weight)
            else:
                out[i] = zero
        if over == 0:
            return
        divisor = add(count) if over == 1 else add(total)
        factor = _F(n) / divisor if divisor != _ZERO else _ZERO
        for i in range(cuda.threadIdx.x, n, BLOCK):
            out[i] = R(_F(out[i]) * factor)

    return row_weights


def _row_weights(stream, inputs, outputs, rows, steps, over, given, ignore_index):
    """Weights times the mask; rows of a class that is ignored count as masked.

    `over` says what the mean of the rows becomes: itself, that over those that are kept, or that
    over their weights; 0 / 0 is 0.
    """
    found, (out,) = iter(inputs), outputs
    weights, mask, classes = (next(found) if there else None for there in given)
    n = rows * steps
    each = 1 if weights is None else n // max(weights.size, 1)
    _weights(out.dtype)(stream, min(n, 1), flat(weights), flat(mask), flat(classes), out.data, n,
                        each, int(mask is not None), int(classes is not None),
                        int(ignore_index or 0), _OVER[over], int(weights is not None))


OPERATIONS = {
    "step_mask": _step_mask,
    "keep_steps": _keep_steps,
    "pool": _enqueue_pool,
    "pool_grad": _enqueue_pool_grad,
    "row_weights": _row_weights,
}
