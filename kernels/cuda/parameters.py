"""What is done to parameters and their gradients besides penalties on weights and the update.

Formulas are those of `fusedmlp.kernels.reference.parameters` and of the executor there.  Sums are
made in float64: of a vector by a block, of a whole parameter by some blocks, whose number depends
on its size alone, and whose sums the blocks of the next launch add up, each for itself.
"""

from __future__ import annotations

import numpy as np

from . import quads
from .device import (
    BLOCK,
    SIMULATED,
    block_sum,
    by_dtype,
    cuda,
    flat,
    isinf,
    isnan,
    kernel,
    larger,
    launch,
    scalar,
    sqrt,
    team,
)
from .quads import load, store

__all__ = ["activity_penalty", "average", "blocks", "clip_norms", "clip_values", "collect",
           "constrain", "orthogonal_penalty", "orthogonal_scratch", "spectral_norm",
           "spectral_scratch", "squares"]

_F = np.float64
_ZERO, _ONE = _F(0), _F(1)
_BLOCKS = 2 if SIMULATED else 128  # at most so many sums of a parameter
_ORTHOGONAL_EPSILON = 1e-7  # shorter vectors are not scaled up to length 1
_AXES = {0: 0, 1: 1, None: 2}
_WARP_COLUMNS = 1024


# -- gradients -----------------------------------------------------------------------------------


@by_dtype
def _gradients(R):
    add = block_sum(np.float64)

    @scalar
    def limited(g, limit):
        return -limit if g < -limit else limit if g > limit else g

    @kernel("R* R* d* i i i", R, name="collect")
    def gather(grad, total, rates, n, whole, every):
        due = (int(rates[1]) + 1) % every == 0
        share = R(every)
        t = cuda.blockIdx.x * BLOCK + cuda.threadIdx.x
        q = t
        while q < whole:
            g0, g1, g2, g3 = load(grad, 4 * q)
            s0, s1, s2, s3 = load(total, 4 * q)
            s0, s1, s2, s3 = g0 + s0, g1 + s1, g2 + s2, g3 + s3
            if due:
                store(grad, 4 * q, s0 / share, s1 / share, s2 / share, s3 / share)
                s0 = s1 = s2 = s3 = R(0)
            store(total, 4 * q, s0, s1, s2, s3)
            q += cuda.gridDim.x * BLOCK
        i = 4 * whole + t
        while i < n:
            collected = grad[i] + total[i]
            if due:
                grad[i] = collected / share
                collected = R(0)
            total[i] = collected
            i += cuda.gridDim.x * BLOCK

    @kernel("R* d* i i i R", R, name="clip_values")
    def limit_values(grad, rates, n, whole, every, limit):
        if (int(rates[1]) + 1) % every != 0:
            return
        t = cuda.blockIdx.x * BLOCK + cuda.threadIdx.x
        q = t
        while q < whole:
            g0, g1, g2, g3 = load(grad, 4 * q)
            store(grad, 4 * q, limited(g0, limit), limited(g1, limit), limited(g2, limit),
                  limited(g3, limit))
            q += cuda.gridDim.x * BLOCK
        i = 4 * whole + t
        while i < n:
            grad[i] = limited(grad[i], limit)
            i += cuda.gridDim.x * BLOCK

    @kernel("R* d* d* i i i i", R, name="squares")
    def squares(x, rates, sums, n, whole, every, first):
        if (int(rates[1]) + 1) % every != 0:
            return
        total = _ZERO
        t = cuda.blockIdx.x * BLOCK + cuda.threadIdx.x
        q = t
        while q < whole:
            x0, x1, x2, x3 = load(x, 4 * q)
            total += (_F(x0) * _F(x0) + _F(x1) * _F(x1)) + (_F(x2) * _F(x2) + _F(x3) * _F(x3))
            q += cuda.gridDim.x * BLOCK
        i = 4 * whole + t
        while i < n:
            total += _F(x[i]) * _F(x[i])
            i += cuda.gridDim.x * BLOCK
        total = add(total)
        if cuda.threadIdx.x == 0:
            sums[first + cuda.blockIdx.x] = total

    @kernel("R* d* d* i i i i i i d", R, name="clip_norm")
    def limit_norm(grad, rates, sums, n, whole, every, first, count, together, limit):
        if (int(rates[1]) + 1) % every != 0:
            return
        total = _ZERO
        for k in range(cuda.threadIdx.x, count, BLOCK):
            total += sums[first + k]
        norm = sqrt(add(total))
        if norm <= limit:
            return
        # a norm of all together that is not finite leaves nothing to go on with
        factor = R(_F(np.nan)) if together and isinf(norm) else R(limit / norm)
        t = cuda.blockIdx.x * BLOCK + cuda.threadIdx.x
        q = t
        while q < whole:
            g0, g1, g2, g3 = load(grad, 4 * q)
            store(grad, 4 * q, g0 * factor, g1 * factor, g2 * factor, g3 * factor)
            q += cuda.gridDim.x * BLOCK
        i = 4 * whole + t
        while i < n:
            grad[i] *= factor
            i += cuda.gridDim.x * BLOCK

    @kernel("R* R* d* i i i d i", R, name="average")
    def average(w, mean, rates, n, whole, every, momentum, overwrite):
        updates = int(rates[1]) // every
        keep, rest = R(momentum), R(_ONE - momentum)
        if updates == 0:
            keep, rest = R(0), R(1)
        replaces = overwrite > 0 and (updates + 1) % max(overwrite, 1) == 0
        t = cuda.blockIdx.x * BLOCK + cuda.threadIdx.x
        q = t
        while q < whole:
            m0, m1, m2, m3 = load(mean, 4 * q)
            w0, w1, w2, w3 = load(w, 4 * q)
            m0, m1 = keep * m0 + rest * w0, keep * m1 + rest * w1
            m2, m3 = keep * m2 + rest * w2, keep * m3 + rest * w3
            store(mean, 4 * q, m0, m1, m2, m3)
            if replaces:
                store(w, 4 * q, m0, m1, m2, m3)
            q += cuda.gridDim.x * BLOCK
        i = 4 * whole + t
        while i < n:
            value = keep * mean[i] + rest * w[i]
            mean[i] = value
            if replaces:
                w[i] = value
            i += cuda.gridDim.x * BLOCK

    return gather, limit_values, squares, limit_norm, average


