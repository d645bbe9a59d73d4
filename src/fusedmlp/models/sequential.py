"""A stack of layers."""

from __future__ import annotations

from typing import Any

from .. import layers as layers_module
from ..layers.input import InputLayer
from ..layers.layer import Layer, changes, is_shape, of_package
from ..layers.preprocessing.base import HostLayer
from ..layers.tensor import KerasTensor, Node
from ..training.ports import Port
from .model import Model, give_masks

__all__ = ["Sequential"]


class Sequential(Model):
    """A network in which each layer's output is the next one's input.

    Parameters
    ----------
    layers : sequence of Layer, optional
        From input to output.  With an `Input` in front, or an `input_shape` for the first layer,
        the weights are made as layers are added; without, at the first `build`, `fit`,
        `evaluate` or `predict`.
    trainable : bool
    name : str, optional

    Raises
    ------
    ValueError, TypeError
        If something is no layer, a name occurs twice, or shapes or dtypes don't fit.

    References
    ----------
    Keras 3, keras.Sequential.

    Examples
    --------
    >>> import fusedmlp as fm
    >>> model = fm.Sequential([
    ...     fm.Input((64,)),
    ...     fm.layers.Dense(100, activation="relu"),
    ...     fm.layers.Dense(10, activation="softmax"),
    ... ])
    >>> model.count_params(), model.output_shape
    (7510, (None, 10))
    """

    _internal = Model._internal | {"_stack", "_chain"}

    def __init__(self, layers=None, trainable: bool = True, name: str | None = None):
        self._stack: list[Layer] = []
        self._chain: list[tuple] = []  # (layer, the tensor that it was called on, its output)
        super().__init__(name=name, trainable=trainable)
        for layer in layers or ():
            self._push(layer)
        self._changed()

    @property
    def layers(self) -> list[Layer]:
        """The layers, from input to output, without the `Input`."""
        return [layer for layer in self._stack if not isinstance(layer, InputLayer)]

    @property
    def _sublayers(self):
        return self._stack

    @property
    def input_shape(self) -> tuple:
        """(None, columns); AttributeError before it is known."""
        if self._stack and isinstance(self._stack[0], InputLayer):
            return (None, *self._stack[0].shape)
        raise AttributeError(
            f"Model {self.name!r} has no input shape yet: give it an Input, or call "
            "`build(input_shape)`"
        )

    @property
    def output_shape(self) -> tuple:
        """(None, columns); AttributeError before it is known."""
        if self.built:
            return super().output_shape
        return self.compute_output_shape(self.input_shape)

    @of_package
    def call(self, inputs, mask=None):
        """Each layer applied to what the one before it gave."""
        give_masks([inputs], mask)
        for layer in self.layers:
            inputs = layer(inputs)
        return inputs

    @property
    def begins_with_data(self):
        return bool(self.layers) and isinstance(self.layers[0], HostLayer)

    def _nodes(self):
        return [Node.unrecorded(layer, given, output) for layer, given, output in self._chain]

    def ports_for(self, shapes):
        """Where data of a shape goes in and predictions come out, without building."""
        if not isinstance(shapes, tuple):
            shapes = sole_shape(shapes, self.name)
        last = self.layers[-1].name if self.layers else "output"
        return ([Port("input", shapes)], [Port(last, self.compute_output_shape(shapes))])

    def compute_output_shape(self, input_shape):
        for layer in self._stack:
            input_shape = layer.compute_output_shape(input_shape)
        return input_shape

    def add(self, layer: Layer) -> None:
        """Put a layer on top.

        Raises
        ------
        TypeError, ValueError
            If it is no layer, its name is taken, or shape or dtype don't fit.  The model is then
            as before.
        """
        stack = list(self._stack)
        try:
            self._push(layer)
            self._changed()
        except Exception:
            self._stack = stack
            raise

    def _push(self, layer):
        """Put a layer on top without building it."""
        if isinstance(layer, KerasTensor):
            layer = layer._keras_history.operation
        if not isinstance(layer, Layer):
            raise TypeError(
                f"Argument `layer` must be a layer. Received: {layer!r} "
                f"of type {type(layer).__name__}"
            )
        if isinstance(layer, InputLayer) and self._stack:
            raise ValueError(
                f"An Input must be the first layer of {self.name!r}, and the only one. "
                f"Received: {layer!r} as layer {len(self._stack)}"
            )
        for other in self._stack:
            if other is layer:
                raise ValueError(
                    f"A layer can stand in {self.name!r} once only. Received: {layer!r} again"
                )
            if other.name == layer.name:
                raise ValueError(
                    f"All layers of {self.name!r} must have names of their own. "
                    f"Received: a second layer called {layer.name!r}"
                )
        if not self._stack and layer._input_shape_arg is not None:
            self._stack.append(InputLayer(layer._input_shape_arg))
        elif not self._stack and isinstance(layer, Model) and layer._signature is not None:
            (port,) = layer.ports()[0]
            self._stack.append(InputLayer(port.shape[1:], dtype=layer._fixed_dtype))
        self._stack.append(layer)

    def pop(self) -> Layer:
        """Take off the last layer and return it; ValueError if there is none."""
        if not self.layers:
            raise ValueError(f"Model {self.name!r} has no layer to take off")
        layer = self._stack.pop()
        self._changed()
        return layer

    @property
    def _has_input(self):
        return bool(self._stack) and isinstance(self._stack[0], InputLayer)

    def _changed(self):
        """Build what can be built, and forget what was made for other layers."""
        self.built = False
        self._updated = None
        self._moved()
        changes[0] += 1
        if self._has_input:
            self._build_layers()

    def build(self, input_shape=None) -> None:
        """Create the weights.

        Parameters
        ----------
        input_shape : tuple
            (None, columns); may be left out where an `Input` says it.

        Raises
        ------
        ValueError
            If it is missing, or no such tuple, or another than the `Input` says, or there are no
            layers, or shapes or dtypes don't fit.
        """
        if input_shape is None:
            input_shape = self.input_shape
        shape = sole_shape(input_shape, self.name)
        if not self.layers:
            raise ValueError(f"Model {self.name!r} can't be built before it has layers")
        if not self._has_input:
            self._stack.insert(0, InputLayer(shape[1:]))
        elif self.input_shape != shape:
            raise ValueError(
                f"Model {self.name!r} has the input shape {self.input_shape}. "
                f"Received: input_shape={input_shape!r}"
            )
        self._build_layers()

    def _build_layers(self):
        """Build the layers that are not yet, once all shapes and dtypes are known to fit."""
        dtype = self._fixed_dtype or self.dtype
        self._check_dtype(dtype)
        for layer in self._stack:
            layer._adopt_dtype(dtype)
        self.compute_output_shape(self.input_shape)
        first, *others = self._stack
        tensor, chain = first.output, []
        for number, layer in enumerate(others):
            known = self._chain[number] if number < len(self._chain) else (None, None, None)
            if known[0] is not layer or known[1] is not tensor or known[2].dtype != dtype:
                known = (layer, tensor, layer(tensor))
            chain.append(known)
            tensor = known[2]
        self._dtype, self._chain = dtype, chain
        self._signature = (first.output, tensor)
        self.built = bool(self.layers)

    def get_config(self) -> dict[str, Any]:
        """The name and the configs of the layers, without weights."""
        return {
            "name": self.name,
            "trainable": self._trainable,
            "layers": [layers_module.serialize(layer) for layer in self._stack],
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects=None) -> Sequential:
        """A model from what `get_config` returned; its weights are new."""
        stack = [layers_module.deserialize(c, custom_objects) for c in config["layers"]]
        return cls(stack, config.get("trainable", True), config.get("name"))

    def __repr__(self):
        return f"<Sequential name={self.name}, built={self.built}>"


def sole_shape(shape, name: str) -> tuple:
    """The shape of the only input of a stack, its rows open; ValueError if it is none.

    >>> sole_shape((32, 64), "net")
    (None, 64)
    """
    fits = is_shape(shape) and len(shape) > 1 and all(
        extent is not None and extent > 0 for extent in shape[1:])
    if not fits or (shape[0] is not None and shape[0] < 1):
        raise ValueError(
            f"The input shape of model {name!r} must be (None, columns) or (rows, columns) with a "
            f"positive number of columns. Received: {shape!r}"
        )
    return (None, *map(int, shape[1:]))
