"""Pooling over the steps of samples of shape (steps, columns)."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import checks
from .layer import Layer, axes_shape

__all__ = ["GlobalAveragePooling1D", "GlobalMaxPooling1D"]


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
            order = np.arange(shape[0] * shape[1]).reshape(shape).T
            x = builder.take_columns(x, order.ravel().tolist(), order.shape, self.name)
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
