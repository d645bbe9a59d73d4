"""The network behind an estimator: a `Sequential`, the plans it runs in, and the state in pickles.

An estimator keeps its weights as scikit-learn does, in the lists `coefs_` and `intercepts_`, which
people read, replace and write into.  They are the truth: `Network.load` copies them into the
variables before anything is computed, and `Network.weights` copies them back after training.  This
module knows nothing of estimators, random states or stopping rules.
"""

from __future__ import annotations

import copy
import math
import threading
from typing import Any, NamedTuple

import numpy as np

from .. import layers, spec
from ..layers import Activation, Dense, Dropout, Input
from ..models import Sequential
from ..training.compressed import CompressedRows, is_sparse
from ..training.execution import Executions, block_rows, identity_order
from ..training.interrupt import BetweenSteps
from ..training.iteration import iterate

__all__ = ["Network", "Shape", "Step"]

_BUDGET = 0.1  # seconds that an executor may run before Ctrl-C gets its turn
_NO_RATE = np.zeros(1)
_NORMALIZATIONS = {
    "batch": lambda name: layers.BatchNormalization(name=name),
    "layer": lambda name: layers.LayerNormalization(name=name),
}


class Step(NamedTuple):
    """One hidden layer."""

    units: int
    activation: Any
    dropout: float
    normalization: str | None


class Shape(NamedTuple):
    """What a network looks like; two networks with equal shapes can exchange their state."""

    columns: int
    hidden: tuple[Step, ...]
    outputs: int
    output_activation: Any
    dtype: str


