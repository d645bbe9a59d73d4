"""Kernels that only an executor needs: rows of a batch, sums of an epoch, the clock of its steps.

What changes from step to step lies in the device's memory, so that the launches of a step are the
same each time and can be replayed: `CLOCK` int64 numbers say which step it is, `SCALARS` float64
numbers what the optimizer is to know of it.

Sums are made by one block in an order that depends on the number of terms alone.
"""

import numpy as np

from . import quads
from .device import BLOCK, NULL, block_sum, by_dtype, cuda, flat, isinf, isnan, kernel, launch
from .quads import load, store

__all__ = [
    "CLOCK", "SCALARS", "begin", "convert", "converts", "gather", "penalty", "penalty_grad", "put",
    "reduce", "rescale",
]

CLOCK = 3
"""The step among those sent, the number of updates before it, the step of a bad loss or -1."""

SCALARS = 2
"""The learning rate of the step, and the number of updates before it."""

_SOURCES = {"float32": "f*", "float64": "d*", "int32": "s*", "int64": "i*"}
_ITEM = {np.dtype("int64"): "i*", np.dtype("float32"): "R*", np.dtype("float64"): "R*"}


# -- the clock -----------------------------------------------------------------------------------


@kernel("i* d* d*", name="begin", block=1)
def _begin(clock, rates, scalars):
    clock[0] += 1
    clock[1] += 1
    scalars[0] = rates[clock[0]]
    scalars[1] = np.float64(clock[1])


def begin(stream, clock, rates, scalars):
    """Go on to the next step, and tell optimizers and random numbers its rate and its number."""
    _begin(stream, 1, clock.data, rates.data, scalars.data)


# -- rows ----------------------------------------------------------------------------------------


@by_dtype
def _gather(R):
    item = _ITEM[np.dtype(R)]

    @kernel(f"{item} i i i i* i* i i {item}", R, name="gather")
    def gather(data, columns, whole, lanes, order, clock, batch, rows, out):
        first, each = clock[0] * batch, BLOCK // lanes
        lane, row = cuda.threadIdx.x % lanes, cuda.blockIdx.x * each + cuda.threadIdx.x // lanes
        while row < rows:
            source = order[first + row] * columns
            for quad in range(lane, whole, lanes):
                x0, x1, x2, x3 = load(data, source + 4 * quad)
                store(out, row * columns + 4 * quad, x0, x1, x2, x3)
            for column in range(4 * whole + lane, columns, lanes):
                out[row * columns + column] = data[source + column]
            row += cuda.gridDim.x * each

    return gather


@by_dtype
def _put(R):
    @kernel("R* i i R*", R, name="put")
    def put(x, count, whole, out):
        q = cuda.grid(1)
        while q < whole:
            x0, x1, x2, x3 = load(x, 4 * q)
            store(out, 4 * q, x0, x1, x2, x3)
            q += cuda.gridsize(1)
        i = 4 * whole + cuda.grid(1)
        while i < count:
            out[i] = x[i]
            i += cuda.gridsize(1)

    return put


@by_dtype
def _convert(R, source):
    @kernel(f"{_SOURCES[source]} R* i", R, name=f"convert_{source}")
    def convert(x, out, count):
        i = cuda.grid(1)
        while i < count:
            out[i] = R(x[i])
            i += cuda.gridsize(1)

    return convert


