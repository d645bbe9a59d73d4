"""Projections of weights, made after each update.

A constraint describes; in training the plan projects.  Called on an array, it gives the projected
one.  The names, defaults and numbers are those of `keras.constraints`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from . import checks, config
from .registry import Registry

__all__ = [
    "Constraint", "MaxNorm", "MinMaxNorm", "NonNeg", "UnitNorm", "deserialize", "get", "max_norm",
    "min_max_norm", "non_neg", "serialize", "unit_norm",
]


class Constraint:
    """Base class of constraints.

    A constraint of one's own defines ``__call__(w)``, which gets the array of a variable after each
    update and returns the one that takes its place.  It is called in Python, step by step, so
    training is slower than with those of this module.

    >>> class Within(Constraint):
    ...     def __call__(self, w):
    ...         return np.clip(w, -0.1, 0.1)
    >>> import fusedmlp as fm
    >>> layer = fm.layers.Dense(2, kernel_constraint=Within())
    >>> model = fm.Sequential([fm.Input((3,)), layer])
    >>> model.compile("sgd", "mse")
    >>> history = model.fit(np.ones((4, 3)), np.ones((4, 2)), verbose=0)
    >>> bool(np.abs(layer.kernel.numpy()).max() <= 0.1001)
    True
    """

    def __call__(self, w):
        """The projection of an array."""
        return w

    def in_plan(self, ndim: int) -> bool:
        """Whether a plan has an operation for it, on variables of so many dimensions."""
        return type(self).lower is not Constraint.lower

    def lower(self, builder, parameter: int, ndim: int) -> None:
        """Have a plan project a parameter after its updates; for use by layers.

        One of one's own adds nothing to a plan: see `apply_own`.
        """

    def get_config(self) -> dict[str, Any]:
        """Keyword arguments that make an equal one."""
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Constraint:
        """A constraint from what `get_config` returned."""
        return cls(**config)


def with_own(variables) -> list:
    """The variables whose constraint is no operation of a plan."""
    return [v for v in variables
            if v.constraint is not None and not v.constraint.in_plan(v.ndim)]


def apply_own(variables) -> None:
    """Project variables whose constraint is no operation of a plan, in Python.

    Raises
    ------
    ValueError
        If one gives something else than numbers of the variable's shape.
    """
    for variable in variables:
        variable.assign(variable.constraint(variable.numpy()))


class NonNeg(Constraint):
    """``max(w, 0)``.

    References
    ----------
    Keras 3, keras.constraints.NonNeg.

    >>> NonNeg()([1.0, -2.0])
    array([1., 0.], dtype=float32)
    """

    def __call__(self, w):
        return np.maximum(checks.float_array(w, "w"), 0)

    def lower(self, builder, parameter, ndim):
        builder.constrain(parameter, "non_negative")


class _Norm(Constraint):
    """Norms along an axis go the part `rate` of their way into [low, high]."""

    def __init__(self, low, high, rate, axis):
        self._low, self._high, self._rate = low, high, rate
        self.axis = axis
        _places(axis, 2)

    def __call__(self, w):
        w = checks.float_array(w, "w")
        axis = tuple(self.axis) if isinstance(self.axis, list) else self.axis
        norms = np.sqrt(np.square(w).sum(axis=axis, keepdims=True))
        desired = (self._rate * np.clip(norms, self._low, self._high)
                   + (1.0 - self._rate) * norms)
        return (w * (desired / (config.epsilon() + norms))).astype(w.dtype)

    def in_plan(self, ndim):
        """A plan has norms of the rows, the columns and the whole of a matrix."""
        return ndim in (1, 2)

    def lower(self, builder, parameter, ndim):
        if not self.in_plan(ndim):
            return
        places = _places(self.axis, ndim)
        if ndim == 1:  # a single row
            axis = 1 if places else None
        else:
            axis = places[0] if len(places) == 1 else None
        builder.constrain(parameter, "norm", low=self._low, high=self._high, rate=self._rate,
                          epsilon=config.epsilon(), axis=axis)


class MaxNorm(_Norm):
    """Vectors longer than `max_value` are shortened to that.

    Parameters
    ----------
    max_value : float
    axis : int or tuple of int
        Along which the norm is taken: 0 constrains the weights that lead to a unit.

    Raises
    ------
    ValueError, TypeError
        If an argument is none of these.

    References
    ----------
    Keras 3, keras.constraints.MaxNorm; Srivastava et al. (2014), JMLR 15.

    >>> MaxNorm(1.0)([[3.0, 0.3], [4.0, 0.4]]).round(4)
    array([[0.6, 0.3],
           [0.8, 0.4]], dtype=float32)
    """

    def __init__(self, max_value: float = 2, axis=0):
        self.max_value = checks.number(max_value, "max_value", low=0)
        super().__init__(0.0, self.max_value, 1.0, axis)

    def get_config(self):
        return {"max_value": self.max_value, "axis": self.axis}


class UnitNorm(_Norm):
    """Vectors are scaled to length 1.

    Parameters
    ----------
    axis : int or tuple of int
        Along which the norm is taken.

    Raises
    ------
    ValueError, TypeError
        If it is none of these.

    References
    ----------
    Keras 3, keras.constraints.UnitNorm.

    >>> UnitNorm()([[3.0], [4.0]]).round(4)
    array([[0.6],
           [0.8]], dtype=float32)
    """

    def __init__(self, axis=0):
        super().__init__(1.0, 1.0, 1.0, axis)

    def get_config(self):
        return {"axis": self.axis}


class MinMaxNorm(_Norm):
    """Lengths go the part `rate` of their way into [min_value, max_value].

    Parameters
    ----------
    min_value, max_value : float
    rate : float
        1 stands for the whole way.
    axis : int or tuple of int
        Along which the norm is taken.

    Raises
    ------
    ValueError, TypeError
        If an argument is none of these.

    References
    ----------
    Keras 3, keras.constraints.MinMaxNorm.

    >>> MinMaxNorm(0.0, 1.0, rate=0.5)([[3.0], [4.0]]).round(4)
    array([[1.8],
           [2.4]], dtype=float32)
    """

    def __init__(self, min_value: float = 0.0, max_value: float = 1.0, rate: float = 1.0, axis=0):
        self.min_value = checks.number(min_value, "min_value", low=0)
        self.max_value = checks.number(max_value, "max_value", low=self.min_value)
        self.rate = checks.number(rate, "rate", low=0, high=1)
        super().__init__(self.min_value, self.max_value, self.rate, axis)

    def get_config(self):
        return {"min_value": self.min_value, "max_value": self.max_value, "rate": self.rate,
                "axis": self.axis}


def _places(axis, ndim):
    """The axes that are meant, counted from 0; all of them for None."""
    given = range(ndim) if axis is None else axis if isinstance(axis, (tuple, list)) else (axis,)
    try:
        places = sorted({checks.integer(a, "axis", -2, 1) % ndim for a in given})
    except (TypeError, ValueError):
        places = []
    if not places:
        raise ValueError(
            "Argument `axis` must be 0 or 1, or a tuple of these, or None for all. "
            f"Received: {axis!r}"
        )
    return places


max_norm, min_max_norm, non_neg, unit_norm = MaxNorm, MinMaxNorm, NonNeg, UnitNorm

_REGISTRY = Registry("constraint", Constraint, (MaxNorm, MinMaxNorm, NonNeg, UnitNorm))


def serialize(constraint: Constraint) -> dict[str, Any]:
    """The config dict of a constraint, from which `deserialize` makes an equal one.

    >>> serialize(UnitNorm())
    {'class_name': 'UnitNorm', 'config': {'axis': 0}}
    """
    return _REGISTRY.serialize(constraint)


def deserialize(config, custom_objects: Mapping | None = None) -> Constraint:
    """A constraint from its config dict or name; ValueError if the name is unknown.

    >>> deserialize("non_neg").get_config()
    {}
    """
    return _REGISTRY.deserialize(config, custom_objects)


def get(identifier) -> Constraint | None:
    """A constraint from a name, a config dict, a class or an instance; None stays None.

    Raises
    ------
    ValueError, TypeError
        If the name is unknown (the nearest are named), or it is none of these.

    >>> get("max_norm").max_value
    2.0
    """
    found = _REGISTRY.get(identifier)
    if found is not None and not isinstance(found, Constraint):
        raise TypeError(
            "Argument `constraint` must be one of `fusedmlp.constraints`. "
            f"Received: {identifier!r}"
        )
    return found
