"""Optimizers that look at a whole variable: Lamb, Adafactor and Muon.

Sums over a variable are made of the sums of blocks, whose number depends on its size alone; the
blocks of the next launch add these up, each for itself.  What a rule works with beyond its slots is
`scratch`, which the executor reserves once.
"""

from __future__ import annotations

import numpy as np

from .dense import enqueue_dense, enqueue_dense_dx
from .device import (
    BLOCK,
    SIMULATED,
    Array,
    block_sum,
    by_dtype,
    cuda,
    expm1,
    kernel,
    launch,
    log,
    power,
    scalar,
    sqrt,
)

__all__ = ["enqueue_whole_update", "scratch"]

_BLOCKS = 2 if SIMULATED else 128  # at most so many sums are added up at the end
_F = np.float64
_ZERO, _ONE = _F(0), _F(1)


def scratch(name, rows, columns, dtype):
    """How many numbers a rule works with besides its slots, and their dtype.

    >>> scratch("lamb", 3, 5, "float32")[1]
    'float64'
    """
    if name == "muon":
        least = min(rows, columns)
        return 2 * rows * columns + 2 * least * least + 1, np.dtype(dtype).name
    return {"lamb": 2 * _BLOCKS, "adafactor": 2 * _BLOCKS}[name], "float64"


def enqueue_whole_update(stream, name, param, grad, slots, rates, scale, every, params, work):
    """The update of a "variable" row of one parameter.

    Parameters
    ----------
    stream, name, rates, scale, every, params
        See `fusedmlp.kernels.cuda.optimizers.enqueue_update`.
    param, grad : device.Array
        A matrix, which may lie in panels, or a vector; laid out alike.
    slots : sequence of device.Array
        Laid out as `param`, but vectors where the row is `factored`.
    work : device.Array
        A vector of `scratch`.
    """
    if param.size:
        _RULES[name](stream, param, grad, slots, rates, float(scale), every,
                     [float(value) for value in params], work)


@scalar
def _due(rates, every):
    return (int(rates[1]) + 1) % every == 0


