"""Losses as functions: Keras 3's, and three of scikit-learn's and PyTorch's, per sample.

Each takes targets and predictions and gives the loss of every sample.  The numbers come from
`fusedmlp.ops.loss`; formulas, parameters and sources are the rows of `fusedmlp.spec.LOSSES`, with
which the docstrings end.
"""

from __future__ import annotations

import functools
import warnings

import numpy as np

from .. import checks, ops, spec, tracing

__all__ = [
    "binary_crossentropy",
    "binary_focal_crossentropy",
    "categorical_crossentropy",
    "categorical_focal_crossentropy",
    "categorical_generalized_cross_entropy",
    "categorical_hinge",
    "circle",
    "cosine_similarity",
    "dice",
    "gaussian_negative_log_likelihood",
    "hinge",
    "huber",
    "kl_divergence",
    "log_cosh",
    "mean_absolute_error",
    "mean_absolute_percentage_error",
    "mean_squared_error",
    "mean_squared_logarithmic_error",
    "perceptron",
    "poisson",
    "quantile",
    "sparse_categorical_crossentropy",
    "squared_hinge",
    "tversky",
]


# -- arrays --------------------------------------------------------------------------------------


def same_rank(y_true: np.ndarray, y_pred: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Add or drop a last axis of length 1 where one of the two has an axis more."""
    if y_true.ndim == y_pred.ndim + 1 and y_true.shape[-1] == 1:
        if y_pred.ndim == 1:
            return y_true, y_pred[:, None]
        return y_true[..., 0], y_pred
    if y_pred.ndim == y_true.ndim + 1 and y_pred.shape[-1] == 1:
        if y_true.ndim == 1:
            return y_true[:, None], y_pred
        return y_true, y_pred[..., 0]
    return y_true, y_pred


def _matched(y_true, y_pred):
    """Both as floating-point arrays of one shape with at least one axis."""
    y_pred = checks.float_array(y_pred, "y_pred")
    y_true, y_pred = same_rank(checks.float_like(y_true, "y_true", y_pred.dtype), y_pred)
    if y_true.shape != y_pred.shape or y_pred.ndim == 0:
        raise ValueError(
            "Arguments `y_true` and `y_pred` must have the same shape, with at least one axis. "
            f"Received: y_true of shape {y_true.shape}, y_pred of shape {y_pred.shape}"
        )
    return y_true, y_pred


def _move_axis_last(array, axis):
    return np.moveaxis(array, checks.integer(axis, "axis", -array.ndim, array.ndim - 1), -1)


def _table(array):
    """(..., c) as contiguous (n, c)."""
    rows = int(np.prod(array.shape[:-1]))
    return np.ascontiguousarray(array).reshape(rows, array.shape[-1])


def as_signs(y_true: np.ndarray) -> np.ndarray:
    """Targets that are all 0 or 1 as -1 and 1; others as they are.

    >>> as_signs(np.array([0.0, 1.0])).tolist(), as_signs(np.array([-1.0, 1.0])).tolist()
    ([-1.0, 1.0], [-1.0, 1.0])
    """
    return 2 * y_true - 1 if ((y_true == 0) | (y_true == 1)).all() else y_true


def _classes(y_true, y_pred, axis=-1):
    """Classes, and predictions with their axis last."""
    y_pred, classes = checks.float_array(y_pred, "y_pred"), np.asarray(y_true)
    if y_pred.ndim:
        y_pred = _move_axis_last(y_pred, axis)
        if classes.ndim == y_pred.ndim and classes.shape[axis] == 1:
            classes = np.squeeze(classes, axis)
    if y_pred.ndim == 0 or classes.shape != y_pred.shape[:-1]:
        raise ValueError(
            "Argument `y_true` must have the shape of `y_pred` without its classes. "
            f"Received: y_true of shape {np.shape(y_true)}, y_pred of shape {y_pred.shape}"
        )
    return classes, y_pred


def _losses(name, y_pred, y_true, from_logits=False, **options):
    """The losses of y_pred (..., c) by a row of the table, shape (...)."""
    row = spec.LOGITS_ROWS[name] if from_logits else name
    targets = _table(y_true) if y_true.ndim == y_pred.ndim else y_true.reshape(-1)
    rows, _ = ops.loss(row, _table(y_pred), targets, reduction="none", gradient=False, **options)
    return rows.reshape(y_pred.shape[:-1])


def _of_pairs(name, y_true, y_pred, **params):
    """The losses by a row whose targets have the shape of predictions."""
    y_true, y_pred = _matched(y_true, y_pred)
    return _losses(name, y_pred, y_true, **params)


def _along(name, y_true, y_pred, axis, **params):
    """The same for the axis or axes that are added up; None stands for all."""
    y_true, y_pred = _matched(y_true, y_pred)
    if axis is None:
        axis = tuple(range(y_pred.ndim))
    axes = tuple(checks.integer(a, "axis", -y_pred.ndim, y_pred.ndim - 1) % y_pred.ndim
                 for a in (axis if isinstance(axis, (tuple, list)) else (axis,)))
    kept = tuple(a for a in range(y_pred.ndim) if a not in axes)
    shape = tuple(y_pred.shape[a] for a in kept)
    y_true, y_pred = (a.transpose(*kept, *axes).reshape(*shape, -1) for a in (y_true, y_pred))
    return _losses(name, y_pred, y_true, **params)


def warn_of_one_class(columns: int) -> None:
    """Say that a categorical loss of a single column is constant."""
    if columns == 1:
        warnings.warn(
            "categorical_crossentropy expects more than one class, but `y_pred` has one column: "
            "its loss is the same whatever is predicted. For two classes in one column there is "
            "binary_crossentropy.",
            stacklevel=3,
        )


def smoothing(value: float) -> float:
    """`value` checked as an argument `label_smoothing`."""
    return checks.number(value, "label_smoothing", 0.0, 1.0)


def _documented(name=None):
    """Add what the table says to a docstring."""

    def add(function):
        row = spec.LOSSES[name or function.__name__]
        function.__doc__ += (
            f"\n    Notes\n    -----\n    Loss: ``{row.formula}``.\n\n"
            f"    Derivative: ``{row.derivative}``.\n\n    Source: {row.source}.\n    ")
        return function

    return add


# -- regression ----------------------------------------------------------------------------------


@_documented()
def mean_squared_error(y_true, y_pred) -> np.ndarray:
    """The mean of squared errors over the last axis.

    Parameters
    ----------
    y_true, y_pred : array_like, shape (..., c)
        Of one shape, but for a missing last axis of length 1.  float32 or float64; other number
        types are converted.

    Returns
    -------
    ndarray, shape (...)

    Raises
    ------
    ValueError, TypeError
        If the shapes differ or the values are no numbers.

    Examples
    --------
    >>> mean_squared_error([[0.0, 1.0]], [[1.0, 3.0]])
    array([2.5], dtype=float32)
    """
    return _of_pairs("mean_squared_error", y_true, y_pred)


@_documented()
def mean_absolute_error(y_true, y_pred) -> np.ndarray:
    """The mean of absolute errors over the last axis.

    Otherwise like `mean_squared_error`.

    Examples
    --------
    >>> mean_absolute_error([[0.0, 1.0]], [[1.0, 3.0]])
    array([1.5], dtype=float32)
    """
    return _of_pairs("mean_absolute_error", y_true, y_pred)


@_documented()
def mean_absolute_percentage_error(y_true, y_pred) -> np.ndarray:
    """The mean of absolute errors in percent of the targets.

    Otherwise like `mean_squared_error`.

    Examples
    --------
    >>> mean_absolute_percentage_error([[2.0, 4.0]], [[1.0, 5.0]])
    array([37.5], dtype=float32)
    """
    return _of_pairs("mean_absolute_percentage_error", y_true, y_pred)


@_documented()
def mean_squared_logarithmic_error(y_true, y_pred) -> np.ndarray:
    """The mean of squared errors of logarithms.

    Otherwise like `mean_squared_error`.

    Examples
    --------
    >>> mean_squared_logarithmic_error([[0.0, 1.0]], [[1.0, 3.0]]).round(4)
    array([0.4805], dtype=float32)
    """
    return _of_pairs("mean_squared_logarithmic_error", y_true, y_pred)


@_documented()
def log_cosh(y_true, y_pred) -> np.ndarray:
    """The mean of logarithms of hyperbolic cosines of errors.

    Otherwise like `mean_squared_error`.

    Examples
    --------
    >>> log_cosh([[0.0, 1.0]], [[1.0, 3.0]]).round(4)
    array([0.8794], dtype=float32)
    """
    return _of_pairs("log_cosh", y_true, y_pred)


@_documented()
def huber(y_true, y_pred, delta: float = 1.0) -> np.ndarray:
    """The mean of errors squared up to `delta` and absolute from there.

    Otherwise like `mean_squared_error`.

    Parameters
    ----------
    y_true, y_pred : array_like, shape (..., c)
    delta : float
        At least 0.

    Examples
    --------
    >>> huber([[0.0, 1.0]], [[1.0, 3.0]])
    array([1.], dtype=float32)
    """
    return _of_pairs("huber", y_true, y_pred, delta=delta)


@_documented()
def quantile(y_true, y_pred, quantile: float = 0.5) -> np.ndarray:
    """The pinball loss, least where `y_pred` is that quantile of the targets.

    Otherwise like `mean_squared_error`.

    Parameters
    ----------
    y_true, y_pred : array_like, shape (..., c)
    quantile : float
        From 0 to 1.

    Examples
    --------
    >>> quantile([[0.0, 4.0]], [[1.0, 3.0]], quantile=0.75)
    array([0.5], dtype=float32)
    """
    return _of_pairs("quantile", y_true, y_pred, quantile=quantile)


@_documented()
def poisson(y_true, y_pred) -> np.ndarray:
    """The mean Poisson loss of rates, without the term of the targets alone.

    Otherwise like `mean_squared_error`.

    Examples
    --------
    >>> poisson([[0.0, 1.0]], [[1.0, 2.0]]).round(4)
    array([1.1534], dtype=float32)
    """
    return _of_pairs("poisson", y_true, y_pred)


@_documented()
def cosine_similarity(y_true, y_pred, axis: int = -1) -> np.ndarray:
    """Minus the cosine of the angle between targets and predictions along `axis`.

    Parameters
    ----------
    y_true, y_pred : array_like
        Of one shape, but for a missing last axis of length 1.
    axis : int

    Returns
    -------
    ndarray, the shape of `y_pred` without `axis`

    Examples
    --------
    >>> cosine_similarity([[0.0, 1.0], [1.0, 1.0]], [[1.0, 0.0], [1.0, 1.0]]).round(4).tolist()
    [-0.0, -1.0]
    """
    y_true, y_pred = (_move_axis_last(a, axis) for a in _matched(y_true, y_pred))
    return _losses("cosine_similarity", y_pred, y_true)


@_documented()
def gaussian_negative_log_likelihood(y_true, y_pred, full: bool = False,
                                     epsilon: float = 1e-6) -> np.ndarray:
    """The mean negative log-likelihood of targets under normal distributions.

    Parameters
    ----------
    y_true : array_like, shape (..., c)
    y_pred : array_like, shape (..., 2c)
        c means, and behind them c logarithms of variances: what a linear layer of twice as many
        units gives.
    full : bool
        Whether to add the constant log(2 pi) / 2.
    epsilon : float
        Least variance; the gradient passes it as if it were not there.

    Returns
    -------
    ndarray, shape (...)

    Raises
    ------
    ValueError, TypeError
        If the shapes don't fit or the values are no numbers.

    Examples
    --------
    >>> gaussian_negative_log_likelihood([[1.0], [1.0]], [[1.0, 0.0], [3.0, 0.0]])
    array([0., 2.], dtype=float32)
    """
    y_pred = checks.float_array(y_pred, "y_pred")
    y_true = checks.float_like(y_true, "y_true", y_pred.dtype)
    if y_pred.ndim and y_true.ndim == y_pred.ndim - 1 and y_pred.shape[-1] == 2:
        y_true = y_true[..., None]
    if y_pred.ndim == 0 or (*y_true.shape[:-1], 2 * y_true.shape[-1]) != y_pred.shape:
        raise ValueError(
            "Argument `y_pred` must have twice the columns of `y_true`: means in front and "
            f"logarithms of variances behind. Received: y_true of shape {np.shape(y_true)}, y_pred "
            f"of shape {y_pred.shape}"
        )
    return _losses("gaussian_negative_log_likelihood", y_pred, y_true, full=full, epsilon=epsilon)


# -- margins -------------------------------------------------------------------------------------


@_documented()
def hinge(y_true, y_pred) -> np.ndarray:
    """The mean hinge loss.

    Parameters
    ----------
    y_true, y_pred : array_like, shape (..., c)
        Of one shape, but for a missing last axis of length 1.  Targets are -1 and 1; where all are
        0 or 1 these stand for -1 and 1.

    Returns
    -------
    ndarray, shape (...)

    Examples
    --------
    >>> hinge([[0, 1], [0, 0]], [[0.5, 0.25], [-2.0, 0.0]]).tolist()
    [1.125, 0.5]
    """
    y_true, y_pred = _matched(y_true, y_pred)
    return _losses("hinge", y_pred, as_signs(y_true))


@_documented()
def squared_hinge(y_true, y_pred) -> np.ndarray:
    """The mean squared hinge loss; targets as in `hinge`.

    Parameters
    ----------
    y_true, y_pred : array_like, shape (..., c)
        Of one shape, but for a missing last axis of length 1.  Targets are -1 and 1; where all are
        0 or 1 these stand for -1 and 1.

    Returns
    -------
    ndarray, shape (...)

    Examples
    --------
    >>> squared_hinge([[-1, 1]], [[0.5, 0.5]]).tolist()
    [1.25]
    """
    y_true, y_pred = _matched(y_true, y_pred)
    return _losses("squared_hinge", y_pred, as_signs(y_true))


@_documented()
def perceptron(y_true, y_pred) -> np.ndarray:
    """The mean perceptron loss; targets as in `hinge`.

    Parameters
    ----------
    y_true, y_pred : array_like, shape (..., c)
        Of one shape, but for a missing last axis of length 1.  Targets are -1 and 1; where all are
        0 or 1 these stand for -1 and 1.

    Returns
    -------
    ndarray, shape (...)

    Examples
    --------
    >>> perceptron([[-1, 1]], [[0.5, 0.5]]).tolist()
    [0.25]
    """
    y_true, y_pred = _matched(y_true, y_pred)
    return _losses("perceptron", y_pred, as_signs(y_true))


@_documented()
def categorical_hinge(y_true, y_pred) -> np.ndarray:
    """By how much the score of the target fails to exceed every other by 1.

    Parameters
    ----------
    y_true, y_pred : array_like, shape (..., c)
        One-hot targets, and scores.

    Returns
    -------
    ndarray, shape (...)

    Examples
    --------
    >>> categorical_hinge([[0, 1], [1, 0]], [[0.5, 2.0], [0.5, 1.0]]).tolist()
    [0.0, 1.5]
    """
    return _of_pairs("categorical_hinge", y_true, y_pred)


# -- probabilities -------------------------------------------------------------------------------


@_documented()
def kl_divergence(y_true, y_pred) -> np.ndarray:
    """The Kullback-Leibler divergence of predicted from true probabilities; a sum.

    Parameters
    ----------
    y_true, y_pred : array_like, shape (..., c)

    Returns
    -------
    ndarray, shape (...)

    Examples
    --------
    >>> kl_divergence([[0.5, 0.5]], [[0.25, 0.75]]).round(4)
    array([0.1438], dtype=float32)
    """
    return _of_pairs("kl_divergence", y_true, y_pred)


@_documented()
def binary_crossentropy(y_true, y_pred, from_logits: bool = False, label_smoothing: float = 0.0,
                        axis: int = -1) -> np.ndarray:
    """mean(-t log p - (1 - t) log(1 - p)) over `axis`.

    Parameters
    ----------
    y_true, y_pred : array_like, shape (..., c)
        Targets from 0 to 1; probabilities, which are clipped to [epsilon, 1 - epsilon]
        (`fusedmlp.config.epsilon`), or logits.
    from_logits : bool
        Whether `y_pred` are logits z, with p = sigmoid(z).
    label_smoothing : float
        From 0 to 1; moves targets that far towards 1/2.
    axis : int

    Returns
    -------
    ndarray, the shape of `y_pred` without `axis`

    Raises
    ------
    ValueError, TypeError
        If the shapes differ, the values are no numbers or `label_smoothing` is out of range.

    Examples
    --------
    >>> binary_crossentropy([[0, 1], [0, 0]], [[0.6, 0.4], [0.4, 0.6]]).round(3)
    array([0.916, 0.714], dtype=float32)
    """
    amount = smoothing(label_smoothing)
    y_true, y_pred = (_move_axis_last(a, axis) for a in _matched(y_true, y_pred))
    return _losses("binary_crossentropy", y_pred, y_true, from_logits, label_smoothing=amount)


@_documented()
def categorical_crossentropy(y_true, y_pred, from_logits: bool = False,
                             label_smoothing: float = 0.0, axis: int = -1) -> np.ndarray:
    """-sum(t log p) over the classes, with targets as probabilities (one-hot or not).

    Parameters
    ----------
    y_true, y_pred : array_like, shape (..., c)
        Targets; probabilities, which are divided by their sum and clipped to
        [epsilon, 1 - epsilon] (`fusedmlp.config.epsilon`), or logits.
    from_logits : bool
        Whether `y_pred` are logits z, with p = softmax(z).
    label_smoothing : float
        From 0 to 1; turns targets t into t (1 - label_smoothing) + label_smoothing / c.
    axis : int
        Axis of the classes.

    Returns
    -------
    ndarray, the shape of `y_pred` without `axis`

    Raises
    ------
    ValueError, TypeError
        As for `binary_crossentropy`.

    Examples
    --------
    >>> categorical_crossentropy([[0, 1, 0]], [[0.05, 0.95, 0]]).round(4)
    array([0.0513], dtype=float32)
    """
    amount = smoothing(label_smoothing)
    y_true, y_pred = (_move_axis_last(a, axis) for a in _matched(y_true, y_pred))
    warn_of_one_class(y_pred.shape[-1])
    return _losses("categorical_crossentropy", y_pred, y_true, from_logits,
                   label_smoothing=amount)


@_documented("categorical_crossentropy")
def sparse_categorical_crossentropy(y_true, y_pred, from_logits: bool = False,
                                    ignore_class: int | None = None, axis: int = -1) -> np.ndarray:
    """-log p of the labelled class, with targets as integers.

    Parameters
    ----------
    y_true : array_like of int, shape (...) or (..., 1)
        From 0 to c - 1, or `ignore_class`.
    y_pred : array_like, shape (..., c)
        As for `categorical_crossentropy`.
    from_logits : bool
    ignore_class : int, optional
        A label whose samples have loss 0.
    axis : int
        Axis of the classes.

    Returns
    -------
    ndarray, the shape of `y_pred` without `axis`

    Raises
    ------
    ValueError, TypeError
        If a label is no integer or out of range, or the shapes don't fit.

    Examples
    --------
    >>> sparse_categorical_crossentropy([1, 2], [[0.05, 0.95, 0], [0.1, 0.8, 0.1]]).round(3)
    array([0.051, 2.303], dtype=float32)
    """
    classes, y_pred = _classes(y_true, y_pred, axis)
    return _losses("categorical_crossentropy", y_pred, classes, from_logits,
                   ignore_index=None if ignore_class is None else int(ignore_class))


@_documented()
def binary_focal_crossentropy(y_true, y_pred, apply_class_balancing: bool = False,
                              alpha: float = 0.25, gamma: float = 2.0, from_logits: bool = False,
                              label_smoothing: float = 0.0, axis: int = -1) -> np.ndarray:
    """The binary cross-entropy of what is not yet certain, as a mean over `axis`.

    Parameters
    ----------
    y_true, y_pred, from_logits, label_smoothing, axis
        As for `binary_crossentropy`.
    apply_class_balancing : bool
        Whether to weight targets of 1 by `alpha` and of 0 by ``1 - alpha``.
    alpha : float
    gamma : float
        At least 0: how much certain predictions lose weight.

    Returns
    -------
    ndarray, the shape of `y_pred` without `axis`

    Examples
    --------
    >>> binary_focal_crossentropy([[0, 1], [0, 0]], [[0.6, 0.4], [0.4, 0.6]]).round(3)
    array([0.33 , 0.206], dtype=float32)
    """
    amount = smoothing(label_smoothing)
    y_true, y_pred = (_move_axis_last(a, axis) for a in _matched(y_true, y_pred))
    return _losses("binary_focal_crossentropy", y_pred, y_true, from_logits,
                   apply_class_balancing=bool(apply_class_balancing), alpha=alpha, gamma=gamma,
                   label_smoothing=amount)


@_documented()
def categorical_focal_crossentropy(y_true, y_pred, alpha=0.25, gamma: float = 2.0,
                                   from_logits: bool = False, label_smoothing: float = 0.0,
                                   axis: int = -1) -> np.ndarray:
    """The cross-entropy of what is not yet certain, with targets as probabilities.

    Parameters
    ----------
    y_true, y_pred, from_logits, label_smoothing, axis
        As for `categorical_crossentropy`.
    alpha : float, or array_like of shape (c,)
        Weight, or one for each class.
    gamma : float
        At least 0: how much certain predictions lose weight.

    Returns
    -------
    ndarray, the shape of `y_pred` without `axis`

    Examples
    --------
    >>> categorical_focal_crossentropy([[0, 1, 0]], [[0.05, 0.55, 0.4]]).round(4)
    array([0.0303], dtype=float32)
    """
    amount = smoothing(label_smoothing)
    y_true, y_pred = (_move_axis_last(a, axis) for a in _matched(y_true, y_pred))
    warn_of_one_class(y_pred.shape[-1])
    if np.ndim(alpha):  # the loss is linear in the targets
        factors = checks.float_like(alpha, "alpha", y_pred.dtype)
        checks.shape(factors, y_pred.shape[-1:], "alpha", "(c,), one weight for each class")
        y_true = (y_true * (1.0 - amount) + amount / y_pred.shape[-1]) * factors
        alpha, amount = 1.0, 0.0
    return _losses("categorical_focal_crossentropy", y_pred, y_true, from_logits, alpha=alpha,
                   gamma=gamma, label_smoothing=amount)


@_documented()
def categorical_generalized_cross_entropy(y_true, y_pred, q: float) -> np.ndarray:
    """A cross-entropy that forgives wrong labels: between it (q -> 0) and absolute errors (1).

    Parameters
    ----------
    y_true : array_like of int, shape (...) or (..., 1)
        From 0 to c - 1.
    y_pred : array_like, shape (..., c)
        Probabilities.
    q : float
        From 0 to 1.

    Returns
    -------
    ndarray, shape (...)

    Examples
    --------
    >>> categorical_generalized_cross_entropy([0, 1], [[0.25, 0.75], [0.0, 1.0]], 0.5).tolist()
    [1.0, 0.0]
    """
    classes, y_pred = _classes(y_true, y_pred)
    return _losses("categorical_generalized_cross_entropy", y_pred, classes, q=q)


# -- overlap and pairs ----------------------------------------------------------------------------


@_documented()
def dice(y_true, y_pred, axis=None) -> np.ndarray:
    """1 less the Dice coefficient of two sets.

    Parameters
    ----------
    y_true, y_pred : array_like
        Of one shape, but for a missing last axis of length 1: how far each element belongs.
    axis : int or tuple of int, optional
        What is added up; None stands for everything.

    Returns
    -------
    ndarray, the shape of `y_pred` without `axis`

    Examples
    --------
    >>> dice([[1.0, 0.0], [1.0, 1.0]], [[1.0, 0.0], [0.0, 1.0]], axis=1).round(4)
    array([0.    , 0.3333], dtype=float32)
    """
    return _along("dice", y_true, y_pred, axis)


@_documented()
def tversky(y_true, y_pred, alpha: float = 0.5, beta: float = 0.5, axis=None) -> np.ndarray:
    """1 less the Tversky index of two sets; otherwise like `dice`.

    Parameters
    ----------
    y_true, y_pred, axis
        As in `dice`.
    alpha, beta : float
        Weights of what is missing from the prediction, and of what it has too much.

    Examples
    --------
    >>> tversky([[1.0, 0.0]], [[0.5, 0.5]], alpha=0.25, beta=0.75).round(4).tolist()
    0.5
    """
    return _along("tversky", y_true, y_pred, axis, alpha=alpha, beta=beta)


@_documented()
def circle(y_true, y_pred, ref_labels=None, ref_embeddings=None, remove_diagonal: bool = True,
           gamma: float = 80, margin: float = 0.4) -> np.ndarray:
    """The circle loss of embeddings: near for one label, far for different ones.

    Parameters
    ----------
    y_true : array_like of int, shape (n,) or (n, 1)
        Any labels.
    y_pred : array_like, shape (n, c)
        Embeddings of length 1 (see `UnitNormalization`).
    ref_labels, ref_embeddings : None
        The batch is compared with itself; other references are not supported.
    remove_diagonal : bool
        Whether a row is not compared with itself.
    gamma, margin : float

    Returns
    -------
    ndarray, shape (n,)

    Raises
    ------
    ValueError, TypeError
        If the shapes don't fit, a label is no integer, or references are given.

    Examples
    --------
    >>> circle([0, 0, 1], [[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]], gamma=2.0).round(3)
    array([0.546, 1.284, 0.   ], dtype=float32)
    """
    if ref_labels is not None or ref_embeddings is not None:
        raise ValueError(
            "Arguments `ref_labels` and `ref_embeddings` must be None: a batch is compared with "
            "itself. Received: references"
        )
    y_pred, labels = checks.float_array(y_pred, "y_pred"), np.asarray(y_true)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    rows, _ = ops.loss("circle", y_pred, labels, gamma=gamma, margin=margin,
                       remove_diagonal=bool(remove_diagonal), reduction="none", gradient=False)
    return rows


# -- symbolic tensors ----------------------------------------------------------------------------


def _followed(function):
    """The function, which gives a tensor for tensors while a `compute_loss` is followed."""

    @functools.wraps(function)
    def loss(*args, **kwargs):
        tracer = tracing.current()
        if tracer is not None and any(
                hasattr(part, "_keras_history") for part in (*args, *kwargs.values())):
            return tracer.loss(function, args, kwargs)
        return function(*args, **kwargs)

    return loss


globals().update({name: _followed(globals()[name]) for name in __all__})
