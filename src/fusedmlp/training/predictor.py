"""Predictions of a few rows with the least there can be around them."""

from __future__ import annotations

import numpy as np

from .. import backend, checks
from . import data as adapters
from .execution import Executions

__all__ = ["Predictor"]

_ndarray = np.ndarray


class Predictor:
    """What `Model.predictor` returns: a function of at most `batch` rows with its own buffers.

    Attributes
    ----------
    batch : int
        Most rows of a call.
    """

    def __init__(self, model, batch: int):
        self.model, self.batch = model, batch
        self._executions = Executions()
        self._bind()

    def _bind(self):
        """Take hold of the model as it is now: its arena, its backend."""
        model = self.model
        model.place()
        self._executions.clear()
        self._forward = self._executions.get(model, self.batch).executor.forward
        self._dtype = np.dtype(model.dtype)
        self._columns = model.output_shape[1]
        self._width = model.input_shape[1]
        self._shape = (self.batch, self._width)
        self._out = np.empty((self.batch, self._columns), self._dtype)
        self._arena, self._active = model.arena, backend.kernels()

    def __call__(self, x, out: np.ndarray | None = None) -> np.ndarray:
        """The network's output.

        Parameters
        ----------
        x : array_like, shape (rows, columns), at most `batch` rows
        out : ndarray, shape (rows, columns of the output), optional
            Of the model's dtype, C-contiguous; receives the result.

        Returns
        -------
        ndarray
            `out`, or the predictor's own array, which the next call overwrites.

        Raises
        ------
        ValueError, TypeError
            If shapes or dtypes don't fit.
        """
        if self.model.arena is not self._arena or self._active is not backend._active:
            self._bind()
        if not (type(x) is _ndarray and x.dtype is self._dtype and x.shape == self._shape
                and x.flags.c_contiguous and x.flags.aligned):
            x = adapters.features(x, "x", self._width, self._dtype)
            if len(x) > self.batch:
                raise ValueError(
                    f"Argument `x` must have at most {self.batch} rows, the `batch` of this "
                    f"predictor. Received: shape {x.shape}"
                )
        if out is None:
            out = self._out
            if len(x) < self.batch:
                out = out[: len(x)]
        else:
            checks.output(out, (len(x), self._columns), self._dtype)
        self._forward(x, out)
        return out