def collect(stream, grad, total, rates, every):
    """total += grad; in every step number `every`, grad = (grad + total) / every, and total = 0.

    grad, total vectors; rates as for `optimizers.enqueue_update`, here and below.
    """
    _gradients(grad.dtype)[0](stream, quads.blocks(grad.size), grad.data, total.data, rates.data,
                              grad.size, quads.count(grad.size, grad, total), every)


def clip_values(stream, grad, rates, every, limit):
    """grad = min(max(grad, -limit), limit) where an update is due."""
    _gradients(grad.dtype)[1](stream, quads.blocks(grad.size), grad.data, rates.data, grad.size,
                              quads.count(grad.size, grad), every, float(limit))


def blocks(size):
    """How many sums `squares` makes of so many elements."""
    return min(quads.blocks(size), _BLOCKS)


def squares(stream, x, rates, sums, every, first):
    """Sums of squares of a vector, `blocks` of them from number `first` on."""
    _gradients(x.dtype)[2](stream, blocks(x.size), x.data, rates.data, sums.data, x.size,
                           quads.count(x.size, x), every, first)


def clip_norms(stream, grad, rates, sums, every, first, count, whole, limit):
    """grad limit / norm where the norm is larger; the norm from `count` sums of squares."""
    _gradients(grad.dtype)[3](stream, quads.blocks(grad.size), grad.data, rates.data, sums.data,
                              grad.size, quads.count(grad.size, grad), every, first, count,
                              int(whole), float(limit))


def average(stream, w, mean, rates, every, momentum, overwrite):
    """mean = momentum mean + (1 - momentum) w, or w before the first update; in every update
    number `overwrite` w becomes that, too."""
    _gradients(w.dtype)[4](stream, quads.blocks(w.size), w.data, mean.data, rates.data, w.size,
                           quads.count(w.size, w, mean), every, float(momentum), int(overwrite))


