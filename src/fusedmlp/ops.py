"""The one checked door to the kernels: NumPy arrays in, NumPy arrays out.

Each function checks what it is given (see `fusedmlp.checks` for the dtype rules), allocates what it
returns, and calls one kernel of the backend in use.  Wrong arguments raise before anything is
written.  This module knows neither layers nor models, and computes nothing itself.

Common to all functions:

- arrays may be lists, read-only, non-contiguous or of any real dtype, with the same result; any
  extent may be 0 unless a mean would be taken over nothing;
- `out` is an array of exactly the result's shape and dtype, C-contiguous and writeable; it may
  overlap an argument, and the result is then the same as if it did not;
- losses take predictions (n, c), or (n,) standing for (n, 1) where they go element by element, and
  return the loss and its gradient with respect to the predictions.  `reduction` "mean" divides the
  sum over rows by n (by the number of rows that are not ignored, where `ignore_index` is given; 0.0
  if all are), "sum" does not, and "none" gives the loss of each row, with the gradient of their
  sum.  A row's loss is multiplied by its sample weight.

>>> import numpy as np
>>> from fusedmlp import ops
>>> x = np.array([[1.0, 2.0]])
>>> ops.dense(x, np.eye(2), [0.5, -3.0], activation="relu")
array([[1.5, 0. ]])
"""

from __future__ import annotations

import math
import sys
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from . import backend, checks, config, spec, tracing
from .update_doors import update_door

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Array = NDArray[Any]
    Reduction = Literal["mean", "sum", "none"]

__all__ = [
    "activation",
    "activation_grad",
    "adam_update",
    "adamw_update",
    "binary_crossentropy",
    "binary_hits",
    "categorical_crossentropy",
    "categorical_hits",
    "dense",
    "dense_grad",
    "dropout",
    "log_softmax",
    "loss",
    "mean_absolute_error",
    "mean_squared_error",
    "prelu",
    "prelu_grad",
    "score",
    "sgd_update",
    "sigmoid_cross_entropy",
    "softmax",
    "softmax_cross_entropy",
    "tally",
]

_empty, _sum = np.empty, np.add.reduce
_REDUCTIONS = ("mean", "sum", "none")


# -- activations ---------------------------------------------------------------------------------


def activation(x: ArrayLike, name: str, *, out: Array | None = None, **params: Any) -> Array:
    """Apply an activation function.

    Parameters
    ----------
    x : array_like of real numbers
        Any rank for elementwise functions, at least 1 for those along an axis.
    name : str
        A row of `fusedmlp.spec.ACTIVATIONS` or an alias of one, such as "relu", "gelu", "softmax".
    out : ndarray, optional
        Array for the result.
    **params
        The function's parameters, with the defaults of its row; and ``axis`` (default -1) for
        "softmax", "log_softmax", "sparsemax", "glu" and "maxout".

    Returns
    -------
    ndarray
        Shape and dtype of `x`; along the axis "glu" leaves half of the extent and "maxout" one of
        every ``pieces``.

    Raises
    ------
    ValueError, TypeError
        If the name or a parameter is unknown or out of range, `x` holds no real numbers or does
        not fit the function, or `out` does not fit the result.

    Examples
    --------
    >>> import numpy as np
    >>> from fusedmlp import ops
    >>> ops.activation([-1.0, 0.0, 2.0], "relu")
    array([0., 0., 2.], dtype=float32)
    >>> ops.activation(np.array([-1.0, 2.0]), "leaky_relu", negative_slope=0.5)
    array([-0.5,  2. ])
    """
    if not params:
        y = backend.kernels().quick_activation(x, name, out)
        if y is not None:
            return y
    if type(x) is not np.ndarray and hasattr(x := tracing.symbolic(x), "_keras_history"):
        return x.activated(name, params)
    row, values, axis = _resolve(name, params)
    return _activation(row, values, axis, checks.float_array(x, "x"), out)


def activation_grad(
    dy: ArrayLike,
    name: str,
    *,
    x: ArrayLike | None = None,
    y: ArrayLike | None = None,
    out: Array | None = None,
    **params: Any,
) -> Array:
    """Gradient with respect to the input of `activation`.

    Some derivatives are computed from the input and some from the output, as the function's row in
    `fusedmlp.spec.ACTIVATIONS` says (``reads``).  The output is computed where only the input is
    given; from the output there is no way back.

    Parameters
    ----------
    dy : array_like
        Gradient with respect to the output, of the output's shape.
    name : str
        As in `activation`.
    x, y : array_like
        Input and output of the activation; the one that the derivative reads must be there.
    out : ndarray, optional
        Array for the result; it may be `dy`.
    **params
        As in `activation`.

    Returns
    -------
    ndarray
        Of the input's shape.

    Raises
    ------
    ValueError, TypeError
        As in `activation`; also if shapes disagree or neither `x` nor `y` serves.

    Examples
    --------
    >>> from fusedmlp import ops
    >>> ops.activation_grad([1.0, 1.0], "relu", y=[0.0, 2.0])
    array([0., 1.], dtype=float32)
    >>> ops.activation_grad([1.0, 1.0], "softsign", x=[0.0, 1.0])
    array([1.  , 0.25], dtype=float32)
    """
    if not params:
        dx = backend.kernels().quick_activation_grad(dy, name, x, y, out)
        if dx is not None:
            return dx
    row, values, axis = _resolve(name, params)
    return _activation_grad(row, values, axis, dy, x, y, out, "x")


def softmax(x: ArrayLike, axis: int = -1, *, out: Array | None = None) -> Array:
    """``exp(x_i) / sum_k exp(x_k)`` along an axis, computed so that no exponential overflows.

    Parameters
    ----------
    x : array_like, at least 1-D
    axis : int
    out : ndarray, optional

    Returns
    -------
    ndarray
        Shape and dtype of `x`.

    Raises
    ------
    ValueError, TypeError
        As `activation` does.

    Examples
    --------
    >>> from fusedmlp import ops
    >>> ops.softmax([[0.0, 0.0], [1000.0, 0.0]])
    array([[0.5, 0.5],
           [1. , 0. ]], dtype=float32)
    """
    return activation(x, "softmax", out=out, axis=axis)


def log_softmax(x: ArrayLike, axis: int = -1, *, out: Array | None = None) -> Array:
    """``x_i - log sum_k exp(x_k)`` along an axis; parameters and errors as in `softmax`.

    Examples
    --------
    >>> from fusedmlp import ops
    >>> ops.log_softmax([0.0, -1000.0]).tolist()
    [0.0, -1000.0]
    """
    return activation(x, "log_softmax", out=out, axis=axis)


