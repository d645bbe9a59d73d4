"""Derivatives of functions that don't say theirs: differences in float64."""

from __future__ import annotations

import numpy as np

__all__ = ["quotient", "step_size"]


def step_size(x):
    """The step of a central difference: cbrt(eps) times the magnitude, which balances its errors.

    >>> step_size(np.zeros(1)).round(8)
    array([6.06e-06])
    """
    return np.cbrt(np.finfo(np.float64).eps) * np.maximum(1.0, np.abs(x))


def quotient(value, above, below, up, down):
    """The difference quotient, one-sided where the function ends on the other side.

    >>> float(quotient(1.0, np.float64(2.0), np.float64("nan"), 0.5, 0.5))
    2.0
    """
    both = (above - below) / (up + down)
    right, left = (above - value) / up, (value - below) / down
    return np.where(np.isfinite(both), both, np.where(np.isfinite(right), right, left))
