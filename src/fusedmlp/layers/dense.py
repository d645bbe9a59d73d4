"""The dense layer."""

from __future__ import annotations

from typing import Any

from .. import activations, checks, constraints, initializers, regularizers
from ..variable import Variable
from .activation import Activated, activated_columns, resolved
from .layer import described

__all__ = ["Dense"]


class Dense(Activated):
    """Every output from every input: ``activation(x @ kernel + bias)``.

    Parameters
    ----------
    units : int
        Columns of the kernel.
    activation : str, function, dict or None
        As `Activation` takes it; None stands for ``linear``.  Activations that join columns
        leave fewer than `units`: ``glu`` half of them.
    use_bias : bool
    kernel_initializer, bias_initializer : str, dict, array or callable
        See `fusedmlp.initializers.get`.
    kernel_regularizer, bias_regularizer, activity_regularizer : str, dict or Regularizer, optional
        Penalties on weights and on the output; see `fusedmlp.regularizers`.
    kernel_constraint, bias_constraint : str, dict or Constraint, optional
        Projections after each update; see `fusedmlp.constraints`.
    **kwargs
        `name`, `dtype`, `trainable`, `input_shape` and `input_dim`, as `Layer` takes them.  With
        the dtype policy "mixed_bfloat16" the factors of its products are bfloat16.

    Attributes
    ----------
    kernel : Variable, shape (columns of the input, units)
    bias : Variable or None, shape (units,)

    Raises
    ------
    ValueError, TypeError
        If `units` is no positive integer, or a name is unknown (the nearest are named).

    References
    ----------
    Keras 3, keras.layers.Dense.

    Examples
    --------
    >>> import fusedmlp as fm
    >>> layer = fm.layers.Dense(3, activation="relu")
    >>> layer.build((None, 4))
    >>> layer.kernel.shape, layer.bias.shape, layer.count_params()
    ((4, 3), (3,), 15)
    """

    def __init__(self, units: int, activation=None, use_bias: bool = True,
                 kernel_initializer="glorot_uniform", bias_initializer="zeros",
                 kernel_regularizer=None, bias_regularizer=None, activity_regularizer=None,
                 kernel_constraint=None, bias_constraint=None, **kwargs):
        units = checks.integer(units, "units", 1)
        activated_columns(resolved(activation), units, "Dense")
        super().__init__(activity_regularizer=activity_regularizer, **kwargs)
        self.units = units
        self.activation = activation
        self.use_bias = bool(use_bias)
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.kernel_constraint = constraints.get(kernel_constraint)
        self.bias_constraint = constraints.get(bias_constraint)
        self._kernel: Variable | None = None
        self.bias: Variable | None = None

    @property
    def kernel(self) -> Variable:
        """The matrix of weights; AttributeError before the layer is built."""
        if self._kernel is None:
            raise AttributeError(
                f"Layer {self.name!r} has no kernel before it is built: call "
                "`build(input_shape)`, or give the model an Input"
            )
        return self._kernel

    def build(self, input_shape):
        columns = self._check_columns(input_shape)
        self._kernel = self.add_weight((columns, self.units), self.kernel_initializer,
                                       name="kernel", regularizer=self.kernel_regularizer,
                                       constraint=self.kernel_constraint)
        if self.use_bias:
            self.bias = self.add_weight((self.units,), self.bias_initializer, name="bias",
                                        regularizer=self.bias_regularizer,
                                        constraint=self.bias_constraint)
        super().build(input_shape)

    def compute_output_shape(self, input_shape):
        self._check_columns(input_shape)
        return (*input_shape[:-1], activated_columns(self._row, self.units, self.name))

    def lower(self, builder, x):
        kernel = self.parameter(builder, self.kernel)
        bias = None if self.bias is None else self.parameter(builder, self.bias)
        precision = "bfloat16" if self.compute_dtype == "bfloat16" else None
        return self._activate(
            builder, builder.dense(x, kernel, bias, name=self.name, precision=precision))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "units": self.units,
            "activation": activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "kernel_initializer": initializers.serialize(self.kernel_initializer),
            "bias_initializer": initializers.serialize(self.bias_initializer),
            **described(self, regularizers, "kernel_regularizer", "bias_regularizer"),
            **described(self, constraints, "kernel_constraint", "bias_constraint"),
        }