def prelu(x: ArrayLike, alpha: ArrayLike, *, out: Array | None = None) -> Array:
    """``x if x >= 0 else alpha x`` with one slope for each index of the last axis.

    Parameters
    ----------
    x : array_like, shape (..., m)
    alpha : array_like, shape (m,)
    out : ndarray, optional

    Returns
    -------
    ndarray
        Shape of `x`.

    Raises
    ------
    ValueError, TypeError
        If `alpha` does not match the last axis of `x`, or `out` does not fit the result.

    Notes
    -----
    He et al. (2015), arXiv:1502.01852.

    Examples
    --------
    >>> from fusedmlp import ops
    >>> ops.prelu([[-2.0, -2.0], [3.0, 3.0]], [0.5, 0.25])
    array([[-1. , -0.5],
           [ 3. ,  3. ]], dtype=float32)
    """
    x, alpha = checks.float_arrays((x, alpha), ("x", "alpha"))
    _check_slopes(x, alpha)
    target = (_empty(x.shape, x.dtype) if out is None
              else _target(out, x.shape, x.dtype, x, alpha))
    backend.kernels().activations.prelu(_matrix(x), alpha, _matrix(target))
    return target if out is None else _delivered(target, out)


def prelu_grad(dy: ArrayLike, x: ArrayLike, alpha: ArrayLike) -> tuple[Array, Array]:
    """Gradients of `prelu`.

    Parameters
    ----------
    dy, x : array_like, shape (..., m)
        Gradient with respect to the output, and the input.
    alpha : array_like, shape (m,)

    Returns
    -------
    dx : ndarray, shape (..., m)
    dalpha : ndarray, shape (m,)

    Raises
    ------
    ValueError, TypeError
        If shapes disagree or an argument holds no real numbers.

    Examples
    --------
    >>> from fusedmlp import ops
    >>> dx, dalpha = ops.prelu_grad([[1.0], [1.0]], [[-2.0], [3.0]], [0.5])
    >>> dx.tolist(), dalpha.tolist()
    ([[0.5], [1.0]], [-2.0])
    """
    dy, x, alpha = checks.float_arrays((dy, x, alpha), ("dy", "x", "alpha"))
    _check_slopes(x, alpha)
    checks.shape(dy, x.shape, "dy", f"{x.shape}, that of `x`")
    dx, dalpha = _empty(x.shape, x.dtype), _empty(alpha.shape, x.dtype)
    backend.kernels().activations.prelu_grad(_matrix(dy), _matrix(x), alpha, _matrix(dx), dalpha)
    return dx, dalpha


# -- dense ---------------------------------------------------------------------------------------


def dense(
    x: ArrayLike,
    kernel: ArrayLike,
    bias: ArrayLike | None = None,
    activation: str | None = None,
    *,
    out: Array | None = None,
    **params: Any,
) -> Array:
    """``activation(x @ kernel + bias)``.

    Parameters
    ----------
    x : array_like, shape (n, d)
    kernel : array_like, shape (d, m)
    bias : array_like, shape (m,), optional
    activation : str, optional
        As in `activation`; None is the identity.
    out : ndarray, optional
        Array for the result.
    **params
        Parameters of the activation.

    Returns
    -------
    ndarray, shape (n, m)
        "glu" and "maxout" make it narrower.

    Raises
    ------
    ValueError, TypeError
        If ranks or widths disagree, or as `activation` does.

    Examples
    --------
    >>> import numpy as np
    >>> from fusedmlp import ops
    >>> ops.dense(np.ones((2, 3)), np.ones((3, 1)), [1.0])
    array([[4.],
           [4.]])
    """
    row, values, axis = _resolve("linear" if activation is None else activation, params)
    if bias is None:
        x, kernel = checks.float_arrays((x, kernel), ("x", "kernel"))
    else:
        x, kernel, bias = checks.float_arrays((x, kernel, bias), ("x", "kernel", "bias"))
    n, m = _check_dense(x, kernel)
    if bias is not None and bias.shape != (m,):
        checks.shape(bias, (m,), "bias", f"(m,) with m = {m}, the columns of `kernel`")
    run = backend.kernels().dense.dense
    if axis is not None:
        _check_width(row, values, m, "kernel")
        z = _empty((n, m), x.dtype)
        if out is not None:
            checks.output(out, (n, _width(row, values, m)), x.dtype)
        run(x, kernel, bias, "linear", (), z, None)
        return _along_axis(row, values, z, axis, out)
    if out is None:
        target = _empty((n, m), x.dtype)
    else:
        target = _target(out, (n, m), x.dtype, x, kernel, *(() if bias is None else (bias,)))
    run(x, kernel, bias, row.name, values, target, None)
    return target if out is None else _delivered(target, out)


def dense_grad(
    dy: ArrayLike,
    x: ArrayLike,
    kernel: ArrayLike,
    *,
    y: ArrayLike | None = None,
    z: ArrayLike | None = None,
    activation: str | None = None,
    need_dx: bool = True,
    **params: Any,
) -> tuple[Array | None, Array, Array]:
    """Gradients of `dense`.

    With ``dz = dy * activation'``: ``dx = dz @ kernel.T``, ``dkernel = x.T @ dz`` and
    ``dbias = dz.sum(axis=0)``.

    Parameters
    ----------
    dy : array_like, shape (n, m)
        Gradient with respect to the output.
    x : array_like, shape (n, d)
    kernel : array_like, shape (d, m)
    y : array_like, shape (n, m), optional
        Output of `dense`; needed where the activation's derivative reads the output.
    z : array_like, shape (n, m), optional
        ``x @ kernel + bias``; needed where the derivative reads the input (see `activation_grad`).
    activation : str, optional
    need_dx : bool
        Whether to compute `dx`.
    **params
        Parameters of the activation.

    Returns
    -------
    dx : ndarray, shape (n, d), or None
    dkernel : ndarray, shape (d, m)
    dbias : ndarray, shape (m,)

    Raises
    ------
    ValueError, TypeError
        If ranks or widths disagree, what the derivative reads is missing, or as `activation` does.

    Examples
    --------
    >>> import numpy as np
    >>> from fusedmlp import ops
    >>> dx, dkernel, dbias = ops.dense_grad(np.ones((2, 1)), [[1, 2], [3, 4]], [[5], [6]])
    >>> dx.tolist(), dkernel.tolist(), dbias.tolist()
    ([[5.0, 6.0], [5.0, 6.0]], [[4.0], [6.0]], [2.0])
    """
    row, values, axis = _resolve("linear" if activation is None else activation, params)
    given = {"dy": dy, "x": x, "kernel": kernel, "y": y, "z": z}
    given = {name: array for name, array in given.items() if array is not None}
    arrays = dict(zip(given, checks.float_arrays(tuple(given.values()), tuple(given)),
                      strict=True))
    dy, x, kernel = arrays["dy"], arrays["x"], arrays["kernel"]
    n, m = _check_dense(x, kernel)
    if axis is not None:
        _check_width(row, values, m, "kernel")
    width = _width(row, values, m)
    for name, columns in (("dy", width), ("y", width), ("z", m)):
        array = arrays.get(name)
        if array is not None and array.shape != (n, columns):
            checks.shape(array, (n, columns), name,
                         f"{(n, columns)}, for {n} rows of `x` and {m} columns of `kernel`")
    dz = dy
    if row.name != "linear":
        dz = _activation_grad(row, values, axis, dy, arrays.get("z"), arrays.get("y"), None, "z")
    dx = _empty(x.shape, x.dtype) if need_dx else None
    dkernel, dbias = _empty(kernel.shape, x.dtype), _empty((m,), x.dtype)
    backend.kernels().dense.dense_grad(dz, x, kernel, dx, dkernel, dbias)
    return dx, dkernel, dbias


