"""Activations and their derivatives: kernels around the elementwise pairs, and the other kinds."""

from __future__ import annotations

import numpy as np

from fusedmlp.spec import ACTIVATIONS

from . import quads
from .device import (
    BLOCK,
    by_dtype,
    cuda,
    exp,
    hosted,
    kernel,
    larger,
    launch,
    log,
    scalar,
    team,
)
from .elementwise import functions, shared
from .quads import load, store

__all__ = ["activation", "activation_grad", "enqueue_activation", "enqueue_activation_grad",
           "enqueue_prelu", "enqueue_prelu_grad", "parameters", "prelu", "prelu_grad"]

_WARP_COLUMNS = 1024  # a wider row gets a block


def parameters(params, dtype):
    """A row's parameters as three numbers of the arrays' dtype."""
    return [float(dtype.type(value)) for value in (*params, 0.0, 0.0, 0.0)[:3]]


def enqueue_activation(stream, name, x, params, out):
    """out = f(x, *params) for the row `name`."""
    row = ACTIVATIONS[name]
    if row.kind == "elementwise":
        _forward(x.dtype, name)(stream, quads.blocks(x.size), x.data, out.data, x.size,
                                quads.count(x.size, x, out), *parameters(params, x.dtype))
    elif row.kind == "row":
        made, rows = _ROWS[name](x.dtype, x.columns > _WARP_COLUMNS)[0]
        made(stream, launch(x.rows if x.columns else 0, rows), x.data, out.data, x.rows, x.columns,
             quads.count(x.columns, x, out, columns=x.columns))
    elif row.kind == "halves":
        _glu(x.dtype)[0](stream, launch(out.size), x.data, out.data, out.rows, out.columns)
    else:
        _maxout(x.dtype)[0](stream, launch(out.size), x.data, out.data, out.size, int(params[0]))


def enqueue_activation_grad(stream, name, dy, saved, params, dx):
    """dx = dy f'(saved, *params), where `saved` is x or y as the row's `reads` says."""
    row = ACTIVATIONS[name]
    if row.kind == "elementwise":
        _backward(dy.dtype, name)(stream, quads.blocks(dy.size), dy.data, saved.data, dx.data,
                                  dy.size, quads.count(dy.size, dy, saved, dx),
                                  *parameters(params, dy.dtype))
    elif row.kind == "row":
        made, rows = _ROWS[name](dy.dtype, dy.columns > _WARP_COLUMNS)[1]
        made(stream, launch(dy.rows if dy.columns else 0, rows), dy.data, saved.data, dx.data,
             dy.rows, dy.columns, quads.count(dy.columns, dy, saved, dx, columns=dy.columns))
    elif row.kind == "halves":
        _glu(dy.dtype)[1](stream, launch(dy.size), dy.data, saved.data, dx.data, dy.rows,
                          dy.columns)
    else:
        _maxout(dy.dtype)[1](stream, launch(dy.size), dy.data, saved.data, dx.data, dy.size,
                             int(params[0]))


def enqueue_prelu(stream, x, alpha, out):
    """out = x if x >= 0 else alpha x; x (n, m), alpha (m,)."""
    _prelu(x.dtype)[0](stream, launch(x.size), x.data, alpha.data, out.data, x.size, x.columns)


def enqueue_prelu_grad(stream, dy, x, alpha, dx, dalpha):
    """dx = dy (1 if x > 0 else alpha); dalpha = sum over the rows of dy min(x, 0)."""
    _, slope, total = _prelu(x.dtype)
    # dalpha first: dx may be dy
    total(stream, launch(x.columns, 1), dy.data, x.data, dalpha.data, x.rows, x.columns)
    slope(stream, launch(x.size), dy.data, x.data, alpha.data, dx.data, x.size, x.columns)


activation = hosted(enqueue_activation, "out")
activation_grad = hosted(enqueue_activation_grad, "dx")
prelu = hosted(enqueue_prelu, "out")
prelu_grad = hosted(enqueue_prelu_grad, "dx", "dalpha")


# -- elementwise ---------------------------------------------------------------------------------


@by_dtype
def _forward(R, name):
    f = functions(R)[name][0]

    @kernel("R* R* i i R R R", R, name=f"activation_{name}")
    def forward(x, y, n, whole, a, b, c):
        t = cuda.blockIdx.x * BLOCK + cuda.threadIdx.x
        q = t
        while q < whole:
            x0, x1, x2, x3 = load(x, 4 * q)
            store(y, 4 * q, f(x0, a, b, c), f(x1, a, b, c), f(x2, a, b, c), f(x3, a, b, c))
            q += cuda.gridDim.x * BLOCK
        i = 4 * whole + t
        while i < n:
            y[i] = f(x[i], a, b, c)
            i += cuda.gridDim.x * BLOCK

    return forward


