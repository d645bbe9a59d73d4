"""Products with matrices in compressed rows: formula beside code.

Row i of a batch has the elements ``extents[i, 0]`` to ``extents[i, 1]`` of `values` and `columns`.
"""

import numpy as np

__all__ = ["densify", "sparse_dw", "sparse_product"]


def _elements(extents):
    """Row of the batch and place of each of its elements, in order."""
    lengths = extents[:, 1] - extents[:, 0]
    rows = np.repeat(np.arange(len(extents)), lengths)
    places = np.arange(len(rows)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return rows, places + np.repeat(extents[:, 0], lengths)


def densify(x, extents, out):
    """out = x with all its zeros."""
    rows, places = _elements(extents)
    out[...] = 0
    np.add.at(out, (rows, x.columns[places]), x.values[places])


def sparse_product(x, extents, kernel, bias, out):
    """out = x @ kernel + bias."""
    rows, places = _elements(extents)
    wide = np.zeros(out.shape)
    with np.errstate(all="ignore"):
        np.add.at(wide, rows, np.multiply(x.values[places, None], kernel[x.columns[places]],
                                          dtype=np.float64))
        out[...] = wide if bias is None else wide + bias


def sparse_dw(x, extents, dz, dkernel):
    """dkernel = x.T @ dz."""
    rows, places = _elements(extents)
    wide = np.zeros(dkernel.shape)
    with np.errstate(all="ignore"):
        np.add.at(wide, x.columns[places],
                  np.multiply(x.values[places, None], dz[rows], dtype=np.float64))
        dkernel[...] = wide
