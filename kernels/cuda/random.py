"""Random numbers as a function of where they are used: Philox 4x32-10.

J. K. Salmon, M. A. Moraes, R. O. Dror and D. E. Shaw, "Parallel random numbers: as easy as 1, 2,
3", SC'11.  Every element's bits follow from the seed, the stream, the step, its row and its column,
as on every backend.  A thread draws a block of four words and uses it for four columns.
"""

from __future__ import annotations

import numpy as np

from . import quads
from .device import BLOCK, by_dtype, cuda, hosted, kernel, launch, log, scalar, sqrt, vector
from .quads import load, store

__all__ = ["dropout_mask", "enqueue_dropout", "enqueue_dropout_mask", "enqueue_normal"]

_LOW = 0xFFFFFFFF
_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
_SHIFT, _MASK = np.uint64(32), np.uint64(_LOW)


@scalar
def philox(c0, c1, c2, c3, k0, k1):
    """The four words of a block, in the low halves of uint64, for a counter and a key likewise."""
    for _ in range(10):
        p0, p1 = _M0 * c0, _M1 * c2
        c0, c1, c2, c3 = (p1 >> _SHIFT) ^ c1 ^ k0, p1 & _MASK, (p0 >> _SHIFT) ^ c3 ^ k1, p0 & _MASK
        k0, k1 = (k0 + _W0) & _MASK, (k1 + _W1) & _MASK
    return c0, c1, c2, c3


def _key(seed, stream_number):
    """Seed and stream as the words that kernels take."""
    return seed & _LOW, (seed >> 32) & _LOW, stream_number & _LOW


