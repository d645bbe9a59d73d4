"""Predictions of a few rows with the least there can be around them."""

from __future__ import annotations

import numpy as np

from .. import backend, checks, tree
from .compressed import CompressedRows
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
        self._inputs, self._outputs = model.ports()
        self._outs = tuple(np.empty((self.batch, port.columns), self._dtype)
                           for port in self._outputs)
        # what the shortest way is for, and what it returns; never fits where there are several
        self._shape = (self.batch, self._inputs[0].columns) if model.plain else None
        self._out = self._outs[0]
        self._arena, self._active = model.arena, backend.kernels()

    def __call__(self, x, out: np.ndarray | None = None) -> np.ndarray:
        """The network's output.

        Parameters
        ----------
        x : array_like, shape (rows, columns), at most `batch` rows
            Or a list or dict of such for a model with several inputs.
        out : ndarray, shape (rows, columns of the output), optional
            Of the model's dtype, C-contiguous; receives the result.  A list of such for a model
            with several outputs.

        Returns
        -------
        ndarray
            `out`, or the predictor's own array, which the next call overwrites; a list or dict of
            such as the model's outputs are.

        Raises
        ------
        ValueError, TypeError
            If shapes or dtypes don't fit.
        """
        if self.model.arena is not self._arena or self._active is not backend._active:
            self._bind()
        if (type(x) is _ndarray and x.dtype is self._dtype and x.shape == self._shape
                and x.flags.c_contiguous and x.flags.aligned):
            if out is None:
                out = self._out
            else:
                checks.output(out, (self.batch, self._out.shape[1]), self._dtype)
            self._forward(x, out)
            return out
        return self._call(x, out)

    def _call(self, x, out):
        arrays = tuple(a.dense() if isinstance(a, CompressedRows) else a
                       for a in self.model._inputs(x, "x", self._inputs))
        rows = len(arrays[0])
        if rows > self.batch:
            raise ValueError(
                f"Argument `x` must have at most {self.batch} rows, the `batch` of this "
                f"predictor. Received: shape {np.shape(arrays[0])}"
            )
        if out is None:
            outs = tuple(array[:rows] for array in self._outs)
        else:
            outs = tuple(tree.leaves(out))
            if len(outs) != len(self._outputs):
                raise ValueError(
                    f"Argument `out` must hold {len(self._outputs)} arrays. Received: {len(outs)}"
                )
            for array, port in zip(outs, self._outputs, strict=True):
                checks.output(array, (rows, port.columns), self._dtype)
        self._forward(arrays, outs)
        return self.model.pack_outputs(outs)
