"""The layer that applies an activation function."""

from __future__ import annotations

from .. import activations, spec
from .layer import Layer, batch_shape

__all__ = ["Activated", "Activation", "activated_columns"]


def activated_columns(row: tuple, columns: int, where: str) -> int:
    """How many columns an activation makes of `columns`.

    Parameters
    ----------
    row : (str, tuple)
        As `fusedmlp.activations.resolve` returns it.
    columns : int
    where : str
        Name of the layer, for the message.

    Raises
    ------
    ValueError
        If the columns can't be grouped as the activation wants.

    >>> activated_columns(("glu", ()), 6, "here"), activated_columns(("maxout", (3.0,)), 6, "here")
    (3, 2)
    """
    name, params = row
    kind = spec.ACTIVATIONS[name].kind
    group = {"halves": 2, "pieces": int(params[0]) if params else 0}.get(kind, 1)
    if columns % group:
        raise ValueError(
            f"Activation {name!r} in {where!r} joins groups of {group} columns, so their number "
            f"must be a multiple of {group}. Received: {columns} columns"
        )
    return columns // group


class Activated(Layer):
    """A layer with an activation, which can be changed until the layer is built."""

    @property
    def activation(self):
        """The function of `fusedmlp.activations`; AttributeError if set once the layer is built."""
        return self._activation

    @activation.setter
    def activation(self, identifier):
        if self.built:
            raise AttributeError(
                f"`activation` of layer {self.name!r} can be set until the layer is built, because "
                "plans that are in use hold it: make another layer and set its weights. "
                f"Received: {identifier!r}"
            )
        self._row = activations.resolve(identifier)
        self._activation = activations.get(identifier)


class Activation(Activated):
    """Applies an activation function to its input.

    Parameters
    ----------
    activation : str, function of `fusedmlp.activations`, dict, or `functools.partial`
        A function with parameters is given as a partial one, e.g.
        ``functools.partial(fusedmlp.activations.relu, max_value=6)``.
    **kwargs
        `name`, `dtype`, `trainable`, `input_shape` and `input_dim`, as `Layer` takes them.

    Raises
    ------
    ValueError, TypeError
        If the name is unknown (the nearest are named) or it is no such function.

    References
    ----------
    Keras 3, keras.layers.Activation.

    Examples
    --------
    >>> import fusedmlp as fm
    >>> fm.layers.Activation("glu").compute_output_shape((None, 6))
    (None, 3)
    """

    def __init__(self, activation, **kwargs):
        activations.resolve(activation)  # before anything else is done
        super().__init__(**kwargs)
        self.activation = activation

    def compute_output_shape(self, input_shape):
        columns = batch_shape(input_shape, f"layer {self.name!r}")[1]
        return (input_shape[0], activated_columns(self._row, columns, self.name))

    def lower(self, builder, x):
        return builder.activation(x, *self._row)

    def get_config(self):
        return {**super().get_config(), "activation": activations.serialize(self.activation)}
