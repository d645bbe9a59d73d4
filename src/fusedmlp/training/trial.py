"""Some steps of training that are observed and then taken back."""

from __future__ import annotations

import math

import numpy as np

from .execution import identity_order
from .feed import pieces
from .observing import Observed, Recorder

__all__ = ["trial"]

_NAMES = ("x", "y", "sample_weight")


def trial(model, x, y, sample_weight, class_weight, size: int, updates: int) -> Observed:
    """What is observed in the next updates of a model, which is afterwards as it was.

    Parameters
    ----------
    model : Model
    x, y, sample_weight, class_weight
        As in `fit`, arrays; the first rows are taken, in their order.
    size : int
        Rows of a step.
    updates : int
        How many are made, at most.

    Raises
    ------
    ValueError, TypeError, RuntimeError
        If the model can't be trained in steps, data don't fit or don't suffice for one update, or
        `fit` is running.
    """
    if not hasattr(model, "_require_compiled"):
        raise TypeError(f"Argument `model` must be a model. Received: {model!r}")
    with model._lock:
        model._require_compiled("gradient_flow")
        optimizer = model.optimizer
        refuse_without_steps(optimizer)
        if model._running is not None:
            raise RuntimeError(
                f"`gradient_flow()` of {model.name!r} was called while `fit()` is running; give "
                "`fit` the callback GradientFlow"
            )
        samples, objective = model._prepare_batch((x, y, sample_weight), _NAMES, class_weight)
        each = optimizer.gradient_accumulation_steps or 1
        size = min(size, samples.rows)
        first = optimizer.steps
        last = min((first // each + updates) * each, first + math.ceil(samples.rows / size))
        if last // each == first // each:
            raise ValueError(
                f"Argument `x` must have rows for an update, which takes {each} gradients of "
                f"{size} rows each. Received: {samples.rows} rows"
            )
        execution = model._executions.get(model, size, objective, samples.weighted, optimizer,
                                          samples.sparse, each)
        executor, recorder = execution.executor, Recorder(each, each)
        kept = [(array, array.copy()) for array in (model.arena, *execution.slots)]
        metrics = objective.begin()
        try:
            recorder.begin_epoch(executor)
            executor.check_finite = False
            done = first
            for piece in pieces(samples, identity_order(samples.rows), size, 0, last - first):
                count = piece.stop - piece.first
                recorder.begin(execution, done, count)
                rates = np.zeros(piece.stop)
                rates[piece.first :] = optimizer.learning_rates(done, count)
                executor.run(piece.arrays, piece.order, piece.size, piece.first, piece.stop,
                             rates, done, math.inf)
                recorder.end()
                done += count
            return recorder.observed(execution)
        finally:
            for array, before in kept:
                array[...] = before
            objective.resume(metrics)


def refuse_without_steps(optimizer) -> None:
    """ValueError for an optimizer that looks at all data at once: it has no steps to observe.

    >>> import fusedmlp as fm
    >>> refuse_without_steps(fm.optimizers.SGD())
    """
    if optimizer.whole_data:
        raise ValueError(
            "To observe the flow of gradients the optimizer must train step by step. "
            f"Received: {type(optimizer).__name__}, which looks at all data at once"
        )
