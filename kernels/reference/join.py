"""Operations that join or cut buffers: formula beside code, float32 in float64 and rounded once.

Arrays are (n, columns); `groups` cuts the columns of the wide side into so many equal parts.
"""

import numpy as np

__all__ = ["affine", "concatenate", "cut", "extreme_grad", "place", "power", "row_dot", "row_sum"]


def affine(x, factor, shift, out):
    """out = factor x + shift; a single column of x stands for all of out's."""
    with np.errstate(all="ignore"):
        out[...] = np.float64(factor) * x + shift


def power(x, exponent, out):
    """out = x ** exponent."""
    with np.errstate(all="ignore"):
        out[...] = np.power(x, exponent, dtype=np.float64)


def extreme_grad(dy, a, b, da):
    """da = dy where a is the larger one, dy / 2 where both are equal, else 0."""
    with np.errstate(all="ignore"):
        da[...] = dy * ((a > b) + 0.5 * (a == b))


def row_sum(x, factor, out):
    """out = factor sum_k x_k."""
    with np.errstate(all="ignore"):
        out[:, 0] = factor * x.sum(axis=1, dtype=np.float64)


def row_dot(a, b, out):
    """out = sum_k a_k b_k."""
    with np.errstate(all="ignore"):
        out[:, 0] = np.multiply(a, b, dtype=np.float64).sum(axis=1)


def concatenate(parts, groups, out):
    """The parts side by side in each group."""
    wide, start = _grouped(out, groups), 0
    for part in parts:
        columns = _grouped(part, groups)
        wide[:, :, start : start + columns.shape[2]] = columns
        start += columns.shape[2]


def cut(x, start, groups, out):
    """out = as many columns of each group of x, from `start` on, as out has."""
    columns = _grouped(out, groups)
    columns[...] = _grouped(x, groups)[:, :, start : start + columns.shape[2]]


def place(x, start, groups, out):
    """What `cut` took, back at its place; 0 elsewhere."""
    columns = _grouped(x, groups)
    out[...] = 0
    _grouped(out, groups)[:, :, start : start + columns.shape[2]] = columns


def _grouped(array, groups):
    """A view (n, groups, columns of a group)."""
    return array.reshape(len(array), groups, array.shape[1] // groups)
