"""The layer that applies an activation function."""

from __future__ import annotations

from .. import activations, spec
from .layer import Layer, axes_shape
from .python_steps import lower_activation

__all__ = ["Activated", "Activation", "activated_columns", "resolved"]


def activated_columns(row: tuple | None, columns: int, where: str) -> int:
    """How many columns an activation makes of `columns`.

    Parameters
    ----------
    row : (str, tuple) or None
        As `resolved` returns it.
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
    if row is None:  # a function of one's own, which keeps the columns
        return columns
    name, params = row
    kind = spec.ACTIVATIONS[name].kind
    group = {"halves": 2, "pieces": int(params[0]) if params else 0}.get(kind, 1)
    if columns % group:
        raise ValueError(
            f"Activation {name!r} in {where!r} joins groups of {group} columns, so their number "
            f"must be a multiple of {group}. Received: {columns} columns"
        )
    return columns // group


def resolved(identifier) -> tuple | None:
    """The kernel row of an activation and its parameters; None for a function of one's own.

    >>> resolved("relu"), resolved(lambda x: x * x)
    (('relu', ()), None)
    """
    try:
        return activations.resolve(identifier)
    except TypeError:
        own = callable(identifier) and not isinstance(identifier, type)
        if isinstance(identifier, str):
            identifier = activations.get(identifier)  # a function that is registered
            own = callable(identifier)
        if not own or known_function(identifier):
            raise
        return None


def known_function(function) -> bool:
    """Whether it is a function of `fusedmlp.activations`, or such with parameters."""
    return getattr(getattr(function, "func", function), "__module__", "") == activations.__name__


class Activated(Layer):
    """A layer with an activation, which can be changed until the layer is built."""

    _supports_masking = True

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
        self._row = resolved(identifier)
        self._activation = activations.get(identifier)

    def _activate(self, builder, x):
        """The buffer of the activation of a buffer."""
        if self._row is not None:
            return builder.activation(x, *self._row)
        return lower_activation(builder, x, self._activation, self.name)


class Activation(Activated):
    """Applies an activation function to its input.

    Parameters
    ----------
    activation : str, function, dict, or `functools.partial`
        A function of `fusedmlp.activations`, one with parameters as a partial one, e.g.
        ``functools.partial(fusedmlp.activations.relu, max_value=6)``; or a function of one's own
        that keeps the shape.  Of arithmetic and activations of this package, it becomes
        operations; else it is a step in Python that gets arrays.  Its derivative is its attribute
        ``derivative(x)`` or ``backward(dy, x, y)``, or, for one that works on each element by
        itself, central differences in float64.
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
        resolved(activation)  # before anything else is done
        super().__init__(**kwargs)
        self.activation = activation

    def compute_output_shape(self, input_shape):
        columns = axes_shape(input_shape, f"layer {self.name!r}")[-1]
        return (*input_shape[:-1], activated_columns(self._row, columns, self.name))

    def lower(self, builder, x):
        return self._activate(builder, x)

    def get_config(self):
        return {**super().get_config(), "activation": activations.serialize(self.activation)}