# -- losses --------------------------------------------------------------------------------------


def loss(
    name: str,
    y_pred: ArrayLike,
    y_true: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    reduction: Reduction = "mean",
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
    axis: str = "rows",
    gradient: bool = True,
    out: Array | None = None,
    **params: Any,
) -> tuple[float | Array, Array | None]:
    """The loss of a row of `fusedmlp.spec.LOSSES`, and its gradient.

    Parameters
    ----------
    name : str
        A row or an alias of one, such as "huber", "poisson", "categorical_hinge", "dice".
    y_pred : array_like, shape (n, c), or (n,) for an elementwise row
    y_true : array_like
        As the row's `labels` says: "dense" and "signs" the shape of `y_pred`; "classes" that or
        integers (n,) from 0 to c - 1; "halves" (n, c / 2); "groups" any integers (n,).
    sample_weight, reduction, ignore_index, gradient, out
        As in `softmax_cross_entropy`; `ignore_index` only with rows that take classes.
    label_smoothing : float
        From 0 to 1: targets t become ``t (1 - e) + e / c``, in an elementwise row
        ``t (1 - e) + e / 2``.  Other kinds have none.
    axis : {"rows", "all", "columns", "columns_sum"}
        What an overlap row adds up: along each row; everything; down each column, with the mean or
        the sum over the columns.  With the last three every row gets the loss of the whole batch.
    **params
        The row's parameters, with its defaults; `epsilon` is `fusedmlp.config.epsilon()` by
        default.

    Returns
    -------
    loss : float, or ndarray of shape (n,) for reduction "none"
    gradient : ndarray, shape of `y_pred`, or None

    Raises
    ------
    ValueError, TypeError
        If the name or a parameter is unknown or out of range, shapes disagree, a class is out of
        range, or a mean is to be taken over nothing.

    Examples
    --------
    >>> from fusedmlp import ops
    >>> loss, gradient = ops.loss("huber", [[0.5, 3.0]], [[0.0, 0.0]], delta=2.0)
    >>> loss, gradient.tolist()
    (2.0625, [[0.25, 1.0]])
    """
    row = spec.loss(name)
    if row.name == "softmax_cross_entropy":
        _no_params(row, params)
        return softmax_cross_entropy(
            y_pred, y_true, sample_weight=sample_weight, reduction=reduction,
            label_smoothing=label_smoothing, ignore_index=ignore_index, gradient=gradient, out=out)
    return _loss(row, ("y_pred", "y_true"), y_pred, y_true, _loss_params(row, params),
                 sample_weight, reduction, label_smoothing, ignore_index, axis, gradient, out)


def softmax_cross_entropy(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    reduction: Reduction = "mean",
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
    gradient: bool = True,
    out: Array | None = None,
) -> tuple[float | Array, Array | None]:
    """``-sum_k t_k log softmax(z)_k`` of each row, and its gradient ``softmax(z) - t``.

    Parameters
    ----------
    logits : array_like, shape (n, c)
    labels : array_like, shape (n,) or (n, c)
        Classes from 0 to c - 1, or the probability of each class.
    sample_weight : array_like, shape (n,), optional
    reduction : {"mean", "sum", "none"}
    label_smoothing : float
        From 0 to 1: targets t become ``t (1 - e) + e / c``.
    ignore_index : int, optional
        Rows with this class have loss and gradient 0; only with classes.
    gradient : bool
        Whether to compute the gradient; None is returned in its place otherwise.
    out : ndarray, shape (n, c), optional
        Array for the gradient.

    Returns
    -------
    loss : float, or ndarray of shape (n,) for reduction "none"
    dlogits : ndarray, shape (n, c), or None

    Raises
    ------
    ValueError, TypeError
        If shapes disagree, a class is out of range (the message has its value and row), a mean is
        to be taken over no rows, or a parameter is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> from fusedmlp import ops
    >>> loss, dlogits = ops.softmax_cross_entropy(np.zeros((1, 2)), [1])
    >>> round(loss, 4), dlogits.tolist()
    (0.6931, [[0.5, -0.5]])
    """
    if gradient and sample_weight is None and ignore_index is None and label_smoothing == 0.0:
        found = backend.kernels().quick_softmax_cross_entropy(logits, labels, reduction, out)
        if found is not None:
            return found
    return _loss(spec.LOSSES["softmax_cross_entropy"], ("logits", "labels"), logits, labels, (),
                 sample_weight, reduction, label_smoothing, ignore_index, "rows", gradient, out)


def categorical_crossentropy(
    probabilities: ArrayLike,
    labels: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    reduction: Reduction = "mean",
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
    epsilon: float | None = None,
    gradient: bool = True,
    out: Array | None = None,
) -> tuple[float | Array, Array | None]:
    """``-sum_k t_k log q_k`` of each row, ``q = clip(p / sum p, epsilon, 1 - epsilon)``.

    Parameters
    ----------
    probabilities : array_like, shape (n, c)
    epsilon : float, optional
        Above 0 and below 0.5; `fusedmlp.config.epsilon()` by default.
    labels, sample_weight, reduction, label_smoothing, ignore_index, gradient, out
        As in `softmax_cross_entropy`.

    Returns
    -------
    loss : float, or ndarray of shape (n,) for reduction "none"
    dprobabilities : ndarray, shape (n, c), or None

    Raises
    ------
    ValueError, TypeError
        As `softmax_cross_entropy` does.

    Examples
    --------
    >>> from fusedmlp import ops
    >>> loss, _ = ops.categorical_crossentropy([[0.25, 0.75]], [0])
    >>> round(loss, 4)
    1.3863
    """
    return _loss(spec.LOSSES["categorical_crossentropy"], ("probabilities", "labels"),
                 probabilities, labels, (_epsilon(epsilon),), sample_weight, reduction,
                 label_smoothing, ignore_index, "rows", gradient, out)


def sigmoid_cross_entropy(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    reduction: Reduction = "mean",
    label_smoothing: float = 0.0,
    gradient: bool = True,
    out: Array | None = None,
) -> tuple[float | Array, Array | None]:
    """``max(z, 0) - z t + log(1 + exp(-|z|))``, a mean over columns, and its gradient.

    Parameters
    ----------
    logits : array_like, shape (n, c) or (n,)
    labels : array_like, shape of `logits`
        Probabilities; 0 and 1 for a decision.
    label_smoothing : float
        From 0 to 1: targets t become ``t (1 - e) + e / 2``.
    sample_weight, reduction, gradient, out
        As in `softmax_cross_entropy`.

    Returns
    -------
    loss : float, or ndarray of shape (n,) for reduction "none"
    dlogits : ndarray, shape of `logits`, or None

    Raises
    ------
    ValueError, TypeError
        If shapes disagree, a mean is to be taken over nothing, or a parameter is out of range.

    Examples
    --------
    >>> from fusedmlp import ops
    >>> loss, dlogits = ops.sigmoid_cross_entropy([0.0, 0.0], [1, 0])
    >>> round(loss, 4), dlogits.tolist()
    (0.6931, [-0.25, 0.25])
    """
    return _loss(spec.LOSSES["sigmoid_cross_entropy"], ("logits", "labels"), logits, labels, (),
                 sample_weight, reduction, label_smoothing, None, "rows", gradient, out)


