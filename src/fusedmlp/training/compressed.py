"""Matrices in compressed rows (CSR), as executors take them.

A first Dense layer multiplies only what is not 0, so such data is never made dense.  SciPy is known
by the modules of its types and not imported.
"""

from __future__ import annotations

import numpy as np

from .. import checks

__all__ = ["CompressedRows", "is_sparse"]


def is_sparse(x) -> bool:
    """Whether it is one of SciPy's sparse matrices or arrays.

    >>> is_sparse(np.zeros((2, 2)))
    False
    """
    return type(x).__module__.startswith("scipy.sparse")


class CompressedRows:
    """A sparse matrix: row i has the elements ``starts[i]`` to ``starts[i + 1]``.

    Attributes
    ----------
    values : ndarray of the model's dtype
    columns : ndarray of int32
        In which columns the values are.
    starts : ndarray of int64, one longer than there are rows
    shape : tuple

    Examples
    --------
    >>> import scipy.sparse
    >>> x = CompressedRows.of(scipy.sparse.eye(3, format="coo"), "x", np.dtype("float32"))
    >>> x.shape, x[1:].starts.tolist(), x.take(np.array([2, 0])).columns.tolist()
    ((3, 3), [1, 2, 3], [2, 0])
    """

    ndim = 2

    def __init__(self, values: np.ndarray, columns: np.ndarray, starts: np.ndarray, width: int):
        self.values, self.columns, self.starts = values, columns, starts
        self.shape = (len(starts) - 1, width)
        self.dtype = values.dtype

    @classmethod
    def of(cls, matrix, name: str, dtype: np.dtype) -> CompressedRows:
        """From any sparse matrix of SciPy; its own arrays where they are of the right types.

        Raises
        ------
        TypeError, ValueError
            If it holds no real numbers, or more columns than fit 32 bits.
        """
        if matrix.ndim != 2 or matrix.shape[1] >= 2**31:
            raise ValueError(
                f"Argument `{name}` must be a sparse matrix of rank 2 with less than 2**31 "
                f"columns. Received: shape {matrix.shape}"
            )
        rows = matrix.tocsr()
        return cls(checks.float_like(rows.data, name, dtype),
                   np.ascontiguousarray(rows.indices, np.int32),
                   np.ascontiguousarray(rows.indptr, np.int64), matrix.shape[1])

    def __len__(self):
        return self.shape[0]

    @property
    def size(self) -> int:
        """Number of elements, zeros included."""
        return self.shape[0] * self.shape[1]

    def __getitem__(self, rows: slice) -> CompressedRows:
        start, stop, _ = rows.indices(len(self))
        return CompressedRows(self.values, self.columns, self.starts[start : max(start, stop) + 1],
                              self.shape[1])

    def dense(self) -> np.ndarray:
        """All elements, zeros included."""
        result = np.zeros(self.shape, self.dtype)
        inside = slice(self.starts[0], self.starts[-1])
        rows = np.repeat(np.arange(len(self)), np.diff(self.starts))
        np.add.at(result, (rows, self.columns[inside]), self.values[inside])
        return result

    def take(self, rows: np.ndarray) -> CompressedRows:
        """The rows at these places."""
        first, lengths = self.starts[rows], self.starts[rows + 1] - self.starts[rows]
        starts = np.concatenate([[0], np.cumsum(lengths)])
        places = np.arange(starts[-1]) + np.repeat(first - starts[:-1], lengths)
        return CompressedRows(self.values[places], self.columns[places], starts, self.shape[1])
