"""Activations and their derivatives: kernels around the elementwise pairs, and the other kinds."""

from __future__ import annotations

import numpy as np

from fusedmlp.spec import ACTIVATIONS

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
    team,
)
from .elementwise import functions, shared

__all__ = ["activation", "activation_grad", "enqueue_activation", "enqueue_activation_grad",
           "enqueue_prelu", "enqueue_prelu_grad", "parameters", "prelu", "prelu_grad"]

# Elements that a thread has under way at once: their loads overlap.  A wider load, of 16 bytes, is
# emitted for addresses that the compiler knows to be multiples of 16, and nothing in Numba says so.
_EACH = 4
_WARP_COLUMNS = 1024  # a wider row gets a block


def parameters(params, dtype):
    """A row's parameters as three numbers of the arrays' dtype."""
    return [float(dtype.type(value)) for value in (*params, 0.0, 0.0, 0.0)[:3]]


def enqueue_activation(stream, name, x, params, out):
    """out = f(x, *params) for the row `name`."""
    row = ACTIVATIONS[name]
    if row.kind == "elementwise":
        _forward(x.dtype, name)(stream, launch(x.size, _EACH * BLOCK), x.data, out.data, x.size,
                                *parameters(params, x.dtype))
    elif row.kind == "row":
        made, rows = _ROWS[name](x.dtype, x.columns > _WARP_COLUMNS)[0]
        made(stream, launch(x.rows if x.columns else 0, rows), x.data, out.data, x.rows, x.columns)
    elif row.kind == "halves":
        _glu(x.dtype)[0](stream, launch(out.size), x.data, out.data, out.rows, out.columns)
    else:
        _maxout(x.dtype)[0](stream, launch(out.size), x.data, out.data, out.size, int(params[0]))


def enqueue_activation_grad(stream, name, dy, saved, params, dx):
    """dx = dy f'(saved, *params), where `saved` is x or y as the row's `reads` says."""
    row = ACTIVATIONS[name]
    if row.kind == "elementwise":
        _backward(dy.dtype, name)(stream, launch(dy.size, _EACH * BLOCK), dy.data, saved.data,
                                  dx.data, dy.size, *parameters(params, dy.dtype))
    elif row.kind == "row":
        made, rows = _ROWS[name](dy.dtype, dy.columns > _WARP_COLUMNS)[1]
        made(stream, launch(dy.rows if dy.columns else 0, rows), dy.data, saved.data, dx.data,
             dy.rows, dy.columns)
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

    @kernel("R* R* i R R R", R, name=f"activation_{name}")
    def forward(x, y, n, a, b, c):
        start = cuda.blockIdx.x * (_EACH * BLOCK) + cuda.threadIdx.x
        step = cuda.gridDim.x * (_EACH * BLOCK)
        while start + (_EACH - 1) * BLOCK < n:
            # four independent loads, each of a warp in one piece, before the first use
            x0, x1 = x[start], x[start + BLOCK]
            x2, x3 = x[start + 2 * BLOCK], x[start + 3 * BLOCK]
            y[start] = f(x0, a, b, c)
            y[start + BLOCK] = f(x1, a, b, c)
            y[start + 2 * BLOCK] = f(x2, a, b, c)
            y[start + 3 * BLOCK] = f(x3, a, b, c)
            start += step
        while start < n:
            for j in range(_EACH):
                i = start + j * BLOCK
                if i < n:
                    y[i] = f(x[i], a, b, c)
            start += step

    return forward


