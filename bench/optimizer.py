"""One update of many parameters by Adam and other optimizers."""

from __future__ import annotations

import numpy as np

from . import oracle, workloads
from .cases import Case, distance, streamed

TITLE = "Optimizers"
UNIT = "µs per update"
NAMES = tuple(workloads.OPTIMIZER)
QUICK = NAMES[:1]
HEADLINE = ()

_TOLERANCE = 1e-4  # of the distance moved
_UPDATES = 3


def _contender(adapter, name, w, g):
    update, look = adapter.adam(w, g) if name == "adam" else adapter.update(name, w, g)
    for _ in range(_UPDATES):
        update()
    exact = w.astype(np.float64)
    if name != "adam":
        memory = {}
        for step in range(1, _UPDATES + 1):
            exact = oracle.UPDATES[name](exact, g.astype(np.float64), memory, step,
                                         workloads.LEARNING_RATE["adam"])
        return update, distance(look() - w, exact - w)
    m, v = np.zeros_like(exact), np.zeros_like(exact)
    for step in range(1, _UPDATES + 1):
        oracle.adam(exact, g.astype(np.float64), m, v, step, workloads.LEARNING_RATE["adam"],
                    getattr(adapter, "EPSILON_HAT", True))
    return update, distance(look() - w, exact - w)


def cases(names, adapters):
    """Build and verify one case after the other."""
    for name in names:
        optimizer, size = workloads.OPTIMIZER[name]
        rng = np.random.default_rng(7)
        w = (0.01 * rng.standard_normal(size)).astype(np.float32)
        g = (0.1 * rng.standard_normal(size)).astype(np.float32)
        passes = {"adam": 7, "rmsprop": 5, "lion": 5, "lamb": 10}.get(optimizer, 7)
        # Lamb's steps are 1e-5 of parameters of 0.01, of which float32 keeps four digits
        tolerance = 10 * _TOLERANCE if optimizer == "lamb" else _TOLERANCE
        case = Case(name, tolerance, "float32", bytes=streamed(passes * w.nbytes))
        for adapter in adapters:
            known = ("adam",) if hasattr(adapter, "adam") else ()
            if optimizer in (*known, *getattr(adapter, "UPDATES", ())):
                case.add(adapter, _contender, optimizer, w, g)
        yield case