def binary_crossentropy(
    probabilities: ArrayLike,
    labels: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    reduction: Reduction = "mean",
    label_smoothing: float = 0.0,
    epsilon: float | None = None,
    gradient: bool = True,
    out: Array | None = None,
) -> tuple[float | Array, Array | None]:
    """``-t log q - (1 - t) log(1 - q)``, ``q = clip(p, epsilon, 1 - epsilon)``; mean over columns.

    Parameters
    ----------
    probabilities : array_like, shape (n, c) or (n,)
    labels : array_like, shape of `probabilities`
    epsilon : float, optional
        Above 0 and below 0.5; `fusedmlp.config.epsilon()` by default.
    label_smoothing, sample_weight, reduction, gradient, out
        As in `sigmoid_cross_entropy`.

    Returns
    -------
    loss : float, or ndarray of shape (n,) for reduction "none"
    dprobabilities : ndarray, shape of `probabilities`, or None

    Raises
    ------
    ValueError, TypeError
        As `sigmoid_cross_entropy` does.

    Examples
    --------
    >>> from fusedmlp import ops
    >>> loss, dprobabilities = ops.binary_crossentropy([0.5], [1])
    >>> round(loss, 4), dprobabilities.tolist()
    (0.6931, [-2.0])
    """
    return _loss(spec.LOSSES["binary_crossentropy"], ("probabilities", "labels"), probabilities,
                 labels, (_epsilon(epsilon),), sample_weight, reduction, label_smoothing, None,
                 "rows", gradient, out)


def mean_squared_error(
    y_pred: ArrayLike,
    y_true: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    reduction: Reduction = "mean",
    gradient: bool = True,
    out: Array | None = None,
) -> tuple[float | Array, Array | None]:
    """``(p - t)^2``, a mean over columns, and its gradient.

    Parameters
    ----------
    y_pred : array_like, shape (n, c) or (n,)
    y_true : array_like, shape of `y_pred`
    sample_weight, reduction, gradient, out
        As in `softmax_cross_entropy`.

    Returns
    -------
    loss : float, or ndarray of shape (n,) for reduction "none"
    dy_pred : ndarray, shape of `y_pred`, or None

    Raises
    ------
    ValueError, TypeError
        If shapes disagree, or a mean is to be taken over nothing.

    Examples
    --------
    >>> from fusedmlp import ops
    >>> loss, gradient = ops.mean_squared_error([[1.0, 3.0]], [[0.0, 0.0]])
    >>> loss, gradient.tolist()
    (5.0, [[1.0, 3.0]])
    """
    return _loss(spec.LOSSES["mean_squared_error"], ("y_pred", "y_true"), y_pred, y_true, (),
                 sample_weight, reduction, 0.0, None, "rows", gradient, out)


def mean_absolute_error(
    y_pred: ArrayLike,
    y_true: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    reduction: Reduction = "mean",
    gradient: bool = True,
    out: Array | None = None,
) -> tuple[float | Array, Array | None]:
    """``|p - t|``, a mean over columns, and its gradient; all else as in `mean_squared_error`.

    Examples
    --------
    >>> from fusedmlp import ops
    >>> loss, gradient = ops.mean_absolute_error([[1.0, -3.0]], [[0.0, 0.0]])
    >>> loss, gradient.tolist()
    (2.0, [[0.5, -0.5]])
    """
    return _loss(spec.LOSSES["mean_absolute_error"], ("y_pred", "y_true"), y_pred, y_true, (),
                 sample_weight, reduction, 0.0, None, "rows", gradient, out)


# -- hits ----------------------------------------------------------------------------------------


def categorical_hits(predictions: ArrayLike, labels: ArrayLike) -> Array:
    """1 for each row whose first largest prediction is at the label, else 0.

    Parameters
    ----------
    predictions : array_like, shape (n, c)
    labels : array_like, shape (n,) or (n, c)
        Classes, or probabilities, of which the first largest counts.

    Returns
    -------
    ndarray, shape (n,)
        Of the predictions' dtype.

    Raises
    ------
    ValueError, TypeError
        If shapes disagree or a class is out of range.

    Examples
    --------
    >>> from fusedmlp import ops
    >>> ops.categorical_hits([[0.1, 0.9], [0.6, 0.4]], [1, 1])
    array([1., 0.], dtype=float32)
    """
    predictions = checks.float_array(predictions, "predictions")
    labels = _labels(predictions, ("predictions", "labels"), labels, None)
    hits = _empty(predictions.shape[:1], predictions.dtype)
    backend.kernels().metrics.score("categorical_hits", predictions, labels, (), hits)
    return hits


def binary_hits(predictions: ArrayLike, labels: ArrayLike, threshold: float = 0.5) -> Array:
    """The share of each row's columns in which ``predictions > threshold`` equals the label.

    Parameters
    ----------
    predictions : array_like, shape (n, c) or (n,)
    labels : array_like, shape of `predictions`
        Zeros and ones.
    threshold : float

    Returns
    -------
    ndarray, shape (n,)
        Of the predictions' dtype.

    Raises
    ------
    ValueError, TypeError
        If shapes disagree or there are no columns.

    Examples
    --------
    >>> from fusedmlp import ops
    >>> ops.binary_hits([[0.1, 0.9], [0.6, 0.4]], [[0, 1], [0, 0]])
    array([1. , 0.5], dtype=float32)
    """
    threshold = checks.number(threshold, "threshold")
    predictions = checks.float_array(predictions, "predictions")
    labels = checks.float_like(labels, "labels", predictions.dtype)
    _check_elementwise(predictions, labels, ("predictions", "labels"))
    hits = _empty(predictions.shape[:1], predictions.dtype)
    backend.kernels().metrics.score("binary_hits", _columns(predictions), _columns(labels),
                                    (threshold,), hits)
    return hits


def score(name: str, y_pred: ArrayLike, y_true: ArrayLike, **params: float) -> Array:
    """A number for each row of predictions and labels, by a row of `fusedmlp.spec.SCORES`.

    Parameters
    ----------
    name : str
        "categorical_hits", "top_k_hits", "pearson_correlation", ...
    y_pred : array_like, shape (n, c)
    y_true : array_like, shape (n,) of integers, or (n, c)
    **params
        The row's parameters, with its defaults.

    Returns
    -------
    ndarray, shape (n,)

    Raises
    ------
    ValueError, TypeError
        If the name or a parameter is unknown, shapes disagree, or a class is out of range.

    Examples
    --------
    >>> from fusedmlp import ops
    >>> ops.score("top_k_hits", [[0.1, 0.7, 0.2], [0.5, 0.4, 0.1]], [2, 2], k=2).tolist()
    [1.0, 0.0]
    """
    if name not in spec.SCORES:
        raise ValueError(spec.nearest(name, spec.SCORES, "score"))
    values = dict(spec.SCORES[name].params)
    for key, value in params.items():
        if key not in values:
            raise TypeError(
                f"Score {name!r} has no parameter {key!r}: expected {', '.join(values) or 'none'}. "
                f"Received: {key}={value!r}"
            )
        values[key] = checks.number(value, key)
    y_pred = checks.float_array(y_pred, "y_pred")
    if name == "top_k_hits" and values["listed"]:
        y_true = _group_labels(y_true, "y_true", len(y_pred))
        _check_columns(y_pred, "y_pred")
    else:
        y_true = _labels(y_pred, ("y_pred", "y_true"), y_true, None)
    scores = _empty(y_pred.shape[:1], y_pred.dtype)
    backend.kernels().metrics.score(name, y_pred, y_true, tuple(values.values()), scores)
    return scores


