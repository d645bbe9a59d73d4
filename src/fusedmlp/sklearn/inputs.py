"""From what scikit-learn's users pass as X to what a network takes: arrays or CSR, of its dtype.

Checks, feature names and messages are scikit-learn's.  Categorical columns of data frames become
one column per category, which in front of a dense layer is an embedding: each category has its own
row of the first kernel.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse
from sklearn.compose import ColumnTransformer
from sklearn.preprocessing import OneHotEncoder
from sklearn.utils.validation import (
    _check_feature_names,
    _check_n_features,
    check_array,
    check_X_y,
    validate_data,
)

__all__ = ["features", "features_and_targets"]

_FORMATS = ("csr", "csc")
_PANDAS = ("category", "object", "string", "str")
_POLARS = ("Categorical", "Enum", "String")


def features(estimator, X, reset: bool):
    """X, checked: a C-contiguous array or a CSR matrix of the network's dtype.

    Parameters
    ----------
    estimator : MultilayerPerceptron
        Receives `n_features_in_`, `feature_names_in_` and `encoder_` where `reset`.
    X : {array-like, sparse matrix, data frame}, shape (rows, columns)
    reset : bool
        Whether this is the data that the estimator learns its columns from.

    Raises
    ------
    ValueError, TypeError
        Those of `sklearn.utils.validation.validate_data`.
    """
    encoded = _encoded(estimator, X, reset)
    options = {"accept_sparse": _FORMATS, "dtype": _dtypes(estimator, reset)}
    if encoded is None:
        return _plain(validate_data(estimator, X, reset=reset, **options))
    return _plain(check_array(encoded, estimator=estimator, **options))


def features_and_targets(estimator, X, y, reset: bool, **checks):
    """X as `features` gives it, and y, checked together.

    Parameters
    ----------
    **checks
        What scikit-learn's validation is told of `y`.
    """
    encoded = _encoded(estimator, X, reset)
    options = {"accept_sparse": _FORMATS, "dtype": _dtypes(estimator, reset), **checks}
    if encoded is None:
        X, y = validate_data(estimator, X, y, reset=reset, **options)
    else:
        X, y = check_X_y(encoded, y, estimator=estimator, **options)
    return _plain(X), y


def _dtypes(estimator, reset):
    """What X may have as dtype; others are converted to the first."""
    network = getattr(estimator, "_network", None)
    if not reset and network is not None:
        return (np.dtype(network.shape.dtype).type,)
    if estimator.dtype is None:
        return (np.float64, np.float32)
    return (np.dtype(estimator.dtype).type,)


def _plain(X):
    if scipy.sparse.issparse(X):
        return X.tocsr()
    return np.ascontiguousarray(X)


# -- categories ------------------------------------------------------------------------------------


def _encoded(estimator, X, reset):
    """X with categories as columns of their own; None where there are none."""
    if reset:
        columns = _categorical(estimator, X)
        if not columns:
            estimator.__dict__.pop("encoder_", None)
            return None
        encoder = ColumnTransformer(
            [("categories", OneHotEncoder(handle_unknown="ignore"), columns)],
            remainder="passthrough", sparse_threshold=0.2,
        )
    else:
        encoder = getattr(estimator, "encoder_", None)
        if encoder is None:
            return None
    _check_feature_names(estimator, X, reset=reset)
    _check_n_features(estimator, X, reset=reset)
    if not reset:
        return encoder.transform(X)
    estimator.encoder_ = encoder
    return encoder.fit_transform(X)


def _categorical(estimator, X):
    """Names or numbers of the columns that hold categories."""
    asked = estimator.categorical_features
    if asked is None or not hasattr(X, "shape"):
        return []
    if not isinstance(asked, str):
        asked = np.asarray(asked)
        if asked.dtype == bool:
            return np.flatnonzero(asked).tolist()
        return asked.tolist()
    if hasattr(X, "schema"):  # polars
        return [name for name, kind in X.schema.items()
                if type(kind).__name__ in _POLARS or getattr(kind, "__name__", "") in _POLARS]
    if hasattr(X, "dtypes") and hasattr(X, "columns"):  # pandas
        return [name for name, kind in zip(X.columns, X.dtypes, strict=True)
                if getattr(kind, "name", "") in _PANDAS]
    return []
