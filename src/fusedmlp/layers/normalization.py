"""Layers that normalize: columns by the batch, samples by themselves."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from .. import checks, constraints, initializers, regularizers
from ..variable import Variable
from .layer import Layer, axes_shape, described

__all__ = ["BatchNormalization", "GroupNormalization", "LayerNormalization", "RMSNormalization",
           "UnitNormalization"]


class _LastAxis(Layer):
    """A layer that works along the last axis of its inputs."""

    def __init__(self, axis, **kwargs):
        super().__init__(**kwargs)
        self.axis = list(axis) if isinstance(axis, (tuple, list)) else checks.integer(
            axis, "axis", -1)

    def _check_axis(self, input_shape) -> int:
        """Width of the last axis, which `axis` must name."""
        columns = self._check_columns(input_shape)
        given = self.axis if isinstance(self.axis, list) else [self.axis]
        if len(given) != 1 or given[0] not in (-1, len(input_shape) - 1):
            raise ValueError(
                f"Argument `axis` of {type(self).__name__} must be the last axis: -1 or "
                f"{len(input_shape) - 1} for inputs of shape {tuple(input_shape)}. "
                f"Received: {self.axis!r}"
            )
        return columns

    def compute_output_shape(self, input_shape):
        self._check_axis(input_shape)
        return tuple(input_shape)

    def _optional(self, builder, variable):
        return None if variable is None else self.parameter(builder, variable)

    def get_config(self):
        return {**super().get_config(), "axis": self.axis}


class _Scaled(_LastAxis):
    """What is scaled by `gamma` and shifted by `beta`, both learned."""

    def __init__(self, axis, epsilon, center, scale, beta_initializer, gamma_initializer,
                 beta_regularizer, gamma_regularizer, beta_constraint, gamma_constraint, **kwargs):
        super().__init__(axis, **kwargs)
        self.epsilon = checks.number(epsilon, "epsilon", low=0)
        self.center, self.scale = bool(center), bool(scale)
        self.beta_initializer = initializers.get(beta_initializer)
        self.gamma_initializer = initializers.get(gamma_initializer)
        self.beta_regularizer = regularizers.get(beta_regularizer)
        self.gamma_regularizer = regularizers.get(gamma_regularizer)
        self.beta_constraint = constraints.get(beta_constraint)
        self.gamma_constraint = constraints.get(gamma_constraint)
        self.gamma: Variable | None = None
        self.beta: Variable | None = None

    def build(self, input_shape):
        self._add_scale((self._check_axis(input_shape),))
        super().build(input_shape)

    def _add_scale(self, shape):
        if self.scale:
            self.gamma = self.add_weight(shape, self.gamma_initializer, name="gamma",
                                         regularizer=self.gamma_regularizer,
                                         constraint=self.gamma_constraint)
        if self.center:
            self.beta = self.add_weight(shape, self.beta_initializer, name="beta",
                                        regularizer=self.beta_regularizer,
                                        constraint=self.beta_constraint)

    def get_config(self):
        return {
            **super().get_config(), "epsilon": self.epsilon, "center": self.center,
            "scale": self.scale,
            **described(self, initializers, "beta_initializer", "gamma_initializer"),
            **described(self, regularizers, "beta_regularizer", "gamma_regularizer"),
            **described(self, constraints, "beta_constraint", "gamma_constraint"),
        }


class BatchNormalization(_Scaled):
    """Standardizes each column: ``(x - mean) / sqrt(variance + epsilon) * gamma + beta``.

    In training, mean and variance are those of the batch, and moving averages of them are kept:
    ``moving <- momentum * moving + (1 - momentum) * batch``.  In prediction and evaluation, and
    where the layer is not `trainable`, the moving ones are used.  The variance is that of the batch
    itself, not an estimate for more (it divides by n).  Inputs of more than two axes are
    standardized along the last one, over all others.  With a mask (see `Masking`), the batch's mean
    and variance are those of the steps that count.

    Parameters
    ----------
    axis : int
        The last axis.
    momentum, epsilon : float
    center, scale : bool
        Whether there is a `beta`, a `gamma`.
    beta_initializer, gamma_initializer, moving_mean_initializer, moving_variance_initializer
        See `fusedmlp.initializers.get`.
    beta_regularizer, gamma_regularizer, beta_constraint, gamma_constraint
        See `fusedmlp.regularizers` and `fusedmlp.constraints`.
    renorm, renorm_clipping, renorm_momentum, synchronized
        There for configs of Keras: batch renormalization and several devices are not.
    **kwargs
        What `Layer` takes.

    Attributes
    ----------
    gamma, beta : Variable or None, shape (columns,)
    moving_mean, moving_variance : Variable, shape (columns,)
        Not trainable.

    Raises
    ------
    ValueError, TypeError
        If an argument is none of these.

    References
    ----------
    Ioffe and Szegedy (2015), arXiv:1502.03167; Keras 3, keras.layers.BatchNormalization.

    Examples
    --------
    >>> import fusedmlp as fm
    >>> layer = fm.layers.BatchNormalization()
    >>> layer.build((None, 4))
    >>> [v.name for v in layer.weights]
    ['gamma', 'beta', 'moving_mean', 'moving_variance']
    """

    _supports_masking = True

    def __init__(self, axis: int = -1, momentum: float = 0.99, epsilon: float = 1e-3,
                 center: bool = True, scale: bool = True, beta_initializer="zeros",
                 gamma_initializer="ones", moving_mean_initializer="zeros",
                 moving_variance_initializer="ones", beta_regularizer=None, gamma_regularizer=None,
                 beta_constraint=None, gamma_constraint=None, renorm: bool = False,
                 renorm_clipping=None, renorm_momentum: float = 0.99, synchronized: bool = False,
                 **kwargs):
        for name, value in (("renorm", renorm), ("synchronized", synchronized)):
            if value:
                raise ValueError(
                    f"Argument `{name}` of BatchNormalization must be False: it is not supported. "
                    f"Received: {value!r}"
                )
        super().__init__(axis, epsilon, center, scale, beta_initializer, gamma_initializer,
                         beta_regularizer, gamma_regularizer, beta_constraint, gamma_constraint,
                         **kwargs)
        self.momentum = checks.number(momentum, "momentum", low=0, high=1)
        self.moving_mean_initializer = initializers.get(moving_mean_initializer)
        self.moving_variance_initializer = initializers.get(moving_variance_initializer)
        self.moving_mean: Variable | None = None
        self.moving_variance: Variable | None = None

    def build(self, input_shape):
        super().build(input_shape)
        shape = (self._check_axis(input_shape),)
        self.moving_mean = self.add_weight(shape, self.moving_mean_initializer, trainable=False,
                                           name="moving_mean")
        self.moving_variance = self.add_weight(shape, self.moving_variance_initializer,
                                               trainable=False, name="moving_variance")

    @property
    def differs_in_training(self):
        return self.trainable

    def lower(self, builder, x, mask=None):
        return builder.batch_norm(
            x, self.parameter(builder, self.moving_mean),
            self.parameter(builder, self.moving_variance), self._optional(builder, self.gamma),
            self._optional(builder, self.beta), momentum=self.momentum, epsilon=self.epsilon,
            batch=builder.training and self.trainable, mask=mask, name=self.name)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(), "momentum": self.momentum,
            **described(self, initializers, "moving_mean_initializer",
                        "moving_variance_initializer"),
        }


class LayerNormalization(_Scaled):
    """Standardizes each sample along the last axis, then ``* gamma + beta``.

    Parameters
    ----------
    axis : int
        The last axis.
    epsilon : float
        Added to the variance.
    center, scale : bool
        Whether there is a `beta`, a `gamma`.
    beta_initializer, gamma_initializer, beta_regularizer, gamma_regularizer, beta_constraint, \
