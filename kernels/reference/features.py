"""Operations that make numbers of features: formula beside code.  Arrays are (n, columns)."""

import numpy as np

__all__ = ["column_affine", "digitize", "encode", "feature_norm"]


def column_affine(x, before, scale, after, out):
    """out = (x - before) scale + after."""
    with np.errstate(all="ignore"):
        out[...] = (x - before) * scale + after


def feature_norm(x, mean, variance, least, invert, center, out):
    """With s = max(sqrt(variance), least): out = (x - mean) / s, or x s + mean; the mean counts
    as 0 without `center`."""
    with np.errstate(all="ignore"):
        s = np.maximum(np.sqrt(variance), variance.dtype.type(least))
        mean = mean if center else mean.dtype.type(0)
        out[...] = x * s + mean if invert else (x - mean) / s


def digitize(x, boundaries, out):
    """out = the number of boundaries that are not above x; all of them for NaN."""
    out[...] = np.searchsorted(boundaries, x, side="right")


def encode(x, depth, kind, out):
    """out = vectors of `depth`: for each element ("one_hot"), or for each row ("multi_hot":
    what is there, "count": how often).  What is out of range is nowhere."""
    out[...] = 0
    row, column = np.nonzero((x >= 0) & (x < depth))
    place = x[row, column].astype(np.int64)
    if kind == "one_hot":
        out[row, column * depth + place] = 1
    elif kind == "multi_hot":
        out[row, place] = 1
    else:
        np.add.at(out, (row, place), 1)
