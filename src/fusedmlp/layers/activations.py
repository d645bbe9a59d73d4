"""Activation functions as layers of their own, with Keras's names and arguments."""

from __future__ import annotations

import warnings

from .. import checks, constraints, initializers, regularizers
from ..variable import Variable
from .layer import Layer, axes_shape, described

__all__ = ["ELU", "LeakyReLU", "Maxout", "PReLU", "ReLU", "Softmax"]

_LOW = -1e9  # what a softmax takes for a masked element, as in Keras


class ReLU(Layer):
    """``min(max(x, 0), max_value)``, with a slope below a threshold.

    Parameters
    ----------
    max_value : float, optional
        Upper limit; none by default.
    negative_slope : float
        Slope below the threshold.
    threshold : float
    **kwargs
        What `Layer` takes.

    Raises
    ------
    ValueError, TypeError
        If an argument is no number of at least 0.

    References
    ----------
    Keras 3, keras.layers.ReLU.

    Examples
    --------
    >>> import fusedmlp as fm
    >>> fm.layers.ReLU(max_value=1, negative_slope=0.5)([[-1.0, 0.5, 3.0]])
    array([[-0.5,  0.5,  1. ]], dtype=float32)
    """

    _supports_masking = True

    def __init__(self, max_value: float | None = None, negative_slope: float = 0.0,
                 threshold: float = 0.0, **kwargs):
        if max_value is not None:
            max_value = checks.number(max_value, "max_value", low=0)
        negative_slope = checks.number(negative_slope, "negative_slope", low=0)
        threshold = checks.number(threshold, "threshold", low=0)
        super().__init__(**kwargs)
        self.max_value, self.negative_slope = max_value, negative_slope
        self.threshold = threshold

    def lower(self, builder, x):
        if (self.max_value, self.negative_slope, self.threshold) == (None, 0.0, 0.0):
            return builder.activation(x, "relu")
        limit = float("inf") if self.max_value is None else self.max_value
        return builder.activation(x, "clipped_relu", (self.negative_slope, limit, self.threshold))

    def get_config(self):
        return {**super().get_config(), "max_value": self.max_value,
                "negative_slope": self.negative_slope, "threshold": self.threshold}


class LeakyReLU(Layer):
    """``x`` where it is positive, else ``negative_slope * x``.

    Parameters
    ----------
    negative_slope : float
    **kwargs
        What `Layer` takes; also `alpha`, the former name of `negative_slope`.

    Raises
    ------
    ValueError, TypeError
        If `negative_slope` is no number of at least 0.

    References
    ----------
    Maas, Hannun and Ng (2013); Keras 3, keras.layers.LeakyReLU.

    Examples
    --------
    >>> import fusedmlp as fm
    >>> fm.layers.LeakyReLU(0.5)([[-1.0, 2.0]])
    array([[-0.5,  2. ]], dtype=float32)
    """

    _supports_masking = True

    def __init__(self, negative_slope: float = 0.3, **kwargs):
        if "alpha" in kwargs:
            negative_slope = kwargs.pop("alpha")
            warnings.warn("Argument `alpha` is now called `negative_slope`", stacklevel=2)
        negative_slope = checks.number(negative_slope, "negative_slope", low=0)
        super().__init__(**kwargs)
        self.negative_slope = negative_slope

    def lower(self, builder, x):
        return builder.activation(x, "leaky_relu", (self.negative_slope,))

    def get_config(self):
        return {**super().get_config(), "negative_slope": self.negative_slope}


