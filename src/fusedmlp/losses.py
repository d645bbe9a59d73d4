"""What training minimises: Keras 3's losses for dense networks, as classes and as functions.

A loss object says by `lower` which loss operation a plan gets, and computes the same number from
arrays when it is called; the functions give the loss of every sample.  The numbers come from
`fusedmlp.ops`.  This module knows nothing of models or training.
"""

from __future__ import annotations

import inspect
import operator
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from . import checks, config, ops, spec
from .registry import Registry, snake_case
from .variable import float_dtype

__all__ = [
    "BinaryCrossentropy",
    "CategoricalCrossentropy",
    "Loss",
    "LossFunctionWrapper",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "SparseCategoricalCrossentropy",
    "binary_crossentropy",
    "categorical_crossentropy",
    "deserialize",
    "get",
    "mean_absolute_error",
    "mean_squared_error",
    "resolve",
    "serialize",
    "sparse_categorical_crossentropy",
]

REDUCTIONS = ("sum_over_batch_size", "mean", "sum", "mean_with_sample_weight", "none", None)


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


_LOGITS_ROW = {"binary_crossentropy": "sigmoid_cross_entropy",
               "categorical_crossentropy": "softmax_cross_entropy"}


def _losses(row, y_pred, targets, from_logits=False, **options):
    """The losses of y_pred (..., c) by a row of the table, shape (...)."""
    compute = getattr(ops, _LOGITS_ROW[row] if from_logits else row)
    rows, _ = compute(_table(y_pred), targets, reduction="none", gradient=False, **options)
    return rows.reshape(y_pred.shape[:-1])


def _warn_of_one_class(columns):
    if columns == 1:
        warnings.warn(
            "categorical_crossentropy expects more than one class, but `y_pred` has one column: "
            "its loss is the same whatever is predicted. For two classes in one column there is "
            "binary_crossentropy.",
            stacklevel=3,
        )


# -- functions -----------------------------------------------------------------------------------


def mean_squared_error(y_true, y_pred) -> np.ndarray:
    """mean((y_pred - y_true)^2) over the last axis.

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

    >>> mean_squared_error([[0.0, 1.0]], [[1.0, 3.0]])
    array([2.5], dtype=float32)
    """
    y_true, y_pred = _matched(y_true, y_pred)
    return _losses("mean_squared_error", y_pred, _table(y_true))


