"""Between these estimators and scikit-learn's own."""

from __future__ import annotations

import copy

from sklearn import neural_network
from sklearn.base import BaseEstimator

from ..spec import activation as activation_row
from .base import MultilayerPerceptron
from .network import Network

__all__ = ["from_sklearn", "to_sklearn"]

_NAMES = {"linear": "identity", "sigmoid": "logistic", "tanh": "tanh", "relu": "relu"}
_LEARNED = ("coefs_", "intercepts_", "n_layers_", "n_outputs_", "out_activation_", "n_features_in_",
            "feature_names_in_", "n_iter_", "t_", "loss_", "best_loss_", "loss_curve_",
            "validation_scores_", "best_validation_score_", "classes_", "_label_binarizer",
            "_no_improvement_count")


def from_sklearn(estimator):
    """An estimator of this package from one of scikit-learn, fitted or not.

    Parameters
    ----------
    estimator : sklearn.neural_network.MLPClassifier or MLPRegressor

    Returns
    -------
    MLPClassifier or MLPRegressor
        With equal parameters and copies of what was learned; the state of the optimizer begins
        anew.

    Raises
    ------
    TypeError
        If it is neither of the two.

    >>> import numpy as np
    >>> from sklearn.neural_network import MLPRegressor
    >>> X, y = np.eye(4), np.arange(4.0)
    >>> theirs = MLPRegressor(solver="lbfgs", random_state=1).fit(X, y)
    >>> bool(np.allclose(from_sklearn(theirs).predict(X), theirs.predict(X)))
    True
    """
    ours = next((ours for ours, theirs in _pairs() if isinstance(estimator, theirs)), None)
    if ours is None:
        raise TypeError(
            "Argument `estimator` must be a sklearn.neural_network.MLPClassifier or MLPRegressor. "
            f"Received: {estimator!r}"
        )
    known = ours._get_param_names()
    result = ours(**{name: value for name, value in estimator.get_params(deep=False).items()
                     if name in known})
    if hasattr(estimator, "coefs_"):
        _copy_learned(estimator, result)
        result._network = Network(result._shape(estimator.coefs_[0].shape[0],
                                                estimator.coefs_[0].dtype))
        result.early_stopped_ = False
        if result._is_stochastic() and result.early_stopping:
            result._best = (result.coefs_, result.intercepts_, [])
    return result


def to_sklearn(estimator):
    """An estimator of scikit-learn from one of this package, fitted or not.

    Parameters
    ----------
    estimator : MLPClassifier or MLPRegressor

    Returns
    -------
    sklearn.neural_network.MLPClassifier or MLPRegressor
        With the parameters that it has, and copies of what was learned.  Dropout is no part of a
        prediction, so it is left out.

    Raises
    ------
    TypeError
        If it is neither of the two.
    ValueError
        If the network is none that scikit-learn has: another activation, several of them,
        normalization, or encoded categories.

    >>> import numpy as np
    >>> from fusedmlp.sklearn import MLPRegressor
    >>> X, y = np.eye(4), np.arange(4.0)
    >>> ours = MLPRegressor(solver="lbfgs", random_state=1).fit(X, y)
    >>> bool(np.allclose(to_sklearn(ours).predict(X), ours.predict(X)))
    True
    """
    theirs = next((theirs for ours, theirs in _pairs() if isinstance(estimator, ours)), None)
    if theirs is None:
        raise TypeError(
            "Argument `estimator` must be a fusedmlp.sklearn.MLPClassifier or MLPRegressor. "
            f"Received: {estimator!r}"
        )
    _check_representable(estimator)
    params = {name: value for name, value in estimator.get_params(deep=False).items()
              if name in theirs._get_param_names()}
    params["activation"] = _NAMES[activation_row(estimator.activation).name]
    for name, ok in (("solver", ("sgd", "adam", "lbfgs")),
                     ("learning_rate", ("constant", "invscaling", "adaptive")),
                     ("loss", ("squared_error", "poisson"))):
        if name in params and params[name] not in ok:
            params[name] = ok[0]
    params["warm_start"] = bool(params["warm_start"])
    result: BaseEstimator = theirs(**params)
    if hasattr(estimator, "coefs_"):
        _copy_learned(estimator, result)
    return result


def _pairs():
    from . import MLPClassifier, MLPRegressor

    return ((MLPClassifier, neural_network.MLPClassifier),
            (MLPRegressor, neural_network.MLPRegressor))


def _check_representable(estimator: MultilayerPerceptron):
    activation = estimator.activation
    norms = estimator.normalization
    norms = [norms] if norms is None or isinstance(norms, str) else norms
    wrong = None
    if not isinstance(activation, str) or activation_row(activation).name not in _NAMES:
        wrong = f"activation={activation!r}"
    elif any(norm is not None for norm in norms):
        wrong = f"normalization={estimator.normalization!r}"
    elif estimator.output_activation is not None:
        wrong = f"output_activation={estimator.output_activation!r}"
    elif hasattr(estimator, "coefs_") and estimator.coefs_[-1].shape[1] != estimator.n_outputs_:
        wrong = f"{estimator.coefs_[-1].shape[1]} columns for {estimator.n_outputs_} outputs"
    elif hasattr(estimator, "encoder_"):
        wrong = "categorical columns"
    if wrong is not None:
        raise ValueError(
            "scikit-learn has no such network: expected one of the activations "
            f"{', '.join(_NAMES.values())} for all hidden layers, no normalization and no "
            f"categories. Received: {wrong}"
        )


def _copy_learned(source, target):
    for name in _LEARNED:
        if hasattr(source, name):
            setattr(target, name, copy.deepcopy(getattr(source, name)))
