"""Full-batch training with scipy's L-BFGS-B, as scikit-learn calls it.

Loss and gradient over all rows are one step of a training plan whose learning rate is 0.
"""

from __future__ import annotations

import functools

import numpy as np
import scipy
import scipy.optimize
import threadpoolctl
from sklearn.utils.optimize import _check_optimize_result

from .. import optimizers
from ..training.callbacks import CallbackList
from .objective import per_batch

__all__ = ["fit", "objective_function"]

# scipy prints nothing from 1.15 on, and warns of the option from 1.16 on
_PRINTS = tuple(int(part) for part in scipy.__version__.split(".")[:2]) < (1, 15)


def objective_function(estimator, X, y, sample_weight=None):
    """Loss and gradient as a function of all weights in one vector.

    Parameters
    ----------
    estimator : MultilayerPerceptron
        Its network is prepared.
    X : ndarray or CSR matrix, shape (rows, columns)
    y : ndarray, shape (rows, outputs)
    sample_weight : ndarray, shape (rows,), or None

    Returns
    -------
    callable
        From a vector of kernels, biases and whatever else is trained to (loss, gradient).
    """
    network = estimator._network
    objective = estimator._objective(y.shape)
    rows, weights = X.shape[0], ()
    if sample_weight is not None:
        raw = sample_weight.astype(network.shape.dtype)
        scaled = per_batch(raw, np.arange(rows), rows)
        weights = (scaled, raw) if objective.alpha else (scaled,)
    return network.gradients(objective, optimizers.SGD(0.0), network.data(X),
                             estimator._labels(y), weights)


@functools.cache
def _pools():
    """The thread pools of the process; finding them takes milliseconds."""
    return threadpoolctl.ThreadpoolController()


def fit(estimator, X, y, sample_weight):
    """Train an estimator whose network is prepared; see `stochastic.fit` for the arguments.

    Warns
    -----
    ConvergenceWarning
        Where scipy stopped early, with its message.
    """
    network = estimator._network
    model = network.model
    model.stop_training = False
    callbacks = CallbackList(estimator.callbacks, model=model, verbose=0,
                             epochs=estimator.max_iter, steps=1)
    logs, number = {}, 0

    def after_iteration(intermediate_result):
        nonlocal number
        logs["loss"] = float(intermediate_result.fun)
        callbacks.on_epoch_end(number, logs)
        number += 1
        if model.stop_training:
            raise StopIteration

    callbacks.on_train_begin()
    options = {"maxfun": estimator.max_fun, "maxiter": estimator.max_iter, "gtol": estimator.tol}
    if _PRINTS:
        options["iprint"] = 1 if estimator.verbose else -1
    objective = objective_function(estimator, X, y, sample_weight)
    places = network.places()
    with _pools().limit(limits=1, user_api="blas"):  # its products are far too small to share
        result = scipy.optimize.minimize(
            objective, model.arena[places].astype(np.float64), method="L-BFGS-B", jac=True,
            options=options, callback=after_iteration if estimator.callbacks else None,
        )
    estimator._network.release()
    estimator.n_iter_ = _check_optimize_result("lbfgs", result, estimator.max_iter)
    estimator.loss_ = float(result.fun)
    model.arena[places] = result.x
    estimator.coefs_, estimator.intercepts_ = network.weights()
    callbacks.on_train_end(logs)
