"""Layers that compute nothing: they change the shape of samples, or the order of their elements."""

from __future__ import annotations

from math import prod

import numpy as np

from .. import checks, regularizers
from .layer import Layer, axes_shape

__all__ = ["ActivityRegularization", "Flatten", "Identity", "Permute", "RepeatVector", "Reshape"]


class Identity(Layer):
    """Gives back what it is given.

    References
    ----------
    Keras 3, keras.layers.Identity.

    Examples
    --------
    >>> import fusedmlp as fm
    >>> fm.layers.Identity()([[1.0, 2.0]])
    array([[1., 2.]], dtype=float32)
    """

    _supports_masking = True

    def lower(self, builder, x):
        return x


class ActivityRegularization(Layer):
    """Gives back what it is given, and adds a penalty on it to the loss.

    The penalty is ``l1 sum |x| + l2 sum x^2``, the mean over the rows of the batch.

    Parameters
    ----------
    l1, l2 : float
        At least 0.
    **kwargs
        What `Layer` takes.

    Raises
    ------
    ValueError, TypeError
        If one is no such number.

    References
    ----------
    Keras 3, keras.layers.ActivityRegularization.

    Examples
    --------
    >>> import fusedmlp as fm
    >>> fm.layers.ActivityRegularization(l2=0.1)([[1.0, 2.0]])
    array([[1., 2.]], dtype=float32)
    """

    _supports_masking = True

    def __init__(self, l1: float = 0.0, l2: float = 0.0, **kwargs):
        regularizer = regularizers.L1L2(l1, l2)
        super().__init__(activity_regularizer=regularizer, **kwargs)
        self.l1, self.l2 = regularizer.l1, regularizer.l2

    def lower(self, builder, x):
        return x

    def get_config(self):
        config = super().get_config()
        del config["activity_regularizer"]
        return {**config, "l1": self.l1, "l2": self.l2}


class Flatten(Layer):
    """All elements of a sample side by side; the rows stay.

    Parameters
    ----------
    data_format : {"channels_last", "channels_first"}, optional
        Where the channels are: they come last in the result, also if they come first in the input.
    **kwargs
        What `Layer` takes.

    Raises
    ------
    ValueError
        If `data_format` is none of these.

    References
    ----------
    Keras 3, keras.layers.Flatten.

    Examples
    --------
    >>> import fusedmlp as fm
    >>> fm.layers.Flatten()([[[1.0, 2.0], [3.0, 4.0]]])
    array([[1., 2., 3., 4.]], dtype=float32)
    """

    def __init__(self, data_format: str | None = None, **kwargs):
        data_format = "channels_last" if data_format is None else data_format
        checks.one_of(data_format, "data_format", ("channels_last", "channels_first"))
        super().__init__(**kwargs)
        self.data_format = data_format

    def compute_output_shape(self, input_shape):
        axes_shape(input_shape, f"layer {self.name!r}")
        return (input_shape[0], prod(input_shape[1:]))

    def lower(self, builder, x):
        shape = builder.shape(x)
        if self.data_format == "channels_first" and len(shape) > 1:
            order = np.moveaxis(np.arange(prod(shape)).reshape(shape), 0, -1)
            return builder.take_columns(x, order.ravel().tolist(), (prod(shape),), name=self.name)
        return builder.view(x, (prod(shape),))

    def get_config(self):
        return {**super().get_config(), "data_format": self.data_format}