def tally(
    name: str,
    y_pred: ArrayLike,
    y_true: ArrayLike,
    state: Array,
    *,
    options: ArrayLike = (),
    sample_weight: ArrayLike | None = None,
) -> None:
    """Add what a batch contributes to the state of a metric, in place.

    Parameters
    ----------
    name : str
        A row of `fusedmlp.spec.TALLIES`, which says what `state` and `options` hold.
    y_pred : array_like, shape (n, c)
    y_true : array_like, shape (n, c)
    state : ndarray of float64
    options : sequence of float
    sample_weight : array_like, shape (n,), optional

    Raises
    ------
    ValueError, TypeError
        If the name is unknown, shapes disagree, or `state` is no writeable array of its dtype.

    Examples
    --------
    >>> import numpy as np
    >>> from fusedmlp import ops
    >>> state = np.zeros(4)
    >>> no = float("nan")
    >>> ops.tally("confusion", [[0.2], [0.7]], [[0], [1]], state, options=[2, no, 0, 0, 0.5, 0])
    >>> state.tolist()
    [1.0, 0.0, 0.0, 1.0]
    """
    if name not in spec.TALLIES:
        raise ValueError(spec.nearest(name, spec.TALLIES, "tally"))
    y_pred = checks.float_array(y_pred, "y_pred")
    y_true = checks.float_like(y_true, "y_true", y_pred.dtype)
    if y_pred.ndim != 2:
        checks.shape(y_pred, (None, None), "y_pred", "(n, c)")
    if y_pred.shape != y_true.shape:
        checks.shape(y_true, y_pred.shape, "y_true", f"{y_pred.shape}, that of `y_pred`")
    if not isinstance(state, np.ndarray):
        raise TypeError(
            f"Argument `state` must be a NumPy array. Received: {type(state).__name__}"
        )
    checks.output(state, state.shape, checks.F64, "state")
    weights = _weights(sample_weight, len(y_pred), y_pred.dtype)
    backend.kernels().metrics.tally(name, y_pred, y_true, weights,
                                    np.array(options, np.float64).reshape(-1), state.reshape(-1))


# -- optimizers ----------------------------------------------------------------------------------


def sgd_update(
    param: Array,
    grad: ArrayLike,
    learning_rate: float,
    *,
    velocity: Array | None = None,
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
) -> None:
    """One step of stochastic gradient descent, with momentum where `velocity` is given; in place.

    ``w <- w - learning_rate weight_decay w``; then ``w <- w - learning_rate g``, or, with
    momentum, ``v <- momentum v - learning_rate g`` and ``w <- w + v``, in Nesterov's form
    ``w <- w + momentum v - learning_rate g``.

    Parameters
    ----------
    param : ndarray of float32 or float64, any shape
        Updated in place.
    grad : array_like, shape of `param`
    learning_rate : float
        At least 0.
    velocity : ndarray, shape and dtype of `param`, optional
        Updated in place; zeros before the first step.
    momentum : float
        From 0 to 1.
    nesterov : bool
    weight_decay : float
        At least 0.

    Raises
    ------
    ValueError, TypeError
        If an array to update is read-only, of another shape or dtype, or shares memory with
        another; if `momentum` or `nesterov` is given without `velocity`; or if a number is out of
        its range.  Nothing is changed then.

    Notes
    -----
    Sutskever et al. (2013); the form of keras.optimizers.SGD.

    Examples
    --------
    >>> import numpy as np
    >>> from fusedmlp import ops
    >>> w, v = np.array([1.0]), np.zeros(1)
    >>> for _ in range(2):
    ...     ops.sgd_update(w, [1.0], 0.1, velocity=v, momentum=0.5)
    >>> w.round(6), v.round(6)
    (array([0.75]), array([-0.15]))
    """
    learning_rate, momentum, weight_decay = _numbers(
        ("learning_rate", "momentum", "weight_decay"), learning_rate, momentum, weight_decay)
    if velocity is None:
        if momentum or nesterov:
            raise ValueError(
                "Argument `velocity` must be given with `momentum` or `nesterov`. "
                f"Received: velocity=None, momentum={momentum}, nesterov={nesterov}"
            )
        arrays, copies = _flat((param, grad), ("param", "grad"))
        backend.kernels().optimizers.sgd_update(*arrays, learning_rate, weight_decay)
    else:
        arrays, copies = _flat((param, grad, velocity), ("param", "grad", "velocity"))
        backend.kernels().optimizers.momentum_update(
            *arrays, learning_rate, momentum, float(bool(nesterov)), weight_decay)
    for array, copy in copies:
        array[...] = copy


def adam_update(
    param: Array,
    grad: ArrayLike,
    m: Array,
    v: Array,
    step: int,
    learning_rate: float,
    *,
    beta_1: float = 0.9,
    beta_2: float = 0.999,
    epsilon: float = 1e-7,
    weight_decay: float = 0.0,
) -> None:
    """One step of Adam, with decoupled weight decay (AdamW) where that is not 0; in place.

    ``w <- w - learning_rate weight_decay w``, ``m <- m + (1 - beta_1) (g - m)``,
    ``v <- v + (1 - beta_2) (g^2 - v)``,
    ``w <- w - learning_rate sqrt(1 - beta_2^t) / (1 - beta_1^t) m / (sqrt(v) + epsilon)``.

    Parameters
    ----------
    param : ndarray of float32 or float64, any shape
        Updated in place.
    grad : array_like, shape of `param`
    m, v : ndarray, shape and dtype of `param`
        Running means of the gradient and its square, updated in place; zeros before step 1.
    step : int
        t, which counts from 1.
    learning_rate : float
        At least 0.
    beta_1, beta_2 : float
        At least 0 and below 1.
    epsilon : float
        At least 0; added to the root of the uncorrected `v` ("epsilon hat" of the paper).
    weight_decay : float
        At least 0.

    Raises
    ------
    ValueError, TypeError
        If an array to update is read-only, of another shape or dtype, or shares memory with
        another, or if a number is out of its range.  Nothing is changed then.

    Notes
    -----
    Kingma and Ba (2015), arXiv:1412.6980; the form of keras.optimizers.Adam.

    Examples
    --------
    >>> import numpy as np
    >>> from fusedmlp import ops
    >>> w, m, v = np.array([1.0]), np.zeros(1), np.zeros(1)
    >>> ops.adam_update(w, [3.0], m, v, 1, 0.1)
    >>> w.round(6)
    array([0.9])
    """
    if backend.kernels().quick_adam_update(param, grad, m, v, step, learning_rate, beta_1, beta_2,
                                           epsilon, weight_decay):
        return
    learning_rate, beta_1, beta_2, epsilon, weight_decay = _numbers(
        ("learning_rate", "beta_1", "beta_2", "epsilon", "weight_decay"),
        learning_rate, beta_1, beta_2, epsilon, weight_decay)
    if type(step) is not int or step < 1:
        step = checks.integer(step, "step", 1)
    arrays, copies = _flat((param, grad, m, v), ("param", "grad", "m", "v"))
    backend.kernels().optimizers.adam_update(
        *arrays, step, learning_rate, beta_1, beta_2, epsilon, weight_decay)
    for array, copy in copies:
        array[...] = copy


