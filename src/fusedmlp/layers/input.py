"""Where a network begins: the shape and dtype of its samples."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import checks
from .layer import Layer, sample_shape
from .tensor import KerasTensor, Node

__all__ = ["Input", "InputLayer"]


class InputLayer(Layer):
    """Where data comes in; `Input` makes one and returns its tensor.

    Parameters
    ----------
    shape : tuple of int
        Shape of one sample, ``(columns,)`` or of more axes.
    batch_size : int, optional
        Kept for `batch_shape`; any number of rows is accepted all the same.
    dtype : str, optional
        "float32" or "float64" is the dtype of the model; an integer or boolean type says what the
        data is, which is converted to the model's dtype; "string" are words, which layers such as
        `StringLookup` take.
    batch_shape : tuple, optional
        ``(batch_size, columns)``, in place of `shape` and `batch_size`.
    name : str, optional

    Raises
    ------
    ValueError
        If no shape is given, or two, or one that is not of this form, or the dtype is another.

    Examples
    --------
    >>> InputLayer((4,)).batch_shape
    (None, 4)
    """

    def __init__(self, shape=None, batch_size: int | None = None, dtype: Any = None,
                 sparse: bool | None = None, ragged: bool | None = None, batch_shape=None,
                 input_tensor=None, optional: bool = False, name: str | None = None, **kwargs):
        for argument, value in (("sparse", sparse), ("ragged", ragged), ("optional", optional),
                                ("input_tensor", input_tensor)):
            if value:
                raise ValueError(
                    f"Argument `{argument}` of an Input has no meaning here: leave it out. "
                    f"Received: {argument}={value!r}"
                )
        if (shape is None) == (batch_shape is None):
            raise ValueError(
                "Exactly one of the arguments `shape` and `batch_shape` must be given. "
                f"Received: shape={shape!r}, batch_shape={batch_shape!r}"
            )
        if batch_shape is not None:
            if batch_size is not None or len(batch_shape) < 2:
                raise ValueError(
                    "Argument `batch_shape` must be (rows or None, columns), and given without "
                    f"`batch_size`. Received: batch_shape={batch_shape!r}, "
                    f"batch_size={batch_size!r}"
                )
            batch_size, shape = batch_shape[0], tuple(batch_shape[1:])
        if batch_size is not None:
            batch_size = checks.integer(batch_size, "batch_size", 1)
        shape = sample_shape(shape)
        data_dtype = _data_dtype(dtype)
        super().__init__(name=name, dtype=None if data_dtype else dtype, **kwargs)
        self.batch_shape = (batch_size, *shape)
        self._data_dtype = data_dtype
        self.built = True
        Node(self, (), {}, KerasTensor(self.batch_shape, data_dtype or self.dtype, self.name))

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample."""
        return self.batch_shape[1:]

    def _adopt_dtype(self, dtype):
        super()._adopt_dtype(dtype)
        if self._data_dtype is None:
            self.output.dtype = dtype

    def compute_output_shape(self, input_shape):
        if tuple(input_shape[1:]) != self.shape:
            wanted = ", ".join(map(str, (None, *self.shape)))
            raise ValueError(
                f"Input {self.name!r} expects the shape ({wanted}). "
                f"Received: input shape {tuple(input_shape)}"
            )
        return tuple(input_shape)

    def lower(self, builder, x):
        return x

    def get_config(self):
        return {"batch_shape": self.batch_shape, "dtype": self._data_dtype or self._dtype,
                "name": self.name}

    def __setstate__(self, state):
        self.__dict__.update(state)
        Node(self, (), {}, KerasTensor(self.batch_shape, self._data_dtype or self.dtype, self.name))


def _data_dtype(dtype):
    """The name of a dtype of data that is no floating-point type; None for any other."""
    if dtype in ("string", str, object):
        return "string"
    try:
        found = None if dtype is None else np.dtype(dtype)
    except TypeError:
        return None
    return found.name if found is not None and found.kind in "iub" else None


def Input(shape=None, batch_size: int | None = None, dtype: Any = None,
          sparse: bool | None = None, ragged: bool | None = None, batch_shape=None,
          name: str | None = None, tensor=None, optional: bool = False) -> KerasTensor:
    """Where a network begins: a symbolic tensor of the shape and dtype of its samples.

    Layers are called on it, and a `Model` is made of it and of what came out; or it is the first
    element of a `Sequential`.

    Parameters
    ----------
    shape : tuple of int
        Shape of one sample, ``(columns,)`` or of more axes.
    batch_size : int, optional
        Kept in the tensor's shape; any number of rows is accepted all the same.
    dtype : str, optional
        "float32" or "float64" is the dtype of the whole model, `fusedmlp.config.floatx()` by
        default; an integer or boolean type says what the data is, which is converted; "string"
        are words, which layers such as `StringLookup` take.
    batch_shape : tuple, optional
        ``(batch_size, columns)``, in place of `shape` and `batch_size`.
    name : str, optional
        Also the key of the data where it is passed as a dict.
    sparse, ragged, tensor, optional
        There for scripts written for Keras; no other value than the default has a meaning.

    Raises
    ------
    ValueError
        If no shape is given, or two, or one that is not of this form.

    Examples
    --------
    >>> import fusedmlp as fm
    >>> x = fm.Input((8,), dtype="float64")
    >>> model = fm.Model(x, fm.layers.Dense(1)(x))
    >>> model.input_shape, model.dtype
    ((None, 8), 'float64')
    """
    layer = InputLayer(shape, batch_size, dtype, sparse, ragged, batch_shape, tensor, optional,
                       name)
    return layer.output