def mean_absolute_error(y_true, y_pred) -> np.ndarray:
    """mean(|y_pred - y_true|) over the last axis; otherwise like `mean_squared_error`.

    >>> mean_absolute_error([[0.0, 1.0]], [[1.0, 3.0]])
    array([1.5], dtype=float32)
    """
    y_true, y_pred = _matched(y_true, y_pred)
    return _losses("mean_absolute_error", y_pred, _table(y_true))


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

    >>> binary_crossentropy([[0, 1], [0, 0]], [[0.6, 0.4], [0.4, 0.6]]).round(3)
    array([0.916, 0.714], dtype=float32)
    """
    smoothing = _smoothing(label_smoothing)
    y_true, y_pred = (_move_axis_last(a, axis) for a in _matched(y_true, y_pred))
    return _losses("binary_crossentropy", y_pred, _table(y_true), from_logits,
                   label_smoothing=smoothing)


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

    >>> categorical_crossentropy([[0, 1, 0]], [[0.05, 0.95, 0]]).round(4)
    array([0.0513], dtype=float32)
    """
    smoothing = _smoothing(label_smoothing)
    y_true, y_pred = (_move_axis_last(a, axis) for a in _matched(y_true, y_pred))
    _warn_of_one_class(y_pred.shape[-1])
    return _losses("categorical_crossentropy", y_pred, _table(y_true), from_logits,
                   label_smoothing=smoothing)


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

    >>> sparse_categorical_crossentropy([1, 2], [[0.05, 0.95, 0], [0.1, 0.8, 0.1]]).round(3)
    array([0.051, 2.303], dtype=float32)
    """
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
    return _losses("categorical_crossentropy", y_pred, classes.reshape(-1), from_logits,
                   ignore_index=None if ignore_class is None else int(ignore_class))


def _smoothing(value):
    return checks.number(value, "label_smoothing", 0.0, 1.0)


# -- classes -------------------------------------------------------------------------------------


class Loss:
    """Base class.  A subclass defines ``call(y_true, y_pred)``, which gives the loss per sample.

    Parameters
    ----------
    name : str, optional
    reduction : {"sum_over_batch_size", "mean", "sum", "mean_with_sample_weight", "none", None}
        The first two are the mean over the samples, weighted sum over number; the fourth divides
        by the sum of the weights; "none" and None leave the samples apart.
    dtype : str, optional
        Of the computation; None stands for `fusedmlp.config.floatx()`.

    Attributes
    ----------
    labels : {"dense", "classes"}
        Whether targets have the columns of the prediction or are integer classes.

    Raises
    ------
    ValueError
        If an argument is none of these.

    >>> class Distance(Loss):
    ...     def call(self, y_true, y_pred):
    ...         return np.sqrt(((y_pred - y_true) ** 2).sum(axis=-1))
    >>> Distance()([[0.0, 0.0]], [[3.0, 4.0]])
    5.0
    """

    labels = "dense"

    def __init__(self, name: str | None = None, reduction: str | None = "sum_over_batch_size",
                 dtype: str | None = None):
        if reduction not in REDUCTIONS:
            raise ValueError(
                f"Argument `reduction` must be one of {', '.join(map(repr, REDUCTIONS))}. "
                f"Received: reduction={reduction!r}"
            )
        self.name = name or snake_case(type(self).__name__)
        self.reduction = reduction
        self._dtype = None if dtype is None else float_dtype(dtype)

    @property
    def dtype(self) -> str:
        return self._dtype or config.floatx()

    def call(self, y_true, y_pred) -> np.ndarray:
        """The loss of every sample."""
        raise NotImplementedError(f"{type(self).__name__} must define `call(self, y_true, y_pred)`")

    def __call__(self, y_true, y_pred, sample_weight=None) -> float | np.ndarray:
        """The reduced loss.

        Parameters
        ----------
        y_true, y_pred : array_like
        sample_weight : array_like, optional
            One weight per sample, or something that broadcasts to that.

        Returns
        -------
        float, or an array of the losses for the reduction None

        Raises
        ------
        ValueError, TypeError
            If shapes don't fit, or there is no sample.
        """
        dtype = np.dtype(self.dtype)
        if self.labels == "dense":
            y_true = checks.float_like(y_true, "y_true", dtype)
        y_pred = checks.float_like(y_pred, "y_pred", dtype)
        values = np.asarray(self.call(y_true, y_pred))
        counted = self._counted(y_true, values)
        return reduce_losses(values, sample_weight, counted, self.reduction)

    def _counted(self, y_true, values):
        """Which samples count, as a mask in the shape of `values`; None stands for all."""
        return None

    def lower(self, builder, prediction: int, labels: int, sample_weight: int | None = None,
              weight: float = 1.0, gradient: bool = True) -> int:
        """Add this loss to a plan under construction.

        Parameters
        ----------
        builder : fusedmlp.plan.Builder
        prediction, labels, sample_weight : int
            Buffers.
        weight : float
            Factor of the gradient.
        gradient : bool
            Whether the plan trains.

        Returns
        -------
        int
            The buffer of the losses.

        Raises
        ------
        TypeError
            If the loss is computed in Python, for which a plan has no operation.
        ValueError
            If its reduction leaves no single number to train on.
        """
        raise TypeError(
            f"Loss {self.name!r} is computed in Python and has no kernel to train with: expected "
            f"one of {', '.join(cls.__name__ for cls in _CLASSES)}. Received: {self!r}"
        )

    def get_config(self) -> dict[str, Any]:
        """Arguments that make an equal loss."""
        return {"name": self.name, "reduction": self.reduction, "dtype": self._dtype}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Loss:
        return cls(**config)

    def __repr__(self):
        arguments = ", ".join(f"{key}={value!r}" for key, value in self.get_config().items())
        return f"{type(self).__name__}({arguments})"


def reduce_losses(values, sample_weight=None, counted=None, reduction="sum_over_batch_size"):
    """Weighted losses, reduced to a float (or left apart), as Keras does it.

    A sample that doesn't count is left out of the mean's number of samples as well.
    """
    if values.size == 0:
        raise ValueError(
            "Argument `y_pred` must hold at least one sample. "
            f"Received: losses of shape {values.shape}"
        )
    weights = None
    if sample_weight is not None:
        weights = checks.float_like(sample_weight, "sample_weight", values.dtype)
        if weights.ndim == values.ndim + 1 and weights.shape[-1] == 1:
            weights = weights[..., 0]
        if weights.ndim < values.ndim:
            weights = weights.reshape(weights.shape + (1,) * (values.ndim - weights.ndim))
        try:
            weights = np.broadcast_to(weights, values.shape)
        except ValueError:
            raise ValueError(
                f"Argument `sample_weight` must have one weight per sample, shape {values.shape}. "
                f"Received: shape {np.shape(sample_weight)}"
            ) from None
    if counted is not None:
        weights = counted.astype(values.dtype) if weights is None else weights * counted
    if weights is not None:
        values = values * weights
    if reduction in (None, "none"):
        return values
    total = float(values.sum(dtype=np.float64))
    if reduction == "sum":
        return total
    if reduction == "mean_with_sample_weight" and weights is not None:
        number = float(weights.sum(dtype=np.float64))
    else:
        number = values.size if counted is None else int(counted.sum())
    return total / number if number else 0.0


_IN_PLAN = {"sum_over_batch_size": "mean", "mean": "mean", "sum": "sum"}


class _TableLoss(Loss):
    """A loss that is a row of the table; subclasses say which and with which options."""

    row = ""

    def _options(self) -> dict[str, Any]:
        """What `Builder.loss` gets besides the buffers."""
        return {}

    def lower(self, builder, prediction, labels, sample_weight=None, weight=1.0, gradient=True):
        if self.reduction not in _IN_PLAN:
            raise ValueError(
                f"Argument `reduction` of {type(self).__name__} must be one of "
                f"{', '.join(map(repr, _IN_PLAN))} in training. Received: {self.reduction!r}"
            )
        options = {**self._options(), "params": self._params()}
        return builder.loss(self.row, prediction, labels, sample_weight, weight=weight,
                            reduction=_IN_PLAN[self.reduction], gradient=gradient, **options)

    def _params(self):
        """Values of the row's parameters; epsilon is a setting of the process."""
        return tuple(config.epsilon() if name == "epsilon" else value
                     for name, value in spec.LOSSES[self.row].params)

    def as_metric(self) -> tuple[str, dict[str, Any]]:
        """The kind and the options under which `Builder.metric` adds up this loss."""
        options = self._options()
        if options.pop("from_logits", False):
            return _LOGITS_ROW[self.row], options
        return self.row, {**options, "params": self._params()}