def adamw_update(
    param: Array,
    grad: ArrayLike,
    m: Array,
    v: Array,
    step: int,
    learning_rate: float,
    *,
    beta_1: float = 0.9,
    beta_2: float = 0.999,
    epsilon: float = 1e-7,
    weight_decay: float = 0.004,
) -> None:
    """`adam_update` with Keras's default weight decay for AdamW; parameters and errors as there.

    Notes
    -----
    Loshchilov and Hutter (2019), arXiv:1711.05101; the form of keras.optimizers.AdamW.

    Examples
    --------
    >>> import numpy as np
    >>> from fusedmlp import ops
    >>> w, m, v = np.array([1.0]), np.zeros(1), np.zeros(1)
    >>> ops.adamw_update(w, [0.0], m, v, 1, 0.5)
    >>> w
    array([0.998])
    """
    adam_update(param, grad, m, v, step, learning_rate, beta_1=beta_1, beta_2=beta_2,
                epsilon=epsilon, weight_decay=weight_decay)


# The updates of the other optimizers come from their rows.
for _row in spec.OPTIMIZERS.values():
    if _row.name not in ("sgd", "momentum", "adam"):
        globals()[f"{_row.name}_update"] = update_door(_row)
        __all__.append(f"{_row.name}_update")


# -- dropout -------------------------------------------------------------------------------------


def dropout(
    x: ArrayLike, rate: float, seed: int, *, stream: int = 0, step: int = 0
) -> tuple[Array, Array]:
    """Set elements to 0 with probability `rate` and scale the others by ``1 / (1 - rate)``.

    Which ones is a function of (seed, stream, step) and the element's row and column, by
    Philox 4x32-10: the same on every backend and for any number of threads.

    Parameters
    ----------
    x : array_like, shape (..., m)
    rate : float
        At least 0 and below 1.
    seed : int
        From 0 to 2**64 - 1.
    stream, step : int
        From 0 to 2**32 - 1; networks use the number of the layer and of the update.

    Returns
    -------
    y : ndarray
        ``x * mask``.
    mask : ndarray
        0 or ``1 / (1 - rate)``, of the shape of `x`; the gradient with respect to `x` is
        ``dy * mask``.

    Raises
    ------
    ValueError, TypeError
        If a number is out of its range or `x` has no axis.

    Notes
    -----
    Srivastava et al. (2014); Salmon et al. (2011), "Parallel random numbers: as easy as 1, 2, 3".

    Examples
    --------
    >>> import numpy as np
    >>> from fusedmlp import ops
    >>> y, mask = ops.dropout(np.ones((100, 100)), 0.25, seed=1)
    >>> bool(abs(y.mean() - 1.0) < 0.05), bool((y == mask).all())
    (True, True)
    """
    rate = checks.number(rate, "rate", low=0.0, below=1.0)
    seed = checks.integer(seed, "seed", 0, 2**64 - 1)
    stream = checks.integer(stream, "stream", 0, 2**32 - 1)
    step = checks.integer(step, "step", 0, 2**32 - 1)
    x = checks.float_array(x, "x")
    _check_axes(x)
    mask = _empty(x.shape, x.dtype)
    backend.kernels().random.dropout_mask(rate, seed, stream, step, _matrix(mask))
    return x * mask, mask


# -- what the functions above share ----------------------------------------------------------------

_DEFAULTS = {}  # activation name -> what `_resolve` returns for it without parameters


def _resolve(name, params):
    """Row, parameter values in kernel order, and the axis (None for elementwise functions)."""
    if not params:
        try:
            return _DEFAULTS[name]
        except (KeyError, TypeError):
            found = _DEFAULTS[name] = _resolved(name, ())
            return found
    try:
        return _remembered(name, tuple(params.items()))
    except TypeError:  # a value that has no hash, or is no number
        pass
    return _resolved(name, params.items())


def _resolved(name, items):
    row = spec.activation(name)
    if row.kind == "slope":
        raise ValueError(
            f"Argument `name` must be an activation without learned parameters; {row.name!r} has a "
            f"function of its own, fusedmlp.ops.{row.name}. Received: {name!r}"
        )
    given = dict(items)
    axis = None if row.kind == "elementwise" else given.pop("axis", -1)
    row, values = spec.resolve_activation(name, given)
    if row.kind == "pieces" and values[0] != int(values[0]):
        raise ValueError(
            f"Argument `pieces` of activation {row.name!r} must be a whole number. "
            f"Received: {values[0]}"
        )
    return row, values, axis


_remembered = lru_cache(maxsize=512)(_resolved)


def _target(out, shape, dtype, *inputs):
    """The array that a kernel writes for `out`: another one where `out` overlaps an input."""
    checks.output(out, shape, dtype)
    for x in inputs:
        if np.may_share_memory(out, x):
            return _empty(shape, dtype)
    return out


def _delivered(target, out):
    if target is not out:
        np.copyto(out, target)
    return out


def _activation(row, values, axis, x, out):
    if axis is not None:
        return _along_axis(row, values, x, axis, out)
    target = _empty(x.shape, x.dtype) if out is None else _target(out, x.shape, x.dtype, x)
    kernel = backend.kernels().activations.activation
    if x.ndim:
        kernel(row.name, x, values, target)
    else:
        kernel(row.name, x.reshape(1), values, target.reshape(1))
    return target if out is None else _delivered(target, out)


def _check_axes(x, name="x"):
    if x.ndim == 0:
        raise ValueError(f"Argument `{name}` must have at least 1 axis. Received: shape ()")


def _matrix(x):
    """A contiguous array (..., m) as (n, m)."""
    return x if x.ndim == 2 else x.reshape(math.prod(x.shape[:-1]), x.shape[-1])


def _columns(x):
    """(n,) as (n, 1)."""
    return x if x.ndim == 2 else x.reshape(-1, 1)


def _width(row, values, columns):
    """How many columns an activation makes of `columns`."""
    if row.kind == "halves":
        return columns // 2
    return columns // int(values[0]) if row.kind == "pieces" else columns


def _check_width(row, values, columns, name):
    pieces = 2 if row.kind == "halves" else int(values[0]) if row.kind == "pieces" else 1
    if columns % pieces:
        raise ValueError(
            f"The last axis of argument `{name}` must be a multiple of {pieces} for activation "
            f"{row.name!r}. Received: {columns}"
        )


def _axis(x, axis, name):
    _check_axes(x, name)
    axis = checks.integer(axis, "axis", -x.ndim, x.ndim - 1)
    return axis % x.ndim