# -- constraints ---------------------------------------------------------------------------------


@by_dtype
def _constraints(R):
    add = block_sum(np.float64)

    @kernel("R* i", R, name="non_negative")
    def non_negative(w, n):
        i = cuda.blockIdx.x * BLOCK + cuda.threadIdx.x
        while i < n:
            w[i] = larger(w[i], R(0))
            i += cuda.gridDim.x * BLOCK

    @scalar
    def element(axis, one, k, columns, pitch):
        if axis == 0:
            return k * pitch + one
        if axis == 1:
            return one * pitch + k
        return k // columns * pitch + k % columns

    @kernel("R* i i i i d d d d", R, name="constrain_norm")
    def norms(w, rows, columns, pitch, axis, low, high, rate, epsilon):
        count = columns if axis == 0 else rows if axis == 1 else 1
        length = rows if axis == 0 else columns if axis == 1 else rows * columns
        one = cuda.blockIdx.x
        while one < count:
            total = _ZERO
            for k in range(cuda.threadIdx.x, length, BLOCK):
                x = _F(w[element(axis, one, k, columns, pitch)])
                total += x * x
            norm = sqrt(add(total))
            wanted = low if norm < low else high if norm > high else norm
            factor = R((rate * wanted + (_ONE - rate) * norm) / (epsilon + norm))
            for k in range(cuda.threadIdx.x, length, BLOCK):
                w[element(axis, one, k, columns, pitch)] *= factor
            one += cuda.gridDim.x

    return non_negative, norms


def constrain(stream, w, kind, low, high, rate, epsilon, axis):
    """w is scaled so that its norms go the part `rate` of their way into [low, high]; axis 0: of
    each column, 1: of each row, None: of the whole.  Kind "non_negative": w = max(w, 0)."""
    if kind == "non_negative":
        size = w.rows * w.pitch
        _constraints(w.dtype)[0](stream, launch(size), w.data, size)
        return
    count = {0: w.columns, 1: w.rows, None: 1}[axis]
    _constraints(w.dtype)[1](stream, launch(count, 1), w.data, w.rows, w.columns, w.pitch,
                             _AXES[axis], float(low), float(high), float(rate), float(epsilon))


# -- spectral normalization ----------------------------------------------------------------------


@by_dtype
def _spectral(R):
    add = block_sum(np.float64)
    signature = "R* R* d* d* i i i i d"

    @scalar
    def unit(squares, epsilon):
        return min(_ONE / sqrt(squares), _ONE / epsilon) if squares > _ZERO else _ONE / epsilon

    @kernel(signature, R, name="spectral_rows")
    def by_rows(w, u, left, right, rows, columns, pitch, first, epsilon):
        # left = w right, where right is u at first, and then scaled to length 1
        factor = _ONE
        if not first:
            squares = _ZERO
            for j in range(cuda.threadIdx.x, columns, BLOCK):
                squares += right[j] * right[j]
            factor = unit(add(squares), epsilon)
        i = cuda.blockIdx.x
        while i < rows:
            total = _ZERO
            for j in range(cuda.threadIdx.x, columns, BLOCK):
                total += _F(w[i * pitch + j]) * (
                    _F(u[j]) if first else right[j] * factor)
            total = add(total)
            if cuda.threadIdx.x == 0:
                left[i] = total
            i += cuda.gridDim.x

    @kernel(signature, R, name="spectral_columns")
    def by_columns(w, u, left, right, rows, columns, pitch, first, epsilon):
        # right = left w, left scaled to length 1
        squares = _ZERO
        for i in range(cuda.threadIdx.x, rows, BLOCK):
            squares += left[i] * left[i]
        factor = unit(add(squares), epsilon)
        j = cuda.blockIdx.x
        while j < columns:
            total = _ZERO
            for i in range(cuda.threadIdx.x, rows, BLOCK):
                total += left[i] * factor * _F(w[i * pitch + j])
            total = add(total)
            if cuda.threadIdx.x == 0:
                right[j] = total
            j += cuda.gridDim.x

    @kernel(signature, R, name="spectral_apply")
    def apply(w, u, left, right, rows, columns, pitch, first, epsilon):
        # left w right = right . right / |right|; it is 0 for a kernel of zeros, which stays
        squares = _ZERO
        for j in range(cuda.threadIdx.x, columns, BLOCK):
            squares += right[j] * right[j]
        squares = add(squares)
        if squares == _ZERO:
            return
        factor = unit(squares, epsilon)
        largest = squares * factor
        i = cuda.blockIdx.x * BLOCK + cuda.threadIdx.x
        while i < rows * pitch:  # padding is 0 and stays so
            w[i] = R(_F(w[i]) / largest)
            i += cuda.gridDim.x * BLOCK
        if cuda.blockIdx.x == 0:
            for j in range(cuda.threadIdx.x, columns, BLOCK):
                u[j] = R(right[j] * factor)

    return by_rows, by_columns, apply


