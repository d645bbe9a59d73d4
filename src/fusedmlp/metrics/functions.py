"""Metrics as functions: Keras 3's, per sample.

The numbers of `pearson_correlation` and `concordance_correlation` come from `fusedmlp.ops.score`;
those of losses are the functions of `fusedmlp.losses`.
"""

from __future__ import annotations

import numpy as np

from .. import checks, config, ops
from ..losses.functions import same_rank

__all__ = [
    "accuracy",
    "binary_accuracy",
    "categorical_accuracy",
    "concordance_correlation",
    "pearson_correlation",
    "sparse_categorical_accuracy",
    "sparse_top_k_categorical_accuracy",
    "top_k_categorical_accuracy",
]


def _same_shape(y_true, y_pred):
    y_true, y_pred = same_rank(np.asarray(y_true), checks.float_array(y_pred, "y_pred"))
    if y_true.shape != y_pred.shape:
        raise ValueError(
            "Arguments `y_true` and `y_pred` must have the same shape. "
            f"Received: y_true of shape {y_true.shape}, y_pred of shape {y_pred.shape}"
        )
    return y_true, y_pred


def accuracy(y_true, y_pred) -> np.ndarray:
    """1 where the prediction equals the target, else 0.

    Parameters
    ----------
    y_true, y_pred : array_like
        Of one shape, but for a missing last axis of length 1.

    Returns
    -------
    ndarray of that shape, of dtype `fusedmlp.config.floatx()`

    Raises
    ------
    ValueError
        If the shapes differ.

    >>> accuracy([1, 2, 3], [1, 2, 4]).tolist()
    [1.0, 1.0, 0.0]
    """
    y_true, y_pred = _same_shape(y_true, y_pred)
    return (y_true == y_pred).astype(config.floatx())


def binary_accuracy(y_true, y_pred, threshold: float = 0.5) -> np.ndarray:
    """1 where ``y_pred > threshold`` is what the target says, else 0; see `accuracy`.

    >>> binary_accuracy([[1], [1], [0]], [[0.9], [0.2], [0.5]]).tolist()
    [[1.0], [0.0], [1.0]]
    """
    y_true, y_pred = _same_shape(y_true, y_pred)
    return (y_true == (y_pred > threshold)).astype(config.floatx())


def categorical_accuracy(y_true, y_pred) -> np.ndarray:
    """1 where the first largest of the predicted scores is at the first largest target, else 0.

    Parameters
    ----------
    y_true, y_pred : array_like, shape (..., c)

    Returns
    -------
    ndarray, shape (...)

    Raises
    ------
    ValueError
        If the shapes differ.

    >>> categorical_accuracy([[0, 0, 1], [0, 1, 0]], [[0.1, 0.9, 0.8], [0.05, 0.95, 0]]).tolist()
    [0.0, 1.0]
    """
    y_true, y_pred = np.asarray(y_true), checks.float_array(y_pred, "y_pred")
    if y_true.shape != y_pred.shape or y_pred.ndim == 0:
        raise ValueError(
            "Arguments `y_true` and `y_pred` must have the same shape (..., classes). "
            f"Received: y_true of shape {y_true.shape}, y_pred of shape {y_pred.shape}"
        )
    return (y_true.argmax(axis=-1) == y_pred.argmax(axis=-1)).astype(config.floatx())


def sparse_categorical_accuracy(y_true, y_pred) -> np.ndarray:
    """1 where the first largest of the predicted scores is that of the labelled class, else 0.

    Parameters
    ----------
    y_true : array_like of int, shape (...) or (..., 1)
    y_pred : array_like, shape (..., c)

    Returns
    -------
    ndarray, shape (...)

    Raises
    ------
    ValueError
        If the shapes don't fit.

    >>> sparse_categorical_accuracy([2, 1], [[0.1, 0.6, 0.3], [0.05, 0.95, 0]]).tolist()
    [0.0, 1.0]
    """
    y_true, y_pred = np.asarray(y_true), checks.float_array(y_pred, "y_pred")
    if y_true.ndim == y_pred.ndim and y_true.ndim and y_true.shape[-1] == 1:
        y_true = y_true[..., 0]
    if y_pred.ndim == 0 or y_true.shape != y_pred.shape[:-1]:
        raise ValueError(
            "Argument `y_true` must have the shape of `y_pred` without its classes. "
            f"Received: y_true of shape {y_true.shape}, y_pred of shape {y_pred.shape}"
        )
    return (y_true == y_pred.argmax(axis=-1)).astype(config.floatx())


