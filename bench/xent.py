"""Softmax-cross-entropy: the mean loss of logits and its gradient."""

from __future__ import annotations

import numpy as np

from . import oracle, workloads
from .cases import Case, distance, streamed

TITLE = "Softmax-cross-entropy, loss and gradient"
UNIT = "µs per call"
NAMES = tuple(workloads.XENT)
QUICK = NAMES[:1]
HEADLINE = ()

_TOLERANCE = 2e-5


def _contender(adapter, logits, labels, expected, given=False):
    if given:
        call = adapter.cross_entropy_out(logits, labels, np.full_like(logits, np.nan))
    else:
        call = adapter.cross_entropy(logits, labels)
    loss, gradient = call()
    return call, max(abs(float(loss) / expected[0] - 1), distance(gradient, expected[1]))


def cases(names, adapters):
    """Build and verify one case after the other."""
    for name in names:
        shape = workloads.XENT[name]
        rng = np.random.default_rng(6)
        logits = (2 * rng.standard_normal(shape)).astype(np.float32)
        labels = rng.integers(0, shape[1], shape[0])
        expected = oracle.cross_entropy(logits.astype(np.float64), labels)
        case = Case(name, _TOLERANCE, "rows x classes, float32", bytes=streamed(2 * logits.nbytes))
        for adapter in adapters:
            if hasattr(adapter, "cross_entropy"):
                case.add(adapter, _contender, logits, labels, expected)
            if hasattr(adapter, "cross_entropy_out"):
                case.add(adapter, _contender, logits, labels, expected, True,
                         name=f"{adapter.NAME}, out")
        yield case