@by_dtype
def _backward(R, name):
    f = functions(R)[name][1]

    @kernel("R* R* R* i i R R R", R, name=f"activation_grad_{name}")
    def backward(dy, saved, dx, n, whole, a, b, c):
        t = cuda.blockIdx.x * BLOCK + cuda.threadIdx.x
        q = t
        while q < whole:
            s0, s1, s2, s3 = load(saved, 4 * q)
            d0, d1, d2, d3 = load(dy, 4 * q)
            store(dx, 4 * q, d0 * f(s0, a, b, c), d1 * f(s1, a, b, c), d2 * f(s2, a, b, c),
                  d3 * f(s3, a, b, c))
            q += cuda.gridDim.x * BLOCK
        i = 4 * whole + t
        while i < n:
            dx[i] = dy[i] * f(saved[i], a, b, c)
            i += cuda.gridDim.x * BLOCK

    return backward


@by_dtype
def _prelu(R):
    zero, one = R(0), R(1)

    @kernel("R* R* R* i i", R)
    def prelu(x, alpha, y, n, columns):
        i = cuda.blockIdx.x * BLOCK + cuda.threadIdx.x
        while i < n:
            y[i] = x[i] if x[i] >= zero else alpha[i % columns] * x[i]
            i += cuda.gridDim.x * BLOCK

    @kernel("R* R* R* R* i i", R)
    def prelu_grad(dy, x, alpha, dx, n, columns):
        i = cuda.blockIdx.x * BLOCK + cuda.threadIdx.x
        while i < n:
            dx[i] = dy[i] * (one if x[i] > zero else alpha[i % columns])
            i += cuda.gridDim.x * BLOCK

    _, _, add, _ = team(R, True)

    @kernel("R* R* R* i i", R)
    def prelu_slope(dy, x, dalpha, rows, columns):
        j = cuda.blockIdx.x
        while j < columns:
            total = zero
            i = cuda.threadIdx.x
            while i < rows:
                at = i * columns + j
                total += zero if x[at] > zero else dy[at] * x[at]
                i += BLOCK
            total = add(total)
            if cuda.threadIdx.x == 0:
                dalpha[j] = total
            j += cuda.gridDim.x

    return prelu, prelu_grad, prelu_slope


# -- rows ----------------------------------------------------------------------------------------
#
# A row is worked on by `lanes` threads; `rows` rows go to a block.  Each factory returns the two
# kernels with the rows of a block.


def _exponential(R, wide, logs):
    """Softmax, or its logarithm."""
    lanes, rows, add, largest = team(R, wide)
    zero, low = R(0), R(-np.inf)
    name = f"{'log_' if logs else ''}softmax{{}}{'_wide' if wide else ''}"

    @scalar
    def value(z, total):
        return z - total if logs else exp(z) / total

    @scalar
    def along(dy, y):
        return dy if logs else dy * y

    @scalar
    def slope(dy, y, total):
        return dy - exp(y) * total if logs else y * (dy - total)

    @kernel("R* R* i i i", R, name=name.format(""))
    def forward(x, y, n, columns, whole):
        lane, row = cuda.threadIdx.x % lanes, cuda.blockIdx.x * rows + cuda.threadIdx.x // lanes
        while row < n:
            at = row * columns
            top = low
            for q in range(lane, whole, lanes):
                x0, x1, x2, x3 = load(x, at + 4 * q)
                top = larger(top, larger(larger(x0, x1), larger(x2, x3)))
            for j in range(4 * whole + lane, columns, lanes):
                top = larger(top, x[at + j])
            top = largest(top)
            total = zero
            for q in range(lane, whole, lanes):
                x0, x1, x2, x3 = load(x, at + 4 * q)
                total += (exp(x0 - top) + exp(x1 - top)) + (exp(x2 - top) + exp(x3 - top))
            for j in range(4 * whole + lane, columns, lanes):
                total += exp(x[at + j] - top)
            total = add(total)
            if logs:
                total = log(total)
            for q in range(lane, whole, lanes):
                x0, x1, x2, x3 = load(x, at + 4 * q)
                store(y, at + 4 * q, value(x0 - top, total), value(x1 - top, total),
                      value(x2 - top, total), value(x3 - top, total))
            for j in range(4 * whole + lane, columns, lanes):
                y[at + j] = value(x[at + j] - top, total)
            row += cuda.gridDim.x * rows

    @kernel("R* R* R* i i i", R, name=name.format("_grad"))
    def backward(dy, y, dx, n, columns, whole):
        lane, row = cuda.threadIdx.x % lanes, cuda.blockIdx.x * rows + cuda.threadIdx.x // lanes
        while row < n:
            at = row * columns
            total = zero
            for q in range(lane, whole, lanes):
                d0, d1, d2, d3 = load(dy, at + 4 * q)
                y0, y1, y2, y3 = load(y, at + 4 * q)
                total += (along(d0, y0) + along(d1, y1)) + (along(d2, y2) + along(d3, y3))
            for j in range(4 * whole + lane, columns, lanes):
                total += along(dy[at + j], y[at + j])
            total = add(total)
            for q in range(lane, whole, lanes):
                d0, d1, d2, d3 = load(dy, at + 4 * q)
                y0, y1, y2, y3 = load(y, at + 4 * q)
                store(dx, at + 4 * q, slope(d0, y0, total), slope(d1, y1, total),
                      slope(d2, y2, total), slope(d3, y3, total))
            for j in range(4 * whole + lane, columns, lanes):
                dx[at + j] = slope(dy[at + j], y[at + j], total)
            row += cuda.gridDim.x * rows

    return (forward, rows), (backward, rows)


