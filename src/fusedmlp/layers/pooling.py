"""Pooling over the steps of samples of shape (steps, columns)."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import checks
from .input_spec import InputSpec
from .layer import Layer, axes_shape

__all__ = ["AveragePooling1D", "GlobalAveragePooling1D", "GlobalMaxPooling1D", "MaxPooling1D"]


class _GlobalPooling1D(Layer):
    """What the two have in common."""

    _kind = ""

    def __init__(self, data_format: str | None = None, keepdims: bool = False, **kwargs):
        data_format = "channels_last" if data_format is None else data_format
        checks.one_of(data_format, "data_format", ("channels_last", "channels_first"))
        super().__init__(**kwargs)
        self.data_format, self.keepdims = data_format, bool(keepdims)

    def compute_output_shape(self, input_shape):
        axes_shape(input_shape, f"layer {self.name!r}")
        if len(input_shape) != 3:
            raise ValueError(
                f"The input of {self.name!r} must have the shape (None, steps, columns). "
                f"Received: input shape {tuple(input_shape)}"
            )
        rows, steps, columns = input_shape
        if self.data_format == "channels_first":
            return (rows, steps, 1) if self.keepdims else (rows, steps)
        return (rows, 1, columns) if self.keepdims else (rows, columns)

    def _pooled(self, builder, x, mask=None):
        shape = builder.shape(x)
        if self.data_format == "channels_first":
            x = _transposed(builder, x, self.name)
        y = builder.pool(x, self._kind, mask, self.name)
        if not self.keepdims:
            return y
        last = self.data_format == "channels_last"
        return builder.view(y, (1, shape[1]) if last else (shape[0], 1))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "data_format": self.data_format, "keepdims": self.keepdims}


class GlobalAveragePooling1D(_GlobalPooling1D):
    """The mean over the steps of samples of shape (steps, columns).

    With a mask, as `Masking` and `Embedding(mask_zero=True)` give it, masked steps are left out;
    the mean of a sample without any step left is NaN, as in Keras.

    Parameters
    ----------
    data_format : {"channels_last", "channels_first"}, optional
        Whether samples are (steps, columns), the default, or (columns, steps).
    keepdims : bool
        Whether the axis of the steps stays, with one element.
    **kwargs
        What `Layer` takes.

    Raises
    ------
    ValueError
        If `data_format` is none of these, or inputs have another number of axes.

    References
    ----------
    Keras 3, keras.layers.GlobalAveragePooling1D.

    Examples
    --------
    >>> import fusedmlp as fm
    >>> layer = fm.layers.GlobalAveragePooling1D()
    >>> layer(np.array([[[1.0], [3.0], [8.0]]]))
    array([[4.]], dtype=float32)
    >>> layer(np.array([[[1.0], [3.0], [8.0]]]), mask=np.array([[True, True, False]]))
    array([[2.]], dtype=float32)
    """

    _kind = "mean"
    _supports_masking = True

    def compute_mask(self, inputs, mask=None):
        return None

    def lower(self, builder, x, mask=None):
        return self._pooled(builder, x, mask)


class GlobalMaxPooling1D(_GlobalPooling1D):
    """The largest of the steps of samples of shape (steps, columns), for each column.

    It takes no notice of masks, as in Keras.  Where several steps are the largest, each gets an
    equal part of the gradient.

    Parameters
    ----------
    data_format : {"channels_last", "channels_first"}, optional
        Whether samples are (steps, columns), the default, or (columns, steps).
    keepdims : bool
        Whether the axis of the steps stays, with one element.
    **kwargs
        What `Layer` takes.

    Raises
    ------
    ValueError
        If `data_format` is none of these, or inputs have another number of axes.

    References
    ----------
    Keras 3, keras.layers.GlobalMaxPooling1D.

    Examples
    --------
    >>> import fusedmlp as fm
    >>> fm.layers.GlobalMaxPooling1D()(np.array([[[1.0, 5.0], [3.0, 4.0]]]))
    array([[3., 5.]], dtype=float32)
    """

    _kind = "max"

    def lower(self, builder, x):
        return self._pooled(builder, x)


class _Pooling1D(Layer):
    """Pooling over windows of neighbouring steps."""

    _kind = ""

    def __init__(self, pool_size, strides=None, padding: str = "valid",
                 data_format: str | None = None, name: str | None = None, **kwargs):
        data_format = "channels_last" if data_format is None else data_format
        checks.one_of(data_format, "data_format", ("channels_last", "channels_first"))
        checks.one_of(padding, "padding", ("valid", "same"))
        super().__init__(name=name, **kwargs)
        self.pool_size = _one_integer(pool_size, "pool_size")
        self.strides = self.pool_size if strides is None else _one_integer(strides, "strides")
        self.padding, self.data_format = padding, data_format
        self.input_spec = InputSpec(ndim=3)

    @property
    def _last(self):
        return self.data_format == "channels_last"

    def _windows(self, steps):
        """First step of each window, and that behind its last one; padding has no part in it."""
        size, stride, before = self.pool_size, self.strides, 0
        count = -(-steps // stride)
        if self.padding == "same":
            before = max((count - 1) * stride + size - steps, 0) // 2
        else:
            count = (steps - size) // stride + 1
        if count < 1:
            raise ValueError(
                f"Argument `pool_size` of {self.name!r} must be at most the number of steps, "
                f"{steps}, with padding='valid'. Received: {size}"
            )
        starts = (i * stride - before for i in range(count))
        return [(max(start, 0), min(start + size, steps)) for start in starts]

    def compute_output_shape(self, input_shape):
        axes_shape(input_shape, f"layer {self.name!r}")
        if len(input_shape) != 3:
            raise ValueError(
                f"The input of {self.name!r} must have the shape (None, steps, columns). "
                f"Received: input shape {tuple(input_shape)}"
            )
        rows, steps, columns = input_shape if self._last else (
            input_shape[0], *input_shape[:0:-1])
        count = len(self._windows(steps))
        return (rows, count, columns) if self._last else (rows, columns, count)

    def lower(self, builder, x):
        if not self._last:
            x = _transposed(builder, x, self.name)
        steps, columns = builder.shape(x)
        parts = []
        for start, stop in self._windows(steps):
            part = builder.slice(x, start * columns, (stop - start) * columns, name=self.name)
            if stop - start > 1:
                part = builder.pool(builder.view(part, (stop - start, columns)), self._kind,
                                    name=self.name)
            parts.append(part)
        y = builder.view(builder.concatenate(parts, name=self.name), (len(parts), columns))
        return y if self._last else _transposed(builder, y, self.name)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "pool_size": self.pool_size, "strides": self.strides,
                "padding": self.padding, "data_format": self.data_format}


class AveragePooling1D(_Pooling1D):
    """The mean of windows of the steps of samples of shape (steps, columns).

    Parameters
    ----------
    pool_size : int
        Steps of a window.
    strides : int, optional
        Steps from one window to the next; `pool_size` by default.
    padding : {"valid", "same"}
        Whether windows lie within the steps, or reach over their ends as evenly as possible, so
        that there is one for every `strides` steps; what is beyond does not count.
    data_format : {"channels_last", "channels_first"}, optional
        Whether samples are (steps, columns), the default, or (columns, steps).
    name : str, optional
    **kwargs
        What `Layer` takes.

    Raises
    ------
    ValueError, TypeError
        If an argument is none of these, or inputs have another number of axes or too few steps.

    References
    ----------
    Keras 3, keras.layers.AveragePooling1D.

    Examples
    --------
    >>> import fusedmlp as fm
    >>> fm.layers.AveragePooling1D(2, strides=1)([[[1.0], [2.0], [4.0]]]).ravel()
    array([1.5, 3. ], dtype=float32)
    """

    _kind = "mean"


class MaxPooling1D(_Pooling1D):
    """The largest of windows of the steps of samples of shape (steps, columns).

    Where several steps of a window are the largest, each gets an equal part of the gradient.

    Parameters
    ----------
    pool_size : int
        Steps of a window.
    strides : int, optional
        Steps from one window to the next; `pool_size` by default.
    padding : {"valid", "same"}
        Whether windows lie within the steps, or reach over their ends as evenly as possible, so
        that there is one for every `strides` steps; what is beyond does not count.
    data_format : {"channels_last", "channels_first"}, optional
        Whether samples are (steps, columns), the default, or (columns, steps).
    name : str, optional
    **kwargs
        What `Layer` takes.

    Raises
    ------
    ValueError, TypeError
        If an argument is none of these, or inputs have another number of axes or too few steps.

    References
    ----------
    Keras 3, keras.layers.MaxPooling1D.

    Examples
    --------
    >>> import fusedmlp as fm
    >>> fm.layers.MaxPooling1D()([[[1.0], [2.0], [4.0], [3.0]]]).ravel()
    array([2., 4.], dtype=float32)
    """

    _kind = "max"

    def __init__(self, pool_size=2, strides=None, padding: str = "valid",
                 data_format: str | None = None, name: str | None = None, **kwargs):
        super().__init__(pool_size, strides, padding, data_format, name, **kwargs)


def _one_integer(value, name):
    """A positive integer, which may be the only element of a tuple."""
    if isinstance(value, (tuple, list)) and len(value) == 1:
        (value,) = value
    return checks.integer(value, name, 1)


def _transposed(builder, x, name):
    shape = builder.shape(x)
    order = np.arange(shape[0] * shape[1]).reshape(shape).T
    return builder.take_columns(x, order.ravel().tolist(), order.shape, name)