def spectral_scratch(kernel):
    """float64 numbers that `spectral_norm` works with: a vector of rows and one of columns."""
    return kernel.rows, kernel.columns


def spectral_norm(stream, kernel, u, left, right, iterations, epsilon):
    """kernel (k, m) is divided by v kernel u, after power iterations from u (m,), which is kept."""
    by_rows, by_columns, apply = _spectral(kernel.dtype)
    place_of = (kernel.rows, kernel.columns, kernel.pitch)
    for number in range(iterations):
        arguments = (kernel.data, u.data, left.data, right.data, *place_of, int(number == 0),
                     float(epsilon))
        by_rows(stream, launch(kernel.rows, 1), *arguments)
        by_columns(stream, launch(kernel.columns, 1), *arguments)
    apply(stream, launch(kernel.rows * kernel.pitch), *arguments)


# -- penalties -----------------------------------------------------------------------------------


@by_dtype
def _activity(R, wide):
    lanes, rows, add, _ = team(np.float64, wide)

    @kernel("R* R* R* i i i d d d d", R, name=f"activity_penalty{'_wide' if wide else ''}")
    def activity(y, losses, gradient, n, columns, differentiates, linear, l1, l2, share):
        lane, row = cuda.threadIdx.x % lanes, cuda.blockIdx.x * rows + cuda.threadIdx.x // lanes
        while row < n:
            total = _ZERO
            for j in range(lane, columns, lanes):
                x = _F(y[row * columns + j])
                total += linear * x + l1 * abs(x) + l2 * x * x
                if differentiates:
                    sign = _ONE if x > _ZERO else -_ONE if x < _ZERO else x
                    slope = linear + l1 * sign + _F(2) * l2 * x
                    gradient[row * columns + j] = R(slope * share)
            total = add(total)
            if lane == 0:
                losses[row] = R(total)
            row += cuda.gridDim.x * rows

    return activity, rows


def activity_penalty(stream, y, losses, gradient, batch, linear, l1, l2):
    """losses = linear sum y + l1 sum |y| + l2 sum y^2 of each row; the gradient of their sum,
    divided by the rows of the batch."""
    made, rows = _activity(y.dtype, y.columns > _WARP_COLUMNS)
    made(stream, launch(y.rows, rows), y.data, losses.data, flat(gradient), y.rows, y.columns,
         int(gradient is not None), float(linear), float(l1), float(l2), 1.0 / max(batch, 1))


