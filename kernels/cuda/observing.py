"""What a plan that observes writes down, in the steps whose turn it is (see `fusedmlp.plan`).

Records lie on the device; `notes`, int64 (2,), are the number of the first of their rows and how
many there are.  A step whose turn it is not, or that has no row, does nothing.  Sums are made in
float64: blocks make some, and the block of the next launch adds them up.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .device import BLOCK, Array, block_sum, by_dtype, cuda, flat, kernel, launch, scalar
from .elementwise import functions
from .parameters import blocks

__all__ = ["Book", "columns", "parameter", "update"]

_F = np.float64
_ZERO = _F(0)


class Book(NamedTuple):
    """Where observations are written, and what says which step writes which row."""

    rates: Array
    notes: Array
    records: Array
    units: Array
    width: int  # observations of a row


@scalar
def _row(rates, notes, every):
    """Which row of the records this step writes; -1 for none."""
    count = int(rates[1]) + 1
    row = count // every - 1 - notes[0]
    return row if count % every == 0 and 0 <= row < notes[1] else -1


# -- activations ---------------------------------------------------------------------------------


@by_dtype
def _columns(R, name):
    slope = functions(R)[name][1]
    add = block_sum(np.float64)
    counts = name != "linear"

    @kernel("R* R* d* d* i* i i i R R R R", R, name=f"observe_{name}")
    def observe(y, saved, sums, rates, notes, n, columns, every, a, b, c, below):
        if _row(rates, notes, every) < 0:
            return
        j = cuda.blockIdx.x
        while j < columns:
            squares, active = _ZERO, _ZERO
            for i in range(cuda.threadIdx.x, n, BLOCK):
                value = _F(y[i * columns + j])
                squares += value * value
                if counts and abs(slope(saved[i * columns + j], a, b, c)) > below:
                    active += _F(1)
            squares, active = add(squares), add(active)
            if cuda.threadIdx.x == 0:
                sums[2 * j], sums[2 * j + 1] = squares, active
            j += cuda.gridDim.x

    return observe


def _summary():
    add = block_sum(np.float64)

    @kernel("d* d* i* d* d* i i i i i i i", name="observe_summary")
    def summary(sums, rates, notes, records, units, n, columns, every, width, record, first,
                counts):
        row = _row(rates, notes, every)
        if row < 0:
            return
        squares, active, dead = _ZERO, _ZERO, _ZERO
        for j in range(cuda.threadIdx.x, columns, BLOCK):
            squares += sums[2 * j]
            active += sums[2 * j + 1]
            if sums[2 * j + 1] == _ZERO:
                dead += _F(1)
            if counts:
                units[first + j] += sums[2 * j + 1]
        squares, active, dead = add(squares), add(active), add(dead)
        if cuda.threadIdx.x == 0:
            at = (row * width + record) * 4
            records[at], records[at + 1] = squares, _F(n * columns)
            records[at + 2] = _F(n * columns) - active if counts else _ZERO
            records[at + 3] = dead if counts else _ZERO

    return summary


def columns(stream, y, saved, sums, book, every, record, first, activation, params, below):
    """Sum of squares, number of elements, those whose slope is within `below` of 0, and columns
    that have no other; `sums` are two numbers of each column."""
    dtype = y.dtype.type
    params = [float(dtype(value)) for value in (*params, 0.0, 0.0, 0.0)[:3]]
    counts = int(saved is not None)
    _columns(y.dtype, activation if counts else "linear")(
        stream, launch(y.columns, 1), y.data, flat(saved), sums.data, book.rates.data,
        book.notes.data, y.rows, y.columns, every, *params, float(dtype(below)))
    _made("summary")(stream, 1, sums.data, book.rates.data, book.notes.data, book.records.data,
                     book.units.data, y.rows, y.columns, every, book.width, record, first, counts)


# -- parameters ----------------------------------------------------------------------------------


@by_dtype
def _parameter(R):
    add = block_sum(np.float64)

    @kernel("R* R* R* d* d* i* i i i i", R, name="observe_parameter")
    def both(w, grad, before, sums, rates, notes, n, every, blocks, differs):
        # sums of squares of w and of its gradient; or, where it `differs`, of its change
        if _row(rates, notes, every) < 0:
            return
        squares, gradients = _ZERO, _ZERO
        i = cuda.blockIdx.x * BLOCK + cuda.threadIdx.x
        while i < n:
            if differs:
                value = _F(w[i]) - _F(before[i])
            else:
                value = _F(w[i])
                before[i] = w[i]
                gradients += _F(grad[i]) * _F(grad[i])
            squares += value * value
            i += cuda.gridDim.x * BLOCK
        squares, gradients = add(squares), add(gradients)
        if cuda.threadIdx.x == 0:
            sums[cuda.blockIdx.x], sums[blocks + cuda.blockIdx.x] = squares, gradients

    return both


def _finish():
    add = block_sum(np.float64)

    @kernel("d* d* i* d* i i i i i i", name="observe_sums")
    def finish(sums, rates, notes, records, blocks, every, width, record, elements, differs):
        row = _row(rates, notes, every)
        if row < 0:
            return
        first, second = _ZERO, _ZERO
        for k in range(cuda.threadIdx.x, blocks, BLOCK):
            first += sums[k]
            second += sums[blocks + k]
        first, second = add(first), add(second)
        if cuda.threadIdx.x == 0:
            at = (row * width + record) * 4
            if differs:
                records[at + 2] = first
            else:
                records[at], records[at + 1] = first, second
                records[at + 2], records[at + 3] = _ZERO, _F(elements)

    return finish


def _observe(stream, w, grad, before, sums, book, every, record, differs):
    size = w.rows * w.pitch  # padding is 0
    _parameter(w.dtype)(stream, blocks(size), w.data, flat(grad), before.data, sums.data,
                        book.rates.data, book.notes.data, size, every, blocks(size), differs)
    _made("finish")(stream, 1, sums.data, book.rates.data, book.notes.data, book.records.data,
                    blocks(size), every, book.width, record, w.rows * w.columns, differs)


def parameter(stream, w, grad, before, sums, book, every, record):
    """Sums of squares of a parameter and its gradient; keeps the parameter in `before`.

    `before` has the elements of w with its padding, `sums` two for each of `parameters.blocks`.
    """
    _observe(stream, w, grad, before, sums, book, every, record, 0)


def update(stream, w, before, sums, book, every, record):
    """The sum of squares of what a parameter has changed since `parameter`."""
    _observe(stream, w, None, before, sums, book, every, record, 1)


_kernels = {}


def _made(name):
    if not _kernels:
        _kernels.update(summary=_summary(), finish=_finish())
    return _kernels[name]
