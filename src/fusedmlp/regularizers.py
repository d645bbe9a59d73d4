"""Penalties that are added to the loss: on a layer's weights, or on what it gives out.

A regularizer describes; in training the plan computes it, with its derivative.  Called on an array,
it gives the number.  The names, defaults and numbers are those of `keras.regularizers`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from . import checks
from .registry import Registry

__all__ = [
    "L1", "L1L2", "L2", "OrthogonalRegularizer", "Regularizer", "deserialize", "get", "l1",
    "l1_l2", "l2", "orthogonal_regularizer", "serialize",
]

_SHORTEST = 1e-7  # vectors below that length are not scaled up to 1, as in Keras


class Regularizer:
    """Base class of regularizers.

    One of one's own defines ``__call__(self, x)``, which makes a number of an array by arithmetic
    and functions of `fusedmlp.ops`; training differentiates these.  A plain function of such an
    array is a regularizer, too.

    >>> import fusedmlp as fm
    >>> class Far(Regularizer):
    ...     def __call__(self, x):
    ...         return 0.5 * fm.ops.sum(fm.ops.square(x - 1.0))
    >>> layer = fm.layers.Dense(1, kernel_initializer="zeros", kernel_regularizer=Far())
    >>> model = fm.Sequential([fm.Input((2,)), layer])
    >>> model.compile("sgd", "mse")
    >>> model.evaluate([[0.0, 0.0]], [0.0], verbose=0)
    1.0
    """

    def __call__(self, x) -> float:
        """The penalty of an array."""
        return 0.0

    def lower(self, builder, parameter: int) -> None:
        """Add the penalty of a parameter to a plan's loss; for use by layers."""
        raise TypeError(_OTHER_USE.format(self))

    def lower_activity(self, builder, y: int) -> None:
        """Add the penalty of an activation, the mean over the batch, to a plan's loss."""
        raise TypeError(_OTHER_USE.format(self))

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Regularizer:
        """A regularizer from what `get_config` returned."""
        return cls(**config)

    def get_config(self) -> dict[str, Any]:
        """Keyword arguments that make an equal one."""
        raise NotImplementedError(f"{self!r} does not define `get_config()`")


_OTHER_USE = "A regularizer must have a penalty for this use. Received: {!r}"


def is_own(regularizer) -> bool:
    """Whether it computes its penalty by a function of its own, rather than by an operation.

    >>> is_own(L2()), is_own(lambda x: 0.1 * abs(x).sum())
    (False, True)
    """
    return type(regularizer).__call__ not in (L1L2.__call__, OrthogonalRegularizer.__call__)


class L1L2(Regularizer):
    """``l1 sum |x| + l2 sum x^2``.

    Parameters
    ----------
    l1, l2 : float
        At least 0; None stands for 0.

    Raises
    ------
    ValueError, TypeError
        If one is none of these.

    References
    ----------
    Keras 3, keras.regularizers.L1L2.

    >>> round(L1L2(l1=0.1, l2=0.01)([[1.0, -2.0]]), 6)
    0.35
    """

    def __init__(self, l1: float = 0.0, l2: float = 0.0):
        self.l1 = _factor(l1, "l1", 0.0)
        self.l2 = _factor(l2, "l2", 0.0)

    def __call__(self, x):
        x = checks.float_array(x, "x").astype(np.float64)
        return float(self.l1 * np.abs(x).sum() + self.l2 * np.square(x).sum())

    def lower(self, builder, parameter):
        builder.penalty(parameter, l1=self.l1, l2=self.l2)

    def lower_activity(self, builder, y):
        builder.activity_penalty(y, l1=self.l1, l2=self.l2)

    def get_config(self):
        return {"l1": self.l1, "l2": self.l2}


