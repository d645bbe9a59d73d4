"""Training: epochs of shuffled mini-batches, as a person starts them."""

from __future__ import annotations

import functools

import numpy as np

from . import oracle, workloads
from .cases import Case

TITLE = "Training"
UNIT = "µs per step"
NAMES = tuple(workloads.TRAIN)
QUICK = tuple(name for name, work in workloads.TRAIN.items() if work.quick)
HEADLINE = workloads.HEADLINE

_SHUFFLED = 0.05  # contenders shuffle for themselves: only means over an epoch can agree


@functools.lru_cache(maxsize=2)
def _expected(work, epsilon_hat):
    """Float64 losses of unshuffled epochs and after them, and of shuffled epochs that follow."""
    x, y = workloads.data(work)
    network = oracle.Network(work, workloads.weights(work), epsilon_hat=epsilon_hat)
    wide = x.astype(np.float64)
    losses = network.train(wide, y, shuffle=False)
    losses.append(oracle.final_loss(work, network.layers, x, y))
    return np.array(losses), np.array(network.train(wide, y, shuffle=True))


def _contender(adapter, work):
    """Train unshuffled, so that everybody sees the same mini-batches, then shuffled; the error."""
    x, y = workloads.data(work)
    trainer = adapter.Trainer(work, x, y, workloads.weights(work))
    in_order, shuffled = _expected(work, getattr(adapter, "EPSILON_HAT", True))
    losses = list(trainer.train(False))
    losses.append(oracle.final_loss(work, trainer.layers(), x, y))  # are the weights the trained?
    error = np.max(np.abs(np.array(losses) / in_order - 1))
    drift = np.max(np.abs(np.array(trainer.train(True)) / shuffled - 1))
    return (lambda: trainer.train(True)), (error if drift <= _SHUFFLED else drift)


def cases(names, adapters):
    """Build and verify one case after the other."""
    for name in names:
        work = workloads.TRAIN[name]
        case = Case(name, work.tolerance, str(work), work.updates, flops=work.step_flops)
        for adapter in adapters:
            if hasattr(adapter, "Trainer"):
                case.add(adapter, _contender, work, name=adapter.NAME)
        yield case
