"""Layers around another one, which does the work: `Wrapper`, and `TimeDistributed`."""

from __future__ import annotations

from math import prod
from typing import Any

from .activation import Activation
from .activations import ELU, LeakyReLU, ReLU
from .dense import Dense
from .dropout import Dropout, GaussianDropout, GaussianNoise
from .layer import Layer, axes_shape
from .normalization import LayerNormalization, RMSNormalization, UnitNormalization
from .shapes import Identity
from .tensor import KerasTensor, PlanTensor, unrecorded

__all__ = ["TimeDistributed", "Wrapper"]


class Wrapper(Layer):
    """A layer around another one, which does the work.

    Parameters
    ----------
    layer : Layer
    **kwargs
        What `Layer` takes.

    Raises
    ------
    TypeError
        If `layer` is no layer.

    References
    ----------
    Keras 3, keras.layers.Wrapper.

    >>> import fusedmlp as fm
    >>> fm.layers.Wrapper(fm.layers.Dense(2)).compute_output_shape((None, 3))
    (None, 2)
    """

    def __init__(self, layer: Layer, **kwargs):
        if not isinstance(layer, Layer):
            raise TypeError(
                f"Argument `layer` must be a layer. Received: {layer!r} "
                f"of type {type(layer).__name__}"
            )
        super().__init__(**kwargs)
        self.layer = layer

    def build(self, input_shape):
        if not self.layer.built:
            self.layer.build(input_shape)
            self.layer.built = True
        super().build(input_shape)

    def compute_output_shape(self, input_shape):
        return self.layer.compute_output_shape(input_shape)

    def _lowered(self, builder, inputs, mask=None):
        return self.layer(inputs)

    def get_config(self) -> dict[str, Any]:
        from . import serialize

        return {**super().get_config(), "layer": serialize(self.layer)}

    @classmethod
    def from_config(cls, config):
        from . import deserialize

        return cls(**{**config, "layer": deserialize(config["layer"])})


# Layers that do to each step of samples of shape (steps, columns) what they do to a sample.
_STEP_BY_STEP = frozenset((
    Activation, Dense, Dropout, ELU, GaussianDropout, GaussianNoise, Identity, LayerNormalization,
    LeakyReLU, RMSNormalization, ReLU, UnitNormalization))


class TimeDistributed(Wrapper):
    """A layer applied to every step of samples of shape (steps, ...), with the same weights.

    Layers such as Dense, which work along the last axis, are applied to all steps at once; others,
    models included, to one after another.

    Parameters
    ----------
    layer : Layer
    **kwargs
        What `Layer` takes.

    Raises
    ------
    TypeError, ValueError
        If `layer` is no layer, or inputs have no axis of steps.

    References
    ----------
    Keras 3, keras.layers.TimeDistributed.

    Examples
    --------
    >>> import fusedmlp as fm
    >>> layer = fm.layers.TimeDistributed(fm.layers.Dense(8))
    >>> layer(fm.Input((10, 16))).shape
    (None, 10, 8)
    >>> fm.layers.TimeDistributed(fm.layers.Flatten())(fm.Input((10, 4, 4))).shape
    (None, 10, 16)
    """

    _supports_masking = True

    def _shape_of_step(self, input_shape):
        shape = axes_shape(input_shape, f"layer {self.name!r}")
        if len(shape) < 3:
            raise ValueError(
                f"The input of {self.name!r} must have the shape (None, steps, ...). "
                f"Received: input shape {tuple(input_shape)}"
            )
        return (shape[0], *shape[2:])

    def build(self, input_shape):
        with unrecorded():
            self.layer(KerasTensor(self._shape_of_step(input_shape), self.dtype))
        self.built = True

    def compute_output_shape(self, input_shape):
        made = self.layer.compute_output_shape(self._shape_of_step(input_shape))
        return (input_shape[0], input_shape[1], *made[1:])

    def _lowered(self, builder, inputs, mask=None):
        chain = _chain(self.layer)
        if len(inputs.shape) == 3 and all(type(layer) in _STEP_BY_STEP for layer in chain):
            for layer in chain:
                inputs = layer(inputs)
            return inputs
        _, steps, *extents = inputs.shape
        size, parts = prod(extents), []
        for step in range(steps):
            x = builder.slice(inputs.buffer, step * size, size, name=self.name)
            x = builder.view(x, extents) if len(extents) > 1 else x
            parts.append(self.layer(PlanTensor((None, *extents), inputs.dtype, builder, x)))
        made = (steps, *parts[0].shape[1:])
        y = builder.concatenate([part.buffer for part in parts], name=self.name)
        return PlanTensor((None, *made), parts[0].dtype, builder, builder.view(y, made))


def _chain(layer):
    """The layers of a stack, also within others; of anything else, itself."""
    from ..models import Sequential

    if type(layer) is not Sequential:
        return [layer]
    return [inner for part in layer.layers for inner in _chain(part)]
