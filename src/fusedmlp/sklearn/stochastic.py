"""The epochs of the stochastic solvers: order of the rows, learning rates, and when to stop.

Every epoch is one call of the compiled loop; here is what scikit-learn does between two epochs.
Orders are drawn from the estimator's random state exactly as scikit-learn draws them, or with
``compat="fast"`` from the library's own generator.  Source of the rules:
sklearn.neural_network._multilayer_perceptron and _stochastic_optimizers.
"""

from __future__ import annotations

import copy
import warnings

import numpy as np
from sklearn.base import is_classifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split

from .. import random
from ..training.callbacks import CallbackList
from ..training.progress import Progress
from .holdout import HeldOut
from .objective import per_batch

__all__ = ["fit"]


def fit(estimator, X, y, sample_weight, validation, incremental, resumed):
    """Train an estimator whose network is prepared.

    Parameters
    ----------
    estimator : MultilayerPerceptron
        Receives `coefs_`, `loss_`, `loss_curve_` and what else training leaves.
    X : ndarray or CSR matrix, shape (rows, columns)
    y : ndarray, shape (rows, outputs)
    sample_weight : ndarray, shape (rows,), or None
    validation : (X, y, sample_weight) or None
        A validation set of the user's.
    incremental : bool
        Whether this is one epoch of `partial_fit`.
    resumed : bool
        Whether a fit goes on where the last one ended.
    """
    keep = incremental or estimator.warm_start == "state"
    if not keep or not hasattr(estimator, "_optimizer"):
        estimator._optimizer = estimator._make_optimizer()
    if not incremental:
        estimator._held = None
    if not resumed:
        estimator._order = estimator._split_state = None
    changed = False
    if validation is None and estimator.early_stopping:
        if incremental:
            X, y, sample_weight, validation, changed = _hold_out(estimator, X, y, sample_weight)
        else:
            X, y, sample_weight, validation = _split(estimator, X, y, sample_weight)
    if not X.shape[0]:  # all rows of this call are held out
        estimator.loss_ = getattr(estimator, "loss_", np.nan)
        return
    batch = _batch_size(estimator, X.shape[0])
    epochs = _Epochs(estimator, X, y, sample_weight, validation, batch)
    if changed:
        epochs.score_best_again()
    epochs.run(incremental)


def _hold_out(estimator, X, y, sample_weight):
    """Hold rows of a call of `partial_fit` out; None for a validation set too small to score."""
    if estimator._held is None:
        estimator._held = HeldOut(estimator.validation_fraction,
                                  int(estimator._random_state.randint(2**31)))
    trained, changed = estimator._held.take(X, y, sample_weight)
    enough = len(estimator._held.hashes) > 1
    return (X[trained], y[trained], None if sample_weight is None else sample_weight[trained],
            estimator._held.rows if enough else None, changed and enough)


def _split(estimator, X, y, sample_weight):
    """Set a validation set aside, the one that scikit-learn sets aside."""
    stratify = y if is_classifier(estimator) and estimator.n_outputs_ == 1 else None
    random_state = estimator._random_state
    if estimator.warm_start == "state":  # a fit that goes on never trains on what the last held out
        if estimator._split_state is None:
            estimator._split_state = copy.deepcopy(random_state)
        else:
            random_state = copy.deepcopy(estimator._split_state)
    train, held = train_test_split(
        np.arange(X.shape[0]), random_state=random_state,
        test_size=estimator.validation_fraction, stratify=stratify,
    )
    if len(held) < 2:
        raise ValueError(
            "The validation set is too small. Increase 'validation_fraction' or the size of your "
            "dataset."
        )
    weights = (None, None) if sample_weight is None else (sample_weight[train],
                                                          sample_weight[held])
    return X[train], y[train], weights[0], (X[held], y[held], weights[1])