@by_dtype
def _softmax(R, wide):
    return _exponential(R, wide, False)


@by_dtype
def _log_softmax(R, wide):
    return _exponential(R, wide, True)


@by_dtype
def _sparsemax(R, wide):
    """tau solves sum_i max(x_i - tau, 0) = 1, a function that falls and is convex.

    Newton's steps from below never pass the solution and reach it after finitely many (Michelot,
    1986, "A finite algorithm for finding the projection of a point onto the canonical simplex"):
    tau = (sum of those above the last tau - 1) / their number.
    """
    lanes, rows, _, largest = team(R, wide)
    add64 = team(np.float64, wide)[2]
    zero, low = R(0), R(-np.inf)
    suffix = "_wide" if wide else ""

    @kernel("R* R* i i i", R, name=f"sparsemax{suffix}")
    def sparsemax(x, y, n, columns, whole):
        lane, row = cuda.threadIdx.x % lanes, cuda.blockIdx.x * rows + cuda.threadIdx.x // lanes
        while row < n:
            at = row * columns
            top = low
            for j in range(lane, columns, lanes):
                top = larger(top, x[at + j])
            top = np.float64(largest(top))
            tau, before = np.float64(-1.0), np.float64(-2.0)  # the largest is at 0
            while tau > before:
                before = tau
                total, count = np.float64(0.0), np.float64(0.0)
                for j in range(lane, columns, lanes):
                    above = np.float64(x[at + j]) - top
                    if above > tau:
                        total += above
                        count += np.float64(1.0)
                tau = (add64(total) - np.float64(1.0)) / add64(count)
            for j in range(lane, columns, lanes):
                above = np.float64(x[at + j]) - top - before
                y[at + j] = zero if above < np.float64(0.0) else R(above)
            row += cuda.gridDim.x * rows

    @kernel("R* R* R* i i i", R, name=f"sparsemax_grad{suffix}")
    def sparsemax_grad(dy, y, dx, n, columns, whole):
        lane, row = cuda.threadIdx.x % lanes, cuda.blockIdx.x * rows + cuda.threadIdx.x // lanes
        while row < n:
            at = row * columns
            total, count = np.float64(0.0), np.float64(0.0)
            for j in range(lane, columns, lanes):
                if y[at + j] > zero:
                    total += np.float64(dy[at + j])
                    count += np.float64(1.0)
            mean = add64(total) / add64(count)
            for j in range(lane, columns, lanes):
                dx[at + j] = R(np.float64(dy[at + j]) - mean) if y[at + j] > zero else zero
            row += cuda.gridDim.x * rows

    return (sparsemax, rows), (sparsemax_grad, rows)


_ROWS = {"softmax": _softmax, "log_softmax": _log_softmax, "sparsemax": _sparsemax}


# -- halves and pieces ---------------------------------------------------------------------------


@by_dtype
def _glu(R):
    sigmoid = shared(R)[2]

    @kernel("R* R* i i", R)
    def glu(x, y, n, columns):
        i = cuda.blockIdx.x * BLOCK + cuda.threadIdx.x
        while i < n * columns:
            at = i + i // columns * columns  # the front half of the same row
            y[i] = x[at] * sigmoid(x[at + columns])
            i += cuda.gridDim.x * BLOCK

    @kernel("R* R* R* i i", R)
    def glu_grad(dy, x, dx, n, columns):
        i = cuda.blockIdx.x * BLOCK + cuda.threadIdx.x
        while i < n * columns:
            at = i + i // columns * columns
            a, b, d = x[at], x[at + columns], dy[i]
            s = sigmoid(b)
            dx[at] = d * s
            dx[at + columns] = d * a * s * sigmoid(-b)
            i += cuda.gridDim.x * BLOCK

    return glu, glu_grad


@by_dtype
def _maxout(R):
    zero = R(0)

    @kernel("R* R* i i", R)
    def maxout(x, y, n, pieces):
        i = cuda.blockIdx.x * BLOCK + cuda.threadIdx.x
        while i < n:
            best = x[i * pieces]
            for j in range(1, pieces):
                best = larger(best, x[i * pieces + j])
            y[i] = best
            i += cuda.gridDim.x * BLOCK

    @kernel("R* R* R* i i", R)
    def maxout_grad(dy, x, dx, n, pieces):
        i = cuda.blockIdx.x * BLOCK + cuda.threadIdx.x
        while i < n:
            first, best = 0, x[i * pieces]
            for j in range(1, pieces):
                value = x[i * pieces + j]
                if not value <= best and best == best:
                    first, best = j, value
            for j in range(pieces):
                dx[i * pieces + j] = dy[i] if j == first else zero
            i += cuda.gridDim.x * BLOCK

    return maxout, maxout_grad