class ELU(Layer):
    """``x`` where it is positive, else ``alpha * (exp(x) - 1)``.

    Parameters
    ----------
    alpha : float
    **kwargs
        What `Layer` takes.

    Raises
    ------
    ValueError, TypeError
        If `alpha` is no number.

    References
    ----------
    Clevert, Unterthiner and Hochreiter (2016), arXiv:1511.07289; Keras 3, keras.layers.ELU.

    Examples
    --------
    >>> import fusedmlp as fm
    >>> fm.layers.ELU()([[-100.0, 2.0]])
    array([[-1.,  2.]], dtype=float32)
    """

    _supports_masking = True

    def __init__(self, alpha: float = 1.0, **kwargs):
        alpha = checks.number(alpha, "alpha")
        super().__init__(**kwargs)
        self.alpha = alpha

    def lower(self, builder, x):
        return builder.activation(x, "elu", (self.alpha,))

    def get_config(self):
        return {**super().get_config(), "alpha": self.alpha}


class Softmax(Layer):
    """``exp(x_i) / sum_k exp(x_k)`` along the last axis.

    With a mask of the shape of the input (``layer(x, mask=mask)``) the elements that it leaves out
    become 0, and the others are those of a softmax without them.

    Parameters
    ----------
    axis : int
        The last axis.
    **kwargs
        What `Layer` takes.

    Raises
    ------
    ValueError, TypeError
        If `axis` is another one.

    References
    ----------
    Keras 3, keras.layers.Softmax.

    Examples
    --------
    >>> import fusedmlp as fm
    >>> fm.layers.Softmax()([[0.0, 0.0]])
    array([[0.5, 0.5]], dtype=float32)
    """

    _supports_masking = True

    def __init__(self, axis=-1, **kwargs):
        super().__init__(**kwargs)
        self.axis = axis

    def compute_output_shape(self, input_shape):
        axes_shape(input_shape, f"layer {self.name!r}")
        given = self.axis if isinstance(self.axis, (tuple, list)) else [self.axis]
        if len(given) != 1 or given[0] not in (-1, len(input_shape) - 1):
            raise ValueError(
                f"Argument `axis` of Softmax must be the last axis: -1 or {len(input_shape) - 1} "
                f"for inputs of shape {tuple(input_shape)}. Received: {self.axis!r}"
            )
        return tuple(input_shape)

    def lower(self, builder, x, mask=None):
        if mask is None:
            return builder.activation(x, "softmax")
        if builder.shape(mask) != builder.shape(x):
            raise ValueError(
                f"The mask of {self.name!r} must have the shape of its input, "
                f"(None, {', '.join(map(str, builder.shape(x)))}): without `mask`, use an "
                f"Activation('softmax'). Received: shape (None, "
                f"{', '.join(map(str, builder.shape(mask)))})"
            )
        kept = builder.keep_steps(x, mask, f"{self.name}.kept")
        low = builder.affine(mask, -_LOW, _LOW, f"{self.name}.low")
        y = builder.activation(builder.combine("add", kept, low, f"{self.name}.masked"), "softmax")
        return builder.keep_steps(y, mask, self.name)

    def get_config(self):
        return {**super().get_config(), "axis": self.axis}