@by_dtype
def _backward(R, name):
    f = functions(R)[name][1]

    @kernel("R* R* R* i R R R", R, name=f"activation_grad_{name}")
    def backward(dy, saved, dx, n, a, b, c):
        start = cuda.blockIdx.x * (_EACH * BLOCK) + cuda.threadIdx.x
        step = cuda.gridDim.x * (_EACH * BLOCK)
        while start + (_EACH - 1) * BLOCK < n:
            s0, s1 = saved[start], saved[start + BLOCK]
            s2, s3 = saved[start + 2 * BLOCK], saved[start + 3 * BLOCK]
            d0, d1 = dy[start], dy[start + BLOCK]
            d2, d3 = dy[start + 2 * BLOCK], dy[start + 3 * BLOCK]
            dx[start] = d0 * f(s0, a, b, c)
            dx[start + BLOCK] = d1 * f(s1, a, b, c)
            dx[start + 2 * BLOCK] = d2 * f(s2, a, b, c)
            dx[start + 3 * BLOCK] = d3 * f(s3, a, b, c)
            start += step
        while start < n:
            for j in range(_EACH):
                i = start + j * BLOCK
                if i < n:
                    dx[i] = dy[i] * f(saved[i], a, b, c)
            start += step

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


@by_dtype
def _softmax(R, wide):
    lanes, rows, add, largest = team(R, wide)
    zero, low = R(0), R(-np.inf)
    suffix = "_wide" if wide else ""

    @kernel("R* R* i i", R, name=f"softmax{suffix}")
    def softmax(x, y, n, columns):
        lane, row = cuda.threadIdx.x % lanes, cuda.blockIdx.x * rows + cuda.threadIdx.x // lanes
        while row < n:
            at = row * columns
            top = low
            for j in range(lane, columns, lanes):
                top = larger(top, x[at + j])
            top = largest(top)
            total = zero
            for j in range(lane, columns, lanes):
                e = exp(x[at + j] - top)
                y[at + j] = e
                total += e
            total = add(total)
            for j in range(lane, columns, lanes):
                y[at + j] = y[at + j] / total
            row += cuda.gridDim.x * rows

    @kernel("R* R* R* i i", R, name=f"softmax_grad{suffix}")
    def softmax_grad(dy, y, dx, n, columns):
        lane, row = cuda.threadIdx.x % lanes, cuda.blockIdx.x * rows + cuda.threadIdx.x // lanes
        while row < n:
            at = row * columns
            total = zero
            for j in range(lane, columns, lanes):
                total += dy[at + j] * y[at + j]
            total = add(total)
            for j in range(lane, columns, lanes):
                dx[at + j] = y[at + j] * (dy[at + j] - total)
            row += cuda.gridDim.x * rows

    return (softmax, rows), (softmax_grad, rows)


@by_dtype
def _log_softmax(R, wide):
    lanes, rows, add, largest = team(R, wide)
    zero, low = R(0), R(-np.inf)
    suffix = "_wide" if wide else ""

    @kernel("R* R* i i", R, name=f"log_softmax{suffix}")
    def log_softmax(x, y, n, columns):
        lane, row = cuda.threadIdx.x % lanes, cuda.blockIdx.x * rows + cuda.threadIdx.x // lanes
        while row < n:
            at = row * columns
            top = low
            for j in range(lane, columns, lanes):
                top = larger(top, x[at + j])
            top = largest(top)
            total = zero
            for j in range(lane, columns, lanes):
                total += exp(x[at + j] - top)
            total = log(add(total))
            for j in range(lane, columns, lanes):
                y[at + j] = x[at + j] - top - total
            row += cuda.gridDim.x * rows

    @kernel("R* R* R* i i", R, name=f"log_softmax_grad{suffix}")
    def log_softmax_grad(dy, y, dx, n, columns):
        lane, row = cuda.threadIdx.x % lanes, cuda.blockIdx.x * rows + cuda.threadIdx.x // lanes
        while row < n:
            at = row * columns
            total = zero
            for j in range(lane, columns, lanes):
                total += dy[at + j]
            total = add(total)
            for j in range(lane, columns, lanes):
                dx[at + j] = dy[at + j] - exp(y[at + j]) * total
            row += cuda.gridDim.x * rows

    return (log_softmax, rows), (log_softmax_grad, rows)


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

    @kernel("R* R* i i", R, name=f"sparsemax{suffix}")
    def sparsemax(x, y, n, columns):
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

    @kernel("R* R* R* i i", R, name=f"sparsemax_grad{suffix}")
    def sparsemax_grad(dy, y, dx, n, columns):
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