def _batch_size(estimator, rows):
    if estimator._optimizer.whole_data:
        if estimator.batch_size != "auto" and estimator.batch_size < rows:
            raise ValueError(
                "Parameter 'batch_size' must be 'auto' for a solver that wants all data at once. "
                f"Received: {estimator.batch_size} with {rows} rows"
            )
        return rows
    if isinstance(estimator.batch_size, str):
        return min(200, rows)
    if estimator.batch_size > rows:
        warnings.warn(
            "Got `batch_size` less than 1 or larger than sample size. It is going to be clipped",
            stacklevel=6,
        )
    return int(np.clip(estimator.batch_size, 1, rows))


class _Epochs:
    """The epochs of one fit."""

    def __init__(self, estimator, X, y, sample_weight, validation, batch):
        self.estimator, self.batch = estimator, batch
        self.network, self.optimizer = estimator._network, estimator._optimizer
        self.X, self.validation = self.network.data(X), validation
        if validation is not None:
            self.validation = (self.network.data(validation[0]), *validation[1:])
        self.objective = estimator._objective(y.shape)
        self.labels = estimator._labels(y)
        self.sample_weight = None
        if sample_weight is not None:
            self.sample_weight = sample_weight.astype(self.network.shape.dtype)
        self.rows = X.shape[0]
        self.order = np.arange(self.rows, dtype=np.int64)
        if estimator._order is not None and len(estimator._order) == self.rows:
            self.order = estimator._order
        self.shuffles = estimator.shuffle and not self.optimizer.whole_data
        self.stops = estimator.early_stopping

    # -- one fit -------------------------------------------------------------------------------

    def run(self, incremental):
        estimator = self.estimator
        callbacks = self._callbacks()
        progress = None
        if estimator.progress_bar and not incremental:
            progress = Progress(estimator.max_iter, "fit", 1, "epoch")
        try:
            self._epochs(incremental, callbacks, progress)
        except KeyboardInterrupt:
            warnings.warn("Training interrupted by user.", stacklevel=7)
        finally:
            if progress is not None:
                progress.close()
            self.network.release()
            estimator.coefs_, estimator.intercepts_ = self.network.weights()
            if estimator.warm_start == "state" and self.shuffles and estimator.compat == "exact":
                estimator._order = self.order  # which the next order is a permutation of
        if self.stops and (not incremental or estimator.early_stopped_):
            self._restore()

    def _epochs(self, incremental, callbacks, progress):
        estimator = self.estimator
        estimator.n_iter_ = 0
        estimator.early_stopped_ = False
        callbacks.on_train_begin()
        logs = {}
        for number in range(estimator.max_iter):
            callbacks.on_epoch_begin(number)
            self._epoch(callbacks)
            logs = {"loss": estimator.loss_}
            if estimator.verbose:
                print(f"Iteration {estimator.n_iter_}, loss = {estimator.loss_:.8f}")
            if self.stops or self.validation is not None:
                logs["validation_score"] = self._validate()
            self._count_improvement()
            self._end_of_epoch_rate()
            if progress is not None:
                progress.update(estimator.n_iter_, logs)
            callbacks.on_epoch_end(number, logs)
            if self.network.model.stop_training:
                break
            if estimator._no_improvement_count > estimator.n_iter_no_change:
                if self._stop():
                    estimator.early_stopped_ = True
                    break
                estimator._no_improvement_count = 0
            if incremental:
                break
            if estimator.n_iter_ == estimator.max_iter:
                warnings.warn(
                    f"Stochastic Optimizer: Maximum iterations ({estimator.max_iter}) reached and "
                    "the optimization hasn't converged yet.", ConvergenceWarning, stacklevel=8,
                )
        callbacks.on_train_end(logs)

    def _epoch(self, callbacks):
        estimator = self.estimator
        if self.shuffles:
            self._shuffle()
        watch = None
        if callbacks.wants_batches("train"):
            watch = (callbacks.on_train_batch_begin, callbacks.on_train_batch_end)
        total = self.network.epoch(self.objective, self.optimizer, self.X, self.labels,
                                   self._weights(), self.order, self.batch, watch)
        estimator.n_iter_ += 1
        estimator.loss_ = total / self.rows
        estimator.t_ += self.rows
        estimator.loss_curve_.append(estimator.loss_)

    def _shuffle(self):
        estimator = self.estimator
        if estimator.compat == "fast":
            self.order = random.permutation(self.rows, self.network.seed,
                                            estimator.t_ // self.rows)
            return
        self.order = self.order[random.legacy_permutation(self.rows, estimator._random_state)]

    def _weights(self):
        if self.sample_weight is None:
            return ()
        scaled = per_batch(self.sample_weight, self.order, self.batch)
        return (scaled, self.sample_weight) if self.objective.alpha else (scaled,)

    # -- stopping ------------------------------------------------------------------------------

    def _validate(self):
        estimator, score = self.estimator, self._score()
        if estimator.validation_scores_ is None:
            estimator.validation_scores_ = []
        estimator.validation_scores_.append(score)
        if estimator.verbose:
            print(f"Validation score: {score:f}")
        return score

    def _score(self):
        """The score on the validation set; NaN where there is none."""
        if self.validation is None:  # not yet enough rows held out
            return np.nan
        X, y, weights = self.validation
        outputs = self.network.predict(X)
        if not np.isfinite(outputs).all():
            return np.nan
        return float(self.estimator._score_outputs(outputs, y, weights))

    def score_best_again(self):
        """Let the best weights so far have their score on the validation set as it is now."""
        estimator, network = self.estimator, self.network
        if estimator.best_validation_score_ == -np.inf:
            return
        now = (*network.weights(), network.others())
        self._load(estimator._best)
        estimator.best_validation_score_ = self._score()
        self._load(now)

    def _count_improvement(self):
        estimator, tol = self.estimator, self.estimator.tol
        if self.stops:
            score = estimator.validation_scores_[-1]
            stalled = score < estimator.best_validation_score_ + tol
            if score > estimator.best_validation_score_:
                estimator.best_validation_score_ = score
                self._keep_best()
        else:
            loss = estimator.loss_curve_[-1]
            stalled = loss > estimator.best_loss_ - tol
            if loss < estimator.best_loss_:
                estimator.best_loss_ = loss
        estimator._no_improvement_count = estimator._no_improvement_count + 1 if stalled else 0

    def _keep_best(self):
        self.estimator._best = (*self.network.weights(), self.network.others())

    def _restore(self):
        """Take the weights that had the best score on the validation set."""
        estimator = self.estimator
        estimator.coefs_, estimator.intercepts_, _ = estimator._best
        self._load(estimator._best)

    def _load(self, weights):
        coefs, intercepts, others = weights
        self.network.load(coefs, intercepts)
        self.network.load_others(others)

    def _stop(self):
        """Whether to stop, after so many epochs without improvement; else a smaller rate."""
        estimator, optimizer = self.estimator, self.optimizer
        what = "Validation score" if self.stops else "Training loss"
        message = (f"{what} did not improve more than tol={estimator.tol:f} for "
                   f"{estimator.n_iter_no_change} consecutive epochs.")
        stop, end = True, "Stopping."
        if self._rule() == "adaptive":
            if optimizer.learning_rate <= 1e-6:
                end = "Learning rate too small. Stopping."
            else:
                optimizer.learning_rate /= 5.0
                stop, end = False, f"Setting learning rate to {optimizer.learning_rate:f}"
        if estimator.verbose:
            print(message, end)
        return stop

    # -- learning rate -------------------------------------------------------------------------

    def _rule(self):
        """scikit-learn's schedules change the rate of "sgd" alone."""
        return self.estimator.learning_rate if self.estimator.solver == "sgd" else None

    def _end_of_epoch_rate(self):
        estimator = self.estimator
        rule = self._rule()
        if isinstance(rule, str) and rule == "invscaling":
            self.optimizer.learning_rate = (
                estimator.learning_rate_init / (estimator.t_ + 1) ** estimator.power_t
            )

    # -- callbacks -----------------------------------------------------------------------------

    def _callbacks(self):
        estimator, model = self.estimator, self.network.model
        if estimator.callbacks:
            model.compile(self.optimizer)  # they ask the model for optimizer and metrics
        model.stop_training = False
        return CallbackList(
            estimator.callbacks, model=model, verbose=0, epochs=estimator.max_iter,
            steps=-(-self.rows // self.batch),
        )