def top_k_categorical_accuracy(y_true, y_pred, k: int = 5) -> np.ndarray:
    """1 where fewer than k scores are larger than that of the first largest target, else 0.

    Parameters
    ----------
    y_true, y_pred : array_like, shape (..., c)
    k : int

    Returns
    -------
    ndarray, shape (...)

    Raises
    ------
    ValueError, TypeError
        If the shapes differ.

    >>> top_k_categorical_accuracy([[0, 0, 1], [0, 1, 0]], [[0.1, 0.9, 0.8], [0.05, 0, 0.95]],
    ...                            k=2).tolist()
    [1.0, 0.0]
    """
    y_true, y_pred = np.asarray(y_true), checks.float_array(y_pred, "y_pred")
    if y_true.shape != y_pred.shape or y_pred.ndim == 0:
        raise ValueError(
            "Arguments `y_true` and `y_pred` must have the same shape (..., classes). "
            f"Received: y_true of shape {y_true.shape}, y_pred of shape {y_pred.shape}"
        )
    return _score("top_k_hits", y_true, y_pred, k=checks.integer(k, "k", 1))


def sparse_top_k_categorical_accuracy(y_true, y_pred, k: int = 5,
                                      from_sorted_ids: bool = False) -> np.ndarray:
    """1 where fewer than k scores are larger than that of the labelled class, else 0.

    Parameters
    ----------
    y_true : array_like of int, shape (...) or (..., 1)
    y_pred : array_like, shape (..., c)
        Scores, or with `from_sorted_ids` classes, the most likely first.
    k : int
    from_sorted_ids : bool

    Returns
    -------
    ndarray, shape (...)

    Raises
    ------
    ValueError, TypeError
        If the shapes don't fit, or a class is out of range.

    >>> sparse_top_k_categorical_accuracy([2, 1], [[0.1, 0.9, 0.8], [0.05, 0, 0.95]], k=2).tolist()
    [1.0, 0.0]
    """
    y_true, y_pred = np.asarray(y_true), checks.float_array(y_pred, "y_pred")
    if y_true.ndim == y_pred.ndim and y_true.ndim and y_true.shape[-1] == 1:
        y_true = y_true[..., 0]
    if y_pred.ndim == 0 or y_true.shape != y_pred.shape[:-1]:
        raise ValueError(
            "Argument `y_true` must have the shape of `y_pred` without its classes. "
            f"Received: y_true of shape {y_true.shape}, y_pred of shape {y_pred.shape}"
        )
    return _score("top_k_hits", y_true, y_pred, k=checks.integer(k, "k", 1),
                  listed=bool(from_sorted_ids))


def pearson_correlation(y_true, y_pred, axis: int = -1) -> np.ndarray:
    """The correlation of targets and predictions along `axis`; NaN where one is constant.

    Parameters
    ----------
    y_true, y_pred : array_like
        Of one shape, but for a missing last axis of length 1.
    axis : int

    Returns
    -------
    ndarray, the shape of `y_pred` without `axis`

    Raises
    ------
    ValueError, TypeError
        If the shapes differ.

    >>> pearson_correlation([[1.0, 2.0, 3.0]], [[2.0, 4.0, 5.0]]).round(4)
    array([0.982], dtype=float32)
    """
    return _correlation("pearson_correlation", y_true, y_pred, axis)


def concordance_correlation(y_true, y_pred, axis: int = -1) -> np.ndarray:
    """Lin's concordance of targets and predictions along `axis`; see `pearson_correlation`.

    >>> concordance_correlation([[1.0, 2.0, 3.0]], [[2.0, 4.0, 5.0]]).round(4)
    array([0.4], dtype=float32)
    """
    return _correlation("concordance_correlation", y_true, y_pred, axis, epsilon=config.epsilon())


def _correlation(name, y_true, y_pred, axis, **params):
    y_true, y_pred = _same_shape(y_true, y_pred)
    axis = checks.integer(axis, "axis", -y_pred.ndim, y_pred.ndim - 1)
    y_true, y_pred = (np.moveaxis(a, axis, -1) for a in (y_true, y_pred))
    return _score(name, y_true, y_pred, **params)


def _score(name, y_true, y_pred, **params):
    """Scores of predictions (..., c), shape (...)."""
    shape = y_pred.shape[:-1]
    y_pred = np.ascontiguousarray(y_pred).reshape(-1, y_pred.shape[-1])
    y_true = np.ascontiguousarray(y_true).reshape(len(y_pred), *y_true.shape[len(shape):])
    return ops.score(name, y_pred, y_true, **params).reshape(shape)
