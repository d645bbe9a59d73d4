"""Inputs picked for danger: what the rows of the table are tested on."""

from __future__ import annotations

import numpy as np

from fusedmlp import spec

__all__ = ["DTYPES", "ELEMENTWISE", "breaks", "elementwise_cases", "extremes", "kernel_params",
           "points"]

DTYPES = ("float32", "float64")
ELEMENTWISE = [spec.ACTIVATIONS[name] for name in spec.ELEMENTWISE]


def kernel_params(row):
    """Default parameters as the kernel of the row takes them; one with variants takes none."""
    return () if row.variants else tuple(float(value) for _, value in row.params)


def elementwise_cases():
    """(row, params) for the default parameters of each row and for others where it has some."""
    for row in ELEMENTWISE:
        params = kernel_params(row)
        yield row, params
        if params:
            yield row, tuple(0.25 + 1.5 * value for value in params)
    yield spec.ACTIVATIONS["clipped_relu"], (0.125, 3.0, 1.0)


def breaks(row, params=()):
    """Points where a function of the row may have no derivative of some low order."""
    finite = {sign * value for value in params if np.isfinite(value) for sign in (-1.0, 1.0)}
    return sorted({*row.kinks, *finite, -1.0, 0.0, 1.0})


def points(row, dtype, params=(), count=60, seed=0):
    """Inputs from the row's domain: spread, near 0, and at and beside each break."""
    rng = np.random.default_rng(seed)
    low, high = row.domain
    small = rng.uniform(-1.0, 1.0, count // 3) * 10.0 ** rng.uniform(-8.0, 0.0, count // 3)
    at = np.array(breaks(row, params), dtype)
    beside = [np.nextafter(at, at.dtype.type(end)) for end in (-np.inf, np.inf)]
    spread = np.concatenate([rng.uniform(low, high, count), small]).astype(dtype)
    return np.concatenate([spread, at, *beside])


def extremes(dtype):
    """Finite inputs far outside of any domain: huge, tiny and subnormal, both signs."""
    info = np.finfo(dtype)
    sizes = [0.0, float(info.smallest_subnormal), 7 * float(info.smallest_subnormal),
             float(info.tiny), 1e-30, 1e-10, 33.0, 87.5, 89.0, 104.0, 709.5, 746.0, 1e4, 3e38,
             float(info.max)]
    return np.array([sign * size for size in sizes for sign in (1.0, -1.0)]).astype(dtype)