gamma_constraint
        As in `BatchNormalization`.
    rms_scaling : bool
        There for configs of Keras, where it is deprecated; see `RMSNormalization`.
    **kwargs
        What `Layer` takes.

    Attributes
    ----------
    gamma, beta : Variable or None, shape (columns,)

    Raises
    ------
    ValueError, TypeError
        If an argument is none of these.

    References
    ----------
    Ba, Kiros and Hinton (2016), arXiv:1607.06450; Keras 3, keras.layers.LayerNormalization.

    Examples
    --------
    >>> import fusedmlp as fm
    >>> fm.layers.LayerNormalization(epsilon=0)([[1.0, 3.0]])
    array([[-1.,  1.]], dtype=float32)
    """

    _supports_masking = True

    def __init__(self, axis=-1, epsilon: float = 1e-3, center: bool = True, scale: bool = True,
                 beta_initializer="zeros", gamma_initializer="ones", beta_regularizer=None,
                 gamma_regularizer=None, beta_constraint=None, gamma_constraint=None,
                 rms_scaling: bool = False, **kwargs):
        if rms_scaling:
            raise ValueError(
                "Argument `rms_scaling` of LayerNormalization must be False: there is "
                f"RMSNormalization. Received: {rms_scaling!r}"
            )
        super().__init__(axis, epsilon, center, scale, beta_initializer, gamma_initializer,
                         beta_regularizer, gamma_regularizer, beta_constraint, gamma_constraint,
                         **kwargs)

    def lower(self, builder, x):
        return builder.row_norm(x, "layer", self.epsilon, self._optional(builder, self.gamma),
                                self._optional(builder, self.beta), name=self.name)


class GroupNormalization(_Scaled):
    """Standardizes each sample within groups of neighbouring columns, then ``* gamma + beta``.

    Where samples have more axes than one, the statistics of a group are those of all elements that
    its columns have.

    Parameters
    ----------
    groups : int
        How many; a divisor of the columns, or -1 for as many as there are columns.
    axis : int
        That of the columns, not that of the rows.
    epsilon : float
        Added to the variance.
    center, scale : bool
        Whether there is a `beta`, a `gamma`.
    beta_initializer, gamma_initializer, beta_regularizer, gamma_regularizer, beta_constraint, \
