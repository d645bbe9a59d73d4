"""`compile`, `fit`, `evaluate`, `predict` and their like: what a model does with data.

A `Trainer` is the half of a model that runs plans.  It knows plans, executors, data and callbacks,
and of the network only the few attributes named in `Trainer`; layers and backends it does not know.

Everything that an epoch needs is prepared before its first step: data checked and converted once,
the network lowered once.  An epoch is then one call of the executor, or, where somebody wants to
watch, as few as a call's budget of time allows.
"""

from __future__ import annotations

import math
import threading
import warnings
from functools import wraps
from typing import Any

import numpy as np

from .. import backend, checks, optimizers, random
from ..plan import Plan
from . import data as adapters
from .callbacks import CallbackList, History
from .execution import Executions, block_rows, identity_order, lower
from .interrupt import BetweenSteps
from .nonfinite import origin
from .objective import Objective
from .predictor import Predictor
from .progress import resolve_verbose

__all__ = ["Trainer"]

_BUDGET = 0.1  # seconds that an executor may run before callbacks and Ctrl-C get their turn
_DEFAULT_BATCH = 32
_ndarray, _empty = np.ndarray, np.empty
_TRAIN_NAMES = ("x", "y", "sample_weight")
_VALIDATION_NAMES = ("validation_data[0]", "validation_data[1]", "validation_data[2]")


def _exclusive(method):
    """One thread at a time trains or evaluates a model: its executors keep their sums."""

    @wraps(method)
    def alone(self, *args, **kwargs):
        with self._lock:
            return method(self, *args, **kwargs)

    return alone


