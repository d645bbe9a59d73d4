"""Normalization, of columns by the batch and of rows by themselves.

Formulas and names are those of `fusedmlp.kernels.reference.normalization`; launchers are like those
of `arithmetic`.  Sums are made in float64: of a column by a block, of a row by a warp or a block.
"""

from __future__ import annotations

import numpy as np

from .device import BLOCK, NULL, by_dtype, cuda, flat, kernel, launch, scalar, sqrt, team

__all__ = ["OPERATIONS"]

_F = np.float64
_ONE, _ZERO = _F(1), _F(0)
_UNIT_EPSILON = 1e-12  # rows shorter than that are not scaled up to length 1
_KINDS = {"layer": 0, "rms": 1, "unit": 2}
_WARP_COLUMNS = 1024


# -- columns -------------------------------------------------------------------------------------


@by_dtype
def _columns(R):
    add = team(np.float64, True)[2]

    @kernel("R* R* R* R* R* R* i i i d d", R, name="batch_statistics")
    def statistics(x, weights, moving_mean, moving_variance, means, factors, n, columns, weighted,
                   momentum, epsilon):
        # weights have the mean 1; what does not count may be anything
        j = cuda.blockIdx.x
        while j < columns:
            total = _ZERO
            for i in range(cuda.threadIdx.x, n, BLOCK):
                weight = _F(weights[i]) if weighted else _ONE
                if weight != _ZERO:
                    total += weight * _F(x[i * columns + j])
            mean = add(total) / _F(n)
            squares = _ZERO
            for i in range(cuda.threadIdx.x, n, BLOCK):
                weight = _F(weights[i]) if weighted else _ONE
                if weight != _ZERO:
                    apart = _F(x[i * columns + j]) - mean
                    squares += weight * (apart * apart)
            variance = add(squares) / _F(n)
            if cuda.threadIdx.x == 0:
                means[j] = R(mean)
                factors[j] = R(_ONE / sqrt(variance + epsilon))
                rest = _ONE - momentum
                moving_mean[j] = R(_F(moving_mean[j]) * momentum + mean * rest)
                moving_variance[j] = R(_F(moving_variance[j]) * momentum + variance * rest)
            j += cuda.gridDim.x

    @kernel("R* R* R* R* R* R* i i i", R, name="normalized_sums")
    def sums(dy, x, means, factors, products, totals, n, columns, way):
        # sums of dy xhat and of dy; mean and factor of an element are those of its column (0) or
        # row (1; 2 without a mean)
        j = cuda.blockIdx.x
        while j < columns:
            product, total = _ZERO, _ZERO
            for i in range(cuda.threadIdx.x, n, BLOCK):
                of = j if way == 0 else i
                mean = _ZERO if way == 2 else _F(means[of])
                d = _F(dy[i * columns + j])
                product += d * ((_F(x[i * columns + j]) - mean) * _F(factors[of]))
                total += d
            product, total = add(product), add(total)
            if cuda.threadIdx.x == 0:
                products[j] = R(product)
                if way == 0:
                    totals[j] = R(total)
            j += cuda.gridDim.x

    @kernel("R* R* R* R* R* R* i i i i", R, name="standardize")
    def standardize(x, means, factors, gamma, beta, y, n, columns, scales, centers):
        i = cuda.blockIdx.x * BLOCK + cuda.threadIdx.x
        while i < n * columns:
            j = i % columns
            value = (x[i] - means[j]) * factors[j]
            if scales:
                value *= gamma[j]
            y[i] = value + beta[j] if centers else value
            i += cuda.gridDim.x * BLOCK

    @kernel("R* R* R* R* R* R* R* R* R* i i i i", R, name="batch_norm_dx")
    def dx(dy, x, means, factors, dgamma, dbeta, gamma, weights, out, n, columns, scales,
           weighted):
        share = R(_ONE / _F(max(n, 1)))
        i = cuda.blockIdx.x * BLOCK + cuda.threadIdx.x
        while i < n * columns:
            j = i % columns
            slope = factors[j] * gamma[j] if scales else factors[j]
            xhat = (x[i] - means[j]) * factors[j]
            through = dbeta[j] * share + xhat * (dgamma[j] * share)
            if weighted:
                weight = weights[i // columns]
                through = weight * through if weight != R(0) else R(0)
            out[i] = slope * (dy[i] - through)
            i += cuda.gridDim.x * BLOCK

    @kernel("R* R* R* R* R* R* i i i d", R, name="fold_statistics")
    def fold(means, variances, gamma, beta, a, b, columns, scales, centers, epsilon):
        j = cuda.blockIdx.x * BLOCK + cuda.threadIdx.x
        while j < columns:
            factor = _ONE / sqrt(_F(variances[j]) + epsilon)
            if scales:
                factor *= _F(gamma[j])
            a[j] = R(factor)
            b[j] = R((_F(beta[j]) if centers else _ZERO) - _F(means[j]) * factor)
            j += cuda.gridDim.x * BLOCK

    return statistics, sums, standardize, dx, fold


def _factors(arrays, scale, center):
    """gamma and beta, or None for the one that there is not."""
    arrays = list(arrays)
    gamma = arrays.pop(0) if scale else None
    return gamma, arrays.pop(0) if center else None


def _batch_statistics(stream, inputs, outputs, momentum, epsilon):
    x, moving_mean, moving_variance, *weights = inputs
    mean, inv = outputs
    _columns(x.dtype)[0](stream, launch(x.columns, 1), x.data, flat(*weights),
                         moving_mean.data, moving_variance.data, mean.data, inv.data, x.rows,
                         x.columns, int(bool(weights)), float(momentum), float(epsilon))


def _standardize(stream, inputs, outputs, scale, center):
    x, mean, inv, *more = inputs
    gamma, beta = _factors(more, scale, center)
    _columns(x.dtype)[2](stream, launch(x.size), x.data, mean.data, inv.data, flat(gamma),
                         flat(beta), outputs[0].data, x.rows, x.columns, int(scale), int(center))


def _batch_norm_sums(stream, inputs, outputs):
    dy, x, mean, inv = inputs
    dgamma, dbeta = outputs
    _columns(x.dtype)[1](stream, launch(x.columns, 1), dy.data, x.data, mean.data, inv.data,
                         dgamma.data, dbeta.data, x.rows, x.columns, 0)


def _batch_norm_dx(stream, inputs, outputs, scale):
    dy, x, mean, inv, dgamma, dbeta, *more = inputs
    gamma, weights = more[:1] if scale else [], more[1:] if scale else more
    _columns(x.dtype)[3](stream, launch(x.size), dy.data, x.data, mean.data, inv.data, dgamma.data,
                         dbeta.data, flat(*gamma), flat(*weights), outputs[0].data, x.rows,
                         x.columns, int(scale), int(bool(weights)))


def _fold_statistics(stream, inputs, outputs, epsilon, scale, center):
    mean, variance, *more = inputs
    gamma, beta = _factors(more, scale, center)
    a, b = outputs
    _columns(mean.dtype)[4](stream, launch(mean.columns), mean.data, variance.data, flat(gamma),
                            flat(beta), a.data, b.data, mean.columns, int(scale), int(center),
                            float(epsilon))


# -- rows ----------------------------------------------------------------------------------------


@by_dtype
def _rows(R, wide):
    lanes, rows, add, _ = team(np.float64, wide)
    most = _F(1.0 / _UNIT_EPSILON)
    suffix = "_wide" if wide else ""

    @scalar
    def factor_of(squares, columns, kind, epsilon):
        if kind == 2:
            factor = _ONE / sqrt(squares)
            return most if factor > most else factor
        return _ONE / sqrt(squares / _F(columns) + epsilon)

    @kernel("R* R* R* R* R* R* i i i i i i i d", R, name=f"row_norm{suffix}")
    def forward(x, gamma, beta, y, factors, means, n, columns, kind, scales, centers, keeps,
                keeps_mean, epsilon):
        lane, row = cuda.threadIdx.x % lanes, cuda.blockIdx.x * rows + cuda.threadIdx.x // lanes
        while row < n:
            at = row * columns
            mean = _ZERO
            if kind == 0:
                for j in range(lane, columns, lanes):
                    mean += _F(x[at + j])
                mean = add(mean) / _F(columns)
            squares = _ZERO
            for j in range(lane, columns, lanes):
                apart = _F(x[at + j]) - mean
                squares += apart * apart
            factor = factor_of(add(squares), columns, kind, epsilon)
            for j in range(lane, columns, lanes):
                value = (_F(x[at + j]) - mean) * factor
                if scales:
                    value *= _F(gamma[j])
                if centers:
                    value += _F(beta[j])
                y[at + j] = R(value)
            if lane == 0:
                if keeps:
                    factors[row] = R(factor)
                if keeps_mean:
                    means[row] = R(mean)
            row += cuda.gridDim.x * rows

    @kernel("R* R* R* R* R* R* i i i i", R, name=f"row_norm_grad{suffix}")
    def backward(dy, x, factors, means, gamma, dx, n, columns, kind, scales):
        lane, row = cuda.threadIdx.x % lanes, cuda.blockIdx.x * rows + cuda.threadIdx.x // lanes
        while row < n:
            at = row * columns
            factor = _F(factors[row])
            mean = _F(means[row]) if kind == 0 else _ZERO
            along, centre = _ZERO, _ZERO
            for j in range(lane, columns, lanes):
                g = _F(dy[at + j]) * (_F(gamma[j]) if scales else _ONE)
                along += g * ((_F(x[at + j]) - mean) * factor)
                centre += g
            along, centre = add(along), add(centre)
            if kind != 2:
                along /= _F(columns)
            elif not factor < R(most):
                along = _ZERO
            centre = centre / _F(columns) if kind == 0 else _ZERO
            for j in range(lane, columns, lanes):
                g = _F(dy[at + j]) * (_F(gamma[j]) if scales else _ONE)
                xhat = (_F(x[at + j]) - mean) * factor
                dx[at + j] = R(factor * (g - centre - xhat * along))
            row += cuda.gridDim.x * rows

    return forward, backward, rows


def _row_norm(stream, inputs, outputs, kind, epsilon, scale, center):
    x, *more = inputs
    gamma, beta = _factors(more, scale, center)
    y, inv, mean = [*outputs, None, None][:3]
    forward, _, rows = _rows(x.dtype, x.columns > _WARP_COLUMNS)
    forward(stream, launch(x.rows, rows), x.data, flat(gamma), flat(beta), y.data, flat(inv),
            flat(mean), x.rows, x.columns, _KINDS[kind], int(scale), int(center),
            int(inv is not None), int(mean is not None), float(epsilon))


def _row_norm_grad(stream, inputs, outputs, kind, epsilon, scale):
    dy, x, inv, *more = inputs
    mean = more.pop(0) if kind == "layer" else None
    gamma, _ = _factors(more, scale, False)
    _, backward, rows = _rows(x.dtype, x.columns > _WARP_COLUMNS)
    backward(stream, launch(x.rows, rows), dy.data, x.data, inv.data, flat(mean), flat(gamma),
             outputs[0].data, x.rows, x.columns, _KINDS[kind], int(scale))


def _gamma_grad(stream, inputs, outputs):
    dy, x, inv, *mean = inputs
    _columns(x.dtype)[1](stream, launch(x.columns, 1), dy.data, x.data,
                         flat(*mean), inv.data, outputs[0].data, NULL, x.rows,
                         x.columns, 1 if mean else 2)


OPERATIONS = {
    "batch_statistics": _batch_statistics,
    "standardize": _standardize,
    "batch_norm_sums": _batch_norm_sums,
    "batch_norm_dx": _batch_norm_dx,
    "fold_statistics": _fold_statistics,
    "row_norm": _row_norm,
    "row_norm_grad": _row_norm_grad,
    "gamma_grad": _gamma_grad,
}
