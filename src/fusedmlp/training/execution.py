"""Lowering a model once for each way in which it is run, and keeping what came out.

An `Execution` is a plan with the executor that it is bound to.  `Executions` keeps the latest of
them by what they depend on: number of rows, objective, weights, optimizer and its hyperparameters,
backend.  Whatever moves the model's parameters (`Executions.clear`) makes them void.
"""

from __future__ import annotations

import weakref
from collections import OrderedDict
from typing import Any, NamedTuple

import numpy as np

from .. import backend, config, constraints, random
from ..plan import Builder, Plan
from .objective import BoundObjective
from .observing import no_slope

__all__ = ["Execution", "Executions", "block_rows", "first_iteration", "identity_order",
           "lower"]

_KEPT = 16
_ITERATIONS = 0x3FFFFFFF
_MIXED_ROWS = 32  # Keras's batch, where predictions depend on how rows are cut into batches


class Execution(NamedTuple):
    """A plan, the executor that runs it, what it is bound to, who owns its buffers, and the
    variables that constraints in Python project."""

    plan: Plan
    executor: Any
    objective: BoundObjective | None
    slots: tuple
    owners: dict[str, str]
    projected: list


def lower(model, rows: int, objective: BoundObjective | None = None, weighted: tuple = (),
          optimizer=None, sparse: tuple = (), observe: int = 0) -> tuple[Plan, dict[str, str]]:
    """Lower a model to a plan.

    Parameters
    ----------
    model : Model
        Built, its variables in their arena.
    rows : int
        Most rows in one step.
    objective : BoundObjective, optional
        Without it the plan predicts.
    weighted : tuple of int
        How many weights a sample has, for each output; empty where none has.
    optimizer : Optimizer, optional
        Without it the plan evaluates.
    sparse : tuple of bool
        Whether data is a matrix in compressed rows, for each input; empty where none is.
    observe : int
        Steps of training from one whose activations, gradients and updates are observed to the
        next; 0 for none.

    Returns
    -------
    plan : Plan
    owners : dict of str to str
        Names of layers by names of their buffers.
    """
    builder = Builder(rows, model.dtype, training=optimizer is not None)
    builder.arena, builder.measures = model.arena, objective is not None
    inputs, outputs = model.ports()
    one = len(inputs) == 1
    tensors = model.lower_graph(builder, [
        builder.input(port.columns, "x" if one else port.name, sparse=bool(sparse) and sparse[i])
        for i, port in enumerate(inputs)])
    predictions = [t.buffer for t in tensors]
    sizes = {"parameter_size": model.arena.size, "trainable_size": model.updated_size}
    if objective is None:
        return builder.finish(predictions, **sizes), builder.owners
    labels, weights = [], []
    for number, (port, output) in enumerate(zip(outputs, objective.outputs, strict=True)):
        prefix = f"{port.name}." if len(outputs) > 1 else ""
        labels.append({
            kind: builder.input(1, f"{prefix}y", "labels", "int64", repeat=output.steps)
            if kind in ("classes", "groups")
            else builder.input(
                output.own_columns if kind == "own" else
                output.columns // 2 if kind == "halves" else output.columns,
                f"{prefix}targets", "labels", repeat=output.steps)
            for kind in output.kinds
        })
        heeded = int(weighted[number]) if weighted else 0
        weights.append(builder.input(1, f"{prefix}sample_weight", "weight", repeat=heeded)
                       if heeded else None)
    masks = [None if t._keras_mask is None else t._keras_mask.buffer for t in tensors]
    objective.lower(builder, predictions, labels, weights, optimizer is not None, masks)
    if optimizer is not None:
        sizes.update(optimizer=lambda b: optimizer.lower(b, model.trained_variables()),
                     observe=observe, below=no_slope)
    return builder.finish(predictions, **sizes), builder.owners