class L1(L1L2):
    """``l1 sum |x|``.

    Parameters
    ----------
    l1 : float
        At least 0.

    Raises
    ------
    ValueError, TypeError
        If it is no such number.

    References
    ----------
    Keras 3, keras.regularizers.L1.

    >>> L1(0.5)([1.0, -2.0])
    1.5
    """

    def __init__(self, l1: float = 0.01):
        super().__init__(l1=_factor(l1, "l1", 0.01))

    def get_config(self):
        return {"l1": self.l1}


class L2(L1L2):
    """``l2 sum x^2``.

    Parameters
    ----------
    l2 : float
        At least 0.

    Raises
    ------
    ValueError, TypeError
        If it is no such number.

    References
    ----------
    Keras 3, keras.regularizers.L2.

    >>> L2(0.5)([1.0, -2.0])
    2.5
    """

    def __init__(self, l2: float = 0.01):
        super().__init__(l2=_factor(l2, "l2", 0.01))

    def get_config(self):
        return {"l2": self.l2}


class OrthogonalRegularizer(Regularizer):
    """`factor` times the mean absolute cosine between the rows, or the columns, of a matrix.

    Parameters
    ----------
    factor : float
        At least 0.
    mode : {"rows", "columns"}

    Raises
    ------
    ValueError, TypeError
        If an argument is none of these, or the array has not two dimensions.

    References
    ----------
    Keras 3, keras.regularizers.OrthogonalRegularizer.  A single row or column, for which Keras
    gives NaN, has the penalty 0 here.

    >>> round(OrthogonalRegularizer(0.1)([[1.0, 0.0], [1.0, 1.0]]), 6)
    0.070711
    """

    def __init__(self, factor: float = 0.01, mode: str = "rows"):
        self.factor = _factor(factor, "factor")
        checks.one_of(mode, "mode", ("rows", "columns"))
        self.mode = mode

    def __call__(self, x):
        x = checks.float_array(x, "x").astype(np.float64)
        if x.ndim != 2:
            raise ValueError(
                "Argument `x` of an OrthogonalRegularizer must have two dimensions. "
                f"Received: shape {x.shape}"
            )
        vectors = x if self.mode == "rows" else x.T
        if len(vectors) < 2:
            return 0.0
        length = np.sqrt(np.square(vectors).sum(axis=1, keepdims=True))
        unit = vectors / np.maximum(length, _SHORTEST)
        product = np.abs(unit @ unit.T)
        np.fill_diagonal(product, 0.0)
        return float(self.factor * product.sum() / (len(vectors) * (len(vectors) - 1)))

    def lower(self, builder, parameter):
        builder.orthogonal_penalty(parameter, self.factor, self.mode)

    def get_config(self):
        return {"factor": self.factor, "mode": self.mode}


def _factor(value, name, default=None):
    if value is None and default is not None:
        return default
    return checks.number(value, name, low=0)


l1, l2, l1_l2, orthogonal_regularizer = L1, L2, L1L2, OrthogonalRegularizer

_REGISTRY = Registry("regularizer", Regularizer, (L1, L2, L1L2, OrthogonalRegularizer))


def serialize(regularizer: Regularizer) -> dict[str, Any]:
    """The config dict of a regularizer, from which `deserialize` makes an equal one.

    >>> serialize(L2(0.1))
    {'class_name': 'L2', 'config': {'l2': 0.1}}
    """
    return _REGISTRY.serialize(regularizer)


def deserialize(config, custom_objects: Mapping | None = None) -> Regularizer:
    """A regularizer from its config dict or name; ValueError if the name is unknown.

    >>> deserialize({"class_name": "L1", "config": {"l1": 0.5}}).l1
    0.5
    """
    return _REGISTRY.deserialize(config, custom_objects)


def get(identifier) -> Regularizer | None:
    """A regularizer from a name, config dict, class, instance or function; None stays None.

    Raises
    ------
    ValueError, TypeError
        If the name is unknown (the nearest are named), or it is none of these.

    >>> get("l2").l2
    0.01
    """
    return _REGISTRY.get(identifier)