@scalar
def _count(rates, every):
    return _F((int(rates[1]) + 1) // every)


def _blocks(size):
    return min(launch(size), _BLOCKS)


# -- Lamb ----------------------------------------------------------------------------------------


def _lamb(stream, param, grad, slots, rates, scale, every, params, work):
    size = param.rows * param.pitch  # padding is 0 and stays so
    blocks = _blocks(size)
    arguments = (param.data, grad.data, slots[0].data, slots[1].data, rates.data, work.data, size,
                 blocks, every, scale, *params)
    for made in _lamb_kernels(param.dtype):
        made(stream, blocks, *arguments)


@by_dtype
def _lamb_kernels(R):
    add = block_sum(np.float64)
    tiny = _F(np.finfo(R).tiny)

    @scalar
    def corrected(beta, t):
        return -expm1(t * log(beta)) if beta > _ZERO else _ONE

    @scalar
    def direction(m, v, c1, c2, epsilon):
        return m / c1 / (sqrt(v / c2) + epsilon)

    @kernel("R* R* R* R* d* d* i i i d d d d d", R, name="lamb_moments")
    def moments(w, g, m, v, rates, sums, n, blocks, every, scale, beta_1, beta_2, epsilon, decay):
        if not _due(rates, every):
            return
        t = _count(rates, every)
        shrink, keep_1, keep_2 = R(rates[0] * scale * decay), R(_ONE - beta_1), R(_ONE - beta_2)
        c1, c2, epsilon = R(corrected(beta_1, t)), R(corrected(beta_2, t)), R(max(epsilon, tiny))
        squares, steps = _ZERO, _ZERO
        i = cuda.blockIdx.x * BLOCK + cuda.threadIdx.x
        while i < n:
            a = m[i] + keep_1 * (g[i] - m[i])
            b = v[i] + keep_2 * (g[i] * g[i] - v[i])
            x = w[i] - shrink * w[i]
            u = direction(a, b, c1, c2, epsilon)
            m[i], v[i], w[i] = a, b, x
            squares += _F(x) * _F(x)
            steps += _F(u) * _F(u)
            i += cuda.gridDim.x * BLOCK
        squares, steps = add(squares), add(steps)
        if cuda.threadIdx.x == 0:
            sums[2 * cuda.blockIdx.x], sums[2 * cuda.blockIdx.x + 1] = squares, steps

    @kernel("R* R* R* R* d* d* i i i d d d d d", R, name="lamb_apply")
    def apply(w, g, m, v, rates, sums, n, blocks, every, scale, beta_1, beta_2, epsilon, decay):
        if not _due(rates, every):
            return
        t = _count(rates, every)
        c1, c2, epsilon = R(corrected(beta_1, t)), R(corrected(beta_2, t)), R(max(epsilon, tiny))
        squares, steps = _ZERO, _ZERO
        for block in range(blocks):
            squares += sums[2 * block]
            steps += sums[2 * block + 1]
        ratio = _ONE
        if squares != _ZERO and steps != _ZERO:
            ratio = sqrt(squares) / sqrt(steps)
        rate = R(ratio * rates[0] * scale)
        i = cuda.blockIdx.x * BLOCK + cuda.threadIdx.x
        while i < n:
            w[i] = w[i] - rate * direction(m[i], v[i], c1, c2, epsilon)
            i += cuda.gridDim.x * BLOCK

    return moments, apply


# -- Adafactor -----------------------------------------------------------------------------------


def _adafactor(stream, param, grad, slots, rates, scale, every, params, work):
    rows, columns = param.shape
    blocks = _blocks(rows * columns)
    arguments = (param.data, grad.data, slots[0].data, slots[1].data, rates.data, work.data, rows,
                 columns, param.pitch, blocks, every, scale, *params)
    by_rows, by_columns, squares, apply = _adafactor_kernels(param.dtype)
    by_rows(stream, launch(rows, 1), *arguments)
    by_columns(stream, launch(columns), *arguments)
    squares(stream, blocks, *arguments)
    apply(stream, blocks, *arguments)


@by_dtype
def _adafactor_kernels(R):
    add = block_sum(np.float64)
    tiny = _F(np.finfo(R).tiny)
    signature = "R* R* R* R* d* d* i i i i i d d d d d d"

    @scalar
    def keep_of(rates, every, beta_2_decay):
        return _ONE - power(_count(rates, every), beta_2_decay)

    @kernel(signature, R, name="adafactor_rows")
    def by_rows(w, g, row, column, rates, sums, rows, columns, pitch, blocks, every, scale,
                beta_2_decay, epsilon_1, epsilon_2, threshold, decay):
        if not _due(rates, every):
            return
        keep = keep_of(rates, every, beta_2_decay)
        shrink, epsilon = R(rates[0] * scale * decay), R(max(epsilon_1, tiny))
        i = cuda.blockIdx.x
        while i < rows:
            total = _ZERO
            for j in range(cuda.threadIdx.x, columns, BLOCK):
                at = i * pitch + j
                total += _F(g[at] * g[at] + epsilon)
                w[at] = w[at] - shrink * w[at]
            total = add(total)
            if cuda.threadIdx.x == 0:
                row[i] = R(keep) * row[i] + R(_ONE - keep) * R(total / _F(columns))
            i += cuda.gridDim.x

    @kernel(signature, R, name="adafactor_columns")
    def by_columns(w, g, row, column, rates, sums, rows, columns, pitch, blocks, every,
                   scale, beta_2_decay, epsilon_1, epsilon_2, threshold, decay):
        if not _due(rates, every):
            return
        keep, epsilon = keep_of(rates, every, beta_2_decay), R(max(epsilon_1, tiny))
        j = cuda.blockIdx.x * BLOCK + cuda.threadIdx.x
        while j < columns:
            total = _ZERO
            for i in range(rows):
                at = i * pitch + j
                total += _F(g[at] * g[at] + epsilon)
            column[j] = R(keep) * column[j] + R(_ONE - keep) * R(total / _F(rows))
            j += cuda.gridDim.x * BLOCK

    @scalar
    def part_of_sum(row, rows):
        total = _ZERO
        for i in range(cuda.threadIdx.x, rows, BLOCK):
            total += _F(row[i])
        return total

    @scalar
    def direction(g, row, column, mean, rows, i, j, at):
        share = row[i] / mean if rows > 1 else R(1)
        return g[at] / sqrt(share * column[j])

    @kernel(signature, R, name="adafactor_squares")
    def squares(w, g, row, column, rates, sums, rows, columns, pitch, blocks, every, scale,
                beta_2_decay, epsilon_1, epsilon_2, threshold, decay):
        if not _due(rates, every):
            return
        mean = R(add(part_of_sum(row, rows)) / _F(rows))
        of_w, of_u = _ZERO, _ZERO
        at = cuda.blockIdx.x * BLOCK + cuda.threadIdx.x
        while at < rows * columns:
            i, j = at // columns, at % columns
            where = i * pitch + j
            u = direction(g, row, column, mean, rows, i, j, where)
            of_w += _F(w[where]) * _F(w[where])
            of_u += _F(u) * _F(u)
            at += cuda.gridDim.x * BLOCK
        of_w, of_u = add(of_w), add(of_u)
        if cuda.threadIdx.x == 0:
            sums[2 * cuda.blockIdx.x], sums[2 * cuda.blockIdx.x + 1] = of_w, of_u

    @kernel(signature, R, name="adafactor_apply")
    def apply(w, g, row, column, rates, sums, rows, columns, pitch, blocks, every, scale,
              beta_2_decay, epsilon_1, epsilon_2, threshold, decay):
        if not _due(rates, every):
            return
        mean = R(add(part_of_sum(row, rows)) / _F(rows))
        of_w, of_u = _ZERO, _ZERO
        for block in range(blocks):
            of_w += sums[2 * block]
            of_u += sums[2 * block + 1]
        size = _F(rows * columns)
        rms_w, rms_u = sqrt(of_w / size), sqrt(of_u / size)
        rho = min(rates[0] * scale, _ONE / sqrt(_count(rates, every)))
        rate = R(max(rms_w, epsilon_2) * rho / max(rms_u / threshold, _ONE))
        at = cuda.blockIdx.x * BLOCK + cuda.threadIdx.x
        while at < rows * columns:
            i, j = at // columns, at % columns
            where = i * pitch + j
            w[where] = w[where] - rate * direction(g, row, column, mean, rows, i, j, where)
            at += cuda.gridDim.x * BLOCK

    return by_rows, by_columns, squares, apply


# -- Muon ----------------------------------------------------------------------------------------


def _muon(stream, param, grad, slots, rates, scale, every, params, work):
    momentum, nesterov, a, b, c, steps, rms_rate, decay = params
    rows, columns = param.shape
    least, most = min(rows, columns), max(rows, columns)
    across = int(rows > columns)
    trace, norm, combine, apply = _muon_kernels(param.dtype)
    size, step = rows * columns, param.dtype.itemsize

    def part(offset, r, k):
        data = work.data[offset:] if SIMULATED else work.data + offset * step
        return Array(data, r, k, k, param.dtype)

    x, y = part(0, least, most), part(size, least, most)
    s, s2 = (part(2 * size + i * least * least, least, least) for i in (0, 1))
    total = part(2 * size + 2 * least * least, 1, 1)
    place_of = (rows, columns, param.pitch, across)
    trace(stream, launch(size), grad.data, slots[0].data, x.data, rates.data, *place_of, every,
          momentum, int(nesterov != 0.0))
    norm(stream, 1, x.data, total.data, size)
    combine(stream, launch(size), x.data, x.data, y.data, total.data, size, 1, 0.0, 1.0)
    x, y = y, x
    for _ in range(int(steps)):
        enqueue_dense_dx(stream, x, x, None, "linear", (), s)
        enqueue_dense(stream, s, s, None, "linear", (), s2, None)
        combine(stream, launch(least * least), s.data, s2.data, s2.data, total.data, least * least,
                0, b, c)
        enqueue_dense(stream, s2, x, None, "linear", (), y, None)
        combine(stream, launch(size), x.data, y.data, y.data, total.data, size, 0, a, 1.0)
        x, y = y, x
    factor = scale * (rms_rate * most**0.5 if rms_rate else 1.0)
    apply(stream, launch(size), param.data, x.data, rates.data, *place_of, every, factor,
          scale * decay)


@by_dtype
def _muon_kernels(R):
    add = block_sum(np.float64)

    @kernel("R* R* R* d* i i i i i R i", R, name="muon_trace")
    def trace(g, m, x, rates, rows, columns, pitch, across, every, momentum, nesterov):
        if not _due(rates, every):
            return
        at = cuda.blockIdx.x * BLOCK + cuda.threadIdx.x
        while at < rows * columns:
            i, j = at // columns, at % columns
            where = i * pitch + j
            value = momentum * m[where] + g[where]
            m[where] = value
            if nesterov:
                value = g[where] + momentum * value
            x[j * rows + i if across else at] = value
            at += cuda.gridDim.x * BLOCK

    @kernel("R* R* i", R, name="muon_norm")
    def norm(x, total, n):
        squares = _ZERO
        for i in range(cuda.threadIdx.x, n, BLOCK):
            squares += _F(x[i]) * _F(x[i])
        squares = add(squares)
        if cuda.threadIdx.x == 0:
            total[0] = R(_ONE / (sqrt(squares) + _F(1e-7)))

    @kernel("R* R* R* R* i i R R", R, name="muon_combine")
    def combine(x, y, out, factor, n, scales, a, b):
        if scales:
            b = b * factor[0]
        i = cuda.blockIdx.x * BLOCK + cuda.threadIdx.x
        while i < n:
            out[i] = a * x[i] + b * y[i]
            i += cuda.gridDim.x * BLOCK

    @kernel("R* R* d* i i i i i d d", R, name="muon_apply")
    def apply(w, x, rates, rows, columns, pitch, across, every, factor, decay):
        if not _due(rates, every):
            return
        rate, shrink = R(rates[0] * factor), R(rates[0] * decay)
        at = cuda.blockIdx.x * BLOCK + cuda.threadIdx.x
        while at < rows * columns:
            i, j = at // columns, at % columns
            where = i * pitch + j
            step = rate * x[j * rows + i if across else at]
            w[where] = (w[where] - shrink * w[where]) - step
            at += cuda.gridDim.x * BLOCK

    return trace, norm, combine, apply


_RULES = {"lamb": _lamb, "adafactor": _adafactor, "muon": _muon}