gamma_constraint
        As in `BatchNormalization`.
    **kwargs
        What `Layer` takes.

    Attributes
    ----------
    gamma, beta : Variable or None, shape (columns,)

    Raises
    ------
    ValueError, TypeError
        If an argument is none of these.

    References
    ----------
    Wu and He (2018), arXiv:1803.08494; Keras 3, keras.layers.GroupNormalization.

    Examples
    --------
    >>> import fusedmlp as fm
    >>> fm.layers.GroupNormalization(2, epsilon=0)([[1.0, 3.0, 50.0, 10.0]])
    array([[-1.,  1.,  1., -1.]], dtype=float32)
    """

    _supports_masking = True

    def __init__(self, groups: int = 32, axis: int = -1, epsilon: float = 1e-3,
                 center: bool = True, scale: bool = True, beta_initializer="zeros",
                 gamma_initializer="ones", beta_regularizer=None, gamma_regularizer=None,
                 beta_constraint=None, gamma_constraint=None, **kwargs):
        self.groups = checks.integer(groups, "groups", -1)
        if not self.groups:
            raise ValueError(
                "Argument `groups` must be a positive integer, or -1 for a group of each column. "
                "Received: 0"
            )
        super().__init__(-1, epsilon, center, scale, beta_initializer, gamma_initializer,
                         beta_regularizer, gamma_regularizer, beta_constraint, gamma_constraint,
                         **kwargs)
        self.axis = checks.integer(axis, "axis", -32)

    def _check_axis(self, input_shape):
        shape = axes_shape(input_shape, f"layer {self.name!r}")
        if not -len(shape) < self.axis < len(shape) or not self.axis:
            raise ValueError(
                f"Argument `axis` of {self.name!r} must be an axis of its input that is not that "
                f"of the rows. Received: axis={self.axis} for input shape {tuple(input_shape)}"
            )
        columns = shape[self.axis]
        if self.built and self._input_columns not in (None, columns):
            raise ValueError(
                f"Layer {self.name!r} was built for {self._input_columns} columns. "
                f"Received: input shape {tuple(input_shape)}"
            )
        if columns % self.groups:  # never for -1
            raise ValueError(
                f"Argument `groups` of {self.name!r} must divide the number of columns, {columns}. "
                f"Received: {self.groups}"
            )
        return columns

    def build(self, input_shape):
        self._input_columns = self._check_axis(input_shape)
        if self.groups == -1:
            self.groups = self._input_columns
        self._add_scale((self._input_columns,))
        self.built = True

    def lower(self, builder, x):
        shape = builder.shape(x)
        columns = shape[self.axis - 1 if self.axis > 0 else self.axis]
        size = prod(shape)
        # elements in the order (groups, others): those of a group side by side
        place = np.moveaxis(np.arange(size).reshape(shape),
                            self.axis - 1 if self.axis > 0 else self.axis, 0).ravel()
        inner = (self.groups, size // self.groups)
        straight = len(shape) == 1
        x = builder.view(x, inner) if straight else builder.take_columns(
            x, place.tolist(), inner, name=f"{self.name}.groups")
        y = builder.row_norm(x, "layer", self.epsilon, name=self.name)
        y = builder.packed(builder.view(y, shape)) if straight else builder.take_columns(
            y, place.argsort().tolist(), shape, name=self.name)
        which = np.repeat(np.arange(columns), size // columns)[place.argsort()]
        for function, variable in (("multiply", self.gamma), ("add", self.beta)):
            if variable is not None:
                wide = builder.repeat(self.parameter(builder, variable), name=variable.name)
                if not straight:
                    wide = builder.take_columns(wide, which.tolist(), shape, name=variable.name)
                y = builder.combine(function, y, wide, name=self.name)
        return y

    def get_config(self):
        return {**super().get_config(), "groups": self.groups}


class RMSNormalization(_LastAxis):
    """Divides each sample by the root of its mean square: ``x / sqrt(mean x^2 + epsilon) * scale``.

    Parameters
    ----------
    axis : int
        The last axis.
    epsilon : float
    **kwargs
        What `Layer` takes.

    Attributes
    ----------
    scale : Variable, shape (columns,)

    Raises
    ------
    ValueError, TypeError
        If an argument is none of these.

    References
    ----------
    Zhang and Sennrich (2019), arXiv:1910.07467; Keras 3, keras.layers.RMSNormalization.

    Examples
    --------
    >>> import fusedmlp as fm
    >>> fm.layers.RMSNormalization(epsilon=0)([[1.0, 7.0]])
    array([[0.2, 1.4]], dtype=float32)
    """

    def __init__(self, axis=-1, epsilon: float = 1e-6, **kwargs):
        super().__init__(axis, **kwargs)
        self.epsilon = checks.number(epsilon, "epsilon", low=0)
        self.scale: Variable | None = None

    def build(self, input_shape):
        self.scale = self.add_weight((self._check_axis(input_shape),), "ones", name="scale")
        super().build(input_shape)

    def lower(self, builder, x):
        return builder.row_norm(x, "rms", self.epsilon, self.parameter(builder, self.scale),
                                name=self.name)

    def get_config(self):
        return {**super().get_config(), "epsilon": self.epsilon}


class UnitNormalization(_LastAxis):
    """Scales each sample to length 1 along the last axis; those shorter than 1e-12 less.

    Parameters
    ----------
    axis : int
        The last axis.
    **kwargs
        What `Layer` takes.

    Raises
    ------
    ValueError, TypeError
        If an argument is none of these.

    References
    ----------
    Keras 3, keras.layers.UnitNormalization.

    Examples
    --------
    >>> import fusedmlp as fm
    >>> fm.layers.UnitNormalization()([[3.0, 4.0]])
    array([[0.6, 0.8]], dtype=float32)
    """

    _supports_masking = True

    def __init__(self, axis=-1, **kwargs):
        super().__init__(axis, **kwargs)

    def build(self, input_shape):
        axes_shape(input_shape, f"layer {self.name!r}")
        self.built = True  # for any width

    def lower(self, builder, x):
        return builder.row_norm(x, "unit", 0.0, name=self.name)