class Reshape(Layer):
    """The elements of a sample, in their order, in another shape.

    Parameters
    ----------
    target_shape : tuple of int
        Without the rows; one extent may be -1, which stands for what is left.
    **kwargs
        What `Layer` takes.

    Raises
    ------
    ValueError, TypeError
        If the shape is none, or does not fit the input.

    References
    ----------
    Keras 3, keras.layers.Reshape.

    Examples
    --------
    >>> import fusedmlp as fm
    >>> fm.layers.Reshape((2, -1)).compute_output_shape((None, 6))
    (None, 2, 3)
    """

    def __init__(self, target_shape, **kwargs):
        target_shape = tuple(checks.integer(n, "target_shape", -1) for n in target_shape)
        if target_shape.count(-1) > 1 or 0 in target_shape or not target_shape:
            raise ValueError(
                "Argument `target_shape` must be a tuple of positive integers, one of which may be "
                f"-1. Received: {target_shape!r}"
            )
        super().__init__(**kwargs)
        self.target_shape = target_shape

    def _shape(self, shape):
        """The target shape for samples of a shape."""
        known = prod(n for n in self.target_shape if n > 0)
        target = tuple(prod(shape) // known if n == -1 else n for n in self.target_shape)
        if prod(target) != prod(shape):
            raise ValueError(
                f"Argument `target_shape` of {self.name!r} must have as many elements as the "
                f"samples, whose shape is {tuple(shape)}. Received: {self.target_shape!r}"
            )
        return target

    def compute_output_shape(self, input_shape):
        shape = axes_shape(input_shape, f"layer {self.name!r}")[1:]
        return (input_shape[0], *self._shape(shape))

    def lower(self, builder, x):
        return builder.view(x, self._shape(builder.shape(x)))

    def get_config(self):
        return {**super().get_config(), "target_shape": self.target_shape}


class Permute(Layer):
    """The axes of samples in another order.

    Parameters
    ----------
    dims : tuple of int
        Numbers of the axes, counted from 1, in their new order; the rows are not counted.
    **kwargs
        What `Layer` takes.

    Raises
    ------
    ValueError, TypeError
        If they are no such permutation, or inputs have another number of axes.

    References
    ----------
    Keras 3, keras.layers.Permute.

    Examples
    --------
    >>> import fusedmlp as fm
    >>> fm.layers.Permute((2, 1))([[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]])
    array([[[1., 4.],
            [2., 5.],
            [3., 6.]]], dtype=float32)
    """

    def __init__(self, dims, **kwargs):
        dims = tuple(checks.integer(n, "dims", 1) for n in dims)
        if sorted(dims) != list(range(1, len(dims) + 1)):
            raise ValueError(
                "Argument `dims` must hold each of the numbers from 1 to that of the axes once. "
                f"Received: {dims!r}"
            )
        super().__init__(**kwargs)
        self.dims = dims

    def compute_output_shape(self, input_shape):
        axes_shape(input_shape, f"layer {self.name!r}")
        if len(input_shape) != len(self.dims) + 1:
            raise ValueError(
                f"The input of {self.name!r} must have {len(self.dims)} axes besides the rows, as "
                f"`dims` has. Received: input shape {tuple(input_shape)}"
            )
        return (input_shape[0], *(input_shape[n] for n in self.dims))

    def lower(self, builder, x):
        shape = builder.shape(x)
        order = np.arange(prod(shape)).reshape(shape).transpose([n - 1 for n in self.dims])
        return builder.take_columns(x, order.ravel().tolist(), order.shape, name=self.name)

    def get_config(self):
        return {**super().get_config(), "dims": self.dims}


class RepeatVector(Layer):
    """Each row n times: (rows, columns) becomes (rows, n, columns).

    Parameters
    ----------
    n : int
    **kwargs
        What `Layer` takes.

    Raises
    ------
    ValueError, TypeError
        If `n` is no positive integer, or inputs have not two axes.

    References
    ----------
    Keras 3, keras.layers.RepeatVector.

    Examples
    --------
    >>> import fusedmlp as fm
    >>> fm.layers.RepeatVector(2)([[1.0, 2.0]])
    array([[[1., 2.],
            [1., 2.]]], dtype=float32)
    """

    def __init__(self, n: int, **kwargs):
        n = checks.integer(n, "n", 1)
        super().__init__(**kwargs)
        self.n = n

    def compute_output_shape(self, input_shape):
        axes_shape(input_shape, f"layer {self.name!r}")
        if len(input_shape) != 2:
            raise ValueError(
                f"The input of {self.name!r} must have the shape (None, columns). "
                f"Received: input shape {tuple(input_shape)}"
            )
        return (input_shape[0], self.n, input_shape[1])

    def lower(self, builder, x):
        columns = builder.size(x)
        return builder.take_columns(x, list(range(columns)) * self.n, (self.n, columns),
                                    name=self.name)

    def get_config(self):
        return {**super().get_config(), "n": self.n}
