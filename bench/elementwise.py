"""Elementwise activations on arrays that lie in memory, into an array that is given."""

from __future__ import annotations

import numpy as np

from . import oracle, workloads
from .cases import Case, distance, streamed

TITLE = "Elementwise functions"
UNIT = "µs per call"
NAMES = tuple(workloads.ELEMENTWISE)
QUICK = tuple(name for name, (_, size) in workloads.ELEMENTWISE.items() if size <= 10_000)
HEADLINE = ()

_TOLERANCE = 1e-6


def _contender(adapter, name, x, expected):
    out = np.full_like(x, np.nan)
    call = adapter.elementwise(name, x, out)
    return call, distance(call(), expected)


def cases(names, adapters):
    """Build and verify one case after the other."""
    for label in names:
        name, size = workloads.ELEMENTWISE[label]
        x = (3 * np.random.default_rng(5).standard_normal(size)).astype(np.float32)
        expected = oracle.ELEMENTWISE[name](x.astype(np.float64))
        case = Case(label, _TOLERANCE, "float32", bytes=streamed(2 * x.nbytes))
        for adapter in adapters:
            if hasattr(adapter, "elementwise"):
                case.add(adapter, _contender, name, x, expected)
        yield case
