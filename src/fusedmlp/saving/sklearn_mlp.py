"""Networks of scikit-learn's multilayer perceptrons, both ways, without importing scikit-learn.

scikit-learn keeps a fitted network as lists of matrices and of vectors (`coefs_`, `intercepts_`),
one activation for all hidden layers and one for the output.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..layers import Dense, Input
from ..models import Sequential

__all__ = ["from_sklearn", "network_from_arrays"]

_ACTIVATIONS = {"identity": "linear", "logistic": "sigmoid", "tanh": "tanh", "relu": "relu",
                "softmax": "softmax"}
_FITTED = ("coefs_", "intercepts_", "activation", "out_activation_")


def from_sklearn(estimator: Any, name: str | None = None) -> Sequential:
    """The network of a fitted `MLPClassifier` or `MLPRegressor` of scikit-learn.

    Parameters
    ----------
    estimator : estimator
        Fitted; what counts are its attributes ``coefs_``, ``intercepts_``, ``activation`` and
        ``out_activation_``.
    name : str, optional
        Name of the model.

    Returns
    -------
    Sequential
        Of Dense layers, in the dtype of the weights, not compiled.  ``predict`` gives what
        ``predict_proba`` gives (for two classes its second column alone), for a regressor what
        ``predict`` gives as a column.

    Raises
    ------
    ValueError
        If it is not fitted, or has an activation that is not known here.
    TypeError
        If it is no such estimator.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> fitted = SimpleNamespace(activation="relu", out_activation_="identity",
    ...                          coefs_=[np.eye(2), np.ones((2, 1))],
    ...                          intercepts_=[np.zeros(2), np.ones(1)])
    >>> from_sklearn(fitted).predict([[2.0, -3.0]], verbose=0)
    array([[3.]])
    """
    if not hasattr(estimator, "activation"):
        raise TypeError(
            "Argument `estimator` must be an MLPClassifier or MLPRegressor. "
            f"Received: {estimator!r} of type {type(estimator).__name__}"
        )
    missing = [attribute for attribute in _FITTED if not hasattr(estimator, attribute)]
    if missing:
        raise ValueError(
            "Argument `estimator` must be fitted. Received: "
            f"{estimator!r} without {', '.join(missing)}"
        )
    return network_from_arrays(estimator.coefs_, estimator.intercepts_, estimator.activation,
                               estimator.out_activation_, name)


def network_from_arrays(coefs: Sequence[np.ndarray], intercepts: Sequence[np.ndarray],
                        activation: str, out_activation: str,
                        name: str | None = None) -> Sequential:
    """A network of dense layers from their arrays, with scikit-learn's names of activations."""
    for argument, value in (("activation", activation), ("out_activation_", out_activation)):
        if value not in _ACTIVATIONS:
            raise ValueError(
                f"Attribute `{argument}` must be one of {', '.join(map(repr, _ACTIVATIONS))}. "
                f"Received: {value!r}"
            )
    dtype = np.result_type(*coefs).name
    model = Sequential([Input((coefs[0].shape[0],), dtype=dtype)], name=name)
    last = len(coefs) - 1
    for i, (kernel, bias) in enumerate(zip(coefs, intercepts, strict=True)):
        chosen = _ACTIVATIONS[out_activation if i == last else activation]
        model.add(Dense(kernel.shape[1], activation=chosen))
        model.layers[-1].set_weights([kernel, bias])
    return model