def _along_axis(row, values, x, axis, out):
    """An activation whose elements depend on each other along one axis."""
    axis = _axis(x, axis, "x")
    last = axis == x.ndim - 1
    if not last:
        x = np.ascontiguousarray(np.moveaxis(x, axis, -1))
    _check_width(row, values, x.shape[-1], "x")
    shape = (*x.shape[:-1], _width(row, values, x.shape[-1]))
    final = shape if last else (*shape[:axis], shape[-1], *shape[axis:-1])
    if out is not None:
        checks.output(out, final, x.dtype)
    if out is not None and last and not np.may_share_memory(out, x):
        target = out
    else:
        target = _empty(shape, x.dtype)
    backend.kernels().activations.activation(row.name, _matrix(x), values, _matrix(target))
    result = target if last else np.moveaxis(target, -1, axis)
    if out is None:
        return np.ascontiguousarray(result)
    return _delivered(result, out)


def _activation_grad(row, values, axis, dy, x, y, out, x_name):
    if row.reads == "y" and y is None and x is not None:
        y = _activation(row, values, axis, checks.float_array(x, x_name), None)
    saved, name = (y, "y") if row.reads == "y" else (x, x_name)
    if saved is None:
        source = "output: argument `y`" if row.reads == "y" else f"input: argument `{x_name}`"
        other = f"`y` or `{x_name}`" if row.reads == "y" else f"`{x_name}`"
        raise ValueError(
            f"The derivative of {row.name!r} is computed from its {source} must be given. "
            f"Received: no {other}"
        )
    dy, saved = checks.float_arrays((dy, saved), ("dy", name))
    if axis is not None:
        return _grad_along_axis(row, values, axis, dy, saved, name, out)
    if dy.shape != saved.shape:
        checks.shape(dy, saved.shape, "dy", f"{saved.shape}, that of `{name}`")
    if out is None:
        target = _empty(dy.shape, dy.dtype)
    elif out is dy:  # the one overlap that kernels allow
        checks.output(out, dy.shape, dy.dtype)
        target = out
    else:
        target = _target(out, dy.shape, dy.dtype, dy, saved)
    kernel = backend.kernels().activations.activation_grad
    if dy.ndim:
        kernel(row.name, dy, saved, values, target)
    else:
        kernel(row.name, dy.reshape(1), saved.reshape(1), values, target.reshape(1))
    return target if out is None else _delivered(target, out)


def _grad_along_axis(row, values, axis, dy, saved, name, out):
    axis = _axis(saved, axis, name)
    final = saved.shape
    if axis != saved.ndim - 1:
        saved = np.ascontiguousarray(np.moveaxis(saved, axis, -1))
    _check_width(row, values, saved.shape[-1], name)
    width = _width(row, values, saved.shape[-1])
    expected = (*final[:axis], width, *final[axis + 1:])
    checks.shape(dy, expected, "dy", f"{expected}, that of the output")
    if out is not None:
        checks.output(out, final, dy.dtype)
    if axis != dy.ndim - 1:
        dy = np.ascontiguousarray(np.moveaxis(dy, axis, -1))
    dx = _empty(saved.shape, dy.dtype)
    backend.kernels().activations.activation_grad(row.name, _matrix(dy), _matrix(saved), values,
                                                  _matrix(dx))
    result = np.moveaxis(dx, -1, axis)
    return np.ascontiguousarray(result) if out is None else _delivered(result, out)


def _check_slopes(x, alpha):
    _check_axes(x)
    m = x.shape[-1]
    checks.shape(alpha, (m,), "alpha", f"(m,) with m = {m}, the last axis of `x`")


def _check_dense(x, kernel):
    """Rows of x and columns of kernel, once their ranks and widths are right."""
    if x.ndim != 2:
        checks.shape(x, (None, None), "x", "(n, d)")
    if kernel.ndim != 2 or kernel.shape[0] != x.shape[1]:
        d = x.shape[1]
        checks.shape(kernel, (d, None), "kernel", f"(d, m) with d = {d}, the columns of `x`")
    return x.shape[0], kernel.shape[1]


# -- losses: what they share


def _loss(row, arguments, predictions, labels, params, sample_weight, reduction, label_smoothing,
          ignore_index, axis, gradient, out):
    """Check, allocate, and call the kernel of the row's kind; `arguments` is what errors call
    predictions and labels."""
    if label_smoothing != 0.0:
        label_smoothing = checks.number(label_smoothing, "label_smoothing", 0.0, 1.0)
    predictions = checks.float_array(predictions, arguments[0])
    kind = row.kind
    if kind == "row":
        if ignore_index is not None:
            ignore_index = checks.integer(ignore_index, "ignore_index", -(2**63), 2**63 - 1)
        labels = _labels(predictions, arguments, labels, ignore_index)
    else:
        labels = _labels_of_kind(row, predictions, arguments, labels)
    n = counted = len(predictions)
    if ignore_index is not None:
        if kind != "row":
            raise ValueError(
                f"Argument `ignore_index` must be None for the loss {row.name!r}, which takes no "
                f"classes. Received: ignore_index={ignore_index!r}"
            )
        counted = n - int(np.count_nonzero(labels == ignore_index))
    sample_weight = _weights(sample_weight, n, predictions.dtype)
    divisor = _divisor(reduction, n, counted, arguments[0])
    losses = _empty(n, predictions.dtype)
    target = _gradient_array(gradient, out, predictions, labels, sample_weight)
    kernels, scale = backend.kernels().losses, 1.0 / divisor
    if row.name == "softmax_cross_entropy":
        kernels.softmax_cross_entropy(predictions, labels, sample_weight, label_smoothing,
                                      ignore_index, scale, losses, target, None)
    elif kind == "row":
        kernels.row_loss(row.name, predictions, labels, sample_weight, label_smoothing,
                         ignore_index, params, scale, losses, target)
    elif kind == "elementwise":
        kernels.elementwise_loss(
            row.name, _columns(predictions), _columns(labels), params, sample_weight,
            label_smoothing, scale, losses, None if target is None else _columns(target))
    elif kind == "distribution":
        kernels.distribution_loss(row.name, predictions, labels, params, sample_weight, scale,
                                  losses, target)
    elif kind == "overlap":
        checks.one_of(axis, "axis", ("rows", "all", "columns", "columns_sum"))
        kernels.overlap_loss(row.name, axis, predictions, labels, params, sample_weight, scale,
                             losses, target)
    else:
        kernels.pair_loss(row.name, predictions, labels, sample_weight, reduction == "mean",
                          params, scale, losses, target)
    if out is not None:
        target = _delivered(target, out)
    return losses if reduction == "none" else _total(losses) / divisor, target


def _no_params(row, given, known=()):
    unknown = [key for key in given if key not in known]
    if unknown:
        raise TypeError(
            f"Loss {row.name!r} has no parameter {unknown[0]!r}: expected "
            f"{', '.join(known) or 'none'}. Received: {unknown[0]}={given[unknown[0]]!r}"
        )


