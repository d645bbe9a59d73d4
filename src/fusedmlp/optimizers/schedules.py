"""Learning rates that are functions of the count of steps: Keras 3's schedules.

A schedule takes a step, or an array of them, and returns float64; an optimizer asks for the rates
of a whole run at once.  This module knows no optimizer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .. import checks, spec
from ..registry import Registry

__all__ = [
    "CosineDecay",
    "CosineDecayRestarts",
    "ExponentialDecay",
    "InverseTimeDecay",
    "LearningRateSchedule",
    "PiecewiseConstantDecay",
    "PolynomialDecay",
    "deserialize",
    "serialize",
]


class LearningRateSchedule:
    """Base class of schedules: a subclass defines ``__call__(step)`` and ``get_config()``.

    Raises
    ------
    NotImplementedError
        If a subclass lacks the one or the other when it is needed.

    >>> class Halved(LearningRateSchedule):
    ...     def __call__(self, step):
    ...         return 0.5 / (1 + step)
    >>> Halved().rates(1, 3).round(3)
    array([0.25 , 0.167, 0.125])
    """

    def __call__(self, step):
        raise NotImplementedError(f"{type(self).__name__} must define `__call__(self, step)`")

    def rates(self, first: int, count: int) -> np.ndarray:
        """The rates of `count` steps from step `first` on, float64 of shape (count,)."""
        return np.array([float(self(step)) for step in range(first, first + count)], np.float64)

    def get_config(self) -> dict[str, Any]:
        raise NotImplementedError(
            f"{type(self).__name__} must define `get_config()` to be described by a config"
        )

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> LearningRateSchedule:
        return cls(**config)


class _Formula(LearningRateSchedule):
    """A schedule that computes all steps of an array at once."""

    def __call__(self, step):
        """The rate at a step, or an array of them."""
        steps = np.asarray(step)
        rates = self._at(steps if steps.dtype.kind in "iu" else steps.astype(np.float64))
        return float(rates) if steps.ndim == 0 else rates

    def rates(self, first, count):
        return np.asarray(self._at(np.arange(first, first + count)), np.float64)

    def __repr__(self):
        arguments = ", ".join(f"{key}={value!r}" for key, value in self.get_config().items())
        return f"{type(self).__name__}({arguments})"


class ExponentialDecay(_Formula):
    """``initial_learning_rate decay_rate^(step / decay_steps)``.

    Parameters
    ----------
    initial_learning_rate : float
    decay_steps : int
        Positive.
    decay_rate : float
        Positive.
    staircase : bool
        Whether ``step / decay_steps`` is rounded down.
    name : str

    Raises
    ------
    ValueError, TypeError
        If an argument is no number or out of range.

    >>> ExponentialDecay(0.1, 10, 0.5)([0, 10, 15]).round(4)
    array([0.1   , 0.05  , 0.0354])
    """

    def __init__(self, initial_learning_rate: float, decay_steps: float, decay_rate: float,
                 staircase: bool = False, name: str = "ExponentialDecay"):
        self.initial_learning_rate = _rate(initial_learning_rate, "initial_learning_rate")
        self.decay_steps = _steps(decay_steps, "decay_steps")
        self.decay_rate = checks.number(decay_rate, "decay_rate", low=0.0)
        self.staircase, self.name = bool(staircase), name

    def _at(self, steps):
        return self.initial_learning_rate * self.decay_rate ** _share(self, steps)

    def get_config(self):
        return _config(self, "initial_learning_rate", "decay_steps", "decay_rate", "staircase")


class PiecewiseConstantDecay(_Formula):
    """``values[i]`` for steps up to and with ``boundaries[i]``, the last value behind the last one.

    Parameters
    ----------
    boundaries : sequence of float
        Increasing.
    values : sequence of float
        One more than boundaries.
    name : str

    Raises
    ------
    ValueError, TypeError
        If the numbers of them don't fit, boundaries don't increase, or one is no number.

    >>> PiecewiseConstantDecay([2, 4], [1.0, 0.5, 0.1])([0, 2, 3, 4, 5])
    array([1. , 1. , 0.5, 0.5, 0.1])
    """

    def __init__(self, boundaries: Sequence[float], values: Sequence[float],
                 name: str = "PiecewiseConstant"):
        self.boundaries = [checks.number(b, "boundaries") for b in boundaries]
        self.values = [_rate(v, "values") for v in values]
        if len(self.boundaries) != len(self.values) - 1:
            raise ValueError(
                "Argument `boundaries` must be one shorter than `values`. Received: "
                f"{len(self.boundaries)} boundaries and {len(self.values)} values"
            )
        if sorted(set(self.boundaries)) != self.boundaries:
            raise ValueError(f"Argument `boundaries` must increase. Received: {boundaries!r}")
        self.boundaries = [int(b) if float(b).is_integer() else b for b in self.boundaries]
        self.name = name

    def _at(self, steps):
        boundaries = np.asarray(self.boundaries, np.float64)
        if steps.dtype.kind in "iu":
            boundaries = np.trunc(boundaries)
        return np.asarray(self.values)[np.searchsorted(boundaries, steps, side="left")]

    def get_config(self):
        return _config(self, "boundaries", "values")


class PolynomialDecay(_Formula):
    """``(initial - end) (1 - min(step, decay_steps) / decay_steps)^power + end``.

    Parameters
    ----------
    initial_learning_rate : float
    decay_steps : int
        Positive.
    end_learning_rate : float
    power : float
    cycle : bool
        Whether behind `decay_steps` their first multiple that is not below the step takes their
        place.
    name : str

    Raises
    ------
    ValueError, TypeError
        If an argument is no number or out of range.

    >>> PolynomialDecay(0.1, 10, end_learning_rate=0.0)([0, 5, 10, 20])
    array([0.1 , 0.05, 0.  , 0.  ])
    """

    def __init__(self, initial_learning_rate: float, decay_steps: float,
                 end_learning_rate: float = 0.0001, power: float = 1.0, cycle: bool = False,
                 name: str = "PolynomialDecay"):
        self.initial_learning_rate = _rate(initial_learning_rate, "initial_learning_rate")
        self.decay_steps = _steps(decay_steps, "decay_steps")
        self.end_learning_rate = _rate(end_learning_rate, "end_learning_rate")
        self.power = checks.number(power, "power", low=0.0)
        self.cycle, self.name = bool(cycle), name

    def _at(self, steps):
        length = self.decay_steps
        if self.cycle:
            length = length * np.where(steps == 0, 1.0, np.ceil(steps / length))
        else:
            steps = np.minimum(steps, length)
        left = 1.0 - steps / length
        return ((self.initial_learning_rate - self.end_learning_rate) * left**self.power
                + self.end_learning_rate)

    def get_config(self):
        return _config(self, "initial_learning_rate", "decay_steps", "end_learning_rate", "power",
                       "cycle")


class InverseTimeDecay(_Formula):
    """``initial_learning_rate / (1 + decay_rate step / decay_steps)``.

    Parameters
    ----------
    initial_learning_rate : float
    decay_steps : int
        Positive.
    decay_rate : float
        Not negative.
    staircase : bool
        Whether ``step / decay_steps`` is rounded down.
    name : str

    Raises
    ------
    ValueError, TypeError
        If an argument is no number or out of range.

    >>> InverseTimeDecay(0.1, 1, 1.0)([0, 1, 3])
    array([0.1  , 0.05 , 0.025])
    """

    def __init__(self, initial_learning_rate: float, decay_steps: float, decay_rate: float,
                 staircase: bool = False, name: str = "InverseTimeDecay"):
        self.initial_learning_rate = _rate(initial_learning_rate, "initial_learning_rate")
        self.decay_steps = _steps(decay_steps, "decay_steps")
        self.decay_rate = checks.number(decay_rate, "decay_rate", low=0.0)
        self.staircase, self.name = bool(staircase), name

    def _at(self, steps):
        return self.initial_learning_rate / (1.0 + self.decay_rate * _share(self, steps))

    def get_config(self):
        return _config(self, "initial_learning_rate", "decay_steps", "decay_rate", "staircase")


class CosineDecay(_Formula):
    """Half a cosine from the initial rate to `alpha` times it, after a linear warmup.

    With p = min(step, decay_steps) / decay_steps::

        initial_learning_rate ((1 - alpha) (1 + cos(pi p)) / 2 + alpha)

    With a `warmup_target` the rate first rises from `initial_learning_rate` to it within
    `warmup_steps`, and the cosine begins there.

    Parameters
    ----------
    initial_learning_rate : float
    decay_steps : int
        Positive; those of the warmup come before them.
    alpha : float
    name : str
    warmup_target : float, optional
    warmup_steps : int

    Raises
    ------
    ValueError, TypeError
        If an argument is no number or out of range.

    References
    ----------
    Loshchilov and Hutter (2017), SGDR, arXiv:1608.03983.

    >>> CosineDecay(0.0, 10, warmup_target=0.1, warmup_steps=2)([0, 1, 2, 7, 12]).round(3)
    array([0.  , 0.05, 0.1 , 0.05, 0.  ])
    """

    def __init__(self, initial_learning_rate: float, decay_steps: float, alpha: float = 0.0,
                 name: str = "CosineDecay", warmup_target: float | None = None,
                 warmup_steps: float = 0):
        self.initial_learning_rate = _rate(initial_learning_rate, "initial_learning_rate")
        self.decay_steps = _steps(decay_steps, "decay_steps")
        self.alpha = checks.number(alpha, "alpha", low=0.0)
        self.warmup_target = (
            None if warmup_target is None else _rate(warmup_target, "warmup_target"))
        self.warmup_steps = _whole(checks.number(warmup_steps, "warmup_steps", low=0.0))
        self.name = name

    def _at(self, steps):
        if self.warmup_target is None:
            return self._cosine(steps, self.initial_learning_rate)
        rise = (self.warmup_target - self.initial_learning_rate) / max(self.warmup_steps, 1)
        return np.where(steps < self.warmup_steps, self.initial_learning_rate + rise * steps,
                        self._cosine(steps - self.warmup_steps, self.warmup_target))

    def _cosine(self, steps, rate):
        share = np.minimum(steps, self.decay_steps) / self.decay_steps
        return rate * ((1.0 - self.alpha) * (0.5 * (1.0 + np.cos(np.pi * share))) + self.alpha)

    def get_config(self):
        return _config(self, "initial_learning_rate", "decay_steps", "alpha", "warmup_target",
                       "warmup_steps")


class CosineDecayRestarts(_Formula):
    """Halves of cosines, each `t_mul` times as long and `m_mul` times as high as the last.

    Parameters
    ----------
    initial_learning_rate : float
    first_decay_steps : int
        Length of the first one; positive.
    t_mul : float
        At least 1.
    m_mul : float
    alpha : float
        Share of the initial rate that is kept at the end of each.
    name : str

    Raises
    ------
    ValueError, TypeError
        If an argument is no number or out of range.

    References
    ----------
    Loshchilov and Hutter (2017), SGDR, arXiv:1608.03983.

    >>> CosineDecayRestarts(0.1, 2)([0, 1, 2, 4, 6]).round(3)
    array([0.1 , 0.05, 0.1 , 0.05, 0.1 ])
    """

    def __init__(self, initial_learning_rate: float, first_decay_steps: float, t_mul: float = 2.0,
                 m_mul: float = 1.0, alpha: float = 0.0, name: str = "SGDRDecay"):
        self.initial_learning_rate = _rate(initial_learning_rate, "initial_learning_rate")
        self.first_decay_steps = _steps(first_decay_steps, "first_decay_steps")
        self.t_mul = checks.number(t_mul, "t_mul", low=1.0)
        self.m_mul = checks.number(m_mul, "m_mul", low=0.0)
        self.alpha = checks.number(alpha, "alpha", low=0.0)
        self.name = name

    def _at(self, steps):
        done = steps / self.first_decay_steps
        if self.t_mul == 1.0:
            restart = np.floor(done)
            share = done - restart
        else:
            # done lies between (t^i - 1) / (t - 1) and the same for i + 1
            reached = 1.0 + done * (self.t_mul - 1.0)
            restart = np.floor(np.log(reached) / np.log(self.t_mul))
            restart += self.t_mul ** (restart + 1.0) <= reached  # where the logarithm fell short
            length = self.t_mul**restart
            share = (done - (length - 1.0) / (self.t_mul - 1.0)) / length
        cosine = 0.5 * self.m_mul**restart * (1.0 + np.cos(np.pi * share))
        return self.initial_learning_rate * ((1.0 - self.alpha) * cosine + self.alpha)

    def get_config(self):
        return _config(self, "initial_learning_rate", "first_decay_steps", "t_mul", "m_mul",
                       "alpha")


_BUILT_IN = (CosineDecay, CosineDecayRestarts, ExponentialDecay, InverseTimeDecay,
             PiecewiseConstantDecay, PolynomialDecay)
_REGISTRY = Registry("learning rate schedule", LearningRateSchedule, _BUILT_IN)


def serialize(learning_rate_schedule: LearningRateSchedule) -> dict[str, Any]:
    """The config dict of a schedule.

    >>> serialize(ExponentialDecay(0.1, 10, 0.5))["class_name"]
    'ExponentialDecay'
    """
    return _REGISTRY.serialize(learning_rate_schedule)


def deserialize(config: Mapping[str, Any],
                custom_objects: Mapping | None = None) -> LearningRateSchedule:
    """A schedule from its config dict; ValueError if its class is unknown.

    >>> deserialize(serialize(CosineDecay(0.1, 10))).decay_steps
    10
    """
    return _REGISTRY.deserialize(config, custom_objects)


def _rate(value, name):
    return checks.number(value, name, low=0.0)


def _steps(value, name):
    number = checks.number(value, name)
    if number <= 0:
        raise ValueError(f"Argument `{name}` must be a positive number. Received: {value!r}")
    return _whole(number)


def _whole(number):
    return int(number) if number.is_integer() else number


def _share(schedule, steps):
    share = steps / schedule.decay_steps
    return np.floor(share) if schedule.staircase else share


def _config(schedule, *names):
    return {**{name: getattr(schedule, name) for name in names}, "name": schedule.name}


def __getattr__(name):
    raise AttributeError(spec.nearest(name, __all__, "schedule"))
