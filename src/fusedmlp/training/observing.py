"""What a training that is observed writes down, epoch by epoch.

Every so manieth step the executor itself writes what activations, gradients and updates are like
into an array that it was given before (`fusedmlp.plan.Observation` says what a row is about), so
that an epoch stays one call.  This module makes those arrays, and puts them together for whoever
has asked; what the numbers mean is not its business.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np

from .. import ops, spec

__all__ = ["Observed", "Recorder", "interval", "no_slope", "slopes"]

_FLAT = 0.05


@cache
def no_slope(activation: str, params: tuple = ()) -> float:
    """Up to which absolute value a slope counts as 0: a twentieth of the steepest in [-1, 1].

    There a sigmoid is within 0.013 of its limits, tanh within 0.026.

    >>> round(no_slope("tanh"), 3), round(no_slope("sigmoid"), 4), no_slope("relu")
    (0.05, 0.0125, 0.05)
    """
    return _FLAT * float(slopes(activation, params, np.linspace(-1.0, 1.0, 201)).max())


def slopes(activation: str, params: tuple, x) -> np.ndarray:
    """Absolute values of the derivative of an activation at the points x, float64.

    >>> slopes("relu", (), [-1.0, 1.0]).tolist()
    [0.0, 1.0]
    """
    x = np.asarray(x, np.float64)
    row = spec.ACTIVATIONS[activation]
    named = dict(zip((name for name, _ in row.params), params, strict=False))
    y = ops.activation(x, activation, **named)
    saved = {"x": x} if row.reads == "x" else {"y": y}
    with np.errstate(all="ignore"):
        return np.abs(ops.activation_grad(np.ones_like(x), activation, **saved, **named))


def interval(callbacks) -> int:
    """Updates from one that is observed to the next, for all callbacks that ask; 0 for none.

    A callback asks by an attribute `observe_every`, and gets what it asks for, and perhaps more,
    by its method `on_observed` at the end of each epoch, before `on_epoch_end`.
    """
    return math.gcd(*(getattr(c, "observe_every", None) or 0 for c in callbacks))


class Observed:
    """What was observed in an epoch.

    Its arrays are made when they are asked for, most often after the training.

    Parameters
    ----------
    observations : tuple of Observation
        What a row of a record is about.
    parts : list of (range, ndarray)
        Numbers of updates, counted from 1, and their records; rows of NaN where training was
        stopped before.
    units : ndarray (units,)
        Counts over all of them.
    """

    def __init__(self, observations, parts, units):
        self.observations, self._parts, self.units = observations, parts, units

    def every(self, interval: int) -> tuple[np.ndarray, np.ndarray]:
        """Numbers of the updates that are multiples of `interval`, int64, and their records.

        Records have the shape (count, observations, 4).

        >>> Observed((), [(range(2, 7, 2), np.zeros((3, 0, 4)))], np.zeros(0)).every(4)[0]
        array([4])
        """
        steps = np.concatenate([np.zeros(0, np.int64), *(part[0] for part in self._parts)])
        records = np.concatenate([np.empty((0, len(self.observations), 4)),
                                  *(part[1] for part in self._parts)])
        chosen = np.isfinite(records[:, :, 3]).all(axis=1) & (steps % interval == 0)
        return steps[chosen].astype(np.int64), records[chosen]


class Recorder:
    """Arrays for an executor to write to.

    An epoch may be a few steps of microseconds: what is done for each epoch is kept small, and next
    to nothing where no step of it is observed.

    Parameters
    ----------
    every : int
        Steps from one that is observed to the next.
    per_update : int
        Steps that make an update.
    """

    def __init__(self, every: int, per_update: int = 1):
        self.every, self.per_update = every, per_update
        self._parts: list[tuple[range, np.ndarray]] = []
        self._current: tuple[int, np.ndarray] | None = None
        self._executor = None

    def begin_epoch(self, executor) -> None:
        """Forget the last epoch."""
        self._parts.clear()
        self._executor = executor
        executor.units[...] = 0.0

    def begin(self, execution, iteration: int, steps: int) -> None:
        """Make room for `steps` steps, before which `iteration` updates were made."""
        first = iteration // self.every
        count = (iteration + steps) // self.every - first
        if count:
            records = np.empty((count, len(execution.plan.observations), 4))
            records.fill(np.nan)
            self._current = (first, records)
        self.bind(execution.executor)

    def bind(self, executor) -> None:
        """Let an executor write to the array, in the place of another."""
        before, self._executor = self._executor, executor
        if before is not None and before is not executor:
            executor.units[...] = before.units
        if self._current is not None:
            executor.record(self._current[1], self._current[0])

    def end(self) -> None:
        """Keep what was written since `begin`."""
        if self._current is not None:
            self._executor.record(None, 0)
            (first, records), self._current = self._current, None
            each = self.every // self.per_update
            self._parts.append((range(each * (first + 1), each * (first + 1 + len(records)), each),
                                records))

    def observed(self, execution) -> Observed:
        """All of the epoch."""
        return Observed(execution.plan.observations, self._parts.copy(),
                        execution.executor.units.copy())