class MeanSquaredError(_TableLoss):
    """mean((y_pred - y_true)^2); see `mean_squared_error` and `Loss`.

    >>> MeanSquaredError()([[0.0, 1.0], [0.0, 0.0]], [[1.0, 1.0], [1.0, 0.0]])
    0.5
    """

    row = "mean_squared_error"

    def __init__(self, reduction="sum_over_batch_size", name="mean_squared_error", dtype=None):
        super().__init__(name, reduction, dtype)

    def call(self, y_true, y_pred):
        return mean_squared_error(y_true, y_pred)


class MeanAbsoluteError(_TableLoss):
    """mean(|y_pred - y_true|); see `mean_absolute_error` and `Loss`.

    >>> MeanAbsoluteError()([[0.0, 1.0], [0.0, 0.0]], [[1.0, 1.0], [1.0, 0.0]])
    0.5
    """

    row = "mean_absolute_error"

    def __init__(self, reduction="sum_over_batch_size", name="mean_absolute_error", dtype=None):
        super().__init__(name, reduction, dtype)

    def call(self, y_true, y_pred):
        return mean_absolute_error(y_true, y_pred)


class _Crossentropy(_TableLoss):
    """What the cross-entropies have in common: logits or probabilities, the classes last."""

    def __init__(self, from_logits, axis, reduction, name, dtype):
        super().__init__(name, reduction, dtype)
        if not isinstance(from_logits, (bool, np.bool_)):
            raise ValueError(
                f"Argument `from_logits` must be True or False. Received: {from_logits!r}"
            )
        self.from_logits, self.axis = bool(from_logits), operator.index(axis)

    def _options(self):
        return {"from_logits": self.from_logits}

    def lower(self, builder, prediction, labels, sample_weight=None, weight=1.0, gradient=True):
        if self.axis not in (-1, 1):
            raise ValueError(
                f"Argument `axis` of {type(self).__name__} must be the last axis, -1 or 1, in "
                f"training. Received: axis={self.axis}"
            )
        return super().lower(builder, prediction, labels, sample_weight, weight, gradient)

    def get_config(self):
        return {**super().get_config(), "from_logits": self.from_logits, "axis": self.axis}