@by_dtype
def _orthogonal(R):
    add = block_sum(np.float64)
    longest = _F(1.0 / _ORTHOGONAL_EPSILON)

    @scalar
    def element(across, one, k, pitch):
        return k * pitch + one if across else one * pitch + k

    @kernel("R* d* i i i i", R, name="orthogonal_lengths")
    def lengths(w, inverse, count, length, pitch, across):
        one = cuda.blockIdx.x
        while one < count:
            squares = _ZERO
            for k in range(cuda.threadIdx.x, length, BLOCK):
                x = _F(w[element(across, one, k, pitch)])
                squares += x * x
            squares = add(squares)
            if cuda.threadIdx.x == 0:
                inverse[one] = min(_ONE / sqrt(squares), longest) if squares > _ZERO else (
                    squares if squares != squares else longest)
            one += cuda.gridDim.x

    @kernel("R* R* d* d* d* i i i i i i d", R, name="orthogonal_pairs")
    def pairs(w, grad, inverse, amounts, sums, count, length, pitch, across, differentiates,
              adds, factor):
        # a block for a vector: its thread t has the product with vector t of those that come next
        signs = cuda.shared.array(BLOCK, np.float64)
        t = cuda.threadIdx.x
        one = cuda.blockIdx.x
        while one < count:
            amount = _ZERO
            for k in range(t, length, BLOCK):
                sums[one * length + k] = _ZERO
            start = 0
            while start < count:
                other, product = start + t, _ZERO
                if other < count and other != one:
                    for k in range(length):
                        product += (_F(w[element(across, one, k, pitch)])
                                    * inverse[one]
                                    * _F(w[element(across, other, k, pitch)])
                                    * inverse[other])
                amount += abs(product)
                signs[t] = _ONE if product > _ZERO else -_ONE if product < _ZERO else product
                cuda.syncthreads()
                for k in range(t, length, BLOCK):
                    total = sums[one * length + k]
                    for other in range(start, min(start + BLOCK, count)):
                        total += signs[other - start] * (
                            _F(w[element(across, other, k, pitch)]) * inverse[other])
                    sums[one * length + k] = total
                cuda.syncthreads()
                start += BLOCK
            amount = add(amount)
            if t == 0:
                amounts[one] = amount
            if differentiates:
                # of w_i: inv (s - x (x . s)), x = inv w, s the sum of the signs times the others
                along = _ZERO
                for k in range(t, length, BLOCK):
                    along += (_F(w[element(across, one, k, pitch)]) * inverse[one]
                              * sums[one * length + k])
                along = add(along)
                if not inverse[one] < longest:
                    along = _ZERO
                for k in range(t, length, BLOCK):
                    at = element(across, one, k, pitch)
                    x = _F(w[at]) * inverse[one]
                    slope = factor * inverse[one] * (sums[one * length + k] - x * along)
                    grad[at] = R(_F(grad[at]) + slope) if adds else R(slope)
            one += cuda.gridDim.x

    return lengths, pairs


@kernel("d* i d d* i i*", name="orthogonal_total")
def _total(amounts, count, factor, totals, at, clock):
    if cuda.threadIdx.x == 0:
        amount = _ZERO
        for one in range(count):
            amount += amounts[one]
        amount *= factor
        totals[at] += amount
        if (isnan(amount) or isinf(amount)) and clock[2] < 0:
            clock[2] = clock[0]


def orthogonal_scratch(w, mode):
    """float64 numbers that `orthogonal_penalty` works with: two of each vector, and a matrix."""
    count = w.rows if mode == "rows" else w.columns
    return count, count, w.rows * w.columns


def orthogonal_penalty(stream, w, grad, scratch, batch, factor, mode, adds, totals, number, clock):
    """Add to a total ``batch factor`` times the mean of |x_i . x_j| over the pairs of unit rows x
    (or columns) of w, and its derivative for one row to a gradient, or in its place."""
    inverse, amounts, sums = scratch
    across = mode != "rows"
    count, length = (w.columns, w.rows) if across else (w.rows, w.columns)
    share = factor / (count * (count - 1) / 2.0)
    lengths, pairs = _orthogonal(w.dtype)
    place_of = (count, length, w.pitch, int(across))
    lengths(stream, launch(count, 1), w.data, inverse.data, *place_of)
    pairs(stream, launch(count, 1), w.data, flat(grad), inverse.data, amounts.data, sums.data,
          *place_of, int(grad is not None), int(adds), share)
    _total(stream, 1, amounts.data, count, 0.5 * share * batch, totals.data, 2 * number,
           clock.data)
