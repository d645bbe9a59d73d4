"""Where a network begins: the shape and dtype of its samples."""

from __future__ import annotations

from typing import Any

from .. import checks
from .layer import Layer, sample_shape

__all__ = ["Input", "InputLayer"]


class InputLayer(Layer):
    """The beginning of a `Sequential`; `Input` makes one.

    Parameters
    ----------
    shape : tuple of int
        Shape of one sample, ``(columns,)``.
    batch_size : int, optional
        Kept for `batch_shape`; any number of rows is accepted all the same.
    dtype : {"float32", "float64"}, optional
        The dtype of the model.
    batch_shape : tuple, optional
        ``(batch_size, columns)``, in place of `shape` and `batch_size`.
    name : str, optional

    Raises
    ------
    ValueError
        If no shape is given, or two, or one that is not of this form.

    Examples
    --------
    >>> InputLayer((4,)).batch_shape
    (None, 4)
    """

    def __init__(self, shape=None, batch_size: int | None = None, dtype: Any = None,
                 batch_shape=None, name: str | None = None, **kwargs):
        if (shape is None) == (batch_shape is None):
            raise ValueError(
                "Exactly one of the arguments `shape` and `batch_shape` must be given. "
                f"Received: shape={shape!r}, batch_shape={batch_shape!r}"
            )
        if batch_shape is not None:
            if batch_size is not None or len(batch_shape) != 2:
                raise ValueError(
                    "Argument `batch_shape` must be (rows or None, columns), and given without "
                    f"`batch_size`. Received: batch_shape={batch_shape!r}, "
                    f"batch_size={batch_size!r}"
                )
            batch_size, shape = batch_shape[0], tuple(batch_shape[1:])
        if batch_size is not None:
            batch_size = checks.integer(batch_size, "batch_size", 1)
        shape = sample_shape(shape)
        super().__init__(name=name, dtype=dtype, **kwargs)
        self.batch_shape = (batch_size, *shape)
        self.built = True

    @property
    def shape(self) -> tuple[int]:
        """Shape of one sample."""
        return self.batch_shape[1:]

    def compute_output_shape(self, input_shape):
        if input_shape[1:] != self.shape:
            raise ValueError(
                f"Input {self.name!r} expects the shape (None, {self.shape[0]}). "
                f"Received: input shape {tuple(input_shape)}"
            )
        return input_shape

    def lower(self, builder, x):
        return x

    def get_config(self):
        return {"batch_shape": self.batch_shape, "dtype": self._dtype, "name": self.name}


def Input(shape=None, batch_size: int | None = None, dtype: Any = None,
          batch_shape=None, name: str | None = None) -> InputLayer:
    """The beginning of a `Sequential`: what shape and dtype its samples have.

    Parameters
    ----------
    shape : tuple of int
        Shape of one sample, ``(columns,)``.
    batch_size : int, optional
        Kept for `batch_shape`; any number of rows is accepted all the same.
    dtype : {"float32", "float64"}, optional
        The dtype of the whole model; `fusedmlp.config.floatx()` by default.
    batch_shape : tuple, optional
        ``(batch_size, columns)``, in place of `shape` and `batch_size`.
    name : str, optional

    Raises
    ------
    ValueError
        If no shape is given, or two, or one that is not of this form.

    Examples
    --------
    >>> import fusedmlp as fm
    >>> model = fm.Sequential([fm.Input((8,), dtype="float64"), fm.layers.Dense(1)])
    >>> model.input_shape, model.dtype
    ((None, 8), 'float64')
    """
    return InputLayer(shape, batch_size, dtype, batch_shape, name)