class BinaryCrossentropy(_Crossentropy):
    """-t log p - (1 - t) log(1 - p), the mean over columns and samples.

    The arguments are those of `binary_crossentropy` and `Loss`.

    >>> round(BinaryCrossentropy()([[0, 1], [0, 0]], [[0.6, 0.4], [0.4, 0.6]]), 3)
    0.815
    """

    row = "binary_crossentropy"

    def __init__(self, from_logits=False, label_smoothing=0.0, axis=-1,
                 reduction="sum_over_batch_size", name="binary_crossentropy", dtype=None):
        super().__init__(from_logits, axis, reduction, name, dtype)
        self.label_smoothing = _smoothing(label_smoothing)

    def _options(self):
        return {**super()._options(), "label_smoothing": self.label_smoothing}

    def call(self, y_true, y_pred):
        return binary_crossentropy(y_true, y_pred, self.from_logits, self.label_smoothing,
                                   self.axis)

    def get_config(self):
        return {**super().get_config(), "label_smoothing": self.label_smoothing}


class CategoricalCrossentropy(_Crossentropy):
    """-sum(t log p) over the classes, targets as probabilities.

    The arguments are those of `categorical_crossentropy` and `Loss`.

    >>> loss = CategoricalCrossentropy()
    >>> round(loss([[0, 1, 0], [0, 0, 1]], [[0.05, 0.95, 0], [0.1, 0.8, 0.1]]), 3)
    1.177
    """

    row = "categorical_crossentropy"

    def __init__(self, from_logits=False, label_smoothing=0.0, axis=-1,
                 reduction="sum_over_batch_size", name="categorical_crossentropy", dtype=None):
        super().__init__(from_logits, axis, reduction, name, dtype)
        self.label_smoothing = _smoothing(label_smoothing)

    def _options(self):
        return {**super()._options(), "label_smoothing": self.label_smoothing}

    def lower(self, builder, prediction, labels, sample_weight=None, weight=1.0, gradient=True):
        _warn_of_one_class(builder.columns(prediction))
        return super().lower(builder, prediction, labels, sample_weight, weight, gradient)

    def call(self, y_true, y_pred):
        return categorical_crossentropy(y_true, y_pred, self.from_logits, self.label_smoothing,
                                        self.axis)

    def get_config(self):
        return {**super().get_config(), "label_smoothing": self.label_smoothing}


class SparseCategoricalCrossentropy(_Crossentropy):
    """-log p of the labelled class, targets as integers.

    The arguments are those of `sparse_categorical_crossentropy` and `Loss`.  The mean is taken
    over the samples whose label is not `ignore_class`.

    >>> loss = SparseCategoricalCrossentropy()
    >>> round(loss([1, 2], [[0.05, 0.95, 0], [0.1, 0.8, 0.1]]), 3)
    1.177
    """

    row = "categorical_crossentropy"
    labels = "classes"

    def __init__(self, from_logits=False, ignore_class=None, reduction="sum_over_batch_size",
                 axis=-1, name="sparse_categorical_crossentropy", dtype=None):
        super().__init__(from_logits, axis, reduction, name, dtype)
        if ignore_class is not None:
            try:
                ignore_class = operator.index(ignore_class)
            except TypeError:
                raise TypeError(
                    "Argument `ignore_class` must be an integer or None. "
                    f"Received: ignore_class={ignore_class!r}"
                ) from None
        self.ignore_class = ignore_class

    def _options(self):
        return {**super()._options(), "ignore_index": self.ignore_class}

    def _counted(self, y_true, values):
        if self.ignore_class is None:
            return None
        return (np.asarray(y_true) != self.ignore_class).reshape(values.shape)

    def lower(self, builder, prediction, labels, sample_weight=None, weight=1.0, gradient=True):
        _warn_of_one_class(builder.columns(prediction))
        return super().lower(builder, prediction, labels, sample_weight, weight, gradient)

    def call(self, y_true, y_pred):
        return sparse_categorical_crossentropy(y_true, y_pred, self.from_logits,
                                               self.ignore_class, self.axis)

    def get_config(self):
        return {**super().get_config(), "ignore_class": self.ignore_class}