def _loss_params(row, given):
    """Values of a loss's parameters in kernel order."""
    _no_params(row, given, [key for key, _ in row.params])
    limits = {key: (low, high) for key, low, high in row.limits}
    values = []
    for key, default in row.params:
        value = given.get(key, default)
        if key == "epsilon" and row.kind != "distribution":
            values.append(_epsilon(given.get(key)))
        else:
            values.append(checks.number(value, key, *limits.get(key, ())))
    return tuple(values)


def _labels_of_kind(row, predictions, arguments, labels):
    """Labels of a loss that takes no classes."""
    if row.kind == "elementwise":
        labels = checks.float_like(labels, arguments[1], predictions.dtype)
        _check_elementwise(predictions, labels, arguments)
        return labels
    _check_columns(predictions, arguments[0])
    n, c = predictions.shape
    if row.kind == "pair":
        return _group_labels(labels, arguments[1], n)
    labels = checks.float_like(labels, arguments[1], predictions.dtype)
    if row.kind == "distribution":
        if c % 2:
            raise ValueError(
                f"Argument `{arguments[0]}` must have an even number of columns, locations in "
                f"front and logarithms of variances behind. Received: shape {predictions.shape}"
            )
        c //= 2
    checks.shape(labels, (n, c), arguments[1], f"{(n, c)} for `{arguments[0]}` of shape "
                                               f"{predictions.shape}")
    return labels


def _group_labels(labels, name, n):
    """Any integers as contiguous int64."""
    labels = checks.integers(labels, name)
    checks.shape(labels, (n,), name, f"(n,) with n = {n}, the number of rows")
    return labels


def _check_elementwise(predictions, labels, arguments):
    if predictions.ndim not in (1, 2):
        checks.shape(predictions, (None, None), arguments[0], "(n, c) or (n,)")
    if predictions.shape != labels.shape:
        checks.shape(labels, predictions.shape, arguments[1],
                     f"{predictions.shape}, that of `{arguments[0]}`")
    if predictions.shape[-1] == 0 and predictions.ndim == 2:
        raise ValueError(
            f"Argument `{arguments[0]}` must have at least 1 column. "
            f"Received: shape {predictions.shape}"
        )


def _check_columns(predictions, argument):
    if predictions.ndim != 2 or predictions.shape[1] == 0:
        raise ValueError(
            f"Argument `{argument}` must have shape (n, c) with at least 1 column. "
            f"Received: shape {predictions.shape}"
        )


def _labels(predictions, arguments, labels, ignore_index):
    """Labels as the kernels take them: int64 (n,) in range, or probabilities (n, c)."""
    argument, name = arguments
    _check_columns(predictions, argument)
    n, c = predictions.shape
    if type(labels) is not np.ndarray:
        labels = checks.real_array(labels, name)
    if labels.ndim == 1:
        return checks.class_labels(labels, name, n, c, ignore_index)
    if labels.shape != (n, c):
        checks.shape(labels, (n, c), name,
                     f"(n,) or (n, c) with (n, c) = {(n, c)}, that of `{argument}`")
    if ignore_index is not None:
        raise ValueError(
            f"Argument `ignore_index` must be None unless `{name}` are classes of shape (n,). "
            f"Received: ignore_index={ignore_index} with {name} of shape {labels.shape}"
        )
    return checks.float_like(labels, name, predictions.dtype)


def _weights(sample_weight, n, dtype):
    if sample_weight is None:
        return None
    sample_weight = checks.float_like(sample_weight, "sample_weight", dtype)
    checks.shape(sample_weight, (n,), "sample_weight", f"(n,) with n = {n}, the number of rows")
    return sample_weight


def _divisor(reduction, n, counted, argument):
    """What the sum of the rows' losses is divided by."""
    if reduction == "mean":
        if n == 0:
            raise ValueError(
                f"Argument `{argument}` must have at least 1 row for a mean. "
                "Received: no rows (reduction='sum' gives 0.0)"
            )
        return counted or 1  # where all rows are ignored every loss is 0
    checks.one_of(reduction, "reduction", _REDUCTIONS)
    return 1


def _gradient_array(gradient, out, predictions, labels, sample_weight):
    if out is None:
        return _empty(predictions.shape, predictions.dtype) if gradient else None
    if not gradient:
        raise ValueError(
            "Argument `out` must be None where no gradient is computed. "
            "Received: an array, with gradient=False"
        )
    inputs = (predictions, labels) if sample_weight is None else (
        predictions, labels, sample_weight)
    return _target(out, predictions.shape, predictions.dtype, *inputs)


def _total(losses):
    """The sum of the rows' losses, added up in float64."""
    return float(_sum(losses, None, checks.F64))


def _epsilon(epsilon):
    if epsilon is None:
        return config.epsilon()
    return checks.number(epsilon, "epsilon", low=1e-300, below=0.5)


# -- optimizers: what they share

_LIMITS = {
    "learning_rate": {"low": 0.0},
    "momentum": {"low": 0.0, "high": 1.0},
    "beta_1": {"low": 0.0, "below": 1.0},
    "beta_2": {"low": 0.0, "below": 1.0},
    "epsilon": {"low": 0.0},
    "weight_decay": {"low": 0.0},
}


@lru_cache(maxsize=128)
def _checked_numbers(names, *values):
    return tuple(checks.number(value, name, **_LIMITS[name])
                 for name, value in zip(names, values, strict=True))


def _numbers(names, *values):
    """Hyperparameters as floats within their limits; those of the calls before are remembered."""
    try:
        return _checked_numbers(names, *values)
    except TypeError:  # an argument that has no hash, or is no number
        pass
    return _checked_numbers.__wrapped__(names, *values)


def _flat(arrays, names):
    """Flat arrays for an update in place, and the copies to bring back (see `updated_arrays`)."""
    first = arrays[0]
    dtype = getattr(first, "dtype", None)
    if dtype is checks.F32 or dtype is checks.F64:
        shape = first.shape
        for array in arrays:
            if (type(array) is not np.ndarray or array.dtype is not dtype
                    or array.shape != shape):
                break
            flags = array.flags
            # An array that owns its memory shares it with no other that does.
            if not (flags.carray and flags.owndata):
                break
        else:
            if len(set(map(id, arrays))) == len(arrays):
                return (arrays if len(shape) == 1 else [a.reshape(-1) for a in arrays]), ()
    return checks.updated_arrays(arrays, names, "grad")


# -- the names of keras.ops ----------------------------------------------------------------------

_PARTS = ("core", "linalg", "math", "nn", "numpy")  # modules of Keras's whose names are all here

def __getattr__(name: str) -> Any:
    """What `keras.ops` has besides: functions of arrays and activations, loaded on first use."""
    if not name.startswith("_"):
        from . import numeric

        if name in _PARTS:
            return sys.modules[__name__]
        found = getattr(numeric, name) if name in numeric.__all__ else None
        if found is None and (name in spec.ACTIVATIONS or any(
                name in row.aliases for row in spec.ACTIVATIONS.values())):
            from . import activations

            found = getattr(activations, name)
        if found is not None:
            globals()[name] = found
            return found
        raise AttributeError(
            f"module {__name__!r} has no attribute {name!r}. "
            f"{spec.nearest(name, [*__all__, *numeric.__all__, *spec.ACTIVATIONS], 'name')}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