def gather(stream, data, order, clock, batch, rows, out):
    """The rows of `data` that the step takes: ``out[i] = data[order[clock * batch + i]]``.

    data (N, c) or a vector of N, order int64, out (rows, c) or a vector, all row by row.
    """
    columns = out.size // max(rows, 1)  # a matrix of one row looks like a vector
    whole = quads.count(columns, data, out, columns=columns)
    lanes = min(BLOCK, 1 << max((whole or columns) - 1, 0).bit_length())  # threads of a row
    _gather(data.dtype)(stream, launch(rows, BLOCK // lanes), data.data, columns, whole, lanes,
                        order.data, clock.data, batch, rows, out.data)


def put(stream, x, out):
    """``out = x``, of one size, both row by row."""
    _put(x.dtype)(stream, quads.blocks(x.size), x.data, x.size, quads.count(x.size, x, out),
                  out.data)


def converts(dtype):
    """Whether `convert` takes numbers of this type.

    >>> converts("int64"), converts("float16")
    (True, False)
    """
    return np.dtype(dtype).name in _SOURCES


def convert(stream, x, out):
    """``out = x`` in the type of `out`, float32 or float64; vectors of one length."""
    _convert(out.dtype, x.dtype.name)(stream, launch(x.size), x.data, out.data, x.size)


# -- sums ----------------------------------------------------------------------------------------


@by_dtype
def _reduce(R):
    add = block_sum(np.float64)

    @kernel("R* R* i i i i i i i d d* i i*", R, name="reduce")
    def reduce(values, weights, weighted, size, whole, rows, sums, counts, watched, factor, totals,
               at, clock):
        amount, count = 0.0, 0.0
        for q in range(cuda.threadIdx.x, whole, BLOCK):
            x0, x1, x2, x3 = load(values, 4 * q)
            if weighted:
                w0, w1, w2, w3 = load(weights, 4 * q)
                x0, x1 = np.float64(x0) * np.float64(w0), np.float64(x1) * np.float64(w1)
                x2, x3 = np.float64(x2) * np.float64(w2), np.float64(x3) * np.float64(w3)
                count += (np.float64(w0) + np.float64(w1)) + (np.float64(w2) + np.float64(w3))
            amount += (np.float64(x0) + np.float64(x1)) + (np.float64(x2) + np.float64(x3))
        for i in range(4 * whole + cuda.threadIdx.x, size, BLOCK):
            if weighted:
                amount += np.float64(values[i]) * np.float64(weights[i])
                count += np.float64(weights[i])
            else:
                amount += np.float64(values[i])
        amount = add(amount)
        count = add(count)
        if cuda.threadIdx.x == 0:
            if sums:
                amount *= rows
            if sums or not weighted:
                count = np.float64(rows)
            totals[at] += factor * amount
            if counts:
                totals[at + 1] += count
            if watched and (isnan(amount) or isinf(amount)) and clock[2] < 0:
                clock[2] = clock[0]

    return reduce


def reduce(stream, values, weights, rows, whole, counts, watched, factor, totals, number, clock):
    """Add the sum of values to total `number`, and `rows` to its count; values are weighted, and
    their weights counted, where there are such.

    With `whole` the sum counts `rows` times.  Where it is `watched`, a sum that is not finite
    leaves the number of its step in the clock.
    """
    _reduce(values.dtype)(stream, 1, values.data, flat(weights), int(weights is not None),
                          values.size, quads.count(values.size, values, weights), rows, int(whole),
                          int(counts), int(watched), float(factor), totals.data, 2 * number,
                          clock.data)


@by_dtype
def _rescale(R):
    add = block_sum(np.float64)

    @kernel("i* i R* i i i R* R* i", R, name="rescale")
    def rescale(labels, ignored, weights, weighs, rows, some, losses, gradient, size):
        count = 0.0
        i = cuda.threadIdx.x
        while i < rows:
            if not some or labels[i] != ignored:
                count += np.float64(weights[i]) if weighs else 1.0
            i += BLOCK
        count = add(count)
        share = 0.0
        if not weighs:
            share = 1.0 / max(count, 1.0)
        elif count != 0.0:
            share = 1.0 / count
        i = cuda.grid(1)
        while i < size:
            gradient[i] *= R(share)
            i += cuda.gridsize(1)
        if cuda.blockIdx.x == 0:
            i = cuda.threadIdx.x
            while i < rows:
                losses[i] *= R(rows * share)
                i += BLOCK

    return rescale


def rescale(stream, labels, ignore_index, weights, losses, gradient):
    """Losses of a mean over the rows that count: times ``rows / k``; their gradient times 1 / k.

    k counts the rows whose label is not `ignore_index`, or adds up their weights where these are
    given; nothing counts if k is 0.
    """
    ignores = ignore_index is not None and labels.dtype == np.int64
    size = 0 if gradient is None else gradient.size
    _rescale(losses.dtype)(stream, max(launch(size), 1), labels.data if ignores else NULL,
                           int(ignore_index) if ignores else 0, flat(weights),
                           int(weights is not None), losses.size, int(ignores), losses.data,
                           flat(gradient), size)


@by_dtype
def _penalty(R):
    add = block_sum(np.float64)

    @kernel("R* i d d R* i i d* i i*", R, name="penalty")
    def penalty(w, size, l1, l2, weights, divides, rows, totals, at, clock):
        amount, count = 0.0, 0.0
        i = cuda.threadIdx.x
        while i < size:
            x = np.float64(w[i])
            amount += l1 * abs(x) + l2 * x * x
            i += BLOCK
        if divides == 2:
            i = cuda.threadIdx.x
            while i < rows:
                count += np.float64(weights[i])
                i += BLOCK
        amount = add(amount)
        count = add(count)
        if cuda.threadIdx.x == 0:
            if divides == 2:
                amount *= rows / count
            elif divides == 0:
                amount *= rows
            totals[at] += amount
            if (isnan(amount) or isinf(amount)) and clock[2] < 0:
                clock[2] = clock[0]

    return penalty


def _divides(per_rows, weights):
    return (1 if weights is None else 2) if per_rows else 0


def penalty(stream, w, weights, rows, l1, l2, per_rows, totals, number, clock):
    """Add ``rows * (l1 sum |w| + l2 sum w^2)`` to a total; `per_rows` as in `fusedmlp.plan`.

    w is a parameter with its padding, which is 0.
    """
    _penalty(w.dtype)(stream, 1, w.data, w.rows * w.pitch, l1, l2, flat(weights),
                      _divides(per_rows, weights), max(rows, 1), totals.data, 2 * number,
                      clock.data)


@by_dtype
def _penalty_grad(R):
    add = block_sum(np.float64)

    @kernel("R* R* i d d R* i i i", R, name="penalty_grad")
    def penalty_grad(w, grad, size, l1, l2, weights, divides, rows, adds):
        share = 1.0
        if divides == 2:
            count = 0.0
            i = cuda.threadIdx.x
            while i < rows:
                count += np.float64(weights[i])
                i += BLOCK
            share = 1.0 / add(count)
        elif divides == 1:
            share = 1.0 / rows
        i = cuda.grid(1)
        while i < size:
            x = w[i]
            sign = R(0.0)
            if x > R(0.0):
                sign = R(1.0)
            elif x < R(0.0):
                sign = R(-1.0)
            elif isnan(x):
                sign = x
            slope = R(l1 * share) * sign + R(2.0 * l2 * share) * x
            if adds:
                slope += grad[i]
            grad[i] = slope
            i += cuda.gridsize(1)

    return penalty_grad


def penalty_grad(stream, w, weights, rows, l1, l2, per_rows, adds, grad):
    """The derivative of `penalty` for one row, added to a gradient or in its place."""
    size = w.rows * w.pitch
    _penalty_grad(w.dtype)(stream, launch(size), w.data, grad.data, size, l1, l2, flat(weights),
                           _divides(per_rows, weights), max(rows, 1), int(adds))