def block_rows(model) -> int:
    """Rows of a block in which a model predicts or evaluates many.

    As many as keep the widest activations within the memory that the backend works best in, a
    core's own cache for instance, in whole tiles of 12 rows (see the compiled product), and not
    more than the number from which on nothing is gained.
    """
    if model.mixes_rows:
        return _MIXED_ROWS
    widest = max(model.widths())
    itemsize = np.dtype(model.dtype).itemsize
    block = backend.kernels().block
    return max(12, min(block.rows, block.bytes // (2 * widest * itemsize)) // 12 * 12)


def first_iteration(plan: Plan) -> int:
    """The number of the first step of an evaluation, from which random numbers follow."""
    return random.next_seed() & _ITERATIONS if plan.draws else 0


class Executions:
    """The executions of one model."""

    def __init__(self):
        self._kept: OrderedDict[tuple, Execution] = OrderedDict()

    def clear(self) -> None:
        """Forget all of them."""
        self._kept.clear()

    def release(self) -> None:
        """Let executors forget data that they were told to keep."""
        for execution in self._kept.values():
            execution.executor.release()

    def get(self, model, rows: int, objective: BoundObjective | None = None,
            weighted: tuple = (), optimizer=None, sparse: tuple = (), observe: int = 0
            ) -> Execution:
        """The execution for these arguments of `lower`, made now if it has not been yet."""
        key = (rows, id(objective), weighted, backend.key(), config.epsilon(),
               None if optimizer is None else optimizer.fingerprint(), sparse, observe)
        slots = () if optimizer is None else _slots(optimizer, model)
        execution = self._kept.get(key)
        # An `id` may have been another object's before, hence the comparison.
        if (execution is None or execution.objective is not objective
                or execution.slots is not slots):
            plan, owners = lower(model, rows, objective, weighted, optimizer, sparse,
                                 observe)
            executor = backend.executor(plan, model.arena, slots, model.seed)
            projected = [] if optimizer is None else constraints.with_own(model.trained_variables())
            execution = Execution(plan, executor, objective, slots, owners, projected)
            self._kept[key] = execution
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        else:
            self._kept.move_to_end(key)
        return execution


# optimizer -> its model, and what it was found to fit: variables, hyperparameters, state
_owners: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


def _slots(optimizer, model):
    """The optimizer's state for `model`, made if there is none; ValueError if it is another's."""
    known, fitting = _owners.get(optimizer, (lambda: None, None))
    owner = known()
    if owner is not model and owner is not None:
        raise ValueError(
            "Argument `optimizer` of `compile` must be one that no other model trains with. "
            f"Received: the optimizer of {owner.name!r} for {model.name!r}"
        )
    found = (model.updated_variables(), optimizer.fingerprint(), id(optimizer.state))
    if owner is model and found == fitting:
        return optimizer.slots
    variables = model.trained_variables()
    if not optimizer.built:
        optimizer.build(variables)
    elif not optimizer.fits(variables):
        names = ", ".join(optimizer.slot_names) or "no state arrays"
        raise ValueError(
            "Argument `optimizer` of `compile` holds the state of other variables or other "
            f"hyperparameters: give {model.name!r} a new one. Received: {optimizer!r} with {names} "
            f"for variables of shapes {optimizer.state.shapes}, expected shapes "
            f"{[v.shape for v in variables]}"
        )
    optimizer.adopt(variables)
    _owners[optimizer] = (weakref.ref(model), (*found[:2], id(optimizer.state)))
    return optimizer.slots


_identity = np.arange(0)


def identity_order(rows: int) -> np.ndarray:
    """The rows in their own order, int64.

    >>> identity_order(3)
    array([0, 1, 2])
    """
    global _identity
    order = _identity  # another thread may put a shorter one in its place
    if len(order) < rows:
        order = np.arange(max(rows, 2 * len(order)), dtype=np.int64)
        order.flags.writeable = False
        _identity = order
    return order[:rows]
