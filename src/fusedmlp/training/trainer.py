"""`compile`, `fit`, `evaluate`, `predict` and their like: what a model does with data.

A `Trainer` is the half of a model that runs plans.  It knows plans, executors, data and callbacks,
and of the network only the few attributes named in `Trainer`; layers and backends it does not know.

Everything that an epoch needs is prepared before its first step: data checked and converted once,
the network lowered once.  An epoch is then one call of the executor, or, where somebody wants to
watch, as few as a call's budget of time allows.
"""

from __future__ import annotations

import copy
import math
import sys
import threading
import warnings
from collections.abc import Mapping
from functools import wraps
from typing import Any

import numpy as np

from .. import backend, checks, constraints, losses, optimizers, random, tracing, tree
from ..plan import Plan
from . import data as adapters
from .batches import Batches, is_batches, unpack_batch
from .callbacks import CallbackList, History
from .execution import Executions, block_rows, first_iteration, identity_order, lower
from .feed import ArrayFeed, BatchFeed, constant, pieces
from .interrupt import BetweenSteps
from .iteration import iterate
from .limits import LIMITS, limited_epochs, limited_steps
from .nonfinite import origin
from .objective import Objective
from .observing import Recorder, interval
from .own import ModelLoss
from .ports import Port, is_several, spread
from .predictor import Predictor
from .progress import resolve_verbose
from .stored import Stored

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

    The network's half gives `name`, `dtype`, `seed`, `built`, `layers`, `ports` and `ports_for`
    (what data goes in and comes out), `front`, `begins_with_data`, `keyed_outputs`, `build_for`,
    `pack_outputs`, `place` (variables into their arena), `arena`, `updated_size`, `lower_graph`,
    `widths` and `trainable_variables`.

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
        self.run_eagerly = self.jit_compile = False  # there for scripts written for Keras
        self._objective: Objective | None = None
        self._latest_logs: dict[str, float] = {}
        self._reported: dict[str, float] | None = None  # by a `compute_metrics` of one's own,
        self._measuring, self._live = False, (None, None)  # while it runs, and what it looks at
        self._asked_metrics = False  # whether a `metrics` of one's own names those of `compile`
        self._steps_per_execution = 1
        self._running: CallbackList | None = None  # of the `fit` that is running
        self._restored: tuple[int, list] | None = None  # epoch and states of callbacks
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
            See `fusedmlp.losses`; "crossentropy" takes the one that fits the targets.  For several
            outputs a list or a dict by their names, or one that is that of each.
        loss_weights : float, list or dict, optional
            Factors of the losses; what is minimised, "loss", is the sum of all, each times its
            factor.
        metrics, weighted_metrics : list of str, dict, Metric or function, optional
            What is reported beside the loss, without and with sample weights; "accuracy" takes
            the one that fits the targets.  For several outputs a list with one of these, or a list
            of such, for each output; or a dict by their names.
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
        RuntimeError
            If `fit` is running.

        Examples
        --------
        >>> import fusedmlp as fm
        >>> model = fm.Sequential([fm.Input((4,)), fm.layers.Dense(3, activation="softmax")])
        >>> model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        >>> model.metrics_names
        ['loss', 'accuracy']
        """
        if self._running is not None:
            raise RuntimeError(
                f"`compile()` of {self.name!r} was called while `fit()` is running, which goes on "
                "with the loss and the optimizer that it began with. End it first (a callback sets "
                "`self.model.stop_training = True`), then compile and fit again, with "
                "`initial_epoch` if epochs are to count on"
            )
        self._refuse_own_steps()
        steps = checks.integer(steps_per_execution, "steps_per_execution", 1)
        found = optimizers.get(optimizer)
        objective = Objective(loss, loss_weights, metrics, weighted_metrics)
        if self._own_loss:
            asked = objective
            objective = Objective(ModelLoss(self), None, metrics, weighted_metrics)
            objective.asked = asked
        objective.owner = self
        if self.built:
            objective.bind(None, self.ports()[1])
        self.optimizer, self.loss, self._objective = found, loss, objective
        self._steps_per_execution = steps
        self._latest_logs = {}
        self.stop_training = False
        self._moved()
        self._freeze_trainable()

    @property
    def _own_loss(self):
        """Whether a subclass computes the loss itself."""
        return type(self).compute_loss is not Trainer.compute_loss

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None,
                     training: bool = True) -> float:
        """The loss of a batch, as `compile` asked for it; a subclass may compute another one.

        A method of one's own, which may call this one, returns a number.  It is followed on
        symbolic tensors and becomes part of the plan, as a layer's `call` does; what layers and
        regularizers add to the loss counts where it calls this method or adds `self.losses`.

        Where that can't be, because it looks at values or keeps them in a metric, it gets arrays
        and runs in Python in each step.  Its gradient is then taken by differences, two calls for
        each predicted number.

        Parameters
        ----------
        x : symbolic tensor, or ndarray
            The input, a list or dict where there are several.
        y, y_pred : symbolic tensor, ndarray, list or dict
            Targets and predictions: what `fit` was given, which may be None or one array for
            several outputs, and what the model returns.  This method needs targets for each
            prediction that has a loss; `y_pred` may also be one of several.
        sample_weight : symbolic tensor or ndarray, optional
        training : bool

        Raises
        ------
        ValueError
            If this one is called though `compile` was not given a loss, or with targets or
            predictions that don't fit the outputs.

        Examples
        --------
        >>> import numpy as np
        >>> import fusedmlp as fm
        >>> class Shrinking(fm.Model):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.out = fm.layers.Dense(1)
        ...     def call(self, x):
        ...         return self.out(x)
        ...     def compute_loss(self, x, y, y_pred, sample_weight=None, training=True):
        ...         loss = super().compute_loss(x, y, y_pred, sample_weight)
        ...         return loss + 0.1 * np.mean(y_pred**2)
        >>> model = Shrinking()
        >>> model.compile("sgd", "mse")
        >>> history = model.fit(np.ones((8, 2)), np.ones(8), verbose=0)
        """
        if self.loss is None:
            raise ValueError("`compute_loss` needs a loss: give `compile()` the argument `loss`")
        predicted, ports = tree.leaves(y_pred), self.ports()[1]
        if len(predicted) == 1:
            ports = ports[:1]  # perhaps a part of what the model returns
        elif len(predicted) != len(ports):
            raise ValueError(
                f"Argument `y_pred` must be what {self.name!r} returns, {len(ports)} predictions, "
                f"or one of them. Received: {len(predicted)}"
            )
        targets = [part for _, part in spread(y, ports, "y", missing=True)]
        total = None
        for (loss, factor), y_true, prediction in zip(
                self._objective.asked.terms(ports), targets, predicted, strict=True):
            if loss is not None:
                found = _loss_of(loss, y_true, prediction, sample_weight)
                found = found if factor == 1.0 else found * factor
                total = found if total is None else total + found
        return total

    def _refuse_own_steps(self):
        """TypeError for a subclass that writes a step anew, which would never be called."""
        own = [name for name in _STEPS if hasattr(type(self), name)]
        if own:
            raise TypeError(
                f"{type(self).__name__} must not define `{own[0]}`: a step is compiled from a "
                "plan, which calls no such method. Define `compute_loss`, call `add_loss` in a "
                "`call`, give `compile` a loss or metrics of your own, layers regularizers, or "
                "make steps with `train_on_batch`"
            )

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
        """The metrics beside the loss, as objects, in the order of the logs.

        First those of `compile`, then those that are attributes of the model or of its layers.  A
        subclass that returns others says what is reported: these alone, or, where it calls this
        property, these beside the others.
        """
        self._asked_metrics = True
        compiled = self._compiled_metrics()
        known = set(map(id, compiled))
        return compiled + [m for m in self._all_metrics() if id(m) not in known]

    def _compiled_metrics(self):
        return [metric for _, metric, *_ in self._bound().metrics] if self.compiled else []

    def tracked_metrics(self) -> list:
        """The metrics that the model updates itself, in a `call` or in a method of its own."""
        found = self._all_metrics() if self._lists_all_metrics else self.metrics
        known = set(map(id, self._compiled_metrics())) if found else ()
        return [metric for metric in found if id(metric) not in known]

    @property
    def _lists_all_metrics(self):
        """Whether `metrics` is not a subclass's own."""
        return type(self).metrics is Trainer.metrics

    @property
    def metrics_names(self) -> list[str]:
        """Names in the order in which `evaluate` returns numbers."""
        return self._names_of(self._bound()) if self.compiled else []

    def _names_of(self, objective):
        """The same for what is reported of an objective."""
        names = list(self._order(objective)) if self._reports_compiled() else []
        return list(dict.fromkeys(names + [metric.name for metric in self.tracked_metrics()]))

    def _reports_compiled(self):
        """Whether what `compile` was asked for is reported: not if `metrics` leaves it out."""
        if self._lists_all_metrics:
            return True
        self._asked_metrics = False
        return self.metrics is not None and self._asked_metrics

    # -- what a model reports itself -------------------------------------------------------------

    @property
    def computes_metrics(self) -> bool:
        """Whether a subclass computes what is reported in `compute_metrics`."""
        return type(self).compute_metrics is not Trainer.compute_metrics

    def compute_metrics(self, x, y, y_pred, sample_weight=None) -> dict[str, float]:
        """The numbers that are reported; a subclass may report others.

        A method of one's own gets the arrays of each batch behind its step, in Python.  It may
        update metrics and returns a dict of numbers, which is what the logs of the batch hold; the
        latest one is that of the epoch.

        Parameters
        ----------
        x, y, y_pred : ndarray
            Input, targets and predictions, lists or dicts where there are several.
        sample_weight : ndarray or None

        Returns
        -------
        dict
            What `get_metrics_result` does.

        Examples
        --------
        >>> import numpy as np
        >>> import fusedmlp as fm
        >>> class Rooted(fm.Sequential):
        ...     def compute_metrics(self, x, y, y_pred, sample_weight=None):
        ...         found = super().compute_metrics(x, y, y_pred, sample_weight)
        ...         return {**found, "rmse": found["mse"] ** 0.5}
        >>> model = Rooted([fm.Input((2,)), fm.layers.Dense(1, kernel_initializer="ones")])
        >>> model.compile("sgd", "mse", metrics=["mse"])
        >>> model.evaluate(np.ones((4, 2)), np.zeros(4), return_dict=True)
        {'loss': 4.0, 'mse': 4.0, 'rmse': 2.0}
        """
        return self.get_metrics_result()

    def measure(self, x, y_pred, y, sample_weight) -> None:
        """Call `compute_metrics` with the arrays of a batch, lists with one for each port."""
        inputs, outputs = self._signature
        y_pred, y, sample_weight = (
            tree.pack(outputs, part) for part in (y_pred, y, sample_weight))
        self._measuring = True
        try:
            with np.errstate(all="ignore"):
                found = self.compute_metrics(tree.pack(inputs, x), y, y_pred, sample_weight)
        finally:
            self._measuring = False
        if not isinstance(found, Mapping):
            raise TypeError(
                f"`compute_metrics` of {self.name!r} must return a dict of numbers. Received: "
                f"{found!r}"
            )
        self._reported = {name: _number(value) for name, value in found.items()}

    def forget_reported(self) -> None:
        """Begin anew with what a model reports itself."""
        self._reported = None

    def reported(self, logs: dict[str, float], tracked: list) -> dict[str, float]:
        """What is reported, given the numbers that `compile` was asked for, and own metrics."""
        return dict(self._reported) if self._reported is not None \
            else self._with_tracked(logs, tracked)

    def _with_tracked(self, logs, tracked):
        """The numbers that `compile` was asked for, and those of the model's own metrics."""
        logs = logs if self._reports_compiled() else {}
        for metric in tracked:
            found = metric.result()
            found = found if isinstance(found, Mapping) else {metric.name: found}
            logs.update((name, _number(value)) for name, value in found.items())
        return logs

    def _order(self, objective):
        """Names of the logs in the order of lists; of outputs in a dict as the losses were given.

        Keras goes through a dict of losses in its own order where the outputs are a dict.
        """
        names, losses_ = objective.in_order, self._objective.loss
        if isinstance(losses_, Mapping) and self.built and self.keyed_outputs:
            given = [f"{key}_loss" for key in losses_ if f"{key}_loss" in objective.loss_names]
            names = ("loss", *given, *(n for n in names[1:] if n not in given))
        return names

    def reset_metrics(self) -> None:
        """Forget the latest numbers; `fit`, `evaluate` and each single batch begin anew anyway."""
        self._latest_logs = {}
        for metric in self.tracked_metrics():
            metric.reset_state()

    def get_metrics_result(self) -> dict[str, float]:
        """The latest numbers by name, of an epoch, an evaluation or of single batches.

        >>> import fusedmlp as fm
        >>> model = fm.Sequential([fm.Input((2,)), fm.layers.Dense(1, kernel_initializer="ones")])
        >>> model.compile("sgd", "mse")
        >>> loss = model.test_on_batch([[1.0, 1.0]], [0.0])
        >>> model.get_metrics_result()
        {'loss': 4.0}
        """
        if self._measuring:
            objective, totals = self._live
            return self._with_tracked(objective.compiled(totals), self.tracked_metrics())
        return dict(self._latest_logs)

    def metric_directions(self) -> dict[str, int]:
        """For each metric that has one, 1 where larger is better and -1 where smaller is."""
        ways = {"up": 1, "down": -1}
        named = [(name, metric) for name, metric, *_ in self._bound().metrics]
        named += [(metric.name, metric) for metric in self.tracked_metrics()]
        return {name: ways[metric.direction] for name, metric in named
                if metric.direction in ways}

    def _bound(self):
        if not self.built and self._objective.latest is not None:
            return self._objective.latest
        return self._objective.bind(None, self.ports()[1] if self.built else _ANY_PORT)

    def _require_compiled(self, what, optimizer=True):
        if not self.compiled:
            raise ValueError(f"Call `compile()` before `{what}()`")
        if (self.loss is None and not self._own_loss and self.built
                and self.adds_losses == "nothing"):
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

    def _save_training(self, filepath, epoch: int) -> None:
        """Write the training that is running to a file; `epoch` is the one to go on with."""
        from ..saving.training import save_training

        save_training(self, filepath, epoch, self._running.get_states())

    def _restore_training(self, filepath) -> None:
        """Have the `fit` that begins go on where the training of a file was."""
        from ..saving.training import restore_training

        self._restored = restore_training(self, filepath)

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
        x : array_like, shape (rows, columns), or batches
            Arrays, lists, tensors, data frames and sparse matrices of SciPy (which a first Dense
            layer takes as they are) with real numbers; for a model with several inputs
            a list of such in their order, or a dict by their names.  Converted once to the model's
            dtype, or, where they are memory-mapped or an HDF5 dataset, block by block.  Or data
            that comes as batches ``(x, y)`` or ``(x, y, sample_weight)``: a generator, a data
            loader, a `fusedmlp.utils.PyDataset` or another object of its kind.
        y : array_like
            Classes (rows,) or (rows, 1), or targets with the columns of the prediction, as the
            loss wants them; a list or a dict of such for a model with several outputs.  None where
            `x` comes as batches.
        batch_size : int, optional
            Rows of a step, 32 by default; the last step of an epoch takes what is left.  Batches
            have a size of their own.
        epochs : int
            Number of the last epoch (`initial_epoch` is that of the first).
        verbose : {"auto", 0, 1, 2}
            0 is silent, 1 a progress bar (one line per epoch where `tqdm` is not installed), 2 one
            line per epoch; "auto" is 1 on a terminal or in a notebook and 0 elsewhere.
        callbacks : Callback or list of Callback, optional
        validation_split : float
            Share of the last rows that is kept from training and evaluated after each epoch.
        validation_data : tuple or batches, optional
            ``(x, y)`` or ``(x, y, sample_weight)`` to evaluate instead, or batches.
        shuffle : bool
            Whether each epoch takes the rows in a new order, a function of the model's seed and
            the number of the epochs so far.  Of batches, those that have numbers (`PyDataset`)
            come in a new order; others come as they are.
        class_weight : dict, optional
            Factor of the loss by class; may be given together with `sample_weight`.  For several
            outputs a dict of such by their names.
        sample_weight : array_like, shape (rows,), optional
            Factor of the loss by row; for several outputs a list or dict with one for each, or one
            that is that of all.
        initial_epoch : int
        steps_per_epoch : int, optional
            Steps that make an epoch; an epoch goes on in the data where the last one ended.
            Without `batch_size`, rows are divided among so many steps.  Batches without an end
            need it.
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
        if is_batches(x):
            feed = self._batch_feed(x, y, sample_weight, class_weight, checked)
            arrays = None
        else:
            x, y, sample_weight, validation_data, arrays = self._split(
                x, y, sample_weight, validation_data, validation_split)
            samples, objective = adapters.prepare(
                x, y, _TRAIN_NAMES, self._objective.bind, arrays[1], sample_weight, class_weight,
                self._own_loss)
            size = checked.rows_per_step(samples.rows, self.optimizer.whole_data)
        held_out = self._held_out(validation_data, checked, validation_steps, arrays)
        if arrays is not None:
            feed = ArrayFeed(self, samples, objective, size, checked.shuffle,
                             limited_steps(steps_per_epoch))
            self._ready(arrays[0])
        callbacks = _callback_list(callbacks, checked.verbose, checked.epochs, feed.steps,
                                   add_history=True)
        self._warn_of_changed_trainable()
        callbacks.set_model(self)
        run = _Training(self, feed, callbacks)
        self.stop_training, self._restored = False, None
        logs: dict[str, float] = {}
        outer, self._running = self._running, callbacks
        try:
            callbacks.on_train_begin()
            first = checked.initial_epoch
            if self._restored is not None:
                first, states = self._restored
                callbacks.set_states(states)
                feed.resume()
            for epoch in range(first, checked.epochs):
                if feed.used_up:
                    warnings.warn(
                        f"Training ends before epoch {epoch + 1} of {checked.epochs}, because the "
                        "data is used up: a generator can be read once only", stacklevel=3,
                    )
                    break
                callbacks.on_epoch_begin(epoch)
                logs = run.epoch(epoch)
                self._latest_logs = dict(logs)
                if held_out is not None and checked.evaluates(epoch):
                    numbers = self._evaluate(held_out, callbacks)
                    logs.update((f"val_{name}", value) for name, value in numbers.items())
                callbacks.on_epoch_end(epoch, logs)
                if self.stop_training:
                    break
            self._running = outer
            if checked.epochs > 0:
                self.place()
                if self.optimizer.use_ema:
                    self.optimizer.finalize_variable_values(self.trained_variables())
            callbacks.on_train_end(logs)
        finally:
            self._running = outer
            feed.end_pass()
            self._executions.release()
            if callbacks.progbar is not None:
                callbacks.progbar.close()
        return callbacks.history

    def _split(self, x, y, sample_weight, validation_data, fraction):
        """Checked input, targets and weights, what is kept from them, and the ports."""
        ports, dtype = self._ports_for(x, "x"), np.dtype(self.dtype)
        x = self._inputs(x, "x", ports[0])
        if fraction and validation_data is None:
            rows, counts = len(x[0]), (len(ports[0]), len(ports[1]))
            alone = self._own_loss and adapters.is_alone(y, ports[1])
            y = [array for _, array in adapters.outputs(y, "y", ports[1], rows, "x", dtype, alone)]
            w = adapters.weights_of(sample_weight, "sample_weight", ports[1], rows, dtype)
            front, back = adapters.split(fraction, *x, *y, *w)
            parts = [_regrouped(part, counts, ports[0]) for part in (front, back)]
            (x, y, sample_weight), (held_x, *held) = parts
            if self._own_loss and counts[1] > 1:  # one array of weights, and perhaps of targets
                sample_weight, held[1] = (w and w[0] for w in (sample_weight, held[1]))
                if alone:
                    y, held[0] = y[0], held[0][0]
            x, held_x = (adapters.Features(adapters.inputs(part, "x", ports[0], dtype))
                         for part in (x, held_x))
            validation_data = (held_x, *held)
        return x, y, sample_weight, validation_data, ports

    def _held_out(self, data, arguments, steps, ports):
        """What is evaluated after epochs, checked; None where there is nothing."""
        if data is None:
            return None
        steps = limited_steps(steps)
        if is_batches(data):
            return self._test_batches(data, None, None, steps, "validation_data",
                                      "validation_steps")
        samples, objective = self._prepare_batch(adapters.unpack(data), _VALIDATION_NAMES,
                                                 ports=ports)
        size = arguments.validation_batch_size or arguments.batch_size
        return _TestArrays(self, samples, objective, size, steps)

    def _batch_feed(self, x, y, sample_weight, class_weight, arguments):
        """Training data that comes as batches; the model is built for the first of them."""
        _refuse_beside_batches("x", y=y, sample_weight=sample_weight)
        if self.optimizer.whole_data:
            raise ValueError(
                f"Argument `x` must be arrays for {type(self.optimizer).__name__}, which wants all "
                "data at once. Received: data that comes as batches"
            )
        if arguments.validation_split:
            raise ValueError(
                "Argument `validation_split` can't be used with data that comes as batches: give "
                f"`validation_data`. Received: {arguments.validation_split!r}"
            )

        def order(count):
            return random.permutation(count, self.seed, self._epoch)

        def prepare(batch):
            return self._prepare_batch(unpack_batch(batch), _TRAIN_NAMES, class_weight)

        return BatchFeed(self, Batches(x, order if arguments.shuffle else None), prepare,
                         limited_steps(arguments.steps_per_epoch))

    def _prepare_batch(self, batch, names, class_weight=None, ports=None):
        x, y, sample_weight = batch
        ports = self._ports_for(x, names[0]) if ports is None else ports
        x = self._inputs(x, names[0], ports[0])
        result = adapters.prepare(x, y, names, self._objective.bind, ports[1], sample_weight,
                                  class_weight, self._own_loss)
        self._ready(ports[0])
        return result

    def _ports_for(self, x, name):
        """Inputs and outputs of the model, which the data says where it is not built."""
        if self.built:
            return self.ports()
        if self.begins_with_data and not is_several(x):
            self.build((None, *(np.shape(x)[1:] or (1,))))
            return self.ports()
        dtype = np.dtype(self.dtype)
        several = is_several(x) and len(x) > 1

        def shape(array):
            rank = np.ndim(array)
            if rank > 2 and not (rank == 3 and np.shape(array)[2] == 1):
                return (None, *np.shape(array)[1:])
            return (None, adapters.features(array, name, None, dtype).shape[1])

        return self.ports_for(tree.map_leaves(shape, x) if several else shape(
            adapters.only(x) if is_several(x) else x))

    def _inputs(self, x, name, ports):
        """Arrays for the plan's inputs, after the layers that work on data before it."""
        dtype = np.dtype(self.dtype)
        if isinstance(x, adapters.Features) or not self.built or self.front is None:
            return adapters.inputs(x, name, ports, dtype)
        return self.front.feed(x, name, dtype)

    def _ready(self, inputs):
        """Build, and have the variables in their arena."""
        if not self.built:
            self.build_for(inputs)
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
            "sum" or "mean_with_sample_weight", or which looks at a whole batch (Dice, Tversky,
            Circle).
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
        steps = limited_steps(steps)
        if is_batches(x):
            feed = self._test_batches(x, y, sample_weight, steps)
        else:
            samples, objective = self._prepare_batch((x, y, sample_weight), _TRAIN_NAMES)
            feed = _TestArrays(self, samples, objective, batch_size, steps)
        callbacks = _callback_list(callbacks, verbose, 1, feed.steps)
        callbacks.set_model(self)
        logs = self._evaluate(feed, callbacks)
        self._latest_logs = logs
        return dict(logs) if return_dict else _in_order(logs, self._names_of(feed.objective))

    def _test_batches(self, x, y, sample_weight, steps, name="x", argument="steps"):
        _refuse_beside_batches(name, y=y, sample_weight=sample_weight)

        def prepare(batch):
            return self._prepare_batch(unpack_batch(batch), _TRAIN_NAMES)

        return BatchFeed(self, Batches(x), prepare, steps, argument, counts=False)

    def _evaluate(self, feed, callbacks):
        """Logs of an evaluation."""
        watched = callbacks.wants_batches("test")
        reported = callbacks.methods("on_test_batch_end")
        objective = feed.objective
        callbacks.on_test_begin()
        self.stop_evaluating = False
        done, executor, live = 0, None, self._live
        others = objective.begin()
        for piece in feed.epoch() if watched or reported else feed.blocks():
            rows = max(feed.rows, min(piece.size, len(piece.order)))
            execution = self._executions.get(self, rows, objective, feed.weighted,
                                             sparse=feed.sparse)
            if execution.executor is not executor:
                totals = None if executor is None else executor.totals.copy()
                executor, feed.rows = execution.executor, rows
                executor.check_finite = False
                executor.keep(feed.constant)
                executor.totals[...] = 0.0 if totals is None else totals
                self._live = objective, executor.totals
                iteration = first_iteration(execution.plan)
            rates = np.zeros(piece.stop)
            step = piece.first
            while step < piece.stop and not self.stop_evaluating:
                end = piece.stop
                if watched:
                    callbacks.on_test_batch_begin(done)
                    end = min(step + self._steps_per_execution, piece.stop)
                before = step
                step = executor.run(piece.arrays, piece.order, piece.size, step, end, rates,
                                    iteration + done, _BUDGET)
                done += step - before
                if reported:
                    callbacks.on_test_batch_end(done - 1, objective.logs(executor.totals))
            if self.stop_evaluating:
                break
        feed.end_pass()
        if executor is None:
            raise ValueError("There is nothing to evaluate: the data is used up")
        executor.release()
        logs = objective.logs(executor.totals)
        objective.resume(others)
        self._live = live
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
        if self.optimizer.whole_data:
            raise ValueError(
                f"`train_on_batch()` makes one step, and {type(self.optimizer).__name__} trains "
                "with all data at once: call `fit()`"
            )
        samples, objective = _in_memory(self._prepare_batch((x, y, sample_weight), _TRAIN_NAMES,
                                                            class_weight))
        execution = self._executions.get(self, samples.rows, objective, samples.weighted,
                                         self.optimizer, samples.sparse)
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
        samples, objective = _in_memory(self._prepare_batch((x, y, sample_weight), _TRAIN_NAMES))
        execution = self._executions.get(self, samples.rows, objective, samples.weighted,
                                         sparse=samples.sparse)
        return self._one_batch(execution, samples, objective, return_dict)

    def _one_batch(self, execution, samples, objective, return_dict, optimizer=None):
        executor, rows = execution.executor, samples.rows
        # A callback of a running `fit` may come here with the executor that `fit` uses.
        checked, totals = executor.check_finite, executor.totals.copy()
        executor.check_finite = False
        executor.totals[...] = 0.0
        before, live = objective.begin(), self._live
        self._live = objective, executor.totals
        if optimizer is None:
            executor.run(samples.arrays, identity_order(rows), rows, 0, 1, _NO_RATE,
                         first_iteration(execution.plan), math.inf)
        else:
            iteration = optimizer.steps
            rates = optimizer.learning_rates(iteration, 1)
            with BetweenSteps():
                executor.run(samples.arrays, identity_order(rows), rows, 0, 1, rates, iteration,
                             math.inf)
                optimizer.steps = iteration + 1
                constraints.apply_own(execution.projected)
        logs = self._latest_logs = objective.logs(executor.totals)
        objective.resume(before)
        self._live = live
        executor.check_finite = checked
        executor.totals[...] = totals
        return dict(logs) if return_dict else _in_order(logs, self._names_of(objective))

    # -- predict -------------------------------------------------------------------------------

    def predict(self, x, batch_size: int | None = None, verbose="auto",
                steps: int | None = None, callbacks=None) -> np.ndarray:
        """The network's output for each row.

        On the compiled backend a row's output does not depend on the rows beside it, so the batch
        size matters only to callbacks and `steps`; the rows run in blocks of a size that suits
        the processor.

        Parameters
        ----------
        x : array_like, shape (rows, columns), or batches
            As in `fit`, also a list or dict for several inputs; targets in batches are left alone.
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
            Or a list or dict of such, as the model's outputs are.

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
        if steps is None and callbacks is None and not LIMITS and (
                verbose == "auto" or verbose == 0):
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
        if steps is not None:
            checks.integer(steps, "steps", 1)
        steps = limited_steps(steps)
        if is_batches(x):
            return self._predict_batches(x, verbose, steps, callbacks)
        x = self._prepare_forward(x)
        forward, most = self._predicting.executor.forward, self._most_rows
        most = min(most, *(a.block_rows for a in x if isinstance(a, Stored)), sys.maxsize)
        if steps is not None:
            x = tuple(a[: steps * size] for a in x)
        rows = len(x[0])
        watched = callbacks is not None or verbose > 0
        if not watched:
            size = most
        dtype = np.dtype(self.dtype)
        out = tuple(np.empty((rows, port.columns), dtype) for port in self.ports()[1])
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
            part = tuple(a[step * size : done] for a in out)
            blocks = (a[step * size : done] for a in x)
            forward(tuple(b.read() if isinstance(b, Stored) else b for b in blocks), part)
            if watched:
                callbacks.on_predict_batch_end(step, {"outputs": self.pack_outputs(part)})
                if self.stop_predicting:
                    break
        if watched:
            callbacks.on_predict_end()
        return self.pack_outputs(tuple(a[:done] for a in out))

    def _predict_batches(self, x, verbose, steps, callbacks):
        """Predictions of data that comes as batches, whose targets are left alone."""
        batches = Batches(x)
        if steps is None and batches.endless:
            raise ValueError(
                "Argument `steps` must be given for data without an end. Received: None"
            )
        first = unpack_batch(batches.peek())[0]
        self._prepare_forward(first)
        callbacks = _callback_list(callbacks, verbose, 1, steps or batches.length)
        callbacks.set_model(self)
        self.stop_predicting = False
        callbacks.on_predict_begin()
        batches.on_epoch("begin")
        parts: list = []
        # the number in front, so that no batch is taken that nobody asked for
        for step, batch in zip(range(steps or batches.length or sys.maxsize), batches,
                               strict=False):
            callbacks.on_predict_batch_begin(step)
            parts.append(self.predict(unpack_batch(batch)[0], None, 0))
            callbacks.on_predict_batch_end(step, {"outputs": parts[-1]})
            if self.stop_predicting:
                break
        batches.on_epoch("end")
        callbacks.on_predict_end()
        return tree.pack(parts[0], map(np.concatenate, zip(*map(tree.leaves, parts),
                                                            strict=True)))

    def _prepare_forward(self, x):
        """Input as the executor takes it, and everything that `predict` holds ready."""
        (inputs, outputs), dtype = self._ports_for(x, "x"), np.dtype(self.dtype)
        x = self._inputs(x, "x", inputs)
        self._ready(inputs)
        sparse = adapters.sparse_inputs(x)
        execution = self._executions.get(self, block_rows(self), sparse=sparse)
        if execution is not self._predicting:
            self._predicting, plan = execution, execution.plan
            flops = sum(map(plan.flops, plan.ops)) // plan.batch_size
            self._most_rows = max(1, backend.kernels().block.flops // max(flops, 1))
            if self.plain and not sparse:
                self._fast = (dtype, inputs[0].columns, outputs[0].columns, self._most_rows,
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
        """The same as `predict`; with `training` layers behave as in training, and draw other
        random numbers at each call.

        Raises
        ------
        ValueError
            If `training` is asked for and the model begins with layers of words.

        >>> import fusedmlp as fm
        >>> model = fm.Sequential([fm.Input((2,)), fm.layers.Dense(1, kernel_initializer="ones")])
        >>> model([[1.0, 2.0]])
        array([[3.]], dtype=float32)
        """
        if training:
            if not self.built:
                self._prepare_forward(x)
            if self.front is not None:
                raise ValueError(
                    "Argument `training` of a call must be False for a model that begins with "
                    f"layers of words. Received: training={training!r} with layers "
                    f"{', '.join(self.front.names)}"
                )
            self.place()
            return self.call_in_training(x)
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
        if self.optimizer is None or (self.loss is None and not self._own_loss
                                      and self.adds_losses == "nothing"):
            return lower(self, batch_size)[0]
        return lower(self, batch_size, self._bound(), False, self.optimizer)[0]

    def _require_built(self, what):
        if not self.built:
            raise ValueError(
                f"`{what}()` needs a built model: give it an Input, or call `build(input_shape)`"
            )


_NO_RATE = np.zeros(1)
# what a model of Keras may define, and a plan never calls
_STEPS = ("train_step", "test_step", "predict_step", "make_train_function")
_ANY_PORT = (Port("output", (None, 1)),)  # of a model that is not built


def _callback_list(callbacks, verbose, epochs, steps, add_history=False):
    """A `CallbackList` from what people pass, which may be one."""
    params = {"verbose": verbose, "epochs": epochs, "steps": steps}
    if not isinstance(callbacks, CallbackList):
        return CallbackList(callbacks, add_history, verbose > 0, **params)
    if add_history and callbacks.history is None:
        callbacks.append(History())
    callbacks.set_params(params)
    return callbacks


def _in_memory(prepared):
    """What `_prepare_batch` returned, with the rows read that are in a file."""
    samples, objective = prepared
    (piece,) = pieces(samples, identity_order(samples.rows), samples.rows, 0, 1)
    return samples._replace(arrays=piece.arrays), objective


def _refuse_beside_batches(name, **arguments):
    for other, value in arguments.items():
        if value is not None:
            raise ValueError(
                f"Argument `{other}` must be None where `{name}` comes as batches, which bring "
                f"their own. Received: {type(value).__name__}"
            )


def _in_order(logs, names):
    """The only number, or a list of all: those in `names`, then others by the alphabet."""
    values = [logs[name] for name in names if name in logs]
    values += [logs[name] for name in sorted(logs.keys() - set(names))]
    return values[0] if len(values) == 1 else values


def _regrouped(arrays, counts, ports):
    """Input, targets and weights from all their arrays one after another."""
    inputs, outputs = counts
    x, y, w = arrays[:inputs], arrays[inputs : inputs + outputs], arrays[inputs + outputs :]
    x = [a if not hasattr(a, "reshape") else a.reshape(len(a), *port.shape[1:])
         for a, port in zip(x, ports, strict=True)]
    return (x[0] if inputs == 1 else x, y[0] if outputs == 1 else y,
            None if all(a is None for a in w) else w[0] if outputs == 1 else w)


def _loss_of(loss, y, y_pred, sample_weight):
    """A loss of `compile` for one output, of symbolic tensors or of arrays."""
    if y is None:
        raise ValueError("Argument `y` must hold the targets of `compute_loss`. Received: None")
    if tracing.current() is not None:
        tracing.current().counts_losses = True
        shapes = [(1, *part.shape[1:]) for part in (y, y_pred)]
        return losses.resolve(loss, *shapes)(y, y_pred, sample_weight)
    y, y_pred = np.asarray(y), np.asarray(y_pred)
    loss = copy.copy(losses.resolve(loss, y.shape, y_pred.shape))
    if y_pred.dtype == np.float64:  # as in training, which takes differences
        loss._dtype = "float64"
    return loss(y, y_pred, sample_weight)


def _number(value):
    """A number of Python; an array where there are several."""
    return value if np.ndim(value) else float(value)


class _FitArguments:
    """The plain arguments of `fit`, checked."""

    def __init__(self, batch_size, epochs, verbose, shuffle, initial_epoch, steps_per_epoch,
                 validation_steps, validation_batch_size, validation_freq, validation_split):
        self.verbose = resolve_verbose(verbose)
        self.epochs = limited_epochs(checks.integer(epochs, "epochs", 0))
        self.initial_epoch = checks.integer(initial_epoch, "initial_epoch", 0)
        self.batch_size, self.steps_per_epoch = batch_size, steps_per_epoch
        self.validation_batch_size = validation_batch_size
        self.validation_split = validation_split
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

    def rows_per_step(self, rows, whole_data):
        if whole_data:
            if self.batch_size is not None and self.batch_size < rows:
                raise ValueError(
                    "Argument `batch_size` must be None for an optimizer that wants all data at "
                    f"once. Received: {self.batch_size} with {rows} rows"
                )
            return rows
        if self.batch_size is None and self.steps_per_epoch is not None:
            return math.ceil(rows / self.steps_per_epoch)
        return self.batch_size or _DEFAULT_BATCH

    def evaluates(self, epoch):
        if self._evaluated is not None:
            return epoch + 1 in self._evaluated
        return (epoch + 1) % self._every == 0


class _TestArrays:
    """Samples that are evaluated, always from the first row on."""

    def __init__(self, model, samples, objective, batch_size, steps):
        self.objective, self.weighted = objective, samples.weighted
        self.sparse = samples.sparse
        self._model, self._samples = model, samples
        self._size = batch_size or _DEFAULT_BATCH
        self._rows = samples.rows if steps is None else min(samples.rows, steps * self._size)
        self.steps = steps or math.ceil(samples.rows / self._size)
        self.rows = 0

    def epoch(self):
        """The batches that somebody counts."""
        return self._pieces(self._size)

    def blocks(self):
        """The same rows where nobody counts, in batches of a size that suits the processor."""
        if (self.objective.by_batch or self._model.mixes_rows
                or self._model.adds_losses == "by batch"):
            return self._pieces(self._size)
        # otherwise the numbers are the same for any size
        stored = [a.block_rows for a in self._samples.arrays if hasattr(a, "block_rows")]
        return self._pieces(min(block_rows(self._model), *stored, sys.maxsize))

    @property
    def constant(self):
        """The arrays that every piece takes its rows from; see `feed.constant`."""
        return constant(self._samples)

    def _pieces(self, size):
        self.rows = min(size, self._rows)
        stop = math.ceil(self._rows / size)
        return pieces(self._samples, identity_order(self._rows), size, 0, stop)

    def end_pass(self):
        """Nothing to let go of."""


class _Training:
    """The epochs of one `fit`."""

    def __init__(self, model, feed, callbacks):
        self.model, self.optimizer = model, model.optimizer
        self.feed, self.objective = feed, feed.objective
        self.check_finite = True
        self.callbacks = callbacks
        per_update = self.optimizer.gradient_accumulation_steps or 1
        self.observe = interval(callbacks.callbacks) * per_update
        self.recorder = Recorder(self.observe, per_update) if self.observe else None
        self.watching = [c for c in callbacks.callbacks if getattr(c, "observe_every", None)]
        self._bind(feed.rows)
        self.begun = callbacks.methods("on_train_batch_begin", "on_batch_begin")
        self.ended = callbacks.methods("on_train_batch_end", "on_batch_end")
        self.each = callbacks.wants_batches("train")

    def _bind(self, rows):
        self.execution = self.model._executions.get(self.model, rows, self.objective,
                                                    self.feed.weighted, self.optimizer,
                                                    self.feed.sparse, self.observe)
        self.executor, self.projected = self.execution.executor, self.execution.projected
        if self.recorder is not None:
            self.recorder.bind(self.executor)
        self.arena, self.model._live = self.model.arena, (self.objective, self.executor.totals)
        self.params = self.optimizer.fingerprint()
        self.executor.check_finite = self.check_finite
        self.executor.nonfinite = -1
        self.executor.keep(self.feed.constant)

    def _rebind(self, rows):
        """Take up what a callback changed (hyperparameters, where variables lie), or more rows."""
        totals = self.executor.totals.copy()
        self.model.place()
        self._bind(max(rows, self.execution.plan.batch_size))
        self.executor.totals[...] = totals

    def epoch(self, number):
        """Run one epoch; returns its logs."""
        model = self.model
        self.executor.totals[...] = 0.0
        self.objective.begin()
        if self.recorder is not None:
            self.recorder.begin_epoch(self.executor)
        done = 0
        for piece in self.feed.epoch():
            done += self._run(piece, number, done)
            if model.stop_training:
                break
        asked = self.feed.asked
        if asked is not None and done < asked and not model.stop_training:
            warnings.warn(
                f"Epoch {number + 1} ends after {done} of `steps_per_epoch` = {asked} steps, "
                "because the data is used up", stacklevel=4,
            )
        if self.recorder is not None:
            observed = self.recorder.observed(self.execution)
            for callback in self.watching:
                callback.on_observed(number, observed)
        return self.objective.logs(self.executor.totals)

    def _run(self, piece, number, done):
        """The steps of a piece, before which `done` were made in this epoch; returns how many."""
        model, optimizer = self.model, self.optimizer
        if optimizer.whole_data:
            return self._iterate(piece)
        first, stop = piece.first, piece.stop
        rates = optimizer.learning_rates(optimizer.steps, stop - first)
        if first:
            rates = np.concatenate([np.zeros(first), rates])
        step, each = first, 1 if self.projected else model._steps_per_execution
        rows = min(piece.size, len(piece.order))
        if self.recorder is not None:
            self.recorder.begin(self.execution, optimizer.steps, stop - first)
        while step < stop:
            alone = self.each or self.projected or model.stop_training
            end = min(step + each, stop) if alone else stop
            if self.each:
                for method in self.begun:
                    method(done + step - first)
                # a callback may have set another rate
                rates[step:end] = optimizer.learning_rates(optimizer.steps, end - step)
            if (model.arena is not self.arena or optimizer.fingerprint() != self.params
                    or rows > self.execution.plan.batch_size):
                self._rebind(rows)
            iteration = optimizer.steps  # a callback may have made steps of its own
            executor = self.executor
            with BetweenSteps():
                reached = executor.run(piece.arrays, piece.order, piece.size, step, end, rates,
                                       iteration, _BUDGET)
                optimizer.steps = iteration + reached - step
                constraints.apply_own(self.projected)
            step = reached
            if executor.nonfinite >= 0:
                self._report(number, done + executor.nonfinite - first)
            if self.ended:
                logs = self.objective.logs(executor.totals)
                for method in self.ended:
                    method(done + step - first - 1, logs=dict(logs))
            if model.stop_training:
                break
        if self.recorder is not None:
            self.recorder.end()
        return step - first

    def _iterate(self, piece):
        """One iteration of an optimizer that looks at all data as often as it likes."""
        model, optimizer = self.model, self.optimizer
        for method in self.begun:
            method(0)
        if model.arena is not self.arena:
            self._rebind(piece.size)
        executor, self.arena = self.executor, model.arena
        with BetweenSteps():
            done = iterate(optimizer, executor, model.arena[:model.updated_size], piece.arrays,
                           piece.order, lambda totals: self.objective.compiled(totals)["loss"])
        if done:
            model.stop_training = True
        if self.ended:
            logs = self.objective.logs(executor.totals)
            for method in self.ended:
                method(0, logs=dict(logs))
        return 1

    def _report(self, epoch, step):
        """Warn once of a loss that is not finite, and go on."""
        place = origin(self.execution.plan, self.executor, self.execution.owners)
        self.executor.nonfinite = -1
        self.executor.check_finite = self.check_finite = False
        warnings.warn(
            f"The loss is not finite from step {step + 1} of epoch {epoch + 1} on: an infinity or "
            f"NaN arose {place}. Training goes on; lower the learning rate, or look at the data",
            RuntimeWarning, stacklevel=6,
        )