class PReLU(Layer):
    """``x`` where it is positive, else ``alpha * x`` with a learned alpha per element.

    Parameters
    ----------
    alpha_initializer, alpha_regularizer, alpha_constraint
        See `fusedmlp.initializers.get`, `fusedmlp.regularizers` and `fusedmlp.constraints`.
    shared_axes : int or list of int, optional
        Axes, counted from 1, along which one alpha is shared.  With inputs of more than two axes
        all but the last must be.
    **kwargs
        What `Layer` takes.

    Attributes
    ----------
    alpha : Variable

    Raises
    ------
    ValueError, TypeError
        If an argument is none of these.

    References
    ----------
    He et al. (2015), arXiv:1502.01852; Keras 3, keras.layers.PReLU.

    Examples
    --------
    >>> import fusedmlp as fm
    >>> fm.layers.PReLU(alpha_initializer=fm.initializers.Constant(0.5))([[-1.0, 2.0]])
    array([[-0.5,  2. ]], dtype=float32)
    """

    _supports_masking = True

    def __init__(self, alpha_initializer="Zeros", alpha_regularizer=None, alpha_constraint=None,
                 shared_axes=None, **kwargs):
        if shared_axes is not None:
            axes = shared_axes if isinstance(shared_axes, (list, tuple)) else [shared_axes]
            shared_axes = [checks.integer(axis, "shared_axes", 1) for axis in axes]
        super().__init__(**kwargs)
        self.alpha_initializer = initializers.get(alpha_initializer)
        self.alpha_regularizer = regularizers.get(alpha_regularizer)
        self.alpha_constraint = constraints.get(alpha_constraint)
        self.shared_axes = shared_axes
        self.alpha: Variable | None = None

    def build(self, input_shape):
        shape = list(axes_shape(input_shape, f"layer {self.name!r}")[1:])
        for axis in self.shared_axes or ():
            if axis > len(shape):
                raise ValueError(
                    f"Argument `shared_axes` must name axes from 1 to {len(shape)} of inputs of "
                    f"shape {tuple(input_shape)}. Received: {self.shared_axes!r}"
                )
            shape[axis - 1] = 1
        if len(shape) > 2 or any(extent != 1 for extent in shape[:-1]):
            raise ValueError(
                "Argument `shared_axes` of PReLU must name all axes but the last, or all, where "
                "inputs have more than two axes, and three at most. "
                f"Received: {self.shared_axes!r} with inputs of shape {tuple(input_shape)}"
            )
        self.alpha = self.add_weight(tuple(shape), self.alpha_initializer, name="alpha",
                                     regularizer=self.alpha_regularizer,
                                     constraint=self.alpha_constraint)
        super().build(input_shape)

    def compute_output_shape(self, input_shape):
        self._check_columns(input_shape)
        return tuple(input_shape)

    def lower(self, builder, x):
        return builder.prelu(x, self.parameter(builder, self.alpha), name=self.name)

    def get_config(self):
        return {
            **super().get_config(),
            **described(self, initializers, "alpha_initializer"),
            **described(self, regularizers, "alpha_regularizer"),
            **described(self, constraints, "alpha_constraint"),
            "shared_axes": self.shared_axes,
        }


class Maxout(Layer):
    """The largest of each group of neighbouring columns: an addition to Keras 3.

    Behind a Dense of ``num_units * k`` units it is the maxout unit with k pieces.

    Parameters
    ----------
    num_units : int
        Columns that are left; those of the input must be a multiple.
    axis : int
        The last axis.
    **kwargs
        What `Layer` takes.

    Raises
    ------
    ValueError, TypeError
        If an argument is none of these, or the columns can't be grouped.

    References
    ----------
    Goodfellow et al. (2013), arXiv:1302.4389; TensorFlow Addons, tfa.layers.Maxout.

    Examples
    --------
    >>> import fusedmlp as fm
    >>> fm.layers.Maxout(2)([[1.0, 5.0, 2.0, -1.0]])
    array([[5., 2.]], dtype=float32)
    """

    _supports_masking = True

    def __init__(self, num_units: int, axis: int = -1, **kwargs):
        num_units = checks.integer(num_units, "num_units", 1)
        if axis != -1:
            raise ValueError(f"Argument `axis` of Maxout must be -1. Received: {axis!r}")
        super().__init__(**kwargs)
        self.num_units, self.axis = num_units, axis

    def compute_output_shape(self, input_shape):
        columns = axes_shape(input_shape, f"layer {self.name!r}")[-1]
        if columns % self.num_units:
            raise ValueError(
                f"The input of {self.name!r} must have a multiple of {self.num_units} columns, the "
                f"`num_units` of Maxout. Received: input shape {tuple(input_shape)}"
            )
        return (*input_shape[:-1], self.num_units)

    def lower(self, builder, x):
        return builder.activation(x, "maxout", (builder.shape(x)[-1] // self.num_units,))

    def get_config(self):
        return {**super().get_config(), "num_units": self.num_units, "axis": self.axis}
