"""An iteration of an optimizer that looks at all data as often as it likes."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

__all__ = ["iterate"]

_NO_RATE = np.zeros(1)


def iterate(optimizer, executor, parameters: np.ndarray, arrays: tuple, order: np.ndarray,
            loss_of: Callable[[np.ndarray], float]) -> bool:
    """Move the parameters by one iteration; whether there is nothing more to gain.

    Parameters
    ----------
    optimizer : Optimizer
        One with `whole_data`.
    executor
        Of a plan whose steps take all rows.
    parameters : ndarray, shape (n,)
        The part of the arena that is trained.
    arrays, order
        As `executor.run` takes them.
    loss_of : callable
        From the totals of a run to the loss.
    """
    executor.check_finite = False
    seen: dict = {}

    def evaluate(point):
        if seen.get("point") is None or not np.array_equal(seen["point"], point):
            parameters[...] = point
            executor.totals[...] = 0.0
            executor.run(arrays, order, len(order), 0, 1, _NO_RATE, optimizer.steps, math.inf)
            seen.update(point=point.copy(), loss=loss_of(executor.totals),
                        gradient=executor.gradients[:len(parameters)].astype(np.float64))
        return seen["loss"], seen["gradient"]

    point, done = optimizer.iterate(evaluate, parameters.copy())
    evaluate(point)  # which leaves parameters and totals as they are there
    return done