def enqueue_dropout(stream, x, rate, seed, number, rates, keep, shift, y, mask):
    """mask = 0 with probability `rate`, else `keep`; y = x mask + shift (both None: `mask` alone).

    Parameters
    ----------
    x, y, mask : device.Array
        (n, m); x and y may be None.
    rate : float
    seed, number : int
        Key and stream of the numbers.
    rates : device.Array
        float64 (2,), whose second element is the step.
    keep : float
        1 / (1 - rate) for dropout.
    shift : (float, float)
        Added to y where the element was dropped, and where it was kept.
    """
    with_y = int(y is not None)
    source, target = (x, y) if with_y else (mask, mask)
    _draw(mask.dtype)[0](
        stream, launch(mask.rows * -(-mask.columns // 4)), source.data, target.data, mask.data,
        rates.data, mask.rows, mask.columns,
        quads.count(mask.columns, source, target, mask, columns=mask.columns), *_key(seed, number),
        int(rate * 2**32), float(keep), *map(float, shift), with_y)


def enqueue_normal(stream, x, mean, stddev, seed, number, rates, product, y, mask):
    """mask = mean + stddev times a standard normal number; y = x mask if `product`, else x + mask.

    `mask` may be None, but for `product`.
    """
    kept = y if mask is None else mask
    _draw(y.dtype)[1](
        stream, launch(y.rows * -(-y.columns // 4)), x.data, y.data, kept.data, rates.data, y.rows,
        y.columns, *_key(seed, number), float(mean), float(stddev), int(product),
        int(mask is not None))


def enqueue_dropout_mask(stream, rate, seed, stream_, step, out):
    """out (n, m) = 0 with probability `rate`, else 1 / (1 - rate)."""
    held = cuda.to_device(np.array([0.0, float(step & _LOW)]), stream=stream)
    enqueue_dropout(stream, None, rate, seed, stream_, vector(held, 2), 1.0 / (1.0 - rate),
                    (0.0, 0.0), None, out)
    return held  # which the launch reads


_hosted = hosted(enqueue_dropout_mask, "out")


def dropout_mask(rate, seed, stream, step, out):
    """out (n, m) = 0 with probability `rate`, else 1 / (1 - rate)."""
    _hosted(rate, seed, stream, step, out)


# -- kernels -------------------------------------------------------------------------------------

# M. J. Wichura, "Algorithm AS 241: the percentage points of the normal distribution", Applied
# Statistics 37 (1988): numerator and denominator, from the highest power down.
_INNER = (
    (2.5090809287301226727e3, 3.3430575583588128105e4, 6.7265770927008700853e4,
     4.5921953931549871457e4, 1.3731693765509461125e4, 1.9715909503065514427e3,
     1.3314166789178437745e2, 3.3871328727963666080e0),
    (5.2264952788528545610e3, 2.8729085735721942674e4, 3.9307895800092710610e4,
     2.1213794301586595867e4, 5.3941960214247511077e3, 6.8718700749205790830e2,
     4.2313330701600911252e1, 1.0),
)
_OUTER = (
    (7.74545014278341407640e-4, 2.27238449892691845833e-2, 2.41780725177450611770e-1,
     1.27045825245236838258e0, 3.64784832476320460504e0, 5.76949722146069140550e0,
     4.63033784615654529590e0, 1.42343711074968357734e0),
    (1.05075007164441684324e-9, 5.47593808499534494600e-4, 1.51986665636164571966e-2,
     1.48103976427480074590e-1, 6.89767334985100004550e-1, 1.67638483018380384940e0,
     2.05319162663775882187e0, 1.0),
)
_HALF = 2.0**31 - 0.5


def _polynomial(coefficients):
    a, b, c, d, e, f, g, h = map(np.float64, coefficients)

    @scalar
    def polynomial(r):
        return ((((((a * r + b) * r + c) * r + d) * r + e) * r + f) * r + g) * r + h

    return polynomial


@by_dtype
def _draw(R):
    zero = R(0)
    inner_above, inner_below = map(_polynomial, _INNER)
    outer_above, outer_below = map(_polynomial, _OUTER)
    near = np.float64(0.425)

    @scalar
    def standard_normal(word):
        # the inverse of its distribution function at (word + 1/2) / 2^32
        q = (np.float64(word) - np.float64(_HALF)) / np.float64(2.0**32)
        size = abs(q)
        if size <= near:
            r = np.float64(0.180625) - q * q
            return q * (inner_above(r) / inner_below(r))
        r = sqrt(-log(np.float64(0.5) - size)) - np.float64(1.6)
        value = outer_above(r) / outer_below(r)
        return value if q > np.float64(0) else -value

    @kernel("R* R* R* d* i i i i i i i R R R i", R)
    def dropout(x, y, mask, rates, rows, columns, whole, key_0, key_1, number, limit, keep, low,
                high, with_y):
        quads = (columns + 3) // 4
        at = cuda.blockIdx.x * BLOCK + cuda.threadIdx.x
        while at < rows * quads:
            row, quad = at // quads, at % quads
            words = philox(np.uint64(quad), np.uint64(row), np.uint64(rates[1]) & _MASK,
                           np.uint64(number), np.uint64(key_0), np.uint64(key_1))
            first = row * columns + 4 * quad
            if whole:
                d0, d1 = words[0] < np.uint64(limit), words[1] < np.uint64(limit)
                d2, d3 = words[2] < np.uint64(limit), words[3] < np.uint64(limit)
                m0, m1 = zero if d0 else keep, zero if d1 else keep
                m2, m3 = zero if d2 else keep, zero if d3 else keep
                store(mask, first, m0, m1, m2, m3)
                if with_y:
                    x0, x1, x2, x3 = load(x, first)
                    store(y, first, x0 * m0 + (low if d0 else high),
                          x1 * m1 + (low if d1 else high), x2 * m2 + (low if d2 else high),
                          x3 * m3 + (low if d3 else high))
            else:
                for k in range(4):
                    if 4 * quad + k < columns:
                        dropped = words[k] < np.uint64(limit)
                        m = zero if dropped else keep
                        mask[first + k] = m
                        if with_y:
                            y[first + k] = x[first + k] * m + (low if dropped else high)
            at += cuda.gridDim.x * BLOCK

    @kernel("R* R* R* d* i i i i i d d i i", R)
    def noise(x, y, mask, rates, rows, columns, key_0, key_1, number, mean, stddev, product,
              with_mask):
        quads = (columns + 3) // 4
        at = cuda.blockIdx.x * BLOCK + cuda.threadIdx.x
        while at < rows * quads:
            row, quad = at // quads, at % quads
            words = philox(np.uint64(quad), np.uint64(row), np.uint64(rates[1]) & _MASK,
                           np.uint64(number), np.uint64(key_0), np.uint64(key_1))
            first = row * columns + 4 * quad
            for k in range(4):
                if 4 * quad + k < columns:
                    m = R(mean + stddev * standard_normal(words[k]))
                    value = x[first + k]
                    if with_mask:
                        mask[first + k] = m
                    y[first + k] = value * m if product else value + m
            at += cuda.gridDim.x * BLOCK

    return dropout, noise
