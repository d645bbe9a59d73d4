"""One Adam update of many parameters."""

from __future__ import annotations

import numpy as np

from . import oracle, workloads
from .cases import Case, distance, streamed

TITLE = "Adam"
UNIT = "µs per update"
NAMES = tuple(workloads.OPTIMIZER)
QUICK = NAMES[:1]
HEADLINE = ()

_TOLERANCE = 1e-4  # of the distance moved
_UPDATES = 3


def _contender(adapter, w, g):
    update, look = adapter.adam(w, g)
    for _ in range(_UPDATES):
        update()
    exact = w.astype(np.float64)
    m, v = np.zeros_like(exact), np.zeros_like(exact)
    for step in range(1, _UPDATES + 1):
        oracle.adam(exact, g.astype(np.float64), m, v, step, workloads.LEARNING_RATE["adam"],
                    getattr(adapter, "EPSILON_HAT", True))
    return update, distance(look() - w, exact - w)


def cases(names, adapters):
    """Build and verify one case after the other."""
    for name in names:
        size = workloads.OPTIMIZER[name]
        rng = np.random.default_rng(7)
        w = (0.01 * rng.standard_normal(size)).astype(np.float32)
        g = (0.1 * rng.standard_normal(size)).astype(np.float32)
        case = Case(name, _TOLERANCE, "float32", bytes=streamed(7 * w.nbytes))
        for adapter in adapters:
            if hasattr(adapter, "adam"):
                case.add(adapter, _contender, w, g)
        yield case
