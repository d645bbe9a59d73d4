"""Arrays that stay where they are: memory-mapped files and HDF5 datasets, read in blocks of rows.

What is mapped may be larger than memory, so it is never copied whole: a mapped array that kernels
can read as it lies there is used in place by the modules above, and any other is a `Stored`, of
which blocks are read and converted as training gets to them.  This module knows no models.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator

import numpy as np

from .. import checks

__all__ = ["Stored", "is_stored"]

_BLOCK_BYTES = 16 * 2**20  # of converted rows that are in memory at a time


def is_stored(x, dtype: np.dtype | None) -> bool:
    """Whether `x` lies in a file and can't be used in place by a kernel that wants `dtype`.

    >>> is_stored(np.zeros((2, 2)), np.dtype("float32"))
    False
    """
    if isinstance(x, np.ndarray):
        return (x.ndim == 2 and x.shape[1] > 1 and _is_mapped(x)
                and not (x.dtype == dtype and x.flags.c_contiguous and x.flags.aligned))
    if type(x).__module__.partition(".")[0] != "h5py":
        return False
    return len(getattr(x, "shape", ())) == 2 and x.shape[1] > 1


def _is_mapped(array):
    base = array
    while isinstance(base, np.ndarray):
        if isinstance(base, np.memmap):
            return True
        base = base.base
    return isinstance(base, mmap.mmap)


class Stored:
    """Rows `start` to `stop` of a matrix in a file.

    Parameters
    ----------
    source : memmap or h5py.Dataset, of rank 2
    dtype : dtype
        What blocks are converted to.
    name : str
        What messages call it.

    Raises
    ------
    TypeError
        If it holds anything but real numbers.

    >>> block = Stored(np.arange(6, dtype="float16").reshape(3, 2), np.dtype("float32"), "x")
    >>> block[1:].take(np.array([1, 0]))
    array([[4., 5.],
           [2., 3.]], dtype=float32)
    """

    ndim = 2

    def __init__(self, source, dtype: np.dtype, name: str, start: int = 0,
                 stop: int | None = None):
        checks.real_array(source[:1], name)
        self._source, self._start = source, start
        self._stop = source.shape[0] if stop is None else stop
        self.dtype, self.name = dtype, name

    def __len__(self):
        return self._stop - self._start

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return len(self), self._source.shape[1]

    @property
    def size(self) -> int:
        """Number of elements."""
        return len(self) * self._source.shape[1]

    @property
    def block_rows(self) -> int:
        """Rows that should be in memory at a time."""
        return max(1, _BLOCK_BYTES // (self._source.shape[1] * self.dtype.itemsize))

    def __getitem__(self, rows: slice) -> Stored:
        start, stop, _ = rows.indices(len(self))
        return Stored(self._source, self.dtype, self.name, self._start + start,
                      self._start + max(start, stop))

    def read(self) -> np.ndarray:
        """All its rows, converted."""
        block = np.empty(self.shape, self.dtype)
        block[...] = self._source[self._start : self._stop]
        return block

    def take(self, rows: np.ndarray) -> np.ndarray:
        """The rows at the places `rows`, converted; read in the order in which they lie there."""
        ascending = np.argsort(rows, kind="stable")
        places = rows[ascending] + self._start
        block = np.empty((len(rows), self._source.shape[1]), self.dtype)
        block[ascending] = self._source[places]
        return block

    def blocks(self) -> Iterator[np.ndarray]:
        """All its rows, a block at a time."""
        for start in range(0, len(self), self.block_rows):
            yield self[start : start + self.block_rows].read()
