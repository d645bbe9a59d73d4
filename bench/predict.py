"""Prediction: rows in, scores out, one call from Python."""

from __future__ import annotations

import numpy as np

from . import oracle, workloads
from .cases import Case, distance

TITLE = "Prediction"
UNIT = "µs per call"
NAMES = tuple(workloads.PREDICT)
QUICK = ("tiny, 1", "digits, 1", "tiny, 1024", "digits, 1024")
HEADLINE = ()

_TOLERANCE = 2e-5


def _contender(adapter, work, rows, bound=False):
    layers = workloads.weights(work)
    call = (adapter.bound_predictor(work, layers, rows) if bound
            else adapter.predictor(work, layers))
    error = 0.0
    for seed in (3, 4):  # the second call finds a poisoned result where buffers are reused
        x, _ = workloads.data(work, rows, seed)
        result = call(x)
        error = max(error, distance(result, oracle.predict(work, layers, x)))
        if result.flags.writeable:
            result.fill(np.nan)
    x, _ = workloads.data(work, rows)
    return (lambda: call(x)), error


def cases(names, adapters):
    """Build and verify one case after the other."""
    for name in names:
        work, rows = workloads.PREDICT[name]
        note = f"{'-'.join(map(str, work.widths))}, {rows} row{'s' if rows > 1 else ''}"
        case = Case(name, _TOLERANCE, note, flops=rows * work.row_flops)
        for adapter in adapters:
            if hasattr(adapter, "predictor"):
                case.add(adapter, _contender, work, rows)
            if hasattr(adapter, "bound_predictor"):
                case.add(adapter, _contender, work, rows, True, name=f"{adapter.NAME}, bound")
        yield case