class LossFunctionWrapper(Loss):
    """A Python function ``fn(y_true, y_pred, **kwargs)`` as a loss object.

    >>> double = LossFunctionWrapper(lambda t, p, k: k * abs(p - t).sum(axis=-1), k=2.0)
    >>> double([[1.0]], [[4.0]])
    6.0
    """

    def __init__(self, fn: Callable, reduction="sum_over_batch_size", name=None, dtype=None,
                 **kwargs):
        super().__init__(name or getattr(fn, "__name__", None), reduction, dtype)
        self.fn, self._kwargs = fn, kwargs

    def call(self, y_true, y_pred):
        y_true, y_pred = same_rank(y_true, y_pred)
        return self.fn(y_true, y_pred, **self._kwargs)

    def get_config(self):
        fn = {"fn": _REGISTRY.serialize(self.fn), **self._kwargs}
        return {**super().get_config(), **fn}

    def __repr__(self):
        return f"LossFunctionWrapper({self.fn!r})"

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        fn = config.pop("fn")
        return cls(_REGISTRY.find(fn) if isinstance(fn, str) else fn, **config)


_CLASSES = (MeanSquaredError, MeanAbsoluteError, BinaryCrossentropy, CategoricalCrossentropy,
            SparseCategoricalCrossentropy)
_OF_FUNCTION = {
    mean_squared_error: MeanSquaredError,
    mean_absolute_error: MeanAbsoluteError,
    binary_crossentropy: BinaryCrossentropy,
    categorical_crossentropy: CategoricalCrossentropy,
    sparse_categorical_crossentropy: SparseCategoricalCrossentropy,
}


def _aliases():
    """The table's short names in both cases, as Keras has them ("mse", "MSE")."""
    found = {}
    for cls in _CLASSES:
        if cls is not SparseCategoricalCrossentropy:
            for alias in spec.LOSSES[cls.row].aliases:
                found[alias] = found[alias.upper()] = cls
    return found


_REGISTRY = Registry("loss", Loss, (*_CLASSES, LossFunctionWrapper), _aliases())


def serialize(loss: Loss) -> dict[str, Any]:
    """The config dict of a loss.

    >>> serialize(MeanSquaredError())["class_name"]
    'MeanSquaredError'
    """
    return _REGISTRY.serialize(get(loss) if loss in _OF_FUNCTION else loss)


def deserialize(config, custom_objects: Mapping | None = None) -> Loss:
    """A loss from its config dict or name; ValueError if it is unknown.

    >>> deserialize(serialize(MeanSquaredError())).name
    'mean_squared_error'
    """
    return _as_loss(_REGISTRY.deserialize(config, custom_objects))


def get(identifier) -> Loss | None:
    """A loss object from a name, a config dict, a class, an instance or a function.

    Raises
    ------
    ValueError, TypeError
        If the name is unknown (the nearest known ones are named) or the identifier none of these.

    >>> get("mse").name, get(None)
    ('mean_squared_error', None)
    """
    return _as_loss(_REGISTRY.get(identifier))


def _as_loss(found):
    if found is None or isinstance(found, Loss):
        return found
    if inspect.isfunction(found) and found in _OF_FUNCTION:
        return _OF_FUNCTION[found]()
    return LossFunctionWrapper(found)


def kind_of_labels(y_true_shape, y_pred_shape) -> str:
    """"binary", "classes" or "dense": what targets of this shape are for such a prediction.

    One predicted column is binary; targets with an axis less than the prediction, or with one
    column to its several, are classes.
    """
    if y_pred_shape[-1] == 1:
        return "binary"
    if len(y_true_shape) < len(y_pred_shape) or y_true_shape[-1] == 1:
        return "classes"
    return "dense"


def resolve(identifier, y_true_shape, y_pred_shape) -> Loss | None:
    """Like `get`, and "crossentropy" or "ce" become the one that fits the shapes.

    >>> resolve("crossentropy", (32,), (32, 10)).name
    'sparse_categorical_crossentropy'
    """
    if isinstance(identifier, str) and identifier.lower() in ("crossentropy", "ce"):
        return {
            "binary": BinaryCrossentropy,
            "classes": SparseCategoricalCrossentropy,
            "dense": CategoricalCrossentropy,
        }[kind_of_labels(y_true_shape, y_pred_shape)]()
    return get(identifier)