class Network:
    """See the module.

    Parameters
    ----------
    shape : Shape
    seed : int
        What dropout draws from.

    Attributes
    ----------
    model : Sequential
    objective
        What was trained for last, kept because plans are kept by it.
    """

    def __init__(self, shape: Shape, seed: int = 0):
        self.shape, self.seed = shape, seed
        self._build()

    def _build(self):
        shape = self.shape
        parts: list = [Input((shape.columns,), dtype=shape.dtype, name="input")]
        self._dense = []
        for number, step in enumerate(shape.hidden, 1):
            parts += self._hidden(number, step)
        self._dense.append(_dense("output", shape.outputs, shape.output_activation))
        parts.append(self._dense[-1])
        self.model = Sequential(parts, name="mlp")
        self.model.seed = self.seed
        self._lock = threading.RLock()
        self._executions = Executions()
        self._arena: Any = None
        self._bound: tuple = (None, None)  # what the last epoch asked for, and its executor
        self.objective: Any = None

    def _hidden(self, number, step):
        learned = step.activation == "prelu"
        first = "linear" if learned or step.normalization else step.activation
        dense = _dense(f"hidden_{number}", step.units, first)
        self._dense.append(dense)
        found = [dense]
        if step.normalization:
            found.append(_NORMALIZATIONS[step.normalization](name=f"norm_{number}"))
        if learned:
            found.append(layers.PReLU(name=f"slope_{number}"))
        elif step.normalization:
            found.append(Activation(step.activation, name=f"activation_{number}"))
        if step.dropout:
            found.append(Dropout(step.dropout, name=f"dropout_{number}"))
        return found

    def set_seed(self, seed: int) -> None:
        """Let dropout draw from another seed."""
        self.seed = self.model.seed = seed
        self._executions.clear()

    # -- weights -------------------------------------------------------------------------------

    @property
    def kernels(self) -> list[tuple]:
        """The dense layers with their kernels, from input to output."""
        return [(layer, layer.kernel) for layer in self._dense]

    @property
    def widths(self) -> list[int]:
        """Columns of the input and of every dense layer before its activation."""
        return [self.shape.columns, *(layer.units for layer in self._dense)]

    def weights(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Copies of kernels and biases."""
        return ([layer.kernel.numpy() for layer in self._dense],
                [layer.bias.numpy() for layer in self._dense])

    def load(self, coefs, intercepts) -> None:
        """Overwrite kernels and biases; ValueError if number or shapes differ."""
        if len(coefs) != len(self._dense) or len(intercepts) != len(self._dense):
            raise ValueError(
                f"Attributes `coefs_` and `intercepts_` must hold {len(self._dense)} arrays. "
                f"Received: {len(coefs)} and {len(intercepts)}"
            )
        for layer, coef, intercept in zip(self._dense, coefs, intercepts, strict=True):
            layer.kernel.assign(coef)
            layer.bias.assign(intercept)

    def _others(self):
        """Variables that are no kernel and no bias of a dense layer."""
        dense = {id(v) for layer in self._dense for v in layer.variables}
        return [v for v in self.model.variables if id(v) not in dense]

    def others(self) -> list[np.ndarray]:
        """Copies of what `weights` leaves out: of normalisations and learned slopes."""
        return [v.numpy() for v in self._others()]

    def load_others(self, values) -> None:
        """Overwrite what `others` gave."""
        for variable, value in zip(self._others(), values, strict=True):
            variable.assign(value)

    # -- running -------------------------------------------------------------------------------

    def _ready(self):
        self.model.place()
        if self.model.arena is not self._arena:
            self._executions.clear()
            self._arena = self.model.arena

    def data(self, x):
        """A matrix of the network's dtype as executors take it: sparse ones in compressed rows."""
        return CompressedRows.of(x, "X", np.dtype(self.shape.dtype)) if is_sparse(x) else x

    def predict(self, x, coefs=None, intercepts=None) -> np.ndarray:
        """The network's output.

        Parameters
        ----------
        x : ndarray, sparse matrix or CompressedRows, shape (rows, columns)
            Of the network's dtype; arrays C-contiguous.
        coefs, intercepts : list of ndarray, optional
            Weights to take over first.

        Returns
        -------
        ndarray, shape (rows, outputs)
        """
        x = self.data(x)
        with self._lock:
            if coefs is not None:
                self.load(coefs, intercepts)
            self._ready()
            execution = self._executions.get(self.model, block_rows(self.model),
                                             sparse=_compressed(x))
            out = np.empty((x.shape[0], self.shape.outputs), self.shape.dtype)
            execution.executor.forward(x, out)
            return out

    def epoch(self, objective, optimizer, x, labels, weights, order, batch,
              watch=None) -> float:
        """Train for one pass over the data.

        Parameters
        ----------
        objective : ScikitObjective
        optimizer : Optimizer
        x : ndarray or CompressedRows, shape (rows, columns)
        labels : ndarray
            As the objective's kind wants them.
        weights : tuple of ndarray, shape (rows,) each
            Empty, or what the plan weighs losses and penalty with.
        order : ndarray of int64, shape (rows,)
        batch : int
        watch : (callable, callable), optional
            Called with the step before and after each of them.

        Returns
        -------
        float
            The sum over rows of the reported loss.
        """
        arrays, rows = (x, labels, *weights), min(batch, len(order))
        executor = self._executor(rows, objective, _heeded(weights), optimizer, _compressed(x))
        executor.keep(arrays)
        executor.totals[...] = 0.0
        if optimizer.whole_data:
            return self._iterate(objective, optimizer, executor, arrays, order, watch)
        steps, step = math.ceil(len(order) / batch), 0
        rates = optimizer.learning_rates(optimizer.steps, steps)
        while step < steps:
            stop = steps
            if watch is not None:
                watch[0](step)
                stop = step + 1
            with BetweenSteps():
                done = executor.run(arrays, order, batch, step, stop, rates, optimizer.steps,
                                    _BUDGET)
                optimizer.steps += done - step
            step = done
            if watch is not None:
                watch[1](step - 1)
        return objective.reported(executor.totals, labels, weights)

    def _executor(self, *asked):
        """The executor for arguments of `Executions.get`; that of the last epoch if it fits."""
        self._ready()
        optimizer, (known, executor) = asked[3], self._bound
        wanted = (self._arena, optimizer.fingerprint(), *asked)
        if known is None or known[0] is not wanted[0] or known[1:] != wanted[1:]:
            executor = self._executions.get(self.model, *asked).executor
            executor.check_finite = False
            self._bound = wanted, executor
        return executor

    def release(self) -> None:
        """Let go of the data of `epoch` and `gradients`, which stays the same until then."""
        self._executions.release()
        self._bound = None, None

    def _iterate(self, objective, optimizer, executor, arrays, order, watch):
        """An epoch of an optimizer that takes all rows in one step."""
        def loss_of(totals):
            return objective.reported(totals, arrays[1], arrays[2:]) / len(order)

        if watch is not None:
            watch[0](0)
        with BetweenSteps():
            parameters = self.model.arena[:self.model.updated_size]
            if iterate(optimizer, executor, parameters, arrays, order, loss_of):
                self.model.stop_training = True
        if watch is not None:
            watch[1](0)
        return loss_of(executor.totals) * len(order)

    def places(self) -> np.ndarray:
        """Where in the arena all that is trained lies: kernels, biases, other variables."""
        self._ready()
        arena = self.model.arena
        numbers = np.arange(arena.size, dtype=f"i{arena.itemsize}")  # laid out as the arena is
        dense = [*(layer.kernel for layer in self._dense), *(layer.bias for layer in self._dense)]
        known = {id(v) for v in dense}
        rest = [v for v in self.model.trained_variables() if id(v) not in known]
        return np.concatenate([v.part(numbers).ravel() for v in (*dense, *rest)]).astype(np.intp)

    def gradients(self, objective, optimizer, x, labels, weights):
        """A function that computes loss and gradient over all rows.

        Parameters
        ----------
        objective, x, labels, weights
            As in `epoch`.
        optimizer : Optimizer
            One without state, whose rate is taken to be 0.

        Returns
        -------
        callable
            From a vector in the order of `places`, which the network takes over, to (loss,
            gradient).
        """
        rows, places = x.shape[0], self.places()
        order, arrays, arena = identity_order(rows), (x, labels, *weights), self.model.arena
        execution = self._executions.get(self.model, rows, objective, _heeded(weights), optimizer,
                                         _compressed(x))
        executor = execution.executor
        executor.check_finite = False
        executor.keep(arrays)

        def loss_and_gradient(packed):
            arena[places] = packed
            executor.totals[...] = 0.0
            with BetweenSteps():
                executor.run(arrays, order, rows, 0, 1, _NO_RATE, 0, _BUDGET)
            return (objective.reported(executor.totals, labels, weights) / rows,
                    executor.gradients[places].astype(np.float64))

        return loss_and_gradient

    # -- copies --------------------------------------------------------------------------------

    def like(self, shape: Shape) -> Network:
        """A network of another shape with this one's seed, and its other weights where they fit."""
        network = Network(shape, self.seed)
        values = self.others()
        if [v.shape for v in network._others()] == [v.shape for v in values]:
            network.load_others(values)
        return network

    # Pickles hold neither the dense weights, which the estimator has, nor anything that is made
    # again when it is needed.
    def __getstate__(self):
        return {"shape": self.shape, "seed": self.seed, "others": self.others()}

    def __setstate__(self, state):
        self.__init__(state["shape"], state["seed"])
        self.load_others(state["others"])

    def __deepcopy__(self, memo):
        network = Network(copy.deepcopy(self.shape, memo), self.seed)
        network.load_others(self.others())
        network.load(*self.weights())
        return network


def _heeded(weights):
    """Whether the network's one output has sample weights, as `Executions.get` asks."""
    return (True,) if weights else ()


def _compressed(x):
    """Whether the network's one input is in compressed rows, as `Executions.get` asks."""
    return () if isinstance(x, np.ndarray) else (True,)


def _dense(name, units, activation):
    """A dense layer that has `units` columns after its activation."""
    group = 1
    if isinstance(activation, str):
        row = spec.ACTIVATIONS.get(activation)
        group = {"halves": 2, "pieces": 2}.get(getattr(row, "kind", None), 1)
    return Dense(units * group, activation=activation, kernel_initializer="zeros", name=name)
