"""Random numbers as a function of where they are used: Philox 4x32-10.

J. K. Salmon, M. A. Moraes, R. O. Dror and D. E. Shaw, "Parallel random numbers: as easy as 1, 2,
3", SC'11.  Every element's bits follow from the seed, the stream, the step, its row and its column,
so they are the same on every backend, for any number of threads and after any resume.
"""

import numpy as np

__all__ = ["dropout_mask", "normal", "philox4x32"]

_ROUNDS = 10
_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (0x9E3779B9, 0xBB67AE85)
_LOW = np.uint64(0xFFFFFFFF)
_SHIFT = np.uint64(32)


def philox4x32(counter, key):
    """The block of four 32-bit words for each counter, as four uint64 arrays.

    Parameters
    ----------
    counter : sequence of 4 uint64 arrays or scalars, broadcast together, values below 2**32
    key : (int, int)
        Values below 2**32.
    """
    c0, c1, c2, c3 = counter
    for i in range(_ROUNDS):
        k0, k1 = (np.uint64((key[j] + i * _WEYL[j]) & 0xFFFFFFFF) for j in (0, 1))
        p0, p1 = _MULTIPLIERS[0] * c0, _MULTIPLIERS[1] * c2
        c0, c1, c2, c3 = (p1 >> _SHIFT) ^ c1 ^ k0, p1 & _LOW, (p0 >> _SHIFT) ^ c3 ^ k1, p0 & _LOW
    return c0, c1, c2, c3


def dropout_mask(rate, seed, stream, step, out):
    """out (n, m) = 0 with probability `rate`, else 1 / (1 - rate)."""
    bits = _bits(seed, stream, step, *out.shape)
    out[...] = np.where(bits < np.uint64(int(rate * 2**32)), 0.0, 1.0 / (1.0 - rate))


def normal(mean, stddev, seed, stream, step, out):
    """out (n, m) = mean + stddev times a number of the standard normal distribution.

    The inverse of its distribution function at (word + 1/2) / 2**32, by M. J. Wichura, "Algorithm
    AS 241: the percentage points of the normal distribution", Applied Statistics 37 (1988).
    """
    bits = _bits(seed, stream, step, *out.shape).astype(np.float64)
    q = (bits - (2.0**31 - 0.5)) / 2.0**32  # from -1/2 to 1/2
    r = 0.180625 - q * q
    inner = q * _ratio(_INNER, r)
    # the distance from the nearer end, at least 2**-33, so that sqrt(-log) stays below 5
    r = np.sqrt(-np.log(0.5 - np.abs(q))) - 1.6
    outer = np.copysign(_ratio(_OUTER, r), q)
    out[...] = mean + stddev * np.where(np.abs(q) <= 0.425, inner, outer)


def _ratio(coefficients, r):
    above, below = (np.polyval(row[::-1], r) for row in coefficients)
    return above / below


# numerator and denominator, from the constant term on
_INNER = (
    (3.3871328727963666080e0, 1.3314166789178437745e2, 1.9715909503065514427e3,
     1.3731693765509461125e4, 4.5921953931549871457e4, 6.7265770927008700853e4,
     3.3430575583588128105e4, 2.5090809287301226727e3),
    (1.0, 4.2313330701600911252e1, 6.8718700749205790830e2, 5.3941960214247511077e3,
     2.1213794301586595867e4, 3.9307895800092710610e4, 2.8729085735721942674e4,
     5.2264952788528545610e3),
)
_OUTER = (
    (1.42343711074968357734e0, 4.63033784615654529590e0, 5.76949722146069140550e0,
     3.64784832476320460504e0, 1.27045825245236838258e0, 2.41780725177450611770e-1,
     2.27238449892691845833e-2, 7.74545014278341407640e-4),
    (1.0, 2.05319162663775882187e0, 1.67638483018380384940e0, 6.89767334985100004550e-1,
     1.48103976427480074590e-1, 1.51986665636164571966e-2, 5.47593808499534494600e-4,
     1.05075007164441684324e-9),
)


def _bits(seed, stream, step, rows, columns):
    """A word of 32 bits for each element, as uint64."""
    counter = (
        np.arange(-(-columns // 4), dtype=np.uint64)[None, :],
        np.arange(rows, dtype=np.uint64)[:, None],
        np.uint64(step & 0xFFFFFFFF),
        np.uint64(stream & 0xFFFFFFFF),
    )
    words = philox4x32(counter, (seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF))
    return np.stack(words, axis=-1).reshape(rows, 4 * counter[0].size)[:, :columns]
