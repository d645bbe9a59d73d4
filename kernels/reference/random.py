"""Random numbers as a function of where they are used: Philox 4x32-10.

J. K. Salmon, M. A. Moraes, R. O. Dror and D. E. Shaw, "Parallel random numbers: as easy as 1, 2,
3", SC'11.  Every element's bits follow from the seed, the stream, the step, its row and its column,
so they are the same on every backend, for any number of threads and after any resume.
"""

import numpy as np

__all__ = ["dropout_mask", "philox4x32"]

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
    rows, columns = out.shape
    counter = (
        np.arange(-(-columns // 4), dtype=np.uint64)[None, :],
        np.arange(rows, dtype=np.uint64)[:, None],
        np.uint64(step & 0xFFFFFFFF),
        np.uint64(stream & 0xFFFFFFFF),
    )
    words = philox4x32(counter, (seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF))
    bits = np.stack(words, axis=-1).reshape(rows, 4 * counter[0].size)[:, :columns]
    out[...] = np.where(bits < np.uint64(int(rate * 2**32)), 0.0, 1.0 / (1.0 - rate))
