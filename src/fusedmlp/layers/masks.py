"""Masks: which steps of samples count, as symbolic tensors that travel with what they belong to.

A mask has the shape of its tensor without the last axis, True for steps that count.  Layers give
their outputs the masks that `compute_mask` returns (`Layer.supports_masking`), and losses and
metrics take that of the model's output.  Arrays have no masks: a layer that is called on an array
is given one by `mask=`.
"""

from __future__ import annotations

from functools import reduce
from math import prod
from typing import Any

import numpy as np

from .. import tree
from .layer import Layer, axes_shape
from .naming import auto_name
from .tensor import KerasTensor

__all__ = ["MaskOperation", "Masking", "either", "joined", "not_equal"]


class MaskOperation(Layer):
    """One step in the computation of masks.

    Parameters
    ----------
    function : {"not_equal", "any_not_equal", "either", "joined"}
        Elements that are not `value`; steps with such an element; what one of two masks keeps;
        masks one behind the other, along `axis`.
    value : float
    axis : int
    """

    _is_part = _loses_masks = False
    _output_dtype = "bool"

    def __init__(self, function: str, value: float = 0.0, axis: int = 1, **kwargs):
        if kwargs.get("name") is None:
            kwargs["name"] = auto_name("mask")
        super().__init__(**kwargs)
        self.function, self.value, self.axis = function, value, axis

    def compute_output_shape(self, input_shape):
        if self.function == "either":
            return tuple(input_shape[0])
        if self.function == "joined":
            first = list(input_shape[0])
            first[self.axis] = sum(shape[self.axis] for shape in input_shape)
            return tuple(first)
        return tuple(input_shape[:-1] if self.function == "any_not_equal" else input_shape)

    def lower(self, builder, x):
        if self.function == "either":
            return reduce(lambda a, b: builder.combine("maximum", a, b, self.name), x)
        if self.function == "joined":
            groups = prod(builder.shape(x[0])[: self.axis - 1])
            return builder.concatenate(x, groups, self.name)
        shape = builder.shape(x)
        steps = prod(shape[:-1] if self.function == "any_not_equal" else shape)
        return builder.step_mask(x, self.value, steps, self.name)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "function": self.function, "value": self.value,
                "axis": self.axis}


def _is_symbolic(*tensors):
    return any(isinstance(leaf, KerasTensor) for leaf in tree.leaves(list(tensors)))


def not_equal(x, value, last_axis: bool = False):
    """A mask of the elements of `x` that are not `value`, or of the steps with such an element.

    >>> not_equal(np.array([[1, 0]]), 0)
    array([[ True, False]])
    """
    if _is_symbolic(x):
        return MaskOperation("any_not_equal" if last_axis else "not_equal", float(value))(x)
    found = np.not_equal(x, value)
    return found.any(axis=-1) if last_axis else found


def either(masks):
    """What one of the masks keeps.

    >>> either([np.array([True, False]), np.array([False, False])])
    array([ True, False])
    """
    if len(masks) == 1:
        return masks[0]
    if _is_symbolic(masks):
        return MaskOperation("either")(list(masks))
    return reduce(np.logical_or, masks)


def joined(masks, axis: int):
    """Masks one behind the other along an axis.

    >>> joined([np.array([[True]]), np.array([[False]])], 1)
    array([[ True, False]])
    """
    if _is_symbolic(masks):
        return MaskOperation("joined", axis=axis)(list(masks))
    return np.concatenate(masks, axis=axis)


class Masking(Layer):
    """Masks the steps all of whose elements are `mask_value`, and makes them 0.

    Inputs of shape (rows, ..., steps, columns) stay as they are elsewhere.  Layers that support
    masking pass the mask on; `GlobalAveragePooling1D` leaves masked steps out of its mean, and the
    losses and metrics of a model whose output still has the mask leave them out as well.

    Parameters
    ----------
    mask_value : float
    **kwargs
        What `Layer` takes.

    Raises
    ------
    TypeError, ValueError
        If `mask_value` is no number.

    References
    ----------
    Keras 3, keras.layers.Masking.

    Examples
    --------
    >>> import fusedmlp as fm
    >>> layer = fm.layers.Masking(mask_value=-1.0)
    >>> layer([[[3.0, -1.0], [-1.0, -1.0]]])
    array([[[ 3., -1.],
            [ 0.,  0.]]], dtype=float32)
    >>> layer.compute_mask(np.array([[[3.0, -1.0], [-1.0, -1.0]]]))
    array([[ True, False]])
    """

    _supports_masking = True

    def __init__(self, mask_value: float = 0.0, **kwargs):
        if not isinstance(mask_value, (int, float, np.number)):
            raise TypeError(
                f"Argument `mask_value` must be a number. Received: {mask_value!r} "
                f"of type {type(mask_value).__name__}"
            )
        super().__init__(**kwargs)
        self.mask_value = float(mask_value)

    def compute_output_shape(self, input_shape):
        axes_shape(input_shape, f"layer {self.name!r}")
        return tuple(input_shape)

    def compute_mask(self, inputs, mask=None):
        return not_equal(inputs, self.mask_value, last_axis=True)

    def lower(self, builder, x):
        steps = prod(builder.shape(x)[:-1])
        mask = builder.step_mask(x, self.mask_value, steps, f"{self.name}.mask")
        return builder.keep_steps(x, mask, self.name)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "mask_value": self.mask_value}