class Trainer:
    """Training, evaluation and prediction of a network.

    The network's half gives `name`, `dtype`, `seed`, `built`, `build`, `input_shape`, `layers`,
    `place` (variables into their arena), `arena`, `updated_size`, `lower_layers`, `widths`,
    `compute_output_shape` and `trainable_variables`.

    Attributes
    ----------
    optimizer : Optimizer or None
    loss
        As it was given to `compile`.
    history : History or None
        Of the latest `fit`.
    stop_training, stop_evaluating, stop_predicting : bool
        A callback sets one to end what is going on after the current batch.
    compiled : bool
    """

    def __init__(self):
        self.optimizer = None
        self.loss: Any = None
        self.history: History | None = None
        self.stop_training = self.stop_evaluating = self.stop_predicting = False
        self._objective: Objective | None = None
        self._steps_per_execution = 1
        self._epoch = 0  # passes over data begun so far; with the seed it decides their order
        self._executions = Executions()
        self._position = (0, 0, 0)  # rows, batch size and next step of an unfinished pass
        self._lock = threading.RLock()
        self._moved()

    @property
    def compiled(self) -> bool:
        """Whether `compile` has been called."""
        return self._objective is not None

    # -- compile -------------------------------------------------------------------------------

    def compile(self, optimizer="adam", loss=None, loss_weights=None, metrics=None,
                weighted_metrics=None, run_eagerly: bool = False, steps_per_execution: int = 1,
                jit_compile="auto", auto_scale_loss: bool = True) -> None:
        """Say how the model is to be trained and judged.

        Which variables are trainable is decided now; a later change of `trainable` takes effect
        when `compile` is called again.

        Parameters
        ----------
        optimizer : str, dict or Optimizer
            See `fusedmlp.optimizers`.
        loss : str, dict, Loss or function
            See `fusedmlp.losses`; "crossentropy" takes the one that fits the targets.
        loss_weights : float, optional
            Factor of the loss.
        metrics, weighted_metrics : list of str, dict, Metric or function, optional
            What is reported beside the loss, without and with sample weights; "accuracy" takes
            the one that fits the targets.
        steps_per_execution : int
            Callbacks that want batches see every so manieth.
        run_eagerly, jit_compile, auto_scale_loss
            There for scripts written for Keras; nothing is traced here and no loss scaled, so
            they change nothing.

        Raises
        ------
        ValueError, TypeError
            If a name is unknown (the nearest known ones are named) or something is none of these.
            The model is then as before.

        Examples
        --------
        >>> import fusedmlp as fm
        >>> model = fm.Sequential([fm.Input((4,)), fm.layers.Dense(3, activation="softmax")])
        >>> model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        >>> model.metrics_names
        ['loss', 'accuracy']
        """
        steps = checks.integer(steps_per_execution, "steps_per_execution", 1)
        found = optimizers.get(optimizer)
        objective = Objective(loss, loss_weights, metrics, weighted_metrics)
        self.optimizer, self.loss, self._objective = found, loss, objective
        self._steps_per_execution = steps
        self.stop_training = False
        self._moved()
        self._freeze_trainable()

    def get_compile_config(self) -> dict[str, Any]:
        """The arguments of `compile`, as names and config dicts; empty before it."""
        if not self.compiled:
            return {}
        described = None if self.optimizer is None else optimizers.serialize(self.optimizer)
        return {"optimizer": described, **self._objective.get_config(),
                "steps_per_execution": self._steps_per_execution}

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """`compile` with what `get_compile_config` returned."""
        self.compile(**config)

    @property
    def metrics(self) -> list:
        """The metrics beside the loss, as objects, in the order of the logs."""
        if not self.compiled:
            return []
        return [metric for _, metric, _ in self._bound().metrics]

    @property
    def metrics_names(self) -> list[str]:
        """Names in the order in which `evaluate` returns numbers."""
        return list(self._bound().names) if self.compiled else []

    def metric_directions(self) -> dict[str, int]:
        """For each metric that has one, 1 where larger is better and -1 where smaller is."""
        ways = {"up": 1, "down": -1}
        return {name: ways[metric.direction] for name, metric, _ in self._bound().metrics
                if metric.direction in ways}

    def _bound(self, targets_shape=None):
        columns = self.output_shape[1] if self.built else 1
        return self._objective.bind(targets_shape, columns)

    def _require_compiled(self, what, optimizer=True):
        if not self.compiled:
            raise ValueError(f"Call `compile()` before `{what}()`")
        if self.loss is None:
            raise ValueError(f"`{what}()` needs a loss: give `compile()` the argument `loss`")
        if optimizer and self.optimizer is None:
            raise ValueError(
                f"`{what}()` needs an optimizer: give `compile()` the argument `optimizer`"
            )

    # -- state ---------------------------------------------------------------------------------

    def _state(self) -> dict[str, int]:
        """What a checkpoint needs besides weights and optimizer, for `_set_state`."""
        rows, size, position = self._position
        return {"seed": self.seed, "epoch": self._epoch, "rows": rows, "batch_size": size,
                "position": position}

    def _set_state(self, state: dict[str, int]) -> None:
        self.seed, self._epoch = int(state["seed"]), int(state["epoch"])
        self._position = tuple(int(state.get(key, 0)) for key in ("rows", "batch_size",
                                                                  "position"))
        self._moved()

    def _moved(self):
        """Forget whatever is bound to where parameters lie, or to the seed."""
        self._executions.clear()
        self._predicting = None  # the execution that `predict` uses,
        self._fast = (None, 0, 0, 0, None, None)  # and what its fast path compares and calls

    # -- fit -----------------------------------------------------------------------------------

    @_exclusive
    def fit(self, x=None, y=None, batch_size: int | None = None, epochs: int = 1,
            verbose="auto", callbacks=None, validation_split: float = 0.0, validation_data=None,
            shuffle: bool = True, class_weight=None, sample_weight=None, initial_epoch: int = 0,
            steps_per_epoch: int | None = None, validation_steps: int | None = None,
            validation_batch_size: int | None = None, validation_freq=1) -> History:
        """Train for some epochs.

        Parameters
        ----------
        x : array_like, shape (rows, columns)
            Arrays, lists and data frames of real numbers; converted once to the model's dtype.
        y : array_like
            Classes (rows,) or (rows, 1), or targets with the columns of the prediction, as the
            loss wants them.
        batch_size : int, optional
            Rows of a step, 32 by default; the last step of an epoch takes what is left.
        epochs : int
            Number of the last epoch (`initial_epoch` is that of the first).
        verbose : {"auto", 0, 1, 2}
            0 is silent, 1 a progress bar (one line per epoch where `tqdm` is not installed), 2 one
            line per epoch; "auto" is 1 on a terminal or in a notebook and 0 elsewhere.
        callbacks : Callback or list of Callback, optional
        validation_split : float
            Share of the last rows that is kept from training and evaluated after each epoch.
        validation_data : tuple, optional
            ``(x, y)`` or ``(x, y, sample_weight)`` to evaluate instead.
        shuffle : bool
            Whether each epoch takes the rows in a new order, a function of the model's seed and
            the number of the epochs so far.
        class_weight : dict, optional
            Factor of the loss by class; may be given together with `sample_weight`.
        sample_weight : array_like, shape (rows,), optional
            Factor of the loss by row.
        initial_epoch : int
        steps_per_epoch : int, optional
            Steps that make an epoch; an epoch goes on in the data where the last one ended.
            Without `batch_size`, rows are divided among so many steps.
        validation_steps, validation_batch_size : int, optional
            The same for the evaluation, which always begins with the first row.
        validation_freq : int or list of int
            Evaluate after every so manieth epoch, or after those in the list, counted from 1.

        Returns
        -------
        History
            Its `history` is a dict of lists: "loss" and the metrics, and the same with "val_" in
            front.  The numbers are means over the epoch, weighted by rows.

        Raises
        ------
        ValueError, TypeError
            If data or arguments don't fit; the message names them, and nothing has changed.

        Warns
        -----
        RuntimeWarning
            Once, if the loss is not finite: with the step, the epoch and the layer where it began.

        Notes
        -----
        After a KeyboardInterrupt the model has the weights of the last completed step and can be
        used and trained on.

        Examples
        --------
        >>> import numpy as np
        >>> import fusedmlp as fm
        >>> fm.utils.set_random_seed(1)
        >>> x = np.random.default_rng(1).normal(size=(256, 2)).astype("float32")
        >>> y = (x[:, 0] * x[:, 1] > 0).astype("int64")
        >>> model = fm.Sequential([
        ...     fm.Input((2,)),
        ...     fm.layers.Dense(16, activation="tanh"),
        ...     fm.layers.Dense(2, activation="softmax"),
        ... ])
        >>> model.compile(fm.optimizers.Adam(0.03), "sparse_categorical_crossentropy",
        ...               metrics=["accuracy"])
        >>> history = model.fit(x, y, epochs=20, validation_split=0.25, verbose=0)
        >>> sorted(history.history), history.history["val_accuracy"][-1] > 0.9
        (['accuracy', 'loss', 'val_accuracy', 'val_loss'], True)
        """
        self._require_compiled("fit")
        checked = _FitArguments(batch_size, epochs, verbose, shuffle, initial_epoch,
                                steps_per_epoch, validation_steps, validation_batch_size,
                                validation_freq, validation_split)
        width, columns, dtype = self._shapes(x, "x")
        x = adapters.features(x, "x", width, dtype)
        validation = None
        if validation_data is not None:
            val_x, *rest = adapters.unpack(validation_data)
            val_x = adapters.features(val_x, _VALIDATION_NAMES[0], x.shape[1], dtype)
            validation = (val_x, *rest)
        elif validation_split:
            y = adapters.targets(y, "y", len(x), "x")
            if sample_weight is not None:
                sample_weight = adapters.weights(sample_weight, "sample_weight", len(x), dtype)
            (x, y, sample_weight), validation = adapters.split(
                validation_split, x, y, sample_weight)
        samples, objective = adapters.prepare(
            x, y, _TRAIN_NAMES, self._objective.bind, columns, sample_weight, class_weight)
        held_out = None
        if validation is not None:
            held_out, _ = adapters.prepare(validation[0], validation[1], _VALIDATION_NAMES,
                                           self._objective.bind, columns, validation[2])
        size = checked.rows_per_step(samples.rows)
        passes = math.ceil(samples.rows / size)
        callbacks = _callback_list(callbacks, checked.verbose, checked.epochs,
                                   min(steps_per_epoch or passes, passes), add_history=True)
        self._ready(samples.arrays[0].shape[1])
        self._warn_of_changed_trainable()
        execution = self._executions.get(self, min(size, samples.rows), objective,
                                         samples.weighted, self.optimizer)
        callbacks.set_model(self)
        run = _Training(self, execution, objective, samples, size, checked, callbacks)
        self.stop_training = False
        logs: dict[str, float] = {}
        callbacks.on_train_begin()
        try:
            for epoch in range(checked.initial_epoch, checked.epochs):
                callbacks.on_epoch_begin(epoch)
                logs = run.epoch(epoch)
                if held_out is not None and checked.evaluates(epoch):
                    numbers = self._evaluate(
                        held_out, objective, validation_batch_size or batch_size,
                        validation_steps, callbacks)
                    logs.update((f"val_{name}", value) for name, value in numbers.items())
                callbacks.on_epoch_end(epoch, logs)
                if self.stop_training:
                    break
            callbacks.on_train_end(logs)
        finally:
            if callbacks.progbar is not None:
                callbacks.progbar.close()
        return callbacks.history

    def _shapes(self, x, name):
        """Width of the input (None: unknown), predicted columns, and the dtype."""
        dtype = np.dtype(self.dtype)
        if self.built:
            return self.input_shape[1], self.output_shape[1], dtype
        array = adapters.features(x, name, None, dtype)
        shape = (None, array.shape[1])
        return array.shape[1], self.compute_output_shape(shape)[1], dtype

    def _ready(self, width):
        """Build, and have the variables in their arena."""
        if not self.built:
            self.build((None, width))
        self.place()

    def _warn_of_changed_trainable(self):
        changed = self._changed_trainable()
        if changed:
            warnings.warn(
                "`trainable` has been changed since `compile()`, which still decides what is "
                f"updated; call it again for the change to take effect. Layers: "
                f"{', '.join(map(repr, changed))}",
                stacklevel=4,
            )

    # -- evaluate ------------------------------------------------------------------------------

    @_exclusive
    def evaluate(self, x=None, y=None, batch_size: int | None = None, verbose="auto",
                 sample_weight=None, steps: int | None = None, callbacks=None,
                 return_dict: bool = False):
        """Loss and metrics on data, without training.

        Parameters
        ----------
        x, y, sample_weight, batch_size, verbose, callbacks
            As in `fit`; the numbers depend on `batch_size` only for a loss whose reduction is
            "sum".
        steps : int, optional
            Batches to look at, from the first on.
        return_dict : bool
            Whether to return a dict of numbers by name.

        Returns
        -------
        float, list of float, or dict
            The loss if there are no metrics, else the loss and the metrics.

        Raises
        ------
        ValueError, TypeError
            If data or arguments don't fit.

        Examples
        --------
        >>> import numpy as np
        >>> import fusedmlp as fm
        >>> model = fm.Sequential([fm.Input((2,)), fm.layers.Dense(1, kernel_initializer="ones")])
        >>> model.compile("sgd", "mse", metrics=["mae"])
        >>> model.evaluate(np.ones((4, 2)), np.zeros(4))
        [4.0, 2.0]
        """
        self._require_compiled("evaluate", optimizer=False)
        verbose = resolve_verbose(verbose)
        if batch_size is not None:
            checks.integer(batch_size, "batch_size", 1)
        if steps is not None:
            checks.integer(steps, "steps", 1)
        samples, objective = self._test_samples(x, y, sample_weight)
        batches = steps or math.ceil(samples.rows / (batch_size or _DEFAULT_BATCH))
        callbacks = _callback_list(callbacks, verbose, 1, batches)
        callbacks.set_model(self)
        logs = self._evaluate(samples, objective, batch_size, steps, callbacks)
        return logs if return_dict else _in_order(logs)

    def _test_samples(self, x, y, sample_weight):
        width, columns, dtype = self._shapes(x, "x")
        x = adapters.features(x, "x", width, dtype)
        samples, objective = adapters.prepare(x, y, _TRAIN_NAMES, self._objective.bind, columns,
                                              sample_weight)
        self._ready(x.shape[1])
        return samples, objective

    def _evaluate(self, samples, objective, batch_size, steps, callbacks):
        """Logs of an evaluation."""
        watched = callbacks.wants_batches("test")
        size = batch_size or _DEFAULT_BATCH
        rows = samples.rows if steps is None else min(samples.rows, steps * size)
        reported = callbacks.methods("on_test_batch_end")
        if not watched and not reported and objective.loss.reduction != "sum":
            size = block_rows(self)  # the same numbers for any size
        stop = math.ceil(rows / size)
        execution = self._executions.get(self, min(size, rows), objective, samples.weighted)
        executor = execution.executor
        executor.check_finite = False
        totals = executor.totals
        totals[...] = 0.0
        order, rates = identity_order(rows), np.zeros(stop)
        callbacks.on_test_begin()
        self.stop_evaluating = False
        step = 0
        while step < stop and not self.stop_evaluating:
            end = stop
            if watched:
                callbacks.on_test_batch_begin(step)
                end = min(step + self._steps_per_execution, stop)
            step = executor.run(samples.arrays, order, size, step, end, rates, 0, _BUDGET)
            if reported:
                callbacks.on_test_batch_end(step - 1, objective.logs(totals))
        logs = objective.logs(totals)
        callbacks.on_test_end(logs)
        return logs

    # -- single batches ------------------------------------------------------------------------

    @_exclusive
    def train_on_batch(self, x, y=None, sample_weight=None, class_weight=None,
                       return_dict: bool = False):
        """Make one step with all rows of `x`.

        Parameters
        ----------
        x, y, sample_weight, class_weight
            As in `fit`.
        return_dict : bool
            Whether to return a dict of numbers by name.

        Returns
        -------
        float, list of float, or dict
            As `evaluate` does: the numbers of this batch, before the update.

        Raises
        ------
        ValueError, TypeError
            If data or arguments don't fit; nothing has changed then.

        Examples
        --------
        >>> import numpy as np
        >>> import fusedmlp as fm
        >>> model = fm.Sequential([fm.Input((2,)), fm.layers.Dense(1, kernel_initializer="ones")])
        >>> model.compile(fm.optimizers.SGD(0.1), "mse")
        >>> model.train_on_batch([[1.0, 1.0]], [0.0])
        4.0
        """
        self._require_compiled("train_on_batch")
        width, columns, dtype = self._shapes(x, "x")
        x = adapters.features(x, "x", width, dtype)
        samples, objective = adapters.prepare(x, y, _TRAIN_NAMES, self._objective.bind, columns,
                                              sample_weight, class_weight)
        self._ready(x.shape[1])
        execution = self._executions.get(self, samples.rows, objective, samples.weighted,
                                         self.optimizer)
        return self._one_batch(execution, samples, objective, return_dict, self.optimizer)

    @_exclusive
    def test_on_batch(self, x, y=None, sample_weight=None, return_dict: bool = False):
        """Loss and metrics of all rows of `x` as one batch; see `evaluate`.

        Examples
        --------
        >>> import fusedmlp as fm
        >>> model = fm.Sequential([fm.Input((2,)), fm.layers.Dense(1, kernel_initializer="ones")])
        >>> model.compile("sgd", "mse")
        >>> model.test_on_batch([[1.0, 1.0]], [0.0], return_dict=True)
        {'loss': 4.0}
        """
        self._require_compiled("test_on_batch", optimizer=False)
        samples, objective = self._test_samples(x, y, sample_weight)
        execution = self._executions.get(self, samples.rows, objective, samples.weighted)
        return self._one_batch(execution, samples, objective, return_dict)

    def _one_batch(self, execution, samples, objective, return_dict, optimizer=None):
        executor, rows = execution.executor, samples.rows
        # A callback of a running `fit` may come here with the executor that `fit` uses.
        checked, totals = executor.check_finite, executor.totals.copy()
        executor.check_finite = False
        executor.totals[...] = 0.0
        if optimizer is None:
            executor.run(samples.arrays, identity_order(rows), rows, 0, 1, _NO_RATE, 0, math.inf)
        else:
            iteration = optimizer.iterations
            rates = optimizer.learning_rates(iteration, 1)
            with BetweenSteps():
                executor.run(samples.arrays, identity_order(rows), rows, 0, 1, rates, iteration,
                             math.inf)
                optimizer.iterations = iteration + 1
        logs = objective.logs(executor.totals)
        executor.check_finite = checked
        executor.totals[...] = totals
        return logs if return_dict else _in_order(logs)

    # -- predict -------------------------------------------------------------------------------

    def predict(self, x, batch_size: int | None = None, verbose="auto",
                steps: int | None = None, callbacks=None) -> np.ndarray:
        """The network's output for each row.

        On the compiled backend a row's output does not depend on the rows beside it, so the batch
        size matters only to callbacks and `steps`; the rows run in blocks of a size that suits
        the processor.

        Parameters
        ----------
        x : array_like, shape (rows, columns)
        batch_size : int, optional
            32 by default, where `steps` or callbacks count batches.
        verbose : {"auto", 0, 1, 2}
            1 and 2 as in `fit`; "auto" is silent, because a prediction takes microseconds.
        steps : int, optional
            Batches to predict, from the first on.
        callbacks : Callback or list of Callback, optional

        Returns
        -------
        ndarray, shape (rows, columns of the output), of the model's dtype

        Raises
        ------
        ValueError, TypeError
            If data or arguments don't fit.

        Examples
        --------
        >>> import numpy as np
        >>> import fusedmlp as fm
        >>> model = fm.Sequential([fm.Input((2,)), fm.layers.Dense(1, kernel_initializer="ones")])
        >>> model.predict(np.array([[1.0, 2.0], [3.0, 4.0]]))
        array([[3.],
               [7.]], dtype=float32)
        """
        if steps is None and callbacks is None and (verbose == "auto" or verbose == 0):
            # What `_predict` found out once; such tests are most of the time that a row takes.
            dtype, width, columns, most, forward, active = self._fast
            if type(x) is _ndarray and x.dtype is dtype and active is backend._active:
                shape, flags = x.shape, x.flags
                if (len(shape) == 2 and shape[1] == width and 0 < shape[0] <= most
                        and flags.c_contiguous and flags.aligned):
                    out = _empty((shape[0], columns), dtype=dtype)
                    forward(x, out)
                    return out
        return self._predict(x, batch_size, verbose, steps, callbacks)

    def _predict(self, x, batch_size, verbose, steps, callbacks):
        verbose = 0 if isinstance(verbose, str) and verbose == "auto" else resolve_verbose(verbose)
        size = _DEFAULT_BATCH if batch_size is None else checks.integer(
            batch_size, "batch_size", 1)
        x = self._prepare_forward(x)
        *_, most, forward, _ = self._fast
        if steps is not None:
            x = x[: checks.integer(steps, "steps", 1) * size]
        rows = len(x)
        watched = callbacks is not None or verbose > 0
        if not watched:
            size = most
        out = np.empty((rows, self.output_shape[1]), x.dtype)
        stop = math.ceil(rows / size)
        self.stop_predicting = False
        if watched:
            callbacks = _callback_list(callbacks, verbose, 1, stop)
            callbacks.set_model(self)
            callbacks.on_predict_begin()
        done = 0
        for step in range(stop):
            if watched:
                callbacks.on_predict_batch_begin(step)
            done = min((step + 1) * size, rows)
            part = out[step * size : done]
            forward(x[step * size : done], part)
            if watched:
                callbacks.on_predict_batch_end(step, {"outputs": part})
                if self.stop_predicting:
                    break
        if watched:
            callbacks.on_predict_end()
        return out[:done]

    def _prepare_forward(self, x):
        """Input as the executor takes it, and everything that `predict` holds ready."""
        width, columns, dtype = self._shapes(x, "x")
        x = adapters.features(x, "x", width, dtype)
        self._ready(x.shape[1])
        execution = self._executions.get(self, block_rows(self))
        if execution is not self._predicting:
            self._predicting, plan = execution, execution.plan
            flops = sum(map(plan.flops, plan.ops)) // plan.batch_size
            self._fast = (dtype, x.shape[1], columns, max(1, _CALL_FLOPS // max(flops, 1)),
                          execution.executor.forward, backend.kernels())
        return x

    def predict_on_batch(self, x) -> np.ndarray:
        """The same as `predict`.

        >>> import fusedmlp as fm
        >>> model = fm.Sequential([fm.Input((2,)), fm.layers.Dense(1, kernel_initializer="ones")])
        >>> model.predict_on_batch([[1.0, 2.0]])
        array([[3.]], dtype=float32)
        """
        return self.predict(x, None, 0)

    def __call__(self, x, training: bool = False) -> np.ndarray:
        """The same as `predict`.

        Raises
        ------
        ValueError
            If `training` is asked for and a layer behaves differently then.

        >>> import fusedmlp as fm
        >>> model = fm.Sequential([fm.Input((2,)), fm.layers.Dense(1, kernel_initializer="ones")])
        >>> model([[1.0, 2.0]])
        array([[3.]], dtype=float32)
        """
        if training:
            different = [layer.name for layer in self.layers if layer.differs_in_training]
            if different:
                raise ValueError(
                    "Argument `training` of a call must be False for a model with layers that "
                    "behave differently in training, which only `fit` and `train_on_batch` do. "
                    f"Received: training={training!r} with layers {', '.join(different)}"
                )
        return self.predict(x, None, 0)

    def predictor(self, batch: int = 1) -> Predictor:
        """A function for predictions of at most `batch` rows, with buffers of its own.

        Parameters
        ----------
        batch : int
            Most rows of a call.

        Returns
        -------
        Predictor
            Called as ``p(x)`` or ``p(x, out=array)``.  Without `out` it returns its own output
            array, which its next call overwrites.  It sees the model's weights as they are at
            each call.  One thread at a time may use it; make one for each thread.

        Raises
        ------
        ValueError, TypeError
            If `batch` is no positive integer, or the model is not built.

        Examples
        --------
        >>> import numpy as np
        >>> import fusedmlp as fm
        >>> model = fm.Sequential([fm.Input((2,)), fm.layers.Dense(1, kernel_initializer="ones")])
        >>> p = model.predictor()
        >>> p(np.array([[1.0, 2.0]], "float32"))
        array([[3.]], dtype=float32)
        """
        batch = checks.integer(batch, "batch", 1)
        self._require_built("predictor")
        return Predictor(self, batch)

    # -- plan ----------------------------------------------------------------------------------

    def plan(self, batch_size: int = 32) -> Plan:
        """What the executor runs, as plain data; printed, it is a table.

        Parameters
        ----------
        batch_size : int
            Most rows in a step.

        Returns
        -------
        fusedmlp.plan.Plan
            Of a training step if the model is compiled with optimizer and loss, else of a
            prediction.  What depends on the shape of the targets ("accuracy") is as in the latest
            `fit`, or as the loss suggests.

        Raises
        ------
        ValueError, TypeError
            If `batch_size` is no positive integer, or the model is not built.

        Examples
        --------
        >>> import fusedmlp as fm
        >>> model = fm.Sequential([fm.Input((2,)), fm.layers.Dense(1, activation="relu")])
        >>> [op.op for op in model.plan().ops]
        ['gather', 'dense']
        """
        batch_size = checks.integer(batch_size, "batch_size", 1)
        self._require_built("plan")
        self.place()
        if self.loss is None or self.optimizer is None:
            return lower(self, batch_size)[0]
        return lower(self, batch_size, self._bound(), False, self.optimizer)[0]

    def _require_built(self, what):
        if not self.built:
            raise ValueError(
                f"`{what}()` needs a built model: give it an Input, or call `build(input_shape)`"
            )


_NO_RATE = np.zeros(1)
_CALL_FLOPS = 10**9  # work of a call that need not be cut up for Ctrl-C


def _callback_list(callbacks, verbose, epochs, steps, add_history=False):
    """A `CallbackList` from what people pass, which may be one."""
    params = {"verbose": verbose, "epochs": epochs, "steps": steps}
    if not isinstance(callbacks, CallbackList):
        return CallbackList(callbacks, add_history, verbose > 0, **params)
    if add_history and callbacks.history is None:
        callbacks.append(History())
    callbacks.set_params(params)
    return callbacks


def _in_order(logs):
    """The only number, or a list of all."""
    values = list(logs.values())
    return values[0] if len(values) == 1 else values


class _FitArguments:
    """The plain arguments of `fit`, checked."""

    def __init__(self, batch_size, epochs, verbose, shuffle, initial_epoch, steps_per_epoch,
                 validation_steps, validation_batch_size, validation_freq, validation_split):
        self.verbose = resolve_verbose(verbose)
        self.epochs = checks.integer(epochs, "epochs", 0)
        self.initial_epoch = checks.integer(initial_epoch, "initial_epoch", 0)
        self.batch_size, self.steps_per_epoch = batch_size, steps_per_epoch
        for name, value in (("batch_size", batch_size), ("steps_per_epoch", steps_per_epoch),
                            ("validation_steps", validation_steps),
                            ("validation_batch_size", validation_batch_size)):
            if value is not None:
                checks.integer(value, name, 1)
        if shuffle not in (True, False):
            raise ValueError(f"Argument `shuffle` must be True or False. Received: {shuffle!r}")
        self.shuffle = bool(shuffle)
        if validation_split:
            checks.number(validation_split, "validation_split", low=0, below=1)
        self._evaluated = None
        if isinstance(validation_freq, (list, tuple, set)):
            self._evaluated = set(validation_freq)
        else:
            self._every = checks.integer(validation_freq, "validation_freq", 1)

    def rows_per_step(self, rows):
        if self.batch_size is None and self.steps_per_epoch is not None:
            return math.ceil(rows / self.steps_per_epoch)
        return self.batch_size or _DEFAULT_BATCH

    def evaluates(self, epoch):
        if self._evaluated is not None:
            return epoch + 1 in self._evaluated
        return (epoch + 1) % self._every == 0


class _Training:
    """The epochs of one `fit`."""

    def __init__(self, model, execution, objective, samples, size, arguments, callbacks):
        self.model, self.optimizer = model, model.optimizer
        self.objective, self.samples, self.size = objective, samples, size
        self.check_finite = True
        self._bind(execution)
        self.callbacks = callbacks
        self.passes = math.ceil(samples.rows / size)  # steps of a pass over the data
        self.shuffle = arguments.shuffle and self.passes > 1  # one batch is the same in any order
        self.steps = arguments.steps_per_epoch
        # Steps of `steps_per_epoch` go on in the pass over the data that the last ones began.
        rows, last_size, position = model._position
        same = self.steps is not None and (rows, last_size) == (samples.rows, size)
        self.position = position if same else 0
        self.order = identity_order(samples.rows)
        if self.position and self.shuffle:
            self.order = random.permutation(samples.rows, model.seed, model._epoch - 1)
        self.begun = callbacks.methods("on_train_batch_begin", "on_batch_begin")
        self.ended = callbacks.methods("on_train_batch_end", "on_batch_end")
        self.each = callbacks.wants_batches("train")

    def _bind(self, execution):
        self.execution, self.executor = execution, execution.executor
        self.arena = self.model.arena
        self.params = self.optimizer.kernel_params()
        self.executor.check_finite = self.check_finite
        self.executor.nonfinite = -1

    def _rebind(self):
        """Take up what a callback changed: hyperparameters, or where the variables lie."""
        totals = self.executor.totals
        self.model.place()
        rows = self.execution.plan.batch_size
        self._bind(self.model._executions.get(self.model, rows, self.objective,
                                              self.samples.weighted, self.optimizer))
        self.executor.totals[...] = totals

    def epoch(self, number):
        """Run one epoch; returns its logs."""
        model, optimizer = self.model, self.optimizer
        if self.position == 0:
            if self.shuffle:
                self.order = random.permutation(self.samples.rows, model.seed, model._epoch)
            model._epoch += 1
        start, stop = self.position, self.passes
        if self.steps is not None:
            stop = min(start + self.steps, stop)
            if stop - start < self.steps:
                warnings.warn(
                    f"Epoch {number + 1} ends after {stop - start} of `steps_per_epoch` = "
                    f"{self.steps} steps, because the data is used up", stacklevel=4,
                )
        self.position = stop if stop < self.passes else 0
        model._position = (self.samples.rows, self.size, self.position)
        self.executor.totals[...] = 0.0
        iteration = optimizer.iterations
        rates = optimizer.learning_rates(iteration, stop - start)
        if start:
            rates = np.concatenate([np.zeros(start), rates])
        step, each = start, model._steps_per_execution
        while step < stop:
            end = min(step + each, stop) if self.each or model.stop_training else stop
            if self.each:
                for method in self.begun:
                    method(step - start)
                # a callback may have set another rate
                rates[step:end] = optimizer.learning_rates(iteration, end - step)
            if model.arena is not self.arena or optimizer.kernel_params() != self.params:
                self._rebind()
            iteration = optimizer.iterations  # a callback may have made steps of its own
            executor = self.executor
            with BetweenSteps():
                done = executor.run(self.samples.arrays, self.order, self.size, step, end, rates,
                                    iteration, _BUDGET)
                iteration += done - step
                optimizer.iterations = iteration
            step = done
            if executor.nonfinite >= 0:
                self._report(number, executor.nonfinite - start)
            if self.ended:
                logs = self.objective.logs(executor.totals)
                for method in self.ended:
                    method(step - start - 1, logs=dict(logs))
            if model.stop_training:
                break
        return self.objective.logs(self.executor.totals)

    def _report(self, epoch, step):
        """Warn once of a loss that is not finite, and go on."""
        place = origin(self.execution.plan, self.executor, self.execution.owners)
        self.executor.nonfinite = -1
        self.executor.check_finite = self.check_finite = False
        warnings.warn(
            f"The loss is not finite from step {step + 1} of epoch {epoch + 1} on: an infinity or "
            f"NaN arose {place}. Training goes on; lower the learning rate, or look at the data",
            RuntimeWarning, stacklevel=5,
        )
