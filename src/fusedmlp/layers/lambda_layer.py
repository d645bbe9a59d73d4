"""A function as a layer."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from ..registry import Registry
from .layer import Layer, is_shape

__all__ = ["FUNCTIONS", "Lambda"]


class Lambda(Layer):
    """Applies a function to its input.

    A function of arithmetic, activations of this package and layers becomes operations of the plan
    and trains like any other layer.  One that needs more of NumPy gets arrays and is a step in
    Python within the plan; what comes before it can be trained if the function has an attribute
    ``backward(dy, x, y)``, which returns the gradient at the input.

    Parameters
    ----------
    function : callable
        Called with the input (a list where there are several).
    output_shape : tuple, or callable of the input shape, optional
        Of one sample, where it can't be found out by a call.
    mask : symbolic tensor, or callable of the inputs and their mask, optional
        What the mask of the output is (see `Masking`), or gives it.
    arguments : dict, optional
        Further keyword arguments of the function.
    **kwargs
        `name`, `dtype` and `trainable`, as `Layer` takes them.

    Raises
    ------
    TypeError, ValueError
        If `function` is no function.

    References
    ----------
    Keras 3, keras.layers.Lambda.

    Examples
    --------
    >>> import numpy as np
    >>> Lambda(lambda x: 2 * x + 1)(np.array([[1.0, 2.0]]))
    array([[3., 5.]], dtype=float32)
    >>> Lambda(lambda x: np.sort(x, axis=1))(np.array([[3.0, 1.0, 2.0]]))
    array([[1., 2., 3.]], dtype=float32)
    """

    def __init__(self, function: Callable, output_shape=None, mask=None,
                 arguments: Mapping[str, Any] | None = None, **kwargs):
        if not callable(function):
            raise TypeError(f"Argument `function` must be callable. Received: {function!r}")
        super().__init__(**kwargs)
        self.mask, self._supports_masking = mask, mask is not None
        self.function = function
        self.arguments = dict(arguments or {})
        self._output_shape = output_shape
        self._function_takes_mask = _takes_mask(function)
        if hasattr(function, "backward"):
            self.backward = function.backward

    def call(self, inputs, mask=None):
        more = {"mask": mask} if self._function_takes_mask else {}
        return self.function(inputs, **{**self.arguments, **more})

    def compute_mask(self, inputs, mask=None):
        """The `mask` that the layer was given, or what it returns."""
        return self.mask(inputs, mask) if callable(self.mask) else self.mask

    def compute_output_shape(self, input_shape):
        if self._output_shape is None:
            return super().compute_output_shape(input_shape)
        found = self._output_shape
        if callable(found):
            return tuple(found(input_shape))
        if not is_shape(found):
            raise ValueError(
                f"Argument `output_shape` must be a tuple of integers. Received: {found!r}"
            )
        return (None, *found)

    def get_config(self) -> dict[str, Any]:
        """The arguments; the function must be registered to be described.

        Raises
        ------
        ValueError
            If the function is not registered (`fusedmlp.saving.register_keras_serializable`).
        """
        if not inspect.isfunction(self.function):
            raise ValueError(
                f"The function of layer {self.name!r} can't be described by a config: expected a "
                f"registered function. Received: {self.function!r}"
            )
        return {**super().get_config(), "function": FUNCTIONS.serialize(self.function),
                "output_shape": self._output_shape, "arguments": self.arguments}

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        if isinstance(config.get("function"), str):
            config["function"] = FUNCTIONS.find(config["function"])
        return cls(**config)


def _takes_mask(function):
    try:
        return "mask" in inspect.signature(function).parameters
    except ValueError:  # some functions that are compiled don't say
        return False


FUNCTIONS = Registry("function", Layer, ())
