"""Training on the GPU: the workloads of the CPU, verified the same way, whole calls of ``fit``."""

from __future__ import annotations

from .. import timing, train, workloads
from . import contenders

TITLE = "Training on the GPU"
UNIT = "µs per step"
HEADLINE = workloads.HEADLINE
TARGET = "at least 5 times as fast as the fastest peer for tiny and digits, 1.2 times elsewhere"
ALTERNATE = timing.alternate
NAMES = train.NAMES
QUICK = train.QUICK


def cases(names, card, quick=False):
    """Build and verify one case after the other."""
    adapters, missing = contenders.load()
    for case in train.cases(names, adapters):
        case.absent.update(missing)
        yield case
